//! What a plan depends on: whatever cargo and rustc looked at, and nothing else.

use vx_harness::{Cases, Env, Project};

/// A manifest of a package, with lines below its `[package]` table.
fn manifest(name: &str, version: &str, rest: &str) -> String {
    format!("[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n{rest}\n")
}

/// A package with one constant.
fn number(directory: &Project, path: &str, version: &str, value: u32) {
    let text = manifest("number", version, "");
    directory.write(&format!("{path}/Cargo.toml"), &text);
    let text = format!("pub const NUMBER: u32 = {value};\n");
    directory.write(&format!("{path}/src/lib.rs"), &text);
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

/// A program alone, with lines of its manifest.
fn alone(rest: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        {rest}
        //- /src/main.rs
        fn main() {{ println!("app"); }}
        "#
    )
}

/// Adds a library.
fn library(project: &Project, path: &str, name: &str) {
    project.write(&format!("{path}/Cargo.toml"), &manifest(name, "0.1.0", ""));
    project.write(&format!("{path}/src/lib.rs"), "");
}

/// Where the plan came from that the next build would go by.
fn origin(env: &Env, project: &Project) -> String {
    let run = env.vx(project, &["build", "--plan"]).success();
    let origins = ["memo", "made"].into_iter();
    let mut found = origins.filter(|from| run.stdout.contains(&format!("\"from\":\"{from}\"")));
    found.next().expect("it says where it came from").to_owned()
}

#[test]
fn members_that_globs_find_later() {
    let env = Env::new();
    let mut app = env.cases(&alone("[workspace]\nmembers = [\"crates/*/rust\"]"));
    library(app.project(), "crates/x/rust", "x");
    app.project().write("crates/y/notes.txt", "");
    let all = ["--workspace"];
    app.build("first build").with(&all).builds(["app", "x"]);
    app.build("once more").with(&all).builds([]);
    app.change("a directory in the middle gets a package", |p| {
        library(p, "crates/y/rust", "y");
    })
    .with(&all)
    .builds(["y"]);
    assert!(app.project().read("Cargo.lock").contains("\"y\""));
    app.build("once more").with(&all).builds([]);
    app.change("a directory in the middle comes with its package", |p| {
        library(p, "crates/z/rust", "z");
    })
    .with(&all)
    .builds(["z"]);
    app.change("a package of the glob is excluded", |p| {
        p.edit(
            "Cargo.toml",
            "[workspace]",
            "[workspace]\nexclude = [\"crates/z/rust\"]",
        );
        p.write(
            "crates/z/rust/src/lib.rs",
            "compile_error!(\"not built\");\n",
        );
    })
    .with(&all)
    .builds([]);
    app.change("a package of the glob goes", |p| p.remove("crates/y/rust"))
        .with(&all)
        .builds([]);
    assert!(!app.project().read("Cargo.lock").contains("\"y\""));
}

#[test]
fn default_members_and_deep_globs() {
    let env = Env::new();
    let workspace =
        "[workspace]\nmembers = [\"*/[ab]*/lib-?\"]\ndefault-members = [\".\", \"one/*/lib-?\"]";
    let mut app = env.cases(&alone(workspace));
    library(app.project(), "one/a/lib-1", "one-a");
    library(app.project(), "two/a/lib-1", "two-a");
    app.build("first build").builds(["app", "one_a"]);
    app.build("once more").builds([]);
    app.change("a default member comes", |p| {
        library(p, "one/b/lib-2", "one-b")
    })
    .builds(["one_b"]);
    app.change("a member comes that is no default", |p| {
        library(p, "two/b/lib-2", "two-b");
    })
    .builds([]);
    app.build("all of them")
        .with(&["--workspace"])
        .builds(["two_a", "two_b"]);
}

#[test]
fn a_patch_that_comes_to_match() {
    let env = Env::new();
    let outside = env.project("//- /none\n");
    number(&outside, "repository", "1.0.0", 1);
    let repository = outside.path().join("repository");
    env.git_init(&repository);
    let url = format!("file://{}", repository.display());
    let mut app = env.cases(&depending(&format!(
        "{{ git = \"{url}\", version = \"1\" }}"
    )));
    number(app.project(), "patched", "2.0.0", 7);
    let text = app.project().read("Cargo.toml");
    let patch = format!("{text}[patch.\"{url}\"]\nnumber = {{ path = \"patched\" }}\n");
    app.project().write("Cargo.toml", &patch);
    app.build("a patch that is not used")
        .builds(["app", "number"])
        .prints("1");
    app.build("once more").builds([]);
    app.change("its version comes to match", |p| {
        p.edit("patched/Cargo.toml", "2.0.0", "1.0.1");
    })
    .builds(["app", "number"])
    .prints("7");
    app.change("its version comes to differ", |p| {
        p.edit("patched/Cargo.toml", "1.0.1", "2.0.0");
    })
    .builds([])
    .prints("1");
}

