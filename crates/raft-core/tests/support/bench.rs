//! One node on a bench. The test is its peers: it says what they say and looks at what leaves.
//!
//! Nothing leaves by itself and nothing is written by itself; `settle` writes and pulls until the
//! node is quiet. Read next: `../paper/s5_2.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raft_core::{
    AppendEntries, AppendEntriesResponse, AppendResult, ApplyJob, Body, Change, ChangeRequest,
    ClockBound, Entry, EntryId, Epoch, Fetch, HardState, Incarnation, Index, InstallSnapshot,
    LogSlice, Member, Membership, Message, NodeId, Notice, Payload, Peer, Persist, Promotion,
    RaftConfig, RaftNode, RequestVote, RequestVoteResponse, RoleName, Round, SnapshotId,
    SnapshotMeta, SnapshotPolicy, Status, Term, Ticket, Time,
};

use crate::disk::Disk;
use crate::mutant;

pub(crate) fn n(id: u64) -> NodeId {
    NodeId::new(id).expect("tests count nodes from one")
}

/// The id of an entry, in the order of the notation: `at(10, 4)` is `10@4`.
pub(crate) fn at(index: u64, term: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

/// Entries of these terms after an index.
pub(crate) fn entries(after: u64, terms: &[u64]) -> Vec<Entry> {
    let entry = |(i, term): (u64, &u64)| Entry {
        id: at(after + 1 + i, *term),
        payload: Payload::command(format!("{}@{term}", after + 1 + i)),
    };
    (0..).zip(terms).map(entry).collect()
}

/// What a leader sends: entries of these terms after `prev`.
pub(crate) fn append(prev: EntryId, terms: &[u64], leader_commit: u64) -> Body {
    let slice = LogSlice::new(prev, entries(prev.index.get(), terms)).expect("terms never fall");
    let (leader_commit, round) = (Index::new(leader_commit), Round::new(1));
    let broadcast_time = Duration::ZERO;
    Body::AppendEntries(AppendEntries { slice, leader_commit, round, broadcast_time })
}

/// What a leader sends: these payloads with their terms, after `prev`.
pub(crate) fn append_all(prev: EntryId, payloads: Vec<(u64, Payload)>, commit: u64) -> Body {
    let entry = |(index, (term, payload)): (u64, (u64, Payload))| {
        let id = at(index, term);
        Entry { id, payload }
    };
    let entries = (prev.index.get() + 1..).zip(payloads).map(entry).collect();
    let slice = LogSlice::new(prev, entries).expect("terms never fall");
    let (leader_commit, round) = (Index::new(commit), Round::new(1));
    Body::AppendEntries(AppendEntries {
        slice,
        leader_commit,
        round,
        broadcast_time: Duration::ZERO,
    })
}

/// A leader offers a snapshot that ends with this entry, in a group of this membership.
pub(crate) fn offer(last_included: EntryId, membership: Membership) -> Body {
    let snapshot = snapshot(last_included, membership);
    Body::InstallSnapshot(InstallSnapshot { snapshot, round: Round::new(1) })
}

/// The snapshot that is offered in these messages.
pub(crate) fn offered(messages: &[Message]) -> Vec<EntryId> {
    let offered = messages.iter().filter_map(|message| {
        let Body::InstallSnapshot(offer) = &message.body else { return None };
        Some(offer.snapshot.last_included)
    });
    offered.collect()
}

/// How far the answers to offers in these messages acknowledge the log.
pub(crate) fn installed(messages: &[Message]) -> Vec<u64> {
    let installed = messages.iter().filter_map(|message| {
        let Body::InstallSnapshotResponse(answer) = &message.body else { return None };
        Some(answer.match_index.get())
    });
    installed.collect()
}

/// A membership of these voters, outgoing voters (none: it is not joint) and learners.
pub(crate) fn members(voters: &[u64], outgoing: &[u64], learners: &[u64]) -> Membership {
    let set = |ids: &[u64]| ids.iter().copied().map(n).collect::<BTreeSet<_>>();
    let all = set(&[voters, outgoing, learners].concat());
    let members = all.into_iter().map(|node| (node, Member::default())).collect();
    Membership::from_parts(EntryId::ZERO, members, set(voters), set(outgoing))
        .expect("every voter is a member")
}

/// Somebody asks that a node leaves.
pub(crate) fn remove(node: u64) -> ChangeRequest {
    ChangeRequest::new([Change::Remove { node: n(node) }])
}

/// Somebody asks that a node joins, and does not vote before it is asked for.
pub(crate) fn add_learner(node: u64) -> ChangeRequest {
    let (address, promotion) = (Vec::new().into(), Promotion::Manual);
    ChangeRequest::new([Change::AddLearner { node: n(node), address, promotion }])
}

/// What a candidate sends.
pub(crate) fn vote_for_me(last: EntryId) -> Body {
    Body::RequestVote(RequestVote { last, transfer: false })
}

/// A snapshot that ends with this entry, in a group of this membership.
pub(crate) fn snapshot(last_included: EntryId, membership: Membership) -> SnapshotMeta {
    let EntryId { term, index } = last_included;
    let id = SnapshotId::new(u128::from(term.get()) << 64 | u128::from(index.get()));
    SnapshotMeta { id, last_included, membership, data_bytes: index.get() }
}

pub(crate) fn granted() -> Body {
    Body::RequestVoteResponse(RequestVoteResponse { granted: true })
}

/// Steps after which a node that should be quiet is said to be busy for ever.
const STEPS_MAX: usize = 1_000;

/// A node, its disk, and a clock that stands still.
pub(crate) struct Bench {
    pub(crate) raft: RaftNode,
    pub(crate) disk: Disk,
    pub(crate) now: Time,
    pub(crate) notices: Vec<Notice>,
    id: NodeId,
    config: RaftConfig,
    processes: u64,
    writing: VecDeque<Persist>,
    /// A snapshot that was offered and is being fetched.
    pub(crate) fetching: Option<Fetch>,
    /// Snapshots that the state machine became.
    pub(crate) became: Vec<EntryId>,
}

impl Bench {
    /// Node 1 of a group of so many, on a blank disk, without pre-vote: as the paper has it.
    pub(crate) fn new(nodes: u64) -> Self {
        Self::on(Self::config(1, nodes), Disk::default())
    }

    /// Node 1 in this term, with a log of these terms.
    pub(crate) fn with_log(nodes: u64, term: u64, terms: &[u64]) -> Self {
        Self::voted(nodes, (term, None), terms)
    }

    /// Node 1 in this term, with this vote given and a log of these terms.
    pub(crate) fn voted(nodes: u64, (term, vote): (u64, Option<u64>), terms: &[u64]) -> Self {
        let members: BTreeMap<NodeId, Member> =
            (1..=nodes).map(|id| (n(id), Member::default())).collect();
        let created = Membership::bootstrap(members);
        let (term, voted_for, commit) = (Term::new(term), vote.map(n), Index::ZERO);
        let hard = HardState { term, voted_for, commit };
        Self::on(Self::config(1, nodes), Disk::of(created, hard, entries(0, terms)))
    }

    /// Node 1 in this term with a log of these terms, in a group of this membership.
    pub(crate) fn in_membership(created: Membership, term: u64, terms: &[u64]) -> Self {
        let hard = HardState { term: Term::new(term), ..HardState::default() };
        Self::on(Self::config(1, 3), Disk::of(created, hard, entries(0, terms)))
    }

    /// Node 1 of three with leases, in term 1 with one entry.
    pub(crate) fn with_leases() -> Self {
        let disk = Self::with_log(3, 1, &[1]).disk;
        Self::on(Self::config(1, 3).with_lease_reads(ClockBound::drift_ppm(1_000)), disk)
    }

    /// Node 1, which waits to be added.
    pub(crate) fn joining() -> Self {
        let config = RaftConfig::join(1).with_seed(1);
        Self::on(config, Disk::default())
    }

    /// Node 1, which leads so many in term 1; its no-op is committed and everybody holds it.
    pub(crate) fn leading(nodes: u64) -> Self {
        let mut leader = Self::new(nodes);
        let sent = leader.wins();
        for peer in 2..=nodes {
            leader.hears_matched(&no_op_for(&sent, peer));
        }
        assert_eq!(leader.commit(), 1, "everybody holds the no-op");
        leader
    }

    /// The same, asking before it campaigns (thesis §9.6).
    pub(crate) fn with_pre_vote(nodes: u64, term: u64, terms: &[u64]) -> Self {
        let disk = Self::with_log(nodes, term, terms).disk;
        let mut config = Self::config(1, nodes);
        config.pre_vote = true;
        Self::on(config, disk)
    }

    pub(crate) fn config(id: u64, nodes: u64) -> RaftConfig {
        RaftConfig::new(id, (1..=nodes).filter(|peer| *peer != id).collect())
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), Duration::from_millis(300))
            .with_snapshots(on_demand())
            .without_pre_vote_returning_nodes_disturb()
            .without_recorded_incarnations_wiped_disks_vote()
    }

    pub(crate) fn on(config: RaftConfig, disk: Disk) -> Self {
        let id = config.node_id();
        let now = Time::ZERO.after(Duration::from_secs(1));
        let raft = Self::process(&config, &disk, now, 1);
        let (writing, processes, notices) = (VecDeque::new(), 1, Vec::new());
        let (fetching, became) = (None, Vec::new());
        Self { raft, disk, now, notices, id, config, processes, writing, fetching, became }
    }

    fn process(config: &RaftConfig, disk: &Disk, now: Time, number: u64) -> RaftNode {
        mutant::select();
        let incarnation = Incarnation::new(config.node_id().get().into());
        let config = config.clone().with_seed(number);
        RaftNode::new(config, incarnation, disk.restored(usize::MAX), now)
            .expect("what the disk holds can be restored")
    }

    /// Power is lost: memory and unfinished writes are gone. Then the node starts again.
    pub(crate) fn crash_and_restart(&mut self) {
        self.processes += 1;
        self.writing.clear();
        self.fetching = None;
        self.raft = Self::process(&self.config, &self.disk, self.now, self.processes);
    }

    // What the node hears.

    /// Hands over a message and settles. Returns what leaves.
    pub(crate) fn hears(&mut self, from: u64, term: u64, body: Body) -> Vec<Message> {
        self.receive(from, term, body);
        self.settle()
    }

    /// Hands over a message; nothing is pulled and nothing written.
    pub(crate) fn receive(&mut self, from: u64, term: u64, body: Body) {
        self.receive_in(from, term, Epoch::new(1), body);
    }

    pub(crate) fn receive_in(&mut self, from: u64, term: u64, epoch: Epoch, body: Body) {
        let from = Peer { node: n(from), incarnation: Incarnation::new(from.into()) };
        let message = Message { from, to: self.id, term: Term::new(term), epoch, body };
        self.raft.handle_message(self.now, message);
    }

    /// Answers a message this node sent, in its conversation, and settles.
    pub(crate) fn hears_answer(&mut self, to: &Message, body: Body) -> Vec<Message> {
        self.receive_in(to.to.get(), to.term.get(), to.epoch, body);
        self.settle()
    }

    /// A follower matched everything in a request.
    pub(crate) fn hears_matched(&mut self, request: &Message) -> Vec<Message> {
        let Body::AppendEntries(sent) = &request.body else { unreachable!("only requests match") };
        let index = sent.slice.last().index;
        let result = AppendResult::Matched { match_index: index, accepted: index };
        let body = AppendEntriesResponse { round: sent.round, result };
        self.hears_answer(request, Body::AppendEntriesResponse(body))
    }

    /// A follower did not match a request and gives this hint.
    pub(crate) fn hears_conflict(&mut self, request: &Message, hint: EntryId) -> Vec<Message> {
        let Body::AppendEntries(sent) = &request.body else { unreachable!("only requests match") };
        let result = AppendResult::Conflict { hint, rejected: sent.slice.prev().index };
        let body = AppendEntriesResponse { round: sent.round, result };
        self.hears_answer(request, Body::AppendEntriesResponse(body))
    }

    /// The clock moves to the deadline of the node, and it settles.
    pub(crate) fn times_out(&mut self) -> Vec<Message> {
        self.now = self.now.max(self.raft.deadline().at);
        self.raft.handle_timeout(self.now);
        self.settle()
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = self.now.after(span);
    }

    /// Is elected with the votes of everybody; returns the first messages of the new leader.
    pub(crate) fn wins(&mut self) -> Vec<Message> {
        let asked = self.times_out();
        let mut sent = Vec::new();
        for ask in asked.iter().filter(|m| matches!(m.body, Body::RequestVote(_))) {
            sent.extend(self.hears_answer(ask, granted()));
        }
        assert_eq!(self.role(), RoleName::Leader, "everybody voted for it");
        sent
    }

    /// Time passes and nobody answers, until check quorum ends the leadership (thesis §6.2).
    pub(crate) fn hears_nobody_until_it_stops_leading(&mut self) {
        for _ in 0..20 {
            self.times_out();
            if self.role() != RoleName::Leader {
                return;
            }
        }
        panic!("it still leads after twenty heartbeat rounds without an answer");
    }

    // What the node does.

    pub(crate) fn propose(&mut self, command: &'static str, ticket: u64) -> Vec<Message> {
        self.raft
            .propose(self.now, Payload::command(command), Ticket::new(ticket))
            .expect("it leads, or knows who does");
        self.settle()
    }

    /// Pulls the network lane: what leaves without waiting for the disk.
    pub(crate) fn pull(&mut self) -> Vec<Message> {
        let messages = self.raft.take_messages();
        if let Some(fetch) = self.raft.take_fetch() {
            assert!(self.fetching.replace(fetch).is_none(), "one fetch at a time");
        }
        self.notices.extend(self.raft.take_notices());
        messages
    }

    /// Pulls the disk lane: the writes begin, and do not end.
    pub(crate) fn begin_writes(&mut self) -> usize {
        while let Some(persist) = self.raft.take_persist() {
            self.writing.push_back(persist);
            assert!(self.writing.len() < STEPS_MAX, "it always has something to write");
        }
        self.writing.len()
    }

    /// Ends all writes that were begun; returns the promises they free.
    pub(crate) fn end_writes(&mut self) -> Vec<Message> {
        let mut freed = Vec::new();
        while let Some(persist) = self.writing.pop_front() {
            self.disk.write(&persist);
            let (persisted, promises) = persist.into_persisted();
            self.raft.handle_persisted(self.now, persisted);
            freed.extend(promises);
        }
        freed
    }

    /// Writes, sends and applies until the node is quiet. Returns what left, in order.
    pub(crate) fn settle(&mut self) -> Vec<Message> {
        let mut left = Vec::new();
        for _ in 0..STEPS_MAX {
            let messages = self.pull();
            let writes = self.begin_writes();
            let applied = self.apply().is_some();
            if messages.is_empty() && writes == 0 && !applied {
                return left;
            }
            left.extend(messages);
            left.extend(self.end_writes());
        }
        panic!("the node is never quiet");
    }

    /// Does the next job of the application; the ids and tickets in it. Snapshots are published at
    /// once.
    pub(crate) fn apply(&mut self) -> Option<(Vec<EntryId>, Vec<Ticket>)> {
        let (mut ids, mut tickets) = (Vec::new(), Vec::new());
        match self.raft.take_apply()? {
            ApplyJob::Apply(apply) => {
                ids.extend(apply.entries().iter().map(|entry| entry.id));
                tickets.extend(apply.tickets().iter().map(|(_, ticket)| *ticket));
                self.raft.handle_applied(self.now, apply.into_applied());
            }
            ApplyJob::Restore(restore) => {
                self.became.push(restore.snapshot().last_included);
                self.raft.handle_applied(self.now, restore.into_applied());
            }
            ApplyJob::Capture(capture) => {
                let (last, membership) = (capture.last_included(), capture.membership().clone());
                let captured = capture.into_captured(snapshot(last, membership));
                self.raft.handle_captured(self.now, captured);
            }
        }
        Some((ids, tickets))
    }

    /// Takes a snapshot of everything applied, and settles.
    pub(crate) fn takes_a_snapshot(&mut self) {
        assert!(self.raft.capture(self.now), "there is something new");
        self.settle();
    }

    /// What is being fetched arrives, and the node settles.
    pub(crate) fn has_fetched(&mut self) -> Vec<Message> {
        let fetch = self.fetching.take().expect("something is being fetched");
        self.raft.handle_fetched(self.now, fetch.into_fetched());
        self.settle()
    }

    /// What is being fetched cannot be had.
    pub(crate) fn cannot_fetch(&mut self) {
        let fetch = self.fetching.take().expect("something is being fetched");
        self.raft.handle_fetched(self.now, fetch.into_failed());
        self.settle();
    }

    // What the node is.

    pub(crate) fn status(&self) -> Status {
        self.raft.status()
    }

    pub(crate) fn role(&self) -> RoleName {
        self.status().role
    }

    pub(crate) fn term(&self) -> u64 {
        self.status().term.get()
    }

    pub(crate) fn vote(&self) -> Option<u64> {
        self.status().voted_for.map(NodeId::get)
    }

    pub(crate) fn commit(&self) -> u64 {
        self.status().commit_index.get()
    }

    /// The terms of the log, from index 1 on.
    pub(crate) fn log(&self) -> Vec<u64> {
        let log = self.raft.state().log();
        (1..=log.last().index.get())
            .map(|index| log.term_at(Index::new(index)).expect("it is in the log").get())
            .collect()
    }

    /// The terms of what the disk holds, from index 1 on.
    pub(crate) fn written(&self) -> Vec<u64> {
        (1..).map_while(|i| self.disk.id_at(Index::new(i))).map(|id| id.term.get()).collect()
    }
}

