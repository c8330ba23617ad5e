//! Where the kernel really refuses namespaces: what is built, what is noticed, what is left.

use std::fs;
use std::time::Duration;

use vx_harness::{Daemon, Env, Project, Report, assert_same_behaviour};

fn env() -> Env {
    Env::new().refusing_namespaces()
}

fn said(project: &Project, name: &str) -> String {
    vx_harness::program_output(&project.output("debug", name), project.path(), &[])
}

/// Checks that every result of a build is kept.
#[track_caller]
fn assert_kept(report: &Report) {
    let lost: Vec<_> = report
        .actions
        .iter()
        .filter(|action| action.unpublished.is_some() || action.key.is_none())
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
}

const TWO_CRATES: &str = r#"
    //- /Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    leaf = { path = "leaf" }
    //- /src/main.rs
    fn main() { println!("{}", leaf::word()); }
    //- /leaf/Cargo.toml
    [package]
    name = "leaf"
    version = "0.1.0"
    edition = "2024"
    //- /leaf/src/lib.rs
    mod word;
    pub use word::word;
    //- /leaf/src/word.rs
    pub fn word() -> &'static str { "one" }
"#;

#[test]
fn builds_say_so_and_are_exact() {
    let env = env();
    let mut cases = env.cases(TWO_CRATES);
    let first = cases.build("from nothing").builds(["app", "leaf"]);
    let first = first.prints("one");
    assert!(first.build.report.isolation.is_some());
    assert_kept(&first.build.report);
    let again = cases.build("nothing to do").builds([]);
    assert!(again.build.report.isolation.is_some());
    cases
        .change("a module", |project| {
            project.edit("leaf/src/word.rs", "one", "two");
        })
        .builds(["app", "leaf"])
        .prints("two");
    cases
        .change("its body alone, and back", |project| {
            project.edit("leaf/src/word.rs", "two", "one");
        })
        .builds([])
        .prints("one");
    cases
        .change("the program", |project| {
            project.edit("src/main.rs", "{}", "<{}>");
        })
        .builds(["app"])
        .prints("<one>");
    cases
        .change("an error", |project| {
            project.edit("src/main.rs", "leaf::word()", "leaf::none()");
        })
        .fails();
}

#[test]
fn status_says_so() {
    let env = env();
    let project = env.project(TWO_CRATES);
    let _ = env.build(&project);
    let status = env.vx(&project, &["status", "--json"]).success();
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("it is JSON");
    let orchestrator = &status["orchestrator"];
    let fault = orchestrator["executor"]["isolation_fault"].as_str();
    assert!(fault.is_some_and(|fault| !fault.is_empty()), "{status:#}");
    assert_eq!(orchestrator["executor"]["trace_fault"], "", "{status:#}");
    assert_eq!(orchestrator["store"]["accepts_unisolated"], true);
}

#[test]
fn what_a_macro_reads_on_its_own_is_noticed_anywhere() {
    let env = env();
    let outside = env.root().join("outside.txt");
    fs::write(&outside, "out").expect("the environment is ours");
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        reads = { path = "reads" }
        //- /words/a.txt
        in
        //- /src/main.rs
        fn main() { println!("{}", reads::all!()); }
        //- /reads/Cargo.toml
        [package]
        name = "reads"
        version = "0.1.0"
        edition = "2024"
        [lib]
        proc-macro = true
        //- /reads/src/lib.rs
        #[proc_macro]
        pub fn all(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            let mut text = std::fs::read_to_string("OUTSIDE").unwrap();
            let mut paths: Vec<_> = std::fs::read_dir("words").unwrap().map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            for path in paths {
                text += std::fs::read_to_string(path).unwrap().trim();
            }
            format!("{text:?}").parse().unwrap()
        }
        "#,
    );
    project.edit(
        "reads/src/lib.rs",
        "OUTSIDE",
        outside.to_str().expect("an environment's paths are text"),
    );
    let mut cases = vx_harness::Cases::of(&env, project);
    let first = cases.build("from nothing").builds(["app", "reads"]);
    assert_kept(&first.prints("outin").build.report);
    cases.build("nothing to do").builds([]);
    cases
        .change("another file in the directory", |project| {
            project.write("words/b.txt", "and");
        })
        .builds(["app"])
        .prints("outinand");
    cases
        .change("a file outside of the checkout", |_| {
            fs::write(&outside, "OUT").expect("the environment is ours");
        })
        .builds(["app"])
        .prints("OUTinand");
    cases
        .change("the same again", |_| {
            fs::write(&outside, "OUT").expect("the environment is ours");
        })
        .builds([]);
}

