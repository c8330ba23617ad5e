//! What build scripts say, held against what cargo makes of it.

use vx_harness::{Env, Project, assert_same_behaviour};

/// Builds with both and compares what the programs print.
fn as_cargo(env: &Env, project: &Project, bin: &str) {
    let _ = env.build(project);
    let cargo = env.cargo_build(project, "debug", &[]);
    assert_same_behaviour(
        &project.output("debug", bin),
        &cargo.join(bin),
        project.path(),
        &[&[]],
    );
}

#[test]
fn every_directive() {
    let env = Env::new();
    let project = env.project(
        r##"
        //- /Cargo.toml
        [package]
        name = "directives"
        version = "1.2.3-pre.4"
        edition = "2024"
        authors = ["A <a@example.org>", "B"]
        description = "Says \"it\"."
        license = "MIT"
        build = "build.rs"
        links = "own"
        [features]
        default = ["some"]
        some = []
        other-one = []
        [dependencies]
        below = { path = "below" }
        [build-dependencies]
        helper = { path = "helper" }
        //- /build.rs
        use std::env;
        use std::path::Path;
        fn main() {
            let out = env::var("OUT_DIR").unwrap();
            let out = Path::new(&out);
            std::fs::write(out.join("made.rs"), "pub const MADE: &str = \"made\";").unwrap();
            std::fs::create_dir(out.join("deep")).unwrap();
            std::fs::write(out.join("deep/data.bin"), [0, 1, 2, 255]).unwrap();
            println!("cargo::rerun-if-changed=build.rs");
            println!("cargo::rerun-if-env-changed=SOMETHING");
            println!("cargo::rustc-check-cfg=cfg(from_script, values(none(), \"new\"))");
            println!("cargo::rustc-cfg=from_script");
            println!("cargo::rustc-cfg=from_script=\"new\"");
            println!("cargo:rustc-cfg=old_syntax");
            println!("cargo::rustc-check-cfg=cfg(old_syntax)");
            println!("cargo::rustc-env=BUILT_BY={}", helper::name());
            println!("cargo:rustc-env=WITH_EQUALS=a=b=c");
            println!("cargo::metadata=unused=1");
            println!("cargo::warning=a warning of a workspace member");
            // Variables that cargo sets for scripts.
            for name in [
                "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "CARGO_PKG_NAME",
                "CARGO_PKG_VERSION_PRE", "CARGO_MANIFEST_LINKS", "CARGO_FEATURE_SOME",
                "CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENDIAN", "CARGO_CFG_UNIX",
                "CARGO_CFG_TARGET_FAMILY", "CARGO_CFG_FEATURE", "CARGO_PKG_AUTHORS",
                "DEP_BELOW_ROOT", "DEP_BELOW_OLD_STYLE",
            ] {
                let value = env::var(name).unwrap_or_else(|_| "unset".to_owned());
                println!("cargo::rustc-env=SAW_{name}={value}");
            }
            assert!(env::var("CARGO_FEATURE_OTHER_ONE").is_err());
            assert!(std::process::Command::new(env::var("RUSTC").unwrap()).arg("-vV").output().unwrap().status.success());
            assert!(Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()).join("Cargo.toml").is_file());
            assert_eq!(env::current_dir().unwrap(), Path::new(&env::var("CARGO_MANIFEST_DIR").unwrap()));
            assert!(env::var("NUM_JOBS").unwrap().parse::<u32>().unwrap() > 0);
        }
        //- /src/main.rs
        include!(concat!(env!("OUT_DIR"), "/made.rs"));
        static DATA: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/deep/data.bin"));
        macro_rules! show { ($($name:literal)*) => { $( println!("{}={}", $name, env!($name)); )* } }
        fn main() {
            println!("{MADE} {DATA:?} {}", below::text());
            println!("{} {} {}", cfg!(from_script), cfg!(from_script = "new"), cfg!(old_syntax));
            show!("BUILT_BY" "WITH_EQUALS" "SAW_TARGET" "SAW_HOST" "SAW_PROFILE" "SAW_OPT_LEVEL"
                "SAW_DEBUG" "SAW_CARGO_PKG_NAME" "SAW_CARGO_PKG_VERSION_PRE"
                "SAW_CARGO_MANIFEST_LINKS" "SAW_CARGO_FEATURE_SOME" "SAW_CARGO_CFG_TARGET_OS"
                "SAW_CARGO_CFG_TARGET_ENDIAN" "SAW_CARGO_CFG_UNIX" "SAW_CARGO_CFG_TARGET_FAMILY"
                "SAW_CARGO_CFG_FEATURE" "SAW_CARGO_PKG_AUTHORS" "SAW_DEP_BELOW_ROOT"
                "SAW_DEP_BELOW_OLD_STYLE" "CARGO_PKG_VERSION" "CARGO_PKG_DESCRIPTION"
                "CARGO_PKG_AUTHORS" "CARGO_PKG_LICENSE" "CARGO_BIN_NAME" "CARGO_CRATE_NAME");
        }
        //- /below/Cargo.toml
        [package]
        name = "below"
        version = "0.1.0"
        edition = "2021"
        links = "below"
        //- /below/build.rs
        fn main() {
            println!("cargo::metadata=root=somewhere");
            println!("cargo:old_style=2");
            println!("cargo::rustc-env=TEXT=below's");
        }
        //- /below/src/lib.rs
        pub fn text() -> &'static str { env!("TEXT") }
        //- /helper/Cargo.toml
        [package]
        name = "helper"
        version = "0.1.0"
        edition = "2024"
        //- /helper/src/lib.rs
        pub fn name() -> &'static str { "helper" }
        "##,
    );
    as_cargo(&env, &project, "directives");
    let vx = env.build(&project);
    vx.assert_nothing();
    // A hit says what the build said.
    assert!(
        vx.run.stderr.contains("a warning of a workspace member"),
        "{}",
        vx.run
    );
}

