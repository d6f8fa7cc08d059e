//! §5.2, leader election.
//!
//! Read next: `s5_3.rs`.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_core::{Body, EntryId, RequestVoteResponse, RoleName};

use crate::bench::{Bench, append, appends, at, granted, n, to, vote_for_me, vote_in};
use crate::disk::Disk;

fn asked_for_votes(messages: &[raft_core::Message]) -> Vec<u64> {
    let asks = messages.iter().filter(|message| matches!(message.body, Body::RequestVote(_)));
    asks.map(|message| message.to.get()).collect()
}

/// A node that starts, blank or from a disk, is a follower.
#[test]
fn s5_2_a_server_starts_up_as_follower() {
    assert_eq!(Bench::new(3).role(), RoleName::Follower);
    let voted = Bench::voted(3, (4, Some(1)), &[1, 4]);
    assert_eq!(voted.role(), RoleName::Follower, "even one that has led its term, perhaps");
}

/// Valid messages of a leader keep a follower a follower: each begins its timeout anew.
#[test]
fn s5_2_a_follower_that_hears_its_leader_remains_follower() {
    let mut node = Bench::new(3);
    for _ in 0..20 {
        node.pass(Duration::from_millis(100));
        node.hears(2, 1, append(EntryId::ZERO, &[], 0));
        let wait = node.raft.deadline().at.since(node.now);
        assert!(wait >= Duration::from_millis(150), "a whole timeout from now: {wait:?}");
        node.raft.handle_timeout(node.now);
        assert_eq!(node.role(), RoleName::Follower);
    }
}

/// A vote given keeps a follower a follower too.
#[test]
fn s5_2_granting_a_vote_begins_the_timeout_anew() {
    let mut node = Bench::new(3);
    node.pass(Duration::from_millis(140));
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(EntryId::ZERO))), Some(true));
    assert!(node.raft.deadline().at.since(node.now) >= Duration::from_millis(150));
}

/// A vote refused does not: a node that may not win must not keep others from trying.
#[test]
fn s5_2_refusing_a_vote_leaves_the_timeout_alone() {
    let mut node = Bench::with_log(3, 1, &[1, 1]);
    let before = node.raft.deadline().at;
    node.pass(Duration::from_millis(100));
    assert_eq!(vote_in(&node.hears(2, 2, vote_for_me(EntryId::ZERO))), Some(false));
    assert_eq!(node.raft.deadline().at, before);
}

/// A message of a leader of an earlier term does not begin the timeout anew.
#[test]
fn s5_2_a_stale_leader_does_not_keep_followers_quiet() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let before = node.raft.deadline().at;
    node.pass(Duration::from_millis(100));
    node.hears(2, 3, append(at(1, 1), &[], 0));
    assert_eq!(node.raft.deadline().at, before);
}

/// A leader sends AppendEntries without entries to everybody, at every heartbeat interval.
#[test]
fn s5_2_leaders_send_periodic_heartbeats_to_all_followers() {
    let mut node = Bench::new(5);
    for message in node.wins() {
        if matches!(message.body, Body::AppendEntries(_)) {
            node.hears_matched(&message);
        }
    }
    for _ in 0..3 {
        let before = node.now;
        let sent = node.times_out();
        assert_eq!(node.now.since(before), Duration::from_millis(50));
        let empty = appends(&sent).into_iter().filter(|(_, append)| append.slice.is_empty());
        assert_eq!(empty.map(|(to, _)| to.get()).collect::<Vec<_>>(), [2, 3, 4, 5]);
        for beat in sent {
            node.hears_matched(&beat);
        }
    }
}

/// A follower that hears nobody for an election timeout begins an election: next term, candidate,
/// a vote for itself, and requests to all others, in parallel.
#[test]
fn s5_2_a_follower_whose_timeout_elapses_begins_an_election() {
    let mut node = Bench::with_log(5, 3, &[1, 3]);
    let sent = node.times_out();
    assert_eq!((node.role(), node.term(), node.vote()), (RoleName::Candidate, 4, Some(1)));
    assert_eq!(asked_for_votes(&sent), [2, 3, 4, 5]);
}

