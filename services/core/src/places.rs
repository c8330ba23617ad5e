//! The fixed places of an isolation root.
//!
//! Every action sees the same paths whoever runs it and wherever the checkout lies, so
//! nothing an action can print depends on the host's layout. Command lines in a plan use
//! these paths literally; the executor mounts the host's directories under them.

/// Everything vx mounts lies below this directory.
pub const ROOT: &str = "/vx";

/// The toolchain's sysroot: `bin/rustc`, `lib/`, …; read-only.
pub const TOOLCHAIN: &str = "/vx/toolchain";

/// The checkout: the git top level, or the common ancestor of the workspace and its path
/// packages.
///
/// Longer than what a compiler puts into instructions: a program that holds it has to hold it as
/// text, where it is found.
pub const CHECKOUT: &str = "/vx/the-checkout-at-its-fixed-place";

/// What is looked for in outputs that may hold [`CHECKOUT`]: as much as a compiler puts into one
/// vector, for what is compared with it piece by piece.
pub const CHECKOUT_MARK: &str = "/vx/the-checkout";

/// Unpacked packages of registries, git repositories and directory sources, each at
/// `<PACKAGES>/<16 hex digits of its source>/<name>-<version>`; read-only.
pub const PACKAGES: &str = "/vx/registry";

/// What cargo calls the target directory. Artifacts of dependencies and `OUT_DIR`s lie below
/// it at the depth at which cargo has them.
pub const TARGET: &str = "/vx/target";

/// Where a compile writes its artifacts (`--out-dir`).
pub const OUT: &str = "/vx/out";

/// An empty directory that stands in for the home directory.
pub const HOME: &str = "/vx/home";

/// All that vx has below [`ROOT`].
pub const OWN: &[&str] = &[TOOLCHAIN, CHECKOUT, PACKAGES, TARGET, OUT, HOME];

/// `PATH` inside an isolation root.
pub const PATH: &str = "/vx/toolchain/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// The directory that stands for [`ROOT`] where a kernel refuses isolation roots: one of a
/// checkout's own below `directory`, always the same, because files that actions leave may name
/// it.
#[must_use]
pub fn base(directory: &str, checkout: &str) -> String {
    format!(
        "{directory}/{}",
        crate::Digest::of(checkout.as_bytes()).short()
    )
}

/// Where an action that has a checkout at its fixed place looks when it means the checkout where that
/// really is: there, or, where it goes up out of the checkout and in again by its name, somewhere
/// below the fixed place's own parents. The first is the real place; all are directories.
///
/// What vx or the host has there for everybody is left out: looks there mean that.
#[must_use]
pub fn ways_back(checkout: &str) -> Vec<String> {
    let mut starts: Vec<usize> = checkout.match_indices('/').map(|(at, _)| at).collect();
    // Up once leads to the parent of the fixed place, up twice and more often to the root.
    let up_once = starts
        .pop()
        .map(|name| format!("{ROOT}{}", &checkout[name..]));
    let up_more = starts
        .into_iter()
        .skip(1)
        .map(|at| checkout[at..].to_owned());
    let is_usual = |way: &str| {
        let mut usual = OWN.iter().chain(HOST).chain(KERNEL);
        usual.any(|usual| below(way, usual).is_some())
    };
    let up = up_once
        .into_iter()
        .chain(up_more)
        .filter(|way| !is_usual(way));
    std::iter::once(checkout.to_owned()).chain(up).collect()
}

/// What of `path` lies below `base`, without a leading slash; empty where they are the same.
pub fn below<'a>(path: &'a str, base: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() {
        return Some(rest);
    }
    rest.strip_prefix('/')
}

/// Where a host's kernel shows itself as files, and devices: nobody's input.
pub const KERNEL: &[&str] = &["/proc", "/sys", "/dev"];

/// Where files of anybody's lie in memory, among devices.
pub const SHARED_MEMORY: &str = "/dev/shm";

/// Whether a path is one of the kernel's, at which nobody has files.
#[must_use]
pub fn is_of_kernel(path: &str) -> bool {
    let mut kernel = KERNEL.iter();
    kernel.any(|kernel| below(path, kernel).is_some()) && below(path, SHARED_MEMORY).is_none()
}

/// What of the host every action sees under its own path, read-only, as far as it is there:
/// tools, headers and libraries. `/etc/alternatives` is where Debian's `cc` leads; `/nix/store`
/// holds everything on NixOS.
pub const HOST: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/nix/store",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkout_is_found_again_by_its_parents_names() {
        assert_eq!(
            ways_back("/home/me/src/p"),
            ["/home/me/src/p", "/vx/p", "/me/src/p", "/src/p"]
        );
        assert_eq!(ways_back("/p"), ["/p", "/vx/p"]);
        assert_eq!(ways_back("/dev/shm/p"), ["/dev/shm/p", "/vx/p", "/shm/p"]);
        // What is there for everybody is no checkout.
        assert_eq!(ways_back("/srv/usr/out"), ["/srv/usr/out"]);
    }

    #[test]
    fn files_in_memory_are_not_the_kernels() {
        for path in ["/dev", "/dev/null", "/proc/self/maps", "/sys", "/dev/shmem"] {
            assert!(is_of_kernel(path), "{path}");
        }
        for path in ["/dev/shm", "/dev/shm/p/Cargo.toml", "/device"] {
            assert!(!is_of_kernel(path), "{path}");
        }
    }
}
