//! Proposals that a follower's callers made and that went to the leader.
//!
//! * A forwarded proposal is sent once. Only the log tells what became of it: every node sees the
//!   origin when it appends the entry, so the proposer finds its waiting ticket again.
//! * Once an entry of a later term is committed here, a forwarded entry that has not shown up never
//!   will: everything of its term lies before that entry, and this log holds all of it. Its caller
//!   is told that it was not applied, and may propose again.
//! * The receiver drops a doubled or overtaken message by its serial, so that nothing is appended
//!   twice. The memory for it lasts as long as the term; the term rule refuses what is older.
//! * A process that began inside a term does not know what it appended in it before: it refuses
//!   nothing, for a doubled message may be of an entry that will be committed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::outbox::Outbox;
use crate::{Index, Log, NodeId, Notice, Origin, Payload, Propose, RefusedProposal, Term, Ticket};

/// Both ends of forwarding: what this node sent, and what it received.
#[derive(Debug)]
pub(crate) struct Forwarding {
    node: NodeId,
    boot: u64,
    serial: u64,
    waiting: BTreeMap<Ticket, Waiting>,
    waiting_bytes: u64,
    /// No waiting proposal was forwarded in an earlier term than this.
    oldest: Term,
    /// The highest serial received in this term, by sender and process.
    received: BTreeMap<(NodeId, u64), u64>,
    /// The term this process began in.
    born: Term,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    term: Term,
    bytes: u64,
}

/// Processes of one node remembered within a term; a node that restarts more often is not heard
/// until the next.
const PROCESSES_MAX: usize = 64;

impl Forwarding {
    pub(crate) fn new(node: NodeId, boot: u64, born: Term) -> Self {
        let (waiting, received) = (BTreeMap::new(), BTreeMap::new());
        let oldest = Term::ZERO;
        Self { node, boot, serial: 0, waiting, waiting_bytes: 0, oldest, received, born }
    }

    pub(crate) const fn boot(&self) -> u64 {
        self.boot
    }

    pub(crate) const fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Marks a payload as ours and notes who waits for it.
    pub(crate) fn forward(&mut self, term: Term, payload: Payload, ticket: Ticket) -> Payload {
        if self.waiting.is_empty() {
            self.oldest = term;
        }
        let bytes = payload.cost();
        let before = self.waiting.insert(ticket, Waiting { term, bytes });
        assert!(before.is_none(), "a ticket marks one proposal");
        self.waiting_bytes += bytes;
        payload.with_origin(Origin { node: self.node, boot: self.boot, ticket })
    }

    /// Packs payloads that were marked by [`forward`](Self::forward).
    pub(crate) fn pack(&mut self, payloads: Vec<Payload>) -> Propose {
        self.serial += 1;
        Propose { boot: self.boot, serial: self.serial, payloads }
    }

    fn remove(&mut self, ticket: Ticket) -> bool {
        let Some(waiting) = self.waiting.remove(&ticket) else { return false };
        self.waiting_bytes -= waiting.bytes;
        true
    }

    /// Nobody waits for this ticket any more.
    pub(crate) fn forget(&mut self, ticket: Ticket) {
        self.remove(ticket);
    }

    /// New entries reached the log: our tickets among them move beside their entries.
    pub(crate) fn appended(&mut self, log: &mut Log, first: Index) {
        if self.waiting.is_empty() {
            return;
        }
        for (index, ticket) in log.forwarded(first, self.node, self.boot) {
            if self.remove(ticket) {
                log.attach(index, ticket);
            }
        }
    }

    /// An entry of this term is committed: what was forwarded in an earlier one and has not shown
    /// up never will.
    pub(crate) fn committed(&mut self, term: Term, out: &mut Outbox) {
        let lost_in_own_term = mutant!("C11a");
        if self.waiting.is_empty() || term <= self.oldest && !lost_in_own_term {
            return;
        }
        self.oldest = term;
        let lost: Vec<Ticket> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| waiting.term < term || lost_in_own_term && waiting.term == term)
            .map(|(ticket, _)| *ticket)
            .collect();
        for ticket in lost {
            mark!("forwarded-outrun");
            self.refused(ticket, RefusedProposal::NotLeader, out);
        }
    }

    /// A snapshot takes the place of entries that were never seen here: whether ours are among them
    /// cannot be told any more.
    pub(crate) fn abandon(&mut self, out: &mut Outbox) {
        mark!("forwarded-inside-snapshot", !self.waiting.is_empty());
        self.waiting_bytes = 0;
        for ticket in core::mem::take(&mut self.waiting).into_keys() {
            out.counters.proposals_failed += 1;
            out.notice(Notice::Dropped { ticket });
        }
    }

    /// A proposal was refused, or never left.
    pub(crate) fn refused(&mut self, ticket: Ticket, reason: RefusedProposal, out: &mut Outbox) {
        if self.remove(ticket) {
            out.refuse(ticket, reason);
        }
    }

    /// Whether a received message is new within this term; remembers it.
    pub(crate) fn is_new(&mut self, from: NodeId, propose: &Propose) -> bool {
        let processes = self.received.range((from, 0)..=(from, u64::MAX)).count();
        let known = self.received.contains_key(&(from, propose.boot));
        if !known && processes >= PROCESSES_MAX {
            return false;
        }
        let last = self.received.entry((from, propose.boot)).or_insert(0);
        let new = propose.serial > *last || mutant!("F1");
        *last = propose.serial.max(*last);
        new
    }

    /// Whether this process knows everything it received in this term, so that it may say what was
    /// not appended.
    pub(crate) fn remembers(&self, term: Term) -> bool {
        assert!(term >= self.born, "terms only grow");
        term > self.born || mutant!("F2")
    }

    pub(crate) fn enter_term(&mut self) {
        self.received.clear();
    }
}

#[cfg(test)]
#[path = "forward/tests.rs"]
mod tests;
