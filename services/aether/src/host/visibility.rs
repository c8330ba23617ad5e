//! What actions find of the host: a link in what they see may lead to where they see nothing.

use std::collections::VecDeque;
use std::fs;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use vx_core::RelPath;
use vx_core::places;
use vx_core::readset::ReadPlace;

use crate::host::stat_cache::Stamp;

/// How many links one path may lead through, as the kernel has it.
const MOST_LINKS: usize = 40;

/// Where a path really leads; the path itself where nothing is there.
pub(crate) fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Whether something is at a path for whoever looks, as an executor asks before it shows it.
pub(crate) fn is_there(path: &str) -> bool {
    Path::new(path).exists()
}

/// The parts of the host that actions of one build see.
#[derive(Clone, Debug, Default)]
pub(crate) struct Visibility {
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

impl Visibility {
    /// The visibility of a build's actions.
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

    /// Whether a place is reached through a link that names the checkout by its path, or goes up out
    /// of it and in again, so that only actions find it that find the checkout where it really is.
    pub(crate) fn is_by_path(&self, place: &ReadPlace) -> bool {
        let found = self.of(place);
        !found.shown && !self.at_real_place && self.at_real_place().of(place).shown
    }

    /// The visibility of actions that are not isolated: everything.
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
            // It leads nowhere now, for an action as for everybody; but one that finds the checkout at
            // another place would not see what comes to be there.
            return self.at_real_place || !self.leads_by_its_path(path);
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

    /// Whether a way into the checkout goes through what is outside of it: a link names it by its
    /// path, or goes up out of it and in again by its name. Only actions that find the checkout
    /// where it really is find anything there.
    fn leads_by_its_path(&self, path: &Path) -> bool {
        let Ok(inside) = path.strip_prefix(&self.checkout) else {
            return fs::canonicalize(path).is_ok_and(|real| real.starts_with(&self.checkout));
        };
        let mut at = self.checkout.clone();
        let mut ahead: VecDeque<PathBuf> = parts(inside);
        let mut was_outside = false;
        let mut links = 0;
        while let Some(part) = ahead.pop_front() {
            let target = if part == Path::new("..") {
                at.pop();
                None
            } else {
                at.push(&part);
                fs::read_link(&at).ok()
            };
            if let Some(target) = target {
                links += 1;
                if links > MOST_LINKS {
                    return false;
                }
                if target.has_root() {
                    at = PathBuf::from("/");
                } else {
                    at.pop();
                }
                for part in parts(&target).into_iter().rev() {
                    ahead.push_front(part);
                }
            }
            if !at.starts_with(&self.checkout) {
                was_outside = true;
            } else if was_outside {
                return true;
            }
        }
        false
    }
}

/// The names on a path, with each `..`.
fn parts(path: &Path) -> VecDeque<PathBuf> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| PathBuf::from(part.as_os_str()))
        .collect()
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
            ("../ws/a", "again"),
            ("../ws/none", "again-to-nothing"),
            ("target/../a", "within"),
            ("loop", "loop"),
        ] {
            symlink(target, root.join(name)).unwrap();
        }
        let target = RelPath::new("target").unwrap();
        let visibility = Visibility::new(&root, vec![target], Vec::new());
        let shows = |path: &str| {
            visibility
                .of(&ReadPlace::Checkout(RelPath::new(path).unwrap()))
                .shown
        };
        for path in [
            "", "a", "inside", "host", "dangling", "none", "within", "loop",
        ] {
            assert!(shows(path), "{path}");
        }
        for path in ["out", "hidden", "absolute", "again"] {
            assert!(!shows(path), "{path}");
        }
        assert!(visibility.of(&ReadPlace::Host("/bin/sh".to_owned())).shown);
        let place = |path: &str| ReadPlace::Checkout(RelPath::new(path).unwrap());
        let by_path = |path: &str| visibility.is_by_path(&place(path));
        for path in ["absolute", "again", "again-to-nothing"] {
            assert!(by_path(path), "{path}");
        }
        assert!(!by_path("out") && !by_path("inside") && !by_path("none"));
        assert!(visibility.at_real_place().of(&place("absolute")).shown);
        for (name, is_by_path) in [
            ("absolute", true),
            ("again", true),
            ("again-to-nothing", true),
            ("inside", false),
            ("within", false),
            ("out", false),
        ] {
            let found = visibility.leads_by_its_path(&real.join(name));
            assert_eq!(found, is_by_path, "{name}");
        }
    }
}
