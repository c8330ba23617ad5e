//! Executions under way, over all builds, so that the same action runs once.
//!
//! An execution belongs to everyone who waits for it, and ends when nobody does.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;
use tokio::task::AbortHandle;
use vx_core::{Digest, Output};

use crate::execute::end::ExecutionEnd;

/// How far an execution is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Whether its program was started.
    pub(crate) started: bool,
    /// Outputs that are stored while it still runs.
    pub(crate) early: Vec<Output>,
    /// How it ended.
    pub(crate) end: Option<Arc<ExecutionEnd>>,
}

/// All executions under way, by what they are expected to be keyed by.
#[derive(Default)]
pub(crate) struct InFlight {
    entries: Mutex<HashMap<Digest, Weak<Shared>>>,
}

struct Shared {
    progress: watch::Receiver<Progress>,
    owner: String,
    task: AbortHandle,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A part in an execution.
pub(crate) struct Handle {
    shared: Arc<Shared>,
    /// Whether another build had started it.
    pub(crate) joined: bool,
}

impl Handle {
    /// How far it is.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.shared.progress.clone()
    }

    /// The run that started it.
    pub(crate) fn owner(&self) -> &str {
        &self.shared.owner
    }
}

impl InFlight {
    /// Takes part in the execution under way for `fingerprint`, or starts one.
    pub(crate) fn join_or_start<F>(
        self: &Arc<Self>,
        fingerprint: Digest,
        owner: &str,
        start: impl FnOnce(watch::Sender<Progress>) -> F,
    ) -> Handle
    where
        F: Future<Output = ExecutionEnd> + Send + 'static,
    {
        let mut entries = self.lock();
        if let Some(shared) = entries.get(&fingerprint).and_then(Weak::upgrade) {
            return Handle {
                joined: shared.owner != owner,
                shared,
            };
        }
        let (sender, progress) = watch::channel(Progress::default());
        let table = Arc::clone(self);
        let running = start(sender.clone());
        let task = tokio::spawn(async move {
            let end = running.await;
            // First out of the table, then the word: who comes between finds the result.
            table.lock().remove(&fingerprint);
            sender.send_modify(|progress| progress.end = Some(Arc::new(end)));
        });
        let shared = Arc::new(Shared {
            progress,
            owner: owner.to_owned(),
            task: task.abort_handle(),
        });
        entries.retain(|_, entry| entry.strong_count() > 0);
        entries.insert(fingerprint, Arc::downgrade(&shared));
        Handle {
            shared,
            joined: false,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Weak<Shared>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    fn failed() -> ExecutionEnd {
        ExecutionEnd::Broken("test".to_owned())
    }

    #[tokio::test]
    async fn two_builds_share_one_execution() {
        let table = Arc::new(InFlight::default());
        let digest = Digest::of(b"a");
        let (go, gone) = oneshot::channel::<()>();
        let one = table.join_or_start(digest, "one", |_| async {
            gone.await.unwrap();
            failed()
        });
        let two = table.join_or_start(digest, "two", |_| async { panic!("ran twice") });
        assert!(!one.joined);
        assert!(two.joined);
        assert_eq!(two.owner(), "one");
        drop(one);
        go.send(()).unwrap();
        let mut progress = two.progress();
        let seen = progress.wait_for(|progress| progress.end.is_some()).await;
        assert!(seen.is_ok());
        let three = table.join_or_start(digest, "three", |_| async { failed() });
        assert!(!three.joined);
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_cancelled() {
        let table = Arc::new(InFlight::default());
        let (alive, dead) = oneshot::channel::<()>();
        let handle = table.join_or_start(Digest::of(b"a"), "one", |_| async {
            let _alive = alive;
            std::future::pending::<()>().await;
            failed()
        });
        drop(handle);
        assert!(dead.await.is_err());
    }
}
