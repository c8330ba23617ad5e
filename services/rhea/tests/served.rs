//! The program itself: started as a daemon, asked over its socket, ended in every way.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use support::{Event, Handed, MemoryStore, Recorder, make_fifo, shell};
use tempfile::TempDir;
use tokio::sync::mpsc;
use vx_core::{
    ActionSpec, CheckoutMode, CheckoutMount, Execution, Executor, Exit, ServiceResult, Store,
};
use vx_rpc::daemon::{SpawnError, Spawned, spawn};
use vx_rpc::{Endpoint, Hub, RemoteExecutor, Secret};

struct Daemon {
    spawned: Spawned,
    executor: RemoteExecutor,
    store: Arc<MemoryStore>,
}

fn arguments(home: &Path, socket: &str) -> Vec<std::ffi::OsString> {
    let home = home.to_str().unwrap();
    [
        ("--listen", format!("unix:{home}/{socket}")),
        ("--dir", format!("{home}/rhea")),
        ("--secret-file", format!("{home}/rhea.secret")),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.into(), value.into()])
    .collect()
}

async fn start(home: &Path) -> Result<Daemon, SpawnError> {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vx-rhea"));
    let log = home.join("rhea.log");
    let spawned = spawn(&program, &arguments(home, "rhea.sock"), Some(&log)).await?;
    let hub = Hub::start("vx-aether", tokio::runtime::Handle::current()).unwrap();
    let endpoint = Endpoint::unix(home.join("rhea.sock")).unwrap();
    let secret = Secret::read(&home.join("rhea.secret")).unwrap();
    Ok(Daemon {
        spawned,
        executor: hub.connect_executor(&endpoint, &secret).await.unwrap(),
        store: Arc::default(),
    })
}

impl Daemon {
    async fn run(&self, action: ActionSpec) -> (ServiceResult<Execution>, Vec<Event>) {
        let (events, mut received) = mpsc::unbounded_channel();
        let observer = Arc::new(Recorder {
            events,
            fails: false,
        });
        let store: Arc<dyn Store> = Arc::new(Handed(Arc::clone(&self.store)));
        let result = self.executor.execute(action, store, observer).await;
        let mut events = Vec::new();
        while let Ok(event) = received.try_recv() {
            events.push(event);
        }
        (result, events)
    }
}

/// An action that tells through the checkout's FIFO that it is up, and waits for ever.
fn waiting(checkout: &Path) -> (ActionSpec, PathBuf) {
    let fifo = checkout.join("fifo");
    make_fifo(&fifo);
    let mut action = shell(
        "exec 3> /vx/the-checkout-at-its-fixed-place/fifo; echo up >&3; while :; do sleep 1000; done",
    );
    action.checkout = Some(CheckoutMount {
        at: vx_core::places::CHECKOUT.to_owned(),
        host: checkout.to_str().unwrap().to_owned(),
        hidden: Vec::new(),
        mode: CheckoutMode::ReadOnly,
    });
    (action, fifo)
}

async fn wait_until_up(fifo: PathBuf) -> File {
    let opened = tokio::task::spawn_blocking(move || {
        let mut file = File::open(fifo).unwrap();
        file.read_exact(&mut [0; 3]).unwrap();
        file
    });
    opened.await.unwrap()
}

async fn wait_until_gone(mut file: File) {
    let read = tokio::task::spawn_blocking(move || file.read(&mut [0; 1]).unwrap());
    assert_eq!(read.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_runs_over_the_socket_and_the_program_ends_with_its_owner() {
    let home = TempDir::new().unwrap();
    let daemon = start(home.path()).await.unwrap();
    let mut action = shell("cat /vx/in/file; echo warned >&2");
    let blob = daemon.store.add("content");
    action.files = vec![vx_core::FileInput {
        at: "/vx/in/file".to_owned(),
        digest: blob.digest,
        size: blob.size,
        executable: false,
    }];
    let (result, events) = daemon.run(action).await;
    let Ok(Execution::Ran { exit, outputs, .. }) = result else {
        panic!("{result:?}");
    };
    assert_eq!(exit, Exit::Code(0));
    let names: Vec<_> = outputs.iter().map(|output| output.name.as_str()).collect();
    assert_eq!(names, ["stderr", "stdout"]);
    assert_eq!(daemon.store.content(outputs[1].blob.digest), "content");
    assert_eq!(events.len(), 2, "{events:?}");
    let status = daemon.executor.status().await.unwrap();
    assert_eq!((status.executed, status.isolation_fault.as_str()), (1, ""));
    assert!(daemon.spawned.end().await.unwrap().success());
    assert!(!home.path().join("rhea.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn ending_the_program_ends_its_actions() {
    let home = TempDir::new().unwrap();
    let checkout = TempDir::new().unwrap();
    let daemon = start(home.path()).await.unwrap();
    let (action, fifo) = waiting(checkout.path());
    let (result, file) = tokio::join!(daemon.run(action), async {
        let file = wait_until_up(fifo).await;
        let pid = i32::try_from(daemon.spawned.pid).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        file
    });
    assert!(result.0.is_err());
    wait_until_gone(file).await;
    let mut child = daemon.spawned.child;
    assert!(child.wait().await.unwrap().success());
    let left = std::fs::read_dir(home.path().join("rhea/actions")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn losing_whoever_asked_ends_the_action() {
    let home = TempDir::new().unwrap();
    let checkout = TempDir::new().unwrap();
    let daemon = start(home.path()).await.unwrap();
    let (action, fifo) = waiting(checkout.path());
    tokio::select! {
        result = daemon.run(action) => panic!("{result:?}"),
        file = wait_until_up(fifo) => {
            let Daemon { executor, spawned, .. } = daemon;
            drop(executor);
            wait_until_gone(file).await;
            assert!(spawned.end().await.unwrap().success());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_one_on_the_same_directory_says_why_it_can_not_start() {
    let home = TempDir::new().unwrap();
    let daemon = start(home.path()).await.unwrap();
    let arguments = arguments(home.path(), "other.sock");
    let program = PathBuf::from(env!("CARGO_BIN_EXE_vx-rhea"));
    let error = spawn(&program, &arguments, None).await.unwrap_err();
    assert!(
        error.to_string().contains("in use by another vx-rhea"),
        "{error}"
    );
    daemon.spawned.end().await.unwrap();
}
