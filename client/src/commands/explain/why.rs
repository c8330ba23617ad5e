//! `vx explain --why`: the causes of a package's builds, followed to the first.

use std::collections::{HashMap, HashSet, VecDeque};

use serde::Serialize;
use vx_core::orchestrator::ActionOutcome;

use super::compare::{Side, between};
use super::difference::Difference;
use super::history::History;
use super::nearest::{self, Explained};
use crate::error::{CommandError, CommandResult};
use crate::report::{Action, Report};

/// What is answered; `docs/report.md` describes it.
#[derive(Debug, Serialize)]
pub(super) struct Why {
    schema: u32,
    pub(super) run_id: String,
    pub(super) package: String,
    /// Whether something of the package was built in that run.
    pub(super) built: bool,
    /// The newest run that built something of it, where that one did not.
    pub(super) last_built: Option<String>,
    /// Its actions that were built.
    pub(super) actions: Vec<Followed>,
}

/// One action and its first causes.
#[derive(Debug, Serialize)]
pub(super) struct Followed {
    pub(super) id: String,
    pub(super) package: String,
    pub(super) unit: Option<String>,
    pub(super) reason: Option<String>,
    /// One for each first cause's action.
    pub(super) chains: Vec<Chain>,
}

/// The way from an action to a first cause.
#[derive(Debug, Serialize)]
pub(super) struct Chain {
    /// From the action that was asked for to the one with the first cause.
    pub(super) steps: Vec<Step>,
    /// What differs there; nothing where it is not known.
    pub(super) causes: Vec<Difference>,
}

/// One action on the way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Step {
    pub(super) id: String,
    pub(super) package: String,
    pub(super) unit: Option<String>,
    pub(super) outcome: Option<ActionOutcome>,
    /// The run its key is compared with.
    pub(super) against: Option<String>,
    #[serde(skip)]
    pub(super) label: String,
}

/// Follows the causes of a package's builds in a run.
///
/// # Errors
/// When no run that is kept has such a package.
pub(super) fn follow(history: &History, report: &Report, package: &str) -> CommandResult<Why> {
    let of = |action: &&Action| is_of(action, package);
    let actions: Vec<Followed> = report
        .actions
        .iter()
        .filter(of)
        .filter(|action| action.built())
        .map(|action| Followed {
            id: action.id.clone(),
            package: action.package.clone(),
            unit: action.unit.clone(),
            reason: action.reason.clone(),
            chains: chains(history, report, action),
        })
        .collect();
    let mut reports = history.reports();
    if actions.is_empty() && !reports.any(|report| report.actions.iter().any(|one| of(&one))) {
        return Err(CommandError::failure(format!(
            "no run that is kept has a package `{package}`"
        ))
        .help("`vx explain --json` lists the actions of a run with their packages"));
    }
    let last_built = || {
        let mut reports = history.reports();
        let found = reports.find(|report| {
            let mut actions = report.actions.iter();
            actions.any(|action| is_of(action, package) && action.built())
        });
        found.map(|report| report.run_id.clone())
    };
    Ok(Why {
        schema: 1,
        run_id: report.run_id.clone(),
        package: package.to_owned(),
        built: !actions.is_empty(),
        last_built: if actions.is_empty() {
            last_built()
        } else {
            None
        },
        actions,
    })
}

fn is_of(action: &Action, package: &str) -> bool {
    match package.split_once('@') {
        Some((name, version)) => action.package == format!("{name} {version}"),
        None => action.package_name() == package,
    }
}

/// The shortest way to each first cause.
fn chains(history: &History, report: &Report, start: &Action) -> Vec<Chain> {
    let mut found = Vec::new();
    let mut seen: HashSet<&str> = HashSet::from([start.id.as_str()]);
    let mut known: HashMap<&str, Option<Explained>> = HashMap::new();
    let mut queue: VecDeque<(&Action, Vec<Step>, Option<String>)> =
        VecDeque::from([(start, Vec::new(), None)]);
    while let Some((action, mut steps, before)) = queue.pop_front() {
        let explained = known
            .entry(&action.id)
            .or_insert_with(|| explain(history, report, action, before.as_deref()));
        let explained = explained.clone();
        let against = explained.as_ref().and_then(|one| one.against.clone());
        steps.push(Step {
            id: action.id.clone(),
            package: action.package.clone(),
            unit: action.unit.clone(),
            outcome: action.outcome,
            against: against.clone(),
            label: action.label(),
        });
        let mut next = Vec::new();
        let mut open_end = explained.is_none();
        let causes: Vec<Difference> = explained
            .as_ref()
            .map(|one| one.causes().into_iter().cloned().collect())
            .unwrap_or_default();
        for id in explained.iter().flat_map(followed) {
            match id.and_then(|id| report.action(id)) {
                Some(other) if seen.insert(&other.id) => next.push(other),
                Some(_) => {}
                None => open_end = true,
            }
        }
        // What follows from outputs that other actions left ends there.
        let ends = !causes.is_empty()
            || open_end && next.is_empty()
            || explained
                .as_ref()
                .is_some_and(|one| one.differences.is_empty());
        for other in next {
            queue.push_back((other, steps.clone(), against.clone()));
        }
        if ends {
            found.push(Chain { steps, causes });
        }
    }
    found
}

