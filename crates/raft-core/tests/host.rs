//! What a host and a state machine lean on: bounds, counters, digests, readers of snapshots, and
//! the checks of what a disk gives back.

#[path = "support/bench.rs"]
#[expect(dead_code, reason = "the paper tests use the rest")]
mod bench;
#[path = "support/disk.rs"]
#[expect(dead_code, reason = "the random schedules use the rest")]
mod disk;
#[path = "support/mutant.rs"]
mod mutant;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    AppendResult, ApplyJob, Body, Checksum, Consistency, HardState, InMemoryStateMachine, Index,
    Member, Membership, Notice, Payload, ProposeError, ReadIndexResponse, RefusedProposal,
    Restored, SnapshotCursor, SnapshotError, SnapshotSource, StateMachine, Term, Ticket, Time,
    codec,
};

use crate::bench::{Bench, append, at, entries, granted, n, no_op_for, remove, result_in, to};
use crate::disk::Disk;

/// A machine in memory shows a digest of what it holds: equal contents, equal digests.
#[test]
fn a_digest_tells_contents_apart() {
    let (mut one, mut other) = (InMemoryStateMachine::new(), InMemoryStateMachine::new());
    let write = |machine: &mut InMemoryStateMachine, index, command: &str| {
        machine.apply(at(index, 1), command.as_bytes()).expect("it takes any command");
        machine.digest().expect("it has one")
    };
    let first = write(&mut one, 1, "k\0v");
    assert_eq!(write(&mut other, 1, "k\0v"), first);
    assert_ne!(write(&mut one, 2, "k\0w"), first);
}

/// A snapshot in chunks.
struct Chunks(VecDeque<&'static [u8]>);

impl SnapshotSource for Chunks {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        Ok(self.0.pop_front().map(Bytes::from_static))
    }
}

/// A reader of snapshots does not see where chunks were cut, leaves the rest for others, and says
/// how much is missing at the end.
#[test]
fn a_snapshot_is_read_wherever_its_chunks_are_cut() {
    let mut source = Chunks(VecDeque::from([&b"ab"[..], b"", b"cdefg", b"hi"]));
    let mut cursor = SnapshotCursor::new(&mut source);
    for (len, expected) in [(1, "a"), (3, "bcd"), (0, ""), (1, "e")] {
        assert_eq!(cursor.read(len).expect("it is there"), expected);
    }
    assert_eq!(cursor.next_chunk().expect("it is there").expect("a rest"), "fg");
    let error = cursor.read(7).expect_err("two bytes are left");
    assert!(error.to_string().contains("5 more bytes"), "{error}");
}

/// What a disk gives back is refused if it contradicts itself, each part alone.
#[test]
fn an_empty_log_has_nothing_in_it() {
    let sound = Restored::default();
    sound.validate().expect("a blank disk");
    let contradictions = [
        Restored { last: at(0, 1), ..sound.clone() },
        Restored { terms: vec![(Index::new(1), Term::new(1))], ..sound.clone() },
        Restored { tail: entries(0, &[1]), ..sound },
    ];
    for restored in contradictions {
        let error = restored.validate().expect_err("an empty log has something in it");
        assert_eq!(error.what, "an empty log has entries");
    }
}

/// The check of the log in memory notices a payload that is not what was sealed.
#[test]
fn a_payload_that_changed_in_memory_is_noticed() {
    let with = |payload: Payload| {
        let mut entries = entries(0, &[1, 1]);
        entries[1].payload = payload;
        let created = Bench::new(3).raft.state().membership().clone();
        let hard = HardState { term: Term::new(1), ..HardState::default() };
        let bench = Bench::on(Bench::config(1, 3), Disk::of(created, hard, entries));
        bench.raft.state().log().verify()
    };
    let read = |sealed: &[u8]| {
        let read = codec::decode_payload(Bytes::from_static(b"\0x"), Checksum::of(sealed));
        read.expect("it has a form")
    };
    assert_eq!(with(read(b"\0x")), Ok(()));
    assert_eq!(with(read(b"\0y")), Err(at(2, 1)));
}

/// A follower forwards no more than its bound allows, and has room again when an entry arrived.
#[test]
fn a_follower_forwards_within_its_bound() {
    let mut config = Bench::config(1, 3);
    let cost = Payload::command("0123456789").cost();
    config.limits.forwarded_bytes_max = 2 * cost;
    let mut follower = Bench::on(config, Disk::default());
    follower.hears(2, 1, append(at(0, 0), &[1], 0));
    follower.propose("0123456789", 1);
    follower.propose("0123456789", 2);
    let full = follower.raft.propose(follower.now, Payload::command("x"), Ticket::new(3));
    assert_eq!(full, Err(ProposeError::Overloaded { max: 2 * cost }));
}

