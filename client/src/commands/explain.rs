//! `vx explain`: a build's report, as it is or told to a person.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use vx_core::orchestrator::ActionOutcome;

use super::Context;
use crate::args::ExplainArgs;
use crate::connect;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::report::{self, Action, Report};
use crate::request::Schedule;

/// Prints a report of the workspace that the caller is in.
pub(crate) async fn run(context: Context<'_>, args: &ExplainArgs) -> CommandResult {
    let request = context
        .caller
        .request(args.manifest.selection(), Schedule::default());
    let orchestrator = connect::start(&context.home, context.shell).await?;
    let project = orchestrator
        .locate(request)
        .await
        .map_err(|error| CommandError::service("looking for the workspace", &error))?;
    let path = report::path(Path::new(&project.workspace), args.run.as_deref())?;
    let text = report::read(&path)?;
    if args.json {
        return output::answer(&text);
    }
    output::answer(&told(&report::parse(&text, &path)?))
}

/// A report in words: what did not come from the store, why, and what was moved.
fn told(report: &Report) -> String {
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
    if let Some(error) = &report.error {
        text.push_str(&format!("\n{}\n", error.trim_end()));
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
            .filter(|action| action.outcome == outcome)
            .collect();
        if !actions.is_empty() {
            text.push_str(&format!("\n{title}\n"));
            for action in actions {
                text.push_str(&action_line(action));
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

fn action_line(action: &Action) -> String {
    let mut line = format!(
        "  {:>8}  {} ({}",
        milliseconds(action.duration_ms),
        action.package,
        action.kind
    );
    if let Some(unit) = &action.unit {
        line.push_str(&format!(" {unit}"));
    }
    line.push(')');
    if let Some(reason) = action.reason.as_ref().filter(|reason| !reason.is_empty()) {
        line.push_str(&format!(": {reason}"));
    }
    line.push('\n');
    line
}

/// The numbers in `value` by name, bytes as such.
fn flatten(name: &str, value: &Value, into: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let field = field.replace('_', " ");
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
            "totals": {"actions": 3, "hit": 1, "built": 1, "waited": 1, "failed": 0, "skipped": 0},
            "actions": [
                {"id": 0, "package": "memchr v2.7.4", "kind": "compile", "outcome": "hit",
                 "key": "aa", "reason": null, "duration_ms": 0},
                {"id": 1, "package": "ripgrep v15.1.0", "unit": "bin rg", "kind": "compile",
                 "outcome": "built", "key": "bb", "reason": "crates/core/main.rs changed",
                 "duration_ms": 810.5},
                {"id": 2, "package": "globset v0.4.18", "kind": "compile", "outcome": "waited",
                 "key": "cc", "duration_ms": 12}
            ],
            "transfer": {"direct": 3145728, "relayed": 0, "placed": {"linked": 1024}}
        }"#;
        let report = report::parse(text, Path::new("r")).unwrap();
        assert_eq!(
            told(&report),
            "Run r-1 succeeded in 0.83s
Actions 3: 1 hit, 1 built, 1 waited for

Built
     0.81s  ripgrep v15.1.0 (compile bin rg): crates/core/main.rs changed

Waited for another build
     0.01s  globset v0.4.18 (compile)

Moved
  direct: 3.0 MiB
  relayed: 0 B
  placed, linked: 1.0 KiB
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
