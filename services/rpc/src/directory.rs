//! The directories of Unix sockets, and paths that are too long for a socket's address.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Why a directory can't hold a socket.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It can't be made or looked at.
    #[error("the directory {path} can't be {what}: {source}")]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Others could replace what is in it.
    #[error(
        "the directory {path} can't be trusted: {reason}; use a directory of your own that nobody else can write to (mode 0700)"
    )]
    Unsafe {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// Makes `path` and its parents with mode 0700, or checks that what is there is this user's
/// and that nobody else can write to it. What exists is never changed.
///
/// # Errors
/// When it can't be made, or is not safe.
pub fn ensure_private(path: &Path) -> Result<(), DirectoryError> {
    let fault = |what, source| DirectoryError::Io {
        path: path.to_owned(),
        what,
        source,
    };
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| fault("made", source))?;
    let meta = std::fs::metadata(path).map_err(|source| fault("looked at", source))?;
    let unsafe_because = |reason| DirectoryError::Unsafe {
        path: path.to_owned(),
        reason,
    };
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return Err(unsafe_because(format!(
            "it belongs to user {}, and you are {me}",
            meta.uid()
        )));
    }
    if meta.mode() & 0o022 != 0 {
        return Err(unsafe_because(format!(
            "its mode is {:04o}",
            meta.mode() & 0o7777
        )));
    }
    Ok(())
}

/// The most bytes of a path in a Unix socket's address, without its final NUL.
const ADDRESS: usize = 107;

/// A path for a socket's address: the one that was asked for, or, where that is too long, one
/// that goes by an open descriptor of the directory.
pub(crate) struct Reachable {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl Reachable {
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        if path.as_os_str().len() <= ADDRESS {
            return Ok(Self {
                path: path.to_owned(),
                _directory: None,
            });
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let directory = rustix::fs::open(
            parent,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let short = Path::new("/proc/self/fd")
            .join(directory.as_raw_fd().to_string())
            .join(name);
        if short.as_os_str().len() > ADDRESS {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket's file name is too long",
            ));
        }
        Ok(Self {
            path: short,
            _directory: Some(directory),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The right to unlink and bind a socket: a lock on a file beside it, which goes with the
/// process that holds it.
pub(crate) struct SocketLock {
    _file: File,
}

impl SocketLock {
    /// Takes the lock; `None` while another process has it.
    pub(crate) fn take(socket: &Path) -> io::Result<Option<Self>> {
        let mut name = socket.as_os_str().to_owned();
        name.push(".lock");
        let file = File::from(rustix::fs::open(
            PathBuf::from(name),
            OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::from_raw_mode(0o600),
        )?);
        match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn directories_are_made_private_and_checked_but_not_changed() {
        let dir = tempfile::tempdir().unwrap();
        let made = dir.path().join("a/b");
        ensure_private(&made).unwrap();
        for path in [&made, &dir.path().join("a")] {
            let mode = std::fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(mode & 0o7777, 0o700);
        }
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o770)).unwrap();
        let error = ensure_private(&made).unwrap_err();
        assert!(matches!(error, DirectoryError::Unsafe { .. }), "{error}");
        let mode = std::fs::metadata(&made).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o770);
        std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o755)).unwrap();
        ensure_private(&made).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(ensure_private(&dir.path().join("file")).is_err());
    }

    #[test]
    fn one_holds_a_sockets_lock() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("s.sock");
        let held = SocketLock::take(&socket).unwrap().unwrap();
        assert!(SocketLock::take(&socket).unwrap().is_none());
        drop(held);
        assert!(SocketLock::take(&socket).unwrap().is_some());
    }
}
