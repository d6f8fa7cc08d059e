//! The Raft protocol as a pure state machine: it decides, and nothing in it can block, sleep, start
//! a thread or see a clock.
//!
//! # Raft in a page
//!
//! A group of nodes keeps one *log*. Time is divided into *terms*; a term has at most one *leader*,
//! elected by a majority (§5.2). The leader appends what is proposed, sends it to the others, and
//! an entry of its term that a majority holds durably is *committed*, with everything before it
//! (§5.3, §5.4.2). Committed entries are applied, in order, by every node's [`StateMachine`]. Votes
//! go only to logs at least as up-to-date as the voter's (§5.4.1), so what is committed is in the
//! log of every later leader. "§" points into the extended Raft paper, "thesis §" into Ongaro's
//! dissertation.
//!
//! # The contract
//!
//! [`RaftNode`] has four kinds of methods. *Commands* ([`propose`](RaftNode::propose),
//! [`read`](RaftNode::read)) are refused at once or accepted; the fate of what was accepted comes
//! back with the [`Ticket`], exactly once. *Events* (`handle_…`) are infallible. *Outputs*
//! (`take_…`) are three lanes of work, pulled by whoever does the work, when there is room for
//! more:
//!
//! | lane | job | receipt |
//! |---|---|---|
//! | disk | [`Persist`], [`Load`] | [`Persisted`], [`Loaded`] |
//! | network | [`Message`]s | none: they may be lost |
//! | network | [`Fetch`] | [`Fetched`] |
//! | application | [`Apply`], [`Restore`] | [`Applied`] |
//! | application | [`Capture`] | [`Captured`] |
//!
//! A message that must still be true after a crash (a vote, an acknowledgement) is a *promise*: it
//! is inside the [`Persist`] it depends on and comes out only when that is written.
//!
//! # A running example
//!
//! A group of one, with a host of ten lines and a disk that never fails:
//!
//! ```
//! use raft_core::{ApplyJob, Incarnation, Payload, RaftConfig, RaftNode};
//! use raft_core::{Restored, Ticket, Time};
//!
//! let config = RaftConfig::new(1, vec![]);
//! let mut node = RaftNode::new(config, Incarnation::new(7), Restored::default(), Time::ZERO)?;
//! let mut now = Time::ZERO;
//! let mut applied = Vec::new();
//! for step in 0..4 {
//!     now = now.max(node.deadline().at);
//!     node.handle_timeout(now); // campaigns, later sends heartbeats
//!     if step == 2 {
//!         node.propose(now, Payload::command("hello"), Ticket::new(1))?;
//!     }
//!     while let Some(persist) = node.take_persist() {
//!         let (persisted, _promises) = persist.into_persisted(); // a real host writes first
//!         node.handle_persisted(now, persisted);
//!     }
//!     while let Some(ApplyJob::Apply(apply)) = node.take_apply() {
//!         applied.extend(apply.entries().iter().map(|entry| entry.payload.bytes().clone()));
//!         node.handle_applied(now, apply.into_applied());
//!     }
//! }
//! // The no-op of the new leader, the record of its disk in the membership, and the command.
//! assert!(applied.iter().any(|bytes| bytes == "hello"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! `node.rs` is the face, `node/commands.rs` what it can be asked, `node/receive.rs` the table of
//! who listens to what; `state.rs` is Figure 2; `role.rs` and `role/*` are the roles; `vote.rs`
//! answers candidates; `log.rs` is the log, `compaction.rs` says when it is shortened; `output.rs`
//! are the jobs and receipts; `membership.rs`, `change.rs` and `quorum.rs` say who counts and how
//! that changes; `codec.rs` turns it all into bytes. Read them in this order.
//!
//! # Caveats
//!
//! Client sessions have their place in the formats; this version has none. A wiped disk under an
//! old id is told from the one that promised to vote as soon as the leader has recorded the
//! incarnations of the group, which it does with its first heartbeats.
#![no_std]

extern crate alloc;

#[doc(hidden)]
#[macro_use]
pub mod mutants;

#[doc(hidden)]
#[macro_use]
pub mod marks;

mod change;
mod checksum;
pub mod codec;
mod compaction;
mod config;
mod entry;
mod error;
mod forward;
mod id;
mod invariants;
mod log;
mod membership;
mod message;
mod node;
mod outbox;
mod output;
mod quorum;
mod restore;
mod rng;
mod role;
mod session;
mod snapshot;
mod state;
mod state_machine;
mod status;
mod time;
mod vote;

pub use self::change::{Change, ChangeError, ChangeRequest, Promotion};
pub use self::checksum::Checksum;
pub use self::compaction::SnapshotPolicy;
pub use self::config::{ClockBound, Limits, RaftConfig};
pub use self::entry::{Entry, EntryId, LogSlice, Origin, Payload, PayloadKind, SliceError};
pub use self::error::{ConfigError, Outcome, ProposeError, ReadError, TransferError};
pub use self::id::{
    ClusterId, Epoch, GroupId, Identity, Incarnation, Index, NodeId, Peer, Round, SnapshotId, Term,
    Ticket, WriteId,
};
pub use self::log::Log;
pub use self::membership::{Departure, Member, Membership};
pub use self::message::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Envelope, InstallSnapshot,
    InstallSnapshotResponse, Message, PreVote, PreVoteResponse, Propose, ProposeResponse,
    ReadIndex, ReadIndexResponse, RefusedProposal, RequestVote, RequestVoteResponse,
};
pub use self::node::{Consistency, Proposed, RaftNode};
pub use self::output::{
    Applied, Apply, ApplyJob, Base, Capture, Captured, Deadline, DeadlineReason, Fetch, Fetched,
    HardState, Load, Loaded, Notice, Persist, Persisted, RefusalReason, Restore, Violation,
};
pub use self::restore::{RestoreError, Restored};
pub use self::role::Role;
pub use self::role::candidate::{Ballot, Candidate};
pub use self::role::follower::Follower;
pub use self::role::leader::Leader;
pub use self::session::SessionTag;
pub use self::snapshot::{Chunk, ChunkSink, ChunkStore, FetchOutcome, SnapshotMeta};
pub use self::state::RaftState;
pub use self::state_machine::{
    Halt, InMemoryStateMachine, SnapshotCursor, SnapshotError, SnapshotSource, StateMachine,
};
pub use self::status::{Counters, ProgressMode, ProgressStatus, RoleName, Status};
pub use self::time::Time;
