//! `Node`: a sorted vector that is searched mostly without looking at its keys.
//!
//! Keys live elsewhere in memory, and in a large store each look at one is a miss of every cache.
//! So a node keeps how long a prefix all its keys share, and of each key the eight bytes that
//! follow: its *head*. Keys that are neighbours in a store share long prefixes, and their heads
//! nearly always tell them apart.
//!
//! Invariants: items are in strictly ascending order of their keys; `prefix` is not longer than
//! what all keys share; `heads` has the head of each item.
//!
//! Read next: `index.rs`, whose three levels are made of it.

use core::cmp::Ordering;
use std::sync::Arc;

use crate::SharedBytes;

/// A sorted vector of items with keys.
#[derive(Clone, Debug)]
pub(super) struct Node<T> {
    /// How many bytes all keys share.
    prefix: usize,
    heads: Vec<u64>,
    items: Vec<T>,
}

/// What has a place in a [`Node`].
pub(super) trait Item: Clone {
    /// By which it is sorted.
    fn key(&self) -> &[u8];

    /// How many keys that exist are in it.
    fn live(&self) -> usize;
}

/// A node inside a node.
#[derive(Clone, Debug)]
pub(super) struct Child<T> {
    /// Not above the first key inside, and above all keys of the child before.
    first: SharedBytes,
    /// How many keys that exist are inside.
    pub(super) live: usize,
    pub(super) node: Arc<Node<T>>,
}

/// At most so many items in a node: what a write after a freeze copies, on each level. Unit tests
/// use a small one, so that a few keys make a tree with everything in it.
pub(super) const ITEMS_MAX: usize = if cfg!(test) { 8 } else { 128 };
/// A child with fewer items is joined with a neighbour.
const ITEMS_MIN: usize = ITEMS_MAX / 4;

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { prefix: 0, heads: Vec::new(), items: Vec::new() }
    }
}

impl<T: Item> Node<T> {
    pub(super) fn items(&self) -> &[T] {
        &self.items
    }

    pub(super) fn item_mut(&mut self, number: usize) -> &mut T {
        &mut self.items[number]
    }

    /// Finds a key: where it is, or where it would be.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let Some(first) = self.items.first() else { return Err(0) };
        let (start, rest) = key.split_at(self.prefix.min(key.len()));
        match start.cmp(&first.key()[..self.prefix]) {
            Ordering::Less => return Err(0),
            Ordering::Greater => return Err(self.items.len()),
            Ordering::Equal => {}
        }
        let head = head_of(rest);
        let from = self.heads.partition_point(|other| *other < head);
        let equal = self.heads[from..].iter().take_while(|other| **other == head).count();
        let found = self.items[from..from + equal].binary_search_by(|item| item.key().cmp(key));
        found.map(|number| from + number).map_err(|number| from + number)
    }

    /// The child in which a key is, or would be.
    pub(super) fn search_child(&self, key: &[u8]) -> usize {
        self.search(key).unwrap_or_else(|number| number.saturating_sub(1))
    }

    /// Adds an item at the place that a search for its key gave.
    pub(super) fn insert(&mut self, number: usize, item: T) {
        let key = item.key();
        let shared = match self.items.first() {
            Some(first) => shared_len(&first.key()[..self.prefix], key),
            None => key.len(),
        };
        if self.items.len() == self.items.capacity() {
            // Not doubled: a node splits before it needs more.
            let more = (ITEMS_MAX + 1).saturating_sub(self.items.len()).max(ITEMS_MAX / 4);
            self.items.reserve_exact(more);
            self.heads.reserve_exact(more);
        }
        self.heads.insert(number, head_of(&key[shared..]));
        self.items.insert(number, item);
        if shared != self.prefix {
            self.prefix = shared;
            self.fill_heads();
        }
    }

    pub(super) fn remove(&mut self, number: usize) -> T {
        self.heads.remove(number);
        self.items.remove(number)
    }

    /// Takes the items from `number` on into a node of their own.
    fn split_off(&mut self, number: usize) -> Self {
        let mut upper = Self::default();
        upper.items.reserve_exact(ITEMS_MAX + 1);
        upper.heads.reserve_exact(ITEMS_MAX + 1);
        upper.items.extend(self.items.drain(number..));
        self.find_prefix();
        upper.find_prefix();
        upper
    }

    /// Appends the items of the node after this one.
    fn append(&mut self, upper: &Self) {
        self.items.extend(upper.items.iter().cloned());
        self.find_prefix();
    }

    pub(super) fn count_live(&self) -> usize {
        self.items.iter().map(Item::live).sum()
    }

    /// Keys that are sorted share what the first and the last of them share.
    fn find_prefix(&mut self) {
        let (Some(first), Some(last)) = (self.items.first(), self.items.last()) else { return };
        self.prefix = shared_len(first.key(), last.key());
        self.fill_heads();
    }

    fn fill_heads(&mut self) {
        let prefix = self.prefix;
        self.heads.clear();
        self.heads.extend(self.items.iter().map(|item| head_of(&item.key()[prefix..])));
    }
}

