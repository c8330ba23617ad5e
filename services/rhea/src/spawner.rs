//! Starts guards, all from one thread that lives as long as the executor: the kernel's
//! parent-death signal follows the thread that spawned.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::guard::control::QUESTION;
use crate::guard::control::hand;
use crate::guard::spec::{GuardSpec, Report};
use crate::jobs::Jobserver;

/// Guards that may wait to be started; each request is answered at once, so this is never
/// reached but by a bug.
const QUEUE: usize = 1024;

/// How long a guard may take to take its root down. One that takes longer has been stopped, or hangs
/// on a disk that does.
const TO_END: Duration = Duration::from_secs(4);

type Request = (Command, oneshot::Sender<io::Result<Child>>);

/// The thread that starts guards.
#[derive(Clone)]
pub(crate) struct Spawner {
    program: PathBuf,
    requests: mpsc::SyncSender<Request>,
}

impl Spawner {
    /// Starts the thread. `program` is a binary that calls
    /// [`crate::guard::enter_if_asked`] first.
    pub(crate) fn start(program: PathBuf) -> io::Result<Self> {
        let (requests, queue) = mpsc::sync_channel::<Request>(QUEUE);
        std::thread::Builder::new()
            .name("spawner".to_owned())
            .spawn(move || {
                for (mut command, reply) in queue {
                    // Nobody waits for the reply any more: the guard's socket is closed and
                    // it ends by itself; here it is only to be reaped.
                    if let Err(Ok(mut child)) = reply.send(command.spawn()) {
                        let _ = child.kill();
                        let _ = child.wait();
                    }
                }
            })?;
        Ok(Self { program, requests })
    }

    /// Starts a guard.
    pub(crate) async fn spawn(&self, spec: &GuardSpec, jobs: &Jobserver) -> io::Result<Guarded> {
        let (ours, theirs) = UnixStream::pair()?;
        let (read, write) = jobs.own_ends()?;
        let trace = memfd_create("trace", MemfdFlags::CLOEXEC)?;
        hand(
            &ours,
            spec_file(spec)?.as_fd(),
            trace.as_fd(),
            read.as_fd(),
            write.as_fd(),
        )?;
        let (stdout, stdout_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (stderr, stderr_write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let mut command = Command::new(&self.program);
        command
            // An action can read it: it is not to tell where this program lies.
            .arg0("vx-rhea")
            .arg(crate::guard::ARGUMENT)
            .env_clear()
            .current_dir("/")
            .stdin(OwnedFd::from(theirs))
            .stdout(stdout_write)
            .stderr(stderr_write);
        let (reply, child) = oneshot::channel();
        self.requests
            .try_send((command, reply))
            .map_err(|_| io::Error::other("the spawning thread does not answer"))?;
        let child = child
            .await
            .map_err(|_| io::Error::other("the spawning thread is gone"))??;
        ours.set_nonblocking(true)?;
        Ok(Guarded {
            process: Process::new(child)?,
            control: Reports {
                socket: tokio::net::UnixStream::from_std(ours)?,
                pending: Vec::new(),
            },
            stdout: pipe::Receiver::from_owned_fd(stdout)?,
            stderr: pipe::Receiver::from_owned_fd(stderr)?,
            trace,
        })
    }
}

/// The spec as a file that no name leads to.
fn spec_file(spec: &GuardSpec) -> io::Result<OwnedFd> {
    let bytes = postcard::to_stdvec(spec).map_err(io::Error::other)?;
    let file = memfd_create("guard", MemfdFlags::CLOEXEC)?;
    io::Write::write_all(&mut std::fs::File::from(file.try_clone()?), &bytes)?;
    seek(&file, SeekFrom::Start(0))?;
    Ok(file)
}

/// A guard that was started.
pub(crate) struct Guarded {
    /// Its process.
    pub(crate) process: Process,
    /// Its reports; dropping this ends the action.
    pub(crate) control: Reports,
    /// The program's standard output.
    pub(crate) stdout: pipe::Receiver,
    /// The program's standard error.
    pub(crate) stderr: pipe::Receiver,
    /// Where its trace is found at its end.
    pub(crate) trace: OwnedFd,
}

/// What a guard reports.
pub(crate) struct Reports {
    socket: tokio::net::UnixStream,
    pending: Vec<u8>,
}

impl Reports {
    /// The next report; `None` when the guard is gone.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Report>> {
        loop {
            if let Some(report) = Report::take(&mut self.pending).map_err(io::Error::other)? {
                return Ok(Some(report));
            }
            if self.socket.read_buf(&mut self.pending).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Asks whether the guard is there. One that does not read needs no second question.
    pub(crate) fn ask(&self) {
        let _ = self.socket.try_write(&[QUESTION]);
    }

    /// Has the guard end everything for this reason, which it reports.
    pub(crate) fn order_end(&self, why: String) {
        let why = why.replace(char::from(QUESTION), " ");
        let _ = self.socket.try_write(why.as_bytes());
    }
}

/// A guard's process. It ends only after all its action's processes have.
pub(crate) struct Process {
    handle: AsyncFd<OwnedFd>,
}

impl Process {
    fn new(child: Child) -> io::Result<Self> {
        let pid = Pid::from_child(&child);
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        // SAFETY: the descriptor is owned by what watches it and closes with it.
        let handle = unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }?;
        Ok(Self { handle })
    }

    /// Ends it and with it all it guards, whatever state it is in.
    pub(crate) fn kill(&self) {
        let _ = pidfd_send_signal(self.handle.get_ref(), Signal::KILL);
    }

    /// Waits for its end, which is near: it has reported it, or was told.
    pub(crate) async fn end(&self) -> io::Result<()> {
        if let Ok(ended) = tokio::time::timeout(TO_END, self.ended()).await {
            return ended;
        }
        self.kill();
        self.ended().await
    }

    /// Waits for its end.
    async fn ended(&self) -> io::Result<()> {
        self.handle.readable().await?.retain_ready();
        let id = WaitId::PidFd(self.handle.as_fd());
        match waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
            // Reaped before, which is as good.
            Ok(_) | Err(rustix::io::Errno::CHILD) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
