//! The applier: what is committed goes into the state machine, and reads wait for it.

mod support;

use bytes::Bytes;
use raft_core::{
    Apply, InMemoryStateMachine, Index, Payload, RaftConfig, RaftNode, Restored, Ticket, Time,
};
use raft_storage::{Applier, MemoryStorage, Query, Storage, write};
use support::GROUPS;

/// The no-op and one command of a group of one, committed.
fn committed() -> Vec<Apply> {
    let (config, blank) = (RaftConfig::new(1, vec![]), Restored::default());
    let node = RaftNode::new(config, support::identity(1).peer.incarnation, blank, Time::ZERO);
    let mut node = node.expect("a blank disk fits every configuration");
    let mut storage = MemoryStorage::new();
    storage.initialize(support::identity(1)).expect("the disk has no owner");
    let mut now = Time::ZERO;
    let mut found = Vec::new();
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
        found.extend(node.take_apply());
    }
    assert_eq!(found.len(), 2, "each was committed by itself");
    found
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
    for apply in committed() {
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
