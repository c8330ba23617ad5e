//! `cargo xtask codegen`: the bindings of `schema/*.capnp`, which are committed so that building
//! vx needs no `capnp` program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// Where the bindings are committed, from the repository's top.
const BINDINGS: &str = "schema/src/generated";

/// The lines at a binding's head that name what made it.
const STAMPS: [&str; 2] = ["// capnp binary version:", "// capnpc crate version:"];

/// Makes the bindings again.
pub(crate) fn write() -> Result<()> {
    if compiler()?.is_none() {
        bail!("there is no `capnp` program on PATH; install Cap'n Proto to change the schema");
    }
    for (path, content) in generate()? {
        fs::write(&path, content).with_context(|| path.display().to_string())?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Fails when the committed bindings differ from what the schema gives; where no compiler is
/// there, says so.
pub(crate) fn check() -> Result<()> {
    let Some(version) = compiler()? else {
        println!("no `capnp` program on PATH: the bindings were not checked");
        return Ok(());
    };
    let mut different = Vec::new();
    for (path, content) in generate()? {
        let committed = fs::read_to_string(&path).unwrap_or_default();
        if unstamped(&committed) != unstamped(&content) {
            different.push(path.display().to_string());
        }
    }
    if different.is_empty() {
        return Ok(());
    }
    bail!(
        "{} is not what the schema gives with {version}: run `cargo xtask codegen` and commit",
        different.join(", ")
    )
}

/// A binding without the versions in its head: another release of the compiler that writes the
/// same is no difference.
fn unstamped(text: &str) -> String {
    let kept = text
        .lines()
        .filter(|line| !STAMPS.iter().any(|stamp| line.starts_with(stamp)));
    kept.flat_map(|line| [line, "\n"]).collect()
}

/// The compiler's version; `None` where there is none.
fn compiler() -> Result<Option<String>> {
    match Command::new("capnp").arg("--version").output() {
        Ok(output) => Ok(Some(
            String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).context("could not start capnp"),
    }
}

/// Each binding's path from the repository's top, and its content.
fn generate() -> Result<Vec<(PathBuf, String)>> {
    // The compiler runs at the repository's top and is given relative names, so that nothing it
    // writes depends on where the repository lies.
    std::env::set_current_dir(workspace::root()).context("could not enter the repository")?;
    let mut sources = Vec::new();
    for entry in fs::read_dir("schema")? {
        let path = Path::new("schema").join(entry?.file_name());
        if path
            .extension()
            .is_some_and(|extension| extension == "capnp")
        {
            sources.push(path);
        }
    }
    sources.sort();
    let made = tempfile::tempdir()?;
    let mut command = capnpc::CompilerCommand::new();
    command
        .src_prefix("schema")
        .output_path(made.path())
        .default_parent_module(vec!["generated".into()]);
    for source in &sources {
        command.file(source);
    }
    command.run().context("capnp did not accept the schema")?;
    sources
        .iter()
        .map(|source| binding(source, made.path()))
        .collect()
}

fn binding(source: &Path, made: &Path) -> Result<(PathBuf, String)> {
    let stem = source
        .file_stem()
        .and_then(|stem| stem.to_str())
        .context("schema names are text")?;
    let name = format!("{stem}_capnp.rs");
    let content =
        fs::read_to_string(made.join(&name)).with_context(|| format!("capnp made no {name}"))?;
    Ok((Path::new(BINDINGS).join(name), content))
}
