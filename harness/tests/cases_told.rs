//! What a build script is told by those of other packages: where these, their `OUT_DIR`s and headers
//! are.

use vx_harness::Env;

/// A vendored package tells by metadata where its headers are, in its own package; another one passes
/// that on, and the script of a third one looks there. Then the first is patched to be one of the
/// checkout.
#[test]
fn headers_that_a_package_tells_of() {
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
        user = "1"
        [workspace]
        exclude = ["vendor"]
        //- /.cargo/config.toml
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        //- /src/main.rs
        fn main() {{ println!("{{}}", user::FOUND); }}
        //- /vendor/header-sys/.cargo-checksum.json
        {checksums}
        //- /vendor/header-sys/Cargo.toml
        [package]
        name = "header-sys"
        version = "1.0.0"
        edition = "2024"
        links = "header"
        //- /vendor/header-sys/build.rs
        fn main() {{ println!("cargo::metadata=include={{}}/include", std::env::var("CARGO_MANIFEST_DIR").unwrap()); }}
        //- /vendor/header-sys/include/header.h
        one
        //- /vendor/header-sys/src/lib.rs
        //- /vendor/between-sys/.cargo-checksum.json
        {checksums}
        //- /vendor/between-sys/Cargo.toml
        [package]
        name = "between-sys"
        version = "1.0.0"
        edition = "2024"
        links = "between"
        [dependencies]
        header-sys = "1"
        //- /vendor/between-sys/build.rs
        fn main() {{ println!("cargo::metadata=include={{}}", std::env::var("DEP_HEADER_INCLUDE").unwrap()); }}
        //- /vendor/between-sys/src/lib.rs
        //- /vendor/user/.cargo-checksum.json
        {checksums}
        //- /vendor/user/Cargo.toml
        [package]
        name = "user"
        version = "1.0.0"
        edition = "2024"
        [dependencies]
        between-sys = "1"
        //- /vendor/user/build.rs
        fn main() {{
            let include = std::env::var("DEP_BETWEEN_INCLUDE").unwrap();
            let found = std::fs::read_to_string(include + "/header.h").unwrap_or("none".into());
            println!("cargo::rustc-env=FOUND={{}}", found.trim());
        }}
        //- /vendor/user/src/lib.rs
        pub const FOUND: &str = env!("FOUND");
        "#
    ));
    let script = "build_script_build";
    let [between, header, user] = ["between_sys", "header_sys", "user"];
    app.build("first build")
        .runs_scripts_of(["between-sys", "header-sys", "user"])
        .builds(["app", between, header, user, script, script, script])
        .prints("one");
    app.change("another header", |app| {
        app.write("vendor/header-sys/include/header.h", "two");
    })
    .runs_scripts_of(["between-sys", "header-sys", "user"])
    .builds(["app", between, header, user, script])
    .prints("two");
    app.build("the same").builds([]);
    app.change("one of the checkout", |app| {
        let manifest = app.read("Cargo.toml");
        app.rename("vendor/header-sys", "header-sys");
        app.write(
            "Cargo.toml",
            &format!("{manifest}\n[patch.crates-io]\nheader-sys = {{ path = \"header-sys\" }}\n"),
        );
    })
    .runs_scripts_of(["between-sys", "header-sys", "user"])
    .builds(["app", between, header, user, script])
    .prints("two");
    app.change("its header", |app| {
        app.write("header-sys/include/header.h", "three")
    })
    .runs_scripts_of(["user"])
    .builds(["app", user])
    .prints("three");
}

