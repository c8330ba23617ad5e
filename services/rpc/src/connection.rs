//! One connection's RPC system: metered, bounded, and watched until it ends.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use capnp::capability::Promise;
use capnp::message::{HeapAllocator, ReaderOptions};
use capnp::serialize::OwnedSegments;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::{FlowController, RpcSystem, VatNetwork, twoparty};
use futures::FutureExt;
use futures::io::{AsyncBufRead, AsyncBufReadExt, AsyncWrite, BufReader, BufWriter};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

use crate::limits::{Limits, NESTING, SOCKET_BUFFER, TRAVERSALS};
use crate::line::Line;
use crate::socket::{ReadHalf, Stream, WriteHalf};

/// Starts a connection that was dialled, on the current thread, and gives the client of what
/// the other side offers first.
pub(crate) fn start_client<C: capnp::capability::FromClientHook>(
    stream: Stream,
    line: &Arc<Line>,
    limits: &Arc<Limits>,
) -> io::Result<C> {
    let mut system = system(stream, Side::Client, None, line, limits)?;
    let client = system.bootstrap(Side::Server);
    tokio::task::spawn_local(drive(system, line.clone(), limits.clone()));
    Ok(client)
}

/// Starts a connection that was accepted, on the current thread, and offers `root` on it.
pub(crate) fn start_server(
    stream: Stream,
    root: capnp::capability::Client,
    line: &Arc<Line>,
    limits: &Arc<Limits>,
) -> io::Result<()> {
    let system = system(stream, Side::Server, Some(root), line, limits)?;
    tokio::task::spawn_local(drive(system, line.clone(), limits.clone()));
    Ok(())
}

fn system(
    stream: Stream,
    side: Side,
    root: Option<capnp::capability::Client>,
    line: &Arc<Line>,
    limits: &Arc<Limits>,
) -> io::Result<RpcSystem<Side>> {
    let (read, write) = stream.split()?;
    let read = BufReader::with_capacity(SOCKET_BUFFER, read.compat());
    let write = BufWriter::with_capacity(
        SOCKET_BUFFER,
        MeteredWriter {
            socket: write.compat_write(),
            line: line.clone(),
        },
    );
    // The inner network writes and keeps the streams' windows; reading is the outer one's, so
    // its own input stays empty.
    let mut inner =
        twoparty::VatNetwork::new(futures::io::empty(), write, side, ReaderOptions::default());
    inner.set_window_size(limits.window_bytes);
    let network = Network {
        inner,
        input: Rc::new(RefCell::new(Some(read))),
        line: line.clone(),
        limits: limits.clone(),
    };
    Ok(RpcSystem::new(Box::new(network), root))
}

/// Marks the line as closed however its task ends.
struct Closing(Arc<Line>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.closed.cancel();
    }
}

async fn drive(mut system: RpcSystem<Side>, line: Arc<Line>, limits: Arc<Limits>) {
    let closing = Closing(line.clone());
    let mut disconnector = system.get_disconnector();
    tokio::select! {
        biased;
        () = line.kill.cancelled() => {}
        () = line.stop.cancelled() => {
            line.note("it was closed here");
            let goodbye = async {
                tokio::select! {
                    _ = &mut disconnector => {}
                    _ = &mut system => {}
                }
            };
            let _ = tokio::time::timeout(limits.goodbye, goodbye).await;
        }
        () = stalled(&line, &limits) => {
            line.note(format!("it has not read for {} seconds", limits.stall.as_secs()));
        }
        ended = &mut system => match ended {
            Ok(()) => line.note("the other side closed the connection"),
            Err(error) => line.note(error.extra),
        },
    }
    // Rejects what still waits; what it would write no longer matters.
    let _ = (&mut disconnector).now_or_never();
    drop(system);
    tracing::debug!(peer = %line.peer(), reason = line.reason(), "connection ended");
    drop(closing);
}

/// Returns when bytes have waited for the socket, and none went, from one look to the next.
async fn stalled(line: &Line, limits: &Limits) {
    let mut before = None;
    loop {
        tokio::time::sleep(limits.stall).await;
        let sent = line.sent.load(Ordering::Relaxed);
        let waiting = line.unwritten() > 0;
        if waiting && before == Some(sent) {
            return;
        }
        before = waiting.then_some(sent);
    }
}

/// Counts what the socket takes.
struct MeteredWriter {
    socket: Compat<WriteHalf>,
    line: Arc<Line>,
}

impl AsyncWrite for MeteredWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = done {
            self.line.sent.fetch_add(count as u64, Ordering::Relaxed);
        }
        done
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

type Input = BufReader<Compat<ReadHalf>>;

type SharedInput = Rc<RefCell<Option<Input>>>;

struct Network {
    inner: twoparty::VatNetwork<futures::io::Empty>,
    input: SharedInput,
    line: Arc<Line>,
    limits: Arc<Limits>,
}

impl Network {
    fn wrap(
        &self,
        inner: Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error>,
    ) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error> {
        let (input, line, limits) = (self.input.clone(), self.line.clone(), self.limits.clone());
        Promise::from_future(async move {
            let connection: Box<dyn capnp_rpc::Connection<Side>> = Box::new(Connection {
                inner: inner.await?,
                input,
                line,
                limits,
            });
            Ok(connection)
        })
    }
}

