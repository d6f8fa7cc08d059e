//! `trait Transport`, the roster it dials from, and what it says when it cannot.
//!
//! Read next: `inbox.rs`, where a transport puts what arrives.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use raft_core::{
    ChunkSink, ChunkStore, Envelope, GroupId, Identity, Incarnation, NodeId, SnapshotId,
};

use crate::{Inbox, NetStats};

/// Carries messages between nodes, each at most once, and snapshots chunk by chunk.
///
/// Nothing here blocks. What is refused, and what is accepted and then lost with a connection,
/// counts as lost on the way: Raft asks again.
pub trait Transport: Send + Sync + 'static {
    /// Begins to accept and to dial as `me`; arrivals go into `inbox`. Called once, inside a tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// [`NetError`]; nothing was started then.
    fn start(&self, me: Identity, inbox: Inbox) -> Result<(), NetError>;

    /// Replaces who exists and where. Allowed before and after [`start`](Self::start). A node whose
    /// address changed is dialled again; one that is gone is hung up on. An entry for the node
    /// itself is ignored.
    fn set_roster(&self, roster: Roster);

    /// Queues a message to `envelope.message.to`. Within one [`Class`](crate::Class) messages to
    /// one node arrive in the order of the calls, without a gap as long as no
    /// [`PeerDown`](crate::Arrival::PeerDown) is reported. While a node is dialled for the first
    /// time, messages wait for it; they are lost, and that is reported, if it is not reached.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the message is dropped, which Raft treats like a loss.
    ///
    /// # Panics
    ///
    /// If the message does not come from this node: nobody speaks for another.
    fn send(&self, envelope: Envelope) -> Result<(), SendError>;

    /// Hands in the store that answers the fetches of other nodes. Allowed before and after
    /// [`start`](Self::start); a later store replaces an earlier one. Without a store, every
    /// request is answered with "gone": who has snapshots hands it in before the start. Its calls
    /// run on threads that may block.
    fn serve(&self, store: Arc<dyn ChunkStore>);

    /// Begins to fetch a snapshot from a node. Returns at once: whatever comes of it, the sink is
    /// told, and its calls, one at a time, run on threads that may block.
    ///
    /// The sink is asked what it [wants](ChunkSink::wanted), and the node for that, until it wants
    /// no more. A chunk that arrives damaged is not shown to it, but asked for again, a bounded
    /// number of times. Then the sink is [closed](ChunkSink::close), exactly once, with
    ///
    /// * [`Complete`] if it wants no more;
    /// * [`Gone`] if the node does not hold the snapshot any more;
    /// * [`Failed`] with the error with which it did not accept a chunk;
    /// * [`Broken`] if the node was not reached, was lost, is busy, cannot read the chunk, or keeps
    ///   sending it damaged; and if this transport is stopped, was stopped, or was not started.
    ///
    /// [`Complete`]: raft_core::FetchOutcome::Complete
    /// [`Gone`]: raft_core::FetchOutcome::Gone
    /// [`Failed`]: raft_core::FetchOutcome::Failed
    /// [`Broken`]: raft_core::FetchOutcome::Broken
    ///
    /// A sink that panics is not called again.
    fn fetch(&self, from: NodeId, group: GroupId, id: SnapshotId, into: Box<dyn ChunkSink>);

    /// What was carried, dropped and refused so far, and how full the queues are.
    fn stats(&self) -> NetStats;

    /// The address that others can dial, once started; `None` if there is none.
    fn local_addr(&self) -> Option<SocketAddr>;

    /// Hangs up and lets every task end. What is queued is dropped, what is fetched breaks off.
    /// Cannot be started again.
    fn stop(&self);
}

/// Who exists, and where: what a transport dials from.
pub type Roster = BTreeMap<NodeId, PeerAddress>;

/// What a roster knows of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerAddress {
    /// Where it listens: `host:port`. Empty if not known; such a node can dial but not be dialled.
    pub address: String,
    /// The incarnation the membership has recorded; a node that shows another one is refused.
    pub incarnation: Option<Incarnation>,
}

impl PeerAddress {
    /// A node that listens at `address`, of which no incarnation is recorded yet.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), incarnation: None }
    }
}

/// Why a message was not even queued. Always: certainly not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The queue to that node holds as many bytes as it may.
    Full {
        /// The addressee.
        to: NodeId,
        /// Bytes that wait.
        queued_bytes: u64,
        /// Bytes that may wait.
        bytes_max: u64,
    },
    /// No frame holds so much.
    TooLarge {
        /// The addressee.
        to: NodeId,
        /// Bytes of the message, with what framing it costs at most.
        bytes: u64,
        /// Bytes a frame may have.
        bytes_max: u64,
    },
    /// Neither the roster nor a handshake named this node.
    Unknown {
        /// The addressee.
        to: NodeId,
    },
    /// The last attempt to reach it failed, and the next has not succeeded yet.
    Down {
        /// The addressee.
        to: NodeId,
    },
    /// The transport was not started, or was stopped.
    Stopped,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { to, queued_bytes, bytes_max } => {
                write!(f, "{queued_bytes} of at most {bytes_max} bytes already wait for {to}")
            }
            Self::TooLarge { to, bytes, bytes_max } => {
                write!(f, "a message of {bytes} bytes to {to}, a frame holds {bytes_max}")
            }
            Self::Unknown { to } => write!(f, "{to} is not in the roster"),
            Self::Down { to } => write!(f, "{to} cannot be reached at present"),
            Self::Stopped => f.write_str("the transport is not running"),
        }
    }
}

impl std::error::Error for SendError {}

/// Why a transport could not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum NetError {
    /// The address to listen at could not be taken.
    Bind {
        /// The address asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// `start` was called a second time, or after `stop`.
    AlreadyStarted,
    /// `start` was called outside a tokio runtime.
    NoRuntime,
    /// Another transport on this loopback network already speaks for the node.
    Taken {
        /// The node both want to be.
        node: NodeId,
    },
}

impl fmt::Display for NetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, .. } => write!(f, "cannot listen at {address}"),
            Self::AlreadyStarted => f.write_str("a transport is started once"),
            Self::NoRuntime => f.write_str("a transport is started inside a tokio runtime"),
            Self::Taken { node } => write!(f, "{node} is on this loopback network already"),
        }
    }
}

impl std::error::Error for NetError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Bind { source, .. } => Some(source),
            Self::AlreadyStarted | Self::NoRuntime | Self::Taken { .. } => None,
        }
    }
}
