//! Code that is not Rust: headers, archives, what `pkg-config` finds, tools.

use vx_harness::{Env, Project};

/// A program over a crate with C in it. `script` is the body of its build script,
/// which finds `run` to start programs with and `out` for `OUT_DIR`; `settings` are lines of its
/// manifest.
fn native(script: &str, settings: &str) -> String {
    format!(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [workspace]
        members = ["native-sys"]
        [dependencies]
        native-sys = {{ path = "native-sys" }}
        //- /src/main.rs
        fn main() {{ println!("{{}}", native_sys::call()); }}
        //- /native-sys/Cargo.toml
        [package]
        name = "native-sys"
        version = "0.1.0"
        edition = "2024"
        links = "answer"
        {settings}
        //- /native-sys/answer.c
        #include "answer.h"
        int answer(void) {{ return ANSWER; }}
        //- /native-sys/answer.h
        #define ANSWER 41
        //- /native-sys/unused.h
        #define UNUSED 1
        //- /native-sys/build.rs
        use std::process::Command;
        fn run(program: &str, arguments: &[&str]) -> String {{
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{{output:?}}");
            String::from_utf8(output.stdout).unwrap()
        }}
        fn archive(out: &str) {{
            run("ar", &["crsD", &format!("{{out}}/libanswer.a"), &format!("{{out}}/answer.o")]);
            println!("cargo::rustc-link-search=native={{out}}");
            println!("cargo::rustc-link-lib=static=answer");
        }}
        fn main() {{
            let out = std::env::var("OUT_DIR").unwrap();
            let object = format!("{{out}}/answer.o");
            {script}
            archive(&out);
        }}
        //- /native-sys/src/lib.rs
        unsafe extern "C" {{ fn answer() -> i32; }}
        pub fn call() -> i32 {{ unsafe {{ answer() }} }}
        "#
    )
}

/// All there is to compile at first.
const ALL: [&str; 3] = ["app", "build_script_build", "native_sys"];

/// A directory of the host's that a test may change, and its path.
fn host_directory(env: &Env) -> (Project, String) {
    let directory = Project::from_text(&env.fresh_path("host"), "");
    let path = directory.path().to_str();
    let path = path.expect("an environment's paths are text").to_owned();
    (directory, path)
}

