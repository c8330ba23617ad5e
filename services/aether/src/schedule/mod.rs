//! The build's loop: it alone changes what is known of each action.
//!
//! In: a build. Out: what became of each action.
//! Actions whose dependencies are there are looked up together; what is not found runs; what
//! happens comes back as events. An action whose inputs turn out lost or different goes back
//! to waiting, a bounded number of times.

mod events;
mod recovery;

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::orchestrator::ActionOutcome;
use vx_core::readset::TakenIn;
use vx_core::{Digest, Output};

use self::events::{Event, forward};
use crate::build::context::BuildContext;
use crate::execute;
use crate::execute::end::ExecutionEnd;
use crate::execute::in_flight::{Handle, InFlight};
use crate::execute::job::Limits;
use crate::execute::job::{Job, Prerequisite};
use crate::graph::Need;
use crate::inputs::dependency::{self, Finished, Used};
use crate::inputs::real_places::sees_checkout;
use crate::lookup::{Miss, Resolution, resolve};
use crate::report::recorder::{Recorder, Told};
use crate::session::Sessions;

/// How often one action may go back to waiting: each loss or change is answered by one more
/// try, and a store that loses everything must not keep a build going for ever.
const MAX_RESETS: u32 = 8;

/// How often a build goes on after its services were lost.
const MAX_RECOVERIES: u32 = 4;

/// Events of executions under way: at most a few each, and the loop takes them at once.
const EVENTS: usize = 256;

/// What is known of one action.
enum Phase {
    Waiting,
    Running(Running),
    Done(Arc<Finished>),
    Failed,
    Skipped,
}

struct Running {
    handle: Handle,
    forward: AbortHandle,
    early: Vec<Output>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.forward.abort();
    }
}

struct UnitState {
    phase: Phase,
    /// Counts tries, so that events of an earlier one are told apart.
    generation: u32,
    resets: u32,
    /// What of its dependencies it was looked up or started with.
    used: Vec<(Need, Used)>,
    /// The run it waited for, when another build ran it.
    waited_for: Option<String>,
    /// Whether it ran in this build.
    ran: bool,
}

/// What the executions of all builds share, and what bounds those of one.
#[derive(Clone)]
pub(crate) struct Executions {
    /// Those under way.
    pub(crate) in_flight: Arc<InFlight>,
    /// How many run at once.
    pub(crate) limits: Limits,
}

/// Runs one build's actions.
pub(crate) struct Scheduler<'a> {
    context: Arc<BuildContext>,
    executions: Executions,
    sessions: &'a dyn Sessions,
    recorder: &'a mut Recorder,
    units: Vec<UnitState>,
    dirty: BTreeSet<usize>,
    events: mpsc::Receiver<Event>,
    sender: mpsc::Sender<Event>,
    recoveries: u32,
    keep_going: bool,
    failed: bool,
}

/// Why a build can't go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineFault {
    /// A service failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// An action can't be run or settled, whatever is tried.
    #[error("{0}")]
    Stuck(String),
}

impl<'a> Scheduler<'a> {
    /// A scheduler for a build whose actions all wait.
    pub(crate) fn new(
        context: Arc<BuildContext>,
        executions: Executions,
        sessions: &'a dyn Sessions,
        recorder: &'a mut Recorder,
        keep_going: bool,
    ) -> Self {
        let count = context.plan.units.len();
        let (sender, events) = mpsc::channel(EVENTS);
        Self {
            units: (0..count)
                .map(|_| UnitState {
                    phase: Phase::Waiting,
                    generation: 0,
                    resets: 0,
                    used: Vec::new(),
                    waited_for: None,
                    ran: false,
                })
                .collect(),
            dirty: (0..count).collect(),
            context,
            executions,
            sessions,
            recorder,
            events,
            sender,
            recoveries: 0,
            keep_going,
            failed: false,
        }
    }

    /// Runs until every action is done, failed or skipped.
    ///
    /// # Errors
    /// When vx itself can't go on.
    pub(crate) async fn run(&mut self) -> Result<(), EngineFault> {
        loop {
            let ready = self.take_ready();
            if !ready.is_empty() {
                match self.look_up(ready).await {
                    Ok(()) => {}
                    Err(error) if execute::is_lost(&error) => self.recover(error).await?,
                    Err(error) => return Err(error.into()),
                }
                continue;
            }
            if self.running() == 0 {
                return self.settle();
            }
            if let Some(event) = self.events.recv().await {
                self.take(event).await?;
            }
            while let Ok(event) = self.events.try_recv() {
                self.take(event).await?;
            }
        }
    }

