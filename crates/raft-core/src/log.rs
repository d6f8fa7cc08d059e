//! `Log`: the entries of one node (Figure 2), the newest in memory and all on the disk.
//!
//! * Consecutive indexes, terms that never fall; the log begins after its base.
//! * Memory holds a tail of it, ending at the last entry. Older entries are loaded from the disk.
//! * A ticket sits beside its entry and leaves the log exactly once.
//! * `durable <= last`; entries above the durable mark are in memory.
//! * The memberships in the log are kept as a stack and cut with it: a membership is in force as
//!   soon as it is appended (§6).
//!
//! Read next: `log/terms.rs`, `log/writes.rs`, then `state.rs`.

mod terms;
mod writes;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use self::terms::Terms;
use self::writes::Writes;
use crate::{
    Base, Entry, EntryId, HardState, Index, LogSlice, Membership, NodeId, Payload, PayloadKind,
    Persisted, Restored, SnapshotMeta, Term, Ticket, Time, WriteId, codec,
};

/// The log of one node.
#[derive(Clone, Debug)]
pub struct Log {
    terms: Terms,
    writes: Writes,
    cache: VecDeque<Entry>,
    cache_bytes: u64,
    tickets: VecDeque<(Index, Ticket)>,
    /// Ascending by the entry that brought it; the first is that of the snapshot, or of the
    /// bootstrap. What is covered by a snapshot is never cut, so nothing below is needed.
    memberships: Vec<Membership>,
    snapshot: Option<SnapshotMeta>,
}

/// What [`Log::splice`] did.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Spliced {
    /// Callers whose entries were cut away.
    pub(crate) dropped: Vec<Ticket>,
    /// The first entry that was not here before, if any.
    pub(crate) first_new: Option<Index>,
    /// The membership in force is another one now.
    pub(crate) membership_changed: bool,
}

/// Why [`Log::splice`] refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpliceError {
    /// `prev` is not in the log; the leader may continue after the hint (§5.3).
    Conflict {
        /// The last entry below `prev` whose term is not above the term of `prev`.
        hint: EntryId,
    },
    /// The slice contradicts an entry that is committed: a broken leader.
    Committed(Index),
    /// The entry at this index claims to carry a membership and does not.
    Malformed(Index),
}

/// What memory has of a range.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    /// These entries, beginning with the first that was asked for; never empty.
    Entries(Vec<Entry>),
    /// The first entry left memory: load it.
    OnDisk,
    /// The first entry left the log: only a snapshot has it.
    Compacted,
}

impl Log {
    pub(crate) fn new(restored: Restored, created: Option<Membership>) -> Self {
        let (base, last) = (restored.base, restored.last);
        let first = restored.snapshot.as_ref().map(|snapshot| snapshot.membership.clone());
        let mut memberships: Vec<_> = first.or(restored.created).or(created).into_iter().collect();
        memberships.extend(restored.memberships);
        let cache: VecDeque<Entry> = restored.tail.into();
        Self {
            terms: Terms::new(base, last, restored.terms),
            writes: Writes::new(last.index, restored.hard_state),
            cache_bytes: cache.iter().map(|entry| entry.payload.cost()).sum(),
            cache,
            tickets: VecDeque::new(),
            memberships,
            snapshot: restored.snapshot,
        }
    }

    /// The entry right before the first one: zero, or one that a snapshot covers.
    pub fn base(&self) -> EntryId {
        self.terms.base()
    }

    /// The last entry: `lastLogIndex` and `lastLogTerm` of Figure 2.
    pub fn last(&self) -> EntryId {
        let last = self.terms.last();
        if mutant!("E9") && last.index > Index::ZERO && last == self.base() {
            return EntryId::new(Term::ZERO, last.index);
        }
        last
    }

    /// Everything up to here is durable on this node.
    pub fn durable(&self) -> Index {
        self.writes.durable()
    }

    /// The newest snapshot, if any: it covers the base and perhaps more.
    pub fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    /// The term of the entry at an index; `None` outside the log. The base counts as inside.
    pub fn term_at(&self, index: Index) -> Option<Term> {
        self.terms.term_at(index)
    }

    /// Whether the log holds exactly this entry (§5.3: the consistency check).
    pub fn holds(&self, id: EntryId) -> bool {
        self.term_at(id.index) == Some(id.term)
    }

    /// The membership in force: the latest in the log, committed or not (§6).
    pub fn membership(&self) -> Membership {
        self.memberships.last().cloned().unwrap_or_default()
    }

