//! The host loop: one inbox in, three lanes out, one deadline.
//!
//! A host holds no decision of the protocol. It drains its inbox, tells the node, and pulls the
//! lanes of whoever has room: *waiting is batching*. A thousand proposals that waited become one
//! write and one AppendEntries a follower.
//!
//! Read next: `raft.rs`, the handle; `disk.rs` and `apply.rs`, the two other threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    Applied, ApplyJob, Body, Captured, ChangeRequest, Consistency, EntryId, Envelope, Fetched,
    GroupId, Halt, Index, Loaded, Message, NodeId, Notice, Payload, Persisted, Propose,
    ProposeError, RaftNode, ReadError, RefusedProposal, RoleName, SnapshotError, SnapshotMeta,
    Status, Ticket, Time,
};
use raft_net::{Arrival, Class, Deliver, Transport};
use raft_storage::{Query, StorageError};
use tokio::sync::{oneshot, watch};

use crate::apply::{self, Application};
use crate::clock::Clock;
use crate::disk::{self, Disk};
use crate::error::{Halted, TransferError};
use crate::net::Network;
use crate::peers;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::snapshots::{self, Snapshots};
use crate::tickets::{Answered, Ended, Refusal};

/// What wakes the host.
#[derive(Debug)]
pub(crate) enum Event {
    Arrived(Arrival),
    Propose {
        payload: Payload,
        ticket: Ticket,
    },
    Read {
        ticket: Ticket,
        query: Query,
        consistency: Consistency,
    },
    StaleRead {
        ticket: Ticket,
        query: Query,
    },
    Forget(Ticket),
    Change {
        request: ChangeRequest,
        ticket: Ticket,
    },
    Transfer {
        to: Option<NodeId>,
        answer: TransferAnswer,
    },
    Persisted(Persisted),
    Loaded(Loaded),
    Applied(Applied),
    Captured(Captured),
    Fetched(Fetched),
    Snapshot(SnapshotAnswer),
    Inspect(Inspect),
    Status(oneshot::Sender<Status>),
    /// The disk got full, or has room again.
    Room(bool),
    DiskFailed(Arc<StorageError>),
    Halted(Halt),
    Panicked(&'static str),
    Stop,
}

/// Where the end of a leadership transfer is told.
pub(crate) type TransferAnswer = oneshot::Sender<Result<NodeId, TransferError>>;

/// Where the end of a snapshot is told.
pub(crate) type SnapshotAnswer = oneshot::Sender<Result<SnapshotMeta, SnapshotError>>;

/// Looks at the state machine on the thread that applies, and is told the last entry inside.
pub(crate) struct Inspect(pub(crate) Box<dyn FnOnce(EntryId) + Send>);

impl std::fmt::Debug for Inspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inspect")
    }
}

/// The host's end of the transport.
pub(crate) struct Sink(pub(crate) Arc<Queue<Event>>);

impl Deliver for Sink {
    fn deliver(&self, arrivals: Vec<Arrival>) {
        self.0.extend(arrivals.into_iter().map(Event::Arrived));
    }
}

/// Tells the host when a thread ends by a panic.
pub(crate) struct PanicGuard {
    thread: &'static str,
    events: Option<Arc<Queue<Event>>>,
}

impl PanicGuard {
    pub(crate) const fn new(thread: &'static str, events: Arc<Queue<Event>>) -> Self {
        Self { thread, events: Some(events) }
    }

    pub(crate) fn disarm(mut self) {
        self.events = None;
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if let Some(events) = self.events.take() {
            events.push(Event::Panicked(self.thread));
        }
    }
}

/// Everything the host thread owns.
pub(crate) struct HostLoop {
    pub(crate) node: RaftNode,
    pub(crate) clock: Clock,
    pub(crate) events: Arc<Queue<Event>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) network: Network,
    pub(crate) disk: Disk,
    pub(crate) application: Application,
    pub(crate) snapshots: Snapshots,
    /// Reads that arrived together share one ticket of the core.
    pub(crate) reads: BTreeMap<Ticket, Vec<Reader>>,
    pub(crate) status_at: Time,
    /// Who waits for a transfer of leadership, and to whom it goes.
    pub(crate) transfers: Vec<(NodeId, TransferAnswer)>,
    /// Who waits for a snapshot, and of what.
    pub(crate) wanted_snapshots: Vec<(Index, SnapshotAnswer)>,
    /// When this node stops because it left the group, and where its log ended when last looked at.
    pub(crate) removed: Option<(Time, Index)>,
    pub(crate) removal_grace: Duration,
}

