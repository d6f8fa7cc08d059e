//! What the tests of storages share: a disk that fails and forgets, a naive model, and random
//! writes. Read next: `disk.rs`, `model.rs`.

#![expect(dead_code, reason = "each test binary uses a part")]
#![expect(clippy::unwrap_used, reason = "these are tests")]

pub(crate) mod disk;
pub(crate) mod model;
pub(crate) mod snapshots;

use std::sync::Arc;

use raft_core::{
    Checksum, ClusterId, Entry, EntryId, GroupId, HardState, Identity, Incarnation, Index,
    Membership, NodeId, Payload, Peer, SnapshotId, SnapshotMeta, Term, codec,
};
use raft_storage::disk::{Disk, Environment};
use raft_storage::{Alignment, FileOptions, FileStorage, StorageError};

/// Puts the known bug that the environment names into the code under test: `RAFT_MUTANT=D6`, in
/// builds with the cfg `raft_mutants`. Does nothing in others.
pub(crate) fn select_mutant() {
    #[cfg(raft_mutants)]
    {
        let id = std::env::var("RAFT_MUTANT").ok();
        assert!(raft_core::mutants::select(id.as_deref()), "RAFT_MUTANT names no mutant");
    }
}

/// `SplitMix64`: the same seed, the same test.
#[derive(Clone)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

pub(crate) fn identity(node: u64) -> Identity {
    let node = NodeId::new(node).unwrap();
    let peer = Peer { node, incarnation: Incarnation::new(0x1ca2) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

pub(crate) fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

pub(crate) fn command(term: u64, index: u64, bytes: impl Into<bytes::Bytes>) -> Entry {
    Entry { id: id(term, index), payload: Payload::command(bytes) }
}

/// The voters 1 to `count`.
pub(crate) fn membership(count: u64) -> Membership {
    let member = |node| (NodeId::new(node).unwrap(), raft_core::Member::default());
    Membership::bootstrap((1..=count).map(member).collect())
}

/// An entry that carries a membership.
pub(crate) fn membership_entry(term: u64, index: u64, count: u64) -> Entry {
    let mut body = vec![2];
    body.extend_from_slice(&codec::encode_membership(&membership(count)));
    let checksum = Checksum::of(&body);
    let payload = codec::decode_payload(body.into(), checksum).unwrap();
    Entry { id: id(term, index), payload }
}

pub(crate) fn state(term: u64, voted_for: u64, commit: u64) -> HardState {
    let voted_for = NodeId::new(voted_for);
    HardState { term: Term::new(term), voted_for, commit: Index::new(commit) }
}

pub(crate) fn snapshot(last_included: EntryId) -> SnapshotMeta {
    let number = u128::from(last_included.index.get()) << 64 | 5;
    let membership = membership(3).brought_by(EntryId::ZERO);
    SnapshotMeta { id: SnapshotId::new(number), last_included, membership, data_bytes: 77 }
}

/// Segments small enough to be rotated often.
pub(crate) fn small(alignment: Alignment) -> FileOptions {
    FileOptions::default()
        .with_segment_bytes(32 << 10)
        .with_alignment(alignment)
        .with_batch_bytes_max(4 << 10)
}

pub(crate) fn open(
    disk: &Arc<disk::FakeDisk>,
    seed: u64,
    options: FileOptions,
) -> Result<FileStorage, StorageError> {
    let disk: Arc<dyn Disk> = disk.clone();
    FileStorage::open_with(disk, Environment::from_seed(seed), "/data", options)
}

pub(crate) const GROUPS: [GroupId; 2] = [GroupId::new(0), GroupId::new(7)];
