//! Real compiles: rmeta before the rest, links, failures, the jobserver.

// Helpers of tests are tests.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::sync::Arc;

use support::{Bench, Event, Handed, Recorder, collect_files, make_fifo, shell};
use tokio::sync::mpsc;
use vx_core::{
    ActionSpec, CheckoutMode, Execution, Executor, Exit, Marker, MarkerScope, MessageFormat,
    OutputForm, OutputStream,
};

const RUSTC: &[&str] = &[
    "/vx/toolchain/bin/rustc",
    "--edition=2024",
    "--error-format=json",
    "--json=diagnostic-rendered-ansi,artifacts",
    "--out-dir=/vx/out",
    "--remap-path-prefix=/vx/the-checkout-at-its-fixed-place=.",
];

fn rustc(bench: &Bench, arguments: &[&str]) -> ActionSpec {
    let mut action = shell("");
    action.argv = RUSTC
        .iter()
        .chain(arguments)
        .map(ToString::to_string)
        .collect();
    action.cwd = "/vx/the-checkout-at-its-fixed-place".to_owned();
    action.checkout = bench.mount(CheckoutMode::ReadOnly);
    action.collect = vec![collect_files("/vx/out")];
    action.messages = MessageFormat::RustcJson;
    action.markers = vec![checkout()];
    action
}

/// What tells that the checkout's place was taken in.
fn checkout() -> Marker {
    Marker {
        text: "/vx/the-checkout-at-its-fixed-place".to_owned(),
        within: MarkerScope::Everything,
        bitcode: false,
    }
}

