//! One error per operation; each says whether the operation took effect.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{ConfigError, Halt, Identity, NodeId, Outcome};
use raft_net::NetError;
use raft_storage::{IdentifyError, StorageError};

/// A proposal ended without an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteError {
    /// No leader was known until the time limit: not applied.
    NoLeader,
    /// This node does not lead and was told not to forward: not applied.
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// The command is larger than the limit: not applied.
    TooLarge {
        /// Its size in bytes.
        bytes: u64,
        /// This node's limit in bytes; `None` if it is the leader that allows less.
        max: Option<u64>,
    },
    /// A queue on the way is full: not applied.
    Overloaded,
    /// The disk of the leader is nearly full: not applied. What is left is kept for elections,
    /// replication and snapshots, until there is room again.
    StorageFull,
    /// The leader changed while the entry was under way and it left this log: unknown.
    Dropped,
    /// No answer came in time: unknown, it may be applied later.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The node stopped.
    Stopped {
        /// Whether the proposal had been accepted before.
        accepted: bool,
    },
}

impl WriteError {
    /// Whether the proposal took effect.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::NoLeader
            | Self::NotLeader { .. }
            | Self::TooLarge { .. }
            | Self::Overloaded
            | Self::StorageFull
            | Self::Stopped { accepted: false } => Outcome::NotApplied,
            Self::Dropped | Self::TimedOut { .. } | Self::Stopped { accepted: true } => {
                Outcome::Unknown
            }
        }
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("not applied: no leader is known"),
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "not applied: this node does not lead; {leader} does")
            }
            Self::NotLeader { leader: None } => {
                f.write_str("not applied: this node does not lead and knows no leader")
            }
            Self::TooLarge { bytes, max: None } => {
                write!(f, "not applied: command of {bytes} bytes, more than the leader allows")
            }
            Self::TooLarge { bytes, max: Some(max) } => {
                write!(f, "not applied: command of {bytes} bytes, at most {max} are allowed")
            }
            Self::Overloaded => f.write_str("not applied: too many proposals are under way"),
            Self::StorageFull => f.write_str("not applied: the disk of the leader is nearly full"),
            Self::Dropped => f.write_str("outcome unknown: the leader changed meanwhile"),
            Self::TimedOut { after } => write!(f, "outcome unknown: no answer within {after:?}"),
            Self::Stopped { accepted: false } => f.write_str("not applied: the node stopped"),
            Self::Stopped { accepted: true } => {
                f.write_str("outcome unknown: the node stopped before the answer was known")
            }
        }
    }
}

impl std::error::Error for WriteError {}

/// A read ended without an answer. Reads change nothing: any may be asked again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader was known until the time limit.
    NoLeader,
    /// No quorum confirmed the read in time.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// Too many reads wait.
    Overloaded,
    /// Reads under a lease need `with_lease_reads` in the configuration, with a bound on clocks.
    LeaseDisabled,
    /// The node stopped.
    Stopped,
}

impl ReadError {
    /// Always [`Outcome::NotApplied`]: a read changes nothing.
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLeader => f.write_str("no leader is known"),
            Self::TimedOut { after } => write!(f, "no quorum confirmed the read within {after:?}"),
            Self::Overloaded => f.write_str("too many reads wait"),
            Self::LeaseDisabled => {
                f.write_str("lease reads are off: they need with_lease_reads and a bound on clocks")
            }
            Self::Stopped => f.write_str("the node stopped"),
        }
    }
}

impl std::error::Error for ReadError {}

/// A membership change was refused, or its end is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// It was refused, for this reason.
    Refused(raft_core::ChangeError),
    /// This node ceased to lead meanwhile: unknown, look at the membership.
    Dropped,
    /// It is not committed yet: unknown, look at the membership.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The node stopped.
    Stopped {
        /// Whether the change had been accepted before.
        accepted: bool,
    },
}

