//! Messages: the rules that hold for every role, each written once, and then one table that says
//! who listens to what.

use super::RaftNode;
use crate::outbox::Outbox;
use crate::role::candidate::Ballot;
use crate::role::{Role, Transition};
use crate::state::Common;
use crate::{
    AppendEntriesResponse, AppendResult, Body, EntryId, Epoch, Index, Message, NodeId, Notice,
    Payload, Peer, PreVote, PreVoteResponse, Propose, ProposeResponse, ReadIndexResponse,
    RefusalReason, RefusedProposal, RequestVote, Violation, vote,
};

impl RaftNode {
    /// The rules for every role, in order, then the table.
    pub(super) fn receive(&mut self, message: Message) {
        let Message { from, to, term, epoch, body } = message;
        if !self.is_known(from, to, &body) {
            return;
        }
        let sender = (from.node, epoch);
        if let (common, Role::Leader(leader)) = self.state.split() {
            leader.meet(common, from);
        }
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
        if term > common.term() && vote::is_of_a_stranger(common, role, from.node, &body) {
            mark!("term-of-a-removed-node");
            return self.out.dropped("not a member");
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
    fn is_known(&mut self, from: Peer, to: NodeId, body: &Body) -> bool {
        let common = &self.state.common;
        let reason = if to != common.me.node || from.node == common.me.node {
            RefusalReason::WrongAddressee
        } else if common.is_other_disk(from)
            && !may_be_recorded_later(common, body)
            && !mutant!("M3a")
        {
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
                if vote::on_request_vote(common, out, from, ask.last) {
                    return on_vote_given(role, common);
                }
            }
            (Role::Follower(follower), Body::AppendEntries(request)) => {
                follower.on_append_entries(common, out, from, &request);
            }
            (Role::Follower(follower), Body::InstallSnapshot(offer)) => {
                follower.on_install_snapshot(common, out, from, offer);
            }
            (Role::Leader(leader), Body::InstallSnapshotResponse(response)) => {
                leader.on_snapshot_response(common, out, from, response);
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
            (Role::Follower(follower), Body::TimeoutNow) => {
                return follower.on_timeout_now(common, out, from.0);
            }
            // A leader or candidate that hears another leader was made a follower before; the rest
            // are answers to questions this node no longer asks.
            (
                Role::Leader(_) | Role::Candidate(_),
                Body::AppendEntries(_)
                | Body::InstallSnapshot(_)
                | Body::ReadIndexResponse(_)
                | Body::TimeoutNow,
            )
            | (
                Role::Follower(_) | Role::Leader(_),
                Body::PreVoteResponse(_) | Body::RequestVoteResponse(_),
            )
            | (
                Role::Follower(_) | Role::Candidate(_),
                Body::AppendEntriesResponse(_) | Body::InstallSnapshotResponse(_),
            ) => {
                out.dropped("ended conversation");
            }
        }
        Transition::Stay
    }
}

/// Whether the membership may record the disk that says this in an entry that this log lacks: who
/// leads was elected by those that knew it, and who has more than this log may know more. Nothing
/// of it is counted here, unlike what answers say.
fn may_be_recorded_later(common: &Common, body: &Body) -> bool {
    match body {
        Body::AppendEntries(_) | Body::InstallSnapshot(_) => true,
        Body::PreVote(PreVote { last }) | Body::RequestVote(RequestVote { last, .. }) => {
            *last > common.log.last()
        }
        Body::PreVoteResponse(_)
        | Body::RequestVoteResponse(_)
        | Body::AppendEntriesResponse(_)
        | Body::InstallSnapshotResponse(_)
        | Body::ReadIndex(_)
        | Body::ReadIndexResponse(_)
        | Body::Propose(_)
        | Body::ProposeResponse(_)
        | Body::TimeoutNow => false,
    }
}

/// This node gave its vote to another.
fn on_vote_given(role: &mut Role, common: &mut Common) -> Transition {
    match role {
        Role::Follower(follower) if !mutant!("E14a") => follower.calm(common),
        // Who gave its vote away asks for none.
        Role::Candidate(_) => return Transition::Follow { leader: None },
        Role::Follower(_) | Role::Leader(_) => {}
    }
    Transition::Stay
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
