//! Files that flags and variables of the configuration name, for crates of the checkout and for
//! others.

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
    let linked = |answer| {
        archive(&host, answer);
        std::fs::rename(host.join("libvxanswer.a"), host.join("libvxanswer.a.1")).unwrap();
        host.link("libvxanswer.a", "libvxanswer.a.1");
    };
    linked(51);
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
        linked(52);
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

#[test]
fn a_variable_that_names_a_file_of_the_first_checkout() {
    let env = Env::new();
    let project = env.project("//- /none\n");
    let one = Project::at(project.join("one"));
    let data = one.join("data").display().to_string();
    one.write(
        "Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n",
    );
    one.write(
        ".cargo/config.toml",
        &format!("[env]\nVX_CASE_DATA = \"{data}\"\n"),
    );
    one.write(
        "src/main.rs",
        r#"fn main() { println!("{} {}", include_str!(env!("VX_CASE_DATA")), env!("VX_CASE_DATA")); }"#,
    );
    one.write("data", "1");
    let said = |text: &str| format!("{text} {data}");
    let mut app = vx_harness::Cases::of(&env, Project::at(one.path().to_owned()));
    // It holds the path that it has, so that the checkout has to be there: it is built once more.
    app.build("first build")
        .builds(["app", "app"])
        .prints(&said("1"));
    app.build("once more").builds([]).prints(&said("1"));

    let two = one.copy_to(&project.join("two"));
    two.write("data", "2");
    one.write("data", "3");
    let mut copy = app.at(Project::at(two.path().to_owned()));
    copy.build("a copy whose file is another")
        .builds(["app"])
        .prints(&said("3"));
    copy.change("the copy's own file", |_| two.write("data", "4"))
        .builds([]);
    copy.change("the first one's file", |_| one.write("data", "5"))
        .builds(["app"])
        .prints(&said("5"));
    copy.change("the first one's file went", |_| one.remove("data"))
        .fails();
    app.change("and came back", |_| one.write("data", "6"))
        .builds(["app"])
        .prints(&said("6"));
}

/// A program over a package of a repository, whose script and whose library read what variables
/// name.
#[test]
fn variables_that_name_files_for_packages_of_others() {
    let env = Env::new().with_cargo_home(vx_harness::CargoHome::Empty);
    let host = Project::at(env.fresh_path("host"));
    host.write("words", "a");
    let repository = Project::from_text(
        &env.fresh_path("repository"),
        r#"
        //- /Cargo.toml
        [package]
        name = "outside"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            let path = std::env::var("VX_CASE_SCHEMA").unwrap();
            println!("cargo::rerun-if-changed={path}");
            let schema = std::fs::read_to_string(path).unwrap_or_else(|_| "none".to_owned());
            println!("cargo::rustc-env=SCHEMA={schema}");
        }
        //- /src/lib.rs
        pub const ALL: &str = concat!(env!("SCHEMA"), " ", include_str!(env!("VX_CASE_WORDS")));
        "#,
    );
    env.git_init(&repository);
    let mut app = env.cases(&format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        [dependencies]
        outside = {{ git = "file://{}" }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", outside::ALL); }}
        //- /schema.txt
        1
        //- /.cargo/config.toml
        [env]
        VX_CASE_SCHEMA = {{ value = "schema.txt", relative = true }}
        VX_CASE_WORDS = "{}"
        "#,
        repository.path().display(),
        host.join("words").display(),
    ));
    app.change("no schema", |app| app.remove("schema.txt"))
        .runs_scripts_of(["outside"])
        .builds(["app", "build_script_build", "outside"])
        .prints("none a");
    app.change("a schema", |app| app.write("schema.txt", "2"))
        .runs_scripts_of(["outside"])
        .builds(["app", "outside"])
        .prints("2 a");
    app.change("other words", |_| host.write("words", "b"))
        .builds(["app", "outside"])
        .prints("2 b");
    app.build("the same again").builds([]);
    app.change("a file that nobody reads", |app| app.write("other.txt", ""))
        .builds([]);
}

/// A home of cargo's whose configuration names a file of one checkout: beside the checkouts, as it
/// mostly is, and with a file's name of old.
#[test]
fn a_home_that_names_a_file_of_the_first_checkout() {
    for config in [".cargo/config.toml", ".cargo/config", "home/config"] {
        let env = Env::new();
        let all = env.project("//- /none\n");
        let one = Project::from_text(
            &all.join("one"),
            r#"
            //- /Cargo.toml
            [package]
            name = "app"
            version = "0.1.0"
            edition = "2024"
            [workspace]
            //- /src/main.rs
            fn main() { println!("{} {}", include_str!(env!("DATA")), env!("DATA")); }
            "#,
        );
        one.write("data", "1");
        let data = one.join("data").display().to_string();
        all.write(config, &format!("[env]\nDATA = \"{data}\"\n"));
        let home = all.join(config.split('/').next().expect("it is in a directory"));
        let home = home.display().to_string();
        let said = |text: &str| format!("{text} {data}");
        let two = one.copy_to(&all.join("two"));
        two.write("data", "2");
        let mut app = vx_harness::Cases::of(&env, one);
        app.build(config)
            .given("CARGO_HOME", &home)
            .builds(["app", "app"])
            .prints(&said("1"));
        let mut copy = app.at(two);
        copy.build("a copy with another file there")
            .given("CARGO_HOME", &home)
            .builds(["app"])
            .prints(&said("1"));
        app.change("the file", |one| one.write("data", "3"))
            .given("CARGO_HOME", &home)
            .builds(["app"])
            .prints(&said("3"));
        copy.build("the file of the first")
            .given("CARGO_HOME", &home)
            .builds(["app"])
            .prints(&said("3"));
    }
}
