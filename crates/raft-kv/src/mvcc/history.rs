//! `History`: every change since the compacted revision, in the order it happened.
//!
//! A change holds the version it wrote and the one it replaced. So the history is both what
//! watchers read forwards and the undo log that reads at an old revision follow backwards; and to
//! compact is to forget the oldest changes, each with the one version that nobody can read any
//! more.
//!
//! * Changes are numbered without gaps, and a version knows its change: a step back is one access.
//! * Besides the step to the version it replaced, a version has one *skip* to an older change of
//!   its key, laid out so that n changes of one key are crossed in O(log n) steps (Myers, "An
//!   applicative random-access stack", 1983). A key written a million times does not make its
//!   readers slow.
//! * Full segments are shared and never change: to freeze the history is to clone their pointers.
//!
//! Invariant: the changes that [`get`](History::get) finds include all whose revision is at or
//! above the compacted one.
//!
//! Read next: `compact.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::revision::{ChangeNumber, Revision, Version};
use crate::SharedBytes;

/// One write of one key.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    pub(crate) key: SharedBytes,
    pub(crate) version: Arc<Version>,
    /// What the key was before, if it was known at all: may be a tombstone.
    pub(crate) replaced: Option<Arc<Version>>,
}

/// Every change since the compacted revision.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// Full ones, [`SEGMENT_CHANGES`] each, oldest first.
    segments: VecDeque<Arc<[Change]>>,
    /// The changes after them.
    tail: Vec<Change>,
    /// The number of the first change of the first segment, or of the tail if there is none.
    first: ChangeNumber,
}

/// So many changes share a pointer: what a freeze copies of the tail, and what is freed at once.
pub(crate) const SEGMENT_CHANGES: usize = 128;

impl History {
    /// The number that the next change gets.
    pub(crate) fn next(&self) -> ChangeNumber {
        let changes = self.segments.len() * SEGMENT_CHANGES + self.tail.len();
        self.first + u64::try_from(changes).expect("a length fits in 64 bits")
    }

    /// The change with a number, unless it is forgotten.
    pub(crate) fn get(&self, number: ChangeNumber) -> Option<&Change> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        match self.segments.get(index / SEGMENT_CHANGES) {
            Some(segment) => segment.get(index % SEGMENT_CHANGES),
            None => self.tail.get(index - self.segments.len() * SEGMENT_CHANGES),
        }
    }

    /// Takes the next change.
    pub(crate) fn push(
        &mut self,
        key: SharedBytes,
        version: Arc<Version>,
        replaced: Option<Arc<Version>>,
    ) {
        assert_eq!(version.change, self.next(), "a version knows the change that wrote it");
        self.tail.push(Change { key, version, replaced });
        if self.tail.len() == SEGMENT_CHANGES {
            self.segments.push_back(self.tail.drain(..).collect());
        }
    }

    /// Forgets the oldest segment, if all its changes are below `end`.
    pub(crate) fn forget_below(&mut self, end: ChangeNumber) {
        let len = u64::try_from(SEGMENT_CHANGES).expect("a length fits in 64 bits");
        if end - self.first >= len && self.segments.pop_front().is_some() {
            self.first += len;
        }
    }

    /// Goes back from the newest version of a key to what it was at a revision that is not
    /// compacted.
    pub(crate) fn version_at<'a>(
        &'a self,
        newest: &'a Arc<Version>,
        revision: Revision,
    ) -> Option<&'a Arc<Version>> {
        let mut version = newest;
        while version.modified > revision {
            version = self.step(version, revision)?;
        }
        Some(version)
    }

    /// One step of the way back from a version to what its key was at `revision`, which is before
    /// it.
    pub(super) fn step(&self, version: &Version, revision: Revision) -> Option<&Arc<Version>> {
        let change = self.get(version.change).expect("what is not compacted is in the history");
        let skipped = (version.skip != version.change).then(|| self.get(version.skip)).flatten();
        match skipped {
            Some(skipped) if skipped.version.modified > revision => Some(&skipped.version),
            Some(_) | None => change.replaced.as_ref(),
        }
    }

    /// The number of the first change at or after a revision.
    pub(crate) fn number_at(&self, revision: Revision) -> ChangeNumber {
        let is_before = |change: &Change| change.version.modified < revision;
        let segment =
            self.segments.partition_point(|segment| segment.last().is_some_and(is_before));
        let inside = match self.segments.get(segment) {
            Some(changes) => changes.partition_point(is_before),
            None => self.tail.partition_point(is_before),
        };
        let number = segment * SEGMENT_CHANGES + inside;
        self.first + u64::try_from(number).expect("a length fits in 64 bits")
    }

    /// Where the next change skips to, which replaces `one`, and its depth.
    ///
    /// Two skips of equal length that follow each other are joined to one; otherwise a new one of
    /// length one begins. What is forgotten cannot be skipped to, and need not.
    pub(super) fn skip_over(&self, one: Option<&Version>) -> (ChangeNumber, u32) {
        let next = self.next();
        let is_known = |one: &&Version| (self.first..next).contains(&one.change);
        let Some(one) = one.filter(is_known) else { return (next, 0) };
        let depth = one.depth.saturating_add(1);
        if one.skip == one.change {
            return (one.change, depth);
        }
        let joined = self.get(one.skip).and_then(|two| {
            let three = self.get(two.version.skip)?;
            let (two, three) = (&two.version, &three.version);
            (one.depth - two.depth == two.depth - three.depth).then_some(two.skip)
        });
        (joined.unwrap_or(one.change), depth)
    }
}
