//! Who waits for what was forwarded, until the log, a refusal, a later term or a snapshot tells;
//! and what a receiver takes for new.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::{Entry, EntryId, LogSlice, Restored};

const BOOT: u64 = 77;

fn n(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn t(ticket: u64) -> Ticket {
    Ticket::new(ticket)
}

/// Node 1, in a process that began in term 3.
fn proposer() -> Forwarding {
    Forwarding::new(n(1), BOOT, Term::new(3))
}

/// A command whose cost is unlike that of commands of another length.
fn command(bytes: usize) -> Payload {
    Payload::command(vec![b'x'; bytes])
}

/// Forwards a short command for each ticket.
fn forward(proposer: &mut Forwarding, term: u64, tickets: &[u64]) -> Vec<Payload> {
    let mut one = |ticket: &u64| proposer.forward(Term::new(term), command(5), t(*ticket));
    tickets.iter().map(&mut one).collect()
}

/// A message with nothing in it, as this process of the sender numbers it.
fn message(boot: u64, serial: u64) -> Propose {
    Propose { boot, serial, payloads: Vec::new() }
}

fn refused(tickets: &[u64]) -> Vec<Notice> {
    let reason = RefusedProposal::NotLeader;
    tickets.iter().map(|ticket| Notice::Refused { ticket: t(*ticket), reason }).collect()
}

/// A log that took these payloads from a leader of term 4.
fn log_with(payloads: &[Payload]) -> Log {
    let mut log = Log::new(Restored::default(), None);
    let id = |place| EntryId::new(Term::new(4), Index::ZERO.plus(place));
    let entries =
        (1..).zip(payloads).map(|(i, payload)| Entry { id: id(i), payload: payload.clone() });
    let slice = LogSlice::new(EntryId::ZERO, entries.collect()).expect("it has no gaps");
    log.splice(&slice, Index::ZERO).expect("the log was empty");
    log
}

/// What is forwarded says who waits for it and since which start of the process, under the seal.
#[test]
fn a_forwarded_payload_carries_its_origin_under_the_seal() {
    let mut proposer = proposer();
    let payload = proposer.forward(Term::new(3), command(5), t(9));
    assert_eq!(payload.origin(), Some(Origin { node: n(1), boot: BOOT, ticket: t(9) }));
    assert_eq!((payload.kind(), &payload.bytes()[..]), (command(5).kind(), &b"xxxxx"[..]));
    assert!(payload.verify());
    assert_eq!(proposer.boot(), BOOT, "an answer is known by the same number");
}

/// Messages of a process are numbered from one and name it; what is in them stays in order.
#[test]
fn messages_are_numbered_from_one() {
    let mut proposer = proposer();
    for serial in 1..=3 {
        let payloads = forward(&mut proposer, 3, &[2 * serial, 2 * serial + 1]);
        let packed = proposer.pack(payloads.clone());
        assert_eq!(packed, Propose { boot: BOOT, serial, payloads });
    }
}

/// Every byte that waits is counted once, and every way out gives back what that proposal was
/// counted with: in the end nothing is left of the count.
#[test]
fn waiting_bytes_are_counted_down_to_zero() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    let costs = [3, 50, 700, 9000].map(|bytes| command(bytes).cost());
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (0, 0));
    let mut payloads = Vec::new();
    for (ticket, bytes) in (1..).zip([3, 50, 700, 9000]) {
        payloads.push(proposer.forward(Term::new(3), command(bytes), t(ticket)));
        let sum = costs.iter().take(payloads.len()).sum();
        assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (payloads.len(), sum));
    }
    // Its caller went away.
    proposer.forget(t(2));
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (3, costs[0] + costs[2] + costs[3]));
    // The leader would not have it.
    proposer.refused(t(1), RefusedProposal::TooLarge, &mut out);
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (2, costs[2] + costs[3]));
    // Its entry is here.
    proposer.appended(&mut log_with(&payloads[3..]), Index::new(1));
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (1, costs[2]));
    // A later term committed without it.
    proposer.committed(Term::new(4), &mut out);
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (0, 0));
}

/// A ticket comes back exactly once, so it can mark one proposal only.
#[test]
#[should_panic(expected = "a ticket marks one proposal")]
fn a_ticket_is_not_forwarded_twice() {
    forward(&mut proposer(), 3, &[1, 1]);
}

/// Nobody is told anything about a ticket that nobody waits for: it was answered already, or its
/// caller went away. The first answer counts.
#[test]
fn a_caller_is_refused_once_and_never_after_it_was_forgotten() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    forward(&mut proposer, 3, &[1, 2]);
    proposer.forget(t(2));
    for ticket in [1, 1, 2, 3] {
        proposer.refused(t(ticket), RefusedProposal::Overloaded, &mut out);
    }
    let reason = RefusedProposal::Overloaded;
    assert_eq!(out.take_notices(), [Notice::Refused { ticket: t(1), reason }]);
    assert_eq!(out.counters.proposals_failed, 1);
}

