//! Hears from a guard, and sees to it that it answers.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use vx_core::ServiceError;

use crate::fault::{Stop, Tried};
use crate::guard::spec::Report;
use crate::meter::Charge;
use crate::spawner::{Process, Reports};

/// How often a guard is asked whether it is there.
const BEAT: Duration = Duration::from_secs(1);

/// How many questions may stay unanswered. Beats that this process itself missed are not made up
/// for, so that a machine that stood still ends nothing.
const UNANSWERED: u32 = 4;

/// How many beats building a root may take.
const SET_UP: u32 = 60;

/// Waits for the report that says how it went, and for the end of everything it is about.
///
/// # Errors
/// When the guard does not answer any more.
pub(crate) async fn attend(
    control: &mut Reports,
    process: &Process,
    charge: &Charge,
    ended: &CancellationToken,
) -> Result<Option<Report>, Stop> {
    let last = listen(control, process, charge).await?;
    if !matches!(last, Some(Report::Ended { .. } | Report::Exceeded { .. })) {
        process.end().await.tried("wait for a guard")?;
    }
    ended.cancel();
    Ok(last)
}

async fn listen(
    control: &mut Reports,
    process: &Process,
    charge: &Charge,
) -> Result<Option<Report>, Stop> {
    let mut beats = beats();
    let mut ready = false;
    let mut unanswered = 0;
    loop {
        let report = tokio::select! {
            report = control.next() => report.tried("hear from a guard")?,
            _ = beats.tick() => {
                if unanswered >= if ready { UNANSWERED } else { SET_UP } {
                    process.kill();
                    return Err(silent(charge));
                }
                unanswered += 1;
                if ready {
                    control.ask();
                }
                continue;
            }
        };
        match report {
            Some(Report::Ready { setup }) => {
                tracing::trace!(?setup, "the ground stands");
                ready = true;
                unanswered = 0;
            }
            Some(Report::Alive { memory, disk }) => {
                unanswered = 0;
                if let Some(what) = charge.weigh(memory, disk) {
                    control.order_end(what);
                }
            }
            last => return Ok(last),
        }
    }
}

fn beats() -> Interval {
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beats
}

fn silent(charge: &Charge) -> Stop {
    Stop::Service(ServiceError::Failed(format!(
        "what guards {} does not answer; it may have been stopped, so the action was ended: \
         build again",
        charge.label()
    )))
}
