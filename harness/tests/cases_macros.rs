//! Procedural macros that look around by themselves: what they saw is an input like any other.

use vx_harness::Env;
use vx_harness::magic::{declares, printing};

#[test]
fn a_variable_that_is_not_declared() {
    let env = Env::new();
    let mut app = env.cases(&printing("magic::variable!(\"VX_CASE_SECRET\")", ""));
    app.build("never set")
        .builds(["app", "magic"])
        .prints("unset");
    app.build("undeclared variable set: out of the macro's sight")
        .given("VX_CASE_SECRET", "1")
        .builds([])
        .prints("unset");
    app.change("and so also when the crate is compiled", |p| {
        p.edit("app/src/main.rs", "{}", "it is {}");
    })
    .given("VX_CASE_SECRET", "1")
    .unlike_cargo()
    .builds(["app"])
    .prints("it is unset");
}

#[test]
fn a_variable_that_is_declared() {
    let env = Env::new();
    let settings = declares("VX_CASE_MODE");
    let mut app = env.cases(&printing("magic::variable!(\"VX_CASE_MODE\")", &settings));
    app.build("declared variable not set")
        .builds(["app", "magic"])
        .prints("unset");
    // Whatever runs foreign code could read it; the macro crate's own compile only links.
    app.build("declared variable set")
        .given("VX_CASE_MODE", "one")
        .builds(["app"])
        .prints("one");
    app.build("declared variable changed")
        .given("VX_CASE_MODE", "two")
        .builds(["app"])
        .prints("two");
    app.build("declared variable as before")
        .given("VX_CASE_MODE", "one")
        .builds([])
        .prints("one");
    app.build("declared variable unset")
        .builds([])
        .prints("unset");
}

#[test]
fn a_file_outside_of_dep_info() {
    let env = Env::new();
    let text = printing("magic::text!(\"../data/words.txt\")", "");
    let mut app = env.cases(&text);
    app.project().write("data/words.txt", "words-1\n");
    app.project().write("data/other.txt", "other\n");
    app.build("first build")
        .builds(["app", "magic"])
        .prints("words-1");
    app.change("a file the macro read changed", |p| {
        p.write("data/words.txt", "words-2\n");
    })
    .builds(["app"])
    .prints("words-2");
    app.change("a file beside it changed", |p| {
        p.write("data/other.txt", "another\n");
    })
    .builds([]);
    app.change("the file as before", |p| {
        p.write("data/words.txt", "words-1\n")
    })
    .builds([])
    .prints("words-1");
    app.change("the file went", |p| p.remove("data/words.txt"))
        .fails();
    app.change("the file is a link", |p| {
        p.write("data/real.txt", "words-3\n");
        p.link("data/words.txt", "real.txt");
    })
    .builds(["app"]);
    app.change("what the link leads to changed", |p| {
        p.write("data/real.txt", "words-4\n");
    })
    .builds(["app"])
    .prints("words-4");
    app.change("the link leads elsewhere", |p| {
        p.link("data/words.txt", "other.txt");
    })
    .builds(["app"])
    .prints("another");
}

#[test]
fn a_path_that_is_probed() {
    let env = Env::new();
    let mut app = env.cases(&printing("magic::there!(\"flag\")", ""));
    app.build("absent")
        .builds(["app", "magic"])
        .prints("not there");
    app.change("another file appears", |p| p.write("app/flags", "\n"))
        .builds([]);
    app.change("it appears", |p| p.write("app/flag", "\n"))
        .builds(["app"])
        .prints("there");
    app.change("only touched", |p| p.write("app/flag", "\n"))
        .builds([])
        .prints("there");
    app.change("it goes", |p| p.remove("app/flag"))
        .builds([])
        .prints("not there");
}

