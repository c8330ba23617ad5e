//! Where a request's workspace and checkout are. Reads few manifests and starts nothing but,
//! the first time, the toolchain's own questions.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::config::Config;
use crate::error::PlanError;
use crate::globs;
use crate::host::Host;
use crate::inputs;
use crate::request::PlanRequest;
use crate::toolchain::{self, Toolchain};

/// A workspace on the host.
#[derive(Debug, Clone)]
pub struct Workspace {
    /// The manifest the request stands at.
    pub manifest: PathBuf,
    /// The workspace root's directory.
    pub root: PathBuf,
    /// What actions see as `/vx/the-checkout-at-its-fixed-place`.
    pub checkout: PathBuf,
    /// Cargo's home.
    pub cargo_home: PathBuf,
    /// The toolchain.
    pub toolchain: Toolchain,
    pub(crate) config: Config,
    pub(crate) cwd: PathBuf,
    /// Where rustup keeps toolchains.
    pub(crate) rustup_home: PathBuf,
    /// What looks at the host, and notes it.
    pub(crate) host: Host,
    /// Where cargo would build, once it said so.
    pub(crate) target: Arc<OnceLock<PathBuf>>,
    /// Where cargo may keep what rustc says of itself.
    pub(crate) rustc_info: Option<String>,
}

impl Workspace {
    /// Has cargo keep in a directory what rustc says of itself, and find it there again. What that
    /// depends on names the directory: the toolchain's content, the environment and the processor.
    ///
    /// Cargo itself keeps it in its target directory, which is not there where only vx builds, and
    /// so asks rustc half a dozen times for each plan.
    pub fn keep_rustc_info(&mut self, directory: String) {
        self.host.leave_out([directory.clone()]);
        self.rustc_info = Some(directory);
    }
}

/// Finds the workspace, checkout and toolchain of a request. All that decides it is looked at each
/// time.
pub fn locate(host: &Host, request: &PlanRequest) -> Result<Workspace, PlanError> {
    let cwd = host
        .canonicalize(&request.cwd)
        .map_err(PlanError::io("open", &request.cwd))?;
    let cargo_home = cargo_home(host, &cwd, &request.env);
    let config = Config::load(host, &cwd, &cargo_home, &request.env)?;
    let (manifest, root) = manifest_and_root(host, &cwd, request)?;
    let checkout = checkout_of(host, &root, &request.env, &config.named_directories())?;
    host.leave_out(inputs::left_out(&cargo_home, &checkout));
    let toolchain = toolchain::find(host, &cwd, &request.env, &config)?;
    Ok(Workspace {
        manifest,
        root,
        checkout,
        cargo_home,
        toolchain,
        config,
        cwd,
        rustup_home: toolchain::rustup_home(&request.env),
        host: host.clone(),
        target: Arc::default(),
        rustc_info: None,
    })
}

/// The root of a request's workspace, which needs no toolchain.
pub fn locate_root(host: &Host, request: &PlanRequest) -> Result<PathBuf, PlanError> {
    let cwd = host
        .canonicalize(&request.cwd)
        .map_err(PlanError::io("open", &request.cwd))?;
    Ok(manifest_and_root(host, &cwd, request)?.1)
}

fn manifest_and_root(
    host: &Host,
    cwd: &Path,
    request: &PlanRequest,
) -> Result<(PathBuf, PathBuf), PlanError> {
    let manifest = find_manifest(host, cwd, request.selection.manifest_path.as_deref())?;
    let root = workspace_root(host, &manifest)?;
    Ok((manifest, root))
}

fn cargo_home(host: &Host, cwd: &Path, env: &BTreeMap<String, String>) -> PathBuf {
    let home = match env.get("CARGO_HOME").filter(|home| !home.is_empty()) {
        Some(home) => cwd.join(home),
        None => Path::new(env.get("HOME").map_or("/", String::as_str)).join(".cargo"),
    };
    host.canonicalize(&home).unwrap_or(home)
}

