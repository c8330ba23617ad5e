//! What a table of results has to do.

use std::time::Duration;

use bytes::Bytes;
use vx_core::service::RECORDS_PER_NAME;
use vx_core::{
    ActionKey, ActionResult, Blob, Digest, Output, OutputForm, RecordName, ServiceError, Tree,
};

use super::{Subject, content, put};

/// Checks a table of results. `make` gives a fresh one each time.
///
/// # Panics
/// Where it does not do what a table of results has to do.
pub async fn results_suite<Make, Made>(make: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = Subject>,
{
    the_first_result_stands(&make().await).await;
    results_need_their_blobs(&make().await).await;
    many_results_come_at_once(&make().await).await;
    records_are_newest_first(&make().await).await;
    many_records_come_at_once(&make().await).await;
    one_has_a_claim(&make().await).await;
    who_waits_for_a_claim_is_told(&make().await).await;
    unisolated_results_are_refused(&make().await).await;
}

/// Checks a table of results that was told to keep those of actions that were not isolated.
///
/// # Panics
/// Where it does not keep them.
pub async fn accepting_results_suite<Make, Made>(make: Make)
where
    Make: Fn() -> Made,
    Made: Future<Output = Subject>,
{
    let subject = make().await;
    let made = unisolated(&subject).await;
    let standing = subject.results.publish(key(1), made.clone()).await.unwrap();
    assert_eq!(standing, made);
    let found = subject.other.lookup(vec![key(1)]).await.unwrap();
    assert_eq!(found, [Some(made)]);
    the_first_result_stands(&make().await).await;
}

async fn unisolated(subject: &Subject) -> ActionResult {
    let blob = put(&*subject.store, &Tree::default().encode(), 1)
        .await
        .unwrap();
    ActionResult {
        unisolated: true,
        ..result(blob, b"bare".to_vec())
    }
}

async fn unisolated_results_are_refused(subject: &Subject) {
    let made = unisolated(subject).await;
    let refused = subject.results.publish(key(1), made.clone()).await;
    assert!(
        matches!(refused, Err(ServiceError::Unaccepted(_))),
        "{refused:?}"
    );
    assert_eq!(subject.other.lookup(vec![key(1)]).await.unwrap(), [None]);
    let isolated = ActionResult {
        unisolated: false,
        ..made
    };
    let standing = subject.results.publish(key(1), isolated.clone()).await;
    assert_eq!(standing, Ok(isolated));
}

fn key(seed: u64) -> ActionKey {
    ActionKey(Digest::of(&seed.to_le_bytes()))
}

fn name(seed: u64) -> RecordName {
    RecordName(key(seed).0)
}

fn result(blob: Blob, payload: Vec<u8>) -> ActionResult {
    ActionResult {
        outputs: vec![
            Output {
                name: "lib.rlib".to_owned(),
                blob,
                form: OutputForm::File { executable: true },
            },
            Output {
                name: "out".to_owned(),
                blob,
                form: OutputForm::Tree,
            },
        ],
        payload: payload.into(),
        unisolated: false,
    }
}

async fn the_first_result_stands(subject: &Subject) {
    let results = &*subject.results;
    assert!(results.lookup(Vec::new()).await.unwrap().is_empty());
    assert_eq!(results.lookup(vec![key(1)]).await.unwrap(), [None]);
    let blob = put(&*subject.store, &Tree::default().encode(), 1)
        .await
        .unwrap();
    let first = result(blob, b"first".to_vec());
    let second = result(blob, b"second".to_vec());
    let published = results.publish(key(1), first.clone()).await.unwrap();
    assert_eq!(published, first);
    let published = subject.other.publish(key(1), second.clone()).await.unwrap();
    assert_eq!(published, first);
    let other = results.publish(key(2), second.clone()).await.unwrap();
    assert_eq!(other, second);
    let found = subject
        .other
        .lookup(vec![key(2), key(3), key(1), key(2)])
        .await
        .unwrap();
    assert_eq!(
        found,
        [Some(second.clone()), None, Some(first), Some(second)]
    );
}

async fn results_need_their_blobs(subject: &Subject) {
    let absent = result(Blob::of(b"nowhere"), Vec::new());
    let refused = subject.results.publish(key(1), absent).await;
    assert!(
        matches!(refused, Err(ServiceError::Invalid(_))),
        "{refused:?}"
    );
    assert_eq!(subject.results.lookup(vec![key(1)]).await.unwrap(), [None]);
}

async fn many_results_come_at_once(subject: &Subject) {
    let blob = put(&*subject.store, &Tree::default().encode(), 2)
        .await
        .unwrap();
    let mut expected = Vec::new();
    let mut keys = Vec::new();
    for seed in 0..12 {
        let made = result(blob, content(seed, 1_500_000));
        let standing = subject
            .results
            .publish(key(seed), made.clone())
            .await
            .unwrap();
        assert!(standing == made);
        keys.push(key(seed));
        keys.push(key(seed + 1000));
        expected.push(Some(made));
        expected.push(None);
    }
    let found = subject.results.lookup(keys).await.unwrap();
    assert!(found == expected);
    let keys: Vec<_> = (0..1024).map(|seed| key(seed + 5000)).collect();
    assert_eq!(
        subject.results.lookup(keys).await.unwrap(),
        vec![None; 1024]
    );
}

async fn records_are_newest_first(subject: &Subject) {
    let results = &*subject.results;
    assert!(results.records(Vec::new()).await.unwrap().is_empty());
    let none: Vec<Bytes> = Vec::new();
    assert_eq!(
        results.records(vec![name(1)]).await.unwrap(),
        std::slice::from_ref(&none)
    );
    for text in ["a", "b", "c", "a"] {
        let record = Bytes::copy_from_slice(text.as_bytes());
        results.record(name(1), record).await.unwrap();
    }
    let lists = subject.other.records(vec![name(2), name(1)]).await.unwrap();
    assert_eq!(lists, [none, vec!["a".into(), "c".into(), "b".into()]]);
    for count in 0..2 * RECORDS_PER_NAME {
        let record = Bytes::from(format!("record {count}"));
        results.record(name(3), record).await.unwrap();
    }
    let lists = results.records(vec![name(3)]).await.unwrap();
    let expected = (0..2 * RECORDS_PER_NAME)
        .rev()
        .take(RECORDS_PER_NAME)
        .map(|count| Bytes::from(format!("record {count}")));
    assert_eq!(lists, [expected.collect::<Vec<_>>()]);
    let large = Bytes::from(vec![0; vx_core::service::MAX_RECORD + 1]);
    let refused = results.record(name(4), large).await;
    assert!(
        matches!(refused, Err(ServiceError::Invalid(_))),
        "{refused:?}"
    );
}

async fn many_records_come_at_once(subject: &Subject) {
    let results = &*subject.results;
    let mut expected = Vec::new();
    let sizes = [vx_core::service::MAX_RECORD, 1, 2_000_000, 3_000_000, 0];
    for seed in 0..3 {
        let mut list = Vec::new();
        for (index, size) in sizes.into_iter().enumerate() {
            let record = Bytes::from(content(seed * 10 + index as u64, size));
            results.record(name(seed), record.clone()).await.unwrap();
            list.insert(0, record);
        }
        expected.push(list);
        expected.push(Vec::new());
    }
    let names = (0..3).flat_map(|seed| [name(seed), name(seed + 100)]);
    let lists = results.records(names.collect()).await.unwrap();
    assert!(lists == expected);
    let names = (0..1000).map(|seed| name(seed + 200)).collect();
    let lists = results.records(names).await.unwrap();
    assert_eq!(lists, vec![Vec::<Bytes>::new(); 1000]);
}

async fn one_has_a_claim(subject: &Subject) {
    let what = Digest::of(b"work");
    let (one, two) = (&subject.results, &subject.other);
    assert!(one.claim(what, Duration::ZERO).await.unwrap());
    assert!(!two.claim(what, Duration::ZERO).await.unwrap());
    // What belongs to another stays.
    two.release(what).await.unwrap();
    assert!(!two.claim(what, Duration::from_millis(1)).await.unwrap());
    one.release(what).await.unwrap();
    assert!(two.claim(what, Duration::ZERO).await.unwrap());
    assert!(!one.claim(what, Duration::ZERO).await.unwrap());
    assert!(
        one.claim(Digest::of(b"other work"), Duration::ZERO)
            .await
            .unwrap()
    );
    two.release(what).await.unwrap();
}

async fn who_waits_for_a_claim_is_told(subject: &Subject) {
    let what = Digest::of(b"work");
    assert!(subject.results.claim(what, Duration::ZERO).await.unwrap());
    let waiting = async {
        // Whether it is told "done" or gets the claim at once, it has it in the end.
        while !subject
            .other
            .claim(what, Duration::from_secs(3600))
            .await
            .unwrap()
        {}
    };
    let releasing = async { subject.results.release(what).await.unwrap() };
    tokio::join!(waiting, releasing);
    assert!(!subject.results.claim(what, Duration::ZERO).await.unwrap());
    subject.other.release(what).await.unwrap();
}
