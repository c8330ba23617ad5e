//! The shelf: inputs of actions that are not isolated, at their real places.
//!
//! Actions of one checkout find their inputs at the same paths. An action takes all its places
//! at once: one that lies there with the content it needs is shared; one with other content is
//! waited for until nobody uses it, and then replaced. A script's `OUT_DIR`, and the package it
//! runs in, are its alone while it runs. Who waits takes nothing meanwhile, so nobody waits for
//! each other; and nobody takes a place that one who waits longer needs otherwise.
//!
//! Actions can write here. So everything is a copy, and before a place is shared its stamps
//! are looked at: what changed since it was put is put again.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_util::task::TaskTracker;
use vx_core::{Digest, RelPath, Store, Tree};

use super::stamps::Stamps;
use crate::fault::{Stop, Tried, lost_task};
use crate::fetch::{Sharing, Wanted, bring};
use crate::packages::{Id, unpack_in};
use crate::scratch::remove;
use crate::stage::{complete_tree, files};

/// The most places that are known: a checkout with a thousand crates has some thousand.
const MAX_PLACES: usize = 100_000;

/// What is to lie at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A file.
    File {
        digest: Digest,
        size: u64,
        executable: bool,
    },
    /// A directory with the tree of this digest.
    Tree(Digest),
    /// An unpacked package.
    Package(Id),
    /// An empty directory.
    Nothing,
}

/// A place an action needs.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    /// Where: an absolute path on the shelf.
    pub(crate) place: PathBuf,
    /// What is to lie there.
    pub(crate) content: Content,
    /// The tree, where it is one.
    pub(crate) tree: Option<Arc<Tree>>,
    /// Whether nobody else may use it meanwhile, as the action may write there.
    pub(crate) alone: bool,
}

/// The shelf of an executor.
pub(crate) struct Shelf {
    directory: PathBuf,
    limit: u64,
    state: Mutex<State>,
    /// Told whenever a place is given back or filled.
    changed: Notify,
    temporary: AtomicU64,
}

#[derive(Default)]
struct State {
    places: HashMap<PathBuf, Place>,
    /// Who waits, the longest first.
    waiting: Vec<(u64, Vec<Claim>)>,
    next_ticket: u64,
    clock: u64,
    bytes: u64,
}

/// What lies at a place and who uses it.
struct Place {
    /// `None` where it is not known.
    content: Option<Content>,
    stamps: Stamps,
    bytes: u64,
    users: usize,
    alone: bool,
    last_used: u64,
}

/// Places that stay as they are while this lives.
pub(crate) struct Hold {
    shelf: Arc<Shelf>,
    claims: Vec<Claim>,
}

/// A claim that is not filled yet, given back as it is when this goes early.
struct Taken {
    hold: Hold,
    to_fill: Vec<Claim>,
}

impl Shelf {
    /// An empty shelf in `directory`; what an earlier one left goes.
    pub(crate) fn open(directory: PathBuf, limit: u64) -> io::Result<Arc<Self>> {
        remove(&directory)?;
        fs::create_dir_all(&directory)?;
        Ok(Arc::new(Self {
            directory: fs::canonicalize(directory)?,
            limit,
            state: Mutex::default(),
            changed: Notify::new(),
            temporary: AtomicU64::new(0),
        }))
    }

    /// Its directory, without links on the way to it.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Takes all places of an action and fills those that need it. Also gives the bytes that
    /// were placed. What still writes after this was dropped is in `tasks`.
    pub(crate) async fn take(
        self: &Arc<Self>,
        claims: Vec<Claim>,
        store: &Arc<dyn Store>,
        tasks: &TaskTracker,
    ) -> Result<(Hold, u64), Stop> {
        let taken = self.wait_for(claims).await?;
        let (shelf, store) = (Arc::clone(self), Arc::clone(store));
        // A task of its own: whoever asked may go away, and a place that is half filled must
        // not be taken for whole.
        let filling = tasks.spawn(async move { shelf.fill(taken, &store).await });
        filling.await.map_err(|error| lost_task(&error))?
    }

