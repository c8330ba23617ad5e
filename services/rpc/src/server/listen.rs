//! Accepting connections and spreading them over threads, until the service leaves.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;
use tokio::task::spawn_local;
use tokio_util::sync::CancellationToken;
use vx_core::orchestrator::Orchestrator;
use vx_core::{Executor, Holder, StoreService};
use vx_schema::bootstrap_capnp::bootstrap;

use crate::connection::start_server;
use crate::directory::SocketLock;
use crate::endpoint::Endpoint;
use crate::hub::Hub;
use crate::identity::Hello;
use crate::limits::{ACCEPT_PAUSE, Limits};
use crate::line::{ConnectionStats, Direction, Line, Lines};
use crate::secret::Secret;
use crate::server::bootstrap::{BootstrapServer, Inbound, Root, Shared};
use crate::server::executor::Handover;
use crate::socket::{Accepted, ListenError, Listener, Stream};
use crate::vat::{Vat, VatThread};

/// Makes servers.
pub struct Server;

impl Server {
    /// A server of `service` (this program's name, such as `vx-cass`) on `endpoint`, whose
    /// `secret` gives everything it serves.
    #[must_use]
    pub fn builder(service: &str, endpoint: Endpoint, secret: Secret) -> ServerBuilder {
        ServerBuilder {
            me: Hello::mine(service),
            endpoint,
            secret,
            limits: Limits::default(),
            threads: 2,
            runtime: None,
        }
    }
}

/// How a server is to be.
pub struct ServerBuilder {
    me: io::Result<Hello>,
    endpoint: Endpoint,
    secret: Secret,
    limits: Limits,
    threads: usize,
    runtime: Option<Runtime>,
}

/// A server that knows what it serves.
pub struct ReadyServer {
    builder: ServerBuilder,
    root: Root,
}

impl ServerBuilder {
    /// Other bounds than the default ones.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Another number of threads for connections than two. A slow client slows those on its
    /// thread, so one is too few.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// The runtime that the service's own work runs on; the current one unless set.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Says it is another build than it is, for tests.
    #[must_use]
    pub fn build_id(mut self, build: &str) -> Self {
        if let Ok(me) = &mut self.me {
            me.build = build.to_owned();
        }
        self
    }

    /// Serves a store.
    #[must_use]
    pub fn serve_store(self, service: Arc<dyn StoreService>) -> ReadyServer {
        self.ready(Root::Store(service))
    }

    /// Serves an executor. Stores that it is handed are reached over connections of `hub`.
    #[must_use]
    pub fn serve_executor(
        self,
        executor: Arc<dyn Executor>,
        hub: Hub,
        handover: Handover,
    ) -> ReadyServer {
        self.ready(Root::Executor(executor, hub, handover))
    }

    /// Serves an orchestrator.
    #[must_use]
    pub fn serve_orchestrator(self, orchestrator: Arc<dyn Orchestrator>) -> ReadyServer {
        self.ready(Root::Orchestrator(orchestrator))
    }

    fn ready(self, root: Root) -> ReadyServer {
        ReadyServer {
            builder: self,
            root,
        }
    }
}

impl ReadyServer {
    /// Listens.
    ///
    /// # Errors
    /// When the endpoint can't be used, or another process is on it.
    pub async fn start(self) -> Result<ServerHandle, ListenError> {
        let Self { builder, root } = self;
        let fault = |source| ListenError::Io {
            endpoint: builder.endpoint.clone(),
            source,
        };
        let me = builder.me.map_err(fault)?;
        let listener = Listener::bind(&builder.endpoint).await?;
        let threads: Vec<_> = (0..builder.threads)
            .map(|index| Thread::start(&format!("{}-rpc-{index}", me.service)))
            .collect::<io::Result<_>>()
            .map_err(fault)?;
        let runtime = builder.runtime.unwrap_or_else(Runtime::current);
        let shared = Arc::new(Shared {
            me,
            endpoint: listener.endpoint().clone(),
            secret: builder.secret,
            root,
            runtime: runtime.clone(),
            limits: Arc::new(builder.limits),
            introductions: crate::server::grant::Introductions::default(),
            drain: CancellationToken::new(),
        });
        let (count, counted) = watch::channel(0);
        let accepting = Accepting {
            shared: shared.clone(),
            threads: threads.into(),
            lines: Arc::default(),
            count: Arc::new(count),
            stop: CancellationToken::new(),
            stopped: CancellationToken::new(),
        };
        let lock = listener.lock();
        runtime.spawn(accepting.clone().run(listener));
        Ok(ServerHandle {
            _lock: lock,
            accepting,
            counted,
            shared,
        })
    }
}

/// A running server; dropping it ends it and every connection at once.
pub struct ServerHandle {
    accepting: Accepting,
    counted: watch::Receiver<usize>,
    shared: Arc<Shared>,
    /// Held to the end, also when nothing is accepted any more: who comes next waits until
    /// what this service still does is done.
    _lock: Option<Arc<SocketLock>>,
}

