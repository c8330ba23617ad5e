//! The wire, as far as the client knows it: the one file that calls the RPC library.

use std::path::Path;
use std::sync::Arc;

use vx_core::orchestrator::Orchestrator;

use crate::error::CommandResult;

/// Who listens.
pub(super) struct Peer {
    build: String,
    pid: u32,
}

/// Who listens on the socket; `None` for nobody.
pub(super) async fn dial(_socket: &Path) -> CommandResult<Option<Peer>> {
    Ok(None)
}

impl Peer {
    /// Whether the two can talk.
    pub(super) fn is_of_this_build(&self) -> bool {
        self.build == crate::version::BUILD
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Who it is.
    pub(super) fn description(&self) -> String {
        format!("vx-aether (build {})", self.build)
    }

    /// Asks it to finish and leave.
    pub(super) async fn drain(self) -> CommandResult {
        Ok(())
    }

    /// Proves who we are and gets what it offers.
    pub(super) async fn orchestrator(self, _secret: &Path) -> CommandResult<Arc<dyn Orchestrator>> {
        std::future::pending().await
    }
}
