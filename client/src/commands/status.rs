//! `vx status`: the daemons and what they have done. It starts none.

use serde::Serialize;
use vx_core::orchestrator::OrchestratorStatus;

use super::Context;
use crate::args::StatusArgs;
use crate::connect::Found;
use crate::error::{CommandError, CommandResult};
use crate::output::{self, bytes};

/// What `--json` prints.
#[derive(Serialize)]
struct Answer {
    /// `VX_HOME`.
    home: String,
    /// Whether an orchestrator of this build listens there.
    running: bool,
    /// Another build's orchestrator, where that listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    other_build: Option<String>,
    /// What it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    orchestrator: Option<OrchestratorStatus>,
}

/// Prints who runs.
pub(crate) async fn run(context: Context<'_>, args: &StatusArgs) -> CommandResult {
    let mut answer = Answer {
        home: context.aether.home().path().display().to_string(),
        running: false,
        other_build: None,
        orchestrator: None,
    };
    match context.aether.find().await? {
        Found::Nobody => {}
        Found::OtherBuild(other) => answer.other_build = Some(other.to_string()),
        Found::Ours(orchestrator) => {
            let status = orchestrator
                .status()
                .await
                .map_err(|error| CommandError::service("asking for its status", &error))?;
            answer.running = true;
            answer.orchestrator = Some(status);
        }
    }
    if args.json {
        let mut text = serde_json::to_string_pretty(&answer)
            .map_err(|error| CommandError::engine("the status can't be written").because(error))?;
        text.push('\n');
        return output::answer(&text);
    }
    output::answer(&told(&answer))
}

fn told(answer: &Answer) -> String {
    let Answer { home, .. } = answer;
    if let Some(other) = &answer.other_build {
        return format!(
            "{other} of another build of vx runs in {home}; the next build replaces it\n"
        );
    }
    let Some(status) = &answer.orchestrator else {
        return format!("vx-aether does not run in {home}; the next build starts it\n");
    };
    let mut text = format!(
        "vx-aether  process {}, up {}, {} under way, in {home}\n",
        status.pid,
        uptime(status.uptime_seconds),
        counted(status.builds, "build"),
    );
    text.push_str(&format!("vx-cass    {}\n", status.store_endpoint));
    match &status.store {
        Some(store) => {
            text.push_str(&format!(
                "           {} of {} in {}, {}, {}\n",
                bytes(store.bytes),
                bytes(store.limit),
                store.directory,
                counted(store.blobs, "blob"),
                counted(store.results, "result"),
            ));
            if store.set_aside > 0 {
                text.push_str(&format!(
                    "           {} set aside because the content had changed\n",
                    counted(store.set_aside, "blob")
                ));
            }
        }
        None => text.push_str("           could not be asked\n"),
    }
    if !keeps_what_is_made(status) {
        text.push_str("           does not keep results of actions that are not isolated\n");
    }
    text.push_str(&format!("vx-rhea    {}\n", status.executor_endpoint));
    match &status.executor {
        Some(executor) => {
            text.push_str(&format!(
                "           {} of {} running, {} since the start\n",
                counted(executor.running, "action"),
                executor.slots,
                executor.executed,
            ));
            if !executor.isolation_fault.is_empty() {
                text.push_str(&format!(
                    "           actions are not isolated: {}\n",
                    executor.isolation_fault
                ));
            }
            if !executor.trace_fault.is_empty() {
                text.push_str(&format!(
                    "           nor watched, so no result is kept: {}\n",
                    executor.trace_fault
                ));
            }
        }
        None => text.push_str("           could not be asked\n"),
    }
    text
}

/// Whether the store keeps results of the executor's actions, as far as both could be asked.
fn keeps_what_is_made(status: &OrchestratorStatus) -> bool {
    let (Some(store), Some(executor)) = (&status.store, &status.executor) else {
        return true;
    };
    store.accepts_unisolated || executor.isolation_fault.is_empty()
}

fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use vx_core::{ExecutorStatus, StoreStatus};

    use super::*;

    fn answer(orchestrator: Option<OrchestratorStatus>) -> Answer {
        Answer {
            home: "/v".to_owned(),
            running: orchestrator.is_some(),
            other_build: None,
            orchestrator,
        }
    }

    #[test]
    fn nobody_is_no_fault() {
        assert_eq!(
            told(&answer(None)),
            "vx-aether does not run in /v; the next build starts it\n"
        );
        let json = serde_json::to_value(answer(None)).unwrap();
        assert_eq!(json, serde_json::json!({"home": "/v", "running": false}));
    }

    #[test]
    fn it_tells_where_actions_are_not_isolated() {
        let status = OrchestratorStatus {
            store: Some(StoreStatus::default()),
            executor: Some(ExecutorStatus {
                isolation_fault: "refused".to_owned(),
                trace_fault: "no".to_owned(),
                ..ExecutorStatus::default()
            }),
            ..OrchestratorStatus::default()
        };
        let text = told(&answer(Some(status)));
        for line in [
            "does not keep results of actions that are not isolated",
            "actions are not isolated: refused",
            "nor watched, so no result is kept: no",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn it_tells_of_all_three() {
        let status = OrchestratorStatus {
            pid: 7,
            builds: 1,
            uptime_seconds: 3_720,
            store_endpoint: "unix:/v/cass.sock".to_owned(),
            store: Some(StoreStatus {
                directory: "/v/cass".to_owned(),
                blobs: 2,
                bytes: 1024,
                limit: 2048,
                results: 1,
                ..StoreStatus::default()
            }),
            executor_endpoint: "unix:/v/rhea.sock".to_owned(),
            executor: Some(ExecutorStatus {
                running: 1,
                slots: 2,
                executed: 9,
                ..ExecutorStatus::default()
            }),
        };
        assert_eq!(
            told(&answer(Some(status))),
            "vx-aether  process 7, up 1h 2m, 1 build under way, in /v
vx-cass    unix:/v/cass.sock
           1.0 KiB of 2.0 KiB in /v/cass, 2 blobs, 1 result
vx-rhea    unix:/v/rhea.sock
           1 action of 2 running, 9 since the start
"
        );
    }
}