/// With votes of a majority a candidate wins, with one fewer it does not.
#[test]
fn s5_2_a_candidate_wins_with_votes_of_a_majority_in_its_term() {
    for nodes in 1..=7u64 {
        let mut node = Bench::new(nodes);
        let asked = node.times_out();
        let needed = usize::try_from(nodes / 2).expect("small");
        for (votes, ask) in asked.iter().take(needed).enumerate() {
            assert_eq!(node.role(), RoleName::Candidate, "{votes} and its own, of {nodes}");
            node.hears_answer(ask, granted());
        }
        assert_eq!(node.role(), RoleName::Leader, "{needed} votes and its own, of {nodes}");
    }
}

/// A voter counts once, however often its answer arrives.
#[test]
fn s5_2_a_vote_is_counted_once() {
    let mut node = Bench::new(5);
    let asked = node.times_out();
    for _ in 0..3 {
        node.hears_answer(to(&asked, 2)[0], granted());
    }
    assert_eq!(node.role(), RoleName::Candidate);
}

/// A node that is no voter of the group does not count.
#[test]
fn s5_2_a_vote_of_a_stranger_is_not_counted() {
    let mut node = Bench::new(3);
    let ask = node.times_out().remove(0);
    node.receive_in(9, 1, ask.epoch, granted());
    assert_eq!(node.role(), RoleName::Candidate);
}

/// The own vote counts when the disk holds it, not before.
#[test]
fn s5_2_a_candidate_counts_its_own_vote_once_it_is_durable() {
    let mut node = Bench::new(1);
    node.settle();
    node.now = node.raft.deadline().at;
    node.raft.handle_timeout(node.now);
    node.begin_writes();
    assert_eq!(node.role(), RoleName::Candidate, "its only voter has not written its vote");
    node.end_writes();
    assert_eq!(node.role(), RoleName::Leader);
}

/// One vote a term: the first to ask gets it, the second does not.
#[test]
fn s5_2_a_server_votes_for_at_most_one_candidate_in_a_term() {
    let mut node = Bench::new(3);
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(EntryId::ZERO))), Some(true));
    assert_eq!(vote_in(&node.hears(3, 1, vote_for_me(EntryId::ZERO))), Some(false));
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(EntryId::ZERO))), Some(true), "the same one");
    assert_eq!(node.vote(), Some(2));
}

/// A new term brings a new vote.
#[test]
fn s5_2_a_vote_is_for_one_term_only() {
    let mut node = Bench::new(3);
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(EntryId::ZERO))), Some(true));
    assert_eq!(vote_in(&node.hears(3, 2, vote_for_me(EntryId::ZERO))), Some(true));
}

/// A candidate has given its vote to itself.
#[test]
fn s5_2_a_candidate_votes_for_nobody_else_in_its_term() {
    let mut node = Bench::new(3);
    node.times_out();
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(at(9, 0)))), Some(false));
}

/// The vote survives a crash, and so does its uniqueness.
#[test]
fn s5_2_a_vote_survives_a_crash() {
    let mut node = Bench::new(3);
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(EntryId::ZERO))), Some(true));
    node.crash_and_restart();
    assert_eq!((node.term(), node.vote()), (1, Some(2)));
    assert_eq!(vote_in(&node.hears(3, 1, vote_for_me(EntryId::ZERO))), Some(false));
}

/// A leader that steps down inside its term does not get its vote back.
#[test]
fn s5_2_stepping_down_does_not_return_the_vote() {
    let mut node = Bench::new(3);
    node.wins();
    node.hears_nobody_until_it_stops_leading();
    assert_eq!((node.term(), node.vote()), (1, Some(1)));
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(at(9, 1)))), Some(false));
}

/// Who wins tells all others at once, so that nobody begins another election.
#[test]
fn s5_2_a_new_leader_sends_heartbeats_at_once() {
    let mut node = Bench::new(5);
    let sent = node.wins();
    let told: BTreeSet<u64> = appends(&sent).into_iter().map(|(to, _)| to.get()).collect();
    assert_eq!(told, BTreeSet::from([2, 3, 4, 5]));
}

