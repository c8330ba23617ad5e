//! Executions: an action is run, what it read is checked, and its result is published or not.
//!
//! In: a job. Out: how it ended. Whether a result may be published is decided here and nowhere else. Knows
//! nothing of who else waits for it.

pub(crate) mod check;
pub(crate) mod end;
pub(crate) mod in_flight;
pub(crate) mod job;
pub(crate) mod own_directory;
pub(crate) mod run;
pub(crate) mod slots;
pub(crate) mod spec;
pub(crate) mod wanted_variables;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use vx_core::ActionResult;
use vx_core::action::Watch;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::key::RecordName;
use vx_core::places::below;
use vx_core::readset::{INTERRUPTED, Read, ReadKind, ReadPlace, ReadSet, Trace};
use vx_core::service::MAX_RECORD;

use crate::build::context::BuildContext;
use crate::build::sources::SourceError;
use crate::execute::check::Afterwards;
use crate::execute::end::ExecutionEnd;
use crate::execute::in_flight::Progress;
use crate::execute::job::Job;
use crate::execute::run::Ran;
use crate::graph::visible;
use crate::host::stat_cache::{coarse_now_ns, until_after};
use crate::host::toolchain;
use crate::inputs::dependency::{self, Finished};
use crate::inputs::dependency_parts;
use crate::inputs::input_trees;
use crate::inputs::payload::Payload;
use crate::inputs::real_places::{self, taken_by_programs};
use crate::inputs::shown::Shown;
use crate::key::trees::LostTree;
use crate::lookup::{Resolution, resolve};
use crate::session::Session;

/// How often an execution is repeated because files changed under it, before vx goes on without
/// publishing.
const MAX_ATTEMPTS: usize = 5;

/// How often an action runs again for variables that it names, each time more of them: some are only
/// named where others are set. After that vx goes on without publishing.
const MAX_LEARNING: usize = 50;

/// How long one call waits for another home that runs the same action; then it asks again.
const CLAIM_WAIT: std::time::Duration = std::time::Duration::from_secs(30);

/// Runs a job to its end.
pub(crate) async fn run(job: Job, progress: watch::Sender<Progress>) -> ExecutionEnd {
    let session = job.context.session();
    match is_there_by_now(&job, &*session).await {
        Ok(true) => return ExecutionEnd::Found,
        Ok(false) => {}
        Err(error) if is_lost(&error) => return ExecutionEnd::Disconnected(error),
        Err(error) => return ExecutionEnd::Broken(error.to_string()),
    }
    let ended = if session.shared() {
        claim_and_attempt(&job, &*session, &progress).await
    } else {
        attempt_until_settled(&job, &*session, &progress).await
    };
    match ended {
        Ok(end) => end,
        Err(error) if is_lost(&error) => ExecutionEnd::Disconnected(error),
        Err(error) => ExecutionEnd::Broken(error.to_string()),
    }
}

/// Whether the action has a result after all: between the build's look-up and this execution's
/// entry in the table of those under way, another one may have been published and gone.
async fn is_there_by_now(job: &Job, session: &dyn Session) -> ServiceResult<bool> {
    let wanted = [(job.unit, job.used.clone())];
    let found = resolve(&job.context, &*session.results(), &wanted).await?;
    Ok(matches!(found.first(), Some(Resolution::Hit(_))))
}

/// Where other homes use the store too, one of them runs an action and the others wait.
async fn claim_and_attempt(
    job: &Job,
    session: &dyn Session,
    progress: &watch::Sender<Progress>,
) -> ServiceResult<ExecutionEnd> {
    let results = session.results();
    if !results.claim(job.fingerprint, CLAIM_WAIT).await? {
        return Ok(ExecutionEnd::Elsewhere);
    }
    let ended = attempt_until_settled(job, session, progress).await;
    results.release(job.fingerprint).await?;
    ended
}

/// Whether the services behind a session are gone, so that a new one may succeed.
pub(crate) fn is_lost(error: &ServiceError) -> bool {
    error.is_disconnected() || *error == ServiceError::Revoked
}

