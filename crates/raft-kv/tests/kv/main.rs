//! What the store promises to who uses it.
//!
//! * `statements.rs`, `statements_txn.rs`: one story per statement about etcd's semantics, by its
//!   id.
//! * `properties.rs`: thousands of random command sequences against `model.rs`, a naive store.
//! * `snapshots.rs`: round trips, damage, freezing. `bytes.rs`: formats, and bytes that are no
//!   format.
//! * `random.rs`: the seeded generator of commands and queries. `story.rs`: words for stories.

#![cfg(test)]

mod bytes;
mod model;
mod properties;
mod random;
mod snapshots;
mod statements;
mod statements_txn;
mod story;
