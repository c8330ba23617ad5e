//! What depends on what: features, versions, sources, new targets and members.

use vx_harness::{CargoHome, Env, Project};

/// A manifest of a package, with lines below its `[package]` table.
fn manifest(name: &str, version: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n{rest}\n")
}

/// A package with one constant.
fn number(directory: &Project, path: &str, version: &str, value: u32) {
    directory.write(
        &format!("{path}/Cargo.toml"),
        &manifest("number", version, ""),
    );
    directory.write(
        &format!("{path}/src/lib.rs"),
        &format!("pub const NUMBER: u32 = {value};\n"),
    );
}

/// A program that prints `number::NUMBER` of a dependency.
fn depending(dependency: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        [dependencies]
        number = {dependency}
        //- /src/main.rs
        fn main() {{ println!("{{}}", number::NUMBER); }}
        "#
    )
}

#[test]
fn versions_and_paths() {
    let env = Env::new();
    let mut app = env.cases(&depending("{ path = \"one\" }"));
    number(app.project(), "one", "1.0.0", 1);
    number(app.project(), "two", "1.0.0", 2);
    number(app.project(), "three", "1.0.0", 1);
    app.build("first build")
        .builds(["app", "number"])
        .prints("1");
    app.change("a dependency's version changed", |p| {
        p.edit("one/Cargo.toml", "1.0.0", "1.0.1");
    })
    .builds(["app", "number"])
    .prints("1");
    app.change("a dependency's version as before", |p| {
        p.edit("one/Cargo.toml", "1.0.1", "1.0.0");
    })
    .builds([]);
    app.change("a dependency's path changed", |p| {
        p.edit("Cargo.toml", "\"one\"", "\"two\"");
    })
    .builds(["app", "number"])
    .prints("2");
    app.change("a dependency's path as before", |p| {
        p.edit("Cargo.toml", "\"two\"", "\"one\"");
    })
    .builds([])
    .prints("1");
    app.change("the directory that is no dependency edited", |p| {
        number(p, "two", "1.0.0", 3);
    })
    .builds([]);
    app.change("a dependency goes", |p| {
        p.edit("Cargo.toml", "number = { path = \"one\" }", "");
        p.write("src/main.rs", "fn main() { println!(\"none\"); }\n");
    })
    .builds(["app"])
    .prints("none");
}

#[test]
fn git_revisions_and_patches() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let repository = Project::from_text(&env.fresh_path("repository"), "");
    number(&repository, ".", "1.0.0", 1);
    env.git_init(&repository);
    let one = env.git(&repository, &["rev-parse", "HEAD"]);
    number(&repository, ".", "1.0.0", 2);
    let two = env.git_commit(&repository, "two");
    repository.write("README.md", "Nothing new.\n");
    let three = env.git_commit(&repository, "three");
    let url = format!("file://{}", repository.path().display());
    let text = depending(&format!("{{ git = \"{url}\", rev = \"{one}\" }}"));
    let mut app = env.cases(&text);
    app.build("a git dependency")
        .builds(["app", "number"])
        .prints("1");
    app.build("nothing changed").builds([]);
    app.change("a git dependency's revision changed", |p| {
        p.edit("Cargo.toml", &one, &two);
    })
    .builds(["app", "number"])
    .prints("2");
    app.change("a git dependency's revision as before", |p| {
        p.edit("Cargo.toml", &two, &one);
    })
    .builds([])
    .prints("1");
    app.change("a git dependency's branch moved", |p| {
        p.edit(
            "Cargo.toml",
            &format!("rev = \"{one}\""),
            "branch = \"main\"",
        );
        p.edit("src/main.rs", "\"{}\"", "\"on main: {}\"");
    })
    .builds(["app", "number"])
    .prints("on main: 2");
    let _ = three;
    app.change("a patch", |p| {
        number(p, "patched", "1.0.0", 7);
        let text = p.read("Cargo.toml");
        let patch = format!("[patch.\"{url}\"]\nnumber = {{ path = \"patched\" }}\n");
        p.write("Cargo.toml", &format!("{text}{patch}"));
    })
    .builds(["app", "number"])
    .prints("on main: 7");
    app.change("what it was patched with changed", |p| {
        number(p, "patched", "1.0.0", 8);
    })
    .builds(["app", "number"])
    .prints("on main: 8");
    app.change("the patch went", |p| {
        let text = p.read("Cargo.toml");
        let (before, _) = text.split_once("[patch").expect("it was written above");
        p.write("Cargo.toml", before);
    })
    .builds([])
    .prints("on main: 2");
}

