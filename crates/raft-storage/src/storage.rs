//! What a node asks of a disk: `trait Storage`, and `write`, the only minter of receipts.
//!
//! * A receipt exists only after [`Storage::persist`] returned `Ok` for the write it is for.
//! * An error of a write is final: nobody retries, the node stops and starts again from what the
//!   disk really holds.
//!
//! Read next: `replay.rs`, the rules every write obeys, then `memory.rs` and `file.rs`.

use core::ops::Range;
use core::time::Duration;

use raft_core::{
    Entry, GroupId, Identity, Index, Message, Persist, Persisted, Restored, SnapshotError,
};

use crate::{SnapshotManager, StorageError};

/// One disk, one identity, many groups. Blocking: a host gives it a thread.
///
/// Every sentence here is a law, and `contract` (feature `contract`) tests each of them.
pub trait Storage: Send {
    /// Whom this disk belongs to; `None` for a blank disk.
    fn identity(&self) -> Option<Identity>;

    /// Writes the identity of a blank disk, once and durably. The same identity again is accepted.
    ///
    /// # Errors
    ///
    /// [`StorageError::Foreign`] if the disk already belongs to somebody else.
    fn initialize(&mut self, identity: Identity) -> Result<(), StorageError>;

    /// Everything the disk remembers of a group; blank if it never heard of it.
    ///
    /// What it returns is durable and passes [`Restored::validate`].
    fn restore(&mut self, group: GroupId) -> Result<Restored, StorageError>;

    /// Writes the batch: in order, each [`Persist`] whole or not at all, all durable on return.
    ///
    /// A write whose first entry is not beyond the last index replaces everything from there on. A
    /// write that [is empty](Persist::is_empty) costs nothing: what it waits for is durable
    /// already.
    ///
    /// # Errors
    ///
    /// Any error is final: which writes of the batch are on the disk is unknown, and every later
    /// call returns the same error. A failed sync in particular is never tried again, because the
    /// kernel may since call the lost pages clean.
    fn persist(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError>;

    /// The consecutive entries the log holds from the start of the range on: at least one, then as
    /// many as fit into `bytes_max` as counted by `Payload::cost`. None if the log does not hold
    /// the first, because it was compacted or truncated since somebody asked.
    ///
    /// Every payload is compared with its seal before it is returned.
    ///
    /// # Errors
    ///
    /// [`StorageError::Corrupt`] if the disk holds something else than what was written.
    fn entries(
        &mut self,
        group: GroupId,
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError>;

    /// Called between jobs: does what is due, and says when it wants to be called again at the
    /// latest. `None`: nothing is due before the next job.
    ///
    /// Only a storage whose receipts do not mean that the disk has everything ([`SyncMode`]) needs
    /// it.
    ///
    /// # Errors
    ///
    /// As [`persist`](Self::persist), and as final.
    fn idle(&mut self) -> Result<Option<Duration>, StorageError> {
        Ok(None)
    }

    /// Whether there is room for more than the group needs to go on: for what clients write, and
    /// not only for elections, memberships and snapshots. A host asks now and then, and tells its
    /// node ([`RaftNode::handle_room`](raft_core::RaftNode::handle_room)).
    fn has_room(&self) -> bool {
        true
    }

    /// What it did since it was opened.
    fn stats(&self) -> StorageStats;

    /// The snapshots beside the log: as durable as the log is, so that whatever a log names as its
    /// snapshot is found again. Asked for once, when a node starts.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if they cannot be read.
    fn snapshots(&self) -> Result<SnapshotManager, SnapshotError>;
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn identity(&self) -> Option<Identity> {
        (**self).identity()
    }

    fn initialize(&mut self, identity: Identity) -> Result<(), StorageError> {
        (**self).initialize(identity)
    }

    fn restore(&mut self, group: GroupId) -> Result<Restored, StorageError> {
        (**self).restore(group)
    }

    fn persist(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        (**self).persist(batch)
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        (**self).entries(group, range, bytes_max)
    }

    fn idle(&mut self) -> Result<Option<Duration>, StorageError> {
        (**self).idle()
    }

    fn has_room(&self) -> bool {
        (**self).has_room()
    }

    fn stats(&self) -> StorageStats {
        (**self).stats()
    }

    fn snapshots(&self) -> Result<SnapshotManager, SnapshotError> {
        (**self).snapshots()
    }
}

/// A write that is durable: its receipt, and the messages that waited for it.
#[derive(Debug)]
#[must_use = "the node waits for the receipt, and others wait for the promises"]
pub struct Written {
    /// Whose write it was.
    pub group: GroupId,
    /// The receipt, for `RaftNode::handle_persisted`.
    pub persisted: Persisted,
    /// The promises: messages that may leave now, because they are true even after a crash.
    pub promises: Vec<Message>,
}

/// Makes a batch durable and turns each write into its receipt: the only minter of receipts.
///
/// # Errors
///
/// The error of [`Storage::persist`], which is final. The batch is gone then, and its promises with
/// it: nobody will ever say what the disk may not remember.
pub fn write(
    storage: &mut dyn Storage,
    batch: Vec<(GroupId, Persist)>,
) -> Result<Vec<Written>, StorageError> {
    storage.persist(&batch)?;
    let written = batch.into_iter().map(|(group, persist)| {
        let (persisted, promises) = persist.into_persisted();
        Written { group, persisted, promises }
    });
    Ok(written.collect())
}

/// What a receipt means, and with it what a crash may cost.
///
/// | | a process ends | the machine loses power |
/// |---|---|---|
/// | `Full` | nothing is lost | nothing is lost |
/// | `Normal` | nothing is lost | the last 100 ms or 256 KiB may be lost |
/// | `None` | nothing is lost | anything since the last segment was begun may be lost |
///
/// Below `Full` a disk whose machine went down without a clean stop does not open again
/// ([`StorageError::Unsynced`]): it does not know what it had acknowledged, and a node that forgot
/// would make others lose it, too. Such a member is readmitted with an empty disk. So a group keeps
/// everything as long as a majority of its machines does not go down at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SyncMode {
    /// The disk has it: a sync returned.
    #[default]
    Full,
    /// The operating system has it, and the disk at most 100 ms or 256 KiB later. Terms, votes,
    /// memberships and snapshots are synced first.
    Normal,
    /// The operating system has it.
    None,
}

impl SyncMode {
    /// The word for it in flags, logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
            Self::None => "none",
        }
    }
}