    async fn wait_for(self: &Arc<Self>, claims: Vec<Claim>) -> Result<Taken, Stop> {
        let mut waiting = Waiting {
            shelf: self,
            ticket: None,
        };
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            // Stamps are looked at under the lock: it is a handful of files for each place, and
            // nobody can be given what another is about to find changed.
            let taken = tokio::task::block_in_place(|| self.try_take(&claims, &mut waiting.ticket));
            if let Some(to_fill) = taken {
                return Ok(Taken {
                    hold: Hold {
                        shelf: Arc::clone(self),
                        claims,
                    },
                    to_fill,
                });
            }
            changed.await;
        }
    }

    /// Takes all places, if none is used otherwise, and gives those that are to be filled.
    fn try_take(&self, claims: &[Claim], ticket: &mut Option<u64>) -> Option<Vec<Claim>> {
        let mut state = self.state();
        let mine = *ticket.get_or_insert_with(|| {
            state.next_ticket += 1;
            let ticket = state.next_ticket;
            state.waiting.push((ticket, claims.to_vec()));
            ticket
        });
        let earlier = state.waiting.iter().take_while(|(other, _)| *other != mine);
        if earlier
            .flat_map(|(_, others)| others)
            .any(|other| conflict(claims, other))
        {
            return None;
        }
        let mut to_fill = Vec::new();
        for claim in claims {
            let there = state.places.get(&claim.place);
            let as_wanted = there.is_some_and(|there| {
                there.content.as_ref() == Some(&claim.content)
                    && there.stamps.hold()
                    && claim.content != Content::Nothing
            });
            let in_use = there.is_some_and(|there| there.users > 0);
            let alone = claim.alone || there.is_some_and(|there| there.alone);
            if in_use && (alone || !as_wanted) {
                return None;
            }
            if !as_wanted {
                to_fill.push(claim.clone());
            }
        }
        state.waiting.retain(|(other, _)| *other != mine);
        *ticket = None;
        state.clock += 1;
        let clock = state.clock;
        for claim in claims {
            let fills = to_fill.iter().any(|other| other.place == claim.place);
            let place = state
                .places
                .entry(claim.place.clone())
                .or_insert_with(Place::unknown);
            place.users += 1;
            // Until it is filled it is nobody else's.
            place.alone = claim.alone || fills;
            place.last_used = clock;
            if fills {
                place.content = None;
            }
        }
        Some(to_fill)
    }

    async fn fill(
        self: Arc<Self>,
        taken: Taken,
        store: &Arc<dyn Store>,
    ) -> Result<(Hold, u64), Stop> {
        let Taken { hold, to_fill } = taken;
        if to_fill.is_empty() {
            return Ok((hold, 0));
        }
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!(".new-{number}"));
        let filled = self.fill_in(&temporary, &to_fill, store).await;
        let left = temporary.clone();
        let _ = tokio::task::spawn_blocking(move || remove(&left)).await;
        let (stamps, placed) = filled?;
        for stamps in &stamps {
            stamps.settle().await;
        }
        let evicted = self.filled(&to_fill, stamps);
        tokio::task::spawn_blocking(move || {
            for path in evicted {
                let _ = remove(&path);
            }
        });
        Ok((hold, placed))
    }

    /// Puts everything in place, and gives its stamps, in order, and the bytes placed.
    async fn fill_in(
        &self,
        temporary: &Path,
        claims: &[Claim],
        store: &Arc<dyn Store>,
    ) -> Result<(Vec<Stamps>, u64), Stop> {
        let single = temporary.join("files");
        fs::create_dir_all(&single).tried_at("make", &single)?;
        let wanted = claims.iter().enumerate().filter_map(|(index, claim)| {
            let Content::File {
                digest,
                size,
                executable,
            } = claim.content
            else {
                return None;
            };
            Some((index, digest, size, executable))
        });
        let wanted = wanted
            .map(|(index, digest, size, executable)| {
                Ok(Wanted {
                    path: name(index)?,
                    digest,
                    size: Some(size),
                    executable,
                })
            })
            .collect::<Result<Vec<_>, Stop>>()?;
        let tasks = TaskTracker::new();
        let mut placed = bring(store, &single, wanted, Sharing::Nothing, &tasks).await?;
        for (index, claim) in claims.iter().enumerate() {
            let ready = temporary.join(index.to_string());
            match &claim.content {
                Content::File { .. } => {}
                Content::Nothing => fs::create_dir(&ready).tried_at("make", &ready)?,
                Content::Package(id) => {
                    let (_, bytes) = unpack_in(&ready, *id, store).await?;
                    placed += bytes;
                }
                Content::Tree(_) => {
                    fs::create_dir(&ready).tried_at("make", &ready)?;
                    let tree = claim.tree.clone().unwrap_or_default();
                    placed += bring(store, &ready, files(&tree), Sharing::Nothing, &tasks).await?;
                    let to = ready.clone();
                    let done = tokio::task::spawn_blocking(move || complete_tree(&tree, &to));
                    done.await.map_err(|error| lost_task(&error))??;
                }
            }
        }
        let (temporary, claims) = (temporary.to_owned(), claims.to_vec());
        let moved = tokio::task::spawn_blocking(move || {
            let claims = claims.iter().enumerate();
            claims
                .map(|(index, claim)| put(&temporary, index, claim))
                .collect::<Result<Vec<_>, Stop>>()
        });
        Ok((moved.await.map_err(|error| lost_task(&error))??, placed))
    }

    /// Notes what lies at the places now; gives what has to go for it.
    fn filled(&self, claims: &[Claim], stamps: Vec<Stamps>) -> Vec<PathBuf> {
        let mut state = self.state();
        for (claim, stamps) in claims.iter().zip(stamps) {
            let bytes = stamps.bytes();
            state.bytes += bytes;
            if let Some(place) = state.places.get_mut(&claim.place) {
                place.content = Some(claim.content.clone());
                place.stamps = stamps;
                let earlier = std::mem::replace(&mut place.bytes, bytes);
                place.alone = claim.alone;
                state.bytes -= earlier;
            }
        }
        let evicted = self.evict(&mut state);
        drop(state);
        self.changed.notify_waiters();
        evicted
    }

    /// Takes the least recently used places that nobody uses off the shelf until the rest is
    /// under the limit, and gives where they were moved to.
    fn evict(&self, state: &mut State) -> Vec<PathBuf> {
        let mut moved = Vec::new();
        while state.bytes > self.limit || state.places.len() > MAX_PLACES {
            let unused = state.places.iter().filter(|(_, place)| place.users == 0);
            let oldest = unused
                .min_by_key(|(_, place)| place.last_used)
                .map(|(path, _)| path.clone());
            let Some(path) = oldest else { break };
            if let Some(place) = state.places.remove(&path) {
                state.bytes -= place.bytes;
            }
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let aside = self.directory.join(format!(".old-{number}"));
            if fs::rename(&path, &aside).is_ok() {
                moved.push(aside);
            }
        }
        moved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments that can't panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn unknown() -> Self {
        Self {
            content: None,
            stamps: Stamps::default(),
            bytes: 0,
            users: 0,
            alone: false,
            last_used: 0,
        }
    }
}

