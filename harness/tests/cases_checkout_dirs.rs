//! Plans of checkouts that lie where other things do: among devices, in the homes of tools, in what
//! cargo unpacked. And of programs that stand where cargo is looked for.

use vx_harness::{CargoHome, Cases, Env, Project};

fn project(directory: &std::path::Path, word: &str, version: &str) -> Project {
    Project::from_text(
        directory,
        &format!(
            r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "{version}"
        edition = "2024"
        [features]
        default = []
        loud = []
        //- /src/main.rs
        fn main() {{
            let loud = cfg!(feature = "loud");
            println!("{word} {{}} {{loud}}", env!("CARGO_PKG_VERSION"));
        }}
        "#
        ),
    )
}

/// Two projects that have nothing in common but where they are, and edits of one's manifest.
fn two_in(env: &Env, directory: &std::path::Path, place: &str) {
    let one = project(
        &directory.join("one-1.0.0"),
        &format!("one {place}"),
        "1.0.0",
    );
    let two = project(
        &directory.join("two-2.0.0"),
        &format!("two {place}"),
        "2.0.0",
    );
    let mut one = Cases::of(env, one);
    one.build("one")
        .builds(["app"])
        .prints(&format!("one {place} 1.0.0 false"));
    one.at(two)
        .build("two")
        .builds(["app"])
        .prints(&format!("two {place} 2.0.0 false"));
    one.change("another version, and features", |one| {
        one.edit("Cargo.toml", "1.0.0", "1.0.1");
        one.edit("Cargo.toml", "default = []", "default = [\"loud\"]");
    })
    .builds(["app"])
    .prints(&format!("one {place} 1.0.1 true"));
    one.change("another program", |one| {
        let text = format!("fn main() {{ println!(\"{place}\"); }}\n");
        one.write("src/bin/other.rs", &text);
    })
    .builds(["other"]);
    one.build("nothing changed")
        .builds([])
        .prints(&format!("one {place} 1.0.1 true"));
}

#[test]
fn in_memory() {
    let env = Env::new();
    let Ok(directory) = tempfile::tempdir_in("/dev/shm") else {
        return;
    };
    two_in(&env, directory.path(), "in memory");
}

#[test]
fn in_cargos_home() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let home = std::path::PathBuf::from(env.setting("CARGO_HOME"));
    two_in(&env, &home.join("work"), "at home");
    let unpacked = home.join("registry/src/index-0123456789abcdef");
    two_in(&env, &unpacked, "unpacked");
}

#[test]
fn a_path_to_what_cargo_unpacked() {
    let env = Env::new().with_cargo_home(CargoHome::Empty);
    let home = std::path::PathBuf::from(env.setting("CARGO_HOME"));
    let unpacked = Project::from_text(
        &home.join("registry/src/index-0123456789abcdef/words-1.0.0"),
        r#"
        //- /Cargo.toml
        [package]
        name = "words"
        version = "1.0.0"
        edition = "2024"
        [features]
        default = []
        loud = []
        //- /src/lib.rs
        pub const WORDS: (u8, bool) = (1, cfg!(feature = "loud"));
        "#,
    );
    let path = unpacked.path().display();
    let text = format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        words = {{ path = "{path}" }}
        //- /src/main.rs
        fn main() {{ println!("{{:?}}", words::WORDS); }}
        "#
    );
    let app = Project::from_text(&home.join("work/app"), &text);
    let mut app = Cases::of(&env, app);
    app.build("first build")
        .builds(["app", "words"])
        .prints("(1, false)");
    app.change("its source", |_| unpacked.edit("src/lib.rs", "(1,", "(2,"))
        .builds(["app", "words"])
        .prints("(2, false)");
    app.change("its manifest", |_| {
        unpacked.edit("Cargo.toml", "default = []", "default = [\"loud\"]");
    })
    .builds(["app", "words"])
    .prints("(2, true)");
}

/// A program that stands for cargo may heed any variable.
#[test]
fn a_stand_in_for_cargo() {
    let env = Env::new();
    let shims = env.project("//- /none\n");
    let bin = env.toolchain().sysroot().join("bin");
    shims.write_program(
        "cargo",
        &format!(
            "#!/bin/sh\n\
             test \"$TEAM\" = fast && export CARGO_PROFILE_DEV_DEBUG_ASSERTIONS=false\n\
             exec {}/cargo \"$@\"\n",
            bin.display()
        ),
    );
    let path = format!("{}:{}", shims.path().display(), env.setting("PATH"));
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() { println!("{}", cfg!(debug_assertions)); }
        "#,
    );
    app.build("without the variable")
        .given("PATH", &path)
        .builds(["app"])
        .prints("true");
    app.build("with it")
        .given("PATH", &path)
        .given("TEAM", "fast")
        .unlike_cargo()
        .builds(["app"])
        .prints("false");
    app.build("without it again")
        .given("PATH", &path)
        .builds([])
        .prints("true");
}

/// Daemons see other files than who is in another mount namespace.
#[test]
fn a_client_that_sees_other_files() {
    let env = Env::new();
    let app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() {}
        "#,
    );
    let _ = env.build(app.project());
    let elsewhere = |program: &std::path::Path, arguments: &[&str]| {
        let mut command = env.command("unshare", app.project());
        command
            .args(["--user", "--map-root-user", "--mount"])
            .arg(program)
            .args(arguments);
        env.run(command)
    };
    if elsewhere("/bin/true".as_ref(), &[]).status.success() {
        let _ = elsewhere(&env.program("vx"), &["build"]).refused();
        // It has daemons of its own where it has a home of its own.
        let home = env.fresh_path("home");
        let own = format!("VX_HOME={}", home.display());
        let vx = env.program("vx").display().to_string();
        let script = format!("{own} {vx} build && {own} {vx} stop");
        let _ = elsewhere("/bin/sh".as_ref(), &["-c", &script]).success();
    }
}
