//! Programs that run on the host: seen, waited for by nobody's slot, and ended with who asked.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use support::{Bench, Event, Recorder, make_fifo};
use tokio::sync::mpsc;
use vx_core::readset::{ReadKind, ReadPlace, Seen};
use vx_core::{Executor, Exit, HostEnd, HostProgram, OutputStream};

fn program(directory: &Path, script: &str) -> HostProgram {
    let directory = directory.to_str().unwrap();
    HostProgram {
        argv: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())],
        cwd: directory.to_owned(),
        nobodys: vec![format!("{directory}/nobodys")],
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_looks_at_is_told_with_what_it_wrote() {
    let bench = Bench::new().await;
    bench.write("a", "1");
    bench.write("nobodys/b", "2");
    let root = bench.checkout.path().canonicalize().unwrap();
    let (events, mut received) = mpsc::unbounded_channel();
    let fails = false;
    let observer = Arc::new(Recorder { events, fails });
    let script = "cat a nobodys/b; [ -e none ]; echo no >&2; exit 3";
    let ended = bench.rhea.run_on_host(program(&root, script), observer);
    let HostEnd::Ran { exit, trace } = ended.await.unwrap() else {
        panic!("it can be run");
    };
    assert_eq!(exit, Exit::Code(3));
    let mut written = (String::new(), String::new());
    while let Ok(Event::Wrote(stream, text)) = received.try_recv() {
        match stream {
            OutputStream::Stdout => written.0.push_str(&text),
            OutputStream::Stderr => written.1.push_str(&text),
        }
    }
    assert_eq!(written, ("12".to_owned(), "no\n".to_owned()));
    assert_eq!((trace.incomplete, trace.unsteady), (None, None));
    let seen = |name: &str, kind| {
        let place = ReadPlace::Host(root.join(name).to_str().unwrap().to_owned());
        let mut sights = trace.sights.iter();
        let found = sights.find(|sight| sight.read.place == place && sight.read.kind == kind);
        found.map(|sight| sight.seen)
    };
    assert!(matches!(
        seen("a", ReadKind::Content),
        Some(Seen::File { .. })
    ));
    assert_eq!(seen("none", ReadKind::Metadata), Some(Seen::Absent));
    assert_eq!(seen("nobodys/b", ReadKind::Content), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_ends_with_who_asked_for_it() {
    let bench = Bench::new().await;
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let (events, _received) = mpsc::unbounded_channel();
    let fails = false;
    let observer = Arc::new(Recorder { events, fails });
    let script = "exec 3> fifo; echo up >&3; sleep 1000 & wait";
    let program = program(bench.checkout.path(), script);
    let rhea = Arc::clone(&bench.rhea);
    let running = tokio::spawn(async move { rhea.run_on_host(program, observer).await });
    let (file, line) = tokio::task::spawn_blocking(move || {
        let mut file = File::open(fifo).unwrap();
        let mut line = [0; 3];
        file.read_exact(&mut line).unwrap();
        (file, line)
    })
    .await
    .unwrap();
    assert_eq!(&line, b"up\n");
    running.abort();
    let mut file = file;
    let read = tokio::task::spawn_blocking(move || file.read(&mut [0; 1]).unwrap());
    assert_eq!(read.await.unwrap(), 0);
    bench.rhea.settle().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_no_fault_of_the_executors() {
    let bench = Bench::new().await;
    let (events, _received) = mpsc::unbounded_channel();
    let fails = false;
    let observer = Arc::new(Recorder { events, fails });
    let mut program = program(bench.checkout.path(), "");
    program.argv = vec!["/no/such/program".to_owned()];
    let ended = bench.rhea.run_on_host(program, observer).await.unwrap();
    assert!(matches!(ended, HostEnd::Unable(why) if why.contains("/no/such/program")));
}
