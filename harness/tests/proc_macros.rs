//! Procedural macros: for the host, with what they depend on, and made again when they change.

use vx_harness::Env;

const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "shout", "words"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    shout = { path = "../shout" }
    words = { path = "../words" }
    //- /app/src/main.rs
    #[derive(shout::Shout)]
    struct Quiet;
    fn main() { println!("{} {}", Quiet::shout(), words::WORD); }
    //- /shout/Cargo.toml
    [package]
    name = "shout"
    version = "0.1.0"
    edition = "2024"
    [lib]
    proc-macro = true
    [dependencies]
    words = { path = "../words" }
    //- /shout/src/lib.rs
    use proc_macro::TokenStream;
    /// Gives a type a `shout`.
    #[proc_macro_derive(Shout)]
    pub fn shout(_: TokenStream) -> TokenStream {
        format!("impl Quiet {{ fn shout() -> &'static str {{ {:?} }} }}", words::WORD.to_uppercase())
            .parse()
            .unwrap()
    }
    //- /words/Cargo.toml
    [package]
    name = "words"
    version = "0.1.0"
    edition = "2024"
    //- /words/src/lib.rs
    pub const WORD: &str = "hello";
"#;

#[test]
fn a_macro_and_what_it_depends_on() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let said = || vx_harness::program_output(&project.output("debug", "app"), project.path(), &[]);
    let _ = env.build(&project);
    assert!(said().contains("HELLO hello"), "{}", said());
    env.build(&project).assert_nothing();

    project.edit("words/src/lib.rs", "hello", "bye");
    let _ = env.build(&project);
    assert!(said().contains("BYE bye"), "{}", said());

    project.edit("shout/src/lib.rs", "to_uppercase", "repeat(2).to_uppercase");
    let _ = env.build(&project);
    assert!(said().contains("BYEBYE bye"), "{}", said());
}

#[test]
fn as_many_compilers_as_cargo() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let vx = env.build(&project);
    let before = env.toolchain().compiles().len();
    let _ = env.cargo_build(&project, "debug", &[]);
    assert_eq!(
        vx.compiles,
        env.compiled_since(before),
        "vx's compilers beside cargo's"
    );
}

#[test]
fn the_same_for_a_named_target() {
    let env = Env::new();
    let project = env.project(PROJECT);
    let vx = env.build_with(&project, &["--target", "x86_64-unknown-linux-gnu"]);
    let before = env.toolchain().compiles().len();
    let arguments = ["--target", "x86_64-unknown-linux-gnu"];
    let _ = env.cargo_build(&project, "debug", &arguments);
    assert_eq!(
        vx.compiles,
        env.compiled_since(before),
        "vx's compilers beside cargo's"
    );
}
