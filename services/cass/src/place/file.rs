//! One file on its way to its place: linked, cloned or copied.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use vx_core::{Digest, PlaceFile, PlaceMode, ServiceError, ServiceResult};

use crate::blobs::{Verified, blob_path, hash_file, set_fixed_mtime};
use crate::shared::Shared;
use crate::stamp::Stamp;

/// How often a link is tried of a file that changes between check and link, which only others'
/// links coming and going can do to a good one.
const LINK_TRIES: usize = 3;

/// What became of a file, and its size.
pub(crate) enum Placed {
    Linked(u64),
    Copied(u64),
    Missing,
}

enum Linked {
    Done,
    /// The file is not as it was when it was verified.
    Changed,
    /// Links can't be made of it there.
    Impossible,
}

/// Puts a file into `parent`; `made` says whether there is something to remove.
pub(crate) fn place(
    shared: &Shared,
    file: &PlaceFile,
    parent: &OwnedFd,
    name: &str,
    made: &AtomicBool,
) -> ServiceResult<Placed> {
    let Some(mut verified) = shared.verified(&file.digest)? else {
        return Ok(Placed::Missing);
    };
    let linkable = file.mode == PlaceMode::SharedReadOnly && !file.executable;
    for _ in 0..if linkable { LINK_TRIES } else { 0 } {
        match link(shared, &file.digest, &verified, parent, name, made)
            .map_err(|error| fault(file, error))?
        {
            Linked::Done => return Ok(Placed::Linked(verified.size)),
            Linked::Impossible => break,
            Linked::Changed => match shared.verified(&file.digest)? {
                Some(again) => verified = again,
                None => return Ok(Placed::Missing),
            },
        }
    }
    copy(shared, file, &verified, parent, name, made)
}

fn fault(file: &PlaceFile, error: impl Into<std::io::Error>) -> ServiceError {
    let error = error.into();
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        return ServiceError::Invalid(format!("{} is there already", file.path));
    }
    ServiceError::Failed(format!("{} can't be placed: {error}", file.path))
}

fn link(
    shared: &Shared,
    digest: &Digest,
    verified: &Verified,
    parent: &OwnedFd,
    name: &str,
    made: &AtomicBool,
) -> Result<Linked, Errno> {
    let blobs = &shared.directory.blobs;
    let path = blob_path(digest);
    let look = || rustix::fs::statat(blobs, &path, AtFlags::SYMLINK_NOFOLLOW);
    let _shard = shared.shard(digest);
    let before = match look() {
        Ok(stat) if Stamp::of(&stat) == verified.stamp => stat,
        _ => return Ok(Linked::Changed),
    };
    match rustix::fs::linkat(blobs, &path, parent, name, AtFlags::empty()) {
        Ok(()) => {}
        Err(Errno::XDEV | Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {
            return Ok(Linked::Impossible);
        }
        Err(error) => return Err(error),
    }
    made.store(true, Ordering::Relaxed);
    // The link changed the file's change time. Where nothing else can have, its content is
    // still known.
    if let Ok(after) = look()
        && only_linked(&before, &after)
    {
        shared.state().set_stamp(digest, shared.clock.stamp(&after));
    }
    Ok(Linked::Done)
}

fn only_linked(before: &Stat, after: &Stat) -> bool {
    after.st_nlink == before.st_nlink + 1 && Stamp::of(before).same_but_links(&Stamp::of(after))
}

fn copy(
    shared: &Shared,
    file: &PlaceFile,
    verified: &Verified,
    parent: &OwnedFd,
    name: &str,
    made: &AtomicBool,
) -> ServiceResult<Placed> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let created = rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))
        .map_err(|error| fault(file, error))?;
    made.store(true, Ordering::Relaxed);
    let mut copied = File::from(created);
    if rustix::fs::ioctl_ficlone(&copied, &verified.file).is_err() {
        // It copies within the kernel where the file systems allow it.
        std::io::copy(&mut &verified.file, &mut copied).map_err(|error| fault(file, error))?;
    }
    let after = Stamp::of(&shared.stat(&verified.file)?);
    if after != verified.stamp {
        // Links that came or went, or a change: the copy itself tells which.
        let hashed = hash_file(&copied).map_err(|error| fault(file, error))?;
        if hashed.digest != file.digest {
            // Looking at the source again sets it aside where it is the one at fault.
            let again = shared.verified(&file.digest)?;
            return match again {
                None => Ok(Placed::Missing),
                Some(_) => Err(ServiceError::Failed(format!(
                    "{} was altered while it was placed",
                    file.path
                ))),
            };
        }
    }
    set_fixed_mtime(&copied).map_err(|error| fault(file, error))?;
    rustix::fs::fchmod(&copied, Mode::from_raw_mode(mode(file)))
        .map_err(|error| fault(file, error))?;
    Ok(Placed::Copied(verified.size))
}

fn mode(file: &PlaceFile) -> u32 {
    match (file.mode, file.executable) {
        (PlaceMode::SharedReadOnly, false) => 0o444,
        (PlaceMode::SharedReadOnly, true) => 0o555,
        (PlaceMode::Independent, false) => 0o644,
        (PlaceMode::Independent, true) => 0o755,
    }
}
