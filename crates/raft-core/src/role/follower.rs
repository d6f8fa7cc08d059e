//! The follower: receives entries, answers for what its disk holds, and campaigns when no leader is
//! heard (§5.2, §5.3).
//!
//! * `accepted` is the highest entry known to equal the leader's, in memory at least.
//! * An answer that states only what is durable leaves at once; one that states more is a promise.
//! * Reads and proposals of local callers go to the leader.

use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use crate::log::SpliceError;
use crate::outbox::Outbox;
use crate::role::Transition;
use crate::role::candidate::Ballot;
use crate::state::Common;
use crate::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Consistency, Deadline,
    DeadlineReason, Epoch, Fetch, Index, InstallSnapshot, InstallSnapshotResponse, NodeId, Notice,
    Payload, ProposeError, ReadError, ReadIndex, ReadIndexResponse, RefusedProposal, Round, Ticket,
    Time, Violation,
};

/// What only a follower has.
#[derive(Debug)]
pub struct Follower {
    leader: Option<NodeId>,
    /// The replication session of the leader; an earlier one is not heard.
    epoch: Epoch,
    accepted: Index,
    leader_commit: Index,
    /// The newest round of this session that was answered.
    answered: Round,
    election_deadline: Time,
    outgoing: Vec<Payload>,
    reads: Reads,
}

/// Reads of local callers on their way to a read index.
#[derive(Debug, Default)]
struct Reads {
    waiting: Vec<Ticket>,
    asked: Vec<Ticket>,
    batch: u64,
    epoch: Epoch,
    /// When the batch under way was first asked for.
    asked_at: Time,
    /// The newest index that was given, and when it was asked for.
    newest: Option<(Time, Index)>,
    ask_again: Option<Time>,
}

impl Follower {
    pub(super) fn new(leader: Option<NodeId>, election_deadline: Time) -> Self {
        Self {
            leader,
            epoch: Epoch::ZERO,
            accepted: Index::ZERO,
            leader_commit: Index::ZERO,
            answered: Round::ZERO,
            election_deadline,
            outgoing: Vec::new(),
            reads: Reads::default(),
        }
    }

    /// The first follower of a node's life.
    pub(crate) fn at_start(common: &mut Common) -> Self {
        // It does not remember whom it heard before the restart, and whose lease it may break.
        if common.config.lease_reads.is_some() && !mutant!("C6c") {
            common.heard_leader = Some(common.now);
        }
        Self::new(None, common.election_deadline())
    }

    /// The leader of this term, if heard.
    pub fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    pub(super) fn election_deadline(&self) -> Time {
        self.election_deadline
    }

    /// A leader was heard or a vote given: the timeout begins anew.
    pub(crate) fn calm(&mut self, common: &mut Common) {
        self.election_deadline = common.election_deadline();
    }

