//! The files of blobs: how they come, are checked, and are set aside.
//!
//! Everything here does file work and runs on the pool's threads.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use vx_core::{Blob, Digest, Hasher, ServiceError, ServiceResult};

use crate::limits::{HASH_BUFFER, MAX_ASIDE_BYTES, MAX_ASIDE_FILES};
use crate::shared::Shared;
use crate::stamp::Stamp;
use crate::state::Grant;

/// The modification time of every file that comes out of the store, in seconds since 1970: the
/// start of the year 2000. Builds must not depend on when something was stored; a zero upsets
/// programs that take it for "unknown", and archives before 1980 can't be written.
pub const FIXED_MTIME: i64 = 946_684_800;

/// Gives an open file the one modification time.
pub(crate) fn set_fixed_mtime(file: impl AsFd) -> rustix::io::Result<()> {
    let time = Timespec {
        tv_sec: FIXED_MTIME,
        tv_nsec: 0,
    };
    rustix::fs::futimens(
        file,
        &Timestamps {
            last_access: time,
            last_modification: time,
        },
    )
}

/// A blob's name below `blobs/`.
pub(crate) fn blob_path(digest: &Digest) -> String {
    let hex = digest.to_hex();
    format!("{}/{hex}", &hex[..2])
}

/// A file under way below `tmp/`; dropping it removes it.
pub(crate) struct Temporary {
    shared: Arc<Shared>,
    name: Option<String>,
    file: File,
}

impl Temporary {
    pub(crate) fn create(shared: &Arc<Shared>) -> ServiceResult<Self> {
        let number = shared.counters.temporaries.fetch_add(1, Ordering::Relaxed);
        let name = format!("t{number}");
        let file = rustix::fs::openat(
            &shared.directory.tmp,
            &name,
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o444),
        )
        .map_err(|error| shared.fault("make a temporary file", error))?;
        Ok(Self {
            shared: Arc::clone(shared),
            name: Some(name),
            file: file.into(),
        })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> ServiceResult<()> {
        self.file
            .write_all(bytes)
            .map_err(|error| self.shared.fault("write a blob", error))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(name) = self.name.take()
            && let Err(error) =
                rustix::fs::unlinkat(&self.shared.directory.tmp, &name, AtFlags::empty())
        {
            tracing::warn!(%error, name, "a temporary file stays until the next start");
        }
    }
}

/// A blob's file, open, whose content matched when it was opened.
pub(crate) struct Verified {
    pub(crate) file: File,
    pub(crate) stamp: Stamp,
    pub(crate) size: u64,
}

impl Shared {
    /// Makes a temporary file that was hashed as `blob` that blob's file. The grant holds it.
    pub(crate) fn keep(
        &self,
        mut temporary: Temporary,
        blob: Blob,
        grant: &Grant,
    ) -> ServiceResult<()> {
        let fault = |error: Errno| self.fault("keep a blob", error);
        let digest = blob.digest;
        let stat = rustix::fs::fstat(&temporary.file).map_err(fault)?;
        if stat.st_mode & 0o777 != 0o444 {
            rustix::fs::fchmod(&temporary.file, Mode::from_raw_mode(0o444)).map_err(fault)?;
        }
        set_fixed_mtime(&temporary.file).map_err(fault)?;

        let shard = self.shard(&digest);
        if self.is_settled(&digest) {
            self.state().use_blob(&digest, grant.id);
            return Ok(());
        }
        let path = blob_path(&digest);
        let name = temporary.name.take().unwrap_or_default();
        if let Err(error) = self.rename_in(&name, &path) {
            temporary.name = Some(name);
            return Err(fault(error));
        }
        let stat = rustix::fs::fstat(&temporary.file).map_err(fault)?;
        let mut state = self.state();
        state.put_file(digest, blob.size, self.clock.stamp(&stat));
        state.use_blob(&digest, grant.id);
        let over = self.is_over(&state);
        drop(state);
        drop(shard);
        self.keeper.wake();
        if over {
            self.evictor.wake();
        }
        Ok(())
    }

