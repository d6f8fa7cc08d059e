//! `Index`: every key with its newest version, in the order of the keys.
//!
//! A tree of two levels: a vector of leaves, each a sorted vector of at most [`LEAF_SLOTS_MAX`]
//! slots behind a shared pointer.
//!
//! * **Freezing is cheap.** A clone shares the leaves: about one counter per hundred keys. Whoever
//!   writes afterwards copies the one leaf it touches, at most [`LEAF_SLOTS_MAX`] slots of two
//!   pointers.
//! * **Counting is cheap.** Each leaf knows how many of its keys exist, so a count adds up leaves.
//! * **Small.** A slot is a key and a pointer: 24 bytes.
//!
//! Invariants: slots are in strictly ascending order of their keys, through all leaves; no leaf is
//! empty; `first` of a leaf is not above its first key, and above the last key of the leaf before;
//! `live` is the number of slots of the leaf whose newest version is no tombstone.
//!
//! Why not a `BTreeMap`: it cannot be frozen without a copy of every slot, and it cannot count a
//! range without walking it. The upper level is one vector, whose insertions move memory: at ten
//! million keys a split, one in about fifty insertions of new keys, moves two megabytes at worst.
//!
//! Read next: `history.rs`.

use core::mem;
use std::sync::Arc;

use super::range::KeyRange;
use super::revision::Version;
use crate::SharedBytes;

/// Every key with its newest version.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    leaves: Vec<LeafHandle>,
    /// The sum of `live` over the leaves.
    live: usize,
}

/// A key with its newest version, which may be a tombstone.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) key: SharedBytes,
    pub(crate) newest: Arc<Version>,
}

/// Where a key is, or would be. Good until the next change of the index.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    leaf: usize,
    slot: Result<usize, usize>,
}

#[derive(Clone, Debug)]
struct LeafHandle {
    first: SharedBytes,
    live: usize,
    slots: Arc<Vec<Slot>>,
}

/// At most so many slots in a leaf: what a write after a freeze copies, about ten microseconds.
/// Half of it would double the work of a freeze.
pub(crate) const LEAF_SLOTS_MAX: usize = 128;
/// A leaf with fewer slots is joined with a neighbour.
const LEAF_SLOTS_MIN: usize = LEAF_SLOTS_MAX / 4;

impl Index {
    /// How many keys exist.
    pub(crate) fn live(&self) -> usize {
        self.live
    }

    /// Finds the place of a key: one search for a look and a write together.
    pub(crate) fn locate(&self, key: &[u8]) -> Place {
        let leaf = self.leaves.partition_point(|leaf| &*leaf.first <= key).saturating_sub(1);
        let slot = match self.leaves.get(leaf) {
            Some(leaf) => leaf.slots.binary_search_by(|slot| slot.key.as_slice().cmp(key)),
            None => Err(0),
        };
        Place { leaf, slot }
    }

    /// The slot at a place, if the key is there.
    pub(crate) fn at(&self, place: Place) -> Option<&Slot> {
        let slot = place.slot.ok()?;
        self.leaves.get(place.leaf)?.slots.get(slot)
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
        let is_live = !newest.is_tombstone();
        if self.leaves.is_empty() {
            let handle = LeafHandle { first: key.into(), live: 0, slots: Arc::default() };
            self.leaves.push(handle);
        }
        let leaf = &mut self.leaves[place.leaf];
        let slots = Arc::make_mut(&mut leaf.slots);
        let (key, replaced) = match place.slot {
            Ok(slot) => {
                let slot = &mut slots[slot];
                debug_assert_eq!(slot.key.as_slice(), key, "the place is this key's");
                (slot.key.clone(), Some(mem::replace(&mut slot.newest, newest)))
            }
            Err(slot) => {
                let key = SharedBytes::from(key);
                if slots.len() == slots.capacity() {
                    // Not doubled: a leaf splits before it needs more.
                    slots.reserve_exact(LEAF_SLOTS_MAX + 1 - slots.len());
                }
                slots.insert(slot, Slot { key: key.clone(), newest });
                (key, None)
            }
        };
        let was_live = replaced.as_ref().is_some_and(|version| !version.is_tombstone());
        let is_full = slots.len() > LEAF_SLOTS_MAX;
        leaf.live = leaf.live + usize::from(is_live) - usize::from(was_live);
        self.live = self.live + usize::from(is_live) - usize::from(was_live);
        if is_full {
            self.split(place.leaf);
        }
        (key, replaced)
    }

    /// Removes the slot at `place`, which holds a tombstone.
    pub(crate) fn remove(&mut self, place: Place) -> Option<Slot> {
        let slot = place.slot.ok()?;
        let leaf = self.leaves.get_mut(place.leaf)?;
        let removed = Arc::make_mut(&mut leaf.slots).remove(slot);
        assert!(removed.newest.is_tombstone(), "a key that exists stays in the index");
        let len = leaf.slots.len();
        if len == 0 {
            self.leaves.remove(place.leaf);
        } else if len < LEAF_SLOTS_MIN {
            self.join(place.leaf);
        }
        Some(removed)
    }

    /// All slots of a range, tombstones included, from both ends.
    pub(crate) fn slots<'a>(
        &'a self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + use<'a> {
        let span = self.span(range);
        self.leaves_of(span).flat_map(|(_, slots)| slots)
    }

