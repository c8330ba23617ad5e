//! Final outputs on their way: in a directory beside their places, to be renamed there.
//!
//! The store puts them there where it can; else they are fetched.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use vx_core::error::{ServiceError, ServiceResult};
use vx_core::service::{MAX_BATCH, PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest};
use vx_core::{Digest, RelPath, Store};

use crate::build::layout::{self, cannot_write};
use crate::host::stamps::Stamp;
use crate::host::stat_cache::StatCache;
use crate::session::blobs;

/// One file to be delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    /// What is in it.
    pub(crate) digest: Digest,
    /// Whether it can be executed.
    pub(crate) executable: bool,
}

impl Content {
    /// The mode it is to have.
    pub(crate) fn mode(self, umask: u32) -> u32 {
        let whole = if self.executable { 0o777 } else { 0o666 };
        whole & !umask
    }
}

/// How staging ended.
pub(crate) enum Staged {
    /// Everything is there; so many bytes came through this process.
    Ready {
        /// The bytes.
        fetched: u64,
    },
    /// The store lacks these.
    Missing(Vec<Digest>),
}

/// A directory beside the final outputs, removed with what is left in it.
pub(crate) struct Staging {
    directory: PathBuf,
}

impl Staging {
    /// A directory for one build.
    ///
    /// # Errors
    /// When it can't be made.
    pub(crate) fn new(workspace: &Path, run_id: &str) -> ServiceResult<Self> {
        let make = || -> io::Result<PathBuf> {
            let build = layout::project_directory(workspace)?.join("build");
            fs::create_dir_all(&build)?;
            let directory = build.join(format!(".{run_id}.tmp"));
            match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::create_dir(&directory)?;
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o700))?;
            Ok(directory)
        };
        let directory = make().map_err(|error| cannot_write(workspace, &error))?;
        Ok(Self { directory })
    }

    /// A path in it for something of another kind than staged files.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The directory of a batch: the store places into empty directories only.
    fn batch(&self, number: usize) -> PathBuf {
        self.directory.join(number.to_string())
    }

    fn file(&self, index: usize) -> PathBuf {
        self.batch(index / MAX_BATCH).join(index.to_string())
    }

    /// Brings all files from the store.
    ///
    /// # Errors
    /// When the store or the file system fails.
    pub(crate) async fn bring(
        &self,
        store: &dyn Store,
        files: &[Content],
    ) -> ServiceResult<Staged> {
        let mut fetched = 0;
        let mut missing = Vec::new();
        for (number, batch) in files.chunks(MAX_BATCH).enumerate() {
            let directory = self.batch(number);
            tokio::task::block_in_place(|| fs::create_dir(&directory)).map_err(|error| {
                ServiceError::Failed(format!("{}: {error}", directory.display()))
            })?;
            match self.bring_batch(store, number * MAX_BATCH, batch).await? {
                Staged::Ready { fetched: more } => fetched += more,
                Staged::Missing(more) => missing.extend(more),
            }
        }
        Ok(if missing.is_empty() {
            Staged::Ready { fetched }
        } else {
            Staged::Missing(missing)
        })
    }

    async fn bring_batch(
        &self,
        store: &dyn Store,
        first: usize,
        batch: &[Content],
    ) -> ServiceResult<Staged> {
        let files = batch
            .iter()
            .enumerate()
            .map(|(index, file)| {
                Ok(PlaceFile {
                    path: RelPath::new((first + index).to_string())
                        .map_err(ServiceError::failed)?,
                    digest: file.digest,
                    executable: file.executable,
                    mode: PlaceMode::Independent,
                })
            })
            .collect::<ServiceResult<Vec<_>>>()?;
        let directory = self.batch(first / MAX_BATCH);
        let request = PlaceRequest {
            directory: directory.to_string_lossy().into_owned(),
            files,
        };
        match store.place(request).await? {
            PlaceOutcome::Placed { .. } => return Ok(Staged::Ready { fetched: 0 }),
            PlaceOutcome::Missing(missing) => return Ok(Staged::Missing(missing)),
            PlaceOutcome::Unavailable(why) => tracing::debug!(why, "fetching final outputs"),
        }
        let mut fetched = 0;
        let mut missing = Vec::new();
        for (index, file) in batch.iter().enumerate() {
            let path = self.file(first + index);
            if blobs::read_to_file(store, file.digest, &path).await? {
                fetched += fs::metadata(&path).map_or(0, |metadata| metadata.len());
            } else {
                missing.push(file.digest);
            }
        }
        Ok(if missing.is_empty() {
            Staged::Ready { fetched }
        } else {
            Staged::Missing(missing)
        })
    }

    /// Moves a staged file to its place, where it replaces what is there. Gives its stamp before
    /// that, while nobody else could have it open.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn put(&self, index: usize, mode: u32, to: &Path) -> io::Result<Stamp> {
        let staged = self.file(index);
        fs::set_permissions(&staged, fs::Permissions::from_mode(mode))?;
        // People and scripts look at a program's time to see whether it is new.
        let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
        fs::File::open(&staged)?.set_times(now)?;
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        let stamp = Stamp::of(&fs::symlink_metadata(&staged)?);
        fs::rename(&staged, to)?;
        Ok(stamp)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What is left is removed by the next `vx clean`; it is in nobody's way.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Whether the file that is there is the one that is wanted, and a file of its own.
pub(crate) fn is_in_place(cache: &StatCache, path: &Path, content: Content, umask: u32) -> bool {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return false;
    };
    metadata.is_file()
        && metadata.nlink() == 1
        && metadata.permissions().mode() & 0o777 == content.mode(umask)
        && cache
            .digest(path)
            .is_ok_and(|found| found.digest == content.digest)
}
