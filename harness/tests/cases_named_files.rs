//! Files that flags of the user name, for crates of the checkout and for others.

use std::path::Path;
use std::process::Command;

use vx_harness::{Env, Project};

/// Makes `libvxanswer.a`, of C that answers with this.
fn archive(directory: &Project, answer: u32) {
    let text = format!("int vx_answer(void) {{ return {answer}; }}\n");
    directory.write("answer.c", &text);
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let status = command
            .args(arguments)
            .current_dir(directory.path())
            .status();
        let status = status.unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(status.success(), "{program} {arguments:?}: {status}");
    };
    run("cc", &["-c", "answer.c", "-o", "answer.o"]);
    run("ar", &["crsD", "libvxanswer.a", "answer.o"]);
    directory.remove("answer.o");
}

/// A program over a package of a repository, which bundles the archive, and one of the checkout,
/// which does not.
fn project(env: &Env) -> String {
    let repository = Project::from_text(
        &env.fresh_path("repository"),
        r#"
        //- /Cargo.toml
        [package]
        name = "outside"
        version = "0.1.0"
        edition = "2024"
        //- /src/lib.rs
        #[link(name = "vxanswer", kind = "static")]
        unsafe extern "C" { fn vx_answer() -> i32; }
        pub fn answer() -> i32 { unsafe { vx_answer() } }
        "#,
    );
    env.git_init(&repository);
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        members = ["between"]
        [dependencies]
        outside = {{ git = "file://{}" }}
        between = {{ path = "between" }}
        //- /src/main.rs
        fn main() {{ println!("{{}} {{}}", outside::answer(), between::NAME); }}
        //- /between/Cargo.toml
        [package]
        name = "between"
        version = "0.1.0"
        edition = "2024"
        //- /between/src/lib.rs
        pub const NAME: &str = "between";
        "#,
        repository.path().display()
    )
}

fn flags(directory: &Path) -> String {
    format!("-L native={}", directory.display())
}

#[test]
fn an_archive_that_only_flags_tell_of() {
    let env = Env::new().with_cargo_home(vx_harness::CargoHome::Empty);
    let mut app = env.cases(&project(&env));
    let native = Project::at(app.project().join("native"));
    archive(&native, 41);
    let path = native.path().to_owned();
    app.build("an archive in the checkout")
        .given("RUSTFLAGS", flags(&path))
        .builds(["app", "between", "outside"])
        .prints("41 between");
    app.change("the archive changed", |_| archive(&native, 42))
        .given("RUSTFLAGS", flags(&path))
        .builds(["app", "outside"])
        .prints("42 between");
    app.change("the archive as before", |_| archive(&native, 41))
        .given("RUSTFLAGS", flags(&path))
        .builds([])
        .prints("41 between");

    let host = Project::at(env.fresh_path("host"));
    archive(&host, 51);
    std::fs::rename(host.join("libvxanswer.a"), host.join("libvxanswer.a.1")).unwrap();
    host.link("libvxanswer.a", "libvxanswer.a.1");
    let path = host.path().to_owned();
    app.build("an archive elsewhere")
        .given("RUSTFLAGS", flags(&path))
        .builds(["app", "between", "outside"])
        .prints("51 between");
    app.build("the same again")
        .given("RUSTFLAGS", flags(&path))
        .builds([]);
    app.change("the archive elsewhere changed", |_| {
        host.remove("libvxanswer.a");
        archive(&host, 52);
    })
    .given("RUSTFLAGS", flags(&path))
    .builds(["app", "outside"])
    .prints("52 between");
    app.change("the archive elsewhere went", |_| {
        host.remove("libvxanswer.a");
    })
    .given("RUSTFLAGS", flags(&path))
    .fails();
}
