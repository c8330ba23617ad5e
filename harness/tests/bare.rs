//! Where the kernel really refuses namespaces: what is built, what is noticed, what is left.

use std::fs;

use vx_harness::{Daemon, Env, Project, assert_same_behaviour};

fn env() -> Env {
    Env::new().refusing_namespaces()
}

fn said(project: &Project, name: &str) -> String {
    vx_harness::program_output(&project.output("debug", name), project.path(), &[])
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
    first.build.report.assert_kept();
    for action in first.build.report.of("built") {
        assert_eq!(action.fixed_places, [""; 0], "{action:?}");
    }
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
    first.prints("outin").build.report.assert_kept();
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
    first.report.assert_kept();
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
    env.build(&project).report.assert_kept();
    assert!(said(&project, "app").contains("\n1\n"));
    env.build(&project).assert_nothing();
    project.write("native/word.h", "#define WORD 22\n");
    env.build(&project).assert_compiled(["app"]);
    assert!(said(&project, "app").contains("\n22\n"));
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
    first.report.assert_kept();
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
        run.report().assert_kept();
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
    first.wait().success().report().assert_kept();
    let _ = second.wait().success();
    assert!(said(&project, "one").contains("\nfirst\n"));
    assert!(said(&project, "two").contains("\nsecond\n"));
}

#[test]
fn ripgrep() {
    let env = env();
    let project = env.corpus("ripgrep");
    let first = env.build(&project);
    first.report.assert_kept();
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
