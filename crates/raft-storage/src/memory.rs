//! `MemoryStorage`: a storage that forgets with its process.
//!
//! For tests, examples and learners. Everything else about it is as the contract says, so that what
//! runs on it runs on a disk. Read next: `file.rs`.

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};

use raft_core::{Base, Entry, GroupId, Identity, Index, Persist, Restored, SnapshotError};

use crate::replay::Replay;
use crate::{RuleError, SnapshotManager, Storage, StorageError, StorageStats};

/// A [`Storage`] without a disk. What it holds is gone with the process, its incarnation included.
///
/// ```
/// use raft_core::GroupId;
/// use raft_storage::{MemoryStorage, Storage};
///
/// let mut storage = MemoryStorage::new();
/// assert!(storage.identity().is_none(), "a blank disk");
/// assert!(storage.restore(GroupId::ZERO)?.is_blank());
/// # Ok::<(), raft_storage::StorageError>(())
/// ```
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    identity: Option<Identity>,
    groups: BTreeMap<GroupId, MemoryGroup>,
    stats: StorageStats,
    /// An error of a write is final.
    poison: Option<StorageError>,
    tail_bytes_max: u64,
}

#[derive(Clone, Debug, Default)]
struct MemoryGroup {
    replay: Replay,
    /// The entries after the base.
    entries: VecDeque<Entry>,
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStorage {
    /// A blank disk.
    pub fn new() -> Self {
        Self {
            identity: None,
            groups: BTreeMap::new(),
            stats: StorageStats::default(),
            poison: None,
            tail_bytes_max: u64::MAX,
        }
    }

    /// Hands out at most this many bytes as the tail of [`Restored`], by `Payload::cost`. Default:
    /// the whole log.
    #[must_use]
    pub const fn with_tail_bytes_max(mut self, bytes: u64) -> Self {
        self.tail_bytes_max = bytes;
        self
    }

    fn check(&self) -> Result<(), StorageError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn persist_all(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        for (group, persist) in batch.iter().filter(|(_, persist)| !persist.is_empty()) {
            let held = self.groups.entry(*group).or_default();
            held.persist(persist).map_err(|broken| StorageError::Rule { group: *group, broken })?;
            self.stats.writes += 1;
            self.stats.entries += persist.entries().len() as u64;
        }
        Ok(())
    }
}

impl MemoryGroup {
    fn persist(&mut self, persist: &Persist) -> Result<(), RuleError> {
        match persist.base() {
            None => {}
            Some(Base::Created(membership)) => self.replay.create(membership.clone())?,
            Some(Base::Compacted { snapshot, upto }) => {
                if self.replay.snapshot() != Some(snapshot) {
                    self.replay.check_held(snapshot.last_included)?;
                    self.replay.cover(snapshot.clone())?;
                }
                self.replay.purge(*upto)?;
            }
            Some(Base::Installed(snapshot)) => {
                self.replay.cover(snapshot.clone())?;
                self.replay.truncate(snapshot.last_included.index.next())?;
                self.replay.purge(snapshot.last_included)?;
            }
        }
        if let Some(first) = persist.entries().first()
            && first.id.index <= self.replay.last().index
        {
            self.replay.truncate(first.id.index)?;
        }
        self.trim();
        for entry in persist.entries() {
            self.replay.append(entry.id, Some(&entry.payload))?;
            self.entries.push_back(entry.clone());
        }
        self.replay.set_hard_state(persist.hard_state())
    }

    /// Drops the entries that the replay no longer holds.
    fn trim(&mut self) {
        while self.entries.back().is_some_and(|entry| !self.replay.holds(entry.id.index)) {
            self.entries.pop_back();
        }
        while self.entries.front().is_some_and(|entry| !self.replay.holds(entry.id.index)) {
            self.entries.pop_front();
        }
    }
}

impl Storage for MemoryStorage {
    fn identity(&self) -> Option<Identity> {
        self.identity
    }

    fn initialize(&mut self, identity: Identity) -> Result<(), StorageError> {
        self.check()?;
        let held = *self.identity.get_or_insert(identity);
        if held == identity {
            return Ok(());
        }
        let (found, expected) = (Box::new(held), Box::new(identity));
        Err(StorageError::Foreign { path: "memory".into(), found, expected })
    }

    fn restore(&mut self, group: GroupId) -> Result<Restored, StorageError> {
        self.check()?;
        let Some(held) = self.groups.get(&group) else { return Ok(Restored::default()) };
        let mut bytes = 0u64;
        let newest = held.entries.iter().rev().take_while(|entry| {
            bytes = bytes.saturating_add(entry.payload.cost());
            bytes <= self.tail_bytes_max
        });
        let skip = held.entries.len() - newest.count();
        let tail = held.entries.iter().skip(skip).cloned().collect();
        Ok(Restored { tail, ..held.replay.restored() })
    }

    fn persist(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        self.check()?;
        if batch.iter().all(|(_, persist)| persist.is_empty()) {
            return Ok(());
        }
        if self.identity.is_none() {
            return Err(StorageError::Uninitialized);
        }
        let result = self.persist_all(batch);
        self.poison = result.clone().err();
        self.stats.batches += 1;
        result
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.check()?;
        let Some(held) = self.groups.get(&group) else { return Ok(Vec::new()) };
        let Some(first) = held.entries.front().map(|entry| entry.id.index) else {
            return Ok(Vec::new());
        };
        if range.start < first {
            return Ok(Vec::new());
        }
        let skip = usize::try_from(range.start.since(first)).unwrap_or(usize::MAX);
        let mut bytes = 0u64;
        let wanted = held.entries.iter().skip(skip).take_while(|entry| {
            bytes = bytes.saturating_add(entry.payload.cost());
            entry.id.index < range.end && (bytes <= bytes_max || entry.id.index == range.start)
        });
        Ok(wanted.cloned().collect())
    }

    fn stats(&self) -> StorageStats {
        self.stats
    }

    fn snapshots(&self) -> Result<SnapshotManager, SnapshotError> {
        Ok(SnapshotManager::in_memory())
    }
}
