//! What an action changes where its changes stay: in the checkout and on the host, as they are.
//!
//! What it writes is no input of it, and what was there before and was read is one. After the
//! run only what it left can be looked at; so what it read is noted exactly just before it is
//! changed. A script that writes the same into its package on each run has the same inputs on
//! each run.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, CWD};
use rustix::time::{ClockId, clock_gettime};
use vx_core::places::{self, below};
use vx_core::readset::{
    Listed, MAX_CHANGED, Observed, ReadKind, ReadPlace, Seen, is_executable, listing, name_text,
};
use vx_core::stamp::latest_ns;

use super::note::look;
use super::notes::{Intent, Notes};
use super::resolve::Straightener;
use super::scope::{Side, Writes};
use crate::fetch::digest_file;

/// The largest file whose content is noted while its writer waits, in bytes.
const MAX_NOTED: u64 = 256 * 1024 * 1024;

/// What was changed so far.
pub(super) struct Changes {
    /// When the action started, by the clock that files are stamped with, in nanoseconds.
    started_ns: i64,
    /// Files that the action changed, and directories in which it made or removed something.
    touched: HashSet<String>,
    /// Devices of [`places::KERNEL`], where they are file systems of their own.
    kernel: Vec<u64>,
}

/// What was at a path before the action changed it.
#[derive(Default)]
pub(super) struct Before {
    content: Option<Observed>,
    listing: Option<Observed>,
    followed: Option<Observed>,
    itself: Option<Observed>,
}

impl Before {
    /// What a read of this kind found.
    pub(super) fn of(&self, kind: ReadKind) -> Option<Observed> {
        match kind {
            ReadKind::Content => self.content.clone(),
            ReadKind::Listing => self.listing.clone(),
            ReadKind::Metadata => self.followed.clone(),
            ReadKind::Link => self.itself.clone(),
            ReadKind::Existence | ReadKind::Tree => None,
        }
    }
}

impl Changes {
    pub(super) fn new() -> Self {
        let root = device("/");
        let memory = device(places::SHARED_MEMORY);
        let own = |path: &&str| {
            device(path).filter(|device| Some(*device) != root && Some(*device) != memory)
        };
        Self {
            started_ns: now_ns(),
            touched: HashSet::new(),
            kernel: places::KERNEL.iter().filter_map(own).collect(),
        }
    }

    /// When the action started, in nanoseconds since the epoch.
    pub(super) fn started_ns(&self) -> i64 {
        self.started_ns
    }

    /// Whether a file of this stamp was changed since the action started.
    pub(super) fn is_since_start(&self, newest_ns: i64) -> bool {
        latest_ns(newest_ns.into()) >= self.started_ns.into()
    }

    /// Whether the action changed what is there.
    pub(super) fn touched(&self, path: &str) -> bool {
        !self.touched.is_empty() && self.touched.contains(path)
    }

    /// Whether the kernel makes up what is on this device as it is read.
    pub(super) fn is_of_kernel(&self, device: u64) -> bool {
        self.kernel.contains(&device)
    }
}

fn device(path: &str) -> Option<u64> {
    let found = rustix::fs::statat(CWD, path, AtFlags::empty()).ok()?;
    Some(found.st_dev)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

/// The time by the clock that files are stamped with, in nanoseconds since the epoch.
pub(super) fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::RealtimeCoarse);
    nanoseconds(now.tv_sec, now.tv_nsec)
}

impl Notes {
    /// The file's times or mode change, or it is cut.
    pub(super) fn touch(&mut self, path: &str) {
        self.add(path, ReadKind::Metadata);
        self.about_to_change(path);
    }

    /// Something is made, removed, replaced or moved.
    pub(super) fn alter(&mut self, path: &str, intent: Intent) {
        self.add(path, ReadKind::Link);
        match self.glances.itself(path) {
            Seen::Directory { .. } => {
                if intent == Intent::Move {
                    self.give_up(&format!(
                        "it moved the directory {path}, which was there before"
                    ));
                }
                // What is in it stays an input.
                self.about_to_change(path);
                self.about_to_change_in_parent(path);
                return;
            }
            // It may be read under another name from here on.
            Seen::File { .. } => self.add_content(path),
            Seen::Absent | Seen::Link { .. } | Seen::Other => {}
        }
        self.about_to_change(path);
        self.about_to_change_in_parent(path);
        // The link itself, and not what it leads to.
        self.owns(path, Straightener::real_parent(path));
    }

