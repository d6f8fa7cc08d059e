//! What can go wrong: `RequestError` for a request that is refused, `DecodeError` for bytes that
//! are not what they claim to be.
//!
//! * A refused request changes nothing: no revision, no key (PUT-6, TXN-9).
//! * The variants of `RequestError` are etcd's names; codes and texts of the wire belong to the
//!   server.
//!
//! Read next: `validate.rs` for who refuses before the log, `mvcc/txn.rs` for who refuses in apply.

use core::error::Error;
use core::fmt;

/// Why the store refuses a request. The store is unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// The request, an operation or a compare has no key.
    EmptyKey,
    /// `ignore_value` or `ignore_lease` on a key that does not exist, or an operation of a
    /// transaction with nothing in it.
    KeyNotFound,
    /// `ignore_value` together with a value.
    ValueProvided,
    /// `ignore_lease` together with a lease.
    LeaseProvided,
    /// More compares or operations than the limit, counted as TXN-4 does, or nested deeper than
    /// [`TXN_DEPTH_MAX`](crate::TXN_DEPTH_MAX).
    TooManyOps,
    /// A transaction that would write one key twice (TXN-7).
    DuplicateKey,
    /// A sort order or a sort target that nobody knows.
    InvalidSortOption,
    /// The revision is older than what compaction left.
    Compacted {
        /// The revision asked for.
        requested: i64,
        /// The oldest revision that can be read; -1 if the store was never compacted.
        compacted: i64,
    },
    /// The revision has not happened yet.
    FutureRevision {
        /// The revision asked for.
        requested: i64,
        /// The newest revision.
        current: i64,
    },
    /// No such lease.
    LeaseNotFound {
        /// The lease asked for.
        lease: i64,
    },
    /// A transaction that writes was sent as a query.
    WriteInQuery,
    /// The bytes of the command or query do not decode; [`DecodeError`] says how.
    Unreadable,
}

impl fmt::Display for RequestError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EmptyKey => write!(formatter, "the key is empty"),
            Self::KeyNotFound => write!(formatter, "the key does not exist"),
            Self::ValueProvided => write!(formatter, "a value is given although it is ignored"),
            Self::LeaseProvided => write!(formatter, "a lease is given although it is ignored"),
            Self::TooManyOps => write!(formatter, "too many operations in one transaction"),
            Self::DuplicateKey => write!(formatter, "the transaction writes one key twice"),
            Self::InvalidSortOption => write!(formatter, "unknown sort order or sort target"),
            Self::Compacted { requested, compacted } => {
                write!(formatter, "revision {requested} is compacted, the oldest is {compacted}")
            }
            Self::FutureRevision { requested, current } => {
                write!(formatter, "revision {requested} is in the future, the newest is {current}")
            }
            Self::LeaseNotFound { lease } => write!(formatter, "lease {lease} does not exist"),
            Self::WriteInQuery => {
                write!(formatter, "a query cannot write: propose the transaction as a command")
            }
            Self::Unreadable => write!(formatter, "the bytes of the request do not decode"),
        }
    }
}

impl Error for RequestError {}

/// Why bytes do not decode. Nothing was changed by trying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// Written by another version of the format.
    UnknownVersion {
        /// The version in the bytes.
        found: u8,
        /// The newest version this build reads.
        known: u8,
    },
    /// A kind that this version does not know.
    UnknownKind {
        /// What has the kind.
        what: &'static str,
        /// The kind in the bytes.
        found: u8,
    },
    /// The bytes end too early.
    Truncated {
        /// Where, in bytes from the start.
        at: usize,
        /// How many bytes, or list items, are announced there.
        needed: u64,
        /// How many bytes are left.
        left: usize,
    },
    /// The bytes say something that no encoder writes.
    Malformed {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// Transactions nested deeper than [`TXN_DEPTH_MAX`](crate::TXN_DEPTH_MAX).
    TooDeep {
        /// The deepest nesting allowed.
        max: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownVersion { found, known } => {
                write!(formatter, "format version {found}, this build reads up to {known}")
            }
            Self::UnknownKind { what, found } => {
                write!(formatter, "unknown kind {found} of {what}")
            }
            Self::Truncated { at, needed, left } => {
                write!(formatter, "byte {at} announces {needed} more, but {left} bytes are left")
            }
            Self::Malformed { at, what } => write!(formatter, "byte {at}: {what}"),
            Self::TooDeep { max } => write!(formatter, "transactions nested deeper than {max}"),
        }
    }
}

impl Error for DecodeError {}
