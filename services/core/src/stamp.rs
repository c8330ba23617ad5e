//! What a file's time says of when it was changed.
//!
//! File systems keep times in steps of their own: nanoseconds, whole seconds (ext2, ext3, and ext4
//! with small inodes, some network ones), two seconds (FAT). The time itself shows the coarsest
//! step that it can be of, so no file system has to be known by name.

/// A second, in nanoseconds.
const SECOND_NS: i128 = 1_000_000_000;

/// Finer steps than this are as good as none: the clock that stamps ticks more slowly.
const FINEST_NS: i128 = 1_000_000;

/// The longest step there is, in nanoseconds.
pub const LONGEST_STEP_NS: i128 = 2 * SECOND_NS;

/// The longest step that a file system may have on which something has this time, in nanoseconds.
///
/// A time of a fine clock that happens to be round is taken for a coarse one, which costs time and
/// nothing else.
#[must_use]
pub fn step_ns(time_ns: i128) -> i128 {
    if time_ns.rem_euclid(LONGEST_STEP_NS) == 0 {
        return LONGEST_STEP_NS;
    }
    let mut step = SECOND_NS;
    while step >= FINEST_NS {
        if time_ns.rem_euclid(step) == 0 {
            return step;
        }
        step /= 10;
    }
    1
}

/// The latest moment at which something of this time can have been changed, in nanoseconds.
#[must_use]
pub fn latest_ns(time_ns: i128) -> i128 {
    time_ns.saturating_add(step_ns(time_ns) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_shows_the_step_it_may_be_of() {
        for (time, step) in [
            (1_700_000_000 * SECOND_NS, 2 * SECOND_NS),
            (1_700_000_001 * SECOND_NS, SECOND_NS),
            (1_700_000_001 * SECOND_NS + 300_000_000, 100_000_000),
            (1_700_000_001 * SECOND_NS + 320_000_000, 10_000_000),
            (1_700_000_001 * SECOND_NS + 321_000_000, 1_000_000),
            (1_700_000_001 * SECOND_NS + 321_400_000, 1),
            (-SECOND_NS, SECOND_NS),
        ] {
            assert_eq!(step_ns(time), step, "{time}");
        }
    }

    #[test]
    fn what_changes_after_the_latest_moment_has_another_time() {
        for step in [1, 1_000_000, 10_000_000, SECOND_NS, 2 * SECOND_NS] {
            let written = 1_700_000_001 * SECOND_NS + 987_654_321;
            let stamp = written - written % step;
            let later = latest_ns(stamp) + 1;
            assert!(latest_ns(stamp) >= written || step == 1);
            assert_ne!(later - later % step, stamp, "{step}");
        }
    }
}