/// Snapshots are taken when somebody asks, and nothing is kept behind them.
fn on_demand() -> SnapshotPolicy {
    SnapshotPolicy { entries: 0, bytes: 0, keep_entries: 0, ..SnapshotPolicy::default() }
}

/// The messages for one node.
pub(crate) fn to(messages: &[Message], node: u64) -> Vec<&Message> {
    messages.iter().filter(|message| message.to == n(node)).collect()
}

/// The one vote that was given or refused in these messages.
pub(crate) fn vote_in(messages: &[Message]) -> Option<bool> {
    let mut votes = messages.iter().filter_map(|message| {
        let Body::RequestVoteResponse(answer) = &message.body else { return None };
        Some(answer.granted)
    });
    let vote = votes.next();
    assert!(votes.next().is_none(), "one question, one answer");
    vote
}

/// What became of the one AppendEntries that was answered in these messages.
pub(crate) fn result_in(messages: &[Message]) -> Option<AppendResult> {
    let mut results = messages.iter().filter_map(|message| {
        let Body::AppendEntriesResponse(response) = &message.body else { return None };
        Some(response.result)
    });
    let result = results.next();
    assert!(results.next().is_none(), "one request, one answer");
    result
}

/// The AppendEntries in these messages, with whom they are for.
pub(crate) fn appends(messages: &[Message]) -> Vec<(NodeId, &AppendEntries)> {
    messages
        .iter()
        .filter_map(|message| {
            let Body::AppendEntries(request) = &message.body else { return None };
            Some((message.to, request))
        })
        .collect()
}

/// The no-op of a new leader among its first messages, for one follower.
pub(crate) fn no_op_for(sent: &[Message], node: u64) -> Message {
    let found = to(sent, node)
        .into_iter()
        .find(|m| matches!(&m.body, Body::AppendEntries(a) if !a.slice.is_empty()));
    found.expect("a new leader sends its no-op").clone()
}
