//! What was seen, put in order as it comes.

mod missed;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::path::Path;

use rustix::fs::AtFlags;
use vx_core::places::{self, below};
use vx_core::readset::{
    INTERRUPTED, MAX_SIGHT_BYTES, MAX_SIGHTS, MAX_WROTE, ReadKind, ReadPlace, Seen, Trace,
};

use self::missed::Missed;
use super::changes::Changes;
use super::memory::LONGEST;
use super::note::{Glances, Note, is_unsteady, look};
use super::program::interpreter;
use super::real::RealPaths;
use super::resolve::{Resolved, Straightener};
use super::scope::{Reach, Scope, Side, Writes};
use super::walk::{Walker, Way};

/// How far interpreters of interpreters are followed: further than the kernel does.
const INTERPRETERS: usize = 8;

/// What a call is about to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Open it with these flags.
    Open(i32),
    /// See what is there.
    Look,
    /// See what is there without following a last link.
    LookAtLink,
    /// List the directory.
    List,
    /// Run it.
    Execute,
    /// Make, remove or replace it.
    Alter,
    /// Have what is there come to be elsewhere.
    Move,
    /// Change the file there.
    Touch,
}

/// Everything seen so far.
pub(super) struct Notes {
    pub(super) scope: Scope,
    pub(super) notes: HashMap<String, Note>,
    /// How many there are, each kind for itself, and the bytes of their paths.
    sights: usize,
    bytes: usize,
    /// What the action made itself, with all below: no input.
    pub(super) own: HashSet<String>,
    executed: HashSet<String>,
    /// What it looked for and the root does not show.
    missed: Missed,
    /// Whether the action made links through which its own paths may lead out.
    made_links: bool,
    straightener: Straightener,
    walker: Walker,
    pub(super) glances: Glances,
    /// The thread whose call is noted.
    pub(super) caller: i32,
    pub(super) real_paths: RealPaths,
    unsteady: Option<String>,
    reached_for: Option<SocketAddr>,
    incomplete: Option<String>,
    pub(super) changes: Changes,
    /// What of the directory shared with others is this action's.
    pub(super) given: HashSet<String>,
}

impl Notes {
    pub(super) fn new(scope: Scope) -> Self {
        let given = scope
            .given
            .iter()
            .flat_map(|given| given.paths.iter().cloned());
        Self {
            given: given.collect(),
            changes: Changes::new(),
            scope,
            notes: HashMap::new(),
            sights: 0,
            bytes: 0,
            own: HashSet::new(),
            executed: HashSet::new(),
            missed: Missed::default(),
            made_links: false,
            straightener: Straightener::default(),
            walker: Walker::default(),
            glances: Glances::default(),
            caller: 0,
            real_paths: RealPaths::default(),
            unsteady: None,
            reached_for: None,
            incomplete: None,
        }
    }

    /// A thread's call is noted.
    pub(super) fn begin(&mut self, caller: i32) {
        self.caller = caller;
        self.glances.clear();
    }

    /// A call is noted that looks at this path alone.
    #[cfg(test)]
    pub(super) fn note_call(&mut self, path: &str, intent: Intent) {
        self.begin(0);
        self.note(path, intent);
    }

    /// Where a path leads for the caller, from a descriptor of its or its working directory.
    /// `follow` is whether a link at the end is followed.
    ///
    /// # Errors
    /// When that can't be found out.
    pub(super) fn resolve(
        &mut self,
        directory: Option<i32>,
        raw: &str,
        follow: bool,
    ) -> Result<Resolved, String> {
        let glances = &mut self.glances;
        let way = self
            .walker
            .walk(self.caller, directory, raw, follow, glances)?;
        let (resolved, links) = match way {
            Way::Plain { path, ended, links } => {
                if let Some(ended) = ended {
                    self.note_missed(&ended, Intent::Look);
                }
                (self.straighten(path), links)
            }
            Way::Nothing => return Ok(Resolved::Nothing),
            Way::Through { path, links } => (Resolved::Path(path), links),
            Way::Kernel { path, links } => (Resolved::Kernel(path), links),
        };
        // Who has what a link leads to can ask the kernel where that is, and look around there.
        for link in links {
            if !self.is_noted(&link, ReadKind::Link) {
                self.note_way(&link);
            }
        }
        Ok(resolved)
    }

    /// Notes a link on a way, or that a directory of the checkout on it is none.
    fn note_way(&mut self, path: &str) {
        let notes = match self.glances.itself(path) {
            Seen::Link { .. } => true,
            Seen::Directory { .. } => matches!(
                self.scope.side(path),
                Side::Out(ReadPlace::Checkout(inside)) if !inside.is_empty()
            ),
            Seen::File { .. } | Seen::Absent | Seen::Other => false,
        };
        if notes {
            self.note(path, Intent::LookAtLink);
        }
    }

