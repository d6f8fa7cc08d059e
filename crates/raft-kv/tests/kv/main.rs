//! What the store promises to who uses it.
//!
//! * `properties.rs`: thousands of random command sequences against `model.rs`, a naive store.
//! * `random.rs`: the seeded generator of commands and queries.

#![cfg(test)]

mod model;
mod properties;
mod random;
