//! `RaftState`: everything a node knows. `Common` is Figure 2's state on all servers, the role is
//! the rest.
//!
//! * One mutator per fact, each asserting: `enter_term`, `vote_for`, `advance_commit`.
//! * Terms only grow; a vote is given once a term and taken back only by a new term.
//! * `commit_index` only grows and never beyond the log; applied stays at or below both the commit
//!   index and the durable mark.
//! * A message never speaks for a term or a vote that this disk may forget: `send`.
//!
//! Read next: `role.rs`.

use alloc::vec::Vec;
use core::mem;

use crate::forward::Forwarding;
use crate::log::Cached;
use crate::outbox::Outbox;
use crate::output::LoadPurpose;
use crate::rng::Rng;
use crate::role::Role;
use crate::{
    Applied, Apply, Base, Body, Entry, EntryId, Epoch, HardState, Incarnation, Index, Load, Log,
    Membership, Message, NodeId, Peer, Persist, Persisted, RaftConfig, Restored, Term, Time,
};

/// Everything a node knows: what every role has, and the role with what only it has.
#[derive(Debug)]
pub struct RaftState {
    pub(crate) common: Common,
    pub(crate) role: Role,
}

impl RaftState {
    /// Hands out both halves at once, so that a role can change the common state.
    pub(crate) fn split(&mut self) -> (&mut Common, &mut Role) {
        (&mut self.common, &mut self.role)
    }

    /// `currentTerm`: the latest term this node has seen.
    pub fn current_term(&self) -> Term {
        self.common.hard.term
    }

    /// `votedFor`: whom this node voted for in the current term.
    pub fn voted_for(&self) -> Option<NodeId> {
        self.common.hard.voted_for
    }

    /// `log[]`.
    pub fn log(&self) -> &Log {
        &self.common.log
    }

    /// `commitIndex`: the highest entry known to be committed.
    pub fn commit_index(&self) -> Index {
        self.common.commit_index
    }

    /// `lastApplied`: the highest entry inside the state machine.
    pub fn last_applied(&self) -> Index {
        self.common.last_applied
    }

    /// The role, with what only it has.
    pub fn role(&self) -> &Role {
        &self.role
    }

    /// The leader of the current term, if known.
    pub fn leader(&self) -> Option<NodeId> {
        self.role.leader(self.common.me.node)
    }

    /// The membership in force (§6: the latest in the log).
    pub fn membership(&self) -> &Membership {
        &self.common.membership
    }
}

/// Figure 2's state on all servers.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) me: Peer,
    pub(crate) config: RaftConfig,
    /// Term and vote; the commit hint inside is filled in when it is written.
    hard: HardState,
    pub(crate) log: Log,
    /// The latest membership in the log, kept beside it because every step asks for it.
    pub(crate) membership: Membership,
    commit_index: Index,
    last_applied: Index,
    /// The last entry handed out to be applied.
    apply_handed: Index,
    apply_backlog_bytes: u64,
    /// Loaded from the disk to be applied next.
    apply_loaded: Vec<Entry>,
    apply_loading: bool,
    base: Option<Base>,
    /// When this node last heard a leader: stickiness (thesis §4.2.3).
    pub(crate) heard_leader: Option<Time>,
    /// The latest moment the host told.
    pub(crate) now: Time,
    rng: Rng,
    epoch: Epoch,
    pub(crate) forwarding: Forwarding,
}

impl Common {
    pub(crate) fn new(config: RaftConfig, incarnation: Incarnation, restored: Restored) -> Self {
        let me = Peer { node: config.node_id(), incarnation };
        let mut rng = Rng::new(config.seed);
        // A bootstrapping disk writes its first membership before anything else.
        let blank = restored.created.is_none() && restored.snapshot.is_none();
        let members = config.initial_members();
        let bootstrap = blank && !members.is_empty();
        let created = bootstrap.then(|| Membership::bootstrap(members));
        let (hard, base) = (restored.hard_state, restored.base().index);
        let log = Log::new(restored, created.clone());
        // Numbers of conversations must differ from those before a restart.
        let epoch = Epoch::new(rng.next_u64() >> 16);
        let boot = rng.next_u64();
        Self {
            me,
            hard,
            membership: log.membership(),
            commit_index: hard.commit.max(base),
            last_applied: base,
            apply_handed: if mutant!("R20") { hard.commit.max(base) } else { base },
            apply_backlog_bytes: 0,
            apply_loaded: Vec::new(),
            apply_loading: false,
            base: created.map(Base::Created),
            heard_leader: None,
            now: Time::ZERO,
            epoch,
            forwarding: Forwarding::new(me.node, boot, hard.term),
            rng,
            log,
            config,
        }
    }

