//! Bad input gets a clear error, a status other than zero, and no panic.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vx_harness::{Env, Project};

/// A peer that says nothing is dropped after ten seconds; a busy machine may be late.
const HANDSHAKE: Duration = Duration::from_secs(60);

const HELLO: &str = r#"
    //- /Cargo.toml
    [package]
    name = "hello"
    version = "0.1.0"
    edition = "2024"
    //- /src/main.rs
    fn main() { println!("hello"); }
"#;

#[test]
fn no_manifest() {
    let env = Env::new();
    let directory = env.fresh_path("empty");
    std::fs::create_dir_all(&directory).expect("the environment can be written");
    let _ = env.vx(&directory, &["build"]).code(101).refused();
    let _ = env
        .vx(&directory, &["build", "--manifest-path", "none/Cargo.toml"])
        .refused();
}

#[test]
fn a_directory_that_is_gone() {
    let env = Env::new();
    let directory = env.fresh_path("gone");
    std::fs::create_dir_all(&directory).expect("the environment can be written");
    let script = format!(
        "rmdir '{}' && exec '{}' build",
        directory.display(),
        env.program("vx").display()
    );
    let mut command = env.command("/bin/sh", &directory);
    command.args(["-c", &script]);
    let _ = env.run(command).refused();
}

#[test]
fn a_broken_manifest() {
    let env = Env::new();
    for manifest in [
        "[package",
        "[package]\nname = 7\n",
        "[workspace]\nmembers = [\"absent\"]\n",
        "",
    ] {
        let project = env.project(HELLO);
        project.write("Cargo.toml", manifest);
        let _ = env.vx(&project, &["build"]).code(101).refused();
    }
}

#[test]
fn a_manifest_that_is_not_text() {
    let env = Env::new();
    let project = env.project(HELLO);
    std::fs::write(project.join("Cargo.toml"), [0xff, 0xfe, 0x00]).expect("the project is ours");
    let _ = env.vx(&project, &["build"]).code(101).refused();
}

#[test]
fn a_lock_file_out_of_date() {
    let env = Env::new();
    let project = env.project(HELLO);
    let _ = env.vx(&project, &["build", "--locked"]).code(101).refused();
    let _ = env.build(&project);
    let _ = env.vx(&project, &["build", "--locked"]).success();
    project.edit("Cargo.toml", "0.1.0", "0.2.0");
    let _ = env.vx(&project, &["build", "--locked"]).code(101).refused();
    let lock = project.read("Cargo.lock");
    assert!(
        lock.contains("0.1.0"),
        "--locked changed the lock file: {lock}"
    );
}

#[test]
fn arguments_that_make_no_sense() {
    let env = Env::new();
    let project = env.project(HELLO);
    let lines: [&[&str]; 8] = [
        &["build", "--no-such-flag"],
        &["no-such-command"],
        &["build", "-p", "absent"],
        &["build", "--bin", "absent"],
        &["build", "--features", "absent"],
        &["build", "--profile", "absent"],
        &["build", "--target", "no-such-triple"],
        &["build", "-j", "none"],
    ];
    for line in lines {
        let _ = env.vx(&project, line).refused();
    }
}

#[test]
fn no_cargo_on_path() {
    let env = Env::new();
    let project = env.project(HELLO);
    let lost = env.sibling().with_setting("PATH", "/usr/bin:/bin");
    let run = lost.vx(&project, &["build"]).refused();
    assert!(run.stderr.contains("cargo"), "{run}");
}

#[test]
fn an_unknown_version_of_the_unit_graph() {
    let env = Env::new();
    let project = env.project(HELLO);
    let bin = env.fresh_path("bin");
    let real = env.toolchain().sysroot().join("bin");
    script(
        &bin.join("cargo"),
        &format!(
            "case \" $* \" in\n*' --unit-graph '*) echo '{{\"version\":4711,\"units\":[],\"roots\":[]}}' ;;\n\
             *) exec '{}' \"$@\" ;;\nesac\n",
            real.join("cargo").display()
        ),
    );
    let path = format!("{}:{}:/usr/bin:/bin", bin.display(), real.display());
    let newer = env.sibling().with_setting("PATH", path);
    let run = newer.vx(&project, &["build"]).refused();
    assert!(
        run.stderr.contains("4711"),
        "the version is not named: {run}"
    );
}

fn script(path: &Path, body: &str) {
    std::fs::create_dir_all(path.parent().expect("a joined path has a parent"))
        .expect("it is ours");
    std::fs::write(path, format!("#!/bin/sh\n{body}")).expect("the environment can be written");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
}

#[test]
fn a_home_that_cannot_be_written() {
    let env = Env::new();
    let project = env.project(HELLO);
    let file = env.root().join("a-file");
    std::fs::write(&file, "").expect("the environment can be written");
    for home in [
        file.join("below"),
        file,
        PathBuf::from("/proc/vx"),
        PathBuf::from("relative"),
    ] {
        let other = env.sibling().with_setting("VX_HOME", &home);
        let run = other.vx(&project, &["build"]).refused();
        assert!(
            run.stderr.contains("VX_HOME"),
            "the setting is not named: {run}"
        );
    }
}

#[test]
fn a_home_that_others_can_write_to() {
    let env = Env::new();
    let project = env.project(HELLO);
    let home = env.root().join("open");
    std::fs::create_dir(&home).expect("the environment can be written");
    std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let other = env.sibling().with_setting("VX_HOME", &home);
    let _ = other.vx(&project, &["build"]).refused();
}

