//! Executions' progress, as events for the loop.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use vx_core::Output;

use crate::execute::end::ExecutionEnd;
use crate::execute::in_flight::Progress;

/// Something that happened to an execution: the unit, the try it belongs to, and what.
pub(super) enum Event {
    Started(usize, u32),
    Early(usize, u32, Vec<Output>),
    End(usize, u32, Arc<ExecutionEnd>),
}

/// Turns an execution's progress into events.
pub(super) async fn forward(
    unit: usize,
    generation: u32,
    mut progress: watch::Receiver<Progress>,
    events: mpsc::Sender<Event>,
) {
    let mut started = false;
    let mut early = 0;
    loop {
        let seen = progress.borrow_and_update().clone();
        if seen.started && !started {
            started = true;
            if events.send(Event::Started(unit, generation)).await.is_err() {
                return;
            }
        }
        if seen.early.len() != early || (seen.end.is_none() && early > 0) {
            early = seen.early.len();
            let event = Event::Early(unit, generation, seen.early);
            if events.send(event).await.is_err() {
                return;
            }
        }
        if let Some(end) = seen.end {
            // The loop is gone when the build is; nobody is left to tell.
            let _ = events.send(Event::End(unit, generation, end)).await;
            return;
        }
        if progress.changed().await.is_err() {
            return;
        }
    }
}
