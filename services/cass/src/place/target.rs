//! The directory that files are placed into: opened through no symbolic link, and nothing
//! outside it is touched.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use vx_core::{PlaceFile, RelPath, ServiceError};

use crate::blobs::set_fixed_mtime;

/// Why a directory isn't placed into.
pub(crate) enum Refusal {
    /// It can't be reached from here; the holder reads in place of it.
    Unavailable(String),
    /// It may not, or makes no sense.
    Error(ServiceError),
}

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        Self::Error(error)
    }
}

/// An open, empty directory of the holder's.
pub(crate) struct Target {
    root: OwnedFd,
    path: String,
    directories: Vec<RelPath>,
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// Opens a directory below `base`, through no symbolic link.
fn open_beneath(base: impl AsFd, path: &RelPath) -> Result<OwnedFd, Errno> {
    let text = if path.is_empty() { "." } else { path.as_str() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&base, text, DIRECTORY, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that do not know the call.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return other,
    }
    let mut open = rustix::fs::openat(&base, ".", DIRECTORY, Mode::empty())?;
    for part in text.split('/') {
        open = rustix::fs::openat(&open, part, DIRECTORY, Mode::empty())?;
    }
    Ok(open)
}

impl Target {
    /// Opens `path`, which must be an empty directory of `user`'s, and not the store's own.
    pub(crate) fn open(path: &str, user: u32, store: &str) -> Result<Self, Refusal> {
        let refuse = |why: &str| ServiceError::Invalid(format!("can't place into {path:?}: {why}"));
        let deny = |why: &str| ServiceError::Denied(format!("to place into {path:?}: {why}"));
        let below_root = path
            .strip_prefix('/')
            .map(|rest| rest.trim_end_matches('/'))
            .and_then(|rest| RelPath::new(rest).ok())
            .filter(|rest| !rest.is_empty())
            .ok_or_else(|| refuse("it is not a plain absolute path"))?;
        let own = store
            .strip_prefix('/')
            .and_then(|rest| RelPath::new(rest).ok());
        if own.is_some_and(|own| below_root.starts_with(&own)) {
            return Err(deny("it lies in the store").into());
        }
        let base = rustix::fs::open("/", DIRECTORY, Mode::empty())
            .map_err(|error| refuse(&error.to_string()))?;
        let root = open_beneath(&base, &below_root).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => Refusal::Unavailable(format!(
                "{path:?} is reached through a symbolic link, or is not a directory; files are \
                 placed where no link leads"
            )),
            Errno::NOENT | Errno::ACCESS => Refusal::Unavailable(format!(
                "the store can't reach {path:?} ({error}); it may lie in another mount namespace"
            )),
            other => Refusal::Error(refuse(&other.to_string())),
        })?;
        let stat = rustix::fs::fstat(&root).map_err(|error| refuse(&error.to_string()))?;
        if stat.st_uid != user {
            return Err(deny("it does not belong to its holder").into());
        }
        let target = Self {
            root,
            path: path.to_owned(),
            directories: Vec::new(),
        };
        if !target
            .is_empty()
            .map_err(|error| refuse(&error.to_string()))?
        {
            return Err(refuse("it is not empty").into());
        }
        Ok(target)
    }

    fn is_empty(&self) -> Result<bool, Errno> {
        for entry in rustix::fs::Dir::read_from(&self.root)? {
            if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes every directory that the files lie in.
    pub(crate) fn make_directories(&mut self, files: &[PlaceFile]) -> Result<(), ServiceError> {
        let mut wanted = BTreeSet::new();
        for file in files {
            let mut parent = file.path.parent();
            while let Some(path) = parent.filter(|path| !path.is_empty()) {
                parent = path.parent();
                if !wanted.insert(path) {
                    break;
                }
            }
        }
        for path in wanted {
            self.make_directory(&path).map_err(|error| {
                ServiceError::Failed(format!("can't make {path} in {:?}: {error}", self.path))
            })?;
            self.directories.push(path);
        }
        Ok(())
    }

    fn make_directory(&self, path: &RelPath) -> Result<(), Errno> {
        let (parent, name) = split(path);
        let parent = self.directory(&parent)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
        // The mode creation mask of the store's process is none of the holder's.
        let made = rustix::fs::openat(&parent, name, DIRECTORY, Mode::empty())?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))
    }

    /// A directory of this one's, by its path.
    pub(crate) fn directory(&self, path: &RelPath) -> Result<OwnedFd, Errno> {
        open_beneath(&self.root, path)
    }

    /// Gives the directories that were made the one modification time.
    pub(crate) fn finish(&self) -> Result<(), Errno> {
        for path in self.directories.iter().rev() {
            set_fixed_mtime(self.directory(path)?)?;
        }
        Ok(())
    }

    /// Removes files and the directories that were made: nothing usable is left.
    pub(crate) fn clear<'a>(&self, files: impl Iterator<Item = &'a RelPath>) {
        let remove = |path: &RelPath, flags: AtFlags| {
            let (parent, name) = split(path);
            let removed = self
                .directory(&parent)
                .and_then(|parent| rustix::fs::unlinkat(parent, name, flags));
            if let Err(error) = removed
                && error != Errno::NOENT
            {
                tracing::warn!(%path, target = self.path, %error, "a placed file can't be removed");
            }
        };
        for path in files {
            remove(path, AtFlags::empty());
        }
        for path in self.directories.iter().rev() {
            remove(path, AtFlags::REMOVEDIR);
        }
    }
}

/// A path's parent and its last component.
pub(crate) fn split(path: &RelPath) -> (RelPath, &str) {
    (
        path.parent().unwrap_or_default(),
        path.file_name().unwrap_or_default(),
    )
}
