//! The terms of a log as runs: the term of any entry without a disk.
//!
//! * Runs ascend in index and in term, for terms never fall along a log.
//! * The base is the place before the first run; its term comes from the snapshot.

use alloc::vec::Vec;

use crate::{EntryId, Index, Term};

/// Where each term of the log begins.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    base: EntryId,
    last: EntryId,
    runs: Vec<(Index, Term)>,
}

impl Terms {
    pub(super) fn new(base: EntryId, last: EntryId, runs: Vec<(Index, Term)>) -> Self {
        Self { base, last, runs }
    }

    pub(super) const fn base(&self) -> EntryId {
        self.base
    }

    pub(super) const fn last(&self) -> EntryId {
        self.last
    }

    /// The term at an index; `None` below the base and beyond the end.
    pub(super) fn term_at(&self, index: Index) -> Option<Term> {
        if index < self.base.index || index > self.last.index {
            return None;
        }
        let run = self.runs.partition_point(|(first, _)| *first <= index);
        Some(run.checked_sub(1).map_or(self.base.term, |run| self.runs[run].1))
    }

    /// The last entry at or below `index` whose term is not above `term`; at least the base.
    pub(super) fn last_not_above(&self, term: Term, index: Index) -> EntryId {
        let mut index = index.min(self.last.index).max(self.base.index);
        loop {
            let found = self.term_at(index).expect("the index was brought inside the log");
            if found <= term || index == self.base.index {
                return EntryId::new(found, index);
            }
            // The whole run is above: go on right before it.
            let run = self.runs.partition_point(|(first, _)| *first <= index) - 1;
            index = self.runs[run].0.prev();
        }
    }

    pub(super) fn push(&mut self, id: EntryId) {
        assert!(id.index == self.last.index.next(), "the log has no gaps");
        assert!(id.term >= self.last.term, "terms never fall along a log");
        if self.runs.last().is_none_or(|(_, term)| *term < id.term) {
            self.runs.push((id.index, id.term));
        }
        self.last = id;
    }

    /// Drops everything from `first` on.
    pub(super) fn truncate(&mut self, first: Index) {
        assert!(first > self.base.index, "only entries above the base can be dropped");
        let term = self.term_at(first.prev()).expect("what stays is inside the log");
        self.last = EntryId::new(term, first.prev());
        self.runs.retain(|(start, _)| *start < first);
    }

    /// The log now begins after `base`, which is inside it.
    pub(super) fn compact(&mut self, base: EntryId) {
        assert!(self.term_at(base.index) == Some(base.term), "the new base is in the log");
        let next = base.index.next();
        let inside = self.term_at(next);
        self.runs.retain(|(start, _)| *start > next);
        if let Some(term) = inside {
            self.runs.insert(0, (next, term));
        }
        self.base = base;
    }
}
