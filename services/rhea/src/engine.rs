//! What all actions of an executor share, and the executor itself.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use vx_core::{
    ActionSpec, CheckoutMode, CheckoutMount, Execution, Executor, ExecutorStatus, HostEnd,
    HostProgram, Ingested, Observer, PackageSource, ServiceError, ServiceResult, Store,
};

use crate::bare::shelf::Shelf;
use crate::fault::{Stop, lost_task};
use crate::guard::spec::{Ground, GuardSpec, Report, RootSpec};
use crate::host::{SystemEntry, system};
use crate::jobs::Jobserver;
use crate::memory::{ActionBounds, MemoryBounds, disk_of, machine};
use crate::meter::Meter;
use crate::on_host;
use crate::packages::Packages;
use crate::removal::remove;
use crate::run::run;
use crate::scratch::{Directory, DirectoryError};
use crate::spawner::{Guarded, Spawner};

/// How large unpacked packages may grow by default, in bytes: the sources of some thousand
/// crates.
pub const PACKAGE_BYTES: u64 = 8 * 1024 * 1024 * 1024;

/// How large the inputs of actions that are not isolated may grow by default, in bytes: those of
/// some large checkouts.
pub const SHELF_BYTES: u64 = 16 * 1024 * 1024 * 1024;

/// How an executor is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its directory, for it alone: an absolute path.
    pub directory: PathBuf,
    /// How many programs run at once; as many as there are processors if not given.
    pub slots: Option<NonZeroUsize>,
    /// A program that becomes a guard when asked ([`crate::guard::enter_if_asked`]).
    pub guard: PathBuf,
    /// How large unpacked packages may grow, in bytes; those in use may exceed it.
    pub package_bytes: u64,
    /// How large the inputs of actions that are not isolated may grow, in bytes; those in use
    /// may exceed it.
    pub shelf_bytes: u64,
    /// The memory that an action may have.
    pub memory: MemoryBounds,
    /// What an action may leave on the disk, in bytes; three quarters of what is free if not given.
    pub disk: Option<u64>,
}

impl Settings {
    /// The usual settings, with this program itself as the guard.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            slots: None,
            // The file this program was started from, even if it was replaced since.
            guard: PathBuf::from("/proc/self/exe"),
            package_bytes: PACKAGE_BYTES,
            shelf_bytes: SHELF_BYTES,
            memory: MemoryBounds::default(),
            disk: None,
        }
    }
}

/// Why an executor can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its directory can't be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The system refused something it needs.
    #[error("can't start the executor: {0}")]
    System(#[from] std::io::Error),
}

/// The executor.
pub struct Rhea {
    engine: Arc<Engine>,
    runtime: Handle,
}

/// What all actions share.
pub(crate) struct Engine {
    pub(crate) directory: Directory,
    pub(crate) packages: Arc<Packages>,
    pub(crate) jobs: Arc<Jobserver>,
    pub(crate) spawner: Spawner,
    pub(crate) system: Vec<SystemEntry>,
    /// Actions that are prepared, run or concluded: twice the slots, so that the inputs of the
    /// next ones stand ready when a slot is free, and no more are laid out than that.
    pub(crate) admission: Semaphore,
    /// Programs that run on the host beside actions.
    pub(crate) on_host: Semaphore,
    pub(crate) counters: Counters,
    /// What each action may use.
    pub(crate) bounds: ActionBounds,
    /// What all actions together use.
    pub(crate) meter: Arc<Meter>,
    /// Actions under way, and what is cleared away after them.
    pub(crate) background: TaskTracker,
    /// How actions are run where they can't be isolated.
    pub(crate) bare: Option<Bare>,
    slots: usize,
}

/// What actions that can't be isolated are run with.
pub(crate) struct Bare {
    /// Why they can't be isolated.
    why: String,
    /// Why what they read can't be watched; empty where it can.
    pub(crate) trace_fault: String,
    /// Their inputs.
    pub(crate) shelf: Arc<Shelf>,
}

/// Figures since the start.
#[derive(Default)]
pub(crate) struct Counters {
    running: AtomicU64,
    executed: AtomicU64,
    placed: AtomicU64,
}

