//! §5.3, log replication.
//!
//! Read next: `s5_4.rs`.

use raft_core::{AppendResult, Body, EntryId, Index, ProposeError, Ticket};

use crate::bench::{Bench, append, appends, at, no_op_for, result_in, to};

fn matched(match_index: u64) -> AppendResult {
    let match_index = Index::new(match_index);
    AppendResult::Matched { match_index, accepted: match_index }
}

/// A leader of three that found these terms in its log, and whose followers acknowledged
/// everything.
fn leader(terms: &[u64]) -> Bench {
    let mut node = Bench::with_log(3, *terms.last().expect("it has entries"), terms);
    let mut open = node.wins();
    for _ in 0..5 {
        let mut next = Vec::new();
        for message in open {
            if matches!(message.body, Body::AppendEntries(_)) {
                next.extend(node.hears_matched(&message));
            }
        }
        open = next;
    }
    node
}

/// A proposal becomes an entry of the leader's log and goes to every follower, in parallel.
#[test]
fn s5_3_a_command_is_appended_and_sent_to_every_follower() {
    let mut node = leader(&[1]);
    let sent = node.propose("x", 7);
    assert_eq!(node.log(), [1, 2, 2]);
    let sent = appends(&sent);
    assert_eq!(sent.iter().map(|(to, _)| to.get()).collect::<Vec<_>>(), [2, 3]);
    assert!(sent.iter().all(|(_, append)| append.slice.last() == at(3, 2)));
    assert!(sent.iter().all(|(_, append)| append.slice.prev() == at(2, 2)));
}

/// Who does not lead and knows no leader cannot accept a command, and says so.
#[test]
fn s5_3_only_a_leader_appends_commands() {
    let mut node = Bench::new(3);
    let refused = node.raft.propose(node.now, raft_core::Payload::command("x"), Ticket::new(1));
    assert_eq!(refused, Err(ProposeError::NotLeader { leader: None }));
    assert!(node.log().is_empty());
}

/// A leader answers its caller once the entry is safely replicated, and not earlier.
#[test]
fn s5_3_a_command_is_applied_and_answered_once_it_is_replicated() {
    let mut node = leader(&[1]);
    node.raft
        .propose(node.now, raft_core::Payload::command("x"), Ticket::new(7))
        .expect("it leads");
    let sent = node.pull();
    node.begin_writes();
    node.end_writes();
    assert_eq!(node.apply(), None, "one of three disks is no majority");
    node.receive_in(2, 2, to(&sent, 2)[0].epoch, acknowledged(&sent));
    assert_eq!(node.apply(), Some((vec![at(3, 2)], vec![Ticket::new(7)])));
}

/// The answer of a follower that has everything in these requests.
fn acknowledged(sent: &[raft_core::Message]) -> Body {
    let (_, request) = appends(sent).into_iter().last().expect("something was sent");
    let index = request.slice.last().index;
    let result = AppendResult::Matched { match_index: index, accepted: index };
    let response = raft_core::AppendEntriesResponse { round: request.round, result };
    Body::AppendEntriesResponse(response)
}

/// A follower that does not answer is asked again and again, even after the caller was answered.
#[test]
fn s5_3_a_leader_retries_until_every_follower_has_every_entry() {
    let mut node = leader(&[1]);
    let sent = node.propose("x", 7);
    node.hears_matched(to(&sent, 2)[0]);
    assert_eq!(node.commit(), 3, "committed by two of three");
    let mut again = 0;
    for _ in 0..8 {
        for request in node.times_out() {
            let (to_node, append) = appends(std::slice::from_ref(&request))[0];
            // n3 answers for what it holds, up to 2@2; entries for it are lost on the way.
            let said = match to_node.get() {
                3 if !append.slice.is_empty() => Vec::new(),
                3 if append.slice.prev() > at(2, 2) => node.hears_conflict(&request, at(2, 2)),
                _ => node.hears_matched(&request),
            };
            let sent = appends(&said).into_iter().filter(|(to, _)| to.get() == 3);
            again += sent.filter(|(_, append)| append.slice.last() == at(3, 2)).count();
        }
    }
    assert!(again >= 2, "entry 3 was sent again {again} times");
}

