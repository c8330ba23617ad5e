//! Final outputs: independent files in the project's `.vx/build/<triple>/<profile>/`.
//!
//! In: results of a build's actions. Out: files in their places.
//! They are brought into a directory of the project's and renamed into place. A file that is
//! there and right is left alone.

pub(crate) mod deliveries;
pub(crate) mod out_dirs;
pub(crate) mod staging;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vx_core::error::{ServiceError, ServiceResult};
use vx_plan::OutputKind;

use crate::build::context::BuildContext;
use crate::build::layout;
use crate::deliver::deliveries::Named;
use crate::deliver::deliveries::{Deliveries, Turn};
use crate::deliver::out_dirs::OutDir;
use crate::deliver::staging::is_in_place;
use crate::deliver::staging::{Content, Staged, Staging};
use crate::inputs::dependency::Finished;

/// One file the user gets.
#[derive(Clone, Debug)]
struct Final {
    unit: usize,
    content: Content,
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
        /// Directories of packages that a program looks into when it runs, and that are not there.
        absent: Vec<String>,
    },
    /// The store lost what these units made.
    Lost(BTreeSet<usize>),
}

/// The caller's variables that a build's actions named: what manifests and the configuration say is of
/// the sources, and not of who asked.
fn named(context: &BuildContext, finished: &impl Fn(usize) -> Option<Arc<Finished>>) -> Arc<Named> {
    let units = 0..context.plan.units.len();
    let env = units.filter_map(|unit| {
        let soft = &context.graph.soft_env[unit];
        let mut env = finished(unit)?.parts.as_ref()?.env.clone();
        env.retain(|(name, _)| soft.iter().all(|(soft, _)| soft != name));
        Some(env)
    });
    Arc::new(env.flatten().collect())
}

/// A build that delivers, among the others.
#[derive(Clone)]
pub(crate) struct Among {
    /// What they delivered.
    pub(crate) deliveries: Arc<Deliveries>,
    /// Its turn.
    pub(crate) turn: Turn,
}

/// How a build puts outputs in their places.
struct Putting<'a> {
    among: &'a Among,
    named: Arc<Named>,
    umask: u32,
}

impl Putting<'_> {
    /// Puts something at a path, unless a later build did.
    fn in_turn(&self, path: &Path, put: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let Among { deliveries, turn } = self.among;
        deliveries.in_turn(*turn, &self.named, path, put)
    }
}

/// Puts all final outputs in place, and what they look for there when they run.
///
/// # Errors
/// When the store or the file system fails.
pub(crate) async fn deliver(
    context: &BuildContext,
    among: &Among,
    finished: impl Fn(usize) -> Option<Arc<Finished>>,
    umask: u32,
) -> ServiceResult<Delivery> {
    let wanted = wanted(context, &finished)?;
    let outputs = wanted
        .iter()
        .map(|file| relative(&context.workspace, &file.path))
        .collect();
    let held = out_dirs::held(context, &finished);
    let absent = out_dirs::absent_packages(&held);
    let trees = match out_dirs::wanted(context, &held, &finished, umask).await? {
        Ok(trees) => trees,
        Err(lost) => return Ok(Delivery::Lost(lost)),
    };
    let putting = Putting {
        among,
        named: named(context, &finished),
        umask,
    };
    let cache = Arc::clone(&context.stat_cache);
    let pending: Vec<Final> = tokio::task::block_in_place(|| {
        let waits = |file: &Final| {
            let in_place = is_in_place(&cache, &file.path, file.content, umask);
            !in_place || putting.in_turn(&file.path, || Ok(())).is_err()
        };
        wanted.into_iter().filter(waits).collect()
    });
    if pending.is_empty() && trees.is_empty() {
        return Ok(Delivery::Done {
            outputs,
            fetched: 0,
            absent,
        });
    }
    let staging = Staging::new(&context.workspace, &context.run_id)?;
    let files: Vec<Content> = trees
        .iter()
        .flat_map(OutDir::files)
        .chain(pending.iter().map(|file| file.content))
        .collect();
    let fetched = match staging.bring(&*context.session().store(), &files).await? {
        Staged::Ready { fetched } => fetched,
        Staged::Missing(digests) => {
            let finals = pending
                .iter()
                .filter(|file| digests.contains(&file.content.digest))
                .map(|file| file.unit);
            let scripts = trees
                .iter()
                .filter(|tree| tree.files().any(|file| digests.contains(&file.digest)))
                .map(|tree| tree.unit);
            return Ok(Delivery::Lost(finals.chain(scripts).collect()));
        }
    };
    tokio::task::block_in_place(|| put_in_place(context, &putting, &staging, &trees, &pending))
        .map_err(|error| layout::cannot_write(&context.workspace, &error))?;
    Ok(Delivery::Done {
        outputs,
        fetched,
        absent,
    })
}

/// What a program looks for is there before the program is.
fn put_in_place(
    context: &BuildContext,
    putting: &Putting<'_>,
    staging: &Staging,
    trees: &[OutDir],
    files: &[Final],
) -> io::Result<()> {
    let mut index = 0;
    for tree in trees {
        let first = index;
        index += tree.files().count();
        putting.in_turn(&tree.path, || {
            tree.put_in_place(staging, first, putting.umask)
        })?;
    }
    for (index, file) in (index..).zip(files) {
        putting.in_turn(&file.path, || {
            let staged = staging.put(index, file.content.mode(putting.umask), &file.path)?;
            context.stat_cache.wrote(&file.path, &staged);
            Ok(())
        })?;
    }
    Ok(())
}

fn wanted(
    context: &BuildContext,
    finished: &impl Fn(usize) -> Option<Arc<Finished>>,
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
            let path = layout::outputs_directory(context, unit).join(name);
            let executable = matches!(
                file.kind,
                OutputKind::Executable | OutputKind::Dylib | OutputKind::Cdylib
            );
            // Asked for twice under one name, the later one stays, as with cargo.
            wanted.insert(
                path.clone(),
                Final {
                    unit,
                    content: Content {
                        digest: output.blob.digest,
                        executable,
                    },
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
