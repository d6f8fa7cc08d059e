//! Each oracle must be able to fail: here are the lies it has to notice.

use std::time::Duration;

use raft_core::{
    AppendEntries, AppendEntriesResponse, Epoch, LogSlice, Member, Peer, Persist, RaftConfig,
    RaftNode, RequestVote, RequestVoteResponse, Round, Time,
};
use raft_storage::{MemoryStorage, Storage, write};

use super::*;

fn node(id: u64) -> NodeId {
    NodeId::new(id).expect("ids begin at one")
}

/// An oracle over a group of so many voters.
fn oracle(nodes: u64) -> Oracle {
    let members = (1..=nodes).map(|id| (node(id), Member::default())).collect();
    let count = usize::try_from(nodes).expect("a small number");
    Oracle::new(count, Membership::bootstrap(members))
}

fn entry(index: u64, term: u64, command: &'static str) -> Entry {
    let id = EntryId::new(Term::new(term), Index::new(index));
    Entry { id, payload: Payload::command(command) }
}

/// A write of term, vote and entries.
fn facts(term: u64, vote: Option<u64>, entries: Vec<Entry>) -> WriteFacts {
    let voted_for = vote.and_then(NodeId::new);
    let hard = HardState { term: Term::new(term), voted_for, commit: Index::ZERO };
    WriteFacts::of(&Persist::unnumbered(hard, None, entries))
}

fn message(from: u64, to: u64, term: u64, body: Body) -> Message {
    let from = Peer { node: node(from), incarnation: Incarnation::new(1) };
    Message { from, to: node(to), term: Term::new(term), epoch: Epoch::ZERO, body }
}

/// What a disk gives back that holds these entries of term 1 and no vote.
fn restored(entries: &[Entry]) -> Restored {
    let last = entries.last().map_or(EntryId::ZERO, |entry| entry.id);
    let terms = entries.first().map(|entry| (entry.id.index, entry.id.term));
    let hard_state = HardState { term: Term::new(1), ..HardState::default() };
    Restored { hard_state, last, terms: terms.into_iter().collect(), ..Restored::default() }
}

fn complains(check: Check, oracle: &str) {
    let failure = check.expect_err("the oracle must complain");
    assert_eq!(failure.oracle, oracle, "{failure}");
}

/// A node that votes twice in a term, even with a restart between, or whose term falls.
#[test]
fn a_second_vote_and_a_falling_term_are_noticed() {
    let mut oracle = oracle(3);
    oracle.wrote(node(1), &facts(4, Some(2), vec![])).expect("a first vote");
    complains(oracle.wrote(node(1), &facts(4, Some(3), vec![])), "election safety");
    complains(oracle.wrote(node(1), &facts(3, None, vec![])), "promises");
}

/// A disk that lost an acknowledged entry, or kept half of a write.
#[test]
fn a_disk_that_lost_what_it_acknowledged_is_noticed() {
    let log = vec![entry(1, 1, "a"), entry(2, 1, "b")];
    let mut oracle = oracle(1);
    oracle.wrote(node(1), &facts(1, None, log.clone())).expect("a write");
    complains(oracle.recovered(node(1), &restored(&log[..1]), &[]), "durability");
    let under_way = [facts(1, None, vec![entry(3, 1, "c"), entry(4, 1, "d")])];
    let half = [log[0].clone(), log[1].clone(), entry(3, 1, "c")];
    complains(oracle.recovered(node(1), &restored(&half), &under_way), "durability");
    let whole = [half[0].clone(), half[1].clone(), half[2].clone(), entry(4, 1, "d")];
    oracle.recovered(node(1), &restored(&whole), &under_way).expect("a write may survive whole");
}

/// A vote, a request for votes or an acknowledgement that leaves before the disk holds it.
#[test]
fn promises_that_leave_early_are_noticed() {
    let mut oracle = oracle(3);
    oracle.wrote(node(2), &facts(4, None, vec![entry(1, 4, "a")])).expect("a write");
    let vote = |granted| Body::RequestVoteResponse(RequestVoteResponse { granted });
    complains(oracle.leaves(&message(2, 1, 5, vote(false)), None), "promises");
    complains(oracle.leaves(&message(2, 1, 4, vote(true)), None), "promises");
    let ask = Body::RequestVote(RequestVote { last: EntryId::ZERO, transfer: false });
    complains(oracle.leaves(&message(2, 1, 4, ask), None), "promises");
    let matched = |index| {
        let (match_index, accepted) = (Index::new(index), Index::new(index));
        let result = AppendResult::Matched { match_index, accepted };
        Body::AppendEntriesResponse(AppendEntriesResponse { round: Round::ZERO, result })
    };
    complains(oracle.leaves(&message(2, 1, 4, matched(2)), None), "promises");
    oracle.leaves(&message(2, 1, 4, matched(1)), None).expect("that is durable");
}