#[test]
fn overrides_in_the_configuration() {
    let env = Env::new();
    let outside = env.project("//- /none\n");
    number(&outside, "repository", "1.0.0", 1);
    let repository = outside.path().join("repository");
    env.git_init(&repository);
    let url = format!("file://{}", repository.display());
    let mut app = env.cases(&depending(&format!("{{ git = \"{url}\" }}")));
    number(app.project(), "over", "1.0.0", 7);
    app.project()
        .edit("over/Cargo.toml", "\"number\"", "\"other\"");
    app.project()
        .write(".cargo/config.toml", "paths = [\"over\"]\n");
    app.build("a path that overrides nothing")
        .builds(["app", "number"])
        .prints("1");
    app.build("once more").builds([]);
    app.change("its name comes to match", |p| {
        p.edit("over/Cargo.toml", "\"other\"", "\"number\"");
    })
    .builds(["app", "number"])
    .prints("7");
    app.change("the override goes", |p| p.remove(".cargo"))
        .builds([])
        .prints("1");
    app.change("a patch by configuration", |p| {
        let patch = format!("[patch.\"{url}\"]\nnumber = {{ path = \"over\" }}\n");
        p.write(".cargo/config.toml", &patch);
        number(p, "over", "1.0.0", 8);
    })
    .builds(["app", "number"])
    .prints("8");
}

#[test]
fn locked_holds_for_what_is_not_built() {
    let env = Env::new();
    let rest = "[workspace]\n[dependencies]\none = { path = \"one\", optional = true }\n\
                [dev-dependencies]\ntwo = { path = \"two\" }\n\
                [target.'cfg(windows)'.dependencies]\nthree = { path = \"three\" }\n\
                [target.'cfg(windows)'.build-dependencies]\nfour = { path = \"four\" }\n";
    let mut app = env.cases(&alone(rest));
    for name in ["one", "two", "three", "four"] {
        library(app.project(), name, name);
    }
    app.build("first build").builds(["app"]);
    let locked = ["--locked"];
    app.build("locked").with(&locked).builds([]);
    for name in ["one", "two", "three", "four"] {
        let path = format!("{name}/Cargo.toml");
        app.change(&format!("the version of {name} changed"), |p| {
            p.edit(&path, "0.1.0", "0.2.0");
        })
        .with(&locked)
        .fails();
        app.change(&format!("the version of {name} as before"), |p| {
            p.edit(&path, "0.2.0", "0.1.0");
        })
        .with(&locked)
        .builds([]);
    }
    app.change("a manifest that can't be read", |p| {
        p.edit("three/Cargo.toml", "[package]", "[package");
    })
    .with(&locked)
    .fails();
    app.change("as before", |p| {
        p.edit("three/Cargo.toml", "[package", "[package]")
    })
    .with(&locked)
    .builds([]);
}

/// A compiler's stand-in that adds a flag: in place of the compiler itself, or before it.
fn stand_in(env: &Env, flag: &str, before: bool) -> String {
    if before {
        return format!("#!/bin/sh\nexec \"$@\" {flag}\n");
    }
    // Where actions find the toolchain, or outside of them.
    let real = env.toolchain().sysroot().join("bin/rustc");
    format!(
        "#!/bin/sh\nreal={}\n[ -x \"$real\" ] || real=/vx/toolchain/bin/rustc\n\
         exec \"$real\" \"$@\" {flag}\n",
        real.display()
    )
}

const ASKS: &str = r#"
    //- /Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [workspace]
    //- /build.rs
    fn main() {
        println!("cargo::rerun-if-changed=build.rs");
        println!("cargo::rustc-env=FOUND={}", std::env::var("CARGO_CFG_FOO").is_ok());
    }
    //- /src/main.rs
    fn main() { println!("{} {}", env!("FOUND"), cfg!(foo)); }
