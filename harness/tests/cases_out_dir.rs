//! What a program opens when it runs: files of an `OUT_DIR`, and files beside a manifest. They are
//! where the program looks for them, as with cargo.

use vx_harness::{CargoHome, Env, Project};

/// A workspace whose program prints an expression.
fn printing(expression: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [workspace]
        members = ["app", "helper"]
        resolver = "3"
        //- /app/Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        helper = {{ path = "../helper" }}
        //- /app/src/main.rs
        fn main() {{ println!("{{}}", {expression}); }}
        //- /helper/Cargo.toml
        [package]
        name = "helper"
        version = "0.1.0"
        edition = "2024"
        //- /helper/src/lib.rs
        pub const WORD: &str = "word";
        "#
    )
}

#[test]
fn directories_above_out_dir() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "{ let up = |n| std::path::Path::new(env!(\"OUT_DIR\")).ancestors().nth(n)\
         .and_then(|path| path.file_name()).and_then(|name| name.to_str()).unwrap(); \
         [up(0), up(2), up(3), env!(\"UP\")].join(\" \") }",
    ));
    app.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         let up = std::path::Path::new(&out).ancestors().nth(3).unwrap();\n    \
         assert!(up.is_dir());\n    \
         println!(\"cargo::rustc-env=UP={}\", up.file_name().unwrap().to_str().unwrap());\n}\n",
    );
    app.build("OUT_DIR's ancestors")
        .runs_scripts_of(["app"])
        .builds(["app", "app", "build_script_build", "helper"])
        .prints("out build debug debug");
    let copy = env.copy(app.project());
    app.at(copy)
        .build("OUT_DIR's ancestors: a copy")
        .builds(["app"])
        .prints("out build debug debug");
    app.build("OUT_DIR's ancestors: another profile")
        .with(&["--release"])
        .runs_scripts_of(["app"])
        .builds(["app", "app", "build_script_build", "helper"])
        .prints("out build release release");
    app.change("what is beside the program", |p| {
        p.edit(
            "app/src/main.rs",
            "[up(0), up(2), up(3), env!(\"UP\")].join(\" \")",
            "std::path::Path::new(env!(\"OUT_DIR\")).ancestors().nth(3).unwrap()\
             .join(\"app\").is_file() && up(1) != env!(\"UP\")",
        );
    })
    .builds(["app"])
    .prints("true");
}

/// Some scripts leave what a program wants beside it, three directories above `OUT_DIR`. It is
/// not kept, as nothing is that a script writes elsewhere; but it can be written.
#[test]
fn a_script_that_writes_above_out_dir() {
    let env = Env::new();
    let mut app = env.cases(&printing("helper::WORD"));
    app.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         let up = std::path::Path::new(&out).ancestors().nth(3).unwrap();\n    \
         std::fs::write(up.join(\"beside-the-program.txt\"), \"x\").unwrap();\n}\n",
    );
    app.build("a file written three directories above OUT_DIR")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "helper"])
        .prints("word");
}

/// A build script that leaves words in its `OUT_DIR`, and says a line to cargo.
fn leaving_words(words: &str, says: &str) -> String {
    format!(
        "fn main() {{\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         std::fs::create_dir_all(format!(\"{{out}}/deep\")).unwrap();\n    \
         std::fs::write(format!(\"{{out}}/deep/words.txt\"), \"{words}\").unwrap();\n    \
         std::fs::write(format!(\"{{out}}/words.rs\"), \"\\\"included\\\"\").unwrap();\n    {says}\n}}\n"
    )
}

/// Reads words by a path that a variable of the compile holds.
const OPENING: &str =
    "std::fs::read_to_string(concat!(env!(\"OUT_DIR\"), \"/deep/words.txt\")).unwrap()";

