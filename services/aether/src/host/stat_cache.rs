//! Digests of host files, free for files that did not change.
//!
//! A digest is remembered with the file's stamp (device, inode, size, mode, both times), and only
//! where that stamp will show the next change ([`crate::host::stamps`]). A change time can't be set by a
//! program, so restored modification times do not deceive it; where the file system keeps none of
//! its own ([`crate::host::change_times`]), a remembered digest is not believed. What can't be remembered is hashed
//! again each time.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vx_core::{Digest, Hasher};

use crate::host::change_times::{ChangeTimes, Shown};
pub(crate) use crate::host::stamps::{Stamp, coarse_now_ns, until_after};
use crate::host::stamps::{Witness, shows_the_next_change};

/// The most files remembered; past it the cache starts over, which costs time alone.
const MAX_ENTRIES: usize = 400_000;

/// The persisted layout; another version is ignored.
const VERSION: u32 = 3;

/// Digests by path and stamp; shared by all builds.
#[derive(Default)]
pub(crate) struct StatCache {
    entries: Mutex<HashMap<PathBuf, Known>>,
    /// What devices showed of change times since this process started.
    shown: Shown,
    /// What was found where a stamp could not be believed, the last time.
    unproven: Mutex<HashMap<PathBuf, (Stamp, Digest)>>,
    /// Files that vx wrote itself, as they were then.
    own: Mutex<HashMap<PathBuf, Stamp>>,
    dirty: AtomicBool,
}

/// What is remembered of a file; how far it is believed depends on its file system.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Known {
    stamp: Stamp,
    digest: Digest,
    change_times: ChangeTimes,
}

/// A file's content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Digested {
    /// What is in it.
    pub(crate) digest: Digest,
    /// The stamp it had throughout.
    pub(crate) stamp: Stamp,
    /// The latest moment at which it can have been changed last, in nanoseconds since the epoch.
    pub(crate) newest_ns: i128,
}

#[derive(Serialize, Deserialize)]
struct Persisted {
    version: u32,
    entries: HashMap<PathBuf, Known>,
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
            ..Self::default()
        }
    }

    /// Writes the cache if it changed, whole or not at all.
    pub(crate) fn save(&self, path: &Path) -> io::Result<()> {
        if !self.dirty.swap(false, Ordering::Relaxed) {
            return Ok(());
        }
        let persisted = Persisted {
            version: VERSION,
            entries: lock(&self.entries).clone(),
        };
        let body = postcard::to_stdvec(&persisted).map_err(io::Error::other)?;
        let mut bytes = Digest::of(&body).as_bytes().to_vec();
        bytes.extend(body);
        crate::host::files::write_whole(path, &bytes)
    }

    /// The digest of a regular file's content and the stamp it had throughout.
    ///
    /// Follows links. Never opens anything but regular files, as a FIFO would block.
    pub(crate) fn digest(&self, path: &Path) -> io::Result<Digested> {
        let stamp = regular_stamp(path)?;
        stamp.is_seen_by(&self.shown);
        let known = lock(&self.entries).get(path).copied();
        let known = known.filter(|known| known.stamp == stamp);
        if let Some(known) = known
            && stamp.has_own_change_time(&self.shown, known.change_times)
        {
            return Ok(Digested {
                digest: known.digest,
                stamp,
                newest_ns: stamp.newest_ns(),
            });
        }
        let (digest, stamp, witness) = hash_file(path)?;
        let own = lock(&self.own).get(path) == Some(&stamp);
        let before = lock(&self.unproven).remove(path);
        let before = before.or(known.map(|known| (known.stamp, known.digest)));
        let change_times = witness.change_times;
        let remembers = change_times != ChangeTimes::Borrowed;
        if remembers && shows_the_next_change(&stamp, &witness, own) {
            let known = Known {
                stamp,
                digest,
                change_times,
            };
            put(&self.entries, path, known);
            self.dirty.store(true, Ordering::Relaxed);
        } else {
            put(&self.unproven, path, (stamp, digest));
        }
        // Other content under the same stamp came through a mapping, or its time was put back:
        // nobody knows when.
        let unseen = before.is_some_and(|(same, other)| same == stamp && other != digest);
        let newest_ns = stamp.newest_ns();
        Ok(Digested {
            digest,
            stamp,
            newest_ns: if unseen {
                newest_ns.max(coarse_now_ns())
            } else {
                newest_ns
            },
        })
    }

    /// Notes a file that vx wrote and that looked like `staged` before it was moved to `path`, out
    /// of a place where nobody else had it open: no mapping of it had been written to.
    pub(crate) fn wrote(&self, path: &Path, staged: &Stamp) {
        if let Ok(stamp) = regular_stamp(path)
            && stamp.is_same_but_moved(staged)
        {
            put(&self.own, path, stamp);
        }
    }
}

