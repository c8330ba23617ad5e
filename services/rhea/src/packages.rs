//! Immutable packages, unpacked once and kept under a size bound.
//!
//! A package lies at `packages/<digest>-<format>-<bytes>/root`; it appears by a rename when it
//! is whole, is mounted read-only, and goes only while no action uses it. Nothing is synced to
//! the disk, so what was unpacked before the machine last started is not trusted.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio_util::task::TaskTracker;
use vx_core::{Digest, PackageFormat, RelPath, ServiceError, Store};

use crate::fault::{Stop, Tried, lost_task};
use crate::fetch::{Sharing, Wanted, bring, digest_file, matches};
use crate::removal::remove;
use crate::unpack::unpack;

/// Names a package: its archive and how that is packed.
pub(crate) type Id = (Digest, PackageFormat);

/// The packages of an executor's directory.
pub(crate) struct Packages {
    directory: PathBuf,
    limit: u64,
    state: Mutex<State>,
    temporary: AtomicU64,
}

#[derive(Default)]
struct State {
    kept: HashMap<Id, Kept>,
    /// One holder at a time unpacks a package; others wait for it.
    unpacking: HashMap<Id, Arc<tokio::sync::Mutex<()>>>,
    bytes: u64,
    clock: u64,
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    last_used: u64,
    users: usize,
}

/// A package that stays while this lives.
pub(crate) struct Lease {
    packages: Arc<Packages>,
    id: Id,
    path: PathBuf,
}

impl Lease {
    /// Its unpacked directory.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.join("root")
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.packages.state();
        if let Some(kept) = state.kept.get_mut(&self.id) {
            kept.users -= 1;
        }
    }
}