#[test]
fn files_of_out_dir_that_are_opened_when_it_runs() {
    let env = Env::new();
    let mut app = env.cases(&printing(OPENING));
    app.project()
        .write("app/build.rs", &leaving_words("one", ""));
    app.build("OUT_DIR opened at run time")
        .runs_scripts_of(["app"])
        .builds(["app", "app", "build_script_build", "helper"])
        .prints("one");
    app.build("OUT_DIR opened at run time: nothing changed")
        .builds([])
        .prints("one");
    app.change("an edit beside it", |p| {
        p.edit("app/src/main.rs", "\"{}\"", "\"{} too\"");
    })
    .builds(["app"])
    .prints("one too");
    app.change("what the script leaves changed", |p| {
        p.write("app/build.rs", &leaving_words("two", ""));
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("two too");
    app.change("what the script leaves as before", |p| {
        p.write("app/build.rs", &leaving_words("one", ""));
    })
    .builds([])
    .prints("one too");
    app.change(".vx removed", |p| p.remove(".vx"))
        .builds([])
        .prints("one too");
    let words = out_dir(app.project(), "app").join("deep/words.txt");
    app.change("a file of OUT_DIR overwritten", |_| {
        std::fs::write(&words, "other").expect("it is there");
    })
    .builds([])
    .prints("one too");
    app.change("a file added to OUT_DIR, and one removed", |_| {
        std::fs::write(words.with_file_name("more"), "x")
            .and_then(|()| std::fs::remove_file(&words))
            .expect("the project is ours");
    })
    .builds([])
    .prints("one too");
    assert!(!words.with_file_name("more").exists());
    let mut copy = app.at(env.copy(app.project()));
    copy.project().remove(".vx");
    copy.build("OUT_DIR opened at run time: a copy")
        .builds(["app"])
        .prints("one too");
    app.project().remove(".vx/build");
    copy.change("the first's OUT_DIR gone", |_| {})
        .builds([])
        .prints("one too");
    app.build("the first is as it was")
        .builds([])
        .prints("one too");
}

/// Where vx leaves the `OUT_DIR` of a package.
fn out_dir(project: &Project, package: &str) -> std::path::PathBuf {
    let builds = project.output("debug", "build");
    let named = std::fs::read_dir(&builds)
        .unwrap_or_else(|error| panic!("{}: {error}", builds.display()))
        .map(|entry| entry.expect("the project is ours").path())
        .find(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(package))
        });
    named.expect("the package has one").join("out")
}

#[test]
fn files_of_out_dir_that_a_script_names_by_a_variable() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "std::fs::read_to_string(env!(\"WORDS\").trim_start_matches(\"file://\")).unwrap()",
    ));
    let says = "println!(\"cargo::rustc-env=WORDS=file://{out}/deep/words.txt\");";
    app.project()
        .write("app/build.rs", &leaving_words("named", says));
    app.build("OUT_DIR by a variable")
        .runs_scripts_of(["app"])
        .builds(["app", "app", "build_script_build", "helper"])
        .prints("named");
    app.build("OUT_DIR by a variable: nothing changed")
        .builds([]);
    let copy = env.copy(app.project());
    app.at(copy)
        .build("OUT_DIR by a variable: a copy")
        .builds(["app"])
        .prints("named");
}

#[test]
fn files_of_a_librarys_out_dir() {
    let env = Env::new();
    let mut app = env.cases(&printing("helper::words()"));
    let project = app.project();
    project.write("helper/build.rs", &leaving_words("of a library", ""));
    project.write(
        "helper/src/lib.rs",
        &format!("pub fn words() -> String {{ {OPENING} }}\n"),
    );
    app.build("a library's OUT_DIR")
        .runs_scripts_of(["helper"])
        .builds(["app", "build_script_build", "helper", "helper"])
        .prints("of a library");
    app.build("a library's OUT_DIR: nothing changed").builds([]);
    app.change("a library's OUT_DIR: .vx removed", |p| p.remove(".vx"))
        .builds([])
        .prints("of a library");
    app.change("what the library's script leaves changed", |p| {
        p.write("helper/build.rs", &leaving_words("of a library now", ""));
    })
    .runs_scripts_of(["helper"])
    .builds(["app", "build_script_build", "helper"])
    .prints("of a library now");
    let copy = env.copy(app.project());
    app.at(copy)
        .build("a library's OUT_DIR: a copy")
        .builds(["app", "helper"])
        .prints("of a library now");
}

#[test]
fn files_of_out_dir_that_are_included() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "[include!(concat!(env!(\"OUT_DIR\"), \"/words.rs\")), \
         include_str!(concat!(env!(\"OUT_DIR\"), \"/deep/words.txt\"))].join(\" \")",
    ));
    app.project()
        .write("app/build.rs", &leaving_words("whole", ""));
    app.build("files of OUT_DIR included")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "helper"])
        .prints("included whole");
    let copy = env.copy(app.project());
    app.at(copy)
        .build("files of OUT_DIR included: a copy")
        .builds([])
        .prints("included whole");
    app.build("files of OUT_DIR included: optimised")
        .with(&["--release"])
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "helper"])
        .prints("included whole");
}

