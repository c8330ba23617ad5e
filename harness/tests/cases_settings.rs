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

/// A package of a repository, which does not see the checkout, is built with tools that lie there.
#[test]
fn tools_in_the_checkout_for_packages_outside_of_it() {
    let env = Env::new().with_cargo_home(vx_harness::CargoHome::Empty);
    let repository = vx_harness::Project::from_text(
        &env.fresh_path("repository"),
        r#"
        //- /Cargo.toml
        [package]
        name = "answer"
        version = "0.1.0"
        edition = "2024"
        [lib]
        proc-macro = true
        //- /src/lib.rs
        #[proc_macro]
        pub fn answer(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
            if cfg!(vx_case) { "42" } else { "41" }.parse().unwrap()
        }
        "#,
    );
    env.git_init(&repository);
    let url = format!("file://{}", repository.path().display());
    let mut app = env.cases(&format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        answer = {{ git = "{url}" }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", answer::answer!()); }}
        //- /.cargo/config.toml
        [build]
        rustc-wrapper = "tools/wrapper"
        [target.{}]
        linker = "tools/vx-gcc"
        "#,
        triple()
    ));
    let p = app.project();
    p.write_program("tools/wrapper", &wrapper("vx_case"));
    p.write_program("tools/vx-gcc", "#!/bin/sh\nexec cc \"$@\"\n");
    app.build("a wrapper and a linker in the checkout")
        .builds(["answer", "app"])
        .prints("42");
    app.change("the linker changed", |p| {
        p.write_program("tools/vx-gcc", "#!/bin/sh\nexec gcc \"$@\"\n");
    })
    .builds(["answer", "app"])
    .prints("42");
    app.change("the wrapper changed", |p| {
        p.write_program("tools/wrapper", &wrapper("vx_other"));
    })
    .builds(["answer", "app"])
    .prints("41");
}

/// A program that passes everything on to the compiler, with a flag more.
fn wrapper(flag: &str) -> String {
    format!("#!/bin/sh\nexec \"$@\" --cfg {flag}\n")
}

#[test]
fn wrappers() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    let path = app.project().join("tools/wrapper").display().to_string();
    app.project()
        .write_program("tools/wrapper", &wrapper("vx_case"));
    app.build("RUSTC_WRAPPER set")
        .given("RUSTC_WRAPPER", &path)
        .builds(BOTH)
        .prints("&u8 true true panics");
    app.change("the same by the configuration", |p| {
        p.write(
            ".cargo/config.toml",
            "[build]\nrustc-wrapper = \"tools/wrapper\"\n",
        );
    })
    .builds([])
    .prints("&u8 true true panics");
    app.change("the wrapper changed", |p| {
        p.write_program("tools/wrapper", &wrapper("vx_other"));
    })
    .builds(BOTH)
    .prints(FIRST);
    app.change("the wrapper as before", |p| {
        p.write_program("tools/wrapper", &wrapper("vx_case"));
    })
    .builds([])
    .prints("&u8 true true panics");
    app.change("no wrapper", |p| p.remove(".cargo"))
        .builds([])
        .prints(FIRST);

    // One for members alone, which lies where no action sees anything else.
    let outside = vx_harness::Project::at(env.fresh_path("tools"));
    outside.write_program("wrapper", &wrapper("vx_case"));
    let path = outside.join("wrapper").display().to_string();
    app.build("RUSTC_WORKSPACE_WRAPPER outside of the checkout")
        .given("RUSTC_WORKSPACE_WRAPPER", &path)
        .builds(BOTH)
        .prints("&u8 true true panics");
    outside.write_program("wrapper", &wrapper("vx_other"));
    app.build("the wrapper outside changed")
        .given("RUSTC_WORKSPACE_WRAPPER", &path)
        .builds(BOTH)
        .prints(FIRST);
    app.build("a cache as a wrapper is not needed")
        .given("RUSTC_WORKSPACE_WRAPPER", "sccache")
        .unlike_cargo()
        .builds([])
        .prints(FIRST);
}

#[test]
fn another_compiler() {
    let env = Env::new();
    let mut app = env.cases(PROJECT);
    app.build("first build").builds(BOTH).prints(FIRST);
    let real = env.toolchain().sysroot().join("bin/rustc");
    app.build("RUSTC set to the toolchain's own")
        .given("RUSTC", real.display().to_string())
        .builds([])
        .prints(FIRST);
    // Where actions find the toolchain, or outside of them.
    let compiler = |flag: &str| {
        format!(
            "#!/bin/sh\nreal={}\n[ -x \"$real\" ] || real=/vx/toolchain/bin/rustc\n\
             case \" $* \" in *--crate-type*) exec \"$real\" \"$@\" --cfg {flag};; esac\n\
             exec \"$real\" \"$@\"\n",
            real.display()
        )
    };
    app.project()
        .write_program("tools/rustc", &compiler("vx_case"));
    let path = app.project().join("tools/rustc").display().to_string();
    app.build("RUSTC set to another program")
        .given("RUSTC", &path)
        .builds(BOTH)
        .prints("&u8 true true panics");
    app.change("that program changed", |p| {
        p.write_program("tools/rustc", &compiler("vx_other"));
    })
    .given("RUSTC", &path)
    .builds(BOTH)
    .prints(FIRST);
    app.build("RUSTC as at first").builds([]).prints(FIRST);
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
