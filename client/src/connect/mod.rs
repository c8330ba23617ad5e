//! Reaching the orchestrator, and starting it where nobody listens.
//!
//! Nothing here waits by sleeping: a start is told by the daemon's ready pipe, an end by its
//! process descriptor, and who may start or bind by locks that go with whoever holds them.

mod dial;
mod lock;
mod process;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use vx_core::orchestrator::Orchestrator;
use vx_rpc::daemon;

use self::dial::Peer;
use self::lock::Lock;
use self::process::Process;
use crate::error::{CommandError, CommandResult};
use crate::home::Home;
use crate::output::Shell;

/// The orchestrator's program, beside vx's own.
const PROGRAM: &str = "vx-aether";

/// The variable that names another program.
const PROGRAM_VARIABLE: &str = "VX_AETHER_BIN";

/// Who listens in a home.
pub(crate) enum Found {
    /// Nobody.
    Nobody,
    /// An orchestrator of another build of vx, which only drains for us.
    OtherBuild(Other),
    /// One of this build.
    Ours(Running),
}

/// An orchestrator of this build.
pub(crate) struct Running {
    orchestrator: Arc<dyn Orchestrator>,
    pid: u32,
}

impl Running {
    /// What it offers.
    pub(crate) fn orchestrator(&self) -> &dyn Orchestrator {
        &*self.orchestrator
    }

    /// Its process, to wait for.
    pub(crate) fn process(&self) -> CommandResult<Process> {
        Process::open(self.pid)
    }
}

/// An orchestrator of another build.
pub(crate) struct Other(Peer);

impl Other {
    /// Who it is.
    pub(crate) fn description(&self) -> String {
        self.0.description()
    }

    /// Has it finish its builds and leave, and waits until it is gone.
    pub(crate) async fn drain(self, shell: &mut Shell) -> CommandResult {
        let process = Process::open(self.0.pid())?;
        self.0.drain().await?;
        process.ended(shell).await
    }
}

/// Looks who listens; starts nobody.
pub(crate) async fn find(home: &Home) -> CommandResult<Found> {
    let Some(peer) = dial::dial(&home.socket()).await? else {
        return Ok(Found::Nobody);
    };
    if !peer.is_of_this_build() {
        return Ok(Found::OtherBuild(Other(peer)));
    }
    let pid = peer.pid();
    let orchestrator = peer.orchestrator(&home.secret()).await?;
    Ok(Found::Ours(Running { orchestrator, pid }))
}

/// The orchestrator; where nobody listens it is started, and another build's is replaced.
pub(crate) async fn start(home: &Home, shell: &mut Shell) -> CommandResult<Arc<dyn Orchestrator>> {
    home.prepare()?;
    if let Found::Ours(running) = find(home).await? {
        return Ok(running.orchestrator);
    }
    // One vx at a time starts it; the others find it started. The lock goes with this process.
    let _starting = Lock::wait(&home.start_lock(), shell, "another vx to start vx-aether").await?;
    match find(home).await? {
        Found::Ours(running) => return Ok(running.orchestrator),
        Found::OtherBuild(other) => {
            shell.waiting(
                "Replacing",
                &format!("{} by this build's", other.description()),
            );
            other.drain(shell).await?;
        }
        Found::Nobody => {}
    }
    // One that leaves no longer listens, and holds its socket's lock until it is gone.
    let leaving = Lock::wait(&home.socket_lock(), shell, "the last vx-aether to leave").await?;
    drop(leaving);
    let started = spawn(home).await;
    match find(home).await? {
        Found::Ours(running) => Ok(running.orchestrator),
        Found::OtherBuild(other) => Err(CommandError::engine(format!(
            "{} took the place of the one vx started",
            other.description()
        ))
        .help("don't use two builds of vx in one VX_HOME at the same time")),
        // Where another was started by hand in the meantime this one's failure is no matter.
        Found::Nobody => {
            started?;
            Err(
                CommandError::engine("vx-aether was ready and is gone already")
                    .help(format!("see {}", home.log().display())),
            )
        }
    }
}

async fn spawn(home: &Home) -> CommandResult {
    let program = program(
        std::env::var_os(PROGRAM_VARIABLE),
        std::env::current_exe().ok(),
    );
    let args = [OsString::from("--home"), home.path().into()];
    daemon::spawn_free(&program, &args, Some(&home.log()))
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
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_program_is_beside_vx_unless_it_is_named() {
        let beside = program(None, Some("/opt/bin/vx".into()));
        assert_eq!(beside, Path::new("/opt/bin/vx-aether"));
        let beside = program(Some("".into()), Some("/opt/bin/vx".into()));
        assert_eq!(beside, Path::new("/opt/bin/vx-aether"));
        let named = program(Some("/x/a".into()), Some("/opt/bin/vx".into()));
        assert_eq!(named, Path::new("/x/a"));
    }
}
