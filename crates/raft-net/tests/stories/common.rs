//! What the stories share: an inbox a test can read, identities, and messages to send.

use std::sync::Arc;
use std::time::Duration;

use raft_core::{
    AppendEntries, Body, ClusterId, Entry, EntryId, Envelope, Epoch, GroupId, Identity,
    Incarnation, Index, LogSlice, Message, NodeId, Payload, Peer, ReadIndex, Round, Term,
};
use raft_net::{Arrival, Deliver, Inbox, InboxLimits, PeerAddress, Roster};
use tokio::sync::mpsc;

/// Nothing takes this long; a story that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The receiving end of an inbox.
pub(crate) struct Arrivals(mpsc::UnboundedReceiver<Vec<Arrival>>, Vec<Arrival>);

struct Sink(mpsc::UnboundedSender<Vec<Arrival>>);

impl Deliver for Sink {
    fn deliver(&self, arrivals: Vec<Arrival>) {
        // The reader of a story that ended needs nothing more.
        drop(self.0.send(arrivals));
    }
}

pub(crate) fn inbox(limits: InboxLimits) -> (Inbox, Arrivals) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Inbox::new(limits, Arc::new(Sink(sender))), Arrivals(receiver, Vec::new()))
}

impl Arrivals {
    /// The next arrival, whatever it is.
    pub(crate) async fn next(&mut self) -> Arrival {
        loop {
            if let Some(arrival) = self.1.pop() {
                return arrival;
            }
            let batch = tokio::time::timeout(PATIENCE, self.0.recv()).await;
            self.1 = batch.expect("an arrival in time").expect("the transport lives");
            self.1.reverse();
        }
    }

    /// Skips what else there is until a message arrives.
    pub(crate) async fn message(&mut self) -> Message {
        loop {
            if let Arrival::Message { envelope, .. } = self.next().await {
                return envelope.message;
            }
        }
    }

    /// Skips until this node is reached.
    pub(crate) async fn up(&mut self, node: NodeId) -> Peer {
        loop {
            if let Arrival::PeerUp(peer) = self.next().await
                && peer.node == node
            {
                return peer;
            }
        }
    }

    /// Skips until this node is lost.
    pub(crate) async fn down(&mut self, node: NodeId) {
        loop {
            if let Arrival::PeerDown(lost) = self.next().await
                && lost == node
            {
                return;
            }
        }
    }

    /// Skips until a refusal.
    pub(crate) async fn refusal(&mut self) -> (NodeId, raft_net::Refusal) {
        loop {
            if let Arrival::Refused { node, refusal } = self.next().await {
                return (node, refusal);
            }
        }
    }
}

/// Returns once this is so.
pub(crate) async fn eventually(mut is_so: impl FnMut() -> bool) {
    let wait = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("it is so in time");
}

pub(crate) fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("node ids begin at one")
}

/// Node `id` of the cluster c1, with incarnation `id`.
pub(crate) fn identity(id: u64) -> Identity {
    let peer = Peer { node: node(id), incarnation: Incarnation::new(id.into()) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

pub(crate) fn roster(peers: &[(u64, &str)]) -> Roster {
    peers.iter().map(|(id, address)| (node(*id), PeerAddress::new(*address))).collect()
}

pub(crate) fn envelope(from: u64, to: u64, body: Body) -> Envelope {
    // The incarnation is a lie: the receiver must stamp it from the handshake.
    let from = Peer { node: node(from), incarnation: Incarnation::new(0xbad) };
    let (term, epoch) = (Term::new(7), Epoch::new(3));
    let message = Message { from, to: node(to), term, epoch, body };
    Envelope { group: GroupId::ZERO, message }
}

/// A small message with a number to know it by.
pub(crate) fn control(from: u64, to: u64, number: u64) -> Envelope {
    envelope(from, to, Body::ReadIndex(ReadIndex { batch: number }))
}

/// A message with one entry of `bytes` bytes, at index `number` + 1.
pub(crate) fn bulk(from: u64, to: u64, number: u64, bytes: usize) -> Envelope {
    let prev = EntryId::new(Term::new(7), Index::new(number));
    let id = EntryId::new(prev.term, prev.index.next());
    let payload = Payload::command(vec![number.to_le_bytes()[0]; bytes]);
    let slice = LogSlice::new(prev, vec![Entry { id, payload }]).expect("one entry after prev");
    let (leader_commit, round) = (Index::new(number), Round::new(1));
    envelope(
        from,
        to,
        Body::AppendEntries(AppendEntries {
            slice,
            leader_commit,
            round,
            broadcast_time: Duration::ZERO,
        }),
    )
}

/// The number a message was made with.
pub(crate) fn number(message: &Message) -> u64 {
    if let Body::ReadIndex(ask) = &message.body {
        return ask.batch;
    }
    let Body::AppendEntries(request) = &message.body else {
        panic!("not one of ours: {}", message.body.name());
    };
    request.slice.prev().index.get()
}

/// Numbers from a seed: a failure can be repeated.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        let number = self.next() % u64::try_from(end).expect("a small number");
        usize::try_from(number).expect("below a small number")
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