    pub(crate) const fn term(&self) -> Term {
        self.hard.term
    }

    pub(crate) const fn voted_for(&self) -> Option<NodeId> {
        self.hard.voted_for
    }

    pub(crate) const fn commit_index(&self) -> Index {
        self.commit_index
    }

    pub(crate) const fn last_applied(&self) -> Index {
        self.last_applied
    }

    /// §5.1: a higher term was seen. The vote of the old one is void.
    pub(crate) fn enter_term(&mut self, term: Term, out: &mut Outbox) {
        assert!(term > self.hard.term, "terms only grow");
        (self.hard.term, self.hard.voted_for) = (term, None);
        self.forwarding.enter_term();
        out.forget_promises();
    }

    /// §5.2: at most one vote a term, first come, first served.
    pub(crate) fn vote_for(&mut self, node: NodeId) {
        assert!(self.may_vote_for(node), "one vote a term");
        self.hard.voted_for = Some(node);
    }

    /// Term and vote as only a mutant wants them.
    pub(crate) fn overwrite(&mut self, term: Term, voted_for: Option<NodeId>) {
        (self.hard.term, self.hard.voted_for) = (term, voted_for);
    }

    pub(crate) fn may_vote_for(&self, node: NodeId) -> bool {
        self.hard.voted_for.is_none_or(|voted| voted == node)
    }

    /// Whether the disk holds the present term and vote.
    pub(crate) fn is_hard_state_durable(&self) -> bool {
        let durable = self.log.durable_hard();
        (durable.term, durable.voted_for) == (self.hard.term, self.hard.voted_for)
    }

    /// §5.3: entries up to here are committed.
    pub(crate) fn advance_commit(&mut self, index: Index, out: &mut Outbox) {
        if index <= self.commit_index && !mutant!("R2a") {
            return;
        }
        assert!(index <= self.log.last().index, "only what is in the log is committed");
        self.commit_index = index;
        let term = self.log.term_at(index).expect("the entry is in the log");
        self.forwarding.committed(term, out);
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.membership.is_voter(self.me.node)
    }

    /// The other members, in order.
    pub(crate) fn peers(&self) -> Vec<NodeId> {
        let me = self.me.node;
        self.membership.members().keys().copied().filter(|node| *node != me).collect()
    }

