//! Whether a file system keeps change times of its own, so that a change shows even where the
//! modification time was put back.
//!
//! FAT, exFAT and many FUSE file systems show the modification time in its place, and an image
//! shows whatever was put in it. What is not known here has to prove itself.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// The most devices remembered; past it they have to prove themselves anew.
const MAX_DEVICES: usize = 1024;

/// ext2 to ext4, XFS, Btrfs, F2FS, ZFS, bcachefs.
pub(crate) const ON_DISK: [u32; 6] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
];

/// tmpfs, ramfs, hugetlbfs.
pub(crate) const IN_MEMORY: [u32; 3] = [0x0102_1994, 0x8584_58F6, 0x9584_58F6];

/// What is known of a file system's change times by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ChangeTimes {
    /// The kernel keeps them, on the medium too.
    Own,
    /// Its own, if any file on the device shows another change time than modification time.
    IfShown,
    /// Copies of the modification time, which the kernel's memory may hide for a while, or what
    /// whoever made an image put there.
    Borrowed,
}

impl ChangeTimes {
    /// By the number that `statfs` gives for its kind.
    pub(crate) fn of_kind(kind: Option<u32>) -> Self {
        /// FAT, exFAT, HFS; squashfs, erofs, iso9660, cramfs both ways round, romfs.
        const BORROWED: [u32; 9] = [
            0x4D44,
            0x2011_BAB0,
            0x4244,
            0x7371_7368,
            0xE0F5_E1E2,
            0x9660,
            0x28CD_3D45,
            0x453D_CD28,
            0x7275,
        ];
        match kind {
            // Overlays have the times of what they lie over, so they are not here.
            Some(kind) if ON_DISK.contains(&kind) || IN_MEMORY.contains(&kind) => Self::Own,
            Some(kind) if BORROWED.contains(&kind) => Self::Borrowed,
            _ => Self::IfShown,
        }
    }
}

/// Devices on which a change time was seen that is not the modification time. It is never
/// persisted: after a start another file system may have a device's number.
#[derive(Default)]
pub(crate) struct Shown(Mutex<HashSet<u64>>);

impl Shown {
    /// Takes in the times of a file on a device.
    pub(crate) fn see(&self, device: u64, modified_ns: i128, changed_ns: i128) {
        if modified_ns == changed_ns {
            return;
        }
        let mut devices = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if devices.len() >= MAX_DEVICES && !devices.contains(&device) {
            devices.clear();
        }
        devices.insert(device);
    }

    /// Whether change times on a device are its own.
    pub(crate) fn are_own(&self, times: ChangeTimes, device: u64) -> bool {
        let devices = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match times {
            ChangeTimes::Own => true,
            ChangeTimes::IfShown => devices().contains(&device),
            ChangeTimes::Borrowed => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_to_show_times_of_its_own() {
        let (ext4, fuse, fat) = (Some(0xEF53), Some(0x6573_5546), Some(0x4D44));
        let shown = Shown::default();
        let own = |kind, device| shown.are_own(ChangeTimes::of_kind(kind), device);
        shown.see(1, 5, 5);
        assert!(own(ext4, 1));
        assert!(!own(fuse, 1));
        assert!(!own(None, 1));
        shown.see(1, 5, 6);
        assert!(own(fuse, 1));
        assert!(!own(fuse, 2), "each device by itself");
        assert!(!own(fat, 1), "memory alone shows a difference");
        for device in 2..=(MAX_DEVICES as u64 + 1) {
            shown.see(device, 5, 6);
        }
        assert!(!own(fuse, 1), "bounded");
    }
}
