//! Brings blobs from a store into a directory: placed where the store can, else read, hashed
//! and written.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use vx_core::service::{MAX_BATCH, MAX_SMALL_BLOB};
use vx_core::{Digest, Hasher, PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest, RelPath, Store};

use crate::fault::{Stop, Tried, lost_task};

/// Small blobs asked for in one call, in bytes: well under a message's limit.
const BATCH_BYTES: u64 = 1024 * 1024;

/// Large blobs read at a time: enough to hide a store's latency.
const STREAMS: usize = 4;

/// Pieces of a blob between the connection and the disk.
const PIECES: usize = 8;

/// What files may have in common with the store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    /// Links, for what is only ever seen through a read-only mount.
    Links,
    /// Nothing: what can be written to is a copy.
    Nothing,
}

/// A file to bring.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Where, below the directory.
    pub(crate) path: RelPath,
    /// What.
    pub(crate) digest: Digest,
    /// Its size, where known.
    pub(crate) size: Option<u64>,
    /// Whether it can be executed.
    pub(crate) executable: bool,
}

/// Brings files into `directory`, which is empty. Gives the bytes that were placed.
///
/// What still writes below `directory` after this was dropped is in `tasks`.
pub(crate) async fn bring(
    store: &Arc<dyn Store>,
    directory: &Path,
    files: Vec<Wanted>,
    sharing: Sharing,
    tasks: &TaskTracker,
) -> Result<u64, Stop> {
    if files.is_empty() {
        return Ok(0);
    }
    if let Some(placed) = place(store, directory, &files, sharing, tasks).await? {
        return Ok(placed);
    }
    read(store, directory, files, tasks).await?;
    Ok(0)
}

/// Asks the store to place the files; `None` where it can't for this holder.
async fn place(
    store: &Arc<dyn Store>,
    directory: &Path,
    files: &[Wanted],
    sharing: Sharing,
    tasks: &TaskTracker,
) -> Result<Option<u64>, Stop> {
    if files.len() <= MAX_BATCH {
        return place_batch(store, directory, files, sharing, tasks).await;
    }
    // A store places into empty directories only, so each batch gets one and its files are
    // moved together afterwards.
    let mut bytes = 0;
    for (index, batch) in files.chunks(MAX_BATCH).enumerate() {
        let part = directory.with_extension(format!("part{index}"));
        fs::create_dir(&part).tried_at("make", &part)?;
        let Some(placed) = place_batch(store, &part, batch, sharing, tasks).await? else {
            return Ok(None);
        };
        bytes += placed;
        let moves: Vec<(PathBuf, PathBuf)> = batch
            .iter()
            .map(|file| (file.path.under(&part), file.path.under(directory)))
            .collect();
        let moved = tasks.spawn_blocking(move || {
            for (from, to) in moves {
                make_parents(&to)?;
                fs::rename(&from, &to).tried_at("move", &from)?;
            }
            Ok::<_, Stop>(())
        });
        moved.await.map_err(|error| lost_task(&error))??;
    }
    Ok(Some(bytes))
}

async fn place_batch(
    store: &Arc<dyn Store>,
    directory: &Path,
    files: &[Wanted],
    sharing: Sharing,
    tasks: &TaskTracker,
) -> Result<Option<u64>, Stop> {
    let request = PlaceRequest {
        directory: directory.to_string_lossy().into_owned(),
        files: files
            .iter()
            .map(|file| PlaceFile {
                path: file.path.clone(),
                digest: file.digest,
                executable: file.executable,
                // Links share their mode, so what can be executed is a file of its own.
                mode: if file.executable || sharing == Sharing::Nothing {
                    PlaceMode::Independent
                } else {
                    PlaceMode::SharedReadOnly
                },
            })
            .collect(),
    };
    let store = Arc::clone(store);
    let placed = tasks.spawn(async move { store.place(request).await });
    match placed.await.map_err(|error| lost_task(&error))?? {
        PlaceOutcome::Placed { linked, copied } => Ok(Some(linked + copied)),
        PlaceOutcome::Missing(digests) => Err(Stop::Missing(digests)),
        PlaceOutcome::Unavailable(reason) => {
            tracing::debug!(%reason, "the store does not place; reading instead");
            Ok(None)
        }
    }
}

