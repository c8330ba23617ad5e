//! The part of a build's report that the tasks show; `docs/report.md` has all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

/// The newest report of a workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    pub(crate) success: bool,
    pub(crate) duration_ms: f64,
    pub(crate) totals: Totals,
    #[serde(default)]
    pub(crate) transfer: BTreeMap<String, serde_json::Value>,
}

/// Actions by outcome.
#[derive(Debug, Deserialize)]
pub(crate) struct Totals {
    pub(crate) actions: u64,
    pub(crate) hit: u64,
    pub(crate) built: u64,
    pub(crate) waited: u64,
}

/// Reads the newest report below `workspace`.
pub(crate) fn latest(workspace: &Path) -> Result<Report> {
    let path = workspace.join(".vx/runs/latest");
    let text = fs::read(&path).with_context(|| format!("no report at {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a report", path.display()))
}
