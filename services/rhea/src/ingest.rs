//! Puts files into a store: small ones in batches, large ones as streams.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tokio::sync::mpsc;
use vx_core::service::{MAX_BATCH, MAX_SMALL_BLOB};
use vx_core::{Blob, Hasher, ServiceError, Store};

use crate::fault::{Stop, Tried, lost_task};

/// Read at a time: what streams fastest over a connection.
const PIECE: usize = 256 * 1024;

/// Pieces between the disk and the connection.
const PIECES: usize = 4;

/// Large blobs sent at a time.
const STREAMS: usize = 4;

/// Small blobs sent in one call, in bytes: well under a message's limit.
const BATCH_BYTES: usize = 1024 * 1024;

/// What tells that a file was not changed since it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, u64),
    changed: (i64, u64),
}

/// A regular file an action left. It is opened when its turn comes, since there may be more of
/// them than a process may have open.
pub(crate) struct Found {
    directory: Arc<OwnedFd>,
    path: String,
    pub(crate) size: u64,
    pub(crate) executable: bool,
    pub(crate) stamp: Stamp,
}

/// Why an entry is not taken.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It is a symbolic link, or is reached through one.
    Link,
    /// It is neither a file, a link nor a directory.
    Special,
    /// It is a directory.
    Directory,
    /// It is not what was found there before.
    Changed,
    /// The system refused.
    System(Errno),
}

impl Found {
    /// Opens the file, if it still is the one that was found.
    fn open(&self) -> Result<File, Refused> {
        let (handle, stamp, _) = regular(self.directory.as_fd(), &self.path)?;
        if stamp != self.stamp {
            return Err(Refused::Changed);
        }
        let again = format!("/proc/self/fd/{}", handle.as_raw_fd());
        rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(Refused::System)
    }

    fn open_output(&self) -> Result<File, Stop> {
        self.open()
            .map_err(|refused| Stop::Unfit(format!("the output {} {refused}", self.path)))
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Link => f.write_str("is a symbolic link, which can't be an output here"),
            Self::Special => f.write_str("is neither a file nor a directory"),
            Self::Directory => f.write_str("is a directory"),
            Self::Changed => f.write_str("changed while it was stored"),
            Self::System(error) => write!(f, "can't be read: {error}"),
        }
    }
}

/// Looks for a regular file below `directory`, reached through no link.
pub(crate) fn find(directory: &Arc<OwnedFd>, path: &str) -> Result<Found, Refused> {
    let (_, stamp, executable) = regular(directory.as_fd(), path)?;
    Ok(Found {
        directory: Arc::clone(directory),
        path: path.to_owned(),
        size: stamp.size.cast_unsigned(),
        executable,
        stamp,
    })
}

/// A handle on a regular file, with which it can be told from others but not read: so a FIFO
/// or a device is never opened.
fn regular(directory: BorrowedFd<'_>, path: &str) -> Result<(OwnedFd, Stamp, bool), Refused> {
    let handle = rustix::fs::openat2(
        directory,
        path,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| match error {
        Errno::LOOP => Refused::Link,
        error => Refused::System(error),
    })?;
    let stat = rustix::fs::fstat(&handle).map_err(Refused::System)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        FileType::Directory => return Err(Refused::Directory),
        FileType::Symlink => return Err(Refused::Link),
        _ => return Err(Refused::Special),
    }
    let stamp = Stamp {
        inode: stat.st_ino,
        size: stat.st_size,
        modified: (stat.st_mtime, stat.st_mtime_nsec),
        changed: (stat.st_ctime, stat.st_ctime_nsec),
    };
    Ok((handle, stamp, stat.st_mode & 0o100 != 0))
}

