//! Files that change while a build runs, and builds that run at the same time: what a build
//! publishes is of one state of the files, and the next build is right.

use vx_harness::{Env, Project, Run, program_output};

/// A program over a library, whose build script can be held once it has read a file; and a
/// macro that can be held before and after it has read one.
const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "library", "magic"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    library = { path = "../library" }
    magic = { path = "../magic" }
    //- /app/src/main.rs
    const TEXT: &str = magic::text!("text.txt");
    fn main() { println!("{TEXT} {} {}", library::WORD, library::INPUT); }
    //- /app/text.txt
    text-1
    //- /library/Cargo.toml
    [package]
    name = "library"
    version = "0.1.0"
    edition = "2024"
    //- /library/build.rs
    use std::io::{Read, Write};
    fn pause(name: &str) {
        let Ok(mut hold) = std::fs::File::open(format!("/vx/toolchain/hold/{name}")) else { return };
        let events = std::fs::OpenOptions::new().write(true).open("/vx/toolchain/vx-counter.fifo");
        events.unwrap().write_all(format!("@{name} -\n").as_bytes()).unwrap();
        hold.read_exact(&mut [0]).unwrap();
    }
    fn main() {
        println!("cargo::rerun-if-changed=input.txt");
        let input = std::fs::read_to_string("input.txt").unwrap();
        pause("script");
        println!("cargo::rustc-env=INPUT={}", input.trim());
    }
    //- /library/input.txt
    input-1
    //- /library/src/lib.rs
    pub const WORD: &str = "word-1";
    pub const INPUT: &str = env!("INPUT");
    //- /magic/Cargo.toml
    [package]
    name = "magic"
    version = "0.1.0"
    edition = "2024"
    [lib]
    proc-macro = true
    //- /magic/src/lib.rs
    use proc_macro::TokenStream;
    use std::io::{Read, Write};
    fn pause(name: &str) {
        let Ok(mut hold) = std::fs::File::open(format!("/vx/toolchain/hold/{name}")) else { return };
        let events = std::fs::OpenOptions::new().write(true).open("/vx/toolchain/vx-counter.fifo");
        events.unwrap().write_all(format!("@{name} -\n").as_bytes()).unwrap();
        hold.read_exact(&mut [0]).unwrap();
    }
    /// What a file holds.
    #[proc_macro]
    pub fn text(input: TokenStream) -> TokenStream {
        let place = std::env::var("CARGO_MANIFEST_DIR").unwrap();
        let place = format!("{place}/{}", input.to_string().trim_matches('"'));
        pause("before");
        let text = std::fs::read_to_string(place).unwrap();
        pause("after");
        format!("{:?}", text.trim()).parse().unwrap()
    }
"#;

/// What the program prints.
fn said(project: &Project) -> String {
    let said = program_output(&project.output("debug", "app"), project.path(), &[]);
    let stdout = said.split_once("--- stdout\n").expect("it has this form").1;
    let stdout = stdout.split_once("--- stderr").expect("it has this form").0;
    stdout.trim_end().to_owned()
}

/// Checks a build that files changed under, and the builds after it.
#[track_caller]
fn assert_right(name: &str, env: &Env, project: &Project, run: Run, words: &str) {
    let run = run.success();
    assert_eq!(said(project), words, "case `{name}`: {run}");
    // What it could not publish is built now; then there is nothing more to do.
    let _ = env.build(project);
    assert_eq!(said(project), words, "case `{name}`: the next build");
    env.build(project).assert_nothing();
    assert_eq!(said(project), words, "case `{name}`: the build after it");
}

#[test]
fn a_file_that_a_build_script_has_read() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    project.write("library/input.txt", "input-2\n");
    hold.release();
    let run = build.wait();
    let name = "changed after the script read it";
    assert_right(name, &env, &project, run, "text-1 word-1 input-2");

    // Back to the first state, which no build has published.
    project.write("library/input.txt", "input-1\n");
    let _ = env.build(&project);
    assert_eq!(said(&project), "text-1 word-1 input-1", "and back");
}

