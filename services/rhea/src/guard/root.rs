//! Builds the root an action sees.
//!
//! Everything of the host's is cloned before anything is mounted, so that what is mounted for
//! this root is in no clone, wherever on the host its directories lie.

use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, UnmountFlags, unmount};
use vx_core::{CheckoutMode, CheckoutMount, RelPath, places};

use super::fault::{Fault, Step};
use super::isolated;
use super::mounts::{
    self, Access, attach, attach_here, beneath, clone_directory, filesystem, make_directory,
    shift_ids, tmpfs,
};
use super::spec::{BindAccess, RootSpec};
use crate::host::SystemEntry;

/// Device nodes programs expect.
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom"];

/// Links below `/dev` that programs expect.
const DEVICE_LINKS: &[(&str, &str)] = &[
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
];

/// The few files below `/etc` without which ordinary programs fail: who is who, and that
/// `localhost` is this machine.
const ETC: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/vx/home:/bin/sh\nvx:x:1000:1000:vx:/vx/home:/bin/sh\n\
         nobody:x:65534:65534:nobody:/vx/home:/bin/sh\n",
    ),
    ("etc/group", "root:x:0:\nvx:x:1000:\nnogroup:x:65534:\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files dns\n",
    ),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
];

/// How names of the network are found, for what may use it.
const NETWORK_FILES: &[&str] = &["/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt"];

/// The library that asks the trace for whole paths, in place of each directory on the way. Empty
/// where it could not be built.
const REALPATH: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/realpath.so"));

/// Where it is, and the file that has the C library's loader load it into every program.
const PRELOADED: &str = "vx/realpath.so";
const PRELOAD_LIST: &str = "etc/ld.so.preload";

/// The root itself holds directories and a few short files.
const ROOT_SIZE: &str = "4m";

/// Where what can be written in memory lies while the root is built.
const STORAGE: &str = "vx/storage";

/// What git finds at home where ids could not be shifted: it refuses repositories of another user,
/// and each build of it has its system's settings elsewhere.
const GIT_SETTINGS: (&str, &str) = ("vx/home/.gitconfig", "[safe]\n\tdirectory = *\n");

/// What of the kernel's only matters to who administers a machine.
const MASKED: &[&str] = &[
    "kcore",
    "kmsg",
    "kpagecount",
    "kpageflags",
    "keys",
    "key-users",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
];

/// Builds the root and makes it the calling process's. `memory` is what may be kept in memory
/// file systems, in bytes.
pub(super) fn build(spec: &RootSpec, sources: Option<Sources>, memory: u64) -> Result<(), Fault> {
    isolated::separate_mounts()?;
    let sources = match sources {
        Some(sources) => sources,
        None => Sources::clone_from_host(spec, None)?,
    };
    let root = tmpfs("755", ROOT_SIZE)?;
    attach_here(root.as_fd())?;
    let mut storage = Storage::new(root.as_fd(), memory)?;
    system(root.as_fd(), spec, sources.system)?;
    devices(root.as_fd(), sources.devices)?;
    for (path, text) in ETC {
        write_file(root.as_fd(), path, text)?;
    }
    if sources.unshifted {
        let (path, text) = GIT_SETTINGS;
        write_file(root.as_fd(), path, text)?;
    }
    if spec.watched && !REALPATH.is_empty() {
        write_bytes(root.as_fd(), PRELOADED, REALPATH)?;
        write_file(root.as_fd(), PRELOAD_LIST, &format!("/{PRELOADED}\n"))?;
    }
    if spec.network {
        for path in NETWORK_FILES {
            if let Ok(text) = std::fs::read_to_string(path) {
                write_file(root.as_fd(), relative(path), &text)?;
            }
        }
    }
    make_directory(root.as_fd(), relative(places::HOME))?;
    for (path, name) in [("tmp", "tmp"), ("dev/shm", "shm")] {
        mount_at(root.as_fd(), path, storage.directory(name, 0o1777)?)?;
    }
    mount_at(root.as_fd(), "proc", process_filesystem()?)?;
    mask(root.as_fd())?;
    if let Some(toolchain) = sources.toolchain {
        mount_at(root.as_fd(), relative(places::TOOLCHAIN), toolchain)?;
    }
    if let (Some(checkout), Some(tree)) = (&spec.checkout, sources.checkout) {
        mount_checkout(root.as_fd(), checkout, tree, &mut storage)?;
    }
    for (path, tree) in spec.host_paths.iter().zip(sources.host_paths) {
        mount_as_it_is(root.as_fd(), path, tree)?;
    }
    for (bind, tree) in spec.binds.iter().zip(sources.binds) {
        let tree = match bind.access {
            BindAccess::PrivateLayer => storage.overlay(tree)?,
            BindAccess::ReadOnly | BindAccess::Writable => tree,
        };
        mount_at(root.as_fd(), relative(&bind.at), tree)?;
    }
    enter(root.as_fd())
}

