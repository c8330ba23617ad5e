//! The part of a build's report that the tasks show; `docs/report.md` has all of it.

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
    pub(crate) transfer: Transfer,
}

/// Actions by outcome.
#[derive(Debug, Deserialize)]
pub(crate) struct Totals {
    pub(crate) actions: u64,
    pub(crate) hit: u64,
    pub(crate) built: u64,
}

/// Bytes by the way they went.
#[derive(Debug, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) direct_bytes: u64,
    pub(crate) relayed_bytes: u64,
    pub(crate) placed_bytes: u64,
}

/// Reads the newest report below `workspace`.
pub(crate) fn latest(workspace: &Path) -> Result<Report> {
    let path = workspace.join(".vx/runs/latest");
    let text = fs::read(&path).with_context(|| format!("no report at {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not a report", path.display()))
}
