//! Where a checkout lies, and where sources come from, changes nothing but what it has to.

use vx_harness::{Env, Project, assert_same_behaviour, program_output};

/// A program that says where it was built, in the ways a program can.
const TELLING: &str = r#"
    //- /Cargo.toml
    [package]
    name = "telling"
    version = "0.1.0"
    edition = "2024"
    //- /src/main.rs
    fn main() {
        println!("{} {}", file!(), module_path!());
        let location = std::panic::Location::caller();
        println!("{location}");
        panic!("on purpose");
    }
"#;

#[test]
fn what_a_program_says_of_its_sources_is_what_cargos_says() {
    let env = Env::new();
    let project = env.project(TELLING);
    let _ = env.build(&project);
    let cargo = env.cargo_build(&project, "debug", &[]);
    // The number of the panicking thread differs from run to run.
    let said = |program: &std::path::Path| {
        let text = program_output(program, project.path(), &[]);
        let lines = text.lines().map(|line| match line.split_once(" (") {
            Some((thread, rest)) if thread.starts_with("thread ") => {
                format!(
                    "{thread}{}",
                    rest.split_once(')').map_or(rest, |(_, rest)| rest)
                )
            }
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>()
    };
    assert_eq!(
        said(&project.output("debug", "telling")),
        said(&cargo.join("telling"))
    );
}

#[test]
fn a_program_that_took_in_its_place_never_names_another() {
    let env = Env::new();
    let first = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "placed"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() { println!("at {}", env!("CARGO_MANIFEST_DIR")); }
        "#,
    );
    let second = env.copy(&first);
    for project in [&first, &second, &first] {
        let _ = env.build(project);
        let other = if project.path() == first.path() {
            &second
        } else {
            &first
        };
        let said = program_output(&project.output("debug", "placed"), project.path(), &[]);
        let name = other.path().to_string_lossy().into_owned();
        assert!(!said.contains(&name), "the other checkout's path: {said}");
    }
    env.build(&first).assert_nothing();
}

/// A workspace with a dependency of the given kind, which lies in the directory `outside`.
fn with_dependency(env: &Env, dependency: &str, config: &str) -> (Project, Project) {
    let parent = env.fresh_path("sources");
    let dependent = Project::from_text(
        &parent.join("project"),
        &format!(
            "
            //- /Cargo.toml
            [package]
            name = \"top\"
            version = \"0.1.0\"
            edition = \"2024\"
            [dependencies]
            number = {dependency}
            //- /src/main.rs
            fn main() {{ println!(\"number {{}}\", number::NUMBER); }}
            //- /.cargo/config.toml
            {config}
            "
        ),
    );
    let outside = Project::from_text(
        &parent.join("outside/number"),
        r#"
        //- /Cargo.toml
        [package]
        name = "number"
        version = "1.0.0"
        edition = "2021"
        //- /build.rs
        fn main() {
            println!("cargo::rerun-if-changed=build.rs");
            println!("cargo::rustc-env=NUMBER={}", include_str!("number.txt").trim());
        }
        //- /number.txt
        1
        //- /src/lib.rs
        pub const NUMBER: &str = env!("NUMBER");
        //- /.cargo-checksum.json
        {"files":{},"package":"0000000000000000000000000000000000000000000000000000000000000000"}
        "#,
    );
    (dependent, outside)
}

fn as_cargo(env: &Env, project: &Project) {
    let _ = env.build(project);
    let cargo = env.cargo_build(project, "debug", &[]);
    let ours = project.output("debug", "top");
    assert_same_behaviour(&ours, &cargo.join("top"), project.path(), &[&[]]);
    env.build(project).assert_nothing();
}

#[test]
fn a_package_beside_the_workspace() {
    let env = Env::new();
    let (project, outside) = with_dependency(&env, "{ path = \"../outside/number\" }", "");
    as_cargo(&env, &project);
    outside.write("number.txt", "2\n");
    as_cargo(&env, &project);
    let said = program_output(&project.output("debug", "top"), project.path(), &[]);
    assert!(said.contains("number 2"), "{said}");
}

#[test]
fn a_vendored_package() {
    let env = Env::new();
    let config = "[source.crates-io]\n            replace-with = \"vendored\"\n            \
                  [source.vendored]\n            directory = \"../outside\"";
    let (project, _outside) = with_dependency(&env, "\"1\"", config);
    as_cargo(&env, &project);
    let copy = Project::at(env.fresh_path("sources").join("project"));
    let _ = project.path().parent().map(|parent| {
        Project::at(parent).copy_to(copy.path().parent().expect("a joined path has a parent"))
    });
    env.build(&copy).assert_nothing();
}
