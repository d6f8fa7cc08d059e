//! Bugs that seeds found, each as its shortest story. A bug is fixed when its story is here.

use raft_core::{Body, EntryId, Index, RefusedProposal, RoleName, Ticket};

use crate::bench::{Bench, append, at};
use crate::disk::Disk;

/// A leader that restarts inside its term does not know which proposals it appended before: when
/// one of them arrives once more, it must not call it refused, for the entry may yet be committed.
/// (Seed 3018 of random schedules committed a proposal whose caller had been refused.)
#[test]
fn a_restarted_leader_refuses_nothing_it_may_have_appended() {
    let mut follower = Bench::on(Bench::config(2, 3), Disk::default());
    follower.hears(1, 1, append(EntryId::ZERO, &[], 0));
    let sent = follower.propose("x", 7);
    let propose = sent.into_iter().map(|message| message.body).find(is_propose);
    let propose = propose.expect("a follower hands a proposal to its leader");

    let mut leader = Bench::new(3);
    leader.wins();
    assert_eq!(leader.term(), 1);
    leader.hears(2, 1, propose.clone());
    assert_eq!(leader.written(), [1, 1], "the no-op and the proposal are on the disk");

    leader.crash_and_restart();
    assert_eq!((leader.role(), leader.term()), (RoleName::Follower, 1));
    let said = leader.hears(2, 1, propose);
    assert!(said.is_empty(), "the entry is in its log and may be committed: {said:?}");
    assert_eq!(leader.disk.last().index, Index::new(2));
}

/// In a term that began after its start a process knows all it received: what it refuses then was
/// never appended, and its caller need not wait for a later term.
#[test]
fn a_leader_that_stepped_down_in_its_term_still_refuses() {
    let mut node = Bench::new(3);
    node.wins();
    while node.role() == RoleName::Leader {
        node.times_out();
    }
    assert_eq!(node.term(), 1, "check quorum ends the leadership, not the term");
    let mut follower = Bench::on(Bench::config(2, 3), Disk::default());
    follower.hears(1, 1, append(EntryId::ZERO, &[], 0));
    let sent = follower.propose("x", 7);
    let propose = sent.into_iter().map(|message| message.body).find(is_propose);
    let said = node.hears(2, 1, propose.expect("a follower hands a proposal to its leader"));
    let Some(Body::ProposeResponse(answer)) = said.first().map(|message| &message.body) else {
        unreachable!("it answers {said:?}")
    };
    assert_eq!(answer.refused, [(Ticket::new(7), RefusedProposal::NotLeader)]);
}

/// A broken leader sends an entry of a later term than its own. It is dropped and counted: a peer's
/// nonsense never stops a node.
#[test]
fn an_entry_of_a_later_term_than_its_leader_is_dropped() {
    let mut node = Bench::with_log(3, 4, &[1, 1]);
    let said = node.hears(2, 4, append(at(2, 1), &[9], 2));
    assert!(said.is_empty(), "it is not answered: {said:?}");
    assert_eq!((node.log(), node.commit()), (vec![1, 1], 0));
    assert_eq!(node.status().counters.dropped["entry of a later term than its leader"], 1);
}

fn is_propose(body: &Body) -> bool {
    matches!(body, Body::Propose(_))
}
