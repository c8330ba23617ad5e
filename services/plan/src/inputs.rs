//! What a plan depends on: manifests, the lock file, configuration, and the listings that
//! decide which targets and members exist.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::cargo_json::{Metadata, MetadataPackage};
use crate::error::PlanError;
use crate::globs::{self, names_of};
use crate::locate::{Workspace, read_manifest, workspace_root};
use crate::model::{InputKind, PlanInput, PlanPath};

/// Names that are looked for in every directory up the parents.
const UP_THE_PARENTS: &[&str] = &[
    ".cargo/config",
    ".cargo/config.toml",
    "rust-toolchain",
    "rust-toolchain.toml",
];

/// Directories whose names become targets, with those of their subdirectories that have a
/// `main.rs`.
const TARGET_DIRS: &[&str] = &["src/bin", "examples", "tests", "benches"];

/// Files whose presence cargo asks for.
const PROBED: &[&str] = &["build.rs", "README.md", "README.txt", "README"];

struct Inputs<'a> {
    workspace: &'a Workspace,
    found: BTreeSet<PlanInput>,
}

/// Everything a plan depends on.
pub(crate) fn inputs(
    workspace: &Workspace,
    metadata: &Metadata,
) -> Result<Vec<PlanInput>, PlanError> {
    let mut inputs = Inputs {
        workspace,
        found: BTreeSet::new(),
    };
    inputs.manifests_on_the_way()?;
    inputs.content_or_absent(&workspace.root.join("Cargo.lock"))?;
    inputs.configuration()?;
    inputs.members()?;
    for package in &metadata.packages {
        inputs.package(package)?;
    }
    Ok(inputs.found.into_iter().collect())
}

impl Inputs<'_> {
    fn add(&mut self, path: &Path, kind: InputKind) -> Result<(), PlanError> {
        let path = self.workspace.plan_path(path)?;
        self.found.insert(PlanInput { path, kind });
        Ok(())
    }

    fn content_or_absent(&mut self, path: &Path) -> Result<(), PlanError> {
        let kind = if path.exists() {
            InputKind::Content
        } else {
            InputKind::Absent
        };
        self.add(path, kind)
    }

    fn present_or_absent(&mut self, path: &Path) -> Result<(), PlanError> {
        let kind = if path.exists() {
            InputKind::Present
        } else {
            InputKind::Absent
        };
        self.add(path, kind)
    }

    fn chain(&mut self, name: &str) {
        let path = PlanPath::Parents(name.to_owned());
        self.found.insert(PlanInput {
            path,
            kind: InputKind::Chain,
        });
    }

    /// From the working directory up to the package's manifest, and from there to the
    /// workspace's: a manifest that appears in between would be the one. A workspace root is
    /// looked for all the way up, unless it is known by its own table.
    fn manifests_on_the_way(&mut self) -> Result<(), PlanError> {
        let workspace = self.workspace;
        let root_manifest = workspace.root.join("Cargo.toml");
        let ends_at_root = read_manifest(&root_manifest).contains_key("workspace");
        let mut ways = vec![workspace.manifest.parent().unwrap_or(Path::new("/"))];
        if workspace
            .manifest
            .parent()
            .is_some_and(|dir| workspace.cwd.starts_with(dir))
        {
            ways.push(&workspace.cwd);
        }
        for start in ways {
            for dir in start
                .ancestors()
                .take_while(|dir| dir.starts_with(&workspace.checkout))
            {
                self.content_or_absent(&dir.join("Cargo.toml"))?;
                if ends_at_root && dir == workspace.root {
                    break;
                }
            }
        }
        if !ends_at_root {
            self.chain("Cargo.toml");
        }
        self.add(&root_manifest, InputKind::Content)
    }

    fn configuration(&mut self) -> Result<(), PlanError> {
        let workspace = self.workspace;
        for dir in workspace.cwd.ancestors() {
            let in_checkout = dir.starts_with(&workspace.checkout);
            if !in_checkout && workspace.cwd.starts_with(&workspace.checkout) {
                break;
            }
            for name in UP_THE_PARENTS {
                self.content_or_absent(&dir.join(name))?;
            }
        }
        UP_THE_PARENTS.iter().for_each(|name| self.chain(name));
        // Cargo's home and included files, wherever they are. A file up the parents is named
        // twice, by its place too: relative paths in it are meant from there.
        let absent = workspace.config.absent.iter();
        let absent = absent.filter(|path| !self.is_chained(path));
        let files: Vec<&PathBuf> = workspace.config.files.iter().chain(absent).collect();
        files
            .into_iter()
            .try_for_each(|path| self.content_or_absent(path))
    }

    /// Whether a file up the parents is part of a chain already.
    fn is_chained(&self, path: &Path) -> bool {
        let chains = UP_THE_PARENTS
            .iter()
            .map(|name| PlanPath::Parents((*name).to_owned()));
        chains
            .flat_map(|chain| self.workspace.host_paths(&chain))
            .any(|other| other == path)
    }

    /// Listings that globs of members look into, and which of the names are packages.
    fn members(&mut self) -> Result<(), PlanError> {
        let root = &self.workspace.root;
        let table = read_manifest(&root.join("Cargo.toml"));
        let members = table
            .get("workspace")
            .and_then(|workspace| workspace.get("members"));
        let patterns = members
            .and_then(toml::Value::as_array)
            .into_iter()
            .flatten();
        for pattern in patterns.filter_map(toml::Value::as_str) {
            let expansion = globs::expand(root, pattern);
            for dir in &expansion.listed {
                self.listing(dir)?;
            }
            for dir in expansion.matched.iter().filter(|dir| dir.is_dir()) {
                self.content_or_absent(&dir.join("Cargo.toml"))?;
            }
        }
        Ok(())
    }

    fn listing(&mut self, dir: &Path) -> Result<(), PlanError> {
        let kind = if dir.is_dir() {
            InputKind::Listing
        } else {
            InputKind::Absent
        };
        self.add(dir, kind)
    }

    fn package(&mut self, package: &MetadataPackage) -> Result<(), PlanError> {
        let manifest = Path::new(&package.manifest_path);
        let dir = manifest.parent().unwrap_or(Path::new("/"));
        if package.source.is_some() {
            // What a checksum or a commit names can't change; a directory source can.
            if dir.starts_with(&self.workspace.cargo_home) {
                return Ok(());
            }
            return self.add(manifest, InputKind::Content);
        }
        self.add(manifest, InputKind::Content)?;
        for name in PROBED {
            self.present_or_absent(&dir.join(name))?;
        }
        // What is inherited comes from the root of its own workspace.
        let root = workspace_root(manifest)?;
        if root != self.workspace.root && root != dir {
            self.add(&root.join("Cargo.toml"), InputKind::Content)?;
        }
        // Cargo refuses a target whose file is not there.
        for target in &package.targets {
            self.present_or_absent(Path::new(&target.src_path))?;
        }
        // Of `src` itself only two names matter.
        for name in ["src/lib.rs", "src/main.rs"] {
            self.present_or_absent(&dir.join(name))?;
        }
        for name in TARGET_DIRS {
            let target_dir = dir.join(name);
            self.listing(&target_dir)?;
            for entry in names_of(&target_dir) {
                let path = target_dir.join(entry);
                if path.is_dir() {
                    self.present_or_absent(&path.join("main.rs"))?;
                }
            }
        }
        Ok(())
    }
}
