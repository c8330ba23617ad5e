//! Threads that capabilities live on, and handles to what lives there.
//!
//! capnp-rpc's clients and servers are bound to one thread. A [`Vat`] is such a thread with its
//! own runtime; work goes to it as closures, and a client stays there in a table, where a
//! [`Handle`] that is `Send` finds it.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio_util::sync::CancellationToken;
use vx_core::{ServiceError, ServiceResult};

use crate::error::Fault;
use crate::line::Line;

type Job = Box<dyn FnOnce(&Rc<Local>) + Send>;

/// A way to send work to one thread.
///
/// The queue has no bound of its own: each caller waits for its answer before it sends the
/// next, and what a dropped handle sends is a few words.
#[derive(Clone)]
pub(crate) struct Vat {
    jobs: mpsc::UnboundedSender<Job>,
}

/// Ends its thread, and everything on it, when dropped.
pub(crate) struct VatThread {
    stop: CancellationToken,
}

impl Drop for VatThread {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What lives on a thread.
pub(crate) struct Local {
    vat: Vat,
    slots: RefCell<HashMap<u64, Box<dyn Any>>>,
    next: Cell<u64>,
}

impl Vat {
    pub(crate) fn start(name: &str) -> io::Result<(Self, VatThread)> {
        let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
        let vat = Self { jobs };
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let on_thread = vat.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let local = Rc::new(Local {
                    vat: on_thread,
                    slots: RefCell::default(),
                    next: Cell::new(0),
                });
                let tasks = LocalSet::new();
                tasks.block_on(&runtime, async {
                    loop {
                        tokio::select! {
                            biased;
                            () = stopped.cancelled() => break,
                            Some(job) = queue.recv() => job(&local),
                        }
                    }
                });
                queue.close();
                // Clients before the connections they belong to.
                let slots = local.slots.take();
                drop(slots);
            })?;
        Ok((vat, VatThread { stop }))
    }

    /// Runs `job` on the thread, some time; `false` once the thread has ended.
    pub(crate) fn post(&self, job: impl FnOnce(&Rc<Local>) + Send + 'static) -> bool {
        self.jobs.send(Box::new(job)).is_ok()
    }

    /// Runs `work` on the thread and waits for its outcome; dropping the future drops the work.
    pub(crate) async fn run<T, E, Work, Running>(&self, work: Work) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<ServiceError> + Send + 'static,
        Work: FnOnce(Rc<Local>) -> Running + Send + 'static,
        Running: Future<Output = Result<T, E>> + 'static,
    {
        let (mut answer, outcome) = oneshot::channel();
        let posted = self.post(move |local| {
            let running = work(local.clone());
            spawn_local(async move {
                let done = tokio::select! {
                    biased;
                    () = answer.closed() => return,
                    done = running => done,
                };
                let _ = answer.send(done);
            });
        });
        if !posted {
            return Err(ended().into());
        }
        outcome.await.unwrap_or_else(|_| Err(ended().into()))
    }

    pub(crate) fn is(&self, other: &Self) -> bool {
        self.jobs.same_channel(&other.jobs)
    }
}

fn ended() -> ServiceError {
    ServiceError::disconnected("vx-rpc", "this process is shutting its connections down")
}

impl Local {
    /// Keeps `client` here under a handle. `line` is the connection it came over, and `keep`
    /// lives as long as the handle.
    pub(crate) fn keep<C: Clone + 'static>(
        &self,
        client: C,
        line: Arc<Line>,
        keep: Option<Arc<dyn Any + Send + Sync>>,
    ) -> Handle<C> {
        let id = self.next.get();
        self.next.set(id + 1);
        self.slots.borrow_mut().insert(id, Box::new(client));
        Handle {
            slot: Arc::new(Slot {
                vat: self.vat.clone(),
                id,
                line,
                _keep: keep,
            }),
            client: PhantomData,
        }
    }

    /// The client behind a handle of this thread.
    pub(crate) fn find<C: Clone + 'static>(&self, handle: &Handle<C>) -> Option<C> {
        if !handle.slot.vat.is(&self.vat) {
            return None;
        }
        let slots = self.slots.borrow();
        slots.get(&handle.slot.id)?.downcast_ref::<C>().cloned()
    }
}

struct Slot {
    vat: Vat,
    id: u64,
    line: Arc<Line>,
    _keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let id = self.id;
        self.vat.post(move |local| {
            let client = local.slots.borrow_mut().remove(&id);
            // Not under the borrow: dropping a client may drop handles.
            drop(client);
        });
    }
}

/// A client of type `C` on some thread. The last clone frees it.
pub(crate) struct Handle<C> {
    slot: Arc<Slot>,
    client: PhantomData<fn() -> C>,
}

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Self {
            slot: self.slot.clone(),
            client: PhantomData,
        }
    }
}

impl<C: Clone + 'static> Handle<C> {
    pub(crate) fn line(&self) -> &Arc<Line> {
        &self.slot.line
    }

    /// Runs `work` with the client on its thread. Ends with the connection, and dropping the
    /// future drops the work.
    pub(crate) async fn call<T, Work, Running>(&self, work: Work) -> ServiceResult<T>
    where
        T: Send + 'static,
        Work: FnOnce(C, Rc<Local>) -> Running + Send + 'static,
        Running: Future<Output = Result<T, Fault>> + 'static,
    {
        let handle = self.clone();
        self.slot
            .vat
            .run(move |local| async move {
                let line = handle.line().clone();
                let Some(client) = local.find(&handle) else {
                    return Err(ended());
                };
                let running = work(client, local);
                tokio::select! {
                    biased;
                    done = running => done.map_err(|fault| fault.of(&line.peer())),
                    () = line.closed.cancelled() => Err(line.lost()),
                }
            })
            .await
    }
}
