//! One connection as every thread may see it: whose it is, what it moved, whether it lives.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use vx_core::ServiceError;

use crate::limits::{Limits, REMEMBERED_CONNECTIONS, UNPROVED};

/// What a connection moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStats {
    /// The service or program at the other end; its endpoint or `unnamed` until it said so.
    pub peer: String,
    /// Which side dialled.
    pub direction: Direction,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Whether it lives.
    pub open: bool,
}

/// Which side dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The other one.
    Inbound,
    /// This one.
    Outbound,
}

/// The state of a connection that is shared between threads.
pub(crate) struct Line {
    direction: Direction,
    peer: Mutex<String>,
    /// Bytes that the socket took.
    pub(crate) sent: AtomicU64,
    /// Bytes of whole messages that were read.
    pub(crate) received: AtomicU64,
    /// Bytes of messages that were queued for the socket since the start.
    pub(crate) queued: AtomicU64,
    /// Bytes of messages that were read and are still in use.
    pub(crate) unread: AtomicU64,
    unread_limit: u64,
    unwritten_limit: u64,
    /// Blobs that this process may be reading over it.
    pub(crate) own_readers: Arc<Semaphore>,
    /// Blobs that this process may be storing over it; apart from the others, so that who
    /// reads one to store another gets on.
    pub(crate) own_writers: Arc<Semaphore>,
    /// The other side redeemed a secret, or was dialled by this one.
    pub(crate) proved: CancellationToken,
    /// Asks for an orderly end.
    pub(crate) stop: CancellationToken,
    /// Asks for an end at once.
    pub(crate) kill: CancellationToken,
    reason: OnceLock<String>,
    /// It has ended.
    pub(crate) closed: CancellationToken,
}

impl Line {
    pub(crate) fn new(direction: Direction, peer: impl Into<String>, limits: &Limits) -> Arc<Self> {
        let proved = CancellationToken::new();
        if direction == Direction::Outbound {
            proved.cancel();
        }
        Arc::new(Self {
            direction,
            peer: Mutex::new(peer.into()),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            unread_limit: limits.unread_bytes,
            unwritten_limit: limits.unwritten_bytes,
            own_readers: Arc::new(Semaphore::new(limits.own_streams)),
            own_writers: Arc::new(Semaphore::new(limits.own_streams)),
            proved,
            stop: CancellationToken::new(),
            kill: CancellationToken::new(),
            reason: OnceLock::new(),
            closed: CancellationToken::new(),
        })
    }

    pub(crate) fn peer(&self) -> String {
        self.peer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn set_peer(&self, name: String) {
        *self.peer.lock().unwrap_or_else(PoisonError::into_inner) = name;
    }

    /// Ends the connection at once because of `reason`; the first one stands.
    pub(crate) fn fail(&self, reason: impl Into<String>) {
        self.note(reason);
        self.kill.cancel();
    }

    /// Remembers why the connection is about to end.
    pub(crate) fn note(&self, reason: impl Into<String>) {
        let _ = self.reason.set(reason.into());
    }

    /// Why it ended.
    pub(crate) fn reason(&self) -> &str {
        self.reason
            .get()
            .map_or("the connection ended", |text| text)
    }

    /// What calls over it answer once it has ended.
    pub(crate) fn lost(&self) -> ServiceError {
        ServiceError::disconnected(self.peer(), self.reason())
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// Bytes queued that the socket has not taken.
    pub(crate) fn unwritten(&self) -> u64 {
        let queued = self.queued.load(Ordering::Relaxed);
        queued.saturating_sub(self.sent.load(Ordering::Relaxed))
    }

    pub(crate) fn add_queued(&self, bytes: u64) {
        self.queued.fetch_add(bytes, Ordering::Relaxed);
        let limit = self.bound(self.unwritten_limit);
        if self.unwritten() > limit {
            self.fail(format!("it left over {limit} bytes of answers unread"));
        }
    }

    /// Counts a message that came in, until its [`Line::release_unread`].
    pub(crate) fn add_unread(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
        let unread = self.unread.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let limit = self.bound(self.unread_limit);
        if unread > limit {
            self.fail(format!(
                "it sent over {limit} bytes ahead of what was asked for, past its streams' windows"
            ));
        }
    }

    /// `limit`, or the one for those who proved nothing.
    pub(crate) fn bound(&self, limit: u64) -> u64 {
        if self.proved.is_cancelled() {
            limit
        } else {
            limit.min(UNPROVED as u64)
        }
    }

    pub(crate) fn release_unread(&self, bytes: u64) {
        self.unread.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn stats(&self) -> ConnectionStats {
        ConnectionStats {
            peer: self.peer(),
            direction: self.direction,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            open: self.is_open(),
        }
    }
}

/// The connections of a hub or a server, with the last that ended.
#[derive(Default)]
pub(crate) struct Lines {
    all: Mutex<VecDeque<Arc<Line>>>,
}

impl Lines {
    pub(crate) fn add(&self, line: Arc<Line>) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = all.iter().filter(|line| !line.is_open()).count();
        if ended > REMEMBERED_CONNECTIONS
            && let Some(oldest) = all.iter().position(|line| !line.is_open())
        {
            all.remove(oldest);
        }
        all.push_back(line);
    }

    pub(crate) fn stats(&self) -> Vec<ConnectionStats> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|line| line.stats()).collect()
    }

    pub(crate) fn stop_all(&self) {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        for line in all.iter() {
            line.stop.cancel();
        }
    }
}

/// Bytes of blobs that stores of others took and gave, by the way they went.
#[derive(Debug, Default)]
pub struct StoreTraffic {
    direct: AtomicU64,
    relayed: AtomicU64,
    direct_stores: AtomicU64,
    relayed_stores: AtomicU64,
}

/// How a store is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Over a connection to its own process.
    Direct,
    /// Through whoever handed it over.
    Relayed,
}

impl StoreTraffic {
    /// Bytes that went over connections to the stores' own processes.
    #[must_use]
    pub fn direct(&self) -> u64 {
        self.direct.load(Ordering::Relaxed)
    }

    /// Bytes that went through whoever handed the store over.
    #[must_use]
    pub fn relayed(&self) -> u64 {
        self.relayed.load(Ordering::Relaxed)
    }

    /// Stores that were handed over and reached directly.
    #[must_use]
    pub fn direct_stores(&self) -> u64 {
        self.direct_stores.load(Ordering::Relaxed)
    }

    /// Stores that were handed over and are used through the relay.
    #[must_use]
    pub fn relayed_stores(&self) -> u64 {
        self.relayed_stores.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, route: Route, bytes: usize) {
        let counter = match route {
            Route::Direct => &self.direct,
            Route::Relayed => &self.relayed,
        };
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn met(&self, route: Route) {
        let counter = match route {
            Route::Direct => &self.direct_stores,
            Route::Relayed => &self.relayed_stores,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