    /// Takes `.` and `..` out of an absolute path. What a `..` means is up to the links before
    /// it, which so are looked at.
    pub(super) fn straighten(&mut self, path: String) -> Resolved {
        if let Some(before) = before_last_parent(&path)
            && self.straightener.is_new(before)
        {
            self.real_path(before);
        }
        self.straightener.straighten(path)
    }

    /// Something may have been missed.
    pub(super) fn give_up(&mut self, why: &str) {
        self.incomplete.get_or_insert_with(|| why.to_owned());
    }

    /// A look ended, by a signal, before it was noted: its caller may take what is there for
    /// absent.
    pub(super) fn interrupted(&mut self) {
        self.unsteady.get_or_insert_with(|| INTERRUPTED.to_owned());
    }

    /// It tries to reach something on a network.
    pub(super) fn reaches_for(&mut self, address: SocketAddr) {
        self.reached_for.get_or_insert(address);
    }

    /// Notes what a call is about to do.
    pub(super) fn note(&mut self, path: &str, intent: Intent) {
        if intent == Intent::Execute {
            self.note_interpreters(path);
        }
        self.note_path(path, intent);
    }

    /// How this ends is up to whether anything is in a directory.
    pub(super) fn note_emptied(&mut self, path: &str) {
        if matches!(self.glances.itself(path), Seen::Directory { .. }) {
            self.note(path, Intent::List);
        }
    }

    /// What is made needs a directory to be made in.
    fn note_parent(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && self.is_input(parent)
        {
            self.add(parent, ReadKind::Metadata);
        }
    }

    /// What is looked for below a file is not there for another reason than what is not there at
    /// all.
    fn note_file_above(&mut self, path: &str) {
        for above in Path::new(path).ancestors().skip(1).filter_map(Path::to_str) {
            if self.walker.knows(above) {
                return;
            }
            match self.glances.followed(above) {
                Seen::Absent => {}
                Seen::File { .. } if self.is_input(above) => {
                    return self.add(above, ReadKind::Metadata);
                }
                _ => return,
            }
        }
    }

    fn note_path(&mut self, path: &str, intent: Intent) {
        self.note_shown_below(path, intent);
        self.note_given(path, intent);
        self.note_move(path, intent);
        let outside = self.is_input(path);
        if outside && self.owns_by_another_name(path) {
            // What it made is no input, but the link is that leads there.
            self.add(path, ReadKind::Link);
        } else if outside {
            self.note_outside(path, intent);
        } else if self.made_links
            && let Some(real) = Straightener::real(path)
            && matches!(self.scope.side(&real), Side::Out(_))
            && !(self.is_own(&real) && self.is_changed(&real))
        {
            self.note_outside(&real, intent);
        } else {
            self.note_missed(path, intent);
        }
    }

    /// The action makes a link to here. One that stays in a directory of its own leads out of
    /// nothing.
    pub(super) fn links_to(&mut self, target: &[u8]) {
        let leads_out = target.starts_with(b"/") || memchr::memmem::find(target, b"..").is_some();
        self.made_links |= leads_out;
        self.forget_ways();
    }

    fn forget_ways(&mut self) {
        self.straightener.forget();
        self.walker.forget();
    }

    /// What is about to be made, removed or moved may change where other paths lead: among what is
    /// not its own, any link does.
    fn note_move(&mut self, path: &str, intent: Intent) {
        if !matches!(intent, Intent::Alter | Intent::Move) {
            return;
        }
        self.made_links |= matches!(self.scope.side(path), Side::Out(_));
        let link = matches!(self.glances.itself(path), Seen::Link { .. });
        if link || intent == Intent::Move {
            self.forget_ways();
        }
    }

    /// Keeps that the action made or changed a path.
    pub(super) fn keep_own(&mut self, path: String) {
        if self.is_room_for(&path, self.own.len()) {
            self.own.insert(path);
        }
    }

    /// Keeps that what lies among others' is the action's.
    pub(super) fn keep_given(&mut self, path: String) {
        if self.is_room_for(&path, self.given.len()) {
            self.given.insert(path);
        }
    }

    /// Whether a set of so many may have one more. Where not, no result is kept.
    pub(super) fn is_room_for(&mut self, path: &str, count: usize) -> bool {
        let room = count < MAX_SIGHTS && path.len() <= LONGEST;
        if !room {
            self.give_up("it made or ran more files than a trace holds");
        }
        room
    }

