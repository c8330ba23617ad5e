//! The executor's directory: who holds it, what is left of earlier runs, and a directory per
//! action.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use tokio_util::task::TaskTracker;

use crate::removal::remove;

/// Why an executor's directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Its path can't be named to the store and the kernel.
    #[error("the executor's directory {0:?} must be an absolute path of plain UTF-8")]
    Path(PathBuf),
    /// Others could change what is in it.
    #[error(transparent)]
    Unsafe(#[from] vx_rpc::directory::DirectoryError),
    /// Another executor uses it.
    #[error("the executor's directory {0} is in use by another vx-rhea; give this one its own")]
    Held(PathBuf),
    /// The system refused.
    #[error("can't use the executor's directory {path}: {cause}; give one that can be written")]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
}

/// The executor's directory, held for this process.
pub(crate) struct Directory {
    path: PathBuf,
    next: AtomicU64,
    /// Locked as long as this lives, also across a `kill -9`.
    _lock: File,
}

impl Directory {
    /// Takes the directory, making it if need be, and clears what earlier runs left.
    pub(crate) fn open(path: &Path) -> Result<Self, DirectoryError> {
        if !path.is_absolute() || path.to_str().is_none() {
            return Err(DirectoryError::Path(path.to_owned()));
        }
        let fail = |at: &Path| {
            let path = at.to_owned();
            move |cause| DirectoryError::Io { path, cause }
        };
        vx_rpc::directory::ensure_private(path)?;
        let lock_path = path.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(fail(&lock_path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(DirectoryError::Held(path.to_owned()));
            }
            Err(error) => return Err(fail(&lock_path)(error.into())),
        }
        let directory = Self {
            path: path.to_owned(),
            next: AtomicU64::new(0),
            _lock: lock,
        };
        let actions = directory.actions();
        make_private(&actions).map_err(fail(&actions))?;
        directory.clear_leftovers().map_err(fail(&actions))?;
        let root = directory.mount_point();
        make_private(&root).map_err(fail(&root))?;
        Ok(directory)
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// An empty directory that roots are mounted on while they are built. All actions share it:
    /// each mounts in a namespace of its own.
    pub(crate) fn mount_point(&self) -> PathBuf {
        self.path.join("root")
    }

    /// Where unpacked packages are kept.
    pub(crate) fn packages(&self) -> PathBuf {
        self.path.join("packages")
    }

    /// Where inputs lie for actions that are not isolated.
    pub(crate) fn shelf(&self) -> PathBuf {
        self.path.join("bare")
    }

    fn actions(&self) -> PathBuf {
        self.path.join("actions")
    }

    fn clear_leftovers(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.actions())? {
            let path = entry?.path();
            // What can't go now (a process of the earlier run may still be dying) goes at the
            // next start; names are never used twice.
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "a leftover can't be removed yet");
                self.skip_past(&path);
            }
        }
        Ok(())
    }

    fn skip_past(&self, leftover: &Path) {
        let number = leftover
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.parse::<u64>().ok());
        if let Some(number) = number {
            self.next.fetch_max(number + 1, Ordering::Relaxed);
        }
    }

    /// A new, empty directory for one action.
    pub(crate) fn scratch(&self) -> io::Result<Scratch> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.actions().join(number.to_string());
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch {
            path,
            tasks: TaskTracker::new(),
        })
    }
}

/// One action's directory.
pub(crate) struct Scratch {
    path: PathBuf,
    tasks: TaskTracker,
}

impl Scratch {
    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A new directory in it.
    pub(crate) fn make(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.join(name);
        fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// What writes into it, and must have ended before it is removed.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Removes it with everything in it, once nothing writes there any more.
    pub(crate) async fn remove(self) {
        self.tasks.close();
        self.tasks.wait().await;
        let _ = tokio::task::spawn_blocking(move || self.remove_now()).await;
    }

    fn remove_now(&self) {
        if let Err(error) = remove(&self.path) {
            tracing::warn!(
                path = %self.path.display(), %error,
                "an action's directory can't be removed; the next start tries again"
            );
        }
    }
}

/// Makes a directory for this user alone; one that is there is left as it is.
fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_directory_has_one_holder_and_loses_leftovers() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("rhea");
        let first = Directory::open(&path).unwrap();
        let scratch = first.scratch().unwrap();
        let inner = scratch.make("closed/inner").unwrap();
        fs::set_permissions(inner.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
        assert!(matches!(
            Directory::open(&path),
            Err(DirectoryError::Held(_))
        ));
        drop(first);
        let second = Directory::open(&path).unwrap();
        assert_eq!(fs::read_dir(second.actions()).unwrap().count(), 0);
    }

    #[test]
    fn refuses_a_directory_that_others_can_write_to() {
        let temporary = tempfile::tempdir().unwrap();
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(
            Directory::open(temporary.path()),
            Err(DirectoryError::Unsafe(_))
        ));
    }

    #[test]
    fn refuses_a_relative_path() {
        assert!(matches!(
            Directory::open(Path::new("rhea")),
            Err(DirectoryError::Path(_))
        ));
    }
}
