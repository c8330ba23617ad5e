//! Eviction: what was used longest ago goes first, and nothing that a grant holds.
//!
//! Results and records go by their last use; a blob may go once no result, tree or record
//! names it, by its own last use. One thread does it in the background, taking the state's
//! lock for one item at a time, so that nobody waits for long.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering;

use rustix::fs::AtFlags;
use rustix::io::Errno;
use vx_core::{ActionKey, Digest, RecordName};

use crate::blobs::blob_path;
use crate::limits::{EVICT_TO_PERCENT, MAX_BLOBS};
use crate::shared::Shared;
use crate::state::State;

/// Something that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Item {
    Result(ActionKey),
    Records(RecordName),
    Blob(Digest),
}

/// Where eviction stops.
#[derive(Clone, Copy, Debug)]
struct Target {
    size: u64,
    files: u64,
}

impl Target {
    fn is_met(self, state: &State) -> bool {
        state.size <= self.size && state.files <= self.files
    }
}

impl Shared {
    /// Whether the store is over its limit.
    pub(crate) fn is_over(&self, state: &State) -> bool {
        state.size > self.config.limit || state.files > MAX_BLOBS
    }

    /// The evictor's thread: ends when its signal says so.
    pub(crate) fn evict_when_over(&self) {
        loop {
            if self.evictor.wait().stop {
                return;
            }
            self.evict();
        }
    }

    /// Evicts until the store is well under its limit, or everything left is held.
    pub(crate) fn evict(&self) {
        let full = self.counters.disk_full.swap(false, Ordering::Relaxed);
        let target = {
            let state = self.state();
            let percent = |of: u64| of / 100 * EVICT_TO_PERCENT;
            if full {
                Target {
                    size: percent(state.size.min(self.config.limit)),
                    files: u64::MAX,
                }
            } else if self.is_over(&state) {
                Target {
                    size: percent(self.config.limit),
                    files: percent(MAX_BLOBS),
                }
            } else {
                return;
            }
        };
        let mut heap = self.candidates();
        let (mut results, mut blobs) = (0_u64, 0_u64);
        while let Some(Reverse((_, item))) = heap.pop() {
            if target.is_met(&self.state()) || self.evictor.is_stopped() {
                break;
            }
            match item {
                Item::Blob(digest) => blobs += u64::from(self.evict_blob(&digest)),
                Item::Result(key) => {
                    let freed = self.evict_result(&key);
                    results += u64::from(freed.is_some());
                    heap.extend(freed.into_iter().flatten());
                }
                Item::Records(name) => heap.extend(self.evict_records(&name)),
            }
        }
        self.keeper.wake();
        let met = target.is_met(&self.state());
        tracing::info!(results, blobs, met, "evicted what was used longest ago");
    }

    fn candidates(&self) -> BinaryHeap<Reverse<(u64, Item)>> {
        let state = self.state();
        let results = state
            .results
            .iter()
            .map(|(key, entry)| (entry.used, Item::Result(*key)));
        let lists = state
            .lists
            .iter()
            .map(|(name, list)| (list.used, Item::Records(*name)));
        let blobs = state.blobs.iter().filter_map(|(digest, entry)| {
            let file = entry.file.as_ref()?;
            (entry.refs == 0 && entry.holds == 0).then_some((file.used, Item::Blob(*digest)))
        });
        let items: Vec<_> = results.chain(lists).chain(blobs).map(Reverse).collect();
        drop(state);
        items.into()
    }

    /// Forgets a result unless a grant holds one of its blobs; gives the blobs that nothing
    /// needs any more. They have their own last use: one may have been used since otherwise.
    fn evict_result(&self, key: &ActionKey) -> Option<Vec<Reverse<(u64, Item)>>> {
        let mut state = self.state();
        let entry = state.results.get(key)?;
        let held = state
            .blobs_of(entry)
            .any(|digest| state.blobs.get(digest).is_some_and(|entry| entry.holds > 0));
        if held {
            return None;
        }
        let mut freed = Vec::new();
        state.remove_result(key, &mut freed);
        Some(queued(&state, &freed))
    }

    fn evict_records(&self, name: &RecordName) -> Vec<Reverse<(u64, Item)>> {
        let mut state = self.state();
        if state.is_list_held(name) {
            return Vec::new();
        }
        let mut freed = Vec::new();
        state.remove_list(name, &mut freed);
        queued(&state, &freed)
    }

    /// Removes a blob that is still free.
    fn evict_blob(&self, digest: &Digest) -> bool {
        let _shard = self.shard(digest);
        {
            let mut state = self.state();
            if !state.is_free(digest) {
                return false;
            }
            state.remove_file(digest);
        }
        match rustix::fs::unlinkat(&self.directory.blobs, blob_path(digest), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => tracing::warn!(%digest, %error, "an evicted blob's file stays"),
        }
        true
    }
}

fn queued(state: &State, freed: &[Digest]) -> Vec<Reverse<(u64, Item)>> {
    freed
        .iter()
        .filter_map(|digest| Some(Reverse((state.file(digest)?.used, Item::Blob(*digest)))))
        .collect()
}
