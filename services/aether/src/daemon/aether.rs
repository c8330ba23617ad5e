//! The orchestrator as its clients see it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::watch;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::orchestrator::{
    BuildFailure, BuildObserver, BuildOutcome, BuildRequest, Orchestrator, OrchestratorStatus,
    Project, Totals, settings_of,
};

use crate::build::context::Known;
use crate::daemon::engine::Engine;
use crate::daemon::services::Services;
use crate::daemon::shared::Shared;
use crate::execute::in_flight::InFlight;
use crate::execute::slots::Slots;
use crate::graph::durations::Durations;
use crate::host::stat_cache::StatCache;
use crate::plan;

/// The most builds under way at once; each holds a plan and a grant.
const MAX_BUILDS: usize = 256;

/// Executions handed to the executor beyond one a processor: their inputs are put in place
/// while others run. The executor itself starts no more programs than it has slots.
const AHEAD: usize = 2;

/// What is worth keeping between runs.
#[derive(Clone)]
struct Learned {
    stat_cache: Arc<StatCache>,
    durations: Arc<Durations>,
    directory: PathBuf,
}

impl Learned {
    fn save(&self) {
        let saved = self
            .stat_cache
            .save(&self.directory.join("stat-cache"))
            .and_then(|()| self.durations.save(&self.directory.join("durations")));
        if let Err(error) = saved {
            tracing::warn!(%error, "could not keep what was learned about files and durations");
        }
    }
}

/// The orchestrator's core.
pub(crate) struct Aether {
    engine: Engine,
    services: Arc<Services>,
    learned: Learned,
    settings: BTreeMap<String, String>,
    started: Instant,
    stopping: AtomicBool,
    builds: watch::Sender<usize>,
}

impl Aether {
    /// An orchestrator with its own files in `directory`, of the settings in its environment.
    ///
    /// # Errors
    /// When the directory can't be made.
    pub(crate) fn new(
        directory: PathBuf,
        services: Arc<Services>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(&directory)?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let shared = Shared {
            known: Known {
                stat_cache: Arc::new(StatCache::load(&directory.join("stat-cache"))),
                ..Known::default()
            },
            in_flight: Arc::new(InFlight::default()),
            slots: Slots::new(processors + AHEAD),
            deliveries: Arc::default(),
        };
        let durations = Arc::new(Durations::load(&directory.join("durations")));
        let sessions = Arc::clone(&services);
        let home = directory.parent().unwrap_or(&directory).to_owned();
        Ok(Arc::new(Self {
            learned: Learned {
                stat_cache: Arc::clone(&shared.known.stat_cache),
                durations: Arc::clone(&durations),
                directory,
            },
            engine: Engine::new(home, sessions, shared, durations),
            services,
            settings: settings_of(environment),
            started: Instant::now(),
            stopping: AtomicBool::new(false),
            builds: watch::Sender::new(0),
        }))
    }

    /// How many builds are under way, as it changes.
    pub(crate) fn builds(&self) -> watch::Receiver<usize> {
        self.builds.subscribe()
    }

    /// Accepts no further build.
    pub(crate) fn refuse_builds(&self) {
        self.stopping.store(true, Ordering::Release);
        self.builds.send_modify(|_| {});
    }

    /// Whether no further build is accepted.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Writes what is worth keeping between runs. What can't be written is logged: it costs
    /// time alone.
    pub(crate) fn save(&self) {
        self.learned.save();
    }

    /// Ends the services this process started.
    pub(crate) async fn end_services(&self) {
        self.services.end().await;
    }

    fn check_settings(&self, request: &BuildRequest) -> Result<(), String> {
        if request.settings == self.settings {
            return Ok(());
        }
        let names: std::collections::BTreeSet<&String> = self
            .settings
            .keys()
            .chain(request.settings.keys())
            .collect();
        let differing: Vec<String> = names
            .into_iter()
            .filter(|name| self.settings.get(*name) != request.settings.get(*name))
            .map(|name| {
                let show = |value: Option<&String>| {
                    value.map_or_else(|| "unset".to_owned(), |value| format!("`{value}`"))
                };
                format!(
                    "{name} is {} here and {} there",
                    show(request.settings.get(name)),
                    show(self.settings.get(name))
                )
            })
            .collect();
        Err(format!(
            "the running vx-aether was started with other settings\n{}\n\
             run `vx stop`, then build again",
            differing.join("\n")
        ))
    }
}

/// Counts a build while it is under way.
struct Counted<'a>(&'a Aether);

impl<'a> Counted<'a> {
    fn new(aether: &'a Aether) -> Result<Self, String> {
        let mut refused = None;
        aether.builds.send_if_modified(|count| {
            if aether.is_stopping() {
                refused = Some("vx-aether is stopping; try again in a moment".to_owned());
            } else if *count >= MAX_BUILDS {
                refused = Some(format!(
                    "{MAX_BUILDS} builds are under way; wait for one to end"
                ));
            } else {
                *count += 1;
            }
            refused.is_none()
        });
        match refused {
            Some(why) => Err(why),
            None => Ok(Self(aether)),
        }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.builds.send_modify(|count| *count -= 1);
        let learned = self.0.learned.clone();
        // Beside the answer, not before it: nobody waits for this.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || learned.save())),
            Err(_) => learned.save(),
        }
    }
}

fn refused(failure: BuildFailure) -> BuildOutcome {
    BuildOutcome {
        result: Err(failure),
        profile: String::new(),
        executables: Vec::new(),
        report: String::new(),
        duration: std::time::Duration::ZERO,
        totals: Totals::default(),
    }
}

#[async_trait]
impl Orchestrator for Aether {
    async fn build(
        &self,
        request: BuildRequest,
        observer: Arc<dyn BuildObserver>,
    ) -> ServiceResult<BuildOutcome> {
        if let Err(why) = self.check_settings(&request) {
            return Ok(refused(BuildFailure::Request(why)));
        }
        let _counted = match Counted::new(self) {
            Ok(counted) => counted,
            Err(why) => return Ok(refused(BuildFailure::Engine(why))),
        };
        self.engine.build(request, observer).await
    }

    async fn locate(&self, request: BuildRequest) -> ServiceResult<Project> {
        let root = plan::locate_root(&plan::plan_request(&request))
            .await
            .map_err(|error| ServiceError::Invalid(error.to_string()))?;
        Ok(Project {
            workspace: root.to_string_lossy().into_owned(),
        })
    }

    async fn clean(&self, request: BuildRequest) -> ServiceResult<Project> {
        let project = self.locate(request).await?;
        let directory = Path::new(&project.workspace).join(".vx");
        tokio::task::spawn_blocking(move || remove(&directory))
            .await
            .map_err(ServiceError::failed)?
            .map_err(|error| {
                ServiceError::Failed(format!(
                    "{}/.vx can't be removed: {error}",
                    project.workspace
                ))
            })?;
        Ok(project)
    }

    async fn plan(&self, request: BuildRequest, fresh: bool) -> ServiceResult<String> {
        self.check_settings(&request)
            .map_err(ServiceError::Invalid)?;
        let _counted = Counted::new(self).map_err(ServiceError::Failed)?;
        self.engine.plan(&request, fresh).await
    }

    async fn status(&self) -> ServiceResult<OrchestratorStatus> {
        let mut status = self.services.status().await;
        status.pid = std::process::id();
        status.builds = *self.builds.borrow() as u64;
        status.uptime_seconds = self.started.elapsed().as_secs();
        Ok(status)
    }

    async fn stop(&self) -> ServiceResult<()> {
        self.refuse_builds();
        Ok(())
    }
}

fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