async fn attempt_until_settled(
    job: &Job,
    session: &dyn Session,
    progress: &watch::Sender<Progress>,
) -> ServiceResult<ExecutionEnd> {
    let context = &job.context;
    let mut learned: BTreeMap<String, String> = BTreeMap::new();
    let finds = Shown::of(context, job.unit);
    let declared = visible::declared(&context.plan, job.unit).env;
    let names: BTreeSet<String> = job.env_names.iter().chain(&declared).cloned().collect();
    let soft = &context.graph.soft_env[job.unit];
    learn(context, &mut learned, &BTreeSet::new(), &names);
    let mut attempt = 0;
    let mut learning = 0;
    let mut taken = job
        .taken
        .and(taken_by_programs(context, job.unit, &job.used));
    let mut again: Vec<String> = Vec::new();
    let mut changed_before = false;
    // Whether it reads what it was not given, which only a watched run tells all of.
    let mut read_more = false;
    let (finished, set, why) = loop {
        attempt += 1;
        let mut prepared =
            match spec::prepare(context, session, job.unit, &job.used, &learned, taken).await {
                Ok(prepared) => prepared,
                Err(SourceError::Store(error)) => return Err(error),
                Err(error) => return Ok(ExecutionEnd::Broken(error.to_string())),
            };
        if read_more {
            prepared.spec.watch = Watch::Everything;
        }
        let started_ns = coarse_now_ns();
        let ran = match run::run(job, session, &prepared, progress).await? {
            Ok(ran) => ran,
            Err(ExecutionEnd::Lost(lost)) => {
                let archives_only = lost.iter().all(|digest| prepared.archives.contains(digest));
                if archives_only && attempt < MAX_ATTEMPTS {
                    continue;
                }
                return Ok(ExecutionEnd::Lost(lost));
            }
            Err(ExecutionEnd::Broken(_))
                if attempt < MAX_ATTEMPTS && own_directory::went(context, &prepared) =>
            {
                continue;
            }
            Err(ExecutionEnd::Failed(failure)) => {
                let named = wanted_variables::named(context.plan.units[job.unit].mode, &failure);
                if learning < MAX_LEARNING && learn(context, &mut learned, &prepared.given, &named)
                {
                    learning += 1;
                    attempt -= 1;
                    continue;
                }
                if !taken.checkout && finds.looked_elsewhere(&failure.looked) {
                    taken.checkout = true;
                    attempt = 0;
                    continue;
                }
                // What was given metadata that does not stand, or that does not go with other
                // metadata any more, may be fine. So may what was given that of another build, which
                // may be of other files.
                if !prerequisites_stand(job).await || job.prerequisites.iter().any(|one| one.joined)
                {
                    return Ok(ExecutionEnd::Stale);
                }
                return Ok(ExecutionEnd::Failed(failure));
            }
            Err(end) => return Ok(end),
        };
        if ran.read_more && !read_more && context.unisolated().is_none() {
            read_more = true;
            continue;
        }
        let named: BTreeSet<String> = ran.set.env.iter().cloned().collect();
        let more_names = learn(context, &mut learned, &prepared.given, &named);
        if more_names && learning < MAX_LEARNING {
            learning += 1;
            attempt -= 1;
            continue;
        }
        let mut all = taken.and(ran.found);
        all.checkout |= finds.looked_elsewhere(&ran.set);
        if all != taken {
            // Its outputs name places that are not there outside, or it looked for one: it runs
            // again where those really are, and its key says so.
            taken = all;
            attempt = 0;
            continue;
        }
        let mut set = ran.set.clone();
        // What it leaves is there for whoever finds its result.
        if context.unisolated().is_some() {
            set.reads
                .extend(ran.trace.as_deref().into_iter().flat_map(left_behind));
        }
        // What was given could be read without being named, and what was named once is given
        // whenever it is set: names once learned stay. What vx and cargo set is in the static
        // part; only what the caller's environment could give is observed. What is declared
        // goes before what vx sets.
        set.env.extend(learned.keys().chain(&names).cloned());
        let is_soft = |name: &String| soft.iter().any(|(soft, _)| soft == name);
        set.env.retain(|name| {
            !prepared.given.contains(name) || is_soft(name) || declared.contains(name)
        });
        set = set.canonical();
        set.taken = taken;
        let dependencies = dependency_parts::key_parts(context, job.unit, &job.used);
        let given = match input_trees::of(context, job.unit, &job.used).await? {
            Ok(given) => given,
            Err(LostTree(tree)) => return Ok(ExecutionEnd::Lost(vec![tree])),
        };
        let Afterwards {
            parts,
            newest_ns,
            newest,
            disagreement,
            changed_itself,
        } = check::look(
            job,
            &dependencies,
            &given,
            &set,
            ran.trace.as_deref(),
            started_ns,
        )?;
        let unsettled = if newest_ns >= started_ns {
            let newest = newest.unwrap_or_default();
            Some(format!("{} changed while it ran", newest.display()))
        } else {
            disagreement.map(|path| format!("{path} was not afterwards what it was while it ran"))
        };
        // What is interrupted twice is interrupted all the time.
        let hopeless = |why: &String| why.starts_with(INTERRUPTED) && again.contains(why);
        if let Some(why) = &unsettled
            && attempt < MAX_ATTEMPTS
            && !hopeless(why)
        {
            tracing::info!(label = prepared.spec.label, why, "an action runs again");
            again.push(why.clone());
            until_after(newest_ns).await;
            continue;
        }
        // What it made of its own inputs may be what it makes of them again. Once is enough to
        // know.
        if let Some(path) = &changed_itself
            && !changed_before
            && attempt < MAX_ATTEMPTS
        {
            changed_before = true;
            again.push(format!("it changed {path}, which it had read"));
            until_after(coarse_now_ns()).await;
            continue;
        }
        let never_the_same =
            changed_itself.map(|path| format!("it changes {path}, which it reads, at each run"));
        let incomplete = ran.trace.and_then(|trace| trace.incomplete);
        let unlearned = more_names
            .then(|| "it names more variables, one after another, than are followed".to_owned());
        let mut payload = ran.payload;
        payload.taken = taken;
        payload.holds = real_places::holds(context, job.unit, &job.used, taken);
        payload.left = real_places::left(context, job.unit, ran.found);
        let finished = Finished {
            key: None,
            parts: Some(parts),
            result: ActionResult {
                payload: payload.encode(),
                outputs: ran.outputs,
                unisolated: context.unisolated().is_some(),
            },
            payload,
            again,
            unstable: BTreeSet::new(),
        };
        let why = unsettled.or(never_the_same).or(incomplete).or(unlearned);
        break (finished, set, why);
    };
    if !prerequisites_stand(job).await {
        return Ok(ExecutionEnd::Stale);
    }
    match why {
        Some(why) => Ok(ExecutionEnd::Unpublished {
            finished: Arc::new(finished),
            why,
        }),
        None => publish(job, session, finished, &set).await,
    }
}

