//! Blobs: in, out, checked, shared, gone.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use bytes::Bytes;
use support::{Home, flip, get, me, noise, put};
use vx_core::service::MAX_BATCH;
use vx_core::{Blob, Digest, ServiceError, StoreService};

#[tokio::test]
async fn what_goes_in_comes_out() {
    let home = Home::new().await;
    for length in [0, 1, 300_000, 3_000_000] {
        let content = noise(1, length);
        let blob = home.put(&content).await;
        assert_eq!(blob, Blob::of(&content));
        assert!(home.get(blob.digest).await.as_deref() == Some(&content[..]));
    }
    let status = home.cass.status().await.unwrap();
    assert_eq!((status.blobs, status.bytes), (4, 3_300_001));
    assert_eq!(home.get(Digest::of(b"nowhere")).await, None);
}

#[tokio::test]
async fn a_read_may_start_anywhere() {
    let home = Home::new().await;
    let content = noise(2, 700_000);
    let blob = home.put(&content).await;
    for offset in [1, 262_144, 699_999, 700_000] {
        let rest = get(&*home.store, blob.digest, offset).await.unwrap();
        assert!(rest == content[usize::try_from(offset).unwrap()..]);
    }
    let beyond = home.store.read(blob.digest, 700_001).await;
    assert!(matches!(beyond.err(), Some(ServiceError::Invalid(_))));
}

#[tokio::test]
async fn small_blobs_travel_in_batches() {
    let home = Home::new().await;
    let blobs: Vec<Bytes> = (0..200_u8)
        .map(|n| noise(n, usize::from(n)).into())
        .collect();
    let digests = home.store.write_small(blobs.clone()).await.unwrap();
    let mut asked = digests.clone();
    asked.push(Digest::of(b"nowhere"));
    let got = home.store.read_small(asked.clone()).await.unwrap();
    let expected: Vec<_> = blobs.into_iter().map(Some).chain([None]).collect();
    assert_eq!(got, expected);
    let missing = home.store.missing(asked).await.unwrap();
    assert_eq!(missing, [Digest::of(b"nowhere")]);
}

