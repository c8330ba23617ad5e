//! Where a checkout lies: it can be moved, copied and renamed, and only what took in its place
//! is compiled again for that.

use vx_harness::{Env, Project};

/// A workspace whose program prints an expression; the helper's function says where it is.
fn printing(expression: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [workspace]
        members = ["app", "helper"]
        resolver = "3"
        //- /app/Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        helper = {{ path = "../helper" }}
        //- /app/fixtures/words.txt
        words-1
        //- /app/src/main.rs
        fn main() {{ println!("{{}}", {expression}); }}
        //- /helper/Cargo.toml
        [package]
        name = "helper"
        version = "0.1.0"
        edition = "2024"
        //- /helper/src/lib.rs
        pub const WORD: &str = "word";
        #[inline(never)]
        pub fn file() -> &'static str {{ file!() }}
        "#
    )
}

/// Moves a project to a directory nobody has used, and gives it there.
fn moved(env: &Env, project: &Project) -> Project {
    let to = env.fresh_path("moved").join("deeper/checkout");
    std::fs::create_dir_all(to.parent().expect("a joined path has a parent"))
        .and_then(|()| std::fs::rename(project.path(), &to))
        .expect("the environment is ours");
    Project::at(to)
}

#[test]
fn a_checkout_that_moves() {
    let env = Env::new();
    let mut app = env.cases(&printing("[helper::WORD, helper::file()].join(\" \")"));
    let words = "word helper/src/lib.rs";
    app.build("first build")
        .builds(["app", "helper"])
        .prints(words);
    let copy = env.copy(app.project());
    app.at(copy)
        .build("checkout copied")
        .builds([])
        .prints(words);
    let mut app = app.at(moved(&env, app.project()));
    app.build("checkout moved").builds([]).prints(words);
    let renamed = app.project().path().with_file_name("renamed");
    std::fs::rename(app.project().path(), &renamed).expect("the environment is ours");
    let mut app = app.at(Project::at(&renamed));
    app.build("checkout renamed").builds([]).prints(words);
    let link = renamed.with_file_name("link");
    std::os::unix::fs::symlink("renamed", &link).expect("the environment is ours");
    app.at(Project::at(&link))
        .build("checkout reached through a link")
        .builds([])
        .prints(words);
    app.change("an edit where it lies now", |p| {
        p.edit("helper/src/lib.rs", "\"word\"", "\"other\"");
    })
    .builds(["app", "helper"])
    .prints("other helper/src/lib.rs");
}

#[test]
fn outputs_that_were_taken_away() {
    let env = Env::new();
    let mut app = env.cases(&printing("helper::WORD"));
    app.build("first build").builds(["app", "helper"]);
    app.change("the program removed", |p| {
        std::fs::remove_file(p.output("debug", "app")).expect("it was built");
    })
    .builds([])
    .prints("word");
    app.change("the program overwritten", |p| {
        std::fs::write(p.output("debug", "app"), "#!/bin/sh\necho other\n")
            .expect("the project is ours");
    })
    .builds([])
    .prints("word");
    app.change(".vx removed", |p| p.remove(".vx"))
        .builds([])
        .prints("word");
}

#[test]
fn a_program_that_names_its_package() {
    let env = Env::new();
    let mut first = env.cases(&printing("env!(\"CARGO_MANIFEST_DIR\")"));
    let place = |project: &Project| project.join("app").display().to_string();
    // Once where everything has a fixed place, and again where the checkout is.
    let at = place(first.project());
    first
        .build("the package's place named")
        .builds(["app", "app", "helper"])
        .prints(&at);
    first.build("nothing changed").builds([]).prints(&at);
    let mut second = first.at(env.copy(first.project()));
    let there = place(second.project());
    second
        .build("the package's place named: a copy")
        .builds(["app"])
        .prints(&there);
    first
        .build("the package's place named: the first is as it was")
        .builds([])
        .prints(&at);
    let mut third = second.at(moved(&env, second.project()));
    let there = place(third.project());
    third
        .build("the package's place named: moved")
        .builds(["app"])
        .prints(&there);
}

