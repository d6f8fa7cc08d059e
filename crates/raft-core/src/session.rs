//! Client sessions (thesis §6.3): the mark a command carries so that it takes effect once.
//!
//! The table of sessions that a state machine consults belongs to a later version; the mark has its
//! place in every payload from the first format on.

use crate::Index;

/// Marks a command of a client session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionTag {
    /// The client: the index of the entry that opened its session.
    pub client: Index,
    /// The client's own number for this command, ascending.
    pub serial: u64,
    /// All serials up to this one have been answered; their cached answers may go.
    pub answered: u64,
}
