//! A package's sources on their way from this host into a store.
//!
//! A registry's archive is checked against the lock file's checksum and taken as it is; a
//! directory is packed. Nobody else carries these bytes: the orchestrator only names them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use vx_core::{Ingested, PackageSource, ServiceError, ServiceResult, Store};

use crate::fault::Stop;
use crate::ingest::Intake;
use crate::marker::Markers;

/// The largest package taken, in bytes: it is held in memory while it is packed and checked.
const MAX_PACKAGE: u64 = 1024 * 1024 * 1024;

/// Puts a package's sources into `store`.
pub(crate) async fn ingest(
    source: PackageSource,
    store: Arc<dyn Store>,
) -> ServiceResult<Ingested> {
    let packing = tokio::task::spawn_blocking(move || pack(&source));
    let content = match packing.await.map_err(ServiceError::failed)? {
        Ok(content) => content,
        Err(refused) => return Ok(refused),
    };
    let intake = Intake {
        store,
        markers: Markers::new(&[]),
    };
    match intake.bytes(content).await {
        Ok(stored) => Ok(Ingested::Stored(stored.blob)),
        Err(Stop::Service(error)) => Err(error),
        Err(stop) => Err(ServiceError::failed(stop)),
    }
}

fn pack(source: &PackageSource) -> Result<Bytes, Ingested> {
    let unreadable =
        |path: &str, error: io::Error| Ingested::Unreadable(format!("{path}: {error}"));
    match source {
        PackageSource::Archive { path, sha256 } => {
            let content = read(Path::new(path)).map_err(|error| unreadable(path, error))?;
            let found = hex(&Sha256::digest(&content));
            if found == *sha256 {
                Ok(content.into())
            } else {
                Err(Ingested::Mismatch(found))
            }
        }
        PackageSource::Tree { path } => {
            pack_tree(Path::new(path)).map_err(|error| unreadable(path, error))
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    fits(metadata.len())?;
    std::fs::read(path)
}

fn fits(size: u64) -> io::Result<()> {
    if size > MAX_PACKAGE {
        return Err(io::Error::other(format!(
            "{size} bytes are over the limit of {MAX_PACKAGE} for one package"
        )));
    }
    Ok(())
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
    let mut size = 0;
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
                size += entry.metadata()?.len();
                fits(size)?;
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
        std::fs::create_dir(two.path().join(".git")).unwrap();
        std::fs::write(two.path().join(".git/HEAD"), "z").unwrap();
        assert_eq!(
            pack_tree(one.path()).unwrap(),
            pack_tree(two.path()).unwrap()
        );
    }

    #[test]
    fn an_archive_must_have_its_checksum() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.crate");
        std::fs::write(&path, "x").unwrap();
        let right = hex(&Sha256::digest(b"x"));
        let archive = |sha256: &str| PackageSource::Archive {
            path: path.to_string_lossy().into_owned(),
            sha256: sha256.to_owned(),
        };
        assert_eq!(pack(&archive(&right)), Ok(Bytes::from_static(b"x")));
        assert_eq!(pack(&archive("00")), Err(Ingested::Mismatch(right)));
    }
}
