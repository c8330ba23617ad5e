//! One run of an action's program, and what it says that it read and left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;
use vx_core::action::{Execution, Exit, Marked, OutputStream};
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::readset::{ReadSet, TakenIn, Trace};
use vx_core::{Output, Store};
use vx_plan::Mode;

use crate::execute::end::{ExecutionEnd, Failure};
use crate::execute::in_flight::Progress;
use crate::execute::job::Job;
use crate::execute::own_directory;
use crate::execute::spec::Prepared;
use crate::host::read_sets::{self, Root};
use crate::inputs::payload::{self, Payload};
use crate::session::Session;
use crate::session::blobs;

/// A program that succeeded.
pub(crate) struct Ran {
    /// What it left.
    pub(crate) outputs: Vec<Output>,
    /// Without what it took in.
    pub(crate) payload: Payload,
    /// The fixed places that its outputs hold.
    pub(crate) found: TakenIn,
    /// What it read.
    pub(crate) set: ReadSet,
    /// What it was seen to look at.
    pub(crate) trace: Option<Box<Trace>>,
    /// Whether it says that it read what it was not given, and was not watched.
    pub(crate) read_more: bool,
}

/// Runs the program once, in its turn; the inner error is why there is nothing of it to use.
///
/// # Errors
/// When a service fails.
pub(crate) async fn run(
    job: &Job,
    session: &dyn Session,
    prepared: &Prepared,
    progress: &watch::Sender<Progress>,
) -> ServiceResult<Result<Ran, ExecutionEnd>> {
    let context = &job.context;
    let execution = {
        let _job = job
            .limits
            .jobs
            .acquire()
            .await
            .map_err(|_| ServiceError::failed("the build's job limit was closed"))?;
        let priority = context.graph.remaining_ms[job.unit];
        let _slot = job.limits.slots.acquire(priority).await;
        progress.send_modify(|progress| progress.started = true);
        let observer = Arc::new(Announce {
            progress: progress.clone(),
        });
        if let Err(why) = own_directory::make(context, prepared) {
            return Ok(Err(ExecutionEnd::Broken(why)));
        }
        session.execute(prepared.spec.clone(), observer).await?
    };
    let left = match execution {
        Execution::Ran {
            exit,
            outputs,
            duration,
            marked,
            trace,
        } => Left {
            job,
            prepared,
            store: session.store(),
            exit,
            outputs,
            duration,
            marked,
            trace,
        },
        Execution::InputsMissing(lost) => return Ok(Err(ExecutionEnd::Lost(lost))),
        Execution::Unable(why) => {
            return Ok(Err(ExecutionEnd::Broken(format!(
                "{} could not be run: {why}",
                prepared.spec.label
            ))));
        }
    };
    if !left.exit.success() {
        return left.failed(Vec::new()).await;
    }
    match context.plan.units[job.unit].mode {
        Mode::Compile => left.compiled().await,
        Mode::RunBuildScript => left.script_ran().await,
    }
}

/// What is left of a program that ended.
struct Left<'a> {
    job: &'a Job,
    prepared: &'a Prepared,
    store: Arc<dyn Store>,
    exit: Exit,
    outputs: Vec<Output>,
    duration: Duration,
    marked: Vec<Marked>,
    trace: Option<Box<Trace>>,
}

