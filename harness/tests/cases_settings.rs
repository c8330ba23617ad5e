//! Settings: profiles, flags, targets, linkers, toolchains, and manifests' words.

use vx_harness::{Cases, Env};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [workspace]
    members = ["app", "library"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2018"
    description = "first"
    [dependencies]
    library = { path = "../library" }
    //- /app/src/main.rs
    fn main() {
        let edition = std::any::type_name_of_val(&[1u8].into_iter().next().unwrap());
        println!("{} {} {}", edition, cfg!(vx_case), library::said());
    }
    //- /library/Cargo.toml
    [package]
    name = "library"
    version = "0.1.0"
    edition = "2018"
    description = "first"
    //- /library/src/lib.rs
    /// What the profile made of this crate.
    pub fn said() -> String {
        let overflow = if cfg!(panic = "abort") { "aborts" } else {
            std::panic::set_hook(Box::new(|_| {}));
            match std::panic::catch_unwind(|| std::env::args().count() as u8 + 255) {
                Ok(_) => "wraps",
                Err(_) => "panics",
            }
        };
        format!("{} {}", cfg!(debug_assertions), overflow)
    }
"#;

const FIRST: &str = "&u8 false true panics";

/// Both crates, which most settings are for.
const BOTH: [&str; 2] = ["app", "library"];

fn triple() -> String {
    format!("{}-unknown-linux-gnu", std::env::consts::ARCH)
}

/// Puts lines of a profile into the workspace's manifest, in place of those before.
fn profile(app: &Cases<'_>, lines: &str) {
    let text = app.project().read("Cargo.toml");
    let workspace = text.split("[profile").next().unwrap_or_default();
    app.project()
        .write("Cargo.toml", &format!("{workspace}{lines}\n"));
}

#[test]
fn profiles() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    for (name, lines, words) in [
        ("opt-level changed", "[profile.dev]\nopt-level = 1", FIRST),
        ("debug changed", "[profile.dev]\ndebug = 1", FIRST),
        ("debug off", "[profile.dev]\ndebug = false", FIRST),
        (
            "overflow checks off",
            "[profile.dev]\noverflow-checks = false",
            "&u8 false true wraps",
        ),
        (
            "debug assertions off",
            "[profile.dev]\ndebug-assertions = false\noverflow-checks = true",
            "&u8 false false panics",
        ),
        (
            "panic changed",
            "[profile.dev]\npanic = \"abort\"",
            "&u8 false true aborts",
        ),
        ("lto changed", "[profile.dev]\nlto = \"thin\"", FIRST),
        (
            "codegen units changed",
            "[profile.dev]\ncodegen-units = 1",
            FIRST,
        ),
        (
            "opt-level of one package",
            "[profile.dev.package.library]\nopt-level = 2",
            FIRST,
        ),
    ] {
        profile(&app, lines);
        app.build(name).builds(BOTH).prints(words);
    }
    profile(&app, "[profile.dev]\nincremental = false");
    app.build("incremental changed, which is how and not what")
        .builds([])
        .prints(FIRST);
    profile(&app, "[profile.release]\nopt-level = 1");
    app.build("another profile changed")
        .builds([])
        .prints(FIRST);
    profile(&app, "");
    app.build("profile as at first").builds([]).prints(FIRST);
}

#[test]
fn the_release_profile() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    let words = "&u8 false false wraps";
    app.build("another profile asked for")
        .with(&["--release"])
        .builds(BOTH)
        .prints(words);
    profile(&app, "[profile.release]\nlto = true");
    app.build("lto on")
        .with(&["--release"])
        .builds(BOTH)
        .prints(words);
    profile(&app, "[profile.release]\nstrip = \"symbols\"");
    app.build("strip changed")
        .with(&["--release"])
        .builds(BOTH)
        .prints(words);
    app.build("and the first profile again")
        .builds([])
        .prints(FIRST);
}

