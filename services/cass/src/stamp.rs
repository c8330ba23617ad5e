//! Stamps: how a file that was hashed is recognised as unchanged without hashing it again.
//!
//! The change time can't be set back by any ordinary means, so a stamp that includes it fails
//! also for a file that was altered and given its old modification time.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::Stat;
use serde::{Deserialize, Serialize};
use vx_core::stamp::step_ns;

/// The coarsest tick of a file system's clock that is allowed for; the kernel's is 10 ms at
/// most.
const TICK: Duration = Duration::from_millis(50);

/// How often the probe of the clock writes: a coarse clock would have to tick between each.
const PROBES: u64 = 64;

/// What a file looked like when its content was known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, u32),
    changed: (i64, u32),
}

impl Stamp {
    /// The stamp of a file, of this moment.
    #[allow(
        clippy::unnecessary_cast,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the fields' types differ between platforms; nanoseconds fit, sizes are positive"
    )]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino as u64,
            size: stat.st_size as u64,
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as u32),
            changed: (stat.st_ctime as i64, stat.st_ctime_nsec as u32),
        }
    }

    /// Whether both are of one file whose content nobody changed in the plain way: links may
    /// have come or gone in between.
    pub(crate) fn same_but_links(&self, other: &Self) -> bool {
        (self.inode, self.size, self.modified) == (other.inode, other.size, other.modified)
    }

    /// The file's number.
    pub(crate) fn inode(&self) -> u64 {
        self.inode
    }
}

/// What a file system's clock allows to be concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Each change after a look at the times gives new times.
    Fine,
    /// Two changes within a tick give the same times.
    Coarse,
}

impl Clock {
    /// Tries the clock of the file system that `file` is on.
    pub(crate) fn probe(mut file: &File) -> io::Result<Self> {
        file.write_all(b"x")?;
        let mut before = rustix::fs::fstat(file)?;
        for _ in 0..PROBES {
            file.write_all_at(b"y", 0)?;
            let after = rustix::fs::fstat(file)?;
            if Stamp::of(&before).changed == Stamp::of(&after).changed {
                return Ok(Self::Coarse);
            }
            before = after;
        }
        Ok(Self::Fine)
    }

    /// The stamp to keep for a file found unchanged before and after it was hashed; `None`
    /// where a later change could leave the same times.
    pub(crate) fn stamp(self, stat: &Stat) -> Option<Stamp> {
        let stamp = Stamp::of(stat);
        match self {
            Self::Fine => Some(stamp),
            Self::Coarse => settled(&stamp, SystemTime::now()).then_some(stamp),
        }
    }
}

/// Whether the last change is so long ago that another one would show.
fn settled(stamp: &Stamp, now: SystemTime) -> bool {
    let Ok(seconds) = u64::try_from(stamp.changed.0) else {
        return false;
    };
    let changed = Duration::new(seconds, stamp.changed.1);
    // A store on a file system with whole seconds has to wait for the next one.
    let step = step_ns(i128::try_from(changed.as_nanos()).unwrap_or(0));
    let step = Duration::from_nanos(u64::try_from(step).unwrap_or(u64::MAX));
    now.duration_since(UNIX_EPOCH + changed)
        .is_ok_and(|age| age > step + TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_clock_gives_no_stamp_for_what_has_just_changed() {
        let file = tempfile::tempfile().unwrap();
        let stat = rustix::fs::fstat(&file).unwrap();
        let stamp = Stamp::of(&stat);
        let changed =
            UNIX_EPOCH + Duration::new(stamp.changed.0.try_into().unwrap(), stamp.changed.1);
        assert!(!settled(&stamp, changed));
        assert!(!settled(&stamp, changed - Duration::from_secs(5)));
        assert!(settled(&stamp, changed + Duration::from_secs(3)));
        let whole = Stamp {
            changed: (1_700_000_001, 0),
            ..stamp
        };
        let changed = UNIX_EPOCH + Duration::from_secs(1_700_000_001);
        assert!(!settled(&whole, changed + 2 * TICK));
        assert!(settled(&whole, changed + Duration::from_secs(1) + 2 * TICK));
    }

    #[test]
    fn a_change_shows_although_the_modification_time_is_restored() {
        let file = tempfile::tempfile().unwrap();
        if Clock::probe(&file).unwrap() == Clock::Coarse {
            return;
        }
        let before = rustix::fs::fstat(&file).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.write_all_at(b"z", 0).unwrap();
        file.set_modified(modified).unwrap();
        let after = rustix::fs::fstat(&file).unwrap();
        assert!(Stamp::of(&before).same_but_links(&Stamp::of(&after)));
        assert_ne!(Stamp::of(&before), Stamp::of(&after));
    }
}
