//! What will happen, ordered by its moment; ties are broken by choice, then by age.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Events to come.
#[derive(Debug)]
pub(crate) struct Queue<E> {
    heap: BinaryHeap<Reverse<(u64, u64, usize)>>,
    slots: Vec<Option<E>>,
    free: Vec<usize>,
    pushed: u64,
}

/// Numbers of events fit below the tie.
const TIE_SHIFT: u32 = 48;

impl<E> Queue<E> {
    pub(crate) const fn new() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), pushed: 0 }
    }

    /// Lets something happen at a moment; among equals a lower tie comes first.
    pub(crate) fn push(&mut self, at: u64, tie: u64, event: E) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(event);
        self.pushed += 1;
        self.heap.push(Reverse((at, tie << TIE_SHIFT | self.pushed, slot)));
    }

    /// The next event and its moment.
    pub(crate) fn pop(&mut self) -> Option<(u64, E)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        self.free.push(slot);
        Some((at, self.slots[slot].take().expect("a slot in the heap is full")))
    }

    /// How many events are to come.
    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Moments first, then ties, then age.
    #[test]
    fn moments_then_ties_then_age() {
        let mut queue = Queue::new();
        for (at, tie, event) in [(5, 0, 'd'), (3, 1, 'c'), (3, 0, 'a'), (3, 0, 'b')] {
            queue.push(at, tie, event);
        }
        let order: Vec<char> = std::iter::from_fn(|| queue.pop()).map(|(_, event)| event).collect();
        assert_eq!(order, ['a', 'b', 'c', 'd']);
        assert_eq!(queue.len(), 0);
    }
}
