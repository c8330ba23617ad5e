//! The one door to the host: files, directories, links and programs.
//!
//! Everything that planning looks at goes through here, and each look is noted, in the form in
//! which a trace notes those of a program. What programs looked at comes from their traces. Both
//! together are what a plan depends on; nothing in this crate looks past this module.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vx_core::readset::{Observed, ReadKind, Seen, Trace};
use vx_core::{Exit, HostProgram};

mod answers;
mod plain;

pub use plain::Plain;

/// What runs programs for planning, and knows what is on the host now without reading it again.
pub trait Outside: Send + Sync {
    /// Runs a program to its end, without input; the error says why it can't be run.
    fn run(&self, program: HostProgram) -> Result<Ran, String>;

    /// What is at an absolute path now.
    ///
    /// # Errors
    /// When something is there and can't be read.
    fn observe(&self, path: &str, kind: ReadKind) -> io::Result<Observed>;
}

/// A program that ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How.
    pub exit: Exit,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
    /// What it looked at, by absolute paths.
    pub trace: Trace,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Look {
    /// Its absolute path.
    pub path: String,
    /// What of it.
    pub kind: ReadKind,
}

/// Everything that was looked at.
#[derive(Clone, Debug, Default)]
pub struct Looks {
    /// Each look, with what was there at first; `None` where the look is an earlier one that was
    /// found to hold.
    pub looks: BTreeMap<Look, Option<Seen>>,
    /// Why there may be more than these, if so.
    pub incomplete: Option<String>,
    /// A path that was not the same thing each time.
    pub unsteady: Option<String>,
}

/// The host as one request's planning sees it. Clones share their notes.
#[derive(Clone)]
pub struct Host {
    outside: Arc<dyn Outside>,
    looks: Arc<Mutex<Looks>>,
    /// Directories of cargo's that no look into counts.
    nobodys: Arc<Mutex<BTreeSet<String>>>,
    /// Whether programs are run in any case, whatever they said before.
    afresh: bool,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.write_str("Host")
    }
}

impl Host {
    /// A host of which nothing was looked at.
    #[must_use]
    pub fn new(outside: Arc<dyn Outside>) -> Self {
        Self {
            outside,
            looks: Arc::default(),
            nobodys: Arc::default(),
            afresh: false,
        }
    }

    /// One where no program's earlier answer counts.
    #[must_use]
    pub fn afresh(self) -> Self {
        Self {
            afresh: true,
            ..self
        }
    }

    /// What was looked at so far.
    #[must_use]
    pub fn looks(&self) -> Looks {
        self.lock().clone()
    }

    /// Leaves what programs look at below these out of what counts.
    pub(crate) fn leave_out(&self, paths: impl IntoIterator<Item = String>) {
        let nobodys = &self.nobodys;
        let mut nobodys = nobodys.lock().unwrap_or_else(PoisonError::into_inner);
        nobodys.extend(paths);
    }

    /// A file's text.
    pub(crate) fn read_to_string(&self, path: &Path) -> io::Result<String> {
        self.note(path, ReadKind::Content);
        fs::read_to_string(path)
    }