impl Counters {
    pub(crate) fn executed(&self) {
        self.executed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn placed(&self, bytes: u64) {
        self.placed.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Rhea {
    /// Starts an executor on the current runtime: takes its directory, clears what earlier
    /// runs left, and finds out whether actions can be isolated here.
    ///
    /// # Errors
    /// When its directory can't be used, or the system refuses a thread or a pipe. A kernel
    /// that refuses namespaces is no error: actions then run without.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let slots = match settings.slots {
            Some(slots) => slots,
            None => std::thread::available_parallelism()?,
        }
        .get();
        let directory = Directory::open(&settings.directory)?;
        let packages = Packages::open(directory.packages(), settings.package_bytes)?;
        let mut engine = Engine {
            directory,
            packages,
            jobs: Jobserver::new(slots)?,
            spawner: Spawner::start(settings.guard)?,
            system: system(),
            admission: Semaphore::new(slots * 2),
            on_host: Semaphore::new(on_host::AT_ONCE),
            counters: Counters::default(),
            bounds: ActionBounds {
                memory: settings.memory,
                disk: settings
                    .disk
                    .unwrap_or_else(|| disk_of(&settings.directory)),
            },
            meter: Meter::new(machine(), settings.directory.clone()),
            background: TaskTracker::new(),
            bare: None,
            slots,
        };
        let shelf = engine.directory.shelf();
        match engine.probe().await? {
            None => remove(&shelf)?,
            Some(why) => {
                let trace_fault = engine.probe_trace().await?.unwrap_or_default();
                tracing::warn!(why, trace_fault, "actions can't be isolated");
                engine.bare = Some(Bare {
                    why,
                    trace_fault,
                    shelf: Shelf::open(shelf, settings.shelf_bytes)?,
                });
            }
        }
        Ok(Self {
            engine: Arc::new(engine),
            runtime: Handle::current(),
        })
    }

    /// Waits until no action is under way and what they left is cleared away.
    pub async fn settle(&self) {
        self.engine.background.close();
        self.engine.background.wait().await;
        self.engine.background.reopen();
    }
}

impl Engine {
    /// Builds a root with everything an action may need and leaves it; says why not.
    async fn probe(&self) -> std::io::Result<Option<String>> {
        let scratch = self.directory.scratch()?;
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        let ground = Ground::Root(Box::new(RootSpec {
            base: text(self.directory.mount_point()),
            system: self.system.clone(),
            toolchain: None,
            checkout: Some(CheckoutMount {
                at: vx_core::places::CHECKOUT.to_owned(),
                host: text(scratch.make("checkout")?),
                hidden: Vec::new(),
                mode: CheckoutMode::PrivateLayer,
            }),
            binds: Vec::new(),
            host_paths: Vec::new(),
            watched: false,
            network: false,
        }));
        let fault = self.try_ground(ground).await?;
        scratch.remove().await;
        Ok(fault)
    }

    /// Whether system calls can be watched on the host; says why not.
    async fn probe_trace(&self) -> std::io::Result<Option<String>> {
        self.try_ground(Ground::Host).await
    }

    /// Has a guard show that actions can run there; says why not.
    async fn try_ground(&self, ground: Ground) -> std::io::Result<Option<String>> {
        let spec = GuardSpec {
            ground,
            bounds: self.bounds.of_compiles(),
            program: None,
        };
        let Guarded {
            process,
            mut control,
            ..
        } = self.spawner.spawn(&spec, &self.jobs).await?;
        let fault = loop {
            match control.next().await? {
                Some(Report::Ready { .. } | Report::Alive { .. }) => {}
                Some(Report::Ended { .. }) => break None,
                Some(Report::Unable {
                    reason,
                    refused: true,
                }) => break Some(reason),
                // What passes must not have everything run without isolation from now on.
                Some(
                    Report::Unable { reason, .. }
                    | Report::NotStarted(reason)
                    | Report::Exceeded { what: reason, .. },
                ) => {
                    return Err(std::io::Error::other(reason));
                }
                None => {
                    return Err(std::io::Error::other(
                        "the first guard ended without a report; it may have been killed, for \
                         example because memory ran out",
                    ));
                }
            }
        };
        drop(control);
        process.end().await?;
        Ok(fault)
    }

