//! §5.4, safety: who may be elected, and what a leader may commit.
//!
//! Read next: `figure_2.rs`.

use raft_core::{Body, EntryId, Message, RoleName};

use crate::bench::{Bench, append, at, no_op_for, to, vote_for_me, vote_in};

/// A candidate whose log is less up-to-date gets no vote.
#[test]
fn s5_4_1_a_voter_denies_its_vote_to_a_log_that_is_behind_its_own() {
    for last in [EntryId::ZERO, at(1, 1), at(2, 1), at(9, 1)] {
        let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
        assert_eq!(vote_in(&node.hears(2, 3, vote_for_me(last))), Some(false), "last entry {last}");
        assert_eq!(node.vote(), None);
    }
}

/// A candidate whose log is at least as up-to-date gets the vote.
#[test]
fn s5_4_1_a_voter_grants_its_vote_to_a_log_as_up_to_date_as_its_own() {
    for last in [at(3, 2), at(4, 2), at(1, 3), at(3, 3)] {
        let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
        assert_eq!(vote_in(&node.hears(2, 4, vote_for_me(last))), Some(true), "last entry {last}");
    }
}

/// If the last entries have different terms, the later term is more up-to-date, whatever the
/// length.
#[test]
fn s5_4_1_the_log_with_the_later_last_term_is_more_up_to_date() {
    assert!(at(1, 3) > at(9, 2));
    let mut node = Bench::with_log(3, 3, &[1, 1, 1, 1, 1, 2]);
    assert_eq!(vote_in(&node.hears(2, 4, vote_for_me(at(1, 3)))), Some(true));
    let mut node = Bench::with_log(3, 3, &[3]);
    assert_eq!(vote_in(&node.hears(2, 4, vote_for_me(at(9, 2)))), Some(false));
}

/// If the last terms are equal, the longer log is more up-to-date.
#[test]
fn s5_4_1_with_equal_last_terms_the_longer_log_is_more_up_to_date() {
    for (index, expected) in [(1, false), (2, true), (3, true)] {
        let mut node = Bench::with_log(3, 1, &[1, 1]);
        assert_eq!(vote_in(&node.hears(2, 2, vote_for_me(at(index, 1)))), Some(expected));
    }
}

/// The comparison is a total order: no three logs can refuse each other in a circle.
#[test]
fn s5_4_1_up_to_date_is_a_total_order() {
    let ids: Vec<EntryId> =
        (0..4).flat_map(|index| (0..4).map(move |term| at(index, term))).collect();
    for a in &ids {
        for b in &ids {
            let by_the_paper = (a.term, a.index) >= (b.term, b.index);
            assert_eq!(a >= b, by_the_paper, "{a} and {b}");
            assert!(a >= b || b >= a);
            assert!(ids.iter().all(|c| !(a >= b && b >= c) || a >= c), "{a}, {b}: transitive");
        }
    }
}

/// A request for votes carries the last entry of the candidate's log, in memory or on the disk.
#[test]
fn s5_4_1_a_request_for_votes_carries_the_last_entry() {
    let mut node = Bench::with_log(3, 5, &[1, 2, 2, 5]);
    let asked = node.times_out();
    for ask in asked {
        let Body::RequestVote(ask) = ask.body else { continue };
        assert_eq!(ask.last, at(4, 5));
    }
}

/// Figure 8: an entry of an earlier term is not committed though a majority holds it.
#[test]
fn s5_4_2_an_entry_of_an_earlier_term_is_not_committed_by_counting() {
    let mut node = Bench::with_log(5, 3, &[1, 2]);
    let sent = node.wins();
    assert_eq!(node.log(), [1, 2, 4]);
    for follower in [2, 3] {
        let request = no_op_for(&sent, follower);
        // It holds everything before the no-op: 2@2 is now on three of five.
        let retried = node.hears_conflict(&request, at(1, 1));
        let Body::AppendEntries(again) = &to(&retried, follower)[0].body else {
            unreachable!("the leader goes back and asks again")
        };
        let index = again.slice.prev().index.next();
        let result = raft_core::AppendResult::Matched { match_index: index, accepted: index };
        let response = raft_core::AppendEntriesResponse { round: again.round, result };
        node.hears_answer(to(&retried, follower)[0], Body::AppendEntriesResponse(response));
    }
    let progress = node.status().progress;
    assert_eq!(progress.iter().filter(|(_, p)| p.match_index.get() == 2).count(), 2);
    assert_eq!(node.commit(), 0);
}

/// An entry of the leader's own term is committed by counting, and commits what came before.
#[test]
fn s5_4_2_an_entry_of_the_own_term_commits_earlier_ones() {
    let mut node = Bench::with_log(5, 3, &[1, 2]);
    let sent = node.wins();
    node.hears_matched(&no_op_for(&sent, 2));
    assert_eq!(node.commit(), 0, "two of five");
    node.hears_matched(&no_op_for(&sent, 3));
    assert_eq!(node.commit(), 3, "three of five: 2@2 is committed with 3@4");
}

/// Entries keep their original term when a later leader replicates them.
#[test]
fn s5_4_2_replicated_entries_keep_their_terms() {
    let mut node = Bench::with_log(3, 3, &[1, 2, 3]);
    let sent = node.wins();
    let retried = node.hears_conflict(&no_op_for(&sent, 2), EntryId::ZERO);
    let Body::AppendEntries(request) = &to(&retried, 2)[0].body else {
        unreachable!("the leader goes back and asks again")
    };
    let terms: Vec<u64> = request.slice.entries().iter().map(|e| e.id.term.get()).collect();
    assert_eq!(terms, [1, 2, 3, 4]);
}

/// §5.4.3: a voter that accepted a committed entry keeps it until it votes, so its up-to-date rule
/// speaks for the entry.
#[test]
fn s5_4_3_a_voter_that_accepted_an_entry_speaks_for_it() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[1, 1], 1));
    node.pass(std::time::Duration::from_millis(200));
    assert_eq!(vote_in(&node.hears(3, 2, vote_for_me(at(1, 1)))), Some(false));
    assert_eq!(vote_in(&node.hears(3, 2, vote_for_me(at(2, 1)))), Some(true));
}

/// §5.4.3, State Machine Safety: what was applied at an index is never replaced; a leader that
/// tries is accused.
#[test]
fn s5_4_3_an_applied_entry_is_never_replaced() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[1, 1], 2));
    assert_eq!(node.status().last_applied.get(), 2);
    let said = node.hears(3, 2, append(at(1, 1), &[2], 2));
    assert!(said.is_empty(), "a broken leader gets no acknowledgement: {said:?}");
    assert_eq!(node.log(), [1, 1]);
    let accused = |notice: &raft_core::Notice| {
        matches!(
            notice,
            raft_core::Notice::Violation(raft_core::Violation::CommittedConflict { .. })
        )
    };
    assert!(node.notices.iter().any(accused));
}

/// §5.5: crashed peers are asked again; asking twice does no harm.
#[test]
fn s5_5_requests_are_idempotent() {
    let mut node = Bench::new(3);
    let once = node.hears(2, 1, append(EntryId::ZERO, &[1, 1], 1));
    let twice = node.hears(2, 1, append(EntryId::ZERO, &[1, 1], 1));
    let bodies = |messages: &[Message]| -> Vec<Body> {
        messages.iter().map(|message| message.body.clone()).collect()
    };
    assert_eq!(bodies(&once), bodies(&twice));
    assert_eq!((node.log(), node.commit(), node.role()), (vec![1, 1], 1, RoleName::Follower));
}