/// What a script wrote into a file stays as it was written. The program is unlike cargo's, and vx
/// says so.
#[test]
fn a_path_of_out_dir_in_a_file_that_is_included() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "std::path::Path::new(include_str!(concat!(env!(\"OUT_DIR\"), \"/place.txt\"))).is_dir()",
    ));
    let says = "std::fs::write(format!(\"{out}/place.txt\"), &out).unwrap();";
    app.project()
        .write("app/build.rs", &leaving_words("", says));
    let done = app
        .build("a path in a file of OUT_DIR")
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "app", "build_script_build", "helper"])
        .prints("false");
    let named = |build: &vx_harness::Build| {
        let program = build
            .report
            .actions
            .iter()
            .find(|action| action.unit == "bin \"app\"");
        program
            .expect("the program is an action")
            .fixed_places
            .clone()
    };
    let places = named(&done.build);
    assert_eq!(places.len(), 1);
    let again = app
        .build("a path in a file of OUT_DIR: again")
        .unlike_cargo()
        .builds([]);
    assert_eq!(named(&again.build), places);
}

/// A package outside of the checkout whose library opens a file beside its manifest.
fn opening_its_own(directory: &Project) {
    directory.write(
        "Cargo.toml",
        "[package]\nname = \"words\"\nversion = \"1.0.0\"\nedition = \"2024\"\n",
    );
    directory.write(
        "src/lib.rs",
        "pub fn words() -> String {\n    \
         let path = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/data/words.txt\");\n    \
         std::fs::read_to_string(path).unwrap()\n}\n",
    );
    directory.write("data/words.txt", "beside the manifest");
}

/// The workspace with a dependency that is no part of it.
fn depending_on_words(dependency: &str) -> String {
    printing("words::words()").replace(
        "[dependencies]",
        &format!("[dependencies]\n        words = {dependency}"),
    )
}

#[test]
fn files_of_a_git_package() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let repository = Project::from_text(&env.fresh_path("repository"), "");
    opening_its_own(&repository);
    env.git_init(&repository);
    let url = format!("file://{}", repository.path().display());
    let mut app = env.cases(&depending_on_words(&format!("{{ git = \"{url}\" }}")));
    app.build("a git package's file")
        .builds(["app", "helper", "words", "words"])
        .prints("beside the manifest");
    app.build("a git package's file: nothing changed")
        .builds([])
        .prints("beside the manifest");
    // Every checkout finds the package at one place.
    let copy = env.copy(app.project());
    app.at(copy)
        .build("a git package's file: a copy")
        .builds([])
        .prints("beside the manifest");
}

#[test]
fn files_of_a_vendored_package_and_of_its_out_dir() {
    let env = Env::new();
    let mut app = env.cases(&depending_on_words("\"1\""));
    let project = app.project();
    project.write(
        ".cargo/config.toml",
        "[source.crates-io]\nreplace-with = \"vendored\"\n[source.vendored]\ndirectory = \"vendor\"\n",
    );
    let words = Project::at(project.join("vendor/words"));
    opening_its_own(&words);
    words.write(".cargo-checksum.json", "{\"files\":{},\"package\":\"0000000000000000000000000000000000000000000000000000000000000000\"}");
    app.build("a vendored package's file")
        .builds(["app", "helper", "words", "words"])
        .prints("beside the manifest");
    app.change("a vendored package's OUT_DIR", |_| {
        words.write("build.rs", &leaving_words("made for it", ""));
        words.edit("src/lib.rs", "CARGO_MANIFEST_DIR", "OUT_DIR");
        words.edit("src/lib.rs", "data/words.txt", "deep/words.txt");
    })
    .runs_scripts_of(["words"])
    .builds(["app", "build_script_build", "words", "words"])
    .prints("made for it");
    let says =
        "println!(\"cargo::rustc-env=OUT={}\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());";
    app.change("a vendored package's file by a variable", |_| {
        words.write("build.rs", &leaving_words("made for it", says));
        words.edit("src/lib.rs", "env!(\"OUT_DIR\")", "env!(\"OUT\")");
        words.edit("src/lib.rs", "deep/words.txt", "data/words.txt");
    })
    .runs_scripts_of(["words"])
    .builds(["app", "build_script_build", "words", "words"])
    .prints("beside the manifest");
    let mut copy = app.at(env.copy(app.project()));
    copy.build("a vendored package's file: a copy")
        .builds(["app", "words"])
        .prints("beside the manifest");
    words.write("data/words.txt", "the first's");
    copy.build("a vendored package's file: the first's changed")
        .builds([])
        .prints("beside the manifest");
}

