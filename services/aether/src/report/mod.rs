//! What a build tells: events to whoever asked for it, and its report.
//!
//! In: what became of each action. Out: events, `.vx/runs/<id>.json`. Decides nothing; nothing here is read by
//! a build.

pub(crate) mod diagnostics;
pub(crate) mod key_inputs;
pub(crate) mod offline;
pub(crate) mod recorder;
pub(crate) mod secrets;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::value::RawValue;
use vx_core::orchestrator::{ActionOutcome, Totals};

use crate::build::layout;
use crate::inputs::cause::Cause;
use crate::key::KeyParts;
use crate::session::Transfer;

/// The version of the report's layout.
pub(crate) const SCHEMA: u32 = 1;

/// How many reports a project keeps; the oldest go.
const KEPT: usize = 50;

/// What came of running one action again.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    /// What differs; empty where everything is the same.
    pub(crate) differences: Vec<Difference>,
    /// How long its program ran this time, in milliseconds, without being watched.
    pub(crate) duration_ms: u64,
    /// Why it could not be run again, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fault: Option<String>,
}

/// One output that differs.
#[derive(Debug, Serialize)]
pub(crate) struct Difference {
    /// Its name; a file in a directory as `out_dir/path`.
    pub(crate) output: String,
    /// Why.
    pub(crate) causes: BTreeSet<Cause>,
}

/// A whole report.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// [`SCHEMA`].
    pub(crate) schema: u32,
    /// Names the run.
    pub(crate) run_id: &'a str,
    /// The build of vx that wrote it.
    pub(crate) vx: &'a str,
    /// Seconds since the epoch at the build's start.
    pub(crate) started: u64,
    /// Whether everything was built.
    pub(crate) success: bool,
    /// What went wrong, one line each.
    pub(crate) errors: &'a [String],
    /// From the request's arrival to its end.
    pub(crate) duration_ms: u64,
    /// How the plan was come by: `memo` or `cargo`.
    pub(crate) plan: &'a str,
    /// How long that took.
    pub(crate) plan_ms: u64,
    /// Actions by outcome.
    pub(crate) totals: Totals,
    /// One entry an action, in the plan's order.
    pub(crate) actions: &'a [ActionReport],
    /// Bytes by the way they went.
    pub(crate) transfer: TransferReport,
    /// Final outputs, as paths relative to the workspace.
    pub(crate) outputs: &'a [String],
    /// Why actions were not isolated; null where they were.
    pub(crate) isolation: Option<&'a str>,
}

/// One action.
#[derive(Debug, Serialize)]
pub(crate) struct ActionReport {
    /// Names the action within its plan.
    pub(crate) id: String,
    /// The package: `name version`.
    pub(crate) package: String,
    /// The unit within its package: `lib`, `bin "rg"`, `build script`, `build script run`.
    pub(crate) unit: String,
    /// `compile` or `run-build-script`.
    pub(crate) kind: &'static str,
    /// What became of it; absent while it is not known.
    pub(crate) outcome: Option<ActionOutcome>,
    /// Its key, when it has one.
    pub(crate) key: Option<String>,
    /// Why it was not a hit: `new`, `changed`, `lost`, `path`, or words.
    pub(crate) reason: Option<String>,
    /// The run it waited for.
    pub(crate) waited_for: Option<String>,
    /// How long its program ran, whenever that was.
    pub(crate) duration_ms: u64,
    /// What its key was made of, for actions that ran.
    pub(crate) parts: Option<KeyParts>,
    /// What its key was made of beyond digests, for people; see [`key_inputs`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) inputs: Option<Box<RawValue>>,
    /// Why its program was run again before its result stood, once for each time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) again: Vec<String>,
    /// Why its result serves this build alone, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unpublished: Option<String>,
    /// Fixed places that its outputs hold, where nothing is outside of actions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fixed_places: Vec<String>,
    /// Variables of the caller's that it was not given and that it named when it failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) unseen: Vec<String>,
    /// The network address that an action tried to reach which failed and has no network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reached_for: Option<String>,
    /// What it left behind, and digests of it, for actions that ran.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) outputs: BTreeMap<String, String>,
    /// Why runs of this action were found to differ by themselves, now or earlier.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) unstable: BTreeSet<Cause>,
    /// What running it again left differently, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) verified: Option<Verified>,
}