impl ServerHandle {
    /// Where it listens, with the port that was found.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Who it says it is.
    #[must_use]
    pub fn me(&self) -> &Hello {
        &self.shared.me
    }

    /// The inbound connections, with the last that ended.
    #[must_use]
    pub fn stats(&self) -> Vec<ConnectionStats> {
        self.accepting.lines.stats()
    }

    /// How many connections live, as it changes.
    #[must_use]
    pub fn connections(&self) -> watch::Receiver<usize> {
        self.counted.clone()
    }

    /// Returns when someone asked this process to finish its work and leave.
    pub async fn drain_requested(&self) {
        self.shared.drain.cancelled().await;
    }

    /// Stops accepting, removes the socket, and waits until every connection has ended.
    pub async fn drain(&self) {
        self.stop_accepting().await;
        let mut counted = self.counted.clone();
        // The sender lives in this handle.
        let _ = counted.wait_for(|count| *count == 0).await;
    }

    /// Stops accepting, removes the socket, and ends every connection.
    pub async fn shutdown(&self) {
        self.stop_accepting().await;
        self.accepting.lines.stop_all();
        self.drain().await;
    }

    /// Stops accepting and removes the socket; connections that are there go on.
    pub async fn stop_accepting(&self) {
        self.accepting.stop.cancel();
        self.accepting.stopped.cancelled().await;
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.accepting.stop.cancel();
        self.accepting.lines.stop_all();
    }
}

/// A thread and how many connections it has.
struct Thread {
    vat: Vat,
    _thread: VatThread,
    load: Arc<AtomicUsize>,
}

impl Thread {
    fn start(name: &str) -> io::Result<Self> {
        let (vat, thread) = Vat::start(name)?;
        Ok(Self {
            vat,
            _thread: thread,
            load: Arc::default(),
        })
    }
}

#[derive(Clone)]
struct Accepting {
    shared: Arc<Shared>,
    threads: Arc<[Thread]>,
    lines: Arc<Lines>,
    count: Arc<watch::Sender<usize>>,
    stop: CancellationToken,
    stopped: CancellationToken,
}

/// Counts a connection while it lives.
struct Counted {
    count: Arc<watch::Sender<usize>>,
    load: Arc<AtomicUsize>,
}

impl Counted {
    fn new(count: &Arc<watch::Sender<usize>>, load: &Arc<AtomicUsize>) -> Self {
        count.send_modify(|count| *count += 1);
        load.fetch_add(1, Ordering::Relaxed);
        Self {
            count: count.clone(),
            load: load.clone(),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.count.send_modify(|count| *count -= 1);
    }
}

impl Accepting {
    async fn run(self, listener: Listener) {
        let stopped = self.stopped.clone().drop_guard();
        let endpoint = listener.endpoint().clone();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok(Accepted::Peer(stream, holder)) => self.admit(stream, holder),
                Ok(Accepted::Foreign { uid }) => {
                    tracing::warn!(%endpoint, uid, "dropped a connection of another user");
                }
                Ok(Accepted::Enclosed) => {
                    tracing::warn!(%endpoint, "dropped a connection from other namespaces, or another root");
                }
                Err(error) => {
                    tracing::warn!(%endpoint, %error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        drop(stopped);
    }

    fn admit(&self, stream: Stream, holder: Holder) {
        let limit = self.shared.limits.connections;
        if *self.count.borrow() >= limit {
            tracing::warn!(limit, "dropped a connection, because there are too many");
            return;
        }
        let Some(thread) = self
            .threads
            .iter()
            .min_by_key(|thread| thread.load.load(Ordering::Relaxed))
        else {
            return;
        };
        let line = Line::new(Direction::Inbound, "unnamed", &self.shared.limits);
        self.lines.add(line.clone());
        let counted = Counted::new(&self.count, &thread.load);
        let shared = self.shared.clone();
        thread.vat.post(move |local| {
            let limits = shared.limits.clone();
            let inbound = Inbound::new(shared, line.clone(), holder, local.clone());
            let first: bootstrap::Client =
                capnp_rpc::new_client(BootstrapServer::new(inbound.clone()));
            match start_server(stream, first.client, &line, &limits) {
                Ok(()) => {
                    spawn_local(watch_over(inbound, counted));
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be started");
                    line.closed.cancel();
                }
            }
        });
    }
}

/// Drops a peer that proves nothing in time, and logs how each connection ended.
async fn watch_over(inbound: Rc<Inbound>, counted: Counted) {
    let (line, proved) = (&inbound.line, &inbound.line.proved);
    tokio::select! {
        biased;
        () = line.closed.cancelled() => {}
        () = proved.cancelled() => {}
        () = tokio::time::sleep(inbound.shared.limits.handshake) => {
            line.fail("it did not redeem a secret in time");
        }
    }
    line.closed.cancelled().await;
    // What was handed over holds the connection, which holds this.
    inbound.handed.take();
    let (peer, reason) = (line.peer(), line.reason());
    if proved.is_cancelled() {
        tracing::debug!(peer, reason, "a connection ended");
    } else {
        tracing::warn!(peer, reason, "a connection ended before it proved anything");
    }
    drop(counted);
}