    /// A number for a new conversation.
    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.epoch = self.epoch.next();
        self.epoch
    }

    /// When to campaign, counted from now (§5.2: randomised).
    pub(crate) fn election_deadline(&mut self) -> Time {
        let config = &self.config;
        self.now.after(self.rng.span(config.election_timeout_min, config.election_timeout_max))
    }

    /// When to ask for votes after the connection to the leader broke: late enough for a leader
    /// that lives to be heard again, and spread like every election timeout.
    pub(crate) fn suspicion_deadline(&mut self) -> Time {
        let interval = self.config.heartbeat_interval;
        self.now.after(self.rng.span(interval, 3 * interval))
    }

    /// Sends a message of the present term: at once if the disk holds term and vote, otherwise as a
    /// promise that leaves with the write.
    pub(crate) fn send(&self, out: &mut Outbox, to: NodeId, epoch: Epoch, body: Body) {
        let hasty = mutant!("E3") && matches!(body, Body::RequestVote(_))
            || mutant!("E4b") && matches!(body, Body::RequestVoteResponse(_));
        let message = Message { from: self.me, to, term: self.hard.term, epoch, body };
        if self.is_hard_state_durable() || hasty {
            out.message(message);
        } else {
            out.promise(Index::ZERO, message);
        }
    }

    /// Sends a message that is true once the log up to `needs` is durable.
    pub(crate) fn promise(
        &self,
        out: &mut Outbox,
        needs: Index,
        (to, epoch): (NodeId, Epoch),
        body: Body,
    ) {
        let message = Message { from: self.me, to, term: self.hard.term, epoch, body };
        out.promise(needs, message);
    }

    /// Disk lane: the next write, if anything is to be written or promised.
    pub(crate) fn take_persist(&mut self, out: &mut Outbox) -> Option<Persist> {
        let changed = self.log.has_unwritten(self.hard);
        if !changed && self.base.is_none() && !out.has_promises() {
            return None;
        }
        let hard = HardState { commit: self.commit_index, ..self.hard };
        let (id, hard_state, entries) =
            self.log.begin_write(hard, self.config.limits.persist_bytes_max);
        let last = entries.last().map_or_else(|| self.log.handed(), |entry| entry.id.index);
        let promises = out.take_promises(last);
        Some(Persist { id, hard_state, base: self.base.take(), entries, changed, promises })
    }

    /// Whether the next receipt of a write lets this node do more than forget the write.
    pub(crate) fn waits_for_disk(&self) -> bool {
        self.commit_index > self.log.durable()
            || self.log.has_unwritten(self.hard)
            || !self.is_hard_state_durable()
    }

    pub(crate) fn finish_write(&mut self, persisted: Persisted) {
        self.log.finish_write(persisted);
        // A slow state machine keeps nothing in memory: what is committed can be loaded.
        self.log.evict(self.config.limits.log_cache_bytes_max, self.commit_index);
    }

    /// Application lane: the next committed entries that this disk cannot lose any more.
    pub(crate) fn take_apply(&mut self, out: &mut Outbox) -> Option<Apply> {
        let limits = &self.config.limits;
        let mut upto = self.commit_index.min(self.log.durable());
        if mutant!("R14b") || mutant!("D1") && self.membership.voters().len() == 1 {
            upto = self.commit_index;
        }
        let full = self.apply_backlog_bytes >= limits.apply_backlog_bytes_max;
        mark!("apply-backlog-full", full && self.apply_handed < upto);
        if self.apply_handed >= upto || full {
            return None;
        }
        let first = self.apply_handed.next();
        let entries = match self.log.entries(first, upto, limits.apply_bytes_max) {
            Cached::Entries(entries) => entries,
            Cached::OnDisk if !self.apply_loaded.is_empty() => mem::take(&mut self.apply_loaded),
            Cached::OnDisk => {
                if !self.apply_loading {
                    mark!("load-for-apply");
                    self.apply_loading = true;
                    out.load(Load {
                        range: first..upto.next(),
                        bytes_max: limits.apply_bytes_max,
                        purpose: LoadPurpose::Apply,
                    });
                }
                return None;
            }
            Cached::Compacted => unreachable!("the base is never above what was applied"),
        };
        assert!(entries[0].id.index == first, "entries are applied in order and without gaps");
        let last = entries.last().expect("it is not empty").id.index;
        let cost = entries.iter().map(|entry| entry.payload.cost()).sum();
        self.apply_handed = if mutant!("R14a") { upto } else { last };
        self.apply_backlog_bytes += cost;
        let tickets = self.log.take_tickets(last);
        self.log.evict(limits.log_cache_bytes_max, last);
        Some(Apply { entries, tickets, cost })
    }

    /// Entries for [`take_apply`](Self::take_apply) came from the disk.
    pub(crate) fn loaded_for_apply(&mut self, entries: Vec<Entry>) {
        self.apply_loading = false;
        if entries.first().is_some_and(|entry| entry.id.index == self.apply_handed.next()) {
            self.apply_loaded = entries;
        }
    }

    pub(crate) fn finish_apply(&mut self, applied: Applied) {
        let EntryId { index, .. } = applied.last;
        assert!(index > self.last_applied, "receipts come back in the order of the jobs");
        assert!(index <= self.apply_handed, "only what was handed out is applied");
        self.last_applied = index;
        self.apply_backlog_bytes -= applied.cost;
    }
}
