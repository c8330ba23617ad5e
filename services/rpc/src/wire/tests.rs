//! Each value with each of its parts set comes back as it went.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use vx_core::orchestrator::{
    ActionOutcome, BuildEvent, BuildFailure, BuildOutcome, BuildRequest, Executable, MessageLevel,
    OrchestratorStatus, Selection, Totals,
};
use vx_core::{
    ActionResult, ActionSpec, Blob, CheckoutMode, CheckoutMount, Collect, CollectForm, Digest,
    Execution, ExecutorStatus, Exit, FileInput, Marked, Marker, MarkerScope, MessageFormat, Output,
    OutputForm, PackageFormat, PackageInput, PlaceFile, PlaceMode, PlaceOutcome, PlaceRequest,
    RelPath, StoreStatus, TreeInput, Watch,
};
use vx_schema::{aether_capnp, executor_capnp, store_capnp, values_capnp};

use vx_core::readset::{Observed, Read, ReadKind, ReadPlace, Seen, Sight, Trace};

use super::{action, build, store, value};

/// Writes and reads a value through a message's bytes.
macro_rules! round_trip {
    ($value:expr, $module:path, $wire:path) => {{
        use $module as conversion;
        use $wire as wire;
        let value = $value;
        let mut message = capnp::message::Builder::new_default();
        conversion::to_wire(&value, message.init_root::<wire::Builder<'_>>());
        let bytes = capnp::serialize::write_message_to_words(&message);
        let read = capnp::serialize::read_message(&bytes[..], Default::default()).unwrap();
        let back = conversion::from_wire(read.get_root::<wire::Reader<'_>>().unwrap()).unwrap();
        assert_eq!(back, value);
    }};
}

fn digest(seed: &str) -> Digest {
    Digest::of(seed.as_bytes())
}

fn path(text: &str) -> RelPath {
    RelPath::new(text).unwrap()
}

fn words(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn outputs() -> Vec<Output> {
    let output = |name: &str, form| Output {
        name: name.to_owned(),
        blob: Blob::of(name.as_bytes()),
        form,
    };
    vec![
        output("é", OutputForm::File { executable: true }),
        output("b", OutputForm::File { executable: false }),
        output("c", OutputForm::Tree),
    ]
}

#[test]
fn actions() {
    let spec = ActionSpec {
        label: "ripgrep 15.1.0 (bin rg)".to_owned(),
        argv: words(&["/vx/toolchain/bin/rustc", "", "--edition=2024"]),
        env: vec![
            ("B".to_owned(), "2".to_owned()),
            ("A".to_owned(), String::new()),
        ],
        cwd: "/vx/the-checkout-at-its-fixed-place".to_owned(),
        toolchain: "/home/me/.rustup".to_owned(),
        checkout: Some(CheckoutMount {
            at: "/vx/the-checkout-at-its-fixed-place".to_owned(),
            host: "/home/me/rg".to_owned(),
            hidden: vec![path("target"), path("a/.vx")],
            mode: CheckoutMode::PrivateLayer,
        }),
        packages: vec![
            PackageInput {
                at: "/vx/registry/a".to_owned(),
                archive: digest("a"),
                format: PackageFormat::Tar,
            },
            PackageInput {
                at: "/vx/registry/b".to_owned(),
                archive: digest("b"),
                format: PackageFormat::Crate,
            },
        ],
        files: vec![FileInput {
            at: "/vx/target/x".to_owned(),
            digest: digest("x"),
            size: u64::MAX,
            executable: true,
        }],
        trees: vec![TreeInput {
            at: "/vx/target/out".to_owned(),
            tree: digest("tree"),
            watched: true,
        }],
        collect: vec![
            Collect {
                at: "/vx/out".to_owned(),
                form: CollectForm::Files,
            },
            Collect {
                at: "/vx/target/y".to_owned(),
                form: CollectForm::Tree {
                    name: "OUT_DIR".to_owned(),
                },
            },
        ],
        messages: MessageFormat::RustcJson,
        markers: vec![
            Marker {
                text: "/vx/the-checkout-at-its-fixed-place".to_owned(),
                within: MarkerScope::Everything,
                bitcode: false,
            },
            Marker {
                text: "/vx/target/debug/build/a/out".to_owned(),
                within: MarkerScope::Compiled,
                bitcode: true,
            },
        ],
        watch: Watch::Everything,
        host_paths: vec!["/opt/x".to_owned()],
        network: true,
        real_places: words(&["/home/me/rg/.vx", "/home/me/.cargo/registry/src/a/b-1.0.0"]),
        base: "/home/me/.vx/rhea/bare/0123".to_owned(),
    };
    let plain = ActionSpec {
        checkout: None,
        messages: MessageFormat::Plain,
        ..spec.clone()
    };
    let read_only = ActionSpec {
        checkout: Some(CheckoutMount {
            at: "/vx/the-checkout-at-its-fixed-place".to_owned(),
            host: String::new(),
            hidden: Vec::new(),
            mode: CheckoutMode::ReadOnly,
        }),
        ..spec.clone()
    };
    for spec in [spec, plain, read_only] {
        round_trip!(spec, action::spec, executor_capnp::action_spec);
    }
}

#[test]
fn executions() {
    let ran = |exit| Execution::Ran {
        exit,
        outputs: outputs(),
        duration: Duration::new(3, 7),
        marked: vec![
            Marked {
                output: "a".to_owned(),
                marker: 1,
            },
            Marked {
                output: "b".to_owned(),
                marker: 0,
            },
        ],
        trace: Some(Box::new(every_sight())),
    };
    for execution in [
        ran(Exit::Code(-1)),
        ran(Exit::Signal(9)),
        Execution::InputsMissing(vec![digest("a"), digest("b")]),
        Execution::Unable("no namespaces".to_owned()),
    ] {
        round_trip!(execution, action::execution, executor_capnp::outcome);
    }
}

#[test]
fn results_and_placing() {
    let result = ActionResult {
        outputs: outputs(),
        payload: Bytes::from_static(b"\0payload"),
        unisolated: true,
    };
    round_trip!(result, value::result, values_capnp::action_result);
    let file = |mode, executable| PlaceFile {
        path: path("a/b"),
        digest: digest("a"),
        executable,
        mode,
    };
    let request = PlaceRequest {
        directory: "/run/x".to_owned(),
        files: vec![
            file(PlaceMode::Independent, false),
            file(PlaceMode::SharedReadOnly, true),
        ],
    };
    round_trip!(
        request,
        store::place_request,
        store_capnp::store::place_params
    );
    for outcome in [
        PlaceOutcome::Placed {
            linked: 1,
            copied: u64::MAX,
        },
        PlaceOutcome::Missing(vec![digest("a")]),
        PlaceOutcome::Unavailable("another host".to_owned()),
    ] {
        round_trip!(
            outcome,
            store::place_outcome,
            store_capnp::store::place_outcome
        );
    }
}

fn store_status() -> StoreStatus {
    StoreStatus {
        directory: "/store".to_owned(),
        blobs: 1,
        bytes: 2,
        limit: 3,
        results: 4,
        grants: 5,
        set_aside: 6,
        linked: 7,
        copied: 8,
        accepts_unisolated: true,
    }
}

fn executor_status() -> ExecutorStatus {
    ExecutorStatus {
        running: 1,
        executed: 2,
        slots: 3,
        isolation_fault: "none".to_owned(),
        base_directory: "/a".to_owned(),
        trace_fault: "no".to_owned(),
        direct_bytes: 4,
        relayed_bytes: 5,
        placed_bytes: 6,
    }
}

#[test]
fn figures() {
    let full = OrchestratorStatus {
        pid: 1,
        builds: 2,
        uptime_seconds: 3,
        store_endpoint: "unix:/a".to_owned(),
        store: Some(store_status()),
        executor_endpoint: "unix:/b".to_owned(),
        executor: Some(executor_status()),
    };
    for status in [full, OrchestratorStatus::default()] {
        round_trip!(status, build::status, aether_capnp::orchestrator_status);
    }
}

#[test]
fn requests() {
    let selection = Selection {
        manifest_path: Some("a/Cargo.toml".to_owned()),
        packages: words(&["a", "b"]),
        workspace: true,
        exclude: words(&["c"]),
        lib: true,
        bins: true,
        bin: words(&["d"]),
        examples: true,
        example: words(&["e"]),
        features: words(&["f"]),
        all_features: true,
        no_default_features: true,
        profile: Some(String::new()),
        release: true,
        target: words(&["g"]),
        locked: true,
        offline: true,
        frozen: true,
    };
    let entries = |name: &str| BTreeMap::from([(name.to_owned(), "v".to_owned())]);
    let full = BuildRequest {
        cwd: "/c".to_owned(),
        env: entries("PATH"),
        umask: 0o77,
        selection,
        jobs: Some(0),
        keep_going: true,
        verify: true,
        settings: entries("VX_CASS"),
    };
    let mut requests = vec![
        BuildRequest {
            jobs: None,
            keep_going: false,
            verify: false,
            selection: Selection::default(),
            ..full.clone()
        },
        full,
    ];
    // Each flag alone, so that none stands in for another.
    let flags: [fn(&mut Selection) -> &mut bool; 10] = [
        |selection| &mut selection.workspace,
        |selection| &mut selection.lib,
        |selection| &mut selection.bins,
        |selection| &mut selection.examples,
        |selection| &mut selection.all_features,
        |selection| &mut selection.no_default_features,
        |selection| &mut selection.release,
        |selection| &mut selection.locked,
        |selection| &mut selection.offline,
        |selection| &mut selection.frozen,
    ];
    for flag in flags {
        let mut request = requests[0].clone();
        *flag(&mut request.selection) = true;
        requests.push(request);
    }
    for request in requests {
        round_trip!(request, build::request, aether_capnp::build_request);
    }
}

#[test]
fn events() {
    let outcomes = [
        ActionOutcome::Hit,
        ActionOutcome::Built,
        ActionOutcome::Waited,
        ActionOutcome::Failed,
        ActionOutcome::Skipped,
    ];
    let levels = [
        MessageLevel::Rendered,
        MessageLevel::Warning,
        MessageLevel::Error,
        MessageLevel::Status,
        MessageLevel::Verbose,
    ];
    let mut events = vec![
        BuildEvent::Planned { actions: 7 },
        BuildEvent::Started {
            action: 1,
            package: "p".to_owned(),
            unit: "u".to_owned(),
            announce: true,
        },
    ];
    events.extend(outcomes.map(|outcome| BuildEvent::Finished { action: 2, outcome }));
    events.extend(levels.map(|level| BuildEvent::Message {
        level,
        text: "\u{1b}[31mé".to_owned(),
    }));
    for event in events {
        round_trip!(event, build::event, aether_capnp::build_event);
    }
}

#[test]
fn outcomes() {
    let executable = |default_run: Option<&str>| Executable {
        name: "rg".to_owned(),
        kind: "bin".to_owned(),
        package: "ripgrep".to_owned(),
        path: "/x/rg".to_owned(),
        default_run: default_run.map(str::to_owned),
    };
    for result in [
        Ok(()),
        Err(BuildFailure::Actions {
            failed: words(&["could not compile"]),
        }),
        Err(BuildFailure::Request("no manifest".to_owned())),
        Err(BuildFailure::Engine("no store".to_owned())),
    ] {
        let outcome = BuildOutcome {
            result,
            profile: "dev".to_owned(),
            executables: vec![executable(None), executable(Some("rg"))],
            report: "/x/.vx/runs/1.json".to_owned(),
            duration: Duration::from_nanos(123_456_789_012),
            totals: Totals {
                actions: 1,
                hit: 2,
                built: 3,
                waited: 4,
                failed: 5,
                skipped: 6,
            },
        };
        round_trip!(outcome, build::outcome, aether_capnp::build_outcome);
    }
}

#[test]
fn paths_that_leave_their_place_are_refused() {
    let mut message = capnp::message::Builder::new_default();
    let mut params = message.init_root::<store_capnp::store::place_params::Builder<'_>>();
    params.set_directory("/run/x");
    params.init_files(1).get(0).set_path("../escape");
    let read = message
        .get_root_as_reader::<store_capnp::store::place_params::Reader<'_>>()
        .unwrap();
    assert!(store::place_request::from_wire(read).is_err());
}

/// A trace with every kind of place, read and state.
fn every_sight() -> Trace {
    let places = [
        ReadPlace::Checkout(RelPath::new("src/a.rs").unwrap()),
        ReadPlace::CargoHome(RelPath::new("x").unwrap()),
        ReadPlace::Toolchain(RelPath::new("bin/cargo").unwrap()),
        ReadPlace::Host("/usr/include/zlib.h".to_owned()),
        ReadPlace::Given("/vx/target/x/liba.a".to_owned()),
    ];
    let kinds = [
        ReadKind::Content,
        ReadKind::Listing,
        ReadKind::Tree,
        ReadKind::Existence,
        ReadKind::Metadata,
        ReadKind::Link,
    ];
    let states = [
        Seen::Absent,
        Seen::File { newest_ns: -7 },
        Seen::Directory { newest_ns: 9 },
        Seen::Link { newest_ns: 3 },
        Seen::Other,
    ];
    let mut sights = Vec::new();
    for place in &places {
        for kind in kinds {
            let place = place.clone();
            sights.extend(states.map(|seen| Sight {
                read: Read {
                    place: place.clone(),
                    kind,
                },
                seen,
                before: None,
            }));
        }
    }
    let befores = [
        Observed::Absent,
        Observed::Content(digest("content")),
        Observed::Listing(digest("listing")),
        Observed::Tree(digest("tree")),
        Observed::Kind("directory".to_owned()),
        Observed::File {
            size: 7,
            executable: true,
        },
        Observed::Link("a".to_owned()),
        Observed::Special,
    ];
    for (sight, before) in sights.iter_mut().zip(befores) {
        sight.before = Some(before);
    }
    Trace {
        sights,
        reached_for: Some("192.0.2.7:443".to_owned()),
        unsteady: Some("src/a.rs".to_owned()),
        incomplete: Some("too many".to_owned()),
        wrote: words(&["gen/a.rs"]),
        changed: places.to_vec(),
        missed: words(&["/opt/tool"]),
    }
}
