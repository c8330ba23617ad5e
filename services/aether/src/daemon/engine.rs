//! One build from its request to its report.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use vx_core::error::ServiceResult;
use vx_core::orchestrator::{
    BuildEvent, BuildFailure, BuildObserver, BuildOutcome, BuildRequest, Executable, MessageLevel,
    Totals,
};
use vx_core::places;
use vx_plan::{PackageRoot, TargetKind};

use crate::build::Build;
use crate::build::context::BuildContext;
use crate::build::layout;
use crate::daemon::shared::Shared;
use crate::deliver::{self, Among, Delivery};
use crate::execute;
use crate::execute::job::Limits;
use crate::graph::durations::Durations;
use crate::host::stat_cache::{coarse_now_ns, until_after};
use crate::plan::{self, PrepareError, Prepared, Preparer};
use crate::report::recorder::{EventSender, Recorder};
use crate::report::{self, Report, SCHEMA};
use crate::schedule::{EngineFault, Executions, Scheduler};
use crate::session::{Session, Sessions, Transfer};
use crate::verify;

/// Builds; shared by all requests.
pub(crate) struct Engine {
    sessions: Arc<dyn Sessions>,
    shared: Shared,
    preparer: Preparer,
    durations: Arc<Durations>,
}

/// A build that ended before it had a report.
fn ended(result: BuildFailure, started: Instant) -> BuildOutcome {
    BuildOutcome {
        result: Err(result),
        profile: String::new(),
        executables: Vec::new(),
        report: String::new(),
        duration: started.elapsed(),
        totals: Totals::default(),
    }
}

struct Timing {
    started: Instant,
    started_seconds: u64,
    planned: Duration,
}

impl Engine {
    /// An engine that gets its services from `sessions`; all of them have their files in `home`.
    pub(crate) fn new(
        home: PathBuf,
        sessions: Arc<dyn Sessions>,
        shared: Shared,
        durations: Arc<Durations>,
    ) -> Self {
        let cache = Arc::clone(&shared.known.stat_cache);
        let preparer = Preparer::new(home, cache, Arc::clone(&durations));
        Self {
            sessions,
            shared,
            preparer,
            durations,
        }
    }

    /// Runs a build to its end. Dropping the future cancels it.
    ///
    /// # Errors
    /// Never for what the user can do something about: that is in the outcome.
    pub(crate) async fn build(
        &self,
        request: BuildRequest,
        observer: Arc<dyn BuildObserver>,
    ) -> ServiceResult<BuildOutcome> {
        let (events, telling) = EventSender::start(observer);
        let outcome = self.build_and_tell(request, &events).await;
        drop(events);
        // Everything is said before the outcome is: the client prints in that order.
        let _ = telling.await;
        outcome
    }

    async fn build_and_tell(
        &self,
        request: BuildRequest,
        events: &EventSender,
    ) -> ServiceResult<BuildOutcome> {
        let started = Instant::now();
        let started_seconds = report::now_seconds();
        let run_id = report::new_run_id();
        let plan_request = plan::plan_request(&request);
        let session = match self.sessions.open(&run_id).await {
            Ok(session) => session,
            Err(error) => return Ok(ended(BuildFailure::Engine(error.to_string()), started)),
        };
        let (session, prepared) = match self.prepare(session, &run_id, &plan_request).await {
            Ok(ready) => ready,
            Err(PrepareError::Plan(error)) => {
                return Ok(ended(BuildFailure::Request(error.to_string()), started));
            }
            Err(error) => return Ok(ended(BuildFailure::Engine(error.to_string()), started)),
        };
        let timing = Timing {
            started,
            started_seconds,
            planned: started.elapsed(),
        };
        for message in vx_plan::messages(&prepared.workspace, &prepared.plan) {
            let (level, text) = cargos_level(&message);
            events.message(level, text.to_owned()).await?;
        }
        if let Some(bare) = session.bare() {
            let text = bare.warning(&session.store_endpoint());
            events.message(MessageLevel::Warning, text).await?;
        }
        if let Some(why) = &prepared.unknown {
            let text = format!(
                "what this build's plan depends on can't be seen, so cargo is asked for each \
                 build\n{why}"
            );
            events.message(MessageLevel::Warning, text).await?;
        }
        if let Err(error) = make_directory(&prepared.workspace.root).await
            && session.bare().is_some()
        {
            let text = format!(".vx can't be made in the workspace: {error}");
            return Ok(ended(BuildFailure::Engine(text), started));
        }
        events
            .tell(BuildEvent::Planned {
                actions: prepared.plan.units.len() as u64,
            })
            .await?;
        self.schedule(request, run_id, session, prepared, events, timing)
            .await
    }

