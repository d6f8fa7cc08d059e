//! The guest of production in a world without time: golden scripts of the protocol.
//!
//! A *script* is a text file that tells one story of Raft: a comment that says what it shows, then
//! commands, each followed by everything that happened because of it. Nothing happens by itself: no
//! message arrives, no disk finishes a write and no clock moves unless a command says so. So a
//! story shows exactly one schedule, it is the same on every machine, and it reads like a play:
//!
//! ```text
//! # A node asks whether it could win, asks for votes, and leads.
//!
//! > cluster nodes=3
//! > campaign n1
//! n1@0 follower ⇨ n1@0 pre-candidate
//! n1@0 → n2 PreVote last=0@0
//! n1@0 → n3 PreVote last=0@0
//! ```
//!
//! The recorded outcome is compared with what happens now; `UPDATE_SCRIPTS=1 cargo test -p
//! raft-sim` writes it anew, to be reviewed like code. After every event the safety properties of
//! Figure 3 are checked too, whatever is recorded.
//!
//! The nodes are `raft_core::RaftNode` on `raft_storage::MemoryStorage`, and receipts come from
//! `raft_storage::write` alone: the code that runs in production.
//!
//! # Map
//!
//! `script.rs` reads, plays and compares; `script/command.rs` is the language; `script/notation.rs`
//! is how messages look; `script/cluster.rs` holds the nodes and pulls their lanes;
//! `script/stage.rs` carries out commands; `script/safety.rs` judges. The stories are in
//! `scripts/`.
//!
//! # Caveats
//!
//! This crate plays given schedules; random ones, with the same properties checked, are in
//! `raft-core/tests/properties`.

mod atlas;
mod check;
pub mod choice;
mod clock;
pub mod coverage;
pub mod disk;
pub mod history;
pub mod html;
pub mod linearizability;
mod machine;
pub mod model;
mod nemesis;
mod network;
mod oracle;
mod queue;
pub mod report;
mod runner;
mod script;
mod seat;
pub mod shrink;
mod swarm;
pub mod trace;
mod workload;
mod world;

pub use self::atlas::Class;
pub use self::check::{Config, EVENTS, Plan, check, hunt, replay, run};
pub use self::choice::{Choices, Site};
pub use self::network::NetworkProfile;
pub use self::oracle::Failure;
pub use self::runner::Summary;
pub use self::script::{Script, ScriptError};
pub use self::swarm::{Fixed, Swarm};
pub use self::workload::{Registers, Request, Workload};
/// What commands, queries and answers are made of.
pub use bytes::Bytes;