impl<T: Item> Node<Child<T>> {
    /// Notes that `key`, which was just written, is the first one in a child.
    pub(super) fn lower_first(&mut self, number: usize, key: &SharedBytes) {
        let child = &mut self.items[number];
        if child.first <= *key {
            return;
        }
        assert_eq!(number, 0, "only below the first child is room for a smaller key");
        let shared = shared_len(&child.first[..self.prefix], key);
        child.first = key.clone();
        self.heads[0] = head_of(&key[shared..]);
        if shared != self.prefix {
            self.prefix = shared;
            self.fill_heads();
        }
    }

    /// Splits a child that has more than [`ITEMS_MAX`] items; returns whether it had.
    pub(super) fn split_child(&mut self, number: usize) -> bool {
        let is_last = number + 1 == self.items.len();
        let child = &mut self.items[number];
        let len = child.node.items.len();
        if len <= ITEMS_MAX {
            return false;
        }
        // Keys that come in ascending order leave full nodes behind, not half-empty ones.
        let middle = if is_last { ITEMS_MAX } else { len / 2 };
        let upper = Child::new(Arc::make_mut(&mut child.node).split_off(middle));
        child.live -= upper.live;
        self.insert(number + 1, upper);
        true
    }

    /// Drops a child that has become empty, or joins one that has become small with a neighbour, if
    /// both fit in one with room to grow.
    pub(super) fn shrink_child(&mut self, number: usize) {
        let len_of =
            |number: usize| self.items.get(number).map_or(0, |child| child.node.items.len());
        if len_of(number) == 0 {
            self.remove(number);
            return;
        }
        if len_of(number) >= ITEMS_MIN {
            return;
        }
        let fits = |lower: &usize| {
            let lens = (len_of(*lower), len_of(lower + 1));
            lens.1 > 0 && lens.0 + lens.1 <= ITEMS_MAX * 3 / 4
        };
        let lower = [number.checked_sub(1), Some(number)].into_iter().flatten().find(fits);
        let Some(lower) = lower else { return };
        let upper = self.remove(lower + 1);
        let child = &mut self.items[lower];
        child.live += upper.live;
        Arc::make_mut(&mut child.node).append(&upper.node);
    }
}

impl<T: Item> Child<T> {
    /// Wraps a node that has items.
    pub(super) fn new(node: Node<T>) -> Self {
        let first = SharedBytes::from(node.items[0].key());
        Self { first, live: node.count_live(), node: Arc::new(node) }
    }
}

impl<T: Item> Item for Child<T> {
    fn key(&self) -> &[u8] {
        &self.first
    }

    fn live(&self) -> usize {
        self.live
    }
}

/// The first eight bytes as a number that sorts as they do; zeroes stand for what is missing.
fn head_of(bytes: &[u8]) -> u64 {
    if let Some(head) = bytes.first_chunk() {
        return u64::from_be_bytes(*head);
    }
    let mut head = [0; 8];
    head[..bytes.len()].copy_from_slice(bytes);
    u64::from_be_bytes(head)
}

fn shared_len(one: &[u8], two: &[u8]) -> usize {
    one.iter().zip(two).take_while(|(one, two)| one == two).count()
}

#[cfg(test)]
impl<T: Item> Node<T> {
    /// Checks the invariants of the type.
    pub(super) fn check(&self) {
        assert!(self.items.len() <= ITEMS_MAX, "a node is not over its limit");
        assert_eq!(self.items.len(), self.heads.len(), "each item has a head");
        assert!(self.items.is_sorted_by(|one, two| one.key() < two.key()), "keys ascend");
        for (item, head) in self.items.iter().zip(&self.heads) {
            assert!(item.key().starts_with(&self.items[0].key()[..self.prefix]), "the prefix is");
            assert_eq!(*head, head_of(&item.key()[self.prefix..]), "a head is of its key");
        }
    }
}

#[cfg(test)]
impl<T: Item> Child<T> {
    /// Checks that the keys inside are above those before; returns the last one.
    pub(super) fn check<'a>(&'a self, before: Option<&'a [u8]>) -> Option<&'a [u8]> {
        self.node.check();
        assert!(!self.node.items.is_empty(), "no child is empty");
        assert_eq!(self.live, self.node.count_live(), "a child knows how many of its keys exist");
        let first = self.node.items[0].key();
        assert!(before < Some(first), "keys ascend from child to child");
        assert!(before < Some(&self.first), "first is above what is before");
        assert!(&*self.first <= first, "first is not above its keys");
        self.node.items.last().map(Item::key)
    }
}
