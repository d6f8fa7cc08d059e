//! Entries: what the log is made of.
//!
//! * [`EntryId`] compares by term, then index: its derived order *is* the up-to-date rule (§5.4.1).
//! * A [`Payload`] is sealed once with its checksum and never re-encoded on its way.
//! * A [`LogSlice`] has no gaps: indexes are implied and terms never fall.
//!
//! Read next: `log.rs`.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{Checksum, Index, Membership, NodeId, SessionTag, Term, Ticket};

/// Names one entry for ever (Log Matching, Figure 3): equal ids, equal entries, equal history.
///
/// The derived order compares terms first and indexes second, as §5.4.1 compares logs.
///
/// ```
/// use raft_core::{EntryId, Index, Term};
/// let long = EntryId::new(Term::new(2), Index::new(9));
/// let late = EntryId::new(Term::new(3), Index::new(4));
/// assert!(late > long, "the later term is more up-to-date, whatever the length");
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId {
    /// The term of the leader that appended the entry.
    pub term: Term,
    /// Its place in the log.
    pub index: Index,
}

impl EntryId {
    /// Before the first entry of every log.
    pub const ZERO: Self = Self { term: Term::ZERO, index: Index::ZERO };

    /// Pairs a term with an index.
    pub const fn new(term: Term, index: Index) -> Self {
        Self { term, index }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a payload means to Raft itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PayloadKind {
    /// Nothing: the entry a new leader appends, so that it may commit what it found (§5.4.2).
    NoOp,
    /// A command of the application.
    Command,
    /// A membership, in force as soon as it is in the log (§6).
    Membership,
}

/// Who proposed a payload that was forwarded to the leader.
///
/// Every node sees it when the entry reaches its log, so the proposer finds its waiting ticket
/// again and answers from its own state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The node that accepted the proposal from its caller.
    pub node: NodeId,
    /// A random number of that node's process: tickets mean nothing after a restart.
    pub boot: u64,
    /// The caller's ticket at that node.
    pub ticket: Ticket,
}

/// What an entry carries: opaque bytes, sealed with a checksum where the proposal was accepted.
///
/// The checksum covers kind, origin, session tag and bytes. The same bytes and the same checksum
/// travel through AppendEntries, the log on disk and apply; nobody encodes them again and everybody
/// may [`verify`](Self::verify) them.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload {
    kind: PayloadKind,
    origin: Option<Origin>,
    session: Option<SessionTag>,
    bytes: Bytes,
    checksum: Checksum,
}

impl Payload {
    /// Seals a command of the application.
    pub fn command(bytes: impl Into<Bytes>) -> Self {
        Self::seal(PayloadKind::Command, None, None, bytes.into())
    }

    /// Seals the entry a new leader appends (§5.4.2).
    pub fn no_op() -> Self {
        Self::seal(PayloadKind::NoOp, None, None, Bytes::new())
    }

    /// Seals a membership, in force on every node as soon as the entry is in its log (§6).
    pub fn membership(membership: &Membership) -> Self {
        let bytes = crate::codec::encode_membership(membership);
        Self::seal(PayloadKind::Membership, None, None, bytes)
    }

    /// Seals it again with the node that forwards it.
    #[must_use]
    pub(crate) fn with_origin(self, origin: Origin) -> Self {
        Self::seal(self.kind, Some(origin), self.session, self.bytes)
    }

    fn seal(
        kind: PayloadKind,
        origin: Option<Origin>,
        session: Option<SessionTag>,
        bytes: Bytes,
    ) -> Self {
        let mut payload = Self { kind, origin, session, bytes, checksum: Checksum::default() };
        payload.checksum = payload.computed_checksum();
        payload
    }

    /// Puts together what a codec decoded; the checksum is not verified here.
    pub(crate) fn from_parts(
        kind: PayloadKind,
        origin: Option<Origin>,
        session: Option<SessionTag>,
        bytes: Bytes,
        checksum: Checksum,
    ) -> Self {
        Self { kind, origin, session, bytes, checksum }
    }

    /// Whether the bytes still are what was sealed.
    pub fn verify(&self) -> bool {
        self.computed_checksum() == self.checksum
    }

