//! Locks on files, which go with the process that holds them.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock};

use super::patience;
use crate::error::{CommandError, CommandResult};
use crate::output::Shell;

/// A lock that is held.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until the lock on the file at `path` is this process's, and tells the user what
    /// for where that takes a while.
    pub(super) async fn wait(
        path: &Path,
        shell: &mut Shell,
        what_for: &str,
    ) -> CommandResult<Self> {
        let fault = |error: io::Error| {
            CommandError::engine(format!("the lock {} can't be taken", path.display()))
                .because(error)
                .help("VX_HOME must be on a file system with locks, and yours to write")
        };
        if let Some(lock) = Self::take(path).map_err(fault)? {
            return Ok(lock);
        }
        let own_path = PathBuf::from(path);
        // The kernel wakes this thread; where vx is ended before, it ends with the process.
        let locking = tokio::task::spawn_blocking(move || -> io::Result<Self> {
            let file = open(&own_path)?;
            loop {
                match flock(&file, FlockOperation::LockExclusive) {
                    Err(rustix::io::Errno::INTR) => {}
                    done => return done.map(|()| Self { _file: file }).map_err(Into::into),
                }
            }
        });
        patience::wait(locking, shell, what_for)
            .await
            .map_err(io::Error::other)
            .and_then(|taken| taken)
            .map_err(fault)
    }

    /// Takes the lock unless someone has it.
    fn take(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn open(path: &Path) -> io::Result<File> {
    let file = rustix::fs::open(
        path,
        OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::from_raw_mode(0o600),
    )?;
    Ok(File::from(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Look;
    use crate::output::test_support::Screen;

    #[tokio::test]
    async fn a_held_lock_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let screen = Screen::default();
        let mut shell = screen.shell(Look::default());
        let held = Lock::wait(&path, &mut shell, "nobody").await.unwrap();
        assert!(Lock::take(&path).unwrap().is_none());
        let releasing = async {
            tokio::task::yield_now().await;
            drop(held);
        };
        let (taken, ()) = tokio::join!(Lock::wait(&path, &mut shell, "a friend"), releasing);
        taken.unwrap();
    }
}
