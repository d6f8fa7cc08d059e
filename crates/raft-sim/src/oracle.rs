//! What must hold after every event: Figure 3, durable quorums, promises, equal states.
//!
//! The oracle keeps its own image of every disk, made from writes whose time has come, and its own
//! list of what is committed. It asks no node what another one knows. Read next:
//! `oracle/image.rs`.

mod etiquette;
mod image;
pub(crate) mod members;
mod office;
mod reads;
mod rounds;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use raft_core::{
    AppendResult, Body, Entry, EntryId, HardState, Incarnation, Index, Membership, Message, NodeId,
    Payload, PayloadKind, RaftState, Restored, Role, Term, Ticket,
};

pub(crate) use self::etiquette::Etiquette;
pub(crate) use self::image::{Image, WriteFacts};
use self::members::{Ghost, is_majority, is_quorum};
use self::reads::Asked;
use self::rounds::Rounds;
use crate::linearizability::LogCommand;
use crate::network::place;

/// What must not happen, happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The property, in a word or two.
    pub oracle: &'static str,
    /// Who broke it, if one node did.
    pub node: Option<NodeId>,
    /// What was expected and what was seen.
    pub statement: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.statement)
    }
}

impl Failure {
    pub(crate) fn new(oracle: &'static str, statement: impl Into<String>) -> Self {
        Self { oracle, node: None, statement: statement.into() }
    }

    pub(crate) fn of(oracle: &'static str, node: NodeId, statement: impl Into<String>) -> Self {
        Self { oracle, node: Some(node), statement: statement.into() }
    }
}

/// Whether a property holds.
pub(crate) type Check = Result<(), Failure>;

/// An entry as it was made: what stands before it, and what it carries.
#[derive(Clone, Debug)]
struct Born {
    term: Term,
    prev: EntryId,
    payload: Payload,
}

/// A committed entry.
#[derive(Clone, Debug)]
struct Committed {
    id: EntryId,
    /// The term in which that was first known: earlier leaders need not hold it.
    known_in: Term,
    payload: Payload,
    ticket: Option<Ticket>,
}

/// Everything that happened so far, as far as safety is concerned.
#[derive(Debug)]
pub(crate) struct Oracle {
    pub(crate) images: Vec<Image>,
    leaders: BTreeMap<Term, NodeId>,
    /// By node, term and disk.
    votes: BTreeMap<(NodeId, Term, Option<Incarnation>), NodeId>,
    born: Vec<Vec<Born>>,
    canonical: Vec<Committed>,
    /// The terms of what is committed.
    terms: Vec<Term>,
    /// The memberships that are committed, the first that of the bootstrap.
    memberships: Vec<Membership>,
    /// Disks that were replaced.
    ghosts: Vec<Ghost>,
    /// The membership of each node that was compared last, and how many its disk held.
    members_seen: Vec<(EntryId, usize)>,
    commit_seen: Vec<Index>,
    applied: Vec<Index>,
    digests: Vec<Option<u64>>,
    /// Proposals of a leader's own callers, by the entry they became.
    local: BTreeMap<EntryId, Ticket>,
    /// Where a proposal took effect.
    executed: BTreeMap<Ticket, Index>,
    /// Proposals of which a node said that they were not and will not be applied.
    denied: BTreeSet<Ticket>,
    /// What a leader knew to be committed when it was elected, by node.
    inherited: Vec<Index>,
    asked: BTreeMap<Ticket, Asked>,
    rounds: Rounds,
    now: u64,
    /// How much was committed, by moments of the world.
    known_at: Vec<(u64, usize)>,
}

fn at(index: Index) -> usize {
    usize::try_from(index.get()).expect("the log of a world fits into memory")
}

impl Oracle {
    /// Of so many machines, and a group that begins with these members.
    pub(crate) fn new(nodes: usize, first: Membership) -> Self {
        Self {
            images: vec![Image::default(); nodes],
            leaders: BTreeMap::new(),
            votes: BTreeMap::new(),
            born: Vec::new(),
            canonical: Vec::new(),
            terms: Vec::new(),
            memberships: vec![first],
            ghosts: Vec::new(),
            members_seen: vec![(EntryId::new(Term::ZERO, Index::new(u64::MAX)), 0); nodes],
            commit_seen: vec![Index::ZERO; nodes],
            applied: vec![Index::ZERO; nodes],
            digests: Vec::new(),
            local: BTreeMap::new(),
            executed: BTreeMap::new(),
            denied: BTreeSet::new(),
            inherited: vec![Index::ZERO; nodes],
            asked: BTreeMap::new(),
            rounds: Rounds::default(),
            now: 0,
            known_at: Vec::new(),
        }
    }