    /// Why an action can't have been meant for this executor: whoever asks says whether it
    /// expects isolation, since results are kept apart by that.
    fn misunderstood(&self, action: &ActionSpec) -> Option<String> {
        match (&self.bare, action.base.is_empty()) {
            (None, true) | (Some(_), false) => None,
            (None, false) => Some(
                "the executor isolates actions, and this one was to run without; build again"
                    .to_owned(),
            ),
            (Some(bare), true) => Some(bare.why.clone()),
        }
    }

    async fn execute(
        self: Arc<Self>,
        action: ActionSpec,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
        cancelled: CancellationToken,
    ) -> ServiceResult<Execution> {
        if let Some(why) = self.misunderstood(&action) {
            return Ok(Execution::Unable(why));
        }
        let label = action.label.clone();
        self.counters.running.fetch_add(1, Ordering::Relaxed);
        let result = run(&self, action, store, observer, &cancelled).await;
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        match result {
            Ok(execution) => Ok(execution),
            Err(Stop::Missing(mut digests)) => {
                digests.sort();
                digests.dedup();
                Ok(Execution::InputsMissing(digests))
            }
            Err(Stop::Unable(reason)) => {
                tracing::warn!(label, reason, "unable to run an action");
                Ok(Execution::Unable(reason))
            }
            Err(Stop::Unfit(reason)) => Err(ServiceError::Failed(reason)),
            Err(Stop::Service(error)) => {
                tracing::warn!(label, %error, "an action was given up");
                Err(error)
            }
            Err(Stop::Cancelled) => Err(ServiceError::Failed("cancelled".to_owned())),
        }
    }
}

#[async_trait]
impl Executor for Rhea {
    async fn execute(
        &self,
        action: ActionSpec,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution> {
        let cancelled = CancellationToken::new();
        let _ends_with_this = cancelled.clone().drop_guard();
        let engine = Arc::clone(&self.engine);
        // A task of its own: what an action leaves is cleared away even when whoever asked
        // does not wait for it.
        let task = self.engine.background.spawn_on(
            engine.execute(action, store, observer, cancelled),
            &self.runtime,
        );
        match task.await {
            Ok(result) => result,
            Err(error) => match lost_task(&error) {
                Stop::Service(error) => Err(error),
                stop => Err(ServiceError::failed(stop)),
            },
        }
    }

    async fn ingest(
        &self,
        source: PackageSource,
        store: Arc<dyn Store>,
    ) -> ServiceResult<Ingested> {
        crate::source::ingest(source, store).await
    }

    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd> {
        let cancelled = CancellationToken::new();
        let _ends_with_this = cancelled.clone().drop_guard();
        let engine = Arc::clone(&self.engine);
        // A task of its own: the program is waited for even when whoever asked is gone.
        let running = async move { on_host::run(&engine, program, observer, &cancelled).await };
        let task = self.engine.background.spawn_on(running, &self.runtime);
        let ended = task.await.unwrap_or_else(|error| Err(lost_task(&error)));
        ended.map_err(|stop| match stop {
            Stop::Service(error) => error,
            stop => ServiceError::failed(stop),
        })
    }

    async fn status(&self) -> ServiceResult<ExecutorStatus> {
        let engine = &self.engine;
        let told = |what: fn(&Bare) -> String| engine.bare.as_ref().map(what).unwrap_or_default();
        Ok(ExecutorStatus {
            running: engine.counters.running.load(Ordering::Relaxed),
            executed: engine.counters.executed.load(Ordering::Relaxed),
            slots: engine.slots as u64,
            isolation_fault: told(|bare| bare.why.clone()),
            base_directory: told(|bare| bare.shelf.directory().to_string_lossy().into_owned()),
            trace_fault: told(|bare| bare.trace_fault.clone()),
            placed_bytes: engine.counters.placed.load(Ordering::Relaxed),
            ..ExecutorStatus::default()
        })
    }
}