#[test]
fn a_header_of_the_package() {
    let env = Env::new();
    let mut app = env.cases(&native(
        r#"println!("cargo::rerun-if-changed=build.rs");
            run("cc", &["-c", "answer.c", "-o", &object]);"#,
        "",
    ));
    app.build("first build")
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("41");
    app.change("a C header changed, which nobody named", |p| {
        p.edit("native-sys/answer.h", "41", "42");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("42");
    app.change("a C source changed, which nobody named", |p| {
        p.edit("native-sys/answer.c", "ANSWER;", "ANSWER + 1;");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("43");
    app.change("a C header nobody includes changed", |p| {
        p.edit("native-sys/unused.h", "1", "2");
    })
    .builds([]);
    app.change("a comment in a C header", |p| {
        p.edit("native-sys/answer.h", "42", "42 /* why */");
    })
    .runs_scripts_of(["native-sys"])
    .builds([])
    .prints("43");
    app.change("all as at first", |p| {
        p.write("native-sys/answer.h", "#define ANSWER 41\n");
        p.edit("native-sys/answer.c", "ANSWER + 1;", "ANSWER;");
    })
    .builds([])
    .prints("41");
}

/// The archive is bundled into its crate alone, whose metadata stays as it was. The library
/// between it and the program is told where the archive is and does not look at it.
#[test]
fn an_archive_two_crates_down() {
    let env = Env::new();
    let mut app = env.cases(&native(
        r#"println!("cargo::rerun-if-changed=answer.c");
            println!("cargo::rerun-if-changed=answer.h");
            run("cc", &["-c", "answer.c", "-o", &object]);"#,
        "",
    ));
    let p = app.project();
    p.edit("Cargo.toml", "members = [", "members = [\"middle\", ");
    p.edit(
        "Cargo.toml",
        "native-sys = { path = \"native-sys\" }",
        "middle = { path = \"middle\" }",
    );
    p.edit("src/main.rs", "native_sys::call", "middle::answer");
    p.write(
        "middle/Cargo.toml",
        "[package]\nname = \"middle\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [dependencies]\nnative-sys = { path = \"../native-sys\" }\n",
    );
    p.write(
        "middle/src/lib.rs",
        "pub fn answer() -> i32 { native_sys::call() }\n",
    );
    app.build("first build")
        .runs_scripts_of(["native-sys"])
        .builds(["app", "build_script_build", "middle", "native_sys"])
        .prints("41");
    app.change("a static library bundled two crates down changed", |p| {
        p.edit("native-sys/answer.h", "41", "42");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("42");
    // One that bundles it as well reads it.
    app.change("the library between bundles it too", |p| {
        p.write(
            "middle/src/lib.rs",
            "#[link(name = \"answer\", kind = \"static\")]\nunsafe extern \"C\" { fn answer() -> i32; }\n\
             pub fn answer_too() -> i32 { unsafe { answer() } }\n\
             pub fn call() -> i32 { native_sys::call() }\n",
        );
        p.edit("src/main.rs", "middle::answer()", "middle::call() + middle::answer_too()");
    })
    .builds(["app", "middle"])
    .prints("84");
    app.change("the static library changed, which two crates bundle", |p| {
        p.edit("native-sys/answer.h", "42", "43");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "middle", "native_sys"])
    .prints("86");
}

#[test]
fn an_archive_that_lies_in_the_package() {
    let env = Env::new();
    let mut app = env.cases(&native(
        r#"println!("cargo::rerun-if-changed=build.rs");
            std::fs::copy("prebuilt/answer.o", &object).unwrap();"#,
        "",
    ));
    let root = app.project().path().to_owned();
    let compile = |value: u32| {
        let project = Project::at(&root);
        project.write(
            "answer.c",
            &format!("int answer(void) {{ return {value}; }}\n"),
        );
        std::fs::create_dir_all(root.join("native-sys/prebuilt")).expect("the project is ours");
        let mut command = env.command("cc", &root);
        command.args(["-c", "answer.c", "-o", "native-sys/prebuilt/answer.o"]);
        let _ = env.run(command).success();
    };
    compile(7);
    app.build("first build")
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("7");
    compile(8);
    app.build("a static library in the checkout changed")
        .runs_scripts_of(["native-sys"])
        .builds(["app", "native_sys"])
        .prints("8");
    compile(7);
    app.build("the static library as before")
        .builds([])
        .prints("7");
}

#[test]
fn an_archive_that_is_linked_from_the_package() {
    let env = Env::new();
    let mut app = env.cases(&native("", ""));
    app.project().write(
        "native-sys/build.rs",
        "fn main() {\n    let here = std::env::var(\"CARGO_MANIFEST_DIR\").unwrap();\n    \
         println!(\"cargo::rerun-if-changed=build.rs\");\n    \
         println!(\"cargo::rustc-link-search=native={here}/prebuilt\");\n    \
         println!(\"cargo::rustc-link-lib=static=answer\");\n}\n",
    );
    let root = app.project().path().to_owned();
    let compile = |value: u32| {
        let project = Project::at(&root);
        project.write(
            "answer.c",
            &format!("int answer(void) {{ return {value}; }}\n"),
        );
        std::fs::create_dir_all(root.join("native-sys/prebuilt")).expect("the project is ours");
        for line in [
            ["-c", "cc -c answer.c -o answer.o"],
            ["-c", "ar crsD native-sys/prebuilt/libanswer.a answer.o"],
        ] {
            let mut command = env.command("sh", &root);
            command.args(line);
            let _ = env.run(command).success();
        }
    };
    compile(7);
    app.build("first build")
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("7");
    compile(8);
    // Nobody but the compile of the crate that bundles it reads it.
    app.build("an archive in the checkout changed, outside of OUT_DIR")
        .builds(["app", "native_sys"])
        .prints("8");
    compile(7);
    app.build("the archive as before").builds([]).prints("7");
}

#[test]
fn headers_on_a_declared_search_path() {
    let env = Env::new();
    let (first, first_path) = host_directory(&env);
    let (second, second_path) = host_directory(&env);
    let mut app = env.cases(&native(
        r##"println!("cargo::rerun-if-changed=build.rs");
            std::fs::write(format!("{out}/host.c"), "#include <host_answer.h>\nint answer(void) { return ANSWER; }\n").unwrap();
            run("cc", &["-c", &format!("{out}/host.c"), "-o", &object]);"##,
        &format!(
            "[package.metadata.vx]\n        env = [\"CPATH\"]\n        paths = [\"{first_path}\", \"{second_path}\"]"
        ),
    ));
    let path = format!("{first_path}:{second_path}");
    second.write("host_answer.h", "#define ANSWER 1\n");
    app.build("a host header on CPATH")
        .given("CPATH", &path)
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("1");
    app.change("a host header changed", |_| {
        second.write("host_answer.h", "#define ANSWER 2\n");
    })
    .given("CPATH", &path)
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("2");
    app.change("another host header changed", |_| {
        second.write("other.h", "#define OTHER 2\n");
    })
    .given("CPATH", &path)
    .builds([]);
    app.change("a host header appeared earlier on the path", |_| {
        first.write("host_answer.h", "#define ANSWER 3\n");
    })
    .given("CPATH", &path)
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("3");
    app.change("the earlier host header went", |_| {
        first.remove("host_answer.h");
    })
    .given("CPATH", &path)
    .builds([])
    .prints("2");
    app.change("no host header is left", |_| second.remove("host_answer.h"))
        .given("CPATH", &path)
        .fails();
}

#[test]
fn headers_that_the_script_looks_for() {
    let env = Env::new();
    let (host, path) = host_directory(&env);
    let mut app = env.cases(&native(
        &format!(
            r#"println!("cargo::rerun-if-changed=build.rs");
            run("cc", &["-I{path}/include", "-c", "answer.c", "-o", &object]);"#
        ),
        &format!("[package.metadata.vx]\n        paths = [\"{path}\"]"),
    ));
    app.project().write(
        "native-sys/answer.c",
        "#if __has_include(<host_answer.h>)\n#include <host_answer.h>\n#else\n\
         #include \"answer.h\"\n#endif\nint answer(void) { return ANSWER; }\n",
    );
    app.build("a host header that is not there")
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("41");
    app.change("a host header appeared", |_| {
        host.write("include/host_answer.h", "#define ANSWER 5\n");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("5");
    app.change("a host header changed", |_| {
        host.write("include/host_answer.h", "#define ANSWER 6\n");
    })
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("6");
    app.change("a host header went", |_| {
        host.remove("include/host_answer.h");
    })
    // The directory is there now, so what the script found is not what it found at first.
    .runs_scripts_of(["native-sys"])
    .builds([])
    .prints("41");
}

#[test]
fn what_pkg_config_finds() {
    let env = Env::new();
    let (host, path) = host_directory(&env);
    let mut app = env.cases(&native(
        r#"println!("cargo::rerun-if-changed=build.rs");
            let known = Command::new("pkg-config").args(["--exists", "vxcase"]).status().unwrap().success();
            let flags = if known { run("pkg-config", &["--cflags", "vxcase"]) } else { "-DANSWER=40".to_owned() };
            std::fs::write(format!("{out}/flags.c"), "int answer(void) { return ANSWER; }\n").unwrap();
            run("cc", &[flags.trim(), "-c", &format!("{out}/flags.c"), "-o", &object]);"#,
        &format!("[package.metadata.vx]\n        paths = [\"{path}\"]"),
    ));
    let write = |value: u32| {
        host.write(
            "vxcase.pc",
            &format!("Name: vxcase\nDescription: a case\nVersion: 1\nCflags: -DANSWER={value}\n"),
        );
    };
    app.build("a .pc file that is not there")
        .given("PKG_CONFIG_PATH", &path)
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("40");
    app.change("a .pc file appeared", |_| write(41))
        .given("PKG_CONFIG_PATH", &path)
        .runs_scripts_of(["native-sys"])
        .builds(["app", "native_sys"])
        .prints("41");
    app.change("a .pc file changed", |_| write(42))
        .given("PKG_CONFIG_PATH", &path)
        .runs_scripts_of(["native-sys"])
        .builds(["app", "native_sys"])
        .prints("42");
    app.change("a .pc file as before", |_| write(41))
        .given("PKG_CONFIG_PATH", &path)
        .builds([])
        .prints("41");
    app.change("a .pc file went", |_| host.remove("vxcase.pc"))
        .given("PKG_CONFIG_PATH", &path)
        .builds([])
        .prints("40");
    app.change("the search path is another", |_| {
        host.write(
            "deep/vxcase.pc",
            "Name: vxcase\nDescription: a case\nVersion: 1\nCflags: -DANSWER=50\n",
        );
    })
    .given("PKG_CONFIG_PATH", format!("{path}/deep"))
    .runs_scripts_of(["native-sys"])
    .builds(["app", "native_sys"])
    .prints("50");
}

#[test]
fn compiler_flags_of_the_callers() {
    let env = Env::new();
    let mut app = env.cases(&native(
        r#"println!("cargo::rerun-if-changed=build.rs");
            let flags = std::env::var("CFLAGS").unwrap_or("-DNONE".to_owned());
            run("cc", &[&flags, "-c", "answer.c", "-o", &object]);"#,
        "",
    ));
    app.project().write(
        "native-sys/answer.h",
        "#ifndef ANSWER\n#define ANSWER 41\n#endif\n",
    );
    app.build("CFLAGS not set")
        .runs_scripts_of(["native-sys"])
        .builds(ALL)
        .prints("41");
    app.build("CFLAGS set")
        .given("CFLAGS", "-DANSWER=9")
        .runs_scripts_of(["native-sys"])
        .builds(["app", "native_sys"])
        .prints("9");
    app.build("CFLAGS set to what changes nothing")
        .given("CFLAGS", "-DOTHER=9")
        .runs_scripts_of(["native-sys"])
        .builds([])
        .prints("41");
    app.build("CFLAGS unset").builds([]).prints("41");
}
