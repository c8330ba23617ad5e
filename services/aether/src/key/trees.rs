//! Directories that an action is given by digest and may look into: what it looked at there
//! counts, and not all that is in them.
//!
//! A compile is told where every native library below it lies, and reads what it bundles itself.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use vx_core::error::{ServiceError, ServiceResult};
use vx_core::places::below;
use vx_core::readset::{Listed, Observed, ReadKind, listing};
use vx_core::tree::TreeNode;
use vx_core::{Digest, Store, Tree};

use crate::session::blobs::{self, MAX_IN_MEMORY};

/// How many links one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// The most trees remembered; past it the memory starts over.
const MAX_KNOWN: usize = 1024;

/// Trees that were read before, by digest; shared by all builds.
#[derive(Default)]
pub(crate) struct KnownTrees(Mutex<HashMap<Digest, Arc<Tree>>>);

/// The directories of one action, by place.
#[derive(Default)]
pub(crate) struct Given(BTreeMap<String, Arc<Tree>>);

/// A store that lacks this tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LostTree(pub(crate) Digest);

impl Given {
    /// Trees by the places where an action finds them.
    pub(crate) fn new(trees: BTreeMap<String, Arc<Tree>>) -> Self {
        Self(trees)
    }

    /// What an action finds at an absolute path of its root.
    pub(crate) fn observe(&self, path: &str, kind: ReadKind) -> Observed {
        let found = self
            .0
            .iter()
            .find_map(|(place, tree)| Some((tree, below(path, place)?)));
        match found {
            Some((tree, inside)) => observe(tree, inside, kind),
            None => Observed::Absent,
        }
    }
}

impl KnownTrees {
    /// A tree; `None` where the store lacks it.
    ///
    /// # Errors
    /// When the store fails, or what it has is no tree.
    pub(crate) async fn get(
        &self,
        store: &dyn Store,
        digest: Digest,
    ) -> ServiceResult<Option<Arc<Tree>>> {
        if let Some(known) = self.lock().get(&digest) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(bytes) = blobs::read_by_digest(store, digest, MAX_IN_MEMORY).await? else {
            return Ok(None);
        };
        let tree = Tree::decode(&bytes).map_err(|error| {
            ServiceError::Failed(format!("{} is given as a tree: {error}", digest.short()))
        })?;
        let tree = Arc::new(tree);
        let mut known = self.lock();
        if known.len() >= MAX_KNOWN {
            known.clear();
        }
        known.insert(digest, Arc::clone(&tree));
        Ok(Some(tree))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, Arc<Tree>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a path of a tree leads to.
enum Found<'t> {
    File {
        digest: Digest,
        size: u64,
        executable: bool,
    },
    Link(&'t str),
    /// A directory, by its path.
    Directory(String),
}

fn observe(tree: &Tree, path: &str, kind: ReadKind) -> Observed {
    let follows = kind != ReadKind::Link;
    match find(tree, path, follows) {
        None => Observed::Absent,
        Some(Found::Link(target)) => Observed::Link(target.to_owned()),
        Some(Found::File {
            digest,
            size,
            executable,
        }) => match kind {
            ReadKind::Content | ReadKind::Tree => Observed::Content(digest),
            ReadKind::Existence | ReadKind::Listing => Observed::Kind("file".to_owned()),
            ReadKind::Metadata | ReadKind::Link => Observed::File { size, executable },
        },
        Some(Found::Directory(path)) => match kind {
            ReadKind::Listing => listing(names(tree, &path)),
            ReadKind::Tree => Observed::Tree(tree.digest()),
            _ => Observed::Kind("directory".to_owned()),
        },
    }
}

/// Walks a path component by component, links on the way followed, the last one if it is asked
/// for.
fn find<'t>(tree: &'t Tree, path: &str, follows: bool) -> Option<Found<'t>> {
    let mut rest: Vec<String> = parts(path);
    let mut at = String::new();
    let mut links = 0;
    while let Some(part) = rest.pop() {
        if part == ".." {
            at.truncate(at.rfind('/').unwrap_or(0));
            continue;
        }
        let next = match at.is_empty() {
            true => part,
            false => format!("{at}/{part}"),
        };
        match entry(tree, &next)? {
            Found::Link(target) if follows || !rest.is_empty() => {
                links += 1;
                if links > MOST_LINKS {
                    return None;
                }
                rest.extend(parts(target));
            }
            found @ (Found::Link(_) | Found::File { .. }) => {
                return rest.is_empty().then_some(found);
            }
            Found::Directory(_) => at = next,
        }
    }
    Some(Found::Directory(at))
}

/// The components of a path, the last first.
fn parts(path: &str) -> Vec<String> {
    let parts = path.split('/').filter(|part| !matches!(*part, "" | "."));
    parts.rev().map(str::to_owned).collect()
}

