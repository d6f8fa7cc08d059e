//! Stories of known bugs that neither a sentence of the paper nor a golden script tells.

use std::time::Duration;

use raft_core::{
    Body, Consistency, Epoch, Incarnation, Index, Message, Notice, Payload, Peer, ReadIndex,
    ReadIndexResponse, RefusalReason, RoleName, Ticket,
};

use crate::bench::{Bench, append, at, n};
use crate::disk::Disk;

/// A read index says what is committed in the leader's log. A follower whose log may still differ
/// waits for it, and commits nothing because of it.
#[test]
fn a_read_index_commits_nothing() {
    let mut follower = Bench::with_log(3, 2, &[1, 1, 1]);
    follower.hears(2, 2, append(at(1, 1), &[], 1));
    assert_eq!(follower.commit(), 1, "the rest of its log may still be cut away");
    follower
        .raft
        .read(follower.now, Consistency::Linearizable, Ticket::new(9))
        .expect("it knows a leader");
    let sent = follower.settle();
    let asked = sent.iter().find(|message| matches!(message.body, Body::ReadIndex(_)));
    let asked = asked.expect("a follower asks its leader for the read index");
    let Body::ReadIndex(ask) = &asked.body else { unreachable!("found above") };
    let answer = ReadIndexResponse { batch: ask.batch, index: Some(Index::new(3)) };
    follower.hears_answer(asked, Body::ReadIndexResponse(answer));
    let ready =
        Notice::ReadReady { ticket: Ticket::new(9), index: Index::new(3), age: Duration::ZERO };
    assert!(follower.notices.contains(&ready), "{:?}", follower.notices);
    assert_eq!(follower.commit(), 1, "entries 2 and 3 are not known to be the leader's");
}

/// A campaign that somebody asks for does not unseat a leader that sits (known from openraft).
#[test]
fn a_leader_that_is_asked_to_campaign_goes_on_leading() {
    let mut leader = Bench::new(3);
    leader.wins();
    leader.raft.campaign(leader.now);
    leader.settle();
    assert_eq!((leader.role(), leader.term()), (RoleName::Leader, 1));
}

/// A timer that was set before the leader was heard, and fires all the same, begins nothing.
#[test]
fn a_timeout_that_was_put_off_begins_no_campaign() {
    let mut follower = Bench::new(3);
    let early = follower.raft.deadline().at;
    follower.pass(Duration::from_millis(140));
    follower.hears(2, 1, append(at(0, 0), &[1], 0));
    assert!(follower.raft.deadline().at > early, "the leader put it off");
    follower.raft.handle_timeout(early);
    follower.settle();
    assert_eq!((follower.role(), follower.term()), (RoleName::Follower, 1));
    assert_eq!(follower.raft.state().leader(), Some(n(2)));
}

/// The disk of a voter is recorded in the membership; another one under the same id is a stranger,
/// whatever it says.
#[test]
fn another_disk_under_a_recorded_id_is_not_heard() {
    let mut config = Bench::config(1, 3);
    config.record_incarnations = true;
    let mut leader = Bench::on(config, Disk::default());
    let mut sent = leader.wins();
    for _ in 0..4 {
        let appends: Vec<Message> =
            sent.into_iter().filter(|m| matches!(m.body, Body::AppendEntries(_))).collect();
        for append in &appends {
            leader.hears_matched(append);
        }
        sent = leader.times_out();
    }
    let recorded = leader.status().membership.members()[&n(2)].incarnation;
    assert_eq!(recorded, Some(Incarnation::new(2)), "the leader recorded what it met");

    let from = Peer { node: n(2), incarnation: Incarnation::new(99) };
    let (to, term) = (n(1), leader.status().term);
    let body = Body::ReadIndex(ReadIndex { batch: 1 });
    let message = Message { from, to, term, epoch: Epoch::new(1), body };
    leader.raft.handle_message(leader.now, message);
    let reason = RefusalReason::ForeignIncarnation;
    let told = leader.raft.take_notices();
    assert!(told.contains(&Notice::PeerRefused { peer: from, reason }), "{told:?}");
}

/// A write that has been under way for an election timeout says that the disk is ill: its node
/// leads no more, although everybody hears it.
#[test]
fn a_leader_whose_disk_stands_still_stops_leading() {
    let mut leader = Bench::new(1);
    leader.wins();
    leader.raft.propose(leader.now, Payload::command("x"), Ticket::new(1)).expect("it leads");
    assert!(leader.begin_writes() > 0, "a write is under way, and does not end");
    for _ in 0..20 {
        leader.now = leader.now.max(leader.raft.deadline().at);
        leader.raft.handle_timeout(leader.now);
        if leader.role() != RoleName::Leader {
            let told = leader.raft.take_notices();
            assert!(told.contains(&Notice::DiskStalled), "{told:?}");
            return;
        }
    }
    panic!("it still leads");
}
