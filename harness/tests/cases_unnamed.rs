//! What nobody names and an action reads all the same, or finds by another name.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use vx_harness::Env;

/// A program whose script leaves this in `FOUND`.
fn scripted(found: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {{
            let found = {{ {found} }};
            println!("cargo::rustc-env=FOUND={{}}", found);
        }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", env!("FOUND")); }}
        "#
    )
}

#[test]
fn what_the_assembler_includes() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/lib.rs
        core::arch::global_asm!(
            ".section .rodata", ".global vx_case_blob", "vx_case_blob:",
            concat!(".incbin \"", env!("CARGO_MANIFEST_DIR"), "/blob\""), ".previous",
        );
        unsafe extern "C" { static vx_case_blob: u8; }
        pub fn blob() -> char { unsafe { vx_case_blob as char } }
        //- /src/main.rs
        fn main() { println!("{}", app::blob()); }
        "#,
    );
    app.change("a blob", |app| app.write("blob", "1"))
        .builds(["app", "app"])
        .prints("1");
    app.change("another", |app| app.write("blob", "2"))
        .builds(["app", "app"])
        .prints("2");
    app.build("the same").builds([]);
}

#[test]
fn what_another_packages_script_made() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        members = ["made", "between"]
        [dependencies]
        between = { path = "between" }
        //- /src/main.rs
        fn main() { println!("{}", between::NUMBER); }
        //- /made/Cargo.toml
        [package]
        name = "made"
        version = "0.1.0"
        edition = "2024"
        links = "made"
        //- /made/src/lib.rs
        //- /made/number
        1
        //- /made/build.rs
        fn main() {
            println!("cargo::rerun-if-changed=number");
            let number = std::fs::read_to_string("number").unwrap();
            let path = format!("{}/made.rs", std::env::var("OUT_DIR").unwrap());
            std::fs::write(&path, format!("pub const NUMBER: u32 = {};", number.trim())).unwrap();
            println!("cargo::metadata=path={path}");
        }
        //- /between/Cargo.toml
        [package]
        name = "between"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        made = { path = "../made" }
        //- /between/src/lib.rs
        include!(env!("MADE"));
        //- /between/build.rs
        fn main() { println!("cargo::rustc-env=MADE={}", std::env::var("DEP_MADE_PATH").unwrap()); }
        "#,
    );
    let _ = app
        .build("first build")
        .runs_scripts_of(["between", "made"])
        .builds([
            "app",
            "between",
            "build_script_build",
            "build_script_build",
            "made",
        ])
        .prints("1");
    let _ = app
        .change("another number", |app| app.write("made/number", "2"))
        .runs_scripts_of(["between", "made"])
        .builds(["app", "between", "made"])
        .prints("2");
}