/// Every entry carries the term in which a leader made it, and its index.
#[test]
fn s5_3_an_entry_carries_the_term_of_its_leader_and_its_index() {
    let mut node = leader(&[1, 1]);
    node.propose("x", 7);
    assert_eq!(node.status().last, at(4, 2));
}

/// An entry is committed when a majority holds it, of every size of group.
#[test]
fn s5_3_an_entry_is_committed_once_a_majority_holds_it() {
    for nodes in 1..=7u64 {
        let mut node = Bench::new(nodes);
        let sent = node.wins();
        let firsts: Vec<_> = sent
            .iter()
            .filter(|m| matches!(&m.body, Body::AppendEntries(a) if !a.slice.is_empty()))
            .collect();
        let needed = usize::try_from(nodes / 2).expect("small");
        for (acks, request) in firsts.iter().take(needed).enumerate() {
            assert_eq!(node.commit(), 0, "{acks} and the leader, of {nodes}");
            node.hears_matched(request);
        }
        assert_eq!(node.commit(), 1, "{needed} and the leader, of {nodes}");
    }
}

/// The leader's own copy counts when its own disk holds it.
#[test]
fn s5_3_a_leader_counts_its_own_entry_once_it_is_durable() {
    let mut node = Bench::new(1);
    node.wins();
    node.raft
        .propose(node.now, raft_core::Payload::command("x"), Ticket::new(7))
        .expect("it leads");
    node.begin_writes();
    assert_eq!(node.commit(), 1, "only the no-op is written");
    node.end_writes();
    assert_eq!(node.commit(), 2);
}

/// A committed entry takes everything before it along, of whatever leader.
#[test]
fn s5_3_committing_an_entry_commits_all_before_it() {
    let mut node = Bench::with_log(3, 4, &[1, 2, 4]);
    let sent = node.wins();
    assert_eq!(node.commit(), 0);
    node.hears_matched(&no_op_for(&sent, 2));
    assert_eq!((node.commit(), node.log()), (4, vec![1, 2, 4, 5]));
}

/// A leader tells its commit index with every request, heartbeats included.
#[test]
fn s5_3_a_leader_includes_its_commit_index_in_every_append() {
    let mut node = leader(&[1]);
    let mut sent = node.times_out();
    sent.extend(node.propose("x", 7));
    assert!(appends(&sent).iter().all(|(_, append)| append.leader_commit == Index::new(2)));
    assert_eq!(appends(&sent).len(), 4);
}

/// A follower applies what it learns to be committed, in the order of the log.
#[test]
fn s5_3_a_follower_applies_committed_entries_in_log_order() {
    let mut node = Bench::new(3);
    node.receive(2, 1, append(EntryId::ZERO, &[1, 1, 1], 0));
    node.begin_writes();
    node.end_writes();
    assert_eq!(node.apply(), None);
    node.receive(2, 1, append(at(3, 1), &[], 2));
    assert_eq!(node.apply(), Some((vec![at(1, 1), at(2, 1)], vec![])));
    node.receive(2, 1, append(at(3, 1), &[], 3));
    assert_eq!(node.apply(), Some((vec![at(3, 1)], vec![])));
}

/// Log Matching, first half: a leader makes at most one entry for an index in its term, and entries
/// never move. Whatever it proposes lands behind what is there.
#[test]
fn s5_3_a_leader_creates_one_entry_with_an_index_in_a_term() {
    let mut node = leader(&[1]);
    for (ticket, command) in ["a", "b", "c"].into_iter().enumerate() {
        let before = node.status().last.index;
        node.propose(command, ticket as u64);
        assert_eq!(node.status().last.index, before.next());
    }
    assert_eq!(node.log(), [1, 2, 2, 2, 2]);
}

/// The consistency check: a follower refuses entries that do not follow an entry it holds.
#[test]
fn s5_3_a_follower_refuses_entries_after_one_it_does_not_hold() {
    for prev in [at(3, 2), at(2, 2), at(9, 1)] {
        let mut node = Bench::with_log(3, 2, &[1, 1]);
        let said = node.hears(2, 2, append(prev, &[2], 0));
        let rejected = prev.index;
        match result_in(&said) {
            Some(AppendResult::Conflict { hint, rejected: which }) => {
                assert_eq!(which, rejected);
                assert!(hint.index < rejected, "the leader can only go back");
            }
            other => panic!("{prev} is not held, but: {other:?}"),
        }
        assert_eq!(node.log(), [1, 1]);
    }
}

