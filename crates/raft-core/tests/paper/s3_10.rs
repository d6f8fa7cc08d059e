//! Thesis §3.10, leadership transfer; and §4.2.3, what it is exempt from.
//!
//! Read next: `s4.rs`.

use std::time::Duration;

use raft_core::{Body, Notice, Payload, ProposeError, RoleName, Ticket, TransferError};

use crate::bench::{Bench, append, at, n, no_op_for, remove, to, vote_for_me, vote_in};

fn words(messages: &[raft_core::Message]) -> Vec<u64> {
    let words = messages.iter().filter(|message| matches!(message.body, Body::TimeoutNow));
    words.map(|message| message.to.get()).collect()
}

/// The leader stops accepting new requests of clients.
#[test]
fn s3_10_the_leader_accepts_nothing_new_meanwhile() {
    let mut leader = Bench::leading(3);
    leader.raft.transfer_leadership(leader.now, Some(n(2))).expect("n2 votes");
    let refused = leader.raft.propose(leader.now, Payload::command("x"), Ticket::new(1));
    assert_eq!(refused, Err(ProposeError::Transferring { to: n(2) }));
    let refused = leader.raft.change_membership(leader.now, &remove(3), Ticket::new(2));
    assert_eq!(refused, Err(raft_core::ChangeError::Transferring));
    let refused = leader.raft.transfer_leadership(leader.now, Some(n(3)));
    assert_eq!(refused, Err(TransferError::InProgress { to: n(2) }));
}

/// The leader updates the log of the target to match its own, with the ordinary replication.
#[test]
fn s3_10_the_target_is_told_when_it_has_the_whole_log() {
    let mut leader = Bench::leading(3);
    let sent = leader.propose("x", 1);
    leader.raft.transfer_leadership(leader.now, Some(n(2))).expect("n2 votes");
    assert_eq!(words(&leader.settle()), [0; 0], "it lacks entry 2");
    assert_eq!(words(&leader.hears_matched(to(&sent, 3)[0])), [0; 0], "that is another one");
    assert_eq!(words(&leader.hears_matched(to(&sent, 2)[0])), [2]);
    assert_eq!(words(&leader.times_out()), [0; 0], "it is told once");
}

/// The target starts a new election at once, without waiting for its timeout.
#[test]
fn s3_10_the_target_begins_an_election_at_once() {
    let mut target = Bench::with_pre_vote(3, 1, &[1]);
    target.hears(2, 1, append(at(1, 1), &[], 1));
    let asked = target.hears(2, 1, Body::TimeoutNow);
    assert_eq!((target.role(), target.term()), (RoleName::Candidate, 2));
    let marked = asked
        .iter()
        .filter(|message| matches!(&message.body, Body::RequestVote(ask) if ask.transfer));
    assert_eq!(marked.count(), 2, "no pre-vote, and the requests say who sent it");
}

/// TimeoutNow counts only from the leader this node follows.
#[test]
fn s3_10_only_the_leader_can_ask_a_server_to_take_over() {
    let mut node = Bench::with_log(3, 1, &[1]);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    node.hears(3, 1, Body::TimeoutNow);
    assert_eq!((node.role(), node.term()), (RoleName::Follower, 1));
    let mut node = Bench::with_log(3, 2, &[1]);
    node.hears(2, 2, append(at(1, 1), &[], 1));
    node.hears(2, 1, Body::TimeoutNow);
    assert_eq!((node.role(), node.term()), (RoleName::Follower, 2), "of an earlier term");
}

/// When the target leads, its message with the higher term makes the old leader step down.
#[test]
fn s3_10_the_old_leader_steps_down_when_it_is_asked_for_its_vote() {
    let mut leader = Bench::leading(3);
    leader.raft.transfer_leadership(leader.now, Some(n(2))).expect("n2 votes");
    leader.settle();
    let ask = raft_core::RequestVote { last: at(1, 1), transfer: true };
    assert_eq!(vote_in(&leader.hears(2, 2, Body::RequestVote(ask))), Some(true));
    assert_eq!((leader.role(), leader.term()), (RoleName::Follower, 2));
}

/// If the transfer does not complete after about an election timeout, the leader aborts it and
/// accepts requests again.
#[test]
fn s3_10_a_transfer_is_given_up_after_an_election_timeout() {
    let mut leader = Bench::leading(3);
    leader.raft.transfer_leadership(leader.now, Some(n(2))).expect("n2 votes");
    leader.settle();
    for _ in 0..6 {
        let sent = leader.times_out();
        leader.hears_matched(to(&sent, 3)[0]);
    }
    let failed = Notice::TransferFailed { to: n(2) };
    assert!(leader.notices.contains(&failed), "{:?}", leader.notices);
    leader.propose("y", 9);
    assert_eq!(leader.log(), [1, 1]);
}

/// Leadership goes to voters only, and not to oneself.
#[test]
fn s3_10_leadership_is_handed_to_another_voter_only() {
    let mut leader = Bench::leading(3);
    for (to, error) in
        [(1, TransferError::AlreadyLeader), (4, TransferError::NotAVoter { node: n(4) })]
    {
        assert_eq!(leader.raft.transfer_leadership(leader.now, Some(n(to))), Err(error));
    }
    let mut follower = Bench::with_log(3, 1, &[1]);
    follower.hears(2, 1, append(at(1, 1), &[], 1));
    let refused = follower.raft.transfer_leadership(follower.now, None);
    assert_eq!(refused, Err(TransferError::NotLeader { leader: Some(n(2)) }));
}

/// A server that hears a leader grants no vote, but to whom that leader has sent (§4.2.3).
#[test]
fn s4_2_3_a_request_within_the_minimum_election_timeout_is_ignored_unless_the_leader_sent_it() {
    let mut node = Bench::with_log(3, 1, &[1]);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    assert_eq!(vote_in(&node.hears(3, 2, vote_for_me(at(1, 1)))), Some(false));
    assert_eq!(node.term(), 1, "the term of the asker is not adopted");
    let ask = raft_core::RequestVote { last: at(1, 1), transfer: true };
    assert_eq!(vote_in(&node.hears(3, 2, Body::RequestVote(ask))), Some(true));
    let mut node = Bench::with_log(3, 1, &[1]);
    node.hears(2, 1, append(at(1, 1), &[], 1));
    node.pass(Duration::from_millis(150));
    assert_eq!(vote_in(&node.hears(3, 2, vote_for_me(at(1, 1)))), Some(true), "it hears nobody");
}

/// The leader itself ignores such requests, too: it steps down by itself without a quorum.
#[test]
fn s4_2_3_a_leader_ignores_requests_for_votes() {
    let mut leader = Bench::leading(3);
    assert_eq!(vote_in(&leader.hears(3, 7, vote_for_me(at(9, 6)))), Some(false));
    assert_eq!((leader.role(), leader.term()), (RoleName::Leader, 1));
}

/// Without a target named it is the one that lacks least, of those that answer.
#[test]
fn s3_10_a_transfer_without_a_target_needs_somebody_who_answers() {
    let mut leader = Bench::new(3);
    let sent = leader.wins();
    let refused = leader.raft.transfer_leadership(leader.now, None);
    assert_eq!(refused, Err(TransferError::NoSuccessor));
    leader.hears_matched(&no_op_for(&sent, 3));
    assert_eq!(leader.raft.transfer_leadership(leader.now, None), Ok(n(3)));
}
