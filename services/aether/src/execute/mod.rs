//! Executions: an action is run, what it read is checked, and its result is published or not.
//!
//! In: a job. Out: how it ended. Whether a result may be published is decided here and nowhere else. Knows
//! nothing of who else waits for it.

mod attempts;
pub(crate) mod check;
pub(crate) mod end;
pub(crate) mod in_flight;
pub(crate) mod job;
pub(crate) mod own_directory;
mod publish;
pub(crate) mod run;
mod settle;
pub(crate) mod slots;
pub(crate) mod spec;
pub(crate) mod wanted_variables;

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;
use vx_core::error::{ServiceError, ServiceResult};

use crate::build::context::BuildContext;
use crate::build::sources::SourceError;
use crate::execute::end::ExecutionEnd;
use crate::execute::in_flight::Progress;
use crate::execute::job::Job;
use crate::execute::run::Ran;
use crate::lookup::{Resolution, resolve};
use crate::session::Session;

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
        settle::settle(&job, &*session, &progress).await
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
    let ended = settle::settle(job, session, progress).await;
    results.release(job.fingerprint).await?;
    ended
}

/// Whether the services behind a session are gone, so that a new one may succeed.
pub(crate) fn is_lost(error: &ServiceError) -> bool {
    error.is_disconnected() || *error == ServiceError::Revoked
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
