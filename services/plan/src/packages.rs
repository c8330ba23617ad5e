//! Packages: where their files come from, and what of their manifests reaches command lines.

use std::collections::HashMap;
use std::path::Path;

use vx_core::places;

use crate::cargo_json::{Metadata, MetadataPackage, MetadataTarget};
use crate::declared::declared;
use crate::error::PlanError;
use crate::host::Host;
use crate::identity::digest;
use crate::lints::lint_flags;
use crate::locate::Workspace;
use crate::model::{Package, PackageRoot, PackageTarget, TargetKind};
use crate::paths::{join, text};

/// The checksums of a lock file, by name, version and source.
pub(crate) struct Checksums(HashMap<(String, String, String), String>);

impl Checksums {
    pub(crate) fn read(host: &Host, root: &Path) -> Result<Self, PlanError> {
        let path = root.join("Cargo.lock");
        let text = match host.read_to_string(&path) {
            Ok(text) => text,
            // Cargo has been asked already: without dependencies it needs none.
            Err(_) => return Ok(Self(HashMap::new())),
        };
        let lock: toml::Table = text
            .parse()
            .map_err(|e: toml::de::Error| PlanError::Manifest {
                path: path.clone(),
                detail: e.to_string(),
            })?;
        let packages = lock
            .get("package")
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        let mut checksums = HashMap::new();
        for package in packages {
            let field = |key: &str| {
                package
                    .get(key)
                    .and_then(toml::Value::as_str)
                    .map(str::to_owned)
            };
            if let (Some(name), Some(version), Some(source), Some(checksum)) = (
                field("name"),
                field("version"),
                field("source"),
                field("checksum"),
            ) {
                checksums.insert((name, version, source), checksum);
            }
        }
        Ok(Self(checksums))
    }

    fn of(&self, package: &MetadataPackage, source: &str) -> Option<&String> {
        self.0.get(&(
            package.name.clone(),
            package.version.clone(),
            source.to_owned(),
        ))
    }
}

/// Makes a package of the plan of one of cargo's metadata.
pub(crate) fn package(
    workspace: &Workspace,
    metadata: &Metadata,
    checksums: &Checksums,
    found: &MetadataPackage,
    is_primary: bool,
) -> Result<Package, PlanError> {
    let manifest = Path::new(&found.manifest_path);
    let dir = manifest.parent().unwrap_or(Path::new("/"));
    let root = match &found.source {
        None => in_checkout(workspace, found, dir)?,
        Some(source) => outside(workspace, checksums, found, source, dir)?,
    };
    let (place, id) = match &root {
        PackageRoot::Checkout { dir } => (
            join(places::CHECKOUT, dir),
            format!("path+checkout:///{dir}#{}@{}", found.name, found.version),
        ),
        PackageRoot::Archive { place, .. } => (place.clone(), found.id.clone()),
        PackageRoot::Tree { place, subdir, .. } => (join(place, subdir), found.id.clone()),
    };
    Ok(Package {
        name: found.name.clone(),
        version: found.version.clone(),
        id,
        root,
        dir: place,
        is_local: found.source.is_none(),
        is_member: metadata.workspace_members.contains(&found.id),
        is_primary,
        links: found.links.clone(),
        features: found.features.keys().cloned().collect(),
        targets: found.targets.iter().map(package_target).collect(),
        rust_version: found.rust_version.clone(),
        default_run: found.default_run.clone(),
        lint_flags: lint_flags(&workspace.host, manifest)?,
        metadata_env: metadata_env(found),
        declared: declared(&workspace.checkout, metadata, found)?,
        found_at: workspace.plan_path(dir)?,
    })
}

fn in_checkout(
    workspace: &Workspace,
    found: &MetadataPackage,
    dir: &Path,
) -> Result<PackageRoot, PlanError> {
    let relative =
        dir.strip_prefix(&workspace.checkout)
            .map_err(|_| PlanError::OutsideCheckout {
                package: found.name.clone(),
                path: dir.to_owned(),
                checkout: workspace.checkout.clone(),
            })?;
    Ok(PackageRoot::Checkout {
        dir: text(relative)?.to_owned(),
    })
}

