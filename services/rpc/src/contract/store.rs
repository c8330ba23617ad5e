//! What a store has to do.

use bytes::Bytes;
use vx_core::service::{MAX_BATCH, MAX_SMALL_BLOB};
use vx_core::{
    Blob, Digest, PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest, RelPath, ServiceError,
};

use super::{Subject, content, get, put};

/// Checks a store. `make` gives a fresh one each time.
///
/// # Panics
/// Where it does not do what a store has to do.
pub async fn store_suite<Make, Made>(make: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = Subject>,
{
    nothing_is_there_at_first(&make().await).await;
    blobs_come_back_whole_and_from_offsets(&make().await).await;
    abandoned_writers_leave_nothing(&make().await).await;
    writers_of_one_blob_agree(&make().await).await;
    readers_may_leave(&make().await).await;
    many_streams_run_at_once(&make().await).await;
    a_slow_reader_holds_nobody_up(&make().await).await;
    small_blobs_keep_their_order(&make().await).await;
    batches_may_be_large(&make().await).await;
    large_blobs_are_not_small(&make().await).await;
    missing_blobs_are_not_placed(&make().await).await;
}

fn absent(seed: u8) -> Digest {
    Digest::of(&[b'a', seed])
}

async fn nothing_is_there_at_first(subject: &Subject) {
    let store = &*subject.store;
    let asked = vec![absent(1), absent(2), absent(1)];
    let mut missing = store.missing(asked).await.unwrap();
    missing.sort();
    missing.dedup();
    let mut expected = vec![absent(1), absent(2)];
    expected.sort();
    assert_eq!(missing, expected);
    assert!(store.missing(Vec::new()).await.unwrap().is_empty());
    assert!(store.read(absent(1), 0).await.unwrap().is_none());
    assert!(store.read(absent(1), 99).await.unwrap().is_none());
    assert_eq!(store.read_small(vec![absent(1)]).await.unwrap(), [None]);
    assert!(store.read_small(Vec::new()).await.unwrap().is_empty());
    assert!(store.write_small(Vec::new()).await.unwrap().is_empty());
}

async fn blobs_come_back_whole_and_from_offsets(subject: &Subject) {
    let store = &*subject.store;
    for (size, piece) in [
        (0, 1),
        (1, 1),
        (4095, 7),
        (64 * 1024, 64 * 1024),
        (1_000_003, 8192),
        (5 * 1024 * 1024 + 1, 700_001),
        (3 * 1024 * 1024, 3 * 1024 * 1024),
    ] {
        let bytes = content(size as u64, size);
        let blob = put(store, &bytes, piece).await.unwrap();
        assert_eq!(blob, Blob::of(&bytes), "{size} bytes");
        assert!(store.missing(vec![blob.digest]).await.unwrap().is_empty());
        let reader = store.read(blob.digest, 0).await.unwrap().unwrap();
        assert_eq!(reader.size(), size as u64);
        drop(reader);
        for offset in [0, 1, size / 2, size.saturating_sub(1), size] {
            if offset > size {
                continue;
            }
            let read = get(store, blob.digest, offset as u64).await.unwrap();
            assert!(
                read.unwrap() == bytes[offset..],
                "{size} bytes from {offset}"
            );
        }
        // Past the end there is nothing to read, said either way.
        let past = get(store, blob.digest, size as u64 + 1).await;
        assert!(past.is_err() || past.unwrap().unwrap_or_default().is_empty());
        // And the reader past the end hurts nobody.
        assert!(store.missing(vec![blob.digest]).await.unwrap().is_empty());
    }
}

async fn abandoned_writers_leave_nothing(subject: &Subject) {
    let store = &*subject.store;
    let bytes = content(1, 300_000);
    let mut writer = store.write().await.unwrap();
    writer.write(Bytes::from(bytes.clone())).await.unwrap();
    drop(writer);
    drop(store.write().await.unwrap());
    let digest = Digest::of(&bytes);
    assert_eq!(store.missing(vec![digest]).await.unwrap(), [digest]);
}

async fn writers_of_one_blob_agree(subject: &Subject) {
    let store = &*subject.store;
    let bytes = content(2, 700_000);
    let (one, two, three) = tokio::join!(
        put(store, &bytes, 1000),
        put(store, &bytes, 100_000),
        put(store, &bytes, bytes.len()),
    );
    for blob in [one, two, three] {
        assert_eq!(blob.unwrap(), Blob::of(&bytes));
    }
    let read = get(store, Digest::of(&bytes), 0).await.unwrap().unwrap();
    assert!(read == bytes);
}

async fn readers_may_leave(subject: &Subject) {
    let store = &*subject.store;
    let bytes = content(3, 4 * 1024 * 1024);
    let blob = put(store, &bytes, 1024 * 1024).await.unwrap();
    // More than any bound on open streams, so a leaked one shows.
    for turn in 0..100 {
        let mut reader = store.read(blob.digest, 0).await.unwrap().unwrap();
        if turn % 2 == 0 {
            assert!(reader.next().await.unwrap().is_some());
        }
    }
    let read = get(store, blob.digest, 0).await.unwrap().unwrap();
    assert!(read == bytes);
}

async fn many_streams_run_at_once(subject: &Subject) {
    let store = &*subject.store;
    let work = (0..40).map(|seed| async move {
        let bytes = content(seed, 400_000);
        let blob = put(store, &bytes, 60_000).await.unwrap();
        assert_eq!(blob, Blob::of(&bytes));
        let read = get(store, blob.digest, 0).await.unwrap().unwrap();
        assert!(read == bytes);
    });
    futures::future::join_all(work).await;
}

async fn a_slow_reader_holds_nobody_up(subject: &Subject) {
    let store = &*subject.store;
    let bytes = content(4, 16 * 1024 * 1024);
    let blob = put(store, &bytes, 1024 * 1024).await.unwrap();
    let mut slow = store.read(blob.digest, 0).await.unwrap().unwrap();
    let mut read = slow.next().await.unwrap().unwrap().to_vec();
    let quick = get(store, blob.digest, 0).await.unwrap().unwrap();
    assert!(quick == bytes);
    while let Some(piece) = slow.next().await.unwrap() {
        read.extend_from_slice(&piece);
    }
    assert!(read == bytes);
    assert!(slow.next().await.unwrap().is_none());
}

async fn small_blobs_keep_their_order(subject: &Subject) {
    let store = &*subject.store;
    let blobs: Vec<Bytes> = (0..20).map(|seed| content(seed, 100).into()).collect();
    let named = store.write_small(blobs.clone()).await.unwrap();
    let expected: Vec<_> = blobs.iter().map(|blob| Digest::of(blob)).collect();
    assert_eq!(named, expected);
    let mut asked = named.clone();
    asked.reverse();
    asked.insert(3, absent(1));
    let found = store.read_small(asked).await.unwrap();
    let mut expected: Vec<_> = blobs.iter().rev().cloned().map(Some).collect();
    expected.insert(3, None);
    assert_eq!(found, expected);
    let streamed = get(store, named[0], 0).await.unwrap().unwrap();
    assert_eq!(streamed, blobs[0]);
}

async fn batches_may_be_large(subject: &Subject) {
    let store = &*subject.store;
    let size = MAX_SMALL_BLOB as usize;
    let blobs: Vec<Bytes> = (0..200).map(|seed| content(seed, size).into()).collect();
    let named = store.write_small(blobs.clone()).await.unwrap();
    let found = store.read_small(named).await.unwrap();
    assert!(found.into_iter().flatten().collect::<Vec<_>>() == blobs);
    let many: Vec<Bytes> = (0..MAX_BATCH)
        .map(|seed| content(seed as u64, 9).into())
        .collect();
    let named = store.write_small(many.clone()).await.unwrap();
    assert!(store.missing(named.clone()).await.unwrap().is_empty());
    let found = store.read_small(named).await.unwrap();
    assert!(found.into_iter().flatten().collect::<Vec<_>>() == many);
}

async fn large_blobs_are_not_small(subject: &Subject) {
    let store = &*subject.store;
    let bytes = content(5, MAX_SMALL_BLOB as usize + 1);
    let refused = store.write_small(vec![bytes.clone().into()]).await;
    assert!(
        matches!(refused, Err(ServiceError::Invalid(_))),
        "{refused:?}"
    );
    let blob = put(store, &bytes, bytes.len()).await.unwrap();
    let refused = store.read_small(vec![blob.digest]).await;
    assert!(
        matches!(refused, Err(ServiceError::Invalid(_))),
        "{refused:?}"
    );
}

async fn missing_blobs_are_not_placed(subject: &Subject) {
    let request = PlaceRequest {
        directory: "/nonexistent/vx".to_owned(),
        files: vec![PlaceFile {
            path: RelPath::new("a/b").unwrap(),
            digest: absent(1),
            executable: true,
            mode: PlaceMode::Independent,
        }],
    };
    let outcome = subject.store.place(request).await;
    assert!(
        !matches!(outcome, Ok(PlaceOutcome::Placed { .. })),
        "{outcome:?}"
    );
}
