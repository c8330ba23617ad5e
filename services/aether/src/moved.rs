//! Directories that were put in another's place while an action ran.
//!
//! Files in them are as old as they were, so their own times do not show it; the directory's
//! does.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use vx_core::readset::{ReadPlace, ReadSet};

use crate::observe::Places;
use crate::statcache::Stamp;

/// How many links are followed on the way to one file, as the kernel does.
const LINKS: usize = 40;

/// A directory or a link on the way to something that was read in the checkout, in which anything
/// was made, removed or moved since `started_ns`, or which was moved itself.
pub(crate) fn since(places: &Places, set: &ReadSet, started_ns: i128) -> Option<PathBuf> {
    let mut ways = Ways {
        // Links may name it by either.
        checkouts: [
            Some(places.checkout.clone()),
            fs::canonicalize(&places.checkout).ok(),
        ],
        started_ns,
        looked_at: HashSet::new(),
    };
    let mut reads = set.reads.iter().filter_map(|read| match &read.place {
        ReadPlace::Checkout(path) => Some(path.under(&places.checkout)),
        _ => None,
    });
    reads.find_map(|path| ways.changed(&path))
}

/// Every way that was gone.
struct Ways {
    checkouts: [Option<PathBuf>; 2],
    started_ns: i128,
    looked_at: HashSet<PathBuf>,
}

impl Ways {
    /// Goes the way to a path through all links, to the first thing on it that changed.
    fn changed(&mut self, path: &Path) -> Option<PathBuf> {
        let mut here = PathBuf::from("/");
        let mut ahead = steps(path);
        let mut links = 0;
        while let Some(step) = ahead.pop_front() {
            let Some(name) = step else {
                here.pop();
                continue;
            };
            here.push(name);
            // What went is noticed with what was read in it.
            let found = fs::symlink_metadata(&here).ok()?;
            let counts = found.is_dir() || found.is_symlink();
            if counts && !self.is_above(&here) && self.looked_at.insert(here.clone()) {
                let changed = Stamp::of(&found).changed_ns() >= self.started_ns;
                if changed {
                    return Some(here);
                }
            }
            if found.is_symlink() {
                links += 1;
                if links > LINKS {
                    return None;
                }
                let target = fs::read_link(&here).ok()?;
                if target.is_absolute() {
                    here = PathBuf::from("/");
                } else {
                    here.pop();
                }
                for step in steps(&target).into_iter().rev() {
                    ahead.push_front(step);
                }
            }
        }
        None
    }

    /// Directories above the checkout change all the time, and an action does not see them.
    fn is_above(&self, path: &Path) -> bool {
        let mut checkouts = self.checkouts.iter().flatten();
        checkouts.any(|checkout| checkout != path && checkout.starts_with(path))
    }
}

/// The names on a way; `None` for one back.
fn steps(path: &Path) -> VecDeque<Option<OsString>> {
    let steps = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(Some(name.to_owned())),
        Component::ParentDir => Some(None),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    steps.collect()
}

#[cfg(test)]
mod tests {
    use vx_core::RelPath;
    use vx_core::readset::{Read, ReadKind};

    use super::*;
    use crate::statcache::{coarse_now_ns, until_after};

    fn places(root: &Path) -> Places {
        Places {
            checkout: root.to_owned(),
            cargo_home: root.join("none"),
            sysroot: root.join("none"),
            hidden: Vec::new(),
            unlisted: Vec::new(),
            repository: Vec::new(),
            named: Vec::new(),
            sight: None,
        }
    }

    fn read(path: &str) -> Read {
        Read {
            place: ReadPlace::Checkout(RelPath::new(path).unwrap()),
            kind: ReadKind::Content,
        }
    }

    /// A time after all that was done before.
    async fn settled() -> i128 {
        until_after(coarse_now_ns()).await;
        until_after(coarse_now_ns()).await;
        coarse_now_ns()
    }

    #[tokio::test]
    async fn only_directories_that_changed_since_count() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for path in ["src/part", "other/part", "linked"] {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("mod.rs"), path).unwrap();
        }
        std::os::unix::fs::symlink("../linked", root.join("src/link")).unwrap();
        let places = places(&root);
        let set = ReadSet {
            reads: vec![read("src/part/mod.rs"), read("src/link/mod.rs")],
            ..ReadSet::default()
        };
        let started = settled().await;
        assert_eq!(since(&places, &set, started), None);
        fs::write(root.join("other/part/mod.rs"), "edited").unwrap();
        fs::write(root.join("src/part/mod.rs"), "edited").unwrap();
        assert_eq!(since(&places, &set, started), None, "edits show in files");
        fs::rename(root.join("src/part"), root.join("gone")).unwrap();
        fs::rename(root.join("other/part"), root.join("src/part")).unwrap();
        assert!(since(&places, &set, started).is_some());
        let started = settled().await;
        assert_eq!(since(&places, &set, started), None);
        fs::write(root.join("linked/more.rs"), "").unwrap();
        assert_eq!(since(&places, &set, started), Some(root.join("linked")));
    }

    #[tokio::test]
    async fn links_are_followed_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for path in ["src", "a/deep", "b/deep"] {
            fs::create_dir_all(root.join(path)).unwrap();
        }
        fs::write(root.join("b/deep/lib.rs"), "").unwrap();
        let link = |target: &str, path: &str| {
            std::os::unix::fs::symlink(target, root.join(path)).unwrap();
        };
        link("../a/deep/lib.rs", "src/lib.rs");
        link(
            root.join("b/deep/lib.rs").to_str().unwrap(),
            "a/deep/lib.rs",
        );
        link("itself", "src/itself");
        let places = places(&root);
        let set = ReadSet {
            reads: vec![read("src/itself/x"), read("src/lib.rs")],
            ..ReadSet::default()
        };
        for moved in ["a/deep", "b/deep", "src"] {
            let started = settled().await;
            assert_eq!(since(&places, &set, started), None);
            fs::rename(root.join(moved), root.join("aside")).unwrap();
            fs::rename(root.join("aside"), root.join(moved)).unwrap();
            let changed = since(&places, &set, started);
            // The checkout's own directory changed as well.
            assert!(changed.is_some(), "{moved}");
            let started = settled().await;
            fs::write(root.join(moved).join("more"), "").unwrap();
            assert_eq!(since(&places, &set, started), Some(root.join(moved)));
        }
    }
}
