//! Build scripts: what makes one run again, and what its dependents make of it.

use std::net::TcpListener;

use vx_harness::{Cases, Env};

/// A package whose program prints what its build script says, given the script's body.
fn saying(body: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        use std::path::Path;
        fn say(text: &str) {{ println!("cargo::rustc-env=SAID={{}}", text.trim()); }}
        fn read(path: impl AsRef<Path>) -> String {{
            std::fs::read_to_string(path).unwrap_or("nothing".to_owned())
        }}
        fn names(path: impl AsRef<Path>) -> String {{
            let mut names: Vec<_> = std::fs::read_dir(path).unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names.join(" ")
        }}
        fn main() {{
            let _ = (read("/nowhere"), names as fn(&'static str) -> String);
            {body}
        }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", env!("SAID")); }}
        //- /input.txt
        input-1
        //- /other.txt
        other-1
        "#
    )
}

/// The first build of such a package.
#[track_caller]
fn first(app: &mut Cases<'_>, words: &str) {
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints(words);
}

#[test]
fn a_file_that_is_named() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"println!("cargo::rerun-if-changed=input.txt"); say(&read("input.txt"));"#,
    ));
    first(&mut app, "input-1");
    app.change("rerun-if-changed: the file changed", |p| {
        p.write("input.txt", "input-2\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("input-2");
    app.change("rerun-if-changed: another file changed", |p| {
        p.write("other.txt", "other-2\n");
    })
    .builds([]);
    app.change("rerun-if-changed: only touched", |p| {
        p.write("input.txt", "input-2\n");
    })
    .builds([]);
    app.change("rerun-if-changed: other bytes, the same words", |p| {
        p.write("input.txt", "  input-2\n");
    })
    .runs_scripts_of(["app"])
    .builds([])
    .prints("input-2");
    app.change("rerun-if-changed: a source the script does not read", |p| {
        p.edit("src/main.rs", "fn main", "// why\nfn main");
    })
    .builds(["app"]);
    app.change("rerun-if-changed: the file as at first", |p| {
        p.write("input.txt", "input-1\n");
        p.edit("src/main.rs", "// why\n", "");
    })
    .builds([])
    .prints("input-1");
}

#[test]
fn a_directory_that_is_named() {
    let env = Env::new();
    let text = saying(r#"println!("cargo::rerun-if-changed=data"); say(&names("data"));"#);
    let mut app = env.cases(&text);
    app.project().write("data/a", "1\n");
    first(&mut app, "a");
    app.change("rerun-if-changed: a file added to the directory", |p| {
        p.write("data/b", "2\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("a b");
    app.change("rerun-if-changed: a file in the directory edited", |p| {
        p.write("data/b", "3\n");
    })
    .runs_scripts_of(["app"])
    .builds([]);
    app.change("rerun-if-changed: a file deep in it added", |p| {
        p.write("data/deep/er/c", "3\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("a b deep");
    app.change("rerun-if-changed: a file deep in it edited", |p| {
        p.write("data/deep/er/c", "4\n");
    })
    .runs_scripts_of(["app"])
    .builds([]);
    app.change("rerun-if-changed: a file in it removed", |p| {
        p.remove("data/deep");
    })
    .builds([])
    .prints("a b");
}

#[test]
fn a_variable_that_is_named() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"println!("cargo::rerun-if-env-changed=VX_CASE_NAMED");
            say(&std::env::var("VX_CASE_NAMED").unwrap_or("unset".to_owned()));"#,
    ));
    first(&mut app, "unset");
    app.build("rerun-if-env-changed: set")
        .given("VX_CASE_NAMED", "one")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("one");
    app.build("rerun-if-env-changed: changed")
        .given("VX_CASE_NAMED", "two")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two");
    app.build("rerun-if-env-changed: as before")
        .given("VX_CASE_NAMED", "one")
        .builds([])
        .prints("one");
    app.build("rerun-if-env-changed: unset")
        .builds([])
        .prints("unset");
    app.build("a variable the script does not name")
        .given("VX_CASE_OTHER", "1")
        .builds([]);
    app.change("no file is named: a file of the package changed", |p| {
        p.write("input.txt", "input-2\n");
    })
    .builds([]);
}

#[test]
fn a_file_that_is_named_and_absent() {
    let env = Env::new();
    let text = saying(r#"println!("cargo::rerun-if-changed=late.txt"); say(&read("late.txt"));"#);
    let mut app = env.cases(&text);
    first(&mut app, "nothing");
    // Cargo runs such a script in every build; one that says the same each time need not.
    app.build("rerun-if-changed: still absent").builds([]);
    app.change("rerun-if-changed: an absent file appears", |p| {
        p.write("late.txt", "late-1\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("late-1");
    app.change("rerun-if-changed: and goes", |p| p.remove("late.txt"))
        .builds([])
        .prints("nothing");
}

#[test]
fn nothing_is_named() {
    let env = Env::new();
    let mut app = env.cases(&saying(r#"say(&read("input.txt"));"#));
    first(&mut app, "input-1");
    app.change("nothing named: a source changed", |p| {
        p.edit("src/main.rs", "fn main", "// why\nfn main");
    })
    .builds(["app"]);
    app.change(
        "nothing named: a file the script did not read changed",
        |p| {
            p.write("other.txt", "other-2\n");
        },
    )
    .builds([]);
    app.change("nothing named: a file added", |p| p.write("more.txt", "\n"))
        .builds([]);
    app.change("nothing named: a file the script read changed", |p| {
        p.write("input.txt", "input-2\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("input-2");
    app.change("nothing named: the file went", |p| p.remove("input.txt"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("nothing");
}

#[test]
fn what_is_read_without_being_named() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"println!("cargo::rerun-if-changed=build.rs");
            say(&format!("{} {} {}", read("input.txt").trim(), names("data"), Path::new("flag").exists()));"#,
    ));
    app.project().write("data/a", "1\n");
    first(&mut app, "input-1 a false");
    app.change("undeclared read: the file changed", |p| {
        p.write("input.txt", "input-2\n");
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("input-2 a false");
    app.change("undeclared listing: a file added", |p| {
        p.write("data/b", "2\n")
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("input-2 a b false");
    app.change("undeclared listing: a file edited", |p| {
        p.write("data/b", "3\n");
    })
    .builds([]);
    app.change("undeclared probe: it appears", |p| p.write("flag", "\n"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("input-2 a b true");
    app.change("undeclared read: a file not read changed", |p| {
        p.write("other.txt", "other-2\n");
    })
    .builds([]);
    app.change("all as at first", |p| {
        p.write("input.txt", "input-1\n");
        p.remove("data/b");
        p.remove("flag");
    })
    .builds([])
    .prints("input-1 a false");
}

/// A repository whose build script asks for the revision, built once, and that revision.
fn asking_git(env: &Env) -> (Cases<'_>, String) {
    let mut app = env.cases(&saying(
        r#"let git = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
            assert!(git.status.success(), "{git:?}");
            say(&String::from_utf8(git.stdout).unwrap());"#,
    ));
    app.project().write(".gitignore", ".vx\ntarget\n");
    let root = app.project().path().to_owned();
    env.git_init(&root);
    let revision = env.git(&root, &["rev-parse", "HEAD"]);
    first(&mut app, &revision);
    (app, revision)
}

#[test]
fn a_script_that_asks_git() {
    let env = Env::new();
    let (mut app, one) = asking_git(&env);
    let root = app.project().path().to_owned();
    app.change("git rev-parse: a file nobody reads edited", |p| {
        p.write("other.txt", "other-2\n");
    })
    .builds([]);
    let two = env.git_commit(&root, "two");
    app.build("git rev-parse: a commit")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&two);
    app.change("git rev-parse: a branch at the same commit", |_| {
        let _ = env.git(&root, &["switch", "--quiet", "--create", "other"]);
    })
    .runs_scripts_of(["app"])
    .builds([])
    .prints(&two);
    let three = env.git_commit(&root, "three");
    app.build("git rev-parse: a commit on the branch")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&three);
    app.change("git rev-parse: refs packed", |_| {
        let _ = env.git(&root, &["pack-refs", "--all"]);
    })
    .runs_scripts_of(["app"])
    .builds([])
    .prints(&three);
    app.change("git rev-parse: a detached head", |_| {
        let _ = env.git(&root, &["checkout", "--quiet", &one]);
    })
    .runs_scripts_of(["app"])
    .builds([])
    .prints(&one);
}

#[test]
fn a_script_that_asks_git_in_a_worktree() {
    let env = Env::new();
    let (mut app, one) = asking_git(&env);
    let root = app.project().path().to_owned();
    let path = env.fresh_path("worktree");
    let text = path.to_str().expect("an environment's paths are text");
    let arguments = ["worktree", "add", "--quiet", "-b", "side", text];
    let _ = env.git(&root, &arguments);
    let two = env.git_commit(&path, "two");
    let mut side = app.at(vx_harness::Project::at(&path));
    side.build("git rev-parse: in a worktree with another commit")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&two);
    app.build("git rev-parse: the first worktree is as it was")
        .builds([])
        .prints(&one);
}

/// As a submodule has it: where that leads is only there for who finds the checkout at its place.
#[test]
fn a_script_that_asks_git_whose_repository_is_named_by_a_relative_path() {
    let env = Env::new();
    let (mut app, _) = asking_git(&env);
    let root = app.project().path().to_owned();
    let modules = root.with_file_name("modules");
    std::fs::create_dir(&modules).expect("the environment is ours");
    app.project().rename(".git", "../modules/app");
    app.project().write(".git", "gitdir: ../modules/app\n");
    let one = env.git(&root, &["rev-parse", "HEAD"]);
    app.build("git rev-parse: a repository elsewhere")
        .runs_scripts_of(["app"])
        .builds([])
        .prints(&one);
    let two = env.git_commit(&root, "two");
    app.build("git rev-parse: a commit in there")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&two);
    app.build("git rev-parse: the same").builds([]).prints(&two);
}

#[test]
fn a_script_that_reads_the_clock() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            say(&format!("{}", now.as_nanos()));"#,
    ));
    let done = app
        .build("the clock: first build")
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"]);
    let time = done.stdout().to_owned();
    app.build("the clock: nothing changed")
        .unlike_cargo()
        .builds([])
        .prints(&time);
    let copy = env.copy(app.project());
    app.at(copy)
        .build("the clock: a copy elsewhere")
        .unlike_cargo()
        .builds([])
        .prints(&time);
    let changed = app
        .change("the clock: the script changed", |p| {
            p.edit("build.rs", "\"{}\", now", "\"at {}\", now");
        })
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"]);
    assert!(changed.stdout().starts_with("at "), "{}", changed.stdout());
}

#[test]
fn a_script_that_tries_the_network() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut app = env.cases(&saying(&format!(
        r#"let patience = std::time::Duration::from_secs(60);
            let reached = std::net::TcpStream::connect_timeout(&"{address}".parse().unwrap(), patience);
            let kind = reached.as_ref().map_err(|error| error.kind());
            assert_ne!(kind.err(), Some(std::io::ErrorKind::TimedOut));
            let named = std::net::ToSocketAddrs::to_socket_addrs("example.org:80").is_ok();
            say(if reached.is_ok() {{ "reached" }} else if named {{ "found" }} else {{ "refused" }});"#
    )));
    app.build("the network: an error at once")
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("refused");
    app.build("the network: nothing changed")
        .unlike_cargo()
        .builds([])
        .prints("refused");
    listener
        .set_nonblocking(true)
        .expect("the listener is ours");
    assert!(listener.accept().is_err(), "somebody reached the test");
    app.change("the network: allowed", |p| {
        p.edit(
            "Cargo.toml",
            "[package]",
            "[package.metadata.vx]\nnetwork = true\n[package]",
        );
    })
    .unlike_cargo()
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("reached");
}

#[test]
fn another_script_that_says_the_same() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"println!("cargo::rerun-if-changed=input.txt"); say(&read("input.txt"));"#,
    ));
    first(&mut app, "input-1");
    app.change("cutoff: another script, the same words", |p| {
        p.edit(
            "build.rs",
            "say(&read",
            "std::hint::black_box([7; 9]); say(&read",
        );
    })
    .runs_scripts_of(["app"])
    .builds(["build_script_build"])
    .prints("input-1");
    app.change("another script, other words", |p| {
        p.edit("build.rs", "say(&read(\"input.txt\"))", "say(\"other\")");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("other");
    app.change("what the script was built of changed", |p| {
        p.write("part.rs", "pub const PART: &str = \"part\";\n");
        p.edit("build.rs", "say(\"other\")", "say(part::PART)");
        p.edit(
            "build.rs",
            "use std::path::Path;",
            "use std::path::Path;\nmod part;",
        );
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("part");
    app.change("a module of the script changed", |p| {
        p.edit("part.rs", "\"part\"", "\"parts\"");
    })
    .runs_scripts_of(["app"])
    .builds(["app", "build_script_build"])
    .prints("parts");
}

#[test]
fn a_script_that_fails_is_run_again() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"println!("cargo::rerun-if-changed=input.txt");
            assert!(Path::new("flag").exists()); say("flagged");"#,
    ));
    app.build("a failure").fails();
    app.build("a failure is not remembered").fails();
    app.change("what it missed is there", |p| p.write("flag", "\n"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("flagged");
}

#[test]
fn declared_variables_that_vx_sets_where_nobody_declares_them() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [package.metadata.vx]
        env = ["LANG", "PATH"]
        //- /build.rs
        fn main() {
            let path = std::env::var("PATH").unwrap();
            let last = path.rsplit(':').next().unwrap();
            let lang = std::env::var("LANG").unwrap();
            println!("cargo::rustc-env=FOUND={lang} {last}");
        }
        //- /src/main.rs
        fn main() { println!("{}", env!("FOUND")); }
        "#,
    );
    let path = |last: &str| format!("{}:{last}", env.setting("PATH"));
    app.build("first")
        .given("LANG", "de_DE.UTF-8")
        .given("PATH", path("/one"))
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("de_DE.UTF-8 /one");
    app.build("another language")
        .given("LANG", "fr_FR.UTF-8")
        .given("PATH", path("/one"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("fr_FR.UTF-8 /one");
    app.build("another search path")
        .given("LANG", "fr_FR.UTF-8")
        .given("PATH", path("/two"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("fr_FR.UTF-8 /two");
    app.build("none, which is what vx sets")
        .given("PATH", path("/two"))
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("C.UTF-8 /two");
    app.build("the first again")
        .given("LANG", "de_DE.UTF-8")
        .given("PATH", path("/one"))
        .builds([])
        .prints("de_DE.UTF-8 /one");
}

#[test]
fn variables_that_are_only_named_where_others_are_set() {
    let env = Env::new();
    let mut app = env.cases(&saying(
        r#"let mut count = 0;
            loop {
                let name = format!("VX_CHAIN_{count}");
                println!("cargo::rerun-if-env-changed={name}");
                if std::env::var(name).is_err() { break; }
                count += 1;
            }
            say(&count.to_string());"#,
    ));
    let mut step = app.build("a chain of eight");
    for number in 0..8 {
        step = step.given(&format!("VX_CHAIN_{number}"), "1");
    }
    step.runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("8");
}
