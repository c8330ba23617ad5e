//! Observers of this process as objects.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Handle as Runtime;
use vx_core::Observer;
use vx_core::orchestrator::BuildObserver;
use vx_schema::aether_capnp::build_observer;
use vx_schema::executor_capnp::observer;

use crate::error::answer;
use crate::server::Task;
use crate::wire::action::stream;
use crate::wire::build::event;
use crate::wire::value::output;

/// Who watches an action.
pub(crate) struct ObserverServer {
    inner: Arc<dyn Observer>,
    runtime: Runtime,
}

impl ObserverServer {
    pub(crate) fn new(inner: Arc<dyn Observer>, runtime: Runtime) -> Self {
        Self { inner, runtime }
    }
}

impl observer::Server for ObserverServer {
    async fn wrote(
        self: Rc<Self>,
        params: observer::WroteParams,
        _: observer::WroteResults,
    ) -> Result<(), capnp::Error> {
        let from = stream::from_wire(params.get()?.get_stream()?);
        let bytes = Bytes::copy_from_slice(params.get()?.get_bytes()?);
        drop(params);
        let inner = self.inner.clone();
        let told = Task::spawn(&self.runtime, async move { inner.wrote(from, bytes).await });
        answer(told.outcome().await)
    }

    async fn stored(
        self: Rc<Self>,
        params: observer::StoredParams,
        _: observer::StoredResults,
    ) -> Result<(), capnp::Error> {
        let stored = output::from_wire(params.get()?.get_output()?)?;
        let inner = self.inner.clone();
        let told = Task::spawn(&self.runtime, async move { inner.stored(stored).await });
        answer(told.outcome().await)
    }
}

/// Who watches a build.
pub(crate) struct BuildObserverServer {
    inner: Arc<dyn BuildObserver>,
    runtime: Runtime,
}

impl BuildObserverServer {
    pub(crate) fn new(inner: Arc<dyn BuildObserver>, runtime: Runtime) -> Self {
        Self { inner, runtime }
    }
}

impl build_observer::Server for BuildObserverServer {
    async fn event(
        self: Rc<Self>,
        params: build_observer::EventParams,
        _: build_observer::EventResults,
    ) -> Result<(), capnp::Error> {
        let happened = event::from_wire(params.get()?.get_event()?)?;
        drop(params);
        let inner = self.inner.clone();
        let told = Task::spawn(&self.runtime, async move { inner.event(happened).await });
        answer(told.outcome().await)
    }
}
