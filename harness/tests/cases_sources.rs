//! Sources of workspace packages: what is compiled again when one of them changes, and what
//! is not when nothing that counts did.

use std::fs::{self, File};
use std::path::Path;
use std::time::SystemTime;

use vx_harness::Env;

const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "library"]
    resolver = "3"
    //- /README.md
    For people.
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    library = { path = "../library" }
    //- /app/src/main.rs
    mod part;
    include!("made.rs");
    fn main() {
        println!("{} {}", part::PART, library::WORD);
        println!("{MADE} {}", include_str!("../notes.txt").trim());
        println!("{:?}", include_bytes!("../../shared.bin"));
        println!("{}", include_str!("../../shared.txt").trim());
    }
    //- /app/src/part.rs
    pub const PART: &str = "part-1";
    //- /app/src/made.rs
    const MADE: &str = "made-1";
    //- /app/notes.txt
    notes-1
    //- /app/unread.txt
    nobody reads this
    //- /app/tests/it.rs
    #[test]
    fn passes() {}
    //- /shared.bin
    ab
    //- /shared.txt
    shared-1
    //- /library/Cargo.toml
    [package]
    name = "library"
    version = "0.1.0"
    edition = "2024"
    //- /library/src/lib.rs
    pub const WORD: &str = "word-1";
"#;

const FIRST: &str = "part-1 word-1\nmade-1 notes-1\n[97, 98, 10]\nshared-1";

fn modified(path: &Path) -> SystemTime {
    let metadata = fs::metadata(path).expect("it is there");
    metadata.modified().expect("files have times")
}

fn set_modified(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_modified(time))
        .expect("the project is ours");
}

#[test]
fn edits() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build")
        .builds(["app", "library"])
        .prints(FIRST);
    app.build("nothing changed").builds([]).prints(FIRST);
    app.change("comment edit in the program", |p| {
        p.edit("app/src/main.rs", "fn main", "// why\nfn main");
    })
    .builds(["app"])
    .prints(FIRST);
    app.change("comment edit in the library", |p| {
        p.edit("library/src/lib.rs", "pub const", "// why\npub const");
    })
    .builds(["app", "library"])
    .prints(FIRST);
    app.change("edit and revert", |p| {
        p.edit("app/src/main.rs", "// why\nfn main", "fn main");
        p.edit("library/src/lib.rs", "// why\npub const", "pub const");
    })
    .builds([])
    .prints(FIRST);
    app.change("touched but unchanged", |p| {
        for path in ["app/src/main.rs", "app/src/part.rs", "library/src/lib.rs"] {
            p.write(path, &p.read(path));
        }
    })
    .builds([]);
    app.change("touched, with a time in the past", |p| {
        set_modified(&p.join("app/src/main.rs"), SystemTime::UNIX_EPOCH);
    })
    .builds([]);
    app.change("same size, within a second, old time restored", |p| {
        let path = p.join("app/src/part.rs");
        let time = modified(&path);
        p.edit("app/src/part.rs", "part-1", "part-2");
        set_modified(&path, time);
    })
    .builds(["app"]);
    app.change("same again in the library", |p| {
        let path = p.join("library/src/lib.rs");
        let time = modified(&path);
        p.edit("library/src/lib.rs", "word-1", "word-2");
        set_modified(&path, time);
    })
    .builds(["app", "library"])
    .prints("part-2 word-2\nmade-1 notes-1\n[97, 98, 10]\nshared-1");
}

