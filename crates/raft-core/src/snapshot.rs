//! What the core knows of a snapshot: the bill of lading, never the cargo.

use crate::{EntryId, Membership, SnapshotId};

/// Describes a snapshot (Figure 13): what it covers and whom the log belonged to at that point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotMeta {
    /// Identifies its content.
    pub id: SnapshotId,
    /// The last entry it covers: `lastIncludedIndex` and `lastIncludedTerm` of Figure 13.
    pub last_included: EntryId,
    /// The membership in force at that entry, with the entry that brought it.
    pub membership: Membership,
    /// Bytes of its data as the state machine wrote them.
    pub data_bytes: u64,
}
