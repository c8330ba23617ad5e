//! Processes that are killed, and what is left of them.

use std::time::Duration;

use vx_harness::{Env, Project};

/// Three crates in a row; the one in the middle is held while something is killed.
const CHAIN: &str = r#"
    //- /Cargo.toml
    [package]
    name = "top"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    middle = { path = "middle" }
    //- /src/main.rs
    fn main() { println!("sum {}", middle::sum()); }
    //- /middle/Cargo.toml
    [package]
    name = "middle"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    leaf = { path = "../leaf" }
    //- /middle/src/lib.rs
    pub fn sum() -> u32 { leaf::two() + leaf::two() }
    //- /leaf/Cargo.toml
    [package]
    name = "leaf"
    version = "0.1.0"
    edition = "2024"
    //- /leaf/src/lib.rs
    pub fn two() -> u32 { 2 }
"#;

fn assert_right(project: &Project, sum: u32) {
    let said = vx_harness::program_output(&project.output("debug", "top"), project.path(), &[]);
    assert!(said.contains(&format!("sum {sum}\n")), "{said}");
}

/// Kills a daemon while `middle` is being compiled; the build has to recover.
fn survives_the_end_of(name: &str) {
    let env = Env::new();
    let project = env.project(CHAIN);
    let hold = env.toolchain().hold("middle");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for("middle", 1);
    let daemons = env.processes_named(name);
    assert_eq!(daemons.len(), 1, "{:#?}", env.processes());
    daemons[0].kill();
    assert!(daemons[0].wait_gone(Duration::from_secs(20)));
    hold.release();
    let run = build.wait().success();
    assert!(run.report().success);
    assert_right(&project, 4);
    // A store that is killed may lose what it was told last, which costs time once.
    let _ = env.build(&project);
    env.build(&project).assert_nothing();
    let _ = env.vx(&project, &["stop"]).success();
    env.assert_nothing_runs();
}

#[test]
fn a_build_survives_its_store() {
    survives_the_end_of("vx-cass");
}

#[test]
fn a_build_survives_its_executor() {
    survives_the_end_of("vx-rhea");
}

#[test]
fn without_its_orchestrator_vx_says_so_and_nothing_is_left() {
    let env = Env::new();
    let project = env.project(CHAIN);
    let hold = env.toolchain().hold("middle");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for("middle", 1);
    let daemons = env.processes_named("vx-aether");
    assert_eq!(daemons.len(), 1, "{:#?}", env.processes());
    daemons[0].kill();
    assert!(
        build.ended_within(Duration::from_secs(2)),
        "vx waits for an orchestrator that is gone"
    );
    let run = build.wait().refused();
    assert_ne!(
        run.status.code(),
        Some(101),
        "that is for broken projects: {run}"
    );
    env.assert_nothing_runs();
    hold.release();
    let _ = env.build(&project);
    assert_right(&project, 4);
}

#[test]
fn an_executor_that_dies_takes_its_compilers_along() {
    let env = Env::new();
    let project = env.project(CHAIN);
    let hold = env.toolchain().hold("middle");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for("middle", 1);
    let compilers: Vec<_> = env
        .processes_named("rustc")
        .into_iter()
        .filter(|process| process.command.contains("--crate-name middle "))
        .collect();
    assert!(!compilers.is_empty(), "{:#?}", env.processes());
    env.processes_named("vx-rhea")
        .iter()
        .for_each(vx_harness::ProcessInfo::kill);
    for compiler in compilers {
        assert!(
            compiler.wait_gone(Duration::from_secs(20)),
            "{compiler:?} outlived its executor"
        );
    }
    hold.release();
    let _ = build.wait().success();
}

#[test]
fn a_killed_client_ends_its_build() {
    let env = Env::new();
    let project = env.project(CHAIN);
    let hold = env.toolchain().hold("middle");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for("middle", 1);
    let compilers: Vec<_> = env
        .processes_named("rustc")
        .into_iter()
        .filter(|process| process.command.contains("--crate-name middle "))
        .collect();
    drop(build);
    for compiler in compilers {
        assert!(
            compiler.wait_gone(Duration::from_secs(20)),
            "{compiler:?} works for nobody"
        );
    }
    hold.release();
    let _ = env.build(&project);
    assert_right(&project, 4);
}
