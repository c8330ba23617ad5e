//! The four programs.

use std::path::PathBuf;

use anyhow::Result;

use crate::workspace;

/// Packages, each with one program of the same name.
pub(crate) const PROGRAMS: [&str; 4] = ["vx", "vx-aether", "vx-cass", "vx-rhea"];

/// Builds them optimised and gives the directory they lie in.
pub(crate) fn release() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["build", "--release", "--locked"]);
    for program in PROGRAMS {
        cargo.args(["-p", program]);
    }
    workspace::run(&mut cargo)?;
    Ok(workspace::target_dir().join("release"))
}
