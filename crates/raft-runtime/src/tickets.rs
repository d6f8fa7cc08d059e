//! Who waits for what: tickets of callers, each answered exactly once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use raft_core::{ChangeError, NodeId, Ticket};
use tokio::sync::oneshot;

/// The end of a proposal, a read or a membership change inside the host: an answer, or why there is
/// none.
pub(crate) type Ended = Result<Answered, Refusal>;

/// An answer of the state machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) bytes: Bytes,
    /// How long ago the state that gave it was certainly the newest; zero unless it may be old.
    pub(crate) age: Duration,
}

impl From<Bytes> for Answered {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, age: Duration::ZERO }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Certainly not applied, because leadership moved: the handle tries again.
    TryAgain,
    /// No leader is known: the handle waits for one.
    NoLeader,
    /// This node does not forward.
    NotLeader { leader: Option<NodeId> },
    /// The command is too large, for this node's limit or for the leader's.
    TooLarge { max: Option<u64> },
    /// A queue is full.
    Overloaded,
    /// The leader's disk is nearly full.
    StorageFull,
    /// Reads under a lease are not configured.
    LeaseDisabled,
    /// A membership change was refused.
    Change(ChangeError),
    /// The entry left this log: nobody knows.
    Dropped,
    /// The node stopped; proposals that were accepted may still be applied by others.
    Stopped { accepted: bool },
}

/// Proposals and reads under way.
#[derive(Debug)]
pub(crate) struct Tickets {
    next: AtomicU64,
    waiting: Mutex<BTreeMap<Ticket, oneshot::Sender<Ended>>>,
}

impl Tickets {
    pub(crate) const fn new() -> Self {
        Self { next: AtomicU64::new(1), waiting: Mutex::new(BTreeMap::new()) }
    }

    /// A ticket nobody had before.
    pub(crate) fn draw(&self) -> Ticket {
        Ticket::new(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A new ticket and where its answer will come out.
    pub(crate) fn open(&self) -> (Ticket, oneshot::Receiver<Ended>) {
        let ticket = self.draw();
        let (sender, receiver) = oneshot::channel();
        self.lock().insert(ticket, sender);
        (ticket, receiver)
    }

    /// Answers tickets. Callers that went away are forgotten.
    pub(crate) fn close(&self, answers: impl IntoIterator<Item = (Ticket, Ended)>) {
        let mut waiting = self.lock();
        let ended: Vec<_> = answers
            .into_iter()
            .filter_map(|(ticket, result)| Some((waiting.remove(&ticket)?, result)))
            .collect();
        drop(waiting);
        for (sender, result) in ended {
            // Whoever dropped the future does not want to know.
            let _ = sender.send(result);
        }
    }

    /// Forgets a ticket; tells whether somebody would still have been answered.
    pub(crate) fn forget(&self, ticket: Ticket) -> bool {
        self.lock().remove(&ticket).is_some()
    }

    /// Answers everybody that still waits.
    pub(crate) fn close_all(&self, result: &Ended) {
        let waiting = std::mem::take(&mut *self.lock());
        for sender in waiting.into_values() {
            let _ = sender.send(result.clone());
        }
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Ticket, oneshot::Sender<Ended>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
