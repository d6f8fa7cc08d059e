//! `RaftNode`: the face of the core. Commands and events in, lanes out.
//!
//! * Commands are in `node/commands.rs`. Messages go through `node/receive.rs`: the rules that hold
//!   for every role, each written once, and then one table that says who listens to what.
//! * `transition` is the only place where a role changes.
//! * The node never blocks, never reads a clock and never logs. Whatever is worth a line is an
//!   input, an output or a notice.
//!
//! Read next: `raft-runtime/src/host.rs`, which pumps it.

mod commands;
mod receive;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

pub use self::commands::{Consistency, Proposed};

use crate::invariants::{self, Snapshot};
use crate::outbox::Outbox;
use crate::output::LoadPurpose;
use crate::role::follower::Follower;
use crate::role::{Role, Transition};
use crate::state::{Common, RaftState};
use crate::{
    Applied, ApplyJob, Captured, ConfigError, Deadline, Fetch, Fetched, Incarnation, Load, Loaded,
    Member, Message, NodeId, Notice, Persist, Persisted, RaftConfig, RefusedProposal, Restored,
    Status, Ticket, Time,
};

/// One node of one group: the pure protocol.
///
/// Four kinds of methods: *commands* (verbs) are refused now or accepted, and the fate of the
/// accepted comes back with the ticket; *events* (`handle_`) are infallible; *outputs* (`take_`)
/// are pulled in any order at any pace; *questions* are plain nouns.
#[derive(Debug)]
pub struct RaftNode {
    state: RaftState,
    out: Outbox,
    told: Snapshot,
}

impl RaftNode {
    /// A node as its disk remembers it; a blank disk begins with the configured members.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] lists every broken rule of the configuration, or says what does not fit
    /// together on the disk.
    pub fn new(
        config: RaftConfig,
        incarnation: Incarnation,
        restored: Restored,
        now: Time,
    ) -> Result<Self, ConfigError> {
        config.validate()?;
        restored.validate()?;
        let mut common = Common::new(config, incarnation, restored);
        common.now = now;
        let role = Role::Follower(Follower::at_start(&mut common));
        let state = RaftState { common, role };
        let told = Snapshot::of(&state);
        Ok(Self { state, out: Outbox::default(), told })
    }

    // Events.

    /// Takes a message. A peer's nonsense is dropped and counted.
    pub fn handle_message(&mut self, now: Time, message: Message) {
        self.advance(now);
        self.receive(message);
        self.finish();
    }

    /// Called when [`deadline`](Self::deadline) has passed. Late is one timeout, not many.
    pub fn handle_timeout(&mut self, now: Time) {
        self.advance(now);
        let (common, role) = self.state.split();
        let next = match role {
            Role::Follower(follower) => follower.on_timeout(common, &mut self.out),
            Role::Candidate(candidate) => candidate.on_timeout(common),
            Role::Leader(leader) => leader.on_timeout(common, &mut self.out),
        };
        self.transition(next);
        self.finish();
    }

    /// Whether the disk of this node has room for more than the group needs to go on. While it has
    /// not, a leader refuses proposals ([`StorageFull`](crate::ProposeError::StorageFull)) and does
    /// everything else: elections, memberships, replication, and snapshots, which make room again.
    pub fn handle_room(&mut self, now: Time, has_room: bool) {
        self.advance(now);
        self.state.common.has_disk_room = has_room;
        self.finish();
    }

    /// The transport lost its connection to a peer, and with it perhaps messages.
    pub fn handle_unreachable(&mut self, now: Time, peer: NodeId) {
        self.advance(now);
        let (common, role) = self.state.split();
        match role {
            Role::Follower(follower) => follower.on_unreachable(common, peer),
            Role::Candidate(_) => {}
            Role::Leader(leader) => leader.on_unreachable(peer),
        }
        self.finish();
    }