#[test]
fn a_link_that_a_directory_is_entered_by() {
    let env = Env::new();
    let mut app = env.cases(&scripted(
        r#"
        let mut cat = std::process::Command::new("cat");
        let output = cat.arg("word").current_dir("current").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
        "#,
    ));
    app.change("a link to one", |app| {
        app.write("one/word", "first");
        app.write("two/word", "second");
        app.link("current", "one");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("first");
    app.change("a link to two", |app| {
        app.remove("current");
        app.link("current", "two");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("second");
    app.build("the same").builds([]);
}

#[test]
fn links_to_files_whose_places_the_kernel_tells() {
    let env = Env::new();
    let mut app = env.cases(&scripted(
        r#"
        use std::fs::{File, OpenOptions, read_link, read_to_string};
        use std::os::{fd::AsRawFd, unix::fs::OpenOptionsExt};
        use std::process::{Command, Stdio};
        let word_beside = |link: String| {
            let file = read_link(link).unwrap();
            read_to_string(file.with_file_name("word")).unwrap()
        };
        let opened = File::open("opened/mark").unwrap();
        let opened = word_beside(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        let named = OpenOptions::new().read(true).custom_flags(0o10000000).open("named").unwrap();
        let named = read_to_string(format!("/proc/self/fd/{}", named.as_raw_fd())).unwrap();
        let mut cat = Command::new("run/cat").stdin(Stdio::piped()).spawn().unwrap();
        let run = word_beside(format!("/proc/{}/exe", cat.id()));
        drop(cat.stdin.take());
        cat.wait().unwrap();
        format!("{opened} {named} {run}")
        "#,
    ));
    app.change("links to one", |app| {
        let cat = fs::read("/bin/cat").unwrap();
        for number in ["one", "two"] {
            app.write(&format!("{number}/mark"), "");
            app.write(&format!("{number}/word"), number);
            app.write_program(&format!("{number}/cat"), "");
            fs::write(app.join(number).join("cat"), &cat).unwrap();
        }
        app.link("opened", "one");
        app.link("named", "one/word");
        app.link("run", "one");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("one one one");
    for (link, target, printed) in [
        ("opened", "two", "two one one"),
        ("named", "two/word", "two two one"),
        ("run", "two", "two two two"),
    ] {
        app.change(link, |app| app.link(link, target))
            .runs_scripts_of(["app"])
            .builds(["app"])
            .prints(printed);
    }
    app.build("the same").builds([]);
}

#[test]
fn what_is_behind_a_link_that_could_not_be_written() {
    let env = Env::new();
    let mut app = env.cases(&scripted(
        r#"
        use std::fs::{OpenOptions, create_dir, read_dir, read_to_string, rename};
        OpenOptions::new().write(true).open("some").unwrap_err();
        OpenOptions::new().write(true).create_new(true).open("some").unwrap_err();
        create_dir("some").unwrap_err();
        rename("some", "other").unwrap_err();
        let found = read_dir("some").unwrap();
        let mut all: Vec<_> = found.map(|one| read_to_string(one.unwrap().path()).unwrap()).collect();
        all.sort();
        all.join(" ")
        "#,
    ));
    app.change("a file", |app| {
        app.write("real/one", "one");
        app.write("other/file", "");
        app.link("some", "real");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("one");
    app.change("its text", |app| app.write("real/one", "first"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("first");
    app.change("another", |app| app.write("real/two", "second"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("first second");
    app.build("the same").builds([]);
}

#[test]
fn what_a_listing_says_of_its_names() {
    let env = Env::new();
    let mut app = env.cases(&scripted(
        r#"
        let mut all: Vec<String> = std::fs::read_dir("some").unwrap().map(|entry| {
            let entry = entry.unwrap();
            format!("{:?}{}", entry.file_name(), entry.file_type().unwrap().is_symlink())
        }).collect();
        all.sort();
        all.join(" ").replace('\\', "/")
        "#,
    ));
    let name = |byte: u8| OsStr::from_bytes(&[b'e', byte]).to_owned();
    let _ = app
        .change("files", |app| {
            app.write("some/a", "");
            app.write("some/b", "");
            fs::write(app.join("some").join(name(0xe9)), "").unwrap();
        })
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"]);
    let _ = app
        .change("a link in a file's place", |app| {
            app.remove("some/b");
            symlink("a", app.join("some/b")).unwrap();
        })
        .runs_scripts_of(["app"])
        .builds(["app"]);
    let _ = app
        .change("another name that is no UTF-8", |app| {
            let some = app.join("some");
            fs::rename(some.join(name(0xe9)), some.join(name(0xe8))).unwrap();
        })
        .runs_scripts_of(["app"])
        .builds(["app"]);
    let _ = app.build("the same").builds([]);
}

#[test]
fn a_directory_of_a_program_that_becomes_a_link() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() {}
        //- /src/bin/extra/main.rs
        fn main() {}
        "#,
    );
    let programs = || {
        let told = env.vx(&project, &["build", "--plan"]).success().stdout;
        let told: serde_json::Value = serde_json::from_str(&told).expect("a plan is JSON");
        let units = told["plan"]["units"].as_array().map_or(0, Vec::len);
        (units, told["from"].as_str().unwrap_or_default().to_owned())
    };
    let _ = programs();
    assert_eq!(programs(), (2, "memo".to_owned()));
    fs::rename(project.join("src/bin/extra"), project.join("elsewhere")).unwrap();
    symlink("../../elsewhere", project.join("src/bin/extra")).unwrap();
    // Cargo takes no link for a program's directory.
    assert_eq!(programs(), (1, "made".to_owned()));
}