"#;

#[test]
fn facts_of_the_compiler_that_is_set() {
    let env = Env::new();
    for variable in ["RUSTC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        let before = variable != "RUSTC";
        let tools = env.project("//- /none\n");
        tools.write_program("tool", &stand_in(&env, "", before));
        let path = tools.join("tool").display().to_string();
        let mut app = env.cases(ASKS);
        let built = ["app", "build_script_build"];
        app.build(&format!("{variable} set"))
            .given(variable, &path)
            .runs_scripts_of(["app"])
            .builds(built)
            .prints("false false");
        app.build("once more").given(variable, &path).builds([]);
        tools.write_program("tool", &stand_in(&env, "--cfg foo", before));
        app.build("its content changed")
            .given(variable, &path)
            .runs_scripts_of(["app"])
            .builds(built)
            .prints("true true");
    }
}

/// Makes a directory source of one package, as `cargo vendor` does, and has a project use it.
fn vendor(app: &Project, directory: &str, checksummed: &str) {
    number(app, &format!("{directory}/number"), "1.0.0", 1);
    app.write(
        &format!("{directory}/number/.cargo-checksum.json"),
        &format!(
            "{{\"files\":{{{checksummed}}},\"package\":\"{}\"}}",
            "0".repeat(64)
        ),
    );
    app.write(
        ".cargo/config.toml",
        &format!(
            "[source.crates-io]\nreplace-with = \"vendored\"\n\
             [source.vendored]\ndirectory = \"{directory}\"\n"
        ),
    );
}

#[test]
fn vendored_packages_that_change() {
    let env = Env::new();
    let mut app = env.cases(&depending("\"1\""));
    vendor(app.project(), "vendor", "");
    app.build("first build")
        .builds(["app", "number"])
        .prints("1");
    app.build("once more").builds([]);
    app.change("a build script comes", |p| {
        let script = "fn main() { println!(\"cargo::rustc-cfg=scripted\"); }\n";
        p.write("vendor/number/build.rs", script);
        let text = "pub const NUMBER: u32 = if cfg!(scripted) { 5 } else { 1 };\n";
        p.write("vendor/number/src/lib.rs", text);
    })
    .runs_scripts_of(["number"])
    .builds(["app", "build_script_build", "number"])
    .prints("5");
    app.change("a feature of its manifest comes", |p| {
        let text = manifest(
            "number",
            "1.0.0",
            "[features]\ndefault = [\"more\"]\nmore = []",
        );
        p.write("vendor/number/Cargo.toml", &text);
        let text = "pub const NUMBER: u32 = if cfg!(feature = \"more\") { 6 } else { 1 };\n";
        p.write("vendor/number/src/lib.rs", text);
    })
    .runs_scripts_of(["number"])
    .builds(["app", "build_script_build", "number"])
    .prints("6");
    app.change("another version comes beside it", |p| {
        number(p, "vendor/number-2", "1.1.0", 7);
        let sums = p.read("vendor/number/.cargo-checksum.json");
        p.write("vendor/number-2/.cargo-checksum.json", &sums);
        p.remove("Cargo.lock");
    })
    .builds(["app", "number"])
    .prints("7");
}

#[test]
fn vendored_packages_that_were_edited() {
    let env = Env::new();
    let mut app = env.cases(&depending("\"1\""));
    // Of `pub const NUMBER: u32 = 1;` and its line's end.
    let sum = "a2288bf764fd844997b4a7ea71343492d5746a144b81233448feaec80f7da586";
    let listed = format!("\"src/lib.rs\":\"{sum}\"");
    vendor(app.project(), "vendor", &listed);
    app.build("first build")
        .builds(["app", "number"])
        .prints("1");
    app.change("a file with a checksum was edited", |p| {
        p.edit("vendor/number/src/lib.rs", "= 1", "= 2");
    })
    .fails();
    let run = env.vx(app.project(), &["build"]);
    let words = "vendor/number/src/lib.rs` has changed:";
    assert!(run.stderr.contains(words), "{run}");
    app.change("it is as before", |p| {
        p.edit("vendor/number/src/lib.rs", "= 2", "= 1");
    })
    .builds([])
    .prints("1");
    app.change("a file with a checksum went", |p| {
        p.remove("vendor/number/src/lib.rs");
    })
    .fails();
}

