//! Blobs on their way in: pieces collect, and jobs hash and write them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use vx_core::{Blob, BlobWriter, Hasher, ServiceError, ServiceResult};

use crate::blobs::Temporary;
use crate::limits::{WRITE_PIECE, WRITE_WAITING};
use crate::pool::Answer;
use crate::shared::Shared;
use crate::state::Grant;

/// What of a blob is hashed and on disk.
#[derive(Default)]
struct Partial {
    temporary: Option<Temporary>,
    hasher: Hasher,
    size: u64,
}

impl Partial {
    fn add(
        mut self: Box<Self>,
        shared: &Arc<Shared>,
        pieces: &[Bytes],
    ) -> ServiceResult<Box<Self>> {
        let temporary = match &mut self.temporary {
            Some(temporary) => temporary,
            empty => empty.insert(Temporary::create(shared)?),
        };
        for piece in pieces {
            self.hasher.update(piece);
            temporary.write(piece)?;
            self.size += piece.len() as u64;
        }
        if self.size > shared.config.limit {
            return Err(ServiceError::Overloaded(format!(
                "a blob larger than the whole store's limit of {} bytes",
                shared.config.limit
            )));
        }
        Ok(self)
    }

    fn finish(
        self: Box<Self>,
        shared: &Arc<Shared>,
        pieces: &[Bytes],
        grant: &Grant,
    ) -> ServiceResult<Blob> {
        let added = self.add(shared, pieces)?;
        let blob = added.hasher.finish();
        grant.check()?;
        if let Some(temporary) = added.temporary {
            shared.keep(temporary, blob, grant)?;
        }
        Ok(blob)
    }
}

/// A blob on its way in.
pub(crate) struct Upload {
    shared: Arc<Shared>,
    grant: Arc<Grant>,
    waiting: Vec<Bytes>,
    waiting_bytes: usize,
    progress: Progress,
    _permit: OwnedSemaphorePermit,
}

enum Progress {
    /// No job has it.
    Here(Box<Partial>),
    /// A job has it.
    Away(Answer<ServiceResult<Box<Partial>>>),
    /// It failed.
    Failed,
}

impl Upload {
    pub(crate) fn new(
        shared: Arc<Shared>,
        grant: Arc<Grant>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            shared,
            grant,
            waiting: Vec::new(),
            waiting_bytes: 0,
            progress: Progress::Here(Box::default()),
            _permit: permit,
        }
    }

    /// Waits until no job has the blob, and takes it.
    async fn take(&mut self) -> ServiceResult<Box<Partial>> {
        if let Progress::Away(answer) = &mut self.progress {
            let answered = answer.wait().await.and_then(std::convert::identity);
            self.progress = match answered {
                Ok(partial) => Progress::Here(partial),
                Err(error) => {
                    self.progress = Progress::Failed;
                    return Err(error);
                }
            };
        }
        match std::mem::replace(&mut self.progress, Progress::Failed) {
            Progress::Here(partial) => Ok(partial),
            _ => Err(ServiceError::Invalid(
                "this blob failed at an earlier piece".to_owned(),
            )),
        }
    }

    fn take_waiting(&mut self) -> Vec<Bytes> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting)
    }
}

#[async_trait]
impl BlobWriter for Upload {
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()> {
        self.grant.check()?;
        if matches!(self.progress, Progress::Failed) {
            return Err(ServiceError::Invalid(
                "this blob failed at an earlier piece".to_owned(),
            ));
        }
        self.waiting_bytes += piece.len();
        self.waiting.push(piece);
        let idle = match &self.progress {
            Progress::Away(answer) => answer.is_there(),
            _ => true,
        };
        if self.waiting_bytes < WRITE_PIECE || (!idle && self.waiting_bytes < WRITE_WAITING) {
            return Ok(());
        }
        let partial = self.take().await?;
        let pieces = self.take_waiting();
        let shared = Arc::clone(&self.shared);
        let submitted = self
            .shared
            .pool
            .submit(move || partial.add(&shared, &pieces))
            .await?;
        self.progress = Progress::Away(submitted);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> ServiceResult<Blob> {
        self.grant.check()?;
        let partial = self.take().await?;
        let pieces = self.take_waiting();
        let (shared, grant) = (Arc::clone(&self.shared), Arc::clone(&self.grant));
        self.shared
            .pool
            .run(move || partial.finish(&shared, &pieces, &grant))
            .await?
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Removing the temporary file is file work.
        if let Progress::Here(partial) = std::mem::replace(&mut self.progress, Progress::Failed)
            && partial.temporary.is_some()
        {
            self.shared.pool.discard(partial);
        }
    }
}