/// One who waits, until it has its places or goes away.
struct Waiting<'a> {
    shelf: &'a Shelf,
    ticket: Option<u64>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shelf
                .state()
                .waiting
                .retain(|(other, _)| *other != ticket);
            self.shelf.changed.notify_waiters();
        }
    }
}

impl Hold {
    /// The places, as the trace is told of them.
    pub(crate) fn places(&self) -> impl Iterator<Item = &Path> {
        self.claims.iter().map(|claim| claim.place.as_path())
    }

    /// What the action left at a place of its own is this tree, for others to use as it lies
    /// there. Looks at every file of it.
    pub(crate) fn adopt(&mut self, place: &Path, tree: Digest) {
        let Some(claim) = self.claims.iter_mut().find(|claim| claim.place == place) else {
            return;
        };
        let Ok(stamps) = Stamps::take(place) else {
            return;
        };
        claim.content = Content::Tree(tree);
        let claim = claim.clone();
        for evicted in self.shelf.filled(&[claim], vec![stamps]) {
            let _ = remove(&evicted);
        }
    }

    /// Gives the places back, and takes away what was written at them and nobody will use.
    pub(crate) async fn end(self) {
        let own = self.claims.iter();
        let left: Vec<PathBuf> = own
            .filter(|claim| claim.content == Content::Nothing)
            .map(|claim| claim.place.clone())
            .collect();
        if !left.is_empty() {
            let cleared = tokio::task::spawn_blocking(move || {
                for place in left {
                    if let Err(error) = clear(&place) {
                        tracing::warn!(place = %place.display(), %error, "can't be removed yet");
                    }
                }
            });
            let _ = cleared.await;
        }
    }

    /// A place that others use too and that is not any more what was put there.
    pub(crate) fn changed(&self) -> Option<PathBuf> {
        let state = self.shelf.state();
        let shared = self.claims.iter().filter(|claim| !claim.alone);
        let mut places = shared.map(|claim| &claim.place);
        places
            .find(|path| {
                state
                    .places
                    .get(*path)
                    .is_some_and(|place| !place.stamps.hold())
            })
            .cloned()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.shelf.state();
        for claim in &self.claims {
            if let Some(place) = state.places.get_mut(&claim.place) {
                place.users = place.users.saturating_sub(1);
                place.alone &= place.users > 0;
                // What an action wrote there is known to nobody.
                if claim.content == Content::Nothing {
                    place.content = None;
                }
            }
        }
        drop(state);
        self.shelf.changed.notify_waiters();
    }
}

