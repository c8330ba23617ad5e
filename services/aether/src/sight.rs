//! What actions find of the host: a link in what they see may lead to where they see nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use vx_core::RelPath;
use vx_core::places;
use vx_core::readset::ReadPlace;

use crate::memo::CACHE_TAG;
use crate::statcache::Stamp;

/// How many entries of a checkout are looked at for links when something failed: a few
/// milliseconds.
const MOST_ENTRIES: usize = 20_000;

/// Where a path really leads; the path itself where nothing is there.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The parts of the host that actions of one build see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sight {
    /// The checkout, without links on the way to it.
    checkout: PathBuf,
    /// Directories of it that no action sees.
    hidden: Vec<RelPath>,
    /// Host directories that are themselves links, and where they lead.
    links: Vec<(String, PathBuf)>,
    /// Declared paths that some action sees.
    declared: Vec<String>,
    /// Whether they find the checkout where it really is.
    at_real_place: bool,
    /// Whether actions see everything: they are not isolated.
    everything: bool,
}

/// How something is found.
pub(crate) struct Found {
    /// Whether an action finds it at all.
    pub(crate) shown: bool,
    /// The latest time of any link on the way, in nanoseconds since the epoch: one that leads
    /// elsewhere now is newer than what it leads to.
    pub(crate) links_ns: i128,
}

impl Found {
    const PLAINLY: Self = Self {
        shown: true,
        links_ns: i128::MIN,
    };
}

