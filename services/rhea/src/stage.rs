//! Puts an action's inputs into its scratch directory, ready to be mounted.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vx_core::tree::TreeNode;
use vx_core::{ActionSpec, Digest, RelPath, Store, Tree};

use crate::fault::{Stop, Tried, lost_task};
use crate::fetch::{Sharing, Wanted, bring, matches};
use crate::layout::Layout;
use crate::scratch::Scratch;

/// Inputs that stand ready.
pub(crate) struct Staged {
    /// The directory whose entries are mounted.
    pub(crate) directory: PathBuf,
    /// Where they are mounted.
    pub(crate) layout: Layout,
    /// Bytes the store placed.
    pub(crate) placed: u64,
}

/// Stages the files and trees of an action.
pub(crate) async fn stage(
    action: &ActionSpec,
    store: &Arc<dyn Store>,
    scratch: &Scratch,
) -> Result<Staged, Stop> {
    let tasks = scratch.tasks();
    let trees = trees(action, store, scratch).await?;
    let layout = Layout::of(action, trees)?;
    let directory = scratch.make("in").tried("make a directory")?;
    let files = files(&layout.staged);
    let placed = bring(store, &directory, files, Sharing::Links, tasks).await?;
    let base = directory.clone();
    let done = tasks.spawn_blocking(move || {
        complete(&layout, &base)?;
        Ok::<_, Stop>(layout)
    });
    Ok(Staged {
        directory,
        layout: done.await.map_err(|error| lost_task(&error))??,
        placed,
    })
}

/// The files of a tree.
pub(crate) fn files(tree: &Tree) -> Vec<Wanted> {
    let entries = tree.entries().iter();
    entries
        .filter_map(|entry| match entry.node {
            TreeNode::File { blob, executable } => Some(Wanted {
                path: entry.path.clone(),
                digest: blob.digest,
                size: Some(blob.size),
                executable,
            }),
            _ => None,
        })
        .collect()
}

/// Makes the links, directories and mount points that are no files.
fn complete(layout: &Layout, base: &Path) -> Result<(), Stop> {
    for directory in &layout.mount_points {
        let path = directory.under(base);
        fs::create_dir_all(&path).tried_at("make", &path)?;
    }
    complete_tree(&layout.staged, base)
}

/// Makes what of a tree is no file.
pub(crate) fn complete_tree(tree: &Tree, base: &Path) -> Result<(), Stop> {
    let entries = tree.entries().iter();
    for entry in entries.filter(|entry| entry.node == TreeNode::EmptyDirectory) {
        let path = entry.path.under(base);
        fs::create_dir_all(&path).tried_at("make", &path)?;
    }
    // Last, so that nothing is ever made through a link.
    for entry in tree.entries() {
        if let TreeNode::Link { target } = &entry.node {
            let path = entry.path.under(base);
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).tried_at("make", parent)?;
            }
            std::os::unix::fs::symlink(target, &path).tried_at("link", &path)?;
        }
    }
    Ok(())
}

/// Reads the trees an action names, in its order.
pub(crate) async fn trees(
    action: &ActionSpec,
    store: &Arc<dyn Store>,
    scratch: &Scratch,
) -> Result<Vec<Tree>, Stop> {
    if action.trees.is_empty() {
        return Ok(Vec::new());
    }
    let mut digests: Vec<Digest> = action.trees.iter().map(|input| input.tree).collect();
    digests.sort();
    digests.dedup();
    let directory = scratch.make("trees").tried("make a directory")?;
    let files = digests
        .iter()
        .map(|digest| {
            Ok(Wanted {
                path: RelPath::new(digest.to_hex())
                    .map_err(|error| Stop::Unable(error.to_string()))?,
                digest: *digest,
                size: None,
                executable: false,
            })
        })
        .collect::<Result<_, Stop>>()?;
    bring(store, &directory, files, Sharing::Links, scratch.tasks()).await?;
    let wanted: Vec<Digest> = action.trees.iter().map(|input| input.tree).collect();
    let read = scratch.tasks().spawn_blocking(move || {
        wanted
            .into_iter()
            .map(|digest| read_tree(&directory, digest))
            .collect()
    });
    read.await.map_err(|error| lost_task(&error))?
}

fn read_tree(directory: &Path, digest: Digest) -> Result<Tree, Stop> {
    let path = directory.join(digest.to_hex());
    let bytes = fs::read(&path).tried_at("read", &path)?;
    if !matches(digest, Digest::of(&bytes)) {
        return Err(Stop::Missing(vec![digest]));
    }
    Tree::decode(&bytes).map_err(|error| {
        Stop::Service(vx_core::ServiceError::Invalid(format!(
            "the blob {digest} is given as a tree: {error}"
        )))
    })
}
