//! What the handle and the threads of a host share: a few numbers, and who waits.

use std::sync::atomic::{AtomicBool, AtomicU64};

use raft_core::Status;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::tickets::Tickets;

/// Shared by handle, host, disk thread and apply thread.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) tickets: Tickets,
    pub(crate) admission: Admission,
    /// The last index inside the state machine.
    pub(crate) applied: AtomicU64,
    pub(crate) term: AtomicU64,
    /// Zero if no leader is known.
    pub(crate) leader: AtomicU64,
    pub(crate) committed: AtomicU64,
    pub(crate) stopped: AtomicBool,
    pub(crate) status: watch::Sender<Status>,
}