#[test]
fn a_helper_that_names_its_package() {
    let env = Env::new();
    let mut first = env.cases(&printing("helper::place()"));
    first.project().write(
        "helper/src/lib.rs",
        "#[inline(never)]\npub fn place() -> &'static str { env!(\"CARGO_MANIFEST_DIR\") }\n",
    );
    let place = |project: &Project| project.join("helper").display().to_string();
    let at = place(first.project());
    let _ = first
        .build("a dependency's place named")
        .builds(["app", "helper", "helper"])
        .prints(&at);
    let mut second = first.at(env.copy(first.project()));
    let there = place(second.project());
    second
        .build("a dependency's place named: a copy")
        .builds(["app", "helper"])
        .prints(&there);
    first
        .build("a dependency's place named: the first is as it was")
        .builds([])
        .prints(&at);
}

#[test]
fn fixtures_that_are_opened_when_it_runs() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "std::fs::read_to_string(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/fixtures/words.txt\")).unwrap().trim()",
    ));
    app.build("fixtures opened at run time")
        .builds(["app", "app", "helper"])
        .prints("words-1");
    app.change("a fixture edited, which no compile reads", |p| {
        p.write("app/fixtures/words.txt", "words-2\n");
    })
    .unlike_cargo()
    .builds([])
    .prints("words-2");
    let copy = env.copy(app.project());
    copy.write("app/fixtures/words.txt", "words-3\n");
    app.at(copy)
        .build("a copy opens its own fixtures")
        .builds(["app"])
        .prints("words-3");
}

/// What runs within actions alone finds its package at the place that it holds.
#[test]
fn scripts_and_macros_that_open_files_of_their_packages() {
    let env = Env::new();
    let mut app = env.cases(&printing("[env!(\"WORDS\"), makes::words!()].join(\" \")"));
    let project = app.project();
    project.edit("Cargo.toml", "\"helper\"", "\"helper\", \"makes\"");
    project.edit(
        "app/Cargo.toml",
        "[dependencies]",
        "[dependencies]\nmakes = { path = \"../makes\" }",
    );
    project.write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let words = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/fixtures/words.txt\");\n    \
         println!(\"cargo::rustc-env=WORDS={}\", std::fs::read_to_string(words).unwrap());\n}\n",
    );
    project.write(
        "makes/Cargo.toml",
        "[package]\nname = \"makes\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [lib]\nproc-macro = true\n",
    );
    project.write("makes/words.txt", "made-1");
    project.write(
        "makes/src/lib.rs",
        "#[proc_macro]\npub fn words(_: proc_macro::TokenStream) -> proc_macro::TokenStream {\n    \
         let words = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/words.txt\");\n    \
         format!(\"{:?}\", std::fs::read_to_string(words).unwrap()).parse().unwrap()\n}\n",
    );
    app.build("files beside a script and a macro")
        .runs_scripts_of(["app"])
        .builds([
            "app",
            "build_script_build",
            "build_script_build",
            "helper",
            "makes",
            "makes",
        ])
        .prints("words-1 made-1");
    app.build("files beside a script and a macro: nothing changed")
        .builds([]);
    app.change("the file beside the macro changed", |p| {
        p.write("makes/words.txt", "made-2");
    })
    .unlike_cargo()
    .builds(["app"])
    .prints("words-1 made-2");
    let copy = env.copy(app.project());
    copy.write("makes/words.txt", "made-3");
    app.at(copy)
        .build("files beside a script and a macro: a copy")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "makes"])
        .prints("words-1 made-3");
}