#[test]
fn native_code_two_crates_down() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "top"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        middle = { path = "middle" }
        //- /src/main.rs
        fn main() { println!("{}", middle::answer()); }
        //- /middle/Cargo.toml
        [package]
        name = "middle"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        native-sys = { path = "../native-sys" }
        //- /middle/src/lib.rs
        pub fn answer() -> i32 { native_sys::call() }
        //- /native-sys/Cargo.toml
        [package]
        name = "native-sys"
        version = "0.1.0"
        edition = "2024"
        links = "answer"
        //- /native-sys/answer.c
        #include "answer.h"
        int answer(void) { return ANSWER; }
        //- /native-sys/answer.h
        #define ANSWER 41
        //- /native-sys/build.rs
        use std::process::Command;
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            let run = |program: &str, arguments: &[&str]| {
                assert!(Command::new(program).args(arguments).status().unwrap().success());
            };
            run("cc", &["-c", "answer.c", "-o", &format!("{out}/answer.o")]);
            run("ar", &["crs", &format!("{out}/libanswer.a"), &format!("{out}/answer.o")]);
            println!("cargo::rustc-link-search=native={out}");
            println!("cargo::rustc-link-lib=static=answer");
            println!("cargo::rerun-if-changed=answer.c");
            println!("cargo::rerun-if-changed=answer.h");
        }
        //- /native-sys/src/lib.rs
        unsafe extern "C" { fn answer() -> i32; }
        pub fn call() -> i32 { unsafe { answer() } }
        "#,
    );
    as_cargo(&env, &project, "top");
    project.edit("native-sys/answer.h", "41", "42");
    as_cargo(&env, &project, "top");
    let said = vx_harness::program_output(&project.output("debug", "top"), project.path(), &[]);
    assert!(
        said.contains("\n42\n"),
        "a stale archive was linked: {said}"
    );
}

#[test]
fn link_arguments_reach_the_right_program() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "linked"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            println!("cargo::rustc-link-arg-bin=one=-Wl,--defsym=vx_marker=1");
            println!("cargo::rustc-link-arg-bin=two=-Wl,--defsym=vx_marker=2");
            println!("cargo::rustc-link-arg-bins=-Wl,--defsym=vx_common=7");
        }
        //- /src/bin/one.rs
        unsafe extern "C" { static vx_marker: u8; static vx_common: u8; }
        fn main() { unsafe { println!("{} {}", &raw const vx_marker as usize & 15, &raw const vx_common as usize & 15) } }
        //- /src/bin/two.rs
        unsafe extern "C" { static vx_marker: u8; static vx_common: u8; }
        fn main() { unsafe { println!("{} {}", &raw const vx_marker as usize & 15, &raw const vx_common as usize & 15) } }
        //- /.cargo/config.toml
        [build]
        rustflags = ["-Crelocation-model=static"]
        "#,
    );
    as_cargo(&env, &project, "one");
    as_cargo(&env, &project, "two");
}

#[test]
fn a_failing_script_fails_as_cargos() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "failing"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            eprintln!("the reason is written here");
            println!("cargo::error=said to cargo");
            std::process::exit(3);
        }
        //- /src/main.rs
        fn main() {}
        "#,
    );
    for _ in 0..2 {
        let run = env.vx(&project, &["build"]).code(101);
        assert!(run.stderr.contains("the reason is written here"), "{run}");
        let report = run.report();
        assert_eq!(
            (report.totals.failed, report.totals.skipped),
            (1, 1),
            "{run}"
        );
    }
    project.write("build.rs", "fn main() {}\n");
    let _ = env.build(&project);
}

#[test]
fn what_a_script_writes_into_its_package_stays_out_of_the_checkout() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "writer"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            std::fs::write("written.txt", "by the script").unwrap();
            println!("cargo::rerun-if-changed=build.rs");
            println!("cargo::rustc-env=READ={}", std::fs::read_to_string("written.txt").unwrap());
        }
        //- /src/main.rs
        fn main() { println!("{}", env!("READ")); }
        "#,
    );
    let _ = env.build(&project);
    assert!(!project.join("written.txt").exists());
    let said = vx_harness::program_output(&project.output("debug", "writer"), project.path(), &[]);
    assert!(said.contains("by the script"), "{said}");
    env.build(&project).assert_nothing();
}
