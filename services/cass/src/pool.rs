//! Threads for file work, so that none of it happens where calls are answered.
//!
//! Jobs never wait for other queued jobs, so any number of threads makes progress.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::{Semaphore, oneshot};
use vx_core::{ServiceError, ServiceResult};

use crate::limits::MAX_QUEUED_JOBS;

type Job = Box<dyn FnOnce() + Send>;

/// A bounded number of threads that work off a bounded queue.
pub(crate) struct Pool {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    stopped: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job's answer on its way.
pub(crate) struct Answer<T>(oneshot::Receiver<T>);

impl<T> Answer<T> {
    /// Waits for it; may be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> ServiceResult<T> {
        (&mut self.0)
            .await
            .map_err(|_| ServiceError::failed("a job of the store failed; its log says why"))
    }

    /// Whether it is there, so that waiting would not.
    pub(crate) fn is_there(&self) -> bool {
        !self.0.is_empty() || self.0.is_terminated()
    }
}

fn stopping() -> ServiceError {
    ServiceError::disconnected("the store", "it is shutting down")
}

impl Pool {
    /// Starts `threads` threads.
    pub(crate) fn start(threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let started = (0..threads)
            .map(|number| {
                let queue = Arc::clone(&queue);
                std::thread::Builder::new()
                    .name(format!("cass-io-{number}"))
                    .spawn(move || work(&queue))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(MAX_QUEUED_JOBS)),
            threads: Mutex::new(started),
        })
    }

    /// Queues a job, as soon as there is room for it.
    pub(crate) async fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> ServiceResult<Answer<T>> {
        let permit = Arc::clone(&self.room)
            .acquire_owned()
            .await
            .map_err(|_| stopping())?;
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move || {
            let value = job();
            drop(permit);
            // An answer nobody waits for any more is dropped here, off the caller's thread.
            drop(sender.send(value));
        }))?;
        Ok(Answer(receiver))
    }

    /// Queues a job and waits for its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> ServiceResult<T> {
        self.submit(job).await?.wait().await
    }

    /// Queues a job that only cleans up, without waiting for room: there is at most one for
    /// each stream. Once the pool is stopped it runs here and now.
    pub(crate) fn discard<T: Send + 'static>(&self, value: T) {
        drop(self.push(Box::new(move || drop(value))));
    }

    fn push(&self, job: Job) -> ServiceResult<()> {
        let mut jobs = self.queue.lock();
        if jobs.stopped {
            drop(jobs);
            return Err(stopping());
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.queue.changed.notify_one();
        Ok(())
    }

    /// Takes no more jobs, and returns when those that were queued are done.
    pub(crate) fn stop(&self) {
        self.room.close();
        self.queue.lock().stopped = true;
        self.queue.changed.notify_all();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A worker that is itself dropping the last handle can't wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

fn work(queue: &Queue) {
    loop {
        let mut jobs = queue.lock();
        let job = loop {
            if let Some(job) = jobs.waiting.pop_front() {
                break job;
            }
            if jobs.stopped {
                return;
            }
            jobs = queue
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        };
        drop(jobs);
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job panicked; its caller gets an error");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_come_back_and_panics_do_not_end_the_pool() {
        let pool = Pool::start(1).unwrap();
        assert_eq!(pool.run(|| 6 * 7).await, Ok(42));
        let panicked: ServiceResult<()> = pool.run(|| panic!("on purpose")).await;
        assert!(panicked.is_err());
        assert_eq!(pool.run(|| 1).await, Ok(1));
        pool.stop();
        assert!(pool.run(|| 1).await.unwrap_err().is_disconnected());
    }
}
