//! What must hold after every step: the properties of Figure 3, promises that are true, answers
//! that are true.
//!
//! The oracle sees what leaves a node and what its disk holds; it takes no node's word for what is
//! committed elsewhere. Read next: `calm.rs`.

use std::collections::BTreeMap;

use raft_core::{
    AppendResult, Body, Entry, EntryId, HardState, Index, Log, Message, NodeId, Payload, Role,
    Term, Ticket,
};

use crate::disk::Disk;

/// Everything that ever happened, as far as it matters.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    born: BTreeMap<EntryId, Born>,
    committed: Vec<EntryId>,
    asks: Vec<Ask>,
    pub(crate) seen: Seen,
}

/// An entry as its leader made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Born {
    prev: EntryId,
    seal: u32,
    ask: Option<usize>,
}

/// What a caller asked, and what it was told.
#[derive(Debug)]
struct Ask {
    node: NodeId,
    fate: Fate,
    /// For reads: everything committed anywhere when it was asked.
    floor: Option<Index>,
    committed_at: Option<Index>,
}

/// What a caller was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing yet.
    Open,
    /// It happened, here.
    Answered(Index),
    /// Nobody knows: the entry left the log, or the node crashed.
    Unknown,
    /// It did not and will not happen.
    Refused,
}

/// What the schedules went through, so that a tame one does not pass for a proof.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) leaders: u64,
    pub(crate) committed: u64,
    pub(crate) answered: u64,
    pub(crate) refused: u64,
    pub(crate) dropped: u64,
    pub(crate) reads: u64,
    pub(crate) reads_failed: u64,
    pub(crate) crashes: u64,
    pub(crate) loads: u64,
    pub(crate) conflicts: u64,
    pub(crate) forwarded: u64,
    pub(crate) offers: u64,
    pub(crate) installed: u64,
    pub(crate) snapshots: u64,
    pub(crate) transfers: u64,
    pub(crate) leases: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.leaders += other.leaders;
        self.committed += other.committed;
        self.answered += other.answered;
        self.refused += other.refused;
        self.dropped += other.dropped;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        self.crashes += other.crashes;
        self.loads += other.loads;
        self.conflicts += other.conflicts;
        self.forwarded += other.forwarded;
        self.offers += other.offers;
        self.installed += other.installed;
        self.snapshots += other.snapshots;
        self.transfers += other.transfers;
        self.leases += other.leases;
    }

    pub(crate) fn assert_varied(&self, seeds: u64) {
        for (what, count, at_least) in [
            ("leaders", self.leaders, 3 * seeds),
            ("committed entries", self.committed, 30 * seeds),
            ("answers", self.answered, 10 * seeds),
            ("refusals", self.refused, seeds / 2),
            ("dropped tickets", self.dropped, seeds / 20),
            ("reads", self.reads, seeds),
            ("failed reads", self.reads_failed, seeds / 5),
            ("crashes", self.crashes, seeds),
            ("loads", self.loads, seeds),
            ("conflicts", self.conflicts, seeds),
            ("forwarded proposals", self.forwarded, 5 * seeds),
            ("snapshots", self.snapshots, 5 * seeds),
            ("installed snapshots", self.installed, seeds / 10),
            ("transfers", self.transfers, seeds / 4),
            ("reads under a lease", self.leases, seeds / 4),
        ] {
            assert!(count >= at_least, "{count} {what} in {seeds} schedules: too tame. {self:?}");
        }
    }
}

fn at(index: Index) -> usize {
    usize::try_from(index.get()).expect("a test log fits into memory") - 1
}

/// The caller's number inside a command.
fn ask_of(payload: &Payload) -> Option<usize> {
    let bytes = payload.bytes().get(..8)?;
    let number = u64::from_le_bytes(bytes.try_into().expect("eight bytes were taken"));
    Some(usize::try_from(number).expect("it was a usize"))
}

impl Oracle {
    // Callers.

    /// A caller asks something; its number is its ticket.
    pub(crate) fn ask(&mut self, node: NodeId, is_read: bool) -> Ticket {
        let floor = is_read.then(|| self.last_committed());
        self.asks.push(Ask { node, fate: Fate::Open, floor, committed_at: None });
        Ticket::new(self.asks.len() as u64 - 1)
    }

