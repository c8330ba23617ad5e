//! Blobs that go out: a client's storing, and a server's reading.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::{AbortHandle, spawn_local};
use tokio_util::sync::CancellationToken;
use vx_core::{Blob, BlobReader, BlobWriter, ServiceError, ServiceResult};
use vx_schema::store_capnp::{blob_sink, byte_sink, reading, store};

use crate::blob::{Chunks, Item, Next};
use crate::error::{Fault, to_wire};
use crate::limits::QUEUED_PIECES;
use crate::line::{Line, Route, StoreTraffic};
use crate::server::StreamGuard;
use crate::vat::Handle;
use crate::wire::length;
use crate::wire::value::blob;

fn copy(pieces: &[Bytes], mut to: &mut [u8]) {
    for piece in pieces {
        let (here, rest) = to.split_at_mut(piece.len());
        here.copy_from_slice(piece);
        to = rest;
    }
}

/// A blob that a store elsewhere takes.
pub(crate) struct RemoteBlobWriter {
    items: mpsc::Sender<Item>,
    stored: oneshot::Receiver<ServiceResult<Blob>>,
    /// Why it failed, once it has.
    failed: Option<ServiceError>,
    line: Arc<Line>,
    _permit: OwnedSemaphorePermit,
    route: Route,
    traffic: Arc<StoreTraffic>,
}

impl RemoteBlobWriter {
    pub(crate) async fn open(
        store: &Handle<store::Client>,
        permit: OwnedSemaphorePermit,
        route: Route,
        traffic: Arc<StoreTraffic>,
    ) -> ServiceResult<Self> {
        let (items, queue) = mpsc::channel(QUEUED_PIECES);
        let (outcome, stored) = oneshot::channel();
        let line = store.line().clone();
        let watched = line.clone();
        store
            .call(move |store, _| async move {
                let response = store.write_request().send().promise.await?;
                let sink = response.get()?.get_sink()?;
                spawn_local(async move {
                    let done = tokio::select! {
                        biased;
                        done = store_all(sink, Chunks::new(queue)) => done,
                        () = watched.closed.cancelled() => Some(Err(watched.lost().into())),
                    };
                    if let Some(done) = done {
                        let _ = outcome.send(done.map_err(|fault| fault.of(&watched.peer())));
                    }
                });
                Ok(())
            })
            .await?;
        Ok(Self {
            items,
            stored,
            failed: None,
            line,
            _permit: permit,
            route,
            traffic,
        })
    }

    async fn fault(&mut self) -> ServiceError {
        if let Some(error) = &self.failed {
            return error.clone();
        }
        let error = match (&mut self.stored).await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) | Err(_) => self.line.lost(),
        };
        self.failed = Some(error.clone());
        error
    }
}

/// `None` when the writer was dropped.
async fn store_all(sink: blob_sink::Client, mut chunks: Chunks) -> Option<Result<Blob, Fault>> {
    loop {
        match chunks.next().await {
            Next::Chunk(pieces, total) => {
                let mut request = sink.write_request();
                copy(&pieces, request.get().init_bytes(length(total)));
                if let Err(error) = request.send().await {
                    return Some(Err(error.into()));
                }
            }
            Next::End => {
                return Some(
                    async {
                        let response = sink.done_request().send().promise.await?;
                        Ok(blob::from_wire(response.get()?.get_blob()?)?)
                    }
                    .await,
                );
            }
            Next::Fail(_) | Next::Abandoned => return None,
        }
    }
}

#[async_trait]
impl BlobWriter for RemoteBlobWriter {
    async fn write(&mut self, piece: Bytes) -> ServiceResult<()> {
        let bytes = piece.len();
        if self.items.send(Item::Bytes(piece)).await.is_err() {
            return Err(self.fault().await);
        }
        self.traffic.add(self.route, bytes);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> ServiceResult<Blob> {
        if self.items.send(Item::End).await.is_err() {
            return Err(self.fault().await);
        }
        match (&mut self.stored).await {
            Ok(stored) => stored,
            Err(_) => Err(self.line.lost()),
        }
    }
}

/// A blob on its way to a client's sink; dropping it stops the stream.
pub(crate) struct ReadingServer {
    feeding: AbortHandle,
    sending: AbortHandle,
}

impl reading::Server for ReadingServer {}

impl Drop for ReadingServer {
    fn drop(&mut self) {
        self.feeding.abort();
        self.sending.abort();
    }
}

impl ReadingServer {
    /// Starts to send; `over` ends it.
    pub(crate) fn start(
        mut reader: Box<dyn BlobReader>,
        sink: byte_sink::Client,
        runtime: &Runtime,
        over: CancellationToken,
        open: StreamGuard,
    ) -> Self {
        let (items, queue) = mpsc::channel(QUEUED_PIECES);
        let feeding = runtime.spawn(async move {
            loop {
                let (item, last) = match reader.next().await {
                    Ok(Some(bytes)) => (Item::Bytes(bytes), false),
                    Ok(None) => (Item::End, true),
                    Err(error) => (Item::Fail(error), true),
                };
                if items.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        let sending = spawn_local(async move {
            let sent = send_all(&sink, Chunks::new(queue), &over).await;
            if let Err(error) = sent {
                tracing::debug!(error = %error.extra, "a reader left before its blob's end");
            }
            drop(open);
        });
        Self {
            feeding: feeding.abort_handle(),
            sending: sending.abort_handle(),
        }
    }
}

async fn send_all(
    sink: &byte_sink::Client,
    mut chunks: Chunks,
    over: &CancellationToken,
) -> capnp::Result<()> {
    loop {
        let next = tokio::select! {
            biased;
            () = over.cancelled() => Next::Fail(ServiceError::Revoked),
            next = chunks.next() => next,
        };
        let failed = match next {
            Next::Chunk(pieces, total) => {
                let mut request = sink.write_request();
                copy(&pieces, request.get().init_bytes(length(total)));
                tokio::select! {
                    biased;
                    () = over.cancelled() => ServiceError::Revoked,
                    sent = request.send() => {
                        sent?;
                        continue;
                    }
                }
            }
            Next::End => {
                sink.done_request().send().promise.await?;
                return Ok(());
            }
            Next::Fail(error) => error,
            Next::Abandoned => ServiceError::failed("the store stopped reading the blob"),
        };
        let mut request = sink.fail_request();
        request.get().set_reason(to_wire(failed).extra);
        request.send().promise.await?;
        return Ok(());
    }
}
