//! `RaftNode`: the face of the core. Commands and events in, lanes out.
//!
//! * `handle_message` applies the rules that hold for every role, each written once, and then one
//!   table says who listens to what.
//! * `transition` is the only place where a role changes.
//! * The node never blocks, never reads a clock and never logs. Whatever is worth a line is an
//!   input, an output or a notice.
//!
//! Read next: `raft-runtime/src/host.rs`, which pumps it.

use alloc::vec::Vec;

use crate::invariants::{self, Snapshot};
use crate::outbox::Outbox;
use crate::output::LoadPurpose;
use crate::role::candidate::Ballot;
use crate::role::follower::Follower;
use crate::role::{Role, Transition};
use crate::state::{Common, RaftState};
use crate::{
    AppendEntriesResponse, AppendResult, Applied, Apply, Body, ConfigError, Deadline, EntryId,
    Epoch, Incarnation, Index, Load, Loaded, Message, NodeId, Notice, Payload, PayloadKind, Peer,
    Persist, Persisted, PreVoteResponse, Propose, ProposeError, ProposeResponse, RaftConfig,
    ReadError, ReadIndexResponse, RefusalReason, RefusedProposal, Restored, Status, Ticket, Time,
    Violation, vote,
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

/// What became of an accepted proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is an entry of this leader's log, not yet committed.
    Appended(EntryId),
    /// It goes to this leader.
    Forwarded(NodeId),
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

    // Commands.

    /// Appends a payload to this leader's log and begins to replicate it (§5.3); a follower hands
    /// it to its leader.
    ///
    /// The fate of an accepted proposal comes back with `ticket`, exactly once: in [`Apply`] when
    /// it is committed, as [`Notice::Dropped`] when it left this log (outcome unknown), or as
    /// [`Notice::Refused`] when it will certainly never be applied.
    ///
    /// # Errors
    ///
    /// All mean *not applied*, and the ticket does not come back.
    pub fn propose(
        &mut self,
        now: Time,
        payload: Payload,
        ticket: Ticket,
    ) -> Result<Proposed, ProposeError> {
        self.advance(now);
        let (common, role) = self.state.split();
        if payload.kind() != PayloadKind::Command {
            return Err(ProposeError::NotACommand);
        }
        let (bytes, max) = (payload.bytes().len() as u64, common.config.limits.command_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let accepted = match role {
            Role::Leader(leader) => {
                leader.on_propose(common, &mut self.out, payload, ticket).map(Proposed::Appended)
            }
            Role::Follower(follower) => {
                self.out.counters.forwarded += 1;
                follower.on_propose(common, payload, ticket).map(Proposed::Forwarded)
            }
            Role::Candidate(_) => Err(ProposeError::NotLeader { leader: None }),
        };
        self.finish();
        accepted
    }

    /// Asks for the index from which a read is linearizable (thesis §6.4).
    ///
    /// Comes back with `ticket`, exactly once, as [`Notice::ReadReady`] or [`Notice::ReadFailed`].
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the ticket does not come back.
    pub fn read(&mut self, now: Time, ticket: Ticket) -> Result<(), ReadError> {
        self.advance(now);
        let (common, role) = self.state.split();
        let accepted = match role {
            Role::Leader(leader) => leader.on_local_read(common, ticket),
            Role::Follower(follower) => follower.on_read(common, ticket),
            Role::Candidate(_) => Err(ReadError::NoLeader),
        };
        self.finish();
        accepted
    }

    /// Gives up waiting for a proposal that went to the leader. Its outcome stays unknown; what it
    /// took of `forwarded_bytes_max` is free again. Does nothing for any other ticket.
    pub fn forget(&mut self, ticket: Ticket) {
        self.state.common.forwarding.forget(ticket);
    }

    // Events.

    /// Takes a message. A peer's nonsense is dropped and counted.
    pub fn handle_message(&mut self, now: Time, message: Message) {
        self.advance(now);
        self.receive(message);
        self.finish();
    }

    /// The rules for every role, in order, then the table.
    fn receive(&mut self, message: Message) {
        let Message { from, to, term, epoch, body } = message;
        if !self.is_known(from, to) {
            return;
        }
        let sender = (from.node, epoch);
        // Stickiness (thesis §4.2.3), before the term is looked at.
        let (common, role) = self.state.split();
        if body.may_disturb() && vote::is_sticky(common, role) {
            mark!("vote-while-led");
            self.out.dropped("vote while a leader is heard");
            return vote::refuse(common, &mut self.out, sender, &body);
        }
        // Term (§5.1).
        if mutant!("E5a") && term < common.term() && matches!(body, Body::AppendEntries(_)) {
            common.overwrite(term, None);
        }
        if term < common.term() && !is_mistaken_for_present(&body) {
            return self.answer_stale(sender, &body);
        }
        if term > common.term() {
            common.enter_term(term, &mut self.out);
            if mutant!("E6") && matches!(role, Role::Leader(_)) {
                common.vote_for(common.me.node);
            } else {
                self.transition(Transition::Follow { leader: None });
            }
        }
        // Leader (§5.2): who appends in our term leads it.
        if matches!(body, Body::AppendEntries(_) | Body::InstallSnapshot(_))
            && !self.recognise(from.node)
        {
            return;
        }
        let next = self.dispatch(sender, body);
        self.transition(next);
    }

    /// Identity: messages for others, and of disks other than the recorded one, are not heard.
    fn is_known(&mut self, from: Peer, to: NodeId) -> bool {
        let common = &self.state.common;
        let recorded =
            common.membership.members().get(&from.node).and_then(|member| member.incarnation);
        let reason = if to != common.me.node || from.node == common.me.node {
            RefusalReason::WrongAddressee
        } else if recorded.is_some_and(|incarnation| incarnation != from.incarnation) {
            RefusalReason::ForeignIncarnation
        } else {
            return true;
        };
        self.out.dropped("identity");
        self.out.notice(Notice::PeerRefused { peer: from, reason });
        false
    }

    /// A message of an earlier term: a leader or a pre-candidate that is stuck there learns ours.
    fn answer_stale(&mut self, (to, epoch): (NodeId, Epoch), body: &Body) {
        self.out.dropped("earlier term");
        let (common, role) = self.state.split();
        let is_append = matches!(body, Body::AppendEntries(_));
        if mutant!("E12b") && is_append {
            return;
        }
        if let Role::Follower(follower) = role
            && mutant!("E14b")
            && is_append
        {
            follower.calm(common);
        }
        let answer = match body {
            Body::AppendEntries(request) => {
                let (hint, rejected) = (EntryId::ZERO, request.slice.prev().index);
                let result = AppendResult::Conflict { hint, rejected };
                Body::AppendEntriesResponse(AppendEntriesResponse { round: request.round, result })
            }
            Body::InstallSnapshot(offer) => {
                let result = AppendResult::Conflict { hint: EntryId::ZERO, rejected: Index::ZERO };
                Body::AppendEntriesResponse(AppendEntriesResponse { round: offer.round, result })
            }
            Body::PreVote(_) if mutant!("E11a") => return,
            Body::PreVote(_) => Body::PreVoteResponse(PreVoteResponse { granted: false }),
            // Answers to questions of an earlier term, and askers that find out by themselves.
            Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntriesResponse(_)
            | Body::InstallSnapshotResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => return,
        };
        common.send(&mut self.out, to, epoch, answer);
    }

    /// Follows whoever appends in our term. `false` if that cannot be: a term has one leader.
    fn recognise(&mut self, from: NodeId) -> bool {
        let me = self.state.common.me.node;
        match self.state.role.leader(me) {
            Some(leader) if leader == from => true,
            Some(_) => {
                let term = self.state.common.term();
                self.out.violation(Violation::TwoLeaders { term, from });
                false
            }
            None if mutant!("E15") && matches!(self.state.role, Role::Candidate(_)) => false,
            None => {
                mark!("candidate-hears-leader", matches!(self.state.role, Role::Candidate(_)));
                if mutant!("E2b") {
                    self.state.common.overwrite(self.state.common.term(), None);
                }
                self.transition(Transition::Follow { leader: Some(from) });
                true
            }
        }
    }

    /// Who listens to what.
    fn dispatch(&mut self, from: (NodeId, Epoch), body: Body) -> Transition {
        let out = &mut self.out;
        let (common, role) = self.state.split();
        match (role, body) {
            (_, Body::PreVote(ask)) => {
                vote::on_pre_vote(common, out, from, ask.last);
                if mutant!("E11b") {
                    common.heard_leader = Some(common.now);
                }
            }
            (role, Body::RequestVote(ask)) => {
                let granted = vote::on_request_vote(common, out, from, ask.last);
                match role {
                    Role::Follower(follower) if granted && !mutant!("E14a") => {
                        follower.calm(common);
                    }
                    // Who gave its vote away asks for none.
                    Role::Candidate(_) if granted => return Transition::Follow { leader: None },
                    Role::Follower(_) | Role::Candidate(_) | Role::Leader(_) => {}
                }
            }
            (Role::Follower(follower), Body::AppendEntries(request)) => {
                follower.on_append_entries(common, out, from, &request);
            }
            (Role::Candidate(candidate), Body::PreVoteResponse(vote)) => {
                return candidate.on_vote(common, out, from, (Ballot::PreVote, vote.granted));
            }
            (Role::Candidate(candidate), Body::RequestVoteResponse(vote)) => {
                return candidate.on_vote(common, out, from, (Ballot::Vote, vote.granted));
            }
            (Role::Leader(leader), Body::AppendEntriesResponse(response)) => {
                leader.on_append_response(common, out, from, response);
            }
            (Role::Leader(leader), Body::ReadIndex(ask)) => {
                leader.on_read_index(common, out, from, ask.batch);
            }
            (Role::Follower(follower), Body::ReadIndexResponse(answer)) => {
                if let (true, Some(index)) = (mutant!("C7b"), answer.index) {
                    common.advance_commit(index.min(common.log.last().index), out);
                }
                follower.on_read_index_response(out, from.1, answer);
            }
            (role, Body::Propose(propose)) => on_propose(role, common, out, from.0, propose),
            (_, Body::ProposeResponse(response)) => on_propose_response(common, out, response),
            (Role::Follower(_) | Role::Candidate(_), Body::ReadIndex(ask)) => {
                let answer = ReadIndexResponse { batch: ask.batch, index: None };
                common.send(out, from.0, from.1, Body::ReadIndexResponse(answer));
            }
            // Snapshots are neither taken nor offered yet, and leadership is not transferred.
            (_, Body::InstallSnapshot(_) | Body::InstallSnapshotResponse(_) | Body::TimeoutNow) => {
                out.dropped("not spoken yet");
            }
            // A leader or candidate that hears another leader was made a follower before; the rest
            // are answers to questions this node no longer asks.
            (
                Role::Leader(_) | Role::Candidate(_),
                Body::AppendEntries(_) | Body::ReadIndexResponse(_),
            )
            | (
                Role::Follower(_) | Role::Leader(_),
                Body::PreVoteResponse(_) | Body::RequestVoteResponse(_),
            )
            | (Role::Follower(_) | Role::Candidate(_), Body::AppendEntriesResponse(_)) => {
                out.dropped("ended conversation");
            }
        }
        Transition::Stay
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

    /// Asks whether an election could be won now instead of at the deadline: for tests, scripts and
    /// operators. Does nothing on a leader or a learner.
    pub fn campaign(&mut self, now: Time) {
        self.advance(now);
        let leads = matches!(self.state.role, Role::Leader(_)) && !mutant!("E10c");
        if self.state.common.is_voter() && !leads {
            let pre_vote = self.state.common.config.pre_vote;
            let ballot = if pre_vote { Ballot::PreVote } else { Ballot::Vote };
            self.transition(Transition::Campaign(ballot));
        }
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

    /// The transport did not even queue the [`Propose`] that carried these tickets: it was
    /// certainly not delivered. They come back as [`Notice::Refused`].
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

    /// Application lane: the next committed entries.
    pub fn take_apply(&mut self) -> Option<Apply> {
        self.state.common.take_apply(&mut self.out)
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

/// What mutants hear although it is of an earlier term. Nothing, otherwise.
fn is_mistaken_for_present(body: &Body) -> bool {
    mutant!("E1") && matches!(body, Body::RequestVoteResponse(_))
        || mutant!("E10a") && matches!(body, Body::PreVoteResponse(_))
        || mutant!("R10a") && matches!(body, Body::AppendEntriesResponse(_))
}

/// Proposals that a follower's callers made, at whatever this node is.
fn on_propose(
    role: &mut Role,
    common: &mut Common,
    out: &mut Outbox,
    from: NodeId,
    propose: Propose,
) {
    if !common.forwarding.is_new(from, &propose) {
        mark!("forwarded-twice");
        return out.dropped("doubled or overtaken proposal");
    }
    match role {
        Role::Leader(leader) => leader.on_forwarded(common, out, from, propose),
        // It may have led this term before a restart, and appended this then.
        Role::Follower(_) | Role::Candidate(_) if !common.forwarding.remembers(common.term()) => {
            out.dropped("proposal to an earlier process");
        }
        Role::Follower(_) | Role::Candidate(_) => {
            let origins = propose.payloads.iter().filter_map(Payload::origin);
            let refused =
                origins.map(|origin| (origin.ticket, RefusedProposal::NotLeader)).collect();
            let answer = ProposeResponse { boot: propose.boot, refused };
            common.send(out, from, Epoch::ZERO, Body::ProposeResponse(answer));
        }
    }
}

fn on_propose_response(common: &mut Common, out: &mut Outbox, response: ProposeResponse) {
    if response.boot != common.forwarding.boot() {
        return out.dropped("ended conversation");
    }
    for (ticket, reason) in response.refused {
        common.forwarding.refused(ticket, reason, out);
    }
}
