//! What an action started ends with it: by cancelling, by a lost observer, by `kill -9`.
//!
//! A process that must be gone holds a FIFO of the checkout's open for writing; its reader
//! sees the end when the last holder is gone, and not before.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use support::{Bench, Handed, MemoryStore, Recorder, make_fifo, shell, start};
use tokio::sync::mpsc;
use vx_core::{ActionSpec, CheckoutMode, CheckoutMount, Executor};

/// Starts a grandchild that left its session and its parents, tells through the FIFO that it
/// is up, and waits for ever.
const DAEMON: &str = "exec 3> /vx/the-checkout-at-its-fixed-place/fifo; \
     setsid sh -c 'setsid sh -c \"trap \\\"\\\" TERM HUP INT; echo up >&3; \
         while :; do sleep 1000; done\" & ' & \
     wait; while :; do sleep 1000; done";

fn action(checkout: &Path, script: &str) -> ActionSpec {
    let mut action = shell(script);
    action.checkout = Some(CheckoutMount {
        at: vx_core::places::CHECKOUT.to_owned(),
        host: checkout.to_str().unwrap().to_owned(),
        hidden: Vec::new(),
        mode: CheckoutMode::ReadOnly,
    });
    action
}

/// Opens the FIFO and reads the first line of it.
async fn wait_until_up(fifo: PathBuf) -> File {
    tokio::task::spawn_blocking(move || {
        let mut file = File::open(fifo).unwrap();
        let mut line = [0; 3];
        file.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"up\n");
        file
    })
    .await
    .unwrap()
}

/// Waits until nobody has the FIFO open.
async fn wait_until_gone(mut file: File) {
    let read = tokio::task::spawn_blocking(move || file.read(&mut [0; 1]).unwrap());
    assert_eq!(read.await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_an_execution_ends_everything_and_clears_up() {
    let bench = Bench::new().await;
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let (events, _received) = mpsc::unbounded_channel();
    let observer = Recorder {
        events,
        fails: false,
    };
    let store = Arc::new(Handed(Arc::clone(&bench.store)));
    let rhea = Arc::clone(&bench.rhea);
    let action = action(bench.checkout.path(), DAEMON);
    let running =
        tokio::spawn(async move { rhea.execute(action, store, Arc::new(observer)).await });
    let file = wait_until_up(fifo).await;
    assert_eq!(bench.rhea.status().await.unwrap().running, 1);
    running.abort();
    wait_until_gone(file).await;
    // The slot is free again, and nothing is left on the disk.
    bench.shell("true").await.succeeded();
    bench.rhea.settle().await;
    let left = std::fs::read_dir(bench.directory().join("actions")).unwrap();
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_whose_observer_is_lost_ends() {
    let bench = Bench::new().await;
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let (events, _received) = mpsc::unbounded_channel();
    let observer = Recorder {
        events,
        fails: true,
    };
    let store = Arc::new(Handed(Arc::clone(&bench.store)));
    let rhea = Arc::clone(&bench.rhea);
    let script = "exec 3> /vx/the-checkout-at-its-fixed-place/fifo; echo up >&3; echo to the observer; exec sleep 1000";
    let action = action(bench.checkout.path(), script);
    let running =
        tokio::spawn(async move { rhea.execute(action, store, Arc::new(observer)).await });
    let file = wait_until_up(fifo).await;
    wait_until_gone(file).await;
    assert!(running.await.unwrap().unwrap_err().is_disconnected());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_leaves_running_ends_with_it() {
    let bench = Bench::new().await;
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let script = "exec 3> /vx/the-checkout-at-its-fixed-place/fifo; echo up >&3; (setsid sleep 1000 &) ; exit 0";
    let rhea = Arc::clone(&bench.rhea);
    let action = action(bench.checkout.path(), script);
    let store = Arc::new(Handed(Arc::clone(&bench.store)));
    let (events, _received) = mpsc::unbounded_channel();
    let observer = Arc::new(Recorder {
        events,
        fails: false,
    });
    let running = tokio::spawn(async move { rhea.execute(action, store, observer).await });
    let file = wait_until_up(fifo).await;
    running.await.unwrap().unwrap();
    wait_until_gone(file).await;
}

const HELPER: &str = "VX_TEST_END_HELPER";

/// Not a test of its own: an executor in a process of its own, to be killed.
#[tokio::test(flavor = "multi_thread")]
async fn helper() {
    let Ok(directory) = std::env::var(HELPER) else {
        return;
    };
    let directory = PathBuf::from(directory);
    let rhea = start(&directory.join("rhea")).await;
    let (events, _received) = mpsc::unbounded_channel();
    let observer = Recorder {
        events,
        fails: false,
    };
    let store = Arc::new(Handed(Arc::new(MemoryStore::default())));
    let action = action(&directory.join("checkout"), DAEMON);
    let result = rhea.execute(action, store, Arc::new(observer)).await;
    unreachable!("{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_executor_ends_everything_and_the_next_one_clears_up() {
    let directory = tempfile::tempdir().unwrap();
    let checkout = directory.path().join("checkout");
    std::fs::create_dir(&checkout).unwrap();
    let fifo = checkout.join("fifo");
    make_fifo(&fifo);
    let mut executor = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper"])
        .env(HELPER, directory.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let file = wait_until_up(fifo).await;
    let actions = directory.path().join("rhea/actions");
    assert_eq!(std::fs::read_dir(&actions).unwrap().count(), 1);
    executor.kill().unwrap();
    executor.wait().unwrap();
    wait_until_gone(file).await;
    let _next = start(&directory.path().join("rhea")).await;
    assert_eq!(std::fs::read_dir(&actions).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_a_guard_ends_everything_and_is_said() {
    let bench = Bench::new().await;
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let rhea = Arc::clone(&bench.rhea);
    let store = Arc::new(Handed(Arc::clone(&bench.store)));
    let (events, _received) = mpsc::unbounded_channel();
    let observer = Arc::new(Recorder {
        events,
        fails: false,
    });
    let action = action(bench.checkout.path(), DAEMON);
    let running = tokio::spawn(async move { rhea.execute(action, store, observer).await });
    let file = wait_until_up(fifo).await;
    let guard = guards_of(bench.checkout.path());
    assert_eq!(guard.len(), 1, "{guard:?}");
    let pid = rustix::process::Pid::from_raw(guard[0]).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    wait_until_gone(file).await;
    let error = running.await.unwrap().unwrap_err();
    assert!(
        error.to_string().contains("ended without a report"),
        "{error}"
    );
}

/// The guards among this process's children whose action sees `checkout`.
fn guards_of(checkout: &Path) -> Vec<i32> {
    let me = std::process::id().to_string();
    let is_mine = |pid: i32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| {
            status
                .lines()
                .any(|line| line.strip_prefix("PPid:\t") == Some(&me))
        })
    };
    let guards_it = |pid: i32| {
        // The guard's child sees the action's mounts, which name their sources.
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let child = children.unwrap_or_default().trim().to_owned();
        let mounts = std::fs::read_to_string(format!("/proc/{child}/mountinfo"));
        let source = checkout.file_name().unwrap().to_str().unwrap();
        mounts.is_ok_and(|mounts| mounts.contains(source))
    };
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| is_mine(*pid) && guards_it(*pid))
        .collect()
}