    /// Tells a caller what became of it, once.
    pub(crate) fn tell(&mut self, node: NodeId, ticket: Ticket, fate: Fate) {
        let number = usize::try_from(ticket.get()).expect("it was a usize");
        let ask = &mut self.asks[number];
        assert!(ask.node == node, "{ticket} was asked at {} and answered at {node}", ask.node);
        assert!(ask.fate == Fate::Open, "{ticket} is told {fate:?} after {:?}", ask.fate);
        ask.fate = fate;
        match (fate, ask.floor) {
            (Fate::Answered(index), Some(floor)) => {
                self.seen.reads += 1;
                assert!(index >= floor, "read {ticket} at {index} misses what was done at {floor}");
                assert!(index <= self.last_committed(), "read {ticket} sees what is not committed");
            }
            (Fate::Answered(index), None) => {
                self.seen.answered += 1;
                assert!(ask.committed_at == Some(index), "{ticket} is answered, not committed");
            }
            (Fate::Refused, None) => {
                self.seen.refused += 1;
                assert!(ask.committed_at.is_none(), "{ticket} is refused, but committed");
            }
            (Fate::Refused, Some(_)) => self.seen.reads_failed += 1,
            (Fate::Unknown, _) => self.seen.dropped += 1,
            (Fate::Open, _) => unreachable!("nobody is told nothing"),
        }
    }