#[test]
fn one_name_twice() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let repository = Project::from_text(&env.fresh_path("repository"), "");
    number(&repository, ".", "1.0.0", 100);
    env.git_init(&repository);
    let url = format!("file://{}", repository.path().display());
    let mut app = env.cases(&depending("{ path = \"one\" }"));
    let p = app.project();
    number(p, "one", "1.0.0", 1);
    number(p, "two", "2.0.0", 2);
    p.edit(
        "Cargo.toml",
        "[dependencies]",
        "[dependencies]\nsecond = { package = \"number\", path = \"two\" }",
    );
    // Members of one workspace have names of their own.
    p.edit(
        "Cargo.toml",
        "[workspace]",
        "[workspace]\nexclude = [\"one\", \"two\"]",
    );
    p.write(
        "src/main.rs",
        "fn main() { println!(\"{} {}\", number::NUMBER, second::NUMBER); }\n",
    );
    app.build("two versions of one crate")
        .builds(["app", "number", "number"])
        .prints("1 2");
    app.change("two versions: one of them changed", |p| {
        number(p, "two", "2.0.0", 3);
    })
    .builds(["app", "number"])
    .prints("1 3");
    app.change("two packages with the same name and version", |p| {
        p.edit("Cargo.toml", "path = \"two\"", &format!("git = \"{url}\""));
    })
    .builds(["app", "number"])
    .prints("1 100");
    app.change("the same name and version: one of them changed", |p| {
        number(p, "one", "1.0.0", 4);
    })
    .builds(["app", "number"])
    .prints("4 100");
}

#[test]
fn a_diamond() {
    let env = Env::new();
    let mut app = env.cases(&depending("{ path = \"number\" }"));
    let p = app.project();
    number(p, "number", "1.0.0", 1);
    for side in ["left", "right"] {
        p.write(
            &format!("{side}/Cargo.toml"),
            &manifest(
                side,
                "0.1.0",
                "[dependencies]\nnumber = { path = \"../number\" }",
            ),
        );
    }
    p.write(
        "left/src/lib.rs",
        "pub fn left() -> u32 { number::NUMBER }\n",
    );
    p.write("right/src/lib.rs", "pub fn right() -> u32 { 5 }\n");
    p.edit(
        "Cargo.toml",
        "number = { path = \"number\" }",
        "left = { path = \"left\" }\nright = { path = \"right\" }",
    );
    p.edit(
        "src/main.rs",
        "number::NUMBER",
        "left::left() + right::right()",
    );
    app.build("a diamond")
        .builds(["app", "left", "number", "right"])
        .prints("6");
    app.change("a diamond's side changed", |p| {
        p.edit("left/src/lib.rs", "number::NUMBER", "number::NUMBER * 2");
    })
    .builds(["app", "left"])
    .prints("7");
    app.change("a diamond's other side changed", |p| {
        p.edit("right/src/lib.rs", "5", "6");
    })
    .builds(["app", "right"])
    .prints("8");
    app.change("a diamond's foot changed", |p| {
        number(p, "number", "1.0.0", 2)
    })
    .builds(["app", "left", "number", "right"])
    .prints("10");
}

const FEATURES: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "other", "shared"]
    default-members = ["app"]
    resolver = "2"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2021"
    [features]
    extra = []
    through = ["shared/loud"]
    [dependencies]
    shared = { path = "../shared" }
    //- /app/src/main.rs
    fn main() { println!("{} {}", cfg!(feature = "extra"), shared::WORD); }
    //- /other/Cargo.toml
    [package]
    name = "other"
    version = "0.1.0"
    edition = "2021"
    [dependencies]
    shared = { path = "../shared", features = ["loud"] }
    //- /other/src/lib.rs
    pub const WORD: &str = shared::WORD;
    //- /shared/Cargo.toml
    [package]
    name = "shared"
    version = "0.1.0"
    edition = "2021"
    [features]
    loud = []
    //- /shared/src/lib.rs
    pub const WORD: &str = if cfg!(feature = "loud") { "LOUD" } else { "quiet" };
"#;

#[test]
fn features() {
    let env = Env::new();
    let mut app = env.cases(FEATURES);
    app.build("first build")
        .builds(["app", "shared"])
        .prints("false quiet");
    app.build("a feature on")
        .with(&["-p", "app", "-F", "extra"])
        .builds(["app"])
        .prints("true quiet");
    app.build("a feature off").builds([]).prints("false quiet");
    app.build("a dependency's feature on")
        .with(&["-p", "app", "-F", "through"])
        .builds(["app", "shared"])
        .prints("false LOUD");
    // The same unification, and `other` beside it; but the program's own feature is off.
    app.build("a feature unified by another package")
        .with(&["--workspace"])
        .builds(["app", "other"])
        .prints("false LOUD");
    app.build("and without the other package")
        .builds([])
        .prints("false quiet");
    app.change("a default feature added", |p| {
        p.edit(
            "shared/Cargo.toml",
            "[features]",
            "[features]\ndefault = [\"loud\"]",
        );
    })
    .builds(["app", "shared"])
    .prints("false LOUD");
}

