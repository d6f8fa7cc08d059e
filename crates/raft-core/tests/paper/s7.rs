//! §7 and Figure 13, snapshots: what is dropped, what is kept, and how a follower gets one.
//!
//! Deviation: InstallSnapshot offers a snapshot and carries no bytes; the follower fetches it. So
//! steps 2 to 4 of Figure 13 are the business of the host.
//!
//! Read next: `s8.rs`.

use raft_core::{AppendResult, Index, Member, Notice, Ticket, Violation};

use crate::bench::{
    Bench, append, appends, at, installed, members, n, offer, offered, result_in, to, vote_for_me,
    vote_in,
};

/// A follower in term 2 that holds these terms, the first so many of which are committed.
fn follower(terms: &[u64], commit: u64) -> Bench {
    let mut node = Bench::with_log(3, 2, terms);
    let last =
        terms.get(usize::try_from(commit).expect("small") - 1).copied().expect("it holds it");
    node.hears(2, 2, append(at(commit, last), &[], commit));
    assert_eq!(node.commit(), commit);
    node
}

/// Each server takes snapshots independently, covering just the committed entries in its log.
#[test]
fn s7_a_snapshot_covers_what_is_committed_and_applied() {
    let mut node = follower(&[1, 1, 2, 2], 3);
    node.takes_a_snapshot();
    let log = node.raft.state().log();
    assert_eq!((log.base(), log.last()), (at(3, 2), at(4, 2)), "entry 4 is not committed");
}

/// The last included index and term are kept, for the consistency check of the entry after them.
#[test]
fn s7_the_entry_before_the_log_is_still_checked() {
    let mut node = follower(&[1, 1, 2], 3);
    node.takes_a_snapshot();
    let answer = node.hears(2, 2, append(at(3, 2), &[2], 3));
    assert!(matches!(result_in(&answer), Some(AppendResult::Matched { .. })));
    assert_eq!(node.raft.state().log().last(), at(4, 2));
}

/// Whoever names another entry there does not hold what is committed.
#[test]
fn s7_another_entry_before_the_log_cannot_be() {
    let mut node = follower(&[1, 1, 2], 3);
    node.takes_a_snapshot();
    node.hears(2, 2, append(at(3, 1), &[2], 3));
    let conflict = Violation::CommittedConflict { index: Index::new(3), from: n(2) };
    assert!(node.notices.contains(&Notice::Violation(conflict)), "{:?}", node.notices);
}

/// Entries before the beginning of the log are in the snapshot; they are matched, not appended.
#[test]
fn s7_entries_that_the_snapshot_covers_match() {
    for (skip, prev) in [at(0, 0), at(1, 1), at(2, 1)].into_iter().enumerate() {
        let mut node = follower(&[1, 1, 2], 3);
        node.takes_a_snapshot();
        let answer = node.hears(2, 2, append(prev, &[1, 1, 2, 2][skip..], 3));
        let matched =
            Some(AppendResult::Matched { match_index: Index::new(4), accepted: Index::new(4) });
        assert_eq!(result_in(&answer), matched, "after {prev}");
        assert_eq!(node.raft.state().log().last(), at(4, 2));
    }
}

/// To vote, the last entry of an empty log is the last one of its snapshot.
#[test]
fn s7_an_empty_log_ends_with_what_its_snapshot_covers() {
    for (last, granted) in [(at(9, 1), false), (at(2, 2), false), (at(3, 2), true)] {
        let mut node = Bench::with_log(3, 2, &[1, 1, 2]);
        node.hears(2, 2, append(at(3, 2), &[], 3));
        node.takes_a_snapshot();
        node.pass(std::time::Duration::from_millis(300));
        assert_eq!(vote_in(&node.hears(3, 3, vote_for_me(last))), Some(granted), "last {last}");
    }
}

/// The snapshot includes the latest membership as of the last included index.
#[test]
fn s7_a_snapshot_includes_the_membership_at_its_last_entry() {
    let mut node = follower(&[1, 1], 2);
    let next = members(&[1, 2, 3, 4], &[], &[]);
    let payload = raft_core::Payload::membership(&next);
    node.hears(2, 2, crate::bench::append_all(at(2, 1), vec![(2, payload)], 2));
    assert_eq!(node.status().membership.members().len(), 4, "in force, but not committed");
    node.takes_a_snapshot();
    let log = node.raft.state().log();
    let meta = log.snapshot().expect("it was taken");
    assert_eq!(meta.membership, members(&[1, 2, 3], &[], &[]));
    assert_eq!(log.membership().members().len(), 4, "the one above it is still in force");
}

