//! The store and the executor this process uses: started when they are its own, dialled, and
//! replaced when they are lost.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Mutex;
use vx_core::error::{ServiceError, ServiceResult};
use vx_core::orchestrator::OrchestratorStatus;
use vx_core::{
    ActionSpec, Execution, Executor, ExecutorStatus, HostEnd, HostProgram, Ingested, Observer,
    PackageSource, Results, Store, StoreStatus,
};
use vx_rpc::daemon::{self, Spawned};
use vx_rpc::{CassClient, Endpoint, Granted, Hub, RemoteExecutor, Secret};

use crate::session::{Bare, Session, Sessions, Transfer};

/// How long a service whose lifeline was closed may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Where a service is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// This process starts it and owns it.
    Own {
        /// The program.
        program: PathBuf,
        /// Its arguments.
        arguments: Vec<OsString>,
        /// Its log.
        log: PathBuf,
        /// Where it listens.
        endpoint: Endpoint,
        /// The file its secret is in once it listens.
        secret_file: PathBuf,
    },
    /// Someone else runs it.
    Elsewhere {
        /// Where it listens.
        endpoint: Endpoint,
        /// The file its secret is in.
        secret_file: PathBuf,
    },
}

impl Place {
    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Own { endpoint, .. } | Self::Elsewhere { endpoint, .. } => endpoint,
        }
    }

    fn secret_file(&self) -> &Path {
        match self {
            Self::Own { secret_file, .. } | Self::Elsewhere { secret_file, .. } => secret_file,
        }
    }

    fn is_own(&self) -> bool {
        matches!(self, Self::Own { .. })
    }
}

/// Why settings name no service.
#[derive(Debug, thiserror::Error)]
#[error("{variable} can't be used: {reason}")]
pub(crate) struct SettingError {
    variable: String,
    reason: String,
}

/// Where both services are, by the settings and the home directory.
///
/// # Errors
/// When a setting can't be understood.
pub(crate) fn places(
    home: &Path,
    programs: &Path,
    settings: &BTreeMap<String, String>,
) -> Result<(Place, Place), SettingError> {
    let cass = match elsewhere(settings, "VX_CASS", "VX_CASS_SECRET_FILE")? {
        Some(place) => place,
        None => own_cass(home, programs)?,
    };
    let rhea = match elsewhere(settings, "VX_RHEA", "VX_RHEA_SECRET_FILE")? {
        Some(place) => place,
        None => own_rhea(home, programs)?,
    };
    Ok((cass, rhea))
}

fn elsewhere(
    settings: &BTreeMap<String, String>,
    variable: &str,
    secret_variable: &str,
) -> Result<Option<Place>, SettingError> {
    let fail = |variable: &str, reason: String| SettingError {
        variable: variable.to_owned(),
        reason,
    };
    let Some(text) = settings.get(variable) else {
        return Ok(None);
    };
    let endpoint = text
        .parse()
        .map_err(|error: vx_rpc::EndpointError| fail(variable, error.to_string()))?;
    let secret_file = settings.get(secret_variable).ok_or_else(|| {
        fail(
            variable,
            format!("{secret_variable} must name the file with that service's secret"),
        )
    })?;
    Ok(Some(Place::Elsewhere {
        endpoint,
        secret_file: secret_file.into(),
    }))
}

/// What is set of `VX_CASS_LIMIT` and `VX_CASS_PLACE` reaches the store as this process's
/// environment does.
fn own_cass(home: &Path, programs: &Path) -> Result<Place, SettingError> {
    let endpoint = home_endpoint(home, "cass.sock")?;
    let directory = home.join("cass");
    let arguments: Vec<OsString> = vec![
        "--store".into(),
        directory.clone().into(),
        "--listen".into(),
        endpoint.to_string().into(),
        // Who uses this store is who runs the actions.
        "--accept-unisolated".into(),
    ];
    Ok(Place::Own {
        program: programs.join("vx-cass"),
        arguments,
        log: home.join("cass.log"),
        endpoint,
        secret_file: directory.join("secret"),
    })
}

fn own_rhea(home: &Path, programs: &Path) -> Result<Place, SettingError> {
    let endpoint = home_endpoint(home, "rhea.sock")?;
    let secret_file = home.join("rhea.secret");
    Ok(Place::Own {
        program: programs.join("vx-rhea"),
        arguments: vec![
            "--listen".into(),
            endpoint.to_string().into(),
            "--dir".into(),
            home.join("rhea").into(),
            "--secret-file".into(),
            secret_file.clone().into(),
        ],
        log: home.join("rhea.log"),
        endpoint,
        secret_file,
    })
}

fn home_endpoint(home: &Path, socket: &str) -> Result<Endpoint, SettingError> {
    Endpoint::unix(home.join(socket)).map_err(|error| SettingError {
        variable: "VX_HOME".to_owned(),
        reason: error.to_string(),
    })
}

