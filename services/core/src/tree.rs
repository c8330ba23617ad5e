//! Trees: what a directory holds, as one canonical value.
//!
//! A tree is stored as a blob, its encoding; its digest is that blob's digest. Files are named
//! by their blobs' digests. Entries are sorted by path and each parent is implied, so one
//! directory has one encoding.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::digest::{Blob, Digest};
use crate::path::RelPath;

/// First bytes of an encoded tree: a name and the layout's version.
const MAGIC: &[u8; 8] = b"vxtree1\n";

/// The most entries a tree may have; more is a mistake or an attack.
pub const MAX_ENTRIES: usize = 1_000_000;

/// What lies at a path of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeNode {
    /// A regular file.
    File {
        /// Its content.
        blob: Blob,
        /// Whether its owner may execute it.
        executable: bool,
    },
    /// A symbolic link and its target, which is relative and stays inside the tree.
    Link {
        /// The target as written.
        target: String,
    },
    /// A directory that nothing lies in; others are implied by what they hold.
    EmptyDirectory,
}

/// One entry of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeEntry {
    /// Where it lies.
    pub path: RelPath,
    /// What it is.
    pub node: TreeNode,
}

/// A directory's content: sorted entries with checked names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: Vec<TreeEntry>,
}

/// Why entries or bytes are not a tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TreeError {
    /// The bytes do not decode.
    #[error("these bytes are not an encoded tree")]
    Encoding,
    /// A path occurs twice, or below a file or link.
    #[error("{0} collides with another entry of its tree")]
    Collision(RelPath),
    /// A link is absolute or leads out of the tree.
    #[error("the link {path} leads out of its tree: {target:?}")]
    Escape {
        /// The link.
        path: RelPath,
        /// Its target.
        target: String,
    },
    /// More than [`MAX_ENTRIES`].
    #[error("a tree of {0} entries is over the limit of {MAX_ENTRIES}")]
    TooMany(usize),
}

impl Tree {
    /// Makes a tree of `entries`, in any order.
    ///
    /// # Errors
    /// When entries collide, a link leads out, or there are too many.
    pub fn new(mut entries: Vec<TreeEntry>) -> Result<Self, TreeError> {
        if entries.len() > MAX_ENTRIES {
            return Err(TreeError::TooMany(entries.len()));
        }
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        let mut leaves = std::collections::HashSet::with_capacity(entries.len());
        for entry in &entries {
            if entry.path.is_empty() || !leaves.insert(entry.path.as_str()) {
                return Err(TreeError::Collision(entry.path.clone()));
            }
        }
        for entry in &entries {
            let mut parent = entry.path.parent();
            while let Some(path) = parent {
                if leaves.contains(path.as_str()) {
                    return Err(TreeError::Collision(entry.path.clone()));
                }
                parent = path.parent();
            }
        }
        Links::of(&entries).stay_inside()?;
        Ok(Self { entries })
    }

    /// The entries, sorted by path.
    #[must_use]
    pub fn entries(&self) -> &[TreeEntry] {
        &self.entries
    }

    /// The canonical encoding, which is the tree's blob.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(postcard::to_stdvec(&self.entries).expect("plain values always encode"));
        bytes
    }

    /// The tree that `bytes` encode.
    ///
    /// # Errors
    /// When they are not the canonical encoding of a valid tree.
    pub fn decode(bytes: &[u8]) -> Result<Self, TreeError> {
        let body = bytes.strip_prefix(MAGIC).ok_or(TreeError::Encoding)?;
        let entries: Vec<TreeEntry> =
            postcard::from_bytes(body).map_err(|_| TreeError::Encoding)?;
        let tree = Self::new(entries)?;
        if tree.encode() == bytes {
            Ok(tree)
        } else {
            Err(TreeError::Encoding)
        }
    }

    /// The tree's digest.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// The blobs of its files.
    pub fn blobs(&self) -> impl Iterator<Item = Blob> + '_ {
        self.entries.iter().filter_map(|entry| match entry.node {
            TreeNode::File { blob, .. } => Some(blob),
            _ => None,
        })
    }
}

/// How many links one way may lead through, as the kernel has it.
const MOST_HOPS: usize = 40;

