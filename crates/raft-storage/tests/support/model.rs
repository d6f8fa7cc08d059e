//! The naive model of a storage: maps, and the sentences of the contract written down as code.

use std::collections::BTreeMap;

use raft_core::{
    Base, Entry, EntryId, GroupId, HardState, Index, Membership, NodeId, PayloadKind, Persist,
    Restored, SnapshotMeta, Term,
};

use super::{GROUPS, Random, command, id, membership, membership_entry, snapshot};

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct ModelGroup {
    pub(crate) hard_state: HardState,
    pub(crate) created: Option<Membership>,
    pub(crate) snapshot: Option<SnapshotMeta>,
    pub(crate) base: EntryId,
    pub(crate) entries: BTreeMap<Index, Entry>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Model(pub(crate) BTreeMap<GroupId, ModelGroup>);

/// A write as plain data: it is made twice, for the model and for the storage.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) group: GroupId,
    pub(crate) hard_state: HardState,
    pub(crate) base: Option<Base>,
    pub(crate) entries: Vec<Entry>,
}

impl Write {
    pub(crate) fn persist(&self) -> (GroupId, Persist) {
        let (base, entries) = (self.base.clone(), self.entries.clone());
        (self.group, Persist::unnumbered(self.hard_state, base, entries))
    }
}

impl ModelGroup {
    pub(crate) fn covered(&self) -> EntryId {
        self.snapshot.as_ref().map_or(EntryId::ZERO, |snapshot| snapshot.last_included)
    }

    pub(crate) fn last(&self) -> EntryId {
        self.entries.values().next_back().map_or(self.base, |entry| entry.id)
    }

    pub(crate) fn apply(&mut self, write: &Write) {
        match &write.base {
            None => {}
            Some(Base::Created(membership)) => self.created = Some(membership.clone()),
            Some(Base::Compacted { snapshot, upto }) => {
                self.entries.retain(|index, _| *index > upto.index);
                (self.base, self.snapshot) = (*upto, Some(snapshot.clone()));
            }
            Some(Base::Installed(snapshot)) => {
                self.entries.clear();
                (self.base, self.snapshot) = (snapshot.last_included, Some(snapshot.clone()));
            }
        }
        if let Some(first) = write.entries.first() {
            self.entries.retain(|index, _| *index < first.id.index);
        }
        for entry in &write.entries {
            self.entries.insert(entry.id.index, entry.clone());
        }
        self.hard_state = write.hard_state;
    }

    /// What `restore` must give back, with the whole log as its tail.
    pub(crate) fn restored(&self) -> Restored {
        let mut terms: Vec<(Index, Term)> = Vec::new();
        for entry in self.entries.values() {
            if terms.last().is_none_or(|(_, term)| *term != entry.id.term) {
                terms.push((entry.id.index, entry.id.term));
            }
        }
        let covered = self.covered().index;
        let carriers = self.entries.values().filter(|entry| {
            entry.payload.kind() == PayloadKind::Membership && entry.id.index > covered
        });
        let memberships = carriers.map(|entry| {
            let bytes = entry.payload.bytes().clone();
            raft_core::codec::decode_membership(bytes).unwrap().brought_by(entry.id)
        });
        Restored {
            hard_state: self.hard_state,
            created: self.created.clone(),
            snapshot: self.snapshot.clone(),
            base: self.base,
            terms,
            last: self.last(),
            memberships: memberships.collect(),
            tail: self.entries.values().cloned().collect(),
        }
    }

    /// A random write that a node might make now.
    pub(crate) fn random_write(
        &self,
        random: &mut Random,
        group: GroupId,
        bytes_max: u64,
    ) -> Write {
        let mut after = self.clone();
        let mut state = self.hard_state;
        if random.chance(20) {
            state.term = Term::new(state.term.get() + 1 + random.below(2));
            state.voted_for = None;
        }
        if state.voted_for.is_none() && random.chance(30) {
            state.voted_for = NodeId::new(1 + random.below(3));
        }
        let base = self.random_base(random, state.term);
        let mut write = Write { group, hard_state: state, base, entries: Vec::new() };
        after.apply(&write);
        // A conflicting suffix: entries above the commit hint and the base are replaced.
        let keep = after.covered().index.max(state.commit).get();
        let mut last = after.last();
        if random.chance(20) && last.index.get() > keep {
            let index = keep + random.below(last.index.get() - keep);
            let kept = after.entries.get(&Index::new(index));
            last = kept.map_or(after.base, |entry| entry.id);
        }
        for _ in 0..random.below(5) * u64::from(random.chance(80)) {
            let span = state.term.get() - last.term.get() + 1;
            let lag = random.below(span) * u64::from(random.chance(30));
            let term = state.term.get() - lag;
            let index = last.index.get() + 1;
            let entry = if random.chance(5) {
                membership_entry(term, index, 1 + random.below(5))
            } else {
                let len = random.below(bytes_max) * random.below(2);
                let byte = random.next().to_le_bytes()[0];
                command(term, index, vec![byte; usize::try_from(len).unwrap()])
            };
            last = entry.id;
            write.entries.push(entry);
        }
        after.apply(&write);
        let last = after.last().index.get();
        let commit = state.commit.get();
        if random.chance(40) && last > commit {
            write.hard_state.commit = Index::new(commit + random.below(last - commit + 1));
        }
        write
    }

    fn random_base(&self, random: &mut Random, term: Term) -> Option<Base> {
        if self.created.is_none() && self.last() == EntryId::ZERO {
            return random.chance(50).then(|| Base::Created(membership(3)));
        }
        let (base, covered, last) = (self.base, self.covered(), self.last());
        if random.chance(5) && last.index > covered.index {
            let span = last.index.get() - covered.index.get();
            let index = covered.index.get() + 1 + random.below(span);
            let snapshot = snapshot(self.entries[&Index::new(index)].id);
            // Often to the tip, sometimes with a tail, sometimes nothing goes.
            let kept = random.below(index - base.index.get() + 1) * u64::from(random.chance(60));
            let upto = self.entries.get(&Index::new(index - kept)).map_or(base, |entry| entry.id);
            return Some(Base::Compacted { snapshot, upto });
        }
        if random.chance(3) {
            let above = covered.index.get().max(self.hard_state.commit.get()) + 1;
            let index = above + random.below(20);
            let term = last.term.get().max(term.get());
            return Some(Base::Installed(snapshot(id(term, index))));
        }
        None
    }
}

impl Model {
    pub(crate) fn group(&self, group: GroupId) -> ModelGroup {
        self.0.get(&group).cloned().unwrap_or_default()
    }

    pub(crate) fn apply(&mut self, write: &Write) {
        self.0.entry(write.group).or_default().apply(write);
    }

    /// A random call of `persist`; the states after each of its writes are appended to `states`.
    pub(crate) fn random_batch(
        &mut self,
        random: &mut Random,
        bytes_max: u64,
        states: &mut Vec<Self>,
    ) -> Vec<Write> {
        let mut batch = Vec::new();
        for _ in 0..=random.below(3) {
            let group = GROUPS[usize::from(random.chance(40))];
            let write = self.group(group).random_write(random, group, bytes_max);
            self.apply(&write);
            states.push(self.clone());
            batch.push(write);
        }
        batch
    }
}
