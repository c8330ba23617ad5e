//! All of a process's outbound connections, on one thread.
//!
//! A capability can only be handed on within its thread, so whoever passes what one service
//! gave it to another keeps both connections on one hub.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::runtime::Handle as Runtime;
use vx_schema::{aether_capnp, bootstrap_capnp, executor_capnp, store_capnp};

use crate::client::{CassClient, RemoteExecutor, RemoteOrchestrator, RemoteStore};
use crate::connect::ConnectError;
use crate::connection::start_client;
use crate::endpoint::Endpoint;
use crate::error::Fault;
use crate::identity::Hello;
use crate::limits::{INTRODUCED_CONNECTIONS, Limits};
use crate::line::{ConnectionStats, Direction, Line, Lines, Route, StoreTraffic};
use crate::secret::Secret;
use crate::socket::Stream;
use crate::vat::{Handle, Vat, VatThread};
use crate::wire::store::{Introduction, hello};

/// An outbound connection; dropping the last clone closes it.
pub(crate) struct Link {
    pub(crate) line: Arc<Line>,
    pub(crate) hello: Hello,
    pub(crate) endpoint: Endpoint,
    bootstrap: Handle<bootstrap_capnp::bootstrap::Client>,
    _thread: Arc<VatThread>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.line.stop.cancel();
    }
}

/// A process's outbound connections. Clones are the same hub; its thread ends with the last of
/// them and of everything that came of its connections.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

struct Inner {
    vat: Vat,
    thread: Arc<VatThread>,
    me: Hello,
    runtime: Runtime,
    limits: Arc<Limits>,
    lines: Lines,
    traffic: Arc<StoreTraffic>,
    introduced: tokio::sync::Mutex<HashMap<String, Arc<Link>>>,
}