#[test]
fn what_a_wrapper_reads_while_planning() {
    let env = Env::new();
    let mut app = env.cases(ASKS);
    app.project().write("flag", "");
    let program = "#!/bin/sh\nexec \"$@\" $(cat \"${0%tool}flag\")\n";
    app.project().write_program("tool", program);
    let path = app.project().join("tool").display().to_string();
    let built = ["app", "build_script_build"];
    app.build("first build")
        .given("RUSTC_WRAPPER", &path)
        .runs_scripts_of(["app"])
        .builds(built)
        .prints("false false");
    app.change("a file that it reads changed", |p| {
        p.write("flag", "--cfg foo")
    })
    .given("RUSTC_WRAPPER", &path)
    .runs_scripts_of(["app"])
    .builds(built)
    .prints("true true");
}

#[test]
fn a_link_that_turns_while_planning() {
    let env = Env::new();
    let mut app = env.cases(&alone("[workspace]"));
    let text = app.project().read("Cargo.toml");
    app.project().write("one.toml", &text);
    let other = format!("{text}[[bin]]\nname = \"app\"\npath = \"src/other.rs\"\n");
    app.project().write("two.toml", &other);
    app.project()
        .write("src/other.rs", "fn main() { println!(\"other\"); }\n");
    app.project().remove("Cargo.toml");
    app.project().link("Cargo.toml", "one.toml");
    // A wrapper is asked while cargo plans: the link turns once.
    let root = app.project().path().display().to_string();
    let turn = format!(
        "#!/bin/sh\nif [ -e {root}/turn ]; then rm {root}/turn; ln -sfn two.toml {root}/Cargo.toml; fi\n\
         exec \"$@\"\n"
    );
    let tools = env.project("//- /none\n");
    tools.write_program("tool", &turn);
    let path = tools.join("tool").display().to_string();
    app.project().write("turn", "");
    // The wrapper looks where the checkout really is, so its action runs once more with that there.
    app.build("the link turns")
        .given("RUSTC_WRAPPER", &path)
        .builds(["app", "app"])
        .prints("other");
    app.build("once more")
        .given("RUSTC_WRAPPER", &path)
        .builds([])
        .prints("other");
}

#[test]
fn a_manifest_path_that_is_a_link() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /real/Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        //- /real/src/main.rs
        fn main() { println!("real"); }
        //- /view/src/main.rs
        fn main() { println!("view"); }
        //- /third/src/main.rs
        fn main() { println!("third"); }
        "#,
    );
    project.link("view/Cargo.toml", "../real/Cargo.toml");
    project.link("third/Cargo.toml", "../view/Cargo.toml");
    // A directory that is a link has places of its own too.
    project.link("other", "real");
    for (name, compiled, printed) in [
        ("view", true, "view"),
        ("other", true, "real"),
        ("third", true, "third"),
        ("real", false, "real"),
    ] {
        let mut app = Cases::of(&env, Project::at(project.join(name)));
        let path = app.project().join("Cargo.toml").display().to_string();
        let step = app.build(name).with(&["--manifest-path", &path]);
        if compiled {
            step.builds(["app"]).prints(printed);
            app.build("the same from within").builds([]).prints(printed);
        } else {
            // What the link to the directory made.
            step.unlike_cargo().builds([]).prints(printed);
        }
    }
    let mut view = Cases::of(&env, Project::at(project.join("view")));
    view.change("an edit where the link is", |view| {
        view.write("src/main.rs", "fn main() { println!(\"edited\"); }");
    })
    .builds(["app"])
    .prints("edited");
    let real = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n\
                [[bin]]\nname = \"app\"\npath = \"src/late.rs\"\n";
    view.change("an edit of what the link leads to", |view| {
        view.write("src/late.rs", "fn main() { println!(\"late\"); }");
        project.write("real/Cargo.toml", real);
    })
    .builds(["app"])
    .prints("late");
}