/// One waiting read.
#[derive(Debug)]
pub(crate) struct Reader {
    ticket: Ticket,
    query: Query,
}

/// The one group of this version; the formats carry the number.
const GROUP: GroupId = GroupId::ZERO;

/// At least this often is the status published while something happens.
const STATUS_INTERVAL: Duration = Duration::from_millis(50);

impl HostLoop {
    /// Runs on a thread of its own until it stops; the result goes to `result`.
    pub(crate) fn spawn(
        mut self,
        result: oneshot::Sender<Result<(), Halted>>,
        ended: watch::Sender<bool>,
    ) -> std::io::Result<()> {
        let builder = std::thread::Builder::new().name("raft-host".into());
        builder.spawn(move || {
            let run = std::panic::AssertUnwindSafe(|| self.run());
            let outcome = std::panic::catch_unwind(run).unwrap_or(Err(Halted::Panicked("host")));
            self.close();
            drop(self);
            // Nobody may be waiting for either.
            let _ = result.send(outcome);
            ended.send_replace(true);
        })?;
        Ok(())
    }

    fn run(&mut self) -> Result<(), Halted> {
        let mut taken = Vec::new();
        self.publish(true);
        loop {
            self.pull();
            let until = self.removed.map_or(Time::NEVER, |(at, _)| at).min(self.node.deadline().at);
            let wait = until.since(self.clock.now());
            self.events.take(&mut taken, wait);
            let now = self.clock.now();
            let mut later = Vec::new();
            let mut reads = Vec::new();
            for event in taken.drain(..) {
                if !self.handle(now, event, &mut later, &mut reads)? {
                    return Ok(());
                }
            }
            // Entries and commands after votes, heartbeats and receipts.
            for message in later {
                self.node.handle_message(now, message);
            }
            self.begin_reads(now, reads);
            self.check_removal(now)?;
            // Only an inbox that was drained proves that nothing was heard.
            if now >= self.node.deadline().at {
                self.node.handle_timeout(now);
            }
        }
    }