    /// The slots of a range whose keys exist, from both ends; leaves full of tombstones cost
    /// nothing.
    pub(crate) fn live_slots<'a>(
        &'a self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = &'a Slot> + use<'a> {
        let span = self.span(range);
        self.leaves_of(span)
            .filter(|(leaf, _)| leaf.live > 0)
            .flat_map(|(_, slots)| slots)
            .filter(|slot| !slot.newest.is_tombstone())
    }

    /// How many keys of a range exist: adds up leaves, and looks into the two at the ends.
    pub(crate) fn count_live(&self, range: KeyRange<'_>) -> usize {
        let span = self.span(range);
        let count = |(leaf, slots): (&LeafHandle, &[Slot])| {
            if slots.len() == leaf.slots.len() {
                return leaf.live;
            }
            slots.iter().filter(|slot| !slot.newest.is_tombstone()).count()
        };
        self.leaves_of(span).map(count).sum()
    }

    /// In how many leaves a range lies: a measure of what reading it costs.
    pub(crate) fn count_leaves(&self, range: KeyRange<'_>) -> usize {
        let ((first, _), (last, _)) = self.span(range);
        (last + 1).min(self.leaves.len()).saturating_sub(first)
    }

    /// The first slot of a range, and the first one after it, as leaf and slot.
    fn span(&self, range: KeyRange<'_>) -> ((usize, usize), (usize, usize)) {
        let place_of = |key| {
            let place = self.locate(key);
            (place.leaf, place.slot.unwrap_or_else(|slot| slot))
        };
        match range {
            KeyRange::One(key) => {
                let place = self.locate(key);
                let start = (place.leaf, place.slot.unwrap_or_else(|slot| slot));
                (start, (start.0, start.1 + usize::from(place.slot.is_ok())))
            }
            KeyRange::Between(start, end) => (place_of(start), place_of(end)),
            KeyRange::From(start) => (place_of(start), (self.leaves.len(), 0)),
        }
    }

    fn leaves_of(
        &self,
        (start, end): ((usize, usize), (usize, usize)),
    ) -> impl DoubleEndedIterator<Item = (&LeafHandle, &[Slot])> {
        let last = (end.0 + 1).min(self.leaves.len());
        (start.0..last).map(move |number| {
            let leaf = &self.leaves[number];
            let from = if number == start.0 { start.1 } else { 0 };
            let to = if number == end.0 { end.1 } else { leaf.slots.len() };
            // A range that ends before it starts is empty (RNG-2).
            (leaf, leaf.slots.get(from..to).unwrap_or_default())
        })
    }

    fn split(&mut self, number: usize) {
        let is_last = number + 1 == self.leaves.len();
        let leaf = &mut self.leaves[number];
        let slots = Arc::make_mut(&mut leaf.slots);
        // Keys that come in ascending order leave full leaves behind, not half-empty ones.
        let middle = if is_last { LEAF_SLOTS_MAX } else { slots.len() / 2 };
        let mut upper = Vec::with_capacity(LEAF_SLOTS_MAX + 1);
        upper.extend(slots.drain(middle..));
        let first = upper[0].key.clone();
        let live = upper.iter().filter(|slot| !slot.newest.is_tombstone()).count();
        leaf.live -= live;
        self.leaves.insert(number + 1, LeafHandle { first, live, slots: Arc::new(upper) });
    }

    /// Joins a leaf with a neighbour, if both fit in one with room to grow.
    fn join(&mut self, number: usize) {
        let len_of = |number: usize| self.leaves.get(number).map(|leaf| leaf.slots.len());
        let fits = |lower: usize| match (len_of(lower), len_of(lower + 1)) {
            (Some(lower), Some(upper)) => lower + upper <= LEAF_SLOTS_MAX * 3 / 4,
            (None | Some(_), None) | (None, Some(_)) => false,
        };
        let lower = [number.checked_sub(1), Some(number)].into_iter().flatten().find(|n| fits(*n));
        let Some(lower) = lower else { return };
        let upper = self.leaves.remove(lower + 1);
        let leaf = &mut self.leaves[lower];
        leaf.live += upper.live;
        Arc::make_mut(&mut leaf.slots).extend(upper.slots.iter().cloned());
    }

    /// Checks the invariants of the type, all of them: for tests.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let mut previous: Option<&SharedBytes> = None;
        for (number, leaf) in self.leaves.iter().enumerate() {
            assert!(!leaf.slots.is_empty(), "no leaf is empty");
            assert!(leaf.slots.len() <= LEAF_SLOTS_MAX, "a leaf is not over its limit");
            let live = leaf.slots.iter().filter(|slot| !slot.newest.is_tombstone()).count();
            assert_eq!(leaf.live, live, "a leaf knows how many of its keys exist");
            assert!(number == 0 || leaf.first <= leaf.slots[0].key, "first bounds its leaf");
            assert!(number == 0 || previous < Some(&leaf.first), "first is above the leaf before");
            for slot in leaf.slots.iter() {
                assert!(previous < Some(&slot.key), "keys ascend");
                previous = Some(&slot.key);
            }
        }
        assert_eq!(self.live, self.leaves.iter().map(|leaf| leaf.live).sum(), "the sum holds");
    }
}