/// The dependencies whose outputs differ: those that the action takes by itself, or if there is
/// none, those that came along.
fn followed(explained: &Explained) -> Vec<Option<&str>> {
    let of = |wanted: bool| -> Vec<Option<&str>> {
        let all = explained.differences.iter();
        all.filter_map(|one| match one {
            Difference::Dependency { direct, action, .. } if *direct == wanted => {
                Some(action.as_deref())
            }
            _ => None,
        })
        .collect()
    };
    let direct = of(true);
    if direct.is_empty() { of(false) } else { direct }
}

/// What an action's key differs in: from its nearest earlier run if it was built, else from
/// what it was in the run that whoever depends on it is compared with.
fn explain(
    history: &History,
    report: &Report,
    action: &Action,
    before: Option<&str>,
) -> Option<Explained> {
    if action.built() {
        return nearest::explain(history, report, action);
    }
    let earlier = history.report(before?).ok()?;
    let then = earlier.action(&action.id)?;
    let (then_report, then) = history.of_key(then.key.as_deref()?)?;
    let (now_report, now) = history.of_key(action.key.as_deref()?)?;
    Some(Explained {
        against: Some(earlier.run_id.clone()),
        differences: between(Side::of(then_report, then)?, Side::of(now_report, now)?),
    })
}

/// For people.
pub(super) fn told(why: &Why) -> String {
    let mut text = String::new();
    if !why.built {
        text.push_str(&format!(
            "Nothing of {} was built in run {}.\n",
            why.package, why.run_id
        ));
        match &why.last_built {
            Some(run) => text.push_str(&format!(
                "It last was in run {run}; `vx explain --why {} --run {run}` tells why.\n",
                why.package
            )),
            None => text.push_str("No run that is kept built it.\n"),
        }
        return text;
    }
    text.push_str(&format!("Run {}\n", why.run_id));
    for action in &why.actions {
        for chain in &action.chains {
            text.push('\n');
            text.push_str(&chain_words(chain, action.reason.as_deref()));
        }
    }
    text
}

fn chain_words(chain: &Chain, reason: Option<&str>) -> String {
    let mut text = String::new();
    for (depth, step) in chain.steps.iter().enumerate() {
        let verb = match step.outcome {
            Some(ActionOutcome::Built) => "was built",
            Some(ActionOutcome::Waited) => "was built by another build",
            _ => "was found in the store, and is another than before",
        };
        let arrow = if depth == 0 { "" } else { "<- " };
        let why = match chain.steps.get(depth + 1) {
            Some(next) => format!("because the output of {} changed", next.label),
            None => last_words(chain, step, reason),
        };
        text.push_str(&format!("{arrow}{} {verb} {why}\n", step.label));
    }
    text
}

fn last_words(chain: &Chain, step: &Step, reason: Option<&str>) -> String {
    if !chain.causes.is_empty() {
        let words: Vec<String> = chain.causes.iter().map(Difference::words).collect();
        return format!("because {}", words.join("; "));
    }
    match (&step.against, chain.steps.len()) {
        (None, 1) if reason == Some("new") => "for the first time".to_owned(),
        (None, _) => "(no run that is kept has its earlier key)".to_owned(),
        (Some(run), _) => {
            format!("although its key is as in run {run}: its result was not in the store")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::commands::explain::tests::{built, built_with, report};

    fn history() -> History {
        let chain = |run: &str, lines: u8, mid: u8, top: u8| {
            report(json!({
                "schema": 1, "run_id": run, "success": true, "actions": [
                    built("base-1", "base 1.0.0", lines),
                    built_with("mid-1", "mid 1.0.0", "base-1", mid),
                    built_with("top-1", "top 1.0.0", "mid-1", top),
                ],
            }))
        };
        let idle = report(json!({
            "schema": 1, "run_id": "3", "success": true, "actions": [
                {"id": "top-1", "package": "top 1.0.0", "kind": "compile", "outcome": "hit"},
            ],
        }));
        History::with(vec![idle, chain("2", 2, 2, 2), chain("1", 1, 1, 1)])
    }

    #[test]
    fn the_first_cause_is_found_through_dependencies() {
        let history = history();
        let why = follow(&history, history.report("2").unwrap(), "top").unwrap();
        assert!(why.built);
        let [chain] = &why.actions[0].chains[..] else {
            panic!("{why:?}")
        };
        let steps: Vec<&str> = chain.steps.iter().map(|step| step.id.as_str()).collect();
        assert_eq!(steps, ["top-1", "mid-1", "base-1"]);
        assert_eq!(chain.causes[0].words(), "src/lib.rs changed");
        assert_eq!(told(&why).matches("<- ").count(), 2);
    }

    #[test]
    fn what_was_not_built_is_said_with_when_it_was() {
        let history = history();
        let why = follow(&history, history.report("3").unwrap(), "top@1.0.0").unwrap();
        assert!(!why.built);
        assert_eq!(why.last_built.as_deref(), Some("2"));
        assert!(follow(&history, history.report("3").unwrap(), "top@2.0.0").is_err());
    }
}