    /// Figure 2, AppendEntries, receiver.
    pub(crate) fn on_append_entries(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        (from, epoch): (NodeId, Epoch),
        request: &AppendEntries,
    ) {
        if request.slice.last().term > common.term() {
            return out.dropped("entry of a later term than its leader");
        }
        if !self.hears(common, out, epoch) {
            return;
        }
        if request.broadcast_time > Duration::ZERO {
            common.broadcast_time = request.broadcast_time;
        }
        let slice = &request.slice;
        let spliced = match common.log.splice(slice, common.commit_index()) {
            Ok(spliced) => spliced,
            Err(SpliceError::Conflict { hint }) => {
                if mutant!("R6b") {
                    let last = common.log.last().index;
                    common.advance_commit(request.leader_commit.min(last), out);
                }
                let result = AppendResult::Conflict { hint, rejected: slice.prev().index };
                return Self::answer(common, out, (from, epoch), request, result);
            }
            Err(SpliceError::Committed(index)) => {
                return out.violation(Violation::CommittedConflict { index, from });
            }
            Err(SpliceError::Malformed(_)) => return out.dropped("malformed membership"),
        };
        for ticket in spliced.dropped {
            mark!("ticket-dropped");
            if mutant!("C11b") {
                out.refuse(ticket, RefusedProposal::NotLeader);
                continue;
            }
            out.counters.proposals_failed += 1;
            out.notice(Notice::Dropped { ticket });
        }
        if let Some(first) = spliced.first_new {
            common.forwarding.appended(&mut common.log, first);
        }
        if spliced.membership_changed {
            common.adopt_membership(out);
        }
        // What this message matched, not our last index: the rest may still be cut away.
        let matched = slice.last().index;
        let is_news = matched > self.accepted || request.round > self.answered;
        self.accepted = self.accepted.max(matched);
        self.leader_commit = self.leader_commit.max(request.leader_commit);
        if mutant!("R2a") {
            self.leader_commit = request.leader_commit;
        }
        let known = if mutant!("R2b") { common.log.last().index } else { self.accepted };
        common.advance_commit(self.leader_commit.min(known), out);
        if slice.is_empty() && !is_news {
            // It told us the commit index; an answer would tell the leader nothing.
            return;
        }
        self.answered = self.answered.max(request.round);
        let last = common.log.last().index;
        let (matched, accepted) =
            if mutant!("R6a") { (last, last) } else { (matched, self.accepted) };
        if !slice.is_empty() && matched > common.log.durable() && !mutant!("D23a") {
            let result = AppendResult::Matched { match_index: matched, accepted };
            let body = AppendEntriesResponse { round: request.round, result };
            common.promise(out, matched, (from, epoch), Body::AppendEntriesResponse(body));
        } else {
            let hasty = mutant!("R13") || mutant!("D23a");
            let match_index = if hasty { accepted } else { accepted.min(common.log.durable()) };
            let result = AppendResult::Matched { match_index, accepted };
            Self::answer(common, out, (from, epoch), request, result);
        }
    }

    fn answer(
        common: &Common,
        out: &mut Outbox,
        (to, epoch): (NodeId, Epoch),
        request: &AppendEntries,
        result: AppendResult,
    ) {
        let body = AppendEntriesResponse { round: request.round, result };
        common.send(out, to, epoch, Body::AppendEntriesResponse(body));
    }

    /// The leader speaks in this replication session; an earlier one is not heard.
    fn hears(&mut self, common: &mut Common, out: &mut Outbox, epoch: Epoch) -> bool {
        if epoch < self.epoch {
            out.dropped("ended conversation");
            return false;
        }
        if epoch > self.epoch {
            (self.epoch, self.accepted, self.answered) = (epoch, Index::ZERO, Round::ZERO);
        }
        common.heard_leader = Some(common.now);
        self.calm(common);
        true
    }

    /// Figure 13, InstallSnapshot, receiver: an offer. What is worth fetching is fetched; the
    /// answer says how much of the committed log is durable here.
    pub(crate) fn on_install_snapshot(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        (from, epoch): (NodeId, Epoch),
        offer: InstallSnapshot,
    ) {
        let covered = offer.snapshot.last_included;
        if covered.term > common.term() || offer.snapshot.membership.id().index > covered.index {
            return out.dropped("snapshot of a later term than its leader");
        }
        if !self.hears(common, out, epoch) {
            return;
        }
        let here = common.log.term_at(covered.index);
        if covered.index <= common.commit_index() {
            if here.is_some_and(|term| term != covered.term) {
                let index = covered.index;
                return out.violation(Violation::CommittedConflict { index, from });
            }
            mark!("offer-of-the-known");
        } else if here == Some(covered.term) || mutant!("S1") && here.is_some() {
            // Step 6: the log holds the last entry, so everything before it is the same.
            mark!("offer-of-the-held");
            common.advance_commit(covered.index, out);
        } else if common.compaction.begin_fetch(&offer.snapshot) {
            out.fetch(Fetch { from, snapshot: offer.snapshot });
        }
        self.answered = self.answered.max(offer.round);
        let match_index = common.commit_index().min(common.log.durable());
        let answer = InstallSnapshotResponse { match_index, round: offer.round };
        common.send(out, from, epoch, Body::InstallSnapshotResponse(answer));
    }

