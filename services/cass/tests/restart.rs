//! Restarts: after a close, a crash at any point, and damage to what is on disk.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use std::path::Path;

use bytes::Bytes;
use support::{Home, config, flip, key, noise, output, result};
use vx_cass::{Cass, OpenError};
use vx_core::{Digest, RecordName, StoreService};

#[tokio::test]
async fn everything_is_there_after_a_close() {
    let home = Home::new().await;
    let content = noise(1, 400_000);
    let blob = home.put(&content).await;
    let published = result(vec![output("a", blob)]);
    home.results
        .publish(key("k"), published.clone())
        .await
        .unwrap();
    let home = home.reopen().await;
    let looked = home.results.lookup(vec![key("k")]).await.unwrap();
    assert_eq!(looked, [Some(published)]);
    assert!(home.get(blob.digest).await == Some(content));
    let status = home.cass.status().await.unwrap();
    assert_eq!(
        (status.blobs, status.results, status.bytes),
        (1, 1, 400_000)
    );
}

#[tokio::test]
async fn blobs_survive_a_crash_and_are_checked_before_use() {
    let home = Home::new().await;
    let (good, torn) = (noise(2, 400_000), noise(3, 400_000));
    let (good_blob, torn_blob) = (home.put(&good).await, home.put(&torn).await);
    let torn_path = home.blob_path(&torn_blob.digest);
    let directory = tempfile::tempdir().unwrap();
    // What is on disk at this moment is what a crash leaves.
    copy_tree(&home.path(), &directory.path().join("store"));
    let hex = torn_path.strip_prefix(home.path()).unwrap().to_owned();
    flip(&directory.path().join("store").join(hex));
    let after = Home::open(
        tempfile::tempdir().unwrap(),
        config(&directory.path().join("store")),
    )
    .await;
    assert!(get(&after, good_blob.digest).await == Some(good));
    assert_eq!(get(&after, torn_blob.digest).await, None);
}

async fn get(home: &Home, digest: Digest) -> Option<Vec<u8>> {
    support::get(&*home.store, digest, 0).await
}