#[test]
fn included_files() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(["app", "library"]);
    app.change("include! in the package", |p| {
        p.edit("app/src/made.rs", "made-1", "made-2");
    })
    .builds(["app"]);
    app.change("include_str! in the package", |p| {
        p.edit("app/notes.txt", "notes-1", "notes-2");
    })
    .builds(["app"]);
    app.change("include_bytes! outside of the package", |p| {
        p.write("shared.bin", "abc\n");
    })
    .builds(["app"]);
    app.change("include_str! outside of the package", |p| {
        p.edit("shared.txt", "shared-1", "shared-2");
    })
    .builds(["app"])
    .prints("part-1 word-1\nmade-2 notes-2\n[97, 98, 99, 10]\nshared-2");
    app.change("include! outside of the package", |p| {
        p.rename("app/src/made.rs", "made.rs");
        p.edit("app/src/main.rs", "\"made.rs\"", "\"../../made.rs\"");
    })
    .builds(["app"]);
    app.change("include! outside of the package: edited", |p| {
        p.edit("made.rs", "made-2", "made-3");
    })
    .builds(["app"])
    .prints("part-1 word-1\nmade-3 notes-2\n[97, 98, 99, 10]\nshared-2");
    app.change("include! in the package again", |p| {
        p.rename("made.rs", "app/src/made.rs");
        p.edit("app/src/made.rs", "made-3", "made-2");
        p.edit("app/src/main.rs", "../../made.rs", "made.rs");
    })
    .builds([]);
    app.change("an included file went", |p| p.remove("shared.txt"))
        .fails();
    app.change("it came back", |p| p.write("shared.txt", "shared-2\n"))
        .builds([]);
    app.change("all as at first", |p| {
        p.write("app/src/made.rs", "const MADE: &str = \"made-1\";\n");
        p.write("app/notes.txt", "notes-1\n");
        p.write("shared.bin", "ab\n");
        p.write("shared.txt", "shared-1\n");
    })
    .builds([])
    .prints(FIRST);
}

#[test]
fn files_nobody_reads() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(["app", "library"]);
    app.change("README.md edited", |p| p.edit("README.md", "people", "all"))
        .builds([]);
    app.change("tests/ edited", |p| {
        p.edit("app/tests/it.rs", "passes", "passes_still");
    })
    .builds([]);
    app.change("a test added", |p| {
        p.write("app/tests/more.rs", "#[test]\nfn also() {}\n");
    })
    .builds([]);
    app.change("an unread file edited", |p| {
        p.edit("app/unread.txt", "nobody", "no one");
    })
    .builds([]);
    app.change("a file below src/ that no module names", |p| {
        p.write("app/src/orphan.rs", "pub fn unused() {}\n");
    })
    .builds([]);
    app.change("a directory added", |p| {
        p.write("documents/one/two.txt", "two\n");
    })
    .builds([]);
    app.change("a comment in Cargo.toml", |p| {
        p.edit(
            "app/Cargo.toml",
            "[dependencies]",
            "# below\n[dependencies]",
        );
    })
    .builds([]);
}

#[test]
fn modules_that_move() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(["app", "library"]);
    app.change("from part.rs to part/mod.rs", |p| {
        p.rename("app/src/part.rs", "app/src/part/mod.rs");
    })
    .builds(["app"])
    .prints(FIRST);
    app.change("both are there", |p| {
        p.write("app/src/part.rs", &p.read("app/src/part/mod.rs"));
    })
    .fails();
    app.change("and back to part.rs", |p| p.remove("app/src/part"))
        .builds([])
        .prints(FIRST);
    app.change("to a path of its own", |p| {
        p.rename("app/src/part.rs", "app/src/other.rs");
        p.edit(
            "app/src/main.rs",
            "mod part",
            "#[path = \"other.rs\"]\nmod part",
        );
    })
    .builds(["app"]);
}

#[test]
fn symbolic_links() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    let part = |n: u32| format!("pub const PART: &str = \"part-{n}\";\n");
    app.project().write("parts/one.rs", &part(1));
    app.project().write("parts/two.rs", &part(2));
    app.project().write("parts/same.rs", &part(2));
    app.project().link("app/src/part.rs", "../../parts/one.rs");
    app.build("a module is a link")
        .builds(["app", "library"])
        .prints(FIRST);
    app.change("the link's target edited", |p| {
        p.edit("parts/one.rs", "part-1", "part-3");
    })
    .builds(["app"]);
    app.change("the link leads elsewhere", |p| {
        p.link("app/src/part.rs", "../../parts/two.rs");
    })
    .builds(["app"])
    .prints(&FIRST.replace("part-1", "part-2"));
    app.change("what it led to edited", |p| {
        p.edit("parts/one.rs", "part-3", "part-4");
    })
    .builds([]);
    // Who opens a file can ask the kernel where it is.
    app.change("the link leads to the same content", |p| {
        p.link("app/src/part.rs", "../../parts/same.rs");
    })
    .builds(["app"]);
    app.change("a file in the link's place", |p| {
        p.remove("app/src/part.rs");
        p.write("app/src/part.rs", &part(2));
    })
    .builds(["app"]);
    app.change("a directory's link leads elsewhere", |p| {
        p.write("left/words.txt", "shared-1\n");
        p.write("right/words.txt", "shared-9\n");
        p.link("side", "left");
        p.edit(
            "app/src/main.rs",
            "../../shared.txt",
            "../../side/words.txt",
        );
    })
    .builds(["app"]);
    app.change("a directory's link leads elsewhere again", |p| {
        p.link("side", "right");
    })
    .builds(["app"])
    .prints("part-2 word-1\nmade-1 notes-1\n[97, 98, 10]\nshared-9");
}

