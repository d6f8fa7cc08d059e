//! What can be wrong with a backup, so that an operator knows what to do with the file.

use std::fmt;
use std::io;

use crate::header::VERSION;

/// Why a backup cannot be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum Fault {
    /// The system could not read it. It may be sound.
    Io {
        /// After how many bytes.
        at: u64,
        /// What the system said.
        error: io::Error,
    },
    /// It does not begin as a backup does.
    Foreign {
        /// Whether it looks like the database file that etcd's own snapshots are.
        is_of_etcd: bool,
    },
    /// It is sound and of a version that this program does not know.
    Version {
        /// The version.
        found: u16,
    },
    /// It is not what was written.
    Damaged {
        /// Where what was looked at begins, in bytes from the start of the file.
        at: u64,
        /// What was looked at, what was expected and what was found.
        what: String,
    },
}

impl Fault {
    pub(crate) fn damaged(at: u64, what: impl Into<String>) -> Self {
        Self::Damaged { at, what: what.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { at, .. } => write!(f, "cannot be read after byte {at}"),
            Self::Foreign { is_of_etcd: false } => f.write_str("no backup of raftd"),
            Self::Foreign { is_of_etcd: true } => f.write_str(
                "no backup of raftd but a database of etcd; load its keys through the API instead",
            ),
            Self::Version { found } => {
                write!(f, "a backup of version {found}; this program knows version {VERSION}")
            }
            Self::Damaged { at, what } => write!(f, "damaged at byte {at}: {what}"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { error, .. } => Some(error),
            Self::Foreign { .. } | Self::Version { .. } | Self::Damaged { .. } => None,
        }
    }
}