#[test]
fn a_file_that_a_build_script_named_and_that_went() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    project.remove("library/input.txt");
    hold.release();
    // The file is gone for good: whatever this build makes of it, the next one says so.
    let _ = build.wait();
    let run = env.vx(&project, &["build"]);
    assert_eq!(run.status.code(), Some(101), "{run}");
    project.write("library/input.txt", "input-3\n");
    let _ = env.build(&project);
    assert_eq!(said(&project), "text-1 word-1 input-3");
}

#[test]
fn a_link_that_leads_elsewhere_meanwhile() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write("inputs/one.txt", "input-1\n");
    project.write("inputs/two.txt", "input-2\n");
    project.link("library/input.txt", "../inputs/one.txt");
    let hold = env.toolchain().hold("script");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    project.link("library/input.txt", "../inputs/two.txt");
    hold.release();
    let run = build.wait();
    let name = "a link led elsewhere after the script read it";
    assert_right(name, &env, &project, run, "text-1 word-1 input-2");
}

#[test]
fn a_module_that_appears_meanwhile() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write("app/src/part.rs", "pub const PART: &str = \"part\";\n");
    project.edit("app/src/main.rs", "const TEXT", "mod part;\nconst TEXT");
    let line = "println!(\"{TEXT} {} {}\", ";
    let with_part = "println!(\"{TEXT} {} {} {}\", part::PART, ";
    project.edit("app/src/main.rs", line, with_part);
    let hold = env.toolchain().hold("after");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("after", 1);
    project.write("app/src/part/mod.rs", "");
    hold.release();
    // Two files for one module are an error, whenever the second came.
    let _ = build.wait();
    let _ = env.vx(&project, &["build"]).code(101);
    project.remove("app/src/part");
    let _ = env.build(&project);
    assert_eq!(said(&project), "text-1 part word-1 input-1");
}

#[test]
fn sources_of_a_later_unit() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    project.edit("library/src/lib.rs", "word-1", "word-2");
    project.write("app/text.txt", "text-2\n");
    hold.release();
    let run = build.wait();
    let name = "a later unit's source changed while a script ran";
    assert_right(name, &env, &project, run, "text-2 word-2 input-1");
}

#[test]
fn a_source_whose_compiler_is_about_to_start() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("library");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for("library", 1);
    project.edit("library/src/lib.rs", "word-1", "word-2");
    hold.release();
    let run = build.wait();
    let name = "a source changed before its compiler read it";
    assert_right(name, &env, &project, run, "text-1 word-2 input-1");
}

#[test]
fn a_source_that_the_compiler_has_read() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("after");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("after", 1);
    project.edit("app/src/main.rs", "{TEXT}", "new {TEXT}");
    hold.release();
    let run = build.wait();
    let name = "a source changed after its compiler read it";
    assert_right(name, &env, &project, run, "new text-1 word-1 input-1");
}

/// Two directories, none newer than the build, of which the one is put in the other's place: no
/// file in them shows it by its time.
fn two_parts(project: &Project) {
    let write = |part: &str| {
        let text = format!("pub const PART: &str = \"{part}\";\n");
        project.write(&format!("{part}/mod.rs"), &text);
        let metadata = std::fs::metadata(project.join(&format!("{part}/mod.rs")));
        let modified = metadata.and_then(|metadata| metadata.modified());
        modified.expect("it was just written")
    };
    let first = write("part-1");
    // Files are stamped by a clock that goes on by ticks.
    while write("part-2") == first {}
}

fn swap_parts(project: &Project, place: &str) {
    project.rename(place, "gone");
    project.rename("part-2", place);
}

#[test]
fn a_directory_that_is_swapped_under_a_plain_compile() {
    let env = Env::new();
    let project = env.project(PROJECT);
    two_parts(&project);
    project.rename("part-1", "library/src/part");
    project.edit("library/src/lib.rs", "\"word-1\"", "part::PART");
    // The compiler reads modules first, and then waits for what comes through here.
    let gate = project.gate("library/gate");
    let text = project.read("library/src/lib.rs");
    let gated = "mod part;\npub const GATE: &str = include_str!(\"../gate\");\n";
    project.write("library/src/lib.rs", &format!("{gated}{text}"));
    let build = env.start_vx(&project, &["build"]);
    gate.let_one_through(|| swap_parts(&project, "library/src/part"));
    let run = gate.stay_open_while(|| build.wait());
    let name = "a directory swapped after a plain compile read from it";
    gate.stay_open_while(|| {
        assert_right(name, &env, &project, run, "text-1 part-2 input-1");
    });
}

