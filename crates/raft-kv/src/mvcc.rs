//! `Mvcc`: the multi-version map. What every key is, and what it was at each revision since the
//! last compaction.
//!
//! ```text
//!   index    key → newest version        a tree of shared nodes
//!   history  change, change, change, …   in order, each with the version it replaced
//! ```
//!
//! * One mutator: [`Mvcc::record`]. Puts and deletions, also restored ones, are all made of it.
//! * The newest revision is read from the index alone; only a read at an older one enters the
//!   history, and only for keys that changed since.
//! * A clone freezes: it shares everything and costs about one counter per hundred changes.
//! * Nothing outside of this type can be seen that depends on how far reclaiming has come.
//!
//! Read next: `mvcc/revision.rs`, `mvcc/index.rs`, `mvcc/history.rs`, then `mvcc/range.rs` for
//! reads, `mvcc/txn.rs` for writes, `mvcc/compact.rs` for what is forgotten.

mod compact;
mod history;
mod index;
mod node;
mod range;
mod revision;
#[cfg(test)]
mod tests;
mod txn;

use std::sync::Arc;

pub(crate) use self::history::Change;
use self::history::History;
use self::index::{Index, Place, Slot};
pub(crate) use self::range::KeyRange;
pub(crate) use self::revision::{ChangeNumber, Revision, Version};
use crate::SharedBytes;

/// The multi-version map.
#[derive(Clone, Debug)]
pub(crate) struct Mvcc {
    index: Index,
    history: History,
    /// The newest revision. Inside a command that has written, already the new one.
    revision: Revision,
    /// The oldest revision that can be read.
    compacted: Revision,
    /// The first change that reclaiming has not looked at.
    unreclaimed: ChangeNumber,
    /// Memory held by keys, values and their bookkeeping, as far as it can be counted.
    bytes: u64,
}

impl Default for Mvcc {
    fn default() -> Self {
        Self {
            index: Index::default(),
            history: History::default(),
            revision: Revision::FRESH,
            compacted: Revision::NEVER,
            unreclaimed: 0,
            bytes: 0,
        }
    }
}

/// What a put makes of a key.
pub(crate) struct Written<'a> {
    pub(crate) value: ValueOf<'a>,
    pub(crate) lease: i64,
    pub(crate) created: Revision,
    pub(crate) version: i64,
}

/// Where the value of a put comes from.
pub(crate) enum ValueOf<'a> {
    /// The command: copied.
    Given(&'a [u8]),
    /// The version before: shared.
    Kept(SharedBytes),
}

impl Mvcc {
    /// An empty map in which nothing has happened, or a restored one before its first key.
    pub(crate) fn new(revision: Revision, compacted: Revision) -> Self {
        Self { revision, compacted, ..Self::default() }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// How many keys exist.
    pub(crate) fn keys(&self) -> u64 {
        as_u64(self.index.live())
    }

    /// Memory held by keys, values and their bookkeeping.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What a key is now.
    pub(crate) fn newest(&self, key: &[u8]) -> Option<&Slot> {
        self.index.at(self.index.locate(key)).filter(|slot| !slot.newest.is_tombstone())
    }

    /// The changes at or after a revision, in order; those that are compacted are left out.
    pub(crate) fn changes_from(&self, revision: Revision) -> impl Iterator<Item = &Change> {
        let first = self.history.number_at(revision.max(self.compacted));
        (first..self.history.next()).filter_map(|number| self.history.get(number))
    }

    /// What a change's key was before the change's revision, unless that is compacted.
    pub(crate) fn before(&self, change: &Change) -> Option<&Version> {
        if change.version.modified <= self.compacted {
            return None;
        }
        let before = Revision::new(change.version.modified.get() - 1);
        let change = self.history.get(change.version.change)?;
        let version = self.history.version_at(&change.version, before)?;
        (!version.is_tombstone()).then_some(&**version)
    }

    /// What each key was at the compacted revision, if its last change was before: the ground on
    /// which the changes that are not compacted stand.
    pub(crate) fn ground(&self, after: Option<&[u8]>) -> impl Iterator<Item = GroundKey<'_>> {
        // No key sorts between `key` and `key` with a zero byte behind it; a search past `key`
        // itself needs no copy.
        let range = after.map_or(KeyRange::From(&[]), KeyRange::From);
        let after = after.map(SharedBytes::from);
        self.index.slots(range).filter(move |slot| Some(&slot.key) != after.as_ref()).filter_map(
            |slot| {
                let version = self.history.version_at(&slot.newest, self.compacted)?;
                let is_ground = version.modified < self.compacted && !version.is_tombstone();
                is_ground.then_some((&slot.key, version))
            },
        )
    }

