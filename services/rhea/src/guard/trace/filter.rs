//! Which system calls are watched, and the seccomp filter that says so to the kernel.

use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::guard::mounts::last_errno;

/// What a system call does with the path it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Opens it; the flags are in this argument.
    Open(usize),
    /// Opens it; the flags are in an `open_how` that this argument points to.
    OpenHow(usize),
    /// Looks at what it leads to.
    Look,
    /// Looks at it, a last link not followed.
    LookAtLink,
    /// Looks at it in one of both ways.
    LookBoth,
    /// Looks at it; `AT_SYMLINK_NOFOLLOW` is in this argument.
    LookBy(usize),
    /// Runs it.
    Execute,
    /// Makes, removes or renames it: whether it is there decides how that ends.
    Alter,
    /// Removes it. A directory only if nothing is in it, where it is one that is meant: always, or
    /// where `AT_REMOVEDIR` is in this argument.
    Remove(Option<usize>),
    /// Changes the file there, and neither its name nor whether it is there.
    Touch,
    /// Makes a link there that leads to the text of argument 0.
    Link,
    /// Gives the file at the first path a second name; `AT_SYMLINK_FOLLOW` is in this argument.
    Name(usize),
    /// Lists the directory behind the descriptor.
    List,
    /// Reaches for the address at the first of these arguments, of the length in the second.
    Reach(usize, usize),
    /// Takes the address that argument 1 points to, of the length of argument 2.
    Bind,
    /// Sends the message headers at argument 1; as many as argument 2 says where it is several.
    Send {
        /// Whether they are several.
        many: bool,
    },
    /// Limits or slows the process of this argument.
    Limit(usize),
}

/// Where a path is among a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathAt {
    /// The descriptor it starts from; without one, the working directory.
    pub(super) directory: Option<usize>,
    /// Its pointer.
    pub(super) path: usize,
}

/// A watched system call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) number: libc::c_long,
    pub(super) deed: Deed,
    pub(super) paths: &'static [PathAt],
}

const fn plain(path: usize) -> PathAt {
    PathAt {
        directory: None,
        path,
    }
}

const fn at(directory: usize, path: usize) -> PathAt {
    PathAt {
        directory: Some(directory),
        path,
    }
}

const fn watched(number: libc::c_long, deed: Deed, paths: &'static [PathAt]) -> Watched {
    Watched {
        number,
        deed,
        paths,
    }
}

/// These are newer than the C library's list of numbers.
const SYS_STATMOUNT: libc::c_long = 457;
const SYS_LISTMOUNT: libc::c_long = 458;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_GETXATTRAT: libc::c_long = 464;
const SYS_LISTXATTRAT: libc::c_long = 465;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_OPEN_TREE_ATTR: libc::c_long = 467;
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_MEMFD_SECRET: libc::c_long = 447;
const SYS_QUOTACTL_FD: libc::c_long = 443;
const SYS_FILE_GETATTR: libc::c_long = 468;
const SYS_FILE_SETATTR: libc::c_long = 469;

const P0: &[PathAt] = &[plain(0)];
const P01: &[PathAt] = &[plain(0), plain(1)];
const P1: &[PathAt] = &[plain(1)];
const AT: &[PathAt] = &[at(0, 1)];
const AT_AT: &[PathAt] = &[at(0, 1), at(2, 3)];

