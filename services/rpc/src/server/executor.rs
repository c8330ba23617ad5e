//! An executor's process as an object, and the stores it is handed.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{OnceCell, watch};
use tokio_util::sync::CancellationToken;
use vx_core::{
    Execution, Executor, HostEnd, Observer, Output, OutputStream, ServiceError, ServiceResult,
    Store,
};
use vx_schema::executor_capnp::{execution, executor, host_run};
use vx_schema::store_capnp::store;

use crate::client::{RemoteObserver, RemoteStore, introduce};
use crate::error::{answer, from_wire};
use crate::hub::Hub;
use crate::limits::HANDED_STORES;
use crate::line::Route;
use crate::server::bootstrap::Inbound;
use crate::server::{Task, run};
use crate::wire::action;
use crate::wire::value::executor_status;

/// How an executor uses the stores it is handed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handover {
    /// Over a connection of its own to the store's process, and through whoever handed it over
    /// where that can't be had.
    #[default]
    Direct,
    /// Only through whoever handed it over.
    RelayOnly,
}

/// What the executor's secret gives.
pub(crate) struct ExecutorServer {
    inner: Arc<dyn Executor>,
    hub: Hub,
    handover: Handover,
    inbound: Rc<Inbound>,
}

/// A store that was handed over on a connection.
pub(crate) struct Handed {
    /// Held, so that the same capability is the same object as long as it is remembered.
    client: store::Client,
    identity: usize,
    resolved: Rc<OnceCell<RemoteStore>>,
}

impl ExecutorServer {
    pub(crate) fn new(
        inner: Arc<dyn Executor>,
        hub: Hub,
        handover: Handover,
        inbound: Rc<Inbound>,
    ) -> Self {
        Self {
            inner,
            hub,
            handover,
            inbound,
        }
    }

    /// The store behind a capability, by the shortest way; found once for each capability of
    /// the connection.
    async fn handed(&self, client: store::Client) -> RemoteStore {
        let identity = client.client.hook.get_ptr();
        let (client, resolved) = {
            let mut handed = self.inbound.handed.borrow_mut();
            // A direct connection that was lost is made anew.
            handed.retain(|known| known.resolved.get().is_none_or(RemoteStore::is_open));
            match handed.iter().find(|known| known.identity == identity) {
                Some(known) => (known.client.clone(), known.resolved.clone()),
                None => {
                    if handed.len() >= HANDED_STORES {
                        handed.remove(0);
                    }
                    let resolved = Rc::new(OnceCell::new());
                    handed.push(Handed {
                        client: client.clone(),
                        identity,
                        resolved: resolved.clone(),
                    });
                    (client, resolved)
                }
            }
        };
        resolved.get_or_init(|| self.resolve(client)).await.clone()
    }

    async fn resolve(&self, client: store::Client) -> RemoteStore {
        if self.handover == Handover::Direct {
            match self.reach(&client).await {
                Ok(store) => {
                    self.hub.store_traffic().met(Route::Direct);
                    return store;
                }
                Err(reason) => tracing::warn!(
                    from = %self.inbound.line.peer(),
                    reason,
                    "a store can't be reached directly, so its bytes go through whoever handed it over"
                ),
            }
        }
        let traffic = self.hub.store_traffic().clone();
        traffic.met(Route::Relayed);
        let line = self.inbound.line.clone();
        let handle = self.inbound.local.keep(client, line, None);
        RemoteStore::new(handle, Route::Relayed, traffic)
    }

    async fn reach(&self, client: &store::Client) -> Result<RemoteStore, String> {
        let met = introduce(client)
            .await
            .map_err(|error| from_wire(&error, "the store").to_string())?;
        let hub = self.hub.clone();
        let reaching = async move {
            Ok(hub
                .introduced(&met)
                .await
                .map_err(|error| error.to_string()))
        };
        let never = CancellationToken::new();
        run(&self.inbound.shared.runtime, &never, reaching)
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }
}

impl executor::Server for ExecutorServer {
    async fn execute(
        self: Rc<Self>,
        params: executor::ExecuteParams,
        mut results: executor::ExecuteResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?;
        let action = action::spec::from_wire(asked.get_action()?)?;
        let store = asked.get_store()?;
        let observer = asked.get_observer()?;
        drop(params);
        let store: Arc<dyn Store> = Arc::new(self.handed(store).await);
        let line = self.inbound.line.clone();
        let lost = CancellationToken::new();
        let observer = Watched {
            inner: RemoteObserver::new(self.inbound.local.keep(observer, line, None)),
            lost: lost.clone(),
        };
        let inner = self.inner.clone();
        let (ended, outcome) = watch::channel(None);
        let running = Task::spawn(&self.inbound.shared.runtime, async move {
            let done = tokio::select! {
                biased;
                () = lost.cancelled() => Err(ServiceError::failed(
                    "the action was cancelled because its observer was lost",
                )),
                done = inner.execute(action, store, Arc::new(observer)) => done,
            };
            let _ = ended.send(Some(done));
            Ok(())
        });
        results
            .get()
            .set_execution(capnp_rpc::new_client(ExecutionServer {
                outcome,
                _running: running,
            }));
        Ok(())
    }