    fn computed_checksum(&self) -> Checksum {
        let (header, len) = crate::codec::payload_header(self);
        Checksum::of(&header[..len]).extend(&self.bytes)
    }

    /// What it means to Raft.
    pub const fn kind(&self) -> PayloadKind {
        self.kind
    }

    /// Who forwarded it, if it was not proposed at the leader.
    pub const fn origin(&self) -> Option<Origin> {
        self.origin
    }

    /// The client session it belongs to, if any (thesis §6.3).
    pub const fn session(&self) -> Option<SessionTag> {
        self.session
    }

    /// The opaque bytes: the command, or an encoded membership.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The seal.
    pub const fn checksum(&self) -> Checksum {
        self.checksum
    }

    /// Bytes this payload is counted with in every limit: its content and what an entry around it
    /// costs at most.
    pub fn cost(&self) -> u64 {
        self.bytes.len() as u64 + ENTRY_OVERHEAD
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            PayloadKind::NoOp => f.write_str("no-op"),
            PayloadKind::Membership => f.write_str("membership"),
            PayloadKind::Command => match core::str::from_utf8(&self.bytes) {
                Ok(text) if text.len() <= 32 => write!(f, "{text:?}"),
                Ok(_) | Err(_) => write!(f, "{} bytes", self.bytes.len()),
            },
        }
    }
}

/// Memory and framing around a payload, counted with every entry.
pub(crate) const ENTRY_OVERHEAD: u64 = 64;

/// One entry of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its term and index.
    pub id: EntryId,
    /// What it carries.
    pub payload: Payload,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.id, self.payload)
    }
}

/// A piece of a log: consecutive entries after `prev`.
///
/// * Indexes are consecutive and begin at `prev.index + 1`.
/// * Terms never fall, beginning with `prev.term`.
///
/// `prev` is what Figure 2 calls `prevLogIndex` and `prevLogTerm`.
#[derive(Clone, PartialEq, Eq)]
pub struct LogSlice {
    prev: EntryId,
    entries: Vec<Entry>,
}

/// Why entries are not a [`LogSlice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SliceError {
    /// The entry before.
    pub before: EntryId,
    /// The entry that cannot follow it.
    pub found: EntryId,
}

impl fmt::Display for SliceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} cannot follow entry {} in a log", self.found, self.before)
    }
}

impl core::error::Error for SliceError {}

impl LogSlice {
    /// Checks that the entries follow `prev` without a gap and that terms never fall.
    pub fn new(prev: EntryId, entries: Vec<Entry>) -> Result<Self, SliceError> {
        let mut before = prev;
        for entry in &entries {
            if entry.id.index != before.index.next() || entry.id.term < before.term {
                return Err(SliceError { before, found: entry.id });
            }
            before = entry.id;
        }
        Ok(Self { prev, entries })
    }

    /// No entries: a heartbeat that only speaks of `prev`.
    pub const fn empty(prev: EntryId) -> Self {
        Self { prev, entries: Vec::new() }
    }

    /// The entry right before the first of the slice.
    pub const fn prev(&self) -> EntryId {
        self.prev
    }

    /// The entries, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the entries away.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The last entry of the slice; `prev` if it is empty.
    pub fn last(&self) -> EntryId {
        self.entries.last().map_or(self.prev, |entry| entry.id)
    }

    /// What the slice says of an index: `prev` or one of its entries.
    pub(crate) fn id_at(&self, index: Index) -> Option<EntryId> {
        if index == self.prev.index {
            return Some(self.prev);
        }
        let after = index.since(self.prev.index).checked_sub(1)?;
        self.entries.get(usize::try_from(after).ok()?).map(|entry| entry.id)
    }

    /// Whether it holds no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The cost of its entries against the limits, in bytes.
    pub fn cost(&self) -> u64 {
        self.entries.iter().map(|entry| entry.payload.cost()).sum()
    }
}

impl fmt::Debug for LogSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "prev={} [", self.prev)?;
        for (i, entry) in self.entries.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { " " }, entry.id)?;
        }
        f.write_str("]")
    }
}