    /// Puts `key`, whose place is `place`, at `revision`.
    fn put(&mut self, revision: Revision, place: Place, key: &[u8], written: Written<'_>) {
        let value = match written.value {
            ValueOf::Given(value) => SharedBytes::from(value),
            ValueOf::Kept(value) => value,
        };
        let version = Version {
            modified: revision,
            created: written.created,
            puts: written.version,
            lease: written.lease,
            value,
            ..Version::tombstone(revision, self.history.next())
        };
        self.record(place, key, version);
    }

    /// Deletes `key`, which exists and whose place is `place`, at `revision`.
    fn delete(&mut self, revision: Revision, place: Place, key: &[u8]) {
        self.record(place, key, Version::tombstone(revision, self.history.next()));
    }

    /// The one mutator: adds a change to the index and to the history.
    fn record(&mut self, place: Place, key: &[u8], mut version: Version) {
        assert!(version.modified >= self.compacted, "the past does not change");
        assert!(version.modified <= self.revision.next(), "revisions have no gaps");
        self.revision = self.revision.max(version.modified);
        let replaced = self.index.at(place).map(|slot| &*slot.newest);
        (version.skip, version.depth) = self.history.skip_over(replaced);
        let mut bytes = CHANGE_BYTES + version_bytes(&version);
        let version = Arc::new(version);
        let (key, replaced) = self.index.write(place, key, Arc::clone(&version));
        if replaced.is_none() {
            bytes += slot_bytes(&key);
        }
        self.bytes += bytes;
        self.history.push(key, version, replaced);
    }

    /// Restores a change from a snapshot: the revision of the map is already the last one.
    pub(crate) fn restore_change(
        &mut self,
        key: &[u8],
        written: Option<Written<'_>>,
        at: Revision,
    ) {
        let place = self.index.locate(key);
        match written {
            Some(written) => self.put(at, place, key, written),
            None => self.delete(at, place, key),
        }
    }

    /// Restores a key of the ground from a snapshot, before any change.
    pub(crate) fn restore_ground(&mut self, key: &[u8], written: Written<'_>, modified: Revision) {
        let value = match written.value {
            ValueOf::Given(value) => SharedBytes::from(value),
            ValueOf::Kept(value) => value,
        };
        let (created, puts, lease) = (written.created, written.version, written.lease);
        // Its change is forgotten; a number that no change has says so.
        let forgotten = Version::tombstone(modified, FORGOTTEN);
        let version = Version { created, puts, lease, value, ..forgotten };
        self.bytes += version_bytes(&version);
        let (key, _) = self.index.write(self.index.locate(key), key, Arc::new(version));
        self.bytes += slot_bytes(&key);
    }

    /// The newest version of a key, tombstones included: what the next change of it replaces.
    pub(crate) fn newest_version(&self, key: &[u8]) -> Option<&Version> {
        self.index.at(self.index.locate(key)).map(|slot| &*slot.newest)
    }
}

/// A key of the ground and what it is there.
pub(crate) type GroundKey<'a> = (&'a SharedBytes, &'a Arc<Version>);

fn version_bytes(version: &Version) -> u64 {
    VERSION_BYTES + as_u64(version.value.len())
}

fn slot_bytes(key: &SharedBytes) -> u64 {
    SLOT_BYTES + as_u64(key.len())
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits in 64 bits")
}

/// The change number of a version whose change was never in this memory.
const FORGOTTEN: ChangeNumber = ChangeNumber::MAX;

/// What a version takes beside its value: itself, its counters, those of the value.
const VERSION_BYTES: u64 = 112;
/// What a key takes in the index beside its bytes: a slot in a leaf three quarters full, counters.
const SLOT_BYTES: u64 = 64;
/// What a change takes in the history.
const CHANGE_BYTES: u64 = 32;
