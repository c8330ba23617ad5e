//! What the kernel tells a process of itself that no action is to know.

use std::io::{Error, Result, Seek, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, memfd_create};

/// What an action reads in place of a file below `/proc`; `None` where it may read the file.
///
/// # Errors
/// When the kernel refuses the file, or a place for what is read instead.
pub(super) fn in_place_of(path: &str) -> Result<Option<OwnedFd>> {
    if !path.ends_with("/mountinfo") {
        return Ok(None);
    }
    let told = std::fs::read_to_string("/proc/self/mountinfo")?;
    let file = memfd_create("mountinfo", MemfdFlags::CLOEXEC).map_err(Error::from)?;
    let mut file = std::fs::File::from(file);
    file.write_all(without_origins(&told).as_bytes())?;
    file.rewind()?;
    Ok(Some(file.into()))
}

/// The lines of a `mountinfo` without where on its file system each mount begins (its fourth
/// field, proc_pid_mountinfo(5)): that names directories of the host.
fn without_origins(told: &str) -> String {
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(' ').collect();
        if let Some(origin) = fields.get_mut(3) {
            *origin = "/";
        }
        fields.join(" ") + "\n"
    };
    told.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_told_without_their_origins() {
        let told = "22 1 8:1 /home/me/.vx/rhea/actions/1 /vx/target ro,nosuid - ext4 /dev/sda rw\n";
        let kept = "22 1 8:1 / /vx/target ro,nosuid - ext4 /dev/sda rw\n";
        assert_eq!(without_origins(told), kept);
        assert!(in_place_of("/proc/7/status").unwrap().is_none());
    }
}
