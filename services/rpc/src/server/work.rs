//! Work that leaves the connections' threads, and counts of what a connection has open.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::task::Poll;

use tokio::runtime::Handle as Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use vx_core::{ServiceError, ServiceResult};

/// Work on the service's own runtime; dropping it cancels the work.
pub(crate) struct Task<T> {
    running: JoinHandle<ServiceResult<T>>,
}

impl<T: Send + 'static> Task<T> {
    pub(crate) fn spawn(
        runtime: &Runtime,
        work: impl Future<Output = ServiceResult<T>> + Send + 'static,
    ) -> Self {
        Self {
            running: runtime.spawn(work),
        }
    }

    pub(crate) async fn outcome(mut self) -> ServiceResult<T> {
        match (&mut self.running).await {
            Ok(outcome) => outcome,
            Err(ended) if ended.is_panic() => Err(mistake()),
            Err(_) => Err(ServiceError::failed("the request was cancelled")),
        }
    }
}

fn mistake() -> ServiceError {
    ServiceError::failed("the service made a mistake and gave this request up; its log says more")
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// Does `work` on the runtime unless `over` comes first.
pub(crate) async fn run<T: Send + 'static>(
    runtime: &Runtime,
    over: &CancellationToken,
    work: impl Future<Output = ServiceResult<T>> + Send + 'static,
) -> ServiceResult<T> {
    if over.is_cancelled() {
        return Err(ServiceError::Revoked);
    }
    tokio::select! {
        biased;
        () = over.cancelled() => Err(ServiceError::Revoked),
        outcome = Task::spawn(runtime, work).outcome() => outcome,
    }
}

/// As [`run`], for work that is mostly answered from memory: it is tried here first, which
/// spares the answer two changes of threads, and goes to the runtime where it has to wait.
///
/// Only for work that does no file work of its own before it waits.
pub(crate) async fn run_at_hand<T: Send + 'static>(
    runtime: &Runtime,
    over: &CancellationToken,
    work: impl Future<Output = ServiceResult<T>> + Send + 'static,
) -> ServiceResult<T> {
    if over.is_cancelled() {
        return Err(ServiceError::Revoked);
    }
    let mut work = Box::pin(work);
    // A panic is the request's end here too, and not the connections' thread's.
    let first = poll_fn(|context| {
        let _entered = runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        Poll::Ready(polled)
    });
    match first.await {
        Ok(Poll::Ready(outcome)) => outcome,
        Ok(Poll::Pending) => run(runtime, over, work).await,
        Err(_) => Err(mistake()),
    }
}

/// The streams that one connection has open.
pub(crate) struct Streams {
    open: Cell<usize>,
    limit: usize,
}

impl Streams {
    pub(crate) fn new(limit: usize) -> Rc<Self> {
        Rc::new(Self {
            open: Cell::new(0),
            limit,
        })
    }

    pub(crate) fn open(self: &Rc<Self>) -> ServiceResult<StreamGuard> {
        if self.open.get() >= self.limit {
            return Err(ServiceError::Overloaded(format!(
                "this connection has {} streams open, and may have no more",
                self.limit
            )));
        }
        self.open.set(self.open.get() + 1);
        Ok(StreamGuard {
            streams: self.clone(),
        })
    }
}

/// One open stream.
pub(crate) struct StreamGuard {
    streams: Rc<Streams>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.open.set(self.streams.open.get() - 1);
    }
}
