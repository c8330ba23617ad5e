//! What a service offers before anything is proved, and one connection's own state.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime::Handle as Runtime;
use tokio_util::sync::CancellationToken;
use vx_core::orchestrator::Orchestrator;
use vx_core::{Executor, Holder, ServiceError, StoreService};
use vx_schema::bootstrap_capnp::bootstrap;
use vx_schema::{aether_capnp, executor_capnp, store_capnp};

use crate::endpoint::Endpoint;
use crate::error::answer;
use crate::hub::Hub;
use crate::identity::Hello;
use crate::limits::Limits;
use crate::line::Line;
use crate::secret::Secret;
use crate::server::aether::AetherServer;
use crate::server::cass::CassServer;
use crate::server::executor::{ExecutorServer, Handed, Handover};
use crate::server::grant::Introductions;
use crate::server::{StoreServer, Streams};
use crate::vat::Local;
use crate::wire::store::hello;

/// What a service's connections share.
pub(crate) struct Shared {
    pub(crate) me: Hello,
    pub(crate) endpoint: Endpoint,
    pub(crate) secret: Secret,
    pub(crate) root: Root,
    pub(crate) runtime: Runtime,
    pub(crate) limits: Arc<Limits>,
    pub(crate) introductions: Introductions,
    pub(crate) drain: CancellationToken,
}

/// What the service's own secret stands for.
#[derive(Clone)]
pub(crate) enum Root {
    Store(Arc<dyn StoreService>),
    Executor(Arc<dyn Executor>, Hub, Handover),
    Orchestrator(Arc<dyn Orchestrator>),
}

/// One inbound connection, on its thread.
pub(crate) struct Inbound {
    pub(crate) shared: Arc<Shared>,
    pub(crate) line: Arc<Line>,
    pub(crate) holder: Holder,
    pub(crate) local: Rc<Local>,
    pub(crate) streams: Rc<Streams>,
    pub(crate) handed: RefCell<Vec<Handed>>,
}

impl Inbound {
    pub(crate) fn new(
        shared: Arc<Shared>,
        line: Arc<Line>,
        holder: Holder,
        local: Rc<Local>,
    ) -> Rc<Self> {
        let streams = Streams::new(shared.limits.streams);
        Rc::new(Self {
            shared,
            line,
            holder,
            local,
            streams,
            handed: RefCell::default(),
        })
    }
}

/// The first object of a connection.
pub(crate) struct BootstrapServer {
    inbound: Rc<Inbound>,
}

impl BootstrapServer {
    pub(crate) fn new(inbound: Rc<Inbound>) -> Self {
        Self { inbound }
    }

    fn root(&self) -> capnp::capability::Client {
        let inbound = self.inbound.clone();
        match self.inbound.shared.root.clone() {
            Root::Store(service) => {
                capnp_rpc::new_client::<store_capnp::cass::Client, _>(CassServer::new(
                    service, inbound,
                ))
                .client
            }
            Root::Executor(executor, hub, handover) => {
                capnp_rpc::new_client::<executor_capnp::executor::Client, _>(ExecutorServer::new(
                    executor, hub, handover, inbound,
                ))
                .client
            }
            Root::Orchestrator(orchestrator) => {
                capnp_rpc::new_client::<aether_capnp::aether::Client, _>(AetherServer::new(
                    orchestrator,
                    inbound,
                ))
                .client
            }
        }
    }
}

impl bootstrap::Server for BootstrapServer {
    async fn hello(
        self: Rc<Self>,
        params: bootstrap::HelloParams,
        mut results: bootstrap::HelloResults,
    ) -> Result<(), capnp::Error> {
        let caller = hello::from_wire(params.get()?.get_caller()?)?;
        let mut name = format!("{} {}", caller.service, caller.pid);
        name.retain(|character| !character.is_control());
        // A peer's word about itself is for logs and figures only.
        self.inbound.line.set_peer(name.chars().take(64).collect());
        hello::to_wire(&self.inbound.shared.me, results.get().init_me());
        Ok(())
    }

    async fn redeem(
        self: Rc<Self>,
        params: bootstrap::RedeemParams,
        mut results: bootstrap::RedeemResults,
    ) -> Result<(), capnp::Error> {
        let shared = &self.inbound.shared;
        let given = Secret::from_slice(params.get()?.get_secret()?);
        let capability = match &given {
            Some(secret) if shared.secret.matches(secret) => self.root(),
            Some(secret) => match shared.introductions.redeem(secret) {
                Some(granted) => {
                    let store = StoreServer::granted(answer(granted)?, &self.inbound);
                    capnp_rpc::new_client::<store_capnp::store::Client, _>(store).client
                }
                None => return answer(Err(refused())),
            },
            None => return answer(Err(refused())),
        };
        self.inbound.line.proved.cancel();
        results
            .get()
            .init_capability()
            .set_as_capability(capability.hook);
        Ok(())
    }

    async fn drain(
        self: Rc<Self>,
        _: bootstrap::DrainParams,
        _: bootstrap::DrainResults,
    ) -> Result<(), capnp::Error> {
        match self.inbound.holder {
            // The listener dropped every other user's connection.
            Holder::Local { .. } => {
                self.inbound.shared.drain.cancel();
                Ok(())
            }
            Holder::Remote => answer(Err(ServiceError::Denied(
                "only a process on the same host, over the Unix socket, may ask for that"
                    .to_owned(),
            ))),
        }
    }
}

fn refused() -> ServiceError {
    ServiceError::Denied("this secret stands for nothing here".to_owned())
}