    /// Reads rely on leases, and none lasts longer than this, in nanoseconds.
    pub(crate) fn has_leases(&mut self, lease_ns: u64) {
        self.rounds.lease_ns = Some(lease_ns);
    }

    /// How many entries are committed.
    pub(crate) fn committed(&self) -> usize {
        self.canonical.len()
    }

    /// The terms of what is committed.
    pub(crate) fn canonical_terms(&self) -> &[Term] {
        &self.terms
    }

    /// The committed log, for the checkers of client histories.
    pub(crate) fn log(&self, operation: impl Fn(Ticket) -> Option<usize>) -> Vec<LogCommand> {
        let commands = self.canonical.iter().map(|committed| LogCommand {
            id: committed.id,
            command: command(&committed.payload),
            operation: committed.ticket.and_then(&operation),
        });
        commands.collect()
    }

    /// A process ended: it begins anew with what its disk holds.
    pub(crate) fn ended(&mut self, node: NodeId) {
        self.commit_seen[place(node)] = Index::ZERO;
        self.applied[place(node)] = Index::ZERO;
    }

    /// Whether the disk of a node holds its present term and vote.
    pub(crate) fn knows_hard_state(&self, node: NodeId, state: &RaftState) -> bool {
        let hard = self.images[place(node)].hard;
        (hard.term, hard.voted_for) == (state.current_term(), state.voted_for())
    }

    // Entries and disks.

    /// Log Matching, by induction: an id names one payload and one entry before it.
    pub(crate) fn entry(&mut self, node: NodeId, prev: EntryId, entry: &Entry) -> Check {
        let index = at(entry.id.index);
        if self.born.len() <= index {
            self.born.resize(index + 1, Vec::new());
        }
        let known = self.born[index].iter().find(|born| born.term == entry.id.term);
        let Some(known) = known else {
            let (term, payload) = (entry.id.term, entry.payload.clone());
            self.born[index].push(Born { term, prev, payload });
            return Ok(());
        };
        if known.prev == prev && known.payload.checksum() == entry.payload.checksum() {
            return Ok(());
        }
        let text = format!(
            "{} names one entry, yet {node} has {:?} after {prev}, and another node {:?} after {}",
            entry.id, entry.payload, known.payload, known.prev
        );
        Err(Failure::of("log matching", node, text))
    }

    /// Entries read back from a disk are the ones that were written.
    pub(crate) fn loaded(&self, node: NodeId, entries: &[Entry]) -> Check {
        for entry in entries {
            let born = self.born.get(at(entry.id.index)).into_iter().flatten();
            let known = born.into_iter().find(|born| born.term == entry.id.term);
            let same = known.is_some_and(|known| known.payload == entry.payload);
            if !same || !entry.payload.verify() {
                let text = format!("the disk of {node} gave {entry:?}, which nobody wrote so");
                return Err(Failure::of("disk", node, text));
            }
        }
        Ok(())
    }

    /// A write is durable: one vote a term, for ever, and terms that only grow.
    pub(crate) fn wrote(&mut self, node: NodeId, facts: &WriteFacts) -> Check {
        if let Some(snapshot) = facts.snapshot() {
            self.is_sound(node, snapshot)?;
        }
        let image = &mut self.images[place(node)];
        let before = image.hard;
        image.write(facts, &self.terms);
        let hard = image.hard;
        if hard.term < before.term {
            let text =
                format!("the term of {node} goes back from {} to {}", before.term, hard.term);
            return Err(Failure::of("promises", node, text));
        }
        self.votes(node, hard)
    }

    /// One vote a term, for ever.
    fn votes(&mut self, node: NodeId, hard: HardState) -> Check {
        let Some(vote) = hard.voted_for else { return Ok(()) };
        let disk = self.images[place(node)].incarnation;
        let known = *self.votes.entry((node, hard.term, disk)).or_insert(vote);
        if known == vote {
            return Ok(());
        }
        let text = format!("{node} voted for {known} and for {vote} in term {}", hard.term);
        Err(Failure::of("election safety", node, text))
    }

