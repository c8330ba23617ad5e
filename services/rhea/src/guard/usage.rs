//! What an action uses: memory of its processes, what it keeps in memory, what it wrote.

use std::fs;
use std::path::Path;

use rustix::process::Pid;

use super::spec::{Bounds, Report};

/// How far free space may fall before directories are measured again, in bytes: a walk over
/// thousands of files is nothing to do each second for nothing.
const WORTH_A_WALK: u64 = 64 * 1024 * 1024;

/// How deep and how far directories are walked; an action that makes more is bounded when they are
/// collected.
const DEEPEST: usize = 64;
const MOST_ENTRIES: usize = 200_000;

/// Measures an action.
pub(super) struct Usage {
    bounds: Bounds,
    /// The action's processes.
    processes: fn() -> Vec<Pid>,
    /// Where what it keeps in memory lies, if it has memory file systems of its own.
    storage: Option<&'static str>,
    /// Directories that are collected.
    collected: Vec<String>,
    free: u64,
    disk: u64,
}

impl Usage {
    pub(super) fn new(
        bounds: Bounds,
        processes: fn() -> Vec<Pid>,
        storage: Option<&'static str>,
        collected: Vec<String>,
    ) -> Self {
        let free = free_of(&collected);
        Self {
            bounds,
            processes,
            storage,
            collected,
            free,
            disk: 0,
        }
    }

    /// What is used now; `Err` says of what there is too much.
    pub(super) fn measure(&mut self) -> Result<Report, String> {
        let memory = self.memory();
        if memory > self.bounds.memory {
            return Err(format!(
                "its processes and what it wrote to memory file systems (/tmp, /dev/shm, the \
                 checkout's layer) together use {}, and it may use {} (VX_RHEA_MEMORY sets that)",
                gib(memory),
                gib(self.bounds.memory)
            ));
        }
        self.walk();
        if self.disk > self.bounds.disk {
            return Err(format!(
                "it wrote {} into its output directories, and may write {} (VX_RHEA_DISK sets \
                 that)",
                gib(self.disk),
                gib(self.bounds.disk)
            ));
        }
        Ok(Report::Alive {
            memory,
            disk: self.disk,
        })
    }

    fn memory(&self) -> u64 {
        let processes: u64 = (self.processes)().into_iter().map(memory_of).sum();
        let stored = self.storage.and_then(|path| rustix::fs::statvfs(path).ok());
        let stored = stored.map_or(0, |found| {
            (found.f_blocks - found.f_bfree.min(found.f_blocks)).saturating_mul(found.f_frsize)
        });
        processes + stored
    }

    /// Measures directories where the disk they are on has lost space.
    fn walk(&mut self) {
        let free = free_of(&self.collected);
        if free.saturating_add(WORTH_A_WALK) > self.free {
            self.free = self.free.max(free);
            return;
        }
        self.free = free;
        let mut room = MOST_ENTRIES;
        let sizes = self.collected.iter();
        self.disk = sizes
            .map(|path| size_below(Path::new(path), DEEPEST, &mut room))
            .sum();
    }
}

/// What is free on the disks of these directories together, in bytes.
fn free_of(directories: &[String]) -> u64 {
    let mut disks: Vec<(u64, u64)> = directories
        .iter()
        .filter_map(|path| rustix::fs::statvfs(path.as_str()).ok())
        .map(|found| (found.f_fsid, found.f_bfree.saturating_mul(found.f_frsize)))
        .collect();
    disks.sort_unstable();
    disks.dedup_by_key(|(disk, _)| *disk);
    disks.iter().map(|(_, free)| free).sum()
}

/// What a process has in memory of its own, in bytes; pages of files are the kernel's to take.
fn memory_of(pid: Pid) -> u64 {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = fs::read_to_string(path).unwrap_or_default();
    let kilobytes = |line: &str| {
        let value = ["RssAnon:", "VmSwap:"]
            .iter()
            .find_map(|name| line.strip_prefix(name))?;
        value.trim().split(' ').next()?.parse::<u64>().ok()
    };
    status.lines().filter_map(kilobytes).sum::<u64>() * 1024
}

fn size_below(directory: &Path, deepest: usize, room: &mut usize) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    let mut size = 0;
    for entry in entries.flatten() {
        if *room == 0 || deepest == 0 {
            break;
        }
        *room -= 1;
        let Ok(found) = entry.metadata() else {
            continue;
        };
        size += found.blocks() * 512;
        if found.is_dir() {
            size += size_below(&entry.path(), deepest - 1, room);
        }
    }
    size
}

fn gib(bytes: u64) -> String {
    crate::meter::gib(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_and_directories_are_measured() {
        let me = || vec![rustix::process::getpid()];
        let bounds = Bounds {
            memory: 1,
            disk: u64::MAX,
        };
        let over = Usage::new(bounds, me, None, Vec::new()).measure();
        assert!(over.unwrap_err().contains("memory"));
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("a")).unwrap();
        fs::write(directory.path().join("a/b"), vec![1; 100_000]).unwrap();
        let mut room = 10;
        let size = size_below(directory.path(), 4, &mut room);
        assert!((100_000..200_000).contains(&size), "{size}");
    }
}
