//! A disk as the protocol sees it, in the simplest way: a list of entries, a hard state, the newest
//! snapshot, and writes that are whole or not there.
//!
//! Written from the contract of `Persist` alone, so that it can disagree with the core. Read next:
//! `properties/world.rs`, which lets it be slow and lets it lose what was not yet written.

use std::ops::Range;

use raft_core::codec::decode_membership;
use raft_core::{
    Base, Entry, EntryId, HardState, Index, Membership, PayloadKind, Persist, Restored,
    SnapshotMeta, Term,
};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    hard: HardState,
    created: Option<Membership>,
    snapshot: Option<SnapshotMeta>,
    /// The entry before the first.
    base: EntryId,
    entries: Vec<Entry>,
}

fn place(index: Index) -> usize {
    usize::try_from(index.get()).expect("a test log fits into memory")
}

impl Disk {
    /// A disk of a group that was created before, with this term, vote and log.
    pub(crate) fn of(
        created: Membership,
        hard: HardState,
        entries: impl IntoIterator<Item = Entry>,
    ) -> Self {
        let entries = entries.into_iter().collect();
        Self { hard, created: Some(created), entries, ..Self::default() }
    }

    /// Writes as promised: base first, then everything from the first entry's index on is replaced.
    pub(crate) fn write(&mut self, persist: &Persist) {
        if persist.is_empty() {
            return;
        }
        match persist.base() {
            None => {}
            Some(Base::Created(membership)) => {
                assert!(self.created.is_none(), "a group is created once");
                self.created = Some(membership.clone());
            }
            Some(Base::Compacted { snapshot, upto }) => self.compact(snapshot, *upto),
            Some(Base::Installed(snapshot)) => {
                let last = snapshot.last_included;
                assert!(last.index > self.hard.commit, "{last} replaces what is committed");
                (self.base, self.snapshot) = (last, Some(snapshot.clone()));
                self.entries.clear();
            }
        }
        if let Some(first) = persist.entries().first() {
            let id = first.id;
            assert!(id.index > self.base.index, "{id} is in the snapshot");
            let keep = place(id.index) - place(self.base.index) - 1;
            assert!(keep <= self.entries.len(), "a write leaves no gap before {id}");
            assert!(id.index > self.hard.commit, "{id} overwrites a committed entry");
            self.entries.truncate(keep);
            self.entries.extend_from_slice(persist.entries());
        }
        let (before, after) = (self.hard, persist.hard_state());
        assert!(after.term >= before.term, "the disk never forgets a term");
        let same_term = after.term == before.term;
        assert!(
            !same_term || before.voted_for.is_none() || before.voted_for == after.voted_for,
            "the disk never forgets a vote"
        );
        assert!(after.commit >= before.commit, "the commit hint never goes back");
        assert!(after.commit <= self.last().index, "the commit hint is inside the log");
        self.hard = after;
    }

    fn compact(&mut self, snapshot: &SnapshotMeta, upto: EntryId) {
        let (last, before) = (snapshot.last_included, self.covered());
        assert!(last.index > before.index, "{last} follows the snapshot of {before}");
        assert!(self.id_at(last.index) == Some(last), "the snapshot of {last} is of this log");
        assert!(upto.index <= last.index, "only what the snapshot covers goes");
        assert!(self.id_at(upto.index) == Some(upto), "{upto} is in the log");
        self.entries.drain(..place(upto.index) - place(self.base.index));
        (self.base, self.snapshot) = (upto, Some(snapshot.clone()));
    }

    pub(crate) fn hard(&self) -> HardState {
        self.hard
    }

    /// The last entry that the newest snapshot covers; zero without one.
    pub(crate) fn covered(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    /// The entry before the first one of the log.
    pub(crate) fn base(&self) -> EntryId {
        self.base
    }

    /// The entry at this index, the base included; `None` before it and beyond the end.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        let at = place(index).checked_sub(place(self.base.index))?;
        let Some(at) = at.checked_sub(1) else { return Some(self.base) };
        self.entries.get(at).map(|entry| entry.id)
    }

    /// Whether this entry is in the log, or in the snapshot before it.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        id.index < self.base.index || self.id_at(id.index) == Some(id)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    /// What a restart finds, with at most this many entries at hand.
    pub(crate) fn restored(&self, tail_max: usize) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for Entry { id, .. } in &self.entries {
            if terms.last().is_none_or(|(_, term)| *term < id.term) {
                terms.push((id.index, id.term));
            }
        }
        let covered = self.covered().index;
        let above = self.entries.iter().filter(|entry| entry.id.index > covered);
        let memberships = above.filter(|entry| entry.payload.kind() == PayloadKind::Membership);
        let brought = |entry: &Entry| {
            let membership = decode_membership(entry.payload.bytes().clone());
            membership.expect("it was written").brought_by(entry.id)
        };
        let skip = self.entries.len().saturating_sub(tail_max);
        Restored {
            hard_state: self.hard,
            created: self.created.clone(),
            snapshot: self.snapshot.clone(),
            base: self.base,
            terms,
            last: self.last(),
            memberships: memberships.map(brought).collect(),
            tail: self.entries[skip..].to_vec(),
        }
    }

    /// The entries of a range, as many as fit, at least one if the log holds the first.
    pub(crate) fn load(&self, range: Range<Index>, bytes_max: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let mut loaded = Vec::new();
        let Some(skip) = place(range.start).checked_sub(place(self.base.index) + 1) else {
            return loaded;
        };
        for entry in self.entries.iter().skip(skip) {
            bytes += entry.payload.cost();
            if entry.id.index >= range.end || (bytes > bytes_max && !loaded.is_empty()) {
                break;
            }
            loaded.push(entry.clone());
        }
        loaded
    }
}