    /// The last entry at or below `index` whose term is not above `term`.
    pub(crate) fn last_not_above(&self, term: Term, index: Index) -> EntryId {
        self.terms.last_not_above(term, index)
    }

    /// Appends a payload as the leader of `term` does (§5.3).
    pub(crate) fn append(
        &mut self,
        term: Term,
        payload: Payload,
        ticket: Option<Ticket>,
    ) -> EntryId {
        let id = EntryId::new(term, self.last().index.next());
        self.push(Entry { id, payload });
        self.tickets.extend(ticket.map(|ticket| (id.index, ticket)));
        id
    }

    /// Marks who waits for the entry that was appended last.
    pub(crate) fn attach(&mut self, index: Index, ticket: Ticket) {
        assert!(index <= self.last().index, "tickets sit beside entries of the log");
        assert!(
            self.tickets.back().is_none_or(|(i, _)| *i < index),
            "one ticket an entry, in order"
        );
        self.tickets.push_back((index, ticket));
    }

    /// Takes what a leader sent (Figure 2, AppendEntries, steps 2 to 4).
    ///
    /// Entries that are already here stay; the first that differs cuts the log. Returns the entries
    /// that are new.
    pub(crate) fn splice(
        &mut self,
        slice: &LogSlice,
        commit: Index,
    ) -> Result<Spliced, SpliceError> {
        let (prev, base) = (slice.prev(), self.base());
        // What lies at or below the base is committed, so it matches (Log Matching). Who names
        // another entry there does not hold what is committed.
        if slice.id_at(base.index).is_some_and(|id| id != base) {
            return Err(SpliceError::Committed(base.index));
        }
        if prev.index > base.index && !self.holds(prev) {
            let below = prev.index.prev().min(self.last().index);
            let hint = self.last_not_above(prev.term, below);
            assert!(hint.index < prev.index, "every rejection moves the leader back");
            mark!("hint-skips-a-term", hint.index < below);
            return Err(SpliceError::Conflict { hint });
        }
        let mut new = slice
            .entries()
            .iter()
            .skip_while(|entry| entry.id.index <= base.index || self.holds(entry.id))
            .peekable();
        let Some(first) = new.peek().map(|entry| entry.id.index) else {
            let (mut spliced, end) = (Spliced::default(), slice.last().index.max(commit).next());
            mark!("append-already-here", !slice.is_empty());
            if mutant!("R4") && !slice.is_empty() && end <= self.last().index {
                spliced.dropped = self.truncate(end);
            }
            return Ok(spliced);
        };
        let last = self.last().index;
        if mutant!("D24") && first <= last {
            let beyond = slice.entries().iter().filter(|entry| entry.id.index > last);
            beyond.for_each(|entry| self.push(entry.clone()));
            return Ok(Spliced { first_new: Some(last.next()), ..Spliced::default() });
        }
        if first <= commit {
            return Err(SpliceError::Committed(first));
        }
        if mutant!("R17b") && self.last().index > first.plus(4) {
            return Err(SpliceError::Malformed(first));
        }
        let new: Vec<Entry> = new.cloned().collect();
        if let Some(bad) = new.iter().find(|entry| is_malformed(&entry.payload)) {
            return Err(SpliceError::Malformed(bad.id.index));
        }
        let before = self.memberships.len();
        let dropped = if first <= self.last().index { self.truncate(first) } else { Vec::new() };
        let kept = self.memberships.len();
        for entry in new {
            self.push(entry);
        }
        let membership_changed = kept != before || self.memberships.len() != kept;
        Ok(Spliced { dropped, first_new: Some(first), membership_changed })
    }

    /// Cuts the log before `first`; returns the callers that waited for what is gone.
    fn truncate(&mut self, first: Index) -> Vec<Ticket> {
        mark!("suffix-cut");
        self.terms.truncate(first);
        self.writes.clip(first);
        while self.cache.back().is_some_and(|entry| entry.id.index >= first) && !mutant!("R15") {
            let entry = self.cache.pop_back().expect("it has a last entry");
            self.cache_bytes -= entry.payload.cost();
        }
        let mut cut = 0;
        self.memberships.retain(|membership| {
            let stays = membership.id().index < first || mutant!("M6b") && cut > 0;
            cut += usize::from(!stays);
            stays
        });
        let kept = self.tickets.partition_point(|(index, _)| *index < first);
        self.tickets.split_off(kept).into_iter().map(|(_, ticket)| ticket).collect()
    }

