//! `Raft`: the handle an application holds. Cheap to clone, safe to share.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use raft_core::{Index, NodeId, Payload, Status, Term, Ticket};
use raft_storage::Query;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::builder::Builder;
use crate::error::{ReadError, WriteError};
use crate::host::Event;
use crate::queue::Queue;
use crate::shared::Shared;
use crate::tickets::{Ended, Refusal};
use crate::{Metrics, RaftConfig};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Sees every write acknowledged, anywhere, before the read was asked (thesis §6.4).
    Linearizable,
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
    pub(crate) operation_timeout: Duration,
    pub(crate) retry_interval: Duration,
}

impl Raft {
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
                return Err(WriteError::TimedOut { after: self.operation_timeout });
            };
            let refusal = match ended {
                Ok(bytes) => return Ok(bytes),
                Err(refusal) => refusal,
            };
            match refusal {
                Refusal::TryAgain | Refusal::NoLeader => {}
                Refusal::NotLeader { leader } => return Err(WriteError::NotLeader { leader }),
                Refusal::TooLarge { max } => {
                    let bytes = payload.bytes().len() as u64;
                    return Err(WriteError::TooLarge { bytes, max });
                }
                Refusal::Overloaded => return Err(WriteError::Overloaded),
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
        self.read_with(consistency, Query::Ask(query.into())).await
    }

    /// Waits until the local state machine may be read at that consistency, for applications that
    /// share their state with the state machine. Returns an index that is applied by then.
    ///
    /// # Errors
    ///
    /// [`ReadError`]; it may be asked again.
    pub async fn barrier(&self, consistency: Consistency) -> Result<Index, ReadError> {
        if consistency == Consistency::Linearizable {
            self.read_with(consistency, Query::Barrier).await?;
        }
        Ok(self.applied_index())
    }

    async fn read_with(&self, consistency: Consistency, query: Query) -> Result<Bytes, ReadError> {
        let deadline = self.deadline();
        let timed_out = ReadError::TimedOut { after: self.operation_timeout };
        loop {
            let asked = query.clone();
            let answer = self.ask(|ticket| match consistency {
                Consistency::Linearizable => Event::Read { ticket, query: asked },
                Consistency::Stale => Event::StaleRead { ticket, query: asked },
            });
            let Ok(ended) = timeout_at(deadline, answer).await else { return Err(timed_out) };
            let no_leader = match ended {
                Ok(bytes) => return Ok(bytes),
                Err(Refusal::Overloaded) => return Err(ReadError::Overloaded),
                Err(Refusal::Stopped { .. }) => return Err(ReadError::Stopped),
                Err(Refusal::NoLeader) => true,
                Err(
                    Refusal::TryAgain
                    | Refusal::NotLeader { .. }
                    | Refusal::TooLarge { .. }
                    | Refusal::Dropped,
                ) => false,
            };
            if !self.wait_for_leader(deadline).await {
                return Err(if no_leader { ReadError::NoLeader } else { timed_out });
            }
        }
    }

    /// Puts a question to the host and waits for its end.
    async fn ask(&self, event: impl FnOnce(Ticket) -> Event) -> Ended {
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
    async fn wait_for_leader(&self, deadline: Instant) -> bool {
        let mut status = self.shared.status.subscribe();
        let pause = Instant::now() + self.retry_interval;
        let _ = timeout_at(deadline.min(pause), status.changed()).await;
        let led = status.wait_for(|status| status.leader.is_some());
        timeout_at(deadline, led).await.is_ok() && Instant::now() < deadline
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.operation_timeout
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

    /// Everything that is measured.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Stops the node and waits until its disk is closed. Further operations end with "stopped".
    pub async fn shutdown(&self) {
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