    /// Whether every action is done.
    pub(crate) fn succeeded(&self) -> bool {
        self.units
            .iter()
            .all(|unit| matches!(unit.phase, Phase::Done(_)))
    }

    /// What an action that is done left behind.
    pub(crate) fn finished(&self, unit: usize) -> Option<&Arc<Finished>> {
        match &self.units[unit].phase {
            Phase::Done(finished) => Some(finished),
            _ => None,
        }
    }

    /// Who tells of this build.
    pub(crate) fn recorder(&mut self) -> &mut Recorder {
        self.recorder
    }

    /// What running an action that is done once more takes.
    pub(crate) fn job_again(&self, unit: usize) -> Job {
        let finished = self.finished(unit);
        let parts = finished.and_then(|finished| finished.parts.as_ref());
        Job {
            context: Arc::clone(&self.context),
            limits: self.executions.limits.clone(),
            unit,
            used: self.units[unit].used.clone(),
            taken: finished.map_or(TakenIn::default(), |finished| finished.payload.taken),
            env_names: parts
                .iter()
                .flat_map(|parts| parts.env.iter().map(|(name, _)| name.clone()))
                .collect(),
            prerequisites: Vec::new(),
            fingerprint: Digest::of(b""),
        }
    }

    fn running(&self) -> usize {
        self.units
            .iter()
            .filter(|unit| matches!(unit.phase, Phase::Running(_)))
            .count()
    }

    /// Nothing runs and nothing is ready: all is done, or a failure stopped the rest.
    fn settle(&mut self) -> Result<(), EngineFault> {
        let waiting: Vec<usize> = (0..self.units.len())
            .filter(|&unit| matches!(self.units[unit].phase, Phase::Waiting))
            .collect();
        if let Some(&unit) = waiting.first()
            && !self.failed
        {
            return Err(EngineFault::Stuck(format!(
                "{} waits for something that never comes; this is a fault of vx",
                self.context.package_label(unit)
            )));
        }
        for unit in waiting {
            self.units[unit].phase = Phase::Skipped;
            self.recorder.outcome(unit, ActionOutcome::Skipped, "");
        }
        Ok(())
    }

    /// Actions whose every need is there.
    fn take_ready(&mut self) -> Vec<(usize, Vec<(Need, Used)>)> {
        let dirty = std::mem::take(&mut self.dirty);
        if self.failed && !self.keep_going {
            return Vec::new();
        }
        dirty
            .into_iter()
            .filter(|&unit| matches!(self.units[unit].phase, Phase::Waiting))
            .filter_map(|unit| Some((unit, self.available(unit)?)))
            .collect()
    }

    /// What a unit needs, when all of it is there.
    fn available(&self, unit: usize) -> Option<Vec<(Need, Used)>> {
        self.context.graph.needs[unit]
            .iter()
            .map(|&need| Some((need, self.offered(need)?)))
            .collect()
    }

    fn offered(&self, need: Need) -> Option<Used> {
        match &self.units[need.unit].phase {
            Phase::Done(finished) => dependency::of_finished(&self.context, need, finished),
            Phase::Running(running) => dependency::of_early(&self.context, need, &running.early),
            _ => None,
        }
    }

    async fn look_up(&mut self, ready: Vec<(usize, Vec<(Need, Used)>)>) -> ServiceResult<()> {
        let (overridden, ready): (Vec<_>, Vec<_>) = ready
            .into_iter()
            .partition(|(unit, _)| self.context.plan.units[*unit].overridden.is_some());
        for (unit, used) in overridden {
            self.units[unit].used = used;
            let finished = overridden_run(&self.context, unit);
            self.finish(
                unit,
                Arc::new(finished),
                ActionOutcome::Hit,
                "set by configuration",
            )
            .await?;
        }
        let session = self.context.session();
        let context = Arc::clone(&self.context);
        let resolutions = match resolve(&context, &*session.results(), &ready).await {
            Ok(resolutions) => resolutions,
            Err(error) => {
                self.dirty.extend(ready.iter().map(|(unit, _)| *unit));
                return Err(error);
            }
        };
        for ((unit, used), resolution) in ready.into_iter().zip(resolutions) {
            self.units[unit].used = used;
            match resolution {
                Resolution::Hit(finished) => {
                    let outcome = match (self.units[unit].ran, &self.units[unit].waited_for) {
                        (true, _) => ActionOutcome::Built,
                        (false, Some(_)) => ActionOutcome::Waited,
                        (false, None) => ActionOutcome::Hit,
                    };
                    self.finish(unit, finished, outcome, "").await?;
                }
                Resolution::Miss(miss) => self.start(unit, miss),
            }
        }
        Ok(())
    }