    /// A file is opened in a way that may change it.
    pub(super) fn open_to_write(&mut self, path: &str, flags: i32) {
        let has = |flag: i32| flags & flag == flag;
        let access = flags & libc::O_ACCMODE;
        if has(libc::O_PATH) || has(libc::O_TMPFILE) {
            return self.add(path, ReadKind::Metadata);
        }
        if has(libc::O_EXCL) || has(libc::O_NOFOLLOW) {
            self.add(path, ReadKind::Link);
        }
        match self.glances.followed(path) {
            Seen::Absent if has(libc::O_CREAT) => {
                // Only what is cut off has no part in what becomes of it.
                if !has(libc::O_TRUNC) {
                    self.add(path, ReadKind::Link);
                }
                if let Some(parent) = parent(path) {
                    self.add(parent, ReadKind::Metadata);
                }
                self.about_to_change_in_parent(path);
            }
            Seen::File { .. } if has(libc::O_EXCL | libc::O_CREAT) => return,
            Seen::File { .. } if access == libc::O_RDONLY => return self.add_content(path),
            Seen::File { .. } if has(libc::O_TRUNC) => {}
            Seen::File { .. } => self.add_content(path),
            Seen::Absent | Seen::Directory { .. } | Seen::Link { .. } | Seen::Other => {
                return self.add(path, ReadKind::Metadata);
            }
        }
        self.about_to_change(path);
        self.owns(path, Straightener::real(path));
    }

    /// Whether the action made or changed a path, by this or another name.
    pub(super) fn owns_by_another_name(&self, path: &str) -> bool {
        self.scope.writes == Writes::Stay
            && !self.own.is_empty()
            && Straightener::real(path).is_some_and(|real| real != path && self.is_own(&real))
    }

    fn owns(&mut self, path: &str, real: Option<String>) {
        if let Some(real) = real {
            self.keep_own(real);
        }
        self.keep_own(path.to_owned());
    }

    fn about_to_change_in_parent(&mut self, path: &str) {
        if let Some(parent) = parent(path) {
            let parent = parent.to_owned();
            self.about_to_change(&parent);
        }
    }

    /// Keeps what was read of a path, as the action is the first to change it.
    fn about_to_change(&mut self, path: &str) {
        let room = self.is_room_for(path, self.changes.touched.len());
        let first = room && self.changes.touched.insert(path.to_owned());
        // Another may have changed it since it was read; then nobody knows what was read.
        let unchanged = [fs::symlink_metadata(path), fs::metadata(path)]
            .iter()
            .flatten()
            .all(|found| !self.changes.is_since_start(newest_ns(found)));
        if first && unchanged && self.notes.contains_key(path) {
            self.keep_as_it_is(path);
        }
    }

    /// Notes exactly what is at a path that was read, as far as that is not noted yet.
    pub(super) fn keep_as_it_is(&mut self, path: &str) {
        let Some(note) = self.notes.get_mut(path) else {
            return;
        };
        let mut before = note.before.take().unwrap_or_default();
        let (content, lists) = (note.content, note.listing);
        before.itself.get_or_insert_with(|| itself(path));
        before.followed.get_or_insert_with(|| followed(path));
        if content && before.content.is_none() {
            match self.content(path) {
                Ok(content) => before.content = Some(content),
                Err(why) => self.give_up(&why),
            }
        }
        if lists && before.listing.is_none() {
            before.listing = self.listing(path);
        }
        if let Some(note) = self.notes.get_mut(path) {
            note.before = Some(before);
        }
    }

    fn content(&self, path: &str) -> Result<Observed, String> {
        let Ok(found) = fs::metadata(path) else {
            return Ok(Observed::Absent);
        };
        if found.is_dir() {
            return Ok(Observed::Kind("directory".to_owned()));
        }
        if !found.is_file() {
            return Ok(Observed::Special);
        }
        if found.len() > MAX_NOTED {
            return Err(format!(
                "it read {path} and changed it, which is too large to note"
            ));
        }
        digest_file(Path::new(path))
            .map(Observed::Content)
            .map_err(|error| format!("it read {path} and changed it: {error}"))
    }

    fn listing(&self, path: &str) -> Option<Observed> {
        let Ok(entries) = fs::read_dir(path) else {
            return Some(followed(path));
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.ok()?;
            let inner = entry.path();
            if self.scope.is_unlisted(inner.to_str()?) {
                continue;
            }
            let what = Listed::of(entry.file_type().ok()?, || inner.is_dir());
            names.push((name_text(&entry.file_name()), what));
        }
        Some(listing(names))
    }

    /// All that was changed, where changes stay.
    pub(super) fn changed(&mut self) -> Vec<ReadPlace> {
        if self.scope.writes != Writes::Stay {
            return Vec::new();
        }
        let paths = self.own.iter().chain(&self.changes.touched);
        let mut changed: Vec<ReadPlace> = paths
            .filter_map(|path| match self.scope.side(path) {
                Side::Out(place) => Some(place),
                Side::In => None,
            })
            .collect();
        changed.sort();
        changed.dedup();
        if changed.len() > MAX_CHANGED {
            changed.truncate(MAX_CHANGED);
            self.give_up("it changed more files than a trace holds");
        }
        changed
    }

