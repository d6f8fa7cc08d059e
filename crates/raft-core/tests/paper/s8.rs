//! §8 and thesis §6, clients: linearizable reads without log entries, leases, and when a leader
//! knows that it leads no more.
//!
//! Read next: `figure_2.rs`.

use std::time::Duration;

use raft_core::{Body, Consistency, Index, Message, Notice, ReadError, RoleName, Ticket};

use crate::bench::{Bench, append, appends, at, granted, n, no_op_for, to, vote_for_me, vote_in};

fn read(node: &mut Bench, consistency: Consistency, ticket: u64) -> Vec<Message> {
    node.raft
        .read(node.now, consistency, Ticket::new(ticket))
        .expect("it leads, or knows who does");
    node.settle()
}

/// The index at which a read may be answered, once it is.
fn ready(node: &Bench, ticket: u64) -> Option<u64> {
    node.notices.iter().find_map(|notice| {
        let Notice::ReadReady { ticket: told, index, .. } = notice else { return None };
        (told.get() == ticket).then_some(index.get())
    })
}

/// A node with leases that leads term 2; its no-op is committed.
fn leading_with_lease() -> Bench {
    let mut leader = Bench::with_leases();
    leader.pass(Duration::from_millis(150));
    let asked = leader.times_out();
    let sent = leader.hears_answer(to(&asked, 2)[0], granted());
    assert_eq!(leader.role(), RoleName::Leader);
    leader.hears_matched(&no_op_for(&sent, 2));
    leader
}

/// Each leader commits a no-op entry at the start of its term, to learn which entries are
/// committed.
#[test]
fn s8_a_leader_commits_a_no_op_at_the_start_of_its_term() {
    let mut leader = Bench::with_log(3, 1, &[1, 1]);
    let sent = leader.wins();
    assert_eq!(leader.log(), [1, 1, 2]);
    leader.hears_matched(&no_op_for(&sent, 2));
    assert_eq!(leader.commit(), 3);
}

/// Until then it answers no read, for its commit index may be old (thesis §6.4, step 1).
#[test]
fn s6_4_a_read_waits_for_the_first_commit_of_the_term() {
    for consistency in [Consistency::Linearizable, Consistency::Bounded { age_max: Duration::MAX }]
    {
        let mut leader = Bench::with_log(3, 1, &[1, 1]);
        let sent = leader.wins();
        let round = read(&mut leader, consistency, 7);
        assert!(appends(&round).is_empty(), "no round begins for it");
        let round = leader.hears_matched(&no_op_for(&sent, 2));
        assert_eq!(ready(&leader, 7), None, "now a round begins");
        leader.hears_matched(to(&round, 2)[0]);
        assert_eq!(ready(&leader, 7), Some(3));
    }
}

/// The leader exchanges heartbeats with a majority before it answers a read (§8; step 3).
#[test]
fn s8_a_read_is_answered_after_a_round_that_a_majority_answered() {
    let mut leader = Bench::leading(5);
    let round = read(&mut leader, Consistency::Linearizable, 7);
    assert_eq!(appends(&round).len(), 4);
    leader.hears_matched(to(&round, 2)[0]);
    assert_eq!(ready(&leader, 7), None, "two of five");
    leader.hears_matched(to(&round, 4)[0]);
    assert_eq!(ready(&leader, 7), Some(1));
}

/// Answers to a round that began before the read arrived say nothing of it (step 3).
#[test]
fn s6_4_an_earlier_round_confirms_no_later_read() {
    let mut leader = Bench::leading(3);
    let earlier = leader.times_out();
    read(&mut leader, Consistency::Linearizable, 7);
    leader.hears_matched(to(&earlier, 2)[0]);
    leader.hears_matched(to(&earlier, 3)[0]);
    assert_eq!(ready(&leader, 7), None);
}

/// The read index is the commit index when the read arrived (step 2); what is committed later is
/// not waited for.
#[test]
fn s6_4_the_read_index_is_the_commit_index_at_arrival() {
    let mut leader = Bench::leading(3);
    let round = read(&mut leader, Consistency::Linearizable, 7);
    let sent = leader.propose("x", 1);
    leader.hears_matched(to(&sent, 2)[0]);
    assert_eq!(leader.commit(), 2);
    leader.hears_matched(to(&round, 2)[0]);
    assert_eq!(ready(&leader, 7), Some(1));
}

