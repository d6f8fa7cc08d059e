//! The pump: what happened goes into a node, its lanes come out, jobs take their time.
//!
//! The same steps as the host of production: tell the node, take messages, writes and applies, hear
//! notices, set one timer. Between any two effects the power may fail. Read next: `process.rs`.

use std::time::Duration;

use raft_core::{
    Apply, ApplyJob, Body, EntryId, GroupId, Index, Load, Message, NodeId, Notice, Payload, Peer,
    Persist, RaftNode, RefusalReason, RoleName, Term, Ticket, Time,
};
use raft_storage::{Query, StorageError, Written, write};

use super::{Event, World};
use crate::choice::Site;
use crate::coverage::{Phase, Phases};
use crate::oracle::members::recorded;
use crate::oracle::{Check, Failure, WriteFacts};
use crate::seat::{ApplicationJob, DiskJob, DiskWork, Process};
use crate::trace::What;

/// The one group of this version.
pub(super) const GROUP: GroupId = GroupId::ZERO;

/// A node that still has output after so many pulls has no end of it.
const PULLS_MAX: u32 = 10_000;

impl World {
    /// Something happens to a node that runs.
    pub(crate) fn with_raft(
        &mut self,
        seat: usize,
        act: impl FnOnce(&mut RaftNode, Time),
    ) -> Check {
        let now = self.seats[seat].clock.at(self.now);
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        act(&mut process.raft, now);
        self.touched(seat)
    }

    /// A node changed: the oracle looks, and its lanes are pulled now or a little later.
    pub(crate) fn touched(&mut self, seat: usize) -> Check {
        // A fault that strikes now may move the clock.
        let now = self.seats[seat].clock.at(self.now);
        self.look(seat)?;
        self.aim(seat)?;
        let pump_ns = self.swarm.pump_ns;
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        if pump_ns == 0 {
            process.touched_at = now;
            return self.pump(seat);
        }
        if !std::mem::replace(&mut process.is_pump_due, true) {
            process.touched_at = now;
            let at = self.now + self.choices.choose(Site::Pump, pump_ns);
            let life = self.seats[seat].life;
            self.push(at, Event::Pump { seat, life });
        }
        Ok(())
    }

    /// The oracle looks at a node.
    fn look(&mut self, seat: usize) -> Check {
        let seat = &self.seats[seat];
        let Some(process) = seat.process() else { return Ok(()) };
        self.etiquette.sees(seat.id, process.raft.state(), seat.clock.at(self.now));
        self.oracle.look(seat.id, process.raft.state())
    }

    pub(super) fn pump_later(&mut self, seat: usize, life: u64) -> Check {
        if self.seats[seat].life != life {
            return Ok(());
        }
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        process.is_pump_due = false;
        self.pump(seat)
    }

    /// Pulls every lane until nothing comes out.
    pub(super) fn pump(&mut self, seat: usize) -> Check {
        for _ in 0..PULLS_MAX {
            let mut is_busy = self.hear(seat)?;
            is_busy |= self.pull_messages(seat)?;
            is_busy |= self.pull_disk(seat)?;
            is_busy |= self.pull_fetch(seat);
            is_busy |= self.pull_application(seat)?;
            if !is_busy {
                self.look(seat)?;
                self.set_timer(seat);
                return Ok(());
            }
        }
        let id = self.seats[seat].id;
        Err(Failure::of("progress", id, format!("there is no end to what {id} puts out")))
    }

    /// An effect of a node: if it was to crash after so many, it does. `true` then.
    pub(crate) fn effect(&mut self, seat: usize) -> bool {
        let Some((left, crash)) = &mut self.seats[seat].effects_left else { return false };
        if *left > 0 {
            *left -= 1;
            return false;
        }
        let crash = *crash;
        self.crash(seat, crash, "crashes between two effects");
        self.start_later(seat);
        true
    }

    // Timer.

