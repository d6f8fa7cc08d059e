//! The one trait an application implements.
//!
//! *Same log, same answers, on every node.* Whatever decides inside `apply` comes from the command:
//! no clock, no randomness, no order of a hash map. Read next: `state_machine/in_memory.rs`.

mod in_memory;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::mem;

use bytes::Bytes;

pub use self::in_memory::InMemoryStateMachine;
use crate::EntryId;

/// A deterministic state machine, replicated by applying the same commands in the same order.
///
/// ```
/// use bytes::Bytes;
/// use raft_core::{EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};
///
/// /// Adds up what it is told.
/// #[derive(Default)]
/// struct Counter(u64);
///
/// impl StateMachine for Counter {
///     fn apply(&mut self, _id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
///         self.0 += command.len() as u64;
///         Ok(Bytes::copy_from_slice(&self.0.to_le_bytes()))
///     }
///     fn query(&self, _query: &[u8]) -> Bytes {
///         Bytes::copy_from_slice(&self.0.to_le_bytes())
///     }
///     fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
///         Ok(Box::new(Some(self.query(&[]))))
///     }
///     fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
///         let bytes = snapshot.read_all()?;
///         let bytes = bytes.try_into().map_err(|_| SnapshotError::malformed("not eight bytes"))?;
///         self.0 = u64::from_le_bytes(bytes);
///         Ok(())
///     }
/// }
/// ```
pub trait StateMachine: Send + 'static {
    /// Applies a committed command and returns the answer for whoever proposed it.
    ///
    /// An error of the application is an answer like any other.
    ///
    /// # Errors
    ///
    /// [`Halt`] stops the node: its state cannot go on.
    fn apply(&mut self, id: EntryId, command: &[u8]) -> Result<Bytes, Halt>;

    /// Answers a question from the present state, without changing it.
    fn query(&self, query: &[u8]) -> Bytes;

    /// Freezes the present state. Cheap: the bytes are pulled later, on another thread.
    ///
    /// # Errors
    ///
    /// [`Halt`] if the state cannot be read any more.
    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt>;

    /// Replaces the whole state by a snapshot.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if the bytes are not a snapshot of this state machine.
    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError>;

    /// The last entry already inside, for state machines that keep their data on disk themselves.
    fn applied(&self) -> EntryId {
        EntryId::ZERO
    }

    /// A hash of the whole state, if it has one: compared across nodes at equal indexes.
    fn digest(&self) -> Option<u64> {
        None
    }
}

/// The bytes of a snapshot, pulled chunk by chunk.
///
/// A chunk is no unit of meaning: disk and network cut the bytes anew, anywhere. A state machine of
/// several parts writes their lengths and reads them through a [`SnapshotCursor`].
pub trait SnapshotSource: Send {
    /// The next chunk; `None` at the end.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if the bytes cannot be produced or verified.
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError>;

    /// All remaining bytes, for state machines small enough.
    ///
    /// # Errors
    ///
    /// As [`next_chunk`](Self::next_chunk).
    fn read_all(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.next_chunk()? {
            all.extend_from_slice(&chunk);
        }
        Ok(all)
    }
}

/// A snapshot of a single chunk.
impl SnapshotSource for Option<Bytes> {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.take())
    }
}

/// Reads so many bytes at a time, wherever the chunks were cut; what follows is a source again.
///
/// ```
/// use bytes::Bytes;
/// use raft_core::{SnapshotCursor, SnapshotSource};
///
/// let mut source = Some(Bytes::from_static(b"\x02hiand more"));
/// let mut cursor = SnapshotCursor::new(&mut source);
/// let len = cursor.read(1)?[0];
/// assert_eq!(cursor.read(len.into())?, b"hi"[..]);
/// assert_eq!(cursor.read_all()?, b"and more");
/// # Ok::<(), raft_core::SnapshotError>(())
/// ```
pub struct SnapshotCursor<'a> {
    source: &'a mut dyn SnapshotSource,
    /// What was pulled and not read yet.
    chunk: Bytes,
}

impl<'a> SnapshotCursor<'a> {
    /// Reads from the next byte of `source` on.
    pub fn new(source: &'a mut dyn SnapshotSource) -> Self {
        Self { source, chunk: Bytes::new() }
    }

    /// The next `len` bytes. Memory grows with what arrives, not with what is asked for.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Malformed`] if the snapshot ends before; those of the source.
    pub fn read(&mut self, len: u64) -> Result<Bytes, SnapshotError> {
        let wanted = usize::try_from(len).unwrap_or(usize::MAX);
        if wanted <= self.chunk.len() {
            return Ok(self.chunk.split_to(wanted));
        }
        let mut bytes = Vec::new();
        while bytes.len() < wanted {
            if self.chunk.is_empty() {
                let next = self.source.next_chunk()?;
                self.chunk = next.ok_or_else(|| {
                    let missing = wanted - bytes.len();
                    SnapshotError::malformed(format!("{missing} more bytes"))
                })?;
            }
            let part = self.chunk.split_to((wanted - bytes.len()).min(self.chunk.len()));
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.into())
    }
}

impl SnapshotSource for SnapshotCursor<'_> {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.chunk.is_empty() {
            return self.source.next_chunk();
        }
        Ok(Some(mem::take(&mut self.chunk)))
    }
}

impl fmt::Debug for SnapshotCursor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotCursor").field("pulled", &self.chunk.len()).finish_non_exhaustive()
    }
}

/// The state machine cannot go on; the node stops and says why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halt {
    reason: String,
}

impl Halt {
    /// Stops the node with this reason: what, where, and the remedy if there is one.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state machine halted: {}", self.reason)
    }
}

impl core::error::Error for Halt {}

/// A snapshot that cannot be read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The bytes are not a snapshot of this state machine; the text says what was expected.
    Malformed(String),
    /// The bytes could not be read or written; the text names the file and the cause.
    Io(String),
    /// Another snapshot has taken its place, or it never was here.
    Gone,
}

impl SnapshotError {
    /// The bytes are not what was expected.
    pub fn malformed(expected: impl Into<String>) -> Self {
        Self::Malformed(expected.into())
    }
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(expected) => write!(f, "malformed snapshot: {expected}"),
            Self::Io(cause) => write!(f, "snapshot input or output: {cause}"),
            Self::Gone => f.write_str("the snapshot is not here any more"),
        }
    }
}

impl core::error::Error for SnapshotError {}
