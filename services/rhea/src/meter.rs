//! What all actions together use of the machine.
//!
//! Each action has bounds of its own; many of them at once can still use up a machine. Where they
//! do, the largest one goes.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::memory::free_on;

/// How much of the machine's memory all actions may have, in parts of a hundred: the rest is for
/// the executor, the store and whoever waits for the build.
const MEMORY_PERCENT: u64 = 90;

/// What has to stay free on the disk that actions write to, in bytes.
const DISK_RESERVE: u64 = 512 * 1024 * 1024;

/// What actions use.
pub(crate) struct Meter {
    memory: u64,
    directory: PathBuf,
    next: AtomicU64,
    used: Mutex<HashMap<u64, Used>>,
}

#[derive(Clone, Copy, Default)]
struct Used {
    memory: u64,
    disk: u64,
}

impl Meter {
    /// A meter of a machine with so many bytes of memory, and of the disk that holds `directory`.
    pub(crate) fn new(machine: u64, directory: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            memory: machine / 100 * MEMORY_PERCENT,
            directory,
            next: AtomicU64::new(0),
            used: Mutex::default(),
        })
    }

    /// Begins to count one more action.
    pub(crate) fn charge(self: &Arc<Self>, label: &str) -> Charge {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.used().insert(id, Used::default());
        Charge {
            meter: Arc::clone(self),
            id,
            label: label.to_owned(),
        }
    }

    fn used(&self) -> MutexGuard<'_, HashMap<u64, Used>> {
        // Each entry is whole even where a holder panicked.
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What one action uses; not counted any more when dropped.
pub(crate) struct Charge {
    meter: Arc<Meter>,
    id: u64,
    label: String,
}

impl Charge {
    /// The action's name, for messages.
    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// Takes in what the action uses now, in bytes; why it has to end, if all together use too much
    /// and it is the largest.
    pub(crate) fn weigh(&self, memory: u64, disk: u64) -> Option<String> {
        let mut used = self.meter.used();
        used.insert(self.id, Used { memory, disk });
        let total: u64 = used.values().map(|one| one.memory).sum();
        if total > self.meter.memory && used.values().all(|one| one.memory <= memory) {
            return Some(format!(
                "all actions together use {} of memory, more than the {} that they may have, and \
                 this one the most; build with fewer at once (-j)",
                gib(total),
                gib(self.meter.memory)
            ));
        }
        let most = used.values().all(|one| one.memory <= memory);
        // What nobody is seen to have written may be anybody's.
        let largest = used.values().all(|one| one.disk <= disk);
        drop(used);
        if most && let Some(left) = machine_is_out_of_memory() {
            return Some(format!(
                "the machine has {} of memory left, and this action uses the most of all; build \
                 with fewer at once (-j)",
                gib(left)
            ));
        }
        let free = free_on(&self.meter.directory).filter(|_| largest)?;
        (free < DISK_RESERVE).then(|| {
            format!(
                "only {} are left on the disk that holds {}, and this action wrote {} there; make \
                 room, or let VX_HOME name a larger disk",
                gib(free),
                self.meter.directory.display(),
                gib(disk)
            )
        })
    }
}

/// What memory and swap are left, where that is next to nothing, in bytes. Some memory is in nobody's
/// figures: what is in flight between processes, what only the kernel has.
fn machine_is_out_of_memory() -> Option<u64> {
    /// In parts of a hundred.
    const NOTHING: u64 = 3;
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let kilobytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().split(' ').next()?.parse::<u64>().ok()
    };
    let left = kilobytes("MemAvailable:")? + kilobytes("SwapFree:").unwrap_or(0);
    (left < kilobytes("MemTotal:")? / 100 * NOTHING).then_some(left * 1024)
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.meter.used().remove(&self.id);
    }
}

/// Bytes for people.
pub(crate) fn gib(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / (1_u64 << 30) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_goes_when_all_together_use_too_much() {
        let meter = Meter::new(1000, PathBuf::from("/"));
        let (one, two) = (meter.charge("one"), meter.charge("two"));
        assert_eq!(one.weigh(500, 0), None);
        assert_eq!(two.weigh(401, 0), None, "the other is larger");
        assert!(one.weigh(500, 0).unwrap().contains("all actions together"));
        drop(two);
        assert_eq!(one.weigh(500, 0), None);
    }
}
