//! The applier: what is committed goes into the state machine, and reads wait for it.

mod support;

use bytes::Bytes;
use raft_core::{
    Apply, ApplyJob, Body, Capture, Epoch, InMemoryStateMachine, Index, InstallSnapshot, Message,
    NodeId, Payload, RaftConfig, RaftNode, Restore, Restored, Round, SnapshotMeta, SnapshotPolicy,
    Term, Ticket, Time,
};
use raft_storage::{Applier, MemoryStorage, Query, SnapshotManager, Storage, write};
use support::{GROUPS, id, identity, snapshot};

/// The no-op and one command of a group of one, committed, and the job to snapshot the two.
fn committed() -> (Vec<Apply>, Capture) {
    let snapshots = SnapshotPolicy { entries: 2, ..SnapshotPolicy::default() };
    let config = RaftConfig::new(1, vec![]).without_recorded_incarnations_wiped_disks_vote();
    let (config, blank) = (config.with_snapshots(snapshots), Restored::default());
    let node = RaftNode::new(config, identity(1).peer.incarnation, blank, Time::ZERO);
    let mut node = node.expect("a blank disk fits every configuration");
    let mut storage = MemoryStorage::new();
    storage.initialize(identity(1)).expect("the disk has no owner");
    let mut now = Time::ZERO;
    let (mut found, mut capture) = (Vec::new(), None);
    for step in 0..4 {
        now = now.max(node.deadline().at);
        node.handle_timeout(now);
        if step == 2 {
            let command = Payload::command("key\0one");
            node.propose(now, command, Ticket::new(1)).expect("it leads");
        }
        while let Some(persist) = node.take_persist() {
            let written = write(&mut storage, vec![(GROUPS[0], persist)]);
            for written in written.expect("memory does not fail") {
                node.handle_persisted(now, written.persisted);
            }
        }
        while let Some(job) = node.take_apply() {
            match job {
                ApplyJob::Apply(apply) => found.push(apply),
                ApplyJob::Capture(job) => capture = Some(job),
                ApplyJob::Restore(_) => unreachable!("nobody offers anything"),
            }
        }
    }
    assert_eq!(found.len(), 2, "each was committed by itself");
    (found, capture.expect("a snapshot is due at every second entry"))
}

/// A read waits until everything up to its index is applied, whatever was asked before it; then it
/// is answered, once, with what the entry left behind.
#[test]
fn a_read_waits_until_its_index_is_applied() {
    support::select_mutant();
    let ask = || Query::Ask(Bytes::from_static(b"key"));
    let mut applier = Applier::new(InMemoryStateMachine::new());
    assert_eq!(applier.read(Index::new(2), Ticket::new(5), ask()), None, "nothing is applied yet");
    assert_eq!(applier.read(Index::new(1), Ticket::new(6), Query::Barrier), None);
    let mut answered = Vec::new();
    for apply in committed().0 {
        let (_, answers) = applier.apply(apply).unwrap();
        answered.push(answers.into_iter().map(|answer| (answer.ticket.get(), answer.bytes)));
    }
    let answered: Vec<Vec<_>> = answered.into_iter().map(Iterator::collect).collect();
    let nothing = Bytes::new();
    assert_eq!(answered[0], [(6, nothing.clone())], "the barrier at the no-op");
    assert_eq!(answered[1], [(1, nothing), (5, Bytes::from_static(b"one"))]);
    let late = applier.read(Index::new(2), Ticket::new(7), ask()).map(|answer| answer.bytes);
    assert_eq!(late, Some(Bytes::from_static(b"one")), "what is applied is answered at once");
}

