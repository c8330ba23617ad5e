//! What other caches answer where a macro looked at something by itself, beside vx.
//!
//! Each line is a case that users of such a cache reported. It is run with those that are
//! installed, and with cargo from an empty target directory as the one who is right.

use std::path::Path;

use vx_harness::magic::{declares, printing};
use vx_harness::{Env, Project};

/// Compiler wrappers that cache.
const WRAPPERS: [&str; 2] = ["sccache", "kache"];

/// A project that is built, changed, and built again.
struct Scenario {
    /// Who reported it.
    reported: &'static str,
    project: fn() -> String,
    first: fn(&Project),
    change: fn(&Project),
    /// A variable, and its value before and after.
    variable: Option<(&'static str, Option<&'static str>, Option<&'static str>)>,
}

fn none(_: &Project) {}

fn migrations(project: &Project) {
    project.write("app/migrations/1.sql", "one\n");
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        reported: "kache #760: two worktrees, a macro embeds a directory that differs",
        project: || printing("magic::embed!(\"migrations\")", ""),
        first: |project| {
            migrations(project);
            project.write("app/migrations/2.sql", "two\n");
        },
        change: |project| project.remove("app/migrations/2.sql"),
        variable: None,
    },
    Scenario {
        reported: "kache #635: an expansion steered by a variable",
        project: || {
            printing(
                "magic::variable!(\"VX_CASE_PHASE\")",
                &declares("VX_CASE_PHASE"),
            )
        },
        first: none,
        change: none,
        variable: Some(("VX_CASE_PHASE", Some("1"), None)),
    },
    Scenario {
        reported: "macro-string #29: a macro evaluates env! by itself",
        project: || {
            printing(
                "magic::baked!(env!(\"VX_CASE_REVISION\"))",
                &declares("VX_CASE_REVISION"),
            )
        },
        first: none,
        change: none,
        variable: Some(("VX_CASE_REVISION", Some("1111"), Some("2222"))),
    },
    Scenario {
        reported: "rs-soroban-sdk #1873: a macro evaluates include_str! by itself",
        project: || printing("magic::baked!(include_str!(\"../NOTES.md\"))", ""),
        first: |project| project.write("app/NOTES.md", "notes-1\n"),
        change: |project| project.write("app/NOTES.md", "notes-2\n"),
        variable: None,
    },
    Scenario {
        reported: "rust #99515: a macro collects a directory of migrations",
        project: || printing("magic::names!(\"migrations\")", ""),
        first: migrations,
        change: |project| project.write("app/migrations/2.sql", "two\n"),
        variable: None,
    },
];

/// Builds with cargo into an empty target directory and gives what the program prints.
fn cargos(env: &Env, project: &Project, scenario: &Scenario, after: bool, wrapper: &str) -> String {
    let target = env.fresh_path("target");
    let mut command = env.command(env.toolchain().sysroot().join("bin/cargo"), project);
    command
        .args(["build", "--target-dir"])
        .arg(&target)
        .env("CARGO_INCREMENTAL", "0")
        .env("RUSTC_WRAPPER", wrapper)
        .env("SCCACHE_DIR", env.root().join("sccache"))
        .env("KACHE_DIR", env.root().join("kache"));
    set(&mut command, scenario, after);
    let _ = env.run(command).success();
    vx_harness::program_output(&target.join("debug/app"), project.path(), &[])
}

fn set(command: &mut std::process::Command, scenario: &Scenario, after: bool) {
    if let Some((name, before_value, after_value)) = scenario.variable
        && let Some(value) = if after { after_value } else { before_value }
    {
        command.env(name, value);
    }
}

fn vxs(env: &Env, project: &Project, scenario: &Scenario, after: bool) -> String {
    let mut command = env.command(env.program("vx"), project);
    command.arg("build");
    set(&mut command, scenario, after);
    let _ = env.run(command).success();
    vx_harness::program_output(&project.output("debug", "app"), project.path(), &[])
}

/// Moves what the program prints into a library of its own: some caches keep nothing of programs.
fn into_a_library(project: &Project) {
    let program = project.read("app/src/main.rs");
    let library = program
        .replacen(
            "fn main() { println!(",
            "pub fn word() -> String { format!(",
            1,
        )
        .replacen("); }", ") }", 1);
    assert!(library.contains("word") && !library.contains("); }"));
    project.write("app/src/lib.rs", &library);
    project.write(
        "app/src/main.rs",
        "fn main() { println!(\"{}\", app::word()); }\n",
    );
}

/// The wrappers that are on the tester's path.
fn installed() -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = |name: &&str| {
        std::env::split_paths(&path)
            .map(|directory| directory.join(name))
            .find(|path| Path::is_file(path))
            .and_then(|path| path.into_os_string().into_string().ok())
    };
    WRAPPERS.iter().filter_map(find).collect()
}

#[test]
#[ignore = "a part of the benchmark: what it prints about others is not for a test to decide"]
fn answers() {
    let env = Env::new();
    let others = installed();
    println!("after the change each is asked again, from an empty target directory");
    for scenario in SCENARIOS {
        let project = env.project(&(scenario.project)());
        into_a_library(&project);
        (scenario.first)(&project);
        let before = vxs(&env, &project, scenario, false);
        for other in &others {
            let _ = cargos(&env, &project, scenario, false, other);
        }
        (scenario.change)(&project);
        let right = cargos(&env, &project, scenario, true, "");
        let vx = vxs(&env, &project, scenario, true);
        assert_ne!(right, before, "{}: nothing changed", scenario.reported);
        assert_eq!(vx, right, "{}", scenario.reported);
        println!("{}\n  {:<10} right", scenario.reported, "vx");
        for other in &others {
            let said = cargos(&env, &project, scenario, true, other);
            let name = Path::new(other).file_name().unwrap_or_default();
            let answer = if said == right { "right" } else { "stale" };
            println!("  {:<10} {answer}", name.to_string_lossy());
        }
    }
    if others.is_empty() {
        println!(
            "(no other cache is installed: looked for {})",
            WRAPPERS.join(", ")
        );
    }
}