    /// The transport did not even queue the [`Propose`](crate::Propose) that carried these tickets:
    /// it was certainly not delivered. They come back as [`Notice::Refused`].
    pub fn handle_unsent(&mut self, now: Time, tickets: &[Ticket]) {
        self.advance(now);
        for ticket in tickets {
            let forwarding = &mut self.state.common.forwarding;
            forwarding.refused(*ticket, RefusedProposal::NotLeader, &mut self.out);
        }
        self.finish();
    }

    /// A write is durable.
    ///
    /// # Panics
    ///
    /// If the receipt is not of the oldest write in flight: the host mixed them up.
    pub fn handle_persisted(&mut self, now: Time, persisted: Persisted) {
        self.advance(now);
        let (common, role) = self.state.split();
        common.finish_write(persisted);
        let next = match role {
            Role::Follower(_) => Transition::Stay,
            Role::Candidate(candidate) => candidate.on_persisted(common),
            Role::Leader(leader) => {
                leader.on_persisted(common, &mut self.out);
                Transition::Stay
            }
        };
        self.transition(next);
        self.finish();
    }

    /// Entries came from the disk.
    pub fn handle_loaded(&mut self, now: Time, loaded: Loaded) {
        self.advance(now);
        let Loaded { load, entries } = loaded;
        let (common, role) = self.state.split();
        match (load.purpose, role) {
            (LoadPurpose::Apply, _) => common.loaded_for_apply(entries),
            (LoadPurpose::Replicate { to, epoch }, Role::Leader(leader)) => {
                leader.on_loaded(common, &mut self.out, (to, epoch), entries);
            }
            // Loaded for a leadership that ended.
            (LoadPurpose::Replicate { .. }, Role::Follower(_) | Role::Candidate(_)) => {
                mark!("load-came-too-late");
            }
        }
        self.finish();
    }

    /// Entries are inside the state machine.
    pub fn handle_applied(&mut self, now: Time, applied: Applied) {
        self.advance(now);
        self.state.common.finish_apply(applied);
        self.finish();
    }

    /// A snapshot of this node is durable, or failed: the log up to it may be dropped (§7).
    pub fn handle_captured(&mut self, now: Time, captured: Captured) {
        self.advance(now);
        let (common, role) = self.state.split();
        let pinned = match role {
            Role::Leader(leader) => leader.pinned(common),
            Role::Follower(_) | Role::Candidate(_) => None,
        };
        common.finish_capture(captured, pinned, &mut self.out);
        self.finish();
    }

    /// A snapshot that a leader offered is published here, or could not be had.
    pub fn handle_fetched(&mut self, now: Time, fetched: Fetched) {
        self.advance(now);
        let (common, role) = self.state.split();
        common.compaction.end_fetch();
        let covered = fetched.snapshot.last_included;
        if !fetched.is_complete {
            mark!("fetch-failed");
        } else if covered.index <= common.commit_index() || common.log.holds(covered) {
            // Entries came faster (Figure 13, step 6: what the log holds is kept).
            mark!("fetch-outrun");
        } else {
            common.install(fetched.snapshot, &mut self.out);
            match role {
                Role::Follower(follower) => follower.on_installed(common, &mut self.out),
                Role::Candidate(_) if !common.may_campaign() => {
                    self.transition(Transition::Follow { leader: None });
                }
                Role::Candidate(_) => {}
                Role::Leader(_) => unreachable!("a leader holds what is committed"),
            }
        }
        self.finish();
    }

    // Outputs.

    /// Disk lane: the next write. Several may be in flight; they are written in this order.
    pub fn take_persist(&mut self) -> Option<Persist> {
        let persist = self.state.common.take_persist(&mut self.out);
        self.finish();
        persist
    }

    /// Disk lane: entries to load.
    pub fn take_load(&mut self) -> Option<Load> {
        self.out.take_load()
    }

    /// Network lane: everything to send now, built as it is pulled.
    pub fn take_messages(&mut self) -> Vec<Message> {
        let (common, role) = self.state.split();
        match role {
            Role::Follower(follower) => follower.drain(common, &mut self.out),
            Role::Candidate(_) => {}
            Role::Leader(leader) => leader.drain(common, &mut self.out),
        }
        self.finish();
        self.out.take_messages()
    }

