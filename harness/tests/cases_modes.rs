//! Whether a file can be run is part of what an action saw of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use vx_harness::{Env, Project};

fn mode(project: &Project, path: &str, mode: u32) {
    fs::set_permissions(project.join(path), fs::Permissions::from_mode(mode))
        .expect("the project is ours");
}

/// A program that says what its build script was told, which is by `gen.sh` where it can be run.
fn project(look: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /gen.sh
        #!/bin/sh
        echo generated
        //- /build.rs
        use std::process::Command;
        fn told() -> String {{
            {look}
        }}
        fn main() {{ println!("cargo::rustc-env=TOLD={{}}", told().trim()); }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", env!("TOLD")); }}
        "#
    )
}

const RUN: &str = r#"
            match Command::new("./gen.sh").output() {
                Ok(output) => String::from_utf8(output.stdout).unwrap(),
                Err(_) => "fallback".to_owned(),
            }
"#;

#[test]
fn a_script_that_can_be_run_or_not() {
    let env = Env::new();
    let mut app = env.cases(&project(RUN));
    mode(app.project(), "gen.sh", 0o755);
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("generated");
    app.change("not executable any more", |p| mode(p, "gen.sh", 0o644))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("fallback");
    app.build("nothing changed").builds([]).prints("fallback");
    app.change("executable again", |p| mode(p, "gen.sh", 0o755))
        .builds([])
        .prints("generated");
    app.change("not executable again", |p| mode(p, "gen.sh", 0o644))
        .builds([])
        .prints("fallback");
}

#[test]
fn a_script_behind_a_link() {
    let env = Env::new();
    let mut app = env.cases(&project(RUN));
    app.project().rename("gen.sh", "real.sh");
    app.project().link("gen.sh", "real.sh");
    mode(app.project(), "real.sh", 0o644);
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("fallback");
    app.change("what it leads to can be run", |p| {
        mode(p, "real.sh", 0o755);
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("generated");
    app.build("nothing changed").builds([]).prints("generated");
}

#[test]
fn a_script_that_a_shell_looks_for() {
    let env = Env::new();
    let mut app = env.cases(&project(
        r#"
            let text = "if test -x ./gen.sh; then ./gen.sh; else echo fallback; fi";
            let output = Command::new("sh").args(["-c", text]).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        "#,
    ));
    mode(app.project(), "gen.sh", 0o755);
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("generated");
    app.change("not executable any more", |p| mode(p, "gen.sh", 0o600))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("fallback");
    app.change("executable as before", |p| mode(p, "gen.sh", 0o755))
        .builds([])
        .prints("generated");
}