fn outside(
    workspace: &Workspace,
    checksums: &Checksums,
    found: &MetadataPackage,
    source: &str,
    dir: &Path,
) -> Result<PackageRoot, PlanError> {
    let full_name = format!("{}-{}", found.name, found.version);
    let below = |name: &str| format!("{}/{}/{name}", places::PACKAGES, digest(&source));
    if dir.starts_with(workspace.cargo_home.join("registry/src"))
        && let Some(checksum) = checksums.of(found, source)
    {
        return Ok(PackageRoot::Archive {
            checksum: checksum.clone(),
            file_name: format!("{full_name}.crate"),
            source: source.to_owned(),
            place: below(&full_name),
        });
    }
    // `git/checkouts/<repository>/<revision>/…`: the repository is the tree, because packages
    // in it can read one another's files.
    let checkouts = workspace.cargo_home.join("git/checkouts");
    let subdir = match dir.strip_prefix(&checkouts) {
        Ok(relative) => text(relative)?
            .split('/')
            .skip(2)
            .collect::<Vec<_>>()
            .join("/"),
        Err(_) => String::new(),
    };
    let name = if source.starts_with("git+") && dir.starts_with(&checkouts) {
        repository_name(source)
    } else {
        full_name
    };
    Ok(PackageRoot::Tree {
        source: source.to_owned(),
        place: below(&name),
        subdir,
    })
}

/// The last part of a repository's address.
fn repository_name(source: &str) -> String {
    let address = source.split(['?', '#']).next().unwrap_or_default();
    let last = address
        .trim_end_matches('/')
        .rsplit('/')
        .next()
        .unwrap_or_default();
    let name = last.trim_end_matches(".git");
    if name.is_empty() {
        "repository".to_owned()
    } else {
        name.to_owned()
    }
}

fn package_target(target: &MetadataTarget) -> PackageTarget {
    PackageTarget {
        name: target.name.clone(),
        kind: target_kind(&target.kind, &target.crate_types),
    }
}

/// Cargo prints kinds as lists: a library's is its crate types.
pub(crate) fn target_kind(kind: &[String], crate_types: &[String]) -> TargetKind {
    let types: Vec<String> = crate_types.to_vec();
    match kind.first().map(String::as_str) {
        Some("bin") => TargetKind::Bin,
        Some("test") => TargetKind::Test,
        Some("bench") => TargetKind::Bench,
        Some("custom-build") => TargetKind::BuildScript,
        Some("example") if types == ["bin"] => TargetKind::ExampleBin,
        Some("example") => TargetKind::ExampleLib(types),
        _ => TargetKind::Lib(kind.to_vec()),
    }
}

fn metadata_env(found: &MetadataPackage) -> Vec<(String, String)> {
    let or_empty = |value: &Option<String>| value.clone().unwrap_or_default();
    [
        ("CARGO_PKG_DESCRIPTION", or_empty(&found.description)),
        ("CARGO_PKG_HOMEPAGE", or_empty(&found.homepage)),
        ("CARGO_PKG_REPOSITORY", or_empty(&found.repository)),
        ("CARGO_PKG_LICENSE", or_empty(&found.license)),
        ("CARGO_PKG_LICENSE_FILE", or_empty(&found.license_file)),
        ("CARGO_PKG_AUTHORS", found.authors.join(":")),
        ("CARGO_PKG_RUST_VERSION", or_empty(&found.rust_version)),
        ("CARGO_PKG_README", or_empty(&found.readme)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_repositories() {
        assert_eq!(
            repository_name("git+https://example.org/a/b.git?rev=1#abc"),
            "b"
        );
        assert_eq!(repository_name("git+https://example.org/a/b/#abc"), "b");
    }
}
