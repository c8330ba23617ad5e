//! `OUT_DIR`s that programs look into when they run: put where they look for them.
//!
//! Such a directory is there as the build script left it, or is replaced as a whole: in one step,
//! so that it never is there by half.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::tree::TreeNode;
use vx_core::{Blob, RelPath, Tree};
use vx_plan::Mode;

use crate::build::context::BuildContext;
use crate::deliver::staging::{Content, Staging, is_in_place};
use crate::host::stat_cache::StatCache;
use crate::inputs::dependency::Finished;
use crate::inputs::payload::{self, Held};
use crate::inputs::real_places::real_out_dir;
use crate::session::blobs;

/// An `OUT_DIR` to be put in place.
pub(crate) struct OutDir {
    /// The build script's run that made it.
    pub(crate) unit: usize,
    /// Where.
    pub(crate) path: PathBuf,
    tree: Tree,
}

/// What the final outputs that are done hold.
pub(crate) fn held(
    context: &BuildContext,
    finished: &impl Fn(usize) -> Option<Arc<Finished>>,
) -> BTreeSet<Held> {
    let files = context.graph.files.iter().enumerate();
    files
        .filter(|(_, files)| files.iter().any(|file| file.final_name.is_some()))
        .filter_map(|(unit, _)| finished(unit))
        .flat_map(|finished| finished.payload.holds.clone())
        .collect()
}

/// Directories of packages that are held and not there.
pub(crate) fn absent_packages(held: &BTreeSet<Held>) -> Vec<String> {
    let packages = held.iter().filter_map(|held| match held {
        Held::Package { at, .. } => Some(at),
        _ => None,
    });
    packages
        .filter(|at| !Path::new(at).is_dir())
        .cloned()
        .collect()
}

/// Those that are held and not in place; or the runs whose output the store lost.
///
/// # Errors
/// When the store fails.
pub(crate) async fn wanted(
    context: &BuildContext,
    held: &BTreeSet<Held>,
    finished: &impl Fn(usize) -> Option<Arc<Finished>>,
    umask: u32,
) -> ServiceResult<Result<Vec<OutDir>, BTreeSet<usize>>> {
    let store = context.session().store();
    let mut wanted = Vec::new();
    let mut lost = BTreeSet::new();
    for (unit, path, blob) in made(context, held, finished) {
        let Some(bytes) = blobs::read(&*store, blob).await? else {
            lost.insert(unit);
            continue;
        };
        let tree = Tree::decode(&bytes).map_err(ServiceError::failed)?;
        let out_dir = OutDir { unit, path, tree };
        let cache = &context.stat_cache;
        if !tokio::task::block_in_place(|| out_dir.is_in_place(cache, umask)) {
            wanted.push(out_dir);
        }
    }
    Ok(if lost.is_empty() {
        Ok(wanted)
    } else {
        Err(lost)
    })
}

/// The runs that made what is held, where it belongs, and what it is.
fn made(
    context: &BuildContext,
    held: &BTreeSet<Held>,
    finished: &impl Fn(usize) -> Option<Arc<Finished>>,
) -> Vec<(usize, PathBuf, Blob)> {
    let held: BTreeSet<&str> = held
        .iter()
        .filter_map(|held| match held {
            Held::OutDir { at, .. } => Some(at.as_str()),
            _ => None,
        })
        .collect();
    if held.is_empty() {
        return Vec::new();
    }
    let units = context.plan.units.iter().enumerate();
    units
        .filter(|(_, unit)| unit.mode == Mode::RunBuildScript)
        .filter_map(|(unit, _)| {
            let at = real_out_dir(context, unit);
            if !held.contains(at.as_str()) {
                return None;
            }
            let finished = finished(unit)?;
            let output = finished.result.output(payload::OUT_DIR)?;
            Some((unit, PathBuf::from(at), output.blob))
        })
        .collect()
}

