//! The four programs.

use std::fs;
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::workspace;

/// Packages, each with one program of the same name.
pub(crate) const PROGRAMS: [&str; 4] = ["vx", "vx-aether", "vx-cass", "vx-rhea"];

/// Builds them optimised and gives the directory they lie in.
pub(crate) fn release() -> Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo
        .args(["build", "--release", "--locked"])
        .env("VX_BUILD_ID", build_id()?);
    for program in PROGRAMS {
        cargo.args(["-p", program]);
    }
    workspace::run(&mut cargo)?;
    Ok(workspace::target_dir().join("release"))
}

/// What the programs are made of: daemons of one build replace those of another, so two
/// different builds must not have one name.
const SOURCES: [&str; 5] = ["Cargo.toml", "Cargo.lock", "schema", "services", "client"];

/// The version and a digest of the sources.
pub(crate) fn build_id() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    for source in SOURCES {
        digest(&workspace::root().join(source), &mut hasher)?;
    }
    Ok(format!(
        "{}+{:016x}",
        env!("CARGO_PKG_VERSION"),
        hasher.finish()
    ))
}

fn digest(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    hasher.write_usize(name.len());
    hasher.write(name);
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        entries.sort();
        hasher.write_usize(entries.len());
        return entries.iter().try_for_each(|entry| digest(entry, hasher));
    }
    let content = fs::read(path).with_context(|| path.display().to_string())?;
    hasher.write_usize(content.len());
    hasher.write(&content);
    Ok(())
}