impl Packages {
    /// Finds what is kept in `directory`, making it if need be.
    pub(crate) fn open(directory: PathBuf, limit: u64) -> io::Result<Arc<Self>> {
        fs::create_dir_all(&directory)?;
        forget_before_boot(&directory)?;
        let mut found = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            match entry.file_name().to_str().and_then(parse_name) {
                Some((id, bytes)) => {
                    let used = entry
                        .metadata()?
                        .modified()
                        .unwrap_or(SystemTime::UNIX_EPOCH);
                    found.push((used, id, bytes, entry.path()));
                }
                None => remove(&entry.path())?,
            }
        }
        found.sort_by_key(|(used, ..)| *used);
        let mut state = State::default();
        for (_, id, bytes, path) in found {
            state.insert(id, path, bytes, 0);
        }
        Ok(Arc::new(Self {
            directory,
            limit,
            state: Mutex::new(state),
            temporary: AtomicU64::new(0),
        }))
    }

    /// A package, unpacked; fetched from `store` unless it is kept. Also gives the bytes that
    /// were placed.
    pub(crate) async fn get(
        self: &Arc<Self>,
        id: Id,
        store: &Arc<dyn Store>,
    ) -> Result<(Lease, u64), Stop> {
        if let Some(lease) = self.lease(id) {
            return Ok((lease, 0));
        }
        let turn = {
            let mut state = self.state();
            Arc::clone(state.unpacking.entry(id).or_default())
        };
        let turn = turn.lock_owned().await;
        if let Some(lease) = self.lease(id) {
            return Ok((lease, 0));
        }
        // A task of its own: whoever asked may go away, and what is half unpacked must not
        // be left while the next one starts.
        let (packages, store) = (Arc::clone(self), Arc::clone(store));
        let task = tokio::spawn(async move {
            let result = packages.unpack(id, &store).await;
            packages.state().unpacking.remove(&id);
            drop(turn);
            result
        });
        task.await.map_err(|error| lost_task(&error))?
    }

    fn lease(self: &Arc<Self>, id: Id) -> Option<Lease> {
        let mut state = self.state();
        state.clock += 1;
        let clock = state.clock;
        let kept = state.kept.get_mut(&id)?;
        kept.users += 1;
        kept.last_used = clock;
        let path = kept.path.clone();
        drop(state);
        touch(&path);
        Some(Lease {
            packages: Arc::clone(self),
            id,
            path,
        })
    }

    async fn unpack(
        self: &Arc<Self>,
        id: Id,
        store: &Arc<dyn Store>,
    ) -> Result<(Lease, u64), Stop> {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.directory.join(format!("new-{number}"));
        let result = unpack_in(&temporary, id, store).await;
        if result.is_err() {
            let left = temporary.clone();
            let _ = tokio::task::spawn_blocking(move || remove(&left)).await;
        }
        let (bytes, placed) = result?;
        let path = self.directory.join(name_of(id, bytes));
        fs::rename(&temporary, &path).tried_at("keep", &path)?;
        let evicted = {
            let mut state = self.state();
            state.insert(id, path.clone(), bytes, 1);
            self.evict(&mut state)
        };
        tokio::task::spawn_blocking(move || {
            for path in evicted {
                let _ = remove(&path);
            }
        });
        let lease = Lease {
            packages: Arc::clone(self),
            id,
            path,
        };
        Ok((lease, placed))
    }

    /// Takes the least recently used packages that nobody uses out of their places until the
    /// rest is under the limit, and gives where they were moved to.
    fn evict(&self, state: &mut State) -> Vec<PathBuf> {
        let mut moved = Vec::new();
        while state.bytes > self.limit {
            let oldest = state
                .kept
                .iter()
                .filter(|(_, kept)| kept.users == 0)
                .min_by_key(|(_, kept)| kept.last_used)
                .map(|(id, _)| *id);
            let Some(kept) = oldest.and_then(|id| state.kept.remove(&id)) else {
                break;
            };
            state.bytes -= kept.bytes;
            let number = self.temporary.fetch_add(1, Ordering::Relaxed);
            let aside = self.directory.join(format!("old-{number}"));
            if fs::rename(&kept.path, &aside).is_ok() {
                moved.push(aside);
            }
        }
        moved
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change is a few assignments that can't panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches a package and unpacks it into `root` in `temporary`; gives the package's size and the bytes placed.
pub(crate) async fn unpack_in(
    temporary: &Path,
    (digest, format): Id,
    store: &Arc<dyn Store>,
) -> Result<(u64, u64), Stop> {
    let fetched = temporary.join("fetched");
    fs::create_dir_all(&fetched).tried_at("make", &fetched)?;
    let wanted = Wanted {
        path: RelPath::new("archive").map_err(|error| Stop::Unable(error.to_string()))?,
        digest,
        size: None,
        executable: false,
    };
    let placed = bring(
        store,
        &fetched,
        vec![wanted],
        Sharing::Links,
        &TaskTracker::new(),
    )
    .await?;
    let root = temporary.join("root");
    let unpacked = tokio::task::spawn_blocking(move || {
        let archive = fetched.join("archive");
        let found = digest_file(&archive).tried_at("read", &archive)?;
        if !matches(digest, found) {
            return Err(Stop::Missing(vec![digest]));
        }
        fs::create_dir(&root).tried_at("make", &root)?;
        let file = File::open(&archive).tried_at("open", &archive)?;
        let bytes = unpack(file, format, &root).map_err(|error| {
            Stop::Service(ServiceError::Invalid(format!(
                "the package {digest} can't be unpacked: {error}"
            )))
        })?;
        fs::remove_dir_all(&fetched).tried_at("remove", &fetched)?;
        Ok(bytes)
    });
    let bytes = unpacked.await.map_err(|error| lost_task(&error))??;
    Ok((bytes, placed))
}

impl State {
    fn insert(&mut self, id: Id, path: PathBuf, bytes: u64, users: usize) {
        self.clock += 1;
        self.bytes += bytes;
        let kept = Kept {
            path,
            bytes,
            last_used: self.clock,
            users,
        };
        if let Some(other) = self.kept.insert(id, kept) {
            self.bytes -= other.bytes;
        }
    }
}

fn name_of((digest, format): Id, bytes: u64) -> String {
    let format = match format {
        PackageFormat::Crate => "crate",
        PackageFormat::Tar => "tar",
    };
    format!("{digest}-{format}-{bytes}")
}

fn parse_name(name: &str) -> Option<(Id, u64)> {
    let mut parts = name.split('-');
    let digest = parts.next()?.parse().ok()?;
    let format = match parts.next()? {
        "crate" => PackageFormat::Crate,
        "tar" => PackageFormat::Tar,
        _ => return None,
    };
    let bytes = parts.next()?.parse().ok()?;
    Some(((digest, format), bytes))
}

/// Marks a package as used, so that the next start knows.
fn touch(path: &Path) {
    if let Ok(directory) = File::open(path) {
        let _ = directory.set_modified(SystemTime::now());
    }
}

/// Removes everything unpacked before this boot: a power cut may have torn it.
fn forget_before_boot(directory: &Path) -> io::Result<()> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let mark = directory.join("boot");
    if fs::read_to_string(&mark).is_ok_and(|marked| marked == boot) {
        return Ok(());
    }
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove(&entry.path())?;
        }
    }
    fs::write(&mark, boot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &[u8]) -> Id {
        (Digest::of(text), PackageFormat::Tar)
    }

    fn keep(directory: &Path, text: &[u8], bytes: u64) {
        let path = directory.join(name_of(id(text), bytes));
        fs::create_dir_all(path.join("root")).unwrap();
    }

    #[test]
    fn what_is_whole_is_found_again_and_what_is_not_goes() {
        let directory = tempfile::tempdir().unwrap();
        drop(Packages::open(directory.path().to_owned(), 100).unwrap());
        keep(directory.path(), b"a", 10);
        fs::create_dir(directory.path().join("new-0")).unwrap();
        let packages = Packages::open(directory.path().to_owned(), 100).unwrap();
        assert!(packages.lease(id(b"a")).unwrap().path().is_dir());
        assert!(packages.lease(id(b"b")).is_none());
        assert!(!directory.path().join("new-0").exists());
    }

    #[test]
    fn what_an_earlier_boot_left_is_not_trusted() {
        let directory = tempfile::tempdir().unwrap();
        keep(directory.path(), b"a", 10);
        fs::write(directory.path().join("boot"), "another").unwrap();
        let packages = Packages::open(directory.path().to_owned(), 100).unwrap();
        assert!(packages.lease(id(b"a")).is_none());
    }

    #[test]
    fn the_oldest_unused_goes_first() {
        let directory = tempfile::tempdir().unwrap();
        drop(Packages::open(directory.path().to_owned(), 15).unwrap());
        for text in [b"a", b"b", b"c"] {
            keep(directory.path(), text, 10);
        }
        let packages = Packages::open(directory.path().to_owned(), 15).unwrap();
        let _used = packages.lease(id(b"a")).unwrap();
        drop(packages.lease(id(b"b")).unwrap());
        let mut state = packages.state();
        assert_eq!(packages.evict(&mut state).len(), 2);
        drop(state);
        assert!(packages.lease(id(b"a")).is_some());
        assert!(packages.lease(id(b"c")).is_none());
    }
}