    fn note_interpreters(&mut self, program: &str) {
        let mut path = program.to_owned();
        for _ in 0..INTERPRETERS {
            // A program that can't change need not be looked at twice.
            if self.executed.contains(&path) {
                return;
            }
            if self.is_fixed(&path) && self.is_room_for(&path, self.executed.len()) {
                self.executed.insert(path.clone());
            }
            let found = match interpreter(&path) {
                Ok(Some(found)) if !found.is_empty() => found,
                Ok(_) => return,
                Err(why) => return self.give_up(&why),
            };
            let found = match self.resolve(None, &found, true) {
                Ok(Resolved::Path(found)) => found,
                Ok(_) => return,
                Err(why) => return self.give_up(&why),
            };
            self.note_path(&found, Intent::Execute);
            path = found;
        }
        self.give_up("programs run programs that run programs, more often than is followed");
    }

    /// Whether nobody within can change what is there.
    fn is_fixed(&self, path: &str) -> bool {
        let side = self.scope.side(path);
        self.scope.writes != Writes::Stay
            && matches!(
                side,
                Side::Out(ReadPlace::Host(_) | ReadPlace::Toolchain(_))
            )
    }

    fn note_outside(&mut self, path: &str, intent: Intent) {
        if self.scope.host == Reach::Everything && self.is_of_kernel(path) {
            // What is there is no file of anybody's; a link that leads there may be.
            if matches!(self.glances.itself(path), Seen::Link { .. }) {
                self.add(path, ReadKind::Link);
            }
            return;
        }
        match intent {
            Intent::Touch if self.scope.writes == Writes::Stay => self.touch(path),
            Intent::Alter | Intent::Move if self.scope.writes == Writes::Stay => {
                self.alter(path, intent);
            }
            Intent::Open(flags) if self.scope.writes == Writes::Stay && writes(flags) => {
                self.open_to_write(path, flags);
            }
            Intent::Look | Intent::Touch => self.add(path, ReadKind::Metadata),
            Intent::LookAtLink => self.add(path, ReadKind::Link),
            Intent::List => self.add(path, ReadKind::Listing),
            Intent::Execute => self.add_content(path),
            Intent::Open(flags) => self.note_open(path, flags),
            Intent::Alter | Intent::Move => {
                self.note_parent(path);
                self.add(path, ReadKind::Link);
                self.becomes_own(path);
            }
        }
    }

    /// Whether a path leads to what the kernel makes up as it is read.
    fn is_of_kernel(&mut self, path: &str) -> bool {
        let device = self.glances.device(path);
        device.is_some_and(|device| self.changes.is_of_kernel(device))
    }

    fn note_open(&mut self, path: &str, flags: i32) {
        let has = |flag: i32| flags & flag == flag;
        if has(libc::O_NOFOLLOW) || has(libc::O_CREAT | libc::O_EXCL) {
            self.add(path, ReadKind::Link);
        }
        if has(libc::O_PATH) || has(libc::O_TMPFILE) {
            self.add(path, ReadKind::Metadata);
            return;
        }
        if has(libc::O_CREAT) {
            self.note_parent(path);
        }
        let gone = has(libc::O_TRUNC) && flags & libc::O_ACCMODE != libc::O_RDONLY;
        if gone || (flags & libc::O_ACCMODE == libc::O_WRONLY && !has(libc::O_APPEND)) {
            self.add(path, ReadKind::Metadata);
        } else {
            self.add_content(path);
        }
        if writes(flags) {
            self.becomes_own(path);
        }
    }

    /// A file's content; of anything else only what it is.
    pub(super) fn add_content(&mut self, path: &str) {
        if self.is_noted(path, ReadKind::Content) {
            return;
        }
        let seen = self.glances.followed(path);
        let kind = match seen {
            Seen::File { .. } => ReadKind::Content,
            _ => ReadKind::Metadata,
        };
        self.add_seen(path, kind, seen);
    }

    /// In a layer of its own, what the action makes or changes is no input any more. What was
    /// there before is one, whether the change succeeds or not.
    fn becomes_own(&mut self, path: &str) {
        if self.scope.writes != Writes::ToLayer {
            return;
        }
        match self.glances.itself(path) {
            // What is in it stays an input.
            Seen::Directory { .. } => return,
            Seen::Absent => {}
            Seen::File { .. } | Seen::Link { .. } | Seen::Other => {
                self.add(path, ReadKind::Link);
                self.add_content(path);
            }
        }
        self.keep_own(path.to_owned());
    }

    /// Whether what is at a path is an input that the trace is for, and not the action's own.
    fn is_input(&self, path: &str) -> bool {
        matches!(self.scope.side(path), Side::Out(_)) && !self.is_own(path)
    }

    pub(super) fn is_own(&self, path: &str) -> bool {
        if self.own.is_empty() {
            return false;
        }
        let mut ancestors = Path::new(path).ancestors().filter_map(Path::to_str);
        ancestors.any(|one| self.own.contains(one) && self.is_changed(one))
    }

