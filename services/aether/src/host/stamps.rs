//! Whether a file's stamp can be believed: whether it will show the next change of the file.
//!
//! Four things can hide a change. The stamp's clock may not have gone on, which a file system with
//! whole seconds takes a second for. The file may be written through a shared mapping, which moves
//! the stamp once and then not again before the page was written back. The file system may stamp
//! by the clock of another machine. And it may have no change time of its own
//! ([`crate::host::change_times`]).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};
use vx_core::stamp::{LONGEST_STEP_NS, latest_ns};

use crate::host::change_times::{ChangeTimes, IN_MEMORY, ON_DISK, Shown};

/// How much older than its clock's step a change must be, in nanoseconds. The kernel stamps with
/// at best a jiffy (10 ms at 100 Hz).
const SLACK_NS: i128 = 50_000_000;

/// How long the kernel may leave a page of a mapping that was written as it is, in nanoseconds: 30 s
/// until it is old, 5 s between looks for old ones, and some for the writing. Meanwhile nothing
/// moves the stamp. Also how far the clock of another machine may be off.
const WRITE_BACK_NS: i128 = 40_000_000_000;

/// How far a file's stamp may be ahead of the clock that is read: files are stamped by a finer one.
const AHEAD_NS: i128 = 1_000_000_000;

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    mode: u32,
    modified_ns: i128,
    changed_ns: i128,
}

impl Stamp {
    /// The stamp that metadata shows.
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// The file's size, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Takes in what this shows of its device.
    pub(crate) fn is_seen_by(&self, shown: &Shown) {
        shown.see(self.device, self.modified_ns, self.changed_ns);
    }

    /// Whether the change time in it is one, on a file system of this kind.
    pub(crate) fn has_own_change_time(&self, shown: &Shown, times: ChangeTimes) -> bool {
        shown.are_own(times, self.device)
    }

    /// The later of both times as they are, in nanoseconds since the epoch.
    pub(crate) fn later_ns(&self) -> i128 {
        self.modified_ns.max(self.changed_ns)
    }

    /// The latest moment at which the file can have been changed last, as far as its times tell, in
    /// nanoseconds since the epoch.
    ///
    /// A time of modification that is yet to come says nothing of that: an archive brought it.
    pub(crate) fn newest_ns(&self) -> i128 {
        let changed_ns = latest_ns(self.changed_ns);
        if self.modified_ns > coarse_now_ns() + AHEAD_NS {
            return changed_ns;
        }
        changed_ns.max(latest_ns(self.modified_ns))
    }

    /// Whether this is the same file, which nobody wrote to since: it may have been moved.
    pub(crate) fn is_same_but_moved(&self, other: &Self) -> bool {
        let parts = |of: &Self| (of.device, of.inode, of.size, of.modified_ns);
        parts(self) == parts(other)
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// The time by the clock that file systems stamp with, in nanoseconds since the epoch: never
/// later than the stamp of anything written from now on.
pub(crate) fn coarse_now_ns() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    nanoseconds(time.tv_sec, time.tv_nsec)
}

/// What is known of a file, beside its stamp, just before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Witness {
    /// The time, in nanoseconds since the epoch.
    pub(crate) now_ns: i128,
    /// What keeps it.
    pub(crate) kept: Kept,
    /// What that keeps of its change time.
    pub(crate) change_times: ChangeTimes,
    /// Its pages in memory.
    pub(crate) pages: Pages,
}

/// What keeps a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// A file system that stamps by this machine's clock and writes pages back.
    Here,
    /// Memory alone, where pages are never written back: a mapping that was written once hides
    /// each later write.
    InMemory,
    /// Anything else: it may stamp by a clock of its own.
    Elsewhere,
}

/// What is known of a file's pages in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pages {
    /// Each is as it was written back: the next write through a mapping moves the stamp.
    Clean,
    /// Some wait to be written back: a mapping may change them unseen.
    Waiting,
    /// The kernel does not say.
    Unknown,
}

impl Witness {
    /// Looks at an open file.
    pub(crate) fn of(file: &File) -> Self {
        let kind = kind(file);
        Self {
            now_ns: coarse_now_ns(),
            kept: kept(kind),
            change_times: ChangeTimes::of_kind(kind),
            pages: pages(file),
        }
    }

    /// Looks again, after the file was read: pages that were not in memory before did not wait to
    /// be written back, if its pages can be seen at all.
    pub(crate) fn is_seen_in(&mut self, file: &File) {
        if self.pages == Pages::Unknown {
            self.pages = pages(file);
        }
    }
}

/// Whether a file of this stamp, which is read now, can't be changed without another stamp.
/// `own` says that vx wrote it last, and that nobody had a mapping of it then.
pub(crate) fn shows_the_next_change(stamp: &Stamp, witness: &Witness, own: bool) -> bool {
    let age_ns = witness.now_ns - stamp.newest_ns();
    let clock_went_on = match witness.kept {
        Kept::Here | Kept::InMemory => age_ns > SLACK_NS,
        Kept::Elsewhere => age_ns > WRITE_BACK_NS,
    };
    let mappings_show = own
        || match (witness.kept, witness.pages) {
            (Kept::InMemory, _) | (_, Pages::Waiting) => false,
            (_, Pages::Clean) => true,
            (_, Pages::Unknown) => age_ns > WRITE_BACK_NS,
        };
    clock_went_on && mappings_show
}

