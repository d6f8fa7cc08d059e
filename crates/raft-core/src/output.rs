//! What leaves the core: jobs for three lanes, receipts for them, notices and one deadline.
//!
//! * A *promise* is a message that must still be true after a crash. Promises are private to the
//!   [`Persist`] they depend on and come out only by consuming it, which is the business of
//!   `raft_storage::write` alone.
//! * Receipts have no public constructor: "written" cannot be said without a write.
//!
//! Read next: `outbox.rs`, where the roles put all this.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ops::Range;
use core::time::Duration;

use crate::{
    Entry, EntryId, Epoch, Index, Membership, Message, NodeId, Peer, ReadError, RefusedProposal,
    RoleName, SnapshotMeta, Term, Ticket, Time, WriteId,
};

/// Figure 2's persistent state besides the log, and a hint that saves waiting after a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// `currentTerm`: latest term this node has seen.
    pub term: Term,
    /// `votedFor`: whom it voted for in that term.
    pub voted_for: Option<NodeId>,
    /// An index known to be committed and in the log; at most the last index of the log.
    pub commit: Index,
}

/// Where the log begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A blank disk learns the first membership of its group; the log begins at index 1.
    Created(Membership),
    /// This snapshot covers the log up to its last entry, and the log now begins after `upto`, at
    /// or below that. What lies between is kept for followers that are a little behind.
    Compacted {
        /// The newest snapshot, durable already.
        snapshot: SnapshotMeta,
        /// The entry right before the first that is kept.
        upto: EntryId,
    },
    /// The log is replaced by this snapshot; nothing above it is kept (Figure 13, step 7).
    Installed(SnapshotMeta),
}

/// One atomic, ordered write: base first, then entries, with the hard state.
#[derive(Debug)]
#[must_use = "a node makes no progress until its writes are durable"]
pub struct Persist {
    pub(crate) id: WriteId,
    pub(crate) hard_state: HardState,
    pub(crate) base: Option<Box<Base>>,
    pub(crate) entries: Vec<Entry>,
    pub(crate) changed: bool,
    pub(crate) promises: Vec<Message>,
}

impl Persist {
    /// A write that belongs to no node: for tools that build a disk, and for tests of storages.
    ///
    /// Every node refuses its receipt, so it cannot make anything look durable.
    pub fn unnumbered(hard_state: HardState, base: Option<Base>, entries: Vec<Entry>) -> Self {
        let (id, promises) = (WriteId::ZERO, Vec::new());
        let base = base.map(Box::new);
        Self { id, hard_state, base, entries, changed: true, promises }
    }

    /// Numbers the write; receipts are handed back in this order.
    pub const fn id(&self) -> WriteId {
        self.id
    }

    /// Term, vote and commit hint as they are to be found after this write.
    pub const fn hard_state(&self) -> HardState {
        self.hard_state
    }

    /// Where the log now begins, if that changes.
    pub fn base(&self) -> Option<&Base> {
        self.base.as_deref()
    }

    /// Replaces everything from the first entry's index on.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Whether nothing is to be written: its promises only wait for the writes before it.
    pub const fn is_empty(&self) -> bool {
        !self.changed && self.base.is_none() && self.entries.is_empty()
    }

    /// Turns a write that is durable into its receipt and the promises it frees.
    ///
    /// Called by `raft_storage::write` alone, after the storage returned `Ok`.
    pub fn into_persisted(self) -> (Persisted, Vec<Message>) {
        (Persisted { id: self.id }, self.promises)
    }
}

/// The receipt for a [`Persist`].
#[derive(Debug)]
#[must_use = "the node waits for it"]
pub struct Persisted {
    pub(crate) id: WriteId,
}

/// Entries are needed that memory no longer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub(crate) range: Range<Index>,
    pub(crate) bytes_max: u64,
    pub(crate) purpose: LoadPurpose,
}

/// What loaded entries are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadPurpose {
    /// To be applied here.
    Apply,
    /// For a follower that is behind, in this replication session.
    Replicate { to: NodeId, epoch: Epoch },
}

impl Load {
    /// The indexes wanted: at least the first, then as many as fit.
    pub fn range(&self) -> Range<Index> {
        self.range.clone()
    }