/// Whether one of the claims can't be had beside `other`.
fn conflict(claims: &[Claim], other: &Claim) -> bool {
    claims.iter().any(|claim| {
        claim.place == other.place && (claim.alone || other.alone || claim.content != other.content)
    })
}

fn name(index: usize) -> Result<RelPath, Stop> {
    RelPath::new(index.to_string()).map_err(|error| Stop::Unable(error.to_string()))
}

/// Moves what is ready to its place, in place of what lies there, and gives its stamps.
fn put(temporary: &Path, index: usize, claim: &Claim) -> Result<Stamps, Stop> {
    let place = &claim.place;
    let ready = match claim.content {
        Content::File { .. } => temporary.join("files").join(index.to_string()),
        Content::Package(_) => temporary.join(index.to_string()).join("root"),
        Content::Tree(_) | Content::Nothing => temporary.join(index.to_string()),
    };
    if let Some(parent) = place.parent() {
        make_way(parent).tried_at("make", parent)?;
    }
    // A file is replaced at once: a compiler that looks through its directory finds it whole.
    if !matches!(claim.content, Content::File { .. }) || place.is_dir() {
        clear(place).tried_at("remove", place)?;
    }
    fs::rename(&ready, place).tried_at("move", place)?;
    Stamps::take(place).tried_at("look at", place)
}

/// Makes a directory, in place of files that stand in its way.
fn make_way(directory: &Path) -> io::Result<()> {
    if fs::create_dir_all(directory).is_ok() {
        return Ok(());
    }
    for ancestor in directory.ancestors().collect::<Vec<_>>().into_iter().rev() {
        if fs::symlink_metadata(ancestor).is_ok_and(|found| !found.is_dir()) {
            fs::remove_file(ancestor)?;
            break;
        }
    }
    fs::create_dir_all(directory)
}