#[tokio::test]
async fn bounds_are_kept() {
    let home = Home::new().await;
    let large = home.put(&noise(3, 70_000)).await;
    let refused = [
        home.store.read_small(vec![large.digest]).await.err(),
        home.store
            .write_small(vec![noise(3, 70_000).into()])
            .await
            .err(),
        home.store
            .missing(vec![large.digest; MAX_BATCH + 1])
            .await
            .err(),
    ];
    for error in refused {
        assert!(matches!(error, Some(ServiceError::Invalid(_))), "{error:?}");
    }
    let small = Home::with_limit(1 << 20).await;
    let mut writer = small.store.write().await.unwrap();
    let mut told = None;
    for _ in 0..40 {
        told = writer.write(noise(4, 100_000).into()).await.err();
        if told.is_some() {
            break;
        }
    }
    assert!(
        matches!(told, Some(ServiceError::Overloaded(_))),
        "{told:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_write_the_same_blob_at_once() {
    let home = Home::new().await;
    let content = noise(5, 2_000_000);
    let writers: Vec<_> = (0..16)
        .map(|_| {
            let (store, content) = (home.cass.store(home.grant, me()), content.clone());
            tokio::spawn(async move { put(&*store, &content).await })
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.await.unwrap(), Blob::of(&content));
    }
    let status = home.cass.status().await.unwrap();
    assert_eq!((status.blobs, status.bytes), (1, 2_000_000));
    assert!(home.get(Digest::of(&content)).await == Some(content));
    assert_eq!(
        std::fs::read_dir(home.path().join("tmp")).unwrap().count(),
        0
    );
}

#[tokio::test]
async fn a_dropped_writer_leaves_nothing() {
    let home = Home::new().await;
    let mut writer = home.store.write().await.unwrap();
    writer.write(noise(6, 2_000_000).into()).await.unwrap();
    drop(writer);
    home.cass.close().await.unwrap();
    assert_eq!(
        std::fs::read_dir(home.path().join("tmp")).unwrap().count(),
        0
    );
    assert_eq!(home.cass.status().await.unwrap().blobs, 0);
}

#[tokio::test]
async fn a_flip_is_found_at_the_next_use_and_set_aside() {
    let home = Home::new().await;
    let (large, small) = (noise(7, 500_000), noise(8, 500));
    for content in [large, small] {
        let blob = home.put(&content).await;
        assert!(home.get(blob.digest).await.is_some());
        flip(&home.blob_path(&blob.digest));
        assert_eq!(home.get(blob.digest).await, None);
        assert!(!home.blob_path(&blob.digest).exists());
        let missing = home.store.missing(vec![blob.digest]).await.unwrap();
        assert_eq!(missing, [blob.digest]);
        // Produced again, it is back.
        home.put(&content).await;
        assert!(home.get(blob.digest).await == Some(content));
    }
    let small = home.put(&noise(9, 100)).await;
    flip(&home.blob_path(&small.digest));
    let got = home.store.read_small(vec![small.digest]).await.unwrap();
    assert_eq!(got, [None]);
    assert_eq!(home.cass.status().await.unwrap().set_aside, 3);
    let aside = std::fs::read_dir(home.path().join("aside")).unwrap();
    assert_eq!(aside.count(), 3);
}

#[tokio::test]
async fn a_blob_that_is_written_over_a_damaged_one_replaces_it() {
    let home = Home::new().await;
    let content = noise(10, 300_000);
    let blob = home.put(&content).await;
    flip(&home.blob_path(&blob.digest));
    assert_eq!(home.put(&content).await, blob);
    assert!(home.get(blob.digest).await == Some(content));
}

#[tokio::test]
async fn files_that_vanish_shrink_or_turn_into_something_else_are_missing() {
    let home = Home::new().await;
    let blobs = [
        home.put(&noise(11, 1000)).await,
        home.put(&noise(12, 1000)).await,
        home.put(&noise(13, 1000)).await,
    ];
    let paths = blobs.map(|blob| home.blob_path(&blob.digest));
    std::fs::remove_file(&paths[0]).unwrap();
    std::fs::remove_file(&paths[1]).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &paths[1]).unwrap();
    std::fs::remove_file(&paths[2]).unwrap();
    std::fs::write(&paths[2], "short").unwrap();
    for blob in blobs {
        assert_eq!(home.get(blob.digest).await, None);
        assert!(
            !home
                .store
                .missing(vec![blob.digest])
                .await
                .unwrap()
                .is_empty()
        );
    }
}

#[tokio::test]
async fn nothing_is_done_under_a_grant_that_is_over() {
    let home = Home::new().await;
    let content = noise(14, 1_000_000);
    let blob = home.put(&content).await;
    let mut reader = home.store.read(blob.digest, 0).await.unwrap().unwrap();
    let mut writer = home.store.write().await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    home.cass.release(home.grant).await;
    let refused = [
        reader.next().await.err(),
        writer.finish().await.err(),
        home.store.missing(vec![]).await.err(),
        home.store.read(blob.digest, 0).await.err(),
        home.store.write().await.err(),
        home.store.read_small(vec![]).await.err(),
        home.store.write_small(vec![]).await.err(),
        home.results.lookup(vec![]).await.err(),
        home.results.records(vec![]).await.err(),
        home.cass
            .store(home.grant, me())
            .missing(vec![])
            .await
            .err(),
    ];
    for error in refused {
        assert_eq!(error, Some(ServiceError::Revoked));
    }
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let home = Home::new().await;
    home.cass.close().await.unwrap();
    let error = home.store.write_small(vec![Bytes::from_static(b"x")]).await;
    assert!(error.unwrap_err().is_disconnected());
}