#[test]
fn a_directory_that_is_listed() {
    let env = Env::new();
    let mut app = env.cases(&printing("magic::names!(\"parts\")", ""));
    app.project().write("app/parts/a", "1\n");
    app.project().write("app/parts/b", "2\n");
    app.build("first build")
        .builds(["app", "magic"])
        .prints("a b");
    app.change("a file in it added", |p| p.write("app/parts/c", "3\n"))
        .builds(["app"])
        .prints("a b c");
    app.change("a file in it edited", |p| p.write("app/parts/c", "4\n"))
        .builds([]);
    app.change("a file in it renamed", |p| {
        p.rename("app/parts/c", "app/parts/d")
    })
    .builds(["app"])
    .prints("a b d");
    app.change("a file in it removed", |p| p.remove("app/parts/d"))
        .builds([])
        .prints("a b");
    app.change("a file beside it added", |p| p.write("app/other", "\n"))
        .builds([]);
}

#[test]
fn metadata_that_is_looked_at() {
    let env = Env::new();
    let mut app = env.cases(&printing("magic::kind!(\"thing\")", ""));
    app.project().write("app/thing", "1\n");
    app.build("a file")
        .builds(["app", "magic"])
        .prints("file 2");
    app.change("other content of the same size", |p| {
        p.write("app/thing", "2\n")
    })
    .builds([]);
    app.change("another size", |p| p.write("app/thing", "20\n"))
        .builds(["app"])
        .prints("file 3");
    app.change("a link in its place", |p| {
        p.rename("app/thing", "app/real");
        p.link("app/thing", "real");
    })
    .builds(["app"])
    .prints("link 4");
}

#[test]
fn the_macro_itself() {
    let env = Env::new();
    let mut app = env.cases(&printing("magic::there!(\"flag\")", ""));
    app.build("first build").builds(["app", "magic"]);
    app.change("the macro changed", |p| {
        p.edit("magic/src/lib.rs", "\"not there\"", "\"absent\"");
    })
    .builds(["app", "magic"])
    .prints("absent");
    app.change("the macro as before", |p| {
        p.edit("magic/src/lib.rs", "\"absent\"", "\"not there\"");
    })
    .builds([])
    .prints("not there");
}

/// Two builds of one graph in two phases: in the first a macro leaves out what the second needs.
#[test]
fn expansion_steered_by_a_variable() {
    let env = Env::new();
    let text = printing("labels::label()", &declares("VX_CASE_EXPANSION"));
    let mut app = env.cases(&text);
    app.project()
        .edit("Cargo.toml", "\"magic\"", "\"magic\", \"labels\"");
    app.project().edit(
        "app/Cargo.toml",
        "magic = { path = \"../magic\" }",
        "labels = { path = \"../labels\" }",
    );
    app.project().write(
        "labels/Cargo.toml",
        "[package]\nname = \"labels\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nmagic = { path = \"../magic\" }\n",
    );
    app.project().write(
        "labels/src/lib.rs",
        "#[magic::export]\npub fn label() -> &'static str { \"label\" }\n",
    );
    app.build("binding expansion: the first phase leaves the item out")
        .with(&["-p", "app"])
        .given("VX_CASE_EXPANSION", "1")
        .fails();
    app.build("binding expansion: the second phase has it")
        .with(&["-p", "app"])
        .builds(["app", "labels"])
        .prints("label");
    app.build("binding expansion: the first phase again")
        .with(&["-p", "app"])
        .given("VX_CASE_EXPANSION", "1")
        .fails();
    app.build("binding expansion: the second phase again")
        .with(&["-p", "app"])
        .builds([])
        .prints("label");
}

/// Two checkouts with the same sources and other assets, which a macro embeds.
#[test]
fn a_directory_embedded_in_two_worktrees() {
    let env = Env::new();
    let mut with = env.cases(&printing("magic::embed!(\"../plugins\")", ""));
    with.project().write("plugins/base", "1\n");
    with.project().write("plugins/smell", "2\n");
    with.project()
        .write(".gitignore", ".vx\ntarget\nCargo.lock\n");
    let root = with.project().path().to_owned();
    env.git_init(&root);
    with.build("include_dir: the worktree with the plugin")
        .builds(["app", "magic"])
        .prints("base=1 smell=2");
    let path = env.fresh_path("worktree");
    let text = path.to_str().expect("an environment's paths are text");
    let arguments = ["worktree", "add", "--quiet", "-b", "without", text, "HEAD"];
    let _ = env.git(&root, &arguments);
    let mut without = with.at(vx_harness::Project::at(&path));
    without
        .build("include_dir: a worktree with the same")
        .builds([])
        .prints("base=1 smell=2");
    without
        .change("include_dir: the worktree without the plugin", |p| {
            p.remove("plugins/smell");
        })
        .builds(["app"])
        .prints("base=1");
    with.build("include_dir: the worktree with the plugin again")
        .builds([])
        .prints("base=1 smell=2");
    without
        .change("include_dir: an asset edited", |p| {
            p.write("plugins/base", "3\n")
        })
        .builds(["app"])
        .prints("base=3");
    with.build("include_dir: and the other worktree is as it was")
        .builds([])
        .prints("base=1 smell=2");
}

