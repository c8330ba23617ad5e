//! A real project, from nothing, again, elsewhere, after an edit, and with an error in it.

use std::path::{Path, PathBuf};

use vx_harness::{Env, Project, assert_same_behaviour};

/// The program's main source file.
const MAIN: &str = "crates/core/main.rs";

/// Something to search in.
fn haystack(env: &Env) -> PathBuf {
    let project = env.project(
        "
        //- /poem.txt
        tiger, tiger
        burning bright
        in the forests
        //- /sub/more.md
        # a tiger
        //- /sub/.hidden
        tiger
        //- /.gitignore
        ignored
        //- /ignored
        tiger
        ",
    );
    project.path().to_owned()
}

fn assert_same_ripgrep(env: &Env, ours: &Path, cargos: &Path) {
    let lines: [&[&str]; 5] = [
        &["--version"],
        &["--help"],
        &["--sort", "path", "-n", "tiger"],
        &["--sort", "path", "--hidden", "-c", "(?i)TIGER"],
        &["no such text"],
    ];
    assert_same_behaviour(ours, cargos, &haystack(env), &lines);
}

#[test]
fn nothing_is_built_twice() {
    let env = Env::new();
    let project = env.corpus("ripgrep");

    let cold = env.build(&project);
    assert_eq!(cold.report.totals.hit, 0, "the store was empty");
    assert!(
        cold.compiles.contains(&"rg".to_owned()),
        "{:?}",
        cold.compiles
    );
    let cargo = env.cargo_build(&project, "debug", &["--locked"]);
    assert_same_ripgrep(&env, &project.output("debug", "rg"), &cargo.join("rg"));

    env.build(&project).assert_nothing();
    let copy = env.copy(&project);
    env.build(&copy).assert_nothing();
    let _ = env.vx(&project, &["stop"]).success();
    env.assert_nothing_runs();
    env.build(&project).assert_nothing();
    copy.remove(".vx");
    env.build(&copy).assert_nothing();
    assert_same_ripgrep(&env, &copy.output("debug", "rg"), &cargo.join("rg"));

    edits_and_errors(&env, &project, &cargo.join(".."));
}

/// An edit is one compile, and an error is not cached. Cargo has a target directory in which
/// the rest is built.
fn edits_and_errors(env: &Env, project: &Project, cargo_target: &Path) {
    project.edit(MAIN, "fn main()", "/* edited */ fn main()");
    env.build(project).assert_compiled(["rg"]);
    let version = "edited on purpose";
    project.edit(
        MAIN,
        "fn main()",
        &format!("pub const _EDIT: &str = \"{version}\"; fn main()"),
    );
    env.build(project).assert_compiled(["rg"]);

    let whole = project.read(MAIN);
    project.edit(MAIN, "fn main()", "const BROKEN: u32 = \"text\"; fn main()");
    for attempt in 0..2 {
        let before = env.toolchain().compiles().len();
        let run = env.vx(project, &["build"]).code(101);
        assert_eq!(
            env.compiled_since(before),
            ["rg"],
            "attempt {attempt}: {run}"
        );
        assert_eq!(run.report().totals.failed, 1, "{run}");
        assert!(!run.report().success);
        assert_diagnostic(project, &run.stderr);
    }
    let target = cargo_target
        .to_str()
        .expect("an environment's paths are text");
    let arguments = ["build", "--locked", "--target-dir", target];
    let cargo = env.cargo(project, &arguments).code(101);
    let vx = env.vx(project, &["build"]).code(101);
    assert_eq!(
        diagnostic(&vx.stderr),
        diagnostic(&cargo.stderr),
        "rustc's words, vx's beside cargo's"
    );

    project.write(MAIN, &whole);
    env.build(project).assert_nothing();
}

#[test]
fn as_many_compilers_as_cargo_and_the_release_program_too() {
    let env = Env::new();
    let project = env.corpus("ripgrep");
    let vx = env.build_with(&project, &["--release"]);
    let before = env.toolchain().compiles().len();
    let cargo = env.cargo_build(&project, "release", &["--locked", "--release"]);
    assert_eq!(
        vx.compiles,
        env.compiled_since(before),
        "vx's compilers beside cargo's"
    );
    assert_same_ripgrep(&env, &project.output("release", "rg"), &cargo.join("rg"));
}

/// What rustc rendered: from the first `error[` to the next empty line.
fn diagnostic(stderr: &str) -> Vec<&str> {
    let lines = stderr
        .lines()
        .skip_while(|line| !line.starts_with("error["));
    lines.take_while(|line| !line.trim().is_empty()).collect()
}

/// Checks that the diagnostic names a file that is there, from where the user stands.
fn assert_diagnostic(project: &Project, stderr: &str) {
    let lines = diagnostic(stderr);
    let place = lines
        .iter()
        .find_map(|line| line.trim_start().strip_prefix("--> "));
    let place = place.unwrap_or_else(|| panic!("no place in {stderr}"));
    let file = place.split(':').next().unwrap_or_default();
    assert!(project.join(file).is_file(), "{file} is not in the project");
}
