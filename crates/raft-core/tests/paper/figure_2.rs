//! Figure 2: the rules in its four boxes that §5 does not say in a sentence of its own, and what
//! "persistent" and "respond" mean on a disk that takes its time.
//!
//! Read next: `../properties.rs`.

use std::time::Duration;

use raft_core::{AppendResult, Body, EntryId, Index, ProgressMode, RoleName};

use crate::bench::{
    Bench, append, appends, at, granted, no_op_for, result_in, to, vote_for_me, vote_in,
};

// State.

/// Persistent state: term, vote and log are what a restart finds.
#[test]
fn figure_2_term_vote_and_log_survive_a_crash() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[1, 1], 1));
    node.pass(Duration::from_millis(200));
    node.hears(3, 4, vote_for_me(at(2, 1)));
    node.crash_and_restart();
    assert_eq!((node.term(), node.vote(), node.log()), (4, Some(3), vec![1, 1]));
}

/// Persistent state is updated before a request is answered: no vote leaves before its write.
#[test]
fn figure_2_a_vote_leaves_after_its_write() {
    let mut node = Bench::new(3);
    node.settle();
    node.receive(2, 1, vote_for_me(EntryId::ZERO));
    assert!(node.pull().is_empty());
    assert_eq!(node.begin_writes(), 1);
    assert!(node.pull().is_empty());
    assert_eq!(vote_in(&node.end_writes()), Some(true));
    assert_eq!(node.disk.hard().voted_for, node.status().voted_for);
}

/// Nor does a request for votes, which speaks for the candidate's own vote.
#[test]
fn figure_2_a_request_for_votes_leaves_after_its_write() {
    let mut node = Bench::new(3);
    node.settle();
    node.now = node.raft.deadline().at;
    node.raft.handle_timeout(node.now);
    assert!(node.pull().is_empty());
    node.begin_writes();
    assert!(node.pull().is_empty());
    assert_eq!(node.end_writes().len(), 2);
    assert_eq!(node.disk.hard().term.get(), 1);
}

/// Nor does an acknowledgement of entries.
#[test]
fn figure_2_an_acknowledgement_leaves_after_its_write() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[], 0));
    node.receive(2, 1, append(EntryId::ZERO, &[1, 1], 0));
    assert!(node.pull().is_empty());
    node.begin_writes();
    assert!(node.pull().is_empty());
    let match_index = Index::new(2);
    let expected = AppendResult::Matched { match_index, accepted: match_index };
    assert_eq!(result_in(&node.end_writes()), Some(expected));
    assert_eq!(node.written(), [1, 1]);
}

/// Figure 2 initialises the commit index to zero; a hint on the disk may give more, never less than
/// nothing, and never more than is committed.
#[test]
fn figure_2_a_blank_node_has_committed_and_applied_nothing() {
    let node = Bench::with_log(3, 4, &[1, 2, 4]);
    assert_eq!((node.commit(), node.status().last_applied.get()), (0, 0));
}

/// `commitIndex` and `lastApplied` only grow, whatever a leader claims later.
#[test]
fn figure_2_the_commit_index_never_goes_back() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[1, 1, 1], 3));
    for leader_commit in [0, 2, 3] {
        node.hears(2, 1, append(at(3, 1), &[], leader_commit));
        node.hears(3, 2, append(at(3, 1), &[], leader_commit));
        assert_eq!((node.commit(), node.status().last_applied.get()), (3, 3));
    }
}

/// `nextIndex` starts behind the leader's last entry, `matchIndex` at zero, for each follower.
#[test]
fn figure_2_next_index_starts_behind_the_last_entry_and_match_index_at_zero() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
    let sent = node.wins();
    for (_, request) in appends(&sent).into_iter().filter(|(_, a)| !a.slice.is_empty()) {
        assert_eq!(request.slice.prev(), at(3, 2), "the first question: do you hold my last one?");
    }
    for (peer, progress) in node.status().progress {
        assert_eq!(progress.match_index, Index::ZERO, "{peer}");
        assert_eq!(progress.mode, ProgressMode::Probe);
    }
}

/// Both are made anew after every election.
#[test]
fn figure_2_next_and_match_index_are_reinitialised_after_an_election() {
    let mut node = Bench::new(3);
    for message in node.wins() {
        if matches!(message.body, Body::AppendEntries(_)) {
            node.hears_matched(&message);
        }
    }
    assert!(node.status().progress.iter().all(|(_, p)| p.match_index == Index::new(1)));
    node.hears(2, 2, append(at(1, 1), &[2], 1));
    assert!(node.status().progress.is_empty(), "a follower has none");
    node.wins();
    assert!(node.status().progress.iter().all(|(_, p)| p.match_index == Index::ZERO));
}

// AppendEntries RPC.

/// Step 1: a request of an earlier term is answered with the present term and "no".
#[test]
fn figure_2_append_step_1_an_earlier_term_is_refused() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let said = node.hears(2, 3, append(at(1, 1), &[], 0));
    assert!(matches!(result_in(&said), Some(AppendResult::Conflict { .. })));
}

/// Step 2: without the entry before the new ones the answer is "no", and nothing changes.
#[test]
fn figure_2_append_step_2_a_missing_previous_entry_is_refused() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
    let said = node.hears(2, 3, append(at(3, 1), &[3], 3));
    assert!(matches!(result_in(&said), Some(AppendResult::Conflict { .. })));
    assert_eq!((node.log(), node.commit()), (vec![1, 1, 2], 0));
}

