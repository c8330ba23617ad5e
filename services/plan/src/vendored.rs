//! Packages of directory sources, which `cargo vendor` makes: their files have to be those that
//! their checksums are of.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::PlanError;
use crate::locate::Workspace;
use crate::model::{PackageRoot, Plan};

/// What cargo keeps beside a package's files.
const CHECKSUMS: &str = ".cargo-checksum.json";

#[derive(Deserialize)]
struct Checksums {
    files: BTreeMap<String, String>,
}

/// Refuses a package whose files were edited, as cargo does before it compiles one.
///
/// # Errors
/// When a file is not what its checksum says, or can't be read.
pub fn verify_vendored(
    workspace: &Workspace,
    plan: &Plan,
    package: usize,
) -> Result<(), PlanError> {
    let package = &plan.packages[package];
    match &package.root {
        PackageRoot::Tree { source, .. } if !source.starts_with("git+") => {}
        _ => return Ok(()),
    }
    let Some(directory) = workspace.host_paths(&package.found_at).into_iter().next() else {
        return Ok(());
    };
    let host = &workspace.host;
    let Ok(text) = host.read_to_string(&directory.join(CHECKSUMS)) else {
        return Ok(());
    };
    let checksums: Checksums =
        serde_json::from_str(&text).map_err(|error| PlanError::Manifest {
            path: directory.join(CHECKSUMS),
            detail: error.to_string(),
        })?;
    for (name, expected) in checksums.files {
        verify_file(workspace, &directory.join(name), expected)?;
    }
    Ok(())
}

fn verify_file(workspace: &Workspace, file: &Path, expected: String) -> Result<(), PlanError> {
    let bytes = workspace
        .host
        .read(file)
        .map_err(PlanError::io("calculate checksum of", file))?;
    let actual: String = Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    if actual == expected {
        return Ok(());
    }
    Err(PlanError::Vendored {
        file: file.to_owned(),
        expected,
        actual,
    })
}
