//! Which user an action is on the host.
//!
//! An ordinary user's actions are that user, who may do nothing that matters to the machine.
//! Root's may not be root: the kernel lets root's id write its settings whatever namespaces it is
//! in. So they get an id of nobody's, and what they are shown of the host is mounted with root's
//! id shifted to it, so that they own what root owns there and nothing else.
//!
//! Some filesystems can't shift ids; containers lie on such a one (an overlay). There root's files
//! stay root's, and an action gets two capabilities over them, which count in its own namespace
//! alone: to go past their permissions, and to change what only an owner may. What it can write to
//! at all is up to its mounts, as ever.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use rustix::thread::{
    LinkNameSpaceType, UnshareFlags, capabilities, move_into_link_name_space, set_capabilities,
    set_keep_capabilities,
};

use super::fault::{Fault, Step};
use super::mounts::last_errno;

/// The user and group an action has inside: an ordinary one, because programs that find
/// themselves root try what they can't (`tar x` would change owners).
pub(super) const INSIDE_ID: u32 = 1000;

/// What root's actions are on the host: an id that neither distributions nor systemd give to
/// anybody (60578 to 60705 in systemd's table of ids), and small enough for a container's range.
const STAND_IN: u32 = 60_700;

/// The ids of root's actions.
pub(super) struct StandIn {
    /// The user namespace of the action: [`INSIDE_ID`] is [`STAND_IN`], and root is root, which
    /// nobody in there is.
    action: OwnedFd,
    /// One that a mount is shifted by: root's files are [`STAND_IN`]'s.
    shift: OwnedFd,
}

/// An id for actions where this process is root; `None` where it is not, or only by name.
pub(super) fn stand_in() -> Result<Option<StandIn>, Fault> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let action = match namespace(&format!("0 0 1\n{INSIDE_ID} {STAND_IN} 1\n")) {
        Ok(action) => action,
        // The root of a user namespace with few ids is an ordinary user outside of it.
        Err(_) if is_root_by_name() => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let others = STAND_IN - 1;
    let shift = namespace(&format!("0 {STAND_IN} 1\n1 1 {others}\n"))?;
    Ok(Some(StandIn { action, shift }))
}

/// Whether root here is somebody else outside of this user namespace.
fn is_root_by_name() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let outside = map.lines().find_map(|line| {
        let mut numbers = line.split_whitespace();
        (numbers.next() == Some("0"))
            .then(|| numbers.next())
            .flatten()
    });
    outside.is_some_and(|outside| outside != "0")
}

impl StandIn {
    /// What mounts of the host's are shifted by.
    pub(super) fn shift(&self) -> BorrowedFd<'_> {
        self.shift.as_fd()
    }

    /// Enters the action's user namespace, with every capability there.
    pub(super) fn enter(&self) -> Result<(), Fault> {
        move_into_link_name_space(self.action.as_fd(), Some(LinkNameSpaceType::User))
            .step("enter the action's user namespace")
    }

    /// Becomes the action's user, in its namespace. Capabilities stay.
    pub(super) fn become_user() -> Result<(), Fault> {
        let id = INSIDE_ID;
        let own = capabilities(None).step("see capabilities")?;
        set_keep_capabilities(true).step("keep capabilities")?;
        // SAFETY: no memory is involved but an empty list; the process has one thread.
        let done = unsafe {
            libc::setgroups(0, std::ptr::null()) == 0
                && libc::setresgid(id, id, id) == 0
                && libc::setresuid(id, id, id) == 0
        };
        if !done {
            return Err(last_errno()).step("become the action's user");
        }
        // Those in force went with the user; the right to them did not.
        set_capabilities(None, own).step("keep capabilities")?;
        set_keep_capabilities(false).step("keep no more capabilities")
    }
}

/// Enters a user namespace in which this process's user and group are [`INSIDE_ID`].
pub(super) fn enter_own() -> Result<(), Fault> {
    let user = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    // SAFETY: the flags hold nothing that concerns descriptors or memory of other threads.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }
        .step("enter a user namespace")?;
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/gid_map", &format!("{INSIDE_ID} {group} 1"))?;
    write("/proc/self/uid_map", &format!("{INSIDE_ID} {user} 1"))
}

fn write(path: &str, text: &str) -> Result<(), Fault> {
    std::fs::write(path, text).step(format_args!("write {path}"))
}

/// A user namespace with these maps, for users and for groups. A process of its own makes it,
/// since only who is outside may map ids that are not its own.
fn namespace(map: &str) -> Result<OwnedFd, Fault> {
    let (made, tell_made) = std::io::pipe().step("make a pipe")?;
    let (end, tell_end) = std::io::pipe().step("make a pipe")?;
    // SAFETY: this process has one thread, so the child may do what the parent may.
    let child = match unsafe { libc::fork() } {
        0 => {
            drop((made, tell_end));
            hold_namespace(tell_made, end)
        }
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .ok_or_else(last_errno)
            .step("fork")?,
    };
    drop((tell_made, end));
    let opened = open_namespace(child, made, map);
    drop(tell_end);
    let _ = waitpid(Some(child), WaitOptions::empty());
    opened
}

/// The child: makes the namespace, says so, and stays until it is not needed any more.
fn hold_namespace(mut tell_made: impl Write, mut end: impl Read) -> ! {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // SAFETY: as for `enter_own`.
    if unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWUSER) }.is_ok()
        && tell_made.write_all(b"m").is_ok()
    {
        let _ = end.read(&mut [0]);
    }
    // SAFETY: ends the process without running what a fork must not run twice.
    unsafe { libc::_exit(0) }
}

fn open_namespace(child: Pid, mut made: impl Read, map: &str) -> Result<OwnedFd, Fault> {
    let refused = rustix::io::Errno::PERM;
    if made.read(&mut [0]).step("wait for a user namespace")? == 0 {
        return Err(refused).step("make a user namespace");
    }
    let of = |name: &str| format!("/proc/{}/{name}", child.as_raw_nonzero());
    write(&of("gid_map"), map)?;
    write(&of("uid_map"), map)?;
    let file = std::fs::File::open(of("ns/user")).step("hold a user namespace")?;
    Ok(file.into())
}