    /// What lies beside an action's inputs belongs to others and is in no key: an action that
    /// goes by whether it is there can't be kept.
    pub(super) fn note_given(&mut self, path: &str, intent: Intent) {
        let Some(given) = &self.scope.given else {
            return;
        };
        if below(path, &given.base).is_none() {
            return;
        }
        let mut ancestors = Path::new(path).ancestors().filter_map(Path::to_str);
        if ancestors.any(|one| self.given.contains(one)) {
            return;
        }
        let found = look(path, AtFlags::SYMLINK_NOFOLLOW);
        if found == Seen::Absent {
            let makes = match intent {
                Intent::Alter => true,
                Intent::Open(flags) => flags & libc::O_CREAT != 0,
                _ => false,
            };
            if makes {
                self.keep_given(path.to_owned());
            }
            return;
        }
        let is_directory = matches!(found, Seen::Directory { .. });
        // What leads to its inputs is there for every action.
        let leads = is_directory
            && intent != Intent::List
            && self.given.iter().any(|one| below(one, path).is_some());
        // A compiler looks through the libraries there for the one it was told of, and takes that
        // by its content.
        let library = [Some(path), parent(path)]
            .into_iter()
            .flatten()
            .any(|directory| directory.ends_with("/deps"));
        if !library && !leads {
            self.give_up(&format!("it looked at {path}, which is no input of it"));
        }
    }
}

fn parent(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    Some(if parent.is_empty() { "/" } else { parent })
}

fn newest_ns(found: &Metadata) -> i64 {
    let modified = nanoseconds(found.mtime(), found.mtime_nsec());
    modified.max(nanoseconds(found.ctime(), found.ctime_nsec()))
}

fn followed(path: &str) -> Observed {
    fs::metadata(path).map_or(Observed::Absent, |found| described(&found))
}

fn itself(path: &str) -> Observed {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Observed::Absent;
    };
    match fs::read_link(path) {
        Ok(target) => Observed::Link(name_text(target.as_os_str())),
        Err(_) => described(&found),
    }
}

/// As the orchestrator describes what it observes.
fn described(found: &Metadata) -> Observed {
    if found.is_file() {
        return Observed::File {
            size: found.len(),
            executable: is_executable(
                found.permissions().mode(),
                rustix::process::geteuid().is_root(),
            ),
        };
    }
    if found.is_dir() {
        return Observed::Kind("directory".to_owned());
    }
    Observed::Special
}

#[cfg(test)]
mod tests {
    use vx_core::Digest;
    use vx_core::readset::Trace;

    use super::super::scope::{Given, Reach, Scope};
    use super::*;

    struct Bench {
        directory: tempfile::TempDir,
        notes: Notes,
    }

    impl Bench {
        /// Notes of an action that starts after these files are there.
        fn new(files: &[(&str, &str)]) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let root = fs::canonicalize(directory.path()).unwrap();
            for (name, content) in files {
                let path = root.join("ws").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            fs::create_dir_all(root.join("base")).unwrap();
            let written = clock_gettime(ClockId::Realtime);
            let written = nanoseconds(written.tv_sec, written.tv_nsec);
            while Changes::new().started_ns <= written {
                std::thread::yield_now();
            }
            let text = |name: &str| root.join(name).to_str().unwrap().to_owned();
            let notes = Notes::new(Scope {
                checkout: Some(text("ws")),
                toolchain: None,
                writes: Writes::Stay,
                own: vec!["/proc".to_owned()],
                hidden: Vec::new(),
                host: Reach::Everything,
                watched: Vec::new(),
                given: Some(Given {
                    base: text("base"),
                    paths: vec![text("base/given")],
                }),
            });
            Self { directory, notes }
        }

        fn path(&self, name: &str) -> String {
            let root = fs::canonicalize(self.directory.path()).unwrap();
            root.join(name).to_str().unwrap().to_owned()
        }

        fn read(&mut self, name: &str) {
            let path = self.path(name);
            self.notes.note_call(&path, Intent::Open(libc::O_RDONLY));
        }

        fn write(&mut self, name: &str, content: &str) {
            let path = self.path(name);
            let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;
            self.notes.note_call(&path, Intent::Open(flags));
            fs::write(path, content).unwrap();
        }
    }

