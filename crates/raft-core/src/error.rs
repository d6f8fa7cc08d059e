//! One error per operation; each says whether the operation took effect.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::{NodeId, RestoreError};

/// Whether an operation that ended in an error took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It certainly did not: it may be tried again blindly.
    NotApplied,
    /// It may have, or may still: only a session may try it again.
    Unknown,
    /// It did; the answer is no longer held.
    Applied,
}

/// A proposal was refused before it reached a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProposeError {
    /// This node does not lead and cannot forward.
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// The payload is no command: a membership is not proposed, and a no-op belongs to elections.
    NotACommand,
    /// The command is larger than `command_bytes_max`.
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// Too many bytes wait for commitment.
    Overloaded {
        /// The limit they reached.
        max: u64,
    },
    /// The disk of this node is nearly full, as
    /// [`RaftNode::handle_room`](crate::RaftNode::handle_room) was told; what is left is kept for
    /// elections, replication and snapshots.
    StorageFull,
    /// Leadership is being handed over; try again when it is known who leads.
    Transferring {
        /// To whom.
        to: NodeId,
    },
}

impl ProposeError {
    /// Always [`Outcome::NotApplied`].
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}

impl fmt::Display for ProposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "this node does not lead; {leader} does")
            }
            Self::NotLeader { leader: None } => f.write_str("no leader is known"),
            Self::Transferring { to } => {
                write!(f, "leadership is being handed over to {to}")
            }
            Self::NotACommand => f.write_str("only commands are proposed"),
            Self::TooLarge { bytes, max } => {
                write!(f, "command of {bytes} bytes: at most {max} (command_bytes_max)")
            }
            Self::StorageFull => f.write_str("the disk of the leader is nearly full"),
            Self::Overloaded { max } => {
                write!(f, "{max} bytes wait for commitment; try again when they are committed")
            }
        }
    }
}

impl core::error::Error for ProposeError {}

/// A read ended without an answer. Reads change nothing, so any may be asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadError {
    /// No leader is known.
    NoLeader,
    /// Leadership moved before a quorum confirmed the read.
    LeaderChanged,
    /// Lease reads need `with_lease_reads` and its bound on clocks.
    LeaseDisabled,
    /// Too many reads wait.
    Overloaded {
        /// The limit they reached.
        max: usize,
    },
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
            Self::LeaseDisabled => {
                f.write_str("lease reads are off: they need with_lease_reads and a bound on clocks")
            }
            Self::LeaderChanged => f.write_str("the leader changed before the read was confirmed"),
            Self::Overloaded { max } => write!(f, "{max} reads already wait (waiting_reads_max)"),
        }
    }
}

impl core::error::Error for ReadError {}

/// A node cannot be made from this configuration or this disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// Settings that break a rule: all of them, each with the setting, its value and the rule.
    Violations(Vec<String>),
    /// What the disk remembers does not fit together.
    Restored(RestoreError),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violations(violations) => {
                for (i, violation) in violations.iter().enumerate() {
                    write!(f, "{}{violation}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Restored(error) => write!(f, "{error}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl From<RestoreError> for ConfigError {
    fn from(error: RestoreError) -> Self {
        Self::Restored(error)
    }
}

/// Leadership was not handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransferError {
    /// This node does not lead.
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// This node leads already.
    AlreadyLeader,
    /// The node has no vote: it cannot lead.
    NotAVoter {
        /// Which.
        node: NodeId,
    },
    /// A transfer is under way.
    InProgress {
        /// To whom.
        to: NodeId,
    },
    /// No other voter answers.
    NoSuccessor,
}

impl TransferError {
    /// Always [`Outcome::NotApplied`].
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "this node does not lead; {leader} does")
            }
            Self::NotLeader { leader: None } => f.write_str("no leader is known"),
            Self::AlreadyLeader => f.write_str("this node leads already"),
            Self::NotAVoter { node } => write!(f, "{node} has no vote, so it cannot lead"),
            Self::InProgress { to } => write!(f, "leadership is being handed over to {to}"),
            Self::NoSuccessor => f.write_str("no other voter answers"),
        }
    }
}

impl core::error::Error for TransferError {}