    fn start(&mut self, unit: usize, miss: Miss) {
        self.recorder.missed(unit, &miss);
        let fingerprint = miss.fingerprint;
        let job = Job {
            context: Arc::clone(&self.context),
            limits: self.executions.limits.clone(),
            unit,
            used: self.units[unit].used.clone(),
            taken: miss.taken.and(self.told_places(unit)),
            env_names: miss.env_names,
            prerequisites: self.prerequisites(unit),
            fingerprint,
        };
        let context = &self.context;
        let handle =
            self.executions
                .in_flight
                .join_or_start(fingerprint, &context.run_id, |progress| {
                    execute::run(job, progress)
                });
        if handle.joined {
            self.units[unit].waited_for = Some(handle.owner().to_owned());
            self.recorder.waits(unit, handle.owner());
        }
        let generation = self.units[unit].generation;
        let forward = tokio::spawn(forward(
            unit,
            generation,
            handle.progress(),
            self.sender.clone(),
        ))
        .abort_handle();
        self.units[unit].phase = Phase::Running(Running {
            handle,
            forward,
            early: Vec::new(),
        });
    }

    /// Where the checkout really is, if a build script told a unit that: what it named, such as a
    /// file that generated code includes, is not at the fixed place.
    fn told_places(&self, unit: usize) -> TakenIn {
        let told = self.units[unit].used.iter().any(|(_, used)| {
            let Used::Run { names_place, .. } = used else {
                return false;
            };
            *names_place
        });
        TakenIn {
            checkout: told && sees_checkout(&self.context, unit),
            ..TakenIn::default()
        }
    }

    /// Executions whose metadata a unit was started on.
    fn prerequisites(&self, unit: usize) -> Vec<Prerequisite> {
        self.units[unit]
            .used
            .iter()
            .filter_map(|(need, used)| match &self.units[need.unit].phase {
                Phase::Running(running) => Some(Prerequisite {
                    progress: running.handle.progress(),
                    need: *need,
                    used: used.clone(),
                    joined: running.handle.joined,
                }),
                _ => None,
            })
            .collect()
    }

    async fn take(&mut self, event: Event) -> Result<(), EngineFault> {
        let (unit, generation) = match &event {
            Event::Started(unit, generation)
            | Event::Early(unit, generation, _)
            | Event::End(unit, generation, _) => (*unit, *generation),
        };
        if self.units[unit].generation != generation {
            return Ok(());
        }
        let Phase::Running(running) = &mut self.units[unit].phase else {
            return Ok(());
        };
        match event {
            Event::Started(..) => {
                if !running.handle.joined {
                    self.recorder.started(&self.context, unit).await?;
                }
            }
            Event::Early(_, _, outputs) => {
                running.early = outputs;
                self.dirty.extend(&self.context.graph.consumers[unit]);
            }
            Event::End(_, _, end) => {
                let joined = running.handle.joined;
                self.end(unit, joined, &end).await?;
            }
        }
        Ok(())
    }

