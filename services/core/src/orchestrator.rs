//! What the command line asks of the orchestrator, and what it is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::ServiceResult;

/// The variables whose values go into [`BuildRequest::settings`] where they are set.
///
/// The orchestrator reads them once, when it starts, from its own environment; a request that
/// comes with other values can't be served by it and is refused.
pub const SETTING_VARIABLES: [&str; 8] = [
    "VX_CASS",
    "VX_CASS_SECRET_FILE",
    "VX_CASS_LIMIT",
    "VX_CASS_PLACE",
    "VX_RHEA",
    "VX_RHEA_SECRET_FILE",
    "VX_RHEA_MEMORY",
    "VX_RHEA_DISK",
];

/// The settings among `variables`: those of [`SETTING_VARIABLES`] that are set and not empty.
pub fn settings_of(
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    variables
        .into_iter()
        .filter(|(name, value)| SETTING_VARIABLES.contains(&name.as_str()) && !value.is_empty())
        .collect()
}

/// Which units to build: cargo's selection flags.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Selection {
    /// `--manifest-path`, as given.
    pub manifest_path: Option<String>,
    /// `-p`.
    pub packages: Vec<String>,
    /// `--workspace`.
    pub workspace: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
    /// `--lib`.
    pub lib: bool,
    /// `--bins`.
    pub bins: bool,
    /// `--bin`.
    pub bin: Vec<String>,
    /// `--examples`.
    pub examples: bool,
    /// `--example`.
    pub example: Vec<String>,
    /// `-F`, split at commas and spaces.
    pub features: Vec<String>,
    /// `--all-features`.
    pub all_features: bool,
    /// `--no-default-features`.
    pub no_default_features: bool,
    /// `--profile`.
    pub profile: Option<String>,
    /// `-r`.
    pub release: bool,
    /// `--target`.
    pub target: Vec<String>,
    /// `--locked`.
    pub locked: bool,
    /// `--offline`.
    pub offline: bool,
    /// `--frozen`.
    pub frozen: bool,
}

/// One build, with everything of the caller's that it may depend on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The caller's working directory, absolute.
    pub cwd: String,
    /// The caller's environment; entries that are not UTF-8 are left out.
    pub env: BTreeMap<String, String>,
    /// The caller's file mode creation mask.
    pub umask: u32,
    /// What to build.
    pub selection: Selection,
    /// `-j`: how many actions of this build run at once; `None` for as many as the machine has
    /// processors.
    pub jobs: Option<u32>,
    /// `--keep-going`.
    pub keep_going: bool,
    /// Whether what was found is run again and compared.
    pub verify: bool,
    /// Settings that must agree with those the running orchestrator was started with
    /// ([`SETTING_VARIABLES`]).
    pub settings: BTreeMap<String, String>,
}

/// Something that happened in a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildEvent {
    /// The plan is there: so many actions.
    Planned {
        /// Actions in the build.
        actions: u64,
    },
    /// An action starts to run.
    Started {
        /// Its index in the report.
        action: u64,
        /// The package, such as `ripgrep v15.1.0 (/home/me/ripgrep)`.
        package: String,
        /// What of it, such as `ripgrep(bin rg)`.
        unit: String,
        /// Whether this is the first action of its package that runs in this build, which
        /// cargo announces with a `Compiling` line.
        announce: bool,
    },
    /// An action is done.
    Finished {
        /// Its index in the report.
        action: u64,
        /// How.
        outcome: ActionOutcome,
    },
    /// Something to show: rendered diagnostics, a build script's warning, cargo's own words.
    Message {
        /// How it is to be shown.
        level: MessageLevel,
        /// Text, with ANSI colours where `rendered` holds them.
        text: String,
    },
}

/// How a message is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MessageLevel {
    /// As it is, already rendered; shown always, as cargo shows diagnostics under `-q` too.
    Rendered,
    /// With `warning:` in front.
    Warning,
    /// With `error:` in front.
    Error,
    /// With cargo's status look: the first word is the status.
    Status,
    /// Only with `-v`.
    Verbose,
}

