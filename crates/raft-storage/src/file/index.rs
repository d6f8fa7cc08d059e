//! Where entries are: eight bytes per batch and group, whatever the number of entries.
//!
//! A place names the first entry a batch holds; it is good up to the next place. What a later batch
//! replaced stays in the older one and is hidden by the order of the places. Read next: `wal.rs`.

use std::collections::VecDeque;

use raft_core::{Index, mutant};

/// The batches that hold a group's entries, by ascending first index.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupIndex {
    segments: VecDeque<SegmentPlaces>,
}

/// The places inside one segment.
#[derive(Clone, Debug)]
struct SegmentPlaces {
    seq: u64,
    /// First index of the first place.
    base: u64,
    places: Vec<PackedPlace>,
}

/// First index above the segment's base, and offset of the batch divided by eight.
#[derive(Clone, Copy, Debug)]
struct PackedPlace {
    above: u32,
    eighths: u32,
}

/// A batch that holds entries from `first` on, up to before `end` if that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) first: Index,
    pub(super) end: Option<Index>,
}

impl GroupIndex {
    /// Adds the newest batch. Places from `first` on must be gone before.
    pub(super) fn push(&mut self, seq: u64, offset: u64, first: Index) {
        let first = first.get();
        if mutant!("D13") && self.ends_beyond(first) {
            return;
        }
        if self.segments.back().is_none_or(|segment| segment.seq != seq) {
            // No more comes into the one before: it gives back what it held in reserve.
            if let Some(full) = self.segments.back_mut() {
                full.places.shrink_to_fit();
            }
            self.segments.push_back(SegmentPlaces { seq, base: first, places: Vec::new() });
        }
        let segment = self.segments.back_mut().expect("pushed above");
        let above = u32::try_from(first - segment.base).expect("fewer entries than bytes");
        let eighths = u32::try_from(offset / 8).expect("a segment is below 32 GiB");
        let ascends = segment.places.last().is_none_or(|last| last.above < above);
        assert!(ascends, "places ascend");
        segment.places.push(PackedPlace { above, eighths });
    }

    /// Whether the newest place would hide one that begins here: only what a mutant left.
    fn ends_beyond(&self, first: u64) -> bool {
        let last = |segment: &SegmentPlaces| {
            segment.places.last().map(|place| segment.base + u64::from(place.above))
        };
        self.segments.back().and_then(last).is_some_and(|last| last >= first)
    }

    /// Forgets every place that begins at or after this index.
    pub(super) fn truncate(&mut self, from: Index) {
        if mutant!("D13") {
            return;
        }
        let from = from.get();
        while let Some(segment) = self.segments.back_mut() {
            let base = segment.base;
            let keep = segment.places.partition_point(|p| base + u64::from(p.above) < from);
            segment.places.truncate(keep);
            if keep > 0 {
                break;
            }
            self.segments.pop_back();
        }
    }

    /// Forgets the segments that hold nothing but entries up to this index.
    pub(super) fn purge(&mut self, upto: Index) {
        while self.segments.get(1).is_some_and(|next| next.base <= upto.get() + 1) {
            self.segments.pop_front();
        }
    }

    /// The oldest segment that holds an entry of the log.
    pub(super) fn oldest_segment(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.seq)
    }

    /// Bytes of memory it takes, with what it holds in reserve.
    pub(super) fn bytes(&self) -> usize {
        let places = |segment: &SegmentPlaces| segment.places.capacity() * size_of::<PackedPlace>();
        let fronts = self.segments.capacity() * size_of::<SegmentPlaces>();
        fronts + self.segments.iter().map(places).sum::<usize>()
    }

    /// The batch that holds the present version of this entry.
    pub(super) fn find(&self, index: Index) -> Option<Place> {
        let at = self.segments.partition_point(|segment| segment.base <= index.get());
        let at = at.checked_sub(1)?;
        let segment = &self.segments[at];
        let above = index.get() - segment.base;
        let next = segment.places.partition_point(|place| u64::from(place.above) <= above);
        let place = segment.places[next.checked_sub(1)?];
        let end = segment.places.get(next).map(|place| segment.base + u64::from(place.above));
        let end = end.or_else(|| self.segments.get(at + 1).map(|segment| segment.base));
        Some(Place {
            seq: segment.seq,
            offset: u64::from(place.eighths) * 8,
            first: Index::new(segment.base + u64::from(place.above)),
            end: end.map(Index::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(seq: u64, offset: u64, first: u64, end: Option<u64>) -> Place {
        Place { seq, offset, first: Index::new(first), end: end.map(Index::new) }
    }

    /// Each index is found in the newest batch that holds it, across segments and truncations.
    #[test]
    fn the_newest_batch_hides_the_older_ones() {
        let mut index = GroupIndex::default();
        index.push(1, 8192, Index::new(1));
        index.push(1, 12_288, Index::new(5));
        index.push(2, 8192, Index::new(9));
        assert_eq!(index.find(Index::new(4)), Some(place(1, 8192, 1, Some(5))));
        assert_eq!(index.find(Index::new(8)), Some(place(1, 12_288, 5, Some(9))));
        assert_eq!(index.find(Index::new(10)), Some(place(2, 8192, 9, None)));
        index.truncate(Index::new(3));
        index.push(2, 16_384, Index::new(3));
        assert_eq!(index.find(Index::new(2)), Some(place(1, 8192, 1, Some(3))));
        assert_eq!(index.find(Index::new(9)), Some(place(2, 16_384, 3, None)));
        index.purge(Index::new(1));
        assert_eq!(index.find(Index::new(2)), Some(place(1, 8192, 1, Some(3))));
        index.purge(Index::new(2));
        assert_eq!(index.find(Index::new(2)), None);
    }

    /// A full segment takes eight bytes per batch and a constant, whatever came first.
    #[test]
    fn a_full_segment_takes_eight_bytes_per_batch() {
        let mut index = GroupIndex::default();
        for batch in 0..1025 {
            index.push(1, 8192 + batch * 4096, Index::new(1 + batch));
        }
        assert!(index.bytes() > 1025 * 8, "there is room for more");
        index.push(2, 8192, Index::new(1026));
        let fronts = index.segments.capacity() * size_of::<SegmentPlaces>();
        let newest = index.segments[1].places.capacity() * 8;
        assert_eq!(index.bytes() - fronts - newest, 1025 * 8);
    }
}
