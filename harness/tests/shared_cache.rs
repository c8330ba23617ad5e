//! Two homes on one store: what one built, the other does not build.

use std::net::TcpListener;
use std::path::Path;

use vx_harness::{Daemon, Env};

const PROJECT: &str = r#"
    //- /Cargo.toml
    [package]
    name = "top"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    leaf = { path = "leaf" }
    //- /src/main.rs
    fn main() { println!("{}", leaf::two()); }
    //- /leaf/Cargo.toml
    [package]
    name = "leaf"
    version = "0.1.0"
    edition = "2024"
    //- /leaf/build.rs
    fn main() { println!("cargo::rustc-env=TWO=2"); }
    //- /leaf/src/lib.rs
    pub fn two() -> &'static str { env!("TWO") }
"#;

/// Two homes build the same project by way of the store at `endpoint`.
fn is_shared(listener: &Env, store: &Path, endpoint: &str) {
    let _store = Daemon::cass(listener, store, endpoint).expect("the store starts");
    let secret = store.join("secret");
    let first = listener
        .sibling()
        .with_setting("VX_CASS", endpoint)
        .with_setting("VX_CASS_SECRET_FILE", &secret);
    let second = first.sibling();

    let one = first.project(PROJECT);
    first
        .build(&one)
        .assert_compiled(["build_script_build", "leaf", "top"]);
    let two = second.project(PROJECT);
    second.build(&two).assert_nothing();
    let said = vx_harness::program_output(&two.output("debug", "top"), two.path(), &[]);
    assert!(said.contains("\n2\n"), "{said}");
    // Each home has an orchestrator, and neither has a store of its own.
    assert_eq!(first.processes_named("vx-cass").len(), 0);
    assert_eq!(second.processes_named("vx-cass").len(), 0);
}

#[test]
fn over_a_unix_socket() {
    let env = Env::new();
    let endpoint = format!("unix:{}", env.root().join("shared.sock").display());
    is_shared(&env, &env.root().join("store"), &endpoint);
}

#[test]
fn over_loopback_tcp() {
    let env = Env::new();
    is_shared(&env, &env.root().join("store"), &free_endpoint());
}

/// A loopback endpoint whose port was free a moment ago.
fn free_endpoint() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    format!("tcp://{}", listener.local_addr().expect("it is bound"))
}

#[test]
fn a_wrong_secret_opens_nothing() {
    let env = Env::new();
    let endpoint = free_endpoint();
    let store = env.root().join("store");
    let _store = Daemon::cass(&env, &store, &endpoint).expect("the store starts");
    let wrong = env.root().join("wrong-secret");
    let right = std::fs::read(store.join("secret")).expect("the store made its secret");
    // As long as a right one, and another.
    let other: Vec<u8> = right
        .iter()
        .map(|byte| if *byte == b'a' { b'b' } else { b'a' })
        .collect();
    std::fs::write(&wrong, other).expect("the environment can be written");
    private(&wrong);
    let thief = env
        .sibling()
        .with_setting("VX_CASS", &endpoint)
        .with_setting("VX_CASS_SECRET_FILE", &wrong);
    let project = thief.project(PROJECT);
    let _ = thief.vx(&project, &["build"]).refused();
    assert!(thief.compiled_since(0).is_empty());
}

#[test]
fn a_secret_that_others_can_read_is_refused() {
    let env = Env::new();
    let endpoint = free_endpoint();
    let store = env.root().join("store");
    let _store = Daemon::cass(&env, &store, &endpoint).expect("the store starts");
    let open = env.root().join("open-secret");
    std::fs::copy(store.join("secret"), &open).expect("the environment can be written");
    mode(&open, 0o644);
    let careless = env
        .sibling()
        .with_setting("VX_CASS", &endpoint)
        .with_setting("VX_CASS_SECRET_FILE", &open);
    let project = careless.project(PROJECT);
    let _ = careless.vx(&project, &["build"]).refused();
}

#[test]
fn one_directory_has_one_store() {
    let env = Env::new();
    let store = env.root().join("store");
    let endpoint = |name: &str| format!("unix:{}", env.root().join(name).display());
    let _first = Daemon::cass(&env, &store, &endpoint("one.sock")).expect("the store starts");
    let error = Daemon::cass(&env, &store, &endpoint("two.sock")).err();
    assert!(error.is_some(), "two processes hold one store");
}

fn private(path: &Path) {
    mode(path, 0o600);
}

fn mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .expect("the file is ours");
}
