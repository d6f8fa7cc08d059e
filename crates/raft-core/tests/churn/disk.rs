//! A disk with snapshots as the protocol sees it, written from the contract of `Persist` alone.

use std::ops::Range;

use raft_core::{
    Base, Entry, EntryId, HardState, Index, Membership, PayloadKind, Persist, Restored,
    SnapshotMeta, Term, codec,
};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    hard: HardState,
    created: Option<Membership>,
    snapshot: Option<SnapshotMeta>,
    base: EntryId,
    entries: Vec<Entry>,
}

impl Disk {
    fn covered(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    pub(crate) fn snapshot(&self) -> Option<&SnapshotMeta> {
        self.snapshot.as_ref()
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    /// Whether this entry would be found after a crash, itself or inside a snapshot.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        id.index <= self.covered().index || self.entries.iter().any(|entry| entry.id == id)
    }

    pub(crate) fn write(&mut self, persist: &Persist) {
        match persist.base() {
            None => {}
            Some(Base::Created(membership)) => self.created = Some(membership.clone()),
            Some(Base::Compacted { snapshot, upto }) => {
                assert!(snapshot.last_included.index >= self.covered().index, "snapshots grow");
                assert!(upto.index <= snapshot.last_included.index, "only the covered goes");
                assert!(upto.index >= self.base.index, "the base moves forward");
                assert!(self.holds(snapshot.last_included), "a snapshot of this log");
                self.entries.retain(|entry| entry.id.index > upto.index);
                (self.base, self.snapshot) = (*upto, Some(snapshot.clone()));
            }
            Some(Base::Installed(snapshot)) => {
                assert!(snapshot.last_included.index > self.hard.commit, "nothing committed goes");
                self.entries.clear();
                (self.base, self.snapshot) = (snapshot.last_included, Some(snapshot.clone()));
            }
        }
        if let Some(first) = persist.entries().first() {
            assert!(first.id.index > self.covered().index, "{} is covered", first.id);
            assert!(first.id.index > self.hard.commit, "{} replaces the committed", first.id);
            assert!(first.id.index <= self.last().index.next(), "{} leaves a gap", first.id);
            self.entries.retain(|entry| entry.id.index < first.id.index);
            self.entries.extend_from_slice(persist.entries());
        }
        let (before, after) = (self.hard, persist.hard_state());
        assert!(after.term >= before.term && after.commit >= before.commit, "it never goes back");
        assert!(
            after.term > before.term
                || before.voted_for.is_none()
                || before.voted_for == after.voted_for,
            "one vote a term"
        );
        assert!(after.commit <= self.last().index, "the commit hint is inside the log");
        self.hard = after;
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
        let brings = |entry: &&Entry| {
            entry.payload.kind() == PayloadKind::Membership && entry.id.index > covered
        };
        let memberships = self.entries.iter().filter(brings).map(|entry| {
            let membership = codec::decode_membership(entry.payload.bytes().clone());
            membership.expect("it was written by a leader").brought_by(entry.id)
        });
        let skip = self.entries.len().saturating_sub(tail_max);
        Restored {
            hard_state: self.hard,
            created: self.created.clone(),
            snapshot: self.snapshot.clone(),
            base: self.base,
            terms,
            last: self.last(),
            memberships: memberships.collect(),
            tail: self.entries[skip..].to_vec(),
        }
    }

    /// The entries of a range, as many as fit; none if the first is not there.
    pub(crate) fn load(&self, range: &Range<Index>, bytes_max: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let mut loaded: Vec<Entry> = Vec::new();
        for entry in self.entries.iter().filter(|entry| range.contains(&entry.id.index)) {
            bytes += entry.payload.cost();
            if bytes > bytes_max && !loaded.is_empty() {
                break;
            }
            loaded.push(entry.clone());
        }
        let follows = loaded.first().is_some_and(|entry| entry.id.index == range.start);
        if follows { loaded } else { Vec::new() }
    }
}
