//! Sources of immutable packages on their way into the store.
//!
//! A registry's package travels as the `.crate` that the lock file's checksum verifies; a
//! package of a git repository or a vendored directory as a tar of its tree. Only executions
//! need them there; a hit does not.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use vx_core::error::ServiceError;
use vx_core::readset::{Observed, Read, ReadKind, ReadPlace};
use vx_core::{Digest, Ingested, PackageFormat, PackageSource};

use crate::host::observe::{Places, observe};
use crate::host::stat_cache::{StatCache, coarse_now_ns};
use crate::session::Session;

/// The most packages remembered; past it the memory starts over.
const MAX_KNOWN: usize = 50_000;

/// Where a package's files are on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// A registry's archive and the SHA-256 it must have.
    Archive {
        /// The `.crate`.
        path: PathBuf,
        /// In hex.
        checksum: String,
        /// Where cargo unpacks it.
        unpacked: PathBuf,
    },
    /// A directory, and the digest of what was observed in it.
    Tree {
        /// The directory.
        path: PathBuf,
        /// What names its content.
        observed: Digest,
    },
}

impl Source {
    fn identity(&self) -> String {
        match self {
            Self::Archive { checksum, .. } => format!("sha256:{checksum}"),
            Self::Tree { observed, .. } => format!("tree:{observed}"),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Self::Archive { path, .. } | Self::Tree { path, .. } => path,
        }
    }

    /// The directory in which the package, or the repository it is of, lies unpacked.
    pub(crate) fn unpacked(&self) -> &Path {
        match self {
            Self::Archive { unpacked, .. } => unpacked,
            Self::Tree { path, .. } => path,
        }
    }

    fn on_host(&self) -> PackageSource {
        let path = self.path().to_string_lossy().into_owned();
        match self {
            Self::Archive { checksum, .. } => PackageSource::Archive {
                path,
                sha256: checksum.clone(),
            },
            Self::Tree { .. } => PackageSource::Tree { path },
        }
    }

    /// How it is packed.
    pub(crate) fn format(&self) -> PackageFormat {
        match self {
            Self::Archive { .. } => PackageFormat::Crate,
            Self::Tree { .. } => PackageFormat::Tar,
        }
    }
}

/// Why a package can't be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SourceError {
    /// The file or directory is not there or can't be read.
    #[error(
        "the sources of a package can't be read: {reason}\n\
         run `cargo fetch` in the workspace, then build again"
    )]
    Read {
        /// Where and why.
        reason: String,
    },
    /// It has to be where it really is, and is not there.
    #[error(
        "a package holds its own path, and is not in {}\n\
         run `cargo fetch` in the workspace, then build again", path.display()
    )]
    Unpacked {
        /// Where cargo unpacks it.
        path: PathBuf,
    },
    /// The archive is not what the lock file says.
    #[error(
        "{} does not have the checksum that Cargo.lock names, but {found}\n\
         remove the file and run `cargo fetch`", path.display()
    )]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// Its checksum.
        found: String,
    },
    /// A directory is not what it was when the build began.
    #[error(
        "the package in {} changed while it was built\n\
         build again", path.display()
    )]
    Changed {
        /// The directory.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ServiceError),
}

/// Remembers which blob a package's archive is.
#[derive(Default)]
pub(crate) struct Sources {
    known: Mutex<HashMap<String, Digest>>,
}

impl Sources {
    /// Makes sure that the store has a package's archive, and names it.
    ///
    /// # Errors
    /// When the sources can't be read, are not what the lock file says or what they were when the
    /// build began, or the store fails.
    pub(crate) async fn ensure(
        &self,
        session: &dyn Session,
        source: &Source,
        cache: &StatCache,
        places: &Places,
    ) -> Result<Digest, SourceError> {
        let identity = source.identity();
        if let Some(digest) = self.known(&identity)
            && session.store().missing(vec![digest]).await?.is_empty()
        {
            return Ok(digest);
        }
        let started_ns = coarse_now_ns();
        let blob = match session.ingest(source.on_host()).await? {
            Ingested::Stored(blob) => blob,
            Ingested::Unreadable(reason) => return Err(SourceError::Read { reason }),
            Ingested::Mismatch(found) => {
                return Err(SourceError::Checksum {
                    path: source.path().to_owned(),
                    found,
                });
            }
        };
        // A directory is named by what was observed in it when the build began. It was packed now.
        if let Source::Tree { path, observed } = source {
            let now = tokio::task::block_in_place(|| observed_tree(cache, places, path));
            let (now, newest_ns) = now.map_err(|error| SourceError::Read {
                reason: format!("{}: {error}", path.display()),
            })?;
            if now != *observed || newest_ns >= started_ns {
                return Err(SourceError::Changed { path: path.clone() });
            }
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(identity, blob.digest);
        Ok(blob.digest)
    }

    fn known(&self, identity: &str) -> Option<Digest> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(identity)
            .copied()
    }
}

/// What names a package's directory by its content, and the latest time of anything in there.
///
/// # Errors
/// When it can't be read.
pub(crate) fn observed_tree(
    cache: &StatCache,
    places: &Places,
    path: &Path,
) -> io::Result<(Digest, i128)> {
    let read = Read {
        place: ReadPlace::Host(path.to_string_lossy().into_owned()),
        kind: ReadKind::Tree,
    };
    let observation = observe(cache, places, &read)?;
    let digest = match observation.observed {
        Observed::Tree(digest) => digest,
        other => Digest::of_value("vx odd tree 1", &other),
    };
    Ok((digest, observation.newest_ns))
}