/// Links into the checkout by its path lead nowhere at another place: what looks through one finds
/// the checkout where it is.
#[test]
fn links_that_name_the_checkout_by_its_path() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "[include_str!(\"../linked.txt\").trim(), env!(\"WORDS\"), helper::linked::WORD].join(\" \")",
    ));
    let project = app.project();
    project.write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let words = std::fs::read_to_string(\"linked.txt\").unwrap_or_default();\n    \
         println!(\"cargo::rustc-env=WORDS={}\", words.trim());\n}\n",
    );
    let link = |from: &str, to: &str| {
        let target = std::fs::canonicalize(project.path()).expect("it is there");
        let target = target.join(to).display().to_string();
        project.link(from, &target);
    };
    link("app/linked.txt", "app/fixtures/words.txt");
    project.write("shared/linked.rs", "pub const WORD: &str = \"one\";\n");
    link("helper/src/linked.rs", "shared/linked.rs");
    project.edit(
        "helper/src/lib.rs",
        "pub const",
        "pub mod linked;\npub const",
    );
    app.build("links by the checkout's path")
        .runs_scripts_of(["app"])
        // The script has told the program's compile where to run; the library's finds out itself.
        .builds(["app", "build_script_build", "helper", "helper"])
        .prints("words-1 words-1 one");
    app.build("links by the checkout's path: nothing changed")
        .builds([]);
    app.change("what such a link of a module leads to changed", |p| {
        p.edit("shared/linked.rs", "one", "two");
    })
    .builds(["app", "helper"])
    .prints("words-1 words-1 two");
    app.change("what such a link leads to changed", |p| {
        p.write("app/fixtures/words.txt", "words-2\n");
    })
    .unlike_cargo()
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("words-2 words-2 two");
}

/// Generated code that includes files of the checkout by their absolute paths.
#[test]
fn a_script_that_names_files_in_generated_code() {
    let env = Env::new();
    let mut first = env.cases(&printing(
        "include!(concat!(env!(\"OUT_DIR\"), \"/code.rs\")).trim()",
    ));
    first.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         let here = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap();\n    \
         let out = std::env::var(\"OUT_DIR\").unwrap();\n    \
         let code = format!(\"include_str!({:?})\", format!(\"{here}/fixtures/words.txt\"));\n    \
         std::fs::write(format!(\"{out}/code.rs\"), code).unwrap();\n}\n",
    );
    first
        .build("a file named in generated code")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "helper"])
        .prints("words-1");
    first
        .change("a file named in generated code changed", |p| {
            p.write("app/fixtures/words.txt", "words-2\n");
        })
        .builds(["app"])
        .prints("words-2");
    let copy = env.copy(first.project());
    copy.write("app/fixtures/words.txt", "words-3\n");
    first
        .at(copy)
        .build("a file named in generated code: a copy has its own")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("words-3");
    first
        .build("a file named in generated code: the first is as it was")
        .builds([])
        .prints("words-2");
}

#[test]
fn a_script_that_says_where_it_is() {
    let env = Env::new();
    let mut first = env.cases(&printing("env!(\"WHERE\")"));
    first.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-env=WHERE={}\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n}\n",
    );
    let place = |project: &Project| project.join("app").display().to_string();
    let at = place(first.project());
    // The script's action is one in the report, though it ran twice.
    first
        .build("a script says its place")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "helper"])
        .prints(&at);
    let mut second = first.at(env.copy(first.project()));
    let there = place(second.project());
    second
        .build("a script says its place: a copy")
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints(&there);
    first
        .build("a script says its place: the first is as it was")
        .builds([])
        .prints(&at);
}

/// What is short is put into instructions, where no text is to be found.
#[test]
fn a_release_program_that_holds_the_checkouts_path() {
    let env = Env::new();
    let mut app = env.cases(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() {
            let here = std::env::current_dir().unwrap();
            let here = here.to_str().unwrap();
            let path = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR"));
            println!("{} {}", path.display(), here == env!("CARGO_MANIFEST_DIR"));
        }
        "#,
    );
    let at = app.project().path().display().to_string();
    app.build("released")
        .with(&["--release"])
        .builds(["app", "app"])
        .prints(&format!("{at} true"));
    let copy = env.copy(app.project());
    let there = copy.path().display().to_string();
    app.at(copy)
        .build("a copy, released")
        .with(&["--release"])
        .builds(["app"])
        .prints(&format!("{there} true"));
}

