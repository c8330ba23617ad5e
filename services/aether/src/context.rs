//! Everything one build shares: what was asked, where things are, and which services are used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use vx_plan::Plan;

use crate::graph::Graph;
use crate::inflight::InFlight;
use crate::keys::Observer;
use crate::observe::Places;
use crate::session::Session;
use crate::slots::Slots;
use crate::sources::{Source, Sources};
use crate::statcache::StatCache;

/// What all builds of this process share.
#[derive(Clone)]
pub struct Shared {
    /// Digests of host files.
    pub stat_cache: Arc<StatCache>,
    /// Executions under way.
    pub in_flight: Arc<InFlight>,
    /// How many run at once.
    pub slots: Arc<Slots>,
    /// Packages on their way into the store.
    pub sources: Arc<Sources>,
}

/// One build.
pub struct BuildContext {
    /// Names the run: its report, and what others wait for.
    pub run_id: String,
    /// What all builds share.
    pub shared: Shared,
    /// The plan.
    pub plan: Arc<Plan>,
    /// The plan as the scheduler sees it.
    pub graph: Arc<Graph>,
    /// Where things are on this host.
    pub places: Places,
    /// The workspace's root directory on this host.
    pub workspace: PathBuf,
    /// The toolchain's sysroot on this host.
    pub sysroot: PathBuf,
    /// Sources of immutable packages, by the plan's index.
    pub package_sources: BTreeMap<usize, Source>,
    /// The caller's environment.
    pub env: BTreeMap<String, String>,
    /// How many actions of this build run at once.
    pub jobs: Arc<Semaphore>,
    session: RwLock<Arc<dyn Session>>,
}

/// The parts a [`BuildContext`] is made of, but the services.
pub struct BuildParts {
    /// See [`BuildContext::run_id`].
    pub run_id: String,
    /// See [`BuildContext::shared`].
    pub shared: Shared,
    /// See [`BuildContext::plan`].
    pub plan: Arc<Plan>,
    /// See [`BuildContext::graph`].
    pub graph: Arc<Graph>,
    /// See [`BuildContext::places`].
    pub places: Places,
    /// See [`BuildContext::workspace`].
    pub workspace: PathBuf,
    /// See [`BuildContext::sysroot`].
    pub sysroot: PathBuf,
    /// See [`BuildContext::package_sources`].
    pub package_sources: BTreeMap<usize, Source>,
    /// See [`BuildContext::env`].
    pub env: BTreeMap<String, String>,
    /// See [`BuildContext::jobs`].
    pub jobs: usize,
}

impl BuildContext {
    /// A build that uses `session`.
    pub fn new(parts: BuildParts, session: Arc<dyn Session>) -> Self {
        Self {
            run_id: parts.run_id,
            shared: parts.shared,
            plan: parts.plan,
            graph: parts.graph,
            places: parts.places,
            workspace: parts.workspace,
            sysroot: parts.sysroot,
            package_sources: parts.package_sources,
            env: parts.env,
            jobs: Arc::new(Semaphore::new(parts.jobs.max(1))),
            session: RwLock::new(session),
        }
    }

    /// The services in use now.
    pub fn session(&self) -> Arc<dyn Session> {
        Arc::clone(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with other services, after the earlier ones were lost.
    pub fn replace_session(&self, session: Arc<dyn Session>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Observes for this build.
    pub fn observer(&self) -> Observer<'_> {
        Observer {
            cache: &self.shared.stat_cache,
            places: &self.places,
            env: &self.env,
        }
    }

    /// The package of a unit, as messages name it: `name`.
    pub fn package_name(&self, unit: usize) -> &str {
        &self.plan.packages[self.plan.units[unit].package].name
    }

    /// The package as cargo's status lines name it: `name v1.2.3 (/path)`.
    pub fn package_label(&self, unit: usize) -> String {
        let package = &self.plan.packages[self.plan.units[unit].package];
        let mut label = format!("{} v{}", package.name, package.version);
        if let vx_plan::PackageRoot::Checkout { dir } = &package.root {
            let path = if dir.is_empty() {
                self.places.checkout.clone()
            } else {
                self.places.checkout.join(dir)
            };
            label.push_str(&format!(" ({})", path.display()));
        }
        label
    }
}
