//! What the core knows of a snapshot: the bill of lading, never the cargo.
//!
//! The cargo moves in chunks between two ports that live on higher floors: a [`ChunkStore`] gives
//! them, a [`ChunkSink`] takes them. Read next: `raft_storage::SnapshotManager`, which is both.

use alloc::boxed::Box;

use bytes::Bytes;

use crate::{Checksum, EntryId, GroupId, Membership, SnapshotError, SnapshotId};

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

/// A piece of a snapshot as it is stored and sent. Number zero is the manifest, which names the
/// others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Its place: the manifest is zero, data begins at one.
    pub number: u32,
    /// The stored bytes.
    pub bytes: Bytes,
    /// The checksum of the bytes.
    pub checksum: Checksum,
}

impl Chunk {
    /// Seals a chunk.
    pub fn new(number: u32, bytes: Bytes) -> Self {
        let checksum = Checksum::of(&bytes);
        Self { number, bytes, checksum }
    }

    /// Whether the bytes still are what was sealed.
    pub fn verify(&self) -> bool {
        Checksum::of(&self.bytes) == self.checksum
    }
}

/// Gives the chunks of published snapshots to whoever asks. Blocking.
pub trait ChunkStore: Send + Sync {
    /// One chunk of a snapshot. A snapshot that is being read is kept for a while although a newer
    /// one took its place.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Gone`] if this node does not hold that snapshot, or it has no such chunk.
    fn chunk(&self, group: GroupId, id: SnapshotId, number: u32) -> Result<Chunk, SnapshotError>;
}

/// Takes the chunks of one snapshot, in any order, and publishes it when it is whole. Blocking.
pub trait ChunkSink: Send {
    /// The chunk to ask for next: the first that is missing, the manifest before all others; `None`
    /// if everything is here. A fetch that was broken off goes on where it stopped.
    fn wanted(&self) -> Option<u32>;

    /// Takes a chunk. One that is here already is ignored.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if it is not what the manifest promises, or if it cannot be written.
    fn accept(&mut self, chunk: Chunk) -> Result<(), SnapshotError>;

    /// The fetch is over. Called exactly once.
    fn close(self: Box<Self>, outcome: FetchOutcome);
}

/// How a fetch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FetchOutcome {
    /// Every chunk arrived.
    Complete,
    /// The connection broke, or nothing came any more: what has arrived is kept.
    Broken,
    /// The peer does not hold the snapshot any more.
    Gone,
    /// A chunk was not taken.
    Failed(SnapshotError),
}
