//! Who gets which place, and what lies there then.

use bytes::Bytes;
use futures::FutureExt;
use vx_core::tree::{TreeEntry, TreeNode};
use vx_core::{Blob, GrantId, Holder, RelPath, StoreService};
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