/// A macro that evaluates `env!` of the caller's environment, out of the compiler's sight.
#[test]
fn env_evaluated_by_a_macro() {
    let env = Env::new();
    let text = printing(
        "magic::baked!(env!(\"VX_CASE_REVISION\"))",
        &declares("VX_CASE_REVISION"),
    );
    let mut app = env.cases(&text);
    app.build("baked env!: first build")
        .given("VX_CASE_REVISION", "1111")
        .builds(["app", "magic"])
        .prints("1111");
    app.build("baked env!: another value")
        .given("VX_CASE_REVISION", "2222")
        .builds(["app"])
        .prints("2222");
    app.build("baked env!: as before")
        .given("VX_CASE_REVISION", "1111")
        .builds([])
        .prints("1111");
    app.build("baked env!: unset").fails();
}

/// A macro that evaluates `env!` of what a build script set, and `include_str!`.
#[test]
fn contract_metadata_evaluated_by_a_macro() {
    let env = Env::new();
    let mut app = env.cases(&printing(
        "concat!(magic::baked!(env!(\"BUILD_ID\")), magic::baked!(include_str!(\"../NOTES.md\")))",
        "",
    ));
    app.project().edit(
        "app/src/main.rs",
        "concat!(magic::baked!(env!(\"BUILD_ID\")), magic::baked!(include_str!(\"../NOTES.md\")))",
        "[magic::baked!(env!(\"BUILD_ID\")), magic::baked!(include_str!(\"../NOTES.md\"))].join(\" \")",
    );
    app.project().write("app/NOTES.md", "notes-1\n");
    app.project().write("app/id.txt", "id-1\n");
    app.project().write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=id.txt\");\n    \
         println!(\"cargo::rustc-env=BUILD_ID={}\", std::fs::read_to_string(\"id.txt\").unwrap().trim());\n}\n",
    );
    app.build("contract metadata: first build")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "magic"])
        .prints("id-1 notes-1");
    app.change("contract metadata: the included file edited", |p| {
        p.write("app/NOTES.md", "notes-2\n");
    })
    .builds(["app"])
    .prints("id-1 notes-2");
    app.change(
        "contract metadata: the build script's variable changed",
        |p| {
            p.write("app/id.txt", "id-2\n");
        },
    )
    .runs_scripts_of(["app"])
    .builds(["app"])
    .prints("id-2 notes-2");
    app.change("contract metadata: all as at first", |p| {
        p.write("app/id.txt", "id-1\n");
        p.write("app/NOTES.md", "notes-1\n");
    })
    .builds([])
    .prints("id-1 notes-1");
}

/// A macro that takes in a directory of migrations: stable macros can tell the compiler of
/// neither the directory nor the variable.
#[test]
fn migrations_that_a_macro_collects() {
    let env = Env::new();
    let text = printing(
        "[magic::embed!(\"migrations\"), magic::variable!(\"VX_CASE_DATABASE\")].join(\" \")",
        &declares("VX_CASE_DATABASE"),
    );
    let mut app = env.cases(&text);
    app.project().write("app/migrations/1.sql", "one\n");
    app.build("untracked: first build")
        .builds(["app", "magic"])
        .prints("1.sql=one unset");
    app.change("untracked: a migration added", |p| {
        p.write("app/migrations/2.sql", "two\n");
    })
    .builds(["app"])
    .prints("1.sql=one 2.sql=two unset");
    app.change("untracked: a migration edited", |p| {
        p.write("app/migrations/1.sql", "uno\n");
    })
    .builds(["app"])
    .prints("1.sql=uno 2.sql=two unset");
    app.change("untracked: a migration removed", |p| {
        p.remove("app/migrations/2.sql");
    })
    .builds(["app"])
    .prints("1.sql=uno unset");
    app.build("untracked: the variable set")
        .given("VX_CASE_DATABASE", "db")
        .builds(["app"])
        .prints("1.sql=uno db");
}

