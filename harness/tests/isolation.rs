//! What actions can't reach, and what becomes of those that take too much.

use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use vx_harness::{Daemon, Env, Project, Run};

/// One probe, run from each kind of action that runs foreign code: a build script, a proc macro
/// and a linker. Each leaves what it reached where the program can print it.
const PROBES: &str = r#"
    //- /.cargo/config.toml
    [build]
    rustflags = ["-Clinker=tools/cc"]
    //- /tools/cc
    #!/bin/bash
    while read -r kind target; do
        case $kind in
            path) if [ -e "$target" ]; then echo "linker reached $target" >&2; exit 1; fi;;
            tcp) if (exec 3<>"/dev/tcp/127.0.0.1/$target") 2>/dev/null; then echo "linker reached $target" >&2; exit 1; fi;;
            writable) if [ -w "$target" ]; then echo "linker reached $target" >&2; exit 1; fi;;
            readable) if (exec 3<"$target") 2>/dev/null; then echo "linker reached $target" >&2; exit 1; fi;;
            process) if kill -0 "$target" 2>/dev/null; then echo "linker reached $target" >&2; exit 1; fi;;
        esac
    done < targets.txt
    exec cc "$@"
    //- /Cargo.toml
    [workspace]
    members = ["app", "look"]
    resolver = "3"
    //- /app/Cargo.toml
    [package]
    name = "app"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    look = { path = "../look" }
    //- /probe.rs
    fn probe(list: &str) -> String {
        let mut reached = Vec::new();
        for line in list.lines() {
            let (kind, target) = line.split_once(' ').unwrap();
            let found = match kind {
                "path" => std::fs::symlink_metadata(target).is_ok() || std::fs::read_dir(target).is_ok(),
                "tcp" => std::net::TcpStream::connect(("127.0.0.1", target.parse().unwrap())).is_ok(),
                // Only asked, never tried.
                "writable" => std::process::Command::new("test").args(["-w", target]).status().unwrap().success(),
                "readable" => std::fs::File::open(target).is_ok(),
                "process" => std::fs::metadata(format!("/proc/{target}/cmdline")).is_ok()
                    && std::process::Command::new("kill").args(["-0", target]).status().unwrap().success(),
                _ => panic!("{kind}"),
            };
            if found {
                reached.push(line);
            }
        }
        format!("reached [{}] home {:?}", reached.join(";"), std::fs::read_dir(std::env::var("HOME").unwrap()).unwrap().count())
    }
    //- /app/build.rs
    include!("../probe.rs");
    fn main() {
        println!("cargo::rustc-env=SCRIPT={}", probe(&std::fs::read_to_string("../targets.txt").unwrap()));
    }
    //- /app/src/main.rs
    fn main() {
        println!("script {}", env!("SCRIPT"));
        println!("macro {}", look::look!());
    }
    //- /look/Cargo.toml
    [package]
    name = "look"
    version = "0.1.0"
    edition = "2024"
    [lib]
    proc-macro = true
    //- /look/src/lib.rs
    include!("../../probe.rs");
    #[proc_macro]
    pub fn look(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
        format!("{:?}", probe(&std::fs::read_to_string("targets.txt").unwrap())).parse().unwrap()
    }
"#;

