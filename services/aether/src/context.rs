//! Everything one build shares: what was asked, where things are, and which services are used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Semaphore;
use vx_plan::Plan;

use crate::deliver::{Deliveries, Turn};
use crate::given::{Given, KnownTrees};
use crate::graph::{Graph, Need};
use crate::identities::{Identities, Unisolated};
use crate::inflight::InFlight;
use crate::keys::{HostSeen, Observer};
use crate::observe::Places;
use crate::session::Session;
use crate::slots::Slots;
use crate::sources::{Source, Sources};
use crate::statcache::StatCache;

/// What all builds of this process share.
#[derive(Clone)]
pub(crate) struct Shared {
    /// Digests of host files.
    pub(crate) stat_cache: Arc<StatCache>,
    /// Trees that actions look into.
    pub(crate) trees: Arc<KnownTrees>,
    /// Executions under way.
    pub(crate) in_flight: Arc<InFlight>,
    /// How many run at once.
    pub(crate) slots: Arc<Slots>,
    /// Packages on their way into the store.
    pub(crate) sources: Arc<Sources>,
    /// Which build delivered what.
    pub(crate) deliveries: Arc<Deliveries>,
}

/// One build.
pub(crate) struct BuildContext {
    /// Names the run: its report, and what others wait for.
    pub(crate) run_id: String,
    /// Its turn among those that deliver.
    pub(crate) turn: Turn,
    /// What all builds share.
    pub(crate) shared: Shared,
    /// The plan.
    pub(crate) plan: Arc<Plan>,
    /// The plan as the scheduler sees it.
    pub(crate) graph: Arc<Graph>,
    /// What static parts depend on beside the plan.
    pub(crate) identities: Arc<Identities>,
    /// Where things are on this host.
    pub(crate) places: Places,
    /// The workspace's root directory on this host.
    pub(crate) workspace: PathBuf,
    /// Sources of immutable packages, by the plan's index.
    pub(crate) package_sources: BTreeMap<usize, Source>,
    /// The caller's environment.
    pub(crate) env: BTreeMap<String, String>,
    /// How many actions of this build run at once.
    pub(crate) jobs: Arc<Semaphore>,
    /// What look-ups observed of the host.
    host_seen: HostSeen,
    session: RwLock<Arc<dyn Session>>,
}

/// The parts a [`BuildContext`] is made of, but the services.
pub(crate) struct BuildParts {
    /// See [`BuildContext::run_id`].
    pub(crate) run_id: String,
    /// See [`BuildContext::turn`].
    pub(crate) turn: Turn,
    /// See [`BuildContext::shared`].
    pub(crate) shared: Shared,
    /// See [`BuildContext::plan`].
    pub(crate) plan: Arc<Plan>,
    /// See [`BuildContext::graph`].
    pub(crate) graph: Arc<Graph>,
    /// See [`BuildContext::identities`].
    pub(crate) identities: Arc<Identities>,
    /// See [`BuildContext::places`].
    pub(crate) places: Places,
    /// See [`BuildContext::workspace`].
    pub(crate) workspace: PathBuf,
    /// See [`BuildContext::package_sources`].
    pub(crate) package_sources: BTreeMap<usize, Source>,
    /// See [`BuildContext::env`].
    pub(crate) env: BTreeMap<String, String>,
    /// See [`BuildContext::jobs`].
    pub(crate) jobs: usize,
}

impl BuildContext {
    /// A build that uses `session`.
    pub(crate) fn new(parts: BuildParts, session: Arc<dyn Session>) -> Self {
        Self {
            run_id: parts.run_id,
            turn: parts.turn,
            shared: parts.shared,
            plan: parts.plan,
            graph: parts.graph,
            identities: parts.identities,
            places: parts.places,
            workspace: parts.workspace,
            package_sources: parts.package_sources,
            env: parts.env,
            jobs: Arc::new(Semaphore::new(parts.jobs.max(1))),
            host_seen: HostSeen::default(),
            session: RwLock::new(session),
        }
    }

    /// The services in use now.
    pub(crate) fn session(&self) -> Arc<dyn Session> {
        Arc::clone(&self.session.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Goes on with other services, after the earlier ones were lost.
    pub(crate) fn replace_session(&self, session: Arc<dyn Session>) {
        *self.session.write().unwrap_or_else(PoisonError::into_inner) = session;
    }

    /// Where this build's actions run, if they are not isolated.
    pub(crate) fn unisolated(&self) -> Option<&Unisolated> {
        self.identities.unisolated.as_ref()
    }

    /// Whether what a unit looks at in what it needs counts, and not all of it. Without a root of
    /// its own it finds more there than it needs.
    pub(crate) fn watches(&self, unit: usize, need: Need) -> bool {
        self.unisolated().is_none() && self.graph.watches(unit, need)
    }

    /// Observes things as they are at this moment.
    pub(crate) fn observer<'a>(&'a self, given: &'a Given) -> Observer<'a> {
        Observer {
            given,
            cache: &self.shared.stat_cache,
            places: &self.places,
            env: &self.env,
            seen: None,
        }
    }

    /// An action ended. One that is not isolated may have changed what others read of the host.
    pub(crate) fn action_ended(&self) {
        if self.unisolated().is_some() {
            self.host_seen.forget();
        }
    }

    /// Observes for look-ups.
    pub(crate) fn lookup_observer<'a>(&'a self, given: &'a Given) -> Observer<'a> {
        Observer {
            seen: Some(&self.host_seen),
            ..self.observer(given)
        }
    }

    /// The package of a unit, as messages name it: `name`.
    pub(crate) fn package_name(&self, unit: usize) -> &str {
        &self.plan.packages[self.plan.units[unit].package].name
    }

    /// The package as cargo's status lines name it: `name v1.2.3 (/path)`.
    pub(crate) fn package_label(&self, unit: usize) -> String {
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
