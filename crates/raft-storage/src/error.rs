//! What can go wrong with a disk, each case with its place and its remedy.
//!
//! Errors are `Clone`, because an error of a write is final: the storage keeps it and gives it to
//! everybody who asks later. Read next: `storage.rs`.

use core::fmt;
use core::ops::RangeInclusive;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{EntryId, GroupId, Identity, Index};

use crate::SyncMode;

/// Why a storage cannot do what it was asked.
///
/// For a client all mean *unknown*: the write may or may not be on the disk.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum StorageError {
    /// The operating system refused.
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Its words.
        source: Arc<io::Error>,
    },
    /// No room, or no quota, is left on the disk. Free some and start again: nothing was lost.
    Full {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The words of the operating system.
        source: Arc<io::Error>,
    },
    /// Another process uses the data directory.
    Locked {
        /// The lock file.
        path: PathBuf,
        /// What the other process wrote into it: its process id and the node it runs.
        holder: String,
    },
    /// Something that was durable reads differently now. Nothing was changed on the disk.
    Corrupt(Box<Corruption>),
    /// A segment between others, or one that `SUPER` names, is not there.
    MissingSegment {
        /// The file that should be there.
        path: PathBuf,
        /// Who names it.
        named_by: PathBuf,
    },
    /// The WAL has segments, but the file that says whose they are is not there.
    MissingSuper {
        /// The file that should be there.
        path: PathBuf,
    },
    /// The loss of damaged data was accepted, but others have copies: such a member is readmitted
    /// with an empty disk instead, and loses nothing.
    LossRefused {
        /// The directory of the log.
        path: PathBuf,
        /// The most voters that a membership on this disk has.
        voters: usize,
    },
    /// The machine went down without a clean stop while receipts did not mean that the disk had
    /// everything ([`SyncMode`](crate::SyncMode)): what was acknowledged last may be gone, and
    /// nobody knows which.
    Unsynced {
        /// The data directory.
        path: PathBuf,
        /// How it was written.
        mode: SyncMode,
    },
    /// A file was written in a format this code does not know. Start the version that wrote it, or
    /// a later one.
    UnknownVersion {
        /// The file.
        path: PathBuf,
        /// The lowest version that may read it.
        found: u16,
        /// The highest version this code knows.
        known: u16,
    },
    /// A file uses features this code does not know. Start the version that wrote it.
    UnknownFeatures {
        /// The file.
        path: PathBuf,
        /// The unknown bits.
        bits: u32,
    },
    /// A batch holds a kind of record that this code does not know and must not skip. Start the
    /// version that wrote it.
    UnknownRecord {
        /// The file.
        path: PathBuf,
        /// Where its batch begins.
        offset: u64,
        /// The kind.
        kind: u8,
    },
    /// The disk, or a file on it, belongs to another node, another cluster or an earlier life.
    Foreign {
        /// The data directory or the file.
        path: PathBuf,
        /// Whose it is.
        found: Box<Identity>,
        /// Whose it should be.
        expected: Box<Identity>,
    },
    /// A directory of ours holds something that is none of our files.
    StrangeFile {
        /// What it holds.
        path: PathBuf,
    },
    /// The disk has no identity yet: `initialize` comes first.
    Uninitialized,
    /// A setting that cannot be.
    BadSetting {
        /// Which.
        setting: &'static str,
        /// Its value.
        found: u64,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// A write that no node makes: it would leave a log that breaks the rules of Raft.
    Rule {
        /// The group.
        group: GroupId,
        /// The rule.
        broken: RuleError,
    },
    /// One write is larger than the format can hold.
    TooLarge {
        /// The group.
        group: GroupId,
        /// Its bytes.
        bytes: u64,
        /// The most that fit.
        bytes_max: u64,
    },
}

/// Damage: bytes that were durable and are not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corruption {
    /// The damaged file.
    pub path: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What is damaged.
    pub what: &'static str,
    /// What should be there.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// How it is known that this was durable once.
    pub proof: &'static str,
    /// The entries that were there, if that can still be read.
    pub lost: Vec<(GroupId, RangeInclusive<Index>)>,
}

/// A rule of the log that a write or a record breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The rule.
    pub rule: &'static str,
    /// Where the log ends.
    pub last: EntryId,
    /// What the write says.
    pub found: EntryId,
}

