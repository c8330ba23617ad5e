//! The guard of an isolated action: enters namespaces, and ends when everything in them has.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::thread::UnshareFlags;

use super::control::Control;
use super::fault::{Fault, Step};
use super::spec::{GuardSpec, RootSpec};
use super::{Jobs, init, mounts, silence};

/// The user and group an action has inside: an ordinary one, because programs that find
/// themselves root try what they can't (`tar x` would change owners).
const INSIDE_ID: u32 = 1000;

/// Guards an action in a root of its own.
pub(super) fn guard(
    spec: &GuardSpec,
    root: &RootSpec,
    control: &Control,
    jobs: Jobs,
    trace: &OwnedFd,
    started: Instant,
) -> Result<(), Fault> {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    unshare(root.network)?;
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = match unsafe { libc::fork() } {
        0 => init::run(spec, root, control, &jobs, trace, started),
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
