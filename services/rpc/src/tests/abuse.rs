//! Peers that keep to no rule: they are dropped, and nobody else notices.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use vx_core::{
    Blob, BlobReader, BlobWriter, Digest, GrantId, Holder, PlaceOutcome, PlaceRequest, Results,
    ServiceError, ServiceResult, Store, StoreService, StoreStatus,
};

use super::raw::RawPeer;
use super::{Cass, hub, soon};
use crate::Limits;
use crate::contract::{MemoryStore, content, put};
use crate::limits::UNPROVED;

/// A handshake's deadline that is soon over, and that a client on a loaded machine still keeps.
const DEADLINE: Duration = Duration::from_secs(3);

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    soon(tokio::task::spawn_blocking(work)).await.unwrap()
}

/// The store still serves.
async fn serves(cass: &Cass) {
    let hub = hub("vx-aether");
    let granted = soon(cass.client(&hub).await.grant("after")).await.unwrap();
    let blob = soon(put(&granted.store, b"after", 5)).await.unwrap();
    assert_eq!(blob, Blob::of(b"after"));
}

/// No connection is left.
async fn alone(cass: &Cass) {
    let mut connections = cass.server.connections();
    soon(connections.wait_for(|count| *count == 0))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_dropped() {
    let cass = Cass::start().await;
    for garbage in [
        &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        &[0xff; 64],
        // A whole message, of no meaning.
        &[
            0, 0, 0, 0, 1, 0, 0, 0, 0xfe, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff,
        ],
    ] {
        let mut peer = RawPeer::dial(cass.server.endpoint());
        peer.stream.write_all(garbage).unwrap();
        blocking(|| peer.drained()).await;
    }
    alone(&cass).await;
    serves(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_dropped_unread() {
    let cass = Cass::start().await;
    // Less is allowed before anything was proved.
    for (proves, limit) in [(true, Limits::default().message_bytes), (false, UNPROVED)] {
        let mut peer = RawPeer::dial(cass.server.endpoint());
        let secret = cass.secret.clone();
        blocking(move || {
            if proves {
                let first = peer.bootstrap();
                peer.redeem(first, &secret);
            }
            let words = u32::try_from(limit / 8 + 1).unwrap();
            peer.stream.write_all(&0u32.to_le_bytes()).unwrap();
            peer.stream.write_all(&words.to_le_bytes()).unwrap();
            peer.drained()
        })
        .await;
    }
    alone(&cass).await;
    serves(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_dropped_and_delays_nobody() {
    let limits = Limits {
        handshake: DEADLINE,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let silent: Vec<_> = (0..8)
        .map(|_| RawPeer::dial(cass.server.endpoint()))
        .collect();
    // Talks, and proves nothing.
    let mut talker = RawPeer::dial(cass.server.endpoint());
    let first = talker.bootstrap();
    talker.hello(first).unwrap();
    serves(&cass).await;
    for peer in silent {
        blocking(|| peer.drained()).await;
    }
    assert!(!blocking(|| talker.drained()).await.is_empty());
    alone(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proved_itself_may_be_silent() {
    let limits = Limits {
        handshake: DEADLINE,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    // Came later, so when its time is over the client's is too.
    let silent = RawPeer::dial(cass.server.endpoint());
    blocking(|| silent.drained()).await;
    assert!(client.is_open());
    client.status().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_and_never_reads_is_dropped() {
    let limits = Limits {
        unwritten_bytes: 256 * 1024,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let mut peer = RawPeer::dial(cass.server.endpoint());
    let secret = cass.secret.clone();
    blocking(move || {
        let first = peer.bootstrap();
        peer.redeem(first, &secret);
        // The answers fill the socket, then the bound, then the connection ends.
        while peer.hello(first).is_ok() {}
    })
    .await;
    alone(&cass).await;
    serves(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_proved_nothing_is_held_to_less() {
    let cass = Cass::start().await;
    let mut peer = RawPeer::dial(cass.server.endpoint());
    let sent = blocking(move || {
        let first = peer.bootstrap();
        let mut sent = 0;
        while peer.hello(first).is_ok() {
            sent += 1;
        }
        sent
    })
    .await;
    // A hello and its answer take some 200 bytes; the rest is what the sockets hold.
    assert!(sent < 20_000, "{sent}");
    alone(&cass).await;
    serves(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_reading_is_dropped() {
    let limits = Limits {
        stall: Duration::from_millis(100),
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let bytes = content(1, 4 * 1024 * 1024);
    let hub = hub("vx-aether");
    let granted = cass.client(&hub).await.grant("fill").await.unwrap();
    let blob = put(&granted.store, &bytes, bytes.len()).await.unwrap();
    let mut peer = RawPeer::dial(cass.server.endpoint());
    let secret = cass.secret.clone();
    let peer = blocking(move || {
        let first = peer.bootstrap();
        let root = peer.redeem(first, &secret);
        let store = peer.store(root);
        peer.read(store, &blob.digest);
        peer
    })
    .await;
    let mut connections = cass.server.connections();
    soon(connections.wait_for(|count| *count == 2))
        .await
        .unwrap();
    soon(connections.wait_for(|count| *count == 1))
        .await
        .unwrap();
    // The one who keeps to the rules is still there.
    granted.store.missing(vec![blob.digest]).await.unwrap();
    drop(peer);
}

/// A store whose writers never take anything.
struct Stuck(MemoryStore);

struct StuckStore;

struct StuckWriter;

#[async_trait]
impl StoreService for Stuck {
    async fn grant(&self, label: String) -> ServiceResult<GrantId> {
        self.0.grant(label).await
    }

    async fn release(&self, grant: GrantId) {
        self.0.release(grant).await;
    }

    fn store(&self, _: GrantId, _: Holder) -> Arc<dyn Store> {
        Arc::new(StuckStore)
    }

    fn results(&self, grant: GrantId) -> Arc<dyn Results> {
        self.0.results(grant)
    }

    async fn status(&self) -> ServiceResult<StoreStatus> {
        self.0.status().await
    }
}

#[async_trait]
impl Store for StuckStore {
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        Ok(digests)
    }

    async fn read(&self, _: Digest, _: u64) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        Ok(None)
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        Ok(Box::new(StuckWriter))
    }

    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        Ok(vec![None; digests.len()])
    }

    async fn write_small(&self, _: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        panic!("a mistake of the service's");
    }

    async fn place(&self, _: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        std::future::pending().await
    }
}

#[async_trait]
impl BlobWriter for StuckWriter {
    async fn write(&mut self, _: Bytes) -> ServiceResult<()> {
        std::future::pending().await
    }

    async fn finish(self: Box<Self>) -> ServiceResult<Blob> {
        std::future::pending().await
    }
}

async fn stuck(limits: Limits) -> Cass {
    let memory = MemoryStore::new();
    Cass::serve(Arc::new(Stuck(memory.clone())), memory, limits, None).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ignores_its_window_is_dropped() {
    let limits = Limits {
        unread_bytes: 4 * 1024 * 1024,
        ..Limits::default()
    };
    let cass = stuck(limits).await;
    let mut peer = RawPeer::dial(cass.server.endpoint());
    let secret = cass.secret.clone();
    let sent = blocking(move || {
        let first = peer.bootstrap();
        let root = peer.redeem(first, &secret);
        let store = peer.store(root);
        let sink = peer.open_sink(store);
        let chunk = vec![1; 256 * 1024];
        let mut sent = 0;
        while peer.write(sink, &chunk).is_ok() {
            sent += chunk.len();
        }
        sent
    })
    .await;
    // The bound, and what the sockets hold.
    assert!((4..12).contains(&(sent / (1024 * 1024))), "{sent}");
    alone(&cass).await;
    soon(cass.memory.without_grants()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_waits_for_a_slow_store() {
    let cass = stuck(Limits::default()).await;
    let hub = hub("vx-aether");
    let granted = cass.client(&hub).await.grant("slow").await.unwrap();
    let mut writer = granted.store.write().await.unwrap();
    let chunk = Bytes::from(vec![1; 1024 * 1024]);
    let mut taken = 0;
    // Back-pressure is there when a write waits although everything else works.
    loop {
        let write = writer.write(chunk.clone());
        let others = async {
            for _ in 0..50 {
                granted.store.missing(Vec::new()).await.unwrap();
                granted.store.missing(vec![Digest::of(b"x")]).await.unwrap();
            }
        };
        tokio::select! {
            biased;
            written = write => written.unwrap(),
            () = others => break,
        }
        taken += 1;
        assert!(taken < 64, "nothing holds the writer back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_services_mistake_is_an_error_and_nothing_more() {
    let cass = stuck(Limits::default()).await;
    let hub = hub("vx-aether");
    let granted = cass.client(&hub).await.grant("panic").await.unwrap();
    let error = soon(granted.store.write_small(vec![Bytes::new()]))
        .await
        .unwrap_err();
    assert!(matches!(error, ServiceError::Failed(_)), "{error:?}");
    assert_eq!(granted.store.missing(Vec::new()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_bounded() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    let held = RawPeer::dial(cass.server.endpoint());
    let mut connections = cass.server.connections();
    soon(connections.wait_for(|count| *count == 2))
        .await
        .unwrap();
    let refused = RawPeer::dial(cass.server.endpoint());
    assert!(blocking(|| refused.drained()).await.is_empty());
    client.status().await.unwrap();
    drop(held);
    soon(connections.wait_for(|count| *count == 1))
        .await
        .unwrap();
    serves(&cass).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_bounded() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let cass = Cass::start_with(limits, None).await;
    let hub = hub("vx-aether");
    let granted = cass.client(&hub).await.grant("streams").await.unwrap();
    let one = granted.store.write().await.unwrap();
    let two = granted.store.write().await.unwrap();
    let refused = granted.store.write().await.err().unwrap();
    assert!(
        matches!(refused, ServiceError::Overloaded(_)),
        "{refused:?}"
    );
    drop(one);
    let again = async {
        // The end of the first one travels behind this call.
        while let Err(error) = granted.store.write().await {
            assert!(matches!(error, ServiceError::Overloaded(_)), "{error:?}");
        }
    };
    soon(again).await;
    drop(two);
}
