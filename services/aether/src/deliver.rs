//! Final outputs: independent files in the project's `.vx/build/<triple>/<profile>/`.
//!
//! They are brought into a directory of the project's and renamed into place. A file that is
//! there and right is left alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vx_core::Digest;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::orchestrator::Selection;
use vx_plan::OutputKind;

use crate::context::BuildContext;
use crate::dependency::Finished;
use crate::environment;
use crate::out_dirs::{self, OutDir};
use crate::staging::{Content, Staged, Staging};
use crate::statcache::StatCache;

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

/// How many delivered paths are remembered; past it the memory starts over.
const MAX_DELIVERED: usize = 50_000;

/// A build among those that deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// A later build has a larger one.
    number: u64,
    /// What names what was asked for.
    asked: Digest,
}

/// Variables that a build's actions named, with digests of the values of those that were set.
type Named = BTreeMap<String, Option<Digest>>;

/// Which build last delivered what. One that began before that one, and was asked for the same, has
/// older sources.
#[derive(Default)]
pub(crate) struct Deliveries {
    begun: AtomicU64,
    last: Mutex<HashMap<PathBuf, (Turn, Arc<Named>)>>,
}

impl Deliveries {
    /// The turn of a build that begins. The same is asked for by the same selection from the same
    /// directory, with the same toolchain, and variables that make the same plan and that all build
    /// scripts find.
    pub(crate) fn begin(
        &self,
        selection: &Selection,
        cwd: &str,
        toolchain: &Digest,
        env: &BTreeMap<String, String>,
    ) -> Turn {
        let env = (vx_plan::plan_env(env), environment::allowed(env));
        let asked = (selection, cwd, toolchain, env);
        Turn {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            asked: Digest::of_value("vx delivery 2", &asked),
        }
    }

    /// Has a build put something at a path, unless one did that was asked for the same and began
    /// later. Builds that gave different values to a variable which both named were not asked for the
    /// same.
    ///
    /// # Errors
    /// As `put` has them.
    fn in_turn(
        &self,
        build: Turn,
        named: &Arc<Named>,
        path: &Path,
        put: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = |(last, their): &(Turn, Arc<Named>)| {
            let mut named = named.iter();
            last.asked == build.asked
                && last.number > build.number
                && named.all(|(name, value)| their.get(name).is_none_or(|their| their == value))
        };
        if last.get(path).is_some_and(newer) {
            return Ok(());
        }
        put()?;
        if last.len() >= MAX_DELIVERED {
            last.clear();
        }
        last.insert(path.to_owned(), (build, Arc::clone(named)));
        Ok(())
    }
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

/// The directory of a triple's final outputs.
pub(crate) fn directory(context: &BuildContext, unit: usize) -> PathBuf {
    let plan = &context.plan;
    context
        .workspace
        .join(".vx/build")
        .join(plan.triple(&plan.units[unit]))
        .join(&plan.profile_dir)
}

impl BuildContext {
    /// Puts something at a path, unless a later build did.
    fn in_turn(
        &self,
        named: &Arc<Named>,
        path: &Path,
        put: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let deliveries = &self.shared.deliveries;
        deliveries.in_turn(self.turn, named, path, put)
    }
}

/// Puts all final outputs in place, and what they look for there when they run.
///
/// # Errors
/// When the store or the file system fails.
pub(crate) async fn deliver(
    context: &BuildContext,
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
    let named = named(context, &finished);
    let cache = Arc::clone(&context.shared.stat_cache);
    let pending: Vec<Final> = tokio::task::block_in_place(|| {
        let waits = |file: &Final| {
            let in_place = is_in_place(&cache, &file.path, file.content, umask);
            !in_place || context.in_turn(&named, &file.path, || Ok(())).is_err()
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
    tokio::task::block_in_place(|| {
        put_in_place(context, &named, &staging, &trees, &pending, umask)
    })
    .map_err(|error| cannot_write(&context.workspace, &error))?;
    Ok(Delivery::Done {
        outputs,
        fetched,
        absent,
    })
}

/// What a program looks for is there before the program is.
fn put_in_place(
    context: &BuildContext,
    named: &Arc<Named>,
    staging: &Staging,
    trees: &[OutDir],
    files: &[Final],
    umask: u32,
) -> io::Result<()> {
    let mut index = 0;
    for tree in trees {
        let first = index;
        index += tree.files().count();
        context.in_turn(named, &tree.path, || {
            tree.put_in_place(staging, first, umask)
        })?;
    }
    for (index, file) in (index..).zip(files) {
        context.in_turn(named, &file.path, || {
            let staged = staging.put(index, file.content.mode(umask), &file.path)?;
            context.shared.stat_cache.wrote(&file.path, &staged);
            Ok(())
        })?;
    }
    Ok(())
}

/// Final outputs, or what belongs to them, can't be written.
pub(crate) fn cannot_write(workspace: &Path, error: &io::Error) -> ServiceError {
    ServiceError::Failed(format!(
        "final outputs can't be written below {}: {error}\n\
         make the directory writable, or free some space, and build again",
        workspace.join(".vx").display()
    ))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_build_delivered_stays() {
        let deliveries = Deliveries::default();
        let same = Selection::default();
        let other = Selection {
            release: true,
            ..Selection::default()
        };
        let toolchain = Digest::of(b"1");
        let env = |flags: &str| BTreeMap::from([("RUSTFLAGS".to_owned(), flags.to_owned())]);
        let begin = |selection: &Selection, cwd: &str, flags: &str| {
            deliveries.begin(selection, cwd, &toolchain, &env(flags))
        };
        let (first, second) = (begin(&same, "/", ""), begin(&same, "/", ""));
        let third = begin(&other, "/", "");
        let elsewhere = begin(&same, "/deeper", "");
        let flagged = begin(&same, "/", "--cfg=a");
        let names = |value: &[u8]| {
            let named = [("WORD".to_owned(), Some(Digest::of(value)))];
            Arc::new(Named::from(named))
        };
        let puts_as = |build, named: &Arc<Named>, path| {
            let mut put = false;
            let done = deliveries.in_turn(build, named, Path::new(path), || {
                put = true;
                Ok(())
            });
            done.unwrap();
            put
        };
        let puts = |build, path| puts_as(build, &Arc::default(), path);
        assert!(puts(first, "/a"));
        assert!(puts(second, "/a"));
        assert!(!puts(first, "/a"));
        assert!(puts(first, "/b"));
        // Who was asked for something else has what that is.
        assert!(puts(third, "/b"));
        assert!(puts(first, "/b"));
        for variant in [elsewhere, flagged] {
            assert!(puts(variant, "/b"));
            assert!(puts(first, "/b"));
        }
        // So has who gave another value to what is named.
        assert!(puts_as(second, &names(b"2"), "/d"));
        assert!(puts_as(first, &names(b"1"), "/d"));
        assert!(puts_as(second, &names(b"2"), "/d"));
        assert!(!puts_as(first, &names(b"2"), "/d"));
        assert!(!puts(first, "/d"));
        let failed = deliveries.in_turn(second, &Arc::default(), Path::new("/c"), || {
            Err(io::Error::other("full"))
        });
        assert!(failed.is_err());
        assert!(puts(first, "/c"));
    }
}
