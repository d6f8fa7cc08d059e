//! The rules of the log, one place for all storages: what a group looks like after each write.
//!
//! Live writes and the replay after a restart go through the same methods, so that nothing is ever
//! written that a restart would refuse.
//!
//! * Indexes have no gaps and terms never fall (§5.3, §5.4.1).
//! * Term and commit hint never fall; within a term a vote is given once (§5.2).
//! * Nothing at or below the commit hint is truncated (Leader Completeness, Figure 3).
//! * Snapshots and the base move forward only, and the base never beyond what a snapshot covers
//!   (§7).
//!
//! Read next: `memory.rs`, its simplest user.

use raft_core::codec::decode_membership;
use raft_core::{
    EntryId, HardState, Index, Membership, Payload, PayloadKind, Restored, SnapshotMeta, Term,
};

use crate::RuleError;

/// One group as its writes so far make it, without the payloads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Replay {
    hard_state: HardState,
    created: Option<Membership>,
    snapshot: Option<SnapshotMeta>,
    base: EntryId,
    /// First index of each run of equal terms, ascending.
    terms: Vec<(Index, Term)>,
    last: EntryId,
    memberships: Vec<Membership>,
}

/// A group as something that was checked describes it.
impl From<Restored> for Replay {
    fn from(state: Restored) -> Self {
        Self {
            hard_state: state.hard_state,
            created: state.created,
            snapshot: state.snapshot,
            base: state.base,
            terms: state.terms,
            last: state.last,
            memberships: state.memberships,
        }
    }
}

impl Replay {
    /// Term, vote and commit hint.
    pub(crate) const fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// The last entry; the base if the log is empty.
    pub(crate) const fn last(&self) -> EntryId {
        self.last
    }

    /// The newest snapshot.
    pub(crate) const fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    /// The entry right before the first one.
    pub(crate) const fn base(&self) -> EntryId {
        self.base
    }

    /// The last entry the snapshot covers; zero without one.
    fn covered(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    /// Whether the log holds this index.
    pub(crate) fn holds(&self, index: Index) -> bool {
        index > self.base.index && index <= self.last.index
    }

    /// Everything but the tail.
    pub(crate) fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            created: self.created.clone(),
            snapshot: self.snapshot.clone(),
            base: self.base,
            terms: self.terms.clone(),
            last: self.last,
            memberships: self.memberships.clone(),
            tail: Vec::new(),
        }
    }

    /// A blank disk learns the first membership of its group.
    pub(crate) fn create(&mut self, membership: Membership) -> Result<(), RuleError> {
        let blank = self.created.is_none() && self.last == EntryId::ZERO && self.snapshot.is_none();
        self.check(blank, "a group is created once, before anything else", membership.id())?;
        self.created = Some(membership);
        Ok(())
    }

    /// Removes this index and everything after it.
    pub(crate) fn truncate(&mut self, from: Index) -> Result<(), RuleError> {
        let found = EntryId::new(Term::ZERO, from);
        self.check(
            from > self.hard_state.commit && from > self.covered().index,
            "nothing committed is truncated",
            found,
        )?;
        if from > self.last.index {
            return Ok(());
        }
        self.terms.truncate(self.terms.partition_point(|(first, _)| *first < from));
        self.last = match self.terms.last() {
            Some((_, term)) => EntryId::new(*term, from.prev()),
            None => self.base,
        };
        let keep = self.memberships.partition_point(|membership| membership.id().index < from);
        self.memberships.truncate(keep);
        Ok(())
    }

    /// Checks that the log holds the last entry of a snapshot that is to cover a part of it.
    pub(crate) fn check_held(&self, covered: EntryId) -> Result<(), RuleError> {
        let held = self.term_at(covered.index) == Some(covered.term);
        self.check(held, "a snapshot ends with an entry of the log", covered)
    }

    /// A newer snapshot covers the log up to its last entry. The log keeps what it holds; a
    /// snapshot that covers more than that, or something else, takes its place (Figure 13, step 7).
    pub(crate) fn cover(&mut self, snapshot: SnapshotMeta) -> Result<(), RuleError> {
        let covered = snapshot.last_included;
        let before = self.covered();
        self.check(covered.index > before.index, "snapshots move forward only", covered)?;
        self.check(covered.term >= before.term, "the term of a snapshot never falls", covered)?;
        if self.term_at(covered.index) != Some(covered.term) {
            let open = covered.index > self.hard_state.commit;
            self.check(open, "nothing committed is replaced", covered)?;
            self.terms.clear();
            self.memberships.clear();
            (self.base, self.last) = (covered, covered);
        }
        let gone = self.memberships.partition_point(|kept| kept.id().index <= covered.index);
        self.memberships.drain(..gone);
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// The log begins after this entry, which the snapshot covers.
    pub(crate) fn purge(&mut self, upto: EntryId) -> Result<(), RuleError> {
        self.check(upto.index <= self.covered().index, "a snapshot covers what is purged", upto)?;
        self.check(upto.index >= self.base.index, "the base moves forward only", upto)?;
        let is_base = upto == self.base;
        let matches = is_base || self.term_at(upto.index) == Some(upto.term);
        self.check(matches, "what is purged is in the log", upto)?;
        if upto.index == self.last.index {
            self.terms.clear();
        } else if !is_base {
            let before = self.terms.partition_point(|(first, _)| *first <= upto.index.next());
            self.terms.drain(..before - 1);
            self.terms[0].0 = upto.index.next();
        }
        self.base = upto;
        Ok(())
    }

    /// Appends an entry. Its payload is asked for only if it may carry a membership.
    pub(crate) fn append(
        &mut self,
        id: EntryId,
        payload: Option<&Payload>,
    ) -> Result<(), RuleError> {
        self.check(id.index == self.last.index.next(), "indexes have no gaps", id)?;
        self.check(id.term >= self.last.term, "terms never fall", id)?;
        let payload = payload.filter(|payload| payload.kind() == PayloadKind::Membership);
        if let Some(payload) = payload {
            let membership = decode_membership(payload.bytes().clone()).ok();
            self.check(membership.is_some(), "a membership entry carries a membership", id)?;
            self.memberships.extend(membership.map(|membership| membership.brought_by(id)));
        }
        if self.terms.last().is_none_or(|(_, term)| *term != id.term) {
            self.terms.push((id.index, id.term));
        }
        self.last = id;
        Ok(())
    }

    /// Takes the hard state a write ends with.
    pub(crate) fn set_hard_state(&mut self, next: HardState) -> Result<(), RuleError> {
        let found = EntryId::new(next.term, next.commit);
        let before = self.hard_state;
        self.check(next.term >= before.term, "the current term never falls", found)?;
        self.check(next.commit >= before.commit, "the commit hint never falls", found)?;
        self.check(next.commit <= self.last.index, "the commit hint is inside the log", found)?;
        self.check(next.term >= self.last.term, "no entry is of a later term", found)?;
        let same_vote = before.voted_for.is_none() || before.voted_for == next.voted_for;
        self.check(next.term > before.term || same_vote, "a vote is given once in a term", found)?;
        self.hard_state = next;
        Ok(())
    }

    /// The term of an entry in the log.
    fn term_at(&self, index: Index) -> Option<Term> {
        let run = self.terms.partition_point(|(first, _)| *first <= index).checked_sub(1)?;
        (index <= self.last.index).then_some(self.terms[run].1)
    }

    const fn check(
        &self,
        holds: bool,
        rule: &'static str,
        found: EntryId,
    ) -> Result<(), RuleError> {
        if holds { Ok(()) } else { Err(RuleError { rule, last: self.last, found }) }
    }
}
