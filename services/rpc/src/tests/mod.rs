//! Services talking to each other, in one process over real sockets.

mod abuse;
mod authority;
mod handover;
mod life;
mod raw;
mod suites;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::runtime::Handle as Runtime;
use vx_core::{
    ActionSpec, Execution, Executor, ExecutorStatus, HostEnd, HostProgram, Ingested, MessageFormat,
    Observer, Output, OutputStream, PackageSource, ServiceResult, Store, StoreService, Watch,
};

use crate::contract::MemoryStore;
use crate::{
    CassClient, Endpoint, Handover, Hub, Limits, RemoteExecutor, Secret, Server, ServerHandle,
};

/// Far over what any of these needs; a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits, but not for ever.
async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("this happens soon")
}

fn hub(name: &str) -> Hub {
    Hub::start(name, Runtime::current()).unwrap()
}

/// A served store.
struct Cass {
    memory: MemoryStore,
    server: ServerHandle,
    secret: Secret,
    _dir: TempDir,
}

impl Cass {
    async fn start() -> Self {
        Self::start_with(Limits::default(), None).await
    }

    async fn start_with(limits: Limits, endpoint: Option<&str>) -> Self {
        let memory = MemoryStore::new();
        Self::serve(Arc::new(memory.clone()), memory, limits, endpoint).await
    }

    async fn serve(
        service: Arc<dyn StoreService>,
        memory: MemoryStore,
        limits: Limits,
        endpoint: Option<&str>,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let endpoint = match endpoint {
            Some(text) => text.parse().unwrap(),
            None => Endpoint::unix(dir.path().join("cass.sock")).unwrap(),
        };
        let secret = Secret::random().unwrap();
        let server = Server::builder("vx-cass", endpoint, secret.clone())
            .limits(limits)
            .serve_store(service)
            .start()
            .await
            .unwrap();
        Self {
            memory,
            server,
            secret,
            _dir: dir,
        }
    }

    async fn client(&self, hub: &Hub) -> CassClient {
        hub.connect_cass(self.server.endpoint(), &self.secret)
            .await
            .unwrap()
    }
}

type Run = dyn Fn(
        ActionSpec,
        Arc<dyn Store>,
        Arc<dyn Observer>,
    ) -> BoxFuture<'static, ServiceResult<Execution>>
    + Send
    + Sync;

/// An executor that does what a test says.
struct Scripted(Box<Run>);

#[async_trait]
impl Executor for Scripted {
    async fn execute(
        &self,
        action: ActionSpec,
        store: Arc<dyn Store>,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<Execution> {
        (self.0)(action, store, observer).await
    }

    async fn ingest(
        &self,
        source: PackageSource,
        store: Arc<dyn Store>,
    ) -> ServiceResult<Ingested> {
        let PackageSource::Tree { path } = source else {
            return Ok(Ingested::Mismatch("other".to_owned()));
        };
        let content = Bytes::from(path);
        store.write_small(vec![content.clone()]).await?;
        Ok(Ingested::Stored(vx_core::Blob::of(&content)))
    }

    async fn run_on_host(
        &self,
        program: HostProgram,
        observer: Arc<dyn Observer>,
    ) -> ServiceResult<HostEnd> {
        let said = Bytes::from(program.argv.join(" "));
        observer.wrote(OutputStream::Stdout, said).await?;
        Ok(HostEnd::Ran {
            exit: vx_core::Exit::Code(3),
            trace: vx_core::readset::Trace::default(),
        })
    }

    async fn status(&self) -> ServiceResult<ExecutorStatus> {
        Ok(ExecutorStatus::default())
    }
}

/// A served executor.
struct Rhea {
    server: ServerHandle,
    hub: Hub,
    secret: Secret,
    executor: Arc<Scripted>,
    _dir: TempDir,
}

impl Rhea {
    async fn start<Running>(
        handover: Handover,
        run: impl Fn(ActionSpec, Arc<dyn Store>, Arc<dyn Observer>) -> Running + Send + Sync + 'static,
    ) -> Self
    where
        Running: Future<Output = ServiceResult<Execution>> + Send + 'static,
    {
        let dir = tempfile::tempdir().unwrap();
        let secret = Secret::random().unwrap();
        let hub = hub("vx-rhea");
        let endpoint = Endpoint::unix(dir.path().join("rhea.sock")).unwrap();
        let executor = Arc::new(Scripted(Box::new(move |action, store, observer| {
            Box::pin(run(action, store, observer))
        })));
        let server = Server::builder("vx-rhea", endpoint, secret.clone())
            .serve_executor(executor.clone(), hub.clone(), handover)
            .start()
            .await
            .unwrap();
        Self {
            server,
            hub,
            secret,
            executor,
            _dir: dir,
        }
    }

    async fn client(&self, hub: &Hub) -> RemoteExecutor {
        hub.connect_executor(self.server.endpoint(), &self.secret)
            .await
            .unwrap()
    }
}

fn action() -> ActionSpec {
    ActionSpec {
        label: "test".to_owned(),
        argv: Vec::new(),
        env: Vec::new(),
        cwd: "/vx/the-checkout-at-its-fixed-place".to_owned(),
        toolchain: String::new(),
        checkout: None,
        packages: Vec::new(),
        files: Vec::new(),
        trees: Vec::new(),
        collect: Vec::new(),
        messages: MessageFormat::Plain,
        markers: Vec::new(),
        watch: Watch::Nothing,
        host_paths: Vec::new(),
        network: false,
        real_places: Vec::new(),
        base: String::new(),
    }
}

/// An observer that looks at nothing.
struct Blind;

#[async_trait]
impl Observer for Blind {
    async fn wrote(&self, _: OutputStream, _: bytes::Bytes) -> ServiceResult<()> {
        Ok(())
    }

    async fn stored(&self, _: Output) -> ServiceResult<()> {
        Ok(())
    }
}
