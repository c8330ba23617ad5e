//! A report in words.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use vx_core::orchestrator::ActionOutcome;

use super::difference::Difference;
use super::nearest::Explained;
use crate::output;
use crate::report::{Action, Report};

/// How many differences of one action are told; the JSON has all of them.
const TOLD: usize = 4;

/// A report in words: what did not come from the store, why, and what was moved.
pub(super) fn told(report: &Report, explained: &HashMap<String, Explained>) -> String {
    let ended = if report.success {
        "succeeded"
    } else {
        "failed"
    };
    let mut text = format!(
        "Run {} {ended} in {}\nActions {}\n",
        report.run_id,
        milliseconds(report.duration_ms),
        output::totals(&report.totals),
    );
    match report.plan.as_deref() {
        Some("memo") => text.push_str("Plan remembered\n"),
        Some(source) => text.push_str(&format!("Plan made by {source}\n")),
        None => {}
    }
    for error in &report.errors {
        text.push_str(&format!("\nerror: {}\n", error.trim_end()));
    }
    for (title, outcome) in [
        ("Failed", ActionOutcome::Failed),
        ("Built", ActionOutcome::Built),
        ("Waited for another build", ActionOutcome::Waited),
        ("Skipped", ActionOutcome::Skipped),
    ] {
        let actions: Vec<&Action> = report
            .actions
            .iter()
            .filter(|action| action.outcome == Some(outcome))
            .collect();
        if !actions.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            for action in actions {
                text.push_str(&action_line(action, explained.get(&action.id)));
            }
        }
    }
    let mut moved = Vec::new();
    flatten("", &report.transfer, &mut moved);
    if !moved.is_empty() {
        text.push_str("\nMoved\n");
        for (name, value) in moved {
            text.push_str(&format!("  {name}: {value}\n"));
        }
    }
    text
}

fn action_line(action: &Action, explained: Option<&Explained>) -> String {
    let mut line = format!(
        "  {:>8}  {}",
        milliseconds(action.duration_ms),
        action.label()
    );
    let mut notes = why(action, explained);
    notes.extend(action.waited_for.iter().map(|run| format!("run {run}")));
    for why in &action.again {
        notes.push(format!("it ran again because {why}"));
    }
    if let Some(why) = &action.unpublished {
        notes.push(format!("its result was not kept: {why}"));
    }
    if !notes.is_empty() {
        line.push_str(&format!(": {}", notes.join("; ")));
    }
    line.push('\n');
    line
}

/// Why an action was no hit. What differs says more than the report's one word.
fn why(action: &Action, explained: Option<&Explained>) -> Vec<String> {
    let reason = action.reason.as_deref().filter(|reason| !reason.is_empty());
    let (against, differences) = match explained {
        Some(explained) => (explained.against.as_deref(), &explained.differences[..]),
        None => (None, &[][..]),
    };
    let mut notes = Vec::new();
    match (reason, against) {
        (Some("path"), _) => {
            notes.push("its output has a path of this checkout or machine in it".to_owned())
        }
        (Some("lost"), _) => notes.push("its result was lost from the store".to_owned()),
        (Some("new"), None) => notes.push("not built before".to_owned()),
        (Some("changed"), None) => {
            notes.push("an input changed, and no run that is kept says what it was".to_owned())
        }
        (Some("new" | "changed"), Some(run)) if differences.is_empty() => notes.push(format!(
            "nothing differs from run {run}, whose result is not in the store any more"
        )),
        (Some("new" | "changed") | None, _) => {}
        (Some(words), _) if action.unpublished.as_deref() == Some(words) => {}
        (Some(words), _) => notes.push(words.to_owned()),
    }
    // What came along with a dependency follows from it.
    let came_along = |one: &&Difference| one.is_dependency() == Some(false);
    let (along, told): (Vec<&Difference>, Vec<&Difference>) =
        differences.iter().partition(came_along);
    let direct = told.iter().any(|one| one.is_dependency().is_some());
    let told = if direct { told } else { [told, along].concat() };
    notes.extend(told.iter().take(TOLD).map(|one| one.words()));
    if told.len() > TOLD {
        notes.push(format!("and {} more", told.len() - TOLD));
    }
    notes
}

/// The numbers in `value` by name, bytes as such.
fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let field = field.trim_end_matches("_bytes").replace('_', " ");
                let name = if name.is_empty() {
                    field
                } else {
                    format!("{name}, {field}")
                };
                flatten(&name, value, into);
            }
        }
        Value::Array(items) => {
            for item in items {
                let label = item.get("peer").and_then(Value::as_str).unwrap_or(name);
                flatten(label, item, into);
            }
        }
        Value::Number(number) => match number.as_u64() {
            Some(bytes) => into.push((name.to_owned(), output::bytes(bytes))),
            None => into.push((name.to_owned(), number.to_string())),
        },
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

fn milliseconds(duration: f64) -> String {
    let seconds = (duration / 1000.0).max(0.0);
    output::elapsed(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::difference::{Change, What};
    use super::*;
    use crate::report;

    #[test]
    fn it_says_what_was_built_and_why() {
        let text = r#"{
            "schema": 1, "run_id": "r-1", "success": true, "duration_ms": 830, "added": [],
            "plan": "memo", "errors": [],
            "totals": {"actions": 3, "hit": 1, "built": 1, "waited": 1, "failed": 0, "skipped": 0},
            "actions": [
                {"id": "m", "package": "memchr 2.7.4", "unit": "lib", "kind": "compile",
                 "outcome": "hit", "key": "aa", "reason": null, "duration_ms": 0},
                {"id": "r", "package": "ripgrep 15.1.0", "unit": "bin \"rg\"",
                 "kind": "compile", "outcome": "built", "key": "bb", "reason": "changed",
                 "duration_ms": 810.5},
                {"id": "g", "package": "globset 0.4.18", "kind": "compile",
                 "outcome": "waited", "key": "cc", "waited_for": "r-0", "duration_ms": 12}
            ],
            "transfer": {"direct_bytes": 3145728, "relayed_bytes": 0, "placed_bytes": 1024}
        }"#;
        let report = report::parse(text, Path::new("r")).unwrap();
        let explained = Explained {
            against: Some("r-0".to_owned()),
            differences: vec![Difference::Path {
                path: "main.rs".to_owned(),
                what: What::Content,
                change: Change::Changed,
                was: None,
                now: None,
            }],
        };
        let changed = HashMap::from([("r".to_owned(), explained)]);
        assert_eq!(
            told(&report, &changed),
            "Run r-1 succeeded in 0.83s
Actions 3: 1 hit, 1 built, 1 waited for
Plan remembered

Built
     0.81s  ripgrep 15.1.0 (bin \"rg\"): main.rs changed

Waited for another build
     0.01s  globset 0.4.18 (compile): run r-0

Moved
  direct: 3.0 MiB
  relayed: 0 B
  placed: 1.0 KiB
"
        );
    }

    #[test]
    fn odd_numbers_do_no_harm() {
        assert_eq!(milliseconds(f64::NAN), "0.00s");
        assert_eq!(milliseconds(-1.0), "0.00s");
        assert_eq!(milliseconds(f64::MAX), "0.00s");
    }
}
