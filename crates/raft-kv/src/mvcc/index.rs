//! `Index`: every key with its newest version, in the order of the keys.
//!
//! A tree of three levels, whose nodes are shared: the root holds blocks, a block holds at most
//! [`ITEMS_MAX`](super::node::ITEMS_MAX) leaves, a leaf at most as many slots. Only the root grows
//! without bound; at a hundred million keys it has some ten thousand blocks.
//!
//! * **Freezing is cheap.** A clone shares the blocks: about one counter per ten thousand keys.
//!   Whoever writes afterwards copies the one block and the one leaf it touches, pointers only.
//! * **Counting is cheap.** Each block and each leaf knows how many of its keys exist; the keys
//!   before a place are the sum of what is before it on each level.
//! * **Small.** A slot is a key, a pointer and a head: 32 bytes.
//!
//! Invariants: those of `node.rs`, and no block and no leaf is empty.
//!
//! Why not a `BTreeMap`: it cannot be frozen without a copy of every slot, it cannot count a range
//! without walking it, and it looks at a key for each comparison.
//!
//! Read next: `history.rs`.

use core::mem;
use std::sync::Arc;

use super::node::{Child, Item, Node};
use super::range::KeyRange;
use super::revision::Version;
use crate::SharedBytes;

/// Every key with its newest version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    root: Node<Block>,
    /// How many keys exist.
    live: usize,
}

/// A key with its newest version, which may be a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) key: SharedBytes,
    pub(crate) newest: Arc<Version>,
}

type Leaf = Child<Slot>;
type Block = Child<Leaf>;

/// Where a key is, or would be. Good until the next change of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    block: usize,
    leaf: usize,
    slot: Result<usize, usize>,
}

/// Where a range begins or ends: the first slot inside, or the first one behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Edge {
    block: usize,
    leaf: usize,
    slot: usize,
}

impl Item for Slot {
    fn key(&self) -> &[u8] {
        &self.key
    }

    fn live(&self) -> usize {
        usize::from(!self.newest.is_tombstone())
    }
}

impl Index {
    /// How many keys exist.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Finds the place of a key: one search for a look and a write together.
    pub(crate) fn locate(&self, key: &[u8]) -> Place {
        let block = self.root.search_child(key);
        let Some(leaves) = self.root.items().get(block) else {
            return Place { block: 0, leaf: 0, slot: Err(0) };
        };
        let leaf = leaves.node.search_child(key);
        let slot = leaves.node.items()[leaf].node.search(key);
        Place { block, leaf, slot }
    }

    /// The slot at a place, if the key is there.
    pub(crate) fn at(&self, place: Place) -> Option<&Slot> {
        let slot = place.slot.ok()?;
        let leaf = self.root.items().get(place.block)?.node.items().get(place.leaf)?;
        leaf.node.items().get(slot)
    }

    /// Makes `newest` the newest version of `key`, whose place is `place`.
    ///
    /// Returns the key as the index shares it, and the version that was the newest.
    pub(crate) fn write(
        &mut self,
        place: Place,
        key: &[u8],
        newest: Arc<Version>,
    ) -> (SharedBytes, Option<Arc<Version>>) {
        if self.root.items().is_empty() {
            return (self.plant(key, newest), None);
        }
        let is_live = !newest.is_tombstone();
        let leaves = Arc::make_mut(&mut self.root.item_mut(place.block).node);
        let slots = Arc::make_mut(&mut leaves.item_mut(place.leaf).node);
        let (key, replaced) = match place.slot {
            Ok(slot) => {
                let slot = slots.item_mut(slot);
                debug_assert_eq!(slot.key.as_slice(), key, "the place is this key's");
                (slot.key.clone(), Some(mem::replace(&mut slot.newest, newest)))
            }
            Err(slot) => {
                let key = SharedBytes::from(key);
                slots.insert(slot, Slot { key: key.clone(), newest });
                (key, None)
            }
        };
        let was_live = replaced.as_ref().is_some_and(|version| !version.is_tombstone());
        let count = |live: &mut usize| *live = *live + usize::from(is_live) - usize::from(was_live);
        count(&mut leaves.item_mut(place.leaf).live);
        let is_first = place.slot == Err(0);
        if is_first {
            leaves.lower_first(place.leaf, &key);
        }
        let has_split = leaves.split_child(place.leaf);
        count(&mut self.root.item_mut(place.block).live);
        if is_first {
            self.root.lower_first(place.block, &key);
        }
        if has_split {
            self.root.split_child(place.block);
        }
        count(&mut self.live);
        (key, replaced)
    }