/// The check passes where index and term agree, also at the beginning of all logs.
#[test]
fn s5_3_a_follower_takes_entries_after_one_it_holds() {
    for (prev, log) in [(EntryId::ZERO, vec![2]), (at(1, 1), vec![1, 2]), (at(2, 1), vec![1, 1, 2])]
    {
        let mut node = Bench::with_log(3, 2, &[1, 1]);
        let index = prev.index.get() + 1;
        assert_eq!(result_in(&node.hears(2, 2, append(prev, &[2], 0))), Some(matched(index)));
        assert_eq!(node.log(), log);
        assert_eq!(node.written(), log, "and so is the disk");
    }
}

/// Figure 7: whatever a follower's log is, the leader's replaces what differs, and only that.
#[test]
fn s5_3_figure_7_followers_end_with_the_log_of_the_leader() {
    let leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let cases: [(char, u64, &[u64]); 6] = [
        ('a', 6, &[1, 1, 1, 4, 4, 5, 5, 6, 6]),
        ('b', 4, &[1, 1, 1, 4]),
        ('c', 6, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6]),
        ('d', 7, &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7]),
        ('e', 4, &[1, 1, 1, 4, 4, 4, 4]),
        ('f', 3, &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3]),
    ];
    for (case, term, log) in cases {
        let mut node = Bench::with_log(7, term, log);
        // As a leader of term 8 does: its no-op first, then back where the hints allow.
        let mut terms = leader.to_vec();
        terms.push(8);
        let mut prev = 10usize;
        let mut rejections = 0;
        while rejections < 20 {
            let id = match prev {
                0 => EntryId::ZERO,
                _ => at(prev as u64, terms[prev - 1]),
            };
            let said = node.hears(2, 8, append(id, &terms[prev..], 0));
            let Some(AppendResult::Conflict { hint, .. }) = result_in(&said) else { break };
            rejections += 1;
            let fits = |i: &usize| terms[i - 1] <= hint.term.get();
            prev = (1..=usize::try_from(hint.index.get()).expect("small"))
                .rev()
                .find(fits)
                .unwrap_or(0);
        }
        assert_eq!(node.log(), terms, "case ({case})");
        assert!(rejections <= 2, "case ({case}) took {rejections} rejections");
    }
}

/// After a rejection the leader goes back and asks again, until the logs agree.
#[test]
fn s5_3_a_leader_goes_back_after_a_rejection_and_retries() {
    let mut node = Bench::with_log(3, 3, &[1, 1, 1, 3]);
    let sent = node.wins();
    let first = no_op_for(&sent, 3);
    let retried = node.hears_conflict(&first, at(2, 1));
    let (_, request) = appends(&retried)[0];
    assert_eq!((request.slice.prev(), request.slice.last()), (at(2, 1), at(5, 4)));
}

/// The optimisation at the end of §5.3: a hint names a term, and the leader skips all entries of
/// later terms at once.
#[test]
fn s5_3_a_hint_skips_the_entries_of_a_whole_term() {
    let mut node = Bench::with_log(3, 4, &[1, 4, 4, 4, 4, 4]);
    let sent = node.wins();
    let first = no_op_for(&sent, 3);
    let retried = node.hears_conflict(&first, at(5, 2));
    assert_eq!(appends(&retried)[0].1.slice.prev(), at(1, 1), "its last entry not above term 2");
}

/// Leader Append-Only: whatever happens, a leader never overwrites or deletes entries of its own.
#[test]
fn s5_3_a_leader_never_overwrites_its_log() {
    let mut node = leader(&[1, 1]);
    node.propose("x", 7);
    let before = node.log();
    // Another node claims its term; a late rejection arrives; an old leader speaks.
    node.hears(3, 2, append(EntryId::ZERO, &[2, 2], 2));
    node.hears(3, 1, append(at(1, 1), &[1, 1, 1], 2));
    assert_eq!(node.log(), before);
}

/// A slow or lost follower does not keep a command from being committed by the others.
#[test]
fn s5_3_a_slow_follower_does_not_delay_a_commit() {
    let mut node = leader(&[1]);
    let sent = node.propose("x", 7);
    node.hears_matched(to(&sent, 3)[0]);
    assert_eq!(node.commit(), 3, "n2 has said nothing");
}