/// A node that appends in a term it was not seen to lead.
#[test]
fn a_leader_nobody_elected_is_noticed() {
    let mut oracle = oracle(3);
    oracle.wrote(node(1), &facts(4, Some(1), vec![])).expect("a write");
    let slice = LogSlice::empty(EntryId::ZERO);
    let body = AppendEntries {
        slice,
        leader_commit: Index::ZERO,
        round: Round::ZERO,
        broadcast_time: Duration::ZERO,
    };
    complains(oracle.leaves(&message(1, 2, 4, Body::AppendEntries(body)), None), "election safety");
}

/// One id for two payloads, or after two different entries; bytes a disk made up.
#[test]
fn an_entry_with_two_meanings_is_noticed() {
    let mut oracle = oracle(2);
    let (one, other) = (entry(2, 1, "a"), entry(2, 1, "b"));
    let prev = EntryId::new(Term::new(1), Index::new(1));
    oracle.entry(node(1), prev, &one).expect("a first meaning");
    complains(oracle.entry(node(2), prev, &other), "log matching");
    complains(oracle.entry(node(2), EntryId::ZERO, &one), "log matching");
    complains(oracle.loaded(node(1), &[other]), "disk");
}

/// Two states at one index.
#[test]
fn different_states_at_one_index_are_noticed() {
    let mut oracle = oracle(2);
    oracle.digest(node(1), Index::new(7), 1).expect("a first state");
    complains(oracle.digest(node(2), Index::new(7), 2), "equal states");
}

/// What the disk of a node really does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writes {
    Nothing,
    Votes,
    All,
}

/// A node of one that is elected and commits, on a disk that may lie to it.
fn commit_alone(writes: Writes) -> Check {
    let config = RaftConfig::new(1, vec![]);
    let mut storage = MemoryStorage::new();
    let peer = Peer { node: node(1), incarnation: Incarnation::new(1) };
    let identity = raft_core::Identity { cluster: raft_core::ClusterId::new(1), peer };
    storage.initialize(identity).expect("a blank disk");
    let restored = storage.restore(raft_core::GroupId::ZERO).expect("a blank disk");
    let now = Time::from_nanos(1 << 40);
    let raft = RaftNode::new(config, peer.incarnation, restored, Time::ZERO);
    let mut raft = raft.expect("a good configuration");
    let mut oracle = oracle(1);
    raft.handle_timeout(now);
    while let Some(persist) = raft.take_persist() {
        for entry in persist.entries() {
            oracle.entry(node(1), EntryId::ZERO, entry)?;
        }
        match writes {
            Writes::Nothing => {}
            Writes::Votes => oracle.wrote(node(1), &facts(1, Some(1), vec![]))?,
            Writes::All => oracle.wrote(node(1), &WriteFacts::of(&persist))?,
        }
        let written = write(&mut storage, vec![(raft_core::GroupId::ZERO, persist)]);
        for written in written.expect("memory does not fail") {
            raft.handle_persisted(now, written.persisted);
            oracle.look(node(1), raft.state())?;
        }
    }
    assert_eq!(oracle.committed(), 1, "the no-op of the leader");
    oracle.applies(node(1), &entry(1, 1, "another command"))
}

/// A leader without votes, a commit that no disk stands behind, and an entry applied that is not
/// the committed one.
#[test]
fn leaders_commits_and_applies_without_ground_are_noticed() {
    complains(commit_alone(Writes::Nothing), "election safety");
    complains(commit_alone(Writes::Votes), "durable quorum");
    complains(commit_alone(Writes::All), "state machine safety");
}

/// "Not applied", said of a proposal that became an entry; a read index from before the read.
#[test]
fn wrong_claims_are_noticed() {
    let mut oracle = oracle(1);
    let ticket = Ticket::new(9);
    oracle.appended(EntryId::new(Term::new(1), Index::new(3)), ticket);
    complains(oracle.denied(node(1), ticket), "outcomes");
    let (forwarded, id) = (Ticket::new(10), EntryId::new(Term::new(1), Index::new(4)));
    oracle.denied(node(1), forwarded).expect("nobody knows better yet");
    complains(oracle.executes(node(1), forwarded, id), "outcomes");
    complains(oracle.executes(node(1), forwarded, id), "exactly once");
    let (read, term) = ((node(1), Ticket::new(11)), Term::new(3));
    let asked = Asked { floor: 5, newest: term, led: None };
    oracle.asked.insert(read.1, asked);
    complains(oracle.may_read(read, Index::new(4), term), "read index");
    oracle.asked.insert(read.1, asked);
    complains(oracle.may_read(read, Index::new(5), Term::new(2)), "read index");
    oracle.asked.insert(read.1, asked);
    oracle.may_read(read, Index::new(5), term).expect("it sees everything");
}