    /// A snapshot took the place of the log: the leader hears of it when the disk says so, too.
    pub(crate) fn on_installed(&mut self, common: &Common, out: &mut Outbox) {
        let Some(leader) = self.leader else { return };
        let match_index = common.log.last().index;
        self.accepted = match_index;
        let answer = InstallSnapshotResponse { match_index, round: self.answered };
        let body = Body::InstallSnapshotResponse(answer);
        common.promise(out, match_index, (leader, self.epoch), body);
    }

    /// Hands a proposal of a local caller to the leader.
    pub(crate) fn on_propose(
        &mut self,
        common: &mut Common,
        payload: Payload,
        ticket: Ticket,
    ) -> Result<NodeId, ProposeError> {
        let Some(leader) = self.leader else {
            return Err(ProposeError::NotLeader { leader: None });
        };
        if !common.config.forwarding {
            return Err(ProposeError::NotLeader { leader: Some(leader) });
        }
        let max = common.config.limits.forwarded_bytes_max;
        if common.forwarding.waiting_bytes() + payload.cost() > max {
            return Err(ProposeError::Overloaded { max });
        }
        let payload = common.forwarding.forward(common.term(), payload, ticket);
        self.outgoing.push(payload);
        Ok(leader)
    }

    /// The leader asks this follower to take over (thesis §3.10): it has everything, so no time is
    /// lost with a pre-vote.
    pub(crate) fn on_timeout_now(
        &self,
        common: &Common,
        out: &mut Outbox,
        from: NodeId,
    ) -> Transition {
        if self.leader != Some(from) || !common.may_campaign() && !mutant!("E18a") {
            mark!("asked-without-a-vote", !common.may_campaign());
            out.dropped("not asked by the leader, or without a vote");
            return Transition::Stay;
        }
        if common.is_disk_stalled() {
            return Transition::Stay;
        }
        mark!("asked-to-take-over");
        Transition::Campaign(Ballot::Transfer)
    }

    /// A read of a local caller: the leader knows the read index (thesis §6.4). The index it gave
    /// last will do for a read that may be as old.
    pub(crate) fn on_read(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        consistency: Consistency,
        ticket: Ticket,
    ) -> Result<(), ReadError> {
        if let (Consistency::Bounded { age_max }, Some((asked, index))) =
            (consistency, self.reads.newest)
            && common.now.since(asked) <= age_max
        {
            mark!("bounded-read");
            out.counters.reads += 1;
            let age = common.now.since(asked);
            out.notice(Notice::ReadReady { ticket, index, age });
            return Ok(());
        }
        let max = common.config.limits.waiting_reads_max;
        if self.leader.is_none() {
            return Err(ReadError::NoLeader);
        }
        if self.reads.waiting.len() + self.reads.asked.len() >= max {
            return Err(ReadError::Overloaded { max });
        }
        self.reads.waiting.push(ticket);
        Ok(())
    }

    pub(crate) fn on_read_index_response(
        &mut self,
        out: &mut Outbox,
        epoch: Epoch,
        answer: ReadIndexResponse,
    ) {
        let reads = &mut self.reads;
        if epoch != reads.epoch || answer.batch != reads.batch || reads.ask_again.is_none() {
            return out.dropped("ended conversation");
        }
        reads.ask_again = None;
        if let Some(index) = answer.index {
            reads.newest = Some((reads.asked_at, index));
        }
        for ticket in mem::take(&mut reads.asked) {
            match answer.index {
                Some(index) => {
                    out.counters.reads += 1;
                    out.notice(Notice::ReadReady { ticket, index, age: Duration::ZERO });
                }
                None => {
                    out.notice(Notice::ReadFailed { ticket, error: ReadError::LeaderChanged });
                }
            }
        }
    }

