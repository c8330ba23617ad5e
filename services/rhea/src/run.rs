//! One action, from its inputs to its outputs.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use vx_core::readset::Trace;
use vx_core::{
    ActionSpec, CheckoutMode, CheckoutMount, CollectForm, Execution, Exit, Marked, MessageFormat,
    Observer, Output, OutputForm, OutputStream, RelPath, ServiceError, Store, Watch, places,
};

use crate::attend::attend;
use crate::bare::places::Places;
use crate::bare::prepare::prepare;
use crate::bare::shelf::Hold;
use crate::collect::{Collected, Collector, Early, Kept};
use crate::engine::{Bare, Engine};
use crate::fault::{Stop, Tried};
use crate::guard::spec::{Bind, BindAccess, Ground, GuardSpec, Program, Report, RootSpec};
use crate::guard::trace::{self, Reach, Scope, Writes};
use crate::ingest::Intake;
use crate::jobs::variable;
use crate::layout::in_order;
use crate::marker::{Markers, Marks};
use crate::memory;
use crate::messages::Artifact;
use crate::packages::Lease;
use crate::scratch::Scratch;
use crate::spawner::{Guarded, Process};
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
    let (mut guard, mut held) = (None, None);
    let result = attempt.run(cancelled, &mut guard, &mut held).await;
    drop(permit);
    // Not waited for: the result is known, and what is left concerns nobody else.
    engine.background.spawn(async move {
        if let Some(process) = guard
            && let Err(error) = process.end().await
        {
            tracing::warn!(%error, "a guard can't be waited for");
        }
        if let Some(Held::Places(hold)) = held {
            hold.end().await;
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
    held: Held,
}

/// What stays as it is while an action runs.
pub(crate) enum Held {
    /// Packages that are mounted.
    Packages {
        /// Only held.
        _leases: Vec<Lease>,
    },
    /// Places on the host.
    Places(Hold),
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
    /// Runs the action. Its guard's process is put into `guard`, to be waited for, and what it
    /// uses into `held`, to be given back afterwards.
    async fn run(
        &self,
        cancelled: &CancellationToken,
        guard: &mut Option<Process>,
        held: &mut Option<Held>,
    ) -> Result<Execution, Stop> {
        let ready = tokio::select! {
            ready = self.prepare() => ready?,
            () = cancelled.cancelled() => return Err(Stop::Cancelled),
        };
        let Ready {
            spec,
            collector,
            held: holds,
        } = ready;
        let held = held.insert(holds);
        let (mut finished, process) = self.guarded(&spec, &collector, cancelled).await?;
        *guard = Some(process);
        if let Held::Places(hold) = held {
            self.distrust_changed(&mut finished, hold);
        }
        tokio::select! {
            execution = self.conclude(&collector, finished, held) => execution,
            () = cancelled.cancelled() => Err(Stop::Cancelled),
        }
    }

    /// What changed under an action is no known input of it.
    fn distrust_changed(&self, finished: &mut Finished, hold: &Hold) {
        let changed = tokio::task::block_in_place(|| hold.changed());
        if let (Some(trace), Some(place)) = (&mut finished.trace, changed) {
            let why = format!("another action changed {} meanwhile", place.display());
            trace.incomplete.get_or_insert(why);
        }
    }

    async fn prepare(&self) -> Result<Ready, Stop> {
        match &self.engine.bare {
            None => self.prepare_root().await,
            Some(bare) => self.prepare_places(bare).await,
        }
    }

    async fn prepare_places(&self, bare: &Bare) -> Result<Ready, Stop> {
        let prepared = prepare(bare, self.action, &self.store, self.scratch).await?;
        self.engine.counters.placed(prepared.placed);
        Ok(Ready {
            spec: GuardSpec {
                ground: Ground::Host,
                bounds: self.engine.bounds.of(self.action),
                program: Some(prepared.program),
            },
            collector: self.collector(prepared.directories, Some(prepared.places)),
            held: Held::Places(prepared.hold),
        })
    }

    async fn prepare_root(&self) -> Result<Ready, Stop> {
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
                seen: collect.at.clone(),
            });
        }
        Ok(Ready {
            spec: self.guard_spec(binds),
            collector: self.collector(directories, None),
            held: Held::Packages { _leases: packages },
        })
    }

    fn collector(&self, directories: Vec<Collected>, places: Option<Arc<Places>>) -> Collector {
        Collector {
            intake: Intake {
                store: Arc::clone(&self.store),
                markers: Markers::new(&self.action.markers),
            },
            observer: Arc::clone(&self.observer),
            directories,
            places,
            bound: self.engine.bounds.of(self.action).disk,
        }
    }

    fn make(&self, name: &str) -> Result<PathBuf, Stop> {
        self.scratch.make(name).tried("make a directory")
    }

    fn guard_spec(&self, binds: Vec<Bind>) -> GuardSpec {
        GuardSpec {
            ground: Ground::Root(Box::new(RootSpec {
                base: text(self.engine.directory.mount_point()),
                system: self.engine.system.clone(),
                toolchain: Some(self.action.toolchain.clone()),
                checkout: self
                    .action
                    .checkout
                    .as_ref()
                    .map(|checkout| self.without_own_directory(checkout)),
                binds: in_order(binds),
                host_paths: self.host_paths(),
                watched: self.action.watch != Watch::Nothing,
                network: self.action.network,
            })),
            bounds: self.engine.bounds.of(self.action),
            program: Some(Program {
                argv: self.action.argv.clone(),
                env: with_jobserver(self.action.env.clone()),
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
            Watch::Everything => places::HOST,
        };
        let checkout = self.action.checkout.as_ref();
        let layered = checkout.is_some_and(|checkout| checkout.mode == CheckoutMode::PrivateLayer);
        let everything = self.action.watch == Watch::Everything;
        Some(Scope {
            checkout: checkout.map(|checkout| checkout.at.clone()),
            toolchain: everything.then(|| places::TOOLCHAIN.to_owned()),
            writes: if layered {
                Writes::ToLayer
            } else {
                Writes::Refused
            },
            own: self.action.real_places.clone(),
            hidden: hidden(self.action),
            host: Reach::These(
                host.iter()
                    .map(|path| (*path).to_owned())
                    .chain(self.action.host_paths.iter().cloned())
                    .collect(),
            ),
            watched: self
                .action
                .trees
                .iter()
                .filter(|tree| tree.watched)
                .map(|tree| tree.at.clone())
                .collect(),
            given: None,
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
        spec: &GuardSpec,
        collector: &Collector,
        cancelled: &CancellationToken,
    ) -> Result<(Finished, Process), Stop> {
        let jobs = &self.engine.jobs;
        let token = tokio::select! {
            token = jobs.acquire() => token.tried("take a token of the jobserver")?,
            () = cancelled.cancelled() => return Err(Stop::Cancelled),
        };
        let guarded = self.engine.spawner.spawn(spec, jobs).await;
        let Guarded {
            process,
            mut control,
            stdout,
            stderr,
            trace,
        } = guarded.tried("start a guard")?;
        let ended = CancellationToken::new();
        let (notices, received) = mpsc::channel(NOTICES);
        let places = &collector.places;
        let out = Pump::text(OutputStream::Stdout, Arc::clone(&self.observer))
            .with_places(places.clone());
        let err = Pump::messages(Arc::clone(&self.observer), self.action.messages, notices)
            .with_places(places.clone());
        let charge = self.engine.meter.charge(&self.action.label);
        let attended = async {
            let (report, stdout, stderr, early) = tokio::try_join!(
                attend(&mut control, &process, &charge, &ended),
                out.run(stdout, &ended),
                err.run(stderr, &ended),
                store_early(collector, self.action.messages, received),
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
            process.end().await.tried("wait for a guard")?;
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
                let trace = self.trace(trace)?;
                Ok(Finished {
                    exit,
                    duration,
                    stdout,
                    stderr,
                    early,
                    trace,
                })
            }
            Some(Report::Unable { reason, .. } | Report::NotStarted(reason)) => {
                Err(Stop::Unable(reason))
            }
            Some(Report::Exceeded { what, duration }) => {
                self.engine.counters.executed();
                let note = format!("error: vx ended this: {what}\n");
                let mut stderr = stderr;
                stderr.extend_from_slice(note.as_bytes());
                Ok(Finished {
                    exit: UNFIT,
                    duration,
                    stdout,
                    stderr,
                    early,
                    trace: None,
                })
            }
            Some(Report::Ready { .. } | Report::Alive { .. }) | None => {
                Err(Stop::Service(ServiceError::Failed(format!(
                    "what guards {} ended without a report; it may have been killed, for example \
                 because memory ran out",
                    self.action.label
                ))))
            }
        }
    }

    /// What was looked at, where that was asked for.
    fn trace(&self, from: &OwnedFd) -> Result<Option<Trace>, Stop> {
        let fault = self.engine.bare.as_ref().map(|bare| &bare.trace_fault);
        match fault.filter(|fault| !fault.is_empty()) {
            _ if self.action.watch == Watch::Nothing => Ok(None),
            None => trace::read(from).map(Some).tried("read what the guard saw"),
            Some(fault) => Ok(Some(Trace {
                incomplete: Some(fault.clone()),
                ..Trace::default()
            })),
        }
    }

    /// Stores what a program left.
    async fn conclude(
        &self,
        collector: &Collector,
        mut finished: Finished,
        held: &mut Held,
    ) -> Result<Execution, Stop> {
        let mut kept = Vec::new();
        if finished.exit.success() {
            match collector.all(&finished.early).await {
                Ok(all) => {
                    adopt(held, collector, &all);
                    kept = all;
                }
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
            && let Some(note) =
                memory::note(&finished.stderr, self.engine.bounds.of(self.action).memory)
        {
            finished.stderr.extend_from_slice(note.as_bytes());
        }
        // A file that a macro left under such a name is not what the compiler said.
        kept.retain(|kept| !matches!(&*kept.output.name, "stdout" | "stderr"));
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
            trace: finished.trace.map(Box::new),
        })
    }
}

/// Directories that scripts left lie where those who need them look: they need not be put there
/// again.
fn adopt(held: &mut Held, collector: &Collector, kept: &[Kept]) {
    let Held::Places(hold) = held else { return };
    for one in &collector.directories {
        let CollectForm::Tree { name } = &one.collect.form else {
            continue;
        };
        let tree = kept.iter().find(|kept| kept.output.name == *name);
        if let Some(tree) = tree {
            tokio::task::block_in_place(|| hold.adopt(&one.host, tree.output.blob.digest));
        }
    }
}

/// Directories of the checkout that are no inputs.
pub(crate) fn hidden(action: &ActionSpec) -> Vec<String> {
    let checkout = action.checkout.iter();
    let hidden = checkout.flat_map(|checkout| {
        let hidden = checkout.hidden.iter();
        hidden.map(|hidden| format!("{}/{hidden}", checkout.at))
    });
    hidden.collect()
}

/// An environment with the executor's jobserver in it.
pub(crate) fn with_jobserver(mut env: Vec<(String, String)>) -> Vec<(String, String)> {
    let jobserver = variable();
    env.retain(|(name, _)| *name != jobserver.0);
    env.push(jobserver);
    env
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
    // What a program says is its own choice: each file is taken once.
    let mut taken = HashSet::new();
    while let Some(notice) = notices.recv().await {
        if notice.emit == "metadata"
            && taken.len() < NOTICES
            && taken.insert(notice.path.clone())
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
