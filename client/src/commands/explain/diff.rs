//! `vx explain --diff`: two runs beside each other.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use vx_core::orchestrator::ActionOutcome;

use super::compare::{Side, between};
use super::difference::Difference;
use super::history::History;
use crate::report::{Action, Report};

/// What is answered; `docs/report.md` describes it.
#[derive(Debug, Serialize)]
pub(super) struct Diff {
    schema: u32,
    pub(super) from: String,
    pub(super) to: String,
    /// How many actions have the same key in both.
    pub(super) same: usize,
    /// The others.
    pub(super) actions: Vec<Differing>,
}

/// Where an action is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Presence {
    Both,
    OnlyFrom,
    OnlyTo,
}

/// An action whose keys differ, or that one run does not have.
#[derive(Debug, Serialize)]
pub(super) struct Differing {
    pub(super) package: String,
    pub(super) unit: Option<String>,
    #[serde(rename = "in")]
    pub(super) presence: Presence,
    pub(super) from: Option<End>,
    pub(super) to: Option<End>,
    /// What differs; null where it is not known.
    pub(super) differences: Option<Vec<Difference>>,
    /// Why it is not known.
    pub(super) unknown: Option<String>,
    #[serde(skip)]
    label: String,
}

/// An action in one of the runs.
#[derive(Debug, Serialize)]
pub(super) struct End {
    pub(super) id: String,
    pub(super) key: Option<String>,
    pub(super) outcome: Option<ActionOutcome>,
    /// The run whose report holds what the key was made of.
    pub(super) parts_of: Option<String>,
}

/// Compares two runs.
pub(super) fn between_runs(history: &History, from: &Report, to: &Report) -> Diff {
    let mut same = 0;
    let mut actions = Vec::new();
    for (then, now) in pairs(from, to) {
        if let (Some(then), Some(now)) = (then, now)
            && then.key.is_some()
            && then.key == now.key
        {
            same += 1;
            continue;
        }
        actions.push(differing(history, (from, then), (to, now)));
    }
    Diff {
        schema: 1,
        from: from.run_id.clone(),
        to: to.run_id.clone(),
        same,
        actions,
    }
}

type Pair<'a> = (Option<&'a Action>, Option<&'a Action>);

/// Package, unit and what is done with it.
type Kind<'a> = (&'a str, Option<&'a str>, &'a str);

/// Actions of one kind in the earlier run and in the later one.
type Group<'a> = (Vec<&'a Action>, Vec<&'a Action>);

/// Actions of the two runs that are the same: by their ids; then by package and unit, then by
/// the package's name and unit, where no other one comes into question.
fn pairs<'a>(from: &'a Report, to: &'a Report) -> Vec<Pair<'a>> {
    let ids: HashSet<&str> = from.actions.iter().map(|one| one.id.as_str()).collect();
    let mut partner: HashMap<&str, &'a Action> = to
        .actions
        .iter()
        .filter(|one| ids.contains(one.id.as_str()))
        .map(|one| (one.id.as_str(), one))
        .collect();
    let mut taken: HashSet<&str> = partner.keys().copied().collect();
    let names: [fn(&Action) -> &str; 2] = [|one| &one.package, Action::package_name];
    for name in names {
        let mut groups: BTreeMap<Kind<'_>, Group<'_>> = BTreeMap::new();
        let group = |one: &'a Action| (name(one), one.unit.as_deref(), one.kind.as_str());
        for one in &from.actions {
            if !partner.contains_key(one.id.as_str()) {
                groups.entry(group(one)).or_default().0.push(one);
            }
        }
        for one in &to.actions {
            if !taken.contains(one.id.as_str()) {
                groups.entry(group(one)).or_default().1.push(one);
            }
        }
        for (then, now) in groups.into_values() {
            // Several are in the plans' order, which is the same for plans that are alike.
            if then.len() == now.len() {
                taken.extend(now.iter().map(|one| one.id.as_str()));
                partner.extend(then.iter().map(|one| one.id.as_str()).zip(now));
            }
        }
    }
    let both = from
        .actions
        .iter()
        .map(|one| (Some(one), partner.get(one.id.as_str()).copied()));
    let only = to
        .actions
        .iter()
        .filter(|one| !taken.contains(one.id.as_str()));
    both.chain(only.map(|one| (None, Some(one)))).collect()
}

/// What an action's key was made of, from its own report or from another's that has the key.
fn side<'a>(history: &'a History, report: &'a Report, action: &'a Action) -> Option<Side<'a>> {
    Side::of(report, action).or_else(|| {
        let (report, action) = history.of_key(action.key.as_deref()?)?;
        Side::of(report, action)
    })
}

