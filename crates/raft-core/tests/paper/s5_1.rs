//! §5.1, Raft basics: servers, terms, and how terms are exchanged.
//!
//! Read next: `s5_2.rs`.

use raft_core::{AppendResult, Body, EntryId, PreVote, RoleName};

use crate::bench::{Bench, append, at, granted, result_in, to, vote_for_me, vote_in};

/// A term begins with an election: who campaigns enters the next term, and no other.
#[test]
fn s5_1_each_term_begins_with_an_election() {
    let mut node = Bench::with_log(3, 6, &[1, 5]);
    node.times_out();
    assert_eq!((node.role(), node.term()), (RoleName::Candidate, 7));
}

/// A term may end without a leader: a candidate without a majority enters another one.
#[test]
fn s5_1_a_term_may_end_without_a_leader() {
    let mut node = Bench::new(3);
    node.times_out();
    assert_eq!((node.role(), node.term()), (RoleName::Candidate, 1));
    node.times_out();
    assert_eq!((node.role(), node.term()), (RoleName::Candidate, 2));
}

/// Whoever is asked by somebody of a later term enters that term, whatever it was before.
#[test]
fn s5_1_a_server_that_sees_a_larger_term_adopts_it() {
    for body in [vote_for_me(EntryId::ZERO), append(EntryId::ZERO, &[], 0), granted()] {
        let mut node = Bench::with_log(3, 2, &[1]);
        node.hears(2, 5, body);
        assert_eq!(node.term(), 5);
    }
}

/// The term goes with every message that leaves.
#[test]
fn s5_1_current_terms_are_exchanged_whenever_servers_communicate() {
    let mut node = Bench::with_log(3, 2, &[1]);
    let mut left = node.times_out();
    left.extend(node.hears(2, 4, vote_for_me(at(9, 3))));
    left.extend(node.hears(3, 4, append(EntryId::ZERO, &[], 0)));
    let terms: Vec<u64> = left.iter().map(|message| message.term.get()).collect();
    assert_eq!(terms, [3, 3, 4, 4], "two requests, a vote, an answer");
}

/// A candidate that discovers a later term is a follower again.
#[test]
fn s5_1_a_candidate_with_an_out_of_date_term_becomes_follower() {
    let mut node = Bench::new(3);
    let asked = node.times_out();
    assert_eq!(node.role(), RoleName::Candidate);
    let ask = to(&asked, 2)[0];
    node.receive_in(2, 3, ask.epoch, granted());
    assert_eq!((node.role(), node.term()), (RoleName::Follower, 3));
}

/// A leader that discovers a later term is a follower again.
#[test]
fn s5_1_a_leader_with_an_out_of_date_term_becomes_follower() {
    let mut node = Bench::new(3);
    node.wins();
    node.hears(3, 2, append(EntryId::ZERO, &[], 0));
    assert_eq!((node.role(), node.term()), (RoleName::Follower, 2));
    assert_eq!(node.status().leader.map(raft_core::NodeId::get), Some(3));
}

/// A request of an earlier term is rejected: nothing is appended, nobody is followed.
#[test]
fn s5_1_an_append_with_a_stale_term_is_rejected() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let said = node.hears(2, 3, append(at(1, 1), &[3], 2));
    assert!(matches!(result_in(&said), Some(AppendResult::Conflict { .. })));
    assert_eq!((node.log(), node.commit(), node.status().leader), (vec![1], 0, None));
    assert_eq!(said[0].term.get(), 4, "so that the stale leader learns the present term");
}

/// A candidate of an earlier term gets no vote.
#[test]
fn s5_1_a_request_for_votes_with_a_stale_term_gets_no_vote() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let said = node.hears(2, 3, vote_for_me(at(9, 3)));
    assert_eq!((vote_in(&said), node.vote()), (None, None));
}

/// Who asks with an earlier term whether it could win learns the present one from the answer.
#[test]
fn s5_1_a_pre_vote_with_a_stale_term_learns_the_present_one() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let said = node.hears(2, 3, Body::PreVote(PreVote { last: at(9, 3) }));
    assert!(matches!(said[0].body, Body::PreVoteResponse(answer) if !answer.granted));
    assert_eq!(said[0].term.get(), 4);
}

/// Answers of an earlier term are ignored by whoever asked in it.
#[test]
fn s5_1_an_answer_with_a_stale_term_is_ignored() {
    let mut node = Bench::new(3);
    let asked = node.times_out();
    node.times_out();
    node.hears_answer(to(&asked, 2)[0], granted());
    assert_eq!((node.role(), node.term()), (RoleName::Candidate, 2), "a vote for term 1");
}

/// Followers are passive: no message leaves one that hears nothing, until its timeout.
#[test]
fn s5_1_followers_issue_no_requests_on_their_own() {
    let mut node = Bench::with_log(3, 4, &[1]);
    assert!(node.settle().is_empty());
    let before = node.raft.deadline().at;
    node.raft.handle_timeout(node.now);
    assert!(node.settle().is_empty(), "a wake-up before the deadline changes nothing");
    assert_eq!(node.raft.deadline().at, before);
}