/// Makes the root and what the kernel shows of itself read-only. What an action is confined by is
/// written there before.
pub(super) fn seal() -> Result<(), Fault> {
    mounts::seal("/proc")?;
    mounts::seal("/")
}

/// All that an action can write in memory, as one file system, so that it has one bound.
struct Storage {
    mount: OwnedFd,
    layers: usize,
}

impl Storage {
    fn new(root: BorrowedFd<'_>, bytes: u64) -> Result<Self, Fault> {
        // More than half of the machine would leave too little for who reads it.
        let bytes = bytes.min(crate::memory::machine() / 2);
        let mount = tmpfs("755", &bytes.to_string())?;
        let at = make_directory(root, STORAGE)?;
        attach(mount.as_fd(), at.as_fd(), STORAGE)?;
        Ok(Self { mount, layers: 0 })
    }

    /// A directory of its own, to be mounted.
    fn directory(&self, name: &str, mode: u32) -> Result<OwnedFd, Fault> {
        make_directory(self.mount.as_fd(), name)?;
        rustix::fs::chmodat(
            &self.mount,
            name,
            Mode::from_raw_mode(mode),
            AtFlags::empty(),
        )
        .step(format_args!("set the mode of /{name}"))?;
        clone_directory(self.mount.as_fd(), name, Access::Writable)
    }

    /// A mount that shows `lower` and keeps what is written in memory.
    ///
    /// The layers are named relative to the working directory, so that no character of a path can
    /// be taken for a separator of overlay's options.
    fn overlay(&mut self, lower: OwnedFd) -> Result<OwnedFd, Fault> {
        let own = format!("layer/{}", self.layers);
        self.layers += 1;
        let own = make_directory(self.mount.as_fd(), &own)?;
        let below = make_directory(own.as_fd(), "lower")?;
        make_directory(own.as_fd(), "upper")?;
        make_directory(own.as_fd(), "work")?;
        attach(lower.as_fd(), below.as_fd(), "the checkout below its layer")?;
        rustix::process::fchdir(&own).step("enter the layer's storage")?;
        filesystem(
            "overlay",
            &[
                ("lowerdir", "lower"),
                ("upperdir", "upper"),
                ("workdir", "work"),
                ("userxattr", ""),
            ],
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        )
    }
}

/// Everything taken from the host, cloned.
pub(super) struct Sources {
    system: Vec<Option<OwnedFd>>,
    devices: Vec<OwnedFd>,
    toolchain: Option<OwnedFd>,
    checkout: Option<OwnedFd>,
    host_paths: Vec<OwnedFd>,
    binds: Vec<OwnedFd>,
    /// Whether something of it still belongs to root, though the action is not.
    pub(super) unshifted: bool,
}