#[test]
fn editions_and_lints() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    app.change("the program's edition changed", |p| {
        p.edit("app/Cargo.toml", "2018", "2021");
    })
    .builds(["app"])
    .prints("u8 false true panics");
    // The edition is in the crate's metadata.
    app.change("the library's edition changed", |p| {
        p.edit("library/Cargo.toml", "2018", "2021");
    })
    .builds(BOTH)
    .prints("u8 false true panics");
    app.change("a lint's level changed", |p| {
        let text = p.read("app/Cargo.toml");
        p.write(
            "app/Cargo.toml",
            &format!("{text}[lints.rust]\nunused = \"deny\"\n"),
        );
    })
    .builds(["app"]);
    app.change("the program's version changed", |p| {
        p.edit("app/Cargo.toml", "0.1.0", "0.1.1");
    })
    .builds(["app"]);
    app.change("editions as at first", |p| {
        p.edit("app/Cargo.toml", "2021", "2018");
        p.edit("app/Cargo.toml", "0.1.1", "0.1.0");
        p.edit("app/Cargo.toml", "[lints.rust]\nunused = \"deny\"\n", "");
        p.edit("library/Cargo.toml", "2021", "2018");
    })
    .builds([])
    .prints(FIRST);
}

#[test]
fn flags_and_targets() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    app.change("--cfg by rustflags of the configuration", |p| {
        p.write(
            ".cargo/config.toml",
            "[build]\nrustflags = [\"--cfg\", \"vx_case\"]\n",
        );
    })
    .builds(BOTH)
    .prints("&u8 true true panics");
    app.change("the same by RUSTFLAGS", |p| p.remove(".cargo"))
        .given("RUSTFLAGS", "--cfg vx_case")
        .builds([])
        .prints("&u8 true true panics");
    app.build("another flag")
        .given("RUSTFLAGS", "-C overflow-checks=off")
        .builds(BOTH)
        .prints("&u8 false true wraps");
    app.build("no flags").builds([]).prints(FIRST);
    let triple = triple();
    app.build("a target named")
        .with(&["--target", &triple])
        .builds(BOTH)
        .prints(FIRST);
    app.change("the target named by the configuration", |p| {
        p.write(
            ".cargo/config.toml",
            &format!("[build]\ntarget = \"{triple}\"\n"),
        );
    })
    .with(&["--target", &triple])
    .builds([]);
    app.change("flags for that target", |p| {
        p.write(
            ".cargo/config.toml",
            &format!("[target.{triple}]\nrustflags = [\"--cfg\", \"vx_case\"]\n"),
        );
    })
    .with(&["--target", &triple])
    .builds(BOTH)
    .prints("&u8 true true panics");
    app.change("configuration that says nothing of builds", |p| {
        p.write(".cargo/config.toml", "[alias]\nb = \"build\"\n");
    })
    .builds([])
    .prints(FIRST);
}

#[test]
fn linkers() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    let triple = triple();
    let linker = |p: &vx_harness::Project, path: &str| {
        p.write(
            ".cargo/config.toml",
            &format!("[target.{triple}]\nlinker = \"{path}\"\n"),
        );
    };
    // The linker is on every compile's command line, and only what links starts it.
    app.change("a linker of the host's", |p| linker(p, "/usr/bin/gcc"))
        .builds(BOTH)
        .prints(FIRST);
    app.change("a linker in the checkout", |p| {
        p.write_program("tools/vx-gcc", "#!/bin/sh\nexec cc \"$@\"\n");
        linker(p, "tools/vx-gcc");
    })
    .builds(BOTH)
    .prints(FIRST);
    app.change("the linker in the checkout changed", |p| {
        p.write_program("tools/vx-gcc", "#!/bin/sh\nexec gcc \"$@\"\n");
    })
    .builds(["app"])
    .prints(FIRST);
    app.change("the linker in the checkout fails", |p| {
        p.write_program("tools/vx-gcc", "#!/bin/sh\nexit 1\n");
    })
    .fails();
    app.change("the linker in the checkout as before", |p| {
        p.write_program("tools/vx-gcc", "#!/bin/sh\nexec cc \"$@\"\n");
    })
    .builds([])
    .prints(FIRST);
    app.change("no linker named", |p| p.remove(".cargo"))
        .builds([])
        .prints(FIRST);
}

