//! One action, from its inputs to its outputs.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vx_core::readset::Trace;
use vx_core::{
    ActionSpec, CheckoutMode, CheckoutMount, Execution, Exit, Marked, MessageFormat, Observer,
    Output, OutputForm, OutputStream, RelPath, ServiceError, Store, Watch, places,
};

use crate::collect::{Collected, Collector, Early, Kept};
use crate::engine::Engine;
use crate::fault::{Stop, Tried};
use crate::guard::spec::{Bind, BindAccess, GuardSpec, Program, Report};
use crate::guard::trace::Scope;
use crate::ingest::Intake;
use crate::jobs::variable;
use crate::layout::in_order;
use crate::marker::{Markers, Marks};
use crate::memory;
use crate::messages::Artifact;
use crate::packages::Lease;
use crate::scratch::Scratch;
use crate::spawner::{Guarded, Process, Reports};
use crate::stage::stage;
use crate::streams::Pump;

/// Artifact notices that may wait for the store; rustc writes a handful.
const NOTICES: usize = 16;

/// How a program whose outputs can't be kept is said to have ended.
const UNFIT: Exit = Exit::Code(1);

/// Runs an action, whatever it takes, and leaves nothing behind.
pub(crate) async fn run(
    engine: &Engine,
    action: ActionSpec,
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
    cancelled: &CancellationToken,
) -> Result<Execution, Stop> {
    let permit = tokio::select! {
        permit = engine.admission.acquire() => permit,
        () = cancelled.cancelled() => return Err(Stop::Cancelled),
    };
    let scratch = engine.directory.scratch().tried("make a directory")?;
    let attempt = Attempt {
        engine,
        action: &action,
        store,
        observer,
        scratch: &scratch,
    };
    let mut guard = None;
    let result = attempt.run(cancelled, &mut guard).await;
    drop(permit);
    // Not waited for: the result is known, and what is left concerns nobody else.
    engine.background.spawn(async move {
        if let Some(process) = guard
            && let Err(error) = process.ended().await
        {
            tracing::warn!(%error, "a guard can't be waited for");
        }
        scratch.remove().await;
    });
    result
}

struct Attempt<'a> {
    engine: &'a Engine,
    action: &'a ActionSpec,
    store: Arc<dyn Store>,
    observer: Arc<dyn Observer>,
    scratch: &'a Scratch,
}

/// Inputs and outputs of an action, in place.
struct Ready {
    spec: GuardSpec,
    collector: Collector,
    /// Packages stay while they are mounted.
    _packages: Vec<Lease>,
}

/// A program that ended.
struct Finished {
    exit: Exit,
    duration: Duration,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    early: Early,
    trace: Option<Trace>,
}

