//! What one execution is given.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use vx_core::Digest;
use vx_core::readset::TakenIn;

use crate::build::context::BuildContext;
use crate::execute::in_flight::Progress;
use crate::execute::slots::Slots;
use crate::graph::Need;
use crate::inputs::dependency::Used;

/// How many executions run at once.
#[derive(Clone)]
pub(crate) struct Limits {
    /// Of this build.
    pub(crate) jobs: Arc<Semaphore>,
    /// Of all builds.
    pub(crate) slots: Arc<Slots>,
}

/// Metadata of an execution that still runs, on which another was started.
pub(crate) struct Prerequisite {
    /// The execution.
    pub(crate) progress: watch::Receiver<Progress>,
    /// What is used of it.
    pub(crate) need: Need,
    /// As it was announced.
    pub(crate) used: Used,
    /// Whether it is another build's, whose files may be others than this one's.
    pub(crate) joined: bool,
}

/// Everything one execution needs.
pub(crate) struct Job {
    /// The build it belongs to.
    pub(crate) context: Arc<BuildContext>,
    /// When it may run.
    pub(crate) limits: Limits,
    /// The unit.
    pub(crate) unit: usize,
    /// What is used of its dependencies.
    pub(crate) used: Vec<(Need, Used)>,
    /// What it has where it really is, because an earlier run took it in.
    pub(crate) taken: TakenIn,
    /// Variables that earlier read sets name.
    pub(crate) env_names: BTreeSet<String>,
    /// What it was started on before it was published.
    pub(crate) prerequisites: Vec<Prerequisite>,
    /// What it is expected to be keyed by, for claims between homes.
    pub(crate) fingerprint: Digest,
}
