//! What the loop does about what is lost: outputs the store no longer has, and services that
//! are gone. Whoever made it runs again, a bounded number of times.

use std::collections::BTreeSet;
use std::sync::Arc;

use vx_core::Digest;
use vx_core::error::ServiceError;

use super::{EngineFault, MAX_RECOVERIES, Phase, Scheduler};
use crate::inputs::dependency::Used;

impl Scheduler<'_> {
    /// Sends the producers of lost outputs back to waiting.
    ///
    /// # Errors
    /// When one was lost too often.
    pub(crate) fn produce_again(&mut self, units: &BTreeSet<usize>) -> Result<(), EngineFault> {
        for &unit in units {
            self.reset(unit, "its stored output was lost")?;
        }
        Ok(())
    }

    /// After services were lost: new ones, and everything that ran goes back to waiting.
    ///
    /// # Errors
    /// When there are no services to be had.
    pub(crate) async fn recover(&mut self, error: ServiceError) -> Result<(), EngineFault> {
        self.recoveries += 1;
        if self.recoveries > MAX_RECOVERIES {
            return Err(error.into());
        }
        tracing::warn!(%error, "services were lost; going on with new ones");
        let session = self.sessions.open(&self.context.run_id).await?;
        if session.bare().is_some() != self.context.unisolated().is_some() {
            return Err(EngineFault::Stuck(
                "the executor was replaced by one that isolates actions otherwise, and results \
                 are kept apart by that; build again"
                    .to_owned(),
            ));
        }
        self.context.replace_session(Arc::clone(&session));
        for unit in 0..self.units.len() {
            if matches!(self.units[unit].phase, Phase::Running(_)) {
                self.reset(unit, "a service was lost")?;
            }
        }
        self.hold_again(&*session.store()).await
    }

    /// Under a new grant nothing is held yet: what is done is asked for again, and what is
    /// gone is produced again.
    async fn hold_again(&mut self, store: &dyn vx_core::Store) -> Result<(), EngineFault> {
        let mut lost = BTreeSet::new();
        for unit in 0..self.units.len() {
            let Some(finished) = self.finished(unit) else {
                continue;
            };
            let digests: Vec<Digest> = finished.result.digests().collect();
            for digests in digests.chunks(vx_core::service::MAX_BATCH) {
                if !store.missing(digests.to_vec()).await?.is_empty() {
                    lost.insert(unit);
                }
            }
        }
        self.produce_again(&lost)
    }

    /// Who made what is lost. A file within a tree is found by the store alone, so whoever
    /// made a tree comes into question.
    pub(super) fn producers(&self, unit: usize, lost: &[Digest]) -> BTreeSet<usize> {
        let mut producers = BTreeSet::new();
        let mut unclaimed: BTreeSet<Digest> = lost.iter().copied().collect();
        for (need, used) in &self.units[unit].used {
            let holds = match used {
                Used::Files { files, .. } => files.iter().any(|file| {
                    unclaimed.remove(&file.blob.digest) || lost.contains(&file.blob.digest)
                }),
                Used::Run { out_dir, .. } => {
                    out_dir.is_some_and(|tree| unclaimed.remove(&tree) || lost.contains(&tree))
                }
            };
            if holds {
                producers.insert(need.unit);
            }
        }
        if !unclaimed.is_empty() {
            producers.extend(self.units[unit].used.iter().filter_map(|(need, used)| {
                matches!(
                    used,
                    Used::Run {
                        out_dir: Some(_),
                        ..
                    }
                )
                .then_some(need.unit)
            }));
        }
        producers
    }
}
