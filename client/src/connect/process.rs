//! Waiting for a process that is not a child to end.

use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::patience;
use crate::error::{CommandError, CommandResult};
use crate::output::Shell;

/// A process by a descriptor of it, so that another one under its number is not mistaken for it.
pub(super) struct Process {
    /// `None` when it was gone already.
    descriptor: Option<OwnedFd>,
    pid: u32,
}

impl Process {
    /// The process of this number, which is known to run.
    pub(super) fn open(pid: u32) -> CommandResult<Self> {
        let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let opened = match number {
            Some(number) => pidfd_open(number, PidfdFlags::empty()),
            None => Err(rustix::io::Errno::SRCH),
        };
        let descriptor = match opened {
            Ok(descriptor) => Some(descriptor),
            Err(rustix::io::Errno::SRCH) => None,
            Err(error) => return Err(unwatched(pid, error.into())),
        };
        Ok(Self { descriptor, pid })
    }

    /// Returns when it has ended; tells the user where that takes a while.
    pub(super) async fn ended(self, shell: &mut Shell) -> CommandResult {
        let Some(descriptor) = self.descriptor else {
            return Ok(());
        };
        let pid = self.pid;
        // The kernel wakes this thread; where vx is ended before, it ends with the process.
        let watching = tokio::task::spawn_blocking(move || watch(&descriptor));
        let what_for = format!("process {pid} to finish the builds under way");
        patience::wait(watching, shell, &what_for)
            .await
            .map_err(io::Error::other)
            .and_then(|watched| watched)
            .map_err(|error| unwatched(pid, error))
    }
}

fn watch(process: &OwnedFd) -> io::Result<()> {
    loop {
        let mut events = [PollFd::new(process, PollFlags::IN)];
        match poll(&mut events, None) {
            Err(rustix::io::Errno::INTR) => {}
            done => return done.map(drop).map_err(Into::into),
        }
    }
}

fn unwatched(pid: u32, error: io::Error) -> CommandError {
    CommandError::engine(format!("the end of process {pid} can't be waited for"))
        .because(error)
        .help("run the command again")
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::output::Look;
    use crate::output::test_support::Screen;

    #[tokio::test]
    async fn an_end_is_seen() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let process = Process::open(child.id()).unwrap();
        let screen = Screen::default();
        let mut shell = screen.shell(Look::default());
        drop(child.stdin.take());
        process.ended(&mut shell).await.unwrap();
        child.wait().unwrap();
        let gone = Process::open(child.id()).unwrap();
        gone.ended(&mut shell).await.unwrap();
    }
}