impl StorageError {
    /// Whether something is gone, or different, that was on the disk.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt(_) | Self::MissingSegment { .. } | Self::MissingSuper { .. })
    }

    /// Names the operation and the path of an error of the operating system.
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>, error: io::Error) -> Self {
        let (path, full) = (path.into(), is_full(&error));
        let source = Arc::new(error);
        if full {
            Self::Full { operation, path, source }
        } else {
            Self::Io { operation, path, source }
        }
    }
}

/// Whether no room or no quota is left.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl fmt::Display for StorageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { operation, path, .. } => write!(f, "{operation} {}", path.display()),
            Self::Full { operation, path, .. } => write!(
                f,
                "{operation} {}: the disk is full; free some room and start again",
                path.display()
            ),
            Self::Locked { path, holder } => write!(
                f,
                "{}: another process uses this data directory ({holder}); stop it first",
                path.display()
            ),
            Self::Corrupt(corruption) => fmt::Display::fmt(corruption, f),
            Self::MissingSegment { path, named_by } => write!(
                f,
                "{}: this segment is missing, and {} says that it was written; bring it back, \
                 or remove the node from its cluster and add it again with an empty directory",
                path.display(),
                named_by.display()
            ),
            Self::MissingSuper { path } => write!(
                f,
                "{}: missing, although there are segments beside it; bring it back",
                path.display()
            ),
            Self::LossRefused { path, voters } => {
                write!(f, "{}: this disk knows a group of {voters} voters, ", path.display())?;
                f.write_str(LOSS_REFUSED)
            }
            Self::Unsynced { path, mode } => {
                write!(f, "{}: written in sync mode {}, ", path.display(), mode.name())?;
                f.write_str(UNSYNCED)
            }
            Self::UnknownVersion { path, found, known } => write!(
                f,
                "{}: format version {found}, this code knows up to version {known}; start the \
                 version that wrote it",
                path.display()
            ),
            Self::UnknownFeatures { path, bits } => write!(
                f,
                "{}: uses features {bits:#x} that this code does not know; start the version \
                 that wrote it",
                path.display()
            ),
            Self::UnknownRecord { path, offset, kind } => write!(
                f,
                "{}: the batch at byte {offset} has a record of kind {kind}, which this code does \
                 not know; start the version that wrote it",
                path.display()
            ),
            Self::Foreign { path, found, expected } => write!(
                f,
                "{}: belongs to node {found}, but should belong to node {expected}",
                path.display()
            ),
            Self::StrangeFile { path } => {
                write!(f, "{}: not a file of this storage; move it elsewhere", path.display())
            }
            Self::Uninitialized => f.write_str("the disk has no identity yet"),
            Self::BadSetting { setting, found, rule } => write!(f, "{setting} {found}: {rule}"),
            Self::Rule { group, broken } => write!(f, "group {group}: {broken}"),
            Self::TooLarge { group, bytes, bytes_max } => write!(
                f,
                "group {group}: a write of {bytes} bytes, at most {bytes_max} fit into a batch"
            ),
        }
    }
}

const LOSS_REFUSED: &str = "and its loss cannot be accepted: what it acknowledged counts for \
    them; move the directory away and readmit the node with an empty one";

const UNSYNCED: &str = "and this machine went down without a clean stop: what it acknowledged last \
    may be lost; move the directory away and readmit the node with an empty one";

impl std::error::Error for StorageError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } | Self::Full { source, .. } => Some(source.as_ref()),
            Self::Rule { broken, .. } => Some(broken),
            Self::Locked { .. }
            | Self::Corrupt(_)
            | Self::MissingSegment { .. }
            | Self::MissingSuper { .. }
            | Self::LossRefused { .. }
            | Self::Unsynced { .. }
            | Self::UnknownVersion { .. }
            | Self::UnknownFeatures { .. }
            | Self::UnknownRecord { .. }
            | Self::Foreign { .. }
            | Self::StrangeFile { .. }
            | Self::Uninitialized
            | Self::BadSetting { .. }
            | Self::TooLarge { .. } => None,
        }
    }
}

impl fmt::Display for Corruption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} at byte {}: expected {}, found {} ({})",
            self.path.display(),
            self.what,
            self.offset,
            self.expected,
            self.found,
            self.proof
        )?;
        for (group, range) in &self.lost {
            write!(f, "; entries {} to {} of group {group}", range.start(), range.end())?;
        }
        Ok(())
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (the log ends at {}, the write says {})", self.rule, self.last, self.found)
    }
}

impl std::error::Error for RuleError {}
