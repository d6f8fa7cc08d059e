//! What leaves the core: jobs for three lanes, receipts for them, notices and one deadline.
//!
//! * A *promise* is a message that must still be true after a crash. Promises are private to the
//!   [`Persist`] they depend on and come out only by consuming it, which is the business of
//!   `raft_storage::write` alone.
//! * Receipts have no public constructor: "written" cannot be said without a write.
//!
//! Read next: `outbox.rs`, where the roles put all this.

use alloc::vec::Vec;
use core::ops::Range;

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
    /// The log begins after this snapshot; entries above it are kept.
    Compacted(SnapshotMeta),
    /// The log is replaced by this snapshot; nothing above it is kept (Figure 13, step 7).
    Installed(SnapshotMeta),
}

/// One atomic, ordered write: base first, then entries, with the hard state.
#[derive(Debug)]
#[must_use = "a node makes no progress until its writes are durable"]
pub struct Persist {
    pub(crate) id: WriteId,
    pub(crate) hard_state: HardState,
    pub(crate) base: Option<Base>,
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
    pub const fn base(&self) -> Option<&Base> {
        self.base.as_ref()
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
