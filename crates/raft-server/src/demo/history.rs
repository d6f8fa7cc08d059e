//! What clients did and were told, and what was found in the end. Read next: `judge.rs`.

use std::time::Duration;

/// One write of one client, and what became of it as far as the client knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Write {
    /// Whose.
    pub(super) client: u32,
    /// The key.
    pub(super) key: String,
    /// The value, which no other write has.
    pub(super) value: String,
    /// How the key is used.
    pub(super) kind: Kind,
    /// When it was sent, since the start of the run.
    pub(super) sent: Duration,
    /// When its answer came, or the client gave up.
    pub(super) answered: Duration,
    /// What the client was told.
    pub(super) outcome: Outcome,
}

/// How a write uses its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Puts a key that no other write has.
    Put,
    /// Replaces the value of a shared key, if it is still the one of this revision; 0 if there
    /// should be none.
    Swap {
        /// The `mod_revision` that was compared with.
        over: i64,
    },
}

/// What a client knows about its write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was acknowledged, with this revision.
    Applied {
        /// The revision of the answer.
        revision: i64,
    },
    /// It was refused for certain: it must never show.
    NotApplied,
    /// It may have happened or not.
    Unknown,
}

/// All keys that one member holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Holdings {
    /// Who was asked.
    pub(super) member: String,
    /// What it answered.
    pub(super) keys: Vec<Stored>,
}

/// One key as a member holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The key.
    pub(super) key: String,
    /// The value.
    pub(super) value: String,
    /// The revision of the last write to it.
    pub(super) mod_revision: i64,
    /// How many writes it has seen.
    pub(super) version: i64,
}
