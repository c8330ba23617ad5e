//! The store's directory: whose it is, which version made it, and who uses it.
//!
//! ```text
//! DIR/            0700
//!   version       what made it
//!   lock          held by the process that uses it
//!   index.redb    results, records, and what is known of the blobs
//!   blobs/ab/…    content by digest, 0444, all with one modification time
//!   tmp/          files under way; emptied at each start
//!   aside/        what did not match its digest, for people to look at; bounded
//!   secret        made and read by the RPC front
//! ```

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};

/// What this version's directories say they are.
const VERSION: &str = "vx-cass 1\n";

/// The index's name.
pub(crate) const INDEX: &str = "index.redb";

/// Everything a store's directory may hold before its version is written.
const OWN_NAMES: [&str; 8] = [
    "version",
    "version.new",
    "lock",
    INDEX,
    "blobs",
    "tmp",
    "aside",
    "secret",
];

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory can't be made, read or written.
    #[error("the store {} can't be used: {action}: {source}; check its owner and the disk, or choose another directory", directory.display())]
    Io {
        /// The store's directory.
        directory: PathBuf,
        /// What was tried.
        action: String,
        /// What came of it.
        source: io::Error,
    },
    /// Something other than a directory is there.
    #[error("the store {} is not a directory; choose another one", .0.display())]
    NotADirectory(PathBuf),
    /// It belongs to someone else.
    #[error("the store {} belongs to user {owner}, and this is user {user}; choose a directory of your own", directory.display())]
    Owner {
        /// The store's directory.
        directory: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// This process's user id.
        user: u32,
    },
    /// Others may write into it.
    #[error("the store {} can be written by others (mode {mode:04o}); run `chmod go-w` on it, or choose another directory", directory.display())]
    Mode {
        /// The store's directory.
        directory: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It holds things that are not a store's.
    #[error("{} holds other things ({found}) and is not a store; choose an empty directory", directory.display())]
    Foreign {
        /// The directory.
        directory: PathBuf,
        /// The first thing found.
        found: String,
    },
    /// Another version of vx made it.
    #[error("the store {} was made by another version of vx ({found:?}, and this one needs {needed:?}); choose another directory, or remove it to start over", directory.display())]
    Version {
        /// The store's directory.
        directory: PathBuf,
        /// What it says.
        found: String,
        /// What this version writes.
        needed: String,
    },
    /// Another process uses it.
    #[error("the store {} is in use by another vx-cass{}; end that one, or choose another directory", directory.display(), holder_text(.holder))]
    InUse {
        /// The store's directory.
        directory: PathBuf,
        /// The process's id, where it is known.
        holder: Option<u32>,
    },
}

fn holder_text(holder: &Option<u32>) -> String {
    holder.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// A store's directory, held by this process.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) path: PathBuf,
    pub(crate) blobs: OwnedFd,
    pub(crate) tmp: OwnedFd,
    pub(crate) aside: OwnedFd,
    /// Keeps the lock for as long as it is open.
    lock: File,
}

