//! Files in cargo's target directory, and directories of the project that are named as one: actions
//! see them as cargo's do, and what they look at counts.

use vx_harness::Env;

const PROJECT: &str = r#"
    //- /Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    //- /src/main.rs
    fn main() { println!("{}", include_str!("../target/g.txt").trim()); }
    //- /target/g.txt
    one
    //- /assets/g.txt
    one
"#;

/// A script that passes on which files are in a directory and what they hold.
const LISTS: &str = r#"
fn main() {
    let mut all: Vec<_> = std::fs::read_dir("assets").unwrap().map(|e| e.unwrap().path()).collect();
    all.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    all.sort();
    let words: Vec<_> = all.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    println!("cargo::rustc-env=WORDS={}", words.concat().replace('\n', " ").trim());
}
"#;

const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n";

#[test]
fn a_file_in_the_target_directory() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("in a directory of the project's own")
        .builds(["app"])
        .prints("one");
    app.change("it changed", |p| p.write("target/g.txt", "two\n"))
        .builds(["app"])
        .prints("two");
    app.change("cargo made the directory", |p| {
        p.write("target/CACHEDIR.TAG", TAG);
        p.write("target/debug/other", "");
    })
    .builds([])
    .prints("two");
    app.change("it changed there", |p| p.write("target/g.txt", "three\n"))
        .builds(["app"])
        .prints("three");
    app.change("cargo left more there", |p| {
        p.write("target/debug/more", "")
    })
    .builds([]);
    app.change("it is gone", |p| p.remove("target/g.txt"))
        .fails();
    app.change("it is as at first", |p| p.write("target/g.txt", "one\n"))
        .builds([])
        .prints("one");
}

#[test]
fn scripts_and_a_target_directory() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    let p = app.project();
    p.write("build.rs", &LISTS.replace("assets", "target"));
    p.write("target/CACHEDIR.TAG", TAG);
    p.write("src/main.rs", "fn main() { println!(env!(\"WORDS\")); }\n");
    app.build("a script that reads there")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("one");
    app.build("nothing changed").builds([]);
    app.change("a file there changed", |p| p.write("target/g.txt", "two\n"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two");
    app.change("a file more", |p| p.write("target/h.txt", "three\n"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two three");
    app.change("a directory more, of which only the name is read", |p| {
        p.write("target/debug/x", "1")
    })
    .runs_scripts_of(["app"])
    .builds([]);
    app.change("changed", |p| p.write("target/debug/x", "2"))
        .builds([]);
}

#[test]
fn a_directory_of_the_project_that_is_named_as_the_target() {
    let name = "CARGO_TARGET_DIR";
    for first in [true, false] {
        let env = Env::new();
        let mut app = env.cases(PROJECT);
        app.project().edit("src/main.rs", "target", "assets");
        if first {
            app.build("without the variable").builds(["app"]);
            app.build("with it").given(name, "assets").builds([]);
        } else {
            app.build("with the variable, first")
                .given(name, "assets")
                .builds(["app"]);
            app.build("without it").builds([]);
        }
        app.change("changed, without", |p| p.write("assets/g.txt", "two\n"))
            .builds(["app"])
            .prints("two");
        app.build("and with").given(name, "assets").builds([]);
        app.change("changed, with", |p| p.write("assets/g.txt", "three\n"))
            .given(name, "assets")
            .builds(["app"])
            .prints("three");
        app.build("and without").builds([]).prints("three");
        app.change("by the configuration", |p| {
            p.write(".cargo/config.toml", "[build]\ntarget-dir = \"assets\"\n");
        })
        .builds([])
        .prints("three");
        app.change("changed by then", |p| p.write("assets/g.txt", "four\n"))
            .builds(["app"])
            .prints("four");
    }
}

#[test]
fn scripts_and_a_directory_that_is_named_as_the_target() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    let p = app.project();
    p.write("build.rs", LISTS);
    p.write("src/main.rs", "fn main() { println!(env!(\"WORDS\")); }\n");
    let name = "CARGO_TARGET_DIR";
    app.build("a script that lists it")
        .given(name, "assets")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("one");
    app.build("without the variable").builds([]).prints("one");
    app.change("a file more", |p| p.write("assets/h.txt", "two\n"))
        .given(name, "assets")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("one two");
    app.build("without the variable again").builds([]);
}
