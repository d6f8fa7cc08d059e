//! Compaction: what is forgotten, and when (CMP-1 to CMP-4).
//!
//! *Logically* a compaction is one assignment: from the next command on, older revisions are
//! refused. *Physically* the history is a queue of changes, and each change holds the version it
//! replaced, so the oldest changes are dropped from its front, with exactly the versions nobody can
//! read any more. Only a tombstone needs a look into the index: its key leaves, unless it lives
//! again.
//!
//! * No command waits for space: each one reclaims at most [`Mvcc::RECLAIM_CHANGES_MAX`] changes
//!   and frees at most one segment of the history, some ten microseconds in all. A host may reclaim
//!   more in idle time.
//! * A change *at* the compacted revision stays, tombstones too: a watch from there still sees it.
//! * Nothing that can be read or digested depends on how far reclaiming has come, so nodes may
//!   differ.
//! * Each change is looked at once in its life, however often the store is compacted.
//!
//! Read next: `store.rs`.

use super::{CHANGE_BYTES, Mvcc, Revision, slot_bytes, version_bytes};
use crate::{CompactionRequest, CompactionResponse, RequestError};

impl Mvcc {
    /// One command reclaims at most so many changes: far more than most add.
    pub(crate) const RECLAIM_CHANGES_MAX: usize = 32;

    /// Makes a revision the oldest that can be read.
    ///
    /// # Errors
    ///
    /// [`RequestError::FutureRevision`], [`RequestError::Compacted`].
    pub(super) fn compact(
        &mut self,
        request: &CompactionRequest,
    ) -> Result<CompactionResponse, RequestError> {
        let (requested, current) = (request.revision, self.revision.get());
        if requested > current {
            return Err(RequestError::FutureRevision { requested, current });
        }
        if requested <= self.compacted.get() {
            return Err(RequestError::Compacted { requested, compacted: self.compacted.get() });
        }
        self.compacted = Revision::new(requested);
        Ok(CompactionResponse { revision: current })
    }

    /// Leaves out this many revisions: the newest is so much later, and no older one can be read.
    /// `None`, and nothing is changed, if there are not as many.
    pub(crate) fn bump(&mut self, by: u64) -> Option<Revision> {
        let bumped = Revision::new(self.revision.get().checked_add_unsigned(by)?);
        // The revisions left out have no changes, so they are compacted before they can be asked.
        let is_room = bumped < Revision::NEWEST;
        is_room.then(|| {
            (self.revision, self.compacted) = (bumped, bumped);
            bumped
        })
    }

    /// How many changes wait to be reclaimed.
    pub(crate) fn reclaimable(&self) -> u64 {
        self.history.number_at(self.compacted).saturating_sub(self.unreclaimed)
    }

    /// How many changes are in the history, those that wait to be reclaimed included.
    pub(crate) fn changes(&self) -> u64 {
        self.history.next() - self.unreclaimed
    }

    /// Reclaims at most `changes_max` changes; returns how many.
    pub(crate) fn reclaim(&mut self, changes_max: usize) -> usize {
        for reclaimed in 0..changes_max {
            let next = self.history.get(self.unreclaimed);
            let Some(change) = next.filter(|next| next.version.modified < self.compacted) else {
                return reclaimed;
            };
            self.bytes -= CHANGE_BYTES;
            self.bytes -= change.replaced.as_deref().map_or(0, version_bytes);
            if change.version.is_tombstone() {
                let place = self.index.locate(&change.key);
                let newest = self.index.at(place).map(|slot| slot.newest.change);
                // Otherwise the key lives again, and the next change of it holds the tombstone.
                if newest == Some(self.unreclaimed) {
                    self.bytes -= version_bytes(&change.version) + slot_bytes(&change.key);
                    self.index.remove(place);
                }
            }
            self.unreclaimed += 1;
            self.history.forget_below(self.unreclaimed);
        }
        changes_max
    }
}
