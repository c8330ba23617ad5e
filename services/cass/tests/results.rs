//! Results, records, and what goes when the store is full.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use bytes::Bytes;
use support::{Home, flip, key, me, noise, output, result};
use vx_core::service::{MAX_RECORD, RECORDS_PER_NAME};
use vx_core::{
    Blob, Digest, Output, OutputForm, RecordName, RelPath, ServiceError, StoreService, Tree,
    TreeEntry, TreeNode,
};

fn name(text: &str) -> RecordName {
    RecordName(Digest::of(text.as_bytes()))
}

async fn put_tree(home: &Home, files: &[&[u8]]) -> Output {
    let mut entries = Vec::new();
    for (number, content) in files.iter().enumerate() {
        let blob = home.put(content).await;
        entries.push(TreeEntry {
            path: RelPath::new(format!("file{number}")).unwrap(),
            node: TreeNode::File {
                blob,
                executable: false,
            },
        });
    }
    let blob = home.put(&Tree::new(entries).unwrap().encode()).await;
    Output {
        name: "out".to_owned(),
        blob,
        form: OutputForm::Tree,
    }
}

#[tokio::test]
async fn the_first_result_stands() {
    let home = Home::new().await;
    let (one, two) = (home.put(b"one").await, home.put(b"two").await);
    let first = result(vec![output("a", one)]);
    let second = result(vec![output("a", two)]);
    assert_eq!(home.results.lookup(vec![key("k")]).await.unwrap(), [None]);
    let published = home.results.publish(key("k"), first.clone()).await;
    assert_eq!(published.unwrap(), first);
    let published = home.results.publish(key("k"), second).await;
    assert_eq!(published.unwrap(), first);
    let looked = home.results.lookup(vec![key("x"), key("k")]).await;
    assert_eq!(looked.unwrap(), [None, Some(first)]);
    assert_eq!(home.cass.status().await.unwrap().results, 1);
}

#[tokio::test]
async fn a_result_needs_its_blobs() {
    let home = Home::new().await;
    let lost = Blob::of(b"never stored");
    let told = home
        .results
        .publish(key("k"), result(vec![output("a", lost)]))
        .await;
    assert!(
        matches!(&told, Err(ServiceError::Invalid(text)) if text.contains(&lost.digest.to_hex())),
        "{told:?}"
    );
    let mut wrong_size = home.put(b"content").await;
    wrong_size.size += 1;
    let told = home
        .results
        .publish(key("k"), result(vec![output("a", wrong_size)]))
        .await;
    assert!(matches!(told, Err(ServiceError::Invalid(_))));
}

#[tokio::test]
async fn a_lost_blob_makes_room_for_another_result() {
    let home = Home::new().await;
    let (one, two) = (home.put(b"one").await, home.put(b"two").await);
    let first = result(vec![output("a", one)]);
    let second = result(vec![output("a", two)]);
    home.results.publish(key("k"), first.clone()).await.unwrap();
    flip(&home.blob_path(&one.digest));
    assert_eq!(home.get(one.digest).await, None);
    assert_eq!(home.results.lookup(vec![key("k")]).await.unwrap(), [None]);
    let published = home.results.publish(key("k"), second.clone()).await;
    assert_eq!(published.unwrap(), second);
    // What replaced it stands from then on.
    home.put(b"one").await;
    let published = home.results.publish(key("k"), first).await;
    assert_eq!(published.unwrap(), second);
}

#[tokio::test]
async fn a_tree_needs_its_files() {
    let home = Home::new().await;
    let tree = put_tree(&home, &[b"x", b"y"]).await;
    let published = result(vec![tree]);
    home.results
        .publish(key("k"), published.clone())
        .await
        .unwrap();
    home.results
        .publish(key("l"), published.clone())
        .await
        .unwrap();
    let looked = home.results.lookup(vec![key("k")]).await.unwrap();
    assert_eq!(looked, [Some(published.clone())]);
    let member = Digest::of(b"y");
    std::fs::remove_file(home.blob_path(&member)).unwrap();
    assert_eq!(home.get(member).await, None);
    assert_eq!(
        home.results.lookup(vec![key("k"), key("l")]).await.unwrap(),
        [None, None]
    );
    let told = home.results.publish(key("m"), published.clone()).await;
    assert!(
        matches!(&told, Err(ServiceError::Invalid(text)) if text.contains(&member.to_hex())),
        "{told:?}"
    );
    // Back again, both are served again, also after a restart.
    home.put(b"y").await;
    let home = home.reopen().await;
    let looked = home.results.lookup(vec![key("k"), key("l")]).await;
    assert_eq!(looked.unwrap(), [Some(published.clone()), Some(published)]);
}

