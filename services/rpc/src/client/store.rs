//! A store elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vx_core::service::{MAX_BATCH, MAX_SMALL_BLOB};
use vx_core::{
    BlobReader, BlobWriter, Digest, PlaceOutcome, PlaceRequest, ServiceError, ServiceResult, Store,
};
use vx_schema::store_capnp;

use crate::blob::inward::{RemoteBlobReader, byte_sink};
use crate::blob::outward::RemoteBlobWriter;
use crate::client::fits;
use crate::error::Fault;
use crate::limits::PAGE;
use crate::line::{Route, StoreTraffic};
use crate::vat::Handle;
use crate::wire::length;
use crate::wire::store::{
    Introduction, blobs, introduction, place_outcome, place_request, small_blobs,
};
use crate::wire::value::{digest, digests};

/// A Store capability. Clones are the same one.
#[derive(Clone)]
pub struct RemoteStore {
    handle: Handle<store_capnp::store::Client>,
    route: Route,
    traffic: Arc<StoreTraffic>,
}

impl RemoteStore {
    pub(crate) fn new(
        handle: Handle<store_capnp::store::Client>,
        route: Route,
        traffic: Arc<StoreTraffic>,
    ) -> Self {
        Self {
            handle,
            route,
            traffic,
        }
    }

    /// How its bytes go.
    #[must_use]
    pub fn route(&self) -> Route {
        self.route
    }

    /// Whether its connection lives.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.handle.line().is_open()
    }

    pub(crate) fn handle(&self) -> &Handle<store_capnp::store::Client> {
        &self.handle
    }

    /// Waits while too many blobs are under way on the connection.
    async fn permit(&self, which: &Arc<Semaphore>) -> ServiceResult<OwnedSemaphorePermit> {
        which
            .clone()
            .acquire_owned()
            .await
            .map_err(|_| self.handle.line().lost())
    }
}

/// Asks a Store how to reach it directly.
pub(crate) async fn introduce(
    store: &store_capnp::store::Client,
) -> Result<Introduction, capnp::Error> {
    let response = store.introduce_request().send().promise.await?;
    introduction::from_wire(response.get()?.get_introduction()?)
}

#[async_trait]
impl Store for RemoteStore {
    async fn missing(&self, asked: Vec<Digest>) -> ServiceResult<Vec<Digest>> {
        let mut missing = Vec::new();
        for batch in asked.chunks(MAX_BATCH) {
            let batch = batch.to_vec();
            missing.extend(
                self.handle
                    .call(move |store, _| async move {
                        let mut request = store.missing_request();
                        let list = request.get().init_digests(length(batch.len()));
                        digests::to_wire(batch.iter(), list);
                        let response = request.send().promise.await?;
                        Ok(digests::from_wire(response.get()?.get_missing()?))
                    })
                    .await?,
            );
        }
        Ok(missing)
    }

    async fn read(
        &self,
        wanted: Digest,
        offset: u64,
    ) -> ServiceResult<Option<Box<dyn BlobReader>>> {
        use store_capnp::store::read_outcome::Which;
        let permit = self.permit(&self.handle.line().own_readers).await?;
        let line = self.handle.line().clone();
        let (sink, arriving) = byte_sink();
        let found = self
            .handle
            .call(move |store, local| async move {
                let mut request = store.read_request();
                digest::to_wire(&wanted, request.get().init_digest());
                request.get().set_offset(offset);
                request.get().set_sink(capnp_rpc::new_client(sink));
                let response = request.send().promise.await?;
                Ok(match response.get()?.get_outcome()?.which()? {
                    Which::Missing(()) => None,
                    Which::Found(found) => {
                        let reading = local.keep(found.get_reading()?, line, None);
                        Some((found.get_size(), reading))
                    }
                })
            })
            .await?;
        let Some((size, reading)) = found else {
            return Ok(None);
        };
        let (route, traffic) = (self.route, self.traffic.clone());
        Ok(Some(Box::new(RemoteBlobReader::new(
            size, arriving, reading, permit, route, traffic,
        ))))
    }

    async fn write(&self) -> ServiceResult<Box<dyn BlobWriter>> {
        let permit = self.permit(&self.handle.line().own_writers).await?;
        let writer =
            RemoteBlobWriter::open(&self.handle, permit, self.route, self.traffic.clone()).await?;
        Ok(Box::new(writer))
    }

    async fn read_small(&self, asked: Vec<Digest>) -> ServiceResult<Vec<Option<Bytes>>> {
        let mut found: Vec<Option<Bytes>> = Vec::with_capacity(asked.len());
        while found.len() < asked.len() {
            let rest = &asked[found.len()..];
            let batch = rest[..rest.len().min(MAX_BATCH)].to_vec();
            let wanted = batch.len();
            let page = self
                .handle
                .call(move |store, _| async move {
                    let mut request = store.read_small_request();
                    let list = request.get().init_digests(length(batch.len()));
                    digests::to_wire(batch.iter(), list);
                    let response = request.send().promise.await?;
                    Ok(small_blobs::from_wire(response.get()?.get_blobs()?)?)
                })
                .await?;
            checked_page(page.len(), wanted)?;
            let bytes = page.iter().flatten().map(Bytes::len).sum();
            self.traffic.add(self.route, bytes);
            found.extend(page);
        }
        Ok(found)
    }

    async fn write_small(&self, given: Vec<Bytes>) -> ServiceResult<Vec<Digest>> {
        if let Some(large) = given.iter().find(|blob| blob.len() as u64 > MAX_SMALL_BLOB) {
            return Err(ServiceError::Invalid(format!(
                "a blob of {} bytes in a batch of small ones; {MAX_SMALL_BLOB} is the most",
                large.len()
            )));
        }
        let mut named = Vec::with_capacity(given.len());
        while named.len() < given.len() {
            let rest = &given[named.len()..];
            let mut bytes = 0;
            let fitting = rest.iter().take(MAX_BATCH).take_while(|blob| {
                bytes += blob.len();
                bytes <= PAGE
            });
            let count = fitting.count().max(1);
            let batch = rest[..count].to_vec();
            let page = self
                .handle
                .call(move |store, _| async move {
                    let mut request = store.write_small_request();
                    blobs::to_wire(&batch, request.get().init_blobs(length(batch.len())));
                    let response = request.send().promise.await?;
                    Ok(digests::from_wire(response.get()?.get_digests()?))
                })
                .await?;
            if page.len() != count {
                return Err(ServiceError::failed(
                    "the store named another number of blobs",
                ));
            }
            let bytes = rest[..count].iter().map(Bytes::len).sum();
            self.traffic.add(self.route, bytes);
            named.extend(page);
        }
        Ok(named)
    }

    async fn place(&self, asked: PlaceRequest) -> ServiceResult<PlaceOutcome> {
        self.handle
            .call(move |store, _| async move {
                let mut request = store.place_request();
                place_request::to_wire(&asked, request.get());
                let size = request.get().into_reader().total_size();
                if let Err(Fault::Wire(error)) = fits(size, "the list of files") {
                    return Ok(PlaceOutcome::Unavailable(error.extra));
                }
                let response = request.send().promise.await?;
                Ok(place_outcome::from_wire(response.get()?.get_outcome()?)?)
            })
            .await
    }
}

/// Refuses an answer that would make the caller ask for ever, or gives more than was asked.
pub(crate) fn checked_page(got: usize, wanted: usize) -> ServiceResult<()> {
    if got == 0 || got > wanted {
        return Err(ServiceError::failed(format!(
            "the store answered for {got} of {wanted} names"
        )));
    }
    Ok(())
}
