//! Tests with real processes, real files and real networks.
//!
//! The stories are in `tests/stories`; this library is what they are told with:
//!
//! * [`Cluster`]: members as child processes on free ports, killed and started at will, gone when
//!   the test is, however it ends;
//! * [`Client`] and [`Load`]: calls to one member; many writers through all members, and the
//!   verdict about what became of every write;
//! * [`Network`]: a proxy between the members, whose directed connections can be cut and healed;
//! * [`Segment`]: where the batches of a log lie, for those who damage them.
//!
//! Everything that is waited for is waited for with [`eventually`], and nothing for ever. A helper
//! that cannot do its work panics and says why: that is how a test fails.
//!
//! Read next: `cluster.rs`, then `tests/stories/main.rs`.

#![expect(clippy::missing_panics_doc, reason = "everything here panics: that is how a test fails")]

mod binary;
mod client;
mod cluster;
mod http;
mod load;
mod ports;
mod process;
mod proxy;
mod verdict;
mod wait;
mod wal;

pub use binary::raftd;
pub use client::{Client, Failure};
pub use cluster::{Cluster, Settings};
pub use http::{HttpAnswer, http};
pub use load::{Load, Outcome, Write};
pub use ports::Ports;
pub use process::{Log, Raftd, run};
pub use proxy::{Network, Route};
pub use verdict::{History, Verdict};
pub use wait::{PATIENCE, eventually};
pub use wal::{Batch, Segment, newest_segment};
