//! `[lints]` tables, which neither unit graph nor metadata have.

use std::cmp::Reverse;
use std::path::Path;

use cargo_util_schemas::manifest::{InheritableLints, TomlLintLevel, TomlLints};

use crate::error::PlanError;
use crate::host::Host;
use crate::locate::{read_manifest, workspace_root};

/// The flags that a manifest's lints amount to, in cargo's order.
pub(crate) fn lint_flags(host: &Host, manifest: &Path) -> Result<Vec<String>, PlanError> {
    let text = host
        .read_to_string(manifest)
        .map_err(PlanError::io("read", manifest))?;
    // Most manifests have none, and parsing hundreds takes a while.
    if !text.contains("lints") {
        return Ok(Vec::new());
    }
    let error = |detail: String| PlanError::Manifest {
        path: manifest.to_owned(),
        detail,
    };
    let table: toml::Table = text
        .parse()
        .map_err(|e: toml::de::Error| error(e.to_string()))?;
    let Some(lints) = table.get("lints") else {
        return Ok(Vec::new());
    };
    let lints: InheritableLints = lints
        .clone()
        .try_into()
        .map_err(|e: toml::de::Error| error(e.to_string()))?;
    if !lints.workspace {
        return flags(&lints.lints).map_err(error);
    }
    let root = workspace_root(host, manifest)?.join("Cargo.toml");
    let table = read_manifest(host, &root);
    let inherited = table.get("workspace").and_then(|table| table.get("lints"));
    match inherited {
        Some(lints) => {
            let lints: TomlLints = lints
                .clone()
                .try_into()
                .map_err(|e: toml::de::Error| error(e.to_string()))?;
            flags(&lints).map_err(error)
        }
        None => Ok(Vec::new()),
    }
}

fn flags(lints: &TomlLints) -> Result<Vec<String>, String> {
    let mut flags = Vec::new();
    for (tool, lints) in lints.iter().filter(|(tool, _)| *tool != "cargo") {
        for (name, config) in lints {
            let level = match config.level() {
                TomlLintLevel::Forbid => "--forbid",
                TomlLintLevel::Deny => "--deny",
                TomlLintLevel::Warn => "--warn",
                TomlLintLevel::Allow => "--allow",
            };
            let lint = if tool == "rust" {
                name.clone()
            } else {
                format!("{tool}::{name}")
            };
            flags.push((config.priority(), Reverse(name), format!("{level}={lint}")));
        }
    }
    flags.sort();
    let mut flags: Vec<String> = flags.into_iter().map(|(_, _, flag)| flag).collect();
    flags.extend(declared_cfgs(lints)?);
    Ok(flags)
}

/// `[lints.rust.unexpected_cfgs] check-cfg`
fn declared_cfgs(lints: &TomlLints) -> Result<Vec<String>, String> {
    let declared = lints
        .get("rust")
        .and_then(|lints| lints.get("unexpected_cfgs"))
        .and_then(|lint| lint.config())
        .and_then(|config| config.get("check-cfg"));
    let Some(declared) = declared else {
        return Ok(Vec::new());
    };
    let cfgs: Vec<String> = declared.clone().try_into().map_err(|_| {
        "`lints.rust.unexpected_cfgs.check-cfg` must be a list of strings".to_owned()
    })?;
    Ok(cfgs
        .into_iter()
        .flat_map(|cfg| ["--check-cfg".to_owned(), cfg])
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_inheritance() {
        let dir = tempfile::tempdir().unwrap();
        let host = Host::new(std::sync::Arc::new(crate::host::Plain));
        let root = "[workspace]\nmembers = ['a']\n[workspace.lints.rust]\nunused = { level = 'deny', priority = -1 }\n\
                    unexpected_cfgs = { level = 'warn', check-cfg = ['cfg(x)'] }\n[workspace.lints.clippy]\nall = 'warn'\n";
        std::fs::write(dir.path().join("Cargo.toml"), root).unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        let member = dir.path().join("a/Cargo.toml");
        std::fs::write(
            &member,
            "[package]\nname = 'a'\n[lints]\nworkspace = true\n",
        )
        .unwrap();
        assert_eq!(
            lint_flags(&host, &member).unwrap(),
            [
                "--deny=unused",
                "--warn=unexpected_cfgs",
                "--warn=clippy::all",
                "--check-cfg",
                "cfg(x)"
            ]
        );
    }
}