/// Every system call that takes a path and that all processors have, the commonest first, those
/// that take an address, and the one that could limit the guard.
const EVERYWHERE: &[Watched] = &[
    watched(libc::SYS_openat, Deed::Open(2), AT),
    watched(libc::SYS_newfstatat, Deed::LookBy(3), AT),
    watched(libc::SYS_statx, Deed::LookBy(2), AT),
    watched(libc::SYS_faccessat, Deed::Look, AT),
    watched(libc::SYS_faccessat2, Deed::LookBy(3), AT),
    watched(libc::SYS_readlinkat, Deed::LookAtLink, AT),
    watched(libc::SYS_execve, Deed::Execute, P0),
    watched(libc::SYS_execveat, Deed::Execute, AT),
    watched(libc::SYS_getdents64, Deed::List, &[]),
    watched(libc::SYS_openat2, Deed::OpenHow(2), AT),
    watched(libc::SYS_connect, Deed::Reach(1, 2), &[]),
    watched(libc::SYS_sendto, Deed::Reach(4, 5), &[]),
    watched(libc::SYS_sendmsg, Deed::Send { many: false }, &[]),
    watched(libc::SYS_sendmmsg, Deed::Send { many: true }, &[]),
    watched(libc::SYS_bind, Deed::Bind, &[]),
    watched(libc::SYS_prlimit64, Deed::Limit(0), &[]),
    watched(libc::SYS_setpriority, Deed::Limit(1), &[]),
    watched(libc::SYS_sched_setaffinity, Deed::Limit(0), &[]),
    watched(libc::SYS_sched_setscheduler, Deed::Limit(0), &[]),
    watched(libc::SYS_sched_setparam, Deed::Limit(0), &[]),
    watched(libc::SYS_sched_setattr, Deed::Limit(0), &[]),
    watched(libc::SYS_ioprio_set, Deed::Limit(1), &[]),
    watched(libc::SYS_chdir, Deed::Look, P0),
    watched(libc::SYS_truncate, Deed::Touch, P0),
    watched(libc::SYS_statfs, Deed::Look, P0),
    watched(libc::SYS_inotify_add_watch, Deed::Look, P1),
    watched(libc::SYS_name_to_handle_at, Deed::LookBoth, AT),
    watched(libc::SYS_utimensat, Deed::Touch, AT),
    watched(libc::SYS_fchmodat, Deed::Touch, AT),
    watched(SYS_FCHMODAT2, Deed::Touch, AT),
    watched(libc::SYS_fchownat, Deed::Touch, AT),
    watched(SYS_FILE_GETATTR, Deed::LookBy(4), AT),
    watched(SYS_FILE_SETATTR, Deed::LookBy(4), AT),
    watched(libc::SYS_mkdirat, Deed::Alter, AT),
    watched(libc::SYS_mknodat, Deed::Alter, AT),
    watched(libc::SYS_unlinkat, Deed::Remove(Some(2)), AT),
    watched(libc::SYS_symlinkat, Deed::Link, &[at(1, 2)]),
    watched(libc::SYS_linkat, Deed::Name(4), AT_AT),
    watched(libc::SYS_renameat, Deed::Alter, AT_AT),
    watched(libc::SYS_renameat2, Deed::Alter, AT_AT),
];

/// Those that only older processors' tables have.
#[cfg(target_arch = "x86_64")]
const OLDER: &[Watched] = &[
    watched(libc::SYS_open, Deed::Open(1), P0),
    watched(libc::SYS_stat, Deed::Look, P0),
    watched(libc::SYS_lstat, Deed::LookAtLink, P0),
    watched(libc::SYS_access, Deed::Look, P0),
    watched(libc::SYS_readlink, Deed::LookAtLink, P0),
    watched(libc::SYS_getdents, Deed::List, &[]),
    watched(libc::SYS_creat, Deed::Alter, P0),
    watched(libc::SYS_mkdir, Deed::Alter, P0),
    watched(libc::SYS_rmdir, Deed::Remove(None), P0),
    watched(libc::SYS_mknod, Deed::Alter, P0),
    watched(libc::SYS_unlink, Deed::Alter, P0),
    watched(libc::SYS_symlink, Deed::Link, P1),
    watched(libc::SYS_link, Deed::Alter, P01),
    watched(libc::SYS_rename, Deed::Alter, P01),
    watched(libc::SYS_chmod, Deed::Touch, P0),
    watched(libc::SYS_chown, Deed::Touch, P0),
    watched(libc::SYS_lchown, Deed::Touch, P0),
    watched(libc::SYS_utime, Deed::Touch, P0),
    watched(libc::SYS_utimes, Deed::Touch, P0),
    watched(libc::SYS_futimesat, Deed::Touch, AT),
];

#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[Watched] = &[];

