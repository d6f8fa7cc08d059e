//! What a disk remembers, checked once before a node believes it.
//!
//! Read next: `log.rs`, which is built from it.

use alloc::vec::Vec;
use core::fmt;

use crate::{Entry, EntryId, HardState, Index, Membership, SnapshotMeta, Term};

/// Everything a storage found for one group.
///
/// A blank disk gives [`Restored::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Term, vote and commit hint.
    pub hard_state: HardState,
    /// The first membership, if the group was ever created on this disk.
    pub created: Option<Membership>,
    /// The newest snapshot, if any.
    pub snapshot: Option<SnapshotMeta>,
    /// The entry right before the first one in the log: zero, or an entry at or below the last one
    /// the snapshot covers.
    pub base: EntryId,
    /// The terms of the log as runs: first index of each run of equal terms, ascending. Covers
    /// every entry from the base to `last`.
    pub terms: Vec<(Index, Term)>,
    /// The last entry; the base if the log is empty.
    pub last: EntryId,
    /// Every membership entry above the snapshot, ascending, as brought by its entry.
    pub memberships: Vec<Membership>,
    /// The newest entries, consecutive up to `last`: as many as the storage kept at hand. May be
    /// empty; older ones are loaded when needed.
    pub tail: Vec<Entry>,
}

impl Restored {
    /// Whether nothing was ever written for this group.
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    /// The last entry the snapshot covers; zero without one.
    pub fn covered(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    /// Checks that the parts fit together.
    pub fn validate(&self) -> Result<(), RestoreError> {
        let (base, covered) = (self.base, self.covered());
        let fault = |what| Err(RestoreError { what, base, last: self.last });
        if self.last.index < base.index {
            return fault("the log ends before its base");
        }
        if base.index > covered.index || base.term > covered.term {
            return fault("the log begins after more than its snapshot covers");
        }
        if covered.index > self.last.index {
            return fault("the log ends before what its snapshot covers");
        }
        let empty = self.last.index == base.index;
        if empty && (self.last != base || !self.terms.is_empty() || !self.tail.is_empty()) {
            return fault("an empty log has entries");
        }
        if !empty && self.terms.first().is_none_or(|(first, _)| *first != base.index.next()) {
            return fault("the first run of terms does not begin after the base");
        }
        if self.terms.windows(2).any(|pair| pair[0].0 >= pair[1].0 || pair[0].1 >= pair[1].1) {
            return fault("runs of terms do not ascend");
        }
        if self.terms.first().is_some_and(|(_, term)| *term < base.term) {
            return fault("the first term of the log is below the term of its base");
        }
        if self
            .terms
            .last()
            .is_some_and(|(first, term)| *term != self.last.term || *first > self.last.index)
        {
            return fault("the last run of terms does not end at the last entry");
        }
        if self.last.term > self.hard_state.term {
            return fault("the log holds a later term than the hard state");
        }
        if self.hard_state.commit > self.last.index {
            return fault("the commit hint lies beyond the log");
        }
        if self.tail.last().is_some_and(|entry| entry.id != self.last) {
            return fault("the tail does not end at the last entry");
        }
        if self.tail.windows(2).any(|pair| pair[1].id.index != pair[0].id.index.next()) {
            return fault("the tail has a gap");
        }
        Ok(())
    }
}

/// A disk remembers what cannot be: it is damaged, or belongs to a different format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestoreError {
    /// What does not fit.
    pub what: &'static str,
    /// Where the log begins.
    pub base: EntryId,
    /// Where it ends.
    pub last: EntryId,
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (log from {} to {})", self.what, self.base, self.last)
    }
}

impl core::error::Error for RestoreError {}
