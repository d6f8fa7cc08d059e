//! The format of backups: one file that holds the state of a cluster at one entry of its log.
//!
//! # The contract
//!
//! * **It describes itself.** A header says of which cluster, entry and revision the state is, how
//!   large it is, and who the members were.
//! * **Damage is noticed and has a place.** Header and chunks have checksums, the whole has a
//!   SHA-256, and nothing may follow it.
//! * **Equal states, equal bytes.** Neither who wrote it nor when is inside.
//! * **It may be streamed.** Its length is known before its first byte, and the hash comes last, as
//!   etcd's clients expect it.
//!
//! ```
//! use bytes::Bytes;
//! use raft_backup::{Backup, Encoder, Header};
//! use raft_core::{ClusterId, EntryId, Index, Term};
//!
//! let header = Header {
//!     cluster: ClusterId::new(7),
//!     applied: EntryId::new(Term::new(2), Index::new(9)),
//!     revision: 5,
//!     keys: 1,
//!     state_bytes: 9,
//!     server_version: "0.1.0".to_owned(),
//!     members: Vec::new(),
//! };
//! let mut encoder = Encoder::new(&header, Box::new(Some(Bytes::from_static(b"the state"))));
//! let mut file = Vec::new();
//! while let Some(piece) = encoder.next_piece()? {
//!     file.extend_from_slice(&piece);
//! }
//! assert_eq!(file.len() as u64, header.file_bytes());
//!
//! let mut backup = Backup::open(&file[..])?;
//! assert_eq!(backup.header(), &header);
//! assert_eq!(backup.next_chunk()?.as_deref(), Some(&b"the state"[..]));
//! assert_eq!(backup.next_chunk()?, None, "all of it was what was written");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! `header.rs` what it says of itself · `encode.rs` to bytes · `read.rs` and back · `fault.rs` what
//! can be wrong. The bytes are drawn in `docs/SNAPSHOT_FORMAT.md`.
//!
//! # Caveats
//!
//! What the state is, only the state machine knows: a backup that verifies holds what its writer
//! meant, not necessarily what a later program can read. Checksums guard against faults, not
//! against somebody who writes a file of his own.

mod encode;
mod fault;
mod header;
mod read;

pub use self::encode::Encoder;
pub use self::fault::Fault;
pub use self::header::{Header, Member};
pub use self::read::{Backup, HASH_BYTES, Hash, verify};
