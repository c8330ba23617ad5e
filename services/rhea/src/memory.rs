//! How much memory and disk an action may have.

use std::path::Path;

use memchr::memmem;
use vx_core::ActionSpec;

use crate::guard::spec::Bounds;
use crate::layout::is_script;
use crate::meter::gib;

/// What a build script's processes have at least, in bytes, where the machine has it: a C++
/// compiler at work takes about two.
const LEAST: u64 = 4 << 30;

/// The least that an action may leave on the disk by default, in bytes.
const LEAST_DISK: u64 = 1 << 30;

/// The memory that an action may have, in bytes: each of its processes, and all of them together
/// with what it keeps in memory file systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBounds {
    /// Of a compile and what it starts. A link with optimisation across crates can need most of
    /// a machine, and cargo would let it.
    pub of_compiles: u64,
    /// Of a build script and what it starts.
    pub of_scripts: u64,
}

impl MemoryBounds {
    /// The same for all.
    #[must_use]
    pub fn of_all(bytes: u64) -> Self {
        Self {
            of_compiles: bytes,
            of_scripts: bytes,
        }
    }

    /// What a machine with so many bytes of memory can give.
    #[must_use]
    pub fn of_machine(bytes: u64) -> Self {
        Self {
            of_compiles: bytes,
            of_scripts: (bytes / 3).max(LEAST).min(bytes),
        }
    }

    /// What an action may have.
    fn of(&self, action: &ActionSpec) -> u64 {
        if is_script(action) {
            self.of_scripts
        } else {
            self.of_compiles
        }
    }
}

impl Default for MemoryBounds {
    /// What this machine can give.
    fn default() -> Self {
        Self::of_machine(machine())
    }
}

/// The machine's memory, in bytes.
pub(crate) fn machine() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}

/// What each action may use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ActionBounds {
    /// Memory.
    pub(crate) memory: MemoryBounds,
    /// What it leaves on the disk, in bytes.
    pub(crate) disk: u64,
}

impl ActionBounds {
    /// What this action may use.
    pub(crate) fn of(&self, action: &ActionSpec) -> Bounds {
        Bounds {
            memory: self.memory.of(action),
            disk: self.disk,
        }
    }

    /// What a compile may use.
    pub(crate) fn of_compiles(&self) -> Bounds {
        Bounds {
            memory: self.memory.of_compiles,
            disk: self.disk,
        }
    }
}

/// What an action may leave on the disk that holds `directory`: three quarters of what is free
/// there now, in bytes.
pub(crate) fn disk_of(directory: &Path) -> u64 {
    free_on(directory).map_or(LEAST_DISK, |free| (free / 4 * 3).max(LEAST_DISK))
}

/// What is free for ordinary users on the disk that holds `directory`, in bytes.
pub(crate) fn free_on(directory: &Path) -> Option<u64> {
    let found = directory.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(found).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

/// What programs say that were refused memory: Rust's and C++'s allocators, the C library,
/// compilers and Python.
const REFUSED: &[&str] = &[
    "memory allocation of",
    "memory allocation failed",
    "std::bad_alloc",
    "Cannot allocate memory",
    "virtual memory exhausted",
    "out of memory",
    "Out of memory",
    "memory exhausted",
    "MemoryError",
];

/// What to tell beside a failure that may be one for want of memory; `bound` is in bytes.
pub(crate) fn note(stderr: &[u8], bound: u64) -> Option<String> {
    let refused = |text: &&str| memmem::find(stderr, text.as_bytes()).is_some();
    REFUSED.iter().any(refused).then(|| {
        format!(
            "note: each process of this action may have {} of memory; where that is too \
             little, set VX_RHEA_MEMORY (such as 16G), `vx stop`, and build again\n",
            gib(bound)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_get_a_part_of_the_machine_and_enough() {
        let scripts = |gib: u64| MemoryBounds::of_machine(gib << 30).of_scripts >> 30;
        assert_eq!([scripts(2), scripts(8), scripts(24)], [2, 4, 8]);
        assert_eq!(MemoryBounds::of_machine(8 << 30).of_compiles, 8 << 30);
    }

    #[test]
    fn what_was_refused_memory_is_told_the_bound() {
        let said = b"memory allocation of 10737418240 bytes failed\n";
        assert!(note(said, 8 << 30).unwrap().contains("8.0 GiB"));
        assert_eq!(note(b"error: no such file\n", 8 << 30), None);
    }
}
