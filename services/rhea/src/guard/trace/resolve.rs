//! From what a process names to one absolute path of the root.

use std::collections::{HashMap, HashSet};
use std::fs;

/// What a name leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// This path, without `.` and `..`.
    Path(String),
    /// Nowhere: this, which comes before a `..`, is not there.
    Missing(String),
}

/// The path behind a process's descriptor, if it has one.
pub(super) fn descriptor(pid: i32, number: i32) -> Option<String> {
    target(&format!("/proc/{pid}/fd/{number}"))
}

/// `raw` made absolute; `None` for what is no path of a file system.
pub(super) fn absolute(pid: i32, directory: Option<i32>, raw: &str) -> Option<String> {
    if raw.starts_with('/') {
        return through_process(pid, raw);
    }
    let base = match directory {
        None | Some(libc::AT_FDCWD) => target(&format!("/proc/{pid}/cwd"))?,
        Some(number) => descriptor(pid, number)?,
    };
    Some(format!("{base}/{raw}"))
}

/// Where the kernel's own links lead; `None` where that has no path.
fn target(link: &str) -> Option<String> {
    let target = fs::read_link(link)
        .ok()?
        .into_os_string()
        .into_string()
        .ok()?;
    target.starts_with('/').then_some(target)
}

/// Follows the links of `/proc` that lead to where a process is; they mean another place for
/// whoever follows them.
fn through_process(pid: i32, path: &str) -> Option<String> {
    let Some(rest) = path.strip_prefix("/proc/") else {
        return Some(path.to_owned());
    };
    let (who, rest) = rest.split_once('/')?;
    let who = match who {
        "self" | "thread-self" => pid.to_string(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => number.to_owned(),
        _ => return None,
    };
    let rest = match rest.strip_prefix("task/") {
        Some(thread) => thread.split_once('/')?.1,
        None => rest,
    };
    let (link, rest) = match rest.strip_prefix("fd/") {
        Some(rest) => {
            let (number, rest) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("/proc/{who}/fd/{number}"), rest)
        }
        None => {
            let (name, rest) = rest.split_once('/').unwrap_or((rest, ""));
            if !matches!(name, "cwd" | "root" | "exe") {
                return None;
            }
            (format!("/proc/{who}/{name}"), rest)
        }
    };
    let base = target(&link)?;
    Some(format!("{}/{rest}", base.trim_end_matches('/')))
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

    fn me() -> i32 {
        i32::try_from(std::process::id()).unwrap()
    }

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

    #[test]
    fn a_process_s_own_links_are_followed_as_its_own() {
        let cwd = std::env::current_dir().unwrap();
        assert_eq!(
            absolute(me(), None, "/proc/self/cwd/x").unwrap(),
            format!("{}/x", cwd.display())
        );
        assert_eq!(
            absolute(me(), None, "x").unwrap(),
            format!("{}/x", cwd.display())
        );
        assert_eq!(
            absolute(me(), None, "/proc/self/root/usr/x").unwrap(),
            "/usr/x"
        );
        assert_eq!(absolute(me(), None, "/proc/cpuinfo"), None);
        assert_eq!(absolute(me(), None, "/proc/self/maps"), None);
        assert_eq!(absolute(me(), None, "/usr/x").unwrap(), "/usr/x");
    }
}
