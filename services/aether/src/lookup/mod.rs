//! Looking actions up: read sets, keys, results, in few calls for many actions.
//!
//! In: actions whose dependencies are there. Out: for each a result, or what is known of it for its
//! execution. Runs nothing and publishes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use vx_core::ActionResult;
use vx_core::digest::Digest;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::key::{ActionKey, RecordName, StaticDigest};
use vx_core::readset::{ReadSet, TakenIn};
use vx_core::service::{MAX_BATCH, Results};

use crate::build::context::BuildContext;
use crate::graph::Need;
use crate::inputs::cause::Cause;
use crate::inputs::dependency::{Finished, Used};
use crate::inputs::dependency_parts;
use crate::inputs::input_trees;
use crate::inputs::payload::Payload;
use crate::inputs::real_places::RealPlaces;
use crate::inputs::shown::Shown;
use crate::key::KeyParts;
use crate::key::trees::Given;

/// The name under which it is noted why runs of an action were found to differ.
pub(crate) fn unstable_name(static_digest: StaticDigest) -> RecordName {
    RecordName(Digest::of_value("vx unstable action 1", &static_digest))
}

/// What looking one action up gave.
pub(crate) enum Resolution {
    /// Its result.
    Hit(Arc<Finished>),
    /// Nothing; what an execution and the report want to know of it.
    Miss(Miss),
}

/// An action that has to run.
pub(crate) struct Miss {
    /// Variables that earlier read sets name.
    pub(crate) env_names: BTreeSet<String>,
    /// What stands for the action among those under way.
    pub(crate) fingerprint: Digest,
    /// Whether the action, or one that differs only in what it read, ran before.
    pub(crate) known: bool,
    /// What earlier runs took in.
    pub(crate) taken: TakenIn,
}

struct Candidate {
    parts: KeyParts,
    key: ActionKey,
}

/// Looks up actions whose dependencies are there.
///
/// # Errors
/// When the store fails.
pub(crate) async fn resolve(
    context: &BuildContext,
    results: &dyn Results,
    units: &[(usize, Vec<(Need, Used)>)],
) -> ServiceResult<Vec<Resolution>> {
    let (sets, unstable) = records(context, results, units).await?;
    let mut candidates: Vec<Vec<Candidate>> = Vec::with_capacity(units.len());
    for ((unit, used), sets) in units.iter().zip(&sets) {
        // Without what it is given there is nothing to look up; the execution says what is lost.
        let Ok(given) = input_trees::of(context, *unit, used).await? else {
            candidates.push(Vec::new());
            continue;
        };
        candidates.push(observe(context, *unit, used, &given, sets));
    }
    let keys: Vec<ActionKey> = candidates.iter().flatten().map(|one| one.key).collect();
    let mut found = Vec::with_capacity(keys.len());
    for keys in keys.chunks(MAX_BATCH) {
        found.extend(results.lookup(keys.to_vec()).await?);
    }
    let mut found = found.into_iter();
    let mut resolutions = Vec::with_capacity(units.len());
    let known = sets.into_iter().zip(unstable);
    for (((unit, used), (sets, unstable)), candidates) in units.iter().zip(known).zip(candidates) {
        let mut hit = None;
        let mut predicted = None;
        for candidate in candidates {
            let result = found.next().flatten();
            // Keys keep them apart already.
            let fits = |result: &ActionResult| result.unisolated == context.unisolated().is_some();
            let decoded = result.filter(fits).and_then(|result| {
                Payload::decode(&result.payload).map(|payload| (result, payload))
            });
            if let Some((result, payload)) = decoded
                && hit.is_none()
            {
                hit = Some(Arc::new(Finished {
                    key: Some(candidate.key),
                    parts: Some(candidate.parts.clone()),
                    result,
                    payload,
                    again: Vec::new(),
                    unstable: unstable.clone(),
                }));
            }
            predicted.get_or_insert(candidate.parts);
        }
        resolutions.push(match hit {
            Some(hit) => Resolution::Hit(hit),
            None => Resolution::Miss(miss(context, *unit, used, &sets, predicted)),
        });
    }
    Ok(resolutions)
}

/// The read sets of actions, and why their runs were found to differ.
type Records = (Vec<Vec<ReadSet>>, Vec<BTreeSet<Cause>>);

