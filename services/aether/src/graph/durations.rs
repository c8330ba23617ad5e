//! How long actions took before, so that the longest way through the build starts first.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use vx_plan::{Mode, Plan, TargetKind};

/// The most units remembered; past it the memory starts over, which costs order alone.
const MAX_KNOWN: usize = 20_000;

/// What is remembered: by package and unit, not by version, as a new version takes about as
/// long as the last one.
type Known = HashMap<(String, String), u64>;

/// Durations by package and unit, in milliseconds.
#[derive(Default)]
pub(crate) struct Durations {
    known: Mutex<Known>,
    dirty: AtomicBool,
}

impl Durations {
    /// Reads what [`Durations::save`] wrote; anything else is empty.
    pub(crate) fn load(path: &Path) -> Self {
        let known = std::fs::read(path)
            .ok()
            .and_then(|bytes| postcard::from_bytes(&bytes).ok())
            .unwrap_or_default();
        Self {
            known: Mutex::new(known),
            dirty: AtomicBool::new(false),
        }
    }

    /// Writes everything, if there is something new.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let bytes = postcard::to_stdvec(&*self.lock()).map_err(io::Error::other)?;
        crate::host::files::write_whole(path, &bytes)
    }

    /// Notes that a unit took so long.
    pub(crate) fn note(&self, plan: &Plan, unit: usize, duration_ms: u64) {
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(name(plan, unit), duration_ms);
        self.dirty.store(true, Ordering::Relaxed);
    }

    /// What each unit of a plan is expected to take; at least 1.
    pub(crate) fn expected(&self, plan: &Plan) -> Vec<u64> {
        let known = self.lock();
        (0..plan.units.len())
            .map(|unit| {
                let remembered = known.get(&name(plan, unit)).copied();
                remembered.unwrap_or_else(|| guess(plan, unit)).max(1)
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(plan: &Plan, unit: usize) -> (String, String) {
    let this = &plan.units[unit];
    let package = plan.packages[this.package].name.clone();
    (
        package,
        format!(
            "{:?} {:?} {} {}",
            this.mode, this.target.kind, this.target.name, this.profile.name
        ),
    )
}

/// What a unit never seen before may take: only the proportions matter.
fn guess(plan: &Plan, unit: usize) -> u64 {
    let this = &plan.units[unit];
    match (this.mode, &this.target.kind) {
        (Mode::RunBuildScript, _) => 50,
        (_, TargetKind::BuildScript) => 300,
        (_, TargetKind::Lib(_)) => 500,
        _ => 1500,
    }
}
