//! Running a program for a bounded time.

use std::fmt;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};

use crate::process::wait_readable;
use crate::report::Report;

/// How long a program may run, unless a test says otherwise: the slowest builds a real project
/// on two busy processors.
pub(crate) const PATIENCE: Duration = Duration::from_secs(600);

/// A program that ended.
#[must_use = "look at how it ended"]
pub struct Run {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: String,
    /// What it wrote there.
    pub stderr: String,
    /// The command line, for messages.
    command: String,
    /// Where a build leaves its reports.
    workspace: PathBuf,
}

impl Run {
    /// This, having ended with status 0.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn success(self) -> Self {
        assert!(self.status.success(), "it should have succeeded: {self}");
        self
    }

    /// This, having ended with this status.
    ///
    /// # Panics
    /// When it did not, or when it panicked on the way.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self.no_panic()
    }

    /// This, having failed with a message and not by a panic or a signal.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub fn refused(self) -> Self {
        assert!(
            self.status.code().is_some_and(|code| code != 0),
            "it should have failed: {self}"
        );
        assert!(
            !self.stderr.trim().is_empty(),
            "it should have said why: {self}"
        );
        self.no_panic()
    }

    #[track_caller]
    fn no_panic(self) -> Self {
        assert!(!self.stderr.contains("panicked at"), "it panicked: {self}");
        assert_ne!(self.status.signal(), Some(6), "it aborted: {self}");
        self
    }

    /// The newest report of the workspace it ran in.
    ///
    /// # Panics
    /// When there is none, or it can't be read.
    #[must_use]
    #[track_caller]
    pub fn report(&self) -> Report {
        Report::latest(&self.workspace).unwrap_or_else(|error| panic!("{error}\n{self}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` in {}: {}\n--- stdout\n{}--- stderr\n{}---",
            self.command,
            self.workspace.display(),
            self.status,
            self.stdout,
            self.stderr
        )
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A program that may still run. It is killed when this is dropped.
#[must_use = "dropping it kills the program"]
pub struct Running {
    child: Child,
    descriptor: OwnedFd,
    pid: Pid,
    stdout: Receiver<Vec<u8>>,
    stderr: Receiver<Vec<u8>>,
    command: String,
    workspace: PathBuf,
    done: bool,
}

impl Running {
    /// Starts a program in a process group of its own.
    pub(crate) fn start(mut command: Command, workspace: PathBuf) -> Self {
        let shown = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{shown}: {error}"));
        let pid = Pid::from_child(&child);
        let descriptor =
            pidfd_open(pid, PidfdFlags::empty()).expect("the child was not waited for");
        let stdout = drain(child.stdout.take().expect("stdout is piped"));
        let stderr = drain(child.stderr.take().expect("stderr is piped"));
        Self {
            child,
            descriptor,
            pid,
            stdout,
            stderr,
            command: shown,
            workspace,
            done: false,
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends it a signal, as a terminal would: to its process group.
    pub fn interrupt(&self) {
        let _ = kill_process_group(self.pid, Signal::INT);
    }

    /// Sends only it a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
    }

    /// Whether it has ended within this time.
    #[must_use]
    pub fn ended_within(&self, patience: Duration) -> bool {
        wait_readable(&self.descriptor, patience)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes unreasonably long, or leaves its output open to a process that lives on.
    pub fn wait(self) -> Run {
        self.wait_within(PATIENCE)
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer, or leaves its output open to a process that lives on.
    pub fn wait_within(mut self, patience: Duration) -> Run {
        let ended = self.ended_within(patience);
        if !ended {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        let status = self.child.wait().expect("the child was not waited for");
        self.done = true;
        let gather = |output: &Receiver<Vec<u8>>| {
            let bytes = output.recv_timeout(Duration::from_secs(30)).ok();
            bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (stdout, stderr) = (gather(&self.stdout), gather(&self.stderr));
        let held = stdout.is_none() || stderr.is_none();
        let run = Run {
            status,
            stdout: stdout.unwrap_or_default(),
            stderr: stderr.unwrap_or_default(),
            command: self.command.clone(),
            workspace: self.workspace.clone(),
        };
        assert!(ended, "it did not end within {patience:?}: {run}");
        assert!(
            !held,
            "it ended, but another process holds its output open: {run}"
        );
        run
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        let status = self.child.wait();
        if std::thread::panicking() {
            // Whoever waited for what this program should have caused wants to know what it said.
            let said = |output: &Receiver<Vec<u8>>| {
                let bytes = output
                    .recv_timeout(Duration::from_secs(5))
                    .unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            eprintln!(
                "--- `{}`: {status:?}\n{}{}",
                self.command,
                said(&self.stdout),
                said(&self.stderr)
            );
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn drain(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        let _ = sender.send(bytes);
    });
    receiver
}
