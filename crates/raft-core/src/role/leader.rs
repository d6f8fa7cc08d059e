//! The leader: appends, replicates, counts and commits (§5.3, §5.4.2), and knows that it leads
//! (thesis §6.2, §6.4).
//!
//! * The log of a leader is only appended to.
//! * Only entries of its own term are committed by counting; earlier ones with them (§5.4.2).
//! * Its own log counts like a follower's: up to the durable mark.
//! * Without an answer of a quorum to a round begun within the last election timeout it steps down.
//!
//! Messages with entries are built when the network lane is drained, so everything appended since
//! shares one message a follower. Read next: `leader/progress.rs`, `leader/read.rs`.

mod change;
mod progress;
mod read;
mod transfer;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use self::change::Changes;
use self::progress::{Progress, Step, Word};
use self::read::{Reader, Reads};
use self::transfer::Transfer;
use super::estimate::Estimate;
use crate::outbox::Outbox;
use crate::output::LoadPurpose;
use crate::role::Transition;
use crate::state::Common;
use crate::{
    AppendEntriesResponse, AppendResult, Body, Consistency, Deadline, DeadlineReason, Entry,
    EntryId, Epoch, Index, InstallSnapshotResponse, Load, NodeId, Notice, Payload, PayloadKind,
    Peer, ProgressStatus, Propose, ProposeError, ProposeResponse, ReadError, ReadIndexResponse,
    RefusedProposal, Round, Ticket, Time, Violation, quorum,
};

/// What only a leader has.
#[derive(Debug)]
pub struct Leader {
    /// The no-op of this term: with it everything before is committed.
    term_start: Index,
    elected_at: Time,
    progress: BTreeMap<NodeId, Progress>,
    round: Round,
    /// When the rounds that matter were sent, ascending; the first is the one last confirmed.
    rounds: VecDeque<(Round, Time)>,
    heartbeat_at: Time,
    reads: Reads,
    broadcast: Estimate,
    uncommitted_bytes: u64,
    changes: Changes,
    transfer: Option<Transfer>,
    /// Whether somebody was told to campaign in this term: leases are void for the rest of it.
    is_lease_void: bool,
    /// Not before then is it handed over to a preferred leader.
    prefer_at: Option<Time>,
}

impl Leader {
    /// Takes office: a no-op of the new term commits what earlier terms left (§5.4.2), and the
    /// first round tells everybody.
    pub(super) fn elected(common: &mut Common, out: &mut Outbox) -> Self {
        let next_index = common.log.last().index.next();
        let uncommitted_bytes = common.log.cost(common.commit_index(), common.log.last().index);
        let progress = common
            .peers()
            .into_iter()
            .map(|peer| (peer, Progress::new(common.next_epoch(), next_index)))
            .collect();
        let mut leader = Self {
            term_start: next_index,
            elected_at: common.now,
            progress,
            round: Round::ZERO,
            rounds: VecDeque::new(),
            heartbeat_at: common.now,
            reads: Reads::default(),
            broadcast: Estimate::default(),
            uncommitted_bytes,
            changes: Changes::default(),
            transfer: None,
            is_lease_void: false,
            prefer_at: None,
        };
        leader.append(common, Payload::no_op(), None);
        leader.heartbeat(common, out);
        leader
    }

    fn append(&mut self, common: &mut Common, payload: Payload, ticket: Option<Ticket>) -> EntryId {
        self.uncommitted_bytes += payload.cost();
        common.log.append(common.term(), payload, ticket)
    }

    /// Whether so many more bytes may wait for commitment. One that waits alone always may: the
    /// limit on commands is another one.
    const fn has_room(&self, bytes: u64, max: u64) -> bool {
        self.uncommitted_bytes == 0 || self.uncommitted_bytes + bytes <= max
    }

