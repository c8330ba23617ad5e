//! A build under way: what is built, what is known of the host, and which services are used.

use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock};

use crate::build::Build;
use crate::build::sources::Sources;
use crate::host::stat_cache::StatCache;
use crate::key::trees::{Given, KnownTrees};
use crate::key::{HostSeen, Observer};
use crate::session::Session;

/// What all builds of this process know.
#[derive(Clone, Default)]
pub(crate) struct Known {
    /// Digests of host files.
    pub(crate) stat_cache: Arc<StatCache>,
    /// Trees that actions look into.
    pub(crate) trees: Arc<KnownTrees>,
    /// Packages on their way into the store.
    pub(crate) sources: Arc<Sources>,
}

/// One build.
pub(crate) struct BuildContext {
    /// Names the run: its report, and what others wait for.
    pub(crate) run_id: String,
    /// Digests of host files.
    pub(crate) stat_cache: Arc<StatCache>,
    /// Trees that actions look into.
    pub(crate) trees: Arc<KnownTrees>,
    /// Packages on their way into the store.
    pub(crate) sources: Arc<Sources>,
    build: Build,
    /// What look-ups observed of the host.
    host_seen: HostSeen,
    session: RwLock<Arc<dyn Session>>,
}

impl Deref for BuildContext {
    type Target = Build;

    fn deref(&self) -> &Build {
        &self.build
    }
}

impl BuildContext {
    /// A build that uses `session`.
    pub(crate) fn new(
        run_id: String,
        build: Build,
        known: Known,
        session: Arc<dyn Session>,
    ) -> Self {
        Self {
            run_id,
            stat_cache: known.stat_cache,
            trees: known.trees,
            sources: known.sources,
            build,
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

    /// Observes things as they are at this moment.
    pub(crate) fn observer<'a>(&'a self, given: &'a Given) -> Observer<'a> {
        Observer {
            given,
            cache: &self.stat_cache,
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
}
