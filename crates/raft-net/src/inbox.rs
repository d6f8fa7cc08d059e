//! Where a transport puts what arrives: byte-bounded, in two classes.
//!
//! * Votes, heartbeats and answers have a pool of their own: entries that wait never delay them.
//! * A message holds its [`Room`] until the host has taken it in and drops it; a transport reads
//!   from a socket only while its class has room, so a slow host slows the senders and no more.
//! * The host is told of everything one read brought at once: many frames, one wake-up.
//!
//! Read next: `hello.rs`, how two nodes meet.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_core::{Body, Envelope, NodeId, Peer};
use tokio::sync::Notify;

use crate::hello::Refusal;

/// The two kinds of traffic. Each has connections, queues and an inbox pool of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Votes, heartbeats and answers: small, and never behind bulk.
    Control,
    /// Entries and commands.
    Bulk,
}

impl Class {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Control, Self::Bulk];

    /// The class a message travels in.
    pub fn of(body: &Body) -> Self {
        if body.is_bulk() { Self::Bulk } else { Self::Control }
    }

    /// The name, for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Bulk => "bulk",
        }
    }
}

/// What a transport tells its host.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are messages: a box costs one each")]
pub enum Arrival {
    /// A message; its sender is who the handshake showed.
    Message {
        /// The message with its group.
        envelope: Envelope,
        /// The room it takes. Dropped when the host has taken the message in.
        room: Room,
    },
    /// Messages reach this node; its incarnation is what the handshake showed.
    PeerUp(Peer),
    /// Messages do not, or no longer, reach this node. Those under way may be lost.
    PeerDown(NodeId),
    /// This node does not let us in. Told again after each attempt.
    Refused {
        /// Who refused.
        node: NodeId,
        /// Why.
        refusal: Refusal,
    },
}

impl Arrival {
    /// Which class it belongs to: whatever is not a bulk message may overtake.
    pub fn class(&self) -> Class {
        match self {
            Self::Message { room, .. } => room.class(),
            Self::PeerUp(_) | Self::PeerDown(_) | Self::Refused { .. } => Class::Control,
        }
    }
}

/// What a host gives to a transport: the place for arrivals.
pub trait Deliver: Send + Sync + 'static {
    /// Takes what one read brought, in order. Called by tasks of the transport, several at a time:
    /// puts the arrivals into a queue, wakes somebody, and returns. Its bound is the [`Room`] the
    /// arrivals hold.
    fn deliver(&self, arrivals: Vec<Arrival>);
}

/// How much may have arrived and not been taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// Entries and commands, in bytes. Beyond it, sockets that bring them are not read.
    /// Default 64 MiB.
    pub bulk_bytes_max: u64,
    /// Everything else, in bytes. So far out that only a host that stands still, or a peer gone
    /// mad, comes near it. Default 16 MiB.
    pub control_bytes_max: u64,
}

impl Default for InboxLimits {
    fn default() -> Self {
        Self { bulk_bytes_max: 64 << 20, control_bytes_max: 16 << 20 }
    }
}

/// A handle on the host's queue and on the room in it.
///
/// A transport waits for room *before* it reads, so each connection may overshoot the limit by what
/// one read brings (at most one frame and one read buffer).
#[derive(Clone)]
pub struct Inbox {
    sink: Arc<dyn Deliver>,
    pools: Arc<[Arc<Pool>; 2]>,
}

impl Inbox {
    /// An inbox in front of the host's queue.
    pub fn new(limits: InboxLimits, sink: Arc<dyn Deliver>) -> Self {
        let control = Pool::new(Class::Control, limits.control_bytes_max);
        let bulk = Pool::new(Class::Bulk, limits.bulk_bytes_max);
        Self { sink, pools: Arc::new([control, bulk]) }
    }

    /// Hands over what one read brought. An empty read wakes nobody.
    pub fn deliver(&self, arrivals: Vec<Arrival>) {
        if !arrivals.is_empty() {
            self.sink.deliver(arrivals);
        }
    }

    /// Makes a message an arrival that holds `bytes` of its class's room, whether or not there is
    /// any: it was read already.
    pub fn admit(&self, envelope: Envelope, bytes: u64) -> Arrival {
        let class = Class::of(&envelope.message.body);
        let room = self.pool(class).take(bytes);
        Arrival::Message { envelope, room }
    }

