//! Snapshots: published whole or not at all, resumed where they broke off, and never believed
//! without their checksums.

mod support;

use std::io::ErrorKind;
use std::sync::Arc;

use bytes::Bytes;
use raft_core::{
    ApplyJob, Chunk, ChunkSink, EntryId, InMemoryStateMachine, Payload, RaftConfig, RaftNode,
    Restored, SnapshotError, SnapshotSource, StateMachine, Ticket, Time,
};
use raft_storage::{Applier, MemoryStorage, SnapshotManager, Storage, write};

use self::support::Random;
use self::support::disk::FakeDisk;
use self::support::snapshots::{GROUP, Pieces, build, capture, capture_after, chunks, manager};

/// What was built is read back, by the process that built it and by the next.
#[test]
fn what_was_built_is_read_back() {
    for bytes in [0, 1, 1 << 20, (1 << 20) + 1, 3_500_000] {
        let disk = FakeDisk::new();
        let first = manager(&disk).unwrap();
        let meta = build(&first, bytes, 1);
        assert_eq!(meta.data_bytes, bytes as u64);
        for manager in [first, manager(&disk).unwrap()] {
            assert_eq!(manager.list_of(GROUP), std::slice::from_ref(&meta));
            let read = manager.open_source(GROUP, meta.id).unwrap().read_all().unwrap();
            assert_eq!(read, Pieces { left: bytes, seed: 1 }.all());
        }
    }
}

/// Nodes with equal states at one index have equal snapshots; another state has another id.
#[test]
fn equal_states_have_equal_ids() {
    let (one, other) = (SnapshotManager::in_memory(), SnapshotManager::in_memory());
    assert_eq!(build(&one, 5_000, 1), build(&other, 5_000, 1));
    assert_ne!(build(&one, 5_000, 1).id, build(&other, 5_000, 2).id);
}

/// A power failure at any call leaves the snapshot whole or leaves none, and the next build works.
#[test]
fn publication_is_atomic_at_every_call() {
    let mut calls = 0;
    for call in 1.. {
        let disk = FakeDisk::new();
        let manager = manager(&disk).unwrap();
        disk.fail_at(disk.calls() + call, ErrorKind::Other, true);
        let built = manager.build(GROUP, &capture(), &mut Pieces { left: 1_500_000, seed: 1 });
        for seed in 0..4 {
            let after = disk.crash(&mut Random(seed * 1_000 + call));
            let manager = support::snapshots::manager(&after).unwrap();
            for meta in manager.list_of(GROUP) {
                let read = manager.open_source(GROUP, meta.id).unwrap().read_all().unwrap();
                assert_eq!(read, Pieces { left: 1_500_000, seed: 1 }.all(), "call {call}");
            }
            assert!(built.is_err() || manager.list_of(GROUP).len() == 1, "published is durable");
            build(&manager, 100, 2);
        }
        if built.is_ok() {
            break;
        }
        calls = call;
    }
    assert!(calls > 6, "only {calls} calls failed");
}

/// A fetch that breaks off asks for the rest when it begins again, also after a restart.
#[test]
fn a_broken_fetch_goes_on_where_it_stopped() {
    let source = SnapshotManager::in_memory();
    let meta = build(&source, 5_000_000, 1);
    let all = chunks(&source, &meta);
    assert_eq!(all.len(), 6, "a manifest and five chunks");
    let disk = FakeDisk::new();
    let mut asked = Vec::new();
    for process in 0..4 {
        let manager = manager(&disk).unwrap();
        let mut receiver = manager.receive(GROUP, &meta).unwrap();
        for _ in 0..2 {
            if let Some(number) = receiver.wanted() {
                asked.push(number);
                receiver.accept(all[number as usize].clone()).unwrap();
            }
        }
        if receiver.wanted().is_none() {
            receiver.finish().unwrap();
            let read = manager.open_source(GROUP, meta.id).unwrap().read_all().unwrap();
            assert_eq!(read, Pieces { left: 5_000_000, seed: 1 }.all());
            assert!(process > 1, "it was broken off twice");
        }
        disk.kill();
    }
    assert_eq!(asked, [0, 1, 2, 3, 4, 5], "each chunk once");
    let manager = manager(&disk).unwrap();
    assert_eq!(manager.receive(GROUP, &meta).unwrap().wanted(), None, "it is here");
}

/// A chunk of something else, a damaged one, and a manifest that was not offered are refused.
#[test]
fn what_was_not_offered_is_refused() {
    let source = SnapshotManager::in_memory();
    let (meta, other) = (build(&source, 2_000_000, 1), build(&source, 2_000_000, 2));
    let (all, others) = (chunks(&source, &meta), chunks(&source, &other));
    let manager = Arc::new(SnapshotManager::in_memory());
    let mut receiver = manager.receive(GROUP, &meta).unwrap();
    assert!(receiver.accept(others[0].clone()).is_err(), "another manifest");
    receiver.accept(all[0].clone()).unwrap();
    assert!(receiver.accept(others[1].clone()).is_err(), "a chunk of another snapshot");
    let mut bytes = all[1].bytes.to_vec();
    bytes[7] ^= 1;
    let damaged = Chunk { bytes: bytes.into(), ..all[1].clone() };
    assert!(receiver.accept(damaged).is_err(), "a damaged chunk");
    assert!(receiver.finish().is_err(), "it is not whole");
    assert_eq!(manager.list_of(GROUP), []);
}