    /// At most about this many bytes; the first entry is wanted whatever its size.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// The receipt: the entries as the disk holds them, beginning with the first of the range.
    pub fn into_loaded(self, entries: Vec<Entry>) -> Loaded {
        Loaded { load: self, entries }
    }
}

/// The receipt for a [`Load`].
#[derive(Debug)]
#[must_use = "the node waits for it"]
pub struct Loaded {
    pub(crate) load: Load,
    pub(crate) entries: Vec<Entry>,
}

/// Committed entries to apply, in order and without gaps.
#[derive(Debug)]
#[must_use = "the node waits for the receipt"]
pub struct Apply {
    pub(crate) entries: Vec<Entry>,
    pub(crate) tickets: Vec<(Index, Ticket)>,
    pub(crate) cost: u64,
}

impl Apply {
    /// The committed entries.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The callers that wait for an answer, by ascending index of their entries.
    pub fn tickets(&self) -> &[(Index, Ticket)] {
        &self.tickets
    }

    /// The receipt, once all of it is applied.
    pub fn into_applied(self) -> Applied {
        let last = self.entries.last().map_or(EntryId::ZERO, |entry| entry.id);
        Applied { last, cost: self.cost }
    }
}

/// The receipt for an [`Apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the node waits for it"]
pub struct Applied {
    pub(crate) last: EntryId,
    pub(crate) cost: u64,
}

impl Applied {
    /// What it counted for against `apply_backlog_bytes_max`, in bytes.
    pub const fn cost(&self) -> u64 {
        self.cost
    }

    /// The last entry that is inside the state machine now.
    pub const fn last(&self) -> EntryId {
        self.last
    }
}

/// The state machine is to become what a snapshot holds.
#[derive(Debug)]
#[must_use = "the node waits for the receipt"]
pub struct Restore {
    pub(crate) snapshot: SnapshotMeta,
}

impl Restore {
    /// The snapshot, published and verified on this disk.
    pub const fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The receipt, once the state machine holds it.
    pub fn into_applied(self) -> Applied {
        Applied { last: self.snapshot.last_included, cost: 0 }
    }
}

/// What the application lane is to do next, in this order.
#[derive(Debug)]
#[must_use = "the node waits for the receipt"]
pub enum ApplyJob {
    /// Committed entries.
    Apply(Apply),
    /// A snapshot that was installed.
    Restore(Restore),
    /// The state, as it is after everything before, is to become a snapshot.
    Capture(Capture),
}

/// The state machine is to be frozen and written as a snapshot.
///
/// It belongs to the application lane: freezing happens between two applies and is cheap; the bytes
/// are pulled, written and published by another thread meanwhile.
#[derive(Debug)]
#[must_use = "the node waits for the receipt"]
pub struct Capture {
    pub(crate) last_included: EntryId,
    pub(crate) membership: Membership,
}

impl Capture {
    /// The last entry inside the state machine when it is frozen.
    pub const fn last_included(&self) -> EntryId {
        self.last_included
    }

    /// The membership in force at that entry, with the entry that brought it.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The receipt: the snapshot is published and durable.
    ///
    /// # Panics
    ///
    /// If the snapshot covers something else than was asked for: the host mixed up its jobs.
    pub fn into_captured(self, snapshot: SnapshotMeta) -> Captured {
        assert!(snapshot.last_included == self.last_included, "the snapshot that was asked for");
        Captured { snapshot: Some(snapshot) }
    }

    /// The receipt: no snapshot came of it. The log is kept and another is asked for later.
    pub fn into_failed(self) -> Captured {
        Captured { snapshot: None }
    }
}

/// The receipt for a [`Capture`].
#[derive(Debug)]
#[must_use = "the node waits for it"]
pub struct Captured {
    pub(crate) snapshot: Option<SnapshotMeta>,
}

/// A snapshot that a peer offered is to be fetched, verified and published on this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    pub(crate) from: NodeId,
    pub(crate) snapshot: SnapshotMeta,
}

impl Fetch {
    /// Who offered it. Any node that holds the same snapshot can serve it.
    pub const fn from(&self) -> NodeId {
        self.from
    }

    /// What is offered.
    pub const fn snapshot(&self) -> &SnapshotMeta {
        &self.snapshot
    }

    /// The receipt: it is published and durable here.
    pub fn into_fetched(self) -> Fetched {
        Fetched { snapshot: self.snapshot, is_complete: true }
    }