impl ChangeError {
    /// Whether the change took effect.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(_) | Self::Stopped { accepted: false } => Outcome::NotApplied,
            Self::Dropped | Self::TimedOut { .. } | Self::Stopped { accepted: true } => {
                Outcome::Unknown
            }
        }
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "not applied: {reason}"),
            Self::Dropped => f.write_str("outcome unknown: the leader changed meanwhile"),
            Self::TimedOut { after } => {
                write!(f, "outcome unknown: not committed within {after:?}")
            }
            Self::Stopped { accepted: false } => f.write_str("not applied: the node stopped"),
            Self::Stopped { accepted: true } => {
                f.write_str("outcome unknown: the node stopped before the change was committed")
            }
        }
    }
}

impl std::error::Error for ChangeError {}

/// Leadership was not handed over.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// It was refused, for this reason.
    Refused(raft_core::TransferError),
    /// The node that was to lead did not take over in time; this one leads on.
    NotTaken {
        /// Who was to lead.
        to: NodeId,
    },
    /// Another node leads now.
    OtherLeader {
        /// Which.
        leader: NodeId,
    },
    /// Nobody leads yet.
    TimedOut {
        /// How long was waited.
        after: Duration,
    },
    /// The node stopped.
    Stopped,
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "{reason}"),
            Self::NotTaken { to } => write!(f, "{to} did not take over in time"),
            Self::OtherLeader { leader } => write!(f, "{leader} leads now"),
            Self::TimedOut { after } => write!(f, "nobody leads after {after:?}"),
            Self::Stopped => f.write_str("the node stopped"),
        }
    }
}

impl std::error::Error for TransferError {}

/// A node could not start. Nothing was changed but, at most, a blank disk that now has an identity.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The builder was not given a part.
    Missing(&'static str),
    /// The settings, or what the disk remembers, do not fit together.
    Config(ConfigError),
    /// The disk cannot be read or written.
    Storage(StorageError),
    /// The disk belongs to somebody else.
    ForeignDisk {
        /// Whose it is.
        disk: Identity,
        /// The node of the configuration.
        node: NodeId,
        /// The cluster of the configuration.
        cluster: raft_core::ClusterId,
    },
    /// The snapshots beside the log cannot be read, or the state machine does not take the newest.
    Snapshot(String),
    /// The transport could not start.
    Transport(NetError),
    /// The operating system gave no randomness or no thread.
    System(String),
}

impl From<IdentifyError> for StartError {
    fn from(error: IdentifyError) -> Self {
        match error {
            IdentifyError::Foreign { disk, node, cluster } => {
                Self::ForeignDisk { disk, node, cluster }
            }
            IdentifyError::Storage(error) => Self::Storage(error),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(part) => write!(f, "the builder was not given a {part}"),
            Self::Config(error) => write!(f, "configuration: {error}"),
            Self::Storage(_) => f.write_str("the log on disk cannot be opened"),
            Self::ForeignDisk { disk, node, cluster } => write!(
                f,
                "this disk belongs to {disk}, but the configuration says {node} of cluster \
                 {cluster}: use the data directory of this node, or an empty one"
            ),
            Self::Snapshot(what) => write!(f, "the state cannot be restored: {what}"),
            Self::Transport(_) => f.write_str("the transport cannot start"),
            Self::System(what) => write!(f, "operating system: {what}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Config(error) => Some(error),
            Self::Storage(error) => Some(error),
            Self::Transport(error) => Some(error),
            Self::Missing(_) | Self::ForeignDisk { .. } | Self::Snapshot(_) | Self::System(_) => {
                None
            }
        }
    }
}

/// Why a node stopped by itself. It never goes on after one of these.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Halted {
    /// A write, a sync or a read of the disk failed.
    Storage(Arc<StorageError>),
    /// The state machine cannot go on.
    StateMachine(Halt),
    /// The node was removed from its group.
    Removed,
    /// A thread of the host panicked: a bug. The sentence is in the log.
    Panicked(&'static str),
}

impl fmt::Display for Halted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(_) => f.write_str("the node stopped because of its disk"),
            Self::StateMachine(_) => f.write_str("the node stopped because of its state machine"),
            Self::Removed => f.write_str("this node was removed from its group"),
            Self::Panicked(thread) => write!(f, "the {thread} thread panicked"),
        }
    }
}

impl std::error::Error for Halted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(error) => Some(&**error),
            Self::StateMachine(halt) => Some(halt),
            Self::Removed | Self::Panicked(_) => None,
        }
    }
}
