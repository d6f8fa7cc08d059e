//! The flaws of fetches: what stands between a transport and the store or the sink it was given.

use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use raft_core::{
    Chunk, ChunkSink, ChunkStore, FetchOutcome, GroupId, NodeId, SnapshotError, SnapshotId,
};

use super::broken::{Flaw, Flawed, Own, locked};
use crate::Transport;

/// Fetches, with the flaw of this transport.
pub(super) fn fetch(
    flawed: &Flawed,
    from: NodeId,
    (group, id): (GroupId, SnapshotId),
    into: Box<dyn ChunkSink>,
) {
    let flaw = flawed.shared.flaw;
    let (closed, is_closed) = channel();
    let own = Arc::clone(&flawed.own);
    locked(&own).fetching += 1;
    let sink = Box::new(Sink { inner: Some(into), flaw, own, next: 0, _closed: closed });
    flawed.inner.fetch(elsewhere(flawed, from), group, id, sink);
    if flaw == Flaw::FetchesOnTheSpot {
        assert!(is_closed.recv().is_err(), "nothing is ever sent: the other end is dropped");
    }
}

/// The node to fetch from.
fn elsewhere(flawed: &Flawed, from: NodeId) -> NodeId {
    let me = locked(&flawed.own).me.map(|me| me.peer.node);
    let inboxes = locked(&flawed.shared.inboxes);
    let mut others = inboxes.keys().filter(|node| **node != from && Some(**node) != me);
    match others.next() {
        Some(other) if flawed.shared.flaw == Flaw::FetchesElsewhere => *other,
        Some(_) | None => from,
    }
}

struct Sink {
    inner: Option<Box<dyn ChunkSink>>,
    flaw: Flaw,
    own: Arc<Mutex<Own>>,
    /// The chunk that is asked for next, if all are.
    next: u32,
    _closed: Sender<()>,
}

impl ChunkSink for Sink {
    fn wanted(&self) -> Option<u32> {
        let wanted = self.inner.as_ref().and_then(|inner| inner.wanted())?;
        Some(if self.flaw == Flaw::BeginsAnew { self.next } else { wanted })
    }

    fn accept(&mut self, mut chunk: Chunk) -> Result<(), SnapshotError> {
        self.next += 1;
        if self.flaw == Flaw::ChangesChunks && chunk.bytes.len() > 4_000 {
            let mut bytes = chunk.bytes.to_vec();
            bytes[4_000] ^= 1;
            chunk = Chunk::new(chunk.number, bytes.into());
        }
        self.inner.as_mut().expect("it is not closed yet").accept(chunk)
    }

    fn close(mut self: Box<Self>, outcome: FetchOutcome) {
        let inner = self.inner.take().expect("it is not closed yet");
        let is_stopped = locked(&self.own).is_stopped;
        let outcome = match (self.flaw, outcome) {
            (Flaw::HopesForTheGone, FetchOutcome::Gone) => FetchOutcome::Broken,
            (Flaw::HidesRefusals, FetchOutcome::Failed(_)) => FetchOutcome::Complete,
            (Flaw::LeavesSinksOpen, FetchOutcome::Broken) => return,
            (Flaw::ForgetsSinksOnStop, FetchOutcome::Broken) if is_stopped => {
                // As a task would that waits for ever.
                std::mem::forget(inner);
                return;
            }
            (_, outcome) => outcome,
        };
        inner.close(outcome);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        locked(&self.own).fetching -= 1;
    }
}

/// A store behind a transport with this flaw.
pub(super) fn store(flaw: Flaw, inner: Arc<dyn ChunkStore>) -> Arc<dyn ChunkStore> {
    if flaw == Flaw::ShowsDamage { Arc::new(Resealed(inner)) } else { inner }
}

/// Believes any bytes.
struct Resealed(Arc<dyn ChunkStore>);

impl ChunkStore for Resealed {
    fn chunk(&self, group: GroupId, id: SnapshotId, number: u32) -> Result<Chunk, SnapshotError> {
        let chunk = self.0.chunk(group, id, number)?;
        Ok(Chunk::new(chunk.number, chunk.bytes))
    }
}