fn clear(place: &Path) -> io::Result<()> {
    match fs::symlink_metadata(place) {
        Ok(found) if found.is_dir() => remove(place),
        Ok(_) => fs::remove_file(place),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// Each place once: an action that names one twice means the same.
pub(crate) fn once(claims: Vec<Claim>) -> Vec<Claim> {
    let mut seen = BTreeSet::new();
    claims
        .into_iter()
        .filter(|claim| seen.insert(claim.place.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt;
    use vx_core::tree::{TreeEntry, TreeNode};
    use vx_core::{Blob, GrantId, Holder, StoreService};
    use vx_rpc::contract::MemoryStore;

    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        shelf: Arc<Shelf>,
        store: Arc<dyn Store>,
    }

    impl Bench {
        fn new(limit: u64) -> Self {
            let directory = tempfile::tempdir().unwrap();
            Self {
                shelf: Shelf::open(directory.path().join("shelf"), limit).unwrap(),
                store: MemoryStore::new().store(GrantId(0), Holder::Remote),
                directory,
            }
        }

        async fn file(&self, name: &str, content: &str) -> Claim {
            let bytes = Bytes::copy_from_slice(content.as_bytes());
            let blob = Blob::of(&bytes);
            self.store.write_small(vec![bytes]).await.unwrap();
            Claim {
                place: self.shelf.directory().join("0").join(name),
                content: Content::File {
                    digest: blob.digest,
                    size: blob.size,
                    executable: false,
                },
                tree: None,
                alone: false,
            }
        }

        async fn tree(&self, name: &str, content: &str) -> Claim {
            let file = self.file("unused", content).await;
            let Content::File { digest, size, .. } = file.content else {
                unreachable!("it is one");
            };
            let entry = TreeEntry {
                path: RelPath::new("a/b").unwrap(),
                node: TreeNode::File {
                    blob: Blob { digest, size },
                    executable: true,
                },
            };
            let tree = Tree::new(vec![entry]).unwrap();
            Claim {
                place: self.shelf.directory().join("0").join(name),
                content: Content::Tree(Digest::of(&tree.encode())),
                tree: Some(Arc::new(tree)),
                alone: false,
            }
        }

        fn nothing(&self, name: &str) -> Claim {
            Claim {
                place: self.shelf.directory().join("0").join(name),
                content: Content::Nothing,
                tree: None,
                alone: true,
            }
        }

        fn take(&self, claims: &[&Claim]) -> impl Future<Output = Result<Hold, Stop>> + use<> {
            let claims = claims.iter().map(|claim| (*claim).clone()).collect();
            let (shelf, store) = (Arc::clone(&self.shelf), Arc::clone(&self.store));
            async move {
                let taken = shelf.take(claims, &store, &TaskTracker::new()).await;
                taken.map(|(hold, _)| hold)
            }
        }
    }

    fn read(claim: &Claim) -> String {
        fs::read_to_string(&claim.place).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_same_is_shared_and_other_content_waits() {
        let bench = Bench::new(1 << 20);
        let (one, two) = (bench.file("x", "one").await, bench.file("x", "two").await);
        let first = bench.take(&[&one]).await.unwrap();
        let second = bench.take(&[&one]).await.unwrap();
        let mut other = Box::pin(bench.take(&[&two]));
        assert!(other.as_mut().now_or_never().is_none());
        drop(first);
        assert!(other.as_mut().now_or_never().is_none());
        assert_eq!(read(&one), "one");
        // Who comes later does not get past who waits.
        let mut late = Box::pin(bench.take(&[&one]));
        assert!(late.as_mut().now_or_never().is_none());
        drop(second);
        let other = other.await.unwrap();
        assert_eq!(read(&two), "two");
        drop(other);
        let _late = late.await.unwrap();
        assert_eq!(read(&one), "one");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_stops_waiting_is_in_nobodys_way() {
        let bench = Bench::new(1 << 20);
        let (one, two) = (bench.file("x", "one").await, bench.file("x", "two").await);
        let _first = bench.take(&[&one]).await.unwrap();
        let mut other = Box::pin(bench.take(&[&two]));
        assert!(other.as_mut().now_or_never().is_none());
        let mut third = Box::pin(bench.take(&[&one]));
        assert!(third.as_mut().now_or_never().is_none());
        drop(other);
        let _third = third.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_changed_is_put_again() {
        let bench = Bench::new(1 << 20);
        let (file, tree) = (bench.file("x", "one").await, bench.tree("t", "in").await);
        let hold = bench.take(&[&file, &tree]).await.unwrap();
        assert_eq!(hold.changed(), None);
        fs::write(&file.place, "two").unwrap();
        assert_eq!(hold.changed(), Some(file.place.clone()));
        fs::write(tree.place.join("a/more"), "").unwrap();
        drop(hold);
        let _again = bench.take(&[&file, &tree]).await.unwrap();
        assert_eq!(read(&file), "one");
        assert!(!tree.place.join("a/more").exists());
        assert_eq!(fs::read_to_string(tree.place.join("a/b")).unwrap(), "in");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_scripts_own_directory_is_empty_and_then_others() {
        let bench = Bench::new(1 << 20);
        let (own, tree) = (bench.nothing("t"), bench.tree("t", "in").await);
        drop(bench.take(&[&tree]).await.unwrap());
        let mut hold = bench.take(&[&own]).await.unwrap();
        assert_eq!(fs::read_dir(&own.place).unwrap().count(), 0);
        assert!(Box::pin(bench.take(&[&own])).now_or_never().is_none());
        fs::write(own.place.join("left"), "as it is").unwrap();
        let Content::Tree(digest) = tree.content else {
            unreachable!("it is one");
        };
        hold.adopt(&own.place, digest);
        hold.end().await;
        let hold = bench.take(&[&tree]).await.unwrap();
        assert_eq!(
            fs::read_to_string(tree.place.join("left")).unwrap(),
            "as it is"
        );
        drop(hold);
        // What nobody takes for anything goes.
        let hold = bench.take(&[&own]).await.unwrap();
        fs::write(own.place.join("left"), "").unwrap();
        hold.end().await;
        assert!(!own.place.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_missing_leaves_no_place_taken() {
        let bench = Bench::new(1 << 20);
        let mut lost = bench.file("x", "one").await;
        lost.content = Content::File {
            digest: Digest::of(b"lost"),
            size: 4,
            executable: false,
        };
        let stop = bench.take(&[&lost]).await.err();
        assert!(matches!(stop, Some(Stop::Missing(_))), "{stop:?}");
        let there = bench.file("x", "one").await;
        let _hold = bench.take(&[&there]).await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_oldest_unused_goes_and_leftovers_too() {
        let bench = Bench::new(8);
        let (one, two) = (
            bench.file("1", "12345").await,
            bench.file("2", "12345").await,
        );
        let used = bench.take(&[&one]).await.unwrap();
        drop(bench.take(&[&two]).await.unwrap());
        assert!(one.place.exists());
        let three = bench.file("3", "12345").await;
        drop(used);
        let _used = bench.take(&[&three]).await.unwrap();
        assert!(!one.place.exists() && !two.place.exists());
        let directory = bench.directory.path().join("shelf");
        Shelf::open(directory.clone(), 8).unwrap();
        assert_eq!(fs::read_dir(directory).unwrap().count(), 0);
    }
}