/// How many steps the ways of all links of a tree may have together: far more than links that
/// somebody wrote.
const MOST_STEPS: usize = 20_000_000;

/// The links of a tree, by path.
struct Links<'a>(HashMap<&'a str, (&'a RelPath, &'a str)>);

impl<'a> Links<'a> {
    fn of(entries: &'a [TreeEntry]) -> Self {
        let links = entries.iter().filter_map(|entry| match &entry.node {
            TreeNode::Link { target } => Some((entry.path.as_str(), (&entry.path, &**target))),
            _ => None,
        });
        Self(links.collect())
    }

    /// Each has to stay inside, also where it leads through others.
    fn stay_inside(&self) -> Result<(), TreeError> {
        let mut steps = MOST_STEPS;
        for (path, target) in self.0.values() {
            if !self.stays_inside(path, target, &mut steps) {
                return Err(TreeError::Escape {
                    path: (*path).clone(),
                    target: (*target).to_owned(),
                });
            }
        }
        Ok(())
    }

    fn stays_inside(&self, path: &RelPath, target: &str, steps: &mut usize) -> bool {
        let mut at = path
            .parent()
            .map_or_else(String::new, |parent| parent.as_str().to_owned());
        let mut rest = Vec::new();
        let mut hops = 0;
        let mut next = Some(target);
        loop {
            if let Some(target) = next.take() {
                if target.is_empty() || target.starts_with('/') || target.contains('\0') {
                    return false;
                }
                hops += 1;
                if hops > MOST_HOPS {
                    // It leads nowhere.
                    return true;
                }
                rest.extend(target.split('/').rev());
            }
            let Some(part) = rest.pop() else {
                return true;
            };
            *steps = match steps.checked_sub(1) {
                Some(left) => left,
                None => return false,
            };
            match part {
                "" | "." => {}
                ".." if at.is_empty() => return false,
                ".." => at.truncate(at.rfind('/').unwrap_or(0)),
                name => {
                    let parent = at.len();
                    if parent > 0 {
                        at.push('/');
                    }
                    at.push_str(name);
                    if let Some((_, target)) = self.0.get(at.as_str()) {
                        next = Some(target);
                        at.truncate(parent);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> TreeEntry {
        TreeEntry {
            path: RelPath::new(path).unwrap(),
            node: TreeNode::File {
                blob: Blob::of(path.as_bytes()),
                executable: false,
            },
        }
    }

    fn link(path: &str, target: &str) -> TreeEntry {
        TreeEntry {
            path: RelPath::new(path).unwrap(),
            node: TreeNode::Link {
                target: target.to_owned(),
            },
        }
    }

    #[test]
    fn order_does_not_matter_and_encoding_round_trips() {
        let one = Tree::new(vec![file("b"), file("a/x")]).unwrap();
        let two = Tree::new(vec![file("a/x"), file("b")]).unwrap();
        assert_eq!(one.digest(), two.digest());
        assert_eq!(Tree::decode(&one.encode()), Ok(one));
    }

    #[test]
    fn refuses_collisions_escapes_and_unsorted_bytes() {
        assert!(Tree::new(vec![file("a"), file("a")]).is_err());
        assert!(Tree::new(vec![file("a"), file("a.b"), file("a/b")]).is_err());
        assert!(Tree::new(vec![link("a/l", "../../x")]).is_err());
        assert!(Tree::new(vec![link("l", "/etc/passwd")]).is_err());
        assert!(Tree::new(vec![link("a/l", "../x"), file("x")]).is_ok());
        // Each for itself stays inside, and both together do not.
        let up = link("a/b/up", "../..");
        assert!(Tree::new(vec![up.clone(), link("l", "a/b/up/a")]).is_ok());
        assert!(Tree::new(vec![up, link("l", "a/b/up/../x")]).is_err());
        let circle = vec![link("one", "two/x"), link("two", "one/y")];
        assert!(Tree::new(circle).is_ok());
        let mut unsorted = MAGIC.to_vec();
        unsorted.extend(postcard::to_stdvec(&vec![file("b"), file("a")]).unwrap());
        assert_eq!(Tree::decode(&unsorted), Err(TreeError::Encoding));
    }
}