#[test]
fn endpoints_of_an_unknown_form() {
    let env = Env::new();
    let project = env.project(HELLO);
    for endpoint in [
        "ftp://somewhere",
        "somewhere",
        "unix:relative",
        "tcp://host",
        "host:99999",
    ] {
        let other = env.sibling().with_setting("VX_CASS", endpoint);
        let run = other.vx(&project, &["build"]).refused();
        assert!(
            run.stderr.contains("unix:"),
            "the known forms are not named: {run}"
        );
    }
}

#[test]
fn other_settings_than_the_running_daemons() {
    let env = Env::new();
    let project = env.project(HELLO);
    let _ = env.build(&project);
    let endpoint = format!("unix:{}/none.sock", env.root().display());
    let mut command = env.command(env.program("vx"), &project);
    command.arg("build").env("VX_CASS", endpoint);
    let run = env.run(command).refused();
    assert!(
        run.stderr.contains("vx stop"),
        "what to do is not named: {run}"
    );
}

/// Copies of the four programs that say they are of another build.
fn other_build(env: &Env) -> PathBuf {
    let directory = env.fresh_path("other-build");
    std::fs::create_dir_all(&directory).expect("the environment can be written");
    let (own, other) = (b"0.1.0+dev", b"0.1.0+old");
    for name in ["vx", "vx-aether", "vx-cass", "vx-rhea"] {
        let mut program = std::fs::read(env.program(name)).expect("it was built");
        let at = find(&program, own);
        assert!(
            !at.is_empty(),
            "{name} does not say its build: built with VX_BUILD_ID?"
        );
        for start in at {
            program[start..start + other.len()].copy_from_slice(other);
        }
        let path = directory.join(name);
        std::fs::write(&path, program).expect("the environment can be written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("it is ours");
    }
    directory
}

fn find(text: &[u8], word: &[u8]) -> Vec<usize> {
    let windows = text.windows(word.len()).enumerate();
    windows
        .filter(|(_, window)| *window == word)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn a_daemon_of_another_build_is_replaced() {
    let env = Env::new();
    let project = env.project(HELLO);
    let old = other_build(&env);
    let mut command = env.command(old.join("vx"), &project);
    command.arg("build");
    let _ = env.run(command).success();
    let daemon = env.processes_named("vx-aether");
    assert_eq!(daemon.len(), 1, "{daemon:#?}");

    let _ = env.build(&project);
    assert!(daemon[0].wait_gone(HANDSHAKE), "the old daemon stays");
    assert_eq!(env.processes_named("vx-aether").len(), 1);
    let program = project.output("debug", "hello");
    assert!(vx_harness::program_output(&program, project.path(), &[]).contains("hello"));
}

#[test]
fn a_socket_that_nobody_answers_is_taken_over() {
    let env = Env::new();
    let project = env.project(HELLO);
    std::fs::create_dir(env.vx_home()).expect("the environment can be written");
    std::fs::set_permissions(env.vx_home(), std::fs::Permissions::from_mode(0o700))
        .expect("it is ours");
    drop(std::os::unix::net::UnixListener::bind(
        env.vx_home().join("aether.sock"),
    ));
    let _ = env.build(&project);
}

/// The daemons' sockets, once a build has them running.
fn sockets(env: &Env, project: &Project) -> Vec<PathBuf> {
    let _ = env.build(project);
    let sockets = ["aether.sock", "cass.sock", "rhea.sock"].map(|name| env.vx_home().join(name));
    sockets
        .into_iter()
        .inspect(|path| assert!(path.exists(), "{}", path.display()))
        .collect()
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the daemon listens");
    stream
        .set_read_timeout(Some(HANDSHAKE))
        .expect("a socket has timeouts");
    stream
        .set_write_timeout(Some(HANDSHAKE))
        .expect("a socket has timeouts");
    stream
}

/// Reads until the peer hangs up.
fn assert_dropped(mut stream: &UnixStream, why: &str) {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{why}: still connected: {error}"),
        }
    }
}

#[test]
fn garbage_on_a_socket() {
    let env = Env::new();
    let project = env.project(HELLO);
    let noise: Vec<u8> = (0..100_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    // A message that announces a segment of 32 GiB, one of 2^32 segments, and plain noise.
    let messages: [&[u8]; 4] = [
        &[0, 0, 0, 0, 255, 255, 255, 255],
        &[255; 8],
        b"GET / HTTP/1.1\r\n\r\n",
        &noise,
    ];
    for socket in sockets(&env, &project) {
        for message in messages {
            let mut stream = connect(&socket);
            // It may hang up before it has read everything.
            let _ = stream.write_all(message);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            assert_dropped(&stream, "garbage");
        }
    }
    project.edit("src/main.rs", "hello", "hello again");
    env.build(&project).assert_compiled(["hello"]);
}

#[test]
fn a_client_that_says_nothing_delays_nobody() {
    let env = Env::new();
    let project = env.project(HELLO);
    let sockets = sockets(&env, &project);
    let silent: Vec<UnixStream> = sockets
        .iter()
        .flat_map(|socket| (0..20).map(|_| connect(socket)))
        .collect();
    project.edit("src/main.rs", "hello", "hello again");
    env.build(&project).assert_compiled(["hello"]);
    for stream in &silent {
        assert_dropped(stream, "silence");
    }
}