/// The entry is in the log: its caller now waits beside it, and a refusal that comes later (of a
/// doubled message) reaches nobody. Entries of another node, of another process of this node and
/// without an origin are nobody's here, though the ticket may be the same.
#[test]
fn tickets_move_beside_the_entries_that_this_process_forwarded() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    let ours = forward(&mut proposer, 3, &[1, 2, 3]);
    let of_another_node =
        Forwarding::new(n(2), BOOT, Term::new(3)).forward(Term::new(3), command(5), t(1));
    let of_another_process =
        Forwarding::new(n(1), BOOT + 1, Term::new(3)).forward(Term::new(3), command(5), t(2));
    let mut log = log_with(&[
        of_another_node,
        of_another_process,
        command(5),
        ours[2].clone(),
        ours[0].clone(),
    ]);
    proposer.appended(&mut log, Index::new(1));
    assert_eq!(log.take_tickets(Index::new(5)), [(Index::new(4), t(3)), (Index::new(5), t(1))]);
    assert_eq!(proposer.waiting(), 1, "the second is still on its way");

    proposer.refused(t(3), RefusedProposal::NotLeader, &mut out);
    proposer.committed(Term::new(4), &mut out);
    assert_eq!(out.take_notices(), refused(&[2]));
}

/// Only new entries are looked at: one whose caller forgot it, or that was seen before, attaches
/// nothing.
#[test]
fn an_entry_that_nobody_waits_for_gets_no_ticket() {
    let mut proposer = proposer();
    let ours = forward(&mut proposer, 3, &[1, 2, 3]);
    proposer.forget(t(2));
    let mut log = log_with(&ours);
    proposer.appended(&mut log, Index::new(2));
    assert_eq!(log.take_tickets(Index::new(3)), [(Index::new(3), t(3))]);
    assert_eq!(proposer.waiting(), 1, "the first entry was not among the new ones");
}

/// Whoever forwarded before the term that commits here, and does not see his entry, is told that it
/// was not applied; who forwarded in that term or later may still see it.
#[test]
fn a_later_term_that_commits_refuses_what_was_forwarded_before_it() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    forward(&mut proposer, 3, &[4, 1]);
    forward(&mut proposer, 4, &[2]);
    forward(&mut proposer, 5, &[3]);

    proposer.committed(Term::new(2), &mut out);
    proposer.committed(Term::new(3), &mut out);
    assert_eq!(out.take_notices(), [], "what was forwarded in term 3 may still be committed");
    proposer.committed(Term::new(4), &mut out);
    assert_eq!(out.take_notices(), refused(&[1, 4]));
    // Term 5 never committed here; term 6 tells of both.
    proposer.committed(Term::new(6), &mut out);
    assert_eq!(out.take_notices(), refused(&[2, 3]));
    assert_eq!((out.counters.proposals_failed, proposer.waiting()), (4, 0));
    // With nobody left to tell, commits tell nobody.
    proposer.committed(Term::new(7), &mut out);
    assert_eq!(out.take_notices(), []);
}

/// Most commits are of the term in which everybody who waits proposed, or of an earlier one. They
/// are told apart by one comparison, so the oldest term is never taken back.
#[test]
fn the_oldest_term_moves_forward_only() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    forward(&mut proposer, 4, &[1]);
    for (committed, oldest) in [(2, 4), (3, 4), (4, 4)] {
        proposer.committed(Term::new(committed), &mut out);
        assert_eq!(proposer.oldest, Term::new(oldest), "after a commit of term {committed}");
    }
    forward(&mut proposer, 6, &[2]);
    assert_eq!(proposer.oldest, Term::new(4), "the first still waits");
    proposer.committed(Term::new(5), &mut out);
    assert_eq!((out.take_notices(), proposer.oldest), (refused(&[1]), Term::new(5)));
    // Nobody waits: whoever comes next is the oldest.
    proposer.committed(Term::new(7), &mut out);
    forward(&mut proposer, 8, &[3]);
    assert_eq!((out.take_notices(), proposer.oldest), (refused(&[2]), Term::new(8)));
}

