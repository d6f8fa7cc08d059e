//! Bugs that seeds found, each as its shortest story. A bug is fixed when its story is here.

use raft_core::{Body, EntryId, Index, Limits, Message, RefusedProposal, RoleName, Ticket};

use crate::bench::{Bench, append, at, members, n, offer};
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
    node.hears_nobody_until_it_stops_leading();
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

/// Probes to a follower that never answers are bounded like everything else in flight; when it
/// answers again it is caught up, and nothing is in flight any more.
#[test]
fn probes_to_a_silent_follower_are_bounded() {
    let limits = Limits { inflight_bytes_max: 1_000, message_bytes_max: 500, ..Limits::default() };
    let mut node = Bench::on(Bench::config(1, 3).with_limits(limits), Disk::default());
    let listens = |message: &Message, silent: u64| {
        message.to.get() != silent && matches!(message.body, Body::AppendEntries(_))
    };
    let mut open = node.wins();
    node.raft.handle_unreachable(node.now, n(3));
    for ticket in 0..200 {
        open.extend(node.propose("x", ticket));
        open.extend(node.times_out());
        while let Some(message) = open.pop() {
            if listens(&message, 3) {
                open.extend(node.hears_matched(&message));
            }
        }
        let (_, silent) = node.status().progress[1];
        assert!(silent.inflight_bytes <= 1_000 + 500, "{silent:?} after {ticket} proposals");
    }
    let mut follower = Bench::on(Bench::config(3, 3), Disk::default());
    for _ in 0..10 {
        open.extend(node.times_out());
        while let Some(message) = open.pop() {
            if message.to == n(3) {
                let epoch = message.epoch;
                follower.receive_in(1, 1, epoch, message.body);
                for answer in follower.settle() {
                    node.receive_in(3, 1, epoch, answer.body);
                    open.extend(node.settle());
                }
            } else if listens(&message, 3) {
                open.extend(node.hears_matched(&message));
            }
        }
    }
    let (_, back) = node.status().progress[1];
    assert_eq!((back.match_index, back.inflight_bytes), (node.status().last.index, 0));
}

fn is_propose(body: &Body) -> bool {
    matches!(body, Body::Propose(_))
}

/// Seed 42469: entries that were being loaded when a snapshot replaced the log came afterwards,
/// were kept, and were handed out after the snapshot.
#[test]
fn entries_loaded_before_an_installation_are_not_applied_after_it() {
    let (group, mut config) = (members(&[1, 2, 3], &[], &[]), Bench::config(1, 3));
    config.limits.log_cache_bytes_max = 1;
    let disk = Bench::with_log(3, 1, &[1, 1, 1]).disk;
    let mut node = Bench::on(config, disk);
    node.receive(2, 1, append(at(3, 1), &[1], 3));
    node.begin_writes();
    node.end_writes();
    assert!(node.raft.take_apply().is_none(), "memory let go of what is committed");
    let load = node.raft.take_load().expect("so it is loaded");

    node.receive(2, 1, offer(at(9, 1), group));
    node.pull();
    let fetch = node.fetching.take().expect("it lacks entry 9");
    let loaded = node.disk.load(load.range(), load.bytes_max());
    node.raft.handle_fetched(node.now, fetch.into_fetched());
    node.raft.handle_loaded(node.now, load.into_loaded(loaded));
    node.settle();
    assert_eq!((node.became.clone(), node.status().last_applied), (vec![at(9, 1)], Index::new(9)));

    node.receive(2, 1, append(at(9, 1), &[1], 10));
    node.begin_writes();
    node.end_writes();
    assert!(node.raft.take_apply().is_none(), "entry 10 is loaded first");
    let load = node.raft.take_load().expect("memory let go of it");
    let loaded = node.disk.load(load.range(), load.bytes_max());
    node.raft.handle_loaded(node.now, load.into_loaded(loaded));
    assert_eq!(node.apply(), Some((vec![at(10, 1)], vec![])));
}
