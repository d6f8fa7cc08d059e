//! The durable log of a node: what Raft must remember, on a disk that forgets, tears and rots.
//!
//! # The contract
//!
//! * **A receipt means durable.** [`write()`] is the only function that turns a `Persist` into its
//!   receipt and frees its promises, and it does so after [`Storage::persist`] returned `Ok`.
//! * **One sync for everybody.** A call of `persist` takes the writes of all groups, and costs one
//!   write and one sync, whatever their number.
//! * **An error is final.** A failed write or sync is never tried again, because nobody knows what
//!   the kernel did with the pages; every later call returns the same error, and the next start
//!   believes only what it reads back.
//! * **A torn tail is told from corruption by proof.** What was never acknowledged is dropped; what
//!   was, and does not read, is refused with file, offset and entries. Nothing is truncated or
//!   deleted to make a disk look well.
//!
//! # Choosing
//!
//! [`FileStorage`] keeps a directory. [`MemoryStorage`] forgets with its process: for tests,
//! examples and learners. Whoever writes another one runs `contract::check` (feature `contract`).
//!
//! ```
//! use raft_core::{
//!     ClusterId, Entry, EntryId, GroupId, HardState, Identity, Incarnation, Index, NodeId,
//!     Payload, Peer, Persist, Term,
//! };
//! use raft_storage::{FileStorage, Storage, write};
//!
//! let directory = tempfile::tempdir()?;
//! let mut storage = FileStorage::open(directory.path())?;
//! let peer = Peer { node: NodeId::new(1).expect("not zero"), incarnation: Incarnation::new(77) };
//! storage.initialize(Identity { cluster: ClusterId::new(7), peer })?;
//!
//! let id = EntryId::new(Term::new(1), Index::new(1));
//! let entries = vec![Entry { id, payload: Payload::command("set x 1") }];
//! let state = HardState { term: Term::new(1), ..HardState::default() };
//! let written =
//!     write(&mut storage, vec![(GroupId::ZERO, Persist::unnumbered(state, None, entries))])?;
//! assert_eq!(written.len(), 1, "a receipt for each write");
//!
//! drop(storage);
//! let mut storage = FileStorage::open(directory.path())?;
//! assert_eq!(storage.restore(GroupId::ZERO)?.last, id);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! `storage.rs` the port and the minter of receipts · `replay.rs` the rules of the log, for all
//! storages · `memory.rs` · `file.rs` and `file/*` the WAL (`wal.rs` writes, `read.rs` reads,
//! `recovery.rs` decides what to believe, `record.rs`, `segment.rs`, `superblock.rs` and
//! `checkpoint.rs` are the bytes) · `disk.rs` the seam to files, where simulators come in ·
//! `snapshot.rs` and `snapshot/*` snapshots, from and to peers (`manifest.rs` is the bytes,
//! `receive.rs` a fetch) · `found.rs` a disk that begins with a state · `applier.rs` ·
//! `contract.rs`. The bytes are drawn in `docs/WAL_FORMAT.md` and `docs/SNAPSHOT_FORMAT.md`.
//!
//! # Caveats
//!
//! Everything blocks: a host gives a storage a thread. Damage is refused, not repaired: repair from
//! peers has its place in the formats and not yet in the code. Segments that no group needs are
//! removed when the next one begins, from the oldest on: a group that takes no snapshots keeps
//! those of all. Snapshots are not compressed. One that rots is noticed when it is read, and mended
//! when the same is built or fetched again; nobody asks for that by himself.

mod applier;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod disk;
mod error;
mod file;
mod found;
mod identify;
mod memory;
mod replay;
mod snapshot;
mod storage;

pub use self::applier::{Answer, Applier, Query};
pub use self::error::{Corruption, RuleError, StorageError};
pub use self::file::{Alignment, FileOptions, FileStorage, RecoveryReport, TornTail};
pub use self::found::{FIRST, FoundError, found};
/// Looking into a data directory without opening it.
pub mod inspect {
    pub use crate::file::inspect::{Inspection, Item, dump, verify};
}

pub use self::identify::{IdentifyError, identify};
pub use self::memory::MemoryStorage;
pub use self::snapshot::{Receiver, SnapshotManager, SnapshotStats};
pub use self::storage::{SYNC_BUCKETS, Storage, StorageStats, SyncMode, SyncStats, Written, write};
