//! Final outputs: independent files in the project's `.vx/build/<triple>/<profile>/`.
//!
//! The store puts them into a directory of the project's where it can, and they are renamed
//! into place; else they are fetched. A file that is there and right is left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vx_core::error::{ServiceError, ServiceResult};
use vx_core::service::{PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest};
use vx_core::{Digest, RelPath};
use vx_plan::OutputKind;

use crate::blobs;
use crate::context::BuildContext;
use crate::dependency::Finished;
use crate::report;

/// One file the user gets.
#[derive(Clone, Debug)]
struct Final {
    unit: usize,
    digest: Digest,
    executable: bool,
    path: PathBuf,
}

/// How delivering ended.
pub(crate) enum Delivery {
    /// Everything is there: paths relative to the workspace, and bytes that were fetched.
    Done {
        /// The files.
        outputs: Vec<String>,
        /// Bytes that came through this process.
        fetched: u64,
    },
    /// The store lost what these units made.
    Lost(BTreeSet<usize>),
}

/// The directory of a triple's final outputs.
pub(crate) fn directory(context: &BuildContext, unit: usize) -> PathBuf {
    let plan = &context.plan;
    context
        .workspace
        .join(".vx/build")
        .join(plan.triple(&plan.units[unit]))
        .join(&plan.profile_dir)
}

/// Puts all final outputs in place.
///
/// # Errors
/// When the store or the file system fails.
pub(crate) async fn deliver(
    context: &BuildContext,
    finished: impl Fn(usize) -> Option<Arc<Finished>>,
    umask: u32,
) -> ServiceResult<Delivery> {
    let wanted = wanted(context, finished)?;
    let outputs = wanted
        .iter()
        .map(|file| relative(&context.workspace, &file.path))
        .collect();
    let cache = Arc::clone(&context.shared.stat_cache);
    let pending: Vec<Final> = tokio::task::block_in_place(|| {
        wanted
            .into_iter()
            .filter(|file| !is_in_place(&cache, file, umask))
            .collect()
    });
    if pending.is_empty() {
        return Ok(Delivery::Done {
            outputs,
            fetched: 0,
        });
    }
    let staging = Staging::new(&context.workspace, &context.run_id)?;
    let fetched = match stage(context, &staging, &pending).await? {
        Staged::Ready { fetched } => fetched,
        Staged::Missing(digests) => {
            let lost = pending
                .iter()
                .filter(|file| digests.contains(&file.digest))
                .map(|file| file.unit)
                .collect();
            return Ok(Delivery::Lost(lost));
        }
    };
    tokio::task::block_in_place(|| staging.put_in_place(&pending, umask))
        .map_err(|error| cannot_write(&context.workspace, &error))?;
    Ok(Delivery::Done { outputs, fetched })
}

fn cannot_write(workspace: &Path, error: &io::Error) -> ServiceError {
    ServiceError::Failed(format!(
        "final outputs can't be written below {}: {error}\n\
         make the directory writable, or free some space, and build again",
        workspace.join(".vx").display()
    ))
}

fn wanted(
    context: &BuildContext,
    finished: impl Fn(usize) -> Option<Arc<Finished>>,
) -> ServiceResult<Vec<Final>> {
    let mut wanted: BTreeMap<PathBuf, Final> = BTreeMap::new();
    for (unit, files) in context.graph.files.iter().enumerate() {
        for file in files {
            let Some(name) = &file.final_name else {
                continue;
            };
            let Some(finished) = finished(unit) else {
                continue;
            };
            let Some(output) = finished.result.output(&file.name) else {
                if file.optional {
                    continue;
                }
                return Err(ServiceError::Failed(format!(
                    "{} did not write {}",
                    context.package_label(unit),
                    file.name
                )));
            };
            let path = directory(context, unit).join(name);
            let executable = matches!(
                file.kind,
                OutputKind::Executable | OutputKind::Dylib | OutputKind::Cdylib
            );
            // Asked for twice under one name, the later one stays, as with cargo.
            wanted.insert(
                path.clone(),
                Final {
                    unit,
                    digest: output.blob.digest,
                    executable,
                    path,
                },
            );
        }
    }
    Ok(wanted.into_values().collect())
}

fn relative(workspace: &Path, path: &Path) -> String {
    path.strip_prefix(workspace)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}

fn mode(executable: bool, umask: u32) -> u32 {
    let whole = if executable { 0o777 } else { 0o666 };
    whole & !umask
}

/// Whether the file that is there is the one that is wanted, and a file of its own.
fn is_in_place(cache: &crate::statcache::StatCache, file: &Final, umask: u32) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(metadata) = fs::symlink_metadata(&file.path) else {
        return false;
    };
    metadata.is_file()
        && metadata.nlink() == 1
        && metadata.permissions().mode() & 0o777 == mode(file.executable, umask)
        && cache
            .digest(&file.path)
            .is_ok_and(|(digest, _)| digest == file.digest)
}

enum Staged {
    Ready { fetched: u64 },
    Missing(Vec<Digest>),
}

async fn stage(
    context: &BuildContext,
    staging: &Staging,
    pending: &[Final],
) -> ServiceResult<Staged> {
    let store = context.session().store();
    let files = pending
        .iter()
        .enumerate()
        .map(|(index, file)| {
            Ok(PlaceFile {
                path: RelPath::new(index.to_string()).map_err(ServiceError::failed)?,
                digest: file.digest,
                executable: file.executable,
                mode: PlaceMode::Independent,
            })
        })
        .collect::<ServiceResult<Vec<_>>>()?;
    let request = PlaceRequest {
        directory: staging.directory.to_string_lossy().into_owned(),
        files,
    };
    match store.place(request).await? {
        PlaceOutcome::Placed { .. } => return Ok(Staged::Ready { fetched: 0 }),
        PlaceOutcome::Missing(missing) => return Ok(Staged::Missing(missing)),
        PlaceOutcome::Unavailable(why) => tracing::debug!(why, "fetching final outputs"),
    }
    let mut fetched = 0;
    let mut missing = Vec::new();
    for (index, file) in pending.iter().enumerate() {
        let path = staging.file(index);
        if blobs::read_to_file(&*store, file.digest, &path).await? {
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

/// A directory beside the final outputs, removed with what is left in it.
struct Staging {
    directory: PathBuf,
}

impl Staging {
    fn new(workspace: &Path, run_id: &str) -> ServiceResult<Self> {
        let make = || -> io::Result<PathBuf> {
            let build = report::project_directory(workspace)?.join("build");
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

    fn file(&self, index: usize) -> PathBuf {
        self.directory.join(index.to_string())
    }

    fn put_in_place(&self, files: &[Final], umask: u32) -> io::Result<()> {
        let now = fs::FileTimes::new().set_modified(std::time::SystemTime::now());
        for (index, file) in files.iter().enumerate() {
            let staged = self.file(index);
            fs::set_permissions(
                &staged,
                fs::Permissions::from_mode(mode(file.executable, umask)),
            )?;
            // People and scripts look at a program's time to see whether it is new.
            fs::File::open(&staged)?.set_times(now)?;
            if let Some(parent) = file.path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::rename(&staged, &file.path)?;
        }
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What is left is removed by the next `vx clean`; it is in nobody's way.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