    /// A process died: its callers will never know.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.seen.crashes += 1;
        for ask in self.asks.iter_mut().filter(|ask| ask.node == node && ask.fate == Fate::Open) {
            ask.fate = Fate::Unknown;
        }
    }

    /// Callers of a node that know nothing yet: reads or writes.
    pub(crate) fn open(&self, node: NodeId, is_read: bool) -> usize {
        let open = |ask: &&Ask| {
            ask.node == node && ask.fate == Fate::Open && ask.floor.is_some() == is_read
        };
        self.asks.iter().filter(open).count()
    }

    // Figure 3.

    pub(crate) fn last_committed(&self) -> Index {
        Index::new(self.committed.len() as u64)
    }

    /// Log Matching, by induction: an id names one payload and one predecessor, everywhere.
    pub(crate) fn entry(&mut self, prev: EntryId, entry: &Entry) {
        let ask = ask_of(&entry.payload);
        let born = Born { prev, seal: entry.payload.checksum().get(), ask };
        let known = *self.born.entry(entry.id).or_insert(born);
        assert!(known == born, "Log Matching: {} is {known:?} and {born:?}", entry.id);
    }

    /// Election Safety and Leader Completeness, when a node leads.
    pub(crate) fn leads(&mut self, node: NodeId, term: Term, log: &Log) {
        let known = *self.leaders.entry(term).or_insert_with(|| {
            self.seen.leaders += 1;
            for id in self.committed.iter().filter(|id| id.term < term) {
                let held = id.index < log.base().index || log.holds(*id);
                assert!(held, "Leader Completeness: {node} leads {term} without {id}");
            }
            node
        });
        assert!(known == node, "Election Safety: {known} and {node} lead term {term}");
        let vote = self.votes.get(&(node, term));
        assert!(vote == Some(&node), "{node} leads {term} without its own vote on its disk");
    }

    /// Committed prefixes agree, and what is committed is durable on a quorum.
    pub(crate) fn commits<'a>(
        &mut self,
        log: &Log,
        after: Index,
        disks: &(impl Iterator<Item = &'a Disk> + Clone),
        upto: Index,
    ) {
        // What was dropped from the log is known from its base on.
        let mut index = after.next().max(log.base().index);
        while index <= upto {
            let term = log.term_at(index).expect("what is committed is in the log");
            let id = EntryId::new(term, index);
            match self.committed.get(at(index)) {
                Some(known) => assert!(*known == id, "{known} and {id} are both committed"),
                None => self.commit(id, disks),
            }
            index = index.next();
        }
    }

    fn commit<'a>(&mut self, id: EntryId, disks: &(impl Iterator<Item = &'a Disk> + Clone)) {
        let (nodes, holders) = disks.clone().fold((0, 0), |(nodes, holders), disk| {
            (nodes + 1, holders + usize::from(disk.holds(id)))
        });
        assert!(holders * 2 > nodes, "{id} is committed, but durable on {holders} of {nodes}");
        self.seen.committed += 1;
        self.committed.push(id);
        let Some(ask) = self.born[&id].ask.map(|ask| &mut self.asks[ask]) else { return };
        assert!(ask.committed_at.is_none(), "{id} was committed before: applied twice");
        assert!(ask.fate != Fate::Refused, "{id} is committed, but its caller was refused");
        ask.committed_at = Some(id.index);
    }

    /// State Machine Safety: what is applied is what is committed, and this disk cannot lose it.
    pub(crate) fn applies(&self, node: NodeId, entry: &Entry, disk: &Disk) {
        let id = entry.id;
        let known = self.committed.get(at(id.index));
        assert!(known == Some(&id), "State Machine Safety: {node} applies {id}, not {known:?}");
        let seal = self.born[&id].seal;
        assert!(entry.payload.checksum().get() == seal, "{node} applies other bytes at {id}");
        assert!(entry.payload.verify(), "{node} applies a broken payload at {id}");
        assert!(disk.id_at(id.index) == Some(id), "{node} applies {id}, which its disk may lose");
    }

    /// The number of the caller whose command this entry carries.
    pub(crate) fn ticket_of(&self, id: EntryId) -> Option<Ticket> {
        self.born[&id].ask.map(|ask| Ticket::new(ask as u64))
    }

    /// A state machine became what a snapshot holds.
    pub(crate) fn becomes(&self, node: NodeId, last: EntryId) {
        let known = self.committed.get(at(last.index));
        assert!(known == Some(&last), "{node} becomes the state at {last}, not {known:?}");
    }

    // Promises.

    /// One vote a term, on the disk, for ever.
    pub(crate) fn disk(&mut self, node: NodeId, hard: HardState) {
        let Some(vote) = hard.voted_for else { return };
        let known = *self.votes.entry((node, hard.term)).or_insert(vote);
        assert!(known == vote, "{node} voted for {known} and {vote} in term {}", hard.term);
    }

    /// A message leaves: whatever it says must be true after a crash.
    pub(crate) fn leaves(&mut self, message: &Message, disk: &Disk) {
        let Message { from, to, term, body, .. } = message;
        let (node, hard) = (from.node, disk.hard());
        assert!(hard.term >= *term, "{node} speaks for term {term}, its disk for {}", hard.term);
        let vote = self.votes.get(&(node, *term)).copied();
        match body {
            Body::RequestVote(_) => assert!(vote == Some(node), "{node} has not voted for itself"),
            Body::RequestVoteResponse(answer) => {
                assert!(!answer.granted || vote == Some(*to), "{node} granted without a write");
            }
            Body::AppendEntries(request) => {
                assert!(self.leaders.get(term) == Some(&node), "{node} does not lead {term}");
                let mut prev = request.slice.prev();
                for entry in request.slice.entries() {
                    self.entry(prev, entry);
                    prev = entry.id;
                }
            }
            Body::AppendEntriesResponse(response) => match response.result {
                AppendResult::Matched { match_index, .. } if hard.term == *term => {
                    let last = disk.last();
                    assert!(match_index <= last.index, "{node} acknowledges {match_index}: {last}");
                }
                // Of an earlier term: what it spoke of may have been cut away since.
                AppendResult::Matched { .. } => {}
                AppendResult::Conflict { .. } => self.seen.conflicts += 1,
            },
            Body::InstallSnapshot(offer) => {
                let last = offer.snapshot.last_included;
                assert!(self.committed.get(at(last.index)) == Some(&last), "{last} is offered");
                self.seen.offers += 1;
            }
            Body::InstallSnapshotResponse(answer) => {
                let index = answer.match_index;
                assert!(index <= disk.last().index, "{node} acknowledges {index} without it");
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => {}
        }
    }

    /// An acknowledgement arrives: while the term lasts, the disk holds what the leader's log does.
    pub(crate) fn acknowledged(message: &Message, disk: &Disk, leader: &raft_core::RaftState) {
        let Body::AppendEntriesResponse(response) = &message.body else { return };
        let AppendResult::Matched { match_index, .. } = response.result else { return };
        let leads = matches!(leader.role(), Role::Leader(_));
        if !leads || leader.current_term() != message.term || disk.hard().term != message.term {
            return;
        }
        let Some(held) = disk.id_at(match_index) else {
            assert!(match_index < disk.base().index, "it acknowledges what it does not hold");
            return;
        };
        let Some(term) = leader.log().term_at(match_index) else {
            assert!(match_index < leader.log().base().index, "{match_index} was never sent");
            return;
        };
        let sent = EntryId::new(term, match_index);
        assert!(
            held == sent,
            "{} acknowledges {match_index}: it holds {held}, the leader {sent}",
            message.from.node
        );
    }
}