fn lock<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put<T>(table: &Mutex<HashMap<PathBuf, T>>, path: &Path, value: T) {
    let mut table = lock(table);
    if table.len() >= MAX_ENTRIES {
        table.clear();
    }
    table.insert(path.to_owned(), value);
}

fn unseal(bytes: &[u8]) -> Option<HashMap<PathBuf, Known>> {
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
/// together. Also gives what was known of the file before it was read.
fn hash_file(path: &Path) -> io::Result<(Digest, Stamp, Witness)> {
    const TRIES: usize = 8;
    for _ in 0..TRIES {
        let before = regular_stamp(path)?;
        let mut file = File::open(path)?;
        // What changes from here on gives another stamp, or is waiting to be written back now.
        let mut witness = Witness::of(&file);
        let mut hasher = Hasher::new();
        let mut buffer = vec![0; (before.size() as usize).clamp(4096, 1 << 20)];
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
        let after = Stamp::of(&file.metadata()?);
        if after == before {
            witness.is_seen_in(&file);
            return Ok((hasher.finish().digest, after, witness));
        }
    }
    Err(io::Error::other(
        "the file changes faster than it can be read",
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn same_size_edit_with_restored_time_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let cache = StatCache::default();
        std::fs::write(&path, "one").unwrap();
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let first = cache.digest(&path).unwrap().digest;
        std::fs::write(&path, "two").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        let second = cache.digest(&path).unwrap().digest;
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
        let second = 1_000_000_000;
        assert!(stamp.newest_ns() <= coarse_now_ns() + second);
        assert!(stamp.later_ns() > coarse_now_ns() + second);
        assert_eq!(stamp.newest_ns(), changed_ns(&path));
    }

    /// The latest moment that a file's change time can mean.
    fn changed_ns(path: &Path) -> i128 {
        let found = std::fs::metadata(path).unwrap();
        let (seconds, rest) = (found.ctime(), found.ctime_nsec());
        vx_core::stamp::latest_ns(i128::from(seconds) * 1_000_000_000 + i128::from(rest))
    }

    #[test]
    fn what_is_remembered_waits_for_the_device_to_show_change_times() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "one").unwrap();
        // As if the file system were one that shows the modification time for both.
        let stamp = regular_stamp(&path).unwrap();
        let digest = Digest::of(b"other");
        let cache = |change_times| {
            let cache = StatCache::default();
            let known = Known {
                stamp,
                digest,
                change_times,
            };
            put(&cache.entries, &path, known);
            cache.dirty.store(true, Ordering::Relaxed);
            let file = directory.path().join("cache");
            cache.save(&file).unwrap();
            StatCache::load(&file)
        };
        let fresh = cache(ChangeTimes::Own);
        assert_eq!(fresh.digest(&path).unwrap().digest, digest);
        let fresh = cache(ChangeTimes::IfShown);
        let metadata = std::fs::metadata(&path).unwrap();
        let modified = (metadata.mtime(), metadata.mtime_nsec());
        let equal = modified == (metadata.ctime(), metadata.ctime_nsec());
        let before = coarse_now_ns();
        let found = fresh.digest(&path).unwrap();
        assert_eq!(found.digest == digest, !equal);
        if equal {
            assert!(found.newest_ns >= before, "changed unseen");
        }
        let fresh = cache(ChangeTimes::IfShown);
        // Any other file of the device shows it.
        let other = directory.path().join("g");
        let file = File::create(&other).unwrap();
        file.set_modified(std::time::UNIX_EPOCH).unwrap();
        fresh.digest(&other).unwrap();
        assert_eq!(fresh.digest(&path).unwrap().digest, digest);
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
        assert_eq!(
            lock(&StatCache::load(&path).entries).len(),
            lock(&cache.entries).len()
        );
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(lock(&StatCache::load(&path).entries).len(), 0);
    }
}
