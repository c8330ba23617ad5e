//! Grants, and the secrets of introductions under them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::runtime::Handle as Runtime;
use tokio_util::sync::CancellationToken;
use vx_core::{Digest, GrantId, ServiceError, ServiceResult, StoreService};
use vx_schema::store_capnp::grant;

use crate::limits::Limits;
use crate::secret::Secret;

/// A grant in force. What came of it checks `over` before each call.
pub(crate) struct Granted {
    pub(crate) id: GrantId,
    pub(crate) service: Arc<dyn StoreService>,
    pub(crate) over: CancellationToken,
    runtime: Runtime,
}

impl Granted {
    pub(crate) fn new(id: GrantId, service: Arc<dyn StoreService>, runtime: Runtime) -> Arc<Self> {
        Arc::new(Self {
            id,
            service,
            over: CancellationToken::new(),
            runtime,
        })
    }

    /// Ends it: first everything that came of it is dead, then the store lets go.
    pub(crate) fn end(&self) {
        if self.over.is_cancelled() {
            return;
        }
        self.over.cancel();
        let (service, id) = (self.service.clone(), self.id);
        // In a task of its own, because the connection it came over may be gone.
        self.runtime.spawn(async move { service.release(id).await });
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        self.end();
    }
}

/// The grant's own capability: it ends with the last reference, or with its connection.
pub(crate) struct GrantServer {
    granted: Arc<Granted>,
}

impl GrantServer {
    pub(crate) fn new(granted: Arc<Granted>) -> Self {
        Self { granted }
    }
}

impl grant::Server for GrantServer {}

impl Drop for GrantServer {
    fn drop(&mut self) {
        self.granted.end();
    }
}

struct Open {
    granted: Arc<Granted>,
    until: Instant,
}

/// Secrets that were given out and not redeemed.
#[derive(Default)]
pub(crate) struct Introductions {
    open: Mutex<HashMap<Digest, Open>>,
}

impl Introductions {
    /// A secret that is good once, for a short time, while the grant lives.
    pub(crate) fn issue(&self, granted: &Arc<Granted>, limits: &Limits) -> ServiceResult<Secret> {
        let secret = Secret::random().map_err(ServiceError::failed)?;
        let now = Instant::now();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, entry| entry.until > now && !entry.granted.over.is_cancelled());
        if open.len() >= limits.introductions {
            return Err(ServiceError::Overloaded(
                "too many introductions are open".to_owned(),
            ));
        }
        open.insert(
            secret.fingerprint(),
            Open {
                granted: granted.clone(),
                until: now + limits.introduction,
            },
        );
        Ok(secret)
    }

    /// The grant that a secret stands for; the secret is spent. `None` for any other bytes.
    pub(crate) fn redeem(&self, secret: &Secret) -> Option<ServiceResult<Arc<Granted>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = open.remove(&secret.fingerprint())?;
        drop(open);
        if entry.granted.over.is_cancelled() {
            return Some(Err(ServiceError::Revoked));
        }
        if entry.until <= Instant::now() {
            return Some(Err(ServiceError::Denied(
                "the introduction is too old; ask for another".to_owned(),
            )));
        }
        Some(Ok(entry.granted))
    }
}
