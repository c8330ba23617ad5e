//! How executions end.

use std::collections::BTreeSet;
use std::sync::Arc;

use vx_core::Digest;
use vx_core::action::Exit;
use vx_core::error::ServiceError;
use vx_core::readset::ReadSet;

use crate::inputs::dependency::Finished;

/// How an execution ended.
#[derive(Debug)]
pub(crate) enum ExecutionEnd {
    /// It is published; what stands may be another's.
    Published(Arc<Finished>),
    /// It succeeded, but what it read can't be told for sure, so it serves this build alone.
    Unpublished {
        /// What it left behind.
        finished: Arc<Finished>,
        /// Why it is not published.
        why: String,
    },
    /// The program failed.
    Failed(Box<Failure>),
    /// The store lacks these inputs.
    Lost(Vec<Digest>),
    /// Metadata it was started on did not stand.
    Stale,
    /// Nothing ran: the result was there by then.
    Found,
    /// Another home of the same store was running it; its result may be there now.
    Elsewhere,
    /// A service is gone.
    Disconnected(ServiceError),
    /// vx can't run it, whatever is tried.
    Broken(String),
}

/// A program that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// How it ended.
    pub(crate) exit: Exit,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: Vec<u8>,
    /// What a build script's directives complain of.
    pub(crate) errors: Vec<String>,
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The variables it was given, by name.
    pub(crate) given: BTreeSet<String>,
    /// What it tried to reach over a network that it does not have.
    pub(crate) reached_for: Option<String>,
    /// What it was seen to look at.
    pub(crate) looked: ReadSet,
}