    /// Says what a request would build.
    ///
    /// # Errors
    /// When there is no plan.
    pub(crate) async fn plan(&self, request: &BuildRequest, fresh: bool) -> ServiceResult<String> {
        let told = |error: PrepareError| match error {
            PrepareError::Service(error) => error,
            error => vx_core::ServiceError::Invalid(error.to_string()),
        };
        let request = plan::plan_request(request);
        let session = self.sessions.open(&report::new_run_id()).await?;
        let planned = self.preparer.plan(&request, &session, fresh).await;
        let planned = planned.map_err(told)?;
        let from = if planned.from_memo { "memo" } else { "made" };
        let plan = vx_plan::describe(&planned.plan);
        let told = serde_json::json!({"from": from, "plan": plan});
        Ok(told.to_string())
    }

    /// Plans; once more with new services when the store or the executor was lost on the way.
    async fn prepare(
        &self,
        session: Arc<dyn Session>,
        run_id: &str,
        request: &vx_plan::PlanRequest,
    ) -> Result<(Arc<dyn Session>, Prepared), PrepareError> {
        match self.preparer.prepare(request, &session).await {
            Err(PrepareError::Service(error)) if execute::is_lost(&error) => {
                let session = self.sessions.open(run_id).await?;
                let prepared = self.preparer.prepare(request, &session).await?;
                Ok((session, prepared))
            }
            other => Ok((session, other?)),
        }
    }

    async fn schedule(
        &self,
        request: BuildRequest,
        run_id: String,
        session: Arc<dyn Session>,
        prepared: Prepared,
        events: &EventSender,
        timing: Timing,
    ) -> ServiceResult<BuildOutcome> {
        let before = session.transfer().await;
        let from_memo = prepared.from_memo;
        let mut recorder = Recorder::new(&prepared.plan, events.clone(), message_places(&prepared));
        let (among, executions) = self.shares(&request, &prepared);
        let build = Build {
            plan: prepared.plan,
            graph: prepared.graph,
            identities: prepared.identities,
            places: prepared.places,
            workspace: prepared.workspace.root,
            package_sources: prepared.package_sources,
            env: request.env,
        };
        let known = self.shared.known.clone();
        let context = Arc::new(BuildContext::new(run_id, build, known, session));
        let mut scheduler = Scheduler::new(
            Arc::clone(&context),
            executions,
            &*self.sessions,
            &mut recorder,
            request.keep_going,
        );
        let ran = run(&context, &mut scheduler, &among, request.umask).await;
        let (result, delivered) = match ran {
            Ok(delivered) if delivered.succeeded => (Ok(()), delivered),
            Ok(delivered) => (Err(None), delivered),
            Err(fault) => (Err(Some(fault.to_string())), Delivered::default()),
        };
        for package in &delivered.absent {
            let text = format!(
                "a program looks for files in {package} when it runs, and nothing is there; \
                 run `cargo fetch` in the workspace"
            );
            events.message(MessageLevel::Warning, text).await?;
        }
        if result.is_ok() && request.verify {
            verify::verify(&context, &mut scheduler, events).await?;
        }
        drop(scheduler);
        self.note_durations(&context, &recorder);
        let result = result.map_err(|fault| match fault {
            Some(fault) => BuildFailure::Engine(fault),
            None => BuildFailure::Actions {
                failed: recorder.failures.clone(),
            },
        });
        let transfer = Transfer {
            fetched: delivered.fetched,
            ..context.session().transfer().await.since(before)
        };
        let written = write_report(
            &context, &recorder, &result, &delivered, transfer, from_memo, &timing,
        );
        let report = match written {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(error) => {
                // A build that succeeded is not spoilt by a report that can't be written.
                let text = format!("the report could not be written: {error}");
                events.message(MessageLevel::Warning, text).await?;
                String::new()
            }
        };
        Ok(BuildOutcome {
            executables: if result.is_ok() {
                executables(&context)
            } else {
                Vec::new()
            },
            result,
            profile: profile_words(&context),
            report,
            duration: timing.started.elapsed(),
            totals: recorder.totals(),
        })
    }