/// A snapshot may hold what was forwarded, or not: the outcome is unknown to every caller, each is
/// told so and counted once, and nothing waits any more.
#[test]
fn a_snapshot_drops_every_waiting_caller_with_an_unknown_outcome() {
    let mut proposer = proposer();
    let mut out = Outbox::default();
    proposer.abandon(&mut out);
    assert_eq!((out.take_notices(), out.counters.proposals_failed), (vec![], 0));

    forward(&mut proposer, 3, &[3, 1]);
    forward(&mut proposer, 4, &[2]);
    proposer.abandon(&mut out);
    let dropped = [1, 2, 3].map(|ticket| Notice::Dropped { ticket: t(ticket) });
    assert_eq!(out.take_notices(), dropped);
    assert_eq!(out.counters.proposals_failed, 3);
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (0, 0));

    // Nobody hears a second word.
    proposer.refused(t(1), RefusedProposal::NotLeader, &mut out);
    proposer.committed(Term::new(9), &mut out);
    proposer.abandon(&mut out);
    assert_eq!((out.take_notices(), out.counters.proposals_failed), (vec![], 3));
}

/// A doubled message is not new, nor is one that another overtook; a gap is no harm, for messages
/// may be lost.
#[test]
fn doubled_and_overtaken_messages_are_not_new() {
    let mut leader = proposer();
    let steps = [(1, true), (1, false), (2, true), (5, true), (4, false), (5, false), (6, true)];
    for (serial, new) in steps {
        assert_eq!(leader.is_new(n(2), &message(8, serial)), new, "serial {serial}");
    }
    // Serials begin at one: before the first there is none.
    assert!(!leader.is_new(n(3), &message(8, 0)));
    assert!(leader.is_new(n(3), &message(8, 1)));
}

/// Each process of each node counts for itself: a restart begins at one again, and a message of the
/// process before it may still be under way.
#[test]
fn processes_and_nodes_are_numbered_apart() {
    let mut leader = proposer();
    for boot in [0, 8, u64::MAX] {
        assert!(leader.is_new(n(2), &message(boot, 7)));
        assert!(leader.is_new(n(3), &message(boot, 7)));
    }
    assert!(leader.is_new(n(3), &message(8, 9)));
    assert!(leader.is_new(n(2), &message(8, 8)), "what n3 sent is nothing to n2");
    assert!(!leader.is_new(n(2), &message(8, 8)));
    assert!(leader.is_new(n(2), &message(0, 8)), "the process before is heard, too");
}

/// The memory of what was received is of one term: the term rule refuses what is older, so the
/// serials of the next term are new whatever they are.
#[test]
fn the_memory_of_messages_ends_with_the_term() {
    let mut leader = proposer();
    assert!(leader.is_new(n(2), &message(8, 5)));
    assert!(!leader.is_new(n(2), &message(8, 3)));
    leader.enter_term();
    assert!(leader.is_new(n(2), &message(8, 3)));
    assert!(!leader.is_new(n(2), &message(8, 3)));
}

/// What this node sent is of no term: whoever waits goes on waiting, and serials go on.
#[test]
fn a_new_term_takes_nothing_from_whoever_waits() {
    let mut proposer = proposer();
    let payloads = forward(&mut proposer, 3, &[1]);
    let bytes = proposer.waiting_bytes();
    assert_eq!(proposer.pack(payloads).serial, 1);
    proposer.enter_term();
    assert_eq!((proposer.waiting(), proposer.waiting_bytes()), (1, bytes));
    assert_eq!(proposer.pack(Vec::new()).serial, 2);
}

/// A node that restarts too often within a term is not heard in its newest process; those that are
/// known, other nodes, and everybody in the next term are.
#[test]
fn one_process_too_many_is_not_heard_until_the_next_term() {
    let mut leader = proposer();
    let max = u64::try_from(PROCESSES_MAX).unwrap();
    for boot in 0..max {
        assert!(leader.is_new(n(2), &message(boot, 1)), "process {boot} of {max}");
    }
    for serial in 1..=3 {
        assert!(!leader.is_new(n(2), &message(max, serial)));
    }
    for boot in 0..max {
        assert!(leader.is_new(n(2), &message(boot, 2)), "process {boot} is known");
        assert!(!leader.is_new(n(2), &message(boot, 2)));
    }
    assert!(leader.is_new(n(1), &message(max, 1)));
    assert!(leader.is_new(n(3), &message(max, 1)));
    leader.enter_term();
    assert!(leader.is_new(n(2), &message(max, 1)));
}

/// A process does not know what it appended in the term it began in; of any later term it knows.
#[test]
fn a_process_remembers_the_terms_after_the_one_it_began_in() {
    let remembers = |term| proposer().remembers(Term::new(term));
    assert_eq!([3, 4, 9].map(remembers), [false, true, true]);
}

/// Nobody is asked about a term before the process began.
#[test]
#[should_panic(expected = "terms only grow")]
fn a_term_before_the_process_began_does_not_come_back() {
    proposer().remembers(Term::new(2));
}
