//! `Raft`: the handle an application holds. Cheap to clone, safe to share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{
    EntryId, Index, NodeId, Payload, SnapshotError, SnapshotMeta, Status, Term, Ticket,
};
use raft_storage::Query;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::builder::{Builder, Spans};
use crate::error::{ReadError, WriteError};
use crate::host::{Event, Inspect};
use crate::queue::Queue;
use crate::shared::Shared;
use crate::tickets::{Answered, Ended, Refusal};
use crate::{Metrics, RaftConfig};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Sees every write acknowledged, anywhere, before the read was asked (thesis §6.4).
    Linearizable,
    /// The same as long as the clocks of all machines keep the bound of
    /// [`RaftConfig::with_lease_reads`], without asking anybody at a leader (thesis §6.4.1).
    Lease,
    /// May miss the writes of the last moments, no more than these.
    Bounded {
        /// How old the state may be.
        age_max: Duration,
    },
    /// Whatever this node has applied: possibly long ago, if it is cut off.
    Stale,
}

/// A handle on a running node: propose and read through it from anywhere, on every node.
///
/// Every operation has a time limit ([`Builder::operation_timeout`]). Futures may be dropped at any
/// time; a proposal under way may then still be applied.
#[derive(Clone, Debug)]
pub struct Raft {
    pub(crate) id: NodeId,
    pub(crate) events: Arc<Queue<Event>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) ended: watch::Receiver<bool>,
    pub(crate) spans: Spans,
}

impl Consistency {
    /// What the core is asked for; `None` if it need not be asked.
    const fn of_core(self) -> Option<raft_core::Consistency> {
        match self {
            Self::Linearizable => Some(raft_core::Consistency::Linearizable),
            Self::Lease => Some(raft_core::Consistency::Lease),
            Self::Bounded { age_max } => Some(raft_core::Consistency::Bounded { age_max }),
            Self::Stale => None,
        }
    }
}

impl Raft {
    pub(crate) fn new(
        id: NodeId,
        (events, shared): (Arc<Queue<Event>>, Arc<Shared>),
        metrics: Metrics,
        ended: watch::Receiver<bool>,
        spans: Spans,
    ) -> Self {
        Self { id, events, shared, metrics, ended, spans }
    }

    /// Begins to put a node together.
    pub fn builder(config: RaftConfig) -> Builder {
        Builder::new(config)
    }

    /// This node.
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// Proposes a command and waits for the answer of this node's state machine.
    ///
    /// Any node accepts proposals; a follower hands them to its leader. A proposal that certainly
    /// was not applied because leadership moved is proposed again until the time limit.
    ///
    /// # Errors
    ///
    /// [`WriteError`], whose [`outcome`](WriteError::outcome) says whether it may have been
    /// applied.
    pub async fn propose(&self, command: impl Into<Bytes>) -> Result<Bytes, WriteError> {
        let payload = Payload::command(command);
        let Some(_admitted) = self.shared.admission.enter(payload.cost()) else {
            return Err(WriteError::Overloaded);
        };
        let deadline = self.deadline();
        loop {
            let proposal = payload.clone();
            let answer = self.ask(|ticket| Event::Propose { payload: proposal, ticket });
            let Ok(ended) = timeout_at(deadline, answer).await else {
                return Err(WriteError::TimedOut { after: self.spans.operation_timeout });
            };
            let refusal = match ended {
                Ok(answered) => return Ok(answered.bytes),
                Err(refusal) => refusal,
            };
            match refusal {
                Refusal::TryAgain
                | Refusal::NoLeader
                | Refusal::LeaseDisabled
                | Refusal::Change(_) => {}
                Refusal::NotLeader { leader } => return Err(WriteError::NotLeader { leader }),
                Refusal::TooLarge { max } => {
                    let bytes = payload.bytes().len() as u64;
                    return Err(WriteError::TooLarge { bytes, max });
                }
                Refusal::Overloaded => return Err(WriteError::Overloaded),
                Refusal::StorageFull => return Err(WriteError::StorageFull),
                Refusal::Dropped => return Err(WriteError::Dropped),
                Refusal::Stopped { accepted } => return Err(WriteError::Stopped { accepted }),
            }
            if !self.wait_for_leader(deadline).await {
                return Err(WriteError::NoLeader);
            }
        }
    }