/// A library holds where another package and its `OUT_DIR` are, as that package's script told; the
/// program looks there when it runs.
#[test]
fn a_program_that_looks_where_another_package_told() {
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
        user = {{ path = "user" }}
        [workspace]
        exclude = ["vendor"]
        //- /.cargo/config.toml
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        //- /src/main.rs
        fn main() {{ println!("{{}}", user::words()); }}
        //- /vendor/data-sys/.cargo-checksum.json
        {checksums}
        //- /vendor/data-sys/Cargo.toml
        [package]
        name = "data-sys"
        version = "1.0.0"
        edition = "2024"
        links = "data"
        //- /vendor/data-sys/build.rs
        fn main() {{
            let out = std::env::var("OUT_DIR").unwrap();
            let here = std::env::var("CARGO_MANIFEST_DIR").unwrap();
            std::fs::copy("word", format!("{{out}}/copy")).unwrap();
            println!("cargo::metadata=out={{out}}");
            println!("cargo::metadata=here={{here}}");
        }}
        //- /vendor/data-sys/word
        one
        //- /vendor/data-sys/src/lib.rs
        //- /user/Cargo.toml
        [package]
        name = "user"
        version = "1.0.0"
        edition = "2024"
        [dependencies]
        data-sys = "1"
        //- /user/build.rs
        fn main() {{
            for name in ["OUT", "HERE"] {{
                let told = std::env::var(format!("DEP_DATA_{{name}}")).unwrap();
                println!("cargo::rustc-env={{name}}={{told}}");
            }}
        }}
        //- /user/src/lib.rs
        pub fn words() -> String {{
            let read = |path| std::fs::read_to_string(path).unwrap_or("none".into());
            let copy = read(concat!(env!("OUT"), "/copy"));
            let word = read(concat!(env!("HERE"), "/word"));
            format!("{{}} {{}}", copy.trim(), word.trim())
        }}
        "#
    ));
    let script = "build_script_build";
    // The library once where everything has its fixed place, and again where that really is.
    app.build("first build")
        .runs_scripts_of(["data-sys", "user"])
        .builds(["app", "data_sys", "user", "user", script, script])
        .prints("one one");
    app.build("the same").builds([]).prints("one one");
    app.change("another word", |app| {
        app.write("vendor/data-sys/word", "two");
    })
    .runs_scripts_of(["data-sys", "user"])
    .builds(["app", "data_sys", "user", "user", script])
    .prints("two two");
}

/// A library includes what another package's script wrote, where that told it to be; it also holds
/// `held`, a real place.
fn includes_what_is_told(held: &str) {
    let env = Env::new();
    let mut app = env.cases(&format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        user = {{ path = "user" }}
        [workspace]
        members = ["data-sys", "user"]
        //- /word
        one
        //- /src/main.rs
        fn main() {{ assert!(user::HELD.len() > 1); println!("{{}}", user::WORD.trim()); }}
        //- /data-sys/Cargo.toml
        [package]
        name = "data-sys"
        version = "0.1.0"
        edition = "2024"
        links = "data"
        //- /data-sys/build.rs
        fn main() {{
            let out = std::env::var("OUT_DIR").unwrap();
            std::fs::copy("../word", format!("{{out}}/copy")).unwrap();
            println!("cargo::metadata=out={{out}}");
            println!("cargo::rustc-link-search={{out}}");
        }}
        //- /data-sys/src/lib.rs
        //- /user/Cargo.toml
        [package]
        name = "user"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        data-sys = {{ path = "../data-sys" }}
        //- /user/build.rs
        fn main() {{
            println!("cargo::rustc-env=OUT={{}}", std::env::var("DEP_DATA_OUT").unwrap());
        }}
        //- /user/src/lib.rs
        pub const WORD: &str = include_str!(concat!(env!("OUT"), "/copy"));
        pub const HELD: &str = env!("{held}");
        "#
    ));
    let script = "build_script_build";
    // The library once where everything has its fixed place, and again where that really is.
    app.build("first build")
        .runs_scripts_of(["data-sys", "user"])
        .builds(["app", "data_sys", "user", "user", script, script])
        .prints("one");
    app.change("another word", |app| app.write("word", "two"))
        .runs_scripts_of(["data-sys", "user"])
        .builds(["app", "data_sys", "user"])
        .prints("two");
    app.build("the same").builds([]).prints("two");
}

#[test]
fn a_library_that_includes_what_it_is_told_of_and_holds_where_that_is() {
    includes_what_is_told("OUT");
}

#[test]
fn a_library_that_includes_what_it_is_told_of_and_holds_its_own_place() {
    includes_what_is_told("CARGO_MANIFEST_DIR");
}