#[test]
fn nothing_outside_is_in_reach() {
    let env = Env::new();
    let other = env.project("//- /secret.txt\nx\n");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let port = listener.local_addr().expect("it is bound").port();
    let project = env.project(PROBES);
    let home = env.root().join("home");
    std::fs::write(home.join("private"), "x").expect("the home is ours");
    let mut targets = vec![
        format!("tcp {port}"),
        format!("process {}", std::process::id()),
    ];
    for path in [
        home.join("private"),
        home,
        env.vx_home(),
        env.vx_home().join("cass.sock"),
        // Not its own checkout's path: an action that looks there is given that.
        other.path().to_owned(),
        Path::new("/root").to_owned(),
        Path::new("/etc/shadow").to_owned(),
        Path::new("/var").to_owned(),
        Path::new("/sys/kernel").to_owned(),
    ] {
        targets.push(format!("path {}", path.display()));
    }
    for setting in [
        "kernel/core_pattern",
        "kernel/panic",
        "vm/overcommit_memory",
        "kernel/ns_last_pid",
    ] {
        targets.push(format!("writable /proc/sys/{setting}"));
    }
    for own in ["mem", "fd", "maps", "environ", "cwd"] {
        targets.push(format!("readable /proc/1/{own}"));
    }
    project.write("targets.txt", &(targets.join("\n") + "\n"));
    project.write_program("tools/cc", &project.read("tools/cc"));
    let _ = env.build(&project);
    let said = vx_harness::program_output(&project.output("debug", "app"), project.path(), &[]);
    assert!(said.contains("script reached [] home 0"), "{said}");
    assert!(said.contains("macro reached [] home 0"), "{said}");
    drop(listener);
}

/// A package whose build script is this.
fn script(env: &Env, body: &str) -> Project {
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "odd"
        version = "0.1.0"
        edition = "2024"
        //- /src/main.rs
        fn main() {}
        "#,
    );
    project.write("build.rs", body);
    project
}

/// Builds what has to fail as a failed action does, and leaves nothing running but daemons.
#[track_caller]
fn fails(env: &Env, project: &Project) -> Run {
    let run = env.vx(project, &["build"]).code(101);
    env.assert_only(Duration::from_secs(10), |process| {
        process.name.starts_with("vx-")
    });
    let report = run.report();
    assert_eq!(report.totals.failed, 1, "{run}");
    run
}

#[test]
fn a_fork_bomb_ends_in_an_error() {
    let env = Env::new();
    let project = script(
        &env,
        r#"
        unsafe extern "C" { fn fork() -> i32; fn pause() -> i32; }
        fn main() {
            let mut children = 0;
            loop {
                match unsafe { fork() } {
                    0 => loop { unsafe { pause() }; },
                    -1 => {
                        eprintln!("no more than {children}: {}", std::io::Error::last_os_error());
                        std::process::exit(1);
                    }
                    _ => children += 1,
                }
                assert!(children < 100_000, "nobody stopped it");
            }
        }
        "#,
    );
    let _ = fails(&env, &project);
}

#[test]
fn more_memory_than_is_allowed_ends_in_an_error() {
    let takes_ten = "fn main() { std::hint::black_box(vec![1_u8; 10 << 30]); }";
    // A machine with more than three times that lets a build script have it.
    if rustix::system::sysinfo().totalram < 30 << 30 {
        let env = Env::new();
        let _ = fails(&env, &script(&env, takes_ten));
    }
    let env = Env::new().with_setting("VX_RHEA_MEMORY", "4G");
    let _ = fails(&env, &script(&env, takes_ten));
    let project = script(
        &env,
        "fn main() { std::hint::black_box(vec![1_u8; 100 << 20]); }",
    );
    let _ = env.build(&project);
}

#[test]
fn a_daemonised_child_goes_with_its_action() {
    let env = Env::new();
    let project = script(
        &env,
        r#"
        unsafe extern "C" { fn fork() -> i32; fn setsid() -> i32; fn pause() -> i32; fn close(_: i32) -> i32; }
        fn main() {
            unsafe {
                if fork() == 0 {
                    setsid();
                    if fork() == 0 {
                        for descriptor in 0..3 { close(descriptor); }
                        loop { pause(); }
                    }
                    std::process::exit(0);
                }
            }
        }
        "#,
    );
    let _ = env.build(&project);
    env.assert_only(Duration::from_secs(10), |process| {
        process.name.starts_with("vx-")
    });
}