impl Sources {
    /// Clones what the root shows of the host, with ids shifted where that is asked for.
    pub(super) fn clone_from_host(
        spec: &RootSpec,
        shift: Option<BorrowedFd<'_>>,
    ) -> Result<Self, Fault> {
        let unshifted = Cell::new(false);
        let clone_tree = |path: &str, access: Access| {
            let tree = mounts::clone_tree(path, access)?;
            if let Some(shift) = shift.filter(|_| access != Access::Device)
                && !shift_ids(tree.as_fd(), shift)
                && !places::HOST.contains(&path)
            {
                // What everybody may read on a host needs no owner.
                unshifted.set(true);
            }
            Ok(tree)
        };
        let system = spec
            .system
            .iter()
            .map(|entry| match entry {
                SystemEntry::Directory(path) => clone_tree(path, Access::ReadOnly).map(Some),
                SystemEntry::Link { .. } => Ok(None),
            })
            .collect::<Result<_, _>>()?;
        let devices = DEVICES
            .iter()
            .map(|name| clone_tree(&format!("/dev/{name}"), Access::Device))
            .collect::<Result<_, _>>()?;
        let binds = spec
            .binds
            .iter()
            .map(|bind| {
                let access = match bind.access {
                    BindAccess::Writable => Access::Writable,
                    BindAccess::ReadOnly | BindAccess::PrivateLayer => Access::ReadOnly,
                };
                clone_tree(&bind.host, access)
            })
            .collect::<Result<_, _>>()?;
        let read_only = |path: &String| clone_tree(path, Access::ReadOnly);
        Ok(Self {
            system,
            devices,
            toolchain: spec.toolchain.as_ref().map(read_only).transpose()?,
            checkout: spec
                .checkout
                .as_ref()
                .map(|checkout| read_only(&checkout.host))
                .transpose()?,
            host_paths: spec
                .host_paths
                .iter()
                .map(read_only)
                .collect::<Result<_, _>>()?,
            binds,
            unshifted: unshifted.get(),
        })
    }
}

fn system(root: BorrowedFd<'_>, spec: &RootSpec, trees: Vec<Option<OwnedFd>>) -> Result<(), Fault> {
    for (entry, tree) in spec.system.iter().zip(trees) {
        match (entry, tree) {
            (SystemEntry::Link { path, target }, _) => link(root, relative(path), target)?,
            (SystemEntry::Directory(path), Some(tree)) => mount_at(root, relative(path), tree)?,
            (SystemEntry::Directory(_), None) => {}
        }
    }
    Ok(())
}

fn devices(root: BorrowedFd<'_>, nodes: Vec<OwnedFd>) -> Result<(), Fault> {
    make_directory(root, "dev")?;
    for (name, node) in DEVICES.iter().zip(nodes) {
        let path = format!("dev/{name}");
        write_file(root, &path, "")?;
        let target = beneath(root, &path).step(format_args!("find /{path}"))?;
        attach(node.as_fd(), target.as_fd(), &path)?;
    }
    for (path, target) in DEVICE_LINKS {
        link(root, path, target)?;
    }
    Ok(())
}

/// Puts nothing in the place of what concerns no action.
fn mask(root: BorrowedFd<'_>) -> Result<(), Fault> {
    for name in MASKED {
        let path = format!("proc/{name}");
        // Kernels differ in what they have.
        let Ok(target) = beneath(root, &path) else {
            continue;
        };
        let nothing = clone_directory(root, "dev/null", Access::Device)?;
        attach(nothing.as_fd(), target.as_fd(), &path)?;
    }
    Ok(())
}

fn process_filesystem() -> Result<OwnedFd, Fault> {
    filesystem(
        "proc",
        &[],
        MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}

fn mount_checkout(
    root: BorrowedFd<'_>,
    checkout: &CheckoutMount,
    tree: OwnedFd,
    storage: &mut Storage,
) -> Result<(), Fault> {
    let target = make_directory(root, relative(&checkout.at))?;
    match checkout.mode {
        CheckoutMode::ReadOnly => {
            attach(tree.as_fd(), target.as_fd(), &checkout.at)?;
            for hidden in &checkout.hidden {
                if let Some(directory) = directory_in(tree.as_fd(), hidden)? {
                    let empty = clone_directory(root, relative(places::HOME), Access::ReadOnly)?;
                    attach(empty.as_fd(), directory.as_fd(), hidden.as_str())?;
                }
            }
        }
        CheckoutMode::PrivateLayer => {
            let overlay = storage
                .overlay(tree)
                .map_err(|fault| fault.within(&layer_refused(&checkout.host)))?;
            attach(overlay.as_fd(), target.as_fd(), &checkout.at)?;
            for (index, hidden) in checkout.hidden.iter().enumerate() {
                if let Some(directory) = directory_in(overlay.as_fd(), hidden)? {
                    let name = format!("hidden/{index}");
                    let own = storage.directory(&name, 0o755)?;
                    attach(own.as_fd(), directory.as_fd(), hidden.as_str())?;
                }
            }
        }
    }
    Ok(())
}

/// What failed when a checkout got no layer, with the usual reason: the kernel overlays no
/// directory that holds mounts this process may not take away.
fn layer_refused(host: &str) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let inside: Vec<&str> = mounts_below(&mounts, host).collect();
    if inside.is_empty() {
        return format!(
            "give {host} a private layer (it may lie on a filesystem that can't be overlaid)"
        );
    }
    format!(
        "give {host} a private layer, which is not possible while something is mounted in it \
         (unmount {})",
        inside.join(", ")
    )
}

