//! An executor elsewhere.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle as Runtime;
use vx_core::{
    ActionSpec, Execution, Executor, ExecutorStatus, HostEnd, HostProgram, Ingested, Observer,
    PackageSource, ServiceResult, Store,
};
use vx_schema::{executor_capnp, store_capnp};

use crate::client::{RemoteStore, fits};
use crate::hub::Link;
use crate::identity::Hello;
use crate::line::ConnectionStats;
use crate::server::{ObserverServer, StoreServer};
use crate::vat::{Handle, Local};
use crate::wire::action::{execution, host_end, host_program, ingested, source, spec};
use crate::wire::value::executor_status;

/// An executor's process. Clones share one connection.
#[derive(Clone)]
pub struct RemoteExecutor {
    handle: Handle<executor_capnp::executor::Client>,
    link: Arc<Link>,
    runtime: Runtime,
}

impl RemoteExecutor {
    pub(crate) fn new(
        handle: Handle<executor_capnp::executor::Client>,
        link: Arc<Link>,
        runtime: Runtime,
    ) -> Self {
        Self {
            handle,
            link,
            runtime,
        }
    }

    /// Who it said it is.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.link.hello
    }

    /// What the connection moved.
    #[must_use]
    pub fn stats(&self) -> ConnectionStats {
        self.link.line.stats()
    }

    /// Whether the connection lives.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.link.line.is_open()
    }

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        self.link.line.closed.cancelled().await;
    }
}

#[async_trait]
impl Executor for RemoteExecutor {
    /// Hands `store` over: as the capability it is where it is a [`RemoteStore`] of the same
    /// hub, else as an object of this process.
    async fn execute(
        &self,
        action: ActionSpec,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution> {
        let runtime = self.runtime.clone();
        self.handle
            .call(move |executor, local| async move {
                let store = capability(&local, store, &runtime);
                let observer = capnp_rpc::new_client(ObserverServer::new(observer, runtime));
                let mut request = executor.execute_request();
                spec::to_wire(&action, request.get().init_action());
                request.get().set_store(store);
                request.get().set_observer(observer);
                fits(request.get().into_reader().total_size(), "the action")?;
                let response = request.send().promise.await?;
                let under_way = response.get()?.get_execution()?;
                drop(response);
                let ended = under_way.wait_request().send().promise.await?;
                Ok(execution::from_wire(ended.get()?.get_outcome()?)?)
            })
            .await
    }

    /// Hands `store` over as [`RemoteExecutor::execute`] does.
    async fn ingest(
        &self,
        package: PackageSource,
        store: Arc<dyn Store>,
    ) -> ServiceResult<Ingested> {
        let runtime = self.runtime.clone();
        self.handle
            .call(move |executor, local| async move {
                let mut request = executor.ingest_request();
                source::to_wire(&package, request.get().init_source());
                request.get().set_store(capability(&local, store, &runtime));
                let response = request.send().promise.await?;
                Ok(ingested::from_wire(response.get()?.get_ingested()?)?)
            })
            .await
    }

    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd> {
        let runtime = self.runtime.clone();
        self.handle
            .call(move |executor, _| async move {
                let observer = capnp_rpc::new_client(ObserverServer::new(observer, runtime));
                let mut request = executor.run_on_host_request();
                host_program::to_wire(&program, request.get().init_program());
                request.get().set_observer(observer);
                fits(request.get().into_reader().total_size(), "the program")?;
                let response = request.send().promise.await?;
                let under_way = response.get()?.get_running()?;
                drop(response);
                let ended = under_way.wait_request().send().promise.await?;
                Ok(host_end::from_wire(ended.get()?.get_end()?)?)
            })
            .await
    }

    async fn status(&self) -> ServiceResult<ExecutorStatus> {
        self.handle
            .call(async |executor, _| {
                let response = executor.status_request().send().promise.await?;
                Ok(executor_status::from_wire(response.get()?.get_status()?)?)
            })
            .await
    }
}

/// The capability behind a store of the same hub; an object of this process for another.
fn capability(
    local: &Local,
    store: Arc<dyn Store>,
    runtime: &Runtime,
) -> store_capnp::store::Client {
    let remote = (&*store as &dyn Any).downcast_ref::<RemoteStore>();
    match remote.and_then(|store| local.find(store.handle())) {
        Some(client) => client,
        None => capnp_rpc::new_client(StoreServer::lent(store, runtime.clone())),
    }
}