impl VatNetwork<Side> for Network {
    fn connect(&mut self, host: Side) -> Option<Box<dyn capnp_rpc::Connection<Side>>> {
        let inner = self.inner.connect(host)?;
        Some(Box::new(Connection {
            inner,
            input: self.input.clone(),
            line: self.line.clone(),
            limits: self.limits.clone(),
        }))
    }

    fn accept(&mut self) -> Promise<Box<dyn capnp_rpc::Connection<Side>>, capnp::Error> {
        // Also where `connect` was first: the inner network lets go of the connection here.
        let inner = self.inner.accept();
        self.wrap(inner)
    }

    fn drive_until_shutdown(&mut self) -> Promise<(), capnp::Error> {
        self.inner.drive_until_shutdown()
    }
}

struct Connection {
    inner: Box<dyn capnp_rpc::Connection<Side>>,
    input: SharedInput,
    line: Arc<Line>,
    limits: Arc<Limits>,
}

impl capnp_rpc::Connection<Side> for Connection {
    fn get_peer_vat_id(&self) -> Side {
        self.inner.get_peer_vat_id()
    }

    fn new_outgoing_message(&mut self, words: u32) -> Box<dyn capnp_rpc::OutgoingMessage> {
        Box::new(Outgoing {
            inner: self.inner.new_outgoing_message(words),
            line: self.line.clone(),
        })
    }

    fn receive_incoming_message(
        &mut self,
    ) -> Promise<Option<Box<dyn capnp_rpc::IncomingMessage>>, capnp::Error> {
        let slot = self.input.clone();
        let input = slot.borrow_mut().take();
        let Some(mut input) = input else {
            // The read before this one failed, and with it the connection.
            return Promise::err(capnp::Error::disconnected(self.line.reason().to_owned()));
        };
        let line = self.line.clone();
        let limits = self.limits.clone();
        Promise::from_future(async move {
            match receive(&mut input, &line, &limits).await {
                Ok(message) => {
                    *slot.borrow_mut() = Some(input);
                    Ok(message)
                }
                Err(error) => {
                    line.note(format!("it sent what is no message: {}", error.extra));
                    Err(capnp::Error::disconnected(line.reason().to_owned()))
                }
            }
        })
    }

    fn new_stream(&mut self) -> (Box<dyn FlowController>, Promise<(), capnp::Error>) {
        self.inner.new_stream()
    }

    fn shutdown(&mut self, result: capnp::Result<()>) -> Promise<(), capnp::Error> {
        // As a disconnect, whatever it was: the RPC system prints every other kind on standard
        // output.
        self.inner.shutdown(result.map_err(|error| {
            self.line.note(error.extra.clone());
            capnp::Error::disconnected(error.extra)
        }))
    }
}

async fn receive(
    input: &mut (impl AsyncBufRead + Unpin),
    line: &Arc<Line>,
    limits: &Limits,
) -> capnp::Result<Option<Box<dyn capnp_rpc::IncomingMessage>>> {
    // The bound is looked up when a message begins: by then a peer that waited for the answer
    // to its proof has the larger one.
    if input.fill_buf().await?.is_empty() {
        return Ok(None);
    }
    let bound = line.bound(limits.message_bytes as u64);
    let words = usize::try_from(bound / 8).unwrap_or(usize::MAX);
    let size = ReaderOptions {
        traversal_limit_in_words: Some(words),
        nesting_limit: NESTING,
    };
    let Some(message) = capnp_futures::serialize::try_read_message(input, size).await? else {
        return Ok(None);
    };
    let bytes = message.size_in_words() as u64 * 8;
    let reading = ReaderOptions {
        traversal_limit_in_words: Some(words * TRAVERSALS),
        nesting_limit: NESTING,
    };
    line.add_unread(bytes);
    Ok(Some(Box::new(Incoming {
        message: capnp::message::Reader::new(message.into_segments(), reading),
        bytes,
        line: line.clone(),
    })))
}

/// A message that counts as unread while anything of it is in use.
struct Incoming {
    message: capnp::message::Reader<OwnedSegments>,
    bytes: u64,
    line: Arc<Line>,
}

impl capnp_rpc::IncomingMessage for Incoming {
    fn get_body(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.message.get_root()
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.line.release_unread(self.bytes);
    }
}

type Built = capnp::message::Builder<HeapAllocator>;

struct Outgoing {
    inner: Box<dyn capnp_rpc::OutgoingMessage>,
    line: Arc<Line>,
}

impl capnp_rpc::OutgoingMessage for Outgoing {
    fn get_body(&mut self) -> capnp::Result<capnp::any_pointer::Builder<'_>> {
        self.inner.get_body()
    }

    fn get_body_as_reader(&self) -> capnp::Result<capnp::any_pointer::Reader<'_>> {
        self.inner.get_body_as_reader()
    }

    fn send(self: Box<Self>) -> (Promise<(), capnp::Error>, Rc<Built>) {
        let (sent, message) = self.inner.send();
        let segments = message.get_segments_for_output();
        let table = (4 + 4 * segments.len()).next_multiple_of(8);
        let content: usize = segments.iter().map(|segment| segment.len()).sum();
        self.line.add_queued((table + content) as u64);
        (sent, message)
    }

    fn take(self: Box<Self>) -> Built {
        self.inner.take()
    }

    fn size_in_words(&self) -> usize {
        self.inner.size_in_words()
    }
}
