//! What must hold after every event of every script: Figure 3, and what makes it true.
//!
//! The judge keeps its own image of every disk, from what was written, and its own list of what is
//! committed; it asks no node what another one knows. Read next: the scripts.

use std::collections::BTreeMap;

use raft_core::codec::decode_membership;
use raft_core::{
    Base, Checksum, Entry, EntryId, Incarnation, Index, Membership, NodeId, PayloadKind, Persist,
    RaftState, Role, Term, Ticket,
};

/// Everything that happened so far, as far as safety is concerned.
#[derive(Debug, Default)]
pub(super) struct Safety {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Incarnation, Term), NodeId>,
    born: BTreeMap<EntryId, (EntryId, Checksum)>,
    /// Every membership that is an entry.
    memberships: BTreeMap<EntryId, Membership>,
    /// The membership in force at each node when it was last looked at.
    in_force: BTreeMap<NodeId, Membership>,
    incarnations: BTreeMap<NodeId, Incarnation>,
    disks: BTreeMap<NodeId, Vec<EntryId>>,
    committed: Vec<EntryId>,
    commit_seen: BTreeMap<NodeId, Index>,
    applied: BTreeMap<NodeId, Index>,
    /// Tickets under way, with the node that has to answer.
    open: BTreeMap<Ticket, NodeId>,
}

fn place(index: Index) -> usize {
    usize::try_from(index.get()).expect("the log of a script fits into memory")
}

impl Safety {
    /// A node has this disk.
    pub(super) fn has_disk(&mut self, node: NodeId, disk: Incarnation, log: Vec<EntryId>) {
        self.incarnations.insert(node, disk);
        self.disks.insert(node, log);
    }

    /// A process ended: its callers will hear nothing, and it begins anew.
    pub(super) fn ended(&mut self, node: NodeId) {
        self.commit_seen.remove(&node);
        self.applied.remove(&node);
        self.open.retain(|_, asked| *asked != node);
    }

    /// A caller asks.
    pub(super) fn asked(&mut self, node: NodeId, ticket: Ticket) {
        self.open.insert(ticket, node);
    }

    /// A caller is answered.
    pub(super) fn answered(&mut self, node: NodeId, ticket: Ticket) -> Result<(), String> {
        match self.open.remove(&ticket) {
            Some(asked) if asked == node => Ok(()),
            Some(asked) => Err(format!("t{ticket} was asked at {asked} and is answered at {node}")),
            None => Err(format!("t{ticket} is answered twice")),
        }
    }

    /// Log Matching, by induction: an id names one payload and one entry before it.
    pub(super) fn entry(&mut self, prev: EntryId, entry: &Entry) -> Result<(), String> {
        let born = (prev, entry.payload.checksum());
        let known = *self.born.entry(entry.id).or_insert(born);
        if entry.payload.kind() == PayloadKind::Membership
            && let Ok(membership) = decode_membership(entry.payload.bytes().clone())
        {
            self.memberships.insert(entry.id, membership.brought_by(entry.id));
        }
        if known == born {
            return Ok(());
        }
        Err(format!("Log Matching: {} names two entries", entry.id))
    }

    /// A disk finished a write: one vote a term, for ever.
    pub(super) fn written(&mut self, node: NodeId, persist: &Persist) -> Result<(), String> {
        let disk = self.disks.entry(node).or_default();
        if let Some(Base::Installed(snapshot)) = persist.base() {
            let covered = place(snapshot.last_included.index);
            let history = self
                .committed
                .get(..covered)
                .filter(|history| history.last() == Some(&snapshot.last_included));
            let not = || format!("{node} installs {}, not committed", snapshot.last_included);
            *disk = history.ok_or_else(not)?.to_vec();
        }
        if let Some(first) = persist.entries().first() {
            disk.truncate(place(first.id.index.prev()));
            disk.extend(persist.entries().iter().map(|entry| entry.id));
        }
        let hard = persist.hard_state();
        let Some(vote) = hard.voted_for else { return Ok(()) };
        let disk = self.incarnations[&node];
        let known = *self.votes.entry((node, disk, hard.term)).or_insert(vote);
        if known == vote {
            return Ok(());
        }
        Err(format!("{node} voted for {known} and for {vote} in term {}", hard.term))
    }