    fn rename_in(&self, name: &str, path: &str) -> Result<(), Errno> {
        let (tmp, blobs) = (&self.directory.tmp, &self.directory.blobs);
        match rustix::fs::renameat(tmp, name, blobs, path) {
            Err(Errno::NOENT) => {
                match rustix::fs::mkdirat(blobs, &path[..2], Mode::from_raw_mode(0o700)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                rustix::fs::renameat(tmp, name, blobs, path)
            }
            other => other,
        }
    }

    /// Whether a blob's file is there and looks as it did when it was last known to match.
    pub(crate) fn is_settled(&self, digest: &Digest) -> bool {
        let Some(stamp) = self.state().file(digest).and_then(|file| file.stamp) else {
            return false;
        };
        rustix::fs::statat(
            &self.directory.blobs,
            blob_path(digest),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok_and(|stat| Stamp::of(&stat) == stamp)
    }

    /// Stores small content whole.
    pub(crate) fn keep_bytes(
        self: &Arc<Self>,
        content: &Bytes,
        grant: &Grant,
    ) -> ServiceResult<Blob> {
        let blob = Blob::of(content);
        if self.is_settled(&blob.digest) && self.state().use_blob(&blob.digest, grant.id) {
            return Ok(blob);
        }
        let mut temporary = Temporary::create(self)?;
        temporary.write(content)?;
        self.keep(temporary, blob, grant)?;
        Ok(blob)
    }

    /// Opens a blob's file and makes sure of its content: by its stamp, or by hashing it.
    /// `None`: it is missing, from now on at the latest.
    pub(crate) fn verified(&self, digest: &Digest) -> ServiceResult<Option<Verified>> {
        if let Found::Settled(verified) = self.find(digest)? {
            return Ok(Some(verified));
        }
        let hashing = self.hashing.enter(*digest);
        // Whoever hashed it meanwhile may have settled it.
        let (file, expected) = match self.find(digest)? {
            Found::Settled(verified) => return Ok(Some(verified)),
            Found::Missing => return Ok(None),
            Found::Unsettled(file, size) => (file, size),
        };
        let before = Stamp::of(&self.stat(&file)?);
        let hashed = match hash_file(&file) {
            Ok(blob) => Some(blob),
            Err(error) => {
                tracing::warn!(%digest, %error, "a blob can't be read");
                None
            }
        };
        let stat = self.stat(&file)?;
        let after = Stamp::of(&stat);
        let matches = hashed
            == Some(Blob {
                digest: *digest,
                size: expected,
            });
        if !matches || !before.same_but_links(&after) {
            self.set_aside(digest, &after);
            return Ok(None);
        }
        if before == after {
            self.state().set_stamp(digest, self.clock.stamp(&stat));
            self.keeper.wake();
        }
        drop(hashing);
        Ok(Some(Verified {
            file,
            stamp: after,
            size: expected,
        }))
    }

    pub(crate) fn stat(&self, file: impl AsFd) -> ServiceResult<rustix::fs::Stat> {
        rustix::fs::fstat(file).map_err(|error| self.fault("look at a blob", error))
    }

    fn find(&self, digest: &Digest) -> ServiceResult<Found> {
        let Some(known) = self.state().file(digest).copied() else {
            return Ok(Found::Missing);
        };
        let opened = rustix::fs::openat(
            &self.directory.blobs,
            blob_path(digest),
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        let file: OwnedFd = match opened {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => {
                self.lost(digest);
                return Ok(Found::Missing);
            }
            Err(error) => return Err(self.fault("open a blob", error)),
        };
        let stat = self.stat(&file)?;
        let stamp = Stamp::of(&stat);
        let file = File::from(file);
        if known.stamp == Some(stamp) {
            return Ok(Found::Settled(Verified {
                file,
                stamp,
                size: known.size,
            }));
        }
        if u64::try_from(stat.st_size) != Ok(known.size)
            || !rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file()
        {
            self.set_aside(digest, &stamp);
            return Ok(Found::Missing);
        }
        Ok(Found::Unsettled(file, known.size))
    }

    /// A blob's file is gone without the store's doing.
    fn lost(&self, digest: &Digest) {
        let _shard = self.shard(digest);
        let there = rustix::fs::statat(
            &self.directory.blobs,
            blob_path(digest),
            AtFlags::SYMLINK_NOFOLLOW,
        )
        .is_ok_and(|stat| rustix::fs::FileType::from_raw_mode(stat.st_mode).is_file());
        if !there {
            tracing::warn!(%digest, "a blob's file is gone; it is missing from now on");
            self.state().remove_file(digest);
            self.keeper.wake();
        }
    }

    /// Moves a file that does not match its digest out of the way, unless another has come in
    /// its place.
    pub(crate) fn set_aside(&self, digest: &Digest, seen: &Stamp) {
        let _shard = self.shard(digest);
        let path = blob_path(digest);
        let there = rustix::fs::statat(&self.directory.blobs, &path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| Stamp::of(&stat).inode() == seen.inode());
        if !there {
            return;
        }
        let number = self.counters.set_aside.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%digest, "a blob does not match its digest; it is set aside and missing");
        let name = format!("{digest}-{}-{number}", std::process::id());
        let moved =
            rustix::fs::renameat(&self.directory.blobs, &path, &self.directory.aside, &name);
        if let Err(error) = moved {
            tracing::warn!(%digest, %error, "it can't be moved; it is removed");
            if let Err(error) = rustix::fs::unlinkat(&self.directory.blobs, &path, AtFlags::empty())
            {
                tracing::error!(%digest, %error, "nor can it be removed");
            }
        }
        self.state().remove_file(digest);
        self.keeper.wake();
        if let Err(error) = prune_aside(&self.directory.aside) {
            tracing::warn!(%error, "files set aside can't be counted");
        }
    }

    /// Reads a small blob whole; `None` when it is missing.
    pub(crate) fn read_whole(&self, digest: &Digest, limit: u64) -> ServiceResult<Option<Bytes>> {
        let Some(size) = self.state().file(digest).map(|file| file.size) else {
            return Ok(None);
        };
        if size > limit {
            return Err(ServiceError::Invalid(format!(
                "the blob {digest} has {size} bytes, over the limit of {limit} for one that is \
                 read whole"
            )));
        }
        let Some(verified) = self.verified(digest)? else {
            return Ok(None);
        };
        let mut content = Vec::with_capacity(usize::try_from(verified.size).unwrap_or(0));
        read_up_to(&verified.file, 0, &mut content, verified.size)
            .map_err(|error| self.fault("read a blob", error))?;
        // Hashing so little costs nothing and closes the gap between check and use.
        if Digest::of(&content) != *digest {
            self.set_aside(digest, &verified.stamp);
            return Ok(None);
        }
        Ok(Some(content.into()))
    }
}

enum Found {
    /// It looks as it did when it was last known to match.
    Settled(Verified),
    /// It has to be hashed; its size is right.
    Unsettled(File, u64),
    /// It is not here.
    Missing,
}

/// Reads from `offset` until `content` has grown by `length` or the file ends.
pub(crate) fn read_up_to(
    file: &File,
    offset: u64,
    content: &mut Vec<u8>,
    length: u64,
) -> io::Result<()> {
    let start = content.len();
    let length = usize::try_from(length).map_err(io::Error::other)?;
    content.resize(start + length, 0);
    let mut filled = 0;
    while filled < length {
        match file.read_at(&mut content[start + filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(start + filled);
    Ok(())
}

/// Hashes an open file whole.
pub(crate) fn hash_file(file: &File) -> io::Result<Blob> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; HASH_BUFFER];
    let mut offset = 0;
    loop {
        match file.read_at(&mut buffer, offset) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Removes the oldest files set aside beyond the bounds.
pub(crate) fn prune_aside(aside: &OwnedFd) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in rustix::fs::Dir::read_from(aside)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let stat = rustix::fs::statat(aside, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        files.push((
            (stat.st_ctime, stat.st_ctime_nsec),
            u64::try_from(stat.st_size).unwrap_or(0),
            name,
        ));
    }
    files.sort_by_key(|(changed, ..)| std::cmp::Reverse(*changed));
    let mut bytes = 0;
    for (number, (_, size, name)) in files.iter().enumerate() {
        bytes += size;
        if number >= MAX_ASIDE_FILES || bytes > MAX_ASIDE_BYTES {
            rustix::fs::unlinkat(aside, name, AtFlags::empty())?;
        }
    }
    Ok(())
}