impl Directory {
    /// Makes or checks the directory and takes its lock.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |action: &str| {
            let action = action.to_owned();
            move |source: io::Error| OpenError::Io {
                directory: path.to_owned(),
                action,
                source,
            }
        };
        let path = &std::path::absolute(path).map_err(fail("find it"))?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .or_else(|error| match error.kind() {
                // What is there in its place is told apart below.
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })
            .map_err(fail("make the directory"))?;
        check_owner(path)?;
        let existing = match std::fs::read_to_string(path.join("version")) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(fail("read its version")(error)),
        };
        match existing {
            Some(text) if text == VERSION => {}
            Some(text) => {
                return Err(OpenError::Version {
                    directory: path.clone(),
                    found: text.trim().chars().take(64).collect(),
                    needed: VERSION.trim().to_owned(),
                });
            }
            None => check_empty(path, fail)?,
        }
        let lock = take_lock(path, fail)?;
        for name in ["blobs", "tmp", "aside"] {
            match DirBuilder::new().mode(0o700).create(path.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(fail(&format!("make {name}"))(error));
                }
                _ => {}
            }
        }
        let open = |name: &str| {
            rustix::fs::open(
                path.join(name),
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(|error| fail(&format!("open {name}"))(error.into()))
        };
        let directory = Self {
            path: path.clone(),
            blobs: open("blobs")?,
            tmp: open("tmp")?,
            aside: open("aside")?,
            lock,
        };
        directory.empty_tmp().map_err(fail("empty tmp"))?;
        if !path.join("version").exists() {
            write_version(path).map_err(fail("write its version"))?;
        }
        Ok(directory)
    }

    fn empty_tmp(&self) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.tmp)? {
            let entry = entry?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                rustix::fs::unlinkat(&self.tmp, entry.file_name(), AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Lets another process have the store.
    pub(crate) fn unlock(&self) {
        if let Err(error) = rustix::fs::flock(&self.lock, FlockOperation::Unlock) {
            tracing::warn!(%error, "the store's lock can't be given back before this process ends");
        }
    }
}

fn check_owner(path: &Path) -> Result<(), OpenError> {
    let meta = std::fs::metadata(path).map_err(|source| OpenError::Io {
        directory: path.to_owned(),
        action: "look at it".to_owned(),
        source,
    })?;
    if !meta.is_dir() {
        return Err(OpenError::NotADirectory(path.to_owned()));
    }
    let user = rustix::process::geteuid().as_raw();
    if meta.uid() != user {
        return Err(OpenError::Owner {
            directory: path.to_owned(),
            owner: meta.uid(),
            user,
        });
    }
    let mode = meta.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(OpenError::Mode {
            directory: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// A directory without a version is a new store, or one whose first start was cut short.
fn check_empty<F>(path: &Path, fail: impl Fn(&str) -> F) -> Result<(), OpenError>
where
    F: FnOnce(io::Error) -> OpenError,
{
    let entries = std::fs::read_dir(path).map_err(|error| fail("list it")(error))?;
    for entry in entries {
        let name = entry.map_err(|error| fail("list it")(error))?.file_name();
        if !OWN_NAMES.iter().any(|own| name == *own) {
            return Err(OpenError::Foreign {
                directory: path.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn take_lock<F>(path: &Path, fail: impl Fn(&str) -> F) -> Result<File, OpenError>
where
    F: FnOnce(io::Error) -> OpenError,
{
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path.join("lock"))
        .map_err(|error| fail("open its lock")(error))?;
    match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut text = String::new();
            let read = (&lock).take(32).read_to_string(&mut text);
            return Err(OpenError::InUse {
                directory: path.to_owned(),
                holder: read.ok().and_then(|_| text.trim().parse().ok()),
            });
        }
        Err(error) => return Err(fail("lock it")(error.into())),
    }
    let note = |mut file: &File| -> io::Result<()> {
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())
    };
    // Only a hint for whoever finds the store in use.
    if let Err(error) = note(&lock) {
        tracing::debug!(%error, "the lock does not say who holds it");
    }
    Ok(lock)
}

fn write_version(path: &Path) -> io::Result<()> {
    let fresh = path.join("version.new");
    let mut file = File::create(&fresh)?;
    file.write_all(VERSION.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(fresh, path.join("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_private_and_can_be_had_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/store");
        let held = Directory::open(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let again = Directory::open(&path);
        assert!(
            matches!(&again, Err(OpenError::InUse { holder, .. }) if *holder == Some(std::process::id())),
            "{again:?}"
        );
        drop(held);
        Directory::open(&path).unwrap();
    }

    #[test]
    fn others_directories_versions_and_things_are_refused() {
        let parent = tempfile::tempdir().unwrap();
        let open = |name: &str| Directory::open(&parent.path().join(name)).map(|_| ());

        std::fs::write(parent.path().join("file"), "").unwrap();
        assert!(matches!(open("file"), Err(OpenError::NotADirectory(_))));

        std::fs::create_dir(parent.path().join("full")).unwrap();
        std::fs::write(parent.path().join("full/thesis.tex"), "").unwrap();
        assert!(matches!(open("full"), Err(OpenError::Foreign { .. })));

        let shared = parent.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        std::fs::set_permissions(&shared, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(matches!(open("shared"), Err(OpenError::Mode { .. })));

        open("old").unwrap();
        std::fs::write(parent.path().join("old/version"), "vx-cass 0\n").unwrap();
        assert!(matches!(open("old"), Err(OpenError::Version { .. })));
    }
}