    /// A node after an event.
    pub(super) fn look(&mut self, node: NodeId, state: &RaftState) -> Result<(), String> {
        if matches!(state.role(), Role::Leader(_)) {
            self.leads(node, state)?;
        }
        let (commit, log) = (state.commit_index(), state.log());
        let seen = self.commit_seen.insert(node, commit).unwrap_or(Index::ZERO);
        if commit < seen {
            return Err(format!("the commit index of {node} goes back from {seen} to {commit}"));
        }
        // What was dropped from the log is known from its base on.
        let mut index = seen.next().max(log.base().index);
        while index <= commit && index > Index::ZERO {
            let term = log.term_at(index).ok_or_else(|| format!("{node} lost {index}"))?;
            self.commits(node, EntryId::new(term, index))?;
            index = index.next();
        }
        // It counts from the next event on: what this event committed was counted before.
        self.in_force.insert(node, state.membership().clone());
        Ok(())
    }

    /// The membership in force is the latest of the log or its snapshot (§6).
    pub(super) fn belongs(&self, node: NodeId, state: &RaftState) -> Result<(), String> {
        let (log, membership) = (state.log(), state.membership());
        let base = log.base().index;
        let held = |id: &EntryId| {
            let is_covered = id.index <= base;
            let is_history = is_covered && self.committed.get(place(id.index) - 1) == Some(id);
            is_history || !is_covered && log.holds(*id)
        };
        let newest = self.memberships.iter().rev().find(|(id, _)| held(id));
        if let Some((id, newest)) = newest
            && newest != membership
        {
            return Err(format!("{node} is in {membership:?}, but its log says {id}"));
        }
        Ok(())
    }

    /// Election Safety and Leader Completeness.
    fn leads(&mut self, node: NodeId, state: &RaftState) -> Result<(), String> {
        let term = state.current_term();
        let mut earlier = self.committed.iter().filter(|id| id.term < term);
        match self.leaders.insert(term, node) {
            Some(leader) if leader == node => Ok(()),
            Some(leader) => Err(format!("Election Safety: {leader} and {node} lead term {term}")),
            None => match earlier.find(|id| !holds(state, **id)) {
                Some(id) => Err(format!("Leader Completeness: {node} leads {term} without {id}")),
                None => Ok(()),
            },
        }
    }

    /// Committed prefixes agree, and are durable on a quorum.
    fn commits(&mut self, node: NodeId, id: EntryId) -> Result<(), String> {
        match self.committed.get(place(id.index) - 1) {
            Some(known) if *known == id => return Ok(()),
            Some(known) => return Err(format!("{node} commits {id}, but {known} is committed")),
            None => {}
        }
        let holds = |node: &NodeId| {
            self.disks.get(node).and_then(|disk| disk.get(place(id.index) - 1)) == Some(&id)
        };
        let members = self.in_force.get(&node).ok_or("a node commits before it was looked at")?;
        for voters in [members.voters(), members.outgoing()] {
            let (holders, all) = (voters.iter().filter(|node| holds(node)).count(), voters.len());
            if holders * 2 <= all && all > 0 {
                return Err(format!("{node} commits {id}, durable on {holders} of {all} only"));
            }
        }
        self.committed.push(id);
        Ok(())
    }

    /// A state machine became what a snapshot holds: the committed entries up to there.
    pub(super) fn restored(&mut self, node: NodeId, state: &[EntryId]) -> Result<(), String> {
        let last = state.last().map_or(Index::ZERO, |id| id.index);
        self.applied.insert(node, last);
        if self.committed.get(..place(last)) == Some(state) {
            return Ok(());
        }
        Err(format!("State Machine Safety: {node} becomes {state:?}, which is not the history"))
    }

    /// State Machine Safety: committed entries, in order, and none that this disk may lose.
    pub(super) fn applies(&mut self, node: NodeId, entry: &Entry) -> Result<(), String> {
        let (id, last) = (entry.id, self.applied.entry(node).or_default());
        if id.index != last.next() {
            return Err(format!("{node} applies {id} after {last}"));
        }
        *last = id.index;
        if self.committed.get(place(id.index) - 1) != Some(&id) {
            return Err(format!("State Machine Safety: {node} applies {id}, not committed"));
        }
        if self.born.get(&id).is_some_and(|(_, seal)| *seal != entry.payload.checksum()) {
            return Err(format!("State Machine Safety: {node} applies other bytes at {id}"));
        }
        let held = self.disks.get(&node).and_then(|disk| disk.get(place(id.index) - 1));
        if held == Some(&id) {
            return Ok(());
        }
        Err(format!("{node} applies {id}, which its disk may lose"))
    }
}

/// Whether a node holds an entry, in its log or in the snapshot before it.
fn holds(state: &RaftState, id: EntryId) -> bool {
    id.index < state.log().base().index || state.log().holds(id)
}