    /// Asks the state machine of this node, as fresh as `consistency` says.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the read may be asked again.
    pub async fn read(
        &self,
        consistency: Consistency,
        query: impl Into<Bytes>,
    ) -> Result<Bytes, ReadError> {
        Ok(self.read_aged(consistency, query).await?.0)
    }

    /// As [`read`](Self::read), and tells how old the answer may be: whatever was acknowledged
    /// longer ago is in it. Zero for linearizable reads, unknown for stale ones.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the read may be asked again.
    pub async fn read_aged(
        &self,
        consistency: Consistency,
        query: impl Into<Bytes>,
    ) -> Result<(Bytes, Option<Duration>), ReadError> {
        let answered = self.read_with(consistency, Query::Ask(query.into())).await?;
        let age = (consistency != Consistency::Stale).then_some(answered.age);
        Ok((answered.bytes, age))
    }

    /// Waits until the local state machine may be read at that consistency, for applications that
    /// share their state with the state machine. Returns an index that is applied by then.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; it may be asked again.
    pub async fn barrier(&self, consistency: Consistency) -> Result<Index, ReadError> {
        if consistency != Consistency::Stale {
            self.read_with(consistency, Query::Barrier).await?;
        }
        Ok(self.applied_index())
    }

    /// Looks at the state of this node between two entries, and is told which was the last: for
    /// applications that share their state with the state machine and want all of it at one entry,
    /// such as a backup. `look` runs on the thread that applies, so it freezes and does no more.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; it may be asked again.
    pub async fn inspect<T: Send + 'static>(
        &self,
        consistency: Consistency,
        look: impl FnOnce(EntryId) -> T + Send + 'static,
    ) -> Result<T, ReadError> {
        self.barrier(consistency).await?;
        let (answer, seen) = oneshot::channel();
        let inspect = move |applied| {
            // Whoever asked may have gone.
            let _ = answer.send(look(applied));
        };
        self.events.push(Event::Inspect(Inspect(Box::new(inspect))));
        let mut ended = self.ended.clone();
        tokio::select! {
            biased;
            seen = seen => seen.map_err(|_| ReadError::Stopped),
            _ = ended.wait_for(|ended| *ended) => Err(ReadError::Stopped),
        }
    }

    async fn read_with(
        &self,
        consistency: Consistency,
        query: Query,
    ) -> Result<Answered, ReadError> {
        let deadline = self.deadline();
        let timed_out = ReadError::TimedOut { after: self.spans.operation_timeout };
        loop {
            let asked = query.clone();
            let answer = self.ask(|ticket| match consistency.of_core() {
                Some(consistency) => Event::Read { ticket, query: asked, consistency },
                None => Event::StaleRead { ticket, query: asked },
            });
            let Ok(ended) = timeout_at(deadline, answer).await else { return Err(timed_out) };
            let no_leader = match ended {
                Ok(answered) => return Ok(answered),
                Err(Refusal::Overloaded) => return Err(ReadError::Overloaded),
                Err(Refusal::LeaseDisabled) => return Err(ReadError::LeaseDisabled),
                Err(Refusal::Stopped { .. }) => return Err(ReadError::Stopped),
                Err(Refusal::NoLeader) => true,
                Err(
                    Refusal::TryAgain
                    | Refusal::NotLeader { .. }
                    | Refusal::TooLarge { .. }
                    | Refusal::StorageFull
                    | Refusal::Change(_)
                    | Refusal::Dropped,
                ) => false,
            };
            if !self.wait_for_leader(deadline).await {
                return Err(if no_leader { ReadError::NoLeader } else { timed_out });
            }
        }
    }

    /// Puts a question to the host and waits for its end.
    pub(crate) async fn ask(&self, event: impl FnOnce(Ticket) -> Event) -> Ended {
        let (ticket, answer) = self.shared.tickets.open();
        let _asked = Asked { raft: self, ticket };
        if self.shared.stopped.load(Ordering::Acquire) {
            self.shared.tickets.close([(ticket, Err(Refusal::Stopped { accepted: false }))]);
        } else {
            self.events.push(event(ticket));
        }
        let mut ended = self.ended.clone();
        tokio::select! {
            biased;
            answer = answer => answer.unwrap_or(Err(Refusal::Stopped { accepted: true })),
            // The host ended between the question and its last look into the queue.
            _ = ended.wait_for(|ended| *ended) => Err(Refusal::Stopped { accepted: true }),
        }
    }

    /// Waits a moment, or longer while no leader is known. `false` once the deadline has passed.
    pub(crate) async fn wait_for_leader(&self, deadline: Instant) -> bool {
        let mut status = self.shared.status.subscribe();
        let pause = Instant::now() + self.spans.retry_interval;
        let _ = timeout_at(deadline.min(pause), status.changed()).await;
        let led = status.wait_for(|status| status.leader.is_some());
        timeout_at(deadline, led).await.is_ok() && Instant::now() < deadline
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.spans.operation_timeout
    }

    /// The status as published when role, term or leader changes and now and then besides.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// The status of this moment; `None` if the node stopped.
    pub async fn status_now(&self) -> Option<Status> {
        let (sender, receiver) = oneshot::channel();
        self.events.push(Event::Status(sender));
        let mut ended = self.ended.clone();
        tokio::select! {
            biased;
            status = receiver => status.ok(),
            _ = ended.wait_for(|ended| *ended) => None,
        }
    }

    /// The current term.
    pub fn term(&self) -> Term {
        Term::new(self.shared.term.load(Ordering::Acquire))
    }

    /// The leader, if known.
    pub fn leader(&self) -> Option<NodeId> {
        NodeId::new(self.shared.leader.load(Ordering::Acquire))
    }

    /// The highest entry known to be committed.
    pub fn commit_index(&self) -> Index {
        Index::new(self.shared.committed.load(Ordering::Acquire))
    }

    /// The highest entry inside the state machine.
    pub fn applied_index(&self) -> Index {
        Index::new(self.shared.applied.load(Ordering::Acquire))
    }

    /// Takes a snapshot of everything that is applied here and waits until it is durable. The log
    /// up to it may be dropped then. Not needed for operation: snapshots are taken by themselves,
    /// as [`RaftConfig::with_snapshots`] says.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`], with what failed; the log is kept.
    pub async fn snapshot(&self) -> Result<SnapshotMeta, SnapshotError> {
        let (answer, taken) = oneshot::channel();
        self.events.push(Event::Snapshot(answer));
        let stopped = || SnapshotError::Io("the node stopped".into());
        let mut ended = self.ended.clone();
        tokio::select! {
            biased;
            taken = taken => taken.unwrap_or_else(|_| Err(stopped())),
            _ = ended.wait_for(|ended| *ended) => Err(stopped()),
        }
    }

    /// Everything that is measured.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Stops the node and waits until its disk is closed. Further operations end with "stopped". A
    /// leader hands over first, so that the others need not notice that it is gone.
    pub async fn shutdown(&self) {
        if self.leader() == Some(self.id) {
            // Without a successor, or too late: the others elect one.
            let deadline = Instant::now() + self.spans.handover_timeout;
            let _ = timeout_at(deadline, self.transfer_leadership(None)).await;
        }
        self.events.push(Event::Stop);
        let mut ended = self.ended.clone();
        // An error means that the host is gone, which is what was asked for.
        let _ = ended.wait_for(|ended| *ended).await;
    }
}

/// A question under way. Dropped before its answer, because of a deadline or with its future, it
/// leaves nothing behind in the host.
struct Asked<'a> {
    raft: &'a Raft,
    ticket: Ticket,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.raft.shared.tickets.forget(self.ticket) {
            self.raft.events.extend_quietly([Event::Forget(self.ticket)]);
        }
    }
}
