//! Who gets what: secrets, casts, revocation, builds.

use std::sync::Arc;

use capnp::capability::FromClientHook;
use vx_core::{ServiceError, ServiceResult, Store};
use vx_schema::{executor_capnp, store_capnp};

use super::{Blind, Cass, Rhea, action, hub, soon};
use crate::client::introduce;
use crate::contract::{content, get, put};
use crate::limits::Limits;
use crate::wire::store::Introduction;
use crate::{ConnectError, Handover, Hub, RemoteStore, Secret, Server};

async fn introduction(store: &RemoteStore) -> ServiceResult<Introduction> {
    store
        .handle()
        .call(async |store, _| Ok(introduce(&store).await?))
        .await
}

#[track_caller]
fn refused(outcome: Result<impl Sized, ConnectError>) {
    match outcome.err() {
        Some(ConnectError::Refused {
            reason: ServiceError::Denied(_) | ServiceError::Revoked,
            ..
        }) => {}
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_needed_over_every_kind_of_socket() {
    for endpoint in [None, Some("127.0.0.1:0")] {
        let cass = Cass::start_with(Limits::default(), endpoint).await;
        let hub = hub("vx-aether");
        let wrong = Secret::random().unwrap();
        refused(hub.connect_cass(cass.server.endpoint(), &wrong).await);
        let hello = hub.hello(cass.server.endpoint()).await.unwrap();
        assert_eq!(hello, *cass.server.me());
        cass.client(&hub).await.status().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_is_good_once_and_gives_the_store_alone() {
    let cass = Cass::start().await;
    let (aether, rhea) = (hub("vx-aether"), hub("vx-rhea"));
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let blob = put(&granted.store, b"content", 3).await.unwrap();

    let met = introduction(&granted.store).await.unwrap();
    assert_eq!(met.endpoint, *cass.server.endpoint());
    let store = rhea.introduced(&met).await.unwrap();
    let read = get(&store, blob.digest, 0).await.unwrap();
    assert_eq!(read.unwrap(), b"content");
    refused(rhea.introduced(&met).await);

    // Whatever it is taken for, it is a store.
    let met = introduction(&granted.store).await.unwrap();
    let link = rhea.link(&met.endpoint, "vx-cass").await.unwrap();
    let cass_of_it = rhea
        .redeem::<store_capnp::cass::Client>(&link, &met.secret)
        .await
        .unwrap();
    let asked = cass_of_it
        .call(async |cass, _| {
            cass.grant_request().send().promise.await?;
            Ok(())
        })
        .await;
    assert!(matches!(asked, Err(ServiceError::Denied(_))), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_is_good_for_a_short_time_and_there_are_not_too_many() {
    let limits = Limits {
        introduction: std::time::Duration::ZERO,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let (aether, rhea) = (hub("vx-aether"), hub("vx-rhea"));
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let met = introduction(&granted.store).await.unwrap();
    refused(rhea.introduced(&met).await);

    let limits = Limits {
        introductions: 2,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let first = introduction(&granted.store).await.unwrap();
    introduction(&granted.store).await.unwrap();
    let third = introduction(&granted.store).await;
    assert!(
        matches!(third, Err(ServiceError::Overloaded(_))),
        "{third:?}"
    );
    rhea.introduced(&first).await.unwrap();
    introduction(&granted.store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_introduction_to_someone_else_is_not_followed() {
    let cass = Cass::start().await;
    let (aether, rhea) = (hub("vx-aether"), hub("vx-rhea"));
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let mut met = introduction(&granted.store).await.unwrap();
    met.instance = "another".to_owned();
    let error = rhea.introduced(&met).await.err().unwrap();
    assert!(matches!(error, ConnectError::Stranger { .. }), "{error}");
}

/// Tries everything that a store must not be.
async fn casts_fail(store: &RemoteStore) {
    macro_rules! tries {
        ($($client:ty: $($request:ident),*;)*) => {
            $($(
                let outcome = store
                    .handle()
                    .call(async |store, _| {
                        let cast: $client = store.client.cast_to();
                        cast.$request().send().promise.await?;
                        Ok(())
                    })
                    .await;
                match outcome {
                    Err(ServiceError::Denied(_)) => {}
                    other => panic!("{}: {other:?}", stringify!($request)),
                }
            )*)*
        };
    }
    tries! {
        store_capnp::results::Client: lookup_request, publish_request, records_request,
            record_request, claim_request, release_request;
        store_capnp::cass::Client: grant_request, status_request;
        executor_capnp::executor::Client: execute_request, status_request;
        vx_schema::bootstrap_capnp::bootstrap::Client: hello_request, redeem_request,
            drain_request;
    }
}

/// Runs `with` in an executor that was handed `store`.
async fn in_executor<Running>(
    aether: &Hub,
    store: RemoteStore,
    handover: Handover,
    with: impl Fn(RemoteStore) -> Running + Send + Sync + 'static,
) where
    Running: Future<Output = ()> + Send + 'static,
{
    use vx_core::{Execution, Executor};
    let rhea = Rhea::start(handover, move |_, store, _| {
        let store = (&*store as &dyn std::any::Any)
            .downcast_ref::<RemoteStore>()
            .unwrap()
            .clone();
        let running = with(store);
        async move {
            running.await;
            Ok(Execution::Unable("done".to_owned()))
        }
    })
    .await;
    let executor = rhea.client(aether).await;
    let done = soon(executor.execute(action(), Arc::new(store), Arc::new(Blind))).await;
    assert_eq!(done, Ok(Execution::Unable("done".to_owned())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_can_be_cast_to_nothing_greater() {
    let cass = Cass::start().await;
    let aether = hub("vx-aether");
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    casts_fail(&granted.store).await;
    for handover in [Handover::Direct, Handover::RelayOnly] {
        let store = granted.store.clone();
        in_executor(&aether, store, handover, |store| async move {
            casts_fail(&store).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_grant_ends_all_that_came_of_it() {
    let cass = Cass::start().await;
    let (aether, rhea) = (hub("vx-aether"), hub("vx-rhea"));
    let client = cass.client(&aether).await;
    let granted = client.grant("build").await.unwrap();
    let other = client.grant("other").await.unwrap();
    let bytes = content(1, 8 * 1024 * 1024);
    let blob = put(&granted.store, &bytes, bytes.len()).await.unwrap();
    let met = introduction(&granted.store).await.unwrap();
    let direct = rhea.introduced(&met).await.unwrap();
    let unused = introduction(&granted.store).await.unwrap();
    let mut reader = direct.read(blob.digest, 0).await.unwrap().unwrap();
    let mut writer = direct.write().await.unwrap();
    reader.next().await.unwrap().unwrap();

    drop(granted.grant);
    // Its end takes a moment to arrive; what the reader has by then is less than the blob.
    let arrives = async {
        while granted.store.missing(vec![blob.digest]).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    soon(arrives).await;
    let ended = async {
        while reader.next().await?.is_some() {}
        Ok::<_, ServiceError>(())
    };
    assert_eq!(soon(ended).await, Err(ServiceError::Revoked));
    let ended = async { while writer.write(content(2, 1024).into()).await.is_ok() {} };
    soon(ended).await;
    assert_eq!(soon(writer.finish()).await, Err(ServiceError::Revoked));
    for store in [&granted.store, &direct] {
        let asked = store.missing(vec![blob.digest]).await;
        assert_eq!(asked, Err(ServiceError::Revoked));
        assert_eq!(store.write().await.err(), Some(ServiceError::Revoked));
        assert_eq!(introduction(store).await.err(), Some(ServiceError::Revoked));
    }
    let asked = vx_core::Results::lookup(&granted.results, Vec::new()).await;
    assert_eq!(asked, Ok(Vec::new()));
    let asked = vx_core::Results::lookup(&granted.results, vec![vx_core::ActionKey(blob.digest)]);
    assert_eq!(asked.await, Err(ServiceError::Revoked));
    refused(rhea.introduced(&unused).await);
    // The other grant is as it was.
    let read = get(&other.store, blob.digest, 0).await.unwrap().unwrap();
    assert!(read == bytes);
    drop(other);
    soon(cass.memory.without_grants()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_orchestrator_ends_what_it_handed_out() {
    let cass = Cass::start().await;
    let (aether, rhea) = (hub("vx-aether"), hub("vx-rhea"));
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let met = introduction(&granted.store).await.unwrap();
    let direct = rhea.introduced(&met).await.unwrap();
    direct.missing(Vec::new()).await.unwrap();
    // As its process dies: with everything it holds, and without a word.
    drop((aether, granted));
    soon(cass.memory.without_grants()).await;
    let asked = direct.missing(vec![vx_core::Digest::of(b"x")]).await;
    assert_eq!(asked, Err(ServiceError::Revoked));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_build_or_service_is_told_apart_and_asked_to_leave() {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::random().unwrap();
    let endpoint = crate::Endpoint::unix(dir.path().join("old.sock")).unwrap();
    let old = Server::builder("vx-cass", endpoint.clone(), secret.clone())
        .build_id("0.0.1+old")
        .serve_store(Arc::new(crate::contract::MemoryStore::new()))
        .start()
        .await
        .unwrap();
    let hub = hub("vx");
    let error = hub.connect_cass(&endpoint, &secret).await.err().unwrap();
    assert!(error.is_other_build() && !error.is_absent());
    let text = error.to_string();
    assert!(
        text.contains("0.0.1+old") && text.contains(crate::BUILD),
        "{text}"
    );
    let asked = hub.ask_to_leave(&endpoint).await.unwrap();
    assert_eq!(asked.build, "0.0.1+old");
    soon(old.drain_requested()).await;
    soon(old.shutdown()).await;
    let error = hub.connect_cass(&endpoint, &secret).await.err().unwrap();
    assert!(error.is_absent(), "{error}");

    let cass = Cass::start().await;
    let error = hub
        .connect_executor(cass.server.endpoint(), &cass.secret)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, ConnectError::OtherService { .. }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tcp_nobody_is_asked_to_leave() {
    let cass = Cass::start_with(Limits::default(), Some("127.0.0.1:0")).await;
    let hub = hub("vx");
    refused(hub.ask_to_leave(cass.server.endpoint()).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mute.sock");
    let _mute = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let limits = Limits {
        handshake: std::time::Duration::from_millis(50),
        ..Limits::default()
    };
    let me = crate::Hello::mine("vx").unwrap();
    let hub = Hub::start_with(me, tokio::runtime::Handle::current(), limits).unwrap();
    let endpoint = crate::Endpoint::unix(&path).unwrap();
    let error = soon(hub.hello(&endpoint)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Silent { .. }), "{error}");
}