fn find_manifest(host: &Host, cwd: &Path, given: Option<&Path>) -> Result<PathBuf, PlanError> {
    if let Some(given) = given {
        // As cargo has it, a link is where it is and not where it leads.
        let path = normalize(&cwd.join(given));
        return match host.is_file(&path) {
            true => Ok(path),
            false => Err(PlanError::ManifestPath { path }),
        };
    }
    cwd.ancestors()
        .map(|dir| dir.join("Cargo.toml"))
        .find(|path| host.is_file(path))
        .ok_or_else(|| PlanError::NoManifest {
            cwd: cwd.to_owned(),
        })
}

/// A manifest as plain TOML; a broken one is cargo's to complain about, so it is empty here.
pub(crate) fn read_manifest(host: &Host, path: &Path) -> toml::Table {
    host.read_to_string(path)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Cargo's search: the manifest itself, its `package.workspace`, or a parent's workspace
/// that does not exclude it.
pub(crate) fn workspace_root(host: &Host, manifest: &Path) -> Result<PathBuf, PlanError> {
    let dir = manifest.parent().unwrap_or(Path::new("/"));
    let table = read_manifest(host, manifest);
    if table.contains_key("workspace") {
        return Ok(dir.to_owned());
    }
    if let Some(named) = table
        .get("package")
        .and_then(|package| package.get("workspace"))
        .and_then(toml::Value::as_str)
    {
        let path = normalize(&dir.join(named));
        return match host.is_dir(&path) {
            true => Ok(path),
            false => Err(PlanError::io("open", path)(
                std::io::ErrorKind::NotFound.into(),
            )),
        };
    }
    for parent in dir.ancestors().skip(1) {
        let path = parent.join("Cargo.toml");
        if !host.is_file(&path) {
            continue;
        }
        let table = read_manifest(host, &path);
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
/// workspace and its path packages, those included that the configuration names; never a home
/// directory and never `/`.
fn checkout_of(
    host: &Host,
    root: &Path,
    env: &BTreeMap<String, String>,
    configured: &[PathBuf],
) -> Result<PathBuf, PlanError> {
    let homes: Vec<PathBuf> = env
        .get("HOME")
        .map(PathBuf::from)
        .into_iter()
        .flat_map(|home| {
            [
                host.canonicalize(&home).unwrap_or_else(|_| home.clone()),
                home,
            ]
        })
        .collect();
    // A directory that holds a home directory is no checkout either.
    let refused =
        |dir: &Path| dir.parent().is_none() || homes.iter().any(|home| home.starts_with(dir));
    let top = root.ancestors().find(|dir| host.exists(&dir.join(".git")));
    if let Some(top) = top.filter(|top| !refused(top)) {
        return Ok(top.to_owned());
    }
    let mut common = with_all(root.to_owned(), &path_packages(host, root));
    // A configuration is everybody's, so what it names need not be this workspace's: where that
    // would lead too far, it goes without.
    for directory in configured.iter().filter(|directory| host.is_dir(directory)) {
        let wider = with_all(common.clone(), &path_packages(host, directory));
        if !refused(&wider) {
            common = wider;
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

/// The nearest directory above that holds these too.
fn with_all(mut common: PathBuf, directories: &[PathBuf]) -> PathBuf {
    for directory in directories {
        while !directory.starts_with(&common) {
            common.pop();
        }
    }
    common
}

/// A workspace or a package, and the directories of path packages that its manifests name, all the
/// way down.
fn path_packages(host: &Host, root: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = Vec::new();
    let mut queue = vec![root.to_owned()];
    while let Some(dir) = queue.pop() {
        if found.contains(&dir) {
            continue;
        }
        let table = read_manifest(host, &dir.join("Cargo.toml"));
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
                queue.extend(globs::expand(host, &dir, pattern));
            }
        }
        let named = paths.into_iter().map(|path| normalize(&dir.join(path)));
        queue.extend(named.filter(|path| host.is_file(&path.join("Cargo.toml"))));
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
