//! What is measured while a node runs. Reading costs the node nothing.

use std::fmt;
use std::sync::Arc;

use raft_core::Status;
use raft_net::{NetStats, Transport};
use raft_storage::{SnapshotManager, SnapshotStats, StorageStats};

use crate::disk::StatsReader;
use crate::shared::Shared;

/// Everything measured about a node. A handle: each question reads the present values.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) storage: StatsReader,
    pub(crate) snapshots: Arc<SnapshotManager>,
}

impl Metrics {
    /// Whether the disk has room for what clients write.
    pub fn has_disk_room(&self) -> bool {
        self.storage.has_room()
    }

    /// Syncs, bytes and segments of the log.
    pub fn storage(&self) -> StorageStats {
        self.storage.read()
    }

    /// Snapshots built, received, served and let go.
    pub fn snapshots(&self) -> SnapshotStats {
        self.snapshots.stats()
    }

    /// Messages, bytes and losses, by peer.
    pub fn network(&self) -> NetStats {
        self.transport.stats()
    }

    /// The protocol: counters, indexes, progress of followers.
    pub fn status(&self) -> Status {
        self.shared.status.borrow().clone()
    }

    /// Proposals and reads that wait for their end.
    pub fn waiting(&self) -> usize {
        self.shared.tickets.len()
    }

    /// Bytes of proposals under way, against `admission_bytes_max`.
    pub fn admitted_bytes(&self) -> u64 {
        self.shared.admission.used_bytes()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
