//! The guard: a process per action, between the executor and what it runs.
//!
//! The executor's binary starts itself again with [`ARGUMENT`]; mounts can't be set up safely
//! between the fork and the exec of a process with threads. The guard enters new namespaces
//! and forks their first process, [`init`], which builds the root, drops every privilege and
//! starts the program. Nothing here knows what the program is or where its files come from.
//!
//! Three things end an action, each alone enough: the control socket closes (the executor
//! cancels or is gone), the parent-death signals from executor to guard to first process, and
//! the kernel, which kills a PID namespace whose first process ends. The guard ends only after
//! everything in the namespace has.

use std::fs::File;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::thread::UnshareFlags;

use self::control::Control;
use self::fault::{Fault, Step};
use self::spec::{GuardSpec, Report};

mod confine;
pub(crate) mod control;
mod fault;
mod init;
mod mounts;
mod root;
pub(crate) mod spec;
pub(crate) mod trace;

/// The first argument of an executor's binary that is to be a guard.
pub(crate) const ARGUMENT: &str = "guard";

/// The user and group an action has inside: an ordinary one, because programs that find
/// themselves root try what they can't (`tar x` would change owners).
const INSIDE_ID: u32 = 1000;

/// The jobserver's ends.
pub(crate) struct Jobs {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

/// Becomes a guard and ends the process, if this process was started as one.
///
/// Must be the first thing a binary that starts guards does: the process must have one thread.
pub fn enter_if_asked() {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == ARGUMENT) {
        run();
    }
}

fn run() -> ! {
    let started = Instant::now();
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // SAFETY: the executor starts guards with the control socket as their standard input, and
    // nothing else in this process uses it. It is duplicated so that descriptor 0 can be
    // given away.
    let socket = unsafe { UnixStream::from_raw_fd(0) };
    let Ok(control) = socket.try_clone().map(Control::new) else {
        std::process::exit(2);
    };
    std::mem::forget(socket);
    if let Err(fault) = guard(&control, started) {
        control.report(&Report::Unable(fault.explain()));
        std::process::exit(2);
    }
    std::process::exit(0)
}

fn guard(control: &Control, started: Instant) -> Result<(), Fault> {
    let (spec, trace, jobs) = control.receive().step("receive the guard's orders")?;
    let spec = GuardSpec::read(File::from(spec)).step("read the guard's orders")?;
    // A terminal's signals must not reach actions.
    let _ = rustix::process::setsid();
    unshare(spec.network)?;
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = match unsafe { libc::fork() } {
        0 => init::run(&spec, control, &jobs, &trace, started),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(mounts::last_errno)
            .step("fork")?,
    };
    silence();
    drop(jobs);
    watch(child, control)
}

/// Enters new namespaces, with this process's user and group as [`INSIDE_ID`]. With the host's
/// network its namespace is kept.
fn unshare(network: bool) -> Result<(), Fault> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let mut namespaces = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    namespaces.set(UnshareFlags::NEWNET, !network);
    // SAFETY: the flags hold nothing that concerns descriptors or memory of other threads.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.step("enter new namespaces")?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("{INSIDE_ID} {group} 1"))?;
    write("/proc/self/uid_map", &format!("{INSIDE_ID} {user} 1"))
}

fn write(path: &str, text: &str) -> Result<(), Fault> {
    std::fs::write(path, text).step(format_args!("write {path}"))
}

/// Gives up the program's output pipes, so that they end with the program.
fn silence() {
    // SAFETY: no memory is involved; the descriptors are this process's own.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
        if null >= 0 {
            libc::dup2(null, 0);
            libc::dup2(null, 1);
            libc::dup2(null, 2);
        }
    }
}

/// Waits until the first process ends, and ends it when the control socket does.
fn watch(child: Pid, control: &Control) -> Result<(), Fault> {
    let handle = pidfd_open(child, PidfdFlags::empty()).step("watch the first process")?;
    loop {
        let mut events = [
            PollFd::new(&handle, PollFlags::IN),
            PollFd::from_borrowed_fd(control.as_fd(), PollFlags::RDHUP),
        ];
        match poll(&mut events, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error).step("wait for the first process"),
        }
        if !events[1].revents().is_empty() {
            let _ = rustix::process::kill_process(child, Signal::KILL);
        }
        if !events[0].revents().is_empty() || !events[1].revents().is_empty() {
            // The first process is waited for only when its whole namespace is gone.
            let _ = waitpid(Some(child), WaitOptions::empty());
            return Ok(());
        }
    }
}