#[test]
fn who_needs_a_network_is_told_that_there_is_none() {
    let env = Env::new();
    for (target, reached) in [
        ("192.0.2.7:443", "192.0.2.7:443"),
        ("example.org:443", "127.0.0.1:53"),
    ] {
        let body = format!(
            "fn main() {{ if let Err(error) = std::net::TcpStream::connect({target:?}) {{ \
             eprintln!(\"{{error}}\"); std::process::exit(1); }} }}"
        );
        let run = fails(&env, &script(&env, &body));
        let report = run.report();
        let failed = report.of("failed").next().expect("an action failed");
        assert_eq!(failed.reached_for.as_deref(), Some(reached), "{target}");
    }
    // One that can do without a network is not asked about it.
    let body = "fn main() { assert!(std::net::TcpStream::connect(\"192.0.2.7:443\").is_err()); }";
    let run = env.build(&script(&env, body));
    assert!(
        run.report
            .actions
            .iter()
            .all(|action| action.reached_for.is_none())
    );
}

#[test]
fn links_out_of_the_outputs_are_refused() {
    let env = Env::new();
    for target in ["/etc/passwd", "../../../../../../etc/passwd"] {
        let project = script(
            &env,
            &format!(
                r#"
                fn main() {{
                    let out = std::env::var("OUT_DIR").unwrap();
                    std::os::unix::fs::symlink({target:?}, format!("{{out}}/link")).unwrap();
                }}
                "#
            ),
        );
        let _ = fails(&env, &project);
    }
}

#[test]
fn declared_paths_are_shown_and_the_network_is_opened() {
    let env = Env::new();
    let shown = env.fresh_path("shown");
    std::fs::create_dir_all(&shown).expect("the environment is ours");
    std::fs::write(shown.join("data.txt"), "one").expect("the environment is ours");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let port = listener.local_addr().expect("it is bound").port();
    let project = script(
        &env,
        &format!(
            r#"
            fn main() {{
                let text = std::fs::read_to_string("{}/data.txt").unwrap_or("unseen".into());
                let connected = std::net::TcpStream::connect("127.0.0.1:{port}").is_ok();
                println!("cargo::rustc-env=SEEN={{text}} {{connected}}");
            }}
            "#,
            shown.display()
        ),
    );
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", env!(\"SEEN\")); }\n",
    );
    let manifest = project.read("Cargo.toml");
    let said = || vx_harness::program_output(&project.output("debug", "odd"), project.path(), &[]);
    let _ = env.build(&project);
    assert!(said().contains("unseen false"), "{}", said());

    let declare = |table: &str| project.write("Cargo.toml", &format!("{manifest}\n{table}\n"));
    declare(&format!(
        "[package.metadata.vx]\npaths = [{:?}]\nnetwork = true",
        shown.display().to_string()
    ));
    let _ = env.build(&project);
    assert!(said().contains("one true"), "{}", said());
    std::fs::write(shown.join("data.txt"), "two").expect("the environment is ours");
    let _ = env.build(&project);
    assert!(said().contains("two true"), "{}", said());
    env.build(&project).assert_nothing();

    declare("[package.metadata.vx]\npath = []");
    let _ = env.vx(&project, &["build"]).refused();
}

#[test]
fn a_home_that_lies_in_the_checkout() {
    let env = Env::new();
    let project = script(
        &env,
        r#"
        fn main() {
            let home = std::fs::read_dir(".cache/vx").unwrap();
            println!("cargo::rustc-env=SEEN={}", home.count());
        }
        "#,
    );
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", env!(\"SEEN\")); }\n",
    );
    let home = project.join(".cache/vx");
    let env = env.with_setting("VX_HOME", &home);
    let _ = env.build(&project);
    let said = vx_harness::program_output(&project.output("debug", "odd"), project.path(), &[]);
    assert!(said.contains("--- stdout\n0\n"), "{said}");
    env.build(&project).assert_nothing();

    let manifest = project.read("Cargo.toml");
    let above = env.root().display().to_string();
    let declared = format!("{manifest}\n[package.metadata.vx]\npaths = [{above:?}]\n");
    project.write("Cargo.toml", &declared);
    let _ = env.vx(&project, &["build"]).refused();
}

