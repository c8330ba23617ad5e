//! A Store as an object.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use tokio_util::sync::CancellationToken;
use vx_core::service::{MAX_BATCH, MAX_SMALL_BLOB};
use vx_core::{ServiceError, ServiceResult, Store};
use vx_schema::store_capnp::store;

use crate::blob::inward::BlobSinkServer;
use crate::blob::outward::ReadingServer;
use crate::error::answer;
use crate::limits::{Limits, PAGE};
use crate::server::bootstrap::{Inbound, Shared};
use crate::server::grant::Granted;
use crate::server::{Streams, run, run_at_hand};
use crate::wire::store::{
    Introduction, blobs, introduction, place_outcome, place_request, small_blobs,
};
use crate::wire::value::{digest, digests};
use crate::wire::{bounded, length};

/// Content under a grant, or a store of this process that is lent to someone.
pub(crate) struct StoreServer {
    store: Arc<dyn Store>,
    runtime: Runtime,
    over: CancellationToken,
    streams: Rc<Streams>,
    door: Option<Door>,
}

/// What an introduction takes.
struct Door {
    granted: Arc<Granted>,
    shared: Arc<Shared>,
}

impl StoreServer {
    /// The store under a grant, for who is at the end of a connection.
    pub(crate) fn granted(granted: Arc<Granted>, inbound: &Inbound) -> Self {
        Self {
            store: granted.service.store(granted.id, inbound.holder),
            runtime: inbound.shared.runtime.clone(),
            over: granted.over.clone(),
            streams: inbound.streams.clone(),
            door: Some(Door {
                granted,
                shared: inbound.shared.clone(),
            }),
        }
    }

    /// A store of this process for a call's time; it can't introduce itself.
    pub(crate) fn lent(store: Arc<dyn Store>, runtime: Runtime) -> Self {
        Self {
            store,
            runtime,
            over: CancellationToken::new(),
            streams: Streams::new(Limits::default().streams),
            door: None,
        }
    }

    async fn run<T, Work, Running>(&self, work: Work) -> Result<T, capnp::Error>
    where
        T: Send + 'static,
        Work: FnOnce(Arc<dyn Store>) -> Running,
        Running: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        answer(run(&self.runtime, &self.over, work(self.store.clone())).await)
    }

    /// As [`Self::run`], for what is mostly answered from memory.
    async fn run_at_hand<T, Work, Running>(&self, work: Work) -> Result<T, capnp::Error>
    where
        T: Send + 'static,
        Work: FnOnce(Arc<dyn Store>) -> Running,
        Running: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        answer(run_at_hand(&self.runtime, &self.over, work(self.store.clone())).await)
    }
}

impl store::Server for StoreServer {
    async fn missing(
        self: Rc<Self>,
        params: store::MissingParams,
        mut results: store::MissingResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?.get_digests()?;
        bounded(asked.len(), MAX_BATCH, "digests")?;
        let asked = digests::from_wire(asked);
        let missing = self
            .run_at_hand(|store| async move { store.missing(asked).await })
            .await?;
        let list = results.get().init_missing(length(missing.len()));
        digests::to_wire(missing.iter(), list);
        Ok(())
    }

    async fn read(
        self: Rc<Self>,
        params: store::ReadParams,
        mut results: store::ReadResults,
    ) -> Result<(), capnp::Error> {
        let wanted = digest::from_wire(params.get()?.get_digest()?);
        let offset = params.get()?.get_offset();
        let sink = params.get()?.get_sink()?;
        let open = answer(self.streams.open())?;
        let reader = self
            .run(|store| async move { store.read(wanted, offset).await })
            .await?;
        let mut outcome = results.get().init_outcome();
        match reader {
            None => outcome.set_missing(()),
            Some(reader) => {
                let mut found = outcome.init_found();
                found.set_size(reader.size());
                let over = self.over.clone();
                let reading = ReadingServer::start(reader, sink, &self.runtime, over, open);
                found.set_reading(capnp_rpc::new_client(reading));
            }
        }
        Ok(())
    }

    async fn write(
        self: Rc<Self>,
        _: store::WriteParams,
        mut results: store::WriteResults,
    ) -> Result<(), capnp::Error> {
        let open = answer(self.streams.open())?;
        let writer = self.run(|store| async move { store.write().await }).await?;
        let sink = BlobSinkServer::start(writer, &self.runtime, self.over.clone(), open);
        results.get().set_sink(capnp_rpc::new_client(sink));
        Ok(())
    }

    async fn read_small(
        self: Rc<Self>,
        params: store::ReadSmallParams,
        mut results: store::ReadSmallResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?.get_digests()?;
        bounded(asked.len(), MAX_BATCH, "digests")?;
        let mut asked = digests::from_wire(asked);
        // However large they are, so many fit a page with one to spare.
        asked.truncate(PAGE / MAX_SMALL_BLOB as usize);
        let found = self
            .run(|store| async move { store.read_small(asked).await })
            .await?;
        let list = results.get().init_blobs(length(found.len()));
        small_blobs::to_wire(&found, list);
        Ok(())
    }

    async fn write_small(
        self: Rc<Self>,
        params: store::WriteSmallParams,
        mut results: store::WriteSmallResults,
    ) -> Result<(), capnp::Error> {
        let given = params.get()?.get_blobs()?;
        bounded(given.len(), MAX_BATCH, "blobs")?;
        let given: Vec<Bytes> = blobs::from_wire(given)?;
        drop(params);
        if given.iter().any(|blob| blob.len() as u64 > MAX_SMALL_BLOB) {
            return answer(Err(ServiceError::Invalid(format!(
                "a blob over {MAX_SMALL_BLOB} bytes in a batch of small ones"
            ))));
        }
        let named = self
            .run(|store| async move { store.write_small(given).await })
            .await?;
        let list = results.get().init_digests(length(named.len()));
        digests::to_wire(named.iter(), list);
        Ok(())
    }

    async fn place(
        self: Rc<Self>,
        params: store::PlaceParams,
        mut results: store::PlaceResults,
    ) -> Result<(), capnp::Error> {
        let asked = place_request::from_wire(params.get()?)?;
        drop(params);
        let outcome = self
            .run(|store| async move { store.place(asked).await })
            .await?;
        place_outcome::to_wire(&outcome, results.get().init_outcome());
        Ok(())
    }

    async fn introduce(
        self: Rc<Self>,
        _: store::IntroduceParams,
        mut results: store::IntroduceResults,
    ) -> Result<(), capnp::Error> {
        if self.over.is_cancelled() {
            return answer(Err(ServiceError::Revoked));
        }
        let Some(door) = &self.door else {
            return answer(Err(ServiceError::Denied(
                "this store has no endpoint of its own".to_owned(),
            )));
        };
        let shared = &door.shared;
        let secret = answer(shared.introductions.issue(&door.granted, &shared.limits))?;
        let made = Introduction {
            endpoint: shared.endpoint.clone(),
            instance: shared.me.instance.clone(),
            secret,
        };
        introduction::to_wire(&made, results.get().init_introduction());
        Ok(())
    }
}