impl Sight {
    /// The sight of a build's actions.
    pub(crate) fn new(checkout: &Path, hidden: Vec<RelPath>, declared: Vec<String>) -> Self {
        let links = places::HOST
            .iter()
            .filter(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()));
        Self {
            checkout: real(checkout),
            hidden,
            links: links
                .map(|path| ((*path).to_owned(), real(Path::new(path))))
                .collect(),
            declared,
            at_real_place: false,
            everything: false,
        }
    }

    /// That of actions which find the checkout where it really is.
    pub(crate) fn at_real_place(&self) -> Self {
        Self {
            at_real_place: true,
            ..self.clone()
        }
    }

    /// Whether a place is reached through a link that names the checkout by its path, so that
    /// only actions find it that find the checkout there.
    pub(crate) fn is_by_path(&self, place: &ReadPlace) -> bool {
        let found = self.of(place);
        !found.shown && !self.at_real_place && self.at_real_place().of(place).shown
    }

    /// Whether there are such links in the checkout, as far as that can be told: below these
    /// directories, relative to the checkout, and then below all of it.
    pub(crate) fn has_links_by_path(&self, first: &[&str]) -> bool {
        let mut pending: Vec<PathBuf> = vec![self.checkout.clone()];
        pending.extend(first.iter().map(|directory| self.checkout.join(directory)));
        let mut looked_at = 0;
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                looked_at += 1;
                if looked_at > MOST_ENTRIES {
                    return false;
                }
                let path = entry.path();
                match entry.file_type() {
                    Ok(kind) if kind.is_symlink() && self.leads_by_its_path(&path) => return true,
                    Ok(kind) if kind.is_dir() && !self.is_passed_over(&path) => {
                        pending.push(path);
                    }
                    _ => {}
                }
            }
        }
        false
    }

    /// Whether a directory holds nobody's sources: no action sees it, or it is a cache.
    fn is_passed_over(&self, path: &Path) -> bool {
        let by_name = path.strip_prefix(&self.checkout).is_ok_and(|inside| {
            let hidden = |hidden: &RelPath| inside.starts_with(hidden.as_str());
            self.hidden.iter().any(hidden) || inside.ends_with(".git")
        });
        by_name || path.join(CACHE_TAG).exists()
    }

    /// The sight of actions that are not isolated: everything.
    pub(crate) fn of_everything(checkout: &Path) -> Self {
        Self {
            everything: true,
            ..Self::new(checkout, Vec::new(), Vec::new())
        }
    }

    /// Whether what is found there and can't be read could be read by an action.
    pub(crate) fn is_everything(&self) -> bool {
        self.everything
    }

    /// How an action finds what is at a place.
    pub(crate) fn of(&self, place: &ReadPlace) -> Found {
        let path = match place {
            ReadPlace::Checkout(path) => path.under(&self.checkout),
            ReadPlace::Host(path) => self.through_links(path),
            ReadPlace::CargoHome(_) | ReadPlace::Toolchain(_) | ReadPlace::Given(_) => {
                return Found::PLAINLY;
            }
        };
        // The usual case, in one call: no link on the way.
        let opened = rustix::fs::openat2(
            CWD,
            &path,
            OFlags::PATH | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::NO_SYMLINKS,
        );
        if !matches!(opened, Err(rustix::io::Errno::LOOP)) {
            return Found::PLAINLY;
        }
        let links = path.ancestors().filter_map(|ancestor| {
            let metadata = fs::symlink_metadata(ancestor).ok()?;
            metadata
                .is_symlink()
                .then(|| Stamp::of(&metadata).newest_ns())
        });
        Found {
            links_ns: links.max().unwrap_or(i128::MIN),
            shown: self.everything || self.shows(&path),
        }
    }

    /// Whether an action finds what a path with links on the way leads to.
    fn shows(&self, path: &Path) -> bool {
        let Ok(real) = fs::canonicalize(path) else {
            // It leads nowhere, for an action as for everybody.
            return true;
        };
        if let Ok(inside) = real.strip_prefix(&self.checkout) {
            let hidden = |hidden: &RelPath| inside.starts_with(hidden.as_str());
            return !self.hidden.iter().any(hidden)
                && (self.at_real_place || !self.leads_by_its_path(path));
        }
        let host = places::HOST.iter().map(Path::new);
        host.chain(self.links.iter().map(|(_, real)| real.as_path()))
            .chain(self.declared.iter().map(Path::new))
            .any(|visible| real.starts_with(visible))
    }

    fn through_links(&self, path: &str) -> PathBuf {
        for (link, real) in &self.links {
            if let Some(rest) = places::below(path, link) {
                return real.join(rest);
            }
        }
        PathBuf::from(path)
    }

    /// Whether a link on the way names the checkout by its absolute path, where only actions
    /// that took it in find it.
    fn leads_by_its_path(&self, path: &Path) -> bool {
        path.ancestors()
            .filter_map(|ancestor| fs::read_link(ancestor).ok())
            .any(|target| target.starts_with(&self.checkout))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn links_are_followed_as_far_as_an_action_can() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("ws");
        fs::create_dir_all(root.join("target")).unwrap();
        for name in ["ws/a", "ws/target/x", "outside"] {
            fs::write(directory.path().join(name), "1").unwrap();
        }
        let real = fs::canonicalize(&root).unwrap();
        for (target, name) in [
            ("a", "inside"),
            ("../outside", "out"),
            ("target/x", "hidden"),
            ("/usr/bin/env", "host"),
            ("none", "dangling"),
            (real.join("a").to_str().unwrap(), "absolute"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let target = RelPath::new("target").unwrap();
        let sight = Sight::new(&root, vec![target], Vec::new());
        let shows = |path: &str| {
            sight
                .of(&ReadPlace::Checkout(RelPath::new(path).unwrap()))
                .shown
        };
        for path in ["", "a", "inside", "host", "dangling", "none"] {
            assert!(shows(path), "{path}");
        }
        for path in ["out", "hidden", "absolute"] {
            assert!(!shows(path), "{path}");
        }
        assert!(sight.of(&ReadPlace::Host("/bin/sh".to_owned())).shown);
        let place = |path: &str| ReadPlace::Checkout(RelPath::new(path).unwrap());
        let by_path = |path: &str| sight.is_by_path(&place(path));
        assert!(by_path("absolute"));
        assert!(!by_path("out") && !by_path("inside") && !by_path("none"));
        assert!(sight.at_real_place().of(&place("absolute")).shown);
        assert!(sight.has_links_by_path(&["target"]));
        fs::remove_file(root.join("absolute")).unwrap();
        assert!(!sight.has_links_by_path(&[]));
    }
}