/// A service and, when it is ours, its process.
struct Live<C, S> {
    client: C,
    process: Option<Spawned>,
    /// What it said of itself when it was dialled: of this only what stays as it is is used.
    said: S,
}

#[derive(Default)]
struct State {
    cass: Option<Live<CassClient, StoreStatus>>,
    rhea: Option<Live<RemoteExecutor, ExecutorStatus>>,
    ended: bool,
}

/// Both services, ready to be used.
struct Ready {
    cass: CassClient,
    rhea: RemoteExecutor,
    bare: Option<Bare>,
}

/// Both services.
pub(crate) struct Services {
    hub: Hub,
    cass: Place,
    rhea: Place,
    state: Mutex<State>,
}

impl Services {
    /// Services that are started and dialled at the first use.
    pub(crate) fn new(hub: Hub, cass: Place, rhea: Place) -> Arc<Self> {
        Arc::new(Self {
            hub,
            cass,
            rhea,
            state: Mutex::new(State::default()),
        })
    }

    /// Connects to both, so that the first build finds them warm.
    ///
    /// # Errors
    /// When one can't be had.
    pub(crate) async fn warm(&self) -> ServiceResult<()> {
        self.live().await.map(|_| ())
    }

    async fn live(&self) -> ServiceResult<Ready> {
        let mut state = self.state.lock().await;
        if state.ended {
            return Err(ServiceError::failed("vx-aether is ending"));
        }
        if state
            .cass
            .as_ref()
            .is_some_and(|live| !live.client.is_open())
            && let Some(lost) = state.cass.take()
        {
            end(lost.process).await;
        }
        if state
            .rhea
            .as_ref()
            .is_some_and(|live| !live.client.is_open())
            && let Some(lost) = state.rhea.take()
        {
            end(lost.process).await;
        }
        let State { cass, rhea, .. } = &mut *state;
        // Both at once: each takes a moment to start.
        let (cass, rhea) = tokio::join!(self.ready_cass(cass), self.ready_rhea(rhea));
        let (cass, rhea) = (cass?, rhea?);
        Ok(Ready {
            cass: cass.client.clone(),
            rhea: rhea.client.clone(),
            bare: bare(&cass.said, &rhea.said),
        })
    }

    async fn ready_cass<'s>(
        &self,
        slot: &'s mut Option<Live<CassClient, StoreStatus>>,
    ) -> ServiceResult<&'s Live<CassClient, StoreStatus>> {
        if let Some(live) = slot.take() {
            return Ok(slot.insert(live));
        }
        let process = start(&self.cass).await?;
        let secret = secret(&self.cass)?;
        let client = self
            .hub
            .connect_cass(self.cass.endpoint(), &secret)
            .await
            .map_err(|error| unreachable_service("vx-cass", &self.cass, &error))?;
        let said = client.status().await?;
        Ok(slot.insert(Live {
            client,
            process,
            said,
        }))
    }

    async fn ready_rhea<'s>(
        &self,
        slot: &'s mut Option<Live<RemoteExecutor, ExecutorStatus>>,
    ) -> ServiceResult<&'s Live<RemoteExecutor, ExecutorStatus>> {
        if let Some(live) = slot.take() {
            return Ok(slot.insert(live));
        }
        let process = start(&self.rhea).await?;
        let secret = secret(&self.rhea)?;
        let client = self
            .hub
            .connect_executor(self.rhea.endpoint(), &secret)
            .await
            .map_err(|error| unreachable_service("vx-rhea", &self.rhea, &error))?;
        let said = client.status().await?;
        Ok(slot.insert(Live {
            client,
            process,
            said,
        }))
    }

    /// What the services say of themselves; what can't be asked is left out.
    pub(crate) async fn status(&self) -> OrchestratorStatus {
        let mut status = OrchestratorStatus {
            store_endpoint: self.cass.endpoint().to_string(),
            executor_endpoint: self.rhea.endpoint().to_string(),
            ..OrchestratorStatus::default()
        };
        match self.live().await {
            Ok(Ready { cass, rhea, .. }) => {
                status.store = cass.status().await.ok();
                status.executor = rhea.status().await.ok();
            }
            Err(error) => tracing::warn!(%error, "a service can't be asked for its status"),
        }
        status
    }

    /// Ends the services this process started, and starts no more.
    pub(crate) async fn end(&self) {
        let mut state = self.state.lock().await;
        state.ended = true;
        // The executor first: what it runs uses the store.
        if let Some(rhea) = state.rhea.take() {
            drop(rhea.client);
            end(rhea.process).await;
        }
        if let Some(cass) = state.cass.take() {
            drop(cass.client);
            end(cass.process).await;
        }
    }
}

async fn start(place: &Place) -> ServiceResult<Option<Spawned>> {
    let Place::Own {
        program,
        arguments,
        log,
        ..
    } = place
    else {
        return Ok(None);
    };
    daemon::spawn(program, arguments, Some(log))
        .await
        .map(Some)
        .map_err(|error| ServiceError::Failed(error.to_string()))
}

