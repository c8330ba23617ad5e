//! Builds of a project in two ways, cargo's and the plan's, and what is needed to compare them.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

pub mod cargo;
pub mod compare;
pub mod execute;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vx_plan::{Host, Plan, PlanRequest, Selection, Workspace, locate, plan};

/// A project on disk, planned.
pub struct Planned {
    pub request: PlanRequest,
    pub workspace: Workspace,
    pub plan: Plan,
}

/// The environment tests run tools in: this process's, without what cargo set for tests.
pub fn environment() -> BTreeMap<String, String> {
    std::env::vars()
        .filter(|(name, _)| !name.starts_with("CARGO") || name == "CARGO_HOME")
        .filter(|(name, _)| {
            !matches!(
                name.as_str(),
                "RUSTC" | "RUSTFLAGS" | "RUSTC_WRAPPER" | "LD_LIBRARY_PATH"
            )
        })
        .collect()
}

pub fn request(cwd: &Path, selection: Selection) -> PlanRequest {
    PlanRequest {
        cwd: cwd.to_owned(),
        env: environment(),
        selection,
    }
}

/// The host, unwatched.
pub fn host() -> Host {
    Host::new(std::sync::Arc::new(vx_plan::host::Plain))
}

/// Plans what a request asks for; panics with the error's words.
pub fn planned(request: PlanRequest) -> Planned {
    let workspace = locate(&host(), &request).unwrap_or_else(|error| panic!("{error}"));
    let plan = plan(&request, &workspace).unwrap_or_else(|error| panic!("{error}"));
    Planned {
        request,
        workspace,
        plan,
    }
}

/// Writes a project given as text: a line `//- path` begins a file.
pub fn write_project(dir: &Path, text: &str) -> PathBuf {
    let dir = dir.canonicalize().unwrap();
    for part in text.split("//- ").skip(1) {
        let (name, content) = part.split_once('\n').unwrap();
        let path = dir.join(name.trim());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
    dir
}