#[test]
fn what_a_script_makes_is_found_at_its_place() {
    let env = env();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        links = "word"
        //- /build.rs
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::create_dir(format!("{out}/deep")).unwrap();
            std::fs::write(format!("{out}/deep/word.txt"), "one").unwrap();
            std::os::unix::fs::symlink(format!("{out}/deep/word.txt"), format!("{out}/link")).unwrap();
            std::fs::write(
                format!("{out}/made.rs"),
                format!("pub const WORD: &str = include_str!(\"{out}/deep/word.txt\");"),
            ).unwrap();
            println!("cargo::rustc-env=LINKED={out}/link");
            println!("cargo::rerun-if-changed=build.rs");
        }
        //- /src/main.rs
        include!(concat!(env!("OUT_DIR"), "/made.rs"));
        fn main() { println!("{WORD} {}", include_str!(env!("LINKED"))); }
        "#,
    );
    let first = env.build(&project);
    first.assert_compiled(["app", "build_script_build"]);
    assert_kept(&first.report);
    assert!(said(&project, "app").contains("\none one\n"));
    env.build(&project).assert_nothing();
    project.edit("build.rs", "\"one\"", "\"two\"");
    env.build(&project)
        .assert_compiled(["app", "build_script_build"]);
    assert!(said(&project, "app").contains("\ntwo two\n"));
    // After a restart nothing lies at any place any more.
    let _ = env.vx(&project, &["stop"]).success();
    env.assert_nothing_runs();
    env.build(&project).assert_nothing();
    project.edit("src/main.rs", "{WORD}", "<{WORD}>");
    env.build(&project).assert_compiled(["app"]);
    assert!(said(&project, "app").contains("\n<two> two\n"));
}

#[test]
fn a_header_of_a_native_library_is_an_input() {
    let env = env();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /native/word.h
        #define WORD 1
        //- /native/word.c
        #include "word.h"
        int word(void) { return WORD; }
        //- /build.rs
        use std::process::Command;
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            let run = |program: &str, arguments: &[&str]| {
                assert!(Command::new(program).args(arguments).status().unwrap().success());
            };
            run("cc", &["-c", "-o", &format!("{out}/word.o"), "native/word.c"]);
            run("ar", &["crs", &format!("{out}/libword.a"), &format!("{out}/word.o")]);
            println!("cargo::rustc-link-search=native={out}");
            println!("cargo::rustc-link-lib=static=word");
        }
        //- /src/main.rs
        unsafe extern "C" { safe fn word() -> i32; }
        fn main() { println!("{}", word()); }
        "#,
    );
    assert_kept(&env.build(&project).report);
    assert!(said(&project, "app").contains("\n1\n"));
    env.build(&project).assert_nothing();
    project.write("native/word.h", "#define WORD 22\n");
    env.build(&project).assert_compiled(["app"]);
    assert!(said(&project, "app").contains("\n22\n"));
}

/// A package whose build script is this, and whose program prints `WORD`.
fn script(env: &Env, body: &str) -> Project {
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() { println!("{}", option_env!("WORD").unwrap_or("none")); }
        "#,
    );
    project.write("build.rs", body);
    project
}

/// How often the build script's program was run again before its result stood.
fn again(report: &Report) -> usize {
    let runs = report.of("built");
    let mut runs = runs.filter(|action| action.kind == "run-build-script");
    runs.next().map_or(0, |run| run.again.len())
}

