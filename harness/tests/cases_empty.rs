//! Variables of cargo's that are set to nothing, beside a configuration that says something: what
//! that means differs from variable to variable, and is what it means to cargo.

use std::path::Path;

use vx_harness::{Env, Project};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    //- /build.rs
    fn main() { println!("cargo::rustc-env=OF_HOST={}", cfg!(vx_case)); }
    //- /src/main.rs
    fn main() {
        println!("{} {} {}", cfg!(vx_case), env!("OF_HOST"), cfg!(debug_assertions));
    }
"#;

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// What a build came to: the crates whose compiler ran for it and what its program prints, or
/// nothing where it failed.
type Came = Option<(Vec<String>, String)>;

fn came(env: &Env, before: usize, succeeded: bool, program: &Path) -> Came {
    let said = || vx_harness::program_output(program, env.root(), &[]);
    succeeded.then(|| (env.compiled_since(before), said()))
}

/// Builds with both, from nothing, with one variable set.
#[track_caller]
fn assert_as_cargo(project: &Project, env: &Env, name: &str, value: &str) -> Came {
    let env = env.sibling();
    let project = env.copy(project);
    let before = env.toolchain().compiles().len();
    let mut command = env.vx_command(&project);
    command.arg("build").env(name, value);
    let ours = env.run(command);
    let program = project.output("debug", "app");
    let vx = came(&env, before, ours.status.success(), &program);

    let before = env.toolchain().compiles().len();
    let target = env.fresh_path("target");
    let mut command = env.command(env.toolchain().sysroot().join("bin/cargo"), &project);
    command.args(["build", "--config"]);
    command.arg(format!("build.target-dir = '{}'", target.display()));
    command.env(name, value);
    let theirs = env.run(command);
    let programs = ["debug/app", &format!("{}/debug/app", triple())].map(|app| target.join(app));
    let mut programs = programs.iter().filter(|app| app.exists());
    let program = programs.next().map_or(target.as_path(), |app| app);
    let cargo = came(&env, before, theirs.status.success(), program);
    assert_eq!(vx, cargo, "{name}=`{value}`\nvx: {ours}\ncargo: {theirs}");
    vx
}

#[test]
fn targets() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let flags = "rustflags = [\"--cfg\", \"vx_case\"]\n";
    project.write(".cargo/config.toml", &format!("[build]\n{flags}"));
    let of_both = assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "");
    project.write(
        ".cargo/config.toml",
        &format!("[build]\ntarget = \"{}\"\n{flags}", triple()),
    );
    let with_target = assert_as_cargo(&project, &env, "VX_CASE_NOTHING", "");
    // Flags are for the target alone where there is one.
    assert_ne!(of_both, with_target);
    // Cargo refuses nothing in the place of a name, and adds it to a list.
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "");
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", &triple());
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "host-tuple");
    project.write(
        ".cargo/config.toml",
        &format!("[build]\ntarget = [\"{}\"]\n{flags}", triple()),
    );
    let empty = assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "");
    assert_eq!(empty, with_target);
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", &triple());
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "host-tuple");
    assert_as_cargo(&project, &env, "CARGO_BUILD_TARGET", "unheard-of");
}

#[test]
fn flags() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let named = triple().replace('-', "_").to_uppercase();
    let of_target = format!("CARGO_TARGET_{named}_RUSTFLAGS");
    let names = [
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_BUILD_RUSTFLAGS",
        &of_target,
    ];
    for table in ["build".to_owned(), format!("target.{}", triple())] {
        project.write(
            ".cargo/config.toml",
            &format!("[{table}]\nrustflags = [\"--cfg\", \"vx_case\"]\n"),
        );
        for name in names {
            assert_as_cargo(&project, &env, name, "");
        }
    }
    for name in names {
        assert_as_cargo(&project, &env, name, " ");
    }
}

#[test]
fn programs() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write_program("tools/wrapper", "#!/bin/sh\nexec \"$@\" --cfg vx_case\n");
    project.write_program("tools/vx-gcc", "#!/bin/sh\nexec cc \"$@\"\n");
    let named = triple().replace('-', "_").to_uppercase();
    let linker = format!("CARGO_TARGET_{named}_LINKER");
    project.write(
        ".cargo/config.toml",
        &format!(
            "[build]\nrustc-wrapper = \"tools/wrapper\"\n[target.{}]\nlinker = \"tools/vx-gcc\"\n",
            triple()
        ),
    );
    for name in [
        "RUSTC_WRAPPER",
        "CARGO_BUILD_RUSTC_WRAPPER",
        "RUSTC",
        &linker,
    ] {
        assert_as_cargo(&project, &env, name, "");
    }
    project.edit(".cargo/config.toml", "rustc-w", "rustc-workspace-w");
    let of_members = [
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    ];
    for name in of_members {
        assert_as_cargo(&project, &env, name, "");
    }
}

#[test]
fn the_rest() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write(
        ".cargo/config.toml",
        "[build]\ntarget-dir = \"elsewhere\"\n[profile.dev]\ndebug-assertions = false\n",
    );
    let names = [
        "CARGO_PROFILE_DEV_DEBUG_ASSERTIONS",
        "CARGO_PROFILE_DEV_OPT_LEVEL",
        "CARGO_BUILD_JOBS",
        "CARGO_INCREMENTAL",
        "RUSTUP_TOOLCHAIN",
    ];
    for name in names {
        assert_as_cargo(&project, &env, name, "");
    }
}
