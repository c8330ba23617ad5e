//! Which input of an action changed first: its key's parts beside those of the last run that
//! has them.

use std::collections::HashMap;
use std::path::Path;

use vx_core::orchestrator::ActionOutcome;
use vx_core::readset::{Read, ReadPlace};

use crate::report::{self, Parts, Report};

/// How many earlier reports are read at most: enough to meet the last time each action ran,
/// and an end to it in a project that only ever hits.
const EARLIER: usize = 20;

/// What changed, by the id of each action that ran again.
pub(super) fn inputs(workspace: &Path, report: &Report) -> HashMap<String, String> {
    between(
        report,
        report::older(workspace, &report.run_id).take(EARLIER),
    )
}

fn between(report: &Report, older: impl Iterator<Item = Report>) -> HashMap<String, String> {
    let mut open: HashMap<&str, &Parts> = report
        .actions
        .iter()
        .filter(|action| action.outcome == Some(ActionOutcome::Built))
        .filter_map(|action| Some((action.id.as_str(), action.parts.as_ref()?)))
        .collect();
    let mut changed = HashMap::new();
    for earlier in older {
        if open.is_empty() {
            break;
        }
        for action in &earlier.actions {
            if let Some(then) = &action.parts
                && let Some(now) = open.remove(action.id.as_str())
                && let Some(first) = first_difference(then, now)
            {
                changed.insert(action.id.clone(), first);
            }
        }
    }
    changed
}

/// The first difference in the order in which they are likely to be the cause: what a person
/// edits, then what follows from it.
fn first_difference(then: &Parts, now: &Parts) -> Option<String> {
    for (read, found) in &now.reads {
        match then.reads.iter().find(|(known, _)| known == read) {
            Some((_, before)) if before == found => {}
            Some(_) => return Some(format!("{} changed", named(read))),
            None => return Some(format!("{} was not read before", named(read))),
        }
    }
    for (name, value) in &now.env {
        let before = then.env.iter().find(|(known, _)| known == name);
        if before.is_none_or(|(_, before)| before != value) {
            return Some(format!("the variable {name} changed"));
        }
    }
    if then.checkout != now.checkout {
        return Some("the checkout is elsewhere, and the output has its path in it".to_owned());
    }
    if then.static_digest != now.static_digest {
        return Some("its command line, toolchain or package sources changed".to_owned());
    }
    for part in &now.dependencies {
        let before = then
            .dependencies
            .iter()
            .find(|known| known.name == part.name);
        if before.is_none_or(|before| before.digest != part.digest) {
            return Some(format!("the dependency's output {} changed", part.name));
        }
    }
    let fewer =
        then.reads.len() != now.reads.len() || then.dependencies.len() != now.dependencies.len();
    fewer.then(|| "it reads or depends on less than before".to_owned())
}

fn named(read: &Read) -> String {
    match &read.place {
        ReadPlace::Checkout(path) if path.is_empty() => "the checkout's top directory".to_owned(),
        ReadPlace::Checkout(path) => path.to_string(),
        ReadPlace::CargoHome(path) => format!("$CARGO_HOME/{path}"),
        ReadPlace::Toolchain(path) => format!("the toolchain's {path}"),
        ReadPlace::Host(path) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reported(run: &str, outcome: &str, parts: &Value) -> Report {
        let text = json!({
            "schema": 1, "run_id": run, "success": true,
            "actions": [{"id": "a", "package": "a 1.0.0", "kind": "compile",
                         "outcome": outcome, "parts": parts}],
        });
        report::parse(&text.to_string(), Path::new("r")).unwrap()
    }

    fn parts() -> Value {
        json!({
            "static_digest": [1],
            "dependencies": [{"name": "libb.rmeta", "digest": [1]}],
            "reads": [[{"place": {"Checkout": "src/main.rs"}, "kind": "Content"}, {"Content": [1]}],
                      [{"place": {"Host": "/etc/x"}, "kind": "Existence"}, "Absent"]],
            "env": [["HOME", null]],
            "checkout": null,
        })
    }

    fn change(pointer: &str, value: Value) -> Option<String> {
        let mut now = parts();
        *now.pointer_mut(pointer).unwrap() = value;
        let older = [
            reported("3", "hit", &Value::Null),
            reported("2", "built", &parts()),
            reported("1", "built", &now),
        ];
        between(&reported("4", "built", &now), older.into_iter()).remove("a")
    }

    #[test]
    fn the_input_that_changed_is_named() {
        let told = |pointer, value| change(pointer, value).unwrap();
        assert_eq!(
            told("/reads/0/1", json!({"Content": [2]})),
            "src/main.rs changed"
        );
        assert_eq!(
            told("/reads/1/1", json!({"Kind": "file"})),
            "/etc/x changed"
        );
        assert_eq!(told("/env/0/1", json!([2])), "the variable HOME changed");
        assert!(told("/checkout", json!("/w")).starts_with("the checkout"));
        assert!(told("/static_digest", json!([2])).starts_with("its command line"));
        assert_eq!(
            told("/dependencies/0/digest", json!([2])),
            "the dependency's output libb.rmeta changed"
        );
    }

    #[test]
    fn what_did_not_change_is_not_told() {
        assert_eq!(change("/env/0/1", Value::Null), None);
    }
}
