//! `cargo xtask test`: everything, in one command, on a machine with Rust and a C compiler.

use anyhow::Result;

use crate::workspace;

pub(crate) fn run(arguments: &[String]) -> Result<()> {
    // The programs are built once here, with the features the tests' own build selects, and the
    // harness is told where they are; tests that built them would queue for cargo's lock.
    workspace::run(workspace::cargo().args(["build", "--workspace", "--bins"]))?;
    let mut cargo = workspace::cargo();
    cargo
        .args(["test", "--workspace"])
        .env("VX_BIN_DIR", workspace::target_dir().join("debug"));
    if arguments.is_empty() {
        cargo.arg("--no-fail-fast");
    }
    workspace::run(cargo.args(arguments))
}