#[test]
fn a_copy_of_what_names_its_own_place() {
    let env = Env::new();
    let project = env.project("//- /none\n");
    let one = Project::at(project.join("one"));
    number(&one, "dep", "1.0.0", 1);
    let dep = one.join("dep").display().to_string();
    one.write(
        "app/Cargo.toml",
        &manifest(
            "app",
            "0.1.0",
            &format!("[workspace]\n[dependencies]\nnumber = {{ path = \"{dep}\" }}"),
        ),
    );
    one.write(
        "app/src/main.rs",
        "fn main() { println!(\"{}\", number::NUMBER); }\n",
    );
    let mut first = env.cases(&alone("[workspace]"));
    let _ = first.build("the store is warm").builds(["app"]);
    let mut app = vx_harness::Cases::of(&env, Project::at(one.join("app")));
    app.build("first build")
        .builds(["app", "number"])
        .prints("1");
    app.build("once more").builds([]);
    let two = one.copy_to(&project.join("two"));
    number(&two, "dep", "1.0.0", 2);
    number(&one, "dep", "1.0.0", 3);
    let mut copy = app.at(Project::at(two.join("app")));
    copy.build("a copy that means the first one's dependency")
        .builds(["app", "number"])
        .prints("3");
}

#[test]
fn a_plan_that_tells_of_another_checkout_does_not_serve_that_one() {
    let env = Env::new();
    let project = env.project("//- /none\n");
    let one = Project::at(project.join("one"));
    one.write("Cargo.toml", &manifest("app", "0.1.0", "[workspace]"));
    one.write("src/main.rs", "fn main() {}\n");
    let data = one.join("data").display().to_string();
    one.write(
        ".cargo/config.toml",
        &format!("[env]\nVX_CASE_DATA = \"{data}\"\n"),
    );
    let two = one.copy_to(&project.join("two"));
    let plan = |project: &Project, how: &str| {
        let told = env.vx(project, &["build", how]).success().stdout;
        let told: serde_json::Value = serde_json::from_str(&told).expect("a plan is JSON");
        told["plan"].clone()
    };
    assert_eq!(plan(&two, "--plan"), plan(&two, "--plan=fresh"));
    assert_eq!(plan(&one, "--plan"), plan(&one, "--plan=fresh"));
    assert_ne!(plan(&one, "--plan"), plan(&two, "--plan"));
    assert_eq!(origin(&env, &one), "memo");
}

#[test]
fn plans_are_remembered_for_what_does_not_count() {
    let env = Env::new();
    let project = env.project(&alone("[workspace]"));
    let _ = env.build(&project);
    assert_eq!(origin(&env, &project), "memo");
    project.write(
        "src/main.rs",
        "fn main() { println!(\"a longer text than before\"); }\n",
    );
    project.write("src/other.rs", "");
    assert_eq!(origin(&env, &project), "memo");
    project.write("src/bin/other.rs", "fn main() {}\n");
    assert_eq!(origin(&env, &project), "made");
    assert_eq!(origin(&env, &project), "memo");
    let copy = env.copy(&project);
    assert_eq!(origin(&env, &copy), "memo");
    // What is looked for above a checkout.
    let above = copy.path().parent().expect("it is in a directory");
    std::fs::create_dir_all(above.join(".cargo")).expect("the environment is ours");
    std::fs::write(above.join(".cargo/config.toml"), "[build]\n").expect("the environment is ours");
    assert_eq!(origin(&env, &copy), "made");
    let fresh = env.vx(&project, &["build", "--plan=fresh"]).success();
    assert!(fresh.stdout.contains("\"from\":\"made\""));
}

#[test]
fn a_linker_that_is_meant_from_each_home() {
    let env = Env::new();
    let homes = env.project("//- /none\n");
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let linker = |word: &str| format!("#!/bin/sh\necho {word} > linked-by\nexec cc \"$@\"\n");
    for home in ["one", "two"] {
        let text = format!("[target.{triple}]\nlinker = \"tools/ld\"\n");
        homes.write(&format!("{home}/.cargo/config.toml"), &text);
        homes.write_program(&format!("{home}/tools/ld"), &linker(home));
    }
    let project = env.project(&alone("[workspace]"));
    let plan = |home: &str| {
        let mut command = env.vx_command(&project);
        command
            .args(["build", "--plan"])
            .env("CARGO_HOME", homes.join(&format!("{home}/.cargo")));
        env.run(command).success().stdout
    };
    let (first, again) = (plan("one"), plan("one"));
    assert!(first.contains("/one/tools/ld") && again.contains("\"from\":\"memo\""));
    let second = plan("two");
    assert!(second.contains("/two/tools/ld"), "{second}");
    assert!(plan("one").contains("/one/tools/ld"));
}
