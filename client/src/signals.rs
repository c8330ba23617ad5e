//! Ctrl-C and SIGTERM.
//!
//! They are watched on a thread of their own, because the main one may be stuck in a write to
//! a terminal that is stopped or a pipe that nobody reads, and vx ends within a second all the
//! same. The first signal asks the main thread to end; a second one, or a main thread that does
//! not manage to, ends the process. Either way the orchestrator sees the connection close and
//! cancels the build.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit_code::ExitCode;

/// How long the main thread has to clear the progress line and return: enough to write a few
/// bytes, and well under the second that vx promises.
const GRACE: Duration = Duration::from_millis(500);

/// Tells of the first signal.
#[derive(Clone, Debug)]
pub(crate) struct Signals(watch::Receiver<Option<ExitCode>>);

impl Signals {
    /// Starts watching; from here on the signals do not end the process by themselves.
    pub(crate) fn watch() -> io::Result<Self> {
        let (told, receiver) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (mut interrupt, mut terminate) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::interrupt())?,
                signal(SignalKind::terminate())?,
            )
        };
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                runtime.block_on(async move {
                    let code = tokio::select! {
                        _ = interrupt.recv() => ExitCode::Interrupted,
                        _ = terminate.recv() => ExitCode::Terminated,
                    };
                    told.send_replace(Some(code));
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                        () = tokio::time::sleep(GRACE) => {}
                    }
                    std::process::exit(i32::from(code.number()));
                });
            })?;
        Ok(Self(receiver))
    }

    /// Returns at the first signal with the code to end with.
    pub(crate) async fn first(&mut self) -> ExitCode {
        match self.0.wait_for(Option::is_some).await {
            Ok(code) => code.unwrap_or(ExitCode::Interrupted),
            // The thread is gone only when the process is ending.
            Err(_) => std::future::pending().await,
        }
    }

    /// The code to end with, when a signal came already.
    pub(crate) fn seen(&self) -> Option<ExitCode> {
        *self.0.borrow()
    }

    /// For tests: signals that come when `told` says so.
    #[cfg(test)]
    pub(crate) fn pretended() -> (watch::Sender<Option<ExitCode>>, Self) {
        let (told, receiver) = watch::channel(None);
        (told, Self(receiver))
    }
}
