//! The services that a build uses, as the other rooms see them: a store, its results, an executor.
//!
//! In: what to store, look up or run. Out: what came of it. Knows nothing of plans.

pub(crate) mod blobs;

use std::sync::Arc;

use async_trait::async_trait;
use vx_core::error::ServiceResult;
use vx_core::{
    ActionSpec, Execution, HostEnd, HostProgram, Ingested, Observer, PackageSource, Results, Store,
};

/// One build's hold on the store and the executor: a grant, and what came of it.
#[async_trait]
pub(crate) trait Session: Send + Sync {
    /// The store under the build's grant.
    fn store(&self) -> Arc<dyn Store>;

    /// The results under it.
    fn results(&self) -> Arc<dyn Results>;

    /// Where the store is, for people.
    fn store_endpoint(&self) -> String;

    /// Whether other homes use this store too, so that their claims count.
    fn shared(&self) -> bool;

    /// How actions run where they can't be isolated; `None` where they are.
    fn bare(&self) -> Option<Bare>;

    /// Runs an action with this session's store.
    async fn execute(
        &self,
        action: ActionSpec,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution>;

    /// Has the executor put a package's sources into this session's store.
    async fn ingest(&self, source: PackageSource) -> ServiceResult<Ingested>;

    /// Runs a program on the executor's host as that is, watched.
    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd>;

    /// Bytes and counts for the report.
    async fn transfer(&self) -> Transfer;
}

/// An executor that can't isolate, and the store its results would go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bare {
    /// Why it can't.
    pub(crate) why: String,
    /// The directory that bases of checkouts lie in.
    pub(crate) directory: String,
    /// Why it can't watch what actions read either; empty where it can.
    pub(crate) trace_fault: String,
    /// Whether the store keeps such results.
    pub(crate) accepted: bool,
}

impl Bare {
    /// What to tell people, once a build.
    pub(crate) fn warning(&self, store: &str) -> String {
        let mut text = format!(
            "actions are not isolated on this machine: build scripts, macros and linkers can do \
             here whatever you can\n{}",
            self.why
        );
        if !self.trace_fault.is_empty() {
            text.push_str(&format!(
                "\nnor can be seen what they read, so no result is kept: {}",
                self.trace_fault
            ));
        } else if !self.accepted {
            text.push_str(&format!(
                "\nthe store at {store} does not keep such results: this build is served from \
                 what it makes itself; start that store with --accept-unisolated where everybody \
                 who uses it may trust them"
            ));
        }
        text
    }
}

/// Where sessions come from.
#[async_trait]
pub(crate) trait Sessions: Send + Sync {
    /// Opens a session, starting services that are not there.
    async fn open(&self, label: &str) -> ServiceResult<Arc<dyn Session>>;
}

/// Bytes by the way they went, since the services started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Transfer {
    /// Between executor and store, on their own connections.
    pub(crate) direct: u64,
    /// Between executor and store, through the orchestrator.
    pub(crate) relayed: u64,
    /// Put in place by the store: links and copies.
    pub(crate) placed: u64,
    /// On the orchestrator's own connections, both ways.
    pub(crate) orchestrator: u64,
    /// Final outputs that the orchestrator fetched.
    pub(crate) fetched: u64,
}

impl Transfer {
    /// What was moved since `earlier`.
    #[must_use]
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            direct: self.direct.saturating_sub(earlier.direct),
            relayed: self.relayed.saturating_sub(earlier.relayed),
            placed: self.placed.saturating_sub(earlier.placed),
            orchestrator: self.orchestrator.saturating_sub(earlier.orchestrator),
            fetched: self.fetched.saturating_sub(earlier.fetched),
        }
    }
}
