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
            Self::NotACommand => f.write_str("only commands are proposed"),
            Self::TooLarge { bytes, max } => {
                write!(f, "command of {bytes} bytes: at most {max} (command_bytes_max)")
            }
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