    /// Appends a proposal of a local caller.
    pub(crate) fn on_propose(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        payload: Payload,
        ticket: Ticket,
    ) -> Result<EntryId, ProposeError> {
        if let Some(to) = self.successor() {
            return Err(ProposeError::Transferring { to });
        }
        if !common.has_disk_room {
            return Err(ProposeError::StorageFull);
        }
        let max = common.config.limits.uncommitted_bytes_max;
        if !self.has_room(payload.cost(), max) {
            mark!("proposal-overloaded");
            return Err(ProposeError::Overloaded { max });
        }
        out.counters.proposals += 1;
        Ok(self.append(common, payload, Some(ticket)))
    }

    /// Appends what a follower's callers proposed; tells the follower what is refused.
    pub(crate) fn on_forwarded(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        from: NodeId,
        propose: Propose,
    ) {
        let limits = &common.config.limits;
        let (uncommitted_max, command_max) =
            (limits.uncommitted_bytes_max, limits.command_bytes_max);
        let mut refused = Vec::new();
        for payload in propose.payloads {
            let Some(origin) = payload.origin().filter(|_| payload.kind() == PayloadKind::Command)
            else {
                out.dropped("not a forwarded command");
                continue;
            };
            if !payload.verify() {
                // One bad byte would stop every node at this entry; here it stops nobody.
                out.dropped("payload that is not what was sealed");
                continue;
            }
            if self.transfer.is_some() {
                refused.push((origin.ticket, RefusedProposal::NotLeader));
            } else if !common.has_disk_room {
                refused.push((origin.ticket, RefusedProposal::StorageFull));
            } else if payload.bytes().len() as u64 > command_max {
                refused.push((origin.ticket, RefusedProposal::TooLarge));
            } else if !self.has_room(payload.cost(), uncommitted_max) {
                mark!("forwarded-overloaded");
                refused.push((origin.ticket, RefusedProposal::Overloaded));
            } else {
                self.append(common, payload, None);
            }
        }
        if !refused.is_empty() {
            let answer = ProposeResponse { boot: propose.boot, refused };
            common.send(out, from, Epoch::ZERO, Body::ProposeResponse(answer));
        }
    }

    /// A linearizable read: it waits for a round that begins after it arrived.
    fn on_read(&mut self, common: &Common, reader: Reader) -> Result<(), ReadError> {
        let max = common.config.limits.waiting_reads_max;
        if self.reads.len() >= max {
            return Err(ReadError::Overloaded { max });
        }
        self.reads.push(reader);
        Ok(())
    }

    /// A read of a local caller. Under a lease, or if it may be a little old, it is answered at
    /// once; otherwise by a round.
    pub(crate) fn on_local_read(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        consistency: Consistency,
        ticket: Ticket,
    ) -> Result<(), ReadError> {
        let index = common.commit_index();
        let knows = index >= self.term_start;
        let age = self.confirmed_at(common).map(|sent| common.now.since(sent));
        let has_lease = self.lease_until(common).is_some_and(|until| common.now < until);
        let age = match consistency {
            Consistency::Lease if knows && has_lease => Some(Duration::ZERO),
            Consistency::Bounded { age_max } if knows => age.filter(|age| *age <= age_max),
            Consistency::Linearizable | Consistency::Lease | Consistency::Bounded { .. } => None,
        };
        let Some(age) = age else { return self.on_read(common, Reader::Local(ticket)) };
        mark!("read-without-a-round");
        out.counters.reads += 1;
        out.notice(Notice::ReadReady { ticket, index, age });
        Ok(())
    }

    /// When the newest round was begun that a quorum answered.
    fn confirmed_at(&self, common: &Common) -> Option<Time> {
        let confirmed = self.confirmed_round(common);
        let (round, sent) = self.rounds.front()?;
        (*round <= confirmed).then_some(*sent)
    }

    /// Until when nobody else can lead, by the clocks' bound (thesis §6.4.1): a quorum answered a
    /// round, and refuses every vote for so long.
    pub(crate) fn lease_until(&self, common: &Common) -> Option<Time> {
        let bound = common.config.lease_reads.filter(|_| !self.is_lease_void)?;
        let sent = self.confirmed_at(common)?;
        Some(sent.after(bound.lease(common.config.election_timeout_min)))
    }