#[test]
fn a_directory_that_is_swapped_under_a_macro() {
    let env = Env::new();
    let project = env.project(PROJECT);
    two_parts(&project);
    project.rename("part-1", "app/parts");
    project.edit("app/src/main.rs", "\"text.txt\"", "\"parts/mod.rs\"");
    let hold = env.toolchain().hold("after");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("after", 1);
    swap_parts(&project, "app/parts");
    hold.release();
    let run = build.wait();
    let name = "a directory swapped after a macro read from it";
    let words = "pub const PART: &str = \"part-2\"; word-1 input-1";
    assert_right(name, &env, &project, run, words);
}

#[test]
fn a_file_that_a_macro_has_read() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("after");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("after", 1);
    project.write("app/text.txt", "text-2\n");
    hold.release();
    let run = build.wait();
    let name = "changed after a macro read it";
    assert_right(name, &env, &project, run, "text-2 word-1 input-1");
}

#[test]
fn a_file_that_changed_and_changed_back() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let before = env.toolchain().hold("before");
    let after = env.toolchain().hold("after");
    let build = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("before", 1);
    project.write("app/text.txt", "text-2\n");
    before.release();
    env.toolchain().wait_for_event("after", 1);
    project.write("app/text.txt", "text-1\n");
    after.release();
    let run = build.wait();
    // The file is as it was when the build began; what the macro saw is not.
    let name = "changed and changed back around a read";
    assert_right(name, &env, &project, run, "text-1 word-1 input-1");
}

#[test]
fn two_builds_in_one_checkout() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let one = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    let two = env.start_vx(&project, &["build"]);
    hold.release();
    let (one, two) = (one.wait().success(), two.wait().success());
    assert_eq!(
        env.compiled_since(0),
        ["app", "build_script_build", "library", "magic"],
        "two builds of the same: each crate once\n{one}\n{two}"
    );
    assert_eq!(said(&project), "text-1 word-1 input-1", "{one}\n{two}");
    env.build(&project).assert_nothing();
}

#[test]
fn two_builds_of_different_things_in_one_checkout() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let one = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    let two = env.start_vx(&project, &["build", "--release"]);
    env.toolchain().wait_for_event("script", 2);
    hold.release();
    let (one, two) = (one.wait().success(), two.wait().success());
    assert_eq!(said(&project), "text-1 word-1 input-1", "{one}\n{two}");
    assert!(project.output("release", "app").is_file(), "{one}\n{two}");
    env.build(&project).assert_nothing();
    env.build_with(&project, &["--release"]).assert_nothing();
}

#[test]
fn an_edit_between_two_builds_in_one_checkout() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let hold = env.toolchain().hold("script");
    let one = env.start_vx(&project, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    project.write("library/input.txt", "input-2\n");
    project.edit("library/src/lib.rs", "word-1", "word-2");
    let two = env.start_vx(&project, &["build"]);
    hold.release();
    let (one, two) = (one.wait().success(), two.wait().success());
    // Whichever ends last leaves its program: both began to compile after the edit.
    assert_eq!(said(&project), "text-1 word-2 input-2", "{one}\n{two}");
    let _ = env.build(&project);
    assert_eq!(said(&project), "text-1 word-2 input-2", "the next build");
    env.build(&project).assert_nothing();
}

#[test]
fn two_checkouts_that_differ() {
    let env = Env::new();
    let first = env.project(PROJECT);
    let second = env.copy(&first);
    second.write("library/input.txt", "input-2\n");
    let hold = env.toolchain().hold("script");
    let one = env.start_vx(&first, &["build"]);
    env.toolchain().wait_for_event("script", 1);
    let two = env.start_vx(&second, &["build"]);
    hold.release();
    let (one, two) = (one.wait().success(), two.wait().success());
    assert_eq!(said(&first), "text-1 word-1 input-1", "{one}");
    assert_eq!(said(&second), "text-1 word-1 input-2", "{two}");
    env.build(&first).assert_nothing();
    env.build(&second).assert_nothing();
}