impl Attempt<'_> {
    /// Runs the action. Its guard's process is put into `guard`, to be waited for.
    async fn run(
        &self,
        cancelled: &CancellationToken,
        guard: &mut Option<Process>,
    ) -> Result<Execution, Stop> {
        let ready = tokio::select! {
            ready = self.prepare() => ready?,
            () = cancelled.cancelled() => return Err(Stop::Cancelled),
        };
        let (finished, process) = self.guarded(&ready, cancelled).await?;
        *guard = Some(process);
        tokio::select! {
            execution = self.conclude(&ready.collector, finished) => execution,
            () = cancelled.cancelled() => Err(Stop::Cancelled),
        }
    }

    async fn prepare(&self) -> Result<Ready, Stop> {
        let staged = stage(self.action, &self.store, self.scratch).await?;
        let mut binds = staged.layout.binds(&staged.directory);
        let mut placed = staged.placed;
        let mut packages = Vec::new();
        for package in &self.action.packages {
            let id = (package.archive, package.format);
            let (lease, bytes) = self.engine.packages.get(id, &self.store).await?;
            binds.push(bind(lease.path(), &package.at, BindAccess::ReadOnly));
            packages.push(lease);
            placed += bytes;
        }
        self.engine.counters.placed(placed);
        let mut directories = Vec::new();
        for (index, collect) in self.action.collect.iter().enumerate() {
            let host = self.make(&format!("out/{index}"))?;
            binds.push(bind(host.clone(), &collect.at, BindAccess::Writable));
            directories.push(Collected {
                collect: collect.clone(),
                host,
            });
        }
        Ok(Ready {
            spec: self.guard_spec(binds),
            collector: Collector {
                intake: Intake {
                    store: Arc::clone(&self.store),
                    markers: Markers::new(&self.action.markers),
                },
                observer: Arc::clone(&self.observer),
                directories,
            },
            _packages: packages,
        })
    }

    fn make(&self, name: &str) -> Result<PathBuf, Stop> {
        self.scratch.make(name).tried("make a directory")
    }

    fn guard_spec(&self, binds: Vec<Bind>) -> GuardSpec {
        let jobserver = variable();
        let mut env = self.action.env.clone();
        env.retain(|(name, _)| *name != jobserver.0);
        env.push(jobserver);
        let (root, layer) = self.engine.directory.mount_points();
        GuardSpec {
            base: text(root),
            layer: text(layer),
            system: self.engine.system.clone(),
            toolchain: Some(self.action.toolchain.clone()),
            checkout: self
                .action
                .checkout
                .as_ref()
                .map(|checkout| self.without_own_directory(checkout)),
            binds: in_order(binds),
            host_paths: self.host_paths(),
            network: self.action.network,
            memory: self.engine.memory.of(self.action),
            program: Some(Program {
                argv: self.action.argv.clone(),
                env,
                cwd: self.action.cwd.clone(),
                trace: self.scope(),
            }),
        }
    }

    /// Declared paths that are there and not shown anyway, each before what lies below it.
    fn host_paths(&self) -> Vec<String> {
        let shown = |path: &str| {
            places::HOST
                .iter()
                .any(|host| Path::new(path).starts_with(host))
        };
        let mut paths: Vec<String> = self.action.host_paths.clone();
        paths.retain(|path| !shown(path) && Path::new(path).exists());
        paths.sort();
        paths
    }

    /// What the trace is for, if there is one: the checkout, or that and the host.
    fn scope(&self) -> Option<Scope> {
        let host = match self.action.watch {
            Watch::Nothing => return None,
            Watch::Checkout => &[],
            Watch::Everything => places::HOST,
        };
        let checkout = self.action.checkout.as_ref();
        Some(Scope {
            checkout: checkout.map(|checkout| checkout.at.clone()),
            layered: checkout.is_some_and(|checkout| checkout.mode == CheckoutMode::PrivateLayer),
            hidden: checkout
                .iter()
                .flat_map(|checkout| {
                    let hidden = checkout.hidden.iter();
                    hidden.map(|hidden| format!("{}/{hidden}", checkout.at))
                })
                .chain(self.action.real_places.iter().cloned())
                .collect(),
            toolchain: self.action.watch == Watch::Everything,
            given: self
                .action
                .trees
                .iter()
                .filter(|tree| tree.watched)
                .map(|tree| tree.at.clone())
                .collect(),
            host: host
                .iter()
                .map(|path| (*path).to_owned())
                .chain(self.action.host_paths.iter().cloned())
                .collect(),
        })
    }

    /// The checkout with the executor's directory hidden, should it lie in there.
    fn without_own_directory(&self, checkout: &CheckoutMount) -> CheckoutMount {
        let mut checkout = checkout.clone();
        if let Ok(inside) = self.engine.directory.path().strip_prefix(&checkout.host)
            && let Ok(inside) = RelPath::from_path(inside)
            && !inside.is_empty()
            && !checkout
                .hidden
                .iter()
                .any(|hidden| inside.starts_with(hidden))
        {
            checkout.hidden.push(inside);
        }
        checkout
    }

    /// Runs the program; whatever happens, it and all it started are gone afterwards. Only
    /// its guard may still be busy taking the root down.
    async fn guarded(
        &self,
        ready: &Ready,
        cancelled: &CancellationToken,
    ) -> Result<(Finished, Process), Stop> {
        let jobs = &self.engine.jobs;
        let token = tokio::select! {
            token = jobs.acquire() => token.tried("take a token of the jobserver")?,
            () = cancelled.cancelled() => return Err(Stop::Cancelled),
        };
        let guarded = self.engine.spawner.spawn(&ready.spec, jobs).await;
        let Guarded {
            process,
            mut control,
            stdout,
            stderr,
            trace,
        } = guarded.tried("start a guard")?;
        let ended = CancellationToken::new();
        let (notices, received) = mpsc::channel(NOTICES);
        let out = Pump::text(OutputStream::Stdout, Arc::clone(&self.observer));
        let err = Pump::messages(Arc::clone(&self.observer), self.action.messages, notices);
        let attended = async {
            let (report, stdout, stderr, early) = tokio::try_join!(
                outcome(&mut control, &process, &ended),
                out.run(stdout, &ended),
                err.run(stderr, &ended),
                store_early(&ready.collector, self.action.messages, received),
            )?;
            self.finished(report, stdout, stderr, early, &trace)
        };
        let finished = tokio::select! {
            finished = attended => finished,
            () = cancelled.cancelled() => Err(Stop::Cancelled),
        };
        // Closing the socket is the order to end everything.
        drop(control);
        if finished.is_err() {
            process.ended().await.tried("wait for a guard")?;
        }
        drop(token);
        Ok((finished?, process))
    }

    fn finished(
        &self,
        report: Option<Report>,
        stdout: Vec<u8>,
        stderr: Vec<u8>,
        early: Early,
        trace: &OwnedFd,
    ) -> Result<Finished, Stop> {
        match report {
            Some(Report::Ended { exit, duration }) => {
                self.engine.counters.executed();
                let watched = self.action.watch != Watch::Nothing;
                let trace = watched.then(|| read_trace(trace)).transpose()?;
                Ok(Finished {
                    exit,
                    duration,
                    stdout,
                    stderr,
                    early,
                    trace,
                })
            }
            Some(Report::Unable(reason) | Report::NotStarted(reason)) => Err(Stop::Unable(reason)),
            Some(Report::Ready { .. }) | None => Err(Stop::Service(ServiceError::Failed(format!(
                "what guards {} ended without a report; it may have been killed, for example \
                 because memory ran out",
                self.action.label
            )))),
        }
    }

    /// Stores what a program left.
    async fn conclude(
        &self,
        collector: &Collector,
        mut finished: Finished,
    ) -> Result<Execution, Stop> {
        let mut kept = Vec::new();
        if finished.exit.success() {
            match collector.all(&finished.early).await {
                Ok(all) => kept = all,
                Err(Stop::Unfit(reason)) => {
                    let note = format!("error: vx can't keep what this left: {reason}\n");
                    finished.exit = UNFIT;
                    finished.stderr.extend_from_slice(note.as_bytes());
                    let note = Bytes::from(note);
                    self.observer.wrote(OutputStream::Stderr, note).await?;
                }
                Err(stop) => return Err(stop),
            }
        }
        if !finished.exit.success()
            && let Some(note) = memory::note(&finished.stderr, self.engine.memory.of(self.action))
        {
            finished.stderr.extend_from_slice(note.as_bytes());
        }
        let mut stdout = stream(collector, "stdout", finished.stdout).await?;
        let mut stderr = stream(collector, "stderr", finished.stderr).await?;
        if let Some(stderr) = &mut stderr {
            // Diagnostics are rewritten for whoever reads them; only what others build on
            // counts.
            stderr.marked = Marks::default();
        }
        kept.extend(stdout.take().into_iter().chain(stderr.take()));
        kept.sort_by(|a, b| a.output.name.cmp(&b.output.name));
        let marked = kept.iter().flat_map(|kept| {
            kept.marked.indices().map(|marker| Marked {
                output: kept.output.name.clone(),
                marker,
            })
        });
        Ok(Execution::Ran {
            exit: finished.exit,
            duration: finished.duration,
            marked: marked.collect(),
            outputs: kept.into_iter().map(|kept| kept.output).collect(),
            trace: finished.trace,
        })
    }
}