/// Two packages share a directory of sources through a link, and what lies beside that is included
/// from within.
#[test]
fn parents_of_a_linked_directory() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    let p = app.project();
    p.write(
        "common/shared/words.rs",
        "include_str!(\"../beside.txt\")\n",
    );
    p.write("common/beside.txt", "beside-1\n");
    p.write("app/src/beside.txt", "wrong\n");
    p.link("app/src/linked", "../../common/shared");
    p.edit(
        "app/src/main.rs",
        "{} {}\", part::PART",
        "{}{} {}\", include!(\"linked/words.rs\"), part::PART",
    );
    app.build("a file beside a linked directory")
        .builds(["app", "library"]);
    app.change("a file beside a linked directory changed", |p| {
        p.write("common/beside.txt", "beside-2\n");
    })
    .builds(["app"]);
    app.change("a file that only a reader of the path would take", |p| {
        p.write("app/src/beside.txt", "wrong-2\n");
    })
    .builds([]);
    app.change("a link that leads to the same beside another", |p| {
        p.write("other/shared/words.rs", "include_str!(\"../beside.txt\")\n");
        p.write("other/beside.txt", "beside-3\n");
        p.remove("app/src/linked");
        p.link("app/src/linked", "../../other/shared");
    })
    .builds(["app"]);
    app.change("the same in the link's stead", |p| {
        p.remove("app/src/linked");
        p.write(
            "app/src/linked/words.rs",
            "include_str!(\"../beside.txt\")\n",
        );
    })
    .builds(["app"]);
}

#[test]
fn branches() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.project().write(".gitignore", ".vx\ntarget\n");
    let root = app.project().path().to_owned();
    app.build("first build, not in a repository")
        .builds(["app", "library"]);
    env.git_init(&root);
    app.build("it became a repository").builds([]);
    app.change("a branch with an edit", |p| {
        let _ = env.git(&root, &["switch", "--quiet", "--create", "other"]);
        p.edit("library/src/lib.rs", "word-1", "word-2");
        let _ = env.git_commit(&root, "other");
    })
    .builds(["app", "library"]);
    app.change("git branch switched back", |_| {
        let _ = env.git(&root, &["switch", "--quiet", "main"]);
    })
    .builds([])
    .prints(FIRST);
    app.change("and to the other again", |_| {
        let _ = env.git(&root, &["switch", "--quiet", "other"]);
    })
    .builds([])
    .prints(&FIRST.replace("word-1", "word-2"));
    let worktree = env.fresh_path("worktree");
    let path = worktree.to_str().expect("an environment's paths are text");
    let _ = env.git(&root, &["worktree", "add", "--quiet", path, "main"]);
    app.at(vx_harness::Project::at(&worktree))
        .build("the first branch in a worktree")
        .builds([])
        .prints(FIRST);
}

