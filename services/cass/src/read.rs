//! Blobs on their way out: a job fetches the next piece while the last one is sent.

use std::fs::File;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use vx_core::{BlobReader, Digest, ServiceError, ServiceResult};

use crate::blobs::{Verified, read_up_to};
use crate::limits::READ_PIECE;
use crate::pool::Answer;
use crate::shared::Shared;
use crate::stamp::Stamp;
use crate::state::Grant;

/// A verified blob on its way out.
pub(crate) struct Download {
    shared: Arc<Shared>,
    grant: Arc<Grant>,
    source: Arc<Source>,
    /// Where the next piece to fetch starts.
    offset: u64,
    fetching: Option<Answer<ServiceResult<Bytes>>>,
    ready: Option<Bytes>,
    _permit: OwnedSemaphorePermit,
}

/// The file behind it.
struct Source {
    digest: Digest,
    file: File,
    stamp: Stamp,
    size: u64,
}

impl Source {
    fn fetch(&self, shared: &Shared, offset: u64) -> ServiceResult<Bytes> {
        let length = (self.size - offset).min(READ_PIECE as u64);
        let mut piece = Vec::new();
        read_up_to(&self.file, offset, &mut piece, length)
            .map_err(|error| shared.fault("read a blob", error))?;
        let short = piece.len() as u64 != length;
        let last = offset + length == self.size;
        // The content was verified when the file was opened: it must still be that file's.
        if short
            || last
                && !self
                    .stamp
                    .same_but_links(&Stamp::of(&shared.stat(&self.file)?))
        {
            return Err(ServiceError::Failed(format!(
                "the blob {} was altered while it was read",
                self.digest
            )));
        }
        Ok(piece.into())
    }
}

impl Download {
    /// Starts to read a blob from `offset`; does file work.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        grant: Arc<Grant>,
        digest: Digest,
        offset: u64,
        permit: OwnedSemaphorePermit,
    ) -> ServiceResult<Option<Self>> {
        let Some(Verified { file, stamp, size }) = shared.verified(&digest)? else {
            return Ok(None);
        };
        if offset > size {
            return Err(ServiceError::Invalid(format!(
                "the blob {digest} ends at {size}, before the offset {offset}"
            )));
        }
        let source = Source {
            digest,
            file,
            stamp,
            size,
        };
        let ready = if offset < size {
            Some(source.fetch(shared, offset)?)
        } else {
            None
        };
        Ok(Some(Self {
            shared: Arc::clone(shared),
            grant,
            offset: offset + ready.as_ref().map_or(0, |piece| piece.len() as u64),
            source: Arc::new(source),
            fetching: None,
            ready,
            _permit: permit,
        }))
    }
}

#[async_trait]
impl BlobReader for Download {
    fn size(&self) -> u64 {
        self.source.size
    }

    async fn next(&mut self) -> ServiceResult<Option<Bytes>> {
        self.grant.check()?;
        if self.ready.is_none() {
            self.fetch().await?;
            if let Some(fetching) = &mut self.fetching {
                let fetched = fetching.wait().await;
                self.fetching = None;
                let piece = fetched??;
                self.offset += piece.len() as u64;
                self.ready = Some(piece);
            }
        }
        // The next piece is fetched while this one is sent.
        self.fetch().await?;
        Ok(self.ready.take())
    }
}

impl Download {
    /// Has the next piece fetched, unless that is under way or there is none.
    async fn fetch(&mut self) -> ServiceResult<()> {
        if self.fetching.is_none() && self.offset < self.source.size {
            let (shared, source) = (Arc::clone(&self.shared), Arc::clone(&self.source));
            let offset = self.offset;
            self.fetching = Some(
                self.shared
                    .pool
                    .submit(move || source.fetch(&shared, offset))
                    .await?,
            );
        }
        Ok(())
    }
}