    /// The receipt: it could not be had. The next offer may be another one, or of another node;
    /// what has arrived is kept and need not come again.
    pub fn into_failed(self) -> Fetched {
        Fetched { snapshot: self.snapshot, is_complete: false }
    }
}

/// The receipt for a [`Fetch`].
#[derive(Debug)]
#[must_use = "the node waits for it"]
pub struct Fetched {
    pub(crate) snapshot: SnapshotMeta,
    pub(crate) is_complete: bool,
}

/// Something the host must tell somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The role, the term or the known leader changed.
    RoleChanged {
        /// The term now.
        term: Term,
        /// The role now.
        role: RoleName,
        /// The leader of the term, if known.
        leader: Option<NodeId>,
    },
    /// A read may be answered as soon as `index` is applied here.
    ReadReady {
        /// The caller's mark.
        ticket: Ticket,
        /// The read index.
        index: Index,
        /// How long before the read was asked that was certainly the newest; zero for linearizable
        /// reads, and for others that had to be confirmed by a round.
        age: Duration,
    },
    /// A read ended without an index. Reads change nothing, so it may be asked again.
    ReadFailed {
        /// The caller's mark.
        ticket: Ticket,
        /// Why.
        error: ReadError,
    },
    /// The entry left this log. Another node may still hold it: the outcome is unknown.
    Dropped {
        /// The caller's mark.
        ticket: Ticket,
    },
    /// A proposal will never be applied: it may be proposed again.
    Refused {
        /// The caller's mark.
        ticket: Ticket,
        /// Why.
        reason: RefusedProposal,
    },
    /// Another membership is in force.
    MembershipChanged {
        /// The membership, with the entry that brought it.
        membership: Membership,
    },
    /// The membership in force is committed. Who is not in it belongs to the group no more.
    MembershipCommitted {
        /// The membership, with the entry that brought it.
        membership: Membership,
    },
    /// Other nodes can be reached than before: ask [`roster`](crate::RaftNode::roster).
    RosterChanged,
    /// Leadership was not handed over in time: this node goes on leading.
    TransferFailed {
        /// Who was to lead.
        to: NodeId,
    },
    /// This node led and leads no more, for its disk does not become durable.
    DiskStalled,
    /// A snapshot of this node is published; the log up to it may have been dropped.
    SnapshotTaken {
        /// What it covers.
        snapshot: SnapshotMeta,
    },
    /// A snapshot was due and could not be taken. The log is kept; it is tried again later.
    SnapshotFailed,
    /// Messages of a peer are not heard.
    PeerRefused {
        /// Who.
        peer: Peer,
        /// Why.
        reason: RefusalReason,
    },
    /// What only a broken peer can say. Dropped; an alarm in production, a failure in simulation.
    Violation(Violation),
}

/// Why a peer is not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalReason {
    /// Its disk is not the one that promised to vote: wiped, replaced or restored.
    ForeignIncarnation,
    /// The message was for another node.
    WrongAddressee,
}

/// What cannot happen while every node follows the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// Another node claims to lead our term.
    TwoLeaders {
        /// The term.
        term: Term,
        /// Who claims it.
        from: NodeId,
    },
    /// A leader sent another entry for an index that is committed here.
    CommittedConflict {
        /// The index.
        index: Index,
        /// Who sent it.
        from: NodeId,
    },
    /// A follower no longer has an entry that it acknowledged as durable: its disk lost it. Its
    /// acknowledgements cannot be trusted; the remedy is to remove the node and to add it again.
    AcknowledgedLost {
        /// The entry it was asked for.
        index: Index,
        /// Who lost it.
        from: NodeId,
    },
    /// A follower acknowledged more than was ever sent to it.
    UnsentAcknowledged {
        /// The index it claims.
        index: Index,
        /// Who claims it.
        from: NodeId,
    },
}

/// When the node wants to be called, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// Call [`handle_timeout`](crate::RaftNode::handle_timeout) then, not before.
    pub at: Time,
    /// What will happen.
    pub reason: DeadlineReason,
}

/// Why a node wants to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadlineReason {
    /// Nothing is due: the node waits to be added or for its disk.
    None,
    /// No leader has been heard: campaign.
    Election,
    /// The campaign has no result: campaign again.
    Campaign,
    /// The leader starts a heartbeat round.
    Heartbeat,
    /// A follower asks its leader again for a read index.
    ReadIndex,
}
