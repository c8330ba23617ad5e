//! By which way the bytes go.

use vx_harness::Env;

const MEGABYTE: u64 = 1_000_000;

#[test]
fn without_placing_the_bytes_go_directly() {
    let env = Env::new().with_setting("VX_CASS_PLACE", "off");
    let project = env.corpus("ripgrep");
    let transfer = env.build(&project).report.transfer;
    let moved = transfer.direct_bytes + transfer.relayed_bytes;
    assert_eq!(transfer.placed_bytes, 0, "placing is off: {transfer:?}");
    assert!(
        moved > 100 * MEGABYTE,
        "too small a build to tell: {transfer:?}"
    );
    assert!(transfer.direct_bytes * 100 >= moved * 99, "{transfer:?}");
    assert!(transfer.orchestrator_bytes < 2 * MEGABYTE, "{transfer:?}");
}

#[test]
fn with_placing_no_input_crosses_a_socket() {
    let env = Env::new();
    let project = env.corpus("ripgrep");
    let _ = env.build(&project);
    project.edit("crates/core/main.rs", "fn main()", "/* again */ fn main()");
    let build = env.build(&project);
    build.assert_compiled(["rg"]);
    // What one link reads is there as files; what it made crosses once, on its way in.
    let transfer = build.report.transfer;
    let made = std::fs::metadata(project.output("debug", "rg"))
        .expect("it was built")
        .len();
    let moved = transfer.direct_bytes + transfer.relayed_bytes;
    assert!(transfer.placed_bytes > 0, "{transfer:?}");
    assert!(
        moved < made + made / 10 + 2 * MEGABYTE,
        "{made} bytes were made: {transfer:?}"
    );
}

#[test]
fn without_the_stores_socket_the_relay_carries_them() {
    let env = Env::new().with_setting("VX_CASS_PLACE", "off");
    let project = env.project(PROJECT);
    let _ = env.build(&project);
    // The executor starts anew and finds no socket; the orchestrator still has its connection.
    std::fs::remove_file(env.vx_home().join("cass.sock")).expect("the store listens there");
    for executor in env.processes_named("vx-rhea") {
        executor.kill();
    }
    project.edit("leaf/src/lib.rs", "{ 2 }", "{ 3 }");
    let build = env.build(&project);
    build.assert_compiled(["leaf", "top"]);
    let transfer = build.report.transfer;
    assert!(transfer.relayed_bytes > 0, "{transfer:?}");
    assert_eq!(transfer.direct_bytes, 0, "{transfer:?}");
    let said = vx_harness::program_output(&project.output("debug", "top"), project.path(), &[]);
    assert!(said.contains("three is 3"), "{said}");
}

const PROJECT: &str = r#"
    //- /Cargo.toml
    [package]
    name = "top"
    version = "0.1.0"
    edition = "2024"
    [dependencies]
    leaf = { path = "leaf" }
    //- /src/main.rs
    fn main() { println!("three is {}", leaf::number()); }
    //- /leaf/Cargo.toml
    [package]
    name = "leaf"
    version = "0.1.0"
    edition = "2024"
    //- /leaf/src/lib.rs
    pub fn number() -> u32 { 2 }
"#;
