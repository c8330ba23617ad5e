//! The same action runs once, however many builds ask for it at the same time.

use vx_harness::{Env, Project};

/// A package whose build script says that it runs and then reads a line of a FIFO lying beside
/// the compiler, and one that has nothing to do with it.
const GATED: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["gated", "other"]
    resolver = "3"
    //- /gated/Cargo.toml
    [package]
    name = "gated"
    version = "0.1.0"
    edition = "2024"
    //- /gated/build.rs
    use std::io::{Read, Write};
    fn main() {
        println!("cargo::rerun-if-changed=build.rs");
        let mut events = std::fs::OpenOptions::new()
            .write(true)
            .open("/vx/toolchain/vx-counter.fifo")
            .unwrap();
        events.write_all(b"@gate -\n").unwrap();
        let mut line = [0];
        std::fs::File::open("/vx/toolchain/hold/gate").unwrap().read_exact(&mut line).unwrap();
        println!("cargo::rustc-env=PASSED=yes");
    }
    //- /gated/src/main.rs
    fn main() { println!("passed: {}", env!("PASSED")); }
    //- /other/Cargo.toml
    [package]
    name = "other"
    version = "0.1.0"
    edition = "2024"
    //- /other/src/lib.rs
    pub fn other() {}
"#;

fn passed(project: &Project) {
    let said = vx_harness::program_output(&project.output("debug", "gated"), project.path(), &[]);
    assert!(said.contains("passed: yes"), "{said}");
}

#[test]
fn two_checkouts_at_once_run_each_action_once() {
    let env = Env::new();
    let first = env.project(GATED);
    let second = env.copy(&first);
    let gate = env.toolchain().hold("gate");

    let one = env.start_vx(&first, &["build", "-p", "gated"]);
    env.toolchain().wait_for_event("gate", 1);
    // The second build also has something of its own to do, which comes last: once it runs, the
    // build has asked for everything that was ready before.
    let two = env.start_vx(&second, &["build", "--workspace", "-j", "4"]);
    env.toolchain().wait_for("other", 1);
    gate.release();
    let (one, two) = (one.wait().success(), two.wait().success());

    assert_eq!(
        env.toolchain().events("gate"),
        1,
        "runs of the build script"
    );
    assert_eq!(
        env.compiled_since(0),
        ["build_script_build", "gated", "other"],
        "compiles in all"
    );
    let (one, two) = (one.report(), two.report());
    let waited: Vec<_> = two.of("waited").collect();
    assert!(!waited.is_empty(), "{two:#?}");
    for action in waited {
        assert_eq!(
            action.waited_for.as_deref(),
            Some(one.run_id.as_str()),
            "{action:?}"
        );
    }
    passed(&first);
    passed(&second);
}

#[test]
fn many_at_once_from_nothing_run_each_action_once() {
    let env = Env::new();
    let text = r#"
        //- /Cargo.toml
        [package]
        name = "top"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        leaf = { path = "leaf" }
        //- /src/main.rs
        fn main() { println!("{}", leaf::two()); }
        //- /leaf/Cargo.toml
        [package]
        name = "leaf"
        version = "0.1.0"
        edition = "2024"
        //- /leaf/src/lib.rs
        pub fn two() -> u32 { 2 }
    "#;
    let first = env.project(text);
    let checkouts: Vec<Project> = (0..4).map(|_| env.copy(&first)).collect();
    let hold = env.toolchain().hold("leaf");
    // Starting from nothing, they also race to start the daemons.
    let running: Vec<_> = checkouts
        .iter()
        .map(|at| env.start_vx(at, &["build"]))
        .collect();
    env.toolchain().wait_for("leaf", 1);
    hold.release();
    for run in running {
        let _ = run.wait().success();
    }
    assert_eq!(env.compiled_since(0), ["leaf", "top"]);
    let daemons = env.processes_named("vx-aether");
    assert_eq!(daemons.len(), 1, "{daemons:#?}");
}
