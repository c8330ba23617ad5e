//! The store under a grant, for one holder.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use vx_core::service::MAX_SMALL_BLOB;
use vx_core::{
    BlobReader, BlobWriter, Digest, Holder, PlaceOutcome, PlaceRequest, ServiceError,
    ServiceResult, Store,
};

use crate::limits::{MAX_STREAMS, SMALL_SHARE};
use crate::place;
use crate::read::Download;
use crate::results::check_batch;
use crate::shared::Shared;
use crate::state::Grant;
use crate::write::Upload;

/// The store under a grant, for one holder.
pub(crate) struct GrantStore {
    pub(crate) shared: Arc<Shared>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) holder: Holder,
}

impl GrantStore {
    fn stream(&self) -> ServiceResult<OwnedSemaphorePermit> {
        Arc::clone(&self.shared.streams)
            .try_acquire_owned()
            .map_err(|_| {
                ServiceError::Overloaded(format!(
                    "{MAX_STREAMS} blobs are being read and written already"
                ))
            })
    }

    /// Does something for each item, several at once, and gives the answers in order.
    async fn side_by_side<I, T>(
        &self,
        items: Vec<I>,
        work: fn(&Arc<Shared>, &Grant, &I) -> ServiceResult<T>,
    ) -> ServiceResult<Vec<T>>
    where
        I: Clone + Send + 'static,
        T: Send + 'static,
    {
        let mut answers = Vec::new();
        for share in items.chunks(SMALL_SHARE) {
            let (shared, grant) = self.parts();
            let share = share.to_vec();
            let job = move || {
                let each = |item| {
                    grant.check()?;
                    work(&shared, &grant, item)
                };
                share.iter().map(each).collect::<ServiceResult<Vec<T>>>()
            };
            answers.push(self.shared.pool.submit(job).await?);
        }
        let mut all = Vec::with_capacity(items.len());
        for mut answer in answers {
            all.extend(answer.wait().await??);
        }
        Ok(all)
    }

    fn parts(&self) -> (Arc<Shared>, Arc<Grant>) {
        (Arc::clone(&self.shared), Arc::clone(&self.grant))
    }
}

#[async_trait]
impl Store for GrantStore {
    async fn missing(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        self.grant.check()?;
        check_batch(digests.len())?;
        let missing = {
            let mut state = self.shared.state();
            digests
                .into_iter()
                .filter(|digest| !state.use_blob(digest, self.grant.id))
                .collect()
        };
        self.shared.keeper.wake();
        Ok(missing)
    }

    async fn read(
        &self,
        digest: Digest,
        offset: u64,
    ) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        self.grant.check()?;
        if !self.shared.state().use_blob(&digest, self.grant.id) {
            return Ok(None);
        }
        let permit = self.stream()?;
        let (shared, grant) = self.parts();
        let opened = self
            .shared
            .pool
            .run(move || Download::open(&shared, grant, digest, offset, permit))
            .await??;
        Ok(opened.map(|download| Box::new(download) as Box<dyn BlobReader>))
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        self.grant.check()?;
        let permit = self.stream()?;
        let (shared, grant) = self.parts();
        Ok(Box::new(Upload::new(shared, grant, permit)))
    }

    async fn read_small(&self, digests: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        self.grant.check()?;
        check_batch(digests.len())?;
        self.side_by_side(digests, |shared, grant, digest| {
            if !shared.state().use_blob(digest, grant.id) {
                return Ok(None);
            }
            shared.read_whole(digest, MAX_SMALL_BLOB)
        })
        .await
    }

    async fn write_small(&self, blobs: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        self.grant.check()?;
        check_batch(blobs.len())?;
        if let Some(large) = blobs.iter().find(|blob| blob.len() as u64 > MAX_SMALL_BLOB) {
            return Err(ServiceError::Invalid(format!(
                "a blob of {} bytes is over the limit of {MAX_SMALL_BLOB} for a batch; write it \
                 on its own",
                large.len()
            )));
        }
        self.side_by_side(blobs, |shared, grant, blob| {
            Ok(shared.keep_bytes(blob, grant)?.digest)
        })
        .await
    }

    async fn place(&self, request: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        self.grant.check()?;
        place::place(&self.shared, &self.grant, self.holder, request).await
    }
}