/// An answer that is not for the reads that wait confirms none of them.
#[test]
fn a_read_waits_for_the_answer_to_its_own_batch() {
    let mut follower = Bench::with_log(3, 1, &[1]);
    follower.hears(2, 1, append(at(1, 1), &[], 1));
    follower.raft.read(follower.now, Consistency::Linearizable, Ticket::new(5)).expect("it asks");
    let sent = follower.settle();
    let Some(Body::ReadIndex(asked)) = sent.first().map(|message| &message.body) else {
        panic!("it asks its leader: {sent:?}");
    };
    let batch = asked.batch;
    let answer = |batch| ReadIndexResponse { batch, index: Some(Index::new(1)) };
    follower.hears_answer(&sent[0], Body::ReadIndexResponse(answer(batch + 1)));
    let is_ready = |bench: &Bench| {
        let ready = |notice: &Notice| matches!(notice, Notice::ReadReady { .. });
        bench.notices.iter().any(ready)
    };
    assert!(!is_ready(&follower), "that is another batch");
    follower.hears_answer(&sent[0], Body::ReadIndexResponse(answer(batch)));
    assert!(is_ready(&follower));
}

/// Reads under a lease are counted like others.
#[test]
fn every_read_is_counted() {
    let mut leader = Bench::with_leases();
    leader.pass(Duration::from_millis(150));
    let asked = leader.times_out();
    let sent = leader.hears_answer(to(&asked, 2)[0], granted());
    leader.hears_matched(&no_op_for(&sent, 2));
    let before = leader.status().counters.reads;
    for ticket in 1..=3 {
        let read = leader.raft.read(leader.now, Consistency::Lease, Ticket::new(ticket));
        read.expect("it leads");
    }
    assert_eq!(leader.status().counters.reads, before + 3);
    let until = leader.raft.state().lease_until().expect("a quorum answered");
    assert!(until > leader.now && until < leader.now.after(Duration::from_millis(150)));
}

/// A receipt is urgent for a follower that may apply when it has it, or has more to write; else it
/// is handed in with whatever comes next.
#[test]
fn a_host_is_told_when_receipts_are_urgent() {
    let mut follower = Bench::new(3);
    follower.hears(2, 1, append(at(0, 0), &[1], 0));
    follower.receive(2, 1, append(at(1, 1), &[1], 0));
    assert!(follower.raft.waits_for_disk(), "there is something to write");
    follower.begin_writes();
    assert!(!follower.raft.waits_for_disk(), "nothing follows from the receipt");
    follower.receive(2, 1, append(at(2, 1), &[], 2));
    assert!(follower.raft.waits_for_disk(), "it is committed, and waits to be applied");
    follower.end_writes();
    follower.settle();
    assert!(!follower.raft.waits_for_disk(), "everything is done");
}

/// Of two acknowledgements that wait for one write only the later is said.
#[test]
fn an_acknowledgement_that_says_less_is_left_out() {
    let mut follower = Bench::new(3);
    follower.hears(2, 1, append(at(0, 0), &[1], 0));
    follower.receive(2, 1, append(at(1, 1), &[1], 0));
    follower.receive(2, 1, append(at(2, 1), &[1], 0));
    follower.pull();
    follower.begin_writes();
    let freed = follower.end_writes();
    assert_eq!(freed.len(), 1, "{freed:?}");
    let Some(AppendResult::Matched { match_index, .. }) = result_in(&freed) else {
        panic!("it acknowledges: {freed:?}");
    };
    assert_eq!(match_index, Index::new(3));
}

/// A leader whose disk is nearly full refuses what clients write, its own and those of others, and
/// goes on with everything else; with room again it takes proposals as before.
#[test]
fn a_leader_without_room_refuses_proposals_alone() {
    let mut leader = Bench::leading(3);
    leader.raft.handle_room(leader.now, false);
    let refused = leader.raft.propose(leader.now, Payload::command("x"), Ticket::new(1));
    assert_eq!(refused, Err(ProposeError::StorageFull));

    let mut follower = Bench::on(Bench::config(2, 3), Disk::default());
    follower.hears(1, 1, append(at(0, 0), &[1], 1));
    let forwarded = follower.propose("y", 7);
    let Some(Body::Propose(_)) = forwarded.first().map(|message| &message.body) else {
        panic!("it forwards: {forwarded:?}");
    };
    let answers = leader.hears(2, 1, forwarded[0].body.clone());
    let Some(Body::ProposeResponse(answer)) = answers.first().map(|message| &message.body) else {
        panic!("it is told: {answers:?}");
    };
    assert_eq!(answer.refused, [(Ticket::new(7), RefusedProposal::StorageFull)]);
    assert_eq!(leader.log(), [1], "nothing was appended");

    leader.raft.change_membership(leader.now, &remove(3), Ticket::new(2)).expect("it may shrink");
    leader.raft.handle_room(leader.now, true);
    leader.raft.propose(leader.now, Payload::command("x"), Ticket::new(3)).expect("there is room");
}

