//! Directories that were put in another's place while an action ran.
//!
//! Files in them are as old as they were, so their own times do not show it; the directory's
//! does.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use vx_core::readset::{ReadPlace, ReadSet};

use crate::observe::Places;
use crate::statcache::Stamp;

/// A directory on the way to something that was read in the checkout, in which anything was made,
/// removed or moved since `started_ns`, or which was moved itself.
pub(crate) fn since(places: &Places, set: &ReadSet, started_ns: i128) -> Option<PathBuf> {
    let mut looked_at = BTreeSet::new();
    let reads = set.reads.iter().filter_map(|read| match &read.place {
        ReadPlace::Checkout(path) => Some(path.under(&places.checkout)),
        _ => None,
    });
    for path in reads {
        let mut links = false;
        for way in ways(&path, &places.checkout) {
            if !looked_at.insert(way.to_owned()) {
                continue;
            }
            // What went is noticed with what was read in it.
            let Ok(found) = fs::symlink_metadata(way) else {
                continue;
            };
            links |= found.is_symlink();
            if Stamp::of(&found).changed_ns() >= started_ns {
                return Some(way.to_owned());
            }
        }
        let real = if links {
            fs::canonicalize(&path).ok()
        } else {
            None
        };
        let real = real
            .as_deref()
            .into_iter()
            .flat_map(Path::ancestors)
            .skip(1);
        let changed = real
            .filter(|way| looked_at.insert((*way).to_owned()))
            .take_while(|way| way.parent().is_some())
            .find(|way| {
                fs::symlink_metadata(way)
                    .is_ok_and(|found| Stamp::of(&found).changed_ns() >= started_ns)
            });
        if let Some(changed) = changed {
            return Some(changed.to_owned());
        }
    }
    None
}

/// The directories from a file up to the checkout's own.
fn ways<'p>(path: &'p Path, checkout: &'p Path) -> impl Iterator<Item = &'p Path> {
    let ancestors = path.ancestors().skip(1);
    ancestors.take_while(move |way| way.starts_with(checkout))
}

#[cfg(test)]
mod tests {
    use vx_core::RelPath;
    use vx_core::readset::{Read, ReadKind};

    use super::*;
    use crate::statcache::{coarse_now_ns, until_after};

    #[tokio::test]
    async fn only_directories_that_changed_since_count() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        for path in ["src/part", "other/part", "linked"] {
            fs::create_dir_all(root.join(path)).unwrap();
            fs::write(root.join(path).join("mod.rs"), path).unwrap();
        }
        std::os::unix::fs::symlink("../linked", root.join("src/link")).unwrap();
        let places = Places {
            checkout: root.clone(),
            cargo_home: root.join("none"),
            sysroot: root.join("none"),
            hidden: Vec::new(),
            repository: Vec::new(),
            sight: None,
        };
        let read = |path: &str| Read {
            place: ReadPlace::Checkout(RelPath::new(path).unwrap()),
            kind: ReadKind::Content,
        };
        let set = ReadSet {
            reads: vec![read("src/part/mod.rs"), read("src/link/mod.rs")],
            ..ReadSet::default()
        };
        let settled = || async {
            until_after(coarse_now_ns()).await;
            until_after(coarse_now_ns()).await;
            coarse_now_ns()
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
}
