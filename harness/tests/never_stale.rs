//! Each kind of input, changed: what depends on it is compiled again, and nothing else.

use vx_harness::{Env, Project};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "library"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    description = "first"
    [features]
    extra = []
    [dependencies]
    library = { path = "../library" }
    //- /app/src/main.rs
    mod part;
    fn main() {
        println!("{} {} {}", part::PART, library::text(), include_str!("../../words.txt").trim());
        println!("{:?} {:?} {}", option_env!("VX_TEST_COLOUR"), cfg!(feature = "extra"), env!("CARGO_PKG_DESCRIPTION"));
    }
    //- /app/src/part.rs
    pub const PART: &str = "part-1";
    //- /words.txt
    words-1
    //- /library/Cargo.toml
    [package]
    name = "library"
    version = "0.1.0"
    edition = "2024"
    //- /library/build.rs
    fn main() {
        println!("cargo::rerun-if-changed=input.txt");
        println!("cargo::rerun-if-env-changed=VX_TEST_SCRIPT");
        let text = std::fs::read_to_string("input.txt").unwrap();
        let named = std::env::var("VX_TEST_SCRIPT").unwrap_or_default();
        println!("cargo::rustc-env=TEXT={}{named}", text.trim());
    }
    //- /library/input.txt
    input-1
    //- /library/src/lib.rs
    pub fn text() -> &'static str { env!("TEXT") }
    fn private() -> u32 { 1 }
    pub fn uses() -> u32 { private() }
    //- /library/notes.txt
    nobody reads this
"#;

fn said(project: &Project) -> String {
    vx_harness::program_output(&project.output("debug", "app"), project.path(), &[])
}

#[track_caller]
fn assert_says(project: &Project, words: &str) {
    let said = said(project);
    assert!(said.contains(words), "{words:?} is not in {said}");
}

#[test]
fn sources_and_included_files() {
    let env = Env::new();
    let project = env.project(PROJECT);
    env.build(&project)
        .assert_compiled(["app", "build_script_build", "library"]);
    assert_says(&project, "part-1 input-1 words-1");

    project.edit("app/src/part.rs", "part-1", "part-2");
    env.build(&project).assert_compiled(["app"]);
    assert_says(&project, "part-2");

    project.edit("words.txt", "words-1", "words-2");
    env.build(&project).assert_compiled(["app"]);
    assert_says(&project, "words-2");

    project.edit("library/notes.txt", "nobody", "still nobody");
    env.build(&project).assert_nothing();

    project.edit("library/src/lib.rs", "{ 1 }", "{ 2 }");
    env.build(&project).assert_compiled(["app", "library"]);

    // Back to what was: everything is there.
    project.edit("library/src/lib.rs", "{ 2 }", "{ 1 }");
    project.edit("words.txt", "words-2", "words-1");
    project.edit("app/src/part.rs", "part-2", "part-1");
    env.build(&project).assert_nothing();
    assert_says(&project, "part-1 input-1 words-1");
}

#[test]
fn a_change_of_the_same_length_at_the_same_time() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    let path = project.join("app/src/part.rs");
    let time = std::fs::metadata(&path)
        .and_then(|metadata| metadata.modified())
        .expect("it is there");
    project.edit("app/src/part.rs", "part-1", "part-9");
    let file = std::fs::File::options()
        .write(true)
        .open(&path)
        .expect("the project is ours");
    file.set_modified(time).expect("the project is ours");
    env.build(&project).assert_compiled(["app"]);
    assert_says(&project, "part-9");
}

#[test]
fn a_module_that_moves() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    project.remove("app/src/part.rs");
    let _ = env.vx(&project, &["build"]).code(101);
    project.write("app/src/part/mod.rs", "pub const PART: &str = \"moved\";\n");
    env.build(&project).assert_compiled(["app"]);
    assert_says(&project, "moved");
}

#[test]
fn what_a_build_script_named() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    project.edit("library/input.txt", "input-1", "input-2");
    env.build(&project).assert_compiled(["app", "library"]);
    assert_says(&project, "input-2");

    let named = |value: Option<&str>| {
        let mut command = env.command(env.program("vx"), &project);
        command.arg("build");
        if let Some(value) = value {
            command.env("VX_TEST_SCRIPT", value);
        }
        let _ = env.run(command).success();
    };
    named(Some("-named"));
    assert_says(&project, "input-2-named");
    named(Some("-again"));
    assert_says(&project, "input-2-again");
    named(None);
    assert_says(&project, "input-2 ");

    project.edit("library/build.rs", "TEXT={}", "TEXT=x{}");
    env.build(&project)
        .assert_compiled(["app", "build_script_build", "library"]);
    assert_says(&project, "xinput-2");
}

