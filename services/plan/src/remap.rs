//! `--remap-path-prefix`: outputs name sources as cargo's would, and no fixed place.

use vx_core::places;

use crate::model::{Package, PackageRoot, Plan};
use crate::paths::join;

/// What stands for the target directory in outputs; the name is that of cargo's own unstable
/// `trim-paths`.
const BUILD_DIR: &str = "/cargo/build-dir";

/// The flags for a package's compiles. rustc goes by the last that matches.
pub(crate) fn remaps(plan: &Plan, package: &Package) -> Vec<String> {
    let mut pairs = vec![(places::TARGET.to_owned(), BUILD_DIR.to_owned())];
    if let Some(hash) = commit_hash(&plan.rustc_version) {
        // With the standard library's sources installed, rustc names them where they are.
        pairs.push((
            format!("{}/lib/rustlib/src/rust", places::TOOLCHAIN),
            format!("/rustc/{hash}"),
        ));
    }
    match &package.root {
        PackageRoot::Checkout { .. } => {
            let depth = plan
                .workspace_dir
                .split('/')
                .filter(|part| !part.is_empty())
                .count();
            if depth > 0 {
                pairs.push((places::CHECKOUT.to_owned(), vec![".."; depth].join("/")));
            }
            pairs.push((join(places::CHECKOUT, &plan.workspace_dir), ".".to_owned()));
        }
        PackageRoot::Archive { place, .. } => {
            pairs.push((place.clone(), format!("/cargo/registry/{}", last(place))))
        }
        PackageRoot::Tree { place, source, .. } => {
            let kind = if source.starts_with("git+") {
                "git"
            } else {
                "registry"
            };
            pairs.push((place.clone(), format!("/cargo/{kind}/{}", last(place))));
        }
    }
    pairs
        .into_iter()
        .map(|(from, to)| format!("--remap-path-prefix={from}={to}"))
        .collect()
}

/// The flag for an `OUT_DIR` by itself.
pub(crate) fn of_out_dir(place: &str) -> String {
    let below = places::below(place, places::TARGET).unwrap_or_default();
    format!("--remap-path-prefix={place}={}", join(BUILD_DIR, below))
}

fn last(place: &str) -> &str {
    place.rsplit('/').next().unwrap_or(place)
}

fn commit_hash(version: &str) -> Option<&str> {
    let hash = version
        .lines()
        .find_map(|line| line.strip_prefix("commit-hash: "))?;
    (hash != "unknown").then_some(hash)
}
