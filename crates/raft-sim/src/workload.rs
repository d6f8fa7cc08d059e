//! What clients ask. A workload draws every operation from the stream of choices.
//!
//! Read next: `clients.rs`, which sends them to nodes and hears the answers.

use bytes::Bytes;

use crate::choice::{Choices, Site};

/// One thing a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A command for `StateMachine::apply`.
    Write(Bytes),
    /// A query for `StateMachine::query`, linearizable.
    Read(Bytes),
}

/// Draws operations.
///
/// One method is enough: what clients ask next. Every choice in it comes from the stream, so that a
/// failing run can be run again and shrunk.
///
/// ```
/// use raft_sim::{Choices, Request, Site, Workload};
///
/// /// Counters: one byte names the counter to increase or to read.
/// struct Counters;
///
/// impl Workload for Counters {
///     fn next(&self, choices: &Choices, _client: u32, _number: u64) -> Request {
///         let counter = *choices.pick(Site::Workload, b"abc");
///         if choices.chance(Site::Workload, 300_000) {
///             return Request::Read(vec![counter].into());
///         }
///         Request::Write(vec![counter].into())
///     }
/// }
/// ```
pub trait Workload: Send + Sync {
    /// The next operation of a client. `number` counts the operations of the run, so that every
    /// one can be told from the others.
    fn next(&self, choices: &Choices, client: u32, number: u64) -> Request;

    /// A command and a query that every cluster that works can carry out: asked at the end, of
    /// every node, whatever the answers.
    ///
    /// Unless told otherwise the first of each that [`next`](Self::next) draws from other choices.
    /// Whoever never writes, or never reads, is asked for an empty one.
    fn probe(&self, number: u64) -> (Bytes, Bytes) {
        let choices = Choices::random(number);
        let (mut command, mut query) = (None, None);
        for _ in 0..PROBE_DRAWS_MAX {
            match self.next(&choices, 0, number) {
                Request::Write(bytes) => command = command.or(Some(bytes)),
                Request::Read(bytes) => query = query.or(Some(bytes)),
            }
            if command.is_some() && query.is_some() {
                break;
            }
        }
        (command.unwrap_or_default(), query.unwrap_or_default())
    }
}

/// Draws after which a workload has shown whether it writes and reads: one that does so once in a
/// hundred times is missed once in twenty thousand.
const PROBE_DRAWS_MAX: u32 = 1_000;

/// Registers: writes that answer what was there before, and reads. For
/// [`raft_core::InMemoryStateMachine`].
///
/// An answer names the write before it, so a lost, doubled or reordered write shows at once.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// How many there are.
    pub keys: u64,
    /// Bytes of the longest values; most are short.
    pub bytes_max: u64,
}

impl Default for Registers {
    fn default() -> Self {
        Self { keys: 5, bytes_max: 600 }
    }
}

impl Workload for Registers {
    fn next(&self, choices: &Choices, client: u32, number: u64) -> Request {
        let key = choices.choose(Site::Workload, self.keys);
        if choices.chance(Site::Workload, 400_000) {
            return Request::Read(format!("k{key}").into());
        }
        let mut command = format!("k{key}\0c{client}.{number}").into_bytes();
        if choices.chance(Site::Workload, 50_000) {
            let more = choices.spread(Site::Workload, 1, self.bytes_max);
            command.resize(command.len() + usize::try_from(more).unwrap_or(0), b'.');
        }
        Request::Write(command.into())
    }

    fn probe(&self, number: u64) -> (Bytes, Bytes) {
        (format!("probe\0{number}").into(), "probe".into())
    }
}
