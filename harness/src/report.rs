//! The reports vx writes, as tests read them; `docs/report.md` describes all of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;

/// The schema this reader knows.
const SCHEMA: u64 = 1;

/// One build's report.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The schema's version.
    pub schema: u64,
    /// Names the run.
    pub run_id: String,
    /// Whether everything was built.
    pub success: bool,
    /// From the request to its end.
    pub duration_ms: f64,
    /// Actions by outcome.
    pub totals: Totals,
    /// Each action.
    pub actions: Vec<Action>,
    /// Bytes by the way they went.
    pub transfer: Transfer,
    /// How the plan was come by: `memo` or `cargo`.
    pub plan: String,
    /// What went wrong, one line each.
    pub errors: Vec<String>,
    /// Final outputs, relative to the workspace.
    pub outputs: Vec<String>,
    /// Why actions were not isolated.
    pub isolation: Option<String>,
}

/// Actions by outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Totals {
    /// All.
    pub actions: u64,
    /// The result was in the store.
    pub hit: u64,
    /// It ran in this build.
    pub built: u64,
    /// Another build ran it.
    pub waited: u64,
    /// It ran and failed.
    pub failed: u64,
    /// It did not run.
    pub skipped: u64,
}

/// One action.
#[derive(Clone, Debug, Deserialize)]
pub struct Action {
    /// Names it within its plan.
    pub id: String,
    /// The package: name and version.
    pub package: String,
    /// The unit within its package: `lib`, `bin "rg"`, `build script`, `build script run`.
    pub unit: String,
    /// What it does.
    pub kind: String,
    /// What became of it.
    pub outcome: String,
    /// Its key; absent when it was not reached.
    pub key: Option<String>,
    /// Why it was no hit.
    pub reason: Option<String>,
    /// How long its program ran, whenever that was.
    pub duration_ms: f64,
    /// The run it waited for.
    pub waited_for: Option<String>,
    /// What it left behind, and digests of it, if it ran.
    #[serde(default)]
    pub outputs: BTreeMap<String, String>,
    /// Fixed places that its outputs hold.
    #[serde(default)]
    pub fixed_places: Vec<String>,
    /// Why its program was run again before its result stood.
    #[serde(default)]
    pub again: Vec<String>,
    /// What it tried to reach over a network that it does not have, if it failed.
    pub reached_for: Option<String>,
    /// Why its result serves its build alone.
    pub unpublished: Option<String>,
    /// Why runs of it were found to differ by themselves.
    #[serde(default)]
    pub unstable: Vec<String>,
    /// What running it again left differently.
    pub verified: Option<Verified>,
}

/// What came of running an action again.
#[derive(Clone, Debug, Deserialize)]
pub struct Verified {
    /// What differs.
    pub differences: Vec<Difference>,
    /// Why it could not be run again.
    pub fault: Option<String>,
}

/// One output that differs.
#[derive(Clone, Debug, Deserialize)]
pub struct Difference {
    /// Its name.
    pub output: String,
    /// Why.
    pub causes: Vec<String>,
}

impl Action {
    /// The package's name alone.
    #[must_use]
    pub fn package_name(&self) -> &str {
        self.package
            .split([' ', '@', '#'])
            .next()
            .unwrap_or_default()
    }
}

/// Bytes of a build by the way they went.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Transfer {
    /// Between the executor and the store over their own connection.
    pub direct_bytes: u64,
    /// Between them through the orchestrator.
    pub relayed_bytes: u64,
    /// Placed by the store as files.
    pub placed_bytes: u64,
    /// Over the orchestrator's own connections, final outputs left out.
    pub orchestrator_bytes: u64,
    /// Final outputs that the orchestrator fetched.
    pub fetched_bytes: u64,
}

impl Report {
    /// The newest report of a workspace.
    ///
    /// # Errors
    /// When there is none, or it is not what the documentation says.
    pub fn latest(workspace: &Path) -> Result<Self, String> {
        let path = workspace.join(".vx/runs/latest");
        let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let report: Self = serde_json::from_slice(&text)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        report
            .check()
            .map_err(|fault| format!("{}: {fault}", path.display()))?;
        Ok(report)
    }

    /// Whether it agrees with itself.
    fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!("schema {} and not {SCHEMA}", self.schema));
        }
        let of =
            |outcome: &str| self.actions.iter().filter(|a| a.outcome == outcome).count() as u64;
        let counted = Totals {
            actions: self.actions.len() as u64,
            hit: of("hit"),
            built: of("built"),
            waited: of("waited"),
            failed: of("failed"),
            skipped: of("skipped"),
        };
        if counted == self.totals {
            Ok(())
        } else {
            Err(format!(
                "totals are {:?}, and the actions give {counted:?}",
                self.totals
            ))
        }
    }

    /// The actions of this outcome.
    pub fn of<'a>(&'a self, outcome: &'a str) -> impl Iterator<Item = &'a Action> {
        self.actions
            .iter()
            .filter(move |action| action.outcome == outcome)
    }

    /// The names of packages with an action of this outcome, sorted, each once.
    #[must_use]
    pub fn packages(&self, outcome: &str) -> Vec<&str> {
        let mut names: Vec<_> = self
            .actions
            .iter()
            .filter(|action| action.outcome == outcome)
            .map(Action::package_name)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The actions of this outcome as `package: unit`, sorted.
    #[must_use]
    pub fn units(&self, outcome: &str) -> Vec<String> {
        let mut units: Vec<String> = self
            .of(outcome)
            .map(|action| format!("{}: {}", action.package_name(), action.unit))
            .collect();
        units.sort_unstable();
        units
    }

    /// Checks that every action's result is kept in the store.
    ///
    /// # Panics
    /// When one is not.
    #[track_caller]
    pub fn assert_kept(&self) {
        let lost: Vec<_> = self
            .actions
            .iter()
            .filter(|action| action.unpublished.is_some() || action.key.is_none())
            .collect();
        assert!(lost.is_empty(), "{lost:#?}");
    }

    /// Checks which packages had something built.
    ///
    /// # Panics
    /// When it were others.
    #[track_caller]
    pub fn assert_built<const N: usize>(&self, mut expected: [&str; N]) {
        expected.sort_unstable();
        assert_eq!(
            self.packages("built"),
            expected,
            "packages with an action that was built"
        );
    }
}