/// Opens a directory of the executor's own.
pub(crate) fn open_directory(path: &std::path::Path) -> Result<Arc<OwnedFd>, Stop> {
    rustix::fs::open(
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map(Arc::new)
    .tried_at("open", path)
}

/// Stores many files and gives their blobs, in order.
pub(crate) async fn store_files(
    store: &Arc<dyn Store>,
    files: Vec<Found>,
) -> Result<Vec<Blob>, Stop> {
    let mut blobs: Vec<Option<Blob>> = vec![None; files.len()];
    let mut large = Vec::new();
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (index, file) in files.into_iter().enumerate() {
        if file.size > MAX_SMALL_BLOB {
            large.push((index, file));
            continue;
        }
        let size = usize::try_from(file.size).unwrap_or(usize::MAX);
        if bytes + size > BATCH_BYTES || batch.len() == MAX_BATCH {
            put(&mut blobs, store_batch(store, std::mem::take(&mut batch)).await?);
            bytes = 0;
        }
        bytes += size;
        batch.push((index, file));
    }
    put(&mut blobs, store_batch(store, batch).await?);
    let streamed = futures::stream::iter(large)
        .map(|(index, file)| async move {
            let blob = store_stream(store, Content::File(file)).await?;
            Ok::<_, Stop>((index, blob))
        })
        .buffer_unordered(STREAMS)
        .try_collect()
        .await?;
    put(&mut blobs, streamed);
    blobs
        .into_iter()
        .map(|blob| blob.ok_or_else(|| malformed("lost a blob")))
        .collect()
}

fn put(blobs: &mut [Option<Blob>], stored: Vec<(usize, Blob)>) {
    for (index, blob) in stored {
        if let Some(place) = blobs.get_mut(index) {
            *place = Some(blob);
        }
    }
}

async fn store_batch(
    store: &Arc<dyn Store>,
    batch: Vec<(usize, Found)>,
) -> Result<Vec<(usize, Blob)>, Stop> {
    if batch.is_empty() {
        return Ok(Vec::new());
    }
    let read = tokio::task::spawn_blocking(move || {
        batch
            .into_iter()
            .map(|(index, found)| {
                let mut content = Vec::new();
                found
                    .open_output()?
                    .take(MAX_SMALL_BLOB)
                    .read_to_end(&mut content)
                    .tried("read an output")?;
                Ok((index, Bytes::from(content)))
            })
            .collect::<Result<Vec<_>, Stop>>()
    });
    let contents = read.await.map_err(|error| lost_task(&error))??;
    let (indices, contents): (Vec<_>, Vec<_>) = contents.into_iter().unzip();
    let blobs = store_small(store, contents).await?;
    Ok(indices.into_iter().zip(blobs).collect())
}

/// Stores small blobs of one batch.
async fn store_small(store: &Arc<dyn Store>, contents: Vec<Bytes>) -> Result<Vec<Blob>, Stop> {
    let blobs: Vec<Blob> = contents.iter().map(|content| Blob::of(content)).collect();
    let digests = store.write_small(contents).await?;
    if digests.len() != blobs.len()
        || blobs
            .iter()
            .zip(&digests)
            .any(|(blob, digest)| blob.digest != *digest)
    {
        return Err(malformed("took other content than was sent"));
    }
    Ok(blobs)
}

/// Stores content held in memory.
pub(crate) async fn store_bytes(store: &Arc<dyn Store>, content: Bytes) -> Result<Blob, Stop> {
    if content.len() as u64 <= MAX_SMALL_BLOB {
        let blobs = store_small(store, vec![content]).await?;
        return blobs
            .first()
            .copied()
            .ok_or_else(|| malformed("lost a blob"));
    }
    store_stream(store, Content::Bytes(content)).await
}

/// Stores one file.
pub(crate) async fn store_file(store: &Arc<dyn Store>, found: Found) -> Result<Blob, Stop> {
    let blobs = store_files(store, vec![found]).await?;
    blobs
        .first()
        .copied()
        .ok_or_else(|| malformed("lost a blob"))
}

enum Content {
    File(Found),
    Bytes(Bytes),
}

async fn store_stream(store: &Arc<dyn Store>, content: Content) -> Result<Blob, Stop> {
    let (pieces, mut received) = mpsc::channel(PIECES);
    let reader = tokio::task::spawn_blocking(move || read_pieces(content, &pieces));
    let mut writer = store.write().await?;
    while let Some(piece) = received.recv().await {
        writer.write(piece).await?;
    }
    // Before the end is declared: a failed read must leave no blob behind.
    let read = reader.await.map_err(|error| lost_task(&error))??;
    let stored = writer.finish().await?;
    if stored == read {
        Ok(stored)
    } else {
        Err(malformed("took other content than was sent"))
    }
}

/// Reads and hashes content piece by piece; ends early when nobody takes the pieces.
fn read_pieces(content: Content, pieces: &mpsc::Sender<Bytes>) -> Result<Blob, Stop> {
    let mut hasher = Hasher::new();
    let mut send = |piece: Bytes| {
        hasher.update(&piece);
        pieces.blocking_send(piece).is_ok()
    };
    match content {
        Content::Bytes(mut bytes) => {
            while !bytes.is_empty() && send(bytes.split_to(bytes.len().min(PIECE))) {}
        }
        Content::File(found) => {
            let mut file = found.open_output()?;
            loop {
                let mut piece = vec![0; PIECE];
                let read = fill(&mut file, &mut piece).tried("read an output")?;
                piece.truncate(read);
                if read == 0 || !send(Bytes::from(piece)) {
                    break;
                }
            }
        }
    }
    Ok(hasher.finish())
}

fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn malformed(what: &str) -> Stop {
    Stop::Service(ServiceError::Failed(format!("the store {what}")))
}
