//! The messages of Figures 2 and 13 and of the thesis, one struct per RPC.
//!
//! Every message may be lost, doubled or late. Three numbers keep the answers honest, and all are
//! echoed: the term, the [`Epoch`] of the conversation, and the [`Round`] of the heartbeat. Read
//! next: `node.rs`, which decides who listens to what.

use alloc::vec::Vec;
use core::time::Duration;

use crate::{
    EntryId, Epoch, GroupId, Index, LogSlice, NodeId, Payload, Peer, Round, SnapshotMeta, Term,
    Ticket,
};

/// A message with the group it belongs to: what a transport carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Which log it is about.
    pub group: GroupId,
    /// The message.
    pub message: Message,
}

/// One message of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who sent it. The incarnation is stamped on arrival from the handshake of the connection,
    /// never believed from the message.
    pub from: Peer,
    /// Whom it is for.
    pub to: NodeId,
    /// The sender's current term (§5.1).
    pub term: Term,
    /// The conversation it belongs to; echoed in answers.
    pub epoch: Epoch,
    /// What it says.
    pub body: Body,
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Would you vote for me in the next term? (thesis §9.6)
    PreVote(PreVote),
    /// Answers [`PreVote`].
    PreVoteResponse(PreVoteResponse),
    /// Vote for me (§5.2).
    RequestVote(RequestVote),
    /// Answers [`RequestVote`].
    RequestVoteResponse(RequestVoteResponse),
    /// Replicates entries; without entries a heartbeat (§5.3).
    AppendEntries(AppendEntries),
    /// Answers [`AppendEntries`].
    AppendEntriesResponse(AppendEntriesResponse),
    /// Offers a snapshot; announces and does not carry (§7).
    InstallSnapshot(InstallSnapshot),
    /// Answers [`InstallSnapshot`].
    InstallSnapshotResponse(InstallSnapshotResponse),
    /// Asks the leader for a read index (thesis §6.4).
    ReadIndex(ReadIndex),
    /// Answers [`ReadIndex`].
    ReadIndexResponse(ReadIndexResponse),
    /// Hands proposals of a follower's callers to the leader.
    Propose(Propose),
    /// Answers [`Propose`] when something in it was refused.
    ProposeResponse(ProposeResponse),
    /// Campaign at once (leadership transfer, thesis §3.10).
    TimeoutNow,
}

impl Body {
    /// Whether it carries log entries or commands. Everything else is small and must never wait
    /// behind it.
    pub fn is_bulk(&self) -> bool {
        match self {
            Self::AppendEntries(request) => !request.slice.is_empty(),
            Self::Propose(_) => true,
            Self::PreVote(_)
            | Self::PreVoteResponse(_)
            | Self::RequestVote(_)
            | Self::RequestVoteResponse(_)
            | Self::AppendEntriesResponse(_)
            | Self::InstallSnapshot(_)
            | Self::InstallSnapshotResponse(_)
            | Self::ReadIndex(_)
            | Self::ReadIndexResponse(_)
            | Self::ProposeResponse(_)
            | Self::TimeoutNow => false,
        }
    }

    /// Whether it asks for a vote that could depose a leader nobody else misses (thesis §4.2.3).
    pub(crate) const fn may_disturb(&self) -> bool {
        match self {
            Self::PreVote(_) => true,
            Self::RequestVote(ask) => !ask.transfer,
            Self::PreVoteResponse(_)
            | Self::RequestVoteResponse(_)
            | Self::AppendEntries(_)
            | Self::AppendEntriesResponse(_)
            | Self::InstallSnapshot(_)
            | Self::InstallSnapshotResponse(_)
            | Self::ReadIndex(_)
            | Self::ReadIndexResponse(_)
            | Self::Propose(_)
            | Self::ProposeResponse(_)
            | Self::TimeoutNow => false,
        }
    }

