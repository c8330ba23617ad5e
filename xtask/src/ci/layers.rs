//! Which crate may use which, and where the wire format may appear.

use std::fs;
use std::path::{Component, Path};

use anyhow::{Result, bail};
use serde::Deserialize;

use crate::workspace;

/// Each package of the repository and those of its own it may depend on, in tests too.
const MAY_USE: [(&str, &[&str]); 12] = [
    ("vx-core", &[]),
    ("vx-schema", &[]),
    ("vx-plan", &["vx-core"]),
    ("vx-rpc", &["vx-core", "vx-schema"]),
    ("vx-cass", &["vx-core", "vx-schema", "vx-rpc"]),
    ("vx-rhea", &["vx-core", "vx-schema", "vx-rpc"]),
    ("vx-aether", &["vx-core", "vx-schema", "vx-rpc", "vx-plan"]),
    ("vx", &["vx-core", "vx-rpc"]),
    ("vx-corpus", &[]),
    ("vx-harness", &["vx-corpus"]),
    ("vx-store-bench", &["vx-core", "vx-rpc", "vx-harness"]),
    ("xtask", &["vx-corpus"]),
];

/// Words of the wire format.
const WIRE: [&str; 2] = ["capnp", "vx_schema"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    path: Option<String>,
}

/// Checks crates by `cargo metadata` and modules by their source.
pub(super) fn check() -> Result<()> {
    let text = workspace::read(workspace::cargo().args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--locked",
    ]))?;
    let mut broken = directions(&serde_json::from_str(&text)?);
    for file in super::files()? {
        if !may_name_the_wire(&file) && file.extension().is_some_and(|extension| extension == "rs")
        {
            let source = fs::read_to_string(workspace::root().join(&file))?;
            broken.extend(wire_lines(&source).map(|line| {
                format!(
                    "{}:{line}: the wire format belongs to schema, rpc and services' rpc modules",
                    file.display()
                )
            }));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    bail!("{}", broken.join("\n"))
}

fn directions(metadata: &Metadata) -> Vec<String> {
    let mut broken = Vec::new();
    for package in &metadata.packages {
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == package.name) else {
            broken.push(format!(
                "{}: say in xtask/src/ci/layers.rs what it may use",
                package.name
            ));
            continue;
        };
        let ours = package
            .dependencies
            .iter()
            .filter(|dependency| dependency.path.is_some());
        for dependency in ours.filter(|dependency| !allowed.contains(&dependency.name.as_str())) {
            broken.push(format!(
                "{} may not depend on {}",
                package.name, dependency.name
            ));
        }
    }
    broken
}

/// Whether a file belongs to schema, rpc, a service's `rpc` module, or makes the bindings.
fn may_name_the_wire(file: &Path) -> bool {
    let parts: Vec<&str> = file
        .components()
        .filter_map(|part| match part {
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect();
    matches!(
        parts.as_slice(),
        ["schema" | "xtask", ..]
            | ["services", "rpc", ..]
            | ["services", _, "src", "rpc.rs"]
            | ["services", _, "src", "rpc", ..]
    )
}

/// The numbers of the lines whose code, comments aside, names the wire format.
fn wire_lines(source: &str) -> impl Iterator<Item = usize> + '_ {
    source.lines().enumerate().filter_map(|(index, line)| {
        let code = line.split("//").next().unwrap_or_default();
        WIRE.iter()
            .any(|word| code.contains(word))
            .then_some(index + 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wire_stays_at_its_places() {
        assert!(may_name_the_wire(Path::new(
            "services/cass/src/rpc/serve.rs"
        )));
        assert!(may_name_the_wire(Path::new("services/cass/src/rpc.rs")));
        assert!(!may_name_the_wire(Path::new("services/cass/src/store.rs")));
        assert!(!may_name_the_wire(Path::new("client/src/main.rs")));
        let lines: Vec<_> = wire_lines("// capnp is fine here\nuse capnp::Error;\n").collect();
        assert_eq!(lines, [2]);
    }

    #[test]
    fn a_wrong_direction_is_named() {
        let metadata = Metadata {
            packages: vec![Package {
                name: "vx-core".to_owned(),
                dependencies: vec![Dependency {
                    name: "vx-rpc".to_owned(),
                    path: Some("services/rpc".to_owned()),
                }],
            }],
        };
        assert_eq!(directions(&metadata), ["vx-core may not depend on vx-rpc"]);
    }
}
