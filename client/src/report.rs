//! The report of a build, as far as `vx explain` reads it.
//!
//! The file is the orchestrator's; its schema is documented there and only grows within a
//! version. Unknown fields are passed over, so an older vx reads what it knows.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
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

impl Report {
    /// The action of this id.
    pub(crate) fn action(&self, id: &str) -> Option<&Action> {
        self.actions.iter().find(|action| action.id == id)
    }
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
    /// What its result is stored under.
    #[serde(default)]
    pub(crate) key: Option<String>,
    /// Why it was not a hit.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// The run that it waited for.
    #[serde(default)]
    pub(crate) waited_for: Option<String>,
    /// What its key was made of, where it ran.
    #[serde(default)]
    pub(crate) parts: Option<Parts>,
    /// What stands behind the digests in there.
    #[serde(default)]
    pub(crate) inputs: Option<Inputs>,
    /// Why its program was run again before its result stood.
    #[serde(default)]
    pub(crate) again: Vec<String>,
    /// Why its result serves that build alone.
    #[serde(default)]
    pub(crate) unpublished: Option<String>,
    /// How long it ran.
    #[serde(default)]
    pub(crate) duration_ms: f64,
}

impl Action {
    /// The package's name alone.
    pub(crate) fn package_name(&self) -> &str {
        self.package.split(' ').next().unwrap_or_default()
    }

    /// The package and what of it, for people.
    pub(crate) fn label(&self) -> String {
        let of = self.unit.as_ref().unwrap_or(&self.kind);
        format!("{} ({of})", self.package)
    }

    /// Whether it ran in that build.
    pub(crate) fn built(&self) -> bool {
        self.outcome == Some(ActionOutcome::Built)
    }
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
    /// Packages and `OUT_DIR`s, where it matters where they really are.
    pub(crate) places: Vec<Place>,
}

/// Where something really is, as it enters a key.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Place {
    /// With what is in there, of an `OUT_DIR`.
    With(String, Value),
    /// As reports said it before they told what is in there.
    Alone(String),
}

impl Place {
    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::With(path, _) | Self::Alone(path) => path,
        }
    }
}

/// What stands behind the digests of a key.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Inputs {
    /// Of vx's keys and plans.
    pub(crate) versions: Vec<u32>,
    /// The package without a place.
    pub(crate) package_id: String,
    /// The profile's name.
    pub(crate) profile: String,
    /// The triple it is for; none is the host.
    pub(crate) target: Option<String>,
    /// The compiler's version.
    pub(crate) rustc: String,
    /// The toolchain's content.
    pub(crate) toolchain: String,
    /// The program and its arguments.
    pub(crate) argv: Vec<Shown>,
    /// Where it runs.
    pub(crate) cwd: String,
    /// What cargo sets.
    pub(crate) env: BTreeMap<String, Shown>,
    /// The caller's variables that build scripts see.
    pub(crate) allowed_env: BTreeMap<String, Shown>,
    /// Variables that were named and are set.
    pub(crate) named_env: BTreeMap<String, Shown>,
    /// Packages by their places.
    pub(crate) packages: BTreeMap<String, String>,
    /// What `metadata.vx` declares.
    pub(crate) declared: Declared,
    /// Where its inputs lay, if it was not isolated.
    pub(crate) base: Option<String>,
    /// What the processor can do, if it is made for this machine's.
    pub(crate) processor: Option<String>,
    /// Whether what it leaves is looked through for fixed places.
    pub(crate) leaves: bool,
    /// The action that each dependency among the parts is of.
    pub(crate) dependencies: Vec<Option<String>>,
}

/// What `metadata.vx` declares.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Declared {
    /// Variables.
    pub(crate) env: Vec<String>,
    /// Paths.
    pub(crate) paths: Vec<String>,
    /// The network.
    pub(crate) network: bool,
}

/// A value, or a digest where it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(untagged)]
pub(crate) enum Shown {
    /// Itself.
    Value(String),
    /// What tells it from others.
    Digest {
        /// Hexadecimal digits.
        digest: String,
    },
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
pub(crate) fn runs(workspace: &Path) -> PathBuf {
    workspace.join(".vx/runs")
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
