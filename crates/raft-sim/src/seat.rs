//! A machine of the world: its disk, its clock, and the process that may run on it.
//!
//! Read next: `world/process.rs`, which starts and ends processes, and `world/lanes.rs`, which
//! pumps them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use raft_core::{
    Apply, Capture, Captured, Chunk, Entry, Fetch, Fetched, Incarnation, Index, Load, NodeId,
    Persist, RaftNode, Restore, Restored, RoleName, SnapshotError, SnapshotSource, Ticket, Time,
};
use raft_storage::{Applier, FileStorage, Receiver, SnapshotManager, StorageError, Written};

use crate::clock::NodeClock;
use crate::disk::{Crash, SimDisk};
use crate::oracle::WriteFacts;
use crate::world::{Ask, Event};

/// A machine.
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Seat {
    pub(crate) id: NodeId,
    pub(crate) disk: SimDisk,
    pub(crate) clock: NodeClock,
    /// Events of earlier lives are void.
    pub(crate) life: u64,
    pub(crate) stage: Stage,
    /// What happened while the machine did nothing; `None` unless it is paused.
    pub(crate) backlog: Option<Vec<Event>>,
    /// Effects until it crashes, if that is planned, and how.
    pub(crate) effects_left: Option<(u64, Crash)>,
    /// Writes that were under way when a process ended, until the disk is read again.
    pub(crate) under_way: Vec<WriteFacts>,
    /// Numbers the starts of the operating system.
    pub(crate) boot: u64,
    /// Whether its disk got an identity.
    pub(crate) is_initialized: bool,
    /// Why its last process ended by itself.
    pub(crate) halted: Option<String>,
    /// Calls that were made to fail, and writes refused for want of room, before this process.
    pub(crate) excused: u64,
    /// It takes no part any more.
    pub(crate) is_out: bool,
    /// A blank disk of it waits to be added, instead of beginning with the first members.
    pub(crate) joins: bool,
    /// Another disk once had its id.
    pub(crate) was_replaced: bool,
    /// Which disk it has, once that was read.
    pub(crate) incarnation: Option<Incarnation>,
    /// It was asked to hand leadership over, and has not yet.
    pub(crate) is_transferring: bool,
    /// It has another machine's disk.
    pub(crate) is_swapped: bool,
    /// The commit index as last told.
    pub(crate) told_commit: Index,
    /// When it last ceased to lead.
    pub(crate) led_until: Option<u64>,
    pub(crate) role: RoleName,
}

/// What a machine does.
pub(crate) enum Stage {
    /// No process runs.
    Down,
    /// A process reads its disk.
    Recovering(Box<Recovering>),
    /// A process runs.
    Up(Box<Process>),
    /// A process was asked to stop and closes its disk.
    Stopping,
}

/// What a process has read before it takes part.
pub(crate) struct Recovering {
    pub(crate) storage: FileStorage,
    pub(crate) restored: Restored,
    pub(crate) snapshots: Arc<SnapshotManager>,
    pub(crate) applier: Applier,
}

/// A node with what pumps it: the host's part of production, without its threads.
pub(crate) struct Process {
    pub(crate) raft: RaftNode,
    pub(crate) storage: FileStorage,
    pub(crate) applier: Applier,
    pub(crate) snapshots: Arc<SnapshotManager>,
    pub(crate) fetch: Option<Fetching>,
    pub(crate) is_capturing: bool,
    pub(crate) disk_queue: VecDeque<DiskJob>,
    pub(crate) disk_work: Option<DiskWork>,
    /// Writes taken from the node and not durable yet.
    pub(crate) writes: usize,
    /// When the node was told last before each of them was taken, and when that was.
    pub(crate) written_since: VecDeque<(Time, Time)>,
    pub(crate) application_queue: VecDeque<ApplicationJob>,
    pub(crate) is_applying: bool,
    /// When the timer event that counts will come.
    pub(crate) timer: Option<u64>,
    pub(crate) is_pump_due: bool,
    /// When the first thing happened to it that its lanes do not show yet.
    pub(crate) touched_at: Time,
    /// Callers that wait.
    pub(crate) open: BTreeSet<Ticket>,
    /// Of these, the ones that gave up: they may be answered, or never.
    pub(crate) forgotten: BTreeSet<Ticket>,
    pub(crate) queries: BTreeMap<Ticket, Bytes>,
    /// Of these, the ones that may be answered from an older state.
    pub(crate) bounded: BTreeSet<Ticket>,
}

/// What waits for the disk.
pub(crate) enum DiskJob {
    Write(Persist),
    Load(Load),
    Snapshot(SnapshotJob),
}

/// What is to be done about a snapshot.
pub(crate) enum SnapshotJob {
    Build(Capture, Box<dyn SnapshotSource>),
    Receive(Fetch),
    Accept(Chunk),
    Finish,
    Serve(Ask),
}

/// What was done about a snapshot.
pub(crate) enum SnapshotWork {
    Captured(Box<Captured>),
    Opened(Box<Result<Receiver, SnapshotError>>, Fetch),
    Accepted(bool),
    Fetched(Option<Box<Fetched>>),
    Served(Result<Chunk, SnapshotError>, Ask),
}

/// A snapshot on its way to a machine.
pub(crate) struct Fetching {
    pub(crate) number: u64,
    /// Chunks asked for so far.
    pub(crate) asked: u64,
    pub(crate) fetch: Fetch,
    pub(crate) receiver: Receiver,
}

/// What the disk is doing; its result is known and its time has not come.
pub(crate) enum DiskWork {
    Wrote { result: Result<Vec<Written>, StorageError>, facts: Vec<WriteFacts>, begins: bool },
    Loaded { load: Load, result: Result<Vec<Entry>, StorageError> },
    Snapshot(SnapshotWork),
}

/// What waits for the state machine.
pub(crate) enum ApplicationJob {
    Apply(Apply),
    Capture(Capture),
    Restore(Restore),
    Read { index: Index, ticket: Ticket, query: Bytes },
}

impl Seat {
    pub(crate) fn new(id: NodeId, disk: SimDisk) -> Self {
        Self {
            id,
            disk,
            clock: NodeClock::new(),
            life: 0,
            stage: Stage::Down,
            backlog: None,
            effects_left: None,
            under_way: Vec::new(),
            boot: 1,
            is_initialized: false,
            halted: None,
            excused: 0,
            is_out: false,
            joins: false,
            was_replaced: false,
            incarnation: None,
            is_transferring: false,
            is_swapped: false,
            told_commit: Index::ZERO,
            led_until: None,
            role: RoleName::Follower,
        }
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.stage {
            Stage::Up(process) => Some(process),
            Stage::Down | Stage::Recovering(_) | Stage::Stopping => None,
        }
    }

    pub(crate) fn process_mut(&mut self) -> Option<&mut Process> {
        match &mut self.stage {
            Stage::Up(process) => Some(process),
            Stage::Down | Stage::Recovering(_) | Stage::Stopping => None,
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.stage, Stage::Down)
    }

    pub(crate) const fn is_paused(&self) -> bool {
        self.backlog.is_some()
    }
}