    /// A change that was about to be may have failed: what stays is then as it was, and older
    /// than the action. What is in a directory that was made may have been moved there.
    fn is_changed(&self, path: &str) -> bool {
        match look(path, AtFlags::SYMLINK_NOFOLLOW) {
            Seen::File { newest_ns } | Seen::Link { newest_ns } => {
                self.changes.is_since_start(newest_ns)
            }
            Seen::Absent | Seen::Directory { .. } | Seen::Other => true,
        }
    }

    pub(super) fn add(&mut self, path: &str, kind: ReadKind) {
        let kind = match kind {
            ReadKind::Link if self.is_put_there(path) => ReadKind::Metadata,
            kind => kind,
        };
        if self.is_noted(path, kind) {
            return;
        }
        let seen = match kind {
            ReadKind::Link => self.glances.itself(path),
            _ => self.glances.followed(path),
        };
        self.add_seen(path, kind, seen);
    }

    /// Whether the root has something of its own at a path, where the host may have a link: a
    /// directory that is mounted there, or such a link as `/lib`, made a moment ago. What it leads
    /// to counts, and not since when.
    fn is_put_there(&self, path: &str) -> bool {
        match &self.scope.host {
            Reach::Everything => false,
            Reach::These(shown) => {
                places::HOST.contains(&path)
                    || self.scope.checkout.as_deref() == Some(path)
                    || shown.iter().any(|shown| shown == path)
            }
        }
    }

    /// Whether a look at the host is noted already: what an action can't write is held against
    /// what is there afterwards alone.
    fn is_noted(&self, path: &str, kind: ReadKind) -> bool {
        let Some(note) = self.notes.get(path).filter(|note| note.steady) else {
            return false;
        };
        note.has(kind)
    }

    fn add_seen(&mut self, path: &str, kind: ReadKind, seen: Seen) {
        if self.sights >= MAX_SIGHTS || self.bytes + path.len() > MAX_SIGHT_BYTES {
            self.give_up("it looked at more files than a trace holds");
            return;
        }
        if !self.notes.contains_key(path) {
            let steady = self.scope.writes != Writes::Stay
                && !matches!(self.scope.side(path), Side::Out(ReadPlace::Checkout(_)));
            let note = Note::at(steady);
            self.notes.insert(path.to_owned(), note);
        }
        let Some(note) = self.notes.get_mut(path) else {
            return;
        };
        if note.mark(kind) {
            self.sights += 1;
            self.bytes += path.len();
        }
        let first = note.first(kind, seen);
        let absent = seen == Seen::Absent && first == seen;
        if self.unsteady.is_none() && is_unsteady(first, seen, self.changes.started_ns()) {
            self.unsteady = Some(path.to_owned());
        }
        // What the action changed before it looked is as it left it.
        if self.changes.touched(path) {
            self.keep_as_it_is(path);
        }
        if absent {
            self.note_file_above(path);
        }
    }

    /// All of it, in order.
    pub(super) fn take(&mut self) -> Trace {
        let mut sights = Vec::with_capacity(self.notes.len());
        for (path, note) in std::mem::take(&mut self.notes) {
            let Side::Out(place) = self.scope.side(&path) else {
                continue;
            };
            sights.extend(note.sights(&place));
        }
        sights.sort_by(|one, two| one.read.cmp(&two.read));
        let changed = self.changed();
        Trace {
            sights,
            unsteady: self.unsteady.take(),
            reached_for: self.reached_for.map(|address| address.to_string()),
            incomplete: self.incomplete.take(),
            wrote: self.wrote(),
            changed,
            missed: self.missed.take(),
        }
    }

    /// Files of the checkout that the action made or changed, and left. What git keeps for
    /// itself concerns nobody.
    fn wrote(&self) -> Vec<String> {
        let (Some(checkout), Writes::ToLayer) = (&self.scope.checkout, self.scope.writes) else {
            return Vec::new();
        };
        let mut wrote: Vec<String> = self
            .own
            .iter()
            .filter(|path| matches!(look(path, AtFlags::SYMLINK_NOFOLLOW), Seen::File { .. }))
            .filter_map(|path| below(path, checkout))
            .filter(|path| below(path, ".git").is_none())
            .map(str::to_owned)
            .collect();
        wrote.sort();
        wrote.truncate(MAX_WROTE);
        wrote
    }
}

/// A path up to its last `..`.
fn before_last_parent(path: &str) -> Option<&str> {
    let with_slash = path.rfind("/../");
    let last = path.ends_with("/..").then(|| path.len() - "/..".len());
    last.or(with_slash).map(|end| &path[..end])
}

/// Whether a file that is opened so may be changed or made.
fn writes(flags: i32) -> bool {
    flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_CREAT != 0
}

#[cfg(test)]
mod tests;
