//! What a build script can reach: neither the store, nor the orchestrator, nor the network.

use std::net::TcpListener;

use vx_harness::{Daemon, Env};

/// Its script tries what its first line names and gives the program what came of it.
const PROBE: &str = r#"
    //- /Cargo.toml
    [package]
    name = "probe"
    version = "0.1.0"
    edition = "2024"
    //- /targets.txt
    TARGETS
    //- /build.rs
    use std::net::TcpStream;
    use std::os::unix::net::UnixStream;
    fn main() {
        let mut reached = Vec::new();
        for line in std::fs::read_to_string("targets.txt").unwrap().lines() {
            let connected = match line.strip_prefix("tcp ") {
                Some(address) => TcpStream::connect(address).is_ok(),
                None => UnixStream::connect(line).is_ok() || std::fs::metadata(line).is_ok(),
            };
            if connected {
                reached.push(line.to_owned());
            }
        }
        println!("cargo::rerun-if-changed=targets.txt");
        println!("cargo::rustc-env=REACHED={}", reached.join(";"));
    }
    //- /src/main.rs
    fn main() { println!("reached [{}]", env!("REACHED")); }
"#;

#[test]
fn a_build_script_reaches_no_service() {
    let env = Env::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback can be bound");
    let free = listener.local_addr().expect("it is bound");
    drop(listener);
    let endpoint = format!("tcp://{free}");
    let store = env.root().join("store");
    let _store = Daemon::cass(&env, &store, &endpoint).expect("the store starts");
    let client = env
        .sibling()
        .with_setting("VX_CASS", &endpoint)
        .with_setting("VX_CASS_SECRET_FILE", store.join("secret"));
    let home = client.vx_home();
    let secret = store.join("secret");
    let targets = [
        format!("tcp {free}"),
        home.join("aether.sock").display().to_string(),
        home.join("rhea.sock").display().to_string(),
        secret.display().to_string(),
        home.display().to_string(),
    ];
    let project = client.project(PROBE);
    project.write("targets.txt", &(targets.join("\n") + "\n"));
    let _ = client.build(&project);
    let said = vx_harness::program_output(&project.output("debug", "probe"), project.path(), &[]);
    assert!(said.contains("reached []"), "{said}");
}

#[test]
fn the_homes_files_are_for_their_owner_alone() {
    use std::os::unix::fs::MetadataExt;
    let env = Env::new();
    let project = env.project(PROBE);
    let _ = env.build(&project);
    let home = env.vx_home();
    let mode =
        |path: &std::path::Path| std::fs::metadata(path).expect("the build made it").mode() & 0o777;
    assert_eq!(mode(&home) & 0o077, 0, "{home:?}");
    for entry in std::fs::read_dir(&home)
        .expect("the home is ours")
        .filter_map(Result::ok)
    {
        let path = entry.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "secret")
        {
            assert_eq!(mode(&path), 0o600, "{path:?}");
        }
    }
}
