//! The store as a process: started, used over its socket, and ended.

#![allow(clippy::unwrap_used, reason = "helpers of tests too")]

mod support;

use std::ffi::OsString;
use std::path::Path;

use support::{key, noise, output, result};
use vx_core::{PlaceMode, PlaceOutcome, Results, Store};
use vx_rpc::daemon::{self, SpawnError, Spawned};
use vx_rpc::{CassClient, Endpoint, Hub, Secret};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vx-cass");

async fn spawn(home: &Path) -> Result<Spawned, SpawnError> {
    let arguments: Vec<OsString> = vec![
        "--store".into(),
        home.join("cass").into(),
        "--listen".into(),
        endpoint(home).to_string().into(),
    ];
    daemon::spawn(Path::new(PROGRAM), &arguments, Some(&home.join("log"))).await
}

fn endpoint(home: &Path) -> Endpoint {
    Endpoint::unix(home.join("cass.sock")).unwrap()
}

async fn connect(home: &Path) -> (Hub, CassClient) {
    let secret = Secret::read(&home.join("cass/secret")).unwrap();
    let hub = Hub::start("test", tokio::runtime::Handle::current()).unwrap();
    let cass = hub.connect_cass(&endpoint(home), &secret).await.unwrap();
    (hub, cass)
}

/// A directory whose path has no symbolic link in it, and nobody else's business.
fn private() -> tempfile::TempDir {
    let base = std::env::temp_dir().canonicalize().unwrap();
    tempfile::tempdir_in(base).unwrap()
}

#[tokio::test]
async fn it_serves_places_and_remembers() {
    let home = private();
    let first = spawn(home.path()).await.unwrap();
    let (hub, cass) = connect(home.path()).await;
    let granted = cass.grant("test").await.unwrap();
    let content = noise(1, 3_000_000);
    let blob = support::put(&granted.store, &content).await;
    let published = result(vec![output("a", blob)]);
    let stands = granted.results.publish(key("k"), published.clone()).await;
    assert_eq!(stands.unwrap(), published);

    let target = home.path().join("target");
    std::fs::create_dir(&target).unwrap();
    let files = vec![support::file(
        "x/f",
        blob.digest,
        false,
        PlaceMode::SharedReadOnly,
    )];
    let placed = granted.store.place(support::request(&target, files)).await;
    let outcome = PlaceOutcome::Placed {
        linked: 3_000_000,
        copied: 0,
    };
    assert_eq!(placed.unwrap(), outcome);
    assert!(std::fs::read(target.join("x/f")).unwrap() == content);

    drop((granted, cass, hub));
    assert!(first.end().await.unwrap().success());

    let second = spawn(home.path()).await.unwrap();
    let (_hub, cass) = connect(home.path()).await;
    let granted = cass.grant("test").await.unwrap();
    let looked = granted.results.lookup(vec![key("k")]).await.unwrap();
    assert_eq!(looked, [Some(published)]);
    let read = support::get(&granted.store, blob.digest, 0).await;
    assert!(read.unwrap() == content);
    drop((granted, cass));
    assert!(second.end().await.unwrap().success());
}

#[tokio::test]
async fn a_grant_dies_with_its_connection() {
    let home = private();
    let served = spawn(home.path()).await.unwrap();
    let (_hub, watching) = connect(home.path()).await;
    let (hub, cass) = connect(home.path()).await;
    let granted = cass.grant("test").await.unwrap();
    assert_eq!(watching.status().await.unwrap().grants, 1);
    drop((granted, cass, hub));
    while watching.status().await.unwrap().grants > 0 {
        tokio::task::yield_now().await;
    }
    drop(watching);
    served.end().await.unwrap();
}

#[tokio::test]
async fn a_start_that_fails_says_why() {
    let home = private();
    std::fs::create_dir(home.path().join("cass")).unwrap();
    std::fs::write(home.path().join("cass/thesis.tex"), "").unwrap();
    let told = spawn(home.path()).await;
    assert!(
        matches!(&told, Err(SpawnError::Failed { text, .. }) if text.contains("thesis.tex")),
        "{told:?}"
    );
}

#[tokio::test]
async fn two_can_not_have_one_store_and_the_first_stays() {
    let home = private();
    let first = spawn(home.path()).await.unwrap();
    let told = spawn(home.path()).await;
    assert!(
        matches!(&told, Err(SpawnError::Failed { text, .. }) if text.contains("in use")),
        "{told:?}"
    );
    let (_hub, cass) = connect(home.path()).await;
    cass.status().await.unwrap();
    drop(cass);
    first.end().await.unwrap();
}

#[tokio::test]
async fn it_leaves_when_asked() {
    let home = private();
    let mut served = spawn(home.path()).await.unwrap();
    let hub = Hub::start("test", tokio::runtime::Handle::current()).unwrap();
    hub.ask_to_leave(&endpoint(home.path())).await.unwrap();
    drop(hub);
    assert!(served.child.wait().await.unwrap().success());
    assert!(!home.path().join("cass.sock").exists());
}

#[tokio::test]
async fn a_killed_one_is_replaced_at_once() {
    let home = private();
    let mut first = spawn(home.path()).await.unwrap();
    let (_hub, cass) = connect(home.path()).await;
    let granted = cass.grant("test").await.unwrap();
    let content = noise(2, 500_000);
    let blob = support::put(&granted.store, &content).await;
    first.child.kill().await.unwrap();
    let second = spawn(home.path()).await.unwrap();
    let (_hub, cass) = connect(home.path()).await;
    let granted = cass.grant("test").await.unwrap();
    assert!(support::get(&granted.store, blob.digest, 0).await.unwrap() == content);
    drop((granted, cass));
    second.end().await.unwrap();
}