#[test]
fn a_script_that_writes_into_its_package_settles() {
    let env = env();
    let project = script(
        &env,
        r#"
        fn main() {
            std::fs::create_dir_all("completions").unwrap();
            std::fs::write("completions/app.bash", "complete").unwrap();
            std::fs::write("completions/app.fish", "complete").unwrap();
            // Through a file of another name, as careful programs do.
            std::fs::write("completions/.new", "list").unwrap();
            std::fs::rename("completions/.new", "completions/list").unwrap();
            println!("cargo::rerun-if-changed=completions");
            println!("cargo::rustc-env=WORD={}", std::fs::read_to_string("word.txt").unwrap().trim());
        }
        "#,
    );
    project.write("word.txt", "one");
    let first = env.build(&project);
    assert_kept(&first.report);
    assert!(again(&first.report) <= 1, "{:#?}", first.report);
    assert_eq!(project.read("completions/app.bash"), "complete");
    env.build(&project).assert_nothing();
    // What it read is an input as ever.
    project.write("word.txt", "two");
    let second = env.build(&project);
    assert_kept(&second.report);
    assert!(again(&second.report) <= 1, "{:#?}", second.report);
    assert!(said(&project, "app").contains("\ntwo\n"));
    env.build(&project).assert_nothing();
}

#[test]
fn what_a_script_reads_and_then_writes_is_its_input() {
    let env = env();
    let project = script(
        &env,
        r#"
        fn main() {
            let old = std::fs::read_to_string("state.txt").unwrap();
            let word = old.lines().next().unwrap().to_owned();
            std::fs::write("state.txt", format!("{word}\nmade of it\n")).unwrap();
            println!("cargo::rustc-env=WORD={word}");
        }
        "#,
    );
    project.write("state.txt", "one\n");
    let first = env.build(&project);
    assert_kept(&first.report);
    assert_eq!(again(&first.report), 1, "{:#?}", first.report);
    env.build(&project).assert_nothing();
    project.write("state.txt", "two\n");
    assert_kept(&env.build(&project).report);
    assert!(said(&project, "app").contains("\ntwo\n"));
    env.build(&project).assert_nothing();
}

#[test]
fn a_script_that_never_finds_the_same_runs_each_time_and_no_more_than_twice() {
    let env = env();
    let project = script(
        &env,
        r#"
        fn main() {
            let count: u32 = std::fs::read_to_string("count.txt").unwrap().trim().parse().unwrap();
            std::fs::write("count.txt", (count + 1).to_string()).unwrap();
            println!("cargo::rustc-env=WORD={count}");
        }
        "#,
    );
    project.write("count.txt", "0");
    for _ in 0..2 {
        let before: u32 = project.read("count.txt").parse().expect("a number");
        let build = env.build(&project);
        let after: u32 = project.read("count.txt").parse().expect("a number");
        assert_eq!(after - before, 2, "{:#?}", build.report);
        let script = build.report.of("built");
        let mut script = script.filter(|action| action.kind == "run-build-script");
        assert!(script.next().is_some_and(|run| run.unpublished.is_some()));
        assert!(said(&project, "app").contains(&format!("\n{}\n", after - 1)));
    }
}

#[test]
fn what_one_action_leaves_beside_its_outputs_is_no_hidden_input_of_another() {
    let env = env();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        leaves = { path = "leaves" }
        //- /build.rs
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            let word = std::fs::read_to_string(format!("{out}/../../../left.txt")).unwrap_or("nothing".into());
            println!("cargo::rustc-env=WORD={word}");
        }
        //- /src/main.rs
        fn main() { println!("{} {}", env!("WORD"), leaves::NAME); }
        //- /leaves/Cargo.toml
        [package]
        name = "leaves"
        version = "0.1.0"
        edition = "2024"
        links = "leaves"
        //- /leaves/build.rs
        fn main() {
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::write(format!("{out}/../../../left.txt"), "left").unwrap();
        }
        //- /leaves/src/lib.rs
        pub const NAME: &str = "leaves";
        "#,
    );
    let report = env.build(&project).report;
    let kept = |package: &str| {
        let actions = report.actions.iter();
        let mut runs = actions
            .filter(|action| action.package_name() == package && action.kind == "run-build-script");
        runs.next().is_some_and(|run| run.unpublished.is_none())
    };
    assert!(kept("leaves"));
    assert!(!kept("app"), "{report:#?}");
}