/// One flipped bit anywhere in the data or the manifest is noticed.
#[test]
fn a_flipped_bit_is_noticed() {
    let disk = FakeDisk::new();
    let meta = build(&manager(&disk).unwrap(), 3_000, 1);
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with("/data/snapshots"));
    assert_eq!(paths.len(), 2, "{paths:?}");
    for path in paths {
        for at in (0..disk.read(&path).len()).step_by(97) {
            let copy = disk.copy();
            copy.damage(&path, at);
            let read = manager(&copy)
                .and_then(|manager| manager.open_source(GROUP, meta.id))
                .and_then(|mut source| source.read_all());
            assert!(read.is_err(), "{path:?} at {at}");
        }
    }
}

/// The two newest are kept, and one that is being read.
#[test]
fn old_snapshots_are_let_go() {
    let manager = Arc::new(SnapshotManager::in_memory());
    let build = |seed| {
        let mut pieces = Pieces { left: 100, seed };
        manager.build(GROUP, &capture_after(seed), &mut pieces).unwrap()
    };
    let first = build(0);
    let mut source = manager.open_source(GROUP, first.id).unwrap();
    assert!(source.next_chunk().unwrap().is_some());
    for seed in 1..3 {
        build(seed);
    }
    assert_eq!(source.next_chunk(), Ok(None), "it was read lately, so it is still there");
    for seed in 3..6 {
        build(seed);
    }
    assert_eq!(manager.list_of(GROUP).len(), 2);
    assert_eq!(manager.stats().removed, 4);
    assert_eq!(manager.open_source(GROUP, first.id).err(), Some(SnapshotError::Gone));
}

/// A state machine becomes what another was: through the applier, with what is behind its prologue.
#[test]
fn a_state_machine_is_restored_from_a_snapshot() {
    let manager = Arc::new(SnapshotManager::in_memory());
    let config = RaftConfig::new(1, vec![]);
    let identity = support::identity(1);
    let node = RaftNode::new(config, identity.peer.incarnation, Restored::default(), Time::ZERO);
    let mut node = node.unwrap();
    let mut storage = MemoryStorage::new();
    storage.initialize(identity).unwrap();
    let mut applier = Applier::new(InMemoryStateMachine::new());
    let (mut now, mut taken) = (Time::ZERO, None);
    for step in 0..8 {
        now = now.max(node.deadline().at);
        node.handle_timeout(now);
        if step == 2 {
            node.propose(now, Payload::command("key\0value"), Ticket::new(1)).unwrap();
        }
        while let Some(persist) = node.take_persist() {
            for written in write(&mut storage, vec![(GROUP, persist)]).unwrap() {
                node.handle_persisted(now, written.persisted);
            }
        }
        while let Some(job) = node.take_apply() {
            match job {
                ApplyJob::Apply(apply) => {
                    let (receipt, _) = applier.apply(apply).unwrap();
                    node.handle_applied(now, receipt);
                }
                ApplyJob::Capture(capture) => {
                    let mut source = applier.capture(&capture).unwrap();
                    taken = manager.build(GROUP, &capture, &mut *source).ok();
                }
                ApplyJob::Restore(_) => unreachable!("nobody offers anything"),
            }
        }
        if step == 5 {
            assert!(node.capture(now));
        }
    }
    let meta = taken.expect("it was asked for");
    let mut source = manager.open_source(GROUP, meta.id).unwrap();
    let restored =
        Applier::recovered(InMemoryStateMachine::new(), Some((&meta, &mut *source))).unwrap();
    assert_eq!(restored.applied(), meta.last_included);
    assert_ne!(restored.applied(), EntryId::ZERO);
    assert_eq!(restored.digest(), applier.digest());
    let blank = InMemoryStateMachine::new();
    assert_ne!(blank.digest(), restored.digest(), "the state is not the blank one");
    let mut nonsense = Some(Bytes::from_static(b"\x09\x00what"));
    let refused = Applier::recovered(blank, Some((&meta, &mut nonsense)));
    assert!(refused.err().unwrap().to_string().contains("prologue"));
}

/// A state that cannot be read to its end, and tries to have another snapshot built meanwhile.
struct Failing {
    manager: Arc<SnapshotManager>,
    pieces: u64,
}

impl SnapshotSource for Failing {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        self.pieces += 1;
        if self.pieces < 4 {
            return Ok(Some(vec![1; 500_000].into()));
        }
        let other = self.manager.build(GROUP, &capture(), &mut Pieces { left: 1, seed: 1 });
        let text = other.expect_err("one at a time").to_string();
        assert!(text.contains("another snapshot of group 0 is being built"), "{text}");
        Err(SnapshotError::Io("the state is gone".into()))
    }
}

/// A build that fails leaves nothing but a reason, and one of a group does not disturb another.
#[test]
fn a_build_that_fails_leaves_nothing() {
    let disk = FakeDisk::new();
    let manager = manager(&disk).unwrap();
    let mut failing = Failing { manager: Arc::clone(&manager), pieces: 0 };
    let built = manager.build(GROUP, &capture(), &mut failing);
    assert_eq!(built, Err(SnapshotError::Io("the state is gone".into())));
    assert_eq!(disk.paths(), Vec::<std::path::PathBuf>::new());
    let stats = manager.stats();
    assert_eq!((stats.count, stats.built, stats.failed), (0, 0, 1));
    assert!(stats.last_error.unwrap().contains("the state is gone"));
    build(&manager, 10, 1);
    build(&manager, 10, 1);
    assert_eq!(disk.paths().len(), 2, "the same state is the same snapshot");
}
