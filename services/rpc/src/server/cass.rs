//! A store's process as an object.

use std::rc::Rc;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use vx_core::StoreService;
use vx_schema::store_capnp::cass;

use crate::error::answer;
use crate::server::bootstrap::Inbound;
use crate::server::grant::{GrantServer, Granted};
use crate::server::results::ResultsServer;
use crate::server::{StoreServer, run};
use crate::wire::text;
use crate::wire::value::store_status;

/// What the store's secret gives.
pub(crate) struct CassServer {
    service: Arc<dyn StoreService>,
    inbound: Rc<Inbound>,
}

impl CassServer {
    pub(crate) fn new(service: Arc<dyn StoreService>, inbound: Rc<Inbound>) -> Self {
        Self { service, inbound }
    }
}

impl cass::Server for CassServer {
    async fn grant(
        self: Rc<Self>,
        params: cass::GrantParams,
        mut results: cass::GrantResults,
    ) -> Result<(), capnp::Error> {
        let label = text(params.get()?.get_label()?)?;
        let runtime = self.inbound.shared.runtime.clone();
        let service = self.service.clone();
        let opening = {
            let runtime = runtime.clone();
            async move {
                let id = service.grant(label).await?;
                // From here on it ends with the last reference, also when the caller has left.
                Ok(Granted::new(id, service, runtime))
            }
        };
        let never = CancellationToken::new();
        let granted = answer(run(&runtime, &never, opening).await)?;
        let store = StoreServer::granted(granted.clone(), &self.inbound);
        let done = ResultsServer::granted(&granted, &self.inbound);
        let mut given = results.get();
        given.set_store(capnp_rpc::new_client(store));
        given.set_results(capnp_rpc::new_client(done));
        given.set_grant(capnp_rpc::new_client(GrantServer::new(granted)));
        Ok(())
    }

    async fn status(
        self: Rc<Self>,
        _: cass::StatusParams,
        mut results: cass::StatusResults,
    ) -> Result<(), capnp::Error> {
        let service = self.service.clone();
        let never = CancellationToken::new();
        let runtime = &self.inbound.shared.runtime;
        let status = run(runtime, &never, async move { service.status().await }).await;
        store_status::to_wire(&answer(status)?, results.get().init_status());
        Ok(())
    }
}