/// What became of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// Its result was in the store.
    Hit,
    /// It ran in this build.
    Built,
    /// Another build ran it, and this one waited.
    Waited,
    /// It ran and failed.
    Failed,
    /// It did not run, because something before it failed or the build was cancelled.
    Skipped,
}

/// How a build ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOutcome {
    /// `Ok` when everything was built; else what to tell, in three parts where that helps.
    pub result: Result<(), BuildFailure>,
    /// The profile's description as cargo prints it, such as
    /// `dev profile [unoptimized + debuginfo]`.
    pub profile: String,
    /// Programs that were built, for `vx run`.
    pub executables: Vec<Executable>,
    /// The report's path; empty when none was written.
    pub report: String,
    /// From the request's arrival to its end.
    pub duration: Duration,
    /// Actions by outcome.
    pub totals: Totals,
}

/// Why a build failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BuildFailure {
    /// At least one action failed; their messages were sent.
    Actions {
        /// One line an action, such as ``could not compile `x` (lib) due to 1 error``.
        failed: Vec<String>,
    },
    /// There was nothing to run: the request or the workspace is at fault.
    Request(String),
    /// vx itself could not go on.
    Engine(String),
}

/// A program among the final outputs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Executable {
    /// The target's name.
    pub name: String,
    /// `bin` or `example`.
    pub kind: String,
    /// The package's name.
    pub package: String,
    /// Its path on the host.
    pub path: String,
    /// The package's `default-run`, when it has one.
    pub default_run: Option<String>,
}

/// Actions of a build by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// All.
    pub actions: u64,
    /// [`ActionOutcome::Hit`].
    pub hit: u64,
    /// [`ActionOutcome::Built`].
    pub built: u64,
    /// [`ActionOutcome::Waited`].
    pub waited: u64,
    /// [`ActionOutcome::Failed`].
    pub failed: u64,
    /// [`ActionOutcome::Skipped`].
    pub skipped: u64,
}

/// Where a project's `.vx` lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The workspace's root directory on the host.
    pub workspace: String,
}

/// What the orchestrator says of itself and of the services it uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrchestratorStatus {
    /// Its process id.
    pub pid: u32,
    /// Builds under way.
    pub builds: u64,
    /// Seconds since its start.
    pub uptime_seconds: u64,
    /// The store's endpoint and figures; `Err` holds why it could not be asked.
    pub store_endpoint: String,
    /// Figures of the store.
    pub store: Option<crate::service::StoreStatus>,
    /// The executor's endpoint.
    pub executor_endpoint: String,
    /// Figures of the executor.
    pub executor: Option<crate::service::ExecutorStatus>,
}

/// Who is told how a build goes. Losing it cancels the build.
#[async_trait]
pub trait BuildObserver: Send + Sync {
    /// Something happened.
    async fn event(&self, event: BuildEvent) -> ServiceResult<()>;
}

/// Plans and runs builds. Dropping the future of [`Orchestrator::build`] cancels that build.
#[async_trait]
pub trait Orchestrator: Send + Sync {
    /// Builds.
    async fn build(
        &self,
        request: BuildRequest,
        observer: Arc<dyn BuildObserver>,
    ) -> ServiceResult<BuildOutcome>;

    /// Finds the workspace a request is about.
    async fn locate(&self, request: BuildRequest) -> ServiceResult<Project>;

    /// Removes a workspace's final outputs and reports.
    async fn clean(&self, request: BuildRequest) -> ServiceResult<Project>;

    /// Says what a request would build, and builds nothing: JSON, as `docs/USER.md` has it. A
    /// `fresh` plan is made from nothing and not remembered.
    async fn plan(&self, request: BuildRequest, fresh: bool) -> ServiceResult<String>;

    /// Figures.
    async fn status(&self) -> ServiceResult<OrchestratorStatus>;

    /// Finishes the builds under way, then ends, with the services it started. Returns when
    /// no new build is accepted.
    async fn stop(&self) -> ServiceResult<()>;
}