    async fn end(
        &mut self,
        unit: usize,
        joined: bool,
        end: &ExecutionEnd,
    ) -> Result<(), EngineFault> {
        self.context.action_ended();
        match end {
            // What another build ran counts here if this build's own lookup finds it.
            // That it failed there says nothing of here, where other files and variables are.
            ExecutionEnd::Published(_)
            | ExecutionEnd::Unpublished { .. }
            | ExecutionEnd::Failed(_)
                if joined =>
            {
                self.reset(unit, "another build ran it")?;
            }
            ExecutionEnd::Published(finished) => {
                self.units[unit].ran = true;
                self.finish(unit, Arc::clone(finished), ActionOutcome::Built, "")
                    .await?;
            }
            ExecutionEnd::Unpublished { finished, why } => {
                self.units[unit].ran = true;
                self.finish(unit, Arc::clone(finished), ActionOutcome::Built, why)
                    .await?;
            }
            ExecutionEnd::Failed(failure) => {
                self.units[unit].phase = Phase::Failed;
                self.failed = true;
                self.recorder.failed(&self.context, unit, failure).await?;
                self.skip_consumers(unit);
            }
            ExecutionEnd::Lost(lost) => {
                let producers = self.producers(unit, lost);
                self.reset(unit, "inputs were lost")?;
                self.produce_again(&producers)?;
            }
            ExecutionEnd::Found => self.wait_again(unit),
            ExecutionEnd::Elsewhere => {
                self.units[unit].waited_for = Some("another home".to_owned());
                self.recorder.waits(unit, "another home");
                self.wait_again(unit);
            }
            ExecutionEnd::Stale => self.reset(unit, "metadata it was started on did not stand")?,
            ExecutionEnd::Disconnected(error) => self.recover(error.clone()).await?,
            ExecutionEnd::Broken(why) => return Err(EngineFault::Stuck(why.clone())),
        }
        Ok(())
    }

    async fn finish(
        &mut self,
        unit: usize,
        finished: Arc<Finished>,
        outcome: ActionOutcome,
        note: &str,
    ) -> ServiceResult<()> {
        let told = self
            .recorder
            .finished(&self.context, unit, &finished, outcome, note)
            .await?;
        if told == Told::Lost {
            return self
                .reset(unit, "what it said was lost")
                .map_err(ServiceError::failed);
        }
        self.units[unit].phase = Phase::Done(finished);
        let consumers = self.context.graph.consumers[unit].clone();
        for consumer in consumers {
            self.dirty.insert(consumer);
            if self.disagrees(consumer, unit) {
                self.reset(consumer, "a dependency was produced again and differs")
                    .map_err(ServiceError::failed)?;
            }
        }
        Ok(())
    }

    /// Whether `consumer` runs on or came of another output of `unit` than stands now.
    fn disagrees(&self, consumer: usize, unit: usize) -> bool {
        if !matches!(
            self.units[consumer].phase,
            Phase::Running(_) | Phase::Done(_)
        ) {
            return false;
        }
        self.units[consumer]
            .used
            .iter()
            .filter(|(need, _)| need.unit == unit)
            .any(|(need, used)| self.offered(*need).as_ref() != Some(used))
    }

    fn reset(&mut self, unit: usize, why: &str) -> Result<(), EngineFault> {
        let state = &mut self.units[unit];
        state.resets += 1;
        if state.resets > MAX_RESETS {
            return Err(EngineFault::Stuck(format!(
                "{} could not be settled in {MAX_RESETS} tries; at last {why}",
                self.context.package_label(unit)
            )));
        }
        tracing::debug!(unit = %self.context.package_label(unit), why, "waits again");
        self.wait_again(unit);
        Ok(())
    }

    fn wait_again(&mut self, unit: usize) {
        let state = &mut self.units[unit];
        state.generation += 1;
        state.phase = Phase::Waiting;
        self.dirty.insert(unit);
    }

    fn skip_consumers(&mut self, failed: usize) {
        let mut stack = self.context.graph.consumers[failed].clone();
        while let Some(unit) = stack.pop() {
            if matches!(self.units[unit].phase, Phase::Waiting | Phase::Running(_)) {
                self.units[unit].generation += 1;
                self.units[unit].phase = Phase::Skipped;
                self.recorder.outcome(unit, ActionOutcome::Skipped, "");
                stack.extend(&self.context.graph.consumers[unit]);
            }
        }
    }
}

/// What cargo's configuration says in a build script's place.
fn overridden_run(context: &BuildContext, unit: usize) -> Finished {
    let output = context.plan.units[unit].overridden.clone();
    let payload = crate::inputs::payload::Payload::new(0, output);
    Finished {
        key: None,
        parts: None,
        result: vx_core::ActionResult {
            outputs: Vec::new(),
            payload: payload.encode(),
            unisolated: false,
        },
        payload,
        again: Vec::new(),
        unstable: BTreeSet::new(),
    }
}
