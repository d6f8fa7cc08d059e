//! Runs a Raft node in the real world: tokio, threads, disks and sockets around the pure core.
//!
//! An application adds this one dependency. It implements [`StateMachine`], puts a node together
//! with [`Raft::builder`] and holds a [`Raft`]: every node accepts proposals and linearizable
//! reads.
//!
//! ```
//! use std::time::Duration;
//! use raft_runtime::{Consistency, InMemoryStateMachine, Loopback, MemoryStorage, Raft,
//! RaftConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Loopback::network();
//! let mut nodes = Vec::new();
//! for id in 1..=3 {
//!     let peers = (1..=3).filter(|peer| *peer != id).collect();
//!     let config = RaftConfig::new(id, peers)
//!         .with_heartbeat_interval(Duration::from_millis(20))
//!         .with_election_timeout(Duration::from_millis(100), Duration::from_millis(200));
//!     let node = Raft::builder(config)
//!         .storage(MemoryStorage::new())
//!         .state_machine(InMemoryStateMachine::new())
//!         .transport(network.join())
//!         .start()?;
//!     nodes.push(node);
//! }
//! nodes[0].propose("key\0value").await?;
//! let value = nodes[2].read(Consistency::Linearizable, "key").await?;
//! assert_eq!(value, "value");
//! # for node in nodes { node.shutdown().await; }
//! # Ok(())
//! # }
//! ```
//!
//! Four threads serve a node: the *host* tells the core what happened and pulls its lanes, the
//! *disk* thread writes and syncs, the *apply* thread runs the state machine, and the *network*
//! thread, a tokio runtime of its own, reads and writes the sockets between nodes.
//!
//! Map: `builder.rs` puts a node together; `raft.rs` is the handle; `host.rs` the loop; `disk.rs`
//! and
//! `apply.rs` the other two threads; `tickets.rs` and `admission.rs` know who waits and how much.

#[cfg(raft_mutants)]
compile_error!("known bugs are compiled in: this is no build to run");

mod admission;
mod apply;
mod builder;
mod clock;
mod disk;
mod error;
mod host;
mod membership;
mod metrics;
mod net;
mod peers;
mod queue;
mod raft;
mod shared;
mod snapshots;
mod tickets;

pub use raft_core::{
    Change, ChangeRequest, ClockBound, ClusterId, Counters, Departure, EntryId, GroupId, Halt,
    Identity, InMemoryStateMachine, Incarnation, Index, Limits, Member, Membership, NodeId,
    Outcome, Peer, ProgressMode, ProgressStatus, Promotion, RaftConfig, RoleName, SnapshotCursor,
    SnapshotError, SnapshotMeta, SnapshotPolicy, SnapshotSource, StateMachine, Status, Term,
};
pub use raft_net::{
    InboxLimits, Loopback, LoopbackTransport, NetError, NetStats, PeerStats, ProbeError,
    RefusalCode, Strangers, TcpConfig, TcpTransport, Transport, probe,
};
pub use raft_storage::{
    FileOptions, FileStorage, MemoryStorage, SYNC_BUCKETS, SnapshotManager, SnapshotStats, Storage,
    StorageError, StorageStats, SyncMode,
};

pub use self::builder::{Builder, Host, found};
pub use self::error::{ChangeError, Halted, ReadError, StartError, TransferError, WriteError};
pub use self::metrics::Metrics;
pub use self::raft::{Consistency, Raft};
pub use raft_core::{ChangeError as ChangeRefusal, TransferError as TransferRefusal};

/// The example in the README is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