#[test]
fn a_script_that_the_linker_reads() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    let p = app.project();
    p.write("app/numbers.ld", "vx_number = 17;\n");
    p.write(
        "app/build.rs",
        "fn main() {\n    println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-link-arg-bins=numbers.ld\");\n}\n",
    );
    p.write(
        ".cargo/config.toml",
        "[build]\nrustflags = [\"-Crelocation-model=static\"]\n",
    );
    p.edit(
        "app/build.rs",
        "=numbers.ld\"",
        "={}/numbers.ld\", std::env::var(\"CARGO_MANIFEST_DIR\").unwrap()",
    );
    p.write(
        "app/src/main.rs",
        "extern \"C\" { static vx_number: u8; }\nfn main() { unsafe { \
         println!(\"{} {}\", std::ptr::addr_of!(vx_number) as usize, library::said()); } }\n",
    );
    app.build("a linker script in the package")
        .runs_scripts_of(["app"])
        .builds(["app", "build_script_build", "library"])
        .prints("17 true panics");
    app.change("the linker script changed", |p| {
        p.write("app/numbers.ld", "vx_number = 18;\n");
    })
    .builds(["app"])
    .prints("18 true panics");
}

#[test]
fn another_toolchain() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    let rustc = env.toolchain().sysroot().join("bin/rustc");
    let shim = std::fs::read_to_string(&rustc).expect("the toolchain is ours");
    // After `exec` nothing is run, so it is another file and the same compiler.
    std::fs::write(&rustc, format!("{shim}# another\n")).expect("the toolchain is ours");
    app.build("the toolchain changed")
        .builds(BOTH)
        .prints(FIRST);
    std::fs::write(&rustc, &shim).expect("the toolchain is ours");
    app.build("the toolchain as before")
        .builds([])
        .prints(FIRST);
    let library = env.toolchain().sysroot().join("lib/libvxcase.so");
    std::fs::write(&library, "not a library\n").expect("the toolchain is ours");
    app.build("a file of the toolchain appeared").builds(BOTH);
    std::fs::remove_file(&library).expect("the toolchain is ours");
    app.build("the file went again").builds([]);
}

#[test]
fn manifests_words_that_change_nothing() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    app.change("a comment in the manifest", |p| {
        p.edit("app/Cargo.toml", "[dependencies]", "# why\n[dependencies]");
    })
    .builds([]);
    app.change("metadata for another tool", |p| {
        p.edit(
            "app/Cargo.toml",
            "[dependencies]",
            "[package.metadata.other]\nname = \"x\"\n[dependencies]",
        );
    })
    .builds([]);
    app.change("keywords", |p| {
        p.edit(
            "library/Cargo.toml",
            "edition",
            "keywords = [\"word\"]\nedition",
        );
    })
    .builds([]);
    app.change("a feature nobody switches on", |p| {
        let text = p.read("app/Cargo.toml");
        p.write("app/Cargo.toml", &format!("{text}[dev-dependencies]\n"));
    })
    .builds([]);
}

#[test]
fn a_description_that_a_crate_names() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.project().edit(
        "app/src/main.rs",
        "library::said()",
        "env!(\"CARGO_PKG_DESCRIPTION\")",
    );
    app.build("first build")
        .builds(BOTH)
        .prints("&u8 false first");
    app.change("a description that the crate names changed", |p| {
        p.edit("app/Cargo.toml", "\"first\"", "\"second\"");
    })
    .builds(["app"])
    .prints("&u8 false second");
}

#[test]
fn a_description_that_no_crate_names() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    app.change("a description that no crate names changed", |p| {
        p.edit("library/Cargo.toml", "\"first\"", "\"second\"");
    })
    .builds([]);
    app.change("other words of that kind", |p| {
        p.edit(
            "app/Cargo.toml",
            "edition",
            "license = \"MIT\"\nhomepage = \"https://example.org\"\nedition",
        );
    })
    .builds([]);
}

#[test]
fn variables_of_the_configuration() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.project().edit(
        "app/src/main.rs",
        "cfg!(vx_case)",
        "option_env!(\"VX_CASE_SET\").unwrap_or(\"unset\")",
    );
    app.build("first build")
        .builds(BOTH)
        .prints("&u8 unset true panics");
    app.change("[env]: a variable that one crate names", |p| {
        p.write(".cargo/config.toml", "[env]\nVX_CASE_SET = \"one\"\n");
    })
    .builds(["app"])
    .prints("&u8 one true panics");
    app.change("[env]: changed", |p| {
        p.write(".cargo/config.toml", "[env]\nVX_CASE_SET = \"two\"\n");
    })
    .builds(["app"])
    .prints("&u8 two true panics");
    app.change("[env]: a variable that no crate names", |p| {
        p.write(
            ".cargo/config.toml",
            "[env]\nVX_CASE_SET = \"two\"\nVX_CASE_UNNAMED = \"1\"\n",
        );
    })
    // A linker may read it; nothing else does.
    .builds(["app"]);
}
