//! The real projects vx is built and measured against: which they are, and how to get them.
//!
//! Everything is fetched by cargo's own means, so mirrors, proxies and credentials work as
//! they are set; what comes is used only when it matches the committed checksum. This crate
//! knows nothing of vx itself, so that `cargo xtask` builds quickly.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The committed facts.
const FACTS: &str = include_str!("../../corpus.toml");

/// A project's packed sources are refused above this size, in bytes: the largest of the corpus
/// has 8 MiB.
const MAX_UNPACKED: u64 = 512 * 1024 * 1024;

/// One published project with a lock file inside.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Project {
    /// The package's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the packed file.
    pub sha256: String,
    /// Entries in cargo's unit graph for a plain build, where known.
    pub units: Option<usize>,
    /// The program it builds.
    pub bin: String,
    /// Why it is in the corpus.
    pub why: String,
}

/// Why a project could not be had.
#[derive(Debug, thiserror::Error)]
pub enum CorpusError {
    /// No project of that name.
    #[error("{name:?} is not in the corpus, which has {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
    /// Cargo could not fetch it.
    #[error("cargo could not fetch {package}: {reason}")]
    Fetch {
        /// Name and version.
        package: String,
        /// What cargo said.
        reason: String,
    },
    /// What cargo fetched is not what is expected.
    #[error("{path} has SHA-256 {found}, and not the expected {expected}; remove it and try again")]
    Checksum {
        /// The file.
        path: PathBuf,
        /// What it hashes to.
        found: String,
        /// What the corpus says.
        expected: String,
    },
    /// The packed file holds something it may not.
    #[error("{0} holds an entry that leads out of its directory, or too much")]
    Content(PathBuf),
    /// The file system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> CorpusError {
    let path = path.to_owned();
    move |source| CorpusError::Io { path, source }
}

/// All projects.
///
/// # Panics
/// When the committed file is not valid, which a test rules out.
#[must_use]
pub fn projects() -> Vec<Project> {
    #[derive(Deserialize)]
    struct File {
        project: Vec<Project>,
    }
    let file: File = toml::from_str(FACTS).expect("the committed corpus is valid");
    file.project
}

/// The project of this name.
///
/// # Errors
/// When there is none.
pub fn project(name: &str) -> Result<Project, CorpusError> {
    let all = projects();
    let known = all
        .iter()
        .map(|project| project.name.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    all.into_iter()
        .find(|project| project.name == name)
        .ok_or(CorpusError::Unknown {
            name: name.to_owned(),
            known,
        })
}

/// A cargo to fetch with.
#[derive(Clone, Debug)]
pub struct Fetcher {
    /// The program.
    pub cargo: PathBuf,
    /// Its `CARGO_HOME`.
    pub cargo_home: PathBuf,
}

impl Fetcher {
    /// The checked packed file of `project`, fetched when it is not there.
    ///
    /// # Errors
    /// When cargo can't fetch it, or it is not what the corpus says.
    pub fn packed(&self, project: &Project) -> Result<PathBuf, CorpusError> {
        if let Some(path) = self.cached(project) {
            check(&path, project)?;
            return Ok(path);
        }
        let package = format!("{}@{}", project.name, project.version);
        let fetch = |reason: String| CorpusError::Fetch {
            package: package.clone(),
            reason,
        };
        // `cargo info` downloads exactly one package; a scratch package with a dependency on it
        // would fetch all it depends on too, in versions its lock file does not name.
        let output = Command::new(&self.cargo)
            .args(["info", "--quiet", "--color", "never", &package])
            .current_dir("/")
            .env("CARGO_HOME", &self.cargo_home)
            .output()
            .map_err(|error| fetch(error.to_string()))?;
        if !output.status.success() {
            return Err(fetch(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ));
        }
        let path = self.cached(project).ok_or_else(|| {
            fetch(format!(
                "no packed file came to {}; a configured vendored source has none",
                self.cargo_home.display()
            ))
        })?;
        check(&path, project)?;
        Ok(path)
    }

    /// Unpacks `project` into `into`, which must not exist.
    ///
    /// # Errors
    /// As [`Fetcher::packed`], and when the file system refuses.
    pub fn unpack(&self, project: &Project, into: &Path) -> Result<(), CorpusError> {
        let packed = self.packed(project)?;
        fs::create_dir(into).map_err(io_error(into))?;
        let file = fs::File::open(&packed).map_err(io_error(&packed))?;
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(io::BufReader::new(file)));
        archive.set_preserve_mtime(false);
        let mut total = 0u64;
        for entry in archive.entries().map_err(io_error(&packed))? {
            let mut entry = entry.map_err(io_error(&packed))?;
            let inner = entry.path().map_err(io_error(&packed))?.into_owned();
            let plain = inner
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            total += entry.size();
            if !plain || total > MAX_UNPACKED || !entry.header().entry_type().is_file() {
                if entry.header().entry_type().is_dir() && plain {
                    continue;
                }
                return Err(CorpusError::Content(packed));
            }
            // The one top directory, `name-version`, is dropped.
            let path: PathBuf = inner.components().skip(1).collect();
            let target = into.join(path);
            if let Some(parent) = target.parent() {
                fs::create_dir_all(parent).map_err(io_error(parent))?;
            }
            entry.unpack(&target).map_err(io_error(&target))?;
        }
        Ok(())
    }

    /// Fetches what the lock file in `directory` names for this machine.
    ///
    /// # Errors
    /// When cargo can't.
    pub fn dependencies(&self, directory: &Path) -> Result<(), CorpusError> {
        let fetch = |reason: String| CorpusError::Fetch {
            package: format!("the dependencies of {}", directory.display()),
            reason,
        };
        let output = Command::new(&self.cargo)
            .args(["fetch", "--quiet", "--locked", "--color", "never"])
            .current_dir(directory)
            .env("CARGO_HOME", &self.cargo_home)
            .output()
            .map_err(|error| fetch(error.to_string()))?;
        if output.status.success() {
            Ok(())
        } else {
            Err(fetch(
                String::from_utf8_lossy(&output.stderr).trim().to_owned(),
            ))
        }
    }

    /// The packed file in cargo's cache: one directory a registry.
    fn cached(&self, project: &Project) -> Option<PathBuf> {
        let file = format!("{}-{}.crate", project.name, project.version);
        let registries = fs::read_dir(self.cargo_home.join("registry/cache")).ok()?;
        registries
            .filter_map(Result::ok)
            .map(|registry| registry.path().join(&file))
            .find(|path| path.is_file())
    }
}

fn check(path: &Path, project: &Project) -> Result<(), CorpusError> {
    let content = fs::read(path).map_err(io_error(path))?;
    let found = Sha256::digest(&content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    if found == project.sha256 {
        Ok(())
    } else {
        Err(CorpusError::Checksum {
            path: path.to_owned(),
            found,
            expected: project.sha256.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_facts_are_whole() {
        let projects = projects();
        for project in &projects {
            assert_eq!(project.sha256.len(), 64, "{}", project.name);
            assert!(!project.why.is_empty(), "{}", project.name);
        }
        assert_eq!(project("ripgrep").unwrap().bin, "rg");
        let error = project("nothing").unwrap_err().to_string();
        assert!(error.contains("ripgrep"), "{error}");
    }
}