    /// One event. `false` when asked to stop.
    fn handle(
        &mut self,
        now: Time,
        event: Event,
        later: &mut Vec<Message>,
        reads: &mut Vec<(Consistency, Reader)>,
    ) -> Result<bool, Halted> {
        match event {
            Event::Arrived(arrival) => self.arrived(now, arrival, later),
            Event::Propose { payload, ticket } => {
                if let Err(error) = self.node.propose(now, payload, ticket) {
                    self.shared.tickets.close([(ticket, Err(refusal(error)))]);
                }
            }
            Event::Read { ticket, query, consistency } => {
                reads.push((consistency, Reader { ticket, query }));
            }
            Event::StaleRead { ticket, query } => {
                let (index, fresh_at) = (Index::ZERO, None);
                self.application.submit(apply::Job::Read { index, ticket, query, fresh_at });
            }
            Event::Change { request, ticket } => {
                if let Err(error) = self.node.change_membership(now, &request, ticket) {
                    self.shared.tickets.close([(ticket, Err(Refusal::Change(error)))]);
                } else {
                    tracing::info!(changes = ?request.changes, "membership change begun");
                }
            }
            Event::Transfer { to, answer } => self.begin_transfer(now, to, answer),
            Event::Forget(ticket) => self.node.forget(ticket),
            Event::Persisted(persisted) => self.node.handle_persisted(now, persisted),
            Event::Loaded(loaded) => self.node.handle_loaded(now, loaded),
            Event::Applied(applied) => self.node.handle_applied(now, applied),
            Event::Captured(captured) => self.node.handle_captured(now, captured),
            Event::Fetched(fetched) => self.node.handle_fetched(now, fetched),
            Event::Snapshot(answer) => self.ask_for_snapshot(now, answer),
            Event::Inspect(inspect) => self.application.submit(apply::Job::Inspect(inspect)),
            Event::Status(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.node.status());
            }
            Event::Room(has_room) => self.handle_room(now, has_room),
            Event::DiskFailed(error) => return Err(Halted::Storage(error)),
            Event::Halted(halt) => return Err(Halted::StateMachine(halt)),
            Event::Panicked(thread) => return Err(Halted::Panicked(thread)),
            Event::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn arrived(&mut self, now: Time, arrival: Arrival, later: &mut Vec<Message>) {
        match arrival {
            Arrival::Message { envelope, room } => {
                if envelope.group != GROUP {
                    tracing::debug!(group = %envelope.group, "message for a group not hosted here");
                } else if room.class() == Class::Bulk {
                    later.push(envelope.message);
                } else {
                    self.node.handle_message(now, envelope.message);
                }
            }
            Arrival::PeerUp(peer) => tracing::info!(peer = %peer, "connected"),
            Arrival::PeerDown(node) => {
                tracing::info!(peer = %node, "connection lost");
                self.node.handle_unreachable(now, node);
            }
            // The transport has logged and counted it.
            Arrival::Refused { .. } => {}
        }
    }

    /// All reads of one consistency that arrived together wait for one confirmation.
    fn begin_reads(&mut self, now: Time, mut readers: Vec<(Consistency, Reader)>) {
        while let Some((consistency, _)) = readers.first() {
            let consistency = *consistency;
            let (now_on, later) = readers.into_iter().partition(|(c, _)| *c == consistency);
            readers = later;
            let now_on: Vec<(Consistency, Reader)> = now_on;
            let together = now_on.into_iter().map(|(_, reader)| reader).collect();
            let ticket = self.shared.tickets.draw();
            match self.node.read(now, consistency, ticket) {
                Ok(()) => {
                    self.reads.insert(ticket, together);
                }
                Err(error) => self.end_reads(together, error),
            }
        }
    }

    fn begin_transfer(&mut self, now: Time, to: Option<NodeId>, answer: TransferAnswer) {
        match self.node.transfer_leadership(now, to) {
            Ok(to) => {
                tracing::info!(%to, "handing leadership over");
                self.transfers.push((to, answer));
            }
            // Whoever asked may have gone.
            Err(error) => drop(answer.send(Err(TransferError::Refused(error)))),
        }
    }

    /// Tells who waited for a transfer what came of it.
    fn end_transfers(&mut self, result: impl Fn(NodeId) -> Result<NodeId, TransferError>) {
        for (to, answer) in self.transfers.drain(..) {
            let _ = answer.send(result(to));
        }
    }

    /// Somebody wants a snapshot: the next one, or the newest if it covers everything.
    fn ask_for_snapshot(&mut self, now: Time, answer: SnapshotAnswer) {
        let newest = self.node.state().log().snapshot();
        let applied = self.node.state().last_applied();
        if let Some(newest) = newest.filter(|newest| newest.last_included.index >= applied) {
            // Whoever asked may have gone.
            let _ = answer.send(Ok(newest.clone()));
        } else {
            self.node.capture(now);
            self.wanted_snapshots.push((applied, answer));
        }
    }

    fn handle_room(&mut self, now: Time, has_room: bool) {
        self.node.handle_room(now, has_room);
        if has_room {
            tracing::info!("the disk has room again: taking proposals");
        } else {
            tracing::error!(
                "the disk is nearly full: refusing proposals until there is room; free some, or \
                 move this member to a larger disk"
            );
            // What it covers of the log may go.
            self.node.capture(now);
        }
    }

    /// Tells who waited for a snapshot what came of it. One that was begun before it was asked for
    /// may cover too little: then another is taken.
    fn end_snapshots(&mut self, result: &Result<SnapshotMeta, SnapshotError>) {
        let covered = result.as_ref().map_or(Index::new(u64::MAX), |meta| meta.last_included.index);
        let waiting = std::mem::take(&mut self.wanted_snapshots);
        for (index, answer) in waiting {
            if covered >= index {
                let _ = answer.send(result.clone());
            } else {
                self.wanted_snapshots.push((index, answer));
            }
        }
        if !self.wanted_snapshots.is_empty() {
            self.node.capture(self.clock.now());
        }
    }

    /// A node that left its group stops after a while, unless it is being brought up to date: then
    /// it may yet learn that it was added again.
    fn check_removal(&mut self, now: Time) -> Result<(), Halted> {
        let Some((at, last)) = self.removed.filter(|(at, _)| now >= *at) else { return Ok(()) };
        let end = self.node.state().log().last().index;
        if end == last {
            return Err(Halted::Removed);
        }
        self.removed = Some((at.after(self.removal_grace), end));
        Ok(())
    }

    fn end_reads(&self, readers: Vec<Reader>, error: ReadError) {
        let refusal = match error {
            ReadError::NoLeader => Refusal::NoLeader,
            ReadError::Overloaded { .. } => Refusal::Overloaded,
            ReadError::LeaseDisabled => Refusal::LeaseDisabled,
            ReadError::LeaderChanged | _ => Refusal::TryAgain,
        };
        let ended = readers.into_iter().map(|reader| (reader.ticket, Err(refusal.clone())));
        self.shared.tickets.close(ended);
    }

    /// Pulls every lane whose worker has room.
    fn pull(&mut self) {
        let messages = self.node.take_messages();
        self.send(messages);
        while self.disk.has_room()
            && let Some(persist) = self.node.take_persist()
        {
            self.disk.submit(disk::Job::Write(GROUP, persist));
        }
        while let Some(job) = self.node.take_apply() {
            self.application.submit(match job {
                ApplyJob::Apply(apply) => apply::Job::Apply(apply),
                ApplyJob::Capture(capture) => apply::Job::Capture(capture),
                ApplyJob::Restore(restore) => apply::Job::Restore(restore),
            });
        }
        if let Some(fetch) = self.node.take_fetch() {
            self.snapshots.jobs.submit(snapshots::Job::Fetch(fetch));
        }
        while let Some(load) = self.node.take_load() {
            self.disk.submit(disk::Job::Load(GROUP, load));
        }
        self.disk.await_receipts(self.node.waits_for_disk());
        let notices = self.node.take_notices();
        let changed = notices.iter().any(|notice| matches!(notice, Notice::RoleChanged { .. }));
        let mut ended = Vec::new();
        for notice in notices {
            self.notice(notice, &mut ended);
        }
        if !ended.is_empty() {
            self.shared.tickets.close(ended);
        }
        self.publish(changed);
    }

    fn send(&mut self, messages: Vec<Message>) {
        for message in messages {
            let to = message.to;
            let is_bulk = message.body.is_bulk();
            let tickets =
                if let Body::Propose(propose) = &message.body { tickets(propose) } else { vec![] };
            if self.transport.send(Envelope { group: GROUP, message }).is_ok() || !is_bulk {
                continue;
            }
            let now = self.clock.now();
            if tickets.is_empty() {
                self.node.handle_unreachable(now, to);
            } else {
                self.node.handle_unsent(now, &tickets);
            }
        }
    }

    fn notice(&mut self, notice: Notice, ended: &mut Vec<(Ticket, Ended)>) {
        match notice {
            Notice::RoleChanged { term, role, leader } => {
                if let Some(leader) = leader
                    && role != RoleName::Leader
                {
                    self.end_transfers(|to| {
                        let other = TransferError::OtherLeader { leader };
                        if leader == to { Ok(to) } else { Err(other) }
                    });
                }
                let leader = leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                tracing::info!(%term, %role, leader, "role changed");
            }
            Notice::ReadReady { ticket, index, age } => {
                self.reads_ready(ticket, (index, age), ended);
            }
            Notice::ReadFailed { ticket, error } => {
                if let Some(readers) = self.reads.remove(&ticket) {
                    self.end_reads(readers, error);
                }
            }
            Notice::Dropped { ticket } => ended.push((ticket, Err(Refusal::Dropped))),
            Notice::Refused { ticket, reason } => {
                let refusal = match reason {
                    RefusedProposal::NotLeader => Refusal::TryAgain,
                    RefusedProposal::Overloaded => Refusal::Overloaded,
                    RefusedProposal::StorageFull => Refusal::StorageFull,
                    // The leader allows less than this node does.
                    RefusedProposal::TooLarge => Refusal::TooLarge { max: None },
                };
                ended.push((ticket, Err(refusal)));
            }
            Notice::MembershipChanged { membership } => {
                tracing::info!(id = %membership.id(), %membership, "membership changed");
                if membership.members().contains_key(&self.node.id()) {
                    self.removed = None;
                }
                peers::update_roster(&*self.transport, &self.node.roster());
            }
            Notice::MembershipCommitted { membership } => {
                tracing::info!(id = %membership.id(), "membership committed");
                if !membership.members().contains_key(&self.node.id()) {
                    let at = self.clock.now().after(self.removal_grace);
                    self.removed = Some((at, self.node.state().log().last().index));
                }
                peers::update_roster(&*self.transport, &self.node.roster());
            }
            Notice::RosterChanged => peers::update_roster(&*self.transport, &self.node.roster()),
            Notice::TransferFailed { to } => {
                tracing::warn!(%to, "leadership was not taken over in time; leading on");
                self.end_transfers(|to| Err(TransferError::NotTaken { to }));
            }
            Notice::DiskStalled => {
                tracing::error!("the disk does not become durable: leading no more");
            }
            Notice::SnapshotTaken { snapshot } => {
                tracing::info!(upto = %snapshot.last_included, "snapshot taken");
                self.end_snapshots(&Ok(snapshot));
            }
            Notice::SnapshotFailed => {
                tracing::warn!("a snapshot could not be taken; it is tried again later");
                let reason = "it was not taken; the log says why".into();
                self.end_snapshots(&Err(SnapshotError::Io(reason)));
            }
            Notice::PeerRefused { peer, reason } => {
                tracing::warn!(%peer, ?reason, "peer refused");
            }
            Notice::Violation(violation) => {
                tracing::error!(?violation, "a peer broke the protocol; its message was dropped");
            }
        }
    }

    fn reads_ready(
        &mut self,
        ticket: Ticket,
        (index, age): (Index, Duration),
        ended: &mut Vec<(Ticket, Ended)>,
    ) {
        let fresh_at = (!age.is_zero()).then(|| self.clock.now().before(age));
        let applied = self.shared.applied.load(Ordering::Acquire);
        for Reader { ticket, query } in self.reads.remove(&ticket).unwrap_or_default() {
            if query == Query::Barrier && applied >= index.get() {
                ended.push((ticket, Ok(Answered { bytes: Bytes::new(), age })));
            } else {
                self.application.submit(apply::Job::Read { index, ticket, query, fresh_at });
            }
        }
    }

    /// Publishes what callers may see: the numbers always, the whole status now and then.
    fn publish(&mut self, changed: bool) {
        let state = self.node.state();
        let leader = state.leader().map_or(0, NodeId::get);
        self.shared.term.store(state.current_term().get(), Ordering::Release);
        self.shared.committed.store(state.commit_index().get(), Ordering::Release);
        self.shared.leader.store(leader, Ordering::Release);
        let now = self.clock.now();
        if changed || now >= self.status_at {
            self.status_at = now.after(STATUS_INTERVAL);
            self.shared.status.send_replace(self.node.status());
        }
    }

    /// Stops everything, in the order in which work flows.
    fn close(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.transport.stop();
        self.network.stop();
        self.disk.stop();
        self.application.stop();
        self.snapshots.stop();
        // What came in meanwhile was accepted by nobody.
        let mut left = Vec::new();
        self.events.take(&mut left, Duration::ZERO);
        let refused = Err(Refusal::Stopped { accepted: false });
        let never = left.into_iter().filter_map(|event| {
            let Event::Propose { ticket, .. } = event else { return None };
            Some((ticket, refused.clone()))
        });
        self.shared.tickets.close(never.collect::<Vec<_>>());
        self.end_transfers(|_| Err(TransferError::Stopped));
        self.end_snapshots(&Err(SnapshotError::Io("the node stopped".into())));
        self.shared.tickets.close_all(&Err(Refusal::Stopped { accepted: true }));
    }
}

/// Who waits for the proposals of a message.
fn tickets(propose: &Propose) -> Vec<Ticket> {
    propose.payloads.iter().filter_map(Payload::origin).map(|origin| origin.ticket).collect()
}

fn refusal(error: ProposeError) -> Refusal {
    match error {
        ProposeError::NotLeader { leader: None } => Refusal::NoLeader,
        ProposeError::NotLeader { leader } => Refusal::NotLeader { leader },
        ProposeError::Transferring { .. } => Refusal::TryAgain,
        ProposeError::TooLarge { max, .. } => Refusal::TooLarge { max: Some(max) },
        ProposeError::StorageFull => Refusal::StorageFull,
        ProposeError::Overloaded { .. } | _ => Refusal::Overloaded,
    }
}