    async fn ingest(
        self: Rc<Self>,
        params: executor::IngestParams,
        mut results: executor::IngestResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?;
        let source = action::source::from_wire(asked.get_source()?)?;
        let store = asked.get_store()?;
        drop(params);
        let store: Arc<dyn Store> = Arc::new(self.handed(store).await);
        let inner = self.inner.clone();
        let never = CancellationToken::new();
        let runtime = &self.inbound.shared.runtime;
        let ingested = run(
            runtime,
            &never,
            async move { inner.ingest(source, store).await },
        )
        .await;
        action::ingested::to_wire(&answer(ingested)?, results.get().init_ingested());
        Ok(())
    }

    async fn run_on_host(
        self: Rc<Self>,
        params: executor::RunOnHostParams,
        mut results: executor::RunOnHostResults,
    ) -> Result<(), capnp::Error> {
        let asked = params.get()?;
        let program = action::host_program::from_wire(asked.get_program()?)?;
        let observer = asked.get_observer()?;
        drop(params);
        let line = self.inbound.line.clone();
        let lost = CancellationToken::new();
        let observer = Watched {
            inner: RemoteObserver::new(self.inbound.local.keep(observer, line, None)),
            lost: lost.clone(),
        };
        let inner = self.inner.clone();
        let (ended, outcome) = watch::channel(None);
        let running = Task::spawn(&self.inbound.shared.runtime, async move {
            let done = tokio::select! {
                biased;
                () = lost.cancelled() => Err(ServiceError::failed(
                    "the program was killed because its observer was lost",
                )),
                done = inner.run_on_host(program, Arc::new(observer)) => done,
            };
            let _ = ended.send(Some(done));
            Ok(())
        });
        results
            .get()
            .set_running(capnp_rpc::new_client(HostRunServer {
                outcome,
                _running: running,
            }));
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: executor::StatusParams,
        mut results: executor::StatusResults,
    ) -> Result<(), capnp::Error> {
        let inner = self.inner.clone();
        let never = CancellationToken::new();
        let runtime = &self.inbound.shared.runtime;
        let status = run(runtime, &never, async move { inner.status().await }).await;
        let mut status = answer(status)?;
        status.direct_bytes = self.hub.store_traffic().direct();
        status.relayed_bytes = self.hub.store_traffic().relayed();
        executor_status::to_wire(&status, results.get().init_status());
        Ok(())
    }
}

/// An action under way; dropping it cancels the action.
struct ExecutionServer {
    outcome: watch::Receiver<Option<ServiceResult<Execution>>>,
    _running: Task<()>,
}

impl execution::Server for ExecutionServer {
    async fn wait(
        self: Rc<Self>,
        _: execution::WaitParams,
        mut results: execution::WaitResults,
    ) -> Result<(), capnp::Error> {
        let mut outcome = self.outcome.clone();
        let ended = match outcome.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        let lost = || {
            Err(ServiceError::failed(
                "the executor gave the action up; its log says more",
            ))
        };
        let ended = answer(ended.unwrap_or_else(lost))?;
        action::execution::to_wire(&ended, results.get().init_outcome());
        Ok(())
    }
}

/// A program under way on the host; dropping it kills the program.
struct HostRunServer {
    outcome: watch::Receiver<Option<ServiceResult<HostEnd>>>,
    _running: Task<()>,
}

impl host_run::Server for HostRunServer {
    async fn wait(
        self: Rc<Self>,
        _: host_run::WaitParams,
        mut results: host_run::WaitResults,
    ) -> Result<(), capnp::Error> {
        let mut outcome = self.outcome.clone();
        let ended = match outcome.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        let lost = || {
            Err(ServiceError::failed(
                "the executor gave the program up; its log says more",
            ))
        };
        let ended = answer(ended.unwrap_or_else(lost))?;
        action::host_end::to_wire(&ended, results.get().init_end());
        Ok(())
    }
}

/// An observer whose loss is noticed, whether or not the executor looks at what it answers.
struct Watched {
    inner: RemoteObserver,
    lost: CancellationToken,
}

impl Watched {
    fn seen(&self, told: ServiceResult<()>) -> ServiceResult<()> {
        if told.is_err() {
            self.lost.cancel();
        }
        told
    }
}

#[async_trait::async_trait]
impl Observer for Watched {
    async fn wrote(&self, stream: OutputStream, bytes: bytes::Bytes) -> ServiceResult<()> {
        let told = self.inner.wrote(stream, bytes).await;
        self.seen(told)
    }

    async fn stored(&self, output: Output) -> ServiceResult<()> {
        let told = self.inner.stored(output).await;
        self.seen(told)
    }
}