/// What a storage did since it was opened. Counters only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorageStats {
    /// Writes asked for that were not empty.
    pub writes: u64,
    /// Batches written to the WAL.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Entries among the records.
    pub entries: u64,
    /// Bytes of batches, with their padding.
    pub bytes_written: u64,
    /// Bytes of zeros written ahead of need.
    pub bytes_filled: u64,
    /// Syncs on the way of a write, and how long they took.
    pub sync: SyncStats,
    /// What a receipt means.
    pub sync_mode: SyncMode,
    /// Bytes of batches that were acknowledged and are not synced; zero in mode `full`.
    pub unsynced_bytes: u64,
    /// Segments of the WAL, with the one being written.
    pub segments: u64,
    /// Segments removed, because snapshots cover what they held.
    pub segments_removed: u64,
    /// Torn tails found when the storage was opened: writes a crash cut short, never acknowledged.
    pub torn_tails: u64,
}

/// How long syncs took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SyncStats {
    /// How many.
    pub count: u64,
    /// The latest.
    pub last: Duration,
    /// The longest.
    pub max: Duration,
    /// All together.
    pub total: Duration,
    /// How many took at most [`SYNC_BUCKETS`] of the same place; the last one counts the rest.
    pub buckets: [u64; SYNC_BUCKETS.len() + 1],
}

/// Upper ends of the buckets of [`SyncStats`].
pub const SYNC_BUCKETS: [Duration; 12] = [
    Duration::from_micros(50),
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_secs(1),
];

impl SyncStats {
    /// Counts one more.
    pub(crate) fn record(&mut self, took: Duration) {
        self.count += 1;
        self.last = took;
        self.max = self.max.max(took);
        self.total += took;
        self.buckets[SYNC_BUCKETS.partition_point(|end| *end < took)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A duration lands in the first bucket whose end it does not exceed, the longest in the last.
    #[test]
    fn sync_times_land_in_their_buckets() {
        let mut stats = SyncStats::default();
        for (micros, bucket) in [(0, 0), (50, 0), (51, 1), (1_000_000, 11), (1_000_001, 12)] {
            let before = stats.buckets[bucket];
            stats.record(Duration::from_micros(micros));
            assert_eq!(stats.buckets[bucket], before + 1, "{micros} us");
        }
        assert_eq!(stats.count, 5);
        assert_eq!(stats.max, Duration::from_micros(1_000_001));
        assert_eq!(stats.total, Duration::from_micros(2_000_102));
    }
}
