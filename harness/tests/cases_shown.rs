//! What an action is shown in one build and not in another: what it was not shown then and would be
//! shown now is no hit, and neither is the reverse.

use vx_harness::{Cases, Env, Project};

/// A package whose program prints what its build script finds in its way, or that it finds
/// nothing.
fn asking(body: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        //- /build.rs
        fn main() {{
            let found: Option<String> = {{ {body} }};
            let found = found.unwrap_or("nothing".into());
            println!("cargo::rustc-env=FOUND={{}}", found.trim());
        }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", env!("FOUND")); }}
        "#
    )
}

const ASKING_GIT: &str = r#"
    let git = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
    git.status.success().then(|| String::from_utf8(git.stdout).unwrap())"#;

/// A repository of this package, and its revision.
fn repository(env: &Env) -> (Project, String) {
    let project = env.project(&asking(ASKING_GIT));
    project.write(".gitignore", ".vx\ntarget\n");
    env.git_init(project.path());
    let revision = env.git(project.path(), &["rev-parse", "HEAD"]);
    (project, revision)
}

/// The repository of a worktree is on a disk that is not there, and is again.
#[test]
fn a_worktree_whose_repository_comes_back() {
    let env = Env::new();
    let (main, revision) = repository(&env);
    let side = env.fresh_path("side");
    let text = side.to_str().expect("an environment's paths are text");
    let _ = env.git(
        main.path(),
        &["worktree", "add", "--quiet", "--detach", text],
    );
    let away = main.path().with_file_name("away");
    std::fs::rename(main.path(), &away).expect("the environment is ours");
    let mut app = Cases::of(&env, Project::at(&side));
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("nothing");
    app.build("the repository is away still")
        .builds([])
        .prints("nothing");
    std::fs::rename(&away, main.path()).expect("the environment is ours");
    app.build("the repository is there again")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&revision);
    app.build("nothing changed").builds([]).prints(&revision);
    std::fs::rename(main.path(), &away).expect("the environment is ours");
    app.build("the repository is away again")
        .builds([])
        .prints("nothing");
}

/// The same, as a submodule has it: the way there starts where the checkout really is.
#[test]
fn a_submodule_whose_repository_comes_back() {
    let env = Env::new();
    let (project, revision) = repository(&env);
    let modules = env.fresh_path("modules");
    std::fs::create_dir(&modules).expect("the environment is ours");
    let up = "../".repeat(project.path().components().count() - 1);
    let inside = modules.strip_prefix("/").expect("it is absolute");
    let named = format!("{up}{}/app", inside.display());
    let (kept, away) = (modules.join("app"), modules.join("away"));
    std::fs::rename(project.join(".git"), &away).expect("the environment is ours");
    project.write(".git", &format!("gitdir: {named}\n"));
    let mut app = Cases::of(&env, project);
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("nothing");
    std::fs::rename(&away, &kept).expect("the environment is ours");
    app.build("the repository is there again")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&revision);
    app.build("nothing changed").builds([]).prints(&revision);
    std::fs::rename(&kept, &away).expect("the environment is ours");
    app.build("the repository is away again")
        .builds([])
        .prints("nothing");
}

