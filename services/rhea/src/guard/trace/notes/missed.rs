//! What an action looked for on the host and its root does not show.

use std::collections::BTreeSet;

use vx_core::places::{self, SHARED_MEMORY, below};
use vx_core::readset::{MAX_MISSED, MAX_MISSED_BYTES, ReadKind, Seen};

use super::super::note::Glances;
use super::super::scope::Reach;
use super::{Intent, Notes};

/// Where an action has files of its own in memory, beside those that its root hides.
const MEMORY: [&str; 2] = ["/tmp", SHARED_MEMORY];

/// The paths.
#[derive(Default)]
pub(super) struct Missed {
    paths: BTreeSet<String>,
    bytes: usize,
}

impl Missed {
    /// Whether an action has something of its own at a path that its root does not show, or looks among
    /// such things.
    pub(super) fn is_there(&self, path: &str, glances: &mut Glances) -> bool {
        self.paths.contains(path)
            || glances.itself(path) != Seen::Absent
            || is_among_own(path, glances)
    }

    /// Notes a look at such a path, where nothing is; whether there was room.
    pub(super) fn note(&mut self, path: &str) -> bool {
        if self.paths.contains(path) {
            return true;
        }
        let has_room = self.paths.len() < MAX_MISSED && self.bytes + path.len() <= MAX_MISSED_BYTES;
        if has_room {
            self.bytes += path.len();
            self.paths.insert(path.to_owned());
        }
        has_room
    }

    /// All of them, sorted.
    pub(super) fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.paths).into_iter().collect()
    }
}

/// What has to be there for a call to do what it is about to: what is made is the action's own, but is
/// not made without a directory.
pub(super) fn sought(path: &str, intent: Intent) -> &str {
    let makes = match intent {
        Intent::Alter => true,
        Intent::Open(flags) => flags & libc::O_CREAT != 0,
        _ => false,
    };
    match path.rsplit_once('/') {
        Some(("", _)) if makes => "/",
        Some((parent, _)) if makes => parent,
        _ => path,
    }
}

/// Whether a path is looked for in a directory in memory that the action made: such names are often
/// made up, and another run would miss others.
fn is_among_own(path: &str, glances: &mut Glances) -> bool {
    let Some((parent, _)) = path.rsplit_once('/') else {
        return false;
    };
    let mut memory = MEMORY.into_iter();
    memory.any(|memory| below(parent, memory).is_some_and(|inside| !inside.is_empty()))
        && glances.followed(parent) != Seen::Absent
}

impl Notes {
    /// What the root does not show is not there, whatever the host has.
    pub(super) fn note_missed(&mut self, path: &str, intent: Intent) {
        let sought = sought(path, intent);
        if !self.scope.hides(sought) {
            return;
        }
        let shown = !self.scope.hides_of_checkout(sought)
            && self.missed.is_there(sought, &mut self.glances);
        if !shown {
            self.keep_missed(sought);
        }
    }

    fn keep_missed(&mut self, path: &str) {
        if !self.missed.note(path) {
            self.give_up("it looked for more files than a trace holds");
        }
    }

    /// A directory that the root has only because of what is shown below it is there, and lists
    /// that, as far as it is on the host.
    pub(super) fn note_shown_below(&mut self, path: &str, intent: Intent) {
        let Reach::These(shown) = &self.scope.host else {
            return;
        };
        // More may be shown another time.
        let lists = intent == Intent::List && self.scope.hides(path);
        let is_below = |shown: &&String| {
            let is_below = below(shown, path).is_some_and(|inside| !inside.is_empty());
            (is_below || path == "/") && !places::HOST.contains(&shown.as_str())
        };
        let shown: Vec<String> = shown.iter().filter(is_below).cloned().collect();
        for shown in shown {
            self.add(&shown, ReadKind::Metadata);
        }
        if lists {
            self.keep_missed(path);
        }
    }
}
