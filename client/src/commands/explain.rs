//! `vx explain`: a build's report, as it is or told to a person.

mod changed;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use vx_core::orchestrator::ActionOutcome;

use super::Context;
use crate::args::ExplainArgs;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::report::{self, Action, Report};
use crate::request::Schedule;

/// Prints a report of the workspace that the caller is in.
pub(crate) async fn run(context: Context<'_>, args: &ExplainArgs) -> CommandResult {
    let request = context
        .caller
        .request(args.manifest.selection(), Schedule::default());
    let orchestrator = context.aether.start(context.shell).await?;
    let project = orchestrator
        .locate(request)
        .await
        .map_err(|error| CommandError::service("looking for the workspace", &error))?;
    let workspace = Path::new(&project.workspace);
    let path = report::path(workspace, args.run.as_deref())?;
    let text = report::read(&path)?;
    if args.json {
        return output::answer(&text);
    }
    let report = report::parse(&text, &path)?;
    output::answer(&told(&report, &changed::inputs(workspace, &report)))
}

/// A report in words: what did not come from the store, why, and what was moved.
fn told(report: &Report, changed: &HashMap<String, String>) -> String {
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
                text.push_str(&action_line(action, changed.get(&action.id)));
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

fn action_line(action: &Action, changed: Option<&String>) -> String {
    let mut line = format!(
        "  {:>8}  {}",
        milliseconds(action.duration_ms),
        action.package,
    );
    match &action.unit {
        Some(unit) => line.push_str(&format!(" ({unit})")),
        None => line.push_str(&format!(" ({})", action.kind)),
    }
    let reason = action.reason.as_deref().and_then(|reason| match reason {
        "new" => Some("not built before"),
        // Which one says more than that one did.
        "changed" => changed.is_none().then_some("an input changed"),
        "lost" => Some("its result was lost from the store"),
        "path" => Some("its output has the checkout's path in it"),
        other => Some(other),
    });
    let waited = action.waited_for.as_ref().map(|run| format!("run {run}"));
    let notes: Vec<&str> = [reason, changed.map(String::as_str), waited.as_deref()]
        .into_iter()
        .flatten()
        .filter(|note| !note.is_empty())
        .collect();
    if !notes.is_empty() {
        line.push_str(&format!(": {}", notes.join("; ")));
    }
    line.push('\n');
    line
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
    use super::*;

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
        let changed = HashMap::from([("r".to_owned(), "main.rs changed".to_owned())]);
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
