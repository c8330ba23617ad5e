//! The report of a build, as far as `vx explain` reads it.
//!
//! The file is the orchestrator's; its schema is documented there and only grows within a
//! version. Unknown fields are passed over, so an older vx reads what it knows.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use vx_core::orchestrator::{ActionOutcome, Totals};
use vx_core::readset::Read;

use crate::error::{CommandError, CommandResult};

/// The newest report schema this vx reads.
const SCHEMA: u64 = 1;

/// The largest report that is read: far over what ten thousand actions take, and an end to
/// reading what is no report.
const MAX_REPORT: u64 = 256 * 1024 * 1024;

/// One build.
#[derive(Debug, Deserialize)]
pub(crate) struct Report {
    /// The schema's version.
    pub(crate) schema: u64,
    /// Which run.
    pub(crate) run_id: String,
    /// Whether everything was built.
    pub(crate) success: bool,
    /// How long it took.
    #[serde(default)]
    pub(crate) duration_ms: f64,
    /// Actions by outcome.
    #[serde(default)]
    pub(crate) totals: Totals,
    /// Each action.
    #[serde(default)]
    pub(crate) actions: Vec<Action>,
    /// Bytes by the way they went.
    #[serde(default)]
    pub(crate) transfer: Value,
    /// What went wrong.
    #[serde(default)]
    pub(crate) errors: Vec<String>,
    /// How the plan was come by: `memo` or `cargo`.
    #[serde(default)]
    pub(crate) plan: Option<String>,
}

/// One action.
#[derive(Debug, Deserialize)]
pub(crate) struct Action {
    /// Names it within its plan.
    #[serde(default)]
    pub(crate) id: String,
    /// Its package, such as `ripgrep 15.1.0`.
    pub(crate) package: String,
    /// What of it.
    #[serde(default)]
    pub(crate) unit: Option<String>,
    /// What it does, such as `compile`.
    pub(crate) kind: String,
    /// What became of it, where that is known.
    #[serde(default)]
    pub(crate) outcome: Option<ActionOutcome>,
    /// Why it was not a hit.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// The run that it waited for.
    #[serde(default)]
    pub(crate) waited_for: Option<String>,
    /// What its key was made of, where it ran.
    #[serde(default)]
    pub(crate) parts: Option<Parts>,
    /// How long it ran.
    #[serde(default)]
    pub(crate) duration_ms: f64,
}

/// What a key was made of. Only whether things are the same matters here, so digests and
/// observations stay as they are written.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Parts {
    /// Command line, toolchain, sources of packages.
    pub(crate) static_digest: Value,
    /// Outputs of dependencies.
    pub(crate) dependencies: Vec<DependencyPart>,
    /// What was read and what was found.
    pub(crate) reads: Vec<(Read, Value)>,
    /// Variables.
    pub(crate) env: Vec<(String, Value)>,
    /// The checkout's path, where it matters.
    pub(crate) checkout: Option<String>,
}

/// One output of a dependency.
#[derive(Debug, Deserialize)]
pub(crate) struct DependencyPart {
    /// What it is.
    pub(crate) name: String,
    /// Its digest.
    pub(crate) digest: Value,
}

/// Where the reports of a workspace are.
fn runs(workspace: &Path) -> PathBuf {
    workspace.join(".vx/runs")
}

/// The reports that are older than a run, newest first: names sort by time.
pub(crate) fn older(workspace: &Path, run: &str) -> impl Iterator<Item = Report> + use<> {
    let directory = runs(workspace);
    let own = format!("{run}.json");
    let mut names: Vec<String> = std::fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".json") && *name < own)
        .collect();
    names.sort_unstable_by(|a, b| b.cmp(a));
    names.into_iter().filter_map(move |name| {
        let path = directory.join(name);
        // One that went in the meantime, or that another vx wrote, has nothing to tell.
        parse(&read(&path).ok()?, &path).ok()
    })
}

/// Where the report of a run is: the newest for none.
pub(crate) fn path(workspace: &Path, run: Option<&str>) -> CommandResult<PathBuf> {
    let runs = runs(workspace);
    let Some(run) = run else {
        return Ok(runs.join("latest"));
    };
    let plain = !run.is_empty()
        && run
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if !plain {
        return Err(
            CommandError::failure(format!("`{run}` is not the name of a run"))
                .help(format!("see the file names in {}", runs.display())),
        );
    }
    Ok(runs.join(format!("{run}.json")))
}

/// A report's text.
pub(crate) fn read(path: &Path) -> CommandResult<String> {
    let fault = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            CommandError::failure("there is no such report")
                .because(format!("{} is not there", path.display()))
                .help("each `vx build` writes one; see the directory for those that are kept")
        } else {
            CommandError::failure(format!("the report {} can't be read", path.display()))
                .because(error)
        }
    };
    let metadata = std::fs::metadata(path).map_err(fault)?;
    if !metadata.is_file() || metadata.len() > MAX_REPORT {
        return Err(CommandError::failure(format!(
            "{} is not a report",
            path.display()
        )));
    }
    std::fs::read_to_string(path).map_err(fault)
}

/// The report in `text`.
pub(crate) fn parse(text: &str, path: &Path) -> CommandResult<Report> {
    let unreadable =
        || CommandError::failure(format!("{} is not a report vx can read", path.display()));
    let report: Report = serde_json::from_str(text).map_err(|error| unreadable().because(error))?;
    if report.schema > SCHEMA {
        return Err(unreadable()
            .because(format!(
                "its schema is {}, and this vx reads up to {SCHEMA}",
                report.schema
            ))
            .help("use the vx that wrote it, or `vx explain --json`"));
    }
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_a_name_and_not_a_path() {
        let workspace = Path::new("/w");
        assert_eq!(
            path(workspace, None).unwrap(),
            Path::new("/w/.vx/runs/latest")
        );
        assert_eq!(
            path(workspace, Some("20250101-1")).unwrap(),
            Path::new("/w/.vx/runs/20250101-1.json")
        );
        for bad in ["", "../x", "a/b", "a.json"] {
            assert!(path(workspace, Some(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_newer_schema_is_refused_and_named() {
        let text = r#"{"schema": 99, "run_id": "r", "success": true}"#;
        let error = parse(text, Path::new("/r")).unwrap_err();
        assert!(error.causes[0].contains("99"), "{error:?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let error = read(Path::new("/nonexistent/latest")).unwrap_err();
        assert!(error.help.is_some());
        assert!(parse("{", Path::new("/r")).is_err());
    }
}
