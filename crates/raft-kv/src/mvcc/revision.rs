//! `Revision`, the store's logical clock, and `Version`, what a key was from one revision on.
//!
//! * A revision is one command that changed something; revisions have no gaps (REV-2).
//! * A version never changes once it is written: the index, the history and frozen snapshots share
//!   it.
//! * No puts is a tombstone: from here on the key does not exist.
//!
//! Read next: `index.rs` for the newest versions, `history.rs` for the others.

use crate::{KeyValue, SharedBytes};

/// A point of the store's logical clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Revision(i64);

impl Revision {
    /// The revision of a store in which nothing has happened (REV-1).
    pub(crate) const FRESH: Self = Self(1);
    /// The compacted revision of a store that was never compacted (CMP-1).
    pub(crate) const NEVER: Self = Self(-1);
    /// Later than all.
    pub(crate) const NEWEST: Self = Self(i64::MAX);

    pub(crate) fn new(revision: i64) -> Self {
        Self(revision)
    }

    pub(crate) fn get(self) -> i64 {
        self.0
    }

    pub(crate) fn next(self) -> Self {
        Self(self.0.checked_add(1).expect("no log is long enough for 2^63 revisions"))
    }
}

/// The number of a [`Change`](super::history::Change), counted from the start of this store's
/// memory.
///
/// It is an address, known only inside: a store restored from a snapshot counts from zero again.
pub(crate) type ChangeNumber = u64;

/// What a key was from one revision until the next change of the key.
#[derive(Debug)]
pub(crate) struct Version {
    /// The revision that wrote it.
    pub(crate) modified: Revision,
    /// The revision that created this generation of the key; meaningless for a tombstone.
    pub(crate) created: Revision,
    /// How often the key was put in this generation; 0 for a tombstone.
    pub(crate) puts: i64,
    /// The lease the key is attached to; 0 for none.
    pub(crate) lease: i64,
    pub(crate) value: SharedBytes,
    /// The change that wrote it; history may have forgotten that one.
    pub(crate) change: ChangeNumber,
    /// An older change of the same key, or `change` if there is none: see `history.rs`.
    pub(crate) skip: ChangeNumber,
    /// How many older changes of the key were known when this was written.
    pub(crate) depth: u32,
}

impl Version {
    pub(crate) fn tombstone(modified: Revision, change: ChangeNumber) -> Self {
        let value = SharedBytes::default();
        Self {
            modified,
            created: Revision(0),
            puts: 0,
            lease: 0,
            value,
            change,
            skip: change,
            depth: 0,
        }
    }

    pub(crate) fn is_tombstone(&self) -> bool {
        self.puts == 0
    }

    pub(crate) fn key_value(&self, key: &SharedBytes) -> KeyValue {
        KeyValue { value: self.value.clone(), ..self.key_only(key) }
    }

    pub(crate) fn key_only(&self, key: &SharedBytes) -> KeyValue {
        KeyValue {
            key: key.clone(),
            create_revision: self.created.get(),
            mod_revision: self.modified.get(),
            version: self.puts,
            value: SharedBytes::default(),
            lease: self.lease,
        }
    }
}
