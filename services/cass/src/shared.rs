//! What all parts of an open store share.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};
use vx_core::{Digest, ServiceError};

use crate::claims::Claims;
use crate::config::CassConfig;
use crate::directory::Directory;
use crate::index::Index;
use crate::pool::Pool;
use crate::stamp::Clock;
use crate::state::State;

/// An open store. Lock order: a shard, then the state; file work under a shard's lock, never
/// under the state's.
pub(crate) struct Shared {
    pub(crate) config: CassConfig,
    pub(crate) directory: Directory,
    pub(crate) clock: Clock,
    pub(crate) user: u32,
    pub(crate) state: Mutex<State>,
    /// Guard the names below `blobs/`, by a digest's first byte, so that a blob that comes is
    /// not removed by the eviction of its predecessor.
    pub(crate) shards: Vec<Mutex<()>>,
    pub(crate) hashing: Hashing,
    pub(crate) index: Index,
    pub(crate) pool: Pool,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) claims: Claims,
    pub(crate) counters: Counters,
    pub(crate) keeper: Signal,
    pub(crate) evictor: Signal,
    /// One checkpoint at a time: rows reach the index in the order in which they changed.
    pub(crate) checkpointing: Mutex<()>,
    /// Told after each checkpoint.
    pub(crate) checkpointed: Notify,
}

/// Figures since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) set_aside: AtomicU64,
    pub(crate) linked: AtomicU64,
    pub(crate) copied: AtomicU64,
    pub(crate) temporaries: AtomicU64,
    /// A write found the disk full: evict although the limit is not reached.
    pub(crate) disk_full: AtomicBool,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(crate) fn shard(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        lock(&self.shards[usize::from(digest.as_bytes()[0])])
    }

    /// What to tell of a file fault.
    pub(crate) fn fault(&self, action: &str, error: impl Into<std::io::Error>) -> ServiceError {
        let error = error.into();
        let path = self.directory.path.display();
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                self.counters
                    .disk_full
                    .store(true, std::sync::atomic::Ordering::Relaxed);
                self.evictor.wake();
                ServiceError::Overloaded(format!(
                    "the disk that holds the store {path} is full ({action}: {error}); free some \
                     space, or give the store a lower limit"
                ))
            }
            _ => {
                tracing::warn!(action, %error, "a file operation failed");
                ServiceError::Failed(format!("the store {path} failed to {action}: {error}"))
            }
        }
    }
}

/// Locks a mutex whose holders leave it right at every step, so that a panic of one of them
/// does not make it unusable.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wakes a thread that waits for work.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    flags: Mutex<Flags>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// There may be work.
    pub(crate) work: bool,
    /// The work should not wait.
    pub(crate) urgent: bool,
    /// The thread is to end.
    pub(crate) stop: bool,
}

impl Signal {
    fn set(&self, change: impl FnOnce(&mut Flags)) {
        change(&mut lock(&self.flags));
        self.changed.notify_all();
    }

    pub(crate) fn wake(&self) {
        self.set(|flags| flags.work = true);
    }

    pub(crate) fn hurry(&self) {
        self.set(|flags| {
            flags.work = true;
            flags.urgent = true;
        });
    }

    pub(crate) fn stop(&self) {
        self.set(|flags| flags.stop = true);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        lock(&self.flags).stop
    }

    /// Waits until there is work or an end, takes the flags, and gives them.
    pub(crate) fn wait(&self) -> Flags {
        let mut flags = lock(&self.flags);
        while !flags.work && !flags.stop {
            flags = self
                .changed
                .wait(flags)
                .unwrap_or_else(PoisonError::into_inner);
        }
        let taken = *flags;
        flags.work = false;
        flags.urgent = false;
        taken
    }

    /// Waits for at most `time`, until the work is urgent or the thread is to end.
    pub(crate) fn linger(&self, time: std::time::Duration) {
        let flags = lock(&self.flags);
        let waited = self
            .changed
            .wait_timeout_while(flags, time, |flags| !flags.urgent && !flags.stop);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Blobs that are being hashed, so that two who need one at once do not both hash it.
#[derive(Debug, Default)]
pub(crate) struct Hashing {
    digests: Mutex<HashSet<Digest>>,
    done: Condvar,
}

/// Keeps others from hashing a blob until it is dropped.
pub(crate) struct HashingGuard<'a> {
    hashing: &'a Hashing,
    digest: Digest,
}

impl Hashing {
    /// Waits until nobody hashes `digest`, then keeps others from it.
    pub(crate) fn enter(&self, digest: Digest) -> HashingGuard<'_> {
        let mut digests = lock(&self.digests);
        while !digests.insert(digest) {
            digests = self
                .done
                .wait(digests)
                .unwrap_or_else(PoisonError::into_inner);
        }
        HashingGuard {
            hashing: self,
            digest,
        }
    }
}

impl Drop for HashingGuard<'_> {
    fn drop(&mut self) {
        lock(&self.hashing.digests).remove(&self.digest);
        self.hashing.done.notify_all();
    }
}
