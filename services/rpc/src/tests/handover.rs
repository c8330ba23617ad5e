//! Stores handed from one service to another: the short way, and the way round.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use vx_core::{ActionSpec, Execution, Executor, Observer, ServiceResult, Store};

use super::{Blind, Cass, Rhea, action, hub, soon};
use crate::contract::{content, get, put};
use crate::{ConnectionStats, Direction, Endpoint, Handover, Hub, RemoteExecutor};

const SIZE: usize = 8 * 1024 * 1024;

/// Reads the input that the label names, and stores as much again.
async fn work(
    spec: ActionSpec,
    store: Arc<dyn Store>,
    _: Arc<dyn Observer>,
) -> ServiceResult<Execution> {
    let input = spec.label.parse().unwrap();
    let Some(bytes) = get(&*store, input, 0).await? else {
        return Ok(Execution::InputsMissing(vec![input]));
    };
    let turned: Vec<u8> = bytes.into_iter().rev().collect();
    let blob = put(&*store, &turned, 300_000).await?;
    Ok(Execution::Unable(blob.digest.to_hex()))
}

async fn execute(
    executor: &RemoteExecutor,
    store: impl Store,
    input: vx_core::Digest,
) -> ServiceResult<Execution> {
    let mut spec = action();
    spec.label = input.to_hex();
    soon(executor.execute(spec, Arc::new(store), Arc::new(Blind))).await
}

fn moved(stats: &[ConnectionStats]) -> u64 {
    stats.iter().map(|line| line.sent + line.received).sum()
}

