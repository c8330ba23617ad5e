//! The wire, as far as the client knows it: the one file that calls the RPC library's
//! connections.

use std::path::PathBuf;
use std::sync::Arc;

use vx_core::orchestrator::Orchestrator;
use vx_rpc::{ConnectError, Endpoint, Hello, Hub, Secret};

use crate::error::{CommandError, CommandResult};
use crate::home::Home;

/// The line to one home's socket.
pub(super) struct Wire {
    hub: Hub,
    endpoint: Endpoint,
    secret: PathBuf,
}

/// Who listens.
pub(crate) enum Found {
    /// Nobody.
    Nobody,
    /// An orchestrator of another build of vx, which does nothing for us but leave.
    OtherBuild(Hello),
    /// One of this build.
    Ours(Arc<dyn Orchestrator>),
}

impl Wire {
    /// To be called on the runtime that observers are to run on.
    pub(super) fn new(home: &Home) -> CommandResult<Self> {
        let unusable = || CommandError::engine("vx can't start");
        let runtime = tokio::runtime::Handle::current();
        let hub = Hub::start("vx", runtime).map_err(|error| {
            unusable()
                .because(error)
                .help("the limits on open files or processes may be too low")
        })?;
        let endpoint = Endpoint::unix(home.socket()).map_err(|error| unusable().because(error))?;
        Ok(Self {
            hub,
            endpoint,
            secret: home.secret(),
        })
    }

    /// Looks who listens, and proves who we are to one of this build.
    pub(super) async fn find(&self) -> CommandResult<Found> {
        match Secret::read(&self.secret) {
            Ok(secret) => self.prove(&secret).await,
            Err(_) => self.find_without().await,
        }
    }

    async fn prove(&self, secret: &Secret) -> CommandResult<Found> {
        match self.hub.connect_orchestrator(&self.endpoint, secret).await {
            Ok(orchestrator) => Ok(Found::Ours(Arc::new(orchestrator))),
            Err(ConnectError::OtherBuild { theirs, .. }) => Ok(Found::OtherBuild(*theirs)),
            Err(error) if error.is_absent() => Ok(Found::Nobody),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// As [`Wire::find`] where there was no secret: only one of this build is of no use then.
    async fn find_without(&self) -> CommandResult<Found> {
        let theirs = match self.hello().await? {
            None => return Ok(Found::Nobody),
            Some(theirs) if !theirs.agrees_with(self.hub.me()) => {
                return Ok(Found::OtherBuild(theirs));
            }
            Some(theirs) => theirs,
        };
        // It makes its secret before it listens: one that was not there at the first look,
        // as it was only starting then, is there now.
        match Secret::read(&self.secret) {
            Ok(secret) => self.prove(&secret).await,
            Err(reason) => Err(CommandError::engine(format!("{theirs} can't be used"))
                .because(reason)
                .help("run `vx stop` and put that file right or remove it: the next start makes one where there is none")),
        }
    }

    /// Who listens, of whatever build.
    pub(super) async fn hello(&self) -> CommandResult<Option<Hello>> {
        match self.hub.hello(&self.endpoint).await {
            Ok(theirs) => Ok(Some(theirs)),
            Err(error) if error.is_absent() => Ok(None),
            Err(error) => Err(unreachable(&error)),
        }
    }

    /// Asks whoever listens, of whatever build, to finish and leave.
    pub(super) async fn ask_to_leave(&self) -> CommandResult {
        match self.hub.ask_to_leave(&self.endpoint).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_absent() => Ok(()),
            Err(error) => Err(unreachable(&error)),
        }
    }
}

fn unreachable(error: &ConnectError) -> CommandError {
    let told = CommandError::engine("vx-aether can't be reached").because(error);
    match error {
        ConnectError::Silent { .. } => {
            told.help("that process may be stopped or stuck: continue it, or end it")
        }
        ConnectError::Refused { .. } => {
            told.help("its secret is another one: run `vx stop`, then try again")
        }
        ConnectError::Stranger { .. } | ConnectError::OtherService { .. } => {
            told.help("end what listens there, or set VX_HOME to another directory")
        }
        ConnectError::Dial(_) => told.help("set VX_HOME to a directory of your own"),
        ConnectError::OtherBuild { .. } | ConnectError::Ended(_) => told,
    }
}