    /// Application lane: the next committed entries, a snapshot to become, or to take.
    pub fn take_apply(&mut self) -> Option<ApplyJob> {
        self.state.common.take_apply(&mut self.out)
    }

    /// Network lane: a snapshot to fetch from a peer.
    pub fn take_fetch(&mut self) -> Option<Fetch> {
        self.out.take_fetch()
    }

    /// What the host must tell somebody.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.out.take_notices()
    }

    // Questions.

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn deadline(&self) -> Deadline {
        match &self.state.role {
            Role::Follower(follower) => follower.deadline(),
            Role::Candidate(candidate) => candidate.deadline(),
            Role::Leader(leader) => leader.deadline(),
        }
    }

    /// Whether the next receipt of a write is urgent: a leader counts it, a candidate votes with
    /// it, a follower has more to write or to apply. Otherwise a host may hand it in with whatever
    /// wakes it next.
    pub fn waits_for_disk(&self) -> bool {
        match &self.state.role {
            Role::Follower(_) => self.state.common.waits_for_disk(),
            Role::Candidate(_) | Role::Leader(_) => true,
        }
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.state.common.me.node
    }

    /// Everything the node knows.
    pub fn state(&self) -> &RaftState {
        &self.state
    }

    /// What an operator may see.
    pub fn status(&self) -> Status {
        let common = &self.state.common;
        let (term, role, leader) = Snapshot::of(&self.state).told();
        let progress = match &self.state.role {
            Role::Leader(leader) => leader.progress(),
            Role::Follower(_) | Role::Candidate(_) => Vec::new(),
        };
        Status {
            id: common.me.node,
            term,
            role,
            leader,
            voted_for: common.voted_for(),
            commit_index: common.commit_index(),
            last_applied: common.last_applied(),
            last: common.log.last(),
            durable: common.log.durable(),
            membership: common.membership.clone(),
            progress,
            counters: self.out.counters.clone(),
        }
    }

    /// Who can be reached, and where: the members, those of the membership before while the present
    /// one is not committed, and members that left and are still told so.
    pub fn roster(&self) -> BTreeMap<NodeId, Member> {
        let common = &self.state.common;
        let commit = common.commit_index();
        let stack = common.log.memberships();
        let committed = stack.iter().rposition(|membership| membership.id().index <= commit);
        let mut roster = BTreeMap::new();
        if let Role::Leader(leader) = &self.state.role {
            roster.extend(leader.departing().map(|(node, member)| (node, member.clone())));
        }
        for membership in &stack[committed.unwrap_or(0)..] {
            let members = membership.members().iter();
            roster.extend(members.map(|(node, member)| (*node, member.clone())));
        }
        roster
    }

    /// Callers that wait for proposals, here or at the leader.
    pub fn waiting_proposals(&self) -> usize {
        self.state.common.log.waiting() + self.state.common.forwarding.waiting()
    }

    fn advance(&mut self, now: Time) {
        let before = self.state.common.now;
        self.state.common.now = now.max(before);
    }

    /// The one place where the role changes.
    fn transition(&mut self, mut next: Transition) {
        while next != Transition::Stay {
            let (common, role) = self.state.split();
            next = role.enter(next, common, &mut self.out);
        }
    }

    /// After every step: invariants, and the notice if term, role or leader changed.
    fn finish(&mut self) {
        if let (common, Role::Leader(leader)) = self.state.split()
            && common.is_retired()
        {
            mark!("leader-retired");
            leader.resign(common, &mut self.out);
            self.transition(Transition::Follow { leader: None });
        }
        invariants::check(&self.state);
        let now = Snapshot::of(&self.state);
        invariants::check_step(&self.told, &now);
        if now.told() != self.told.told() {
            let (term, role, leader) = now.told();
            if leader != self.told.told().2 {
                self.out.counters.leader_changes += 1;
            }
            self.out.notice(Notice::RoleChanged { term, role, leader });
        }
        self.told = now;
    }
}
