//! `-q` shows of a build what a quiet cargo shows of it: what compilers say, and errors.

use vx_harness::{Env, Project};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    //- /app/src/main.rs
    fn main() { println!("app"); }
"#;

/// What cargo only prints where it is not quiet: each a name, a file, what it holds, and words of
/// the warning.
const WARNINGS: [(&str, &str, &str, &str); 6] = [
    (
        "an unused key",
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\nunheard-of = 1\n",
        "unused manifest key: package.unheard-of",
    ),
    (
        "a profile of a member",
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[profile.dev]\ndebug = 1\n",
        "profiles for the non root package will be ignored",
    ),
    (
        "no edition",
        "app/Cargo.toml",
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\n",
        "no edition set",
    ),
    (
        "an unused patch",
        "Cargo.toml",
        "[workspace]\nmembers = [\"app\"]\nexclude = [\"other\"]\nresolver = \"3\"\n[patch.crates-io]\nother = { path = \"other\" }\n",
        "was not used in the crate graph",
    ),
    (
        "an unused key of the configuration",
        ".cargo/config.toml",
        "[build]\nunheard-of = 1\n",
        "unused config key `build.unheard-of`",
    ),
    (
        "a build script's warning",
        "app/build.rs",
        "fn main() { println!(\"cargo::warning=beware of this\"); }\n",
        "beware of this",
    ),
];

#[test]
fn no_warning_of_cargos() {
    let env = Env::new();
    for (name, file, text, words) in WARNINGS {
        let project = env.project(PROJECT);
        project.write(
            "other/Cargo.toml",
            "[package]\nname = \"other\"\nversion = \"0.1.0\"\nedition = \"2024\"\n",
        );
        project.write("other/src/lib.rs", "");
        project.write(file, text);
        let target = env.fresh_path("target").display().to_string();
        let cargo = |arguments: &[&str]| {
            let arguments = [&["build", "--target-dir", &target], arguments].concat();
            env.cargo(&project, &arguments).success().stderr
        };
        assert_eq!(cargo(&["-q"]), "", "{name}: a quiet cargo");
        std::fs::remove_dir_all(&target).expect("the environment is ours");
        let loud = cargo(&[]);
        assert!(loud.contains(words), "{name}: cargo: {loud}");

        let vx = |arguments: &[&str]| env.vx(&project, arguments).success().stderr;
        assert_eq!(vx(&["build", "-q"]), "", "{name}: a quiet build");
        assert_eq!(vx(&["build", "-q"]), "", "{name}: and one of hits");
        assert_eq!(vx(&["run", "-q"]), "", "{name}: a quiet run");
        let loud = vx(&["build"]);
        assert!(loud.contains("warning: "), "{name}: {loud}");
        assert!(loud.contains(words), "{name}: {loud}");
    }
}

/// What cargo says of a configuration names the one that a build has, also where a plan serves another
/// checkout than it was made for, or another home of cargo's.
#[test]
fn cargos_words_are_of_this_checkout_and_home() {
    let env = Env::new();
    let first = env.project(PROJECT);
    first.write(".cargo/config.toml", "[build]\nunheard-of = 1\n");
    let second = env.copy(&first);
    let homes = ["one", "two"].map(|name| Project::at(env.fresh_path(name)));
    for home in &homes {
        home.write("config.toml", "[build]\nof-no-home = 1\n");
    }
    let said = |project: &Project, home: &Project| {
        let mut command = env.vx_command(project);
        command.arg("build").env("CARGO_HOME", home.path());
        env.run(command).success()
    };
    for project in [&first, &second] {
        for home in &homes {
            let run = said(project, home);
            let made = project.path() == first.path() && home.path() == homes[0].path();
            assert_eq!(run.report().plan, if made { "cargo" } else { "memo" });
            let said = &run.stderr;
            for named in [project.join(".cargo/config.toml"), home.join("config.toml")] {
                let named = named.display().to_string();
                assert!(said.contains(&named), "{named} is not named:\n{said}");
            }
        }
    }
}

#[test]
fn what_compilers_say_and_errors_stay() {
    let env = Env::new();
    let project = env.project(PROJECT);
    project.write("app/src/main.rs", "fn main() { let unused = 1; }\n");
    let said = env.vx(&project, &["build", "-q"]).success().stderr;
    assert!(said.contains("unused variable"), "{said}");
    assert!(!said.contains("generated 1 warning"), "{said}");

    let project = env.project(PROJECT);
    project.edit("app/Cargo.toml", "edition", "unheard-of = 1\nedition");
    let arguments = ["build", "-q", "--bin", "none"];
    let theirs = env.cargo(&project, &arguments).refused().stderr;
    let ours = env.vx(&project, &arguments).refused().stderr;
    assert_eq!(ours, theirs);
    let said = env.vx(&project, &["build", "--bin", "none"]).refused();
    let said = said.stderr;
    assert!(said.starts_with("warning: "), "{said}");
    assert!(said.contains("\nerror: no bin target named"), "{said}");
}

#[test]
fn no_note_of_vxs() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let build = |arguments: &[&str]| {
        let mut command = env.vx_command(&project);
        command.args(arguments).env("RUSTC_WRAPPER", "sccache");
        env.run(command).success().stderr
    };
    assert_eq!(build(&["build", "-q"]), "");
    assert!(build(&["build"]).starts_with("note: the rustc wrapper `sccache` is not used"));
}
