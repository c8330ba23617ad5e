//! The life of a daemon: how it is started, says that it is ready, logs, and ends.
//!
//! A parent starts a daemon with [`spawn()`] and gives it two descriptors and nothing else: the
//! read end of a *lifeline*, which reports the end of file when the parent is gone by whatever
//! way, and the write end of a *ready* pipe. The kernel's parent-death signal would follow the
//! thread that spawned, not the process, so it is not used. Nothing here waits by sleeping.
//!
//! This module must not know what the daemons do.

mod log;
mod spawn;

use std::fs::File;
use std::future::Future;
use std::io::{self, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use rustix::io::FdFlags;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};

pub use log::{LOG_FILE_VARIABLE, LOG_LIMIT, LOG_VARIABLE, init_log};
pub use spawn::{SpawnError, Spawned, spawn, spawn_free};

/// The option that carries the lifeline's descriptor to a daemon.
pub const LIFELINE_OPTION: &str = "--lifeline";

/// The option that carries the ready pipe's descriptor to a daemon.
pub const READY_OPTION: &str = "--ready-fd";

/// What a daemon writes to its ready pipe when it serves.
const READY_LINE: &str = "ready";

/// What a daemon's report of its failure starts with.
const FAILED_PREFIX: &str = "failed: ";

/// Takes over a descriptor that was inherited by number, and keeps it from children.
fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    if descriptor <= 2 {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("descriptor {descriptor} is one of the standard ones, not an inherited pipe"),
        ));
    }
    // SAFETY: F_GETFD only asks whether the number names an open descriptor.
    if unsafe { libc::fcntl(descriptor, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the convention of `spawn` nothing else in this process owns it.
    let owned = unsafe { OwnedFd::from_raw_fd(descriptor) };
    rustix::io::fcntl_setfd(&owned, FdFlags::CLOEXEC)?;
    Ok(owned)
}

/// The read end of the pipe whose write end lives as long as whoever owns this process.
#[derive(Debug)]
pub struct Lifeline(Option<OwnedFd>);

impl Lifeline {
    /// The lifeline that `--lifeline FD` named; one that never ends where there was none.
    ///
    /// # Errors
    /// When the number does not name an open descriptor.
    pub fn from_args(descriptor: Option<RawFd>) -> io::Result<Self> {
        descriptor.map(adopt).transpose().map(Self)
    }

    /// Returns once the owner is gone.
    pub async fn closed(self) {
        let Some(descriptor) = self.0 else {
            return std::future::pending().await;
        };
        let mut receiver = match pipe::Receiver::from_owned_fd(descriptor) {
            Ok(receiver) => receiver,
            Err(error) => {
                // Without a lifeline to watch this process could outlive its owner for ever.
                tracing::error!(%error, "the lifeline can't be watched; ending");
                return;
            }
        };
        let mut buffer = [0_u8; 64];
        loop {
            match receiver.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// Where a daemon tells who started it how its start went.
#[derive(Debug)]
pub struct Ready(Option<File>);

impl Ready {
    /// The pipe that `--ready-fd FD` named; nothing is told where there was none.
    ///
    /// # Errors
    /// When the number does not name an open descriptor.
    pub fn from_fd(descriptor: Option<RawFd>) -> io::Result<Self> {
        Ok(Self(descriptor.map(adopt).transpose()?.map(File::from)))
    }

    /// Says that the daemon serves. Nobody left to read it is no fault.
    pub fn ready(self) {
        self.say(&format!("{READY_LINE}\n"));
    }

    /// Says why the daemon can't serve.
    pub fn failed(self, text: &str) {
        self.say(&format!("{FAILED_PREFIX}{text}\n"));
    }

    fn say(self, text: &str) {
        if let Some(mut file) = self.0
            && let Err(error) = file.write_all(text.as_bytes())
        {
            tracing::debug!(%error, "nobody waits for the start to end");
        }
    }
}

/// Returns once this process is asked to end: SIGTERM, SIGINT or SIGHUP.
///
/// The handlers are in place when this function returns, not only when its future is polled,
/// so a signal that arrives in between is not lost.
pub fn shutdown_signal() -> impl Future<Output = ()> + Send {
    let kinds = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ];
    let signals: Vec<_> = kinds
        .into_iter()
        .filter_map(|kind| {
            signal(kind)
                .inspect_err(|error| tracing::error!(%error, "a signal can't be handled"))
                .ok()
        })
        .collect();
    async move {
        if signals.is_empty() {
            return std::future::pending().await;
        }
        let waits = signals
            .into_iter()
            .map(|mut signal| Box::pin(async move { signal.recv().await }));
        futures::future::select_all(waits).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_descriptors_are_not_adopted() {
        assert!(Lifeline::from_args(Some(1)).is_err());
        assert!(Ready::from_fd(Some(999_999)).is_err());
    }
}