    /// What a build has in common with others: its turn to deliver, and executions.
    fn shares(&self, request: &BuildRequest, prepared: &Prepared) -> (Among, Executions) {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let among = Among {
            turn: self.shared.deliveries.begin(
                &request.selection,
                &request.cwd,
                &prepared.identities.toolchain,
                &request.env,
            ),
            deliveries: Arc::clone(&self.shared.deliveries),
        };
        let jobs = request.jobs.map_or(processors, |jobs| jobs as usize);
        let executions = Executions {
            in_flight: Arc::clone(&self.shared.in_flight),
            limits: Limits {
                jobs: Arc::new(Semaphore::new(jobs.max(1))),
                slots: Arc::clone(&self.shared.slots),
            },
        };
        (among, executions)
    }

    fn note_durations(&self, context: &BuildContext, recorder: &Recorder) {
        use vx_core::orchestrator::ActionOutcome;
        for (unit, action) in recorder.actions.iter().enumerate() {
            if action.outcome == Some(ActionOutcome::Built) {
                self.durations.note(&context.plan, unit, action.duration_ms);
            }
        }
    }
}

/// Writes the report of a build that ended; returns its path.
fn write_report(
    context: &BuildContext,
    recorder: &Recorder,
    result: &Result<(), BuildFailure>,
    delivered: &Delivered,
    transfer: Transfer,
    from_memo: bool,
    timing: &Timing,
) -> std::io::Result<PathBuf> {
    let errors = match result {
        Ok(()) => Vec::new(),
        Err(BuildFailure::Actions { failed }) => failed.clone(),
        Err(BuildFailure::Request(text) | BuildFailure::Engine(text)) => vec![text.clone()],
    };
    let isolation = context.session().bare().map(|bare| bare.why);
    let report = Report {
        schema: SCHEMA,
        run_id: &context.run_id,
        vx: vx_rpc::BUILD,
        started: timing.started_seconds,
        success: result.is_ok(),
        errors: &errors,
        duration_ms: milliseconds(timing.started.elapsed()),
        plan: if from_memo { "memo" } else { "cargo" },
        plan_ms: milliseconds(timing.planned),
        totals: recorder.totals(),
        actions: &recorder.actions,
        transfer: transfer.into(),
        outputs: &delivered.outputs,
        isolation: isolation.as_deref(),
    };
    report::write(&context.workspace, &report)
}

/// Makes `.vx` before any action looks, so that what is around it is the same for the next
/// build's, and does not change while one of them runs.
async fn make_directory(workspace: &Path) -> std::io::Result<()> {
    let there = workspace.join(".vx").is_dir();
    tokio::task::block_in_place(|| layout::project_directory(workspace))?;
    if !there {
        until_after(coarse_now_ns()).await;
    }
    Ok(())
}

/// What a build left for the user.
#[derive(Default)]
struct Delivered {
    /// Whether every action is done.
    succeeded: bool,
    /// Paths of final outputs, relative to the workspace.
    outputs: Vec<String>,
    /// Bytes of them that came through this process.
    fetched: u64,
    /// Directories of packages that they look into, and that are not there.
    absent: Vec<String>,
}

