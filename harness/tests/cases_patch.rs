//! Packages that cargo's configuration puts in the place of others, from outside of the workspace's
//! root, where there is no repository to say what belongs together.

use vx_harness::{CargoHome, Cases, Env, Project};

/// A repository with the package that is replaced.
fn repository(env: &Env) -> String {
    let repository = Project::from_text(
        &env.fresh_path("repository"),
        r#"
        //- /Cargo.toml
        [package]
        name = "answer"
        version = "0.1.0"
        edition = "2024"
        //- /src/lib.rs
        pub const ANSWER: &str = "of the repository";
        "#,
    );
    env.git_init(&repository);
    format!("file://{}", repository.path().display())
}

/// A workspace in `ws`, and packages beside it.
fn project(env: &Env, url: &str) -> Project {
    env.project(&format!(
        r#"
        //- /ws/Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        answer = {{ git = "{url}" }}
        //- /ws/src/main.rs
        fn main() {{ println!("{{}}", answer::ANSWER); }}
        //- /patches/answer/Cargo.toml
        [package]
        name = "answer"
        version = "0.1.0"
        edition = "2024"
        //- /patches/answer/src/lib.rs
        pub const ANSWER: &str = "of the patch";
        //- /deeper/Cargo.toml
        [package]
        name = "deeper"
        version = "0.1.0"
        edition = "2024"
        //- /deeper/src/lib.rs
        pub const ANSWER: &str = "from deeper";
        "#
    ))
}

const BOTH: [&str; 2] = ["answer", "app"];

#[test]
fn patches() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let url = repository(&env);
    let all = project(&env, &url);
    let patch = |path: &str| format!("[patch.\"{url}\"]\nanswer = {{ path = \"{path}\" }}\n");
    let mut app = Cases::of(&env, Project::at(all.join("ws")));
    app.build("no patch")
        .builds(BOTH)
        .prints("of the repository");
    app.change("a patch beside the workspace", |p| {
        p.write(".cargo/config.toml", &patch("../patches/answer"));
    })
    .builds(BOTH)
    .prints("of the patch");
    app.change("the patch changed", |_| {
        all.edit("patches/answer/src/lib.rs", "the", "this");
    })
    .builds(BOTH)
    .prints("of this patch");
    app.build("nothing changed")
        .builds([])
        .prints("of this patch");
    let absolute = all.join("patches/answer").display().to_string();
    app.change("by its absolute path", |p| {
        p.write(".cargo/config.toml", &patch(&absolute));
    })
    .builds([])
    .prints("of this patch");
    app.change("by a configuration above, and meant from there", |p| {
        p.remove(".cargo");
        all.write(".cargo/config.toml", &patch("patches/answer"));
    })
    .builds([])
    .prints("of this patch");
    app.change("by an included file", |_| {
        all.write(".cargo/config.toml", "include = [\"more/patch.toml\"]\n");
        all.write(".cargo/more/patch.toml", &patch("../patches/answer"));
    })
    .builds([])
    .prints("of this patch");
    app.change("the patch has a package of its own", |_| {
        all.write(".cargo/config.toml", &patch("patches/answer"));
        let manifest = all.read("patches/answer/Cargo.toml");
        let dependency = "[dependencies]\ndeeper = { path = \"../../deeper\" }\n";
        all.write(
            "patches/answer/Cargo.toml",
            &format!("{manifest}{dependency}"),
        );
        all.write("patches/answer/src/lib.rs", "pub use deeper::ANSWER;\n");
    })
    .builds(["answer", "app", "deeper"])
    .prints("from deeper");
    app.change("that one changed", |_| {
        all.edit("deeper/src/lib.rs", "from", "still from");
    })
    .builds(["answer", "app", "deeper"])
    .prints("still from deeper");
    app.change("no patch any more", |p| {
        all.remove(".cargo");
        p.remove("Cargo.lock");
    })
    .builds([])
    .prints("of the repository");
}

#[test]
fn overrides_by_paths() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let all = project(&env, &repository(&env));
    let mut app = Cases::of(&env, Project::at(all.join("ws")));
    app.change("a package", |p| {
        p.write(".cargo/config.toml", "paths = [\"../patches/answer\"]\n");
    })
    .builds(BOTH)
    .prints("of the patch");
    app.change("it changed", |_| {
        all.edit("patches/answer/src/lib.rs", "the", "this");
    })
    .builds(BOTH)
    .prints("of this patch");
    app.change("a directory with packages", |p| {
        p.write(".cargo/config.toml", "paths = [\"../patches\"]\n");
    })
    .builds([])
    .prints("of this patch");
    app.change("none", |p| p.remove(".cargo"))
        .builds(BOTH)
        .prints("of the repository");
}

#[test]
fn another_checkout_has_patches_of_its_own() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let url = repository(&env);
    let all = project(&env, &url);
    let path = "../patches/answer";
    all.write(
        "ws/.cargo/config.toml",
        &format!("[patch.\"{url}\"]\nanswer = {{ path = \"{path}\" }}\n"),
    );
    let mut one = Cases::of(&env, Project::at(all.join("ws")));
    one.build("first build").builds(BOTH).prints("of the patch");
    let copy = env.copy(&all);
    let mut two = one.at(Project::at(copy.join("ws")));
    two.build("a copy").builds([]).prints("of the patch");
    two.change("a copy with another patch", |_| {
        copy.edit("patches/answer/src/lib.rs", "the", "another");
    })
    .builds(BOTH)
    .prints("of another patch");
}

/// The older table for the same, in the manifest.
#[test]
fn replacements() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let url = repository(&env);
    let all = project(&env, &url);
    let mut app = Cases::of(&env, Project::at(all.join("ws")));
    app.build("none").builds(BOTH).prints("of the repository");
    let manifest = app.project().read("Cargo.toml");
    app.change("one", |p| {
        p.write(
            "Cargo.toml",
            &format!(
                "{manifest}\n[replace]\n\"{url}#answer@0.1.0\" = {{ path = \"../patches/answer\" }}\n"
            ),
        );
    })
    .builds(BOTH)
    .prints("of the patch");
    app.change("it changed", |_| {
        all.edit("patches/answer/src/lib.rs", "the", "this");
    })
    .builds(BOTH)
    .prints("of this patch");
    app.change("another package takes its place", |_| {
        all.rename("patches/answer", "patches/old");
        all.rename("deeper", "patches/answer");
        all.edit("patches/answer/Cargo.toml", "deeper", "answer");
    })
    .builds(BOTH)
    .prints("from deeper");
    app.change("none again", |p| p.write("Cargo.toml", &manifest))
        .builds([])
        .prints("of the repository");
}
