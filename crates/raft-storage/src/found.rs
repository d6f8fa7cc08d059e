//! `found`: a blank disk that begins with a state instead of nothing, for a cluster that is made
//! from the backup of another.
//!
//! * The state becomes a snapshot of [`FIRST`], and the log begins after it, as if a leader had
//!   installed it (Figure 13). Every member that founds the same state with the same members has
//!   the same entry there, so the Log Matching Property holds.
//! * The identity is written first: a disk on which this was cut short belongs to the new cluster
//!   and has nothing of it. Its node waits, it never begins with an empty log.
//!
//! Read next: `applier.rs`, which makes the bytes of the snapshot.

use core::fmt;

use raft_core::{
    Base, EntryId, GroupId, Halt, HardState, Identity, Index, Membership, Persist, SnapshotError,
    SnapshotMeta, StateMachine, Term,
};

use crate::applier::framed;
use crate::{Storage, StorageError};

/// The entry that stands for all that happened before: the first one, of the first term.
pub const FIRST: EntryId = EntryId::new(Term::new(1), Index::new(1));

/// Why a disk cannot begin with a state.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum FoundError {
    /// The disk has an owner.
    NotBlank {
        /// Whose it is.
        disk: Identity,
    },
    /// The disk failed.
    Storage(StorageError),
    /// The snapshot could not be written.
    Snapshot(SnapshotError),
    /// The state machine does not give its state.
    StateMachine(Halt),
}

impl fmt::Display for FoundError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBlank { disk } => write!(f, "this disk belongs to {disk} already"),
            Self::Storage(error) => error.fmt(f),
            Self::Snapshot(error) => error.fmt(f),
            Self::StateMachine(halt) => halt.fmt(f),
        }
    }
}

impl std::error::Error for FoundError {}

/// Gives a blank disk its owner, a first membership, and everything inside `machine` as what has
/// happened so far. Durable on return.
///
/// # Errors
///
/// [`FoundError`]. A disk that was blank may be half written then, and is no good: remove it.
pub fn found(
    storage: &mut dyn Storage,
    identity: Identity,
    membership: &Membership,
    machine: &dyn StateMachine,
) -> Result<SnapshotMeta, FoundError> {
    if let Some(disk) = storage.identity() {
        return Err(FoundError::NotBlank { disk });
    }
    storage.initialize(identity).map_err(FoundError::Storage)?;
    let manager = storage.snapshots().map_err(FoundError::Snapshot)?;
    let mut source = framed(machine.snapshot().map_err(FoundError::StateMachine)?);
    let snapshot = manager
        .build_of(GroupId::ZERO, FIRST, membership, &mut source)
        .map_err(FoundError::Snapshot)?;
    let state = HardState { term: FIRST.term, commit: FIRST.index, ..HardState::default() };
    let base = Some(Base::Installed(snapshot.clone()));
    // Nobody waits for a receipt: the node that will run here has not begun.
    let write = Persist::unnumbered(state, base, Vec::new());
    storage.persist(&[(GroupId::ZERO, write)]).map_err(FoundError::Storage)?;
    Ok(snapshot)
}