    /// A linearizable read of a follower's callers.
    pub(crate) fn on_read_index(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        (node, epoch): (NodeId, Epoch),
        batch: u64,
    ) {
        if self.on_read(common, Reader::Remote { node, epoch, batch }).is_err() {
            mark!("read-refused-for-peer");
            let answer = ReadIndexResponse { batch, index: None };
            common.send(out, node, epoch, Body::ReadIndexResponse(answer));
        }
    }

    /// An answer to AppendEntries, of this epoch or an earlier one.
    pub(crate) fn on_append_response(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        (from, epoch): (NodeId, Epoch),
        response: AppendEntriesResponse,
    ) {
        let Some(progress) = self.progress.get_mut(&from) else {
            return out.dropped("not a member");
        };
        if epoch != progress.epoch() && !mutant!("R10a") {
            mark!("answer-to-ended-leadership");
            return out.dropped("ended conversation");
        }
        if let AppendResult::Matched { match_index, accepted } = response.result {
            let index = match_index.max(accepted);
            if index > common.log.last().index {
                return out.violation(Violation::UnsentAcknowledged { index, from });
            }
        }
        if response.round > self.round {
            return out.dropped("round that never began");
        }
        progress.hear(common.now);
        if let AppendResult::Conflict { rejected, .. } = response.result
            && progress.has_lost(response.round, rejected)
        {
            out.violation(Violation::AcknowledgedLost { index: rejected, from });
        }
        let grew = progress.on_response(&common.log, response.round, response.result);
        if grew {
            progress.matched_in(self.round);
            self.commit(common, out);
        }
        self.confirm_rounds(common, out);
        self.hand_over(common, out);
    }

    /// A message of a member: another disk under the same id begins another session, for what the
    /// old one acknowledged it never had.
    pub(crate) fn meet(&mut self, common: &mut Common, from: Peer) {
        let Some(progress) = self.progress.get_mut(&from.node) else { return };
        if !progress.meet(from.incarnation) {
            mark!("other-disk-in-session");
            let mut fresh = Progress::new(common.next_epoch(), common.log.last().index.next());
            fresh.meet(from.incarnation);
            *progress = fresh;
        }
    }

    /// The answer to an offer of a snapshot, of this epoch or an earlier one.
    pub(crate) fn on_snapshot_response(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        (from, epoch): (NodeId, Epoch),
        response: InstallSnapshotResponse,
    ) {
        let Some(progress) = self.progress.get_mut(&from) else {
            return out.dropped("not a member");
        };
        if epoch != progress.epoch() || response.round > self.round {
            return out.dropped("ended conversation");
        }
        let index = response.match_index;
        if index > common.log.last().index {
            return out.violation(Violation::UnsentAcknowledged { index, from });
        }
        progress.hear(common.now);
        if progress.on_snapshot_response(&common.log, response.round, index) {
            progress.matched_in(self.round);
            self.commit(common, out);
        }
        self.confirm_rounds(common, out);
        self.hand_over(common, out);
    }

    /// The entry after which followers that answer still need the log.
    pub(crate) fn pinned(&self, common: &Common) -> Option<Index> {
        let answers = |progress: &&Progress| progress.answers(common);
        self.progress.values().filter(answers).map(Progress::needs_after).min()
    }

    /// The disk of this node wrote something: its own log counts up to there.
    pub(crate) fn on_persisted(&mut self, common: &mut Common, out: &mut Outbox) {
        self.commit(common, out);
        self.confirm_rounds(common, out);
    }