    pub(crate) fn set_timer(&mut self, seat: usize) {
        let (now, machine) = (self.now, &mut self.seats[seat]);
        let life = machine.life;
        let Some(deadline) = machine.process().map(|process| process.raft.deadline().at) else {
            return;
        };
        let Some(at) = machine.clock.when(deadline) else { return };
        let Some(process) = machine.process_mut() else { return };
        let at = at.max(now);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.push(at, Event::Timer { seat, life, at });
        }
    }

    pub(super) fn timer(&mut self, seat: usize, life: u64, at: u64) -> Check {
        let machine = &mut self.seats[seat];
        let now = machine.clock.at(self.now);
        let is_present = machine.life == life;
        let Some(process) = machine.process_mut() else { return Ok(()) };
        if !is_present || process.timer != Some(at) {
            return Ok(());
        }
        process.timer = None;
        if process.raft.deadline().at > now {
            self.set_timer(seat);
            return Ok(());
        }
        let (id, disk) = (self.seats[seat].id, self.seats[seat].incarnation);
        let process = self.seats[seat].process_mut().expect("it was looked at above");
        let was = self.etiquette.before(id, process.raft.state(), now);
        let before = process.raft.status().role;
        process.raft.handle_timeout(now);
        let after = process.raft.status().role;
        // Who may not campaign, or cannot keep a promise, waits for another timeout.
        let limit = Duration::from_nanos(self.swarm.election_max_ns());
        let oldest = process.written_since.front();
        let is_stalled = oldest.is_some_and(|(told, _)| now.since(*told) >= limit);
        let is_owed = oldest.is_some_and(|(_, taken)| now.since(*taken) >= 2 * limit);
        let known = recorded(process.raft.state().membership(), id);
        let is_stranger = known.is_some() && known != disk;
        if is_stalled || is_stranger || after == RoleName::Learner {
            self.etiquette.waits(id, now);
        }
        if after == RoleName::Leader && is_owed {
            let text = format!("{id} leads, and its disk has owed it a write for {:?}", 2 * limit);
            return Err(Failure::of("leadership", id, text));
        }
        let process = self.seats[seat].process_mut().expect("it was looked at above");
        self.etiquette.is_due(id, was, &process.raft, now)?;
        if before == RoleName::Follower && !matches!(after, RoleName::Follower | RoleName::Learner)
        {
            self.etiquette.campaigns(id, now)?;
        }
        self.touched(seat)
    }

    pub(super) fn unreachable(&mut self, seat: usize, life: u64, peer: NodeId) -> Check {
        if self.seats[seat].life != life {
            return Ok(());
        }
        let machine = &self.seats[seat];
        self.etiquette.alarm(machine.id, machine.clock.at(self.now));
        self.with_raft(seat, |raft, now| raft.handle_unreachable(now, peer))
    }

    // The network lane.

    fn pull_messages(&mut self, seat: usize) -> Result<bool, Failure> {
        let Some(process) = self.seats[seat].process_mut() else { return Ok(false) };
        let messages = process.raft.take_messages();
        let is_busy = !messages.is_empty();
        // Who sends may have begun to lead, or ended a term, just now.
        self.look(seat)?;
        self.send(seat, messages)?;
        Ok(is_busy)
    }

    /// A full queue takes no more of these: the node is told, as by the host of production.
    pub(super) fn unsent(&mut self, seat: usize, message: &Message) {
        let now = self.seats[seat].clock.at(self.now);
        let to = message.to;
        let Some(process) = self.seats[seat].process_mut() else { return };
        if let Body::Propose(propose) = &message.body {
            let origins = propose.payloads.iter().filter_map(Payload::origin);
            let tickets: Vec<Ticket> = origins.map(|origin| origin.ticket).collect();
            process.raft.handle_unsent(now, &tickets);
        } else {
            process.raft.handle_unreachable(now, to);
            self.etiquette.alarm(message.from.node, now);
        }
    }

    // The disk lane.

    fn pull_disk(&mut self, seat: usize) -> Result<bool, Failure> {
        let (writes_max, id) = (self.swarm.writes_max, self.seats[seat].id);
        let mut is_busy = false;
        while let Some(process) = self.seats[seat].process_mut()
            && process.writes < writes_max
            && let Some(persist) = process.raft.take_persist()
        {
            is_busy = true;
            self.note_entries(seat, &persist)?;
            let now = self.seats[seat].clock.at(self.now);
            let process = self.seats[seat].process_mut().expect("it runs");
            process.writes += 1;
            // A node counts from the last moment it was told.
            process.written_since.push_back((process.touched_at, now));
            process.disk_queue.push_back(DiskJob::Write(persist));
        }
        let Some(process) = self.seats[seat].process_mut() else { return Ok(false) };
        while let Some(load) = process.raft.take_load() {
            is_busy = true;
            process.disk_queue.push_back(DiskJob::Load(load));
        }
        if process.disk_queue.len() > writes_max + LOADS_MAX {
            let text = format!("{} jobs wait for the disk of {id}", process.disk_queue.len());
            return Err(Failure::of("bounds", id, text));
        }
        self.begin_disk_work(seat);
        self.aim(seat)?;
        Ok(is_busy)
    }

    /// Log Matching is shown where entries are about to be written.
    fn note_entries(&mut self, seat: usize, persist: &Persist) -> Check {
        let machine = &self.seats[seat];
        let (id, Some(process)) = (machine.id, machine.process()) else { return Ok(()) };
        let Some(first) = persist.entries().first() else { return Ok(()) };
        let before = first.id.index.prev();
        let term = process.raft.state().log().term_at(before);
        let term = term.ok_or_else(|| {
            Failure::of("log matching", id, format!("{id} writes {} after nothing", first.id))
        })?;
        let mut prev = EntryId::new(term, before);
        for entry in persist.entries() {
            self.oracle.entry(id, prev, entry)?;
            prev = entry.id;
        }
        Ok(())
    }

    /// Does the next job of the disk. Its result is known at once and told when its time has come.
    pub(super) fn begin_disk_work(&mut self, seat: usize) {
        let (now, machine) = (self.now, &mut self.seats[seat]);
        let (life, disk) = (machine.life, machine.disk.clone());
        let Some(process) = machine.process_mut().filter(|process| process.disk_work.is_none())
        else {
            return;
        };
        let Some(first) = process.disk_queue.pop_front() else { return };
        disk.begin_job(now);
        let work = match first {
            DiskJob::Load(load) => {
                let result = process.storage_entries(&load);
                DiskWork::Loaded { load, result }
            }
            DiskJob::Write(persist) => {
                let batch = process.waiting_writes(persist);
                self.write(seat, batch)
            }
            DiskJob::Snapshot(job) => self.work_on_snapshot(seat, job),
        };
        let process = self.seats[seat].process_mut().expect("it asked for the work");
        process.disk_work = Some(work);
        self.push(disk.job_end().max(now), Event::DiskDone { seat, life });
    }

    fn write(&mut self, seat: usize, batch: Vec<(GroupId, Persist)>) -> DiskWork {
        let facts: Vec<WriteFacts> =
            batch.iter().map(|(_, persist)| WriteFacts::of(persist)).collect();
        let len = self.oracle.images[seat].log.len();
        let truncates = facts.iter().any(|facts| facts.truncates(len));
        let job = Phases::default().with_if(truncates, Phase::Truncating);
        self.aim_before(seat, job);
        let machine = &mut self.seats[seat];
        let process = machine.process_mut().expect("it asked for the write");
        let result = write(&mut process.storage, batch);
        if result.is_ok() {
            // Now the log names these: the ones it named before may go.
            for id in facts.iter().filter_map(WriteFacts::snapshot).map(|snapshot| snapshot.id) {
                process.snapshots.retain(GROUP, id);
            }
        }
        let begins = machine.disk.job_begins();
        self.count_job(seat, job.with_if(begins, Phase::SegmentRoll));
        DiskWork::Wrote { result, facts, begins }
    }

    pub(super) fn disk_done(&mut self, seat: usize, life: u64) -> Check {
        if self.seats[seat].life != life {
            return Ok(());
        }
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        match process.disk_work.take() {
            Some(DiskWork::Snapshot(work)) => {
                self.snapshot_work_done(seat, work)?;
                self.touched(seat)
            }
            Some(DiskWork::Wrote { result: Ok(written), facts, .. }) => {
                process.writes -= written.len();
                process.written_since.drain(..written.len());
                self.wrote(seat, written, &facts)
            }
            Some(DiskWork::Loaded { load, result: Ok(entries) }) => {
                let id = self.seats[seat].id;
                self.oracle.loaded(id, &entries)?;
                self.with_raft(seat, |raft, now| raft.handle_loaded(now, load.into_loaded(entries)))
            }
            Some(DiskWork::Wrote { result: Err(error), facts, .. }) => {
                self.seats[seat].under_way.extend(facts);
                self.halt(seat, &error.to_string())
            }
            Some(DiskWork::Loaded { result: Err(error), .. }) => {
                self.halt(seat, &error.to_string())
            }
            None => Ok(()),
        }
    }

    /// Writes are durable: the oracle looks at the disk, promises leave, receipts go in.
    fn wrote(&mut self, seat: usize, written: Vec<Written>, facts: &[WriteFacts]) -> Check {
        let id = self.seats[seat].id;
        let unsynced = self.seats[seat].disk.pending_log();
        if unsynced > 0 {
            let text = format!("{id} has a receipt while {unsynced} pieces of its WAL are pending");
            return Err(Failure::of("durability", id, text));
        }
        for facts in facts {
            self.oracle.wrote(id, facts)?;
            self.tell(|| What::Wrote { node: id, text: facts.describe() });
        }
        let life = self.seats[seat].life;
        for Written { persisted, promises, .. } in written {
            if !self.send(seat, promises)? || self.effect(seat) {
                return Ok(());
            }
            let now = self.seats[seat].clock.at(self.now);
            let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
            process.raft.handle_persisted(now, persisted);
            self.look(seat)?;
            if self.seats[seat].life != life {
                return Ok(());
            }
        }
        self.touched(seat)
    }

    // The application lane.

    fn pull_application(&mut self, seat: usize) -> Result<bool, Failure> {
        let mut is_busy = false;
        while let Some(process) = self.seats[seat].process_mut()
            && let Some(job) = process.raft.take_apply()
        {
            is_busy = true;
            process.application_queue.push_back(match job {
                ApplyJob::Apply(apply) => ApplicationJob::Apply(apply),
                ApplyJob::Capture(capture) => ApplicationJob::Capture(capture),
                ApplyJob::Restore(restore) => ApplicationJob::Restore(restore),
            });
            if self.swarm.apply_ns == 0 {
                self.work_application(seat)?;
            }
        }
        self.begin_application(seat)?;
        Ok(is_busy)
    }

    /// Lets the state machine work, if something waits for it and it is not busy.
    pub(super) fn begin_application(&mut self, seat: usize) -> Check {
        if self.swarm.apply_ns == 0 {
            while self.seats[seat].process().is_some_and(|p| !p.application_queue.is_empty()) {
                self.work_application(seat)?;
            }
            return Ok(());
        }
        let life = self.seats[seat].life;
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        if process.is_applying || process.application_queue.is_empty() {
            return Ok(());
        }
        process.is_applying = true;
        let at = self.now + self.choices.choose(Site::ApplyTime, self.swarm.apply_ns);
        self.push(at, Event::Applied { seat, life });
        Ok(())
    }

    pub(super) fn application_done(&mut self, seat: usize, life: u64) -> Check {
        if self.seats[seat].life != life {
            return Ok(());
        }
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        process.is_applying = false;
        self.work_application(seat)?;
        self.touched(seat)
    }

    /// Does the next job of the state machine.
    fn work_application(&mut self, seat: usize) -> Check {
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        match process.application_queue.pop_front() {
            None => Ok(()),
            Some(ApplicationJob::Apply(apply)) => self.apply(seat, apply),
            Some(ApplicationJob::Capture(capture)) => self.capture(seat, capture),
            Some(ApplicationJob::Restore(restore)) => self.restore(seat, restore),
            Some(ApplicationJob::Read { index, ticket, query }) => {
                match process.applier.read(index, ticket, Query::Ask(query)) {
                    Some(answer) => self.answer(seat, &answer),
                    None => Ok(()),
                }
            }
        }
    }

    fn apply(&mut self, seat: usize, apply: Apply) -> Check {
        let id = self.seats[seat].id;
        for entry in apply.entries() {
            self.oracle.applies(id, entry)?;
        }
        let now = self.seats[seat].clock.at(self.now);
        let process = self.seats[seat].process_mut().expect("who applies runs");
        let (applied, answers) = process
            .applier
            .apply(apply)
            .map_err(|halt| Failure::of("state machine", id, halt.to_string()))?;
        process.raft.handle_applied(now, applied);
        let (last, digest) = (process.applier.applied().index, process.applier.digest());
        if let Some((oracle, text)) = self.complaints.take() {
            return Err(Failure::of(oracle, id, format!("on {id} {text}")));
        }
        if let Some(digest) = digest {
            self.feed(digest);
            self.oracle.digest(id, last, digest)?;
        }
        self.tell(|| What::Applied { node: id, upto: last });
        for answer in answers {
            self.answer(seat, &answer)?;
        }
        self.effect(seat);
        Ok(())
    }

    // Notices.

    fn hear(&mut self, seat: usize) -> Result<bool, Failure> {
        let Some(process) = self.seats[seat].process_mut() else { return Ok(false) };
        let notices = process.raft.take_notices();
        let is_busy = !notices.is_empty();
        self.tell_commit(seat);
        for notice in notices {
            self.notice(seat, &notice)?;
        }
        Ok(is_busy)
    }

    fn notice(&mut self, seat: usize, notice: &Notice) -> Check {
        let node = self.seats[seat].id;
        match *notice {
            Notice::RoleChanged { term, role, leader } => {
                let before = std::mem::replace(&mut self.seats[seat].role, role);
                if before == RoleName::Leader && role != RoleName::Leader {
                    self.seats[seat].is_transferring = false;
                    self.seats[seat].led_until = Some(self.now);
                }
                self.feed(term.get() << 8 | role as u64);
                self.tell(|| What::Role { node, term, role, leader });
                if role == RoleName::Leader {
                    self.leads_alone(seat, term)?;
                    self.leads_in_its_region(node)?;
                }
                self.aim(seat)
            }
            Notice::ReadReady { ticket, index, age } => self.may_read(seat, ticket, (index, age)),
            Notice::ReadFailed { ticket, error: _ } => self.refused(seat, ticket),
            Notice::Refused { ticket, .. } => {
                self.oracle.denied(node, ticket)?;
                self.refused(seat, ticket)
            }
            Notice::Dropped { ticket } => self.dropped(seat, ticket),
            // The oracle compares memberships with what brought them.
            Notice::MembershipChanged { .. }
            | Notice::MembershipCommitted { .. }
            | Notice::RosterChanged
            | Notice::DiskStalled
            | Notice::SnapshotTaken { .. }
            | Notice::SnapshotFailed => Ok(()),
            Notice::TransferFailed { .. } => {
                self.seats[seat].is_transferring = false;
                Ok(())
            }
            Notice::PeerRefused { peer, reason } => self.refuses(seat, peer, reason),
            Notice::Violation(ref violation) => {
                let text = format!("{node} accuses an honest peer: {violation:?}");
                Err(Failure::of("violation", node, text))
            }
        }
    }

    /// A node does not hear a peer: only a disk that it knows to be another one.
    fn refuses(&mut self, seat: usize, peer: Peer, reason: RefusalReason) -> Check {
        let node = self.seats[seat].id;
        let Some(process) = self.seats[seat].process() else { return Ok(()) };
        let present = process.raft.state().membership();
        let is_other = reason == RefusalReason::ForeignIncarnation
            && self.oracle.may_refuse(node, present, (peer.node, peer.incarnation));
        if is_other {
            return Ok(());
        }
        let text = format!("{node} does not hear {peer}, which is no stranger: {reason:?}");
        Err(Failure::of("identity", node, text))
    }

    /// Somebody leads anew: nobody else may answer reads alone (thesis §6.4.1).
    fn leads_alone(&self, seat: usize, term: Term) -> Check {
        let others = self.seats.iter().filter(|other| other.id != self.seats[seat].id);
        for other in others {
            let Some(process) = other.process() else { continue };
            let (state, now) = (process.raft.state(), other.clock.at(self.now));
            if state.current_term() < term && state.lease_until().is_some_and(|until| now < until) {
                let (node, other) = (self.seats[seat].id, other.id);
                let text = format!("{node} leads term {term}, and {other} has a lease before it");
                return Err(Failure::of("leases (thesis §6.4.1)", node, text));
            }
        }
        Ok(())
    }

    /// A read has its index: it goes to the state machine.
    fn may_read(&mut self, seat: usize, ticket: Ticket, (index, age): (Index, Duration)) -> Check {
        let node = self.seats[seat].id;
        // What is heard now may have been said at the first event since the last look.
        let then = self.seats[seat].process().map_or(Time::ZERO, |process| process.touched_at);
        let asked = Time::from_nanos(then.as_nanos().saturating_sub(nanos(age)));
        let from = self.seats[seat].clock.first_at(asked).min(self.now);
        let bound = self.swarm.age_max_ns;
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let term = process.raft.state().current_term();
        let Some(query) = process.queries.remove(&ticket) else {
            let text = format!("{node} has an index for read t{ticket}, which nobody waits for");
            return Err(Failure::of("answers", node, text));
        };
        let is_bounded = process.bounded.contains(&ticket);
        process.application_queue.push_back(ApplicationJob::Read { index, ticket, query });
        // What a round confirmed meanwhile is of the moment when it was asked for.
        if is_bounded && age > Duration::ZERO {
            let age_max = Duration::from_nanos(bound);
            self.oracle.may_read_old((node, ticket), (index, age), from, age_max)?;
        } else {
            if !is_bounded && self.swarm.lease_drift_ppm.is_none() {
                let process = self.seats[seat].process().expect("it was looked at above");
                self.oracle.is_confirmed(ticket, node, process.raft.state())?;
            }
            self.oracle.may_read((node, ticket), index, term)?;
        }
        self.begin_application(seat)
    }

    fn tell_commit(&mut self, seat: usize) {
        if self.trace.is_none() {
            return;
        }
        let machine = &mut self.seats[seat];
        let (node, told) = (machine.id, machine.told_commit);
        let Some(process) = machine.process() else { return };
        let state = process.raft.state();
        let index = state.commit_index();
        let Some(term) = state.log().term_at(index).filter(|_| index != told) else { return };
        machine.told_commit = index;
        self.tell(|| What::Committed { node, upto: EntryId::new(term, index) });
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Loads that may wait for a disk: one for each follower and one to apply.
const LOADS_MAX: usize = 64;

impl Process {
    fn storage_entries(&mut self, load: &Load) -> Result<Vec<raft_core::Entry>, StorageError> {
        use raft_storage::Storage as _;
        self.storage.entries(GROUP, load.range(), load.bytes_max())
    }

    /// This write and all that wait behind it, up to the next load: one batch, one sync.
    fn waiting_writes(&mut self, first: Persist) -> Vec<(GroupId, Persist)> {
        let mut batch = vec![(GROUP, first)];
        while let Some(DiskJob::Write(_)) = self.disk_queue.front() {
            if let Some(DiskJob::Write(persist)) = self.disk_queue.pop_front() {
                batch.push((GROUP, persist));
            }
        }
        batch
    }
}
