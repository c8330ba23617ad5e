//! What happens when a guard is stopped or killed. A test program of its own, since guards are found
//! as what this process started.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use support::{Bench, Event, Handed, Recorder, shell, user};
use tokio::sync::mpsc;
use vx_core::{Execution, Executor, Watch};

/// The processes that `parent` started and that are guards.
fn guards_of(parent: u32) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    numbers
        .filter(|number| {
            let of = |name: &str| fs::read_to_string(format!("/proc/{number}/{name}"));
            let status = of("status").unwrap_or_default();
            let line = format!("PPid:\t{parent}");
            of("cmdline").is_ok_and(|line| line.ends_with("guard\0"))
                && status.lines().any(|one| one == line)
        })
        .filter_map(Pid::from_raw)
        .collect()
}

/// A guard that is stopped or killed, with its action in the middle: the action ends, with an
/// error, and so does everything it started.
#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_is_gone_ends_its_action() {
    for watch in [Watch::Everything, Watch::Nothing] {
        for (signal, inner) in [
            (Signal::STOP, true),
            (Signal::KILL, true),
            (Signal::KILL, false),
        ] {
            let bench = Bench::new().await;
            let (events, mut received) = mpsc::unbounded_channel();
            let observer = Recorder {
                events,
                fails: false,
            };
            let store = Arc::new(Handed(bench.store.clone()));
            let mut action =
                shell("echo started; while true; do cat /etc/passwd > /dev/null; done");
            action.watch = watch;
            let run = bench.rhea.execute(action, store, Arc::new(observer));
            let strike = async {
                while !matches!(received.recv().await.unwrap(), Event::Wrote(..)) {}
                let outer = guards_of(std::process::id());
                let outer = *outer.first().unwrap();
                let below = guards_of(outer.as_raw_nonzero().get().unsigned_abs());
                let guard = if inner { below[0] } else { outer };
                let first = pidfd_open(below[0], PidfdFlags::empty()).unwrap();
                kill_process(guard, signal).unwrap();
                first
            };
            let (result, first) = tokio::join!(run, strike);
            let error = match result {
                Ok(Execution::Ran { exit, .. }) => panic!("{signal:?}: {exit:?}"),
                Ok(other) => panic!("{signal:?}: {other:?}"),
                Err(error) => error.to_string(),
            };
            let says = if signal == Signal::STOP {
                "does not answer"
            } else {
                "ended without a report"
            };
            assert!(error.contains(says), "{error}");
            bench.rhea.settle().await;
            // It has ended when this returns.
            poll(&mut [PollFd::new(&first, PollFlags::IN)], None).unwrap();
        }
    }
    user::again_as_ordinary_user("a_guard_that_is_gone_ends_its_action");
}