/// A command may be as large as the limit says, and not a byte larger.
#[test]
fn a_command_that_is_too_large_is_refused_with_the_limit() {
    let mut config = Bench::config(1, 1);
    config.limits.command_bytes_max = 10;
    let mut alone = Bench::on(config, Disk::default());
    alone.times_out();
    let mut propose = |command: &'static str, ticket| {
        alone.raft.propose(alone.now, Payload::command(command), Ticket::new(ticket))
    };
    propose("0123456789", 1).expect("that is the limit");
    let refused = propose("0123456789a", 2);
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes: 11, max: 10 }));
    let refused = propose("0123456789abcdef", 3);
    assert_eq!(refused, Err(ProposeError::TooLarge { bytes: 16, max: 10 }));
}

/// What was applied counts for as much as it was handed out for.
#[test]
fn applied_entries_count_for_what_they_weigh() {
    let mut alone = Bench::new(1);
    alone.times_out();
    let payload = Payload::command("0123456789");
    let cost = payload.cost();
    alone.raft.propose(alone.now, payload, Ticket::new(1)).expect("it leads");
    alone.begin_writes();
    alone.end_writes();
    let Some(ApplyJob::Apply(apply)) = alone.raft.take_apply() else {
        panic!("it is committed");
    };
    let applied = apply.into_applied();
    assert_eq!((applied.cost(), applied.last()), (cost, at(2, 1)));
}

/// Heartbeats, votes and answers never wait behind entries and commands.
#[test]
fn only_what_carries_data_is_bulk() {
    assert!(append(at(0, 0), &[1], 0).is_bulk());
    assert!(!append(at(1, 1), &[], 0).is_bulk(), "a heartbeat");
    assert!(!Body::TimeoutNow.is_bulk() && !granted().is_bulk());
}

/// A heartbeat about entries of an earlier term is answered; an entry of a later term than its
/// leader's cannot be, and changes nothing.
#[test]
fn no_leader_has_entries_of_a_later_term() {
    let mut follower = Bench::with_log(3, 1, &[1]);
    let answers = follower.hears(2, 2, append(at(1, 1), &[], 0));
    let Some(AppendResult::Matched { match_index, .. }) = result_in(&answers) else {
        panic!("it is answered: {answers:?}");
    };
    assert_eq!(match_index, Index::new(1));
    assert!(follower.hears(2, 2, append(at(1, 1), &[3], 0)).is_empty(), "nonsense is dropped");
    assert_eq!(follower.log(), [1]);
}

/// A membership has its voters among its members, and nobody goes before somebody comes.
#[test]
fn a_membership_is_made_of_members() {
    let set = |ids: &[u64]| ids.iter().map(|id| n(*id)).collect::<BTreeSet<_>>();
    let members: BTreeMap<_, _> = [1, 2].map(|id| (n(id), Member::default())).into();
    let made = |voters: &[u64], outgoing: &[u64]| {
        let parts = (members.clone(), set(voters), set(outgoing));
        Membership::from_parts(at(1, 1), parts.0, parts.1, parts.2).is_some()
    };
    assert!(made(&[1, 2], &[]) && made(&[1], &[2]) && made(&[], &[]));
    assert!(!made(&[1, 3], &[]), "3 is no member");
    assert!(!made(&[1], &[3]), "nor was it");
    assert!(!made(&[], &[1]), "there is no way to nowhere");
}

/// The last run of terms is that of the last entry: its term, and not beyond it.
#[test]
fn the_terms_of_a_log_end_where_it_ends() {
    let run = |first, term| (Index::new(first), Term::new(term));
    let hard_state = HardState { term: Term::new(2), ..HardState::default() };
    let with = |terms: Vec<(Index, Term)>| {
        let tail = entries(0, &[1, 2]);
        let restored = Restored { hard_state, last: at(2, 2), terms, tail, ..Restored::default() };
        restored.validate().map_err(|error| error.what)
    };
    assert_eq!(with(vec![run(1, 1), run(2, 2)]), Ok(()));
    let fault = Err("the last run of terms does not end at the last entry");
    assert_eq!(with(vec![run(1, 1)]), fault);
    assert_eq!(with(vec![run(1, 1), run(3, 2)]), fault);
}

/// Election timeouts have to spread.
#[test]
fn equal_election_timeouts_are_refused() {
    let span = Duration::from_millis(300);
    let config = Bench::config(1, 3).with_election_timeout(span, span);
    let error = config.validate().expect_err("votes would be split for ever");
    assert!(error.to_string().contains("min below max"), "{error}");
    let longer = span + Duration::from_millis(1);
    config.with_election_timeout(span, longer).validate().expect("they spread");
    assert_eq!(Time::from_nanos(7).after(span).as_nanos(), 300_000_007);
}
