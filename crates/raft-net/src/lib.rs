//! Carries Raft messages between nodes: framed TCP for production, a loopback for tests.
//!
//! Raft asks little of a network. Messages may be lost, doubled or late; none may be invented, and
//! each must come from the node that it names. So a transport here never retries and never blocks:
//! a full queue and a broken connection are losses, reported as such. What it adds is what makes a
//! cluster easy to run:
//!
//! * **Votes and heartbeats never wait behind entries**: each [`Class`] has its own connections,
//!   queues and inbox pool ([`inbox`](Inbox)).
//! * **Nodes that do not belong together find out at once**: a handshake compares clusters, nodes,
//!   incarnations and versions, and a [`Refusal`] names both sides and the remedy.
//! * **Snapshots are pulled by who needs them**, chunk by chunk on a connection of their own: what
//!   has arrived stays, and nothing else waits behind it.
//! * **Bounds in bytes everywhere**, and a slow peer slows nobody but itself.
//!
//! Whoever writes another [`Transport`] runs `contract::check` (feature `contract`).
//!
//! Read next: `transport.rs`, the trait; then `inbox.rs`, `hello.rs`, `loopback.rs`, and
//! `frame.rs` with `tcp.rs` for production.

mod chunk;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod fetch;
mod frame;
mod hello;
mod inbox;
mod loopback;
mod stats;
mod tcp;
mod transport;

pub use self::fetch::{CHUNK_BYTES_MAX, MANIFEST_BYTES_MAX};
pub use self::hello::{Refusal, RefusalCode, Strangers, VersionRange};
pub use self::inbox::{Arrival, Class, Deliver, Inbox, InboxLimits, Room};
pub use self::loopback::{Loopback, LoopbackTransport};
pub use self::stats::{
    Chunks, Dropped, Fault, Faults, NetStats, PeerStats, RefusalCount, RoundTrips, SnapshotStats,
    Traffic,
};
pub use self::tcp::{ProbeError, TcpConfig, TcpTransport, probe};
pub use self::transport::{NetError, PeerAddress, Roster, SendError, Transport};
