//! What tells that files are as they were put.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use vx_core::stamp::{LONGEST_STEP_NS, latest_ns};

/// A state of one file, link or directory. A change time can't be set by a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    mode: u32,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            mode: metadata.mode(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// The state of a place: of a file, or of a directory with everything below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps(Vec<(PathBuf, Stamp)>);

impl Stamps {
    /// The state of `place` now.
    ///
    /// # Errors
    /// When it is not there or can't be read.
    pub(super) fn take(place: &Path) -> io::Result<Self> {
        let mut stamps = Vec::new();
        let mut pending = vec![place.to_owned()];
        while let Some(path) = pending.pop() {
            let metadata = fs::symlink_metadata(&path)?;
            if metadata.is_dir() {
                for entry in fs::read_dir(&path)? {
                    pending.push(entry?.path());
                }
            }
            stamps.push((path, Stamp::of(&metadata)));
        }
        Ok(Self(stamps))
    }

    /// Whether everything is as it was. What was added shows in its directory's times.
    pub(super) fn hold(&self) -> bool {
        self.0.iter().all(|(path, stamp)| {
            fs::symlink_metadata(path).is_ok_and(|metadata| Stamp::of(&metadata) == *stamp)
        })
    }

    /// The size of the files, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.iter().map(|(_, stamp)| stamp.size).sum()
    }

    /// The latest moment at which any of them can have been changed, in nanoseconds.
    fn newest_ns(&self) -> i128 {
        let changed = self.0.iter().map(|(_, stamp)| stamp.changed);
        let latest = changed.map(|(seconds, rest)| latest_ns(nanoseconds(seconds, rest)));
        latest.max().unwrap_or_default()
    }

    /// Waits until the clock that files are stamped with is past these: what is changed from
    /// then on has another stamp.
    pub(super) async fn settle(&self) {
        /// One further in the future is of a clock that was set back.
        const FURTHEST_NS: i128 = LONGEST_STEP_NS + 1_000_000_000;
        let newest_ns = self.newest_ns();
        loop {
            let now = clock_gettime(ClockId::RealtimeCoarse);
            let ahead_ns = newest_ns - nanoseconds(now.tv_sec, now.tv_nsec);
            if !(0..=FURTHEST_NS).contains(&ahead_ns) {
                return;
            }
            // The clock itself is what is waited for; it goes on by a tick at a time.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn nanoseconds(seconds: i64, rest: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_change_shows() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("root");
        type Change = (&'static str, fn(&Path));
        let changes: [Change; 4] = [
            ("a write of the same size", |root| {
                let file = root.join("sub/a");
                let time = fs::metadata(&file).unwrap().modified().unwrap();
                fs::write(&file, "2").unwrap();
                let file = fs::File::options().write(true).open(file).unwrap();
                file.set_modified(time).unwrap();
            }),
            ("a new file", |root| {
                fs::write(root.join("sub/b"), "").unwrap()
            }),
            ("a file less", |root| {
                fs::remove_file(root.join("sub/a")).unwrap()
            }),
            ("nothing left", |root| fs::remove_dir_all(root).unwrap()),
        ];
        for (what, change) in changes {
            fs::create_dir_all(root.join("sub")).unwrap();
            fs::write(root.join("sub/a"), "1").unwrap();
            let stamps = Stamps::take(&root).unwrap();
            stamps.settle().await;
            assert!(stamps.hold());
            change(&root);
            assert!(!stamps.hold(), "{what}");
        }
    }
}
