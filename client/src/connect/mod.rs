//! Reaching the orchestrator, and starting it where nobody listens.
//!
//! Nothing here waits by sleeping: a start is told by the daemon's ready pipe, an end by its
//! process descriptor, and who may start or bind by locks that go with whoever holds them.

mod dial;
mod lock;
mod patience;
mod process;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vx_core::orchestrator::Orchestrator;
use vx_rpc::daemon;

pub(crate) use self::dial::Found;
use self::dial::Wire;
use self::lock::Lock;
use self::process::Process;
use crate::error::{CommandError, CommandResult};
use crate::home::Home;
use crate::output::Shell;

/// The orchestrator's program, beside vx's own.
const PROGRAM: &str = "vx-aether";

/// The variable that names another program.
const PROGRAM_VARIABLE: &str = "VX_AETHER_BIN";

/// The way to the orchestrator of one home. Dropping it closes the connections, and with them
/// cancels what was asked for.
pub(crate) struct Connector {
    home: Home,
    wire: Wire,
}

impl Connector {
    /// To be called on the runtime that shows what happens.
    pub(crate) fn new(home: Home) -> CommandResult<Self> {
        let wire = Wire::new(&home)?;
        Ok(Self { home, wire })
    }

    /// The home.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Looks who listens; starts nobody.
    pub(crate) async fn find(&self) -> CommandResult<Found> {
        self.wire.find().await
    }

    /// The orchestrator; where nobody listens it is started, and another build's is replaced.
    pub(crate) async fn start(&self, shell: &mut Shell) -> CommandResult<Arc<dyn Orchestrator>> {
        if let Found::Ours(orchestrator) = self.find().await? {
            return Ok(orchestrator);
        }
        self.home.prepare()?;
        // One vx at a time starts it; the others find it started. The lock goes with this
        // process.
        let _starting = Lock::wait(
            &self.home.start_lock(),
            shell,
            "another vx to start vx-aether",
        )
        .await?;
        match self.find().await? {
            Found::Ours(orchestrator) => return Ok(orchestrator),
            Found::OtherBuild(theirs) => {
                shell.waiting("Replacing", &format!("{theirs} by this build's"));
                self.leave(shell).await?;
            }
            Found::Nobody => {}
        }
        // One that leaves no longer listens, and holds its socket's lock until it is gone.
        let leaving = Lock::wait(
            &self.home.socket_lock(),
            shell,
            "the last vx-aether to leave",
        )
        .await?;
        drop(leaving);
        let program = program(
            std::env::var_os(PROGRAM_VARIABLE),
            std::env::current_exe().ok(),
        );
        let started = spawn(&self.home, &program).await;
        match self.find().await? {
            Found::Ours(orchestrator) => Ok(orchestrator),
            Found::OtherBuild(theirs) => Err(CommandError::engine(format!(
                "{} and this vx don't belong together",
                program.display()
            ))
            .because(format!(
                "this is build {}, and now {theirs} runs",
                vx_rpc::BUILD
            ))
            .help("install the four programs of vx together (`cargo xtask install`)")),
            // Only now: where another was started by hand in the meantime, this one's failure
            // is no matter.
            Found::Nobody => {
                started?;
                Err(
                    CommandError::engine("vx-aether was ready and is gone already")
                        .help(format!("see {}", self.home.log().display())),
                )
            }
        }
    }

    /// Has whoever listens, of whatever build, finish its builds and leave, and waits until it
    /// is gone. `false` when nobody listens.
    pub(crate) async fn leave(&self, shell: &mut Shell) -> CommandResult<bool> {
        let Some(theirs) = self.wire.hello().await? else {
            return Ok(false);
        };
        let process = Process::open(theirs.pid)?;
        self.wire.ask_to_leave().await?;
        process.ended(shell).await?;
        Ok(true)
    }
}

async fn spawn(home: &Home, program: &Path) -> CommandResult {
    let args = [OsString::from("--home"), home.path().into()];
    daemon::spawn_free(program, &args, Some(&home.log()))
        .await
        .map(drop)
        .map_err(|error| spawn_failed(home, &error))
}

fn spawn_failed(home: &Home, error: &daemon::SpawnError) -> CommandError {
    let failed = CommandError::engine("vx-aether can't be started").because(error);
    match error {
        daemon::SpawnError::Start { .. } => failed.help(format!(
            "install the four programs of vx side by side (`cargo xtask install`), or name this \
             one with {PROGRAM_VARIABLE}"
        )),
        daemon::SpawnError::Failed { .. } | daemon::SpawnError::Died { .. } => {
            failed.help(format!("its log is {}", home.log().display()))
        }
    }
}

/// The program to start: the one named, else the one beside this.
fn program(named: Option<OsString>, this: Option<PathBuf>) -> PathBuf {
    match (named.filter(|name| !name.is_empty()), this) {
        (Some(name), _) => PathBuf::from(name),
        (None, Some(this)) => this.with_file_name(PROGRAM),
        (None, None) => PathBuf::from(PROGRAM),
    }
}

#[cfg(test)]
mod tests;
