//! Runs the guest of production (protocol, log on disk, state machine) in worlds made up, by seed;
//! and plays golden scripts.
//!
//! A *world* is machines with disks and clocks, a network, clients, and whatever goes wrong, in
//! virtual time and on one thread. What runs in it is what a server runs: `raft_core::RaftNode`,
//! `raft_storage::FileStorage` and `Applier`, the codec, and your state machine. Receipts come from
//! `raft_storage::write` alone. The world is the host in place of `raft-runtime`; it holds no
//! decision of the protocol.
//!
//! # Contract
//!
//! * The same seed gives the same run of the same code, on every machine, bit for bit. Each seed is
//!   run twice to see that it does.
//! * After every event the [oracles](Failure) look at the node it touched. The first complaint ends
//!   the run, and is told with the last events and the choices that led there.
//! * A run ends in peace or fails: after the storm a core of nodes is healed and has to serve and
//!   come to rest within a bound. Where damage to disks left no quorum, nothing is demanded.
//! * What clients were told is linearizable: in the order of the log, and, if a model is given, in
//!   some order that an independent search finds.
//!
//! # Example
//!
//! ```
//! use raft_core::InMemoryStateMachine;
//! use raft_sim::coverage::Fault;
//! use raft_sim::model::MapModel;
//! use raft_sim::{Config, Plan, Registers, check};
//!
//! let plan = Plan::new(InMemoryStateMachine::new, Registers::default())
//!     .model(MapModel)
//!     .nodes(3)
//!     .faults(&[Fault::PowerLoss, Fault::Loss, Fault::Isolate])
//!     .events(2_000);
//! // Panics with a story if one of these seeds fails.
//! check(&Config::from_env_or(4), &plan);
//! ```
//!
//! The environment may say otherwise: `RAFT_SIM_SEED=17` runs one seed again.
//! The command line of this crate simulates registers: `cargo run --release -p raft-sim -- --help`.
//!
//! # Design
//!
//! Whatever is not code under test is drawn from one stream of [choices](choice): a choice is named
//! by its site and its number there, and zero is the mildest. So one mechanism gives seeds, replay,
//! shrinking, fuzzing and the enumeration of small worlds. A [disk](disk::SimDisk) carries out
//! blocking calls at once and lets them take effect in virtual time; each can be taken back, so a
//! crash falls between any two of them and the storage needs no cut points. Oracles keep images of
//! disks and a committed log of their own and ask no node what another one knows.
//!
//! # Scripts
//!
//! A *script* is a text file that tells one story: a comment that says what it shows, then
//! commands, each followed by everything that happened because of it. Nothing happens by itself: no
//! message arrives, no disk finishes a write and no clock moves unless a command says so.
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
//! raft-sim` writes it anew, to be reviewed like code. Safety is checked after every step, whatever
//! is recorded.
//!
//! # Map
//!
//! * `check.rs` is the public face, `runner.rs` runs seeds, `cli/` is the command line.
//! * `choice.rs` is the stream, `swarm.rs` what a seed decides once, `workload.rs` what clients
//!   ask.
//! * `world.rs` is the world: `world/lanes.rs` pumps nodes, `world/process.rs` begins and ends
//!   processes, `world/clients.rs` asks, `world/liveness.rs` ends a run. `seat.rs`, `disk.rs`,
//!   `clock.rs`, `network.rs`, `queue.rs` and `machine.rs` are what a world is made of.
//! * `nemesis.rs` breaks things, `atlas.rs` says how far damage may go, `coverage.rs` counts which
//!   fault met which phase.
//! * `oracle.rs` judges after every event; `history.rs`, `model.rs` and `linearizability.rs` judge
//!   what clients saw.
//! * `trace.rs` keeps what happened, `shrink.rs` makes it less, `report.rs` tells it, `html.rs`
//!   draws it.
//! * `script.rs` reads, plays and compares scripts; `script/command.rs` is their language. The
//!   stories are in `scripts/`.
//!
//! # Caveats
//!
//! * A seed is bound to the code it ran on. Keep a story, not a seed.
//! * Threads, the kernel, real disks and `raft-net` are not simulated. `docs/TESTING.md` says what
//!   else is not seen.
//! * A state machine or workload that reads a clock, an address or the order of a hash map goes two
//!   ways, and its seeds are refused.
//! * While a world runs, a panic on its thread is a finding and is not printed.

mod atlas;
mod check;
pub mod choice;
mod clock;
pub mod coverage;
pub mod disk;
pub mod history;
pub mod html;
#[cfg(any(test, feature = "kit"))]
pub mod kit;
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
pub use self::check::{Config, EVENTS, Plan, check, hunt, play, replay, run};
pub use self::choice::{Choices, Site};
pub use self::network::NetworkProfile;
pub use self::oracle::Failure;
pub use self::runner::Summary;
pub use self::script::{Script, ScriptError};
pub use self::swarm::{Fixed, Swarm};
pub use self::workload::{Registers, Request, Workload};
/// What commands, queries and answers are made of.
pub use bytes::Bytes;