    /// A file's content.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.note(path, ReadKind::Content);
        fs::read(path)
    }

    /// Whether anything is there.
    pub(crate) fn exists(&self, path: &Path) -> bool {
        self.metadata(path).is_some()
    }

    /// Whether a file is there.
    pub(crate) fn is_file(&self, path: &Path) -> bool {
        self.metadata(path).is_some_and(|found| found.is_file())
    }

    /// Whether a directory is there.
    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.metadata(path).is_some_and(|found| found.is_dir())
    }

    /// Whether a directory is there that is no link to one.
    pub(crate) fn is_dir_itself(&self, path: &Path) -> bool {
        self.note(path, ReadKind::Link);
        fs::symlink_metadata(path).is_ok_and(|found| found.is_dir())
    }

    /// Whether a program is there. Who looks for one looks again each time.
    pub(crate) fn is_program(&self, path: &Path) -> bool {
        self.metadata(path)
            .is_some_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    }

    /// A file's size in bytes.
    pub(crate) fn size(&self, path: &Path) -> Option<u64> {
        self.note(path, ReadKind::Content);
        fs::metadata(path).ok().map(|found| found.len())
    }

    /// The path without links, `.` and `..`.
    pub(crate) fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        for part in path.ancestors() {
            self.note(part, ReadKind::Link);
        }
        self.note(path, ReadKind::Existence);
        fs::canonicalize(path)
    }

    /// The names in a directory, sorted; none where it can't be listed.
    pub(crate) fn names(&self, directory: &Path) -> Vec<String> {
        self.note(directory, ReadKind::Listing);
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// Runs a program to its end; what it looked at counts.
    pub(crate) fn run(&self, program: HostProgram) -> Result<Ran, String> {
        let ran = self.run_unnoted(program)?;
        self.note_trace(&ran.trace);
        Ok(ran)
    }

    fn run_unnoted(&self, mut program: HostProgram) -> Result<Ran, String> {
        let nobodys = self.nobodys.lock().unwrap_or_else(PoisonError::into_inner);
        program.nobodys = nobodys.iter().cloned().collect();
        drop(nobodys);
        self.outside.run(program)
    }

    fn note_trace(&self, trace: &Trace) {
        let mut looks = self.lock();
        if let Some(why) = &trace.incomplete {
            looks.incomplete.get_or_insert_with(|| why.clone());
        }
        if let Some(path) = &trace.unsteady {
            looks.unsteady.get_or_insert_with(|| path.clone());
        }
        for sight in &trace.sights {
            if let vx_core::readset::ReadPlace::Host(path) = &sight.read.place {
                let look = Look {
                    path: path.clone(),
                    kind: of_a_plan(sight.read.kind),
                };
                looks.looks.entry(look).or_insert(Some(sight.seen));
            }
        }
    }

    fn metadata(&self, path: &Path) -> Option<Metadata> {
        self.note(path, ReadKind::Existence);
        fs::metadata(path).ok()
    }

    /// Notes a look before it is made.
    fn note(&self, path: &Path, kind: ReadKind) {
        let path = self.straight(path);
        let Some(text) = path.to_str() else {
            let why = format!("{} is not valid UTF-8", path.display());
            self.lock().incomplete.get_or_insert(why);
            return;
        };
        let look = Look {
            path: text.to_owned(),
            kind,
        };
        let mut looks = self.lock();
        let looks = &mut looks.looks;
        looks.entry(look).or_insert_with(|| Some(see(&path, kind)));
    }

    /// Takes `.` and `..` out of a path. What a `..` means is up to the link before it, if it is
    /// one, and then that counts.
    fn straight(&self, path: &Path) -> PathBuf {
        let mut straight = PathBuf::new();
        for part in path.components() {
            match part {
                Component::CurDir => {}
                Component::ParentDir => {
                    self.note(&straight.clone(), ReadKind::Link);
                    if fs::symlink_metadata(&straight).is_ok_and(|found| found.is_symlink()) {
                        straight = fs::canonicalize(&straight).unwrap_or(straight);
                    }
                    straight.pop();
                }
                part => straight.push(part),
            }
        }
        straight
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what cargo looks at without reading it, only what is there counts, and not how large it is:
/// else each edit of a source file would be another plan.
fn of_a_plan(kind: ReadKind) -> ReadKind {
    match kind {
        ReadKind::Metadata => ReadKind::Existence,
        kind => kind,
    }
}

/// What is at a path now.
fn see(path: &Path, kind: ReadKind) -> Seen {
    let found = match kind {
        ReadKind::Link => fs::symlink_metadata(path),
        _ => fs::metadata(path),
    };
    let Ok(found) = found else {
        return Seen::Absent;
    };
    let time = |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    let modified = time(found.mtime(), found.mtime_nsec());
    let newest_ns = modified.max(time(found.ctime(), found.ctime_nsec()));
    match found.file_type() {
        kind if kind.is_file() => Seen::File { newest_ns },
        kind if kind.is_dir() => Seen::Directory { newest_ns },
        kind if kind.is_symlink() => Seen::Link { newest_ns },
        _ => Seen::Other,
    }
}

/// The links on the way of paths, which are there as they are now: where each path leads depends
/// on them. Ways that lead in circles end.
pub(crate) fn links_on_the_way<'p>(paths: impl Iterator<Item = &'p str>) -> BTreeMap<String, Seen> {
    let mut links = BTreeMap::new();
    let mut known: BTreeSet<PathBuf> = BTreeSet::new();
    let mut pending: Vec<PathBuf> = paths.map(PathBuf::from).collect();
    while let Some(path) = pending.pop() {
        for part in path.ancestors() {
            if !known.insert(part.to_owned()) {
                break;
            }
            let Ok(target) = fs::read_link(part) else {
                continue;
            };
            if let Some(text) = part.to_str() {
                links.insert(text.to_owned(), see(part, ReadKind::Link));
            }
            // Where it leads has a way too.
            let from = part.parent().unwrap_or(Path::new("/"));
            pending.push(crate::locate::normalize(&from.join(target)));
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> Host {
        Host::new(Arc::new(Plain))
    }

    #[test]
    fn each_look_is_noted_with_what_was_there() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("a")).unwrap();
        fs::write(root.join("a/b"), "1").unwrap();
        let host = host();
        assert!(host.is_file(&root.join("a/b")));
        assert!(!host.exists(&root.join("none")));
        assert_eq!(host.names(&root.join("a")), ["b"]);
        assert_eq!(host.read_to_string(&root.join("a/../a/b")).unwrap(), "1");
        let looks = host.looks().looks;
        let seen = |name: &str, kind| {
            let path = root.join(name).to_str().unwrap().to_owned();
            looks.get(&Look { path, kind }).copied().flatten()
        };
        assert!(matches!(
            seen("a/b", ReadKind::Existence),
            Some(Seen::File { .. })
        ));
        assert!(matches!(
            seen("a/b", ReadKind::Content),
            Some(Seen::File { .. })
        ));
        assert!(matches!(
            seen("a", ReadKind::Listing),
            Some(Seen::Directory { .. })
        ));
        assert!(matches!(
            seen("a", ReadKind::Link),
            Some(Seen::Directory { .. })
        ));
        assert_eq!(seen("none", ReadKind::Existence), Some(Seen::Absent));
    }

    #[test]
    fn links_on_the_way_are_found_through_links() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("second")).unwrap();
        std::os::unix::fs::symlink("second", root.join("first")).unwrap();
        let path = root.join("first/x");
        let links = links_on_the_way([path.to_str().unwrap()].into_iter());
        let names: Vec<&str> = links
            .keys()
            .filter_map(|path| path.rsplit('/').next())
            .collect();
        assert_eq!(names, ["first", "second"]);
    }
}
