//! The nearest earlier run of an action, and what differs from it.

use std::collections::HashSet;

use serde::Serialize;

use super::compare::{Side, between};
use super::difference::Difference;
use super::history::History;
use crate::report::{Action, Report};

/// Why an action ran: what its key differs in from the nearest earlier one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Explained {
    /// The run that holds the earlier key; none where no run that is kept does.
    pub(super) against: Option<String>,
    /// What differs; nothing where the keys are the same.
    pub(super) differences: Vec<Difference>,
}

impl Explained {
    /// What can be a first cause; where there is nothing of the kind and no dependency's output
    /// changed, whatever differs.
    pub(super) fn causes(&self) -> Vec<&Difference> {
        let causes: Vec<&Difference> = self
            .differences
            .iter()
            .filter(|one| one.is_cause())
            .collect();
        let follows = |one: &Difference| matches!(one, Difference::Dependency { .. });
        if causes.is_empty() && !self.differences.iter().any(follows) {
            self.differences.iter().collect()
        } else {
            causes
        }
    }
}

/// An action's explanation. `None` for one whose report does not hold what its key was made of.
pub(super) fn explain(history: &History, report: &Report, action: &Action) -> Option<Explained> {
    let now = Side::of(report, action)?;
    let nearest = same(history, report, action).or_else(|| like(history, now));
    Some(match nearest {
        Some((run, differences)) => Explained {
            against: Some(run),
            differences,
        },
        None => Explained {
            against: None,
            differences: Vec::new(),
        },
    })
}

type Found = (String, Vec<Difference>);

/// The same action's last run.
fn same(history: &History, report: &Report, action: &Action) -> Option<Found> {
    let now = Side::of(report, action)?;
    history.before(&report.run_id).find_map(|earlier| {
        let then = Side::of(earlier, earlier.action(&action.id)?)?;
        Some((earlier.run_id.clone(), between(then, now)))
    })
}

/// The last run of an action that is the same but for what gives it its id: features, profile
/// settings, flags, the compiler; or, if there is none, the version of its package. Of several
/// in one run the one that differs least.
fn like(history: &History, now: Side<'_>) -> Option<Found> {
    let own: HashSet<&str> = now
        .report
        .actions
        .iter()
        .map(|one| one.id.as_str())
        .collect();
    for is_like in [is_same_version, is_same_unit] {
        for earlier in history.before(&now.report.run_id) {
            let candidates = earlier
                .actions
                .iter()
                .filter(|other| !own.contains(other.id.as_str()) && is_like(now.action, other))
                .filter_map(|other| Some(between(Side::of(earlier, other)?, now)));
            if let Some(least) = candidates.min_by_key(Vec::len) {
                return Some((earlier.run_id.clone(), least));
            }
        }
    }
    None
}

fn is_same_version(one: &Action, other: &Action) -> bool {
    one.package == other.package && is_same_unit(one, other)
}

fn is_same_unit(one: &Action, other: &Action) -> bool {
    one.package_name() == other.package_name()
        && one.unit == other.unit
        && one.kind == other.kind
        && match (&one.inputs, &other.inputs) {
            (Some(one), Some(other)) => one.profile == other.profile && one.target == other.target,
            _ => true,
        }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::history::History;
    use super::*;
    use crate::commands::explain::tests::{built, report};

    fn against(history: Vec<Value>, id: &str) -> Option<String> {
        let history = History::with(history.into_iter().map(report).collect());
        let newest = history.reports().next().unwrap();
        explain(&history, newest, newest.action(id).unwrap())
            .unwrap()
            .against
    }

    fn run(id: &str, actions: Value) -> Value {
        json!({"schema": 1, "run_id": id, "success": true, "actions": actions})
    }

    #[test]
    fn the_same_action_comes_before_one_that_is_like_it() {
        let history = vec![
            run("4", json!([built("a-1", "a 1.0.0", 4)])),
            run(
                "3",
                json!([{"id": "a-1", "package": "a 1.0.0", "kind": "compile",
                             "outcome": "hit"}]),
            ),
            run("2", json!([built("a-2", "a 1.0.0", 2)])),
            run("1", json!([built("a-1", "a 1.0.0", 1)])),
        ];
        assert_eq!(against(history, "a-1").as_deref(), Some("1"));
    }

    #[test]
    fn an_action_with_another_id_is_found_by_what_it_is() {
        let history = vec![
            run("3", json!([built("a-3", "a 1.0.0", 3)])),
            run("2", json!([built("a-2", "a 0.9.0", 2)])),
            run("1", json!([built("a-1", "a 1.0.0", 1)])),
        ];
        assert_eq!(against(history, "a-3").as_deref(), Some("1"));
        let history = vec![
            run(
                "3",
                json!([built("a-3", "a 1.0.0", 3), built("a-2", "a 0.9.0", 3)]),
            ),
            run("2", json!([built("a-2", "a 0.9.0", 2)])),
        ];
        // That one is another action of the same build.
        assert_eq!(against(history, "a-3"), None);
    }
}
