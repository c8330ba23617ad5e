//! The guard of an isolated action: enters namespaces, and ends when everything in them has.

use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, waitpid};
use rustix::thread::UnshareFlags;

use super::control::Control;
use super::fault::{Fault, Step};
use super::ids::{self, StandIn};
use super::root::Sources;
use super::spec::{GuardSpec, RootSpec};
use super::{Jobs, confine, init, mounts, silence};

/// Guards an action in a root of its own.
pub(super) fn guard(
    spec: &GuardSpec,
    root: &RootSpec,
    control: &Control,
    jobs: Jobs,
    trace: OwnedFd,
    started: Instant,
) -> Result<(), Fault> {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // What the root is mounted on while it is built may be out of the action's user's reach.
    rustix::process::chdir(root.base.as_str()).step(format_args!("enter {}", root.base))?;
    let sources = match ids::stand_in()? {
        Some(ids) => Some(enter_as_stand_in(root, &ids)?),
        None => enter_as_oneself(root).map(|()| None)?,
    };
    confine::close_memory().step("close this process's memory")?;
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = match unsafe { libc::fork() } {
        0 => init::run(spec, root, sources, control, jobs, &trace, started),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(mounts::last_errno)
            .step("fork")?,
    };
    silence();
    drop((jobs, trace, sources));
    watch(child, control)
}

fn enter_as_oneself(root: &RootSpec) -> Result<(), Fault> {
    ids::enter_own()?;
    unshare(namespaces(root.network))
}

/// The host's mounts are taken while this process may shift their ids.
fn enter_as_stand_in(root: &RootSpec, ids: &StandIn) -> Result<Sources, Fault> {
    unshare(UnshareFlags::NEWNS)?;
    separate_mounts()?;
    let sources = Sources::clone_from_host(root, Some(ids.shift()))?;
    ids.enter()?;
    unshare(namespaces(root.network))?;
    Ok(sources)
}

/// The namespaces of an action beside its users'. With the host's network its namespace is kept.
fn namespaces(network: bool) -> UnshareFlags {
    let mut namespaces =
        UnshareFlags::NEWNS | UnshareFlags::NEWPID | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    namespaces.set(UnshareFlags::NEWNET, !network);
    namespaces
}

fn unshare(namespaces: UnshareFlags) -> Result<(), Fault> {
    // SAFETY: the flags hold nothing that concerns descriptors or memory of other threads.
    unsafe { rustix::thread::unshare_unsafe(namespaces) }.step("enter new namespaces")
}

/// Nothing that is mounted from now on is seen outside of this namespace.
pub(super) fn separate_mounts() -> Result<(), Fault> {
    mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .step("separate the mounts from the host's")
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