/// A macro that takes in where the package lies, in a form that can't be found in its output.
/// Every checkout is at the same place for it, so its word is the same in all of them.
#[test]
fn a_macro_that_hashes_the_packages_place() {
    let env = Env::new();
    let mut first = env.cases(&printing("magic::place_hash!()", ""));
    let done = first
        .build("hash of the place: first build")
        .unlike_cargo()
        .builds(["app", "magic"]);
    let word = done.stdout().to_owned();
    let copy = env.copy(first.project());
    first
        .at(copy)
        .build("hash of the place: the same in a copy")
        .unlike_cargo()
        .builds([])
        .prints(&word);
    first
        .change("hash of the place: the same when compiled again", |p| {
            p.edit("app/src/main.rs", "fn main", "// again\nfn main");
        })
        .unlike_cargo()
        .builds(["app"])
        .prints(&word);
}

/// A vendored macro, and a library that it is built of, read files of their own packages when they
/// expand, and do without where they find none.
#[test]
fn vendored_macros_that_read_their_own_packages() {
    let env = Env::new();
    let checksums = r#"{"files":{},"package":null}"#;
    let mut app = env.cases(&format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        reads = "1"
        user = "1"
        [workspace]
        exclude = ["vendor"]
        //- /.cargo/config.toml
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        //- /src/main.rs
        fn main() {{ println!("{{}}, {{}}", reads::words!(), user::WORDS); }}
        //- /vendor/reads/.cargo-checksum.json
        {checksums}
        //- /vendor/reads/Cargo.toml
        [package]
        name = "reads"
        version = "1.0.0"
        edition = "2024"
        [lib]
        proc-macro = true
        [dependencies]
        below = "1"
        //- /vendor/reads/word
        macro-1
        //- /vendor/reads/src/lib.rs
        #[proc_macro]
        pub fn words(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{
            let own = below::read(concat!(env!("CARGO_MANIFEST_DIR"), "/word"));
            format!("{{:?}}", format!("{{own}} {{}}", below::own())).parse().unwrap()
        }}
        //- /vendor/below/.cargo-checksum.json
        {checksums}
        //- /vendor/below/Cargo.toml
        [package]
        name = "below"
        version = "1.0.0"
        edition = "2024"
        //- /vendor/below/word
        library-1
        //- /vendor/below/src/lib.rs
        pub fn read(path: &str) -> String {{
            std::fs::read_to_string(path).unwrap_or("none".into()).trim().to_owned()
        }}
        pub fn own() -> String {{ read(concat!(env!("CARGO_MANIFEST_DIR"), "/word")) }}
        //- /vendor/user/.cargo-checksum.json
        {checksums}
        //- /vendor/user/Cargo.toml
        [package]
        name = "user"
        version = "1.0.0"
        edition = "2024"
        [dependencies]
        reads = "1"
        //- /vendor/user/src/lib.rs
        pub const WORDS: &str = reads::words!();
        "#
    ));
    app.build("first build")
        .builds(["app", "below", "reads", "user"])
        .prints("macro-1 library-1, macro-1 library-1");
    app.change("the macro's file", |app| {
        app.write("vendor/reads/word", "macro-2")
    })
    .builds(["app", "reads", "user"])
    .prints("macro-2 library-1, macro-2 library-1");
    app.change("the library's file", |app| {
        app.write("vendor/below/word", "library-2")
    })
    .builds(["app", "below", "user"])
    .prints("macro-2 library-2, macro-2 library-2");
    app.build("the same").builds([]);
}
