//! An orchestrator's process as an object.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use vx_core::orchestrator::{BuildOutcome, Orchestrator};
use vx_core::{ServiceError, ServiceResult};
use vx_schema::aether_capnp::{aether, build};

use crate::client::RemoteBuildObserver;
use crate::error::answer;
use crate::server::bootstrap::Inbound;
use crate::server::{Task, run};
use crate::wire::build::{outcome, request, status};

/// The longest plan that is told, in bytes: what a message holds beside its frame.
const MAX_PLAN_TEXT: usize = 8 * 1024 * 1024;

/// What the orchestrator's secret gives.
pub(crate) struct AetherServer {
    inner: Arc<dyn Orchestrator>,
    inbound: Rc<Inbound>,
}

impl AetherServer {
    pub(crate) fn new(inner: Arc<dyn Orchestrator>, inbound: Rc<Inbound>) -> Self {
        Self { inner, inbound }
    }

    async fn run<T, Work, Running>(&self, work: Work) -> Result<T, capnp::Error>
    where
        T: Send + 'static,
        Work: FnOnce(Arc<dyn Orchestrator>) -> Running,
        Running: Future<Output = ServiceResult<T>> + Send + 'static,
    {
        let never = CancellationToken::new();
        let runtime = &self.inbound.shared.runtime;
        answer(run(runtime, &never, work(self.inner.clone())).await)
    }
}

impl aether::Server for AetherServer {
    async fn build(
        self: Rc<Self>,
        params: aether::BuildParams,
        mut results: aether::BuildResults,
    ) -> Result<(), capnp::Error> {
        let asked = request::from_wire(params.get()?.get_request()?)?;
        let observer = params.get()?.get_observer()?;
        drop(params);
        let line = self.inbound.line.clone();
        let observer = RemoteBuildObserver::new(self.inbound.local.keep(observer, line, None));
        let inner = self.inner.clone();
        let (ended, outcome) = watch::channel(None);
        let running = Task::spawn(&self.inbound.shared.runtime, async move {
            let done = inner.build(asked, Arc::new(observer)).await;
            let _ = ended.send(Some(done));
            Ok(())
        });
        results.get().set_build(capnp_rpc::new_client(BuildServer {
            outcome,
            _running: running,
        }));
        Ok(())
    }

    async fn locate(
        self: Rc<Self>,
        params: aether::LocateParams,
        mut results: aether::LocateResults,
    ) -> Result<(), capnp::Error> {
        let asked = request::from_wire(params.get()?.get_request()?)?;
        let found = self
            .run(|aether| async move { aether.locate(asked).await })
            .await?;
        results.get().set_workspace(&found.workspace);
        Ok(())
    }

    async fn clean(
        self: Rc<Self>,
        params: aether::CleanParams,
        mut results: aether::CleanResults,
    ) -> Result<(), capnp::Error> {
        let asked = request::from_wire(params.get()?.get_request()?)?;
        let found = self
            .run(|aether| async move { aether.clean(asked).await })
            .await?;
        results.get().set_workspace(&found.workspace);
        Ok(())
    }

    async fn plan(
        self: Rc<Self>,
        params: aether::PlanParams,
        mut results: aether::PlanResults,
    ) -> Result<(), capnp::Error> {
        let asked = request::from_wire(params.get()?.get_request()?)?;
        let fresh = params.get()?.get_fresh();
        let json = self
            .run(|aether| async move {
                let json = aether.plan(asked, fresh).await?;
                // A larger message would end the connection.
                if json.len() <= MAX_PLAN_TEXT {
                    return Ok(json);
                }
                Err(ServiceError::Failed(format!(
                    "the plan takes {} bytes as text, and a message holds {MAX_PLAN_TEXT}",
                    json.len()
                )))
            })
            .await?;
        results.get().set_json(&json);
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: aether::StatusParams,
        mut results: aether::StatusResults,
    ) -> Result<(), capnp::Error> {
        let figures = self
            .run(|aether| async move { aether.status().await })
            .await?;
        status::to_wire(&figures, results.get().init_status());
        Ok(())
    }

    async fn stop(
        self: Rc<Self>,
        _: aether::StopParams,
        _: aether::StopResults,
    ) -> Result<(), capnp::Error> {
        self.run(|aether| async move { aether.stop().await }).await
    }
}

/// A build under way; dropping it cancels the build.
struct BuildServer {
    outcome: watch::Receiver<Option<ServiceResult<BuildOutcome>>>,
    _running: Task<()>,
}

impl build::Server for BuildServer {
    async fn wait(
        self: Rc<Self>,
        _: build::WaitParams,
        mut results: build::WaitResults,
    ) -> Result<(), capnp::Error> {
        let mut ending = self.outcome.clone();
        let ended = match ending.wait_for(Option::is_some).await {
            Ok(ended) => ended.clone(),
            Err(_) => None,
        };
        let lost = || {
            Err(ServiceError::failed(
                "the orchestrator gave the build up; its log says more",
            ))
        };
        let ended = answer(ended.unwrap_or_else(lost))?;
        outcome::to_wire(&ended, results.get().init_outcome());
        Ok(())
    }
}