/// Bytes by the way they went.
#[derive(Debug, Serialize)]
pub(crate) struct TransferReport {
    /// Between executor and store, on connections of their own.
    pub(crate) direct_bytes: u64,
    /// Between executor and store, through the orchestrator.
    pub(crate) relayed_bytes: u64,
    /// Put in place by the store.
    pub(crate) placed_bytes: u64,
    /// On the orchestrator's own connections, fetched final outputs left out.
    pub(crate) orchestrator_bytes: u64,
    /// Final outputs the orchestrator fetched.
    pub(crate) fetched_bytes: u64,
}

impl From<Transfer> for TransferReport {
    fn from(transfer: Transfer) -> Self {
        Self {
            direct_bytes: transfer.direct,
            relayed_bytes: transfer.relayed,
            placed_bytes: transfer.placed,
            orchestrator_bytes: transfer.orchestrator.saturating_sub(transfer.fetched),
            fetched_bytes: transfer.fetched,
        }
    }
}

/// Seconds since the epoch.
pub(crate) fn now_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// A name for a run: sortable by time, unlike any other.
pub(crate) fn new_run_id() -> String {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut random = [0; 4];
    // Without randomness the time alone tells runs apart well enough.
    let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
    format!(
        "{:010}{:03}-{:08x}",
        since.as_secs(),
        since.subsec_millis(),
        u32::from_le_bytes(random)
    )
}

/// Writes a report and points `latest` at it; returns its path.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn write(workspace: &Path, report: &Report<'_>) -> io::Result<PathBuf> {
    let runs = layout::project_directory(workspace)?.join("runs");
    let name = format!("{}.json", report.run_id);
    let path = runs.join(&name);
    let bytes = serde_json::to_vec_pretty(report).map_err(io::Error::other)?;
    crate::host::files::write_whole(&path, &bytes)?;
    let latest = runs.join("latest");
    let temporary = crate::host::files::temporary_beside(&latest)?;
    std::os::unix::fs::symlink(&name, &temporary)?;
    fs::rename(&temporary, &latest)?;
    forget_oldest(&runs)?;
    Ok(path)
}

fn forget_oldest(runs: &Path) -> io::Result<()> {
    let mut names: Vec<_> = fs::read_dir(runs)?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let surplus = names.len().saturating_sub(KEPT);
    for name in &names[..surplus] {
        match fs::remove_file(runs.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_one(workspace: &Path, run_id: &str) {
        let report = Report {
            schema: SCHEMA,
            run_id,
            vx: "test",
            started: 0,
            success: true,
            errors: &[],
            duration_ms: 1,
            plan: "memo",
            plan_ms: 0,
            totals: Totals::default(),
            actions: &[],
            transfer: Transfer::default().into(),
            outputs: &[],
            isolation: None,
        };
        write(workspace, &report).unwrap();
    }

    #[test]
    fn the_newest_is_latest_and_the_oldest_go() {
        let directory = tempfile::tempdir().unwrap();
        for run in 0..KEPT + 3 {
            write_one(directory.path(), &format!("{run:04}"));
        }
        let runs = directory.path().join(".vx/runs");
        let latest = fs::read_link(runs.join("latest")).unwrap();
        assert_eq!(latest, Path::new(&format!("{:04}.json", KEPT + 2)));
        assert!(!runs.join("0000.json").exists());
        assert_eq!(
            fs::read(directory.path().join(".vx/.gitignore")).unwrap(),
            b"*\n"
        );
    }
}
