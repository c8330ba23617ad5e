//! Blobs that come in: a client's reading, and a server's storing.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;
use vx_core::{Blob, BlobReader, BlobWriter, ServiceError, ServiceResult};
use vx_schema::store_capnp::{blob_sink, byte_sink, reading};

use crate::blob::Item;
use crate::error::{answer, from_wire, to_wire};
use crate::limits::QUEUED_PIECES;
use crate::line::{Route, StoreTraffic};
use crate::server::{StreamGuard, Task};
use crate::vat::Handle;
use crate::wire::value::blob;

/// Where a store is to put what is read, and where that arrives.
pub(crate) fn byte_sink() -> (ByteSinkServer, mpsc::Receiver<Item>) {
    let (items, arriving) = mpsc::channel(QUEUED_PIECES);
    (ByteSinkServer { items }, arriving)
}

/// Takes what a store sends. Each write waits for room, and with it the store.
pub(crate) struct ByteSinkServer {
    items: mpsc::Sender<Item>,
}

impl ByteSinkServer {
    async fn put(&self, item: Item) -> Result<(), capnp::Error> {
        self.items
            .send(item)
            .await
            .map_err(|_| to_wire(ServiceError::Failed("the reader has left".to_owned())))
    }
}

impl byte_sink::Server for ByteSinkServer {
    async fn write(self: Rc<Self>, params: byte_sink::WriteParams) -> Result<(), capnp::Error> {
        let bytes = Bytes::copy_from_slice(params.get()?.get_bytes()?);
        drop(params);
        self.put(Item::Bytes(bytes)).await
    }

    async fn done(
        self: Rc<Self>,
        _: byte_sink::DoneParams,
        _: byte_sink::DoneResults,
    ) -> Result<(), capnp::Error> {
        self.put(Item::End).await
    }

    async fn fail(
        self: Rc<Self>,
        params: byte_sink::FailParams,
        _: byte_sink::FailResults,
    ) -> Result<(), capnp::Error> {
        let reason = params.get()?.get_reason()?.to_string()?;
        let error = from_wire(&capnp::Error::failed(reason), "the store");
        self.put(Item::Fail(error)).await
    }
}

/// A blob that a store elsewhere sends. Dropping it ends the stream.
pub(crate) struct RemoteBlobReader {
    size: u64,
    arriving: mpsc::Receiver<Item>,
    reading: Handle<reading::Client>,
    _permit: OwnedSemaphorePermit,
    route: Route,
    traffic: Arc<StoreTraffic>,
    ended: bool,
}

impl RemoteBlobReader {
    pub(crate) fn new(
        size: u64,
        arriving: mpsc::Receiver<Item>,
        reading: Handle<reading::Client>,
        permit: OwnedSemaphorePermit,
        route: Route,
        traffic: Arc<StoreTraffic>,
    ) -> Self {
        Self {
            size,
            arriving,
            reading,
            _permit: permit,
            route,
            traffic,
            ended: false,
        }
    }
}

#[async_trait]
impl BlobReader for RemoteBlobReader {
    fn size(&self) -> u64 {
        self.size
    }

    async fn next(&mut self) -> ServiceResult<Option<Bytes>> {
        if self.ended {
            return Ok(None);
        }
        match self.arriving.recv().await {
            Some(Item::Bytes(bytes)) => {
                self.traffic.add(self.route, bytes.len());
                Ok(Some(bytes))
            }
            Some(Item::End) => {
                self.ended = true;
                Ok(None)
            }
            Some(Item::Fail(error)) => Err(error),
            // The sink went before its end: the store let go of it, or the connection did.
            None => Err(self.reading.line().lost()),
        }
    }
}

/// Where a client puts a blob: pieces go through a short queue to the one who writes it.
pub(crate) struct BlobSinkServer {
    items: mpsc::Sender<Item>,
    writing: RefCell<Option<Task<Blob>>>,
    fault: RefCell<Option<ServiceError>>,
    _open: StreamGuard,
}

impl BlobSinkServer {
    /// Starts to write; `over` ends it.
    pub(crate) fn start(
        writer: Box<dyn BlobWriter>,
        runtime: &Runtime,
        over: CancellationToken,
        open: StreamGuard,
    ) -> Self {
        let (items, queue) = mpsc::channel(QUEUED_PIECES);
        let writing = Task::spawn(runtime, async move {
            tokio::select! {
                biased;
                () = over.cancelled() => Err(ServiceError::Revoked),
                written = write_all(writer, queue) => written,
            }
        });
        Self {
            items,
            writing: RefCell::new(Some(writing)),
            fault: RefCell::new(None),
            _open: open,
        }
    }

    /// How the writing ended.
    async fn ended(&self) -> ServiceResult<Blob> {
        let writing = self.writing.borrow_mut().take();
        let ended = match writing {
            Some(writing) => writing.outcome().await,
            None => Err(self.fault.borrow().clone().unwrap_or_else(|| {
                ServiceError::Invalid("this stream was ended before".to_owned())
            })),
        };
        if let Err(error) = &ended {
            *self.fault.borrow_mut() = Some(error.clone());
        }
        ended
    }

    async fn put(&self, item: Item) -> ServiceResult<()> {
        if self.items.send(item).await.is_ok() {
            return Ok(());
        }
        match self.ended().await {
            Err(error) => Err(error),
            Ok(_) => Err(ServiceError::Invalid(
                "this stream was ended before".to_owned(),
            )),
        }
    }
}

async fn write_all(
    mut writer: Box<dyn BlobWriter>,
    mut queue: mpsc::Receiver<Item>,
) -> ServiceResult<Blob> {
    loop {
        match queue.recv().await {
            Some(Item::Bytes(bytes)) => writer.write(bytes).await?,
            Some(Item::End) => return writer.finish().await,
            Some(Item::Fail(error)) => return Err(error),
            None => return Err(ServiceError::Failed("the writer has left".to_owned())),
        }
    }
}

impl blob_sink::Server for BlobSinkServer {
    async fn write(self: Rc<Self>, params: blob_sink::WriteParams) -> Result<(), capnp::Error> {
        let bytes = Bytes::copy_from_slice(params.get()?.get_bytes()?);
        drop(params);
        answer(self.put(Item::Bytes(bytes)).await)
    }

    async fn done(
        self: Rc<Self>,
        _: blob_sink::DoneParams,
        mut results: blob_sink::DoneResults,
    ) -> Result<(), capnp::Error> {
        answer(self.put(Item::End).await)?;
        let stored = answer(self.ended().await)?;
        blob::to_wire(&stored, results.get().init_blob());
        Ok(())
    }
}