    fn before(trace: &Trace, name: &str, kind: ReadKind) -> Option<Option<Observed>> {
        let mut sights = trace.sights.iter();
        let found = sights.find(|sight| {
            let is = |path: &str| path.ends_with(name);
            sight.read.kind == kind
                && match &sight.read.place {
                    ReadPlace::Checkout(path) => is(path.as_str()),
                    ReadPlace::Host(path) => is(path),
                    ReadPlace::CargoHome(_) | ReadPlace::Toolchain(_) | ReadPlace::Given(_) => {
                        false
                    }
                }
        });
        found.map(|sight| sight.before.clone())
    }

    #[test]
    fn what_is_only_written_is_no_input_and_what_was_read_is_one() {
        let mut bench = Bench::new(&[("old", "1"), ("both", "1")]);
        bench.write("ws/new", "2");
        bench.read("ws/new");
        bench.write("ws/old", "2");
        bench.read("ws/old");
        bench.read("ws/both");
        bench.write("ws/both", "2");
        bench.read("ws/both");
        let trace = bench.notes.take();
        assert_eq!(before(&trace, "new", ReadKind::Content), None);
        assert_eq!(before(&trace, "old", ReadKind::Content), None);
        let read = Some(Some(Observed::Content(Digest::of(b"1"))));
        assert_eq!(before(&trace, "both", ReadKind::Content), read);
        assert_eq!(trace.incomplete, None);
        let changed: Vec<_> = trace
            .changed
            .iter()
            .map(|place| format!("{place:?}"))
            .collect();
        for name in ["new", "old", "both"] {
            assert!(
                changed.iter().any(|place| place.contains(name)),
                "{changed:?}"
            );
        }
    }

    #[test]
    fn a_change_that_failed_leaves_an_input() {
        let mut bench = Bench::new(&[("kept", "1")]);
        let path = bench.path("ws/kept");
        let flags = libc::O_WRONLY | libc::O_TRUNC;
        bench.notes.note_call(&path, Intent::Open(flags));
        bench.read("ws/kept");
        let trace = bench.notes.take();
        assert!(before(&trace, "kept", ReadKind::Content).is_some());
    }

    #[test]
    fn what_another_changed_since_the_start_is_not_taken_for_what_was_read() {
        let mut bench = Bench::new(&[("both", "1")]);
        bench.read("ws/both");
        fs::write(bench.path("ws/both"), "of another").unwrap();
        bench.write("ws/both", "2");
        let trace = bench.notes.take();
        assert_eq!(before(&trace, "both", ReadKind::Content), Some(None));
    }

    #[test]
    fn a_listed_directory_is_as_it_was_listed() {
        let mut bench = Bench::new(&[("d/a", "1")]);
        let directory = bench.path("ws/d");
        bench.notes.note_call(&directory, Intent::List);
        bench.write("ws/d/b", "2");
        let trace = bench.notes.take();
        let listed = listing(vec![("a".to_owned(), Listed::File)]);
        assert_eq!(before(&trace, "d", ReadKind::Listing), Some(Some(listed)));
    }

    #[test]
    fn what_the_kernel_makes_up_is_nobodys_input() {
        let mut bench = Bench::new(&[]);
        fs::create_dir_all(bench.path("ws")).unwrap();
        let link = bench.path("ws/mounts");
        std::os::unix::fs::symlink("/proc/self/mounts", &link).unwrap();
        bench.read("ws/mounts");
        let trace = bench.notes.take();
        assert_eq!(before(&trace, "mounts", ReadKind::Content), None);
        assert_eq!(before(&trace, "mounts", ReadKind::Link), Some(None));
    }

    #[test]
    fn what_is_moved_is_read_and_a_moved_directory_can_t_be_told() {
        let mut bench = Bench::new(&[("a", "1"), ("d/x", "1")]);
        let path = bench.path("ws/a");
        bench.notes.note_call(&path, Intent::Move);
        let directory = bench.path("ws/d");
        bench.notes.note_call(&directory, Intent::Move);
        let trace = bench.notes.take();
        let read = Some(Some(Observed::Content(Digest::of(b"1"))));
        assert_eq!(before(&trace, "a", ReadKind::Content), read);
        assert!(trace.incomplete.is_some_and(|why| why.contains("moved")));
    }

    #[test]
    fn what_others_left_beside_ones_inputs_can_t_be_keyed() {
        let mut bench = Bench::new(&[]);
        for name in ["base/given", "base/left", "base/deps/liba.rlib"] {
            let path = bench.path(name);
            fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        bench.read("base/given");
        bench.read("base/deps/liba.rlib");
        bench.read("base/absent");
        bench.write("base/own", "");
        bench.read("base/own");
        assert_eq!(bench.notes.take().incomplete, None);
        bench.read("base/left");
        assert!(bench.notes.take().incomplete.is_some());
    }
}