fn stored(events: &[Event]) -> Vec<&str> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Stored(output) => Some(output.name.as_str()),
            Event::Wrote(..) => None,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_library_a_program_that_uses_it_and_a_run_of_that() {
    let bench = Bench::new().await;
    bench.write("a/lib.rs", "pub fn name() -> &'static str { \"world\" }");
    bench.write(
        "b/main.rs",
        "fn main() { let unused = 1; println!(\"hello {}\", a::name()); }",
    );
    let library = rustc(
        &bench,
        &[
            "--crate-name=a",
            "--crate-type=lib",
            "--emit=dep-info,metadata,link",
            "a/lib.rs",
        ],
    );
    let library = bench.run(library).await.succeeded();
    assert_eq!(
        stored(&library.events),
        ["liba.rmeta", "a.d", "liba.rlib"],
        "rmeta comes first and once"
    );
    let names: Vec<_> = library
        .outputs
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["a.d", "liba.rlib", "liba.rmeta"]);
    assert!(library.marked.is_empty(), "{:?}", library.marked);

    let mut program = rustc(
        &bench,
        &[
            "--crate-name=b",
            "--crate-type=bin",
            "--emit=dep-info,link",
            "--extern=a=/vx/target/debug/deps/liba.rlib",
            "b/main.rs",
        ],
    );
    let rlib = library.output("liba.rlib").unwrap();
    program.files = vec![bench.file("/vx/target/debug/deps/liba.rlib", rlib, false)];
    let program = bench.run(program).await.succeeded();
    let executable = program.outputs.iter().find(|output| output.name == "b");
    assert_eq!(
        executable.unwrap().form,
        OutputForm::File { executable: true }
    );
    let warned = program.events.iter().any(|event| {
        matches!(event, Event::Wrote(OutputStream::Stderr, text) if text.contains("unused"))
    });
    assert!(warned, "{:?}", program.events);
    assert!(!program.text("stderr").contains("\"artifact\""));

    let mut run = shell("exec /vx/target/debug/b");
    run.files = vec![bench.file("/vx/target/debug/b", program.output("b").unwrap(), true)];
    assert_eq!(
        bench.run(run).await.succeeded().text("stdout"),
        "hello world\n"
    );
    assert_eq!(bench.rhea.status().await.unwrap().executed, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn rmeta_is_announced_while_the_program_runs() {
    let bench = Bench::new().await;
    bench.write("lib.rs", "pub fn f() {}");
    let fifo = bench.checkout.path().join("fifo");
    make_fifo(&fifo);
    let mut action = rustc(&bench, &[]);
    action.argv = vec![
        "/bin/sh".to_owned(),
        "-ec".to_owned(),
        format!(
            "{} --crate-name=a --crate-type=lib --emit=metadata,link lib.rs; read line < fifo",
            RUSTC.join(" ")
        ),
    ];
    let (events, mut received) = mpsc::unbounded_channel();
    let observer = Arc::new(Recorder {
        events,
        fails: false,
    });
    let store = Arc::new(Handed(Arc::clone(&bench.store)));
    let rhea = Arc::clone(&bench.rhea);
    let running = tokio::spawn(async move { rhea.execute(action, store, observer).await });
    let announced = loop {
        if let Event::Stored(output) = received.recv().await.unwrap() {
            break output;
        }
    };
    assert_eq!(announced.name, "liba.rmeta");
    // The program ends only now.
    tokio::task::spawn_blocking(move || fs::write(fifo, "go\n"))
        .await
        .unwrap()
        .unwrap();
    let Execution::Ran { exit, outputs, .. } = running.await.unwrap().unwrap() else {
        panic!("it ran");
    };
    assert!(exit.success());
    assert!(outputs.contains(&announced));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_compile_leaves_its_diagnostics_alone() {
    let bench = Bench::new().await;
    bench.write("lib.rs", "pub fn f() -> u8 { \"\" }");
    let action = rustc(
        &bench,
        &["--crate-type=lib", "--emit=metadata,link", "lib.rs"],
    );
    let outcome = bench.run(action).await;
    assert_eq!(outcome.exit, Exit::Code(1));
    let names: Vec<_> = outcome
        .outputs
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    assert_eq!(names, ["stderr"]);
    assert!(outcome.text("stderr").contains("mismatched types"));
}

#[tokio::test(flavor = "multi_thread")]
async fn outputs_that_took_in_the_checkouts_place_are_named() {
    let bench = Bench::new().await;
    bench.write(
        "lib.rs",
        "pub static HERE: &str = env!(\"CARGO_MANIFEST_DIR\");",
    );
    let mut action = rustc(
        &bench,
        &[
            "--crate-name=a",
            "--crate-type=lib",
            "--emit=metadata,link",
            "-g",
            "lib.rs",
        ],
    );
    action.env.push((
        "CARGO_MANIFEST_DIR".to_owned(),
        "/vx/the-checkout-at-its-fixed-place".to_owned(),
    ));
    let outcome = bench.run(action).await.succeeded();
    assert_eq!(outcome.marked(0), ["liba.rlib", "liba.rmeta"]);

    let mut action = shell(
        "echo cargo:rustc-env=X=/vx/the-checkout-at-its-fixed-place/x; echo /vx/the-checkout-at-its-fixed-place >&2",
    );
    let other = Marker {
        text: "cargo:".to_owned(),
        within: MarkerScope::Compiled,
        bitcode: false,
    };
    action.markers = vec![other, checkout()];
    let outcome = bench.run(action).await.succeeded();
    assert_eq!(outcome.marked(1), ["stdout"]);
    assert_eq!(outcome.marked(0), ["stdout"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jobserver_is_cargos() {
    let bench = Bench::new().await;
    let outcome = bench
        .shell(
            "test -z \"$MAKEFLAGS\"; echo $CARGO_MAKEFLAGS; \
             test -p /proc/self/fd/100; test -p /proc/self/fd/101; ls /proc/self/fd",
        )
        .await
        .succeeded();
    let text = outcome.text("stdout");
    assert!(
        text.starts_with("-j --jobserver-fds=100,101 --jobserver-auth=100,101\n"),
        "{text}"
    );
    let descriptors: Vec<_> = text.split_whitespace().skip(3).collect();
    assert_eq!(
        descriptors,
        ["0", "1", "100", "101", "2", "3"],
        "nothing else is handed on (3 is the listing's own)"
    );
}
