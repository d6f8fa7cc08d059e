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

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::compaction::Compaction;
use crate::forward::Forwarding;
use crate::log::Cached;
use crate::outbox::Outbox;
use crate::output::LoadPurpose;
use crate::rng::Rng;
use crate::role::Role;
use crate::{
    Applied, Apply, ApplyJob, Base, Body, Capture, Captured, Entry, EntryId, Epoch, HardState,
    Incarnation, Index, Load, Log, Membership, Message, NodeId, Notice, Peer, Persist, Persisted,
    RaftConfig, Restore, Restored, SnapshotMeta, Term, Time,
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

    /// Until when this leader may answer reads alone, by its own clock (thesis §6.4.1). `None`
    /// unless it leads, reads under leases are on, and a quorum has answered it.
    pub fn lease_until(&self) -> Option<Time> {
        match &self.role {
            Role::Leader(leader) => leader.lease_until(&self.common),
            Role::Follower(_) | Role::Candidate(_) => None,
        }
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
    pub(crate) compaction: Compaction,
    base: Option<Base>,
    /// When this node last heard a leader: stickiness (thesis §4.2.3).
    pub(crate) heard_leader: Option<Time>,
    /// How long the rounds of the present leader take, as it says.
    pub(crate) broadcast_time: Duration,
    /// Whether the disk has room for more than the group needs to go on.
    pub(crate) has_disk_room: bool,
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
        let blank = restored.is_blank();
        let members = config.initial_members();
        let bootstrap = blank && !members.is_empty();
        let created = bootstrap.then(|| Membership::bootstrap(members));
        let (hard, covered) = (restored.hard_state, restored.covered().index);
        let log = Log::new(restored, created.clone());
        // Numbers of conversations must differ from those before a restart.
        let epoch = Epoch::new(rng.next_u64() >> 16);
        let boot = rng.next_u64();
        Self {
            me,
            hard,
            membership: log.membership(),
            commit_index: hard.commit.max(covered),
            last_applied: covered,
            apply_handed: if mutant!("R20") { hard.commit.max(covered) } else { covered },
            apply_backlog_bytes: 0,
            apply_loaded: Vec::new(),
            apply_loading: false,
            compaction: Compaction::default(),
            base: created.map(Base::Created),
            heard_leader: None,
            broadcast_time: Duration::ZERO,
            has_disk_room: true,
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
        let before = self.commit_index;
        self.commit_index = index;
        let term = self.log.term_at(index).expect("the entry is in the log");
        self.forwarding.committed(term, out);
        let brought = self.membership.id().index;
        if before < brought && brought <= index {
            out.notice(Notice::MembershipCommitted { membership: self.membership.clone() });
        }
    }

    /// The number of the newest conversation.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Whether the oldest write has been under way for longer than anybody should wait for this
    /// disk: such a node neither leads nor campaigns.
    pub(crate) fn is_disk_stalled(&self) -> bool {
        let limit = self.config.election_timeout_max;
        let oldest = self.log.oldest_write().filter(|_| !mutant!("D26"));
        oldest.is_some_and(|begun| self.now.since(begun) >= limit)
    }

    /// Whether a membership change is under way: not committed yet, or between two memberships.
    pub(crate) fn is_changing(&self) -> bool {
        self.membership.is_joint() || self.membership.id().index > self.commit_index
    }

    /// Whether this node votes no more, and everybody who does knows (thesis §4.2.2).
    pub(crate) fn is_retired(&self) -> bool {
        let is_known = self.membership.id().index <= self.commit_index || mutant!("M9a");
        !self.is_voter() && is_known
    }

    pub(crate) fn is_voter(&self) -> bool {
        self.membership.is_voter(self.me.node)
    }

    /// Whether this node asks for votes when it hears no leader: a voter, or one that is a voter no
    /// more by a change that is not known to be committed. Nobody else may hold that change, so
    /// without this node it would neither come about nor be undone (thesis §4.2.2). Never for
    /// another disk than the recorded one, whose promises it does not know.
    pub(crate) fn may_campaign(&self) -> bool {
        if self.is_other_disk(self.me) {
            return false;
        }
        let stack = self.log.memberships();
        let settled = stack.iter().rposition(|brought| brought.id().index <= self.commit_index);
        let open = &stack[settled.unwrap_or(0)..];
        self.is_voter() || open.iter().any(|membership| membership.is_voter(self.me.node))
    }

    /// Whether the membership records another disk for this node.
    pub(crate) fn is_other_disk(&self, peer: Peer) -> bool {
        let member = self.membership.members().get(&peer.node);
        let recorded = member.and_then(|member| member.incarnation);
        recorded.is_some_and(|incarnation| incarnation != peer.incarnation)
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
        let (min, max) = self.election_timeout();
        self.now.after(self.rng.span(min, max))
    }

    /// Between which election timeouts are drawn: as configured, or more if rounds take so long
    /// that they would end leaderships that work (§5.6).
    pub(crate) fn election_timeout(&self) -> (Duration, Duration) {
        let (min, max) = (self.config.election_timeout_min, self.config.election_timeout_max);
        let Some(ceiling) = self.config.adaptive_election_timeout_max else { return (min, max) };
        let wanted = self.broadcast_time.saturating_mul(TIMEOUT_PER_BROADCAST);
        // As wide as configured, in proportion.
        let ratio = max.as_secs_f64() / min.as_secs_f64();
        let top = wanted.max(min).as_secs_f64() * ratio;
        let top = Duration::from_secs_f64(top.min(ceiling.as_secs_f64())).max(max);
        (Duration::from_secs_f64(top.as_secs_f64() / ratio).max(min), top)
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
            self.log.begin_write(hard, self.config.limits.persist_bytes_max, self.now);
        let promises = out.take_promises(self.log.handed());
        Some(Persist {
            id,
            hard_state,
            base: self.base.take().map(Box::new),
            entries,
            changed,
            promises,
        })
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

    /// Application lane: an installed snapshot, a snapshot that is due, or the next committed
    /// entries; nothing that this disk may lose.
    pub(crate) fn take_apply(&mut self, out: &mut Outbox) -> Option<ApplyJob> {
        let durable = self.log.durable();
        if let Some(snapshot) = self.compaction.restore() {
            let covered = snapshot.last_included.index;
            if durable < covered {
                return None;
            }
            let snapshot = self.compaction.restore().take()?;
            self.apply_handed = covered;
            // A load that was under way when the log was replaced brought what lies before it.
            self.apply_loaded.clear();
            return Some(ApplyJob::Restore(Restore { snapshot }));
        }
        if let Some(capture) = self.take_capture() {
            return Some(ApplyJob::Capture(capture));
        }
        let limits = &self.config.limits;
        let mut upto = self.commit_index.min(durable);
        if mutant!("R14b") || mutant!("D1") && self.membership.voters().len() == 1 {
            upto = self.commit_index;
        }
        let full = self.apply_backlog_bytes >= limits.apply_backlog_bytes_max;
        mark!("apply-backlog-full", full && self.apply_handed < upto);
        if self.apply_handed >= upto || full {
            return None;
        }
        let first = self.apply_handed.next();
        let upto = upto.min(Compaction::boundary(self.apply_handed, &self.config.snapshots));
        let entries = match self.log.entries(first, upto, limits.apply_bytes_max) {
            Cached::Entries(entries) => entries,
            Cached::OnDisk if !self.apply_loaded.is_empty() => mem::take(&mut self.apply_loaded),
            Cached::OnDisk => {
                self.load_for_apply(first, upto, out);
                return None;
            }
            Cached::Compacted => unreachable!("the base is never above what was applied"),
        };
        Some(ApplyJob::Apply(self.hand_out(entries, first, upto)))
    }

    fn load_for_apply(&mut self, first: Index, upto: Index, out: &mut Outbox) {
        if self.apply_loading {
            return;
        }
        mark!("load-for-apply");
        self.apply_loading = true;
        let bytes_max = self.config.limits.apply_bytes_max;
        out.load(Load { range: first..upto.next(), bytes_max, purpose: LoadPurpose::Apply });
    }

    fn hand_out(&mut self, entries: Vec<Entry>, first: Index, upto: Index) -> Apply {
        assert!(entries[0].id.index == first, "entries are applied in order and without gaps");
        let last = entries.last().expect("it is not empty").id.index;
        let cost = entries.iter().map(|entry| entry.payload.cost()).sum();
        self.apply_handed = if mutant!("R14a") { upto } else { last };
        self.apply_backlog_bytes += cost;
        self.compaction.handed(last, cost, &self.config.snapshots);
        let tickets = self.log.take_tickets(last);
        self.log.evict(self.config.limits.log_cache_bytes_max, last);
        Apply { entries, tickets, cost }
    }

    /// A snapshot of everything handed out so far, if it is due.
    fn take_capture(&mut self) -> Option<Capture> {
        let covered = self.log.snapshot().map_or(Index::ZERO, |meta| meta.last_included.index);
        let handed = self.apply_handed;
        if !self.compaction.is_due(self.now, (covered, handed), &self.config.snapshots) {
            return None;
        }
        let term = self.log.term_at(handed).expect("what was applied is in the log or its base");
        // Who joins does not know whom the log belonged to before it was first told.
        let known = self.log.membership_at(handed).filter(|known| !known.is_empty());
        let membership = known?.clone();
        self.compaction.begin_capture();
        Some(Capture { last_included: EntryId::new(term, handed), membership })
    }

    /// A snapshot of this node is durable: the log up to it may go, but for what is kept behind it
    /// and what followers still need, as told by `pinned`.
    pub(crate) fn finish_capture(
        &mut self,
        captured: Captured,
        pinned: Option<Index>,
        out: &mut Outbox,
    ) {
        let Some(snapshot) = captured.snapshot else {
            let again = self.now.after(10 * self.config.election_timeout_max);
            self.compaction.end_capture(Some(again));
            return out.notice(Notice::SnapshotFailed);
        };
        self.compaction.end_capture(None);
        let covered = snapshot.last_included.index;
        if self.log.snapshot().is_some_and(|newest| newest.last_included.index >= covered) {
            // An installation came first.
            mark!("capture-outrun");
            return out.notice(Notice::SnapshotTaken { snapshot });
        }
        let policy = &self.config.snapshots;
        let mut upto = self.compaction.keep_after(covered, policy);
        if let Some(pinned) = pinned.filter(|pinned| *pinned < upto) {
            mark!("log-pinned");
            upto = pinned.max(self.compaction.within(policy.pinned_bytes_max)).min(upto);
        }
        self.base = Some(self.log.compact(snapshot.clone(), upto));
        self.compaction.forget(self.log.base().index);
        out.notice(Notice::SnapshotTaken { snapshot });
    }

    /// A leader's snapshot is published here and replaces the log (Figure 13, step 7).
    pub(crate) fn install(&mut self, snapshot: SnapshotMeta, out: &mut Outbox) {
        let covered = snapshot.last_included;
        assert!(covered.index > self.commit_index, "nothing committed is replaced");
        // What was forwarded may be inside the snapshot, and its entry is never seen.
        self.forwarding.abandon(out);
        let (base, dropped) = self.log.install(snapshot.clone());
        for ticket in dropped {
            if mutant!("C12") {
                break;
            }
            out.counters.proposals_failed += 1;
            out.notice(Notice::Dropped { ticket });
        }
        out.forget_promises();
        self.base = Some(base);
        self.apply_loaded.clear();
        self.compaction.must_restore(snapshot);
        self.compaction.forget(covered.index);
        self.adopt_membership(out);
        self.advance_commit(covered.index, out);
    }

    /// The log has another membership in force.
    pub(crate) fn adopt_membership(&mut self, out: &mut Outbox) {
        self.membership = self.log.membership();
        out.notice(Notice::MembershipChanged { membership: self.membership.clone() });
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

/// The lower election timeout is so many times the time of a round: an order of magnitude (§5.6).
const TIMEOUT_PER_BROADCAST: u32 = 10;