    /// A disk was read after a start. What it gives is what was acknowledged, with any number of
    /// the writes that were under way when the process ended, each whole, in their order.
    pub(crate) fn recovered(
        &mut self,
        node: NodeId,
        restored: &Restored,
        under_way: &[WriteFacts],
    ) -> Check {
        let mut found = Image::restored(restored, &self.terms);
        found.incarnation = self.images[place(node)].incarnation;
        let mut expected = self.images[place(node)].clone();
        let acknowledged = expected.clone();
        let mut next = under_way.iter();
        while expected != found {
            let Some(facts) = next.next() else {
                let text = format!(
                    "{node} had acknowledged {acknowledged} and had {} writes under way; after a \
                     restart its disk gives {found}",
                    under_way.len()
                );
                return Err(Failure::of("durability", node, text));
            };
            expected.write(facts, &self.terms);
        }
        let hard = found.hard;
        // What left the log is known from before.
        found.members = expected.members;
        self.images[place(node)] = found;
        self.votes(node, hard)
    }

    // Nodes.

    /// A node after an event.
    pub(crate) fn look(&mut self, node: NodeId, state: &RaftState) -> Check {
        let (commit, log) = (state.commit_index(), state.log());
        if matches!(state.role(), Role::Leader(_)) {
            self.leads(node, state)?;
            let counted = commit > self.inherited[place(node)];
            if counted && log.term_at(commit) != Some(state.current_term()) {
                let text = format!(
                    "{node} leads term {} and commits up to {commit}, an entry of another term",
                    state.current_term()
                );
                return Err(Failure::of("commit rule (§5.4.2)", node, text));
            }
        }
        let seen = self.commit_seen[place(node)];
        if commit < seen {
            let text = format!("the commit index of {node} goes back from {seen} to {commit}");
            return Err(Failure::of("commit index", node, text));
        }
        let applied = state.last_applied();
        if applied > commit || commit > log.last().index || log.durable() > log.last().index {
            let last = log.last();
            let text = format!(
                "on {node} applied is {applied}, commit {commit}, durable {}, last {last}",
                log.durable()
            );
            return Err(Failure::of("order of marks", node, text));
        }
        self.commit_seen[place(node)] = commit;
        // A snapshot stands for what it covers: it is judged as a whole.
        if let Some(snapshot) = log.snapshot().filter(|_| log.base().index > seen) {
            self.is_sound(node, snapshot)?;
        }
        let mut index = seen.max(log.base().index).next();
        while index <= commit {
            let term = log.term_at(index);
            let term = term.ok_or_else(|| {
                Failure::of("leader completeness", node, format!("{node} lost entry {index}"))
            })?;
            self.commits(node, state, EntryId::new(term, index))?;
            index = index.next();
        }
        self.is_in_force(node, state)
    }