/// When the leader has discarded the next entry it would send, it offers its snapshot.
#[test]
fn s7_a_leader_offers_its_snapshot_when_the_next_entry_is_gone() {
    let mut leader = Bench::leading(3);
    let sent = leader.propose("x", 1);
    leader.hears_matched(to(&sent, 2)[0]);
    leader.takes_a_snapshot();
    assert_eq!(leader.raft.state().log().base(), at(1, 1), "n3 answered lately: it may need 2@1");
    leader.raft.handle_unreachable(leader.now, n(3));
    for _ in 0..8 {
        let sent = leader.times_out();
        leader.hears_matched(to(&sent, 2)[0]);
    }
    let sent = leader.propose("y", 2);
    leader.hears_matched(to(&sent, 2)[0]);
    leader.takes_a_snapshot();
    assert_eq!(leader.raft.state().log().base(), at(3, 1), "n3 has been silent for long");
    let sent = leader.times_out();
    assert_eq!(offered(&sent), [at(3, 1)]);
    let heartbeat = appends(&sent).into_iter().find(|(to, _)| *to == n(3));
    let (_, heartbeat) = heartbeat.expect("offers do not replace heartbeats");
    assert!(heartbeat.slice.is_empty());
}

/// Figure 13, step 1: a snapshot of an earlier term is not taken, and its leader learns the term.
#[test]
fn figure_13_an_offer_of_an_earlier_term_is_refused() {
    let mut node = Bench::with_log(3, 4, &[1]);
    let answer = node.hears(2, 3, offer(at(5, 3), members(&[1, 2, 3], &[], &[])));
    assert_eq!(answer.iter().map(|message| message.term.get()).collect::<Vec<_>>(), [4]);
    assert!(node.fetching.is_none());
}

/// Step 6: if the log holds the last included entry, what follows it is retained.
#[test]
fn figure_13_a_log_that_holds_the_last_included_entry_is_kept() {
    let mut node = Bench::with_log(3, 2, &[1, 1, 2, 2]);
    let answer = node.hears(2, 2, offer(at(3, 2), members(&[1, 2, 3], &[], &[])));
    assert!(node.fetching.is_none(), "there is nothing to fetch");
    assert_eq!((node.log().len(), node.commit()), (4, 3), "what it covers is committed");
    assert_eq!(installed(&answer), [3]);
}

/// Step 7: otherwise the entire log is discarded; step 8: the state machine becomes the snapshot.
#[test]
fn figure_13_a_log_that_does_not_hold_it_is_discarded_and_the_state_replaced() {
    for terms in [vec![1], vec![1, 1, 1], vec![1, 1, 1, 1, 1, 1], vec![]] {
        let mut node = Bench::with_log(3, 2, &terms);
        let answer = node.hears(2, 2, offer(at(3, 2), members(&[1, 2, 3], &[], &[])));
        assert_eq!(installed(&answer), [0], "nothing is committed here");
        let answer = node.has_fetched();
        let log = node.raft.state().log();
        assert_eq!((log.base(), log.last()), (at(3, 2), at(3, 2)), "it held {terms:?}");
        assert_eq!((node.commit(), node.status().last_applied.get()), (3, 3));
        assert_eq!(node.became, [at(3, 2)]);
        assert_eq!(installed(&answer), [3]);
    }
}

/// Step 8: the membership of the snapshot is used, whatever the log said.
#[test]
fn figure_13_the_membership_of_the_snapshot_is_used() {
    let mut node = Bench::with_log(3, 2, &[1]);
    let stray = raft_core::Payload::membership(&members(&[1, 2, 3, 9], &[], &[]));
    node.hears(2, 2, crate::bench::append_all(at(1, 1), vec![(2, stray)], 0));
    let joint = members(&[1, 2, 4], &[1, 2, 3], &[]).brought_by(at(3, 2));
    node.hears(3, 3, offer(at(4, 3), joint.clone()));
    node.has_fetched();
    assert_eq!(node.status().membership, joint, "joint, with both halves");
    node.crash_and_restart();
    assert_eq!(node.status().membership, joint);
    assert_eq!(node.status().membership.members().get(&n(4)), Some(&Member::default()));
}

