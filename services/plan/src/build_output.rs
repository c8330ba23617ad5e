//! What a build script tells cargo.

use serde::{Deserialize, Serialize};

/// What a build script said on its standard output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOutput {
    /// `rustc-link-search`, as given (`native=/dir` or `/dir`).
    pub library_paths: Vec<String>,
    /// `rustc-link-lib`.
    pub library_links: Vec<String>,
    /// `rustc-link-arg*`: to what they apply, and the argument.
    pub linker_args: Vec<(LinkArgTarget, String)>,
    /// `rustc-cfg`.
    pub cfgs: Vec<String>,
    /// `rustc-check-cfg`.
    pub check_cfgs: Vec<String>,
    /// `rustc-env`.
    pub env: Vec<(String, String)>,
    /// `metadata`, for dependents' build scripts.
    pub metadata: Vec<(String, String)>,
    /// `rerun-if-changed`.
    pub rerun_if_changed: Vec<String>,
    /// `rerun-if-env-changed`.
    pub rerun_if_env_changed: Vec<String>,
    /// `warning`.
    pub warnings: Vec<String>,
    /// `error`; if there is one, the run failed.
    pub errors: Vec<String>,
}

/// Which targets of the package a linker argument is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LinkArgTarget {
    /// All.
    All,
    /// cdylibs, also those further up.
    Cdylib,
    /// Programs.
    Bin,
    /// The program of this name.
    SingleBin(String),
    /// Integration tests.
    Test,
    /// Benchmarks.
    Bench,
    /// Examples.
    Example,
}

impl BuildOutput {
    /// Whether it has compiles look for native libraries.
    pub fn names_libraries(&self) -> bool {
        !self.library_links.is_empty() || !self.library_paths.is_empty()
    }
}