#[test]
fn features_for_the_host_alone() {
    let env = Env::new();
    let mut app = env.cases(FEATURES);
    app.project().edit(
        "app/Cargo.toml",
        "[dependencies]",
        "[build-dependencies]\nshared = { path = \"../shared\", features = [\"loud\"] }\n[dependencies]",
    );
    app.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-env=HOST_WORD={}\", shared::WORD);\n}\n",
    );
    app.project().write(
        "app/src/main.rs",
        "fn main() { println!(\"{} {}\", env!(\"HOST_WORD\"), shared::WORD); }\n",
    );
    app.build("a feature on for the host and off for the target")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "shared", "shared"])
        .prints("LOUD quiet");
    app.change("the host's word changed", |p| {
        p.edit("shared/src/lib.rs", "\"LOUD\"", "\"LOUDER\"");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build", "shared", "shared"])
    .prints("LOUDER quiet");
    app.change("the feature on for the target as well", |p| {
        p.edit(
            "app/Cargo.toml",
            "[dependencies]\nshared = { path = \"../shared\" }",
            "[dependencies]\nshared = { path = \"../shared\", features = [\"loud\"] }",
        );
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build", "shared"])
    .prints("LOUDER LOUDER");
}

#[test]
fn targets_and_members() {
    let env = Env::new();
    let mut app = env.cases(&depending("{ path = \"number\" }"));
    number(app.project(), "number", "1.0.0", 1);
    app.project().edit(
        "Cargo.toml",
        "[workspace]",
        "[workspace]\nmembers = [\"number\", \"more/*\"]",
    );
    app.project()
        .write("more/first/Cargo.toml", &manifest("first", "0.1.0", ""));
    app.project().write("more/first/src/lib.rs", "");
    let all = ["--workspace"];
    app.build("first build")
        .with(&all)
        .builds(["app", "first", "number"])
        .prints("1");
    app.change("a new src/bin", |p| {
        p.write("src/bin/late.rs", "fn main() { println!(\"late\"); }\n");
    })
    .with(&all)
    .builds(["late"]);
    app.change("a new example, which is not asked for", |p| {
        p.write(
            "examples/sample.rs",
            "fn main() { println!(\"sample\"); }\n",
        );
    })
    .with(&all)
    .builds([]);
    app.build("the example, asked for")
        .with(&["--workspace", "--bins", "--examples"])
        .builds(["sample"]);
    app.change("a new workspace member", |p| {
        p.write("more/new/Cargo.toml", &manifest("new", "0.1.0", ""));
        p.write("more/new/src/lib.rs", "");
    })
    .with(&all)
    .builds(["new"]);
    app.change("a member went", |p| p.remove("more/first"))
        .with(&all)
        .builds([]);
    app.change("a program went", |p| p.remove("src/bin"))
        .with(&all)
        .builds([]);
    app.change("a library added to the program's package", |p| {
        p.write("src/lib.rs", "pub fn unused() {}\n");
    })
    .with(&all)
    .builds(["app", "app"]);
}

#[test]
fn a_crate_that_is_renamed() {
    let env = Env::new();
    let mut app = env.cases(&depending("{ path = \"number\" }"));
    number(app.project(), "number", "1.0.0", 1);
    app.build("first build")
        .builds(["app", "number"])
        .prints("1");
    app.change("a crate renamed where it is used", |p| {
        p.edit(
            "Cargo.toml",
            "number = { path",
            "other = { package = \"number\", path",
        );
        p.edit("src/main.rs", "number::", "other::");
    })
    .builds(["app"])
    .prints("1");
    app.change("a crate's own name changed", |p| {
        p.edit("number/Cargo.toml", "\"number\"", "\"numeral\"");
        p.edit(
            "Cargo.toml",
            "package = \"number\"",
            "package = \"numeral\"",
        );
    })
    .builds(["app", "numeral"])
    .prints("1");
    app.change("a crate's directory renamed", |p| {
        p.rename("number", "numeral");
        p.edit("Cargo.toml", "path = \"number\"", "path = \"numeral\"");
    })
    .builds(["app", "numeral"])
    .prints("1");
    app.change("a library's target renamed", |p| {
        p.edit("numeral/Cargo.toml", "edition", "# lib\nedition");
        let text = p.read("numeral/Cargo.toml");
        p.write(
            "numeral/Cargo.toml",
            &format!("{text}[lib]\nname = \"digits\"\n"),
        );
    })
    .builds(["app", "digits"])
    .prints("1");
}