#[test]
fn what_a_plain_compile_includes_of_the_kernels() {
    let env = Env::new();
    let project = env.project(
        r#"
        //- /Cargo.toml
        [package]
        name = "app"
        version = "0.1.0"
        edition = "2024"
        [dependencies]
        mounts = "1"
        //- /.cargo/config.toml
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        //- /src/main.rs
        fn main() { print!("{}", mounts::MOUNTS); }
        //- /vendor/mounts/Cargo.toml
        [package]
        name = "mounts"
        version = "1.0.0"
        edition = "2024"
        //- /vendor/mounts/.cargo-checksum.json
        {"files":{},"package":null}
        //- /vendor/mounts/src/lib.rs
        pub const MOUNTS: &str = include_str!("/proc/self/mountinfo");
        "#,
    );
    let _ = env.build(&project);
    let said = vx_harness::program_output(&project.output("debug", "app"), project.path(), &[]);
    assert!(said.contains(" /vx/toolchain "), "{said}");
    assert!(!said.contains("/rhea/"), "{said}");
}

#[test]
fn declared_paths_that_come_and_lead_elsewhere() {
    let env = Env::new();
    let project = script(
        &env,
        r#"
        fn main() {
            let at = std::fs::read_to_string("at.txt").unwrap();
            let count = std::fs::read_dir(&at).unwrap().count();
            let file = std::fs::read_to_string(format!("{at}/current/file")).unwrap_or_default();
            println!("cargo::rustc-env=SEEN={count} [{file}]");
        }
        "#,
    );
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", env!(\"SEEN\")); }\n",
    );
    let shown = env.project("//- /one/none\n");
    shown.link("current", "one");
    let at = shown.path().display().to_string();
    project.write("at.txt", &at);
    let manifest = project.read("Cargo.toml");
    project.write(
        "Cargo.toml",
        &format!("{manifest}\n[package.metadata.vx]\npaths = [\"{at}/current\", \"{at}/late\"]\n"),
    );
    let builds = |said: &str| {
        let _ = env.build(&project);
        let printed =
            vx_harness::program_output(&project.output("debug", "odd"), project.path(), &[]);
        assert!(printed.contains(&format!("\n{said}\n")), "{printed}");
        env.build(&project).assert_nothing();
    };
    builds("1 []");
    shown.write("one/file", "1");
    builds("1 [1]");
    shown.write("late/x", "");
    builds("2 [1]");
    shown.write("two/file", "2");
    shown.link("current", "two");
    builds("2 [2]");
    shown.remove("late");
    builds("1 [2]");
}

/// Whatever way an action finds to a daemon's socket.
#[test]
fn a_daemon_that_an_action_can_reach() {
    let env = Env::new();
    let store = env.root().join("store");
    let sockets = env.project("//- /none\n");
    let socket = sockets.join("cass.sock");
    let endpoint = format!("unix:{}", socket.display());
    let project = script(
        &env,
        r#"
        use std::io::Read;
        fn main() {
            let path = std::fs::read_to_string("at.txt").unwrap();
            let mut socket = std::os::unix::net::UnixStream::connect(path).unwrap();
            // It is closed before anything is asked; who is served waits for a question.
            socket.set_read_timeout(Some(std::time::Duration::from_secs(10))).unwrap();
            println!("cargo::rustc-env=SEEN={:?}", socket.read(&mut [0; 1]).map_err(|error| error.kind()));
        }
        "#,
    );
    project.write(
        "src/main.rs",
        "fn main() { println!(\"{}\", env!(\"SEEN\")); }\n",
    );
    project.write("at.txt", &socket.display().to_string());
    let manifest = project.read("Cargo.toml");
    let declared = sockets.path().display().to_string();
    project.write(
        "Cargo.toml",
        &format!("{manifest}\n[package.metadata.vx]\npaths = [{declared:?}]\n"),
    );
    let _daemon = Daemon::cass(&env, &store, &endpoint).expect("the store starts");
    let _ = env.build(&project);
    let said = vx_harness::program_output(&project.output("debug", "odd"), project.path(), &[]);
    let closed = said.contains("\nOk(0)\n") || said.contains("\nErr(ConnectionReset)\n");
    assert!(closed, "{said}");
}