/// Runs a job once more, with what it was given before, and publishes nothing. `change` may alter
/// the action.
pub(crate) async fn run_again(
    job: &Job,
    change: impl FnOnce(&mut vx_core::ActionSpec),
) -> ServiceResult<Result<Ran, String>> {
    let context = &job.context;
    let session = context.session();
    let mut learned = BTreeMap::new();
    learn(context, &mut learned, &BTreeSet::new(), &job.env_names);
    let prepared = spec::prepare(context, &*session, job.unit, &job.used, &learned, job.taken);
    let mut prepared = match prepared.await {
        Ok(prepared) => prepared,
        Err(SourceError::Store(error)) => return Err(error),
        Err(error) => return Ok(Err(error.to_string())),
    };
    change(&mut prepared.spec);
    let (progress, _) = watch::channel(Progress::default());
    Ok(
        match run::run(job, &*session, &prepared, &progress).await? {
            Ok(ran) => Ok(ran),
            Err(ExecutionEnd::Failed(failure)) => Err(format!("it failed: {:?}", failure.exit)),
            Err(ExecutionEnd::Lost(_)) => {
                Err("its inputs are not in the store any more".to_owned())
            }
            Err(ExecutionEnd::Broken(why)) => Err(why),
            Err(_) => Err("it could not be run again".to_owned()),
        },
    )
}