    /// Whether a message of this class may be read.
    pub fn has_room(&self, class: Class) -> bool {
        self.pool(class).has_room()
    }

    /// Waits until a message of this class may be read.
    pub async fn wait_for_room(&self, class: Class) {
        self.pool(class).wait_for_room().await;
    }

    /// Bytes of this class that arrived and were not taken in yet.
    pub fn used_bytes(&self, class: Class) -> u64 {
        self.pool(class).used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of this class that may have arrived and not been taken in.
    pub fn bytes_max(&self, class: Class) -> u64 {
        self.pool(class).bytes_max
    }

    fn pool(&self, class: Class) -> &Arc<Pool> {
        match class {
            Class::Control => &self.pools[0],
            Class::Bulk => &self.pools[1],
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("pools", &self.pools).finish_non_exhaustive()
    }
}

/// The bytes of one class.
#[derive(Debug)]
struct Pool {
    class: Class,
    bytes_max: u64,
    used_bytes: AtomicU64,
    freed: Notify,
}

impl Pool {
    fn new(class: Class, bytes_max: u64) -> Arc<Self> {
        let (used_bytes, freed) = (AtomicU64::new(0), Notify::new());
        Arc::new(Self { class, bytes_max, used_bytes, freed })
    }

    fn has_room(&self) -> bool {
        self.used_bytes.load(Ordering::SeqCst) < self.bytes_max
    }

    fn take(self: &Arc<Self>, bytes: u64) -> Room {
        self.used_bytes.fetch_add(bytes, Ordering::SeqCst);
        Room { pool: Arc::clone(self), bytes }
    }

    fn give_back(&self, bytes: u64) {
        let before = self.used_bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(before >= bytes, "room is given back once");
        // Only the step below the limit can have somebody waiting for it.
        if before >= self.bytes_max && before - bytes < self.bytes_max {
            self.freed.notify_waiters();
        }
    }

    async fn wait_for_room(&self) {
        loop {
            // Registered before the question, so that no step in between is missed.
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.has_room() {
                return;
            }
            freed.await;
        }
    }
}

/// The bytes an arrival takes in its inbox. Given back when dropped.
#[derive(Debug)]
pub struct Room {
    pool: Arc<Pool>,
    bytes: u64,
}

impl Room {
    /// How many bytes it takes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Which class they belong to.
    pub fn class(&self) -> Class {
        self.pool.class
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{GroupId, Incarnation, Message, Payload, Propose};

    use super::*;

    struct Nowhere;

    impl Deliver for Nowhere {
        fn deliver(&self, _: Vec<Arrival>) {}
    }

    fn envelope(body: Body) -> Envelope {
        let node = NodeId::new(1).unwrap();
        let from = Peer { node, incarnation: Incarnation::new(1) };
        let (term, epoch) = (raft_core::Term::new(1), raft_core::Epoch::new(1));
        let message = Message { from, to: NodeId::new(2).unwrap(), term, epoch, body };
        Envelope { group: GroupId::ZERO, message }
    }

    fn bulk() -> Envelope {
        let payloads = vec![Payload::no_op()];
        envelope(Body::Propose(Propose { boot: 1, serial: 1, payloads }))
    }

    /// A reader of bulk waits while the bulk pool is full and is woken by the drop that makes room;
    /// control has room all the while.
    #[tokio::test]
    async fn bulk_waits_for_the_host_and_control_does_not() {
        let limits = InboxLimits { bulk_bytes_max: 100, control_bytes_max: 100 };
        let inbox = Inbox::new(limits, Arc::new(Nowhere));
        let first = inbox.admit(bulk(), 60);
        inbox.wait_for_room(Class::Bulk).await;
        let second = inbox.admit(bulk(), 60);
        assert!(!inbox.has_room(Class::Bulk), "120 of 100 bytes are taken");
        inbox.wait_for_room(Class::Control).await;
        let vote = inbox.admit(envelope(Body::TimeoutNow), 1);
        assert_eq!(vote.class(), Class::Control);

        let waiting = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.wait_for_room(Class::Bulk).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "nothing was given back yet");
        drop(first);
        waiting.await.unwrap();
        drop((second, vote));
        assert_eq!((inbox.used_bytes(Class::Bulk), inbox.used_bytes(Class::Control)), (0, 0));
    }
}