/// The job of a follower that was offered this snapshot, fetched it and made it its log.
fn restore_of(snapshot: SnapshotMeta) -> Restore {
    let (to, incarnation) = (NodeId::new(2).expect("not zero"), identity(2).peer.incarnation);
    let blank = Restored::default();
    let node = RaftNode::new(RaftConfig::new(2, vec![1, 3]), incarnation, blank, Time::ZERO);
    let mut node = node.expect("a blank disk fits every configuration");
    let mut storage = MemoryStorage::new();
    storage.initialize(identity(2)).expect("the disk has no owner");
    let body = Body::InstallSnapshot(InstallSnapshot { snapshot, round: Round::new(1) });
    let (from, term, epoch) = (identity(1).peer, Term::new(5), Epoch::new(1));
    node.handle_message(Time::ZERO, Message { from, to, term, epoch, body });
    let fetch = node.take_fetch().expect("it needs the snapshot");
    node.handle_fetched(Time::ZERO, fetch.into_fetched());
    while let Some(persist) = node.take_persist() {
        let written = write(&mut storage, vec![(GROUPS[0], persist)]);
        for written in written.expect("memory does not fail") {
            node.handle_persisted(Time::ZERO, written.persisted);
        }
    }
    match node.take_apply() {
        Some(ApplyJob::Restore(restore)) => restore,
        job => panic!("it is to be restored, not {job:?}"),
    }
}

/// A state machine becomes what an installed snapshot holds; reads whose index it covers are
/// answered from it, later ones wait on, and a snapshot of what is applied already changes nothing.
#[test]
fn an_installed_snapshot_answers_the_reads_it_covers() {
    let manager = std::sync::Arc::new(SnapshotManager::in_memory());
    let mut framed = Applier::new(InMemoryStateMachine::new());
    let (jobs, capture) = committed();
    for apply in jobs {
        let _ = framed.apply(apply).expect("never halts");
    }
    assert_eq!(capture.last_included(), framed.applied());
    let mut source = framed.capture(&capture).expect("never halts");
    let meta = manager.build(GROUPS[0], &capture, &mut *source).expect("memory does not fail");

    let mut applier = Applier::new(InMemoryStateMachine::new());
    let covered = meta.last_included.index;
    assert_eq!(applier.read(covered, Ticket::new(1), Query::Ask("key".into())), None);
    assert_eq!(applier.read(covered.next(), Ticket::new(2), Query::Barrier), None);
    for is_first in [true, false] {
        let mut source = manager.open_source(GROUPS[0], meta.id).expect("it is here");
        let restored = applier.restore(restore_of(meta.clone()), &mut *source);
        let (receipt, answers) = restored.expect("a good snapshot");
        assert_eq!((receipt.last(), applier.applied()), (meta.last_included, meta.last_included));
        let answers: Vec<_> =
            answers.into_iter().map(|answer| (answer.ticket.get(), answer.bytes)).collect();
        let expected = [(1, Bytes::from_static(b"one"))];
        assert_eq!(answers, if is_first { &expected[..] } else { &[] });
    }
    assert_eq!(applier.digest(), framed.digest());
}

/// A snapshot that is none of this state machine, is cut, or was written by a later program stops
/// the node, with a reason that names the snapshot.
#[test]
fn a_malformed_snapshot_halts() {
    for bytes in [&b""[..], b"\x01", b"\x02\x00", b"\x01\x07seven..", b"\x01\x00nonsense"] {
        let mut source = Some(Bytes::copy_from_slice(bytes));
        let mut applier = Applier::new(InMemoryStateMachine::new());
        let restored = applier.restore(restore_of(snapshot(id(4, 9))), &mut source);
        let halt = restored.expect_err("it is malformed").to_string();
        assert!(halt.contains("snapshot of 9@4: malformed snapshot: "), "{halt}");
        assert_eq!(applier.applied().index, Index::ZERO, "nothing is claimed");
    }
}

/// A state that is not the one that was asked for is not captured: the host mixed up its jobs.
#[test]
#[should_panic(expected = "jobs are done in their order")]
fn a_capture_of_another_state_is_a_mistake_of_the_host() {
    let applier = Applier::new(InMemoryStateMachine::new());
    let _ = applier.capture(&committed().1);
}