    fn push(&mut self, entry: Entry) {
        self.terms.push(entry.id);
        self.cache_bytes += entry.payload.cost();
        if entry.payload.kind() == PayloadKind::Membership
            && let Ok(membership) = codec::decode_membership(entry.payload.bytes().clone())
        {
            self.memberships.push(membership.brought_by(entry.id));
        }
        self.cache.push_back(entry);
    }

    /// Entries from `first` on, as many as fit into the bytes, at least one.
    pub(crate) fn entries(&self, first: Index, last: Index, bytes_max: u64) -> Cached {
        assert!(first <= last && last <= self.last().index, "the range is in the log");
        if first <= self.base().index {
            return Cached::Compacted;
        }
        let Some(start) = self.cache.front().map(|entry| entry.id.index) else {
            return Cached::OnDisk;
        };
        if first < start {
            return Cached::OnDisk;
        }
        let skip = usize::try_from(first.since(start)).expect("the cache fits into memory");
        let take = usize::try_from(last.since(first)).unwrap_or(usize::MAX).saturating_add(1);
        let mut bytes = 0;
        let mut entries = Vec::new();
        for entry in self.cache.range(skip..).take(take) {
            bytes += entry.payload.cost();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry.clone());
        }
        Cached::Entries(entries)
    }

    /// The cost of the entries in `(after, upto]` that are in memory.
    pub(crate) fn cost(&self, after: Index, upto: Index) -> u64 {
        let start = self.cache.partition_point(|entry| entry.id.index <= after);
        let end = self.cache.partition_point(|entry| entry.id.index <= upto);
        self.cache.range(start..end.max(start)).map(|entry| entry.payload.cost()).sum()
    }

    /// Takes the tickets of all entries up to an index.
    pub(crate) fn take_tickets(&mut self, upto: Index) -> Vec<(Index, Ticket)> {
        let count = self.tickets.partition_point(|(index, _)| *index <= upto);
        self.tickets.drain(..count).collect()
    }

    /// How many callers wait for entries of this log.
    pub(crate) fn waiting(&self) -> usize {
        self.tickets.len()
    }

    /// Whether something is to be written.
    pub(crate) fn has_unwritten(&self, hard: HardState) -> bool {
        let handed = self.writes.handed_hard();
        self.writes.handed() < self.last().index
            || (handed.term, handed.voted_for) != (hard.term, hard.voted_for)
    }

    /// Begins a write: the next unwritten entries, as many as fit.
    pub(crate) fn begin_write(
        &mut self,
        mut hard: HardState,
        bytes_max: u64,
        now: Time,
    ) -> (WriteId, HardState, Vec<Entry>) {
        // A base that was installed is written with, or before, the first entry above it.
        let handed = self.writes.handed().max(self.base().index);
        let first = handed.next();
        let entries = if first > self.last().index {
            Vec::new()
        } else {
            match self.entries(first, self.last().index, bytes_max) {
                Cached::Entries(entries) => entries,
                Cached::OnDisk | Cached::Compacted => {
                    unreachable!("what is not written yet is in memory")
                }
            }
        };
        let last = entries.last().map_or(handed, |entry| entry.id.index);
        hard.commit = hard.commit.min(last);
        (self.writes.begin(last, hard, now), hard, entries)
    }

    /// The last index that is, or is being, written.
    pub(crate) fn handed(&self) -> Index {
        self.writes.handed()
    }

    /// When the oldest write that is not durable yet was handed out.
    pub(crate) fn oldest_write(&self) -> Option<Time> {
        self.writes.oldest()
    }

    /// Takes the receipt of a write.
    #[expect(clippy::needless_pass_by_value, reason = "a receipt is spent once")]
    pub(crate) fn finish_write(&mut self, persisted: Persisted) {
        let Persisted { id } = persisted;
        self.writes.finish(id);
    }

    /// Term and vote as the disk has them.
    pub(crate) fn durable_hard(&self) -> HardState {
        self.writes.durable_hard()
    }

    /// Lets the oldest entries leave memory, down to the limit, but none above `keep_after`.
    pub(crate) fn evict(&mut self, bytes_max: u64, keep_after: Index) {
        let keep_after = keep_after.min(self.durable());
        while self.cache_bytes > bytes_max
            && self.cache.front().is_some_and(|entry| entry.id.index <= keep_after)
        {
            let entry = self.cache.pop_front().expect("it has a first entry");
            self.cache_bytes -= entry.payload.cost();
        }
    }

    /// The membership in force at an index that the newest snapshot covers or that is above it.
    pub fn membership_at(&self, index: Index) -> Option<&Membership> {
        self.memberships.iter().rev().find(|membership| membership.id().index <= index)
    }

    /// The memberships of the log, oldest first: that of the snapshot or the bootstrap, and every
    /// one above. Any of them may come into force again until the later ones are committed.
    pub fn memberships(&self) -> &[Membership] {
        &self.memberships
    }

    /// A durable snapshot covers more of the log than the one before (§7); entries up to `upto` are
    /// dropped. Tells what to write.
    ///
    /// # Panics
    ///
    /// If the log does not hold the last entry of the snapshot, or not yet durably, or if more is
    /// to be dropped than the snapshot covers.
    pub fn compact(&mut self, snapshot: SnapshotMeta, upto: Index) -> Base {
        let covered = snapshot.last_included;
        assert!(covered.index <= self.durable(), "only what is durable is compacted");
        assert!(self.holds(covered), "the snapshot is of this log");
        assert!(upto <= covered.index, "only what a snapshot covers is dropped");
        let upto = upto.max(self.base().index);
        let term = self.term_at(upto).expect("what a snapshot covers is in the log");
        let upto = EntryId::new(term, upto);
        self.drop_front(upto);
        self.memberships.retain(|membership| membership.id().index > covered.index);
        self.memberships.insert(0, snapshot.membership.clone());
        self.snapshot = Some(snapshot.clone());
        Base::Compacted { snapshot, upto }
    }

    fn drop_front(&mut self, upto: EntryId) {
        self.terms.compact(upto);
        while self.cache.front().is_some_and(|entry| entry.id.index <= upto.index) {
            let entry = self.cache.pop_front().expect("it has a first entry");
            self.cache_bytes -= entry.payload.cost();
        }
    }

    /// A snapshot of a leader replaces the whole log (Figure 13, step 7). Tells what to write, and
    /// who waited for what is gone.
    ///
    /// # Panics
    ///
    /// If the snapshot lies below the base, which an installation never reaches.
    pub(crate) fn install(&mut self, snapshot: SnapshotMeta) -> (Base, Vec<Ticket>) {
        let covered = snapshot.last_included;
        assert!(covered.index > self.base().index, "an installation moves the base forward");
        self.terms = Terms::new(covered, covered, Vec::new());
        self.writes.install();
        self.cache.clear();
        self.cache_bytes = 0;
        let kept = if mutant!("S4") { mem::take(&mut self.memberships) } else { Vec::new() };
        self.memberships = Vec::from([snapshot.membership.clone()]);
        self.memberships.extend(kept.into_iter().skip(1));
        self.snapshot = Some(snapshot.clone());
        let dropped = self.tickets.drain(..).map(|(_, ticket)| ticket).collect();
        (Base::Installed(snapshot), dropped)
    }

    /// Checks what must hold of the part in memory: consecutive, terms as recorded, payloads as
    /// sealed. Returns the first entry that is not so.
    pub fn verify(&self) -> Result<(), EntryId> {
        let mut last = None;
        for entry in &self.cache {
            let consecutive = last.is_none_or(|last: Index| entry.id.index == last.next());
            if !consecutive || !self.holds(entry.id) || !entry.payload.verify() {
                return Err(entry.id);
            }
            last = Some(entry.id.index);
        }
        if last.is_some_and(|last| last != self.last().index) {
            return Err(self.last());
        }
        Ok(())
    }

    /// The entries from `first` on that this process of this node forwarded, in order.
    pub(crate) fn forwarded(&self, first: Index, node: NodeId, boot: u64) -> Vec<(Index, Ticket)> {
        let start = self.cache.partition_point(|entry| entry.id.index < first);
        let ours = |entry: &Entry| {
            let origin = entry.payload.origin()?;
            (origin.node == node && origin.boot == boot).then_some((entry.id.index, origin.ticket))
        };
        self.cache.range(start..).filter_map(ours).collect()
    }
}

/// Whether a payload claims to carry a membership and does not.
fn is_malformed(payload: &Payload) -> bool {
    payload.kind() == PayloadKind::Membership
        && codec::decode_membership(payload.bytes().clone()).is_err()
}

#[cfg(test)]
#[path = "log/tests.rs"]
mod tests;
