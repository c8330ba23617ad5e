//! What an execution's inputs are once it is over: only what is then as it was seen is a key.

use std::collections::HashMap;
use std::path::PathBuf;

use vx_core::error::{ServiceError, ServiceResult};
use vx_core::places::below;
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace, ReadSet, Sight, Trace};

use crate::execute::job::Job;
use crate::host::observe::Observation;
use crate::host::read_sets;
use crate::inputs::real_places::RealPlaces;
use crate::key::trees::Given;
use crate::key::{DependencyPart, KeyParts};

/// What an execution's inputs are after it.
pub(crate) struct Afterwards {
    pub(crate) parts: KeyParts,
    /// The latest time of any of them.
    pub(crate) newest_ns: i128,
    /// Which one that is.
    pub(crate) newest: Option<PathBuf>,
    /// A path that is not what the action saw there.
    pub(crate) disagreement: Option<String>,
    /// A path that the action read and then changed itself, so that the next run of it has
    /// another input.
    pub(crate) changed_itself: Option<String>,
}

impl Afterwards {
    /// Why an execution that started at `started_ns` does not count, if so: what it read is not what is there.
    pub(crate) fn unsettled(&self, started_ns: i128) -> Option<String> {
        if self.newest_ns >= started_ns {
            let newest = self.newest.clone().unwrap_or_default();
            return Some(format!("{} changed while it ran", newest.display()));
        }
        let path = self.disagreement.as_ref()?;
        Some(format!(
            "{path} was not afterwards what it was while it ran"
        ))
    }
}

/// Looks at an execution's inputs once it is over.
///
/// # Errors
/// When something that was read is there and can't be read.
pub(crate) fn look(
    job: &Job,
    dependencies: &[DependencyPart],
    given: &Given,
    set: &ReadSet,
    trace: Option<&Trace>,
    started_ns: i128,
) -> ServiceResult<Afterwards> {
    let context = &job.context;
    let static_digest = context.graph.statics[job.unit];
    let soft = &context.graph.soft_env[job.unit];
    let seen: HashMap<&Read, &Sight> = trace
        .iter()
        .flat_map(|trace| &trace.sights)
        .map(|sight| (&sight.read, sight))
        .collect();
    let changed = trace.map_or(&[][..], |trace| &trace.changed);
    let mut disagreement = trace.and_then(|trace| trace.unsteady.clone());
    let mut changed_itself = None;
    let mut newest = None;
    let mut newest_ns = i128::MIN;
    let note = |read: &Read, observation: &Observation| {
        // What is given by digest can't change.
        if matches!(read.place, ReadPlace::Given(_)) {
            return;
        }
        let sight = seen.get(read);
        if let Some(before) = sight.and_then(|sight| sight.before.as_ref()) {
            if *before != observation.observed && changed_itself.is_none() {
                let path = context.places.host_path(&read.place);
                changed_itself = Some(path.display().to_string());
            }
            return;
        }
        // What it only names is there as it left it; what it read of that, it was seen to read.
        if sight.is_none() && changed.iter().any(|place| is_in(place, &read.place)) {
            return;
        }
        if observation.newest_ns > newest_ns {
            newest_ns = observation.newest_ns;
            newest = Some(context.places.host_path(&read.place));
        }
        let agrees = match sight {
            Some(sight) => read_sets::agree(&sight.seen, observation, started_ns),
            // A compiler said that it read this.
            None => read.kind != ReadKind::Content || observation.observed != Observed::Absent,
        };
        if !agrees && disagreement.is_none() {
            let path = context.places.host_path(&read.place);
            disagreement = Some(path.display().to_string());
        }
    };
    let real = RealPlaces::of(context, job.unit, &job.used, set.taken);
    let parts = tokio::task::block_in_place(|| {
        context
            .observer(given)
            .parts(static_digest, dependencies, set, soft, &real.keyed(), note)
    })
    .map_err(|error| ServiceError::Failed(format!("an input could not be read: {error}")))?;
    Ok(Afterwards {
        parts,
        newest_ns,
        newest,
        disagreement,
        changed_itself,
    })
}

/// Whether a place is another or lies below it.
fn is_in(place: &ReadPlace, other: &ReadPlace) -> bool {
    match (place, other) {
        (ReadPlace::Checkout(one), ReadPlace::Checkout(other))
        | (ReadPlace::CargoHome(one), ReadPlace::CargoHome(other))
        | (ReadPlace::Toolchain(one), ReadPlace::Toolchain(other)) => one.starts_with(other),
        (ReadPlace::Host(one), ReadPlace::Host(other)) => below(one, other).is_some(),
        _ => false,
    }
}
