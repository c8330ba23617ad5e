//! Beginnings and ends: of actions, of builds, of connections, of services.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{Notify, oneshot};
use vx_core::orchestrator::{
    BuildEvent, BuildObserver, BuildOutcome, BuildRequest, MessageLevel, Orchestrator,
    OrchestratorStatus, Project, Selection, Totals,
};
use vx_core::{
    Blob, Digest, Execution, Executor, Observer, Output, OutputForm, OutputStream, Results,
    ServiceError, ServiceResult, Store,
};

use super::{Blind, Cass, Rhea, action, hub, soon};
use crate::contract::{MemoryStore, put};
use crate::{Endpoint, Handover, ListenError, Secret, Server, ServerHandle};

/// Tells when it is dropped.
struct Told(Option<oneshot::Sender<()>>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            let _ = tell.send(());
        }
    }
}

fn told() -> (Told, oneshot::Receiver<()>) {
    let (tell, hear) = oneshot::channel();
    (Told(Some(tell)), hear)
}

/// An executor whose action runs until it is cancelled.
async fn endless() -> (Rhea, Arc<Notify>, oneshot::Receiver<()>) {
    let (guard, cancelled) = told();
    let guard = Mutex::new(Some(guard));
    let started = Arc::new(Notify::new());
    let start = started.clone();
    let rhea = Rhea::start(Handover::Direct, move |_, _, _| {
        let guard = guard.lock().unwrap().take();
        start.notify_one();
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    })
    .await;
    (rhea, started, cancelled)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_an_execution_cancels_it() {
    let (rhea, started, cancelled) = endless().await;
    let cass = Cass::start().await;
    let hub = hub("vx-aether");
    let granted = cass.client(&hub).await.grant("build").await.unwrap();
    let executor = rhea.client(&hub).await;
    let running = executor.execute(action(), Arc::new(granted.store), Arc::new(Blind));
    tokio::select! {
        _ = running => panic!("it runs for ever"),
        () = soon(started.notified()) => {}
    }
    soon(cancelled).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_orchestrator_cancels_its_actions() {
    let (rhea, started, cancelled) = endless().await;
    let hub = hub("vx-aether");
    let executor = rhea.client(&hub).await;
    let store = vx_core::StoreService::store(
        &MemoryStore::new(),
        vx_core::GrantId(0),
        vx_core::Holder::Remote,
    );
    let running =
        tokio::spawn(async move { executor.execute(action(), store, Arc::new(Blind)).await });
    soon(started.notified()).await;
    drop(hub);
    running.abort();
    soon(cancelled).await.unwrap();
}

/// Writes down what it is told, and may refuse it.
#[derive(Default)]
struct Notes {
    seen: Mutex<Vec<String>>,
    refuse: bool,
}

impl Notes {
    fn add(&self, note: String) -> ServiceResult<()> {
        self.seen.lock().unwrap().push(note);
        if self.refuse {
            return Err(ServiceError::Denied("enough".to_owned()));
        }
        Ok(())
    }
}

#[async_trait]
impl Observer for Notes {
    async fn wrote(&self, stream: OutputStream, bytes: bytes::Bytes) -> ServiceResult<()> {
        self.add(format!("{stream:?} {}", String::from_utf8_lossy(&bytes)))
    }

    async fn stored(&self, output: Output) -> ServiceResult<()> {
        self.add(format!("stored {}", output.name))
    }
}

#[async_trait]
impl BuildObserver for Notes {
    async fn event(&self, event: BuildEvent) -> ServiceResult<()> {
        self.add(format!("{event:?}"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_observer_hears_everything_in_order_before_the_end() {
    let rhea = Rhea::start(Handover::Direct, |_, _, observer| async move {
        for turn in 0..50 {
            let stream = if turn % 2 == 0 {
                OutputStream::Stdout
            } else {
                OutputStream::Stderr
            };
            observer.wrote(stream, format!("{turn}").into()).await?;
        }
        observer
            .stored(Output {
                name: "lib.rmeta".to_owned(),
                blob: Blob::of(b"x"),
                form: OutputForm::Tree,
            })
            .await?;
        Ok(Execution::InputsMissing(vec![Digest::of(b"y")]))
    })
    .await;
    let hub = hub("vx-aether");
    let executor = rhea.client(&hub).await;
    let store = vx_core::StoreService::store(
        &MemoryStore::new(),
        vx_core::GrantId(0),
        vx_core::Holder::Remote,
    );
    let notes = Arc::new(Notes::default());
    let done = soon(executor.execute(action(), store, notes.clone())).await;
    assert_eq!(done, Ok(Execution::InputsMissing(vec![Digest::of(b"y")])));
    let mut expected: Vec<_> = (0..50)
        .map(|turn| format!("Std{} {turn}", if turn % 2 == 0 { "out" } else { "err" }))
        .collect();
    expected.push("stored lib.rmeta".to_owned());
    assert_eq!(*notes.seen.lock().unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_action_ends_when_its_observer_is_lost() {
    let (guard, cancelled) = told();
    let guard = Mutex::new(Some(guard));
    let rhea = Rhea::start(Handover::Direct, move |_, _, observer| {
        let guard = guard.lock().unwrap().take();
        async move {
            let _guard = guard;
            // An executor that does not look at what it is answered.
            let _ = observer.wrote(OutputStream::Stdout, "x".into()).await;
            std::future::pending().await
        }
    })
    .await;
    let hub = hub("vx-aether");
    let executor = rhea.client(&hub).await;
    let store = vx_core::StoreService::store(
        &MemoryStore::new(),
        vx_core::GrantId(0),
        vx_core::Holder::Remote,
    );
    let notes = Arc::new(Notes {
        refuse: true,
        ..Notes::default()
    });
    let done = soon(executor.execute(action(), store, notes)).await;
    assert!(matches!(done, Err(ServiceError::Failed(_))), "{done:?}");
    soon(cancelled).await.unwrap();
}

/// An orchestrator that builds until it is cancelled, or tells a little.
struct Little {
    endless: Mutex<Option<Told>>,
    started: Arc<Notify>,
}

#[async_trait]
impl Orchestrator for Little {
    async fn build(
        &self,
        request: BuildRequest,
        observer: Arc<dyn BuildObserver>,
    ) -> ServiceResult<BuildOutcome> {
        let guard = self.endless.lock().unwrap().take();
        self.started.notify_one();
        if guard.is_some() {
            let _guard = guard;
            return std::future::pending().await;
        }
        observer.event(BuildEvent::Planned { actions: 3 }).await?;
        let text = "a long line\n".repeat(100_000);
        let level = MessageLevel::Rendered;
        observer.event(BuildEvent::Message { level, text }).await?;
        Ok(BuildOutcome {
            result: Ok(()),
            profile: request.cwd,
            executables: Vec::new(),
            report: String::new(),
            duration: Duration::from_millis(7),
            totals: Totals::default(),
        })
    }

    async fn locate(&self, request: BuildRequest) -> ServiceResult<Project> {
        Ok(Project {
            workspace: request.cwd,
        })
    }

    async fn clean(&self, _: BuildRequest) -> ServiceResult<Project> {
        Err(ServiceError::Invalid("nothing to clean".to_owned()))
    }

    async fn plan(&self, request: BuildRequest, fresh: bool) -> ServiceResult<String> {
        Ok(format!("{} {fresh}", request.cwd))
    }

    async fn status(&self) -> ServiceResult<OrchestratorStatus> {
        Ok(OrchestratorStatus {
            pid: 7,
            ..OrchestratorStatus::default()
        })
    }

    async fn stop(&self) -> ServiceResult<()> {
        Ok(())
    }
}

async fn aether(little: Little) -> (ServerHandle, Secret, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let secret = Secret::random().unwrap();
    let endpoint = Endpoint::unix(dir.path().join("aether.sock")).unwrap();
    let server = Server::builder("vx-aether", endpoint, secret.clone())
        .serve_orchestrator(Arc::new(little))
        .start()
        .await
        .unwrap();
    (server, secret, dir)
}

fn request() -> BuildRequest {
    BuildRequest {
        cwd: "/home/me".to_owned(),
        env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
        umask: 0o22,
        selection: Selection::default(),
        jobs: None,
        keep_going: false,
        verify: false,
        settings: BTreeMap::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_build_tells_its_events_and_its_outcome() {
    let little = Little {
        endless: Mutex::new(None),
        started: Arc::default(),
    };
    let (server, secret, _dir) = aether(little).await;
    let hub = hub("vx");
    let client = hub
        .connect_orchestrator(server.endpoint(), &secret)
        .await
        .unwrap();
    let notes = Arc::new(Notes::default());
    let done = soon(client.build(request(), notes.clone())).await.unwrap();
    assert_eq!((done.profile.as_str(), done.result), ("/home/me", Ok(())));
    let seen = notes.seen.lock().unwrap().clone();
    assert_eq!(seen[0], format!("{:?}", BuildEvent::Planned { actions: 3 }));
    assert!(seen.len() > 2, "long messages come in parts");
    let lines: usize = seen
        .iter()
        .map(|note| note.matches("a long line").count())
        .sum();
    assert_eq!(lines, 100_000);
    assert_eq!(
        client.locate(request()).await.unwrap().workspace,
        "/home/me"
    );
    let error = client.clean(request()).await.unwrap_err();
    assert_eq!(error, ServiceError::Invalid("nothing to clean".to_owned()));
    assert_eq!(client.status().await.unwrap().pid, 7);
    client.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_build_cancels_it() {
    let (guard, cancelled) = told();
    let started = Arc::new(Notify::new());
    let little = Little {
        endless: Mutex::new(Some(guard)),
        started: started.clone(),
    };
    let (server, secret, _dir) = aether(little).await;
    let hub = hub("vx");
    let client = hub
        .connect_orchestrator(server.endpoint(), &secret)
        .await
        .unwrap();
    tokio::select! {
        _ = client.build(request(), Arc::new(Notes::default())) => panic!("it runs for ever"),
        () = soon(started.notified()) => {}
    }
    soon(cancelled).await.unwrap();
    drop(client);
    // It was the last, so the orchestrator may leave.
    let mut connections = server.connections();
    soon(connections.wait_for(|count| *count == 0))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_drains() {
    let cass = Cass::start().await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    let granted = client.grant("build").await.unwrap();
    let finishing = async {
        // Accepting has stopped, and who is there may finish.
        loop {
            match hub.hello(cass.server.endpoint()).await {
                Err(error) if error.is_absent() => break,
                _ => tokio::task::yield_now().await,
            }
        }
        put(&granted.store, b"last words", 4).await.unwrap();
        drop((client, granted));
    };
    soon(async { tokio::join!(cass.server.drain(), finishing) }).await;
    assert_eq!(*cass.server.connections().borrow(), 0);
    soon(cass.memory.without_grants()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_service_is_seen_by_those_who_wait_for_it() {
    let cass = Cass::start().await;
    let hub = hub("vx-aether");
    let client = cass.client(&hub).await;
    let one = client.grant("one").await.unwrap();
    let two = client.grant("two").await.unwrap();
    let what = Digest::of(b"work");
    assert!(one.results.claim(what, Duration::ZERO).await.unwrap());
    let waiting = two.results.claim(what, Duration::from_secs(3600));
    let mut writer = two.store.write().await.unwrap();
    let (waited, ()) = soon(async { tokio::join!(waiting, cass.server.shutdown()) }).await;
    let lost = |error: &ServiceError| error.is_disconnected();
    assert!(waited.as_ref().is_err_and(lost), "{waited:?}");
    soon(client.closed()).await;
    let written = async {
        loop {
            if let Err(error) = writer.write("x".into()).await {
                break error;
            }
        }
    };
    let error = soon(written).await;
    assert!(lost(&error), "{error:?}");
    let asked = soon(one.store.missing(vec![what])).await;
    assert!(asked.as_ref().is_err_and(lost), "{asked:?}");
    assert!(asked.unwrap_err().to_string().contains("vx-cass"));
    let again = soon(hub.connect_cass(cass.server.endpoint(), &cass.secret)).await;
    assert!(again.err().unwrap().is_absent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_on_a_socket_one_learns_it() {
    let cass = Cass::start().await;
    let second = Server::builder(
        "vx-cass",
        cass.server.endpoint().clone(),
        cass.secret.clone(),
    )
    .serve_store(Arc::new(MemoryStore::new()))
    .start()
    .await;
    assert!(matches!(
        second.err(),
        Some(ListenError::AlreadyRunning { .. })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_server_lets_go_of_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::unix(dir.path().join("s.sock")).unwrap();
    let secret = Secret::random().unwrap();
    let start = || {
        Server::builder("vx-cass", endpoint.clone(), secret.clone())
            .runtime(Runtime::current())
            .threads(1)
            .serve_store(Arc::new(MemoryStore::new()))
            .start()
    };
    drop(start().await.unwrap());
    let again = async {
        loop {
            match start().await {
                Ok(server) => break server,
                Err(ListenError::AlreadyRunning { .. }) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    };
    soon(soon(again).await.shutdown()).await;
}
