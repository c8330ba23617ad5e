//! Where the kernel really refuses namespaces: build scripts, what they change, and what they
//! leave behind.

use std::time::Duration;

use vx_harness::{Env, Project, Report};

fn env() -> Env {
    Env::new().refusing_namespaces()
}

fn said(project: &Project, name: &str) -> String {
    vx_harness::program_output(&project.output("debug", name), project.path(), &[])
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
    first.report.assert_kept();
    assert!(again(&first.report) <= 1, "{:#?}", first.report);
    assert_eq!(project.read("completions/app.bash"), "complete");
    env.build(&project).assert_nothing();
    // What it read is an input as ever.
    project.write("word.txt", "two");
    let second = env.build(&project);
    second.report.assert_kept();
    assert!(again(&second.report) <= 1, "{:#?}", second.report);
    assert!(said(&project, "app").contains("\ntwo\n"));
    env.build(&project).assert_nothing();
}

#[test]
fn sources_that_a_script_writes_are_those_of_its_result() {
    let env = env();
    let project = script(
        &env,
        r#"
        fn main() {
            let word = std::fs::read_to_string("word.txt").unwrap();
            std::fs::write("src/word.rs", format!("pub const WORD: &str = {:?};", word.trim())).unwrap();
            println!("cargo::rerun-if-changed=word.txt");
        }
        "#,
    );
    project.write(
        "src/main.rs",
        "mod word;\nfn main() { println!(\"{}\", word::WORD); }\n",
    );
    for word in ["one", "two", "one"] {
        project.write("word.txt", word);
        let _ = env.build(&project);
        assert!(said(&project, "app").contains(&format!("\n{word}\n")));
        env.build(&project).assert_nothing();
    }
    project.remove("src/word.rs");
    let _ = env.build(&project);
    assert!(said(&project, "app").contains("\none\n"));
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
    first.report.assert_kept();
    assert_eq!(again(&first.report), 1, "{:#?}", first.report);
    env.build(&project).assert_nothing();
    project.write("state.txt", "two\n");
    env.build(&project).report.assert_kept();
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
    env.build(&project).report.assert_kept();
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
    run.report().assert_kept();
    env.assert_only(Duration::from_secs(10), |process| {
        process.name.starts_with("vx-")
    });
}