    /// §5.3 and §5.4.2: what a quorum holds durably is committed, if it is of our term; with it
    /// everything before.
    fn commit(&mut self, common: &mut Common, out: &mut Outbox) {
        let before = common.commit_index();
        let index = common.membership.committed_index(|node| self.match_index(common, node));
        let ours = common.log.term_at(index) == Some(common.term()) || mutant!("R1");
        let stuck = mutant!("R16") && common.log.term_at(before.next()) != Some(common.term());
        mark!("quorum-on-earlier-term", index > before && !ours);
        if index <= before || !ours || stuck {
            return;
        }
        let committed = common.log.cost(before, index);
        self.uncommitted_bytes = self.uncommitted_bytes.saturating_sub(committed);
        common.advance_commit(index, out);
        self.settle(common, out);
    }

    fn match_index(&self, common: &Common, node: NodeId) -> Index {
        if node == common.me.node {
            let only = mutant!("D1") && common.membership.voters().len() == 1;
            let hasty = mutant!("R12") || only;
            return if hasty { common.log.last().index } else { common.log.durable() };
        }
        self.progress.get(&node).map_or(Index::ZERO, Progress::match_index)
    }

    /// The newest round that a quorum answered: nobody else led when it began.
    fn confirmed_round(&self, common: &Common) -> Round {
        let echoed = |node| match self.progress.get(&node) {
            Some(progress) => progress.round_echoed(),
            None if node == common.me.node => self.round,
            None => Round::ZERO,
        };
        if mutant!("C5") {
            return quorum::nearly_reached(common.membership.voters(), echoed);
        }
        common.membership.quorum_value(echoed).unwrap_or(Round::ZERO)
    }

    fn confirm_rounds(&mut self, common: &Common, out: &mut Outbox) {
        let confirmed = self.confirmed_round(common);
        let mut is_news = false;
        while self.rounds.get(1).is_some_and(|(round, _)| *round <= confirmed) {
            self.rounds.pop_front();
            is_news = true;
        }
        if let (true, Some((_, sent))) = (is_news, self.rounds.front()) {
            self.broadcast.add(common.now.since(*sent));
        }
        let confirmed = if mutant!("C2") { self.round } else { confirmed };
        for (reader, index) in self.reads.confirmed(confirmed) {
            out.counters.reads += 1;
            match reader {
                Reader::Local(ticket) => {
                    out.notice(Notice::ReadReady { ticket, index, age: Duration::ZERO });
                }
                Reader::Remote { node, epoch, batch } => {
                    let answer = ReadIndexResponse { batch, index: Some(index) };
                    common.send(out, node, epoch, Body::ReadIndexResponse(answer));
                }
            }
        }
    }

    /// A round begins: it is sent when the network lane is drained.
    fn begin_round(&mut self, common: &Common) {
        self.round = self.round.next();
        self.rounds.push_back((self.round, common.now));
    }

    /// The clock asks for a round (§5.2, heartbeats).
    fn heartbeat(&mut self, common: &Common, out: &mut Outbox) {
        self.begin_round(common);
        self.heartbeat_at = common.now.after(common.config.heartbeat_interval);
        let patience = common.config.rounds_per_timeout();
        for progress in self.progress.values_mut() {
            progress.on_heartbeat(self.round, patience);
        }
        self.confirm_rounds(common, out);
    }

    /// What is due: a heartbeat round, unless contact to a quorum was lost (thesis §6.2).
    pub(crate) fn on_timeout(&mut self, common: &mut Common, out: &mut Outbox) -> Transition {
        if common.now < self.heartbeat_at {
            return Transition::Stay;
        }
        let contact = self.rounds.front().map_or(common.now, |(_, sent)| *sent);
        let silence = common.now.since(contact);
        if silence >= common.election_timeout().1 && !mutant!("E17") {
            mark!("leader-without-quorum");
            return Transition::Follow { leader: None };
        }
        if common.is_disk_stalled() {
            mark!("leader-with-stalled-disk");
            out.notice(Notice::DiskStalled);
            self.resign(common, out);
            return Transition::Follow { leader: None };
        }
        common.broadcast_time = self.broadcast_time(common);
        self.end_transfer(common, out);
        self.tend(common, out);
        self.prefer(common, out);
        self.heartbeat(common, out);
        Transition::Stay
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline { at: self.heartbeat_at, reason: DeadlineReason::Heartbeat }
    }