impl Left<'_> {
    async fn compiled(self) -> ServiceResult<Result<Ran, ExecutionEnd>> {
        let name = vx_plan::dep_info_name(&self.job.context.plan.units[self.job.unit]);
        let dep_info = match vx_plan::parse_dep_info(&self.text(&name).await?) {
            Ok(dep_info) => dep_info,
            Err(error) => {
                return Ok(Err(ExecutionEnd::Broken(format!(
                    "{}: rustc's dep-info could not be understood: {error}",
                    self.prepared.spec.label
                ))));
            }
        };
        let counts = |output: &str| output != "stderr" && output != "stdout" && output != name;
        let root = Root::of(&self.prepared.spec);
        let read_more = self.trace.is_none() && read_sets::names_what_is_not_given(root, &dep_info);
        let mut set = read_sets::of_compile(root, &dep_info);
        if self.prepared.spec.checkout.is_some() && self.trace.is_none() {
            read_sets::add_modules(&mut set, root, &dep_info);
        }
        if let Some(trace) = &self.trace {
            read_sets::add_trace(&mut set, trace);
            read_sets::add_start(&mut set, root);
        }
        Ok(Ok(Ran {
            set,
            payload: Payload::new(self.duration_ms(), None),
            found: self.found(counts),
            outputs: self.outputs,
            trace: self.trace,
            read_more,
        }))
    }

    async fn script_ran(self) -> ServiceResult<Result<Ran, ExecutionEnd>> {
        let stdout = self.text("stdout").await?;
        let plan = &self.job.context.plan;
        let mut output = match vx_plan::parse_build_output(plan, self.job.unit, &stdout) {
            Ok(output) => output,
            Err(error) => return self.failed(vec![error.to_string()]).await,
        };
        if !output.errors.is_empty() {
            return self.failed(output.errors).await;
        }
        let root = Root::of(&self.prepared.spec);
        let mut found = self.found(|output| output == payload::OUT_DIR);
        found.checkout |= root.isolated && payload::says_path(&output);
        let mut set = read_sets::of_build_script(root, &output);
        if let Some(trace) = &self.trace {
            if !trace.wrote.is_empty() {
                // A name may hold a line's end, and so look like another message.
                let names = trace.wrote.join(", ").replace(char::is_control, "?");
                output.warnings.push(format!(
                    "its build script wrote {names} into the checkout; cargo would leave that \
                     there, vx keeps the checkout as it is and throws it away"
                ));
            }
            read_sets::add_trace(&mut set, trace);
            read_sets::add_start(&mut set, root);
        }
        Ok(Ok(Ran {
            set,
            payload: Payload::new(self.duration_ms(), Some(output)),
            found,
            outputs: self.outputs,
            trace: self.trace,
            read_more: false,
        }))
    }

    /// The program failed, or `errors` say why what it said is no success.
    async fn failed(self, errors: Vec<String>) -> ServiceResult<Result<Ran, ExecutionEnd>> {
        let spec = &self.prepared.spec;
        let has_network = spec.network || self.job.context.unisolated().is_some();
        let trace = self.trace.as_ref().filter(|_| !has_network);
        let given: BTreeSet<String> = spec.env.iter().map(|(name, _)| name.clone()).collect();
        let mut looked = ReadSet::default();
        if let Some(trace) = &self.trace {
            read_sets::add_trace(&mut looked, trace);
        }
        Ok(Err(ExecutionEnd::Failed(Box::new(Failure {
            exit: self.exit,
            stdout: self.text("stdout").await?,
            stderr: self.text("stderr").await?,
            errors,
            argv: spec.argv.clone(),
            given,
            reached_for: trace.and_then(|trace| trace.reached_for.clone()),
            looked,
        }))))
    }

    fn duration_ms(&self) -> u64 {
        u64::try_from(self.duration.as_millis()).unwrap_or(u64::MAX)
    }

    /// The fixed places that the outputs which count hold.
    fn found(&self, counts: impl Fn(&str) -> bool) -> TakenIn {
        self.marked
            .iter()
            .filter(|marked| counts(&marked.output))
            .filter_map(|marked| self.prepared.looks_for.get(marked.marker))
            .fold(TakenIn::default(), |found, place| found.and(*place))
    }

    async fn text(&self, name: &str) -> ServiceResult<Vec<u8>> {
        let Some(output) = self.outputs.iter().find(|output| output.name == name) else {
            return Ok(Vec::new());
        };
        let content = blobs::read(&*self.store, output.blob).await?;
        content.ok_or_else(|| {
            ServiceError::Failed(format!("the store lost {name} of an action that just ran"))
        })
    }
}

/// Passes on what is stored while the program runs.
struct Announce {
    progress: watch::Sender<Progress>,
}

#[async_trait]
impl vx_core::Observer for Announce {
    async fn wrote(&self, _stream: OutputStream, _bytes: Bytes) -> ServiceResult<()> {
        // Shown when the action is done, from what is stored: an execution that is repeated
        // would show everything twice.
        Ok(())
    }

    async fn stored(&self, output: Output) -> ServiceResult<()> {
        self.progress.send_modify(|progress| {
            progress.early.retain(|earlier| earlier.name != output.name);
            progress.early.push(output);
        });
        Ok(())
    }
}