/// A script and a macro that are told of the checkout by its path, in a text.
#[test]
fn a_script_that_is_told_of_the_checkout_by_its_path() {
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
            let at = std::fs::read_to_string("at.txt").unwrap();
            let word = std::fs::read_to_string(at + "/word").unwrap_or("none".into());
            println!("cargo::rustc-env=WORD={word}");
        }
        //- /src/main.rs
        fn main() { println!("{}", env!("WORD")); }
        //- /word
        one
        "#,
    );
    let at = app.project().path().display().to_string();
    app.project().write("at.txt", &at);
    app.project().write("word", "one");
    app.build("told")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("one");
    app.change("an edit", |app| app.write("word", "two"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two");
    app.build("the same").builds([]).prints("two");
}

/// A link and a path that go up out of the checkout and in again by its name; of a script that goes on
/// without, of one that does not, and of a compiler.
#[test]
fn ways_out_of_the_checkout_and_in_again() {
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
            let name = std::fs::read_to_string("name.txt").unwrap();
            let read = |path: &str| std::fs::read_to_string(path).unwrap_or("none".into());
            println!("cargo::rustc-env=LINK={}", read("link"));
            println!("cargo::rustc-env=PATH_={}", read(&format!("../{name}/word")));
        }
        //- /src/main.rs
        fn main() { println!("{} {}", env!("LINK"), env!("PATH_")); }
        "#,
    );
    let here = app.project().path();
    let name = here.file_name().and_then(|name| name.to_str());
    let name = name.expect("the environment names it").to_owned();
    let parent = here.parent().and_then(|parent| parent.file_name());
    let parent = parent.and_then(|name| name.to_str());
    let parent = parent.expect("the environment names it").to_owned();
    app.project().write("name.txt", &name);
    app.project().write("word", "one");
    std::os::unix::fs::symlink(format!("../{name}/word"), here.join("link"))
        .expect("the project is ours");
    app.build("read by a script that goes on without")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("one one");
    app.change("an edit", |app| app.write("word", "two"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("two two");
    app.build("the same").builds([]).prints("two two");
    app.change("up twice, and no link", |app| {
        app.remove("link");
        app.write("name.txt", &format!("../{parent}/{name}"));
    })
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("none two");
    app.change("read by a script that fails without", |app| {
        app.edit("build.rs", ".unwrap_or(\"none\".into())", ".unwrap()");
        app.edit("build.rs", "read(\"link\")", "read(\"word\")");
    })
    .runs_scripts_of(["app"])
    .builds(["build_script_build"])
    .prints("two two");
    // Once where the checkout has its fixed place, and again where it really is.
    app.change("read by a compiler", |app| {
        app.remove("build.rs");
        app.write(
            "src/main.rs",
            &format!("fn main() {{ println!(\"{{}}\", include_str!(\"../../{name}/word\")); }}"),
        );
    })
    .builds(["app", "app"])
    .prints("two");
    app.change("another edit", |app| app.write("word", "three"))
        .builds(["app"])
        .prints("three");
}

/// A link that names the checkout by its path, to what comes to be there later.
#[test]
fn a_link_by_its_path_to_what_is_not_there_yet() {
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
            let word = std::fs::read_to_string("link").unwrap_or("none".into());
            println!("cargo::rustc-env=WORD={word}");
        }
        //- /src/main.rs
        fn main() { println!("{}", env!("WORD")); }
        "#,
    );
    let here = app.project().path();
    std::os::unix::fs::symlink(here.join("word"), here.join("link")).expect("the project is ours");
    app.build("nothing is there")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build"])
        .prints("none");
    app.change("something is", |app| app.write("word", "one"))
        .runs_scripts_of(["app"])
        .builds(["app"])
        .prints("one");
    app.build("the same").builds([]).prints("one");
}
