//! The contract suites over the wire: directly, relayed, handed over, and lent.

use std::sync::Arc;

use tokio::sync::mpsc;
use vx_core::{Execution, Store, StoreService};

use super::{Blind, Cass, Rhea, action, hub};
use crate::contract::{MemoryStore, Subject, accepting_results_suite, results_suite, store_suite};
use crate::{Granted, Handover, Limits, Route};

fn local() -> Subject {
    subject_of(MemoryStore::new())
}

fn subject_of(memory: MemoryStore) -> Subject {
    let subject = futures::executor::block_on(async {
        let (one, two) = (
            memory.grant("one".to_owned()).await.unwrap(),
            memory.grant("two".to_owned()).await.unwrap(),
        );
        (one, two)
    });
    Subject {
        store: memory.store(subject.0, vx_core::Holder::Remote),
        results: memory.results(subject.0),
        other: memory.results(subject.1),
        keep: Box::new(memory),
    }
}

async fn direct(endpoint: Option<&str>) -> Subject {
    let cass = Cass::start_with(Limits::default(), endpoint).await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    let one = client.grant("one").await.unwrap();
    let two = client.grant("two").await.unwrap();
    Subject {
        store: Arc::new(one.store),
        results: Arc::new(one.results),
        other: Arc::new(two.results),
        keep: Box::new((cass, hub, client, one.grant, two.grant)),
    }
}

/// The store that an executor gets when an orchestrator hands its store over.
async fn handed(handover: Handover, lend: bool) -> Subject {
    let cass = Cass::start().await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    let one: Granted = client.grant("one").await.unwrap();
    let two = client.grant("two").await.unwrap();
    let (got, mut gets) = mpsc::channel::<Arc<dyn Store>>(1);
    let rhea = Rhea::start(handover, move |_, store, _| {
        let got = got.clone();
        async move {
            got.send(store).await.unwrap();
            std::future::pending::<()>().await;
            Ok(Execution::Unable(String::new()))
        }
    })
    .await;
    let executor = rhea.client(&hub).await;
    let store: Arc<dyn Store> = if lend {
        cass.memory
            .store(vx_core::GrantId(0), vx_core::Holder::Remote)
    } else {
        Arc::new(one.store)
    };
    let under_way = tokio::spawn(async move {
        use vx_core::Executor;
        executor.execute(action(), store, Arc::new(Blind)).await
    });
    let store = gets.recv().await.unwrap();
    let expected = match handover {
        Handover::Direct if !lend => Route::Direct,
        _ => Route::Relayed,
    };
    let remote = (&*store as &dyn std::any::Any)
        .downcast_ref::<crate::RemoteStore>()
        .unwrap();
    assert_eq!(remote.route(), expected);
    let abort = AbortOnDrop(under_way.abort_handle());
    Subject {
        store,
        results: Arc::new(one.results),
        other: Arc::new(two.results),
        keep: Box::new((cass, hub, client, rhea, one.grant, two.grant, abort)),
    }
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_keeps_the_contract() {
    store_suite(async || local()).await;
    results_suite(async || local()).await;
    accepting_results_suite(async || subject_of(MemoryStore::new().accepting_unisolated())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_over_a_unix_socket_keeps_the_contract() {
    store_suite(|| direct(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_over_tcp_keeps_the_contract() {
    store_suite(|| direct(Some("127.0.0.1:0"))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_over_a_unix_socket_keep_the_contract() {
    results_suite(|| direct(None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_store_keeps_the_contract() {
    store_suite(|| handed(Handover::RelayOnly, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_was_handed_over_keeps_the_contract() {
    store_suite(|| handed(Handover::Direct, false)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lent_store_keeps_the_contract() {
    store_suite(|| handed(Handover::Direct, true)).await;
}
