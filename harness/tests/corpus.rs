//! Real projects, each built by vx and by cargo; the programs have to do the same.

use std::path::Path;

use vx_harness::{Env, Project, assert_same_behaviour};

/// Builds with both and runs both programs with each line, in a directory with a little text.
fn builds_as_cargo(env: &Env, project: &Project, bin: &str, lines: &[&[&str]]) {
    let _ = env.build(project);
    let cargo = env.cargo_build(project, "debug", &["--locked"]);
    behaves_as(env, project, bin, &cargo.join(bin), lines);
}

/// Runs a program that vx built, and cargo's, with each line; then there is nothing to do.
fn behaves_as(env: &Env, project: &Project, bin: &str, cargos: &Path, lines: &[&[&str]]) {
    let fixture = env.project(
        "
        //- /text.txt
        before it was
        //- /code/main.rs
        // a comment
        fn main() {
            println!(\"x\");
        }
        ",
    );
    assert_same_behaviour(&project.output("debug", bin), cargos, fixture.path(), lines);
    env.build(project).assert_nothing();
}

#[test]
fn sd() {
    let env = Env::new();
    let project = env.corpus("sd");
    let lines: [&[&str]; 3] = [
        &["--version"],
        &["--help"],
        &["--preview", "before", "after", "text.txt"],
    ];
    builds_as_cargo(&env, &project, "sd", &lines);
}

#[test]
fn hyperfine() {
    let env = Env::new();
    let project = env.corpus("hyperfine");
    let lines: [&[&str]; 3] = [&["--version"], &["--help"], &["--runs", "many", "true"]];
    builds_as_cargo(&env, &project, "hyperfine", &lines);
}

#[test]
fn tokei() {
    let env = Env::new();
    let project = env.corpus("tokei");
    let lines: [&[&str]; 3] = [&["--version"], &["--help"], &["--sort", "lines", "code"]];
    builds_as_cargo(&env, &project, "tokei", &lines);
}

#[test]
fn vx_itself() {
    let env = Env::new();
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("harness/ has a parent");
    let project = Project::at(env.fresh_path("vx").join("vx"));
    for part in [
        "Cargo.toml",
        "Cargo.lock",
        ".cargo",
        "schema",
        "services",
        "client",
        "harness",
        "xtask",
    ] {
        let from = repository.join(part);
        if from.is_dir() {
            let _ = Project::at(from).copy_to(&project.join(part));
        } else {
            project.write(
                part,
                &std::fs::read_to_string(&from).expect("the repository can be read"),
            );
        }
    }
    let _ = env.build(&project);
    let lines: [&[&str]; 3] = [&["--version"], &["--help"], &["help", "build"]];
    // Cargo's is the one under test itself.
    behaves_as(&env, &project, "vx", &env.program("vx"), &lines);
}