/// A copy of a checkout is built before that, which both lead to for the word in this file.
#[track_caller]
fn a_copy_before(env: &Env, original: Project, word: &str) {
    let mut copy = Cases::of(env, env.copy(&original));
    // Other checkouts are not shown.
    copy.build("first build")
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("nothing");
    let mut original = copy.at(original);
    original
        .build("the checkout that is led to")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("one");
    original
        .change("an edit there", |original| original.write(word, "two"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two");
    let mut copy = original.at(Project::at(copy.project().path()));
    copy.build("the copy is as it was")
        .unlike_cargo()
        .builds([])
        .prints("nothing");
}

/// A copy is built before the checkout whose path is in a text of both.
#[test]
fn a_copy_before_the_checkout_that_a_text_names() {
    let env = Env::new();
    let original = env.project(&asking(
        r#"let at = std::fs::read_to_string("at.txt").unwrap();
        std::fs::read_to_string(at + "/word").ok()"#,
    ));
    original.write("at.txt", &original.path().display().to_string());
    original.write("word", "one");
    a_copy_before(&env, original, "word");
}

/// The same with a link that the script makes.
#[test]
fn a_copy_before_the_checkout_that_a_link_of_the_scripts_leads_to() {
    let env = Env::new();
    let original = env.project(&asking(
        r#"let at = std::fs::read_to_string("at.txt").unwrap();
        let link = std::env::temp_dir().join("link");
        std::os::unix::fs::symlink(at, &link).unwrap();
        std::fs::read_to_string(link.join("word")).ok()"#,
    ));
    original.write("at.txt", &original.path().display().to_string());
    original.write("word", "one");
    let copy = env.copy(&original);
    let build = |project: &Project, words: &str| {
        let _ = env.build(project);
        let program = project.output("debug", "app");
        let said = vx_harness::program_output(&program, project.path(), &[]);
        let words = format!("exit status: 0\n--- stdout\n{words}\n--- stderr");
        assert_eq!(said.trim(), words);
    };
    build(&copy, "nothing");
    build(&original, "one");
    env.build(&original).assert_nothing();
    build(&copy, "nothing");
    env.build(&copy).assert_nothing();
}

/// The same with a link.
#[test]
fn a_copy_before_the_checkout_that_a_link_leads_to() {
    let env = Env::new();
    let original = env.project(&asking(r#"std::fs::read_to_string("link/word").ok()"#));
    original.write("words/word", "one");
    let target = original.path().join("words").display().to_string();
    original.link("link", &target);
    a_copy_before(&env, original, "words/word");
}

/// What a variable of the configuration names is withheld where somebody's home is in it.
#[test]
fn a_path_of_a_variable_that_is_withheld() {
    let env = Env::new();
    let shared = Project::at(env.fresh_path("shared"));
    shared.write("words/word", "one");
    shared.write("home/.keep", "");
    let home = shared.join("home").display().to_string();
    let project = env.project(&asking(
        r#"let at = std::env::var("VX_CASE_WORDS").unwrap();
        // Whatever else is looked at around it is as before.
        let _ = (std::fs::create_dir("/made"), std::fs::read_dir("/").unwrap().count());
        // The directories above are there with it.
        let above = std::path::Path::new(&at).parent().unwrap().exists();
        let words = std::fs::read_to_string(at + "/words/word").ok();
        words.filter(|_| above)"#,
    ));
    project.write(
        ".cargo/config.toml",
        &format!("[env]\nVX_CASE_WORDS = \"{}\"\n", shared.path().display()),
    );
    let mut app = Cases::of(&env, project);
    app.build("withheld")
        .given("HOME", &home)
        .unlike_cargo()
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("nothing");
    app.build("withheld still")
        .given("HOME", &home)
        .unlike_cargo()
        .builds([])
        .prints("nothing");
    app.build("shown")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("one");
    app.build("shown still").builds([]).prints("one");
    app.build("withheld again")
        .given("HOME", &home)
        .unlike_cargo()
        .builds([])
        .prints("nothing");
    app.change("shown and edited", |_| shared.write("words/word", "two"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two");
}

/// Two workspaces of one checkout, each without its own `.vx`.
#[test]
fn the_own_directory_of_one_workspace_and_then_of_another() {
    let env = Env::new();
    let all = env.project(
        r#"
        //- /shared/Cargo.toml
        [package]
        name = "shared"
        version = "0.1.0"
        edition = "2024"
        //- /shared/build.rs
        fn main() {
            let there = |name: &str| std::path::Path::new(name).join(".vx/flag").exists();
            println!("cargo::rustc-env=THERE={} {}", there("../one"), there("../two"));
        }
        //- /shared/src/lib.rs
        pub const THERE: &str = env!("THERE");
        "#,
    );
    env.git_init(all.path());
    let workspace = |name: &str| {
        let workspace = Project::at(all.join(name));
        workspace.write(
            "Cargo.toml",
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
             [dependencies]\nshared = { path = \"../shared\" }\n[workspace]\n",
        );
        workspace.write(
            "src/main.rs",
            "fn main() { println!(\"{}\", shared::THERE); }\n",
        );
        workspace.write(".vx/flag", "");
        workspace
    };
    let mut one = Cases::of(&env, workspace("one"));
    let mut two = one.at(workspace("two"));
    one.build("one")
        .unlike_cargo()
        .runs_scripts_of(["shared"])
        .builds(["app", "build_script_build", "shared"])
        .prints("false true");
    two.build("two")
        .unlike_cargo()
        .runs_scripts_of(["shared"])
        .builds(["app", "build_script_build", "shared"])
        .prints("true false");
    one.build("one again")
        .unlike_cargo()
        .builds([])
        .prints("false true");
}
