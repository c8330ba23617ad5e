//! The reports a workspace keeps, newest first, each read when it is first asked for.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};

use vx_core::orchestrator::ActionOutcome;

use crate::error::{CommandError, CommandResult};
use crate::report::{self, Action, Report};

/// How many runs an error names.
const NAMED: usize = 5;

/// All reports of a workspace.
pub(super) struct History {
    directory: PathBuf,
    runs: Vec<(String, OnceCell<Option<Report>>)>,
}

impl History {
    /// The reports of a workspace.
    pub(super) fn of(workspace: &Path) -> Self {
        let directory = report::runs(workspace);
        let mut names: Vec<String> = std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
            .collect();
        // Names sort by time.
        names.sort_unstable_by(|a, b| b.cmp(a));
        Self {
            directory,
            runs: names
                .into_iter()
                .map(|name| (name, OnceCell::new()))
                .collect(),
        }
    }

    /// A history of these reports, newest first.
    #[cfg(test)]
    pub(super) fn with(reports: Vec<Report>) -> Self {
        Self {
            directory: PathBuf::new(),
            runs: reports
                .into_iter()
                .map(|report| (report.run_id.clone(), OnceCell::from(Some(report))))
                .collect(),
        }
    }

    /// The run that a word names: an id, `latest`, or `previous`.
    ///
    /// # Errors
    /// When there is no such run; it says how to find them.
    pub(super) fn resolve(&self, word: &str) -> CommandResult<String> {
        let found = match word {
            "latest" => self.latest(),
            "previous" => self.latest().and_then(|latest| {
                let mut names = self.runs.iter().map(|(name, _)| name);
                names.find(|name| **name < latest).cloned()
            }),
            id => {
                let mut names = self.runs.iter().map(|(name, _)| name);
                names.find(|name| *name == id).cloned()
            }
        };
        found.ok_or_else(|| self.unknown(word))
    }

    /// The last run to have written its report, which is not always the one that started last.
    fn latest(&self) -> Option<String> {
        let target = std::fs::read_link(self.directory.join("latest")).ok();
        let target = target.and_then(|path| Some(path.file_stem()?.to_str()?.to_owned()));
        target
            .filter(|target| self.runs.iter().any(|(name, _)| name == target))
            .or_else(|| self.runs.first().map(|(name, _)| name.clone()))
    }

    fn unknown(&self, word: &str) -> CommandError {
        if self.runs.is_empty() {
            return CommandError::failure("there is no report of a build")
                .because(format!("{} has none", self.directory.display()))
                .help("each `vx build` writes one");
        }
        let newest: Vec<&str> = self
            .runs
            .iter()
            .take(NAMED)
            .map(|(name, _)| name.as_str())
            .collect();
        CommandError::failure(format!("there is no run `{word}`"))
            .because(format!(
                "the newest of {} that are kept: {}",
                self.runs.len(),
                newest.join(", ")
            ))
            .help(format!(
                "`latest` and `previous` name runs too; all are files in {}, less `.json`",
                self.directory.display()
            ))
    }

    /// Where the report of a run is.
    pub(super) fn path(&self, run: &str) -> PathBuf {
        self.directory.join(format!("{run}.json"))
    }

    /// A run's report.
    ///
    /// # Errors
    /// When it can't be read.
    pub(super) fn report(&self, run: &str) -> CommandResult<&Report> {
        let Some((name, cell)) = self.runs.iter().find(|(name, _)| name == run) else {
            return Err(self.unknown(run));
        };
        if cell.get().is_none() {
            let path = self.path(name);
            let report = report::parse(&report::read(&path)?, &path)?;
            let _ = cell.set(Some(report));
        }
        cell.get()
            .and_then(Option::as_ref)
            .ok_or_else(|| self.unknown(run))
    }

    /// All reports that can be read, newest first. One that went in the meantime, or that
    /// another vx wrote, has nothing to tell.
    pub(super) fn reports(&self) -> impl Iterator<Item = &Report> {
        self.runs.iter().filter_map(|(name, cell)| {
            cell.get_or_init(|| {
                let path = self.path(name);
                report::parse(&report::read(&path).ok()?, &path).ok()
            })
            .as_ref()
        })
    }

    /// The reports of earlier runs, newest first.
    pub(super) fn before(&self, run: &str) -> impl Iterator<Item = &Report> {
        let run = run.to_owned();
        self.reports().filter(move |report| report.run_id < run)
    }

    /// The newest run in which something was built.
    pub(super) fn last_miss(&self) -> Option<&Report> {
        self.reports().find(|report| {
            let mut actions = report.actions.iter();
            actions.any(|action| action.outcome == Some(ActionOutcome::Built))
        })
    }

    /// The action that was stored under a key, in a report that holds what the key is made of.
    pub(super) fn of_key(&self, key: &str) -> Option<(&Report, &Action)> {
        self.reports().find_map(|report| {
            let mut actions = report.actions.iter();
            let action = actions
                .find(|action| action.key.as_deref() == Some(key) && action.parts.is_some())?;
            Some((report, action))
        })
    }
}
