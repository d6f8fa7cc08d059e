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
    Applied, Body, Envelope, GroupId, Halt, Index, Loaded, Message, NodeId, Notice, Payload,
    Persisted, Propose, ProposeError, RaftNode, ReadError, RefusedProposal, Status, Ticket, Time,
};
use raft_net::{Arrival, Class, Deliver, Transport};
use raft_storage::{Query, StorageError};
use tokio::sync::{oneshot, watch};

use crate::apply::{self, Application};
use crate::clock::Clock;
use crate::disk::{self, Disk};
use crate::error::Halted;
use crate::net::Network;
use crate::peers;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::tickets::{Ended, Refusal};

/// What wakes the host.
#[derive(Debug)]
pub(crate) enum Event {
    Arrived(Arrival),
    Propose { payload: Payload, ticket: Ticket },
    Read { ticket: Ticket, query: Query },
    StaleRead { ticket: Ticket, query: Query },
    Forget(Ticket),
    Persisted(Persisted),
    Loaded(Loaded),
    Applied(Applied),
    Status(oneshot::Sender<Status>),
    DiskFailed(Arc<StorageError>),
    Halted(Halt),
    Panicked(&'static str),
    Stop,
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
    /// Reads that arrived together share one ticket of the core.
    pub(crate) reads: BTreeMap<Ticket, Vec<Reader>>,
    pub(crate) status_at: Time,
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
            let wait = self.node.deadline().at.since(self.clock.now());
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
        reads: &mut Vec<Reader>,
    ) -> Result<bool, Halted> {
        match event {
            Event::Arrived(arrival) => self.arrived(now, arrival, later),
            Event::Propose { payload, ticket } => {
                if let Err(error) = self.node.propose(now, payload, ticket) {
                    self.shared.tickets.close([(ticket, Err(refusal(error)))]);
                }
            }
            Event::Read { ticket, query } => reads.push(Reader { ticket, query }),
            Event::StaleRead { ticket, query } => {
                self.application.submit(apply::Job::Read { index: Index::ZERO, ticket, query });
            }
            Event::Forget(ticket) => self.node.forget(ticket),
            Event::Persisted(persisted) => self.node.handle_persisted(now, persisted),
            Event::Loaded(loaded) => self.node.handle_loaded(now, loaded),
            Event::Applied(applied) => self.node.handle_applied(now, applied),
            Event::Status(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(self.node.status());
            }
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

    /// All reads that arrived together wait for one confirmation.
    fn begin_reads(&mut self, now: Time, readers: Vec<Reader>) {
        if readers.is_empty() {
            return;
        }
        let ticket = self.shared.tickets.draw();
        match self.node.read(now, ticket) {
            Ok(()) => {
                self.reads.insert(ticket, readers);
            }
            Err(error) => self.end_reads(readers, error),
        }
    }

    fn end_reads(&self, readers: Vec<Reader>, error: ReadError) {
        let refusal = match error {
            ReadError::NoLeader => Refusal::NoLeader,
            ReadError::Overloaded { .. } => Refusal::Overloaded,
            ReadError::LeaderChanged | _ => Refusal::TryAgain,
        };
        let ended = readers.into_iter().map(|reader| (reader.ticket, Err(refusal)));
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
        while let Some(apply) = self.node.take_apply() {
            self.application.submit(apply::Job::Apply(apply));
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
                let leader = leader.map_or_else(|| "none".to_owned(), |leader| leader.to_string());
                tracing::info!(%term, %role, leader, "role changed");
            }
            Notice::ReadReady { ticket, index } => self.reads_ready(ticket, index, ended),
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
                    // The leader allows less than this node does.
                    RefusedProposal::TooLarge => Refusal::TooLarge { max: None },
                };
                ended.push((ticket, Err(refusal)));
            }
            Notice::MembershipChanged { membership } => {
                tracing::info!(id = %membership.id(), "membership changed");
                peers::update_roster(&*self.transport, &membership);
            }
            Notice::PeerRefused { peer, reason } => {
                tracing::warn!(%peer, ?reason, "peer refused");
            }
            Notice::Violation(violation) => {
                tracing::error!(?violation, "a peer broke the protocol; its message was dropped");
            }
        }
    }

    fn reads_ready(&mut self, ticket: Ticket, index: Index, ended: &mut Vec<(Ticket, Ended)>) {
        let applied = self.shared.applied.load(Ordering::Acquire);
        for Reader { ticket, query } in self.reads.remove(&ticket).unwrap_or_default() {
            if query == Query::Barrier && applied >= index.get() {
                ended.push((ticket, Ok(Bytes::new())));
            } else {
                self.application.submit(apply::Job::Read { index, ticket, query });
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
        // What came in meanwhile was accepted by nobody.
        let mut left = Vec::new();
        self.events.take(&mut left, Duration::ZERO);
        let refused = Err(Refusal::Stopped { accepted: false });
        let never = left.into_iter().filter_map(|event| {
            let Event::Propose { ticket, .. } = event else { return None };
            Some((ticket, refused.clone()))
        });
        self.shared.tickets.close(never.collect::<Vec<_>>());
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
        ProposeError::TooLarge { max, .. } => Refusal::TooLarge { max: Some(max) },
        ProposeError::Overloaded { .. } | _ => Refusal::Overloaded,
    }
}
