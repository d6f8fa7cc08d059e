//! Disks that begin with a state: what a node finds there, and how alike they are.

#![expect(clippy::unwrap_used, reason = "a test says what it needs by panicking without it")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use raft_core::{
    ClusterId, EntryId, GroupId, Identity, InMemoryStateMachine, Incarnation, Member, Membership,
    NodeId, Peer, RaftConfig, RaftNode, RoleName, SnapshotMeta, StateMachine, Time,
};
use raft_storage::{Applier, FileStorage, FoundError, MemoryStorage, Storage, found};

fn membership() -> Membership {
    let node = |id| NodeId::new(id).unwrap();
    Membership::bootstrap(BTreeMap::from([1, 2, 3].map(|id| (node(id), Member::default()))))
}

fn identity(node: u64) -> Identity {
    let (node, incarnation) = (NodeId::new(node).unwrap(), Incarnation::new(u128::from(node) << 9));
    Identity { cluster: ClusterId::new(7), peer: Peer { node, incarnation } }
}

fn machine() -> InMemoryStateMachine {
    let mut machine = InMemoryStateMachine::new();
    for command in ["a\0apple", "b\0pear"] {
        machine.apply(EntryId::ZERO, command.as_bytes()).unwrap();
    }
    machine
}

fn found_at(root: &Path, node: u64) -> SnapshotMeta {
    let mut storage = FileStorage::open(root).unwrap();
    let snapshot = found(&mut storage, identity(node), &membership(), &machine()).unwrap();
    storage.close().unwrap();
    snapshot
}

/// Opened again, the disk has its owner, a log that begins after the first entry, and the state.
#[test]
fn a_node_finds_the_state_it_was_founded_with() {
    let directory = tempfile::tempdir().unwrap();
    let snapshot = found_at(directory.path(), 1);
    let mut storage = FileStorage::open(directory.path()).unwrap();
    assert_eq!(storage.identity(), Some(identity(1)));
    let restored = storage.restore(GroupId::ZERO).unwrap();
    assert_eq!(restored.snapshot.as_ref(), Some(&snapshot));
    assert_eq!((restored.base, restored.last), (raft_storage::FIRST, raft_storage::FIRST));
    assert_eq!(snapshot.membership, membership());

    let manager = Arc::new(storage.snapshots().unwrap());
    let mut source = manager.open_source(GroupId::ZERO, snapshot.id).unwrap();
    let machine_of_a_blank_node = InMemoryStateMachine::new();
    let applier =
        Applier::recovered(machine_of_a_blank_node, Some((&snapshot, &mut *source))).unwrap();
    assert_eq!(applier.applied(), raft_storage::FIRST);
    assert_eq!(applier.digest(), machine().digest());

    let incarnation = identity(1).peer.incarnation;
    let node = RaftNode::new(RaftConfig::join(1), incarnation, restored, Time::ZERO).unwrap();
    assert_eq!(node.status().role, RoleName::Follower, "a voter, although it was told nothing");
    assert_eq!(node.status().membership, membership());
}

/// Members found on their own: the snapshots they begin with are one and the same.
#[test]
fn all_members_begin_with_the_same_snapshot() {
    let founded = [1, 2, 3].map(|node| {
        let directory = tempfile::tempdir().unwrap();
        found_at(directory.path(), node)
    });
    assert_eq!(founded[0], founded[1]);
    assert_eq!(founded[1], founded[2]);
}

/// A disk that has an owner, be it the same, is left as it is.
#[test]
fn a_disk_with_an_owner_is_refused() {
    let mut storage = MemoryStorage::new();
    storage.initialize(identity(1)).unwrap();
    let error = found(&mut storage, identity(1), &membership(), &machine()).unwrap_err();
    assert!(matches!(error, FoundError::NotBlank { disk } if disk == identity(1)), "{error}");
    assert!(storage.restore(GroupId::ZERO).unwrap().is_blank());
}