    /// The name of the message, for logs, counters and scripts.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PreVote(_) => "PreVote",
            Self::PreVoteResponse(_) => "PreVoteResponse",
            Self::RequestVote(_) => "RequestVote",
            Self::RequestVoteResponse(_) => "RequestVoteResponse",
            Self::AppendEntries(_) => "AppendEntries",
            Self::AppendEntriesResponse(_) => "AppendEntriesResponse",
            Self::InstallSnapshot(_) => "InstallSnapshot",
            Self::InstallSnapshotResponse(_) => "InstallSnapshotResponse",
            Self::ReadIndex(_) => "ReadIndex",
            Self::ReadIndexResponse(_) => "ReadIndexResponse",
            Self::Propose(_) => "Propose",
            Self::ProposeResponse(_) => "ProposeResponse",
            Self::TimeoutNow => "TimeoutNow",
        }
    }
}

/// Asks in the present term about the next one, so that the term rule has no exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVote {
    /// The last entry of the asker's log: `lastLogIndex` and `lastLogTerm`.
    pub last: EntryId,
}

/// The answer to [`PreVote`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreVoteResponse {
    /// Whether the vote would be granted.
    pub granted: bool,
}

/// Figure 2, RequestVote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVote {
    /// The last entry of the candidate's log: `lastLogIndex` and `lastLogTerm`.
    pub last: EntryId,
    /// Sent on behalf of a leader that hands over: stickiness does not apply (thesis §4.2.3).
    pub transfer: bool,
}

/// Figure 2, the result of RequestVote. A grant is a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestVoteResponse {
    /// `voteGranted`.
    pub granted: bool,
}

/// Figure 2, AppendEntries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppendEntries {
    /// `prevLogIndex`, `prevLogTerm` and `entries[]`.
    pub slice: LogSlice,
    /// `leaderCommit`.
    pub leader_commit: Index,
    /// The leader's newest heartbeat round.
    pub round: Round,
    /// How long a round lately took until a quorum had answered (§5.6, `broadcastTime`), for
    /// election timeouts that adapt; in whole microseconds. Zero: the leader does not say.
    pub broadcast_time: Duration,
}

/// The answer to [`AppendEntries`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendEntriesResponse {
    /// The round of the request.
    pub round: Round,
    /// What became of it.
    pub result: AppendResult,
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendResult {
    /// The log holds what the leader's does, up to here.
    Matched {
        /// Durable here: counts for the commit rule.
        match_index: Index,
        /// In memory here: shows what was lost on the way.
        accepted: Index,
    },
    /// The entry before the first is not in the log.
    Conflict {
        /// The last entry, below the missing one, whose term is not above the leader's `prev` term:
        /// the leader continues at the last entry that may match it.
        hint: EntryId,
        /// The `prev` that was asked for: tells late rejections from new ones.
        rejected: Index,
    },
}

/// An offer: the leader no longer has the entries this follower needs (§7, Figure 13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallSnapshot {
    /// What the snapshot covers.
    pub snapshot: SnapshotMeta,
    /// The leader's newest heartbeat round.
    pub round: Round,
}

/// The answer to [`InstallSnapshot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallSnapshotResponse {
    /// Everything up to here is durable at the follower.
    pub match_index: Index,
    /// The round of the offer.
    pub round: Round,
}

/// A follower asks for the read index of all reads that wait with it (thesis §6.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndex {
    /// The follower's number for these reads, ascending.
    pub batch: u64,
}

/// The answer to [`ReadIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadIndexResponse {
    /// The number of the question.
    pub batch: u64,
    /// Readable once applied up to here; `None` if this node cannot answer.
    pub index: Option<Index>,
}

/// Proposals of a follower's callers. Sent once: only the log tells what became of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Propose {
    /// The random number of the sender's process, as in each payload's origin.
    pub boot: u64,
    /// The sender's number for this message, ascending: a doubled or overtaken one is dropped.
    pub serial: u64,
    /// The sealed payloads, each with its origin.
    pub payloads: Vec<Payload>,
}

/// The answer to a [`Propose`] of which something was refused before it reached a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProposeResponse {
    /// The random number of the process that asked.
    pub boot: u64,
    /// Refused, so certainly not applied.
    pub refused: Vec<(Ticket, RefusedProposal)>,
}

/// Why a forwarded proposal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedProposal {
    /// The node asked does not lead.
    NotLeader,
    /// Too many bytes wait for commitment.
    Overloaded,
    /// One command is larger than the leader's limit.
    TooLarge,
    /// The leader's disk is nearly full.
    StorageFull,
}