/// What lies at a plain path.
fn entry<'t>(tree: &'t Tree, path: &str) -> Option<Found<'t>> {
    let entries = tree.entries();
    let at = entries.partition_point(|entry| entry.path.as_str() < path);
    let exact = entries.get(at).filter(|entry| entry.path.as_str() == path);
    if let Some(entry) = exact {
        return Some(match &entry.node {
            TreeNode::File { blob, executable } => Found::File {
                digest: blob.digest,
                size: blob.size,
                executable: *executable,
            },
            TreeNode::Link { target } => Found::Link(target),
            TreeNode::EmptyDirectory => Found::Directory(path.to_owned()),
        });
    }
    // Directories that hold something are implied.
    let inside = format!("{path}/");
    let at = entries.partition_point(|entry| entry.path.as_str() < inside.as_str());
    let implied = entries.get(at)?.path.as_str().starts_with(&inside);
    implied.then(|| Found::Directory(path.to_owned()))
}

/// The names directly in a directory, and what they are.
fn names(tree: &Tree, directory: &str) -> Vec<(String, Listed)> {
    let names = tree.entries().iter().filter_map(|entry| {
        let inside = below(entry.path.as_str(), directory).filter(|_| !directory.is_empty());
        let inside = if directory.is_empty() {
            entry.path.as_str()
        } else {
            inside?
        };
        inside.split('/').next().filter(|name| !name.is_empty())
    });
    let names: std::collections::BTreeSet<&str> = names.collect();
    let what = |name: &str| {
        let path = format!("{directory}/{name}");
        match find(tree, &path, false) {
            Some(Found::Directory(_)) => Listed::Directory,
            Some(Found::Link(_)) => Listed::Link {
                to_directory: matches!(find(tree, &path, true), Some(Found::Directory(_))),
            },
            _ => Listed::File,
        }
    };
    names
        .into_iter()
        .map(|name| (name.to_owned(), what(name)))
        .collect()
}

#[cfg(test)]
mod tests {
    use vx_core::{Blob, RelPath, TreeEntry};

    use super::*;

    fn tree() -> Tree {
        let entry = |path: &str, node| TreeEntry {
            path: RelPath::new(path).unwrap(),
            node,
        };
        let file = |text: &str| TreeNode::File {
            blob: Blob::of(text.as_bytes()),
            executable: false,
        };
        let link = |target: &str| TreeNode::Link {
            target: target.to_owned(),
        };
        Tree::new(vec![
            entry("lib/liba.a", file("a")),
            entry("lib/deep/x", file("x")),
            entry("lib64", link("lib")),
            entry("loop", link("loop")),
            entry("none", TreeNode::EmptyDirectory),
            entry("up", link("lib/deep/../liba.a")),
        ])
        .unwrap()
    }

    #[test]
    fn paths_lead_where_they_would_in_a_directory() {
        let tree = tree();
        let content = |path| observe(&tree, path, ReadKind::Content);
        let a = Observed::Content(Digest::of(b"a"));
        for path in ["lib/liba.a", "lib64/liba.a", "up", "lib64/deep/../liba.a"] {
            assert_eq!(content(path), a, "{path}");
        }
        for path in ["lib/libb.a", "loop", "lib/liba.a/x", "li"] {
            assert_eq!(content(path), Observed::Absent, "{path}");
        }
        assert_eq!(content("none"), Observed::Kind("directory".to_owned()));
        assert_eq!(
            observe(&tree, "lib64", ReadKind::Link),
            Observed::Link("lib".to_owned())
        );
        assert_eq!(
            observe(&tree, "lib/liba.a", ReadKind::Metadata),
            Observed::File {
                size: 1,
                executable: false
            }
        );
    }

    #[test]
    fn listings_are_those_of_a_directory() {
        let tree = tree();
        let link = |to_directory| Listed::Link { to_directory };
        let pairs = |list: &[(&str, Listed)]| -> Vec<(String, Listed)> {
            list.iter()
                .map(|(name, is)| ((*name).to_owned(), *is))
                .collect()
        };
        assert_eq!(
            names(&tree, "lib"),
            pairs(&[("deep", Listed::Directory), ("liba.a", Listed::File)])
        );
        assert_eq!(
            names(&tree, ""),
            pairs(&[
                ("lib", Listed::Directory),
                ("lib64", link(true)),
                ("loop", link(false)),
                ("none", Listed::Directory),
                ("up", link(false))
            ])
        );
        assert_eq!(
            observe(&tree, "lib64", ReadKind::Listing),
            observe(&tree, "lib", ReadKind::Listing)
        );
        assert_ne!(
            observe(&tree, "lib", ReadKind::Listing),
            observe(&tree, "", ReadKind::Listing)
        );
    }
}