/// A follower asks its leader for the read index and answers from its own state (thesis §6.4).
#[test]
fn s6_4_a_follower_asks_the_leader_for_the_read_index() {
    let mut follower = Bench::with_log(3, 1, &[1]);
    follower.hears(2, 1, append(at(1, 1), &[], 1));
    let asked = read(&mut follower, Consistency::Linearizable, 7);
    let [ask] = &asked[..] else { panic!("one question: {asked:?}") };
    assert_eq!((ask.to, ask.body.name()), (n(2), "ReadIndex"));
    let mut leader = Bench::leading(3);
    let Body::ReadIndex(_) = &ask.body else { unreachable!("looked at above") };
    let round = leader.hears(3, 1, ask.body.clone());
    let answers = leader.hears_matched(to(&round, 2)[0]);
    let index = answers.iter().find_map(|message| {
        let Body::ReadIndexResponse(answer) = &message.body else { return None };
        (message.to == n(3)).then_some(answer.index)
    });
    assert_eq!(index, Some(Some(Index::new(1))), "after a round of its own");
}

/// A leader that hears no majority for an election timeout steps down (thesis §6.2); who waits for
/// a read is told.
#[test]
fn s6_2_a_leader_without_a_majority_steps_down() {
    let mut leader = Bench::leading(3);
    read(&mut leader, Consistency::Linearizable, 7);
    leader.hears_nobody_until_it_stops_leading();
    let failed = Notice::ReadFailed { ticket: Ticket::new(7), error: ReadError::LeaderChanged };
    assert!(leader.notices.contains(&failed), "{:?}", leader.notices);
}

/// Under a lease the leader answers at once (thesis §6.4.1).
#[test]
fn s6_4_1_under_a_lease_a_read_takes_no_round() {
    let mut leader = leading_with_lease();
    assert!(read(&mut leader, Consistency::Lease, 7).is_empty());
    assert_eq!(ready(&leader, 7), Some(2));
}

/// The lease is counted from when the round began, not from its answers, and shorter than the
/// election timeout by the bound on clocks.
#[test]
fn s6_4_1_a_lease_is_counted_from_the_beginning_of_the_round() {
    let mut leader = leading_with_lease();
    let round = leader.times_out();
    leader.pass(Duration::from_millis(100));
    leader.hears_matched(to(&round, 2)[0]);
    leader.pass(Duration::from_micros(49_600));
    assert!(read(&mut leader, Consistency::Lease, 7).is_empty(), "149.6 ms old");
    leader.pass(Duration::from_micros(200));
    assert!(!read(&mut leader, Consistency::Lease, 8).is_empty(), "149.8 ms: clocks may differ");
    assert_eq!((ready(&leader, 7), ready(&leader, 8)), (Some(2), None));
}

/// A leader that told somebody to campaign has no lease any more in this term (thesis §6.4.1).
#[test]
fn s6_4_1_a_lease_ends_with_the_word_to_campaign() {
    let mut leader = leading_with_lease();
    leader.raft.transfer_leadership(leader.now, Some(n(2))).expect("n2 votes");
    leader.settle();
    assert!(!read(&mut leader, Consistency::Lease, 7).is_empty());
    assert_eq!(ready(&leader, 7), None);
}

/// A voter that restarts does not know whose lease it may break, so it waits (thesis §6.4.1).
#[test]
fn s6_4_1_a_voter_that_restarts_gives_no_vote_at_once() {
    let mut voter = Bench::with_leases();
    assert_eq!(vote_in(&voter.hears(2, 2, vote_for_me(at(1, 1)))), Some(false));
    assert_eq!(voter.term(), 1);
    voter.pass(Duration::from_millis(150));
    assert_eq!(vote_in(&voter.hears(2, 2, vote_for_me(at(1, 1)))), Some(true));
    let mut ordinary = Bench::with_log(3, 1, &[1]);
    assert_eq!(vote_in(&ordinary.hears(2, 2, vote_for_me(at(1, 1)))), Some(true), "no leases");
}

/// Leases are off unless somebody states how well clocks run.
#[test]
fn s6_4_1_no_clock_is_believed_by_default() {
    let mut leader = Bench::leading(3);
    let refused = leader.raft.read(leader.now, Consistency::Lease, Ticket::new(7));
    assert_eq!(refused, Err(ReadError::LeaseDisabled));
}
