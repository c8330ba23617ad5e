//! Why an action did not come to a result of its own.

use std::fmt::Display;
use std::path::Path;

use vx_core::{Digest, ServiceError};

/// What stopped an action.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// The store lacks these blobs.
    #[error("{} blobs are missing", .0.len())]
    Missing(Vec<Digest>),
    /// The kernel or the host can't run it.
    #[error("{0}")]
    Unable(String),
    /// The action left something that can't be kept; its own fault.
    #[error("{0}")]
    Unfit(String),
    /// A service failed, or the executor did.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Whoever asked is gone.
    #[error("cancelled")]
    Cancelled,
}

/// Turns the system's errors into an executor's failure that names what was tried.
pub(crate) trait Tried<T> {
    /// Names what was tried.
    fn tried(self, what: impl Display) -> Result<T, Stop>;

    /// Names what was tried with a path.
    fn tried_at(self, what: &str, path: &Path) -> Result<T, Stop>;
}

impl<T, E: Into<std::io::Error>> Tried<T> for Result<T, E> {
    fn tried(self, what: impl Display) -> Result<T, Stop> {
        self.map_err(|error| {
            let error = error.into();
            let advice = match error.raw_os_error() {
                Some(libc::ENOSPC | libc::EDQUOT) => "; free space on the disk vx-rhea works on",
                Some(libc::EMFILE | libc::ENFILE) => "; raise the limit on open files",
                _ => "",
            };
            Stop::Service(ServiceError::Failed(format!(
                "the executor can't {what}: {error}{advice}"
            )))
        })
    }

    fn tried_at(self, what: &str, path: &Path) -> Result<T, Stop> {
        self.tried(format_args!("{what} {}", path.display()))
    }
}

/// A background task that panicked or was shut down.
pub(crate) fn lost_task(error: &tokio::task::JoinError) -> Stop {
    Stop::Service(ServiceError::Failed(format!(
        "a task of the executor ended early: {error}"
    )))
}
