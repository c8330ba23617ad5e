//! The suites that every store and every table of results has to pass.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use std::sync::Arc;

use support::{Home, config, me};
use vx_core::StoreService;
use vx_rpc::contract::{Subject, accepting_results_suite, results_suite, store_suite};
use vx_rpc::{Endpoint, Hub, Secret, Server};

async fn subject() -> Subject {
    subject_of(Home::new().await).await
}

/// A store that keeps results of actions that were not isolated.
async fn accepting() -> Home {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(&directory.path().join("store"));
    config.accept_unisolated = true;
    Home::open(directory, config).await
}

async fn subject_of(home: Home) -> Subject {
    let other = home.cass.grant("other".to_owned()).await.unwrap();
    Subject {
        store: home.cass.store(home.grant, me()),
        results: home.cass.results(home.grant),
        other: home.cass.results(other),
        keep: Box::new(home),
    }
}

#[tokio::test]
async fn the_local_store_keeps_the_contract() {
    store_suite(subject).await;
}

/// The same store, behind its socket.
async fn served() -> Subject {
    served_of(Home::new().await).await
}

async fn served_of(home: Home) -> Subject {
    let endpoint = Endpoint::unix(home.path().join("socket")).unwrap();
    let secret = Secret::random().unwrap();
    let server = Server::builder("vx-cass", endpoint.clone(), secret.clone())
        .serve_store(home.cass.clone())
        .start()
        .await
        .unwrap();
    let hub = Hub::start("test", tokio::runtime::Handle::current()).unwrap();
    let cass = hub.connect_cass(&endpoint, &secret).await.unwrap();
    let one = cass.grant("one").await.unwrap();
    let two = cass.grant("two").await.unwrap();
    Subject {
        store: Arc::new(one.store),
        results: Arc::new(one.results),
        other: Arc::new(two.results),
        keep: Box::new((one.grant, two.grant, hub, server, home)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_store_keeps_the_contract() {
    store_suite(served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_served_results_keep_the_contract() {
    results_suite(served).await;
}

#[tokio::test]
async fn the_local_results_keep_the_contract() {
    results_suite(subject).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_keeps_unisolated_results_where_it_was_told_to() {
    accepting_results_suite(async || subject_of(accepting().await).await).await;
    accepting_results_suite(async || served_of(accepting().await).await).await;
}

#[tokio::test]
async fn what_was_accepted_is_not_served_once_the_store_is_told_otherwise() {
    let home = accepting().await;
    let blob = home.store.write_small(vec!["x".into()]).await.unwrap();
    let key = vx_core::ActionKey(vx_core::Digest::of(b"k"));
    let made = vx_core::ActionResult {
        unisolated: true,
        ..support::result(vec![support::output("a", vx_core::Blob::of(b"x"))])
    };
    assert_eq!(blob, [vx_core::Digest::of(b"x")]);
    home.results.publish(key, made.clone()).await.unwrap();
    // Opened again as it is by default.
    let home = home.reopen().await;
    assert_eq!(home.results.lookup(vec![key]).await.unwrap(), [None]);
    let isolated = vx_core::ActionResult {
        unisolated: false,
        ..made
    };
    let standing = home.results.publish(key, isolated.clone()).await;
    assert_eq!(standing, Ok(isolated));
}
