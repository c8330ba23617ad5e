//! `vx build`.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::mpsc;
use tokio::time::{Interval, MissedTickBehavior, interval};
use vx_core::orchestrator::{BuildEvent, BuildObserver, BuildOutcome, BuildRequest, Orchestrator};
use vx_core::{ServiceError, ServiceResult};

use super::Context;
use crate::args::{BuildArgs, PlanArg};
use crate::error::{CommandError, CommandResult};
use crate::exit_code::ExitCode;
use crate::output::{BuildView, Shell};

/// Events on their way to the screen: a burst of hits; more make the orchestrator wait.
const EVENTS: usize = 256;

/// Builds.
pub(crate) async fn run(context: Context<'_>, args: &BuildArgs) -> CommandResult {
    let ask = args.ask()?;
    let request = context.caller.request(ask.selection, ask.schedule);
    let orchestrator = context.aether.start(context.shell).await?;
    if let Some(plan) = args.plan {
        let fresh = plan == PlanArg::Fresh;
        let told = orchestrator.plan(request, fresh).await;
        let json = told.map_err(|error| CommandError::service("planning", &error))?;
        return print(&json);
    }
    build(&*orchestrator, request, context.shell, context.started).await?;
    Ok(())
}

/// Prints a plan. Whoever reads it may go before its end.
fn print(json: &str) -> CommandResult {
    match writeln!(std::io::stdout().lock(), "{json}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(CommandError::failure("the plan can't be printed").because(error))
        }
        _ => Ok(()),
    }
}

/// Builds, shows what happens, and gives the outcome of a build that succeeded.
pub(crate) async fn build(
    orchestrator: &dyn Orchestrator,
    request: BuildRequest,
    shell: &mut Shell,
    started: Instant,
) -> CommandResult<BuildOutcome> {
    let (events, mut received) = mpsc::channel(EVENTS);
    let mut view = BuildView::new(shell, Instant::now());
    let mut building = orchestrator.build(request, Arc::new(Forward(events)));
    let mut ticks = view.tick_every().map(|every| {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks
    });
    let result = loop {
        tokio::select! {
            biased;
            Some(event) = received.recv() => view.event(&event, Instant::now()),
            result = &mut building => break result,
            () = tick(&mut ticks) => view.tick(Instant::now()),
        }
    };
    while let Ok(event) = received.try_recv() {
        view.event(&event, Instant::now());
    }
    match result {
        Ok(outcome) => {
            view.finish(&outcome, started.elapsed());
            match &outcome.result {
                Ok(()) => Ok(outcome),
                Err(failure) => Err(CommandError::silent(ExitCode::of_build_failure(failure))),
            }
        }
        Err(error) => {
            view.abandon();
            Err(CommandError::service("building", &error))
        }
    }
}

async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => {
            ticks.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Hands events over to the task that draws.
struct Forward(mpsc::Sender<BuildEvent>);

#[async_trait]
impl BuildObserver for Forward {
    async fn event(&self, event: BuildEvent) -> ServiceResult<()> {
        self.0
            .send(event)
            .await
            .map_err(|_| ServiceError::disconnected("vx", "it no longer shows this build"))
    }
}

#[cfg(test)]
mod tests {
    use vx_core::orchestrator::{BuildFailure, MessageLevel};

    use super::super::test_support::{Scripted, request, succeeded};
    use super::*;
    use crate::output::test_support::Screen;
    use crate::output::{Look, Verbosity};

    const PLAIN: Look = Look {
        verbosity: Verbosity::Normal,
        color: false,
        progress: false,
    };

    fn outcome(result: Result<(), BuildFailure>) -> BuildOutcome {
        BuildOutcome {
            result,
            ..succeeded()
        }
    }

    async fn built(scripted: &Scripted, look: Look) -> (CommandResult<BuildOutcome>, String) {
        let screen = Screen::default();
        let mut shell = screen.shell(look);
        let result = build(scripted, request(), &mut shell, Instant::now()).await;
        (result, screen.take())
    }

    fn many_messages(count: usize) -> Vec<BuildEvent> {
        (0..count)
            .map(|number| BuildEvent::Message {
                level: MessageLevel::Rendered,
                text: format!("line {number}"),
            })
            .collect()
    }

    #[tokio::test]
    async fn every_event_is_shown_in_order_before_the_end() {
        let scripted = Scripted::new(many_messages(3 * EVENTS), Some(Ok(outcome(Ok(())))));
        let (result, text) = built(&scripted, PLAIN).await;
        result.unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3 * EVENTS + 1);
        assert_eq!(lines[3 * EVENTS - 1], format!("line {}", 3 * EVENTS - 1));
        assert!(lines[3 * EVENTS].starts_with("    Finished `dev` profile"));
        assert_eq!(*scripted.requests.lock().unwrap(), [request()]);
    }

    #[tokio::test]
    async fn a_failed_build_exits_101_and_a_failed_engine_does_not() {
        let failed = |failure| Scripted::new(vec![], Some(Ok(outcome(Err(failure)))));
        let actions = failed(BuildFailure::Actions {
            failed: vec!["could not compile `x`".to_owned()],
        });
        let (result, text) = built(&actions, PLAIN).await;
        assert_eq!(result.unwrap_err(), CommandError::silent(ExitCode::Failure));
        assert_eq!(text, "error: could not compile `x`\n");
        let engine = failed(BuildFailure::Engine("the store is full".to_owned()));
        let (result, _) = built(&engine, PLAIN).await;
        assert_eq!(result.unwrap_err().code, ExitCode::Engine);
    }

    #[tokio::test]
    async fn a_lost_orchestrator_ends_the_build_at_once() {
        let lost = ServiceError::disconnected("vx-aether", "end of file");
        let scripted = Scripted::new(many_messages(1), Some(Err(lost)));
        let look = Look {
            progress: true,
            ..PLAIN
        };
        let (result, text) = built(&scripted, look).await;
        let error = result.unwrap_err();
        assert_eq!(error.code, ExitCode::Engine);
        assert_eq!(error.what, "vx-aether went away while building");
        assert_eq!(text, "line 0\n");
    }

    #[tokio::test]
    async fn a_signal_drops_the_build() {
        let scripted = Scripted::new(vec![], None);
        let (told, mut signals) = crate::signals::Signals::pretended();
        told.send_replace(Some(ExitCode::Interrupted));
        assert_eq!(signals.seen(), Some(ExitCode::Interrupted));
        tokio::select! {
            biased;
            code = signals.first() => assert_eq!(code.number(), 130),
            _ = built(&scripted, PLAIN) => panic!("it never ends"),
        }
    }
}
