//! Mounts by descriptor: a tree is cloned, restricted while nobody can reach it, and only then
//! attached. Targets are looked up below the new root without following any link.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};

use super::fault::{Fault, Step};

/// What may be done through a mount.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading; no set-uid programs, no devices.
    ReadOnly,
    /// Writing too; no set-uid programs, no devices.
    Writable,
    /// A device node: it is itself the point.
    Device,
}

impl Access {
    fn attributes(self) -> u64 {
        match self {
            Self::ReadOnly => {
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV
            }
            Self::Writable => libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV,
            // A read-only mount keeps the node itself as it is; what is written to the device goes
            // there all the same.
            Self::Device => {
                libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC
            }
        }
    }
}

/// Clones what is mounted at `path` and below it, restricted to `access`.
///
/// Always with what is mounted below: a clone without it would uncover what those mounts
/// hide, which the kernel refuses in a user namespace.
pub(super) fn clone_tree(path: &str, access: Access) -> Result<OwnedFd, Fault> {
    clone_at(CWD, path, access).step(format_args!("mount {path}"))
}

/// Clones the directory behind a descriptor, restricted to `access`.
pub(super) fn clone_directory(
    directory: BorrowedFd<'_>,
    name: &str,
    access: Access,
) -> Result<OwnedFd, Fault> {
    clone_at(directory, name, access).step(format_args!("mount {name}"))
}

fn clone_at(directory: BorrowedFd<'_>, path: &str, access: Access) -> Result<OwnedFd, Errno> {
    let tree = open_tree(
        directory,
        path,
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    let attr = attributes(access.attributes());
    set_attributes(tree.as_fd(), attr, libc::AT_RECURSIVE)?;
    Ok(tree)
}

/// Has a cloned tree show ids as a user namespace maps them. Filesystems that can't do that (an
/// overlay, as containers have it, and most of the network) stay as they are. Whether all of it
/// could.
pub(super) fn shift_ids(tree: BorrowedFd<'_>, by: BorrowedFd<'_>) -> bool {
    let attr = libc::mount_attr {
        userns_fd: u64::from(by.as_raw_fd().unsigned_abs()),
        ..attributes(libc::MOUNT_ATTR_IDMAP)
    };
    let all = set_attributes(tree, attr, libc::AT_RECURSIVE).is_ok();
    if !all {
        // Something below may be what can't.
        let _ = set_attributes(tree, attr, 0);
    }
    all
}

/// Makes what is mounted at a path of the root read-only; what is mounted below it stays as it is.
pub(super) fn seal(path: &str) -> Result<(), Fault> {
    let mount = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .step(format_args!("hold {path}"))?;
    set_attributes(mount.as_fd(), attributes(libc::MOUNT_ATTR_RDONLY), 0)
        .step(format_args!("make {path} read-only"))
}

/// Attributes to set on mounts, which are nobody else's.
fn attributes(set: u64) -> libc::mount_attr {
    libc::mount_attr {
        attr_set: set,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    }
}

fn set_attributes(mount: BorrowedFd<'_>, attr: libc::mount_attr, flags: i32) -> Result<(), Errno> {
    // SAFETY: the path is a NUL-terminated literal, and the pointer and the size describe
    // `attr`, which outlives the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            std::ptr::from_ref(&attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

/// The calling thread's last error.
pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// A new filesystem that is not attached yet.
pub(super) fn filesystem(
    kind: &str,
    options: &[(&str, &str)],
    flags: MountAttrFlags,
) -> Result<OwnedFd, Fault> {
    let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).step(format_args!("open a {kind}"))?;
    for (key, value) in options {
        if value.is_empty() {
            fsconfig_set_flag(context.as_fd(), *key)
        } else {
            fsconfig_set_string(context.as_fd(), *key, *value)
        }
        .step(format_args!("set {key} of a {kind}"))?;
    }
    fsconfig_create(context.as_fd()).step(format_args!("make a {kind}"))?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, flags)
        .step(format_args!("mount a {kind}"))
}

/// The most files in a tmpfs: their names and inodes take memory that its size does not count.
const MOST_FILES: &str = "1000000";

/// A tmpfs of its own.
pub(super) fn tmpfs(mode: &str, size: &str) -> Result<OwnedFd, Fault> {
    filesystem(
        "tmpfs",
        &[("mode", mode), ("size", size), ("nr_inodes", MOST_FILES)],
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
    )
}

/// Attaches a mount on top of what `target` is.
pub(super) fn attach(
    mount: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    what: &str,
) -> Result<(), Fault> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
    .step(format_args!("attach {what}"))
}

/// Attaches a mount to the working directory.
pub(super) fn attach_here(mount: BorrowedFd<'_>) -> Result<(), Fault> {
    attach(mount, CWD, "the root")
}

/// The entry at a relative path below `root`, reached through no link.
pub(super) fn beneath(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        root,
        path,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}

/// Makes the directory at a relative path below `root`, with its parents, and opens it.
pub(super) fn make_directory(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Fault> {
    if let Ok(found) = beneath(root, path) {
        return Ok(found);
    }
    let mut at = root.try_clone_to_owned().step("hold the root")?;
    for part in path.split('/').filter(|part| !part.is_empty()) {
        match rustix::fs::mkdirat(&at, part, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error).step(format_args!("make /{path}")),
        }
        at = beneath(at.as_fd(), part).step(format_args!("enter /{path}"))?;
    }
    Ok(at)
}