/// Reads each blob once and writes every file it is wanted as.
async fn read(
    store: &Arc<dyn Store>,
    directory: &Path,
    files: Vec<Wanted>,
    tasks: &TaskTracker,
) -> Result<(), Stop> {
    let missing = missing(store, &files).await?;
    if !missing.is_empty() {
        return Err(Stop::Missing(missing));
    }
    let mut by_digest: HashMap<Digest, (Option<u64>, Vec<Target>)> = HashMap::new();
    for file in files {
        let target = Target {
            path: file.path.under(directory),
            executable: file.executable,
        };
        let (size, targets) = by_digest.entry(file.digest).or_default();
        *size = size.or(file.size);
        targets.push(target);
    }
    let (small, large): (Vec<_>, Vec<_>) = by_digest
        .into_iter()
        .partition(|(_, (size, _))| size.is_some_and(|size| size <= MAX_SMALL_BLOB));
    let mut batch = Vec::new();
    let mut bytes = 0;
    for (digest, (size, targets)) in small {
        let size = size.unwrap_or(0);
        if bytes + size > BATCH_BYTES || batch.len() == MAX_BATCH {
            read_batch(store, std::mem::take(&mut batch), tasks).await?;
            bytes = 0;
        }
        bytes += size;
        batch.push((digest, targets));
    }
    read_batch(store, batch, tasks).await?;
    futures::stream::iter(large)
        .map(|(digest, (_, targets))| read_stream(store, digest, targets, tasks))
        .buffer_unordered(STREAMS)
        .try_collect()
        .await
}

async fn missing(store: &Arc<dyn Store>, files: &[Wanted]) -> Result<Vec<Digest>, Stop> {
    let mut digests: Vec<Digest> = files.iter().map(|file| file.digest).collect();
    digests.sort();
    digests.dedup();
    let mut missing = Vec::new();
    for batch in digests.chunks(MAX_BATCH) {
        missing.extend(store.missing(batch.to_vec()).await?);
    }
    Ok(missing)
}

struct Target {
    path: PathBuf,
    executable: bool,
}

async fn read_batch(
    store: &Arc<dyn Store>,
    batch: Vec<(Digest, Vec<Target>)>,
    tasks: &TaskTracker,
) -> Result<(), Stop> {
    if batch.is_empty() {
        return Ok(());
    }
    let digests = batch.iter().map(|(digest, _)| *digest).collect();
    let blobs = store.read_small(digests).await?;
    if blobs.len() != batch.len() {
        return Err(malformed("answered another number of blobs than asked for"));
    }
    let written = tasks.spawn_blocking(move || {
        let mut missing = Vec::new();
        for ((digest, targets), blob) in batch.into_iter().zip(blobs) {
            match blob.filter(|blob| matches(digest, Digest::of(blob))) {
                Some(blob) => write_targets(&blob, &targets)?,
                None => missing.push(digest),
            }
        }
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Stop::Missing(missing))
        }
    });
    written.await.map_err(|error| lost_task(&error))?
}

fn write_targets(content: &[u8], targets: &[Target]) -> Result<(), Stop> {
    for target in targets {
        create(target)?
            .write_all(content)
            .tried_at("write", &target.path)?;
    }
    Ok(())
}

async fn read_stream(
    store: &Arc<dyn Store>,
    digest: Digest,
    targets: Vec<Target>,
    tasks: &TaskTracker,
) -> Result<(), Stop> {
    let Some(mut reader) = store.read(digest, 0).await? else {
        return Err(Stop::Missing(vec![digest]));
    };
    let (pieces, received) = mpsc::channel::<Bytes>(PIECES);
    let writer = tasks.spawn_blocking(move || write_stream(digest, &targets, received));
    while let Some(piece) = reader.next().await? {
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    drop(pieces);
    writer.await.map_err(|error| lost_task(&error))?
}

fn write_stream(
    digest: Digest,
    targets: &[Target],
    mut pieces: mpsc::Receiver<Bytes>,
) -> Result<(), Stop> {
    let Some((first, others)) = targets.split_first() else {
        return Ok(());
    };
    let mut file = create(first)?;
    let mut hasher = Hasher::new();
    while let Some(piece) = pieces.blocking_recv() {
        hasher.update(&piece);
        file.write_all(&piece).tried_at("write", &first.path)?;
    }
    drop(file);
    if !matches(digest, hasher.finish().digest) {
        return Err(Stop::Missing(vec![digest]));
    }
    for other in others {
        let mut from = File::open(&first.path).tried_at("open", &first.path)?;
        std::io::copy(&mut from, &mut create(other)?).tried_at("write", &other.path)?;
    }
    Ok(())
}

fn create(target: &Target) -> Result<File, Stop> {
    make_parents(&target.path)?;
    File::options()
        .write(true)
        .create_new(true)
        .mode(if target.executable { 0o755 } else { 0o644 })
        .open(&target.path)
        .tried_at("make", &target.path)
}

fn make_parents(path: &Path) -> Result<(), Stop> {
    match path.parent() {
        Some(parent) => fs::create_dir_all(parent).tried_at("make", parent),
        None => Ok(()),
    }
}

/// Whether what was received is what was asked for. What is not is as good as missing.
pub(crate) fn matches(wanted: Digest, received: Digest) -> bool {
    if wanted != received {
        tracing::error!(%wanted, %received, "a store sent other content than was asked for");
    }
    wanted == received
}

fn malformed(what: &str) -> Stop {
    Stop::Service(vx_core::ServiceError::Failed(format!("the store {what}")))
}

/// The digest of a file's content.
pub(crate) fn digest_file(path: &Path) -> std::io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match std::io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(hasher.finish().digest),
            read => hasher.update(&buffer[..read]),
        }
    }
}
