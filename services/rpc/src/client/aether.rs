//! An orchestrator elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle as Runtime;
use vx_core::ServiceResult;
use vx_core::orchestrator::{
    BuildObserver, BuildOutcome, BuildRequest, Orchestrator, OrchestratorStatus, Project,
};
use vx_schema::aether_capnp;

use crate::client::fits;
use crate::hub::Link;
use crate::identity::Hello;
use crate::line::ConnectionStats;
use crate::server::BuildObserverServer;
use crate::vat::Handle;
use crate::wire::build::{outcome, request, status};
use crate::wire::text;

/// An orchestrator's process. Clones share one connection.
#[derive(Clone)]
pub struct RemoteOrchestrator {
    handle: Handle<aether_capnp::aether::Client>,
    link: Arc<Link>,
    runtime: Runtime,
}

impl RemoteOrchestrator {
    pub(crate) fn new(
        handle: Handle<aether_capnp::aether::Client>,
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

    /// Returns when the connection has ended.
    pub async fn closed(&self) {
        self.link.line.closed.cancelled().await;
    }
}

#[async_trait]
impl Orchestrator for RemoteOrchestrator {
    async fn build(
        &self,
        asked: BuildRequest,
        observer: Arc<dyn BuildObserver>,
    ) -> ServiceResult<BuildOutcome> {
        let runtime = self.runtime.clone();
        self.handle
            .call(move |aether, _| async move {
                let mut call = aether.build_request();
                request::to_wire(&asked, call.get().init_request());
                let observer = BuildObserverServer::new(observer, runtime);
                call.get().set_observer(capnp_rpc::new_client(observer));
                fits(call.get().into_reader().total_size(), "the request")?;
                let response = call.send().promise.await?;
                let under_way = response.get()?.get_build()?;
                drop(response);
                let ended = under_way.wait_request().send().promise.await?;
                Ok(outcome::from_wire(ended.get()?.get_outcome()?)?)
            })
            .await
    }

    async fn locate(&self, asked: BuildRequest) -> ServiceResult<Project> {
        self.handle
            .call(move |aether, _| async move {
                let mut call = aether.locate_request();
                request::to_wire(&asked, call.get().init_request());
                fits(call.get().into_reader().total_size(), "the request")?;
                let response = call.send().promise.await?;
                Ok(Project {
                    workspace: text(response.get()?.get_workspace()?)?,
                })
            })
            .await
    }

    async fn clean(&self, asked: BuildRequest) -> ServiceResult<Project> {
        self.handle
            .call(move |aether, _| async move {
                let mut call = aether.clean_request();
                request::to_wire(&asked, call.get().init_request());
                fits(call.get().into_reader().total_size(), "the request")?;
                let response = call.send().promise.await?;
                Ok(Project {
                    workspace: text(response.get()?.get_workspace()?)?,
                })
            })
            .await
    }

    async fn plan(&self, asked: BuildRequest, fresh: bool) -> ServiceResult<String> {
        self.handle
            .call(move |aether, _| async move {
                let mut call = aether.plan_request();
                request::to_wire(&asked, call.get().init_request());
                call.get().set_fresh(fresh);
                fits(call.get().into_reader().total_size(), "the request")?;
                let response = call.send().promise.await?;
                Ok(text(response.get()?.get_json()?)?)
            })
            .await
    }

    async fn status(&self) -> ServiceResult<OrchestratorStatus> {
        self.handle
            .call(async |aether, _| {
                let response = aether.status_request().send().promise.await?;
                Ok(status::from_wire(response.get()?.get_status()?)?)
            })
            .await
    }

    async fn stop(&self) -> ServiceResult<()> {
        self.handle
            .call(async |aether, _| {
                aether.stop_request().send().promise.await?;
                Ok(())
            })
            .await
    }
}