    /// What followers are told about the time of a round, if their timeouts adapt.
    fn broadcast_time(&self, common: &Common) -> Duration {
        let adapts = common.config.adaptive_election_timeout_max.is_some();
        if adapts { self.broadcast.bound() } else { Duration::ZERO }
    }

    fn word(&self, common: &Common) -> Word {
        let limits = &common.config.limits;
        Word {
            commit: common.commit_index(),
            round: self.round,
            broadcast_time: self.broadcast_time(common),
            message_bytes_max: limits.message_bytes_max,
            inflight_bytes_max: limits.inflight_bytes_max,
            inflight_entries_max: limits.inflight_entries_max,
        }
    }

    /// Network lane: heartbeats of the newest round, entries, and the commit index to whom it is
    /// news.
    pub(crate) fn drain(&mut self, common: &Common, out: &mut Outbox) {
        let knows = common.commit_index() >= self.term_start || mutant!("C1");
        mark!("read-before-first-commit", self.reads.want_round() && !knows);
        if self.reads.want_round() && knows {
            self.begin_round(common);
            let applied = mutant!("C7a");
            let index = if applied { common.last_applied() } else { common.commit_index() };
            self.reads.attach(self.round, index);
            self.confirm_rounds(common, out);
        }
        let word = self.word(common);
        for (peer, progress) in &mut self.progress {
            if let Some(heartbeat) = progress.heartbeat(&common.log, word) {
                common.send(out, *peer, progress.epoch(), Body::AppendEntries(heartbeat));
            }
            loop {
                match progress.step(&common.log, word) {
                    Step::Send(request) => {
                        common.send(out, *peer, progress.epoch(), Body::AppendEntries(request));
                    }
                    Step::Offer(offer) => {
                        common.send(out, *peer, progress.epoch(), Body::InstallSnapshot(offer));
                    }
                    Step::Load(first) => out.load(Load {
                        range: first..common.log.last().index.next(),
                        bytes_max: word.message_bytes_max,
                        purpose: LoadPurpose::Replicate { to: *peer, epoch: progress.epoch() },
                    }),
                    Step::Wait => break,
                }
            }
        }
    }

    /// Entries for a follower came from the disk.
    pub(crate) fn on_loaded(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        (to, epoch): (NodeId, Epoch),
        entries: Vec<Entry>,
    ) {
        let word = self.word(common);
        let Some(progress) = self.progress.get_mut(&to).filter(|p| p.epoch() == epoch) else {
            mark!("load-came-too-late");
            return;
        };
        if let Some(request) = progress.on_loaded(&common.log, word, entries) {
            common.send(out, to, epoch, Body::AppendEntries(request));
        }
    }

    /// The transport lost its connection to a peer, and with it perhaps messages.
    pub(crate) fn on_unreachable(&mut self, peer: NodeId) {
        if let Some(progress) = self.progress.get_mut(&peer) {
            progress.on_unreachable();
        }
    }

    /// Leadership ends. Proposals keep their tickets: their entries may still commit.
    pub(super) fn leave(&mut self, out: &mut Outbox) {
        out.forget_replication_loads();
        self.abandon_change(out);
        for reader in self.reads.abandon() {
            match reader {
                Reader::Local(_) if mutant!("C8a") => {}
                Reader::Local(ticket) => {
                    mark!("reads-abandoned");
                    out.notice(Notice::ReadFailed { ticket, error: ReadError::LeaderChanged });
                }
                // The follower learns of the next leader by itself.
                Reader::Remote { .. } => {}
            }
        }
    }

    /// The followers in the leader's eyes.
    pub fn progress(&self) -> Vec<(NodeId, ProgressStatus)> {
        self.progress.iter().map(|(node, progress)| (*node, progress.status())).collect()
    }
}