fn copy_tree(from: &Path, to: &Path) {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    std::fs::DirBuilder::new().mode(0o700).create(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
            if entry.file_name() != "lock" {
                let mode = entry.metadata().unwrap().permissions().mode();
                std::fs::set_permissions(&target, PermissionsExt::from_mode(mode)).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn what_was_settled_survives_a_crash() {
    let home = Home::new().await;
    let blob = home.put(b"settled").await;
    let published = result(vec![output("a", blob)]);
    let name = RecordName(Digest::of(b"name"));
    home.results
        .publish(key("k"), published.clone())
        .await
        .unwrap();
    home.results
        .record(name, Bytes::from_static(b"record"))
        .await
        .unwrap();
    home.cass.settle().await.unwrap();
    // Not settled: the blob is found again, the result may be lost.
    let late = home.put(b"late").await;
    let home = home.crash().await;
    let looked = home.results.lookup(vec![key("k")]).await.unwrap();
    assert_eq!(looked, [Some(published)]);
    let records = home.results.records(vec![name]).await.unwrap();
    assert_eq!(records, [vec![Bytes::from_static(b"record")]]);
    assert_eq!(home.get(late.digest).await.as_deref(), Some(&b"late"[..]));
}

#[tokio::test]
async fn a_result_whose_blob_vanished_in_a_crash_is_not_served() {
    let home = Home::new().await;
    let blob = home.put(b"content").await;
    home.results
        .publish(key("k"), result(vec![output("a", blob)]))
        .await
        .unwrap();
    home.cass.settle().await.unwrap();
    std::fs::remove_file(home.blob_path(&blob.digest)).unwrap();
    let home = home.crash().await;
    assert_eq!(home.results.lookup(vec![key("k")]).await.unwrap(), [None]);
    assert_eq!(home.cass.status().await.unwrap().blobs, 0);
}

#[tokio::test]
async fn a_damaged_index_costs_results_only() {
    for damage in [truncate, garble, empty, noisy] {
        let home = Home::new().await;
        let content = noise(4, 100_000);
        let blob = home.put(&content).await;
        home.results
            .publish(key("k"), result(vec![output("a", blob)]))
            .await
            .unwrap();
        home.cass.close().await.unwrap();
        damage(&home.path().join("index.redb"));
        let home = home.reopen().await;
        assert!(home.get(blob.digest).await == Some(content));
        assert_eq!(home.results.lookup(vec![key("k")]).await.unwrap(), [None]);
        // And it works on.
        let published = result(vec![output("a", blob)]);
        home.results
            .publish(key("k"), published.clone())
            .await
            .unwrap();
        let home = home.reopen().await;
        let looked = home.results.lookup(vec![key("k")]).await.unwrap();
        assert_eq!(looked, [Some(published)]);
    }
}

fn truncate(path: &Path) {
    let file = std::fs::File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 3).unwrap();
}

fn garble(path: &Path) {
    let mut content = std::fs::read(path).unwrap();
    for byte in content.iter_mut().step_by(64) {
        *byte ^= 0x55;
    }
    std::fs::write(path, content).unwrap();
}

fn empty(path: &Path) {
    std::fs::write(path, "").unwrap();
}

fn noisy(path: &Path) {
    std::fs::write(path, noise(9, 100_000)).unwrap();
}

#[tokio::test]
async fn a_flip_anywhere_in_the_index_never_gives_another_result() {
    let home = Home::new().await;
    let blob = home.put(b"content").await;
    let published = result(vec![output("a", blob)]);
    home.results
        .publish(key("k"), published.clone())
        .await
        .unwrap();
    let home = home.reopen().await;
    home.cass.close().await.unwrap();
    let path = home.path().join("index.redb");
    let pristine = std::fs::read(&path).unwrap();
    let directory = home.directory;
    let config = config(&directory.path().join("store"));
    drop((home.store, home.results, home.cass));
    // Every place that holds anything, a sample of them.
    let places = (0..pristine.len())
        .filter(|at| pristine[*at] != 0)
        .step_by(97);
    for at in places.take(60) {
        let mut flipped = pristine.clone();
        flipped[at] ^= 4;
        std::fs::write(&path, flipped).unwrap();
        let cass = Cass::open(config.clone()).unwrap();
        let grant = cass.grant(String::new()).await.unwrap();
        let looked = cass.results(grant).lookup(vec![key("k")]).await.unwrap();
        assert!(
            looked == [None] || looked == [Some(published.clone())],
            "flip at {at}: {looked:?}"
        );
        cass.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_store_is_had_by_one_at_a_time() {
    let home = Home::new().await;
    let again = Cass::open(config(&home.path()));
    assert!(matches!(again.err(), Some(OpenError::InUse { .. })));
    home.cass.close().await.unwrap();
    Cass::open(config(&home.path())).unwrap();
}

/// Runs in a process of its own, which it kills; does nothing in an ordinary run.
#[tokio::test]
async fn crash_child() {
    let Ok(path) = std::env::var("VX_CASS_TEST_CRASH") else {
        return;
    };
    let home = Home::open(tempfile::tempdir().unwrap(), config(Path::new(&path))).await;
    let mut n = 0_u32;
    loop {
        let content = n.to_le_bytes().repeat(10_000);
        let blob = home.put(&content).await;
        let published = result(vec![output("a", blob)]);
        home.results
            .publish(key(&n.to_string()), published)
            .await
            .unwrap();
        if n == 20 {
            home.cass.settle().await.unwrap();
        }
        if n == 40 {
            std::process::abort();
        }
        n += 1;
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test starts itself")]
async fn a_killed_process_leaves_a_good_store() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("store");
    let status = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_child", "--nocapture"])
        .env("VX_CASS_TEST_CRASH", &path)
        .stderr(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(!status.success());
    let home = Home::open(directory, config(&path)).await;
    for n in 0..=40_u32 {
        let content = n.to_le_bytes().repeat(10_000);
        assert!(home.get(Digest::of(&content)).await == Some(content), "{n}");
        let looked = home
            .results
            .lookup(vec![key(&n.to_string())])
            .await
            .unwrap();
        if n <= 20 {
            assert!(looked[0].is_some(), "{n} was settled");
        }
    }
}

/// Run as: `VX_CASS_TEST_SMALL_DISK=DIR cargo test -p vx-cass -- --ignored disk_full`, with DIR
/// an empty file system of 16 MiB.
#[tokio::test]
#[ignore = "needs a small file system of its own"]
async fn a_full_disk_is_told_and_harms_nothing() {
    let base = std::env::var("VX_CASS_TEST_SMALL_DISK").unwrap();
    let directory = tempfile::tempdir_in(base).unwrap();
    let path = directory.path().join("store");
    let mut home = Home::open(directory, config(&path)).await;
    let mut kept = Vec::new();
    let mut told = None;
    for n in 0..40_u8 {
        let mut writer = home.store.write().await.unwrap();
        let content = noise(n, 1 << 20);
        let written = match writer.write(content.into()).await {
            Ok(()) => writer.finish().await,
            Err(error) => Err(error),
        };
        match written {
            Ok(blob) => kept.push((n, blob)),
            Err(error) => {
                told = Some(error);
                break;
            }
        }
    }
    let full =
        matches!(&told, Some(vx_core::ServiceError::Overloaded(text)) if text.contains("full"));
    assert!(full, "{told:?}");
    for (n, blob) in &kept {
        assert!(home.get(blob.digest).await == Some(noise(*n, 1 << 20)));
    }
    // Once nobody holds what is there, there is room again, without anyone's doing.
    home.regrant().await;
    loop {
        let mut writer = home.store.write().await.unwrap();
        if writer.write(noise(99, 1 << 20).into()).await.is_ok() && writer.finish().await.is_ok() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let blob = vx_core::Blob::of(&noise(99, 1 << 20));
    home.results
        .publish(key("k"), result(vec![output("a", blob)]))
        .await
        .unwrap();
    home.cass.settle().await.unwrap();
}
