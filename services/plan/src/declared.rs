//! What a workspace declares for vx: `[workspace.metadata.vx]` and `[package.metadata.vx]`.
//!
//! Cargo ignores these tables, so the workspace stays one of cargo's.

use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use vx_core::places;

use crate::cargo_json::{Metadata, MetadataPackage};
use crate::error::PlanError;
use crate::model::Declared;

/// The keys of a package's table.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct PackageTable {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    network: bool,
}

/// The keys of the workspace's table.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct WorkspaceTable {
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    paths: Vec<String>,
    /// Names of packages, so that one of a registry can be allowed what it needs.
    #[serde(default)]
    network: Vec<String>,
}

/// What is declared for a package: by the workspace, and by the package itself if it is a path
/// package. What a registry's package says of itself is not heeded.
pub(crate) fn declared(
    checkout: &Path,
    metadata: &Metadata,
    found: &MetadataPackage,
) -> Result<Declared, PlanError> {
    let root = Path::new(&metadata.workspace_root);
    let manifest = root.join("Cargo.toml");
    let workspace: WorkspaceTable = table(metadata.metadata.as_ref(), &manifest, "workspace")?;
    let mut declared = Declared {
        network: workspace.network.contains(&found.name),
        ..Declared::default()
    };
    add(
        &mut declared,
        workspace.env,
        workspace.paths,
        checkout,
        &manifest,
    )?;
    if found.source.is_none() {
        let manifest = Path::new(&found.manifest_path);
        let own: PackageTable = table(found.metadata.as_ref(), manifest, "package")?;
        declared.network |= own.network;
        add(&mut declared, own.env, own.paths, checkout, manifest)?;
    }
    for list in [&mut declared.env, &mut declared.paths] {
        list.sort();
        list.dedup();
    }
    Ok(declared)
}

fn table<T: Default + for<'de> Deserialize<'de>>(
    metadata: Option<&serde_json::Value>,
    manifest: &Path,
    of: &str,
) -> Result<T, PlanError> {
    let Some(found) = metadata.and_then(|metadata| metadata.get("vx")) else {
        return Ok(T::default());
    };
    T::deserialize(found).map_err(|error| wrong(manifest, format!("[{of}.metadata.vx]: {error}")))
}

fn wrong(manifest: &Path, detail: String) -> PlanError {
    PlanError::Manifest {
        path: manifest.to_owned(),
        detail,
    }
}

fn add(
    declared: &mut Declared,
    env: Vec<String>,
    paths: Vec<String>,
    checkout: &Path,
    manifest: &Path,
) -> Result<(), PlanError> {
    for name in &env {
        if name.is_empty() || name.contains(['=', '\0']) {
            let detail = format!("metadata.vx: {name:?} in `env` is no name of a variable");
            return Err(wrong(manifest, detail));
        }
    }
    declared.env.extend(env);
    for path in paths {
        let refuse = |why: &str| wrong(manifest, format!("metadata.vx: {path:?} in `paths` {why}"));
        let base = manifest.parent().unwrap_or(checkout);
        let whole = straighten(&base.join(&path));
        // Every action of a path package sees the checkout as it is.
        if whole.starts_with(checkout) {
            continue;
        }
        if !Path::new(&path).is_absolute() {
            return Err(refuse(
                "leaves the checkout, which an action finds at another place; give an absolute \
                 path",
            ));
        }
        // Places of every action's own, where nothing of the host can be shown.
        let mut taken = places::KERNEL.iter().chain([&places::ROOT]);
        if whole == Path::new("/") || taken.any(|taken| whole.starts_with(taken)) {
            return Err(refuse(
                "can't be shown to actions; name a directory below it",
            ));
        }
        let text = whole.to_str().ok_or_else(|| PlanError::NotUtf8 {
            path: whole.clone(),
        })?;
        declared.paths.push(text.to_owned());
    }
    Ok(())
}

fn straighten(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                straight.pop();
            }
            Component::CurDir => {}
            part => straight.push(part),
        }
    }
    straight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(env: &[&str], paths: &[&str]) -> Result<Declared, PlanError> {
        let list = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
        let mut declared = Declared::default();
        let manifest = Path::new("/home/a/ws/p/Cargo.toml");
        add(
            &mut declared,
            list(env),
            list(paths),
            Path::new("/home/a/ws"),
            manifest,
        )?;
        Ok(declared)
    }

    #[test]
    fn paths_are_absolute_or_in_the_checkout() {
        assert_eq!(of(&[], &["/opt/x/../y"]).unwrap().paths, ["/opt/y"]);
        assert!(of(&[], &["data", "../other"]).unwrap().paths.is_empty());
        assert!(of(&[], &["../../outside"]).is_err());
        for taken in [
            "/",
            "/proc",
            "/vx/the-checkout-at-its-fixed-place",
            "/dev/shm",
        ] {
            assert!(of(&[], &[taken]).is_err(), "{taken}");
        }
    }

    #[test]
    fn a_wrong_table_is_refused_with_its_name() {
        let value = serde_json::json!({"vx": {"envs": ["A"]}});
        let refused = table::<PackageTable>(Some(&value), Path::new("/p/Cargo.toml"), "package");
        let text = refused.err().unwrap().to_string();
        assert!(text.contains("[package.metadata.vx]"), "{text}");
        assert!(text.contains("envs"), "{text}");
        assert!(of(&["A=B"], &[]).is_err());
    }
}