/// Calls that are refused as if the kernel did not know them: what goes around the filter, keeps
/// memory out of the guard's sight, or administers a machine.
const REFUSED: &[libc::c_long] = &[
    SYS_MEMFD_SECRET,
    libc::SYS_userfaultfd,
    libc::SYS_umount2,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_quotactl,
    SYS_QUOTACTL_FD,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_kexec_load,
    libc::SYS_syslog,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    SYS_OPEN_TREE_ATTR,
    libc::SYS_move_mount,
    libc::SYS_mount,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    SYS_STATMOUNT,
    SYS_LISTMOUNT,
];

/// Calls that answer as on a filesystem without extended attributes: those are in no key, so no
/// action may go by them.
const UNSUPPORTED: &[libc::c_long] = &[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_fgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_flistxattr,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SYS_GETXATTRAT,
    SYS_LISTXATTRAT,
    SYS_SETXATTRAT,
    SYS_REMOVEXATTRAT,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
#[cfg(target_arch = "riscv64")]
const ARCHITECTURE: u32 = 0xc000_00f3;

/// The watched calls.
pub(super) fn all() -> impl Iterator<Item = Watched> {
    EVERYWHERE.iter().chain(OLDER).copied()
}

/// Puts the filter on the calling process and everything it starts; what is watched is told
/// to whoever holds the returned descriptor.
///
/// The process must have given up the right to gain privileges.
pub(super) fn install() -> Result<OwnedFd, Errno> {
    let program = program(Told::Everything);
    let set = |flags| set(&program, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | flags);
    // A signal does not interrupt a call that is being looked at, as it would not without that.
    // Kernels before 5.19 can't do that.
    let listener = match set(libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV) {
        -1 if last_errno() == Errno::INVAL => set(0),
        listener => listener,
    };
    match i32::try_from(listener) {
        // SAFETY: the kernel just made this descriptor for this process.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(last_errno()),
    }
}

/// Puts a filter on the calling process and everything it starts that refuses the same, and tells
/// nobody of anything.
pub(super) fn install_untold() -> Result<(), Errno> {
    match set(&program(Told::Nothing), 0) {
        0 => Ok(()),
        _ => Err(last_errno()),
    }
}

fn set(program: &[libc::sock_filter], flags: libc::c_ulong) -> libc::c_long {
    let length = u16::try_from(program.len()).expect("the filter is a few hundred steps");
    let filter = libc::sock_fprog {
        len: length,
        filter: program.as_ptr().cast_mut(),
    };
    // SAFETY: the filter points to `program`, which outlives the call; the kernel copies it.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            std::ptr::from_ref(&filter),
        )
    }
}

/// What a filter tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// Every watched call.
    Everything,
    /// None. What could limit the guard is refused then, whomever it means.
    Nothing,
}

/// The filter: another processor's calls and those that go around it are unknown, watched
/// ones are told, everything else is let through.
fn program(told: Told) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const NUMBER: u32 = 0;
    const ARCH: u32 = 4;
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let mut steps = vec![
        step(LOAD, 0, 0, ARCH),
        step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            0,
            ARCHITECTURE,
        ),
        step(RETURN, 0, 0, unknown),
        step(LOAD, 0, 0, NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // The same processor's calls by another table.
        const X32: u32 = 0x4000_0000;
        steps.push(step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32));
        steps.push(step(RETURN, 0, 0, unknown));
    }
    for (number, argument, width) in UNASKED {
        let number = u32::try_from(*number).expect("system calls have small numbers");
        let own = where_nothing_is_named(*argument, *width);
        let past = u8::try_from(own.len()).expect("a handful of steps");
        steps.push(step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            past,
            number,
        ));
        steps.extend(own);
    }
    steps.extend(refused_by_argument());
    let unsupported = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP.cast_unsigned();
    let refused = REFUSED.iter().map(|number| (*number, unknown));
    let refused = refused.chain(UNSUPPORTED.iter().map(|number| (*number, unsupported)));
    let watched = all().filter_map(|call| {
        let verdict = match (told, call.deed) {
            (Told::Everything, _) => libc::SECCOMP_RET_USER_NOTIF,
            (Told::Nothing, Deed::Limit(_)) => {
                libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()
            }
            (Told::Nothing, _) => return None,
        };
        Some((call.number, verdict))
    });
    for (number, verdict) in watched.chain(refused) {
        let number = u32::try_from(number).expect("system calls have small numbers");
        steps.push(step(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            0,
            1,
            number,
        ));
        steps.push(step(RETURN, 0, 0, verdict));
    }
    steps.push(step(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW));
    steps
}

