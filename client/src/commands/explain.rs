//! `vx explain`: a build's report, as it is or told to a person.

mod arguments;
mod compare;
mod diff;
mod difference;
mod history;
mod nearest;
mod told;
mod why;

use std::collections::HashMap;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use self::history::History;
use self::nearest::Explained;
use super::Context;
use crate::args::ExplainArgs;
use crate::error::{CommandError, CommandResult};
use crate::output;
use crate::report::{self, Report};
use crate::request::Schedule;

/// Prints what is asked of the reports of the workspace that the caller is in.
pub(crate) async fn run(context: Context<'_>, args: &ExplainArgs) -> CommandResult {
    let request = context
        .caller
        .request(args.manifest.selection(), Schedule::default());
    let orchestrator = context.aether.start(context.shell).await?;
    let project = orchestrator
        .locate(request)
        .await
        .map_err(|error| CommandError::service("looking for the workspace", &error))?;
    let history = History::of(Path::new(&project.workspace));
    output::answer(&answer(&history, args)?)
}

fn answer(history: &History, args: &ExplainArgs) -> CommandResult<String> {
    if let Some(from) = args.diff.first() {
        let (from, to) = ends(history, from, args.diff.get(1))?;
        let diff = diff::between_runs(history, history.report(&from)?, history.report(&to)?);
        return Ok(if args.json {
            json(&diff)
        } else {
            diff::told(&diff)
        });
    }
    let run = chosen(history, args)?;
    if let Some(package) = &args.why {
        let why = why::follow(history, history.report(&run)?, package)?;
        return Ok(if args.json {
            json(&why)
        } else {
            why::told(&why)
        });
    }
    let explain = |report: &Report| explained(history, report);
    if args.json {
        let text = report::read(&history.path(&run))?;
        // One of a newer vx is printed as it is.
        return Ok(match history.report(&run) {
            Ok(report) => with_explanations(&text, &explain(report)).unwrap_or(text),
            Err(_) => text,
        });
    }
    let report = history.report(&run)?;
    Ok(told::told(report, &explain(report)))
}

/// The run that is asked about.
fn chosen(history: &History, args: &ExplainArgs) -> CommandResult<String> {
    if args.last_miss {
        return history
            .last_miss()
            .map(|report| report.run_id.clone())
            .ok_or_else(|| {
                CommandError::failure("no run that is kept built anything")
                    .help("`vx explain` tells of the last run")
            });
    }
    history.resolve(args.run.as_deref().unwrap_or("latest"))
}

/// The two runs that are compared. Without a second one it is the last; the last alone is
/// compared with the one before it.
fn ends(history: &History, from: &str, to: Option<&String>) -> CommandResult<(String, String)> {
    let to = history.resolve(to.map_or("latest", String::as_str))?;
    let mut from = history.resolve(from)?;
    if from == to {
        from = history.resolve("previous")?;
    }
    Ok((from, to))
}

/// Why each action that ran did, by its id.
fn explained(history: &History, report: &Report) -> HashMap<String, Explained> {
    report
        .actions
        .iter()
        .filter(|action| action.built())
        .filter_map(|action| {
            let explained = nearest::explain(history, report, action)?;
            Some((action.id.clone(), explained))
        })
        .collect()
}

/// A report with the explanations in its actions.
fn with_explanations(text: &str, explained: &HashMap<String, Explained>) -> Option<String> {
    let mut report: Value = serde_json::from_str(text).ok()?;
    for action in report.get_mut("actions")?.as_array_mut()? {
        let id = action.get("id").and_then(Value::as_str);
        if let Some(explained) = id.and_then(|id| explained.get(id)) {
            let explained = serde_json::to_value(explained).ok()?;
            action
                .as_object_mut()?
                .insert("explained".to_owned(), explained);
        }
    }
    Some(json(&report))
}

fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(value).expect("plain values always serialise");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A report from its JSON.
    pub(super) fn report(value: Value) -> Report {
        report::parse(&value.to_string(), Path::new("r")).unwrap()
    }

    /// An action that ran on a `src/lib.rs` of this content.
    pub(super) fn built(id: &str, package: &str, content: u8) -> Value {
        json!({
            "id": id, "package": package, "unit": "lib", "kind": "compile",
            "outcome": "built", "key": format!("key {content}"), "reason": "changed",
            "parts": {
                "static_digest": [1],
                "reads": [[{"place": {"Checkout": "src/lib.rs"}, "kind": "Content"},
                           {"Content": [content]}]],
                "dependencies": [], "env": [], "checkout": null,
            },
            "inputs": {"profile": "dev", "argv": ["rustc"], "dependencies": []},
        })
    }

    /// An action that ran on its own unchanged sources and another action's output.
    pub(super) fn built_with(id: &str, package: &str, on: &str, content: u8) -> Value {
        let mut action = built(id, package, 0);
        action["key"] = json!(format!("{id} {content}"));
        action["parts"]["dependencies"] =
            json!([{"name": format!("/vx/target/debug/deps/lib{on}.rmeta"), "digest": [content]}]);
        action["inputs"]["dependencies"] = json!([on]);
        action
    }

    #[test]
    fn a_report_is_printed_with_why() {
        let history = History::with(vec![
            report(json!({"schema": 1, "run_id": "2", "success": true,
                          "actions": [built("a-1", "a 1.0.0", 2)]})),
            report(json!({"schema": 1, "run_id": "1", "success": true,
                          "actions": [built("a-1", "a 1.0.0", 1)]})),
        ]);
        let found = explained(&history, history.report("2").unwrap());
        let text = json!({"actions": [{"id": "a-1"}, {"id": "b-1"}]}).to_string();
        let told: Value = serde_json::from_str(&with_explanations(&text, &found).unwrap()).unwrap();
        assert_eq!(
            told["actions"][0]["explained"],
            json!({"against": "1", "differences": [
                {"kind": "path", "path": "src/lib.rs", "what": "content", "change": "changed"},
            ]})
        );
        assert!(told["actions"][1].get("explained").is_none());
    }

    #[test]
    fn runs_are_found_by_words_and_ids() {
        let run = |id: &str| report(json!({"schema": 1, "run_id": id, "success": true}));
        let history = History::with(vec![run("3"), run("2"), run("1")]);
        let two = |from: &str, to: Option<&str>| {
            ends(&history, from, to.map(str::to_owned).as_ref()).unwrap()
        };
        assert_eq!(two("1", None), ("1".to_owned(), "3".to_owned()));
        assert_eq!(two("latest", None), ("2".to_owned(), "3".to_owned()));
        assert_eq!(two("1", Some("previous")), ("1".to_owned(), "2".to_owned()));
        let error = history.resolve("../x").unwrap_err();
        assert!(error.causes[0].contains("3, 2, 1"), "{error:?}");
        assert!(error.help.is_some());
        assert!(
            chosen(
                &history,
                &ExplainArgs {
                    last_miss: true,
                    ..Default::default()
                }
            )
            .is_err()
        );
    }
}