/// A script that leaves a process behind in a session of its own, and then goes on or waits.
fn daemonising(env: &Env, then: &str) -> Project {
    script(
        env,
        &format!(
            r#"
            unsafe extern "C" {{ fn fork() -> i32; fn setsid() -> i32; fn pause() -> i32; fn close(_: i32) -> i32; fn wait(_: *mut i32) -> i32; }}
            fn main() {{
                unsafe {{
                    if fork() == 0 {{
                        setsid();
                        if fork() == 0 {{
                            for descriptor in 0..3 {{ close(descriptor); }}
                            loop {{ pause(); }}
                        }}
                        std::process::exit(0);
                    }}
                    wait(std::ptr::null_mut());
                }}
                {then}
            }}
            "#
        ),
    )
}

#[test]
fn a_daemonised_child_goes_with_its_action() {
    let env = env();
    let project = daemonising(&env, "");
    assert_kept(&env.build(&project).report);
    env.assert_only(Duration::from_secs(10), |process| {
        process.name.starts_with("vx-")
    });
}

#[test]
fn an_executor_that_is_killed_leaves_nothing() {
    let env = env();
    let project = daemonising(
        &env,
        r#"
        let rustc = std::env::var("RUSTC").unwrap();
        let sysroot = std::path::Path::new(&rustc).parent().unwrap().parent().unwrap();
        let open = |name: &str| std::fs::OpenOptions::new().read(true).write(true).open(sysroot.join(name));
        std::io::Write::write_all(&mut open("vx-counter.fifo").unwrap(), b"@waits now\n").unwrap();
        if let Ok(hold) = open("hold/waits") {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut std::io::BufReader::new(hold), &mut line).unwrap();
        }
        "#,
    );
    let hold = env.toolchain().hold("waits");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("waits", 1);
    let scripts = || {
        let mut processes = env.processes();
        processes.retain(|process| process.command.ends_with("build-script-build"));
        processes
    };
    let first = scripts();
    assert!(first.len() >= 2, "{:#?}", env.processes());
    // Guards are named otherwise, and see to theirs themselves.
    for process in env.processes_named("vx-rhea") {
        process.kill();
    }
    for process in &first {
        assert!(
            process.wait_gone(Duration::from_secs(20)),
            "{process:?} outlived its executor"
        );
    }
    hold.release();
    let run = build.wait().success();
    assert_kept(&run.report());
    env.assert_only(Duration::from_secs(10), |process| {
        process.name.starts_with("vx-")
    });
}

/// A store of its own, and a home on it in which the kernel refuses namespaces.
fn on_shared_store(env: &Env, arguments: &[&str]) -> (Daemon, Env) {
    let store = env.root().join("store");
    let text = |path: &std::path::Path| path.to_str().expect("paths are text").to_owned();
    let endpoint = format!("unix:{}", env.root().join("shared.sock").display());
    let directory = text(&store);
    let mut all = vec!["--store", &directory, "--listen", &endpoint];
    all.extend(arguments);
    let daemon = Daemon::start(env, "vx-cass", &all).expect("the store starts");
    let home = env
        .sibling()
        .with_setting("VX_CASS", &endpoint)
        .with_setting("VX_CASS_SECRET_FILE", store.join("secret"))
        .refusing_namespaces();
    (daemon, home)
}

#[test]
fn a_store_that_was_not_told_to_keeps_nothing_of_it() {
    let env = Env::new();
    let (_store, home) = on_shared_store(&env, &[]);
    let project = home.project(TWO_CRATES);
    for _ in 0..2 {
        let build = home.build(&project);
        build.assert_compiled(["app", "leaf"]);
        assert!(
            build
                .report
                .of("built")
                .all(|action| action.unpublished.is_some())
        );
        assert!(said(&project, "app").contains("\none\n"));
    }
    let status = home.vx(&project, &["status", "--json"]).success();
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("it is JSON");
    assert_eq!(status["orchestrator"]["store"]["accepts_unisolated"], false);
    assert_eq!(status["orchestrator"]["store"]["results"], 0);
}

