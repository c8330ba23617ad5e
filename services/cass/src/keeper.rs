//! Checkpoints: one thread writes to the index what changed since the last one.
//!
//! Blobs are brought to the disk before the index says anything of them, so what the index
//! says after a power cut is true of the files, up to what their stamps show.

use std::collections::HashSet;
use std::sync::Arc;

use rustix::fs::FileType;
use vx_core::Digest;

use crate::blobs::blob_path;
use crate::index::IndexError;
use crate::limits::{CHECKPOINT_AFTER, MAX_PENDING, RETRY_AFTER, USES_AFTER};
use crate::shared::Shared;
use crate::state::State;

impl Shared {
    /// The keeper's thread: ends when its signal says so, without a last checkpoint.
    pub(crate) fn keep_checkpoints(&self) {
        loop {
            let flags = self.keeper.wait();
            if flags.stop {
                return;
            }
            if !flags.urgent {
                let changed = self.state().pending.has_changes();
                self.keeper.linger(if changed {
                    CHECKPOINT_AFTER
                } else {
                    USES_AFTER
                });
            }
            if self.keeper.is_stopped() {
                return;
            }
            if let Err(error) = self.checkpoint(false) {
                tracing::error!(
                    %error,
                    "the store's index can't be written; what was published since the last \
                     checkpoint is kept in memory, and tried again"
                );
                self.keeper.linger(RETRY_AFTER);
                self.keeper.wake();
            }
        }
    }

    /// Writes everything that changed; `clean` also notes that the store is closed.
    pub(crate) fn checkpoint(&self, clean: bool) -> Result<(), IndexError> {
        let _alone = crate::shared::lock(&self.checkpointing);
        let (rows, pending) = {
            let mut state = self.state();
            if state.pending.is_empty() && !clean {
                return Ok(());
            }
            state.take_pending()
        };
        let written = if pending.blobs.is_empty() {
            Ok(())
        } else {
            rustix::fs::syncfs(&self.directory.blobs)
                .map_err(|error| IndexError::Sync(error.into()))
        }
        .and_then(|()| self.index.write(&rows, clean));
        let mut state = self.state();
        state.writing = None;
        if written.is_err() {
            state.pending.put_back(&pending);
        }
        drop(state);
        self.checkpointed.notify_waiters();
        written
    }

    /// Waits until there is room for more content in memory.
    pub(crate) async fn room_for_content(&self) -> vx_core::ServiceResult<()> {
        let told = self.checkpointed.notified();
        tokio::pin!(told);
        told.as_mut().enable();
        if self.state().pending.bytes < MAX_PENDING {
            return Ok(());
        }
        self.keeper.hurry();
        told.await;
        if self.state().pending.bytes < MAX_PENDING {
            return Ok(());
        }
        Err(vx_core::ServiceError::Overloaded(format!(
            "the store {} can't write its index and keeps nothing more in memory; is its disk full?",
            self.directory.path.display()
        )))
    }
}

/// Makes what the index says of blobs agree with the files after an unclean stop: files it does
/// not know are taken in, to be hashed before they are used, and blobs without a file are
/// missing.
pub(crate) fn reconcile(
    directory: &crate::directory::Directory,
    state: &mut State,
) -> std::io::Result<()> {
    let mut found = HashSet::new();
    for entry in rustix::fs::Dir::read_from(&directory.blobs)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_bytes().len() != 2 || name.to_bytes() == b".." {
            continue;
        }
        let Ok(shard) = rustix::fs::openat(
            &directory.blobs,
            name,
            rustix::fs::OFlags::RDONLY
                | rustix::fs::OFlags::DIRECTORY
                | rustix::fs::OFlags::NOFOLLOW
                | rustix::fs::OFlags::CLOEXEC,
            rustix::fs::Mode::empty(),
        ) else {
            continue;
        };
        for entry in rustix::fs::Dir::read_from(&shard)? {
            let entry = entry?;
            let Some(digest) = entry
                .file_name()
                .to_str()
                .ok()
                .and_then(|name| name.parse::<Digest>().ok())
            else {
                continue;
            };
            if blob_path(&digest).as_bytes()[..2] != *name.to_bytes() {
                continue;
            }
            if state.file(&digest).is_none() {
                let stat = rustix::fs::statat(
                    &shard,
                    entry.file_name(),
                    rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
                )?;
                let Ok(size) = u64::try_from(stat.st_size) else {
                    continue;
                };
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    continue;
                }
                state.put_file(digest, size, None);
            }
            found.insert(digest);
        }
    }
    let gone: Vec<Digest> = state
        .blobs
        .iter()
        .filter(|(digest, entry)| entry.file.is_some() && !found.contains(digest))
        .map(|(digest, _)| *digest)
        .collect();
    for digest in &gone {
        state.remove_file(digest);
    }
    tracing::info!(
        found = found.len(),
        gone = gone.len(),
        "the store was not closed; its blobs were counted anew"
    );
    Ok(())
}

/// Starts a thread that shares the store.
pub(crate) fn start(
    shared: &Arc<Shared>,
    name: &str,
    work: impl FnOnce(&Shared) + Send + 'static,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    let shared = Arc::clone(shared);
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || work(&shared))
}