#[test]
fn variables_a_compile_named() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let coloured = |value: Option<&str>| {
        let before = env.toolchain().compiles().len();
        let mut command = env.command(env.program("vx"), &project);
        command.arg("build");
        if let Some(value) = value {
            command.env("VX_TEST_COLOUR", value);
        }
        let _ = env.run(command).success();
        env.compiled_since(before)
    };
    coloured(None);
    assert_says(&project, "None false");
    coloured(Some("red"));
    assert_says(&project, "Some(\"red\") false");
    coloured(Some("blue"));
    assert_says(&project, "Some(\"blue\") false");
    assert_eq!(coloured(Some("red")), [""; 0], "red was built before");
    assert_says(&project, "Some(\"red\") false");
    assert_eq!(coloured(None), [""; 0], "none was built before");
    assert_says(&project, "None false");
}

#[test]
fn features_manifests_and_profiles() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    env.build_with(&project, &["-p", "app", "-F", "extra"])
        .assert_compiled(["app"]);
    assert_says(&project, "None true");
    env.build(&project).assert_nothing();
    assert_says(&project, "None false");

    project.edit("app/Cargo.toml", "\"first\"", "\"second\"");
    env.build(&project).assert_compiled(["app"]);
    assert_says(&project, "second");

    project.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"library\"]\nresolver = \"3\"\n[profile.dev]\nopt-level = 1\n",
    );
    let build = env.build(&project);
    assert!(
        build.compiles.contains(&"app".to_owned()),
        "{:?}",
        build.compiles
    );
    assert!(
        build.compiles.contains(&"library".to_owned()),
        "{:?}",
        build.compiles
    );
}

#[test]
fn new_targets_and_members_are_noticed() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write(
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\", \"library\", \"more/*\"]\nresolver = \"3\"\n",
    );
    // A pattern that matches nothing is an error of cargo's.
    project.write(
        "more/first/Cargo.toml",
        "[package]\nname = \"first\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    project.write("more/first/src/lib.rs", "");
    let _ = env.build(&project);
    project.write("app/src/bin/late.rs", "fn main() { println!(\"late\"); }\n");
    env.build(&project).assert_compiled(["late"]);
    assert!(project.output("debug", "late").is_file());

    project.write(
        "more/new/Cargo.toml",
        "[package]\nname = \"new\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
    );
    project.write("more/new/src/main.rs", "fn main() {}\n");
    env.build(&project).assert_compiled(["new"]);
    assert!(project.output("debug", "new").is_file());
}

#[test]
fn flags_from_configuration_and_variables() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write(
        "app/src/part.rs",
        "pub const PART: &str = if cfg!(from_flags) { \"flag\" } else { \"plain\" };\n",
    );
    let _ = env.build(&project);
    assert_says(&project, "plain");
    project.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"--cfg\", \"from_flags\"]\n",
    );
    let _ = env.build(&project);
    assert_says(&project, "flag");
    project.remove(".cargo");
    env.build(&project).assert_nothing();
    assert_says(&project, "plain");
    let mut command = env.command(env.program("vx"), &project);
    command.arg("build").env("RUSTFLAGS", "--cfg from_flags");
    let _ = env.run(command).success();
    assert_says(&project, "flag");
}

#[test]
fn warnings_come_again_on_a_hit() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write(
        "library/src/lib.rs",
        "pub fn text() -> &'static str { env!(\"TEXT\") }\nfn unused_function() {}\n",
    );
    let first = env.build(&project);
    assert!(
        first.run.stderr.contains("unused_function"),
        "{}",
        first.run
    );
    let again = env.build(&project);
    again.assert_nothing();
    assert!(
        again.run.stderr.contains("unused_function"),
        "{}",
        again.run
    );
    let copy = env.copy(&project);
    let elsewhere = env.build(&copy);
    elsewhere.assert_nothing();
    assert!(
        elsewhere.run.stderr.contains("unused_function"),
        "{}",
        elsewhere.run
    );
}
