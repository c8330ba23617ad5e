//! One execution, from its first run until it is settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use vx_core::ActionResult;
use vx_core::action::Watch;
use vx_core::error::ServiceResult;
use vx_core::places::below;
use vx_core::readset::{Read, ReadKind, ReadPlace, ReadSet, TakenIn, Trace};

use super::attempts::{Attempts, Next, Outcome};
use super::end::{ExecutionEnd, Failure};
use super::in_flight::Progress;
use super::job::Job;
use super::publish::publish;
use super::run::{self, Ran};
use super::spec::{self, Prepared};
use super::{check, learn, own_directory, wanted_variables};
use crate::build::sources::SourceError;
use crate::graph::visible;
use crate::host::stat_cache::{coarse_now_ns, until_after};
use crate::inputs::dependency::{self, Finished};
use crate::inputs::real_places::{self, taken_by_programs};
use crate::inputs::shown::Shown;
use crate::inputs::{dependency_parts, input_trees};
use crate::key::KeyParts;
use crate::key::trees::LostTree;
use crate::session::Session;

/// Runs an action until it is settled, and publishes what came of it if that can be keyed.
pub(super) async fn settle(
    job: &Job,
    session: &dyn Session,
    progress: &watch::Sender<Progress>,
) -> ServiceResult<ExecutionEnd> {
    let mut execution = Execution::new(job, session, progress);
    loop {
        execution.attempts.begin();
        match execution.run().await? {
            Step::Again => {}
            Step::Ended(end) => return Ok(end),
            Step::Settled(settled) => return execution.end(*settled).await,
        }
    }
}

/// What a run leads to.
enum Step {
    /// Another run.
    Again,
    /// The end, without a result.
    Ended(ExecutionEnd),
    /// A result.
    Settled(Box<Settled>),
}

/// What a settled execution left.
struct Settled {
    finished: Finished,
    set: ReadSet,
    /// Why its result is not published, if so.
    why: Option<String>,
}

/// One execution, from its first run until it is settled.
struct Execution<'a> {
    job: &'a Job,
    session: &'a dyn Session,
    progress: &'a watch::Sender<Progress>,
    shown: Shown<'a>,
    /// Variables that its package declares.
    declared: Vec<String>,
    /// Those, and what earlier read sets name.
    names: BTreeSet<String>,
    /// Variables that it was not given at first, with their values.
    learned: BTreeMap<String, String>,
    attempts: Attempts,
}

impl<'a> Execution<'a> {
    fn new(job: &'a Job, session: &'a dyn Session, progress: &'a watch::Sender<Progress>) -> Self {
        let context = &job.context;
        let declared = visible::declared(&context.plan, job.unit).env;
        let names: BTreeSet<String> = job.env_names.iter().chain(&declared).cloned().collect();
        let mut learned = BTreeMap::new();
        learn(context, &mut learned, &BTreeSet::new(), &names);
        let by_programs = taken_by_programs(context, job.unit, &job.used);
        Self {
            shown: Shown::of(context, job.unit),
            attempts: Attempts::new(job.taken.and(by_programs)),
            job,
            session,
            progress,
            declared,
            names,
            learned,
        }
    }

    /// Makes a run ready, runs it, and judges it.
    async fn run(&mut self) -> ServiceResult<Step> {
        let (job, taken) = (self.job, self.attempts.taken);
        let context = &job.context;
        let prepared = spec::prepare(
            context,
            self.session,
            job.unit,
            &job.used,
            &self.learned,
            taken,
        );
        let mut prepared = match prepared.await {
            Ok(prepared) => prepared,
            Err(SourceError::Store(error)) => return Err(error),
            Err(error) => return Ok(Step::Ended(ExecutionEnd::Broken(error.to_string()))),
        };
        if self.attempts.watched {
            prepared.spec.watch = Watch::Everything;
        }
        let started_ns = coarse_now_ns();
        match run::run(job, self.session, &prepared, self.progress).await? {
            Ok(ran) => self.ran(&prepared, ran, started_ns).await,
            Err(end) => Ok(self.ended(&prepared, end).await),
        }
    }

    /// A run that left nothing.
    async fn ended(&mut self, prepared: &Prepared, end: ExecutionEnd) -> Step {
        let end = match end {
            ExecutionEnd::Failed(failure) => return self.failed(prepared, failure).await,
            end => end,
        };
        let outcome = match &end {
            ExecutionEnd::Lost(lost) => Outcome::LostInputs {
                packages_alone: lost.iter().all(|digest| prepared.archives.contains(digest)),
            },
            ExecutionEnd::Broken(_)
                if self.attempts.may_repeat()
                    && own_directory::went(&self.job.context, prepared) =>
            {
                Outcome::LostDirectory
            }
            _ => return Step::Ended(end),
        };
        match self.attempts.after(outcome) {
            Next::Again => Step::Again,
            Next::GoOn => Step::Ended(end),
        }
    }

