//! Queues between the threads of a host: a lock around a vector, emptied in one swap.
//!
//! * *Waiting is batching*: whatever arrives while a thread works is taken at once when it comes
//!   back.
//! * A wake-up costs more than most work. Only a consumer that sleeps is woken, and what is not
//!   urgent is added *quietly*: it is taken with whatever wakes the consumer next.
//!
//! Bounds are kept by those who push (admission, rooms of the inbox, lanes of the core).

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A queue of one consumer.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    woken: Condvar,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    /// The consumer waits and was not woken yet.
    is_asleep: bool,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        let inner = Inner { items: Vec::new(), is_asleep: false };
        Self { inner: Mutex::new(inner), woken: Condvar::new() }
    }

    pub(crate) fn push(&self, item: T) {
        self.extend([item]);
    }

    /// Adds items and wakes the consumer.
    pub(crate) fn extend(&self, items: impl IntoIterator<Item = T>) {
        let mut inner = self.lock();
        inner.items.extend(items);
        self.rouse(inner);
    }

    /// Adds items without waking the consumer.
    pub(crate) fn extend_quietly(&self, items: impl IntoIterator<Item = T>) {
        self.lock().items.extend(items);
    }

    /// Wakes the consumer, for what was added quietly.
    pub(crate) fn wake(&self) {
        self.rouse(self.lock());
    }

    fn rouse(&self, mut inner: MutexGuard<'_, Inner<T>>) {
        let was_asleep = std::mem::take(&mut inner.is_asleep);
        drop(inner);
        if was_asleep {
            self.woken.notify_one();
        }
    }

    /// Moves everything into `taken`, which is empty. Waits while there is nothing, at most so long
    /// or until it is woken.
    pub(crate) fn take(&self, taken: &mut Vec<T>, wait_max: Duration) {
        let mut inner = self.lock();
        if inner.items.is_empty() && !wait_max.is_zero() {
            inner.is_asleep = true;
            let waited = self.woken.wait_timeout_while(inner, wait_max, |inner| inner.is_asleep);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
            inner.is_asleep = false;
        }
        std::mem::swap(&mut inner.items, taken);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        // A panic while the lock is held is a panic of `Vec::extend`: the items are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// What is added quietly does not end the wait, is taken by whoever looks, and comes first when
    /// something urgent follows.
    #[test]
    fn quiet_items_wait_for_an_urgent_one() {
        let queue = Arc::new(Queue::new());
        let mut taken = Vec::new();
        queue.extend_quietly([1]);
        queue.take(&mut taken, Duration::from_hours(1));
        assert_eq!(taken, [1], "who looks before sleeping sees it");

        taken.clear();
        let consumer = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                let mut taken = Vec::new();
                queue.take(&mut taken, Duration::from_hours(1));
                taken
            }
        });
        while !queue.lock().is_asleep {
            std::thread::yield_now();
        }
        queue.extend_quietly([2]);
        assert!(queue.lock().is_asleep, "nobody was woken");
        queue.push(3);
        assert_eq!(consumer.join().unwrap(), [2, 3]);
    }
}
