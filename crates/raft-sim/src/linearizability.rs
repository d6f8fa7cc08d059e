//! Whether a history is linearizable: could one machine, doing one thing at a time, have answered
//! so, each operation taking effect at one moment between its invocation and its return?
//!
//! Two checkers answer it. They share no code, so that a mistake in one of them shows:
//!
//! * [`witness`] takes the committed log as the order and verifies it, in one pass. A node claims
//!   more than clients can see, the index of each answer, so a witness that fails is a bug even
//!   if another order exists.
//! * [`search`] sees only what clients saw and looks for an order, after Wing and Gong with the
//!   memory of Lowe. [`windows`] decides the same question sweeping through time, in memory that
//!   does not grow with the length of the history.
//!
//! Read next: `linearizability/witness.rs`, then `linearizability/part.rs`, which says what the
//! search makes of unknown outcomes.

mod part;
mod search;
#[cfg(test)]
mod tests;
mod windows;
mod witness;

pub use self::part::Verdict;
pub use self::search::search;
pub use self::windows::windows;
pub use self::witness::{LogCommand, witness};