    /// Network lane: what local callers want from the leader, in as few messages as possible.
    pub(crate) fn drain(&mut self, common: &mut Common, out: &mut Outbox) {
        let Some(leader) = self.leader else { return };
        // Messages of a term that the disk does not hold yet leave later than those of afterwards;
        // proposals must not overtake each other, so they wait.
        if !common.is_hard_state_durable() {
            return;
        }
        let max = common.config.limits.message_bytes_max;
        let (mut batch, mut bytes) = (Vec::new(), 0);
        for payload in mem::take(&mut self.outgoing) {
            bytes += payload.cost();
            if !batch.is_empty() && bytes > max {
                let propose = common.forwarding.pack(mem::take(&mut batch));
                common.send(out, leader, Epoch::ZERO, Body::Propose(propose));
                bytes = payload.cost();
            }
            batch.push(payload);
        }
        if !batch.is_empty() {
            let propose = common.forwarding.pack(batch);
            common.send(out, leader, Epoch::ZERO, Body::Propose(propose));
        }
        if self.reads.asked.is_empty() && !self.reads.waiting.is_empty() {
            self.reads.asked = mem::take(&mut self.reads.waiting);
            self.reads.epoch = common.next_epoch();
            self.reads.batch += 1;
            self.reads.asked_at = common.now;
            self.ask(common, out, leader);
        }
    }

    fn ask(&mut self, common: &Common, out: &mut Outbox, leader: NodeId) {
        let ask = ReadIndex { batch: self.reads.batch };
        common.send(out, leader, self.reads.epoch, Body::ReadIndex(ask));
        self.reads.ask_again = Some(common.now.after(common.config.heartbeat_interval));
    }

    /// The connection to a peer broke. If it was the leader, its process has probably ended: unless
    /// it is heard again at once, this follower asks the others, who noticed the same, instead of
    /// waiting for the election timeout. A leader that others still hear loses nothing by it, for
    /// they refuse the pre-vote.
    pub(crate) fn on_unreachable(&mut self, common: &mut Common, peer: NodeId) {
        // Under a lease nobody may look for another leader before its time.
        let is_bound = common.config.lease_reads.is_some();
        if self.leader != Some(peer) || !common.config.pre_vote || is_bound {
            return;
        }
        mark!("leader-unreachable");
        common.heard_leader = None;
        self.election_deadline = self.election_deadline.min(common.suspicion_deadline());
    }

    /// What is due at `now`.
    pub(crate) fn on_timeout(&mut self, common: &mut Common, out: &mut Outbox) -> Transition {
        if let (Some(at), Some(leader)) = (self.reads.ask_again, self.leader)
            && common.now >= at
        {
            mark!("read-asked-again");
            self.ask(common, out, leader);
        }
        if common.now < self.election_deadline && !mutant!("E22b") {
            return Transition::Stay;
        }
        if !common.may_campaign() || common.is_disk_stalled() {
            // A learner waits (thesis §4.2.1), and so does who cannot keep a promise.
            self.calm(common);
            return Transition::Stay;
        }
        let ballot = if common.config.pre_vote { Ballot::PreVote } else { Ballot::Vote };
        Transition::Campaign(ballot)
    }

    pub(crate) fn deadline(&self) -> Deadline {
        match self.reads.ask_again {
            Some(at) if at < self.election_deadline => {
                Deadline { at, reason: DeadlineReason::ReadIndex }
            }
            Some(_) | None => {
                Deadline { at: self.election_deadline, reason: DeadlineReason::Election }
            }
        }
    }

    /// The leader is gone, or this node follows no more.
    pub(super) fn leave(&mut self, common: &mut Common, out: &mut Outbox) {
        for payload in mem::take(&mut self.outgoing) {
            let origin = payload.origin().expect("what is forwarded carries its origin");
            common.forwarding.refused(origin.ticket, RefusedProposal::NotLeader, out);
        }
        let reads = mem::take(&mut self.reads);
        for ticket in reads.asked.into_iter().chain(reads.waiting) {
            out.notice(Notice::ReadFailed { ticket, error: ReadError::LeaderChanged });
        }
    }
}
