//! What is kept of one path that an action looked at.

use rustix::fs::{AtFlags, CWD, FileType};
use vx_core::readset::{Read, ReadKind, ReadPlace, Seen, Sight};

use super::changes::Before;

/// How a path was looked at, and what was there the first time.
#[derive(Default)]
pub(super) struct Note {
    pub(super) content: bool,
    pub(super) listing: bool,
    metadata: bool,
    link: bool,
    /// Whether it is where the action can't write.
    pub(super) steady: bool,
    followed: Option<Seen>,
    itself: Option<Seen>,
    /// What exactly was there, where the action changed it afterwards.
    pub(super) before: Option<Before>,
}

impl Note {
    pub(super) fn at(steady: bool) -> Self {
        Self {
            steady,
            ..Self::default()
        }
    }

    /// Whether a look of this kind is noted.
    pub(super) fn has(&self, kind: ReadKind) -> bool {
        match kind {
            ReadKind::Content => self.content,
            ReadKind::Listing => self.listing,
            ReadKind::Link => self.link,
            ReadKind::Metadata | ReadKind::Existence | ReadKind::Tree => self.metadata,
        }
    }

    /// Notes a look of this kind. Whether it is the first one.
    pub(super) fn mark(&mut self, kind: ReadKind) -> bool {
        let noted = match kind {
            ReadKind::Content => &mut self.content,
            ReadKind::Listing => &mut self.listing,
            ReadKind::Link => &mut self.link,
            ReadKind::Metadata | ReadKind::Existence | ReadKind::Tree => &mut self.metadata,
        };
        !std::mem::replace(noted, true)
    }

    /// What was there when the path was first looked at in this way, which may be now.
    pub(super) fn first(&mut self, kind: ReadKind, now: Seen) -> Seen {
        let first = match kind {
            ReadKind::Link => &mut self.itself,
            _ => &mut self.followed,
        };
        *first.get_or_insert(now)
    }

    /// The looks, at the place that the path is.
    pub(super) fn sights(&self, place: &ReadPlace) -> impl Iterator<Item = Sight> {
        let looks = [
            (ReadKind::Content, self.followed),
            (ReadKind::Listing, self.followed),
            (ReadKind::Metadata, self.followed),
            (ReadKind::Link, self.itself),
        ];
        let looks = looks.into_iter().filter(|(kind, _)| self.has(*kind));
        looks.filter_map(|(kind, seen)| {
            Some(Sight {
                read: Read {
                    place: place.clone(),
                    kind,
                },
                seen: seen?,
                before: self.before.as_ref().and_then(|before| before.of(kind)),
            })
        })
    }
}

/// Whether a path that was one thing is another now, in a way that its time does not show once
/// the action is over. What an action may write into changes by what it does itself: directories
/// do, and files become newer than its start.
pub(super) fn is_unsteady(first: Seen, now: Seen, started_ns: i64) -> bool {
    let directory = |seen| matches!(seen, Seen::Directory { .. });
    let newer = matches!(
        now,
        Seen::File { newest_ns } | Seen::Link { newest_ns } if newest_ns >= started_ns
    );
    first != now && !directory(first) && !directory(now) && !newer
}

/// What was found at a path.
#[derive(Clone, Copy)]
struct Found {
    seen: Seen,
    /// The device it is on; `None` for nothing.
    device: Option<u64>,
}

/// How many paths are kept that one call looks at; past that they are looked at again.
const MOST_GLANCES: usize = 64;

/// What was found at paths while one call is noted, so that each is looked at once: its thread waits
/// for the answer.
#[derive(Default)]
pub(super) struct Glances {
    itself: Vec<(String, Found)>,
    followed: Vec<(String, Found)>,
}

impl Glances {
    /// Another call is noted.
    pub(super) fn clear(&mut self) {
        self.itself.clear();
        self.followed.clear();
    }

    /// What is at a path now, be it nothing; a link itself.
    pub(super) fn itself(&mut self, path: &str) -> Seen {
        if let Some(known) = known(&self.itself, path) {
            return known.seen;
        }
        let found = find(path, AtFlags::SYMLINK_NOFOLLOW);
        keep(&mut self.itself, path, found);
        found.seen
    }

    /// What a path leads to now, be it nothing.
    pub(super) fn followed(&mut self, path: &str) -> Seen {
        self.find_followed(path).seen
    }

    /// The device of what a path leads to; `None` for nothing.
    pub(super) fn device(&mut self, path: &str) -> Option<u64> {
        self.find_followed(path).device
    }

    fn find_followed(&mut self, path: &str) -> Found {
        let no_link = known(&self.itself, path)
            .filter(|found| !matches!(found.seen, Seen::Link { .. }))
            .or_else(|| known(&self.followed, path));
        if let Some(known) = no_link {
            return known;
        }
        let found = find(path, AtFlags::empty());
        keep(&mut self.followed, path, found);
        found
    }
}

fn known(glances: &[(String, Found)], path: &str) -> Option<Found> {
    let mut glances = glances.iter();
    glances.find_map(|(known, found)| (known == path).then_some(*found))
}

fn keep(glances: &mut Vec<(String, Found)>, path: &str, found: Found) {
    if glances.len() < MOST_GLANCES {
        glances.push((path.to_owned(), found));
    }
}

/// What is at a path now, be it nothing.
pub(super) fn look(path: &str, flags: AtFlags) -> Seen {
    find(path, flags).seen
}

fn find(path: &str, flags: AtFlags) -> Found {
    let Ok(found) = rustix::fs::statat(CWD, path, flags) else {
        return Found {
            seen: Seen::Absent,
            device: None,
        };
    };
    let nanoseconds = |seconds: i64, rest: u64| {
        seconds
            .saturating_mul(1_000_000_000)
            .saturating_add_unsigned(rest)
    };
    let modified = nanoseconds(found.st_mtime, found.st_mtime_nsec);
    let changed = nanoseconds(found.st_ctime, found.st_ctime_nsec);
    let newest_ns = modified.max(changed);
    let seen = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => Seen::File { newest_ns },
        FileType::Directory => Seen::Directory { newest_ns },
        FileType::Symlink => Seen::Link { newest_ns },
        _ => Seen::Other,
    };
    Found {
        seen,
        device: Some(found.st_dev),
    }
}