impl Hub {
    /// Starts the thread. `service` is this program's name, such as `vx-aether`; what it serves
    /// to others (observers, stores) runs on `runtime`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(service: &str, runtime: Runtime) -> io::Result<Self> {
        Self::start_with(Hello::mine(service)?, runtime, Limits::default())
    }

    /// As [`Hub::start`], under an identity and limits of the caller's.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start_with(me: Hello, runtime: Runtime, limits: Limits) -> io::Result<Self> {
        let (vat, thread) = Vat::start("vx-hub")?;
        Ok(Self {
            inner: Arc::new(Inner {
                vat,
                thread: Arc::new(thread),
                me,
                runtime,
                limits: Arc::new(limits),
                lines: Lines::default(),
                traffic: Arc::default(),
                introduced: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// Connects to a store.
    ///
    /// # Errors
    /// When it can't be reached, is of another build, or refuses the secret.
    pub async fn connect_cass(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
    ) -> Result<CassClient, ConnectError> {
        let link = self.link(endpoint, "vx-cass").await?;
        let handle = self
            .redeem::<store_capnp::cass::Client>(&link, secret)
            .await?;
        Ok(CassClient::new(handle, link, self.inner.traffic.clone()))
    }

    /// Connects to an executor.
    ///
    /// # Errors
    /// As [`Hub::connect_cass`].
    pub async fn connect_executor(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
    ) -> Result<RemoteExecutor, ConnectError> {
        let link = self.link(endpoint, "vx-rhea").await?;
        let handle = self
            .redeem::<executor_capnp::executor::Client>(&link, secret)
            .await?;
        Ok(RemoteExecutor::new(
            handle,
            link,
            self.inner.runtime.clone(),
        ))
    }

    /// Connects to an orchestrator.
    ///
    /// # Errors
    /// As [`Hub::connect_cass`].
    pub async fn connect_orchestrator(
        &self,
        endpoint: &Endpoint,
        secret: &Secret,
    ) -> Result<RemoteOrchestrator, ConnectError> {
        let link = self.link(endpoint, "vx-aether").await?;
        let handle = self
            .redeem::<aether_capnp::aether::Client>(&link, secret)
            .await?;
        Ok(RemoteOrchestrator::new(
            handle,
            link,
            self.inner.runtime.clone(),
        ))
    }

    /// Asks who listens, of whatever build.
    ///
    /// # Errors
    /// When nobody of vx does.
    pub async fn hello(&self, endpoint: &Endpoint) -> Result<Hello, ConnectError> {
        Ok(self.meet(endpoint).await?.hello.clone())
    }

    /// Asks the daemon that listens, of whatever build, to finish its work and leave; says who
    /// it is. Only daemons of the same user on this host do it.
    ///
    /// # Errors
    /// When nobody of vx listens, or it refuses.
    pub async fn ask_to_leave(&self, endpoint: &Endpoint) -> Result<Hello, ConnectError> {
        let link = self.meet(endpoint).await?;
        let asked = link
            .bootstrap
            .call(async |bootstrap, _| {
                bootstrap.drain_request().send().promise.await?;
                Ok(())
            })
            .await;
        match asked {
            Ok(()) => Ok(link.hello.clone()),
            Err(reason) => Err(ConnectError::Refused {
                endpoint: endpoint.clone(),
                reason,
            }),
        }
    }

    /// The outbound connections, with the last that ended.
    #[must_use]
    pub fn stats(&self) -> Vec<ConnectionStats> {
        self.inner.lines.stats()
    }

    /// Bytes of blobs that went to and from stores by this hub, and by stores that were handed
    /// to this process.
    #[must_use]
    pub fn store_traffic(&self) -> &Arc<StoreTraffic> {
        &self.inner.traffic
    }

    /// Who this process says it is.
    #[must_use]
    pub fn me(&self) -> &Hello {
        &self.inner.me
    }

    /// The same Store over a connection to its own process, which is made unless it is there.
    pub(crate) async fn introduced(
        &self,
        introduction: &Introduction,
    ) -> Result<RemoteStore, ConnectError> {
        // Held while dialling, so that one connection is made however many ask.
        let mut known = self.inner.introduced.lock().await;
        known.retain(|_, link| link.line.is_open());
        let link = match known.get(&introduction.instance) {
            Some(link) => link.clone(),
            None => {
                let link = self.link(&introduction.endpoint, "vx-cass").await?;
                if link.hello.instance != introduction.instance {
                    return Err(ConnectError::Stranger {
                        endpoint: introduction.endpoint.clone(),
                        reason: "another process than the one that was meant listens there"
                            .to_owned(),
                    });
                }
                if known.len() >= INTRODUCED_CONNECTIONS
                    && let Some(any) = known.keys().next().cloned()
                {
                    known.remove(&any);
                }
                known.insert(introduction.instance.clone(), link.clone());
                link
            }
        };
        drop(known);
        let handle = self.redeem(&link, &introduction.secret).await?;
        Ok(RemoteStore::new(
            handle,
            Route::Direct,
            self.inner.traffic.clone(),
        ))
    }

    /// Loses the connections to stores that were met by introduction.
    #[cfg(test)]
    pub(crate) async fn drop_introduced(&self) {
        let known = self.inner.introduced.lock().await;
        for link in known.values() {
            link.line.stop.cancel();
            link.line.closed.cancelled().await;
        }
    }

    /// A connection to `service` of this build.
    pub(crate) async fn link(
        &self,
        endpoint: &Endpoint,
        service: &str,
    ) -> Result<Arc<Link>, ConnectError> {
        let link = self.meet(endpoint).await?;
        if !link.hello.agrees_with(&self.inner.me) {
            return Err(ConnectError::OtherBuild {
                endpoint: endpoint.clone(),
                theirs: Box::new(link.hello.clone()),
                ours: Box::new(self.inner.me.clone()),
            });
        }
        if link.hello.service != service {
            return Err(ConnectError::OtherService {
                endpoint: endpoint.clone(),
                expected: service.to_owned(),
                found: link.hello.service.clone(),
            });
        }
        Ok(link)
    }

    /// A connection to whoever of vx listens.
    async fn meet(&self, endpoint: &Endpoint) -> Result<Arc<Link>, ConnectError> {
        let inner = &self.inner;
        let line = Line::new(Direction::Outbound, endpoint.to_string(), &inner.limits);
        inner.lines.add(line.clone());
        let meeting = inner.vat.run({
            let (me, line, limits, endpoint, thread) = (
                inner.me.clone(),
                line.clone(),
                inner.limits.clone(),
                endpoint.clone(),
                inner.thread.clone(),
            );
            move |local| async move {
                let stream = Stream::dial(&endpoint).await?;
                let stranger = |reason: String| ConnectError::Stranger {
                    endpoint: endpoint.clone(),
                    reason,
                };
                let bootstrap: bootstrap_capnp::bootstrap::Client =
                    start_client(stream, &line, &limits)
                        .map_err(|error| stranger(error.to_string()))?;
                let said = async {
                    let mut request = bootstrap.hello_request();
                    hello::to_wire(&me, request.get().init_caller());
                    let response = request.send().promise.await?;
                    hello::from_wire(response.get()?.get_me()?)
                };
                let theirs: Hello = tokio::select! {
                    biased;
                    said = said => said.map_err(|error| stranger(error.extra))?,
                    () = line.closed.cancelled() => {
                        return Err(stranger(line.reason().to_owned()));
                    }
                };
                line.set_peer(theirs.service.clone());
                let bootstrap = local.keep(bootstrap, line.clone(), None);
                Ok(Link {
                    line,
                    hello: theirs,
                    endpoint: endpoint.clone(),
                    bootstrap,
                    _thread: thread,
                })
            }
        });
        match tokio::time::timeout(inner.limits.handshake, meeting).await {
            Ok(Ok(link)) => Ok(Arc::new(link)),
            Ok(Err(error)) => {
                line.stop.cancel();
                line.note(error.to_string());
                line.closed.cancel();
                Err(error)
            }
            Err(_) => {
                line.fail("it did not answer");
                line.closed.cancel();
                Err(ConnectError::Silent {
                    endpoint: endpoint.clone(),
                    seconds: inner.limits.handshake.as_secs(),
                })
            }
        }
    }

    pub(crate) async fn redeem<C>(
        &self,
        link: &Arc<Link>,
        secret: &Secret,
    ) -> Result<Handle<C>, ConnectError>
    where
        C: capnp::capability::FromClientHook + Clone + 'static,
    {
        let secret = secret.clone();
        let keep = link.clone();
        let line = link.line.clone();
        let redeeming = link.bootstrap.call(move |bootstrap, local| async move {
            let mut request = bootstrap.redeem_request();
            request.get().set_secret(secret.bytes());
            let response = request.send().promise.await?;
            let client: C = response.get()?.get_capability().get_as_capability()?;
            Ok::<_, Fault>(local.keep(client, line, Some(keep)))
        });
        let refused = |reason| ConnectError::Refused {
            endpoint: link.endpoint.clone(),
            reason,
        };
        tokio::time::timeout(self.inner.limits.handshake, redeeming)
            .await
            .map_err(|_| ConnectError::Silent {
                endpoint: link.endpoint.clone(),
                seconds: self.inner.limits.handshake.as_secs(),
            })?
            .map_err(refused)
    }
}
