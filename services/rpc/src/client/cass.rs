//! A store's process, as orchestrators hold it.

use std::sync::Arc;

use vx_core::{ServiceResult, StoreStatus};
use vx_schema::store_capnp;

use crate::client::{RemoteResults, RemoteStore};
use crate::hub::Link;
use crate::identity::Hello;
use crate::line::{ConnectionStats, Route, StoreTraffic};
use crate::vat::Handle;
use crate::wire::value::store_status;

/// A store's process. Clones share one connection, which closes with the last of everything
/// that came of it.
#[derive(Clone)]
pub struct CassClient {
    handle: Handle<store_capnp::cass::Client>,
    link: Arc<Link>,
    traffic: Arc<StoreTraffic>,
}

/// What a grant gives.
pub struct Granted {
    /// Keeps the other two alive.
    pub grant: GrantGuard,
    /// The store, to use and to hand out.
    pub store: RemoteStore,
    /// The results, to keep.
    pub results: RemoteResults,
}

/// A grant; dropping it ends every Store and Results that came of it, whoever holds them.
pub struct GrantGuard {
    _handle: Handle<store_capnp::grant::Client>,
}

impl CassClient {
    pub(crate) fn new(
        handle: Handle<store_capnp::cass::Client>,
        link: Arc<Link>,
        traffic: Arc<StoreTraffic>,
    ) -> Self {
        Self {
            handle,
            link,
            traffic,
        }
    }

    /// Asks for a grant. `label` is for the store's log and figures.
    ///
    /// # Errors
    /// When the store is gone or refuses.
    pub async fn grant(&self, label: impl Into<String>) -> ServiceResult<Granted> {
        let label = label.into();
        let keep = self.link.clone();
        let line = self.link.line.clone();
        let (grant, store, results) = self
            .handle
            .call(move |cass, local| async move {
                let mut request = cass.grant_request();
                request.get().set_label(label);
                let response = request.send().promise.await?;
                let given = response.get()?;
                Ok((
                    local.keep(given.get_grant()?, line.clone(), Some(keep.clone())),
                    local.keep(given.get_store()?, line.clone(), Some(keep.clone())),
                    local.keep(given.get_results()?, line, Some(keep)),
                ))
            })
            .await?;
        Ok(Granted {
            grant: GrantGuard { _handle: grant },
            store: RemoteStore::new(store, Route::Direct, self.traffic.clone()),
            results: RemoteResults::new(results),
        })
    }

    /// Figures.
    ///
    /// # Errors
    /// When the store is gone.
    pub async fn status(&self) -> ServiceResult<StoreStatus> {
        self.handle
            .call(async |cass, _| {
                let response = cass.status_request().send().promise.await?;
                Ok(store_status::from_wire(response.get()?.get_status()?)?)
            })
            .await
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