/// Waits for the report that says how it went, and for the end of everything it is about.
async fn outcome(
    control: &mut Reports,
    process: &Process,
    ended: &CancellationToken,
) -> Result<Option<Report>, Stop> {
    let mut last = None;
    while last.is_none() {
        match control.next().await.tried("hear from a guard")? {
            Some(Report::Ready { setup }) => tracing::trace!(?setup, "the root stands"),
            Some(report) => last = Some(report),
            None => break,
        }
    }
    if !matches!(last, Some(Report::Ended { .. })) {
        process.ended().await.tried("wait for a guard")?;
    }
    ended.cancel();
    Ok(last)
}

/// Stores what rustc says it finished and others wait for.
async fn store_early(
    collector: &Collector,
    format: MessageFormat,
    mut notices: mpsc::Receiver<Artifact>,
) -> Result<Early, Stop> {
    let mut early = Early::new();
    if format == MessageFormat::Plain {
        return Ok(early);
    }
    while let Some(notice) = notices.recv().await {
        if notice.emit == "metadata"
            && let Some((stamp, kept)) = collector.early(&notice.path).await?
        {
            early.insert(kept.output.name.clone(), (stamp, kept));
        }
    }
    Ok(early)
}

async fn stream(collector: &Collector, name: &str, content: Vec<u8>) -> Result<Option<Kept>, Stop> {
    if content.is_empty() {
        return Ok(None);
    }
    let stored = collector.intake.bytes(Bytes::from(content)).await?;
    Ok(Some(Kept {
        output: Output {
            name: name.to_owned(),
            blob: stored.blob,
            form: OutputForm::File { executable: false },
        },
        marked: stored.marked,
    }))
}

/// The trace a guard left; without one, what was looked at is not known.
fn read_trace(from: &OwnedFd) -> Result<Trace, Stop> {
    let size = rustix::fs::fstat(from)
        .map_err(std::io::Error::from)
        .tried("look at a trace")?
        .st_size;
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
    from.try_clone()
        .and_then(|file| std::fs::File::from(file).read_exact_at(&mut bytes, 0))
        .tried("read a trace")?;
    postcard::from_bytes(&bytes)
        .map_err(std::io::Error::other)
        .tried("understand a trace")
}

fn bind(host: PathBuf, at: &str, access: BindAccess) -> Bind {
    Bind {
        host: text(host),
        at: at.to_owned(),
        access,
    }
}

/// Paths below the executor's directory, which is plain UTF-8.
fn text(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}