/// Adds the values of named variables that are set and not given yet; whether there were any.
fn learn(
    context: &BuildContext,
    learned: &mut BTreeMap<String, String>,
    given: &BTreeSet<String>,
    names: &BTreeSet<String>,
) -> bool {
    let mut added = false;
    for name in names {
        if given.contains(name) || learned.contains_key(name) {
            continue;
        }
        if let Some(value) = context.env.get(name) {
            learned.insert(name.clone(), value.clone());
            added = true;
        }
    }
    added
}

/// What an action that is not isolated changed, as it left it. What git keeps for itself in the
/// checkout concerns nobody.
fn left_behind(trace: &Trace) -> impl Iterator<Item = Read> + '_ {
    let of_git = |place: &ReadPlace| matches!(place, ReadPlace::Checkout(path) if below(path.as_str(), ".git").is_some());
    let changed = trace.changed.iter().filter(move |place| !of_git(place));
    changed.map(|place| Read {
        place: place.clone(),
        kind: ReadKind::Content,
    })
}

async fn prerequisites_stand(job: &Job) -> bool {
    for prerequisite in &job.prerequisites {
        let mut progress = prerequisite.progress.clone();
        let Ok(seen) = progress.wait_for(|progress| progress.end.is_some()).await else {
            return false;
        };
        let finished = match seen.end.as_deref() {
            Some(
                ExecutionEnd::Published(finished) | ExecutionEnd::Unpublished { finished, .. },
            ) => finished,
            _ => return false,
        };
        let stands = dependency::of_finished(&job.context, prerequisite.need, finished);
        if stands.as_ref() != Some(&prerequisite.used) {
            return false;
        }
    }
    true
}

/// Whether the toolchain is another than the one that keys name.
fn toolchain_changed(context: &BuildContext) -> Option<String> {
    match toolchain::toolchain(&context.stat_cache, &context.places.sysroot) {
        Ok(now) if now == context.identities.toolchain => None,
        Ok(_) => Some("the toolchain changed while it ran".to_owned()),
        Err(error) => Some(format!("the toolchain can't be read: {error}")),
    }
}

async fn publish(
    job: &Job,
    session: &dyn Session,
    mut finished: Finished,
    set: &ReadSet,
) -> ServiceResult<ExecutionEnd> {
    let parts = finished
        .parts
        .as_ref()
        .ok_or_else(|| ServiceError::failed("an execution without key parts"))?;
    // What it looked at in the toolchain is named by what that was when the build began.
    if let Some(why) = tokio::task::block_in_place(|| toolchain_changed(&job.context)) {
        return Ok(ExecutionEnd::Unpublished {
            finished: Arc::new(finished),
            why,
        });
    }
    let key = parts.key();
    let record = postcard::to_stdvec(set).expect("plain values always encode");
    if record.len() > MAX_RECORD {
        return Ok(ExecutionEnd::Unpublished {
            finished: Arc::new(finished),
            why: "it read more than can be kept".to_owned(),
        });
    }
    let results = session.results();
    let standing = match results.publish(key, finished.result.clone()).await {
        Err(ServiceError::Unaccepted(why)) => {
            return Ok(ExecutionEnd::Unpublished {
                finished: Arc::new(finished),
                why,
            });
        }
        published => published?,
    };
    let name = RecordName::from(job.context.graph.statics[job.unit]);
    results.record(name, Bytes::from(record)).await?;
    if let Some(payload) = Payload::decode(&standing.payload) {
        finished.payload = payload;
        finished.result = standing;
    }
    finished.key = Some(key);
    Ok(ExecutionEnd::Published(Arc::new(finished)))
}