/// A candidate that hears a leader of its own term, or of a later one, follows it.
#[test]
fn s5_2_a_candidate_recognises_a_leader_of_at_least_its_term() {
    for term in [1, 2] {
        let mut node = Bench::new(3);
        node.times_out();
        node.hears(2, term, append(EntryId::ZERO, &[], 0));
        assert_eq!((node.role(), node.term()), (RoleName::Follower, term));
        assert_eq!(node.status().leader, Some(n(2)));
    }
}

/// Whether its entries fit is another question: the leader is recognised all the same.
#[test]
fn s5_2_a_candidate_follows_a_leader_whose_log_does_not_fit_yet() {
    let mut node = Bench::new(3);
    node.times_out();
    node.hears(2, 1, append(at(7, 1), &[1], 0));
    assert_eq!((node.role(), node.log()), (RoleName::Follower, vec![]));
}

/// A candidate that hears a leader of an earlier term remains a candidate.
#[test]
fn s5_2_a_candidate_rejects_a_leader_of_an_earlier_term() {
    let mut node = Bench::with_log(3, 4, &[1]);
    node.times_out();
    node.hears(2, 4, append(at(1, 1), &[4], 0));
    assert_eq!((node.role(), node.term(), node.log()), (RoleName::Candidate, 5, vec![1]));
}

/// A split vote ends by a timeout: next term, another round of requests.
#[test]
fn s5_2_a_candidate_that_neither_wins_nor_loses_begins_another_election() {
    let mut node = Bench::new(3);
    let first = node.times_out();
    let refused = Body::RequestVoteResponse(RequestVoteResponse { granted: false });
    for ask in &first {
        node.hears_answer(ask, refused.clone());
    }
    assert_eq!(node.role(), RoleName::Candidate);
    let second = node.times_out();
    assert_eq!((node.term(), asked_for_votes(&second)), (2, vec![2, 3]));
}

/// Timeouts are drawn at random from an interval, so that mostly one node wakes up first.
#[test]
fn s5_2_election_timeouts_are_drawn_from_an_interval() {
    let mut drawn = BTreeSet::new();
    for seed in 0..200 {
        let config = Bench::config(1, 3).with_seed(seed);
        let node = raft_core::RaftNode::new(
            config,
            raft_core::Incarnation::new(1),
            Disk::default().restored(0),
            raft_core::Time::ZERO,
        );
        let wait = node.expect("the configuration is sound").deadline().at;
        let wait = wait.since(raft_core::Time::ZERO);
        assert!(wait >= Duration::from_millis(150) && wait < Duration::from_millis(300));
        drawn.insert(wait);
    }
    assert!(drawn.len() > 190, "only {} different timeouts in 200", drawn.len());
}

/// Each election begins with a new timeout, so that a second split vote is unlikely.
#[test]
fn s5_2_each_election_draws_a_new_timeout() {
    let mut node = Bench::new(3);
    let mut drawn = BTreeSet::new();
    for _ in 0..50 {
        node.times_out();
        drawn.insert(node.raft.deadline().at.since(node.now));
    }
    assert!(drawn.len() > 45, "only {} different timeouts in 50", drawn.len());
}

/// Thesis §4.2.3: a leader that hears its quorum is not deposed by a later term that asks for
/// votes.
#[test]
fn s5_2_a_leader_refuses_to_be_disturbed() {
    let mut node = Bench::new(3);
    node.wins();
    let said = node.hears(3, 7, vote_for_me(at(9, 6)));
    assert_eq!((vote_in(&said), node.role(), node.term()), (Some(false), RoleName::Leader, 1));
}

/// Thesis §9.6: who asks whether it could win, and then gives its vote away, asks no more.
#[test]
fn s5_2_a_pre_candidate_that_gives_its_vote_follows() {
    // In a term in which it has not voted: only the vote can be the reason.
    let mut node = Bench::with_pre_vote(3, 4, &[1]);
    node.times_out();
    assert_eq!((node.role(), node.term()), (RoleName::PreCandidate, 4));
    assert_eq!(vote_in(&node.hears(3, 4, vote_for_me(at(1, 1)))), Some(true));
    assert_eq!((node.role(), node.vote()), (RoleName::Follower, Some(3)));
}