    /// Election Safety and Leader Completeness.
    fn leads(&mut self, node: NodeId, state: &RaftState) -> Check {
        let term = state.current_term();
        match self.leaders.get(&term) {
            Some(leader) if *leader == node => return Ok(()),
            Some(leader) => {
                let text = format!("{leader} and {node} lead term {term}");
                return Err(Failure::of("election safety", node, text));
            }
            None => self.leaders.insert(term, node),
        };
        let membership = state.membership();
        let voted = |voter| self.has_voted(membership, (voter, term), node);
        if !is_quorum(membership, voted) {
            let text = format!(
                "{node} leads term {term}, and no quorum of the recorded disks of {membership} \
                 holds a vote for it"
            );
            return Err(Failure::of("election safety", node, text));
        }
        self.inherited[place(node)] = state.commit_index().max(self.commit_seen[place(node)]);
        // The last is enough: by Log Matching a log that holds it holds all before it.
        let earlier = self.canonical.iter().rev().find(|entry| entry.known_in < term);
        match earlier.map(|entry| entry.id) {
            Some(id) if id.index > state.log().base().index && !state.log().holds(id) => {
                let text = format!("{node} leads term {term} without the committed entry {id}");
                Err(Failure::of("leader completeness", node, text))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Committed prefixes agree, and are durable on a quorum.
    fn commits(&mut self, node: NodeId, state: &RaftState, id: EntryId) -> Check {
        if let Some(known) = self.canonical.get(at(id.index) - 1) {
            if known.id == id {
                return Ok(());
            }
            let text = format!("{node} commits {id}, but {} is committed", known.id);
            return Err(Failure::of("state machine safety", node, text));
        }
        let born = self.born.get(at(id.index)).into_iter().flatten();
        let payload = born.into_iter().find(|born| born.term == id.term);
        let payload = payload.ok_or_else(|| {
            Failure::of("state machine safety", node, format!("{node} commits {id}, never written"))
        })?;
        let payload = payload.payload.clone();
        self.memberships.extend(image::membership(&Entry { id, payload: payload.clone() }));
        self.is_durable(node, state, id)?;
        let origin = payload.origin().map(|origin| origin.ticket);
        let ticket = origin.or_else(|| self.local.get(&id).copied());
        let known_in = state.current_term();
        self.canonical.push(Committed { id, known_in, payload, ticket });
        self.terms.push(id.term);
        ticket.map_or(Ok(()), |ticket| self.executes(node, ticket, id))
    }

    /// What is committed is durable on a majority of the voters of its own membership; and, where a
    /// leader counted, on both majorities of the one in force there.
    ///
    /// Of a joint membership that is left already the outgoing half is asked no more: an entry
    /// above it may be counted by the incoming one alone.
    fn is_durable(&self, node: NodeId, state: &RaftState, id: EntryId) -> Check {
        let own = self.membership();
        let held = |by| self.is_held(own, by, (id.index, id.term));
        let present = state.membership();
        let counted = |by| self.is_held(present, by, (id.index, id.term));
        let counts = matches!(state.role(), Role::Leader(_));
        if is_majority(own.voters(), held) && (!counts || is_quorum(present, counted)) {
            return Ok(());
        }
        let holders: Vec<NodeId> =
            present.members().keys().copied().filter(|by| counted(*by)).collect();
        let text = format!("{node} commits {id} in {present}; it is durable on {holders:?}");
        Err(Failure::of("durable quorum", node, text))
    }

    /// A proposal takes effect: once, and only if nobody said that it never will.
    fn executes(&mut self, node: NodeId, ticket: Ticket, id: EntryId) -> Check {
        if let Some(index) = self.executed.insert(ticket, id.index) {
            let text = format!("proposal t{ticket} takes effect at {index} and at {id}");
            return Err(Failure::of("exactly once", node, text));
        }
        self.is_denied(ticket)
    }

    /// A leader appended the proposal of one of its own callers.
    pub(crate) fn appended(&mut self, id: EntryId, ticket: Ticket) {
        self.local.insert(id, ticket);
    }

    /// A node says that a proposal was not and will never be applied. Of what became an entry of a
    /// log nobody can say that: another node may hold it.
    pub(crate) fn denied(&mut self, node: NodeId, ticket: Ticket) -> Check {
        if let Some((id, _)) = self.local.iter().find(|(_, local)| **local == ticket) {
            let text = format!("{node} calls t{ticket} not applied, which it had appended as {id}");
            return Err(Failure::of("outcomes", node, text));
        }
        self.denied.insert(ticket);
        self.is_denied(ticket)
    }

    fn is_denied(&self, ticket: Ticket) -> Check {
        match self.executed.get(&ticket) {
            Some(index) if self.denied.contains(&ticket) => {
                let text = format!("t{ticket} was called not applied, and is committed at {index}");
                Err(Failure::new("outcomes", text))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// A message leaves a node: what it promises is durable, and only leaders append.
    pub(crate) fn leaves(&mut self, message: &Message, leader: Option<&RaftState>) -> Check {
        self.rounds(message)?;
        let (node, term) = (message.from.node, message.term);
        let image = &self.images[place(node)];
        let fault = |text: String| Err(Failure::of("promises", node, text));
        if term > image.hard.term {
            return fault(format!(
                "{node} says {} in term {term}, its disk holds term {}",
                message.body.name(),
                image.hard.term
            ));
        }
        let disk = image.incarnation;
        let is_voted = |whom| self.votes.get(&(node, term, disk)) == Some(&whom);
        match &message.body {
            Body::RequestVote(_) if !is_voted(node) => {
                fault(format!("{node} asks for votes in {term} before its own vote is durable"))
            }
            Body::RequestVoteResponse(vote) if vote.granted && !is_voted(message.to) => {
                fault(format!("{node} votes for {} in {term} before that is durable", message.to))
            }
            Body::AppendEntries(_) if self.leaders.get(&term) != Some(&node) => {
                let text = format!("{node} appends in term {term}, which it does not lead");
                Err(Failure::of("election safety", node, text))
            }
            Body::AppendEntriesResponse(answer) => match answer.result {
                AppendResult::Matched { match_index, .. } => {
                    self.acknowledges(message, match_index, leader)
                }
                AppendResult::Conflict { .. } => Ok(()),
            },
            Body::InstallSnapshotResponse(answer) => {
                self.acknowledges(message, answer.match_index, leader)
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::InstallSnapshot(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => Ok(()),
        }
    }

    /// An acknowledgement: the disk holds the entry, and it is the leader's.
    fn acknowledges(
        &self,
        message: &Message,
        match_index: Index,
        leader: Option<&RaftState>,
    ) -> Check {
        let (node, image) = (message.from.node, &self.images[place(message.from.node)]);
        // An older promise may leave with a later write: a delayed promise is a delayed packet.
        if match_index == Index::ZERO || image.hard.term > message.term {
            return Ok(());
        }
        let Some(held) = image.log.get(at(match_index) - 1).copied() else {
            let text = format!(
                "{node} acknowledges {match_index}, its disk holds {} entries",
                image.log.len()
            );
            return Err(Failure::of("promises", node, text));
        };
        let led = leader.filter(|state| state.current_term() == message.term);
        match led.and_then(|state| state.log().term_at(match_index)) {
            Some(term) if term != held => {
                let text = format!(
                    "{node} acknowledges {match_index} to {}, whose entry is of term {term}; its \
                     own is of term {held}",
                    message.to
                );
                Err(Failure::of("promises", node, text))
            }
            Some(_) | None => Ok(()),
        }
    }

    // State machines.

    /// State Machine Safety: committed entries, in order, and none that this disk may lose.
    pub(crate) fn applies(&mut self, node: NodeId, entry: &Entry) -> Check {
        let (id, last) = (entry.id, &mut self.applied[place(node)]);
        let fault = |text: String| Err(Failure::of("state machine safety", node, text));
        if id.index != last.next() {
            return fault(format!("{node} applies {id} after {last}"));
        }
        *last = id.index;
        match self.canonical.get(at(id.index) - 1) {
            Some(known) if known.id == id && known.payload == entry.payload => {}
            Some(known) => {
                return fault(format!("{node} applies {entry:?}, committed is {known:?}"));
            }
            None => return fault(format!("{node} applies {id}, which is not committed")),
        }
        if self.images[place(node)].log.get(at(id.index) - 1) == Some(&id.term) {
            return Ok(());
        }
        fault(format!("{node} applies {id}, which its disk may lose"))
    }

    /// A state machine is what a snapshot up to here held.
    pub(crate) fn restores(&mut self, node: NodeId, covered: Index) {
        let applied = &mut self.applied[place(node)];
        *applied = covered.max(*applied);
    }

    /// What was restored is what others have at this index.
    pub(crate) fn restored_state(&mut self, node: NodeId, index: Index, digest: u64) -> Check {
        self.digest(node, index, digest).map_err(|_| {
            let known = self.digests[at(index)].unwrap_or_default();
            let text = format!(
                "after entry {index} the digest is {known:x}, that of a machine restored from its \
                 snapshot on {node} {digest:x}"
            );
            Failure::of("snapshots", node, text)
        })
    }

    /// Equal index, equal state.
    pub(crate) fn digest(&mut self, node: NodeId, index: Index, digest: u64) -> Check {
        if self.digests.len() <= at(index) {
            self.digests.resize(at(index) + 1, None);
        }
        let known = *self.digests[at(index)].get_or_insert(digest);
        if known == digest {
            return Ok(());
        }
        let text =
            format!("after entry {index} the state of {node} is {digest:x}, elsewhere {known:x}");
        Err(Failure::of("equal states", node, text))
    }
}

fn command(payload: &Payload) -> Option<Bytes> {
    (payload.kind() == PayloadKind::Command).then(|| payload.bytes().clone())
}
