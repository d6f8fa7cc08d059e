//! The Raft protocol as a pure state machine.
#![no_std]

extern crate alloc;

mod checksum;
pub mod codec;
mod config;
mod entry;
mod error;
mod id;
mod membership;
mod message;
mod output;
mod quorum;
mod restore;
mod rng;
mod session;
mod snapshot;
mod state_machine;
mod status;
mod time;

pub use self::checksum::Checksum;
pub use self::config::{Limits, RaftConfig};
pub use self::entry::{Entry, EntryId, LogSlice, Origin, Payload, PayloadKind, SliceError};
pub use self::error::{ConfigError, Outcome, ProposeError, ReadError};
pub use self::id::{
    ClusterId, Epoch, GroupId, Identity, Incarnation, Index, NodeId, Peer, Round, SnapshotId, Term,
    Ticket, WriteId,
};
pub use self::membership::{Member, Membership};
pub use self::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Envelope, InstallSnapshot,
    InstallSnapshotResponse, Message, PreVote, PreVoteResponse, Propose, ProposeResponse,
    ReadIndex, ReadIndexResponse, RefusedProposal, RequestVote, RequestVoteResponse,
};
pub use self::output::{
    Applied, Apply, Base, Deadline, DeadlineReason, HardState, Load, Loaded, Notice, Persist,
    Persisted, RefusalReason, Violation,
};
pub use self::restore::{RestoreError, Restored};
pub use self::session::SessionTag;
pub use self::snapshot::SnapshotMeta;
pub use self::state_machine::{
    Halt, InMemoryStateMachine, SnapshotError, SnapshotSource, StateMachine,
};
pub use self::status::{Counters, ProgressMode, ProgressStatus, RoleName, Status};
pub use self::time::Time;
