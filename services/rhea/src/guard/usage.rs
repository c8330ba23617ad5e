//! What an action uses: memory of its processes, what it keeps in memory, what it wrote.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::Pid;

use super::spec::{Bounds, Report};
use crate::meter::gib;

/// How far free space may fall before directories are measured again, in bytes: a walk over
/// thousands of files is nothing to do each second for nothing.
const WORTH_A_WALK: u64 = 64 * 1024 * 1024;

/// The same for files that can still be made, however small.
const WORTH_A_COUNT: u64 = 100_000;

/// How deep directories may be: a path of a tree can't name what lies deeper.
const DEEPEST: usize = 256;

/// The most files an action may have in its output directories: what a tree can hold.
const MOST_ENTRIES: usize = vx_core::tree::MAX_ENTRIES;

/// Measures an action.
pub(super) struct Usage {
    bounds: Bounds,
    /// The action's processes.
    processes: fn() -> Vec<Pid>,
    /// Where what it keeps in memory lies, if it has memory file systems of its own.
    storage: Option<&'static str>,
    /// Directories that are collected.
    collected: Vec<String>,
    free: Free,
    disk: u64,
}

/// What is left of the disks that output directories are on.
#[derive(Clone, Copy, Debug, Default)]
struct Free {
    bytes: u64,
    files: u64,
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
        self.walk()?;
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
        let processes = (self.processes)();
        let own: u64 = processes.iter().map(|pid| memory_of(*pid)).sum();
        let nameless = self.nameless(&processes, |on_disk| !on_disk);
        let Some(storage) = self.storage else {
            return own + nameless;
        };
        let stored = rustix::fs::statvfs(storage).map_or(0, |found| {
            (found.f_blocks - found.f_bfree.min(found.f_blocks)).saturating_mul(found.f_frsize)
        });
        own + nameless + stored + shared_segments()
    }

    /// Files without a name that processes hold: on the disks of the directories that are collected,
    /// or in memory. Each counts once, in bytes.
    fn nameless(&self, processes: &[Pid], which: impl Fn(bool) -> bool) -> u64 {
        let device = |path: &str| fs::metadata(path).ok().map(|found| found.dev());
        let disks: Vec<u64> = self
            .collected
            .iter()
            .filter_map(|path| device(path))
            .collect();
        let storage = self.storage.and_then(device);
        let mut found = BTreeMap::new();
        for pid in processes {
            nameless_files(*pid, &mut found);
        }
        let sizes = found.iter().filter(|((device, _), _)| {
            // What lies in the storage is counted with it.
            Some(*device) != storage && which(disks.contains(device))
        });
        sizes.map(|(_, size)| size).sum()
    }

    /// Measures directories where the disk they are on has lost space.
    fn walk(&mut self) -> Result<(), String> {
        let free = free_of(&self.collected);
        let fell = free.bytes.saturating_add(WORTH_A_WALK) <= self.free.bytes
            || free.files.saturating_add(WORTH_A_COUNT) <= self.free.files;
        if !fell {
            self.free.bytes = self.free.bytes.max(free.bytes);
            self.free.files = self.free.files.max(free.files);
            return Ok(());
        }
        self.free = free;
        let mut room = MOST_ENTRIES;
        let sizes = self.collected.iter();
        self.disk = 0;
        for path in sizes {
            self.disk += size_below(Path::new(path), DEEPEST, &mut room).ok_or_else(|| {
                format!("its output directories are nested more than {DEEPEST} deep")
            })?;
        }
        self.disk += self.nameless(&(self.processes)(), |on_disk| on_disk);
        if room == 0 {
            return Err(format!(
                "its output directories hold more than {MOST_ENTRIES} files"
            ));
        }
        Ok(())
    }
}

/// What is free on the disks of these directories together.
fn free_of(directories: &[String]) -> Free {
    let mut disks: Vec<(u64, Free)> = directories
        .iter()
        .filter_map(|path| rustix::fs::statvfs(path.as_str()).ok())
        .map(|found| {
            let bytes = found.f_bfree.saturating_mul(found.f_frsize);
            let files = found.f_ffree;
            (found.f_fsid, Free { bytes, files })
        })
        .collect();
    disks.sort_unstable_by_key(|(disk, _)| *disk);
    disks.dedup_by_key(|(disk, _)| *disk);
    Free {
        bytes: disks.iter().map(|(_, free)| free.bytes).sum(),
        files: disks.iter().map(|(_, free)| free.files).sum(),
    }
}

/// What a process has in memory of its own, in bytes; pages of files are the kernel's to take. Of
/// memory shared with others it has its part.
fn memory_of(pid: Pid) -> u64 {
    let own = kilobytes(pid, "status", &["RssAnon:", "VmSwap:", "VmPTE:"]);
    let shared = match kilobytes(pid, "status", &["RssShmem:"]) {
        0 => 0,
        _ => kilobytes(pid, "smaps_rollup", &["Pss_Shmem:"]),
    };
    (own + shared) * 1024
}

fn kilobytes(pid: Pid, file: &str, names: &[&str]) -> u64 {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    let text = fs::read_to_string(path).unwrap_or_default();
    let value = |line: &str| {
        let value = names.iter().find_map(|name| line.strip_prefix(name))?;
        value.trim().split(' ').next()?.parse::<u64>().ok()
    };
    text.lines().filter_map(value).sum()
}

/// Files that a process holds and that have no name any more: by inode, in bytes.
fn nameless_files(pid: Pid, found: &mut BTreeMap<(u64, u64), u64>) {
    let directory = format!("/proc/{}/fd", pid.as_raw_nonzero());
    let Ok(descriptors) = fs::read_dir(directory) else {
        return;
    };
    for descriptor in descriptors.flatten() {
        let path = descriptor.path();
        let gone = fs::read_link(&path)
            .is_ok_and(|target| target.to_string_lossy().ends_with(" (deleted)"));
        if gone
            && let Ok(file) = fs::metadata(&path)
            && file.is_file()
            && file.nlink() == 0
        {
            found.insert((file.dev(), file.ino()), file.blocks() * 512);
        }
    }
}

/// Shared memory segments of the IPC namespace, in bytes (`/proc/sysvipc/shm`, proc_sysvipc(5)).
fn shared_segments() -> u64 {
    let text = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    let mut lines = text.lines();
    let columns = lines.next().unwrap_or_default().split_whitespace();
    let Some(resident) = columns.into_iter().position(|name| name == "rss") else {
        return 0;
    };
    let size = |line: &str| line.split_whitespace().nth(resident)?.parse::<u64>().ok();
    lines.filter_map(size).sum()
}

/// What lies below a directory, in bytes; `None` where that is too deep.
fn size_below(directory: &Path, deepest: usize, room: &mut usize) -> Option<u64> {
    let Ok(entries) = fs::read_dir(directory) else {
        return Some(0);
    };
    let deeper = deepest.checked_sub(1)?;
    let mut size = 0;
    for entry in entries.flatten() {
        if *room == 0 {
            break;
        }
        *room -= 1;
        let Ok(found) = entry.metadata() else {
            continue;
        };
        size += found.blocks() * 512;
        if found.is_dir() {
            size += size_below(&entry.path(), deeper, room)?;
        }
    }
    Some(size)
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
        let size = size_below(directory.path(), 4, &mut room).unwrap();
        assert!((100_000..200_000).contains(&size), "{size}");
    }
}