/// An installation is acknowledged when the disk holds it, not before.
#[test]
fn s7_an_installation_is_acknowledged_when_it_is_durable() {
    let mut node = Bench::with_log(3, 2, &[1]);
    node.hears(2, 2, offer(at(3, 2), members(&[1, 2, 3], &[], &[])));
    let fetch = node.fetching.take().expect("it fetches");
    node.raft.handle_fetched(node.now, fetch.into_fetched());
    assert_eq!(installed(&node.pull()), [0; 0]);
    assert!(node.apply().is_none(), "nor does the state machine run ahead of the disk");
    node.begin_writes();
    assert_eq!(installed(&node.end_writes()), [3]);
    assert!(node.apply().is_some());
}

/// A crash before that leaves the old log, whole.
#[test]
fn s7_a_crash_before_the_installation_is_durable_leaves_the_old_log() {
    let mut node = follower(&[1, 1], 2);
    node.hears(2, 2, offer(at(5, 2), members(&[1, 2, 3], &[], &[])));
    let fetch = node.fetching.take().expect("it fetches");
    node.raft.handle_fetched(node.now, fetch.into_fetched());
    node.begin_writes();
    node.crash_and_restart();
    assert_eq!(node.log(), [1, 1]);
    node.hears(2, 2, append(at(2, 1), &[2], 3));
    assert_eq!(node.log(), [1, 1, 2]);
}

/// A write that was in flight when the snapshot took its place makes nothing durable.
#[test]
fn s7_a_write_of_the_replaced_log_counts_for_nothing() {
    let mut node = Bench::with_log(3, 2, &[1]);
    node.receive(2, 2, append(at(1, 1), &[2, 2, 2], 0));
    node.begin_writes();
    node.receive(2, 2, offer(at(3, 1), members(&[1, 2, 3], &[], &[])));
    node.pull();
    let fetch = node.fetching.take().expect("3@1 is not in its log");
    node.raft.handle_fetched(node.now, fetch.into_fetched());
    node.end_writes();
    assert_eq!(node.status().durable.get(), 0, "the log that was written is no more");
    node.settle();
    assert_eq!(node.status().durable.get(), 3);
}

/// A fetch that fails is begun again with a later offer; one at a time.
#[test]
fn s7_a_failed_fetch_is_begun_again_with_the_next_offer() {
    let mut node = Bench::with_log(3, 2, &[1]);
    let group = members(&[1, 2, 3], &[], &[]);
    node.hears(2, 2, offer(at(3, 2), group.clone()));
    node.hears(2, 2, offer(at(4, 2), group.clone()));
    let fetching = node.fetching.as_ref().expect("it fetches");
    assert_eq!(fetching.snapshot().last_included, at(3, 2), "a newer offer restarts nothing");
    node.cannot_fetch();
    assert!(node.fetching.is_none());
    node.hears(2, 2, offer(at(4, 2), group));
    assert_eq!(node.fetching.as_ref().expect("again").snapshot().last_included, at(4, 2));
}

/// Who waits for an entry that the snapshot replaces hears that the outcome is unknown.
#[test]
fn s7_callers_of_replaced_entries_hear_that_the_outcome_is_unknown() {
    let mut node = Bench::new(3);
    node.wins();
    node.propose("x", 7);
    node.hears(2, 2, offer(at(5, 2), members(&[1, 2, 3], &[], &[])));
    node.has_fetched();
    let unknown = Notice::Dropped { ticket: Ticket::new(7) };
    assert!(node.notices.contains(&unknown), "{:?}", node.notices);
}

/// A restart begins with the snapshot and the log after it.
#[test]
fn s7_a_restart_begins_with_the_snapshot() {
    let mut node = follower(&[1, 1, 2, 2], 3);
    node.takes_a_snapshot();
    node.crash_and_restart();
    let log = node.raft.state().log();
    assert_eq!((log.base(), log.last()), (at(3, 2), at(4, 2)));
    assert_eq!((node.commit(), node.status().last_applied.get()), (3, 3));
}