async fn builds(cass: &Cass, rhea: &Rhea, aether: &Hub, turns: u64) {
    let granted = cass.client(aether).await.grant("build").await.unwrap();
    let executor = rhea.client(aether).await;
    for turn in 0..turns {
        let bytes = content(turn, SIZE);
        // Straight into the core, so that only what the executor moves is counted.
        let store = vx_core::StoreService::store(
            &cass.memory,
            vx_core::GrantId(0),
            vx_core::Holder::Remote,
        );
        let input = put(&*store, &bytes, SIZE).await.unwrap();
        let done = execute(&executor, granted.store.clone(), input.digest)
            .await
            .unwrap();
        let turned: Vec<u8> = bytes.into_iter().rev().collect();
        assert_eq!(
            done,
            Execution::Unable(vx_core::Digest::of(&turned).to_hex())
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_take_the_short_way() {
    let cass = Cass::start().await;
    let rhea = Rhea::start(Handover::Direct, work).await;
    let aether = hub("vx-aether");
    builds(&cass, &rhea, &aether, 3).await;
    let traffic = rhea.hub.store_traffic();
    assert_eq!(traffic.direct(), 2 * 3 * SIZE as u64);
    assert_eq!((traffic.relayed(), traffic.relayed_stores()), (0, 0));
    assert_eq!(traffic.direct_stores(), 1);
    assert!(moved(&aether.stats()) < 100_000);
    let own = rhea.hub.stats();
    assert_eq!(own.len(), 1);
    assert_eq!(
        (own[0].peer.as_str(), own[0].direction),
        ("vx-cass", Direction::Outbound)
    );
    assert!(own[0].received > 3 * SIZE as u64 && own[0].sent > 3 * SIZE as u64);
    // A second build uses the same connection.
    builds(&cass, &rhea, &aether, 1).await;
    assert_eq!(rhea.hub.stats().len(), 1);
    assert_eq!(traffic.direct_stores(), 2);
    let inbound = cass.server.stats();
    let from_rhea: Vec<_> = inbound
        .iter()
        .filter(|line| line.peer.starts_with("vx-rhea "))
        .collect();
    assert_eq!(from_rhea.len(), 1);
    assert_eq!(from_rhea[0].direction, Direction::Inbound);
    assert!(from_rhea[0].sent > 3 * SIZE as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_socket_is_gone_bytes_are_relayed() {
    let cass = Cass::start().await;
    let rhea = Rhea::start(Handover::Direct, work).await;
    let aether = hub("vx-aether");
    let client = cass.client(&aether).await;
    let Endpoint::Unix(path) = cass.server.endpoint() else {
        panic!("a Unix socket");
    };
    std::fs::remove_file(path).unwrap();
    let granted = client.grant("build").await.unwrap();
    let executor = rhea.client(&aether).await;
    let bytes = content(1, SIZE);
    let input = put(&granted.store, &bytes, SIZE).await.unwrap();
    for _ in 0..2 {
        let done = execute(&executor, granted.store.clone(), input.digest).await;
        assert!(matches!(done, Ok(Execution::Unable(_))), "{done:?}");
    }
    let traffic = rhea.hub.store_traffic();
    assert_eq!((traffic.direct(), traffic.direct_stores()), (0, 0));
    assert_eq!(traffic.relayed(), 4 * SIZE as u64);
    // Found out once.
    assert_eq!(traffic.relayed_stores(), 1);
    let status = executor.status().await.unwrap();
    assert_eq!(
        (status.direct_bytes, status.relayed_bytes),
        (0, 4 * SIZE as u64)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_another_process_than_the_dialled_ones_can_be_lent() {
    let cass = Cass::start().await;
    let rhea = Rhea::start(Handover::Direct, work).await;
    let (aether, second) = (hub("vx-aether"), hub("vx-aether"));
    // From a hub that the executor's connection is not on.
    let granted = cass.client(&second).await.grant("build").await.unwrap();
    let executor = rhea.client(&aether).await;
    let input = put(&granted.store, b"abc", 3).await.unwrap();
    let done = execute(&executor, granted.store.clone(), input.digest).await;
    let expected = vx_core::Digest::of(b"cba").to_hex();
    assert_eq!(done, Ok(Execution::Unable(expected)));
    assert_eq!(rhea.hub.store_traffic().relayed_stores(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_of_one_build_share_one_introduction() {
    let cass = Cass::start().await;
    let count = Arc::new(AtomicUsize::new(0));
    let together = Arc::new(tokio::sync::Barrier::new(8));
    let counted = count.clone();
    let rhea = Rhea::start(Handover::Direct, move |_, store, _| {
        let (count, together) = (counted.clone(), together.clone());
        async move {
            together.wait().await;
            store.missing(Vec::new()).await?;
            count.fetch_add(1, Ordering::Relaxed);
            Ok(Execution::Unable(String::new()))
        }
    })
    .await;
    let aether = hub("vx-aether");
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let executor = rhea.client(&aether).await;
    let actions = (0..8).map(|_| {
        let store = Arc::new(granted.store.clone());
        executor.execute(action(), store, Arc::new(Blind))
    });
    for done in soon(futures::future::join_all(actions)).await {
        done.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 8);
    assert_eq!(rhea.hub.store_traffic().direct_stores(), 1);
    assert_eq!(rhea.hub.stats().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connections_end_leaves_nothing_behind() {
    let cass = Cass::start().await;
    for handover in [Handover::Direct, Handover::RelayOnly] {
        let rhea = Rhea::start(handover, work).await;
        let aether = hub("vx-aether");
        builds(&cass, &rhea, &aether, 1).await;
        drop(aether);
        // The test's and the server's own; a connection that leaks keeps a third.
        let freed = async {
            while Arc::strong_count(&rhea.executor) > 2 {
                tokio::task::yield_now().await;
            }
        };
        soon(freed).await;
    }
    soon(cass.memory.without_grants()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_direct_connection_is_made_anew() {
    let cass = Cass::start().await;
    let rhea = Rhea::start(Handover::Direct, work).await;
    let aether = hub("vx-aether");
    let granted = cass.client(&aether).await.grant("build").await.unwrap();
    let executor = rhea.client(&aether).await;
    let input = put(&granted.store, b"abc", 3).await.unwrap();
    execute(&executor, granted.store.clone(), input.digest)
        .await
        .unwrap();
    rhea.hub.drop_introduced().await;
    execute(&executor, granted.store.clone(), input.digest)
        .await
        .unwrap();
    assert_eq!(rhea.hub.store_traffic().direct_stores(), 2);
    assert_eq!(rhea.hub.store_traffic().relayed_stores(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_for_the_host_is_heard() {
    let rhea = Rhea::start(Handover::Direct, work).await;
    let executor = rhea.client(&hub("vx-aether")).await;
    let heard = Arc::new(Heard::default());
    let program = vx_core::HostProgram {
        argv: vec!["cargo".to_owned(), "metadata".to_owned()],
        ..vx_core::HostProgram::default()
    };
    let ended = executor.run_on_host(program, heard.clone()).await.unwrap();
    assert_eq!(
        ended,
        vx_core::HostEnd::Ran {
            exit: vx_core::Exit::Code(3),
            trace: vx_core::readset::Trace::default(),
        }
    );
    assert_eq!(*heard.0.lock().unwrap(), b"cargo metadata");
}

/// What a program wrote.
#[derive(Default)]
struct Heard(std::sync::Mutex<Vec<u8>>);

#[async_trait::async_trait]
impl vx_core::Observer for Heard {
    async fn wrote(&self, _: vx_core::OutputStream, bytes: bytes::Bytes) -> ServiceResult<()> {
        self.0.lock().unwrap().extend_from_slice(&bytes);
        Ok(())
    }

    async fn stored(&self, _: vx_core::Output) -> ServiceResult<()> {
        Ok(())
    }
}
