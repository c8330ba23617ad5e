//! Inputs: streamed or placed, missing, lied about.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use bytes::Bytes;
use support::{Bench, MemoryStore, shell};
use vx_core::tree::{TreeEntry, TreeNode};
use vx_core::{
    Blob, Digest, Execution, Executor, FileInput, PackageFormat, PackageInput, RelPath, Tree,
    TreeInput,
};

fn tree(bench: &Bench, count: usize) -> Tree {
    let entries = (0..count).map(|index| TreeEntry {
        path: RelPath::new(format!("d{}/f{index}", index % 7)).unwrap(),
        node: TreeNode::File {
            blob: bench.store.add(format!("content {}", index / 2)),
            executable: index % 2 == 0,
        },
    });
    let tree = Tree::new(entries.collect()).unwrap();
    bench.store.add(tree.encode());
    tree
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_small_and_large_arrive_placed_or_streamed() {
    for store in [MemoryStore::placing(), MemoryStore::default()] {
        let placing = store.places;
        let bench = Bench::with(store).await;
        let large = vec![b'x'; 3_000_000];
        let mut action = shell(
            "cd /vx/in; find tree -type f | wc -l; find tree -type f -perm -100 | wc -l; \
             cat tree/d0/f0 tree/d1/f1; echo; wc -c < many/large; cmp many/large many/again; \
             cat many/small",
        );
        action.files = vec![
            bench.file("/vx/in/many/large", large.clone(), false),
            bench.file("/vx/in/many/again", large, false),
            bench.file("/vx/in/many/small", "small", false),
        ];
        // More than fits one call to place.
        action.trees = vec![TreeInput {
            watched: false,
            at: "/vx/in/tree".to_owned(),
            tree: tree(&bench, 2500).digest(),
        }];
        let outcome = bench.run(action).await.succeeded();
        assert_eq!(
            outcome.text("stdout"),
            "2500\n1250\ncontent 0content 0\n3000000\nsmall"
        );
        let placed = bench.rhea.status().await.unwrap().placed_bytes;
        assert_eq!(placed > 6_000_000, placing, "{placed}");
        assert_eq!(*bench.store.read.lock().unwrap() == 0, placing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_and_nothing_runs() {
    for store in [MemoryStore::placing(), MemoryStore::default()] {
        let bench = Bench::with(store).await;
        let absent = Digest::of(b"absent");
        let mut file = shell("true");
        file.files = vec![
            bench.file("/vx/in/there", "there", false),
            FileInput {
                at: "/vx/in/absent".to_owned(),
                digest: absent,
                size: 6,
                executable: false,
            },
        ];
        let mut package = shell("true");
        package.packages = vec![PackageInput {
            at: "/vx/registry/0/a-1.0.0".to_owned(),
            archive: absent,
            format: PackageFormat::Crate,
        }];
        let mut tree = shell("true");
        tree.trees = vec![TreeInput {
            watched: false,
            at: "/vx/in".to_owned(),
            tree: absent,
        }];
        for action in [file, package, tree] {
            let (result, events) = bench.try_run(action).await;
            assert_eq!(result, Ok(Execution::InputsMissing(vec![absent])));
            assert!(events.is_empty());
        }
        assert_eq!(bench.rhea.status().await.unwrap().executed, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_does_not_match_is_as_good_as_missing() {
    let bench = Bench::with(MemoryStore::default()).await;
    let lie = |blob: Blob, content: Bytes| {
        bench
            .store
            .lies
            .lock()
            .unwrap()
            .insert(blob.digest, content);
        blob.digest
    };
    let small = bench.file("/vx/in/small", "small", false);
    let large = bench.file("/vx/in/large", vec![b'x'; 100_000], false);
    let digests = [
        lie(Blob::of(b"small"), Bytes::from_static(b"smell")),
        lie(Blob::of(&[b'x'; 100_000]), Bytes::from(vec![b'y'; 100_000])),
    ];
    for (file, digest) in [small, large].into_iter().zip(digests) {
        let mut action = shell("true");
        action.files = vec![file];
        let (result, _) = bench.try_run(action).await;
        assert_eq!(result, Ok(Execution::InputsMissing(vec![digest])));
    }
    let archive = bench.store.add("no archive");
    lie(archive, Bytes::from_static(b"another"));
    let mut action = shell("true");
    action.packages = vec![PackageInput {
        at: "/vx/registry/0/a-1.0.0".to_owned(),
        archive: archive.digest,
        format: PackageFormat::Tar,
    }];
    let (result, _) = bench.try_run(action).await;
    assert_eq!(result, Ok(Execution::InputsMissing(vec![archive.digest])));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_package_for_many_at_once_is_fetched_once() {
    let bench = Bench::with(MemoryStore::default()).await;
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o755);
    builder.append_data(&mut header, "a/b", &b"x"[..]).unwrap();
    let archive = bench.store.add(builder.into_inner().unwrap());
    let mut action = shell("cat /vx/registry/0/a-1.0.0/a/b; stat -c %Y /vx/registry/0/a-1.0.0/a");
    action.packages = vec![PackageInput {
        at: "/vx/registry/0/a-1.0.0".to_owned(),
        archive: archive.digest,
        format: PackageFormat::Tar,
    }];
    let outcomes = futures::future::join_all((0..6).map(|_| bench.run(action.clone()))).await;
    for outcome in outcomes {
        assert_eq!(outcome.succeeded().text("stdout"), "x1153704088\n");
    }
    assert_eq!(*bench.store.read.lock().unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_that_collide_are_refused() {
    let bench = Bench::new().await;
    let mut action = shell("true");
    action.files = vec![
        bench.file("/vx/in/a", "a", false),
        bench.file("/vx/in/a/b", "b", false),
    ];
    let (result, _) = bench.try_run(action).await;
    assert!(
        matches!(result, Err(vx_core::ServiceError::Invalid(_))),
        "{result:?}"
    );
}
