//! Puts files into a store: small ones in batches, large ones as streams.

use std::fs::File;
use std::io::{Read, Seek};
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
use crate::marker::{Markers, Marks, Search};

/// Read at a time: what streams fastest over a connection.
const PIECE: usize = 256 * 1024;

/// Pieces between the disk and the connection.
const PIECES: usize = 4;

/// Large blobs sent at a time.
const STREAMS: usize = 4;

/// Small blobs sent in one call, in bytes: well under a message's limit.
const BATCH_BYTES: usize = 1024 * 1024;

/// The largest output that is changed on its way into the store, in bytes: dep-info names a few
/// thousand files.
const MAX_WHOLE: u64 = 64 * 1024 * 1024;

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

    /// Its content, of which there may be no more than [`MAX_WHOLE`].
    pub(crate) fn content(&self) -> Result<Vec<u8>, Stop> {
        if self.size > MAX_WHOLE {
            return Err(Stop::Unfit(format!(
                "the output {} has {} bytes, over the limit of {MAX_WHOLE}",
                self.path, self.size
            )));
        }
        let mut content = Vec::new();
        self.open_output()?
            .take(MAX_WHOLE)
            .read_to_end(&mut content)
            .tried("read an output")?;
        Ok(content)
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

/// Content that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) blob: Blob,
    /// The markers that are in it.
    pub(crate) marked: Marks,
}

/// Where outputs go, and what is looked for in them on the way.
#[derive(Clone)]
pub(crate) struct Intake {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) markers: Markers,
}

impl Intake {
    /// Stores many files and says what they are, in order.
    pub(crate) async fn files(&self, files: Vec<Found>) -> Result<Vec<Stored>, Stop> {
        let mut all: Vec<Option<Stored>> = vec![None; files.len()];
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
                put(&mut all, self.batch(std::mem::take(&mut batch)).await?);
                bytes = 0;
            }
            bytes += size;
            batch.push((index, file));
        }
        put(&mut all, self.batch(batch).await?);
        let streamed = futures::stream::iter(large)
            .map(|(index, file)| async move {
                let stored = self.stream(Content::File(file)).await?;
                Ok::<_, Stop>((index, stored))
            })
            .buffer_unordered(STREAMS)
            .try_collect()
            .await?;
        put(&mut all, streamed);
        all.into_iter()
            .map(|stored| stored.ok_or_else(|| malformed("lost a blob")))
            .collect()
    }

    /// Stores one file.
    pub(crate) async fn file(&self, found: Found) -> Result<Stored, Stop> {
        let stored = self.files(vec![found]).await?;
        stored
            .first()
            .copied()
            .ok_or_else(|| malformed("lost a blob"))
    }

    /// Stores content held in memory.
    pub(crate) async fn bytes(&self, content: Bytes) -> Result<Stored, Stop> {
        if content.len() as u64 > MAX_SMALL_BLOB {
            return self.stream(Content::Bytes(content)).await;
        }
        let marked = self.markers.found_in(&content);
        let blob = self.small(vec![content]).await?;
        blob.first()
            .map(|blob| Stored {
                blob: *blob,
                marked,
            })
            .ok_or_else(|| malformed("lost a blob"))
    }

    async fn batch(&self, batch: Vec<(usize, Found)>) -> Result<Vec<(usize, Stored)>, Stop> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let markers = self.markers.clone();
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
                    let marked = markers.found_in(&content);
                    Ok(((index, marked), Bytes::from(content)))
                })
                .collect::<Result<Vec<_>, Stop>>()
        });
        let contents = read.await.map_err(|error| lost_task(&error))??;
        let (about, contents): (Vec<_>, Vec<_>) = contents.into_iter().unzip();
        let blobs = self.small(contents).await?;
        Ok(about
            .into_iter()
            .zip(blobs)
            .map(|((index, marked), blob)| (index, Stored { blob, marked }))
            .collect())
    }

    /// Stores small blobs of one batch.
    async fn small(&self, contents: Vec<Bytes>) -> Result<Vec<Blob>, Stop> {
        let blobs: Vec<Blob> = contents.iter().map(|content| Blob::of(content)).collect();
        let sent: Vec<_> = blobs.iter().map(|blob| blob.digest).collect();
        if self.store.write_small(contents).await? == sent {
            Ok(blobs)
        } else {
            Err(malformed("took other content than was sent"))
        }
    }

    async fn stream(&self, content: Content) -> Result<Stored, Stop> {
        let (pieces, mut received) = mpsc::channel(PIECES);
        let search = self.markers.search();
        let reader = tokio::task::spawn_blocking(move || read_pieces(content, &pieces, search));
        let mut writer = self.store.write().await?;
        while let Some(piece) = received.recv().await {
            writer.write(piece).await?;
        }
        // Before the end is declared: a failed read must leave no blob behind.
        let read = reader.await.map_err(|error| lost_task(&error))??;
        if writer.finish().await? == read.blob {
            Ok(read)
        } else {
            Err(malformed("took other content than was sent"))
        }
    }
}

fn put(all: &mut [Option<Stored>], stored: Vec<(usize, Stored)>) {
    for (index, stored) in stored {
        if let Some(place) = all.get_mut(index) {
            *place = Some(stored);
        }
    }
}

enum Content {
    File(Found),
    Bytes(Bytes),
}

/// Reads, hashes and looks through content piece by piece; ends early when nobody takes the
/// pieces.
fn read_pieces(
    content: Content,
    pieces: &mpsc::Sender<Bytes>,
    mut search: Search,
) -> Result<Stored, Stop> {
    let mut hasher = Hasher::new();
    let mut send = |piece: Bytes| {
        hasher.update(&piece);
        search.update(&piece);
        pieces.blocking_send(piece).is_ok()
    };
    let marked = match content {
        Content::Bytes(bytes) => {
            let mut rest = bytes.clone();
            while !rest.is_empty() && send(rest.split_to(rest.len().min(PIECE))) {}
            search.finish(|| Ok(bytes.to_vec()))
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
            search.finish(|| {
                file.rewind()?;
                let mut content = Vec::new();
                file.read_to_end(&mut content)?;
                Ok(content)
            })
        }
    };
    Ok(Stored {
        blob: hasher.finish(),
        marked: marked.tried("read an output")?,
    })
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