/// Runs all actions and delivers what is done, as cargo does also when some failed; what was
/// lost meanwhile is produced again.
async fn run(
    context: &Arc<BuildContext>,
    scheduler: &mut Scheduler<'_>,
    among: &Among,
    umask: u32,
) -> Result<Delivered, EngineFault> {
    loop {
        scheduler.run().await?;
        let succeeded = scheduler.succeeded();
        let finished = |unit| scheduler.finished(unit).cloned();
        match deliver::deliver(context, among, finished, umask).await {
            Ok(Delivery::Done {
                outputs,
                fetched,
                absent,
            }) => {
                return Ok(Delivered {
                    succeeded,
                    outputs,
                    fetched,
                    absent,
                });
            }
            // After a failure nothing runs any more; what is lost is missing until it is mended.
            Ok(Delivery::Lost(_)) if !succeeded => return Ok(Delivered::default()),
            Ok(Delivery::Lost(units)) => scheduler.produce_again(&units)?,
            Err(error) if execute::is_lost(&error) => scheduler.recover(error).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How loud a message of cargo's is, and its text.
fn cargos_level(message: &str) -> (MessageLevel, &str) {
    match message.strip_prefix("warning: ") {
        Some(warning) => (MessageLevel::Warning, warning),
        None => (MessageLevel::Status, message),
    }
}

/// What fixed places in messages stand for on this host.
fn message_places(prepared: &Prepared) -> BTreeMap<String, String> {
    let mut found = BTreeMap::from([(
        places::CHECKOUT.to_owned(),
        prepared.places.checkout.to_string_lossy().into_owned(),
    )]);
    for package in &prepared.plan.packages {
        let (PackageRoot::Archive { place, .. } | PackageRoot::Tree { place, .. }) = &package.root
        else {
            continue;
        };
        let hosts = prepared.workspace.host_paths(&package.found_at);
        let Some(host) = hosts.first().filter(|path| path.is_dir()) else {
            continue;
        };
        let host = host.to_string_lossy().into_owned();
        let name = Path::new(place).file_name().unwrap_or_default();
        for kind in ["registry", "git"] {
            found.insert(
                format!("/cargo/{kind}/{}", name.to_string_lossy()),
                host.clone(),
            );
        }
        found.insert(place.clone(), host);
    }
    found
}

fn executables(context: &BuildContext) -> Vec<Executable> {
    let plan = &context.plan;
    let mut found = Vec::new();
    for (unit, files) in context.graph.files.iter().enumerate() {
        let this = &plan.units[unit];
        let kind = match this.target.kind {
            TargetKind::Bin => "bin",
            TargetKind::ExampleBin => "example",
            _ => continue,
        };
        let package = &plan.packages[this.package];
        let name = files
            .iter()
            .filter(|file| file.kind == vx_plan::OutputKind::Executable)
            .find_map(|file| file.final_name.as_ref());
        if let Some(name) = name {
            found.push(Executable {
                name: this.target.name.clone(),
                kind: kind.to_owned(),
                package: package.name.clone(),
                path: layout::outputs_directory(context, unit)
                    .join(name)
                    .to_string_lossy()
                    .into_owned(),
                default_run: package.default_run.clone(),
            });
        }
    }
    found
}

/// The profile as cargo's last line describes it.
fn profile_words(context: &BuildContext) -> String {
    let plan = &context.plan;
    let profile = plan.roots.first().map(|&root| &plan.units[root].profile);
    let Some(profile) = profile else {
        return format!("`{}` profile", plan.profile);
    };
    let optimized = if profile.opt_level == "0" {
        "unoptimized"
    } else {
        "optimized"
    };
    let debuginfo = if profile.debuginfo == "0" {
        ""
    } else {
        " + debuginfo"
    };
    format!("`{}` profile [{optimized}{debuginfo}]", plan.profile)
}
