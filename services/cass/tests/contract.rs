//! The suites that every store and every table of results has to pass.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use std::sync::Arc;

use support::{Home, me};
use vx_core::StoreService;
use vx_rpc::contract::{Subject, results_suite, store_suite};
use vx_rpc::{Endpoint, Hub, Secret, Server};

async fn subject() -> Subject {
    let home = Home::new().await;
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
    let home = Home::new().await;
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
