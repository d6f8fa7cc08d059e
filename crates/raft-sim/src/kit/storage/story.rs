//! Stories: calls that nodes might make, and what must be there after each write.

use std::collections::BTreeMap;

use raft_core::{
    Base, Entry, EntryId, GroupId, HardState, Index, Membership, NodeId, Payload, Persist,
    SnapshotId, SnapshotMeta, Term,
};
use raft_storage::{MemoryStorage, Storage};

use super::facts::{Facts, GROUPS};
use super::life::identity;
use crate::choice::{Choices, Site};

/// Calls of `persist`, one after the other.
pub(super) struct Story {
    pub(super) calls: Vec<Vec<Write>>,
    /// What must be there before the first write, and after each.
    pub(super) states: Vec<Facts>,
}

/// A write as plain data: it is made for several storages.
#[derive(Clone)]
pub(super) struct Write {
    group: GroupId,
    hard_state: HardState,
    base: Option<Base>,
    entries: Vec<Entry>,
}

impl Write {
    pub(super) fn persist(&self) -> (GroupId, Persist) {
        let (base, entries) = (self.base.clone(), self.entries.clone());
        (self.group, Persist::unnumbered(self.hard_state, base, entries))
    }
}

impl Story {
    /// A random story of so many calls, about both groups.
    pub(super) fn random(seed: u64, calls: usize) -> Self {
        let choices = Choices::random(seed);
        let mut logs = GROUPS.map(Log::new);
        let mut call = || {
            let writes = 1 + choices.choose(Site::User, 3);
            (0..writes).map(|_| either(&mut logs, &choices).write(&choices)).collect()
        };
        Self::of((0..calls).map(|_| call()).collect())
    }

    /// Two calls, small: for those who try everything.
    pub(super) fn small() -> Self {
        let mut logs = GROUPS.map(Log::new);
        let [one, two] = &mut logs;
        let first = vec![one.create(), one.append(&[20, 900]), two.create()];
        let second = vec![two.append(&[10, 700]), one.replace(2, &[300, 5])];
        Self::of(vec![first, second])
    }

    fn of(calls: Vec<Vec<Write>>) -> Self {
        let mut model = MemoryStorage::new();
        model.initialize(identity(1)).expect("a blank storage takes an identity");
        let mut states = vec![Facts::default()];
        for write in calls.iter().flatten() {
            model.persist(&[write.persist()]).expect("stories keep the rules of Raft");
            states.push(Facts::of(&mut model).expect("memory does not fail"));
        }
        Self { calls, states }
    }
}

fn either<'a>(logs: &'a mut [Log; 2], choices: &Choices) -> &'a mut Log {
    &mut logs[usize::from(choices.chance(Site::User, 400_000))]
}

/// A log as far as it takes to go on with it.
struct Log {
    group: GroupId,
    state: HardState,
    created: bool,
    base: EntryId,
    entries: BTreeMap<u64, Term>,
}

impl Log {
    const fn new(group: GroupId) -> Self {
        let state = HardState { term: Term::ZERO, voted_for: None, commit: Index::ZERO };
        Self { group, state, created: false, base: EntryId::ZERO, entries: BTreeMap::new() }
    }

    fn last(&self) -> u64 {
        let last = self.entries.keys().next_back().copied();
        last.unwrap_or_else(|| self.base.index.get())
    }

    /// Something a node might write now.
    fn write(&mut self, choices: &Choices) -> Write {
        if !self.created {
            return self.create();
        }
        let below = |domain| choices.choose(Site::User, domain);
        let sizes = || -> Vec<u64> {
            let magnitudes = (0..=below(3)).map(|_| choices.spread(Site::User, 1, 4_000));
            magnitudes.collect()
        };
        let (last, commit) = (self.last(), self.state.commit.get());
        match below(10) {
            0 => self.campaign(1 + below(3)),
            1 if last > commit => {
                self.state.commit = Index::new(commit + 1 + below(last - commit));
                self.with(None, Vec::new())
            }
            2 | 3 if last > commit => self.replace(commit + 1 + below(last - commit), &sizes()),
            4 if commit > self.base.index.get() => self.compact(),
            5 if below(4) == 0 => self.install(last + 1 + below(20)),
            _ => self.append(&sizes()),
        }
    }

    fn create(&mut self) -> Write {
        self.created = true;
        self.with(Some(Base::Created(members())), Vec::new())
    }

    fn campaign(&mut self, vote: u64) -> Write {
        self.state.term = self.state.term.next();
        self.state.voted_for = NodeId::new(vote);
        self.with(None, Vec::new())
    }

    fn append(&mut self, sizes: &[u64]) -> Write {
        if self.state.term == Term::ZERO {
            self.state.term = Term::new(1);
        }
        let entries = self.entries_from(self.last() + 1, sizes);
        self.with(None, entries)
    }

    /// A leader of a later term knows better.
    fn replace(&mut self, from: u64, sizes: &[u64]) -> Write {
        self.state.term = self.state.term.next();
        self.state.voted_for = None;
        self.entries.retain(|index, _| *index < from);
        let entries = self.entries_from(from, sizes);
        self.with(None, entries)
    }

    fn compact(&mut self) -> Write {
        let index = self.state.commit.get();
        self.base = EntryId::new(self.entries[&index], Index::new(index));
        self.entries.retain(|kept, _| *kept > index);
        let base = Base::Compacted { snapshot: snapshot(self.base), upto: self.base };
        self.with(Some(base), Vec::new())
    }

    fn install(&mut self, index: u64) -> Write {
        self.state.term = self.state.term.next();
        self.state.voted_for = None;
        self.base = EntryId::new(self.state.term, Index::new(index));
        self.state.commit = Index::new(index);
        self.entries.clear();
        self.with(Some(Base::Installed(snapshot(self.base))), Vec::new())
    }

    fn entries_from(&mut self, from: u64, sizes: &[u64]) -> Vec<Entry> {
        let term = self.state.term;
        let entries = (from..).zip(sizes).map(|(index, size)| {
            self.entries.insert(index, term);
            // No two writes have the same bytes, so nothing is mistaken for something else.
            let mark = format!("{} {term} {index} ", self.group).into_bytes();
            let size = usize::try_from(*size).expect("small").max(mark.len());
            let bytes: Vec<u8> = mark.iter().copied().cycle().take(size).collect();
            Entry { id: EntryId::new(term, Index::new(index)), payload: Payload::command(bytes) }
        });
        entries.collect()
    }

    const fn with(&self, base: Option<Base>, entries: Vec<Entry>) -> Write {
        Write { group: self.group, hard_state: self.state, base, entries }
    }
}

fn members() -> Membership {
    let member = |node| (node, raft_core::Member::default());
    Membership::bootstrap((1..=3).filter_map(NodeId::new).map(member).collect())
}

fn snapshot(last_included: EntryId) -> SnapshotMeta {
    let id = SnapshotId::new(u128::from(last_included.index.get()) << 64 | 5);
    let membership = members().brought_by(EntryId::ZERO);
    SnapshotMeta { id, last_included, membership, data_bytes: 77 }
}
