//! Many tasks on one small store at once; what it knows must agree with itself and its files.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use vx_core::{
    ActionKey, ActionResult, Blob, Digest, Holder, Output, OutputForm, PlaceFile, PlaceMode,
    PlaceOutcome, PlaceRequest, RecordName, RelPath, ServiceError, Store, StoreService, Tree,
    TreeEntry, TreeNode,
};

use crate::service::Cass;
use crate::state::State;
use crate::{CassConfig, blobs};

const TASKS: u64 = 8;
const STEPS: u64 = 60;

/// Numbers that are the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

fn content(number: u64) -> Vec<u8> {
    let length = usize::try_from(number * 3001 % 90_000).unwrap();
    number
        .to_le_bytes()
        .into_iter()
        .cycle()
        .take(length)
        .collect()
}

/// Recounts what the state counts as it goes.
fn check(state: &State) {
    let mut refs: HashMap<Digest, u32> = HashMap::new();
    let mut trees: HashMap<Digest, u32> = HashMap::new();
    let mut size = 0;
    for entry in state.results.values() {
        size += entry.size + crate::limits::ROW;
        for digest in &entry.blobs {
            *refs.entry(*digest).or_default() += 1;
        }
        for tree in &entry.trees {
            *trees.entry(*tree).or_default() += 1;
        }
    }
    assert_eq!(trees.len(), state.trees.len());
    for (tree, count) in &trees {
        assert_eq!(state.trees[tree].refs, *count);
        for digest in state.trees[tree].members.iter() {
            *refs.entry(*digest).or_default() += 1;
        }
    }
    for list in state.lists.values() {
        for item in &list.items {
            size += crate::limits::ROW;
            if item.is_inline() {
                size += item.size;
            } else {
                *refs.entry(item.digest).or_default() += 1;
            }
        }
    }
    let (mut files, mut bytes) = (0, 0);
    for (digest, entry) in &state.blobs {
        assert_eq!(entry.refs, refs.remove(digest).unwrap_or(0), "{digest}");
        let holds = state
            .grants
            .values()
            .filter(|held| held.blobs.contains(digest));
        assert_eq!(entry.holds as usize, holds.count(), "{digest}");
        assert!(entry.file.is_some() || entry.refs > 0 || entry.holds > 0);
        if let Some(file) = &entry.file {
            files += 1;
            bytes += file.size;
            size += file.cost();
        }
    }
    assert!(refs.is_empty());
    assert_eq!((state.files, state.bytes, state.size), (files, bytes, size));
}

async fn put(store: &dyn Store, number: u64) -> Result<Blob, ServiceError> {
    let mut writer = store.write().await?;
    writer.write(content(number).into()).await?;
    writer.finish().await
}

async fn publish(cass: &Cass, dice: &mut Dice) -> Result<(), ServiceError> {
    let grant = cass.grant(String::new()).await?;
    let (store, results) = (cass.store(grant, Holder::Remote), cass.results(grant));
    let mut entries = Vec::new();
    for number in 0..dice.roll(5) {
        entries.push(TreeEntry {
            path: RelPath::new(format!("f{number}")).unwrap(),
            node: TreeNode::File {
                blob: put(&*store, dice.roll(60)).await?,
                executable: false,
            },
        });
    }
    let tree = Tree::new(entries).unwrap().encode();
    let tree = Blob {
        digest: store.write_small(vec![tree.clone().into()]).await?[0],
        size: tree.len() as u64,
    };
    let file = put(&*store, dice.roll(60)).await?;
    let output = |name: &str, blob, form| Output {
        name: name.to_owned(),
        blob,
        form,
    };
    let result = ActionResult {
        outputs: vec![
            output("file", file, OutputForm::File { executable: true }),
            output("same", file, OutputForm::File { executable: false }),
            output("tree", tree, OutputForm::Tree),
        ],
        payload: Bytes::new(),
        unisolated: false,
    };
    let key = ActionKey(Digest::of(&dice.roll(40).to_le_bytes()));
    results.publish(key, result).await?;
    let name = RecordName(Digest::of(&dice.roll(10).to_le_bytes()));
    results.record(name, content(dice.roll(30)).into()).await?;
    // Held, it can't have gone.
    for looked in results.lookup(vec![key]).await?.into_iter().flatten() {
        for digest in looked.digests() {
            assert!(store.read(digest, 0).await?.is_some());
        }
    }
    for list in results.records(vec![name]).await? {
        assert!(!list.is_empty());
    }
    cass.release(grant).await;
    Ok(())
}

