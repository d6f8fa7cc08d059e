//! The acceptance stories: what users of `raftd` are promised, told with real processes.
//!
//! Each story starts what it needs on ports and directories of its own, so all run side by side.
//! Read next: `crashes.rs`; the tools are in the library.

#![expect(clippy::unwrap_used, reason = "a test says what it needs by panicking without it")]

mod backups;
mod crashes;
mod dev;
mod files;
mod flags;
mod foreign;
mod kv;
mod kv_errors;
mod lag;
mod leadership;
mod membership;
mod operations;
mod partitions;
mod removal;
mod stop;
