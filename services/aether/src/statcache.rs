//! Digests of host files, free for files that did not change.
//!
//! A digest is remembered with the file's stamp (device, inode, size, both times). It is only
//! remembered when the file's times lie safely in the past: a file written in the same tick
//! as it was read could be written again without its stamp showing it. A change time can't be
//! set by a program, so restored modification times do not deceive it.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::{Deserialize, Serialize};
use vx_core::{Digest, Hasher};

/// How old a file's change must be before its stamp is trusted, in nanoseconds. File systems
/// here stamp with at best a jiffy (10 ms at 100 Hz); some network ones with more.
const SETTLED_NS: i128 = 50_000_000;

/// How far a file's stamp may be ahead of the clock that is read: files are stamped by a finer one.
const AHEAD_NS: i128 = 1_000_000_000;

/// The most files remembered; past it the cache starts over, which costs time alone.
const MAX_ENTRIES: usize = 400_000;

/// The persisted layout; another version is ignored.
const VERSION: u32 = 1;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// The stamp that metadata shows.
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The later of both times as they are, in nanoseconds since the epoch.
    pub(crate) fn later_ns(&self) -> i128 {
        self.modified_ns.max(self.changed_ns)
    }

    /// When the file was changed last, as far as its times tell, in nanoseconds since the epoch.
    ///
    /// A time of modification that is yet to come says nothing of that: an archive brought it.
    pub(crate) fn newest_ns(&self) -> i128 {
        if self.modified_ns > coarse_now_ns() + AHEAD_NS {
            return self.changed_ns;
        }
        self.later_ns()
    }

    /// When the file, or anything about it, was changed last: programs can't set this time.
    pub(crate) fn changed_ns(&self) -> i128 {
        self.changed_ns
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// The time by the clock that file systems stamp with, in nanoseconds since the epoch: never
/// later than the stamp of anything written from now on.
pub(crate) fn coarse_now_ns() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    nanoseconds(time.tv_sec, time.tv_nsec)
}

/// Digests by path and stamp; shared by all builds.
#[derive(Default)]
pub(crate) struct StatCache {
    entries: Mutex<HashMap<PathBuf, (Stamp, Digest)>>,
    dirty: AtomicBool,
}

#[derive(Serialize, Deserialize)]
struct Persisted {
    version: u32,
    entries: HashMap<PathBuf, (Stamp, Digest)>,
}

impl StatCache {
    /// Reads a cache that [`StatCache::save`] wrote; an absent or unreadable one is empty.
    pub(crate) fn load(path: &Path) -> Self {
        let entries = std::fs::read(path)
            .ok()
            .and_then(|bytes| unseal(&bytes))
            .unwrap_or_default();
        Self {
            entries: Mutex::new(entries),
            dirty: AtomicBool::new(false),
        }
    }

    /// Writes the cache if it changed, whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let persisted = Persisted {
            version: VERSION,
            entries: self.lock().clone(),
        };
        let body = postcard::to_stdvec(&persisted).map_err(io::Error::other)?;
        let mut bytes = Digest::of(&body).as_bytes().to_vec();
        bytes.extend(body);
        crate::files::write_whole(path, &bytes)
    }

    /// The digest of a regular file's content and the stamp it had throughout.
    ///
    /// Follows links. Never opens anything but regular files, as a FIFO would block.
    pub(crate) fn digest(&self, path: &Path) -> io::Result<(Digest, Stamp)> {
        let stamp = regular_stamp(path)?;
        if let Some((known, digest)) = self.lock().get(path)
            && *known == stamp
        {
            return Ok((*digest, stamp));
        }
        let (digest, stamp) = hash_file(path)?;
        if coarse_now_ns() - stamp.newest_ns() > SETTLED_NS {
            let mut entries = self.lock();
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            entries.insert(path.to_owned(), (stamp, digest));
            self.dirty.store(true, Ordering::Relaxed);
        }
        Ok((digest, stamp))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<PathBuf, (Stamp, Digest)>> {
        self.entries
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn unseal(bytes: &[u8]) -> Option<HashMap<PathBuf, (Stamp, Digest)>> {
    let (seal, body) = bytes.split_at_checked(Digest::LEN)?;
    if Digest::of(body).as_bytes() != seal {
        return None;
    }
    let persisted: Persisted = postcard::from_bytes(body).ok()?;
    (persisted.version == VERSION).then_some(persisted.entries)
}

fn regular_stamp(path: &Path) -> io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() {
        Ok(Stamp::of(&metadata))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// Hashes until the stamp is the same before and after, so that digest and stamp belong
/// together.
fn hash_file(path: &Path) -> io::Result<(Digest, Stamp)> {
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let before = regular_stamp(path)?;
        let mut file = File::open(path)?;
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; (before.size as usize).clamp(4096, 1 << 20)];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        let after = Stamp::of(&file.metadata()?);
        if after == before {
            return Ok((hasher.finish().digest, after));
        }
    }
    Err(io::Error::other(
        "the file changes faster than it can be read",
    ))
}

/// Waits for the clock that files are stamped with to pass a stamp: only a run that starts
/// after it can tell that the file did not change under it. A stamp far in the future (the
/// clock was set back) is not waited for.
pub(crate) async fn until_after(stamp_ns: i128) {
    const FURTHEST_NS: i128 = 1_000_000_000;
    loop {
        let ahead_ns = stamp_ns - coarse_now_ns();
        if !(0..FURTHEST_NS).contains(&ahead_ns) {
            return;
        }
        // The clock itself is what is waited for; it goes on by a tick at a time.
        let wait = u64::try_from(ahead_ns).unwrap_or(0) + 1_000_000;
        tokio::time::sleep(std::time::Duration::from_nanos(wait)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_size_edit_with_restored_time_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let cache = StatCache::default();
        std::fs::write(&path, "one").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let (first, _) = cache.digest(&path).unwrap();
        std::fs::write(&path, "two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let (second, _) = cache.digest(&path).unwrap();
        assert_ne!(first, second);
        assert_eq!(second, Digest::of(b"two"));
    }

    #[test]
    fn a_time_that_is_yet_to_come_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "one").unwrap();
        let far = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 20);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_modified(far).unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&path).unwrap());
        assert!(stamp.newest_ns() <= coarse_now_ns() + AHEAD_NS);
        assert!(stamp.later_ns() > coarse_now_ns() + AHEAD_NS);
        assert_eq!(stamp.newest_ns(), stamp.changed_ns());
    }

    #[test]
    fn special_files_are_not_opened() {
        let cache = StatCache::default();
        assert!(cache.digest(Path::new("/dev/null")).is_err());
    }

    #[test]
    fn a_torn_file_reads_as_empty() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cache");
        let cache = StatCache::default();
        cache.digest(Path::new("/proc/self/exe")).unwrap();
        cache.dirty.store(true, Ordering::Relaxed);
        cache.save(&path).unwrap();
        assert_eq!(StatCache::load(&path).lock().len(), cache.lock().len());
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(StatCache::load(&path).lock().len(), 0);
    }
}
