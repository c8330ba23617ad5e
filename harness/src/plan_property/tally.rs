//! What a run of the property saw.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of plans.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    plans: AtomicU64,
    hits: AtomicU64,
    refused: AtomicU64,
    undone: AtomicU64,
    undone_hits: AtomicU64,
}

impl Tally {
    /// A state was planned.
    pub(crate) fn plan(&self, hit: bool, refused: bool) {
        add(&self.plans, true);
        add(&self.hits, hit);
        add(&self.refused, refused);
    }

    /// Whether a plan that was just made is to be made once more: each eighth.
    pub(crate) fn is_time_for_another(&self) -> bool {
        get(&self.plans).is_multiple_of(8)
    }

    /// The state was one that an edit went back to.
    pub(crate) fn undone(&self, hit: bool) {
        add(&self.undone, true);
        add(&self.undone_hits, hit);
    }

    /// How often a plan was remembered, also after an edit that undid others.
    pub(crate) fn hits(&self) -> (u64, u64) {
        (get(&self.hits), get(&self.undone_hits))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} plans: {} remembered, {} refused; of {} that went back, {} remembered",
            get(&self.plans),
            get(&self.hits),
            get(&self.refused),
            get(&self.undone),
            get(&self.undone_hits)
        )
    }
}

fn add(count: &AtomicU64, counts: bool) {
    count.fetch_add(u64::from(counts), Ordering::Relaxed);
}

fn get(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}
