//! What happened in a world, event by event: the raw material of stories and pictures.
//!
//! A trace is only kept when somebody will read it; the hash of a run needs none. Read next:
//! `report.rs`, which tells it, and `html.rs`, which draws it.

use raft_core::{EntryId, Index, NodeId, RoleName, Term};

/// Everything that happened, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// The nodes, ascending.
    pub nodes: Vec<NodeId>,
    /// What happened.
    pub events: Vec<TraceEvent>,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    /// The number of the event of the world that made it happen; several may share one.
    pub step: u64,
    /// Virtual time, in nanoseconds since the world began.
    pub at: u64,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A message left.
    Sent {
        /// Names the message until it arrives; a doubled one has a number of its own.
        packet: u64,
        /// Who sent it.
        from: NodeId,
        /// To whom.
        to: NodeId,
        /// The message in the notation of scripts: `n1@4 → n2 AppendEntries prev=9@4 [10@4]`.
        text: String,
        /// A heartbeat or its answer: of little interest in a picture.
        is_heartbeat: bool,
    },
    /// A message arrived and was handled.
    Arrived {
        /// Which.
        packet: u64,
        /// Where.
        to: NodeId,
    },
    /// A message never arrives.
    Vanished {
        /// Which.
        packet: u64,
        /// Why: `lost`, `cut`, `corrupted`, `nobody there`.
        why: &'static str,
    },
    /// Term, role or leader of a node changed.
    Role {
        /// Whose.
        node: NodeId,
        /// The term now.
        term: Term,
        /// The role now.
        role: RoleName,
        /// The leader of the term, if known.
        leader: Option<NodeId>,
    },
    /// A node knows that everything up to this entry is committed.
    Committed {
        /// Who.
        node: NodeId,
        /// The entry.
        upto: EntryId,
    },
    /// A node applied everything up to here.
    Applied {
        /// Who.
        node: NodeId,
        /// The index.
        upto: Index,
    },
    /// A write of a node is durable: `term=4 vote=n2 10@4 11@4`.
    Wrote {
        /// Who.
        node: NodeId,
        /// What, in the notation of scripts.
        text: String,
    },
    /// A process began, ended, was stopped or went on.
    Process {
        /// Whose.
        node: NodeId,
        /// What it is now.
        state: ProcessState,
        /// Why, for people.
        text: String,
    },
    /// A fault was put into the world, or taken back.
    Fault {
        /// Whom it concerns; empty if everybody.
        nodes: Vec<NodeId>,
        /// What, for people.
        text: String,
    },
    /// A client asked or was answered.
    Client {
        /// Which node it spoke with.
        node: NodeId,
        /// What, for people.
        text: String,
    },
    /// The run enters another part: storm, liveness.
    Part {
        /// What, for people.
        text: String,
    },
    /// What must not happen: the last event of a failing run.
    Failure {
        /// Who did it, if one node did.
        node: Option<NodeId>,
        /// The oracle and its sentence.
        text: String,
    },
}

/// What a process is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessState {
    /// Reads its disk.
    Recovering,
    /// Runs.
    Up,
    /// Its machine does nothing and does not notice.
    Paused,
    /// Is not there.
    Down,
}
