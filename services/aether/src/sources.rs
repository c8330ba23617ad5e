//! Sources of immutable packages on their way into the store.
//!
//! A registry's package travels as the `.crate` that the lock file's checksum verifies; a
//! package of a git repository or a vendored directory as a tar of its tree. Only executions
//! need them there; a hit does not.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vx_core::error::ServiceError;
use vx_core::{Digest, PackageFormat, Store};

use crate::blobs;

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
        "could not read the sources of a package at {path}: {source}\n\
         run `cargo fetch` in the workspace, then build again"
    )]
    Read {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The archive is not what the lock file says.
    #[error(
        "{path} does not have the checksum that Cargo.lock names\n\
         expected {expected}, found {found}\n\
         remove the file and run `cargo fetch`"
    )]
    Checksum {
        /// The archive.
        path: PathBuf,
        /// By the lock file.
        expected: String,
        /// Of the file.
        found: String,
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
    /// When the sources can't be read, are not what the lock file says, or the store fails.
    pub(crate) async fn ensure(
        &self,
        store: &dyn Store,
        source: &Source,
    ) -> Result<Digest, SourceError> {
        let identity = source.identity();
        if let Some(digest) = self.known(&identity)
            && store.missing(vec![digest]).await?.is_empty()
        {
            return Ok(digest);
        }
        let packed = source.clone();
        let content = tokio::task::spawn_blocking(move || pack(&packed))
            .await
            .map_err(|error| SourceError::Store(ServiceError::failed(error)))??;
        let blob = blobs::write(store, content).await?;
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

fn pack(source: &Source) -> Result<Bytes, SourceError> {
    match source {
        Source::Archive { path, checksum } => {
            let content = std::fs::read(path).map_err(|source| SourceError::Read {
                path: path.clone(),
                source,
            })?;
            let found = hex(&Sha256::digest(&content));
            if found == *checksum {
                Ok(content.into())
            } else {
                Err(SourceError::Checksum {
                    path: path.clone(),
                    expected: checksum.clone(),
                    found,
                })
            }
        }
        Source::Tree { path, .. } => pack_tree(path).map_err(|source| SourceError::Read {
            path: path.clone(),
            source,
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A tar of a directory: sorted, without times, owners or what git keeps for itself.
fn pack_tree(root: &Path) -> io::Result<Bytes> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.mode(tar::HeaderMode::Deterministic);
    builder.follow_symlinks(false);
    let mut pending = vec![PathBuf::new()];
    let mut paths = Vec::new();
    while let Some(relative) = pending.pop() {
        for entry in std::fs::read_dir(root.join(&relative))? {
            let entry = entry?;
            let path = relative.join(entry.file_name());
            let kind = entry.file_type()?;
            if kind.is_dir() {
                if entry.file_name() != ".git" {
                    pending.push(path);
                }
            } else if kind.is_file() || kind.is_symlink() {
                paths.push(path);
            }
        }
    }
    paths.sort();
    for path in paths {
        builder.append_path_with_name(root.join(&path), &path)?;
    }
    builder.into_inner().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_packs_the_same_whenever_it_was_written() {
        let one = tempfile::tempdir().unwrap();
        let two = tempfile::tempdir().unwrap();
        for root in [one.path(), two.path()] {
            std::fs::create_dir(root.join("src")).unwrap();
            std::fs::write(root.join("src/lib.rs"), "x").unwrap();
            std::fs::write(root.join("Cargo.toml"), "y").unwrap();
        }
        assert_eq!(
            pack_tree(one.path()).unwrap(),
            pack_tree(two.path()).unwrap()
        );
    }

    #[test]
    fn an_archive_of_another_checksum_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.crate");
        std::fs::write(&path, "x").unwrap();
        let source = Source::Archive {
            path,
            checksum: "0".repeat(64),
        };
        assert!(matches!(pack(&source), Err(SourceError::Checksum { .. })));
    }
}
