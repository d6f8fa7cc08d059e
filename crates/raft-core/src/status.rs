//! What an operator may see of a node.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt;

use crate::{EntryId, Index, Membership, NodeId, Term};

/// The role of a node in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleName {
    /// Follows a leader or waits for one (§5.1).
    Follower,
    /// Follows, and the membership does not let it vote (thesis §4.2.1).
    Learner,
    /// Asks whether it could win (thesis §9.6).
    PreCandidate,
    /// Asks for votes (§5.2).
    Candidate,
    /// Leads (§5.3).
    Leader,
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Follower => "follower",
            Self::Learner => "learner",
            Self::PreCandidate => "pre-candidate",
            Self::Candidate => "candidate",
            Self::Leader => "leader",
        })
    }
}

/// A node at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Which node.
    pub id: NodeId,
    /// Its current term.
    pub term: Term,
    /// Its role.
    pub role: RoleName,
    /// The leader of the term, if known.
    pub leader: Option<NodeId>,
    /// Whom it voted for in this term.
    pub voted_for: Option<NodeId>,
    /// `commitIndex`.
    pub commit_index: Index,
    /// The last entry inside the state machine.
    pub last_applied: Index,
    /// The last entry of the log.
    pub last: EntryId,
    /// Everything up to here is durable here.
    pub durable: Index,
    /// The membership in force.
    pub membership: Membership,
    /// What the leader knows of the others; empty unless leading.
    pub progress: Vec<(NodeId, ProgressStatus)>,
    /// Counters since the node started.
    pub counters: Counters,
}

/// A follower in the leader's eyes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressStatus {
    /// How the leader sends.
    pub mode: ProgressMode,
    /// `matchIndex`: durable there.
    pub match_index: Index,
    /// `nextIndex`: sent next.
    pub next_index: Index,
    /// In memory there.
    pub accepted: Index,
    /// Sent and not yet accepted, in bytes.
    pub inflight_bytes: u64,
    /// Whether it answered lately, as of the last heartbeat.
    pub in_contact: bool,
}

/// How a leader sends to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// One message at a time, to find where the logs match.
    Probe,
    /// Pipelined.
    Replicate,
    /// The entries it needs are gone: a snapshot is offered.
    Snapshot,
}

impl fmt::Display for ProgressMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Probe => "probe",
            Self::Replicate => "replicate",
            Self::Snapshot => "snapshot",
        })
    }
}

/// Counted since the node started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times another leader (or none) was recognised.
    pub leader_changes: u64,
    /// Pre-vote and vote rounds begun here.
    pub campaigns: u64,
    /// Proposals that became entries of this log at this node.
    pub proposals: u64,
    /// Proposals handed to a leader.
    pub forwarded: u64,
    /// Proposals refused or dropped.
    pub proposals_failed: u64,
    /// Reads whose index was confirmed.
    pub reads: u64,
    /// Messages dropped, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
}