    /// Removes the slot at `place`, which holds a tombstone.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Slot> {
        let slot = place.slot.ok()?;
        let leaves = Arc::make_mut(&mut self.root.item_mut(place.block).node);
        let removed = Arc::make_mut(&mut leaves.item_mut(place.leaf).node).remove(slot);
        assert!(removed.newest.is_tombstone(), "a key that exists stays in the index");
        leaves.shrink_child(place.leaf);
        self.root.shrink_child(place.block);
        Some(removed)
    }

    /// All slots of a range, tombstones included, from both ends.
    pub(crate) fn slots<'a>(
        &'a self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + use<'a> {
        self.leaves(self.edges(range)).flat_map(|(_, slots)| slots)
    }

    /// The slots of a range whose keys exist, from both ends; leaves full of tombstones cost
    /// nothing.
    pub(crate) fn live_slots<'a>(
        &'a self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + use<'a> {
        self.leaves(self.edges(range))
            .filter(|(leaf, _)| leaf.live > 0)
            .flat_map(|(_, slots)| slots)
            .filter(|slot| !slot.newest.is_tombstone())
    }

    /// How many keys of a range exist.
    pub(crate) fn count_live(&self, range: KeyRange<'_>) -> usize {
        let (start, end) = self.edges(range);
        if (start.block, start.leaf) == (end.block, end.leaf) {
            return self.leaves((start, end)).flat_map(|(_, slots)| slots).map(Item::live).sum();
        }
        // A range that ends before it starts is empty (RNG-2).
        self.live_before(end).saturating_sub(self.live_before(start))
    }

    /// In how many leaves a range lies: a measure of what reading it costs.
    pub(crate) fn count_leaves(&self, range: KeyRange<'_>) -> usize {
        let (start, end) = self.edges(range);
        let before = |edge: Edge| {
            let blocks = self.root.items().iter().take(edge.block);
            blocks.map(|block| block.node.items().len()).sum::<usize>() + edge.leaf
        };
        (before(end) + usize::from(end.slot > 0)).saturating_sub(before(start))
    }

    /// How many keys exist before an edge.
    fn live_before(&self, edge: Edge) -> usize {
        fn sum<T: Item>(items: &[T]) -> usize {
            items.iter().map(Item::live).sum()
        }
        let (before, blocks) = self.root.items().split_at(edge.block);
        let Some(block) = blocks.first() else { return self.live };
        let (leaves_before, leaves) = block.node.items().split_at(edge.leaf);
        let slots = leaves.first().map_or(0, |leaf| sum(&leaf.node.items()[..edge.slot]));
        sum(before) + sum(leaves_before) + slots
    }

    /// Where a range begins and where it ends.
    fn edges(&self, range: KeyRange<'_>) -> (Edge, Edge) {
        let edge = |place: Place| {
            let slot = place.slot.unwrap_or_else(|slot| slot);
            Edge { block: place.block, leaf: place.leaf, slot }
        };
        match range {
            KeyRange::One(key) => {
                let place = self.locate(key);
                let start = edge(place);
                let slot = start.slot + usize::from(place.slot.is_ok());
                (start, Edge { slot, ..start })
            }
            KeyRange::Between(start, end) => (edge(self.locate(start)), edge(self.locate(end))),
            KeyRange::From(start) => {
                let end = Edge { block: self.root.items().len(), leaf: 0, slot: 0 };
                (edge(self.locate(start)), end)
            }
        }
    }

    /// The leaves between two edges, each with its slots between them.
    fn leaves(
        &self,
        (start, end): (Edge, Edge),
    ) -> impl DoubleEndedIterator<Item = (&Leaf, &[Slot])> {
        let last = (end.block + 1).min(self.root.items().len());
        (start.block..last).flat_map(move |number| {
            let leaves = self.root.items()[number].node.items();
            let from = if number == start.block { start.leaf } else { 0 };
            let to = if number == end.block { end.leaf + 1 } else { leaves.len() };
            (from..to).map(move |leaf| {
                let is_at = |edge: Edge| (edge.block, edge.leaf) == (number, leaf);
                let slots = leaves[leaf].node.items();
                let from = if is_at(start) { start.slot } else { 0 };
                let to = if is_at(end) { end.slot } else { slots.len() };
                (&leaves[leaf], slots.get(from..to).unwrap_or_default())
            })
        })
    }

    /// Writes the first key of all.
    fn plant(&mut self, key: &[u8], newest: Arc<Version>) -> SharedBytes {
        let key = SharedBytes::from(key);
        self.live = usize::from(!newest.is_tombstone());
        let mut slots = Node::default();
        slots.insert(0, Slot { key: key.clone(), newest });
        let mut leaves = Node::default();
        leaves.insert(0, Child::new(slots));
        self.root.insert(0, Child::new(leaves));
        key
    }

    /// Checks the invariants of the type, all of them: for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut last = None;
        for block in self.root.items() {
            let mut inside = last;
            for leaf in block.node.items() {
                inside = leaf.check(inside);
            }
            block.check(last);
            last = inside;
        }
        assert_eq!(self.live, self.root.count_live(), "the sum holds");
    }
}
