//! The rules of the log, one place for all storages: what a group looks like after each write.
//!
//! Live writes and the replay after a restart go through the same methods, so that nothing is ever
//! written that a restart would refuse.
//!
//! * Indexes have no gaps and terms never fall (§5.3, §5.4.1).
//! * Term and commit hint never fall; within a term a vote is given once (§5.2).
//! * Nothing at or below the commit hint is truncated (Leader Completeness, Figure 3).
//! * The base moves forward only, and only together with the snapshot that covers it (§7).
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
    /// First index of each run of equal terms, ascending.
    terms: Vec<(Index, Term)>,
    last: EntryId,
    memberships: Vec<Membership>,
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

    /// The snapshot the log begins after.
    pub(crate) const fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    /// The entry right before the first one.
    pub(crate) fn base(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    /// Whether the log holds this index.
    pub(crate) fn holds(&self, index: Index) -> bool {
        index > self.base().index && index <= self.last.index
    }

    /// Everything but the tail.
    pub(crate) fn restored(&self) -> Restored {
        Restored {
            hard_state: self.hard_state,
            created: self.created.clone(),
            snapshot: self.snapshot.clone(),
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
            from > self.hard_state.commit && from > self.base().index,
            "nothing committed is truncated",
            found,
        )?;
        if from > self.last.index {
            return Ok(());
        }
        self.terms.truncate(self.terms.partition_point(|(first, _)| *first < from));
        self.last = match self.terms.last() {
            Some((_, term)) => EntryId::new(*term, from.prev()),
            None => self.base(),
        };
        let keep = self.memberships.partition_point(|membership| membership.id().index < from);
        self.memberships.truncate(keep);
        Ok(())
    }

    /// The log begins after this snapshot. Entries above it stay, if the log holds exactly the last
    /// entry it covers (Figure 13, step 6); entries up to it go.
    pub(crate) fn compact(&mut self, snapshot: SnapshotMeta) -> Result<(), RuleError> {
        let base = snapshot.last_included;
        self.check(base.index > self.base().index, "the base moves forward only", base)?;
        self.check(base.term >= self.base().term, "the term of the base never falls", base)?;
        if base.index < self.last.index {
            let matches = self.term_at(base.index) == Some(base.term);
            self.check(matches, "the tail after a snapshot belongs to its last entry", base)?;
            let before = self.terms.partition_point(|(first, _)| *first <= base.index.next());
            self.terms.drain(..before - 1);
            self.terms[0].0 = base.index.next();
        } else {
            self.terms.clear();
            self.last = base;
        }
        let gone = self.memberships.partition_point(|kept| kept.id().index <= base.index);
        self.memberships.drain(..gone);
        self.snapshot = Some(snapshot);
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