async fn place(cass: &Cass, dice: &mut Dice, directory: String) -> Result<(), ServiceError> {
    let grant = cass.grant(String::new()).await?;
    let uid = rustix::process::geteuid().as_raw();
    let store = cass.store(grant, Holder::Local { uid });
    let mut files = Vec::new();
    for number in 0..4 {
        let chosen = dice.roll(60);
        let file = PlaceFile {
            path: RelPath::new(format!("d{number}/{chosen}")).unwrap(),
            digest: Digest::of(&content(chosen)),
            executable: false,
            mode: if chosen.is_multiple_of(2) {
                PlaceMode::SharedReadOnly
            } else {
                PlaceMode::Independent
            },
        };
        files.push((file, content(chosen)));
    }
    let request = PlaceRequest {
        directory: directory.clone(),
        files: files.iter().map(|(file, _)| file.clone()).collect(),
    };
    match store.place(request).await? {
        PlaceOutcome::Placed { .. } => {
            for (file, content) in files {
                let path = file.path.under(directory.as_ref());
                assert!(std::fs::read(path).unwrap() == content);
            }
        }
        PlaceOutcome::Missing(missing) => {
            assert!(!missing.is_empty());
            let left = std::fs::read_dir(&directory).unwrap().next();
            assert!(left.is_none());
        }
        PlaceOutcome::Unavailable(why) => panic!("{why}"),
    }
    cass.release(grant).await;
    Ok(())
}

async fn work(cass: Arc<Cass>, base: std::path::PathBuf, task: u64) {
    let mut dice = Dice(task * 7919 + 1);
    for step in 0..STEPS {
        if dice.roll(3) == 0 {
            let directory = base.join(format!("{task}-{step}"));
            std::fs::create_dir(&directory).unwrap();
            let directory = directory.to_str().unwrap().to_owned();
            place(&cass, &mut dice, directory).await.unwrap();
        } else {
            publish(&cass, &mut dice).await.unwrap();
        }
        if dice.roll(20) == 0 {
            cass.settle().await.unwrap();
        }
        check(&cass.shared().state());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn it_agrees_with_itself_under_load() {
    let directory = tempfile::tempdir().unwrap();
    let base = directory.path().canonicalize().unwrap();
    let config = CassConfig {
        accept_unisolated: false,
        directory: base.join("store"),
        limit: 1 << 20,
        placing: true,
    };
    let cass = Cass::open(config.clone()).unwrap();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| tokio::spawn(work(cass.clone(), base.clone(), task)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    cass.close().await.unwrap();
    let before = cass.status().await.unwrap();
    let figures = {
        let state = cass.shared().state();
        check(&state);
        for (digest, entry) in &state.blobs {
            let path = base.join("store/blobs").join(blobs::blob_path(digest));
            assert_eq!(path.exists(), entry.file.is_some());
        }
        (
            state.size,
            state.files,
            state.lists.len(),
            state.trees.len(),
        )
    };
    assert_eq!(before.set_aside, 0);
    drop(cass);

    let cass = Cass::open(config).unwrap();
    let state = cass.shared().state();
    check(&state);
    assert_eq!(
        figures,
        (
            state.size,
            state.files,
            state.lists.len(),
            state.trees.len()
        )
    );
    assert_eq!(before.results, state.results.len() as u64);
}
