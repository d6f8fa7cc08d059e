//! What a storage remembers, as one value to compare.

use raft_core::{Entry, GroupId, Restored};
use raft_storage::Storage;

/// Everything in both groups of the kit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts([GroupFacts; GROUPS.len()]);

/// A group, with its whole log in the place of the tail a storage keeps at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct GroupFacts {
    restored: Restored,
    log: Vec<Entry>,
}

/// The groups that stories are about.
pub(super) const GROUPS: [GroupId; 2] = [GroupId::new(0), GroupId::new(7)];

impl Facts {
    /// Asks a storage for everything; an error is what it says, or what does not fit together.
    pub(super) fn of(storage: &mut dyn Storage) -> Result<Self, String> {
        let mut facts = Self::default();
        for (group, found) in GROUPS.into_iter().zip(&mut facts.0) {
            *found = GroupFacts::of(storage, group)?;
        }
        Ok(facts)
    }

    /// In a few words.
    pub(super) fn describe(&self) -> String {
        let words = GROUPS.iter().zip(&self.0).map(|(group, GroupFacts { restored, log })| {
            let (state, base) = (restored.hard_state, restored.base);
            format!(
                "group {group}: term {}, vote {:?}, hint {}, log {base} to {}, {} entries",
                state.term,
                state.voted_for,
                state.commit,
                restored.last,
                log.len()
            )
        });
        words.collect::<Vec<_>>().join("; ")
    }
}

impl GroupFacts {
    fn of(storage: &mut dyn Storage, group: GroupId) -> Result<Self, String> {
        let cannot = |error| format!("cannot restore group {group}: {error}");
        let mut restored = storage.restore(group).map_err(cannot)?;
        restored.validate().map_err(|error| format!("restored is nonsense: {error}"))?;
        let range = restored.base.index.next()..restored.last.index.next();
        let log = storage.entries(group, range, u64::MAX);
        let log = log.map_err(|error| format!("cannot read group {group}: {error}"))?;
        let tail = std::mem::take(&mut restored.tail);
        if !log.ends_with(&tail) {
            return Err(format!("group {group} is restored with another tail than is read"));
        }
        Ok(Self { restored, log })
    }
}
