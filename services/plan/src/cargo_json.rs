//! What cargo prints: its unit graph and metadata, as far as they are used.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The version of cargo's unit graph that is known.
pub(crate) const UNIT_GRAPH_VERSION: u64 = 1;

#[derive(Deserialize)]
pub(crate) struct UnitGraph {
    pub(crate) units: Vec<GraphUnit>,
    pub(crate) roots: Vec<usize>,
}

#[derive(Deserialize)]
pub(crate) struct GraphUnit {
    pub(crate) pkg_id: String,
    pub(crate) target: GraphTarget,
    pub(crate) profile: GraphProfile,
    pub(crate) platform: Option<String>,
    pub(crate) mode: String,
    pub(crate) features: Vec<String>,
    #[serde(default)]
    pub(crate) is_std: bool,
    pub(crate) dependencies: Vec<GraphDep>,
}

#[derive(Deserialize)]
pub(crate) struct GraphTarget {
    pub(crate) kind: Vec<String>,
    pub(crate) crate_types: Vec<String>,
    pub(crate) name: String,
    pub(crate) src_path: String,
    pub(crate) edition: String,
    #[serde(default)]
    pub(crate) test: bool,
    #[serde(default)]
    pub(crate) doctest: bool,
}

#[derive(Deserialize)]
pub(crate) struct GraphProfile {
    pub(crate) name: String,
    pub(crate) opt_level: String,
    pub(crate) lto: String,
    pub(crate) codegen_backend: Option<String>,
    pub(crate) codegen_units: Option<u32>,
    #[serde(default)]
    pub(crate) debuginfo: serde_json::Value,
    pub(crate) split_debuginfo: Option<String>,
    pub(crate) debug_assertions: bool,
    pub(crate) overflow_checks: bool,
    pub(crate) rpath: bool,
    pub(crate) incremental: bool,
    pub(crate) panic: String,
    #[serde(default)]
    pub(crate) strip: serde_json::Value,
    #[serde(default)]
    pub(crate) rustflags: Vec<String>,
    #[serde(default)]
    pub(crate) trim_paths: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct GraphDep {
    pub(crate) index: usize,
    pub(crate) extern_crate_name: String,
    #[serde(default)]
    pub(crate) public: bool,
    #[serde(default)]
    pub(crate) noprelude: bool,
}

#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<MetadataPackage>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) workspace_root: String,
    pub(crate) target_directory: String,
    #[serde(default)]
    pub(crate) metadata: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct MetadataPackage {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: String,
    pub(crate) targets: Vec<MetadataTarget>,
    pub(crate) features: BTreeMap<String, serde_json::Value>,
    pub(crate) links: Option<String>,
    pub(crate) authors: Vec<String>,
    pub(crate) description: Option<String>,
    pub(crate) homepage: Option<String>,
    pub(crate) repository: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<String>,
    pub(crate) readme: Option<String>,
    pub(crate) rust_version: Option<String>,
    #[serde(default)]
    pub(crate) default_run: Option<String>,
    #[serde(default)]
    pub(crate) metadata: Option<serde_json::Value>,
}

#[derive(Deserialize)]
pub(crate) struct MetadataTarget {
    pub(crate) kind: Vec<String>,
    pub(crate) crate_types: Vec<String>,
    pub(crate) name: String,
}
