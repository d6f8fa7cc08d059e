//! A disk as the protocol sees it, in the simplest way: a list of entries, a hard state, and writes
//! that are whole or not there.
//!
//! Written from the contract of `Persist` alone, so that it can disagree with the core. Read next:
//! `properties/world.rs`, which lets it be slow and lets it lose what was not yet written.

use std::ops::Range;

use raft_core::{Base, Entry, EntryId, HardState, Index, Membership, Persist, Restored, Term};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    hard: HardState,
    created: Option<Membership>,
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
        Self { hard, created: Some(created), entries: entries.into_iter().collect() }
    }

    /// Writes as promised: replaces everything from the first entry's index on.
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
            Some(Base::Compacted(_) | Base::Installed(_)) => {
                unreachable!("this version takes no snapshots")
            }
        }
        if let Some(first) = persist.entries().first() {
            let keep = place(first.id.index.prev());
            assert!(keep <= self.entries.len(), "a write leaves no gap before {}", first.id);
            assert!(first.id.index > self.hard.commit, "{} overwrites a committed entry", first.id);
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
        assert!(place(after.commit) <= self.entries.len(), "the commit hint is inside the log");
        self.hard = after;
    }

    pub(crate) fn hard(&self) -> HardState {
        self.hard
    }

    /// The entry at this index; `EntryId::ZERO` at zero, `None` beyond the end.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        let Some(at) = place(index).checked_sub(1) else { return Some(EntryId::ZERO) };
        self.entries.get(at).map(|entry| entry.id)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.last().map_or(EntryId::ZERO, |entry| entry.id)
    }

    /// What a restart finds, with at most this many entries at hand.
    pub(crate) fn restored(&self, tail_max: usize) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for Entry { id, .. } in &self.entries {
            if terms.last().is_none_or(|(_, term)| *term < id.term) {
                terms.push((id.index, id.term));
            }
        }
        let skip = self.entries.len().saturating_sub(tail_max);
        Restored {
            hard_state: self.hard,
            created: self.created.clone(),
            terms,
            last: self.last(),
            tail: self.entries[skip..].to_vec(),
            ..Restored::default()
        }
    }

    /// The entries of a range, as many as fit, at least one if there is one.
    pub(crate) fn load(&self, range: Range<Index>, bytes_max: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let mut loaded = Vec::new();
        for entry in self.entries.iter().skip(place(range.start) - 1) {
            bytes += entry.payload.cost();
            if entry.id.index >= range.end || (bytes > bytes_max && !loaded.is_empty()) {
                break;
            }
            loaded.push(entry.clone());
        }
        loaded
    }
}