#[test]
fn variables_that_a_crate_names() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        members = ["library"]
        [dependencies]
        library = { path = "library" }
        //- /src/main.rs
        fn main() { println!("{:?} {}", option_env!("VX_CASE_COLOUR"), library::WORD); }
        //- /library/Cargo.toml
        [package]
        name = "library"
        version = "0.1.0"
        edition = "2024"
        //- /library/src/lib.rs
        pub const WORD: &str = "word";
        "#,
    );
    app.build("option_env! of what is not set")
        .builds(["app", "library"])
        .prints("None word");
    app.build("option_env!: set")
        .given("VX_CASE_COLOUR", "red")
        .builds(["app"])
        .prints("Some(\"red\") word");
    app.build("option_env!: changed")
        .given("VX_CASE_COLOUR", "blue")
        .builds(["app"])
        .prints("Some(\"blue\") word");
    app.build("option_env!: as before")
        .given("VX_CASE_COLOUR", "red")
        .builds([])
        .prints("Some(\"red\") word");
    app.build("option_env!: set to nothing")
        .given("VX_CASE_COLOUR", "")
        .builds(["app"])
        .prints("Some(\"\") word");
    app.build("option_env!: unset")
        .builds([])
        .prints("None word");
    app.build("a variable nobody names")
        .given("VX_CASE_UNNAMED", "1")
        .builds([]);

    app.change("env! of what is not set", |p| {
        p.edit("library/src/lib.rs", "\"word\"", "env!(\"VX_CASE_WORD\")");
    })
    .fails();
    // The compiler's message is where vx learns of the variable: the second run has it.
    app.build("env!: set")
        .given("VX_CASE_WORD", "one")
        .builds(["app", "library", "library"])
        .prints("None one");
    app.build("env!: changed")
        .given("VX_CASE_WORD", "two")
        .builds(["app", "library"])
        .prints("None two");
    app.build("env!: unset").fails();
    app.build("env!: as before")
        .given("VX_CASE_WORD", "one")
        .builds([])
        .prints("None one");
}

#[test]
fn files_that_a_build_script_made() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /build.rs
        fn main() {
            println!("cargo::rerun-if-changed=input.txt");
            println!("cargo::rerun-if-changed=build.rs");
            let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").unwrap());
            let input = std::fs::read_to_string("input.txt").unwrap();
            let words: Vec<_> = input.split_whitespace().collect();
            std::fs::write(out.join("code.rs"), format!("const CODE: &str = {:?};", words[0])).unwrap();
            std::fs::write(out.join("text.txt"), words[1]).unwrap();
            std::fs::write(out.join("bytes.bin"), words[2]).unwrap();
        }
        //- /input.txt
        a b c
        //- /src/main.rs
        include!(concat!(env!("OUT_DIR"), "/code.rs"));
        fn main() {
            println!("{CODE} {} {:?}",
                include_str!(concat!(env!("OUT_DIR"), "/text.txt")),
                include_bytes!(concat!(env!("OUT_DIR"), "/bytes.bin")));
        }
        "#,
    );
    app.build("first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("a b [99]");
    for (name, input, words) in [
        ("include! of OUT_DIR", "x b c\n", "x b [99]"),
        ("include_str! of OUT_DIR", "x y c\n", "x y [99]"),
        ("include_bytes! of OUT_DIR", "x y z\n", "x y [122]"),
    ] {
        app.change(name, |p| p.write("input.txt", input))
            .runs_scripts_of(["app"])
            .builds(["app"])
            .prints(words);
    }
    app.change("another input, the same OUT_DIR", |p| {
        p.write("input.txt", "x  y z and more\n");
    })
    .runs_scripts_of(["app"])
    .builds([])
    .prints("x y [122]");
}

/// Cargo removes what nobody used for long, and fetches it again when it plans.
#[test]
fn a_package_of_a_repository_whose_checkout_was_removed() {
    let env = Env::new().with_cargo_home(vx_harness::CargoHome::Empty);
    let repository = vx_harness::Project::from_text(
        &env.fresh_path("repository"),
        r#"
        //- /Cargo.toml
        [package]
        name = "outside"
        version = "0.1.0"
        edition = "2024"
        //- /src/lib.rs
        pub const WORD: &str = "outside";
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
        [dependencies]
        outside = {{ git = "file://{}" }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", outside::WORD); }}
        "#,
        repository.path().display()
    ));
    app.build("first build")
        .builds(["app", "outside"])
        .prints("outside");
    let checkouts = Path::new(&env.setting("CARGO_HOME")).join("git/checkouts");
    let remove = || fs::remove_dir_all(&checkouts).expect("the environment is ours");
    remove();
    // What git keeps in a new one differs, so the package may be compiled again.
    let found = env.build(app.project());
    assert!(checkouts.is_dir(), "cargo was not asked for it");
    assert_eq!(found.report.plan, "cargo");
    remove();
    app.project()
        .edit("src/main.rs", "outside::WORD", "outside::WORD.len()");
    let _ = env.build(app.project());
    app.build("and once more")
        .unlike_cargo()
        .builds([])
        .prints("7");
}
