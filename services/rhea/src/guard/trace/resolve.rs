//! Takes `.` and `..` out of absolute paths, as the kernel does.

use std::collections::{HashMap, HashSet};
use std::fs;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// This path, without `.` and `..`.
    Path(String),
    /// Nowhere: this, which comes before a `..`, is not there.
    Missing(String),
    /// A fact that the kernel makes up: this path below `/proc`.
    Kernel(String),
    /// Nothing that has a path, or nothing at all.
    Nothing,
}

/// Takes `.` and `..` out of paths. What comes before a `..` may be a link, so it is followed;
/// an action's tools ask for the same places again and again, so the answers are kept.
#[derive(Default)]
pub(super) struct Straightener {
    followed: HashMap<String, Option<String>>,
    gone: HashSet<String>,
}

/// How many answers are kept before it starts over.
const MOST_FOLLOWED: usize = 20_000;

impl Straightener {
    /// The absolute `path` without `.`, `..` and empty parts.
    pub(super) fn straighten(&mut self, path: String) -> Resolved {
        let plain =
            path.len() > 1 && !path.ends_with('/') && !path.contains("//") && !path.contains("/.");
        if plain {
            return Resolved::Path(path);
        }
        let mut whole = String::with_capacity(path.len());
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    let Some(followed) = self.follow(&whole) else {
                        return Resolved::Missing(whole);
                    };
                    whole = followed;
                    whole.truncate(whole.rfind('/').unwrap_or(0));
                }
                _ => {
                    whole.push('/');
                    whole.push_str(part);
                }
            }
        }
        if whole.is_empty() {
            whole.push('/');
        }
        Resolved::Path(whole)
    }

    /// Whether a way to a `..` is gone for the first time since anything moved.
    pub(super) fn is_new(&mut self, way: &str) -> bool {
        if self.gone.contains(way) {
            return false;
        }
        if self.gone.len() >= MOST_FOLLOWED {
            self.gone.clear();
        }
        self.gone.insert(way.to_owned())
    }

    fn follow(&mut self, path: &str) -> Option<String> {
        if path.is_empty() {
            return Some(String::new());
        }
        if let Some(known) = self.followed.get(path) {
            return known.clone();
        }
        let followed = fs::canonicalize(path)
            .ok()
            .and_then(|path| path.into_os_string().into_string().ok())
            .map(|path| path.trim_end_matches('/').to_owned());
        // What is missing may be made.
        if followed.is_some() {
            if self.followed.len() >= MOST_FOLLOWED {
                self.followed.clear();
            }
            self.followed.insert(path.to_owned(), followed.clone());
        }
        followed
    }

    /// Forgets what was followed: something was moved, or a link made or removed.
    pub(super) fn forget(&mut self) {
        self.followed.clear();
        self.gone.clear();
    }

    /// A path whose directory is followed through every link, but not itself.
    pub(super) fn real_parent(path: &str) -> Option<String> {
        let (parent, name) = path.rsplit_once('/')?;
        let parent = fs::canonicalize(if parent.is_empty() { "/" } else { parent }).ok()?;
        let parent = parent.into_os_string().into_string().ok()?;
        Some(format!("{}/{name}", parent.trim_end_matches('/')))
    }

    /// Where a path leads, through every link; of one that is not there, where it would be.
    pub(super) fn real(path: &str) -> Option<String> {
        let text = |path: std::path::PathBuf| path.into_os_string().into_string().ok();
        if let Ok(real) = fs::canonicalize(path) {
            return text(real);
        }
        Self::real_parent(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_those_of_what_a_link_leads_to() {
        let directory = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(directory.path()).unwrap();
        let root = root.to_str().unwrap();
        fs::create_dir_all(format!("{root}/a/b")).unwrap();
        std::os::unix::fs::symlink("a/b", format!("{root}/link")).unwrap();
        let mut straightener = Straightener::default();
        let mut of = |path: &str| straightener.straighten(format!("{root}{path}"));
        assert_eq!(of("/link/../x"), Resolved::Path(format!("{root}/a/x")));
        assert_eq!(of("/a/./b//c/"), Resolved::Path(format!("{root}/a/b/c")));
        assert_eq!(of("/no/../x"), Resolved::Missing(format!("{root}/no")));
        assert_eq!(of("/.hidden"), Resolved::Path(format!("{root}/.hidden")));
        assert_eq!(
            straightener.straighten("/..".to_owned()),
            Resolved::Path("/".to_owned())
        );
    }
}
