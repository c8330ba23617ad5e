//! What a process gives up before a foreign program runs in it.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

use vx_core::action::MAX_PROCESSES;

use super::fault::{Fault, Step};
use super::mounts::last_errno;
use super::spec::Bounds;

/// How many files a program may have open unless it asks for more, up to the hard limit:
/// enough for linkers, few enough for programs that close every possible descriptor.
const OPEN_FILES: u64 = 4096;

/// The host's name inside.
const HOST_NAME: &[u8] = b"vx";

/// Names the host and, where the network is the action's own, brings its loopback interface up,
/// so that programs can talk to themselves; there is no other network.
pub(super) fn identify(network: bool) -> Result<(), Fault> {
    // SAFETY: the pointer and the length describe a constant.
    let named = unsafe { libc::sethostname(HOST_NAME.as_ptr().cast(), HOST_NAME.len()) };
    check(named).step("name the host")?;
    if network {
        return Ok(());
    }
    loopback().step("bring the loopback interface up")
}

fn loopback() -> Result<(), rustix::io::Errno> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all zeroes is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is a valid `ifreq` and outlives the call.
    let set = unsafe {
        libc::ioctl(
            std::os::fd::AsRawFd::as_raw_fd(&socket),
            libc::SIOCSIFFLAGS,
            std::ptr::from_ref(&request),
        )
    };
    check(set)
}

/// Closes this process to whoever has its user: nobody reads or writes its memory, attaches to it,
/// takes its descriptors or looks at them. A program that is started from it is open again.
pub(super) fn close_memory() -> Result<(), rustix::io::Errno> {
    dumpable(0)
}

/// Opens this process to its guard, which reads the paths it is about to look at.
pub(super) fn open_memory() -> Result<(), rustix::io::Errno> {
    dumpable(1)
}

fn dumpable(how: libc::c_ulong) -> Result<(), rustix::io::Errno> {
    // SAFETY: no pointers.
    check(unsafe { libc::prctl(libc::PR_SET_DUMPABLE, how, 0, 0, 0) })
}

/// Leaves the keys of whoever started the executor behind: a session's keyring is handed down
/// through every namespace. A kernel without keyrings has none to hand down.
pub(super) fn leave_keyring() {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name asks for a new anonymous keyring.
    unsafe {
        libc::syscall(
            libc::SYS_keyctl,
            KEYCTL_JOIN_SESSION_KEYRING,
            std::ptr::null::<libc::c_char>(),
        )
    };
}

/// Bounds how many processes an action may have, and keeps it from making user namespaces, in
/// which paths would mean something else than they are noted as.
///
/// Kernels before 6.14 can't bound a namespace's processes; there, and where a file may not be
/// written, an ordinary user's limit still holds.
pub(super) fn bound_processes() {
    let _ = std::fs::write("/proc/sys/kernel/pid_max", MAX_PROCESSES.to_string());
    let _ = std::fs::write("/proc/sys/user/max_user_namespaces", "0");
    // These count for the user on the host too, who has a few hundred by default.
    let _ = std::fs::write("/proc/sys/user/max_inotify_instances", "32");
    let _ = std::fs::write("/proc/sys/user/max_inotify_watches", "16384");
    // Where memory runs out for all, an action goes before whoever waits for it.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
}

/// What an action keeps of a namespace's capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Nothing.
    None,
    /// What its files' owner may, over files that are root's though the action is not.
    OverRootsFiles,
}

impl Rights {
    fn capabilities(self) -> CapabilitySet {
        match self {
            Self::None => CapabilitySet::empty(),
            Self::OverRootsFiles => CapabilitySet::DAC_OVERRIDE | CapabilitySet::FOWNER,
        }
    }
}

/// Gives up every other capability for good.
pub(super) fn drop_privileges(rights: Rights) -> Result<(), Fault> {
    let kept = rights.capabilities();
    // The kernel answers EINVAL for the first number that is no capability.
    for capability in 0..u64::BITS {
        if kept.bits() & (1 << capability) != 0 {
            continue;
        }
        // SAFETY: no pointers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
    rustix::thread::clear_ambient_capability_set().step("clear ambient capabilities")?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: kept,
            permitted: kept,
            inheritable: kept,
        },
    )
    .step("drop capabilities")?;
    // Programs that are started keep ambient ones alone.
    for capability in kept.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .step("keep rights over files")?;
    }
    rustix::thread::set_no_new_privs(true).step("forbid new privileges")
}

/// Limits something to `most`, or to less where it is limited already: nobody may raise that.
fn limit(what: Resource, most: u64) -> Result<(), rustix::io::Errno> {
    let most = getrlimit(what).maximum.map_or(most, |hard| hard.min(most));
    let limits = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(what, limits)
}

/// Sets the limits and the mask programs start with.
pub(super) fn limits(bounds: Bounds) -> Result<(), Fault> {
    limit(Resource::Data, bounds.memory).step("limit memory")?;
    limit(Resource::Fsize, bounds.disk).step("limit the size of files")?;
    limit(Resource::Nproc, MAX_PROCESSES).step("limit processes")?;
    // Zero would still have a program of the host's started that takes them.
    limit(Resource::Core, 1).step("limit core files")?;
    let mut files = getrlimit(Resource::Nofile);
    files.current = Some(
        files
            .maximum
            .map_or(OPEN_FILES, |hard| hard.min(OPEN_FILES)),
    );
    setrlimit(Resource::Nofile, files).step("limit open files")?;
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    Ok(())
}

/// Lets a process of the guard's have more files open, and on their way to others, than any program
/// may: the kernel counts what is on its way for all of a user's.
pub(super) fn open_more_files() {
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    // Where that is refused, fewer are.
    let _ = setrlimit(Resource::Nofile, files);
}

/// Half of what a process of the guard's may have is the most that a program can give itself.
pub(super) fn open_fewer_files() -> Result<(), rustix::io::Errno> {
    let mut files = getrlimit(Resource::Nofile);
    files.maximum = files
        .maximum
        .map(|hard| (hard / 2).max(OPEN_FILES.min(hard)));
    setrlimit(Resource::Nofile, files)
}

fn check(result: libc::c_int) -> Result<(), rustix::io::Errno> {
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}
