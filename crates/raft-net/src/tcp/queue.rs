//! What waits to be written to one node in one class: bounded in bytes, drained in batches.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use raft_core::{Body, Envelope};
use tokio::sync::Notify;

/// A queue between callers of `send` and one writer task.
///
/// * Closed while nobody may hope that its content will be written soon.
/// * What a writer took counts until it is written, so that the bound is on memory.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: u64,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    waiting: VecDeque<(Envelope, u64)>,
    /// Bytes of `waiting`, and of what the writer took and has not written.
    queued_bytes: u64,
    taken_bytes: u64,
}

/// Why a queue did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    Closed,
    Full { queued_bytes: u64, bytes_max: u64 },
}

impl Queue {
    /// A closed queue.
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, state: Mutex::default(), filled: Notify::new() }
    }

    /// Lets messages in.
    pub(super) fn open(&self) {
        self.state().is_open = true;
    }

    /// Lets no more in and drops what waits; gives how many messages that were.
    pub(super) fn close(&self) -> u64 {
        let state = std::mem::take(&mut *self.state());
        state.waiting.len() as u64
    }

    /// Adds a message of this cost. A message larger than the bound passes when nothing waits.
    pub(super) fn push(&self, envelope: Envelope, cost: u64) -> Result<(), PushError> {
        let mut state = self.state();
        if !state.is_open {
            return Err(PushError::Closed);
        }
        let queued_bytes = state.queued_bytes;
        if queued_bytes > 0 && queued_bytes + cost > self.bytes_max {
            return Err(PushError::Full { queued_bytes, bytes_max: self.bytes_max });
        }
        let was_empty = state.waiting.is_empty();
        state.waiting.push_back((envelope, cost));
        state.queued_bytes += cost;
        drop(state);
        // A writer takes until nothing is left, so only the first of a batch has to wake it.
        if was_empty {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Moves the oldest messages into `batch`, up to `bytes_max` but at least one; what was taken
    /// before is thereby known to be written.
    pub(super) fn take(&self, bytes_max: u64, batch: &mut Vec<Envelope>) {
        let mut state = self.state();
        assert!(state.queued_bytes >= state.taken_bytes, "what was taken still counts");
        state.queued_bytes -= state.taken_bytes;
        state.taken_bytes = 0;
        while let Some((envelope, cost)) = state.waiting.pop_front() {
            state.taken_bytes += cost;
            batch.push(envelope);
            if state.taken_bytes >= bytes_max {
                break;
            }
        }
    }

    /// Waits until there may be something to take.
    pub(super) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Bytes that wait or are being written.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.state().queued_bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a message costs: its payloads and everything around them, rounded up.
pub(super) fn cost(body: &Body) -> u64 {
    let content = match body {
        Body::AppendEntries(request) => request.slice.cost(),
        Body::Propose(propose) => propose.payloads.iter().map(raft_core::Payload::cost).sum(),
        Body::InstallSnapshot(offer) => {
            let members = offer.snapshot.membership.members().values();
            members.map(|member| member.address.len() as u64 + MEMBER_BYTES).sum()
        }
        Body::ProposeResponse(response) => response.refused.len() as u64 * REFUSED_BYTES,
        Body::PreVote(_)
        | Body::PreVoteResponse(_)
        | Body::RequestVote(_)
        | Body::RequestVoteResponse(_)
        | Body::AppendEntriesResponse(_)
        | Body::InstallSnapshotResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::TimeoutNow => 0,
    };
    content + MESSAGE_BYTES
}

/// A frame, a group, and the fixed part of the largest message, rounded up.
const MESSAGE_BYTES: u64 = 256;
/// A member without its address: node, flags, incarnation, length.
const MEMBER_BYTES: u64 = 37;
/// A ticket and a reason.
const REFUSED_BYTES: u64 = 11;

#[cfg(test)]
mod tests {
    use raft_core::{Epoch, GroupId, Incarnation, Message, NodeId, Payload, Peer, Propose, Term};

    use super::*;

    fn envelope(serial: u64) -> Envelope {
        let node = NodeId::new(1).unwrap();
        let from = Peer { node, incarnation: Incarnation::new(1) };
        let payloads = vec![Payload::command(vec![0; 100])];
        let body = Body::Propose(Propose { boot: 1, serial, payloads });
        let (term, epoch) = (Term::new(1), Epoch::new(1));
        let message = Message { from, to: NodeId::new(2).unwrap(), term, epoch, body };
        Envelope { group: GroupId::ZERO, message }
    }

    /// A closed queue takes nothing; an open one takes up to its bound, frees what was written and
    /// not before, and keeps the order.
    #[test]
    fn the_bound_counts_what_is_being_written() {
        let queue = Queue::new(1000);
        assert_eq!(queue.push(envelope(0), 400), Err(PushError::Closed));
        queue.open();
        queue.push(envelope(1), 400).unwrap();
        queue.push(envelope(2), 400).unwrap();
        let full = PushError::Full { queued_bytes: 800, bytes_max: 1000 };
        assert_eq!(queue.push(envelope(3), 400), Err(full));

        let mut batch = Vec::new();
        queue.take(1, &mut batch);
        assert_eq!(batch, [envelope(1)]);
        assert_eq!(queue.push(envelope(3), 400), Err(full), "the first is not written yet");
        queue.take(1, &mut batch);
        queue.push(envelope(3), 400).unwrap();
        batch.clear();
        queue.take(10_000, &mut batch);
        assert_eq!(batch, [envelope(3)]);
        queue.take(1, &mut batch);
        assert_eq!(queue.queued_bytes(), 0, "all is written");

        queue.push(envelope(4), 5000).unwrap();
        assert_eq!(queue.close(), 1);
        assert_eq!(queue.push(envelope(5), 1), Err(PushError::Closed));
        assert_eq!(queue.queued_bytes(), 0);
    }

    /// What a message costs is never less than the bytes it takes on the wire.
    #[test]
    fn the_cost_covers_the_frame() {
        let mut out = bytes::BytesMut::new();
        let len = crate::frame::put_envelope(&mut out, 1, &envelope(u64::MAX));
        assert!(len as u64 <= cost(&envelope(u64::MAX).message.body));
    }
}