    /// A program that failed may have missed something.
    async fn failed(&mut self, prepared: &Prepared, failure: Box<Failure>) -> Step {
        let job = self.job;
        let named = wanted_variables::named(job.context.plan.units[job.unit].mode, &failure);
        if self.learn(prepared, &named) && self.attempts.after(Outcome::NamedMore) == Next::Again {
            return Step::Again;
        }
        if self.shown.looked_elsewhere(&failure.looked) {
            let all = TakenIn {
                checkout: true,
                ..self.attempts.taken
            };
            if self.attempts.after(Outcome::TookIn(all)) == Next::Again {
                return Step::Again;
            }
        }
        // What was given metadata that does not stand, or that does not go with other
        // metadata any more, may be fine. So may what was given that of another build, which
        // may be of other files.
        let is_stale =
            !prerequisites_stand(job).await || job.prerequisites.iter().any(|one| one.joined);
        Step::Ended(if is_stale {
            ExecutionEnd::Stale
        } else {
            ExecutionEnd::Failed(failure)
        })
    }

    /// A program that succeeded: what it read has to be what it was given, and what is there.
    async fn ran(
        &mut self,
        prepared: &Prepared,
        ran: Ran,
        started_ns: i128,
    ) -> ServiceResult<Step> {
        let job = self.job;
        let context = &job.context;
        if ran.read_more
            && context.unisolated().is_none()
            && self.attempts.after(Outcome::ReadMore) == Next::Again
        {
            return Ok(Step::Again);
        }
        let named: BTreeSet<String> = ran.set.env.iter().cloned().collect();
        let more_names = self.learn(prepared, &named);
        if more_names && self.attempts.after(Outcome::NamedMore) == Next::Again {
            return Ok(Step::Again);
        }
        let mut all = self.attempts.taken.and(ran.found);
        all.checkout |= self.shown.looked_elsewhere(&ran.set);
        if self.attempts.after(Outcome::TookIn(all)) == Next::Again {
            return Ok(Step::Again);
        }
        let set = self.read_set(prepared, &ran);
        let dependencies = dependency_parts::key_parts(context, job.unit, &job.used);
        let given = match input_trees::of(context, job.unit, &job.used).await? {
            Ok(given) => given,
            Err(LostTree(tree)) => return Ok(Step::Ended(ExecutionEnd::Lost(vec![tree]))),
        };
        let trace = ran.trace.as_deref();
        let checked = check::look(job, &dependencies, &given, &set, trace, started_ns)?;
        let unsettled = checked.unsettled(started_ns);
        if let Some(why) = &unsettled
            && self.attempts.after(Outcome::ChangedUnderIt(why.clone())) == Next::Again
        {
            tracing::info!(label = prepared.spec.label, why, "an action runs again");
            until_after(checked.newest_ns).await;
            return Ok(Step::Again);
        }
        if let Some(path) = &checked.changed_itself
            && self.attempts.after(Outcome::ChangedItself(path.clone())) == Next::Again
        {
            until_after(coarse_now_ns()).await;
            return Ok(Step::Again);
        }
        let never_the_same = checked
            .changed_itself
            .as_ref()
            .map(|path| format!("it changes {path}, which it reads, at each run"));
        let incomplete = trace.and_then(|trace| trace.incomplete.clone());
        let unlearned = more_names
            .then(|| "it names more variables, one after another, than are followed".to_owned());
        let why = unsettled.or(never_the_same).or(incomplete).or(unlearned);
        let finished = self.finished(ran, checked.parts);
        Ok(Step::Settled(Box::new(Settled { finished, set, why })))
    }

    /// Adds the values of variables that are named, set, and not given yet; whether there were any.
    fn learn(&mut self, prepared: &Prepared, named: &BTreeSet<String>) -> bool {
        learn(&self.job.context, &mut self.learned, &prepared.given, named)
    }

    /// What a run read, and the variables that count.
    fn read_set(&self, prepared: &Prepared, ran: &Ran) -> ReadSet {
        let context = &self.job.context;
        let soft = &context.graph.soft_env[self.job.unit];
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
        set.env
            .extend(self.learned.keys().chain(&self.names).cloned());
        let is_soft = |name: &String| soft.iter().any(|(soft, _)| soft == name);
        set.env.retain(|name| {
            !prepared.given.contains(name) || is_soft(name) || self.declared.contains(name)
        });
        set = set.canonical();
        set.taken = self.attempts.taken;
        set
    }

    /// What a settled run left, under these key parts.
    fn finished(&mut self, ran: Ran, parts: KeyParts) -> Finished {
        let job = self.job;
        let context = &job.context;
        let taken = self.attempts.taken;
        let mut payload = ran.payload;
        payload.taken = taken;
        payload.holds = real_places::holds(context, job.unit, &job.used, taken);
        payload.left = real_places::left(context, job.unit, ran.found);
        Finished {
            key: None,
            parts: Some(parts),
            result: ActionResult {
                payload: payload.encode(),
                outputs: ran.outputs,
                unisolated: context.unisolated().is_some(),
            },
            payload,
            again: std::mem::take(&mut self.attempts.again),
            unstable: BTreeSet::new(),
        }
    }

    /// A result is published if what it was started on stands, and nothing is in the way.
    async fn end(&self, settled: Settled) -> ServiceResult<ExecutionEnd> {
        if !prerequisites_stand(self.job).await {
            return Ok(ExecutionEnd::Stale);
        }
        let Settled { finished, set, why } = settled;
        match why {
            Some(why) => Ok(ExecutionEnd::Unpublished {
                finished: Arc::new(finished),
                why,
            }),
            None => publish(self.job, self.session, finished, &set).await,
        }
    }
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