/// Only these are known to stamp by this machine's clock; the rest is given more time.
fn kept(kind: Option<u32>) -> Kept {
    const OVERLAY: u32 = 0x794C_7630;
    match kind {
        Some(kind) if IN_MEMORY.contains(&kind) => Kept::InMemory,
        Some(kind) if ON_DISK.contains(&kind) || kind == OVERLAY => Kept::Here,
        _ => Kept::Elsewhere,
    }
}

/// The number of a file's file system's kind.
fn kind(file: &File) -> Option<u32> {
    let found = rustix::fs::fstatfs(file).ok()?;
    u32::try_from(found.f_type & 0xFFFF_FFFF).ok()
}

/// Asks the kernel, which can say since 6.5.
fn pages(file: &File) -> Pages {
    /// `cachestat`, the same number on all processors.
    const CACHESTAT: libc::c_long = 451;
    // From the start, to the end.
    let range = [0_u64; 2];
    // In memory, changed, being written back, evicted, evicted lately.
    let mut counted = [0_u64; 5];
    // SAFETY: the kernel reads `range` and writes `counted`, which have the sizes of its structures
    // and live longer than the call.
    let done = unsafe {
        libc::syscall(
            CACHESTAT,
            file.as_raw_fd(),
            range.as_ptr(),
            counted.as_mut_ptr(),
            0,
        )
    };
    let [in_memory, changed, ..] = counted;
    match (done, in_memory, changed) {
        (0, _, 1..) => Pages::Waiting,
        (0, 1.., 0) => Pages::Clean,
        // An overlay's pages are those of another file: none are seen in memory. Nor are those of
        // a file that nobody read.
        _ => Pages::Unknown,
    }
}

/// Waits for the clock that files are stamped with to pass a stamp: only a run that starts
/// after it can tell that the file did not change under it. A stamp far in the future (the
/// clock was set back) is not waited for.
pub(crate) async fn until_after(stamp_ns: i128) {
    const FURTHEST_NS: i128 = LONGEST_STEP_NS + AHEAD_NS;
    loop {
        let ahead_ns = stamp_ns - coarse_now_ns();
        if !(0..FURTHEST_NS).contains(&ahead_ns) {
            return;
        }
        // The clock itself is what is waited for; it goes on by a tick at a time.
        let wait = u64::try_from(ahead_ns).unwrap_or(0) + 1_000_000;
        tokio::time::sleep(std::time::Duration::from_nanos(wait)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i128 = 1_000_000_000;

    fn stamp(time_ns: i128) -> Stamp {
        Stamp {
            device: 1,
            inode: 1,
            size: 1,
            mode: 0o100_644,
            modified_ns: time_ns,
            changed_ns: time_ns,
        }
    }

    /// Whether a stamp is believed so long after it.
    fn believed(stamp_ns: i128, age_ns: i128, kept: Kept, pages: Pages) -> bool {
        let witness = Witness {
            now_ns: stamp_ns + age_ns,
            kept,
            change_times: ChangeTimes::Own,
            pages,
        };
        shows_the_next_change(&stamp(stamp_ns), &witness, false)
    }

    #[test]
    fn the_clock_has_to_go_on() {
        let even = 1_700_000_000 * SECOND_NS;
        for (time, step) in [
            (even, 2 * SECOND_NS),
            (even + SECOND_NS, SECOND_NS),
            (even + 120_000_000, 10_000_000),
            (even + 123_456_789, 1),
        ] {
            let believed = |age| believed(time, age, Kept::Here, Pages::Clean);
            assert!(!believed(step - 1), "{time}");
            assert!(!believed(step + SLACK_NS - 1), "{time}");
            assert!(believed(step + SLACK_NS), "{time}");
            assert!(!believed(-3600 * SECOND_NS), "the clock was set back");
        }
    }

    #[test]
    fn mappings_have_to_show() {
        let time = 1_700_000_000 * SECOND_NS + 123_456_789;
        let young = SECOND_NS;
        let old = WRITE_BACK_NS + 2 * SECOND_NS;
        for (kept, pages, at_young, at_old) in [
            (Kept::Here, Pages::Clean, true, true),
            (Kept::Here, Pages::Waiting, false, false),
            (Kept::Here, Pages::Unknown, false, true),
            (Kept::InMemory, Pages::Clean, false, false),
            (Kept::Elsewhere, Pages::Clean, false, true),
            (Kept::Elsewhere, Pages::Unknown, false, true),
        ] {
            assert_eq!(believed(time, young, kept, pages), at_young, "{kept:?}");
            assert_eq!(believed(time, old, kept, pages), at_old, "{kept:?}");
        }
    }
}