#[test]
fn a_store_that_was_told_to_keeps_it_apart() {
    let env = Env::new();
    let (_store, bare) = on_shared_store(&env, &["--accept-unisolated"]);
    let mut isolated = bare.sibling();
    let project = bare.project(TWO_CRATES);
    let first = bare.build(&project);
    first.assert_compiled(["app", "leaf"]);
    assert_kept(&first.report);
    bare.build(&project).assert_nothing();

    let other = isolated.build(&project);
    other.assert_compiled(["app", "leaf"]);
    assert!(other.report.isolation.is_none());
    isolated.build(&project).assert_nothing();
    bare.build(&project).assert_nothing();

    // The other way round, on sources that only an isolated build has seen.
    project.edit("leaf/src/word.rs", "one", "two");
    isolated.build(&project).assert_compiled(["app", "leaf"]);
    bare.build(&project).assert_compiled(["app", "leaf"]);
    assert!(said(&project, "app").contains("\ntwo\n"));

    // And by one home that comes to run where it is refused.
    let _ = isolated.vx(&project, &["stop"]).success();
    isolated = isolated.refusing_namespaces();
    let moved = isolated.build(&project);
    assert!(moved.report.isolation.is_some());
    moved.assert_compiled(["app", "leaf"]);
}

#[test]
fn two_checkouts_are_two() {
    let env = env();
    let one = env.project(TWO_CRATES);
    let two = env.copy(&one);
    two.edit("leaf/src/word.rs", "one", "two");
    let builds = [&one, &two].map(|project| env.start_vx(project, &["build"]));
    for build in builds {
        let run = build.wait().success();
        assert_kept(&run.report());
    }
    assert!(said(&one, "app").contains("\none\n"));
    assert!(said(&two, "app").contains("\ntwo\n"));
    env.build(&one).assert_nothing();
    env.build(&two).assert_nothing();
}

#[test]
fn builds_that_need_other_content_at_one_place_take_turns() {
    let env = env();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [workspace]
        members = ["one", "two", "leaf"]
        resolver = "3"
        //- /one/Cargo.toml
        [package]
        name = "one"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        leaf = { path = "../leaf" }
        //- /one/src/main.rs
        fn main() { println!("{}", leaf::WORD); }
        //- /two/Cargo.toml
        [package]
        name = "two"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        leaf = { path = "../leaf" }
        //- /two/src/main.rs
        fn main() { println!("{}", leaf::WORD); }
        //- /leaf/Cargo.toml
        [package]
        name = "leaf"
        version = "0.1.0"
        edition = "2024"
        //- /leaf/src/lib.rs
        pub const WORD: &str = env!("WORD");
        "#,
    );
    let start = |package: &str, word: &str| {
        env.start_vx_with(&project, &["build", "-p", package], &[("WORD", word)])
    };
    let hold = env.toolchain().hold("one");
    let first = start("one", "first");
    env.toolchain().wait_for("one", 1);
    let second = start("two", "second");
    // Its library is there, and lies where the first one's is in use.
    env.toolchain().wait_for("leaf", 2);
    hold.release();
    assert_kept(&first.wait().success().report());
    let _ = second.wait().success();
    assert!(said(&project, "one").contains("\nfirst\n"));
    assert!(said(&project, "two").contains("\nsecond\n"));
}

#[test]
fn ripgrep() {
    let env = env();
    let project = env.corpus("ripgrep");
    let first = env.build(&project);
    assert_kept(&first.report);
    let cargo = env.cargo_build(&project, "debug", &["--locked"]);
    let fixture = env.project("//- /poem.txt\ntiger, tiger\nburning bright\n");
    assert_same_behaviour(
        &project.output("debug", "rg"),
        &cargo.join("rg"),
        fixture.path(),
        &[&["--version"], &["--help"], &["-n", "tiger"]],
    );
    env.build(&project).assert_nothing();
    project.edit("crates/core/main.rs", "fn main()", "/* edited */ fn main()");
    env.build(&project).assert_compiled(["rg"]);
}