fn differing(
    history: &History,
    (from, then): (&Report, Option<&Action>),
    (to, now): (&Report, Option<&Action>),
) -> Differing {
    let sides = (
        then.and_then(|then| side(history, from, then)),
        now.and_then(|now| side(history, to, now)),
    );
    let end = |action: &Action, side: &Option<Side<'_>>| End {
        id: action.id.clone(),
        key: action.key.clone(),
        outcome: action.outcome,
        parts_of: side.as_ref().map(|side| side.report.run_id.clone()),
    };
    let presence = match (then, now) {
        (Some(_), Some(_)) => Presence::Both,
        (Some(_), None) => Presence::OnlyFrom,
        _ => Presence::OnlyTo,
    };
    let (differences, unknown) = match (presence, sides) {
        (Presence::Both, (Some(one), Some(two))) => (Some(between(one, two)), None),
        (Presence::Both, sides) => {
            let missing = [
                (from, then, sides.0.is_none()),
                (to, now, sides.1.is_none()),
            ];
            let words: Vec<String> = missing
                .into_iter()
                .filter(|(_, _, missing)| *missing)
                .filter_map(|(report, action, _)| Some(not_known(report, action?)))
                .collect();
            (None, Some(words.join("; ")))
        }
        _ => (None, None),
    };
    let shown = now.or(then);
    Differing {
        package: shown.map(|one| one.package.clone()).unwrap_or_default(),
        unit: shown.and_then(|one| one.unit.clone()),
        presence,
        from: then.map(|one| end(one, &sides.0)),
        to: now.map(|one| end(one, &sides.1)),
        differences,
        unknown,
        label: shown.map(Action::label).unwrap_or_default(),
    }
}

fn not_known(report: &Report, action: &Action) -> String {
    let run = &report.run_id;
    match (action.outcome, &action.key) {
        (Some(ActionOutcome::Failed), None) => format!("it failed in run {run}, so it has no key"),
        (_, None) => format!("it has no key in run {run}"),
        (_, Some(_)) => {
            format!("no run that is kept ran it with the key it has in run {run}")
        }
    }
}

/// For people.
pub(super) fn told(diff: &Diff) -> String {
    let mut text = format!(
        "Run {} beside run {}: {} actions are the same, {} are not\n",
        diff.to,
        diff.from,
        diff.same,
        diff.actions.len()
    );
    for (title, presence) in [
        ("Differ", Presence::Both),
        ("Only in the first", Presence::OnlyFrom),
        ("Only in the second", Presence::OnlyTo),
    ] {
        let mut of = diff
            .actions
            .iter()
            .filter(|one| one.presence == presence)
            .peekable();
        if of.peek().is_none() {
            continue;
        }
        text.push_str(&format!("\n{title}\n"));
        for one in of {
            text.push_str(&format!("  {}\n", one.label));
            for difference in one.differences.iter().flatten() {
                text.push_str(&format!("    {}\n", difference.words()));
            }
            if let Some(unknown) = &one.unknown {
                text.push_str(&format!("    what differs is not known: {unknown}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::commands::explain::tests::{built, report};

    fn run(id: &str, actions: Value) -> Report {
        report(json!({"schema": 1, "run_id": id, "success": true, "actions": actions}))
    }

    fn hit(id: &str, key: &str) -> Value {
        json!({"id": id, "package": "a 1.0.0", "unit": "lib", "kind": "compile",
               "outcome": "hit", "key": key})
    }

    #[test]
    fn parts_come_from_whichever_run_has_them() {
        let history = History::with(vec![
            run("4", json!([hit("a-1", "key 1")])),
            run("3", json!([hit("a-1", "key 2"), hit("b-1", "key b")])),
            run("2", json!([built("a-1", "a 1.0.0", 2)])),
            run("1", json!([built("a-1", "a 1.0.0", 1)])),
        ]);
        let diff = between_runs(
            &history,
            history.report("3").unwrap(),
            history.report("4").unwrap(),
        );
        let [a, b] = &diff.actions[..] else {
            panic!("{diff:?}")
        };
        let words: Vec<String> = a
            .differences
            .iter()
            .flatten()
            .map(Difference::words)
            .collect();
        assert_eq!(words, ["src/lib.rs changed"]);
        assert_eq!(a.from.as_ref().unwrap().parts_of.as_deref(), Some("2"));
        assert_eq!(b.presence, Presence::OnlyFrom);
    }

    #[test]
    fn what_no_run_knows_is_said() {
        let history = History::with(vec![
            run("2", json!([hit("a-1", "key 9")])),
            run("1", json!([built("a-1", "a 1.0.0", 1)])),
        ]);
        let diff = between_runs(
            &history,
            history.report("1").unwrap(),
            history.report("2").unwrap(),
        );
        assert_eq!(diff.actions[0].differences, None);
        assert!(diff.actions[0].unknown.as_ref().unwrap().contains("run 2"));
    }

    #[test]
    fn actions_with_other_ids_are_paired() {
        let history = History::with(vec![
            run("2", json!([built("a-2", "a 1.0.0", 1)])),
            run("1", json!([built("a-1", "a 1.0.0", 1)])),
        ]);
        let diff = between_runs(
            &history,
            history.report("1").unwrap(),
            history.report("2").unwrap(),
        );
        assert_eq!((diff.same, diff.actions.len()), (1, 0));
    }
}
