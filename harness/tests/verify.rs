//! What `vx build --verify` says of actions whose runs differ: each cause of the closed list, as
//! something real makes it.

use std::collections::BTreeMap;

use vx_harness::{Action, Env, Report};

/// Build scripts that each leave something else behind in every run.
const SCRIPTS: [(&str, &str); 5] = [
    (
        "time",
        r#"let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
           leave(format!("built at {}\n", now.as_nanos()));"#,
    ),
    (
        "path",
        r#"let made = std::process::Command::new("mktemp").output().unwrap();
           leave(format!("made in {}", String::from_utf8(made.stdout).unwrap()));"#,
    ),
    (
        "ordering",
        r#"let names: std::collections::HashSet<u64> = (0..64).map(|n| n * 7919).collect();
           leave(names.iter().map(|name| format!("entry {name}\n")).collect());"#,
    ),
    (
        "process",
        r#"use std::hash::{BuildHasher, Hasher};
           // As many processes between them as a configure script may have, more or less.
           let mut text = String::new();
           for _ in 0..8 {
               let others = std::collections::hash_map::RandomState::new().build_hasher().finish() % 20;
               for _ in 0..others {
                   std::process::Command::new("true").status().unwrap();
               }
               let one = std::process::Command::new("sh").args(["-c", "echo made by $$"]).output().unwrap();
               text.push_str(&String::from_utf8(one.stdout).unwrap());
           }
           leave(text);"#,
    ),
    (
        "unknown",
        r#"use std::hash::{BuildHasher, Hasher};
           let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
           leave(format!("id {random:016x}{random:016x}\n").replace(|c: char| c.is_ascii_digit(), "q"));"#,
    ),
];

/// A workspace with a package for each of them, and one whose script leaves the same each time.
fn workspace(env: &Env) -> vx_harness::Project {
    // It may call the same system calls each time, too.
    let steady = (
        "steady",
        r#"let status = std::fs::read_to_string("/proc/self/status").unwrap();
           let filter = status.lines().find(|line| line.starts_with("Seccomp:")).unwrap();
           assert!(filter.ends_with('2'), "{filter}");
           leave(format!("{filter}\n"));"#,
    );
    let project =
        env.project("//- /Cargo.toml\n[workspace]\nmembers = [\"*-script\"]\nresolver = \"3\"\n");
    for (name, body) in SCRIPTS.iter().chain([&steady]) {
        let directory = format!("{name}-script");
        project.write(
            &format!("{directory}/Cargo.toml"),
            &format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n"),
        );
        project.write(&format!("{directory}/src/lib.rs"), "");
        project.write(
            &format!("{directory}/build.rs"),
            &format!(
                "fn leave(text: String) {{\n    let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
                 std::fs::write(format!(\"{{out}}/left.txt\"), text).unwrap();\n}}\n\
                 fn main() {{\n{body}\n}}\n"
            ),
        );
    }
    project
}

/// The runs of build scripts, by package.
fn runs(report: &Report) -> BTreeMap<&str, &Action> {
    let runs = report.actions.iter();
    runs.filter(|action| action.kind == "run-build-script")
        .map(|action| (action.package_name(), action))
        .collect()
}

#[test]
fn causes_that_build_scripts_have() {
    let env = Env::new();
    let project = workspace(&env);
    let _ = env.build(&project);
    let report = env.build_with(&project, &["--verify"]).report;
    assert_eq!(report.totals.built, 0, "nothing is published anew");
    let verified = runs(&report);
    for (cause, _) in SCRIPTS {
        let action = verified[cause];
        let said = action
            .verified
            .as_ref()
            .expect("it was found, so it was run again");
        assert_eq!(said.fault, None, "{cause}");
        let outputs: Vec<_> = said.differences.iter().map(|one| &one.output).collect();
        assert_eq!(outputs, ["out_dir/left.txt"], "{cause}");
        assert_eq!(said.differences[0].causes, [cause], "{cause}");
        assert_eq!(action.unstable, [cause], "{cause}");
    }
    let steady = verified["steady"];
    let said = steady
        .verified
        .as_ref()
        .expect("it was found, so it was run again");
    assert!(said.differences.is_empty() && steady.unstable.is_empty());
    for action in report
        .actions
        .iter()
        .filter(|action| action.kind == "compile")
    {
        assert!(
            action.unstable.is_empty(),
            "{} {}",
            action.package,
            action.unit
        );
    }

    // What was found to differ by itself stays marked, in this checkout and in another.
    for project in [&project, &env.copy(&project)] {
        let later = env.build(project);
        later.assert_nothing();
        for (cause, _) in SCRIPTS {
            assert_eq!(runs(&later.report)[cause].unstable, [cause]);
        }
        assert!(runs(&later.report)["steady"].unstable.is_empty());
    }
}

/// A compiler whose code generation gives other bytes each time, unless it has one unit of it.
#[test]
fn code_generation_on_several_threads() {
    let env = Env::new();
    let rustc = env.toolchain().sysroot().join("bin/rustc");
    let shim = std::fs::read_to_string(&rustc).expect("the toolchain is ours");
    let compiles = "exec \"$bin/rustc-real\" \"$@\"";
    assert!(shim.contains(compiles));
    let differing = r#"case " $* " in
*" --crate-name app "*" codegen-units=1 "* | *" -Ccodegen-units=1 "*) ;;
*" --crate-name app "*)
    "$bin/rustc-real" "$@" || exit
    for program in /vx/out/app-* /vx/out/app; do
        case $program in *.d) continue ;; esac
        [ -f "$program" ] && head -c 64 /dev/urandom >>"$program"
    done
    exit 0 ;;
esac
exec "$bin/rustc-real" "$@""#;
    std::fs::write(&rustc, shim.replace(compiles, differing)).expect("the toolchain is ours");
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() {}
        "#,
    );
    let _ = env.build(&project);
    let report = env.build_with(&project, &["--verify"]).report;
    let [action] = &report.actions[..] else {
        panic!("one action was expected: {:?}", report.actions);
    };
    let said = action
        .verified
        .as_ref()
        .expect("it was found, so it was run again");
    assert_eq!(said.fault, None);
    assert_eq!(said.differences.len(), 1, "{:?}", said.differences);
    assert_eq!(said.differences[0].causes, ["parallel-codegen"]);
    assert_eq!(action.unstable, ["parallel-codegen"]);
    env.build(&project).assert_nothing();
}