async fn records(
    context: &BuildContext,
    results: &dyn Results,
    units: &[(usize, Vec<(Need, Used)>)],
) -> ServiceResult<Records> {
    let statics = units.iter().map(|(unit, _)| context.graph.statics[*unit]);
    let names: Vec<RecordName> = statics
        .clone()
        .map(RecordName::from)
        .chain(statics.map(unstable_name))
        .collect();
    let mut records: Vec<Vec<Bytes>> = Vec::with_capacity(names.len());
    for names in names.chunks(MAX_BATCH) {
        records.extend(results.records(names.to_vec()).await?);
    }
    if records.len() != names.len() {
        return Err(ServiceError::failed("the store answered for other names"));
    }
    let unstable = records.split_off(units.len());
    let unstable = unstable
        .iter()
        .map(|records| decoded::<BTreeSet<Cause>>(records).flatten().collect());
    let sets = records.iter().map(|records| decoded(records).collect());
    Ok((sets.collect(), unstable.collect()))
}

/// A record of another layout is one that does not decode: it counts as none.
fn decoded<T: serde::de::DeserializeOwned>(records: &[Bytes]) -> impl Iterator<Item = T> + '_ {
    records
        .iter()
        .filter_map(|record| postcard::from_bytes(record).ok())
}

fn observe(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
    given: &Given,
    sets: &[ReadSet],
) -> Vec<Candidate> {
    if sets.is_empty() {
        return Vec::new();
    }
    let dependencies = dependency_parts::key_parts(context, unit, used);
    let observer = context.lookup_observer(given);
    let soft = &context.graph.soft_env[unit];
    let finds = Shown::of(context, unit);
    let mut candidates: Vec<Candidate> = Vec::with_capacity(sets.len());
    for set in sets {
        if finds.differ_from(set) {
            continue;
        }
        let mut leads_elsewhere = false;
        let observed = tokio::task::block_in_place(|| {
            observer.parts(
                context.graph.statics[unit],
                &dependencies,
                set,
                soft,
                &RealPlaces::of(context, unit, used, set.taken).keyed(),
                |_, observation| leads_elsewhere |= finds.leads_elsewhere(observation),
            )
        });
        // What can't be read can't be the same as before; if the action needs it, it will say
        // so itself.
        let Ok(parts) = observed else { continue };
        if leads_elsewhere {
            continue;
        }
        let key = parts.key();
        if candidates.iter().all(|other| other.key != key) {
            candidates.push(Candidate { parts, key });
        }
    }
    candidates
}

fn miss(
    context: &BuildContext,
    unit: usize,
    used: &[(Need, Used)],
    sets: &[ReadSet],
    predicted: Option<KeyParts>,
) -> Miss {
    let expected = match &predicted {
        Some(parts) => parts.key().0,
        // Nothing is known of what it reads: in two checkouts whose package differs in
        // anything at all it is taken for two actions.
        None => tokio::task::block_in_place(|| package_content(context, unit)),
    };
    let dependencies = dependency_parts::whole_parts(context, used);
    Miss {
        env_names: sets
            .iter()
            .flat_map(|set| set.env.iter().cloned())
            .collect(),
        known: !sets.is_empty(),
        taken: sets
            .iter()
            .fold(TakenIn::default(), |taken, set| taken.and(set.taken)),
        fingerprint: Digest::of_value(
            "vx fingerprint 1",
            &(context.graph.statics[unit], &dependencies, expected),
        ),
    }
}

fn package_content(context: &BuildContext, unit: usize) -> Digest {
    use vx_core::readset::{Read, ReadKind, ReadPlace};
    let package = &context.plan.packages[context.plan.units[unit].package];
    let vx_plan::PackageRoot::Checkout { dir } = &package.root else {
        return Digest::of(b"");
    };
    let seen = vx_core::RelPath::new(dir.clone()).ok().and_then(|dir| {
        let read = Read {
            place: ReadPlace::Checkout(dir),
            kind: ReadKind::Tree,
        };
        // What can't be observed tells no checkout from another; the look-up after does.
        crate::host::observe::observe(&context.stat_cache, &context.places, &read).ok()
    });
    Digest::of_value("vx package content 1", &seen.map(|seen| seen.observed))
}
