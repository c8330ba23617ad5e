//! How many actions run at once, over all builds, and who goes first.

use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// A semaphore whose next permit goes to the highest priority, and among equals to who asked
/// first. Waiters are bounded by the actions of the builds under way.
pub(crate) struct Slots {
    state: Mutex<State>,
}

struct State {
    free: usize,
    asked: u64,
    queue: BinaryHeap<Waiter>,
}

struct Waiter {
    priority: u64,
    order: u64,
    grant: oneshot::Sender<Slot>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Waiter {}
impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.priority, std::cmp::Reverse(self.order))
            .cmp(&(other.priority, std::cmp::Reverse(other.order)))
    }
}

/// The right to run one action; dropping it passes it on.
pub(crate) struct Slot {
    slots: Option<Arc<Slots>>,
}

impl Slots {
    /// So many slots.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                free: count.max(1),
                asked: 0,
                queue: BinaryHeap::new(),
            }),
        })
    }

    /// Waits for a slot. Dropping the future gives up the place in the queue.
    pub(crate) async fn acquire(self: &Arc<Self>, priority: u64) -> Slot {
        let waiting = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                None
            } else {
                let (grant, waiting) = oneshot::channel();
                state.asked += 1;
                let order = state.asked;
                state.queue.push(Waiter {
                    priority,
                    order,
                    grant,
                });
                Some(waiting)
            }
        };
        match waiting {
            None => self.slot(),
            Some(waiting) => match waiting.await {
                Ok(slot) => slot,
                // The queue is only dropped with the slots themselves, which `self` holds.
                Err(_) => unreachable!("a queued waiter is always answered"),
            },
        }
    }

    fn slot(self: &Arc<Self>) -> Slot {
        Slot {
            slots: Some(Arc::clone(self)),
        }
    }

    fn pass_on(self: &Arc<Self>) {
        loop {
            let next = {
                let mut state = self.lock();
                let next = state.queue.pop();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some(next) = next else { return };
            match next.grant.send(self.slot()) {
                Ok(()) => return,
                // Nobody waits there any more: the slot comes back and goes to the next.
                Err(mut slot) => slot.slots = None,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(slots) = self.slots.take() {
            slots.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Poll;

    #[tokio::test]
    async fn the_most_important_goes_first_and_who_left_is_passed_over() {
        let slots = Slots::new(1);
        let first = slots.acquire(0).await;
        let mut low = Box::pin(slots.acquire(1));
        let mut gone = Box::pin(slots.acquire(9));
        let mut high = Box::pin(slots.acquire(5));
        for waiter in [&mut low, &mut gone, &mut high] {
            assert!(futures::poll!(waiter).is_pending());
        }
        drop(gone);
        drop(first);
        assert!(futures::poll!(&mut low).is_pending());
        let Poll::Ready(slot) = futures::poll!(&mut high) else {
            panic!("the highest priority waits");
        };
        drop(slot);
        drop(low.await);
        assert_eq!(slots.lock().free, 1);
    }
}