/// Step 3: an entry that conflicts goes, with all that follow it.
#[test]
fn figure_2_append_step_3_a_conflicting_entry_and_its_followers_are_deleted() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2, 2, 2]);
    node.hears(2, 3, append(at(2, 1), &[3], 0));
    assert_eq!(node.log(), [1, 1, 3]);
    assert_eq!(node.written(), [1, 1, 3]);
}

/// Step 3, the other half: entries that do not conflict stay, also those behind the request.
#[test]
fn figure_2_append_step_3_entries_that_match_are_not_deleted() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2, 2, 2]);
    for (prev, terms) in
        [(at(1, 1), &[1, 2][..]), (at(2, 1), &[2]), (at(2, 1), &[]), (at(5, 2), &[])]
    {
        node.hears(2, 3, append(prev, terms, 0));
        assert_eq!(node.log(), [1, 1, 2, 2, 2], "after {prev} {terms:?}");
    }
}

/// Step 4: entries that are not there are appended, and those that are there are skipped.
#[test]
fn figure_2_append_step_4_new_entries_are_appended() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
    node.hears(2, 3, append(at(1, 1), &[1, 2, 3, 3], 0));
    assert_eq!(node.log(), [1, 1, 2, 3, 3]);
}

/// Step 5: the commit index is the smaller of the leader's and the last entry of this request.
#[test]
fn figure_2_append_step_5_commits_no_more_than_was_matched() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2, 2]);
    node.hears(2, 3, append(at(1, 1), &[1], 4));
    assert_eq!(node.commit(), 2, "entries 3 and 4 may be of another leader");
    node.hears(2, 3, append(at(2, 1), &[2], 3));
    assert_eq!(node.commit(), 3);
}

// RequestVote RPC.

/// A vote already given to this candidate is given again: the answer may have been lost.
#[test]
fn figure_2_vote_step_2_the_same_candidate_is_granted_again() {
    let mut node = Bench::voted(3, (4, Some(2)), &[1]);
    assert_eq!(vote_in(&node.hears(2, 4, vote_for_me(at(1, 1)))), Some(true));
    assert_eq!(vote_in(&node.hears(3, 4, vote_for_me(at(1, 1)))), Some(false));
}

// Rules for servers.

/// All servers: whatever is committed and not applied is applied, one by one.
#[test]
fn figure_2_all_servers_apply_up_to_the_commit_index() {
    let mut node = Bench::new(3);
    node.hears(2, 1, append(EntryId::ZERO, &[1, 1, 1], 2));
    assert_eq!(node.status().last_applied.get(), 2);
    node.hears(2, 1, append(at(3, 1), &[1], 4));
    assert_eq!(node.status().last_applied.get(), 4);
}

/// What the disk may still lose is not applied, though it is committed: the majority is elsewhere.
#[test]
fn figure_2_nothing_is_applied_that_this_disk_may_lose() {
    let mut node = Bench::new(3);
    node.receive(2, 1, append(EntryId::ZERO, &[1, 1], 2));
    assert_eq!(node.commit(), 2);
    assert_eq!(node.apply(), None);
    node.begin_writes();
    node.end_writes();
    assert_eq!(node.apply().map(|(ids, _)| ids), Some(vec![at(1, 1), at(2, 1)]));
}

/// Candidates: each election is one term, one vote for oneself, one new timeout, one round of
/// requests.
#[test]
fn figure_2_candidates_begin_elections_as_one_step() {
    let mut node = Bench::new(3);
    for term in 1..=3 {
        let sent = node.times_out();
        assert_eq!((node.term(), node.vote()), (term, Some(1)));
        assert_eq!(sent.len(), 2);
        assert!(node.raft.deadline().at > node.now);
    }
}

/// Leaders: a follower that is behind gets everything from `nextIndex` on.
#[test]
fn figure_2_leaders_send_entries_from_next_index_on() {
    let mut node = Bench::with_log(3, 1, &[1, 1, 1, 1]);
    let sent = node.wins();
    let retried = node.hears_conflict(&no_op_for(&sent, 2), at(2, 1));
    let (_, request) = appends(&retried)[0];
    assert_eq!(request.slice.entries().len(), 3, "3, 4 and the no-op");
}

/// Leaders: success moves `matchIndex` and `nextIndex` forward, and a late answer never back.
#[test]
fn figure_2_leaders_move_match_and_next_index_forward_only() {
    let mut node = Bench::new(3);
    let sent = node.wins();
    let no_op = no_op_for(&sent, 2);
    node.hears_matched(&no_op);
    let second = to(&node.propose("x", 7), 2)[0].clone();
    node.hears_matched(&second);
    let seen = |node: &Bench| {
        let progress = node.status().progress[0].1;
        (progress.match_index.get(), progress.next_index.get())
    };
    assert_eq!(seen(&node), (2, 3));
    node.hears_matched(&no_op);
    node.hears_conflict(&no_op, EntryId::ZERO);
    assert_eq!(seen(&node), (2, 3), "late answers");
}

/// Leaders answer a request for their vote in their own term with "no": they gave it to themselves.
#[test]
fn figure_2_leaders_have_given_their_vote() {
    let mut node = Bench::new(3);
    node.wins();
    assert_eq!(vote_in(&node.hears(2, 1, vote_for_me(at(9, 1)))), Some(false));
    assert_eq!(node.role(), RoleName::Leader);
}

/// A leader does not listen to votes that come after it has won.
#[test]
fn figure_2_late_votes_change_nothing() {
    let mut node = Bench::new(5);
    let asked = node.times_out();
    for ask in &asked {
        node.hears_answer(ask, granted());
    }
    assert_eq!((node.role(), node.log()), (RoleName::Leader, vec![1]), "one no-op, one leadership");
}
