//! The one trait an application implements.
//!
//! *Same log, same answers, on every node.* Whatever decides inside `apply` comes from the command:
//! no clock, no randomness, no order of a hash map. Read next: `state_machine/in_memory.rs`.

mod in_memory;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

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
        }
    }
}

impl core::error::Error for SnapshotError {}
