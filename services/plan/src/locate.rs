//! Where a request's workspace and checkout are. Reads few manifests and starts nothing but,
//! the first time, the toolchain's own questions.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::config::Config;
use crate::error::PlanError;
use crate::globs;
use crate::request::PlanRequest;
use crate::toolchain::{self, Toolchain};

/// A workspace on the host.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The manifest the request stands at.
    pub manifest: PathBuf,
    /// The workspace root's directory.
    pub root: PathBuf,
    /// What actions see as `/vx/ws`.
    pub checkout: PathBuf,
    /// Cargo's home.
    pub cargo_home: PathBuf,
    /// The toolchain.
    pub toolchain: Toolchain,
    pub(crate) config: Config,
    pub(crate) cwd: PathBuf,
}

/// Finds the workspace, checkout and toolchain of a request.
pub fn locate(request: &PlanRequest) -> Result<Workspace, PlanError> {
    let cwd = request
        .cwd
        .canonicalize()
        .map_err(PlanError::io("open", &request.cwd))?;
    let cargo_home = cargo_home(&cwd, &request.env);
    let config = Config::load(&cwd, &cargo_home, &request.env)?;
    let manifest = find_manifest(&cwd, request.selection.manifest_path.as_deref())?;
    let root = workspace_root(&manifest)?;
    let checkout = checkout_of(&root, &request.env)?;
    let toolchain = toolchain::find(&cwd, &request.env, &config)?;
    Ok(Workspace {
        manifest,
        root,
        checkout,
        cargo_home,
        toolchain,
        config,
        cwd,
    })
}

fn cargo_home(cwd: &Path, env: &BTreeMap<String, String>) -> PathBuf {
    let home = match env.get("CARGO_HOME").filter(|home| !home.is_empty()) {
        Some(home) => cwd.join(home),
        None => Path::new(env.get("HOME").map_or("/", String::as_str)).join(".cargo"),
    };
    home.canonicalize().unwrap_or(home)
}

fn find_manifest(cwd: &Path, given: Option<&Path>) -> Result<PathBuf, PlanError> {
    if let Some(given) = given {
        let path = cwd.join(given);
        return path
            .canonicalize()
            .map_err(|_| PlanError::ManifestPath { path });
    }
    cwd.ancestors()
        .map(|dir| dir.join("Cargo.toml"))
        .find(|path| path.is_file())
        .ok_or_else(|| PlanError::NoManifest {
            cwd: cwd.to_owned(),
        })
}

/// A manifest as plain TOML; a broken one is cargo's to complain about, so it is empty here.
pub(crate) fn read_manifest(path: &Path) -> toml::Table {
    std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Cargo's search: the manifest itself, its `package.workspace`, or a parent's workspace
/// that does not exclude it.
pub(crate) fn workspace_root(manifest: &Path) -> Result<PathBuf, PlanError> {
    let dir = manifest.parent().unwrap_or(Path::new("/"));
    let table = read_manifest(manifest);
    if table.contains_key("workspace") {
        return Ok(dir.to_owned());
    }
    if let Some(named) = table
        .get("package")
        .and_then(|package| package.get("workspace"))
        .and_then(toml::Value::as_str)
    {
        let path = dir.join(named);
        return path.canonicalize().map_err(PlanError::io("open", &path));
    }
    for parent in dir.ancestors().skip(1) {
        let path = parent.join("Cargo.toml");
        if !path.is_file() {
            continue;
        }
        let table = read_manifest(&path);
        if let Some(workspace) = table.get("workspace") {
            let excluded = is_excluded(workspace, parent, dir);
            return Ok(if excluded {
                dir.to_owned()
            } else {
                parent.to_owned()
            });
        }
    }
    Ok(dir.to_owned())
}

fn is_excluded(workspace: &toml::Value, root: &Path, package: &Path) -> bool {
    let listed = |key: &str| {
        let paths = workspace
            .get(key)
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        paths
            .filter_map(toml::Value::as_str)
            .any(|path| package.starts_with(normalize(&root.join(path))))
    };
    listed("exclude") && !listed("members")
}

/// The directory that actions see: the git top level, or the common ancestor of the
/// workspace and its path packages; never a home directory and never `/`.
fn checkout_of(root: &Path, env: &BTreeMap<String, String>) -> Result<PathBuf, PlanError> {
    let homes: Vec<PathBuf> = env
        .get("HOME")
        .map(PathBuf::from)
        .into_iter()
        .flat_map(|home| [home.canonicalize().unwrap_or_else(|_| home.clone()), home])
        .collect();
    // A directory that holds a home directory is no checkout either.
    let refused =
        |dir: &Path| dir.parent().is_none() || homes.iter().any(|home| home.starts_with(dir));
    let top = root.ancestors().find(|dir| dir.join(".git").exists());
    if let Some(top) = top.filter(|top| !refused(top)) {
        return Ok(top.to_owned());
    }
    let mut common = root.to_owned();
    for package in path_packages(root) {
        while !package.starts_with(&common) {
            common.pop();
        }
    }
    if !refused(&common) {
        return Ok(common);
    }
    if refused(root) {
        return Err(PlanError::Unsupported {
            what: format!(
                "a workspace whose root `{}` holds a home directory",
                root.display()
            ),
            advice: "move the workspace into a directory of its own".to_owned(),
        });
    }
    Ok(root.to_owned())
}

/// Directories of path packages that a workspace's manifests name, all the way down.
fn path_packages(root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut queue = vec![root.to_owned()];
    while let Some(dir) = queue.pop() {
        if found.contains(&dir) {
            continue;
        }
        let table = read_manifest(&dir.join("Cargo.toml"));
        let mut paths = Vec::new();
        named_paths(&toml::Value::Table(table.clone()), &mut paths);
        if let Some(members) = table
            .get("workspace")
            .and_then(|table| table.get("members"))
        {
            for pattern in members
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(toml::Value::as_str)
            {
                queue.extend(globs::expand(&dir, pattern).matched);
            }
        }
        let named = paths.into_iter().map(|path| normalize(&dir.join(path)));
        queue.extend(named.filter(|path| path.join("Cargo.toml").is_file()));
        found.push(dir);
    }
    found
}

/// Every `path = "…"` of a dependency table, wherever it is.
fn named_paths(value: &toml::Value, paths: &mut Vec<String>) {
    let toml::Value::Table(table) = value else {
        return;
    };
    for (key, value) in table {
        let is_dependencies = key.ends_with("dependencies") || key == "patch" || key == "replace";
        if is_dependencies {
            collect_paths(value, paths);
        } else {
            named_paths(value, paths);
        }
    }
}

fn collect_paths(value: &toml::Value, paths: &mut Vec<String>) {
    let toml::Value::Table(table) = value else {
        return;
    };
    for (key, value) in table {
        match value {
            toml::Value::String(path) if key == "path" => paths.push(path.clone()),
            other => collect_paths(other, paths),
        }
    }
}

/// Resolves `.` and `..` by name, as cargo does for paths in manifests.
pub(crate) fn normalize(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests;