#[tokio::test]
async fn bytes_that_are_no_tree_are_not_published_as_one() {
    let home = Home::new().await;
    let blob = home.put(b"not a tree").await;
    let output = Output {
        name: "out".to_owned(),
        blob,
        form: OutputForm::Tree,
    };
    let told = home.results.publish(key("k"), result(vec![output])).await;
    assert!(matches!(told, Err(ServiceError::Invalid(_))));
}

#[tokio::test]
async fn records_are_newest_first_and_few() {
    let home = Home::new().await;
    let record = |n: u8| Bytes::from(noise(n, if n.is_multiple_of(2) { 100 } else { 50_000 }));
    for n in 0..12 {
        home.results.record(name("r"), record(n)).await.unwrap();
    }
    home.results.record(name("r"), record(8)).await.unwrap();
    let expected: Vec<Bytes> = [8, 11, 10, 9, 7, 6, 5, 4].map(record).to_vec();
    assert_eq!(expected.len(), RECORDS_PER_NAME);
    let read = home.results.records(vec![name("r"), name("none")]).await;
    assert_eq!(read.unwrap(), [expected.clone(), vec![]]);
    let home = home.reopen().await;
    let read = home.results.records(vec![name("r")]).await.unwrap();
    assert_eq!(read, [expected]);
    let told = home
        .results
        .record(name("r"), vec![0; MAX_RECORD + 1].into())
        .await;
    assert!(matches!(told, Err(ServiceError::Invalid(_))));
}

#[tokio::test]
async fn the_least_recently_used_results_go_first() {
    let mut home = Home::with_limit(10 << 20).await;
    for n in 0..9_u8 {
        let blob = home.put(&noise(n, 1 << 20)).await;
        let published = result(vec![output("a", blob)]);
        home.results
            .publish(key(&n.to_string()), published)
            .await
            .unwrap();
    }
    home.regrant().await;
    // Used again, the oldest is the newest.
    home.results.lookup(vec![key("0")]).await.unwrap();
    home.regrant().await;
    for n in 9..12_u8 {
        home.put(&noise(n, 1 << 20)).await;
    }
    evicted(&home).await;
    let keys: Vec<_> = (0..9).map(|n| key(&n.to_string())).collect();
    let looked = home.results.lookup(keys).await.unwrap();
    let standing: Vec<bool> = looked.iter().map(Option::is_some).collect();
    assert!(standing[0], "the one used last stays: {standing:?}");
    assert!(!standing[1] && !standing[2], "the oldest go: {standing:?}");
    assert!(standing[8], "younger ones stay: {standing:?}");
    let first_blob = home.blob_path(&Digest::of(&noise(1, 1 << 20)));
    assert!(!first_blob.exists());
}

/// Returns once the store is under its limit, by what its status says.
async fn evicted(home: &Home) {
    loop {
        let status = home.cass.status().await.unwrap();
        if status.bytes <= status.limit {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_grant_holds_stays() {
    let mut home = Home::with_limit(4 << 20).await;
    let tree = put_tree(&home, &[&noise(1, 1 << 20), &noise(2, 1 << 20)]).await;
    let published = result(vec![tree]);
    home.results
        .publish(key("held"), published.clone())
        .await
        .unwrap();
    let told_present = home.put(&noise(3, 1 << 20)).await;
    home.regrant().await;
    // One grant looks the result up and is told that a blob is present; another fills the
    // store beyond its limit.
    home.results.lookup(vec![key("held")]).await.unwrap();
    home.store.missing(vec![told_present.digest]).await.unwrap();
    let other = home.cass.grant("other".to_owned()).await.unwrap();
    let store = home.cass.store(other, me());
    for n in 10..14 {
        support::put(&*store, &noise(n, 1 << 20)).await;
    }
    home.cass.release(other).await;
    evicted(&home).await;
    let looked = home.results.lookup(vec![key("held")]).await.unwrap();
    assert_eq!(looked, [Some(published)]);
    for n in 1..4 {
        assert!(home.get(Digest::of(&noise(n, 1 << 20))).await.is_some());
    }
    // Let go, it may.
    home.regrant().await;
    for n in 20..25 {
        home.put(&noise(n, 1 << 20)).await;
    }
    home.regrant().await;
    evicted(&home).await;
    assert_eq!(
        home.results.lookup(vec![key("held")]).await.unwrap(),
        [None]
    );
}

#[tokio::test]
async fn many_publish_at_once() {
    let home = Home::new().await;
    let blob = home.put(b"shared").await;
    let published: Vec<_> = (0..64)
        .map(|n| {
            let results = home.cass.results(home.grant);
            let mut one = result(vec![output("a", blob)]);
            one.payload = Bytes::from(vec![n]);
            tokio::spawn(async move { results.publish(key("k"), one).await.unwrap() })
        })
        .collect();
    let mut standing = Vec::new();
    for one in published {
        standing.push(one.await.unwrap());
    }
    assert!(standing.iter().all(|one| *one == standing[0]));
}