/// A library that is built first where only a macro needs it: that finds `OUT_DIR` at its fixed place,
/// where a program finds nothing.
#[test]
fn files_of_a_librarys_out_dir_for_a_macro_and_then_for_a_program() {
    let env = Env::new();
    let mut app = env.cases(&printing("helper::words()"));
    let project = app.project();
    // One unit for both.
    project.edit(
        "Cargo.toml",
        "resolver = \"3\"",
        "resolver = \"3\"\n[profile.dev]\ndebug = false",
    );
    project.write("helper/build.rs", &leaving_words("for both", ""));
    project.write(
        "helper/src/lib.rs",
        &format!("pub fn words() -> String {{ {OPENING} }}\n"),
    );
    project.edit("Cargo.toml", "\"helper\"", "\"helper\", \"macros\"");
    project.write(
        "macros/Cargo.toml",
        "[package]\nname = \"macros\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [lib]\nproc-macro = true\n[dependencies]\nhelper = { path = \"../helper\" }\n",
    );
    project.write(
        "macros/src/lib.rs",
        "#[proc_macro]\npub fn words(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
         format!(\"{:?}\", helper::words()).parse().unwrap()\n}\n",
    );
    let build = |package: &str| env.build_with(project, &["-p", package]);
    build("macros").assert_compiled(["build_script_build", "helper", "macros"]);
    // Once more: what leaves the build is looked through.
    build("app").assert_compiled(["app", "helper", "helper"]);
    app.build("for a macro, then for a program")
        .builds(["macros"])
        .prints("for both");
    app.build("nothing changed").builds([]);
}

/// A library that is compiled for link-time optimisation is bitcode alone.
#[test]
fn files_of_the_out_dir_of_a_library_in_bitcode() {
    let env = Env::new();
    let mut app = env.cases(&printing("helper::words()"));
    let project = app.project();
    project.edit(
        "Cargo.toml",
        "resolver = \"3\"",
        "resolver = \"3\"\n[profile.release]\nlto = true",
    );
    project.write("helper/build.rs", &leaving_words("in bitcode", ""));
    project.write(
        "helper/src/lib.rs",
        &format!("pub fn words() -> String {{ {OPENING} }}\n"),
    );
    app.build("a library's OUT_DIR, in bitcode")
        .with(&["--release"])
        .runs_scripts_of(["helper"])
        .builds(["app", "build_script_build", "helper", "helper"])
        .prints("in bitcode");
}

/// A library that is linked into a program and into a build script holds one path in both.
#[test]
fn files_of_a_library_that_a_script_uses_too() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "[helper::words(), env!(\"WORDS\").to_owned()].join(\" \")",
    ));
    let project = app.project();
    project.edit(
        "app/Cargo.toml",
        "[dependencies]",
        "[build-dependencies]\nhelper = { path = \"../helper\" }\n[dependencies]",
    );
    project.write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-env=WORDS={}\", helper::words());\n}\n",
    );
    project.write("helper/build.rs", &leaving_words("both", ""));
    project.write(
        "helper/src/lib.rs",
        &format!("pub fn words() -> String {{ {OPENING} }}\n"),
    );
    app.build("a library's OUT_DIR, for a program and a script")
        .runs_scripts_of(["app", "helper"])
        .builds([
            "app",
            "build_script_build",
            "build_script_build",
            "helper",
            "helper",
        ])
        .prints("both both");
    app.build("a library's OUT_DIR, for both: nothing changed")
        .builds([]);
    app.change("a library's OUT_DIR, for both: it changed", |p| {
        p.write("helper/build.rs", &leaving_words("each", ""));
    })
    .runs_scripts_of(["app", "helper"])
    .builds(["app", "build_script_build", "build_script_build", "helper"])
    .prints("each each");
}