impl OutDir {
    /// Its files, in the tree's order.
    pub(crate) fn files(&self) -> impl Iterator<Item = Content> + '_ {
        self.entries().map(|(_, content)| content)
    }

    fn entries(&self) -> impl Iterator<Item = (&RelPath, Content)> + '_ {
        self.tree.entries().iter().filter_map(|entry| {
            let TreeNode::File { blob, executable } = entry.node else {
                return None;
            };
            let digest = blob.digest;
            Some((&entry.path, Content { digest, executable }))
        })
    }

    /// Whether all of it is there, and nothing else.
    fn is_in_place(&self, cache: &StatCache, umask: u32) -> bool {
        let right = self.tree.entries().iter().all(|entry| {
            let path = entry.path.under(&self.path);
            match &entry.node {
                TreeNode::File { blob, executable } => {
                    let content = Content {
                        digest: blob.digest,
                        executable: *executable,
                    };
                    is_in_place(cache, &path, content, umask)
                }
                TreeNode::Link { target } => {
                    fs::read_link(&path).is_ok_and(|found| found == Path::new(target))
                }
                TreeNode::EmptyDirectory => {
                    is_directory(&path)
                        && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none())
                }
            }
        });
        // All of them are there and are leaves, so as many leaves are these.
        let most = self.tree.entries().len();
        right
            && is_directory(&self.path)
            && leaves(&self.path, most).is_ok_and(|count| count == most)
    }

    /// Puts it in place, of staged files that start at `index`.
    ///
    /// # Errors
    /// When the file system refuses.
    pub(crate) fn put_in_place(
        &self,
        staging: &Staging,
        index: usize,
        umask: u32,
    ) -> io::Result<()> {
        let made = staging.path(&format!("out-{index}-{}", self.unit));
        fs::create_dir(&made)?;
        for (index, (path, content)) in (index..).zip(self.entries()) {
            staging.put(index, content.mode(umask), &path.under(&made))?;
        }
        for entry in self.tree.entries() {
            let path = entry.path.under(&made);
            match &entry.node {
                TreeNode::File { .. } => {}
                TreeNode::EmptyDirectory => fs::create_dir_all(&path)?,
                TreeNode::Link { target } => {
                    if let Some(parent) = path.parent() {
                        fs::create_dir_all(parent)?;
                    }
                    std::os::unix::fs::symlink(target, &path)?;
                }
            }
        }
        if let Some(parent) = self.path.parent() {
            fs::create_dir_all(parent)?;
        }
        replace(
            &made,
            &self.path,
            &staging.path(&format!("old-{index}-{}", self.unit)),
        )
    }
}

/// Puts `new` in the place of `old`, which goes with what it leaves room in, or to `aside`.
fn replace(new: &Path, old: &Path, aside: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, new, CWD, old, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(Errno::NOENT) => fs::rename(new, old),
        // Some file systems can't exchange.
        Err(Errno::INVAL | Errno::NOSYS) => {
            fs::rename(old, aside)?;
            fs::rename(new, old)
        }
        Err(error) => Err(error.into()),
    }
}

fn is_directory(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir())
}

/// How many files, links and empty directories a directory holds; counts no further than one
/// over `most`.
fn leaves(root: &Path, most: usize) -> io::Result<usize> {
    let mut count = 0;
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        let mut is_empty = true;
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            is_empty = false;
            if entry.file_type()?.is_dir() {
                pending.push(entry.path());
            } else {
                count += 1;
            }
            if count > most {
                return Ok(count);
            }
        }
        count += usize::from(is_empty && directory != root);
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use vx_core::TreeEntry;

    use super::*;

    fn entry(path: &str, node: TreeNode) -> TreeEntry {
        TreeEntry {
            path: RelPath::new(path).unwrap(),
            node,
        }
    }

    #[test]
    fn only_the_whole_directory_and_nothing_else_is_in_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/out");
        let file = TreeNode::File {
            blob: Blob::of(b"1"),
            executable: false,
        };
        let link = TreeNode::Link {
            target: "file".to_owned(),
        };
        let out_dir = OutDir {
            unit: 0,
            path: path.clone(),
            tree: Tree::new(vec![
                entry("deep/file", file),
                entry("deep/link", link),
                entry("empty", TreeNode::EmptyDirectory),
            ])
            .unwrap(),
        };
        let cache = StatCache::default();
        let is_in_place = || out_dir.is_in_place(&cache, 0o022);
        assert!(!is_in_place());
        let make = |path: &Path| {
            fs::create_dir_all(path.join("deep")).unwrap();
            fs::create_dir_all(path.join("empty")).unwrap();
            fs::write(path.join("deep/file"), "1").unwrap();
            std::os::unix::fs::symlink("file", path.join("deep/link")).unwrap();
        };
        make(&path);
        assert!(is_in_place());
        fs::write(path.join("more"), "").unwrap();
        assert!(!is_in_place());
        fs::remove_file(path.join("more")).unwrap();
        fs::create_dir(path.join("empty/more")).unwrap();
        assert!(!is_in_place());
    }

    #[test]
    fn what_was_there_goes_as_a_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for (round, old) in ["none", "there"].into_iter().enumerate() {
            let new = path(&format!("new-{round}"));
            fs::create_dir(&new).unwrap();
            fs::write(new.join(format!("file-{round}")), old).unwrap();
            replace(&new, &path("out"), &path("aside")).unwrap();
        }
        assert!(path("out/file-1").exists());
        assert!(!path("out/file-0").exists());
    }
}