fn secret(place: &Place) -> ServiceResult<Secret> {
    Secret::read(place.secret_file()).map_err(|error| ServiceError::Failed(error.to_string()))
}

fn unreachable_service(name: &str, place: &Place, error: &vx_rpc::ConnectError) -> ServiceError {
    let advice = if place.is_own() {
        "its log beside the socket may say more"
    } else {
        "start it, or unset the variable that names it"
    };
    ServiceError::Failed(format!("{name} can't be used: {error}\n{advice}"))
}

async fn end(process: Option<Spawned>) {
    let Some(mut process) = process else { return };
    drop(process.lifeline);
    if tokio::time::timeout(GRACE, process.child.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            pid = process.pid,
            "a service did not end by itself; killing it"
        );
        if let Err(error) = process.child.kill().await {
            tracing::warn!(%error, "it could not be killed");
        }
    }
}

/// A grant of the store, and the executor.
struct RpcSession {
    granted: Granted,
    store: Arc<dyn Store>,
    results: Arc<dyn Results>,
    cass: CassClient,
    rhea: RemoteExecutor,
    shared: bool,
    endpoint: String,
    bare: Option<Bare>,
}

#[async_trait]
impl Sessions for Services {
    async fn open(&self, label: &str) -> ServiceResult<Arc<dyn Session>> {
        let ready = self.live().await?;
        match ready.cass.grant(label).await {
            Ok(granted) => Ok(self.session(granted, ready)),
            Err(error) if error.is_disconnected() => {
                // It went between the look and the call; `live` sees that now.
                ready.cass.closed().await;
                let ready = self.live().await?;
                let granted = ready.cass.grant(label).await?;
                Ok(self.session(granted, ready))
            }
            Err(error) => Err(error),
        }
    }
}

impl Services {
    fn session(&self, granted: Granted, ready: Ready) -> Arc<dyn Session> {
        Arc::new(RpcSession {
            store: Arc::new(granted.store.clone()),
            results: Arc::new(granted.results.clone()),
            granted,
            cass: ready.cass,
            rhea: ready.rhea,
            shared: !self.cass.is_own(),
            endpoint: self.cass.endpoint().to_string(),
            bare: ready.bare,
        })
    }
}

/// What the services say of running without isolation.
fn bare(store: &StoreStatus, executor: &ExecutorStatus) -> Option<Bare> {
    (!executor.isolation_fault.is_empty()).then(|| Bare {
        why: executor.isolation_fault.clone(),
        directory: executor.base_directory.clone(),
        trace_fault: executor.trace_fault.clone(),
        accepted: store.accepts_unisolated,
    })
}

#[async_trait]
impl Session for RpcSession {
    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    fn results(&self) -> Arc<dyn Results> {
        Arc::clone(&self.results)
    }

    fn store_endpoint(&self) -> String {
        self.endpoint.clone()
    }

    fn shared(&self) -> bool {
        self.shared
    }

    fn bare(&self) -> Option<Bare> {
        self.bare.clone()
    }

    async fn execute(
        &self,
        action: ActionSpec,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution> {
        self.rhea
            .execute(action, Arc::new(self.granted.store.clone()), observer)
            .await
    }

    async fn ingest(&self, source: PackageSource) -> ServiceResult<Ingested> {
        self.rhea
            .ingest(source, Arc::new(self.granted.store.clone()))
            .await
    }

    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd> {
        self.rhea.run_on_host(program, observer).await
    }

    async fn transfer(&self) -> Transfer {
        let mut transfer = Transfer::default();
        match self.rhea.status().await {
            Ok(status) => {
                transfer.direct = status.direct_bytes;
                transfer.relayed = status.relayed_bytes;
                transfer.placed = status.placed_bytes;
            }
            Err(error) => tracing::debug!(%error, "the executor can't be asked what it moved"),
        }
        for stats in [self.cass.stats(), self.rhea.stats()] {
            transfer.orchestrator += stats.sent + stats.received;
        }
        transfer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_services_elsewhere_or_none() {
        let home = Path::new("/h");
        let programs = Path::new("/p");
        let (cass, rhea) = places(home, programs, &BTreeMap::new()).unwrap();
        assert!(cass.is_own() && rhea.is_own());

        let set = |pairs: &[(&str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>()
        };
        let without_secret = set(&[("VX_CASS", "unix:/s")]);
        assert!(places(home, programs, &without_secret).is_err());
        let odd = set(&[("VX_CASS", "ftp://x"), ("VX_CASS_SECRET_FILE", "/f")]);
        assert!(places(home, programs, &odd).is_err());
        let good = set(&[("VX_CASS", "127.0.0.1:7000"), ("VX_CASS_SECRET_FILE", "/f")]);
        assert!(!places(home, programs, &good).unwrap().0.is_own());
    }
}