/// Calls that are let through where one argument is zero, and how many halves it has: a look at
/// what a descriptor leads to, which was noted when it was opened; a message on a connection; a
/// limit of the process's own.
const UNASKED: &[(libc::c_long, u32, u32)] = &[
    (libc::SYS_newfstatat, 1, 2),
    (libc::SYS_statx, 1, 2),
    (libc::SYS_sendto, 4, 2),
    (libc::SYS_prlimit64, 0, 1),
    (libc::SYS_sched_setaffinity, 0, 1),
    (libc::SYS_sched_setscheduler, 0, 1),
    (libc::SYS_sched_setparam, 0, 1),
    (libc::SYS_sched_setattr, 0, 1),
];

/// The families of sockets that stay on this machine, or in the network that an action may have:
/// others reach past its network namespace.
const FAMILIES: &[libc::c_int] = &[
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

/// Refuses leases: who holds one on a file of the host's has everybody wait who opens it. Refuses
/// sockets of other families than [`FAMILIES`].
fn refused_by_argument() -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    const ARGUMENTS: u32 = 16;
    let fault = |error: i32| libc::SECCOMP_RET_ERRNO | error.cast_unsigned();
    let number =
        |number: libc::c_long| u32::try_from(number).expect("system calls have small numbers");
    let mut steps = vec![
        step(EQUAL, 0, 4, number(libc::SYS_fcntl)),
        step(LOAD, 0, 0, ARGUMENTS + 8),
        step(EQUAL, 0, 1, libc::F_SETLEASE.cast_unsigned()),
        step(RETURN, 0, 0, fault(libc::EINVAL)),
        step(LOAD, 0, 0, 0),
    ];
    let families = u8::try_from(FAMILIES.len()).expect("a handful of families");
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        steps.push(step(EQUAL, 0, families + 3, number(call)));
        steps.push(step(LOAD, 0, 0, ARGUMENTS));
        for (index, family) in (0..families).zip(FAMILIES) {
            // Past the other families and what refuses.
            let past = families - index;
            steps.push(step(EQUAL, past, 0, family.cast_unsigned()));
        }
        steps.push(step(RETURN, 0, 0, fault(libc::EAFNOSUPPORT)));
        steps.push(step(LOAD, 0, 0, 0));
    }
    steps
}

/// Lets a call through where argument `argument` is zero in all its halves.
fn where_nothing_is_named(argument: u32, halves: u32) -> Vec<libc::sock_filter> {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const ARGUMENTS: u32 = 16;
    let mut steps = Vec::new();
    for half in 0..halves {
        let left = 2 * (halves - half - 1) + 1;
        steps.push(step(LOAD, 0, 0, ARGUMENTS + 8 * argument + 4 * half));
        let past = u8::try_from(left).expect("a handful of steps");
        steps.push(step(EQUAL, 0, past, 0));
    }
    steps.push(step(
        libc::BPF_RET | libc::BPF_K,
        0,
        0,
        libc::SECCOMP_RET_ALLOW,
    ));
    steps.push(step(LOAD, 0, 0, 0));
    steps
}

fn step(code: u32, then: u8, otherwise: u8, value: u32) -> libc::sock_filter {
    libc::sock_filter {
        code: u16::try_from(code).expect("codes of the filter language are short"),
        jt: then,
        jf: otherwise,
        k: value,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_call_is_decided_twice() {
        let mut numbers: Vec<_> = all()
            .map(|call| call.number)
            .chain(REFUSED.to_vec())
            .chain(UNSUPPORTED.to_vec())
            .collect();
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(all().map(|call| call.number).collect::<BTreeSet<_>>().len() > 20);
    }

    #[test]
    fn every_way_through_the_filter_ends() {
        for told in [Told::Everything, Told::Nothing] {
            let steps = program(told);
            for (index, one) in steps.iter().enumerate() {
                let furthest = index + 1 + usize::from(one.jt.max(one.jf));
                let returns = u32::from(one.code) == libc::BPF_RET | libc::BPF_K;
                assert!(returns || furthest < steps.len());
            }
        }
    }
}