/// The mount points below a directory, of the text of a `mountinfo`.
fn mounts_below<'a>(mounts: &'a str, host: &'a str) -> impl Iterator<Item = &'a str> {
    mounts.lines().filter_map(move |line| {
        let point = line.split(' ').nth(4)?;
        let inside = point.strip_prefix(host)?.starts_with('/');
        inside.then_some(point)
    })
}

/// The directory at `path` below `base`; `None` when something else or nothing is there.
fn directory_in(base: BorrowedFd<'_>, path: &RelPath) -> Result<Option<OwnedFd>, Fault> {
    match beneath(base, path.as_str()) {
        Ok(found) => {
            let kind = rustix::fs::fstat(&found).step(format_args!("look at {path}"))?;
            let kind = FileType::from_raw_mode(kind.st_mode);
            Ok((kind == FileType::Directory).then_some(found))
        }
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(error) => Err(error).step(format_args!("look at {path}")),
    }
}

fn enter(root: BorrowedFd<'_>) -> Result<(), Fault> {
    rustix::process::fchdir(root).step("enter the root")?;
    rustix::process::pivot_root(".", ".").step("change the root")?;
    unmount(".", UnmountFlags::DETACH).step("leave the host's root")?;
    rustix::process::chdir("/").step("enter the root")?;
    // What is mounted from there stays.
    unmount(format!("/{STORAGE}"), UnmountFlags::DETACH).step("put the storage out of sight")?;
    rustix::fs::rmdir(format!("/{STORAGE}")).step("put the storage out of sight")
}

fn mount_at(root: BorrowedFd<'_>, path: &str, tree: OwnedFd) -> Result<(), Fault> {
    let target = make_directory(root, path)?;
    attach(tree.as_fd(), target.as_fd(), path)
}

/// Mounts a directory or a file at its own path.
fn mount_as_it_is(root: BorrowedFd<'_>, path: &str, tree: OwnedFd) -> Result<(), Fault> {
    let kind = rustix::fs::fstat(&tree).step(format_args!("look at {path}"))?;
    if FileType::from_raw_mode(kind.st_mode) == FileType::Directory {
        return mount_at(root, relative(path), tree);
    }
    if beneath(root, relative(path)).is_err() {
        write_file(root, relative(path), "")?;
    }
    let target = beneath(root, relative(path)).step(format_args!("find {path}"))?;
    attach(tree.as_fd(), target.as_fd(), path)
}

fn link(root: BorrowedFd<'_>, path: &str, target: &str) -> Result<(), Fault> {
    if let Some((parent, _)) = path.rsplit_once('/') {
        make_directory(root, parent)?;
    }
    rustix::fs::symlinkat(target, root, path).step(format_args!("link /{path}"))
}

fn write_file(root: BorrowedFd<'_>, path: &str, text: &str) -> Result<(), Fault> {
    write_bytes(root, path, text.as_bytes())
}

fn write_bytes(root: BorrowedFd<'_>, path: &str, bytes: &[u8]) -> Result<(), Fault> {
    if let Some((parent, _)) = path.rsplit_once('/') {
        make_directory(root, parent)?;
    }
    let file = rustix::fs::openat(
        root,
        path,
        OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::from_raw_mode(0o644),
    )
    .step(format_args!("make /{path}"))?;
    std::io::Write::write_all(&mut std::fs::File::from(file), bytes)
        .step(format_args!("write /{path}"))
}

/// An absolute path of the root, relative to it.
fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_in_a_checkout_are_named() {
        let mounts = "22 1 0:21 / /home/a/ws/target rw - tmpfs none rw\n\
                      23 1 0:21 / /home/a/ws2 rw - tmpfs none rw\n\
                      24 1 0:21 / /home/a/ws rw - tmpfs none rw\n";
        let found: Vec<_> = mounts_below(mounts, "/home/a/ws").collect();
        assert_eq!(found, ["/home/a/ws/target"]);
    }
}
