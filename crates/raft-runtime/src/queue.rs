//! Queues between the threads of a host: a lock around a vector, emptied in one swap.
//!
//! *Waiting is batching*: whatever arrives while a thread works is taken at once when it comes
//! back. Bounds are kept by those who push (admission, rooms of the inbox, lanes of the core).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue of one consumer.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    items: Mutex<Vec<T>>,
    arrived: Condvar,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self { items: Mutex::new(Vec::new()), arrived: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) {
        self.extend([item]);
    }

    pub(crate) fn extend(&self, items: impl IntoIterator<Item = T>) {
        let mut queue = self.lock();
        let was_empty = queue.is_empty();
        queue.extend(items);
        let wake = was_empty && !queue.is_empty();
        drop(queue);
        if wake {
            self.arrived.notify_one();
        }
    }

    /// Moves everything into `taken`, which is empty; waits for the first item, at most so long.
    pub(crate) fn take(&self, taken: &mut Vec<T>, wait_max: Duration) {
        let mut queue = self.lock();
        if queue.is_empty() && !wait_max.is_zero() {
            let waited = self.arrived.wait_timeout_while(queue, wait_max, |queue| queue.is_empty());
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut *queue, taken);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        // A panic while the lock is held is a panic of `Vec::extend`: the items are whole.
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
