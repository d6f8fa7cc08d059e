//! What the tests of snapshots share: states to be written, and nodes that ask for it.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::{
    ApplyJob, Capture, Chunk, ChunkStore, GroupId, Payload, RaftConfig, RaftNode, Restored,
    SnapshotError, SnapshotMeta, SnapshotSource, Ticket, Time,
};
use raft_storage::{MemoryStorage, SnapshotManager, Storage, write};

use super::disk::FakeDisk;
use super::{GROUPS, identity};

pub(crate) const GROUP: GroupId = GROUPS[0];

/// A state of so many bytes, in pieces that are no chunks.
pub(crate) struct Pieces {
    pub(crate) left: usize,
    pub(crate) seed: u64,
}

impl Pieces {
    pub(crate) fn all(&self) -> Vec<u8> {
        let mut pieces = Self { left: self.left, seed: self.seed };
        pieces.read_all().unwrap()
    }
}

impl SnapshotSource for Pieces {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let len = self.left.min(300_000);
        self.left -= len;
        let byte = |i: usize| (i as u64 * 7 + self.seed).to_le_bytes()[0];
        Ok((len > 0).then(|| (0..len).map(byte).collect::<Vec<u8>>().into()))
    }
}

/// Asks a node of one for a snapshot of what it has applied, after so many commands.
pub(crate) fn capture_after(commands: u64) -> Capture {
    let config = RaftConfig::new(1, vec![]);
    let identity = identity(1);
    let node = RaftNode::new(config, identity.peer.incarnation, Restored::default(), Time::ZERO);
    let mut node = node.unwrap();
    let mut storage = MemoryStorage::new();
    storage.initialize(identity).unwrap();
    let mut now = Time::ZERO;
    let mut proposed = 0;
    for _ in 0..6 {
        now = now.max(node.deadline().at);
        node.handle_timeout(now);
        while proposed < commands
            && node.propose(now, Payload::command("x"), Ticket::new(proposed + 1)).is_ok()
        {
            proposed += 1;
        }
        while let Some(persist) = node.take_persist() {
            for written in write(&mut storage, vec![(GROUP, persist)]).unwrap() {
                node.handle_persisted(now, written.persisted);
            }
        }
        while let Some(job) = node.take_apply() {
            match job {
                ApplyJob::Apply(apply) => node.handle_applied(now, apply.into_applied()),
                ApplyJob::Capture(capture) => return capture,
                ApplyJob::Restore(_) => unreachable!("nobody offers anything"),
            }
        }
        if proposed == commands {
            node.capture(now);
        }
    }
    unreachable!("it was asked for");
}

pub(crate) fn capture() -> Capture {
    capture_after(0)
}

pub(crate) fn manager(disk: &Arc<FakeDisk>) -> Result<Arc<SnapshotManager>, SnapshotError> {
    SnapshotManager::open_with(disk.clone(), "/data/snapshots").map(Arc::new)
}

pub(crate) fn build(manager: &SnapshotManager, bytes: usize, seed: u64) -> SnapshotMeta {
    manager.build(GROUP, &capture(), &mut Pieces { left: bytes, seed }).unwrap()
}

pub(crate) fn chunks(store: &dyn ChunkStore, meta: &SnapshotMeta) -> Vec<Chunk> {
    let chunk = |number| store.chunk(GROUP, meta.id, number).ok();
    (0..).map_while(chunk).collect()
}
