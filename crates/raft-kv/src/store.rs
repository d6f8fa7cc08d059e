//! `KvStore`: the state machine. Commands in, answers out; same commands, same answers.
//!
//! Read next: `shared.rs` for a store that a server reads while commands are applied, `mvcc.rs` for
//! how it works.

use bytes::Bytes;
use raft_core::{EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};

use crate::mvcc::{Change, Mvcc, Revision};
use crate::response::{Answer, KeyValue, RangeResponse, Response, TxnResponse, encode_answer};
use crate::snapshot::{self, FrozenStore};
use crate::{Command, DecodeError, Query, RangeRequest, RequestError, TxnRequest};

/// A multi-version key-value store with the semantics of etcd v3.
///
/// Applying a command changes the store or answers a [`RequestError`], never both. It looks at
/// nothing but the command and the state.
///
/// # Examples
///
/// ```
/// use raft_kv::{Command, KvStore, PutRequest, RangeRequest, Response};
///
/// let mut store = KvStore::new();
/// let put = PutRequest { key: b"color", value: b"blue", ..PutRequest::default() };
/// store.apply_command(&Command::Put(put))?;
/// let range = store.range(&RangeRequest { key: b"color", ..RangeRequest::default() })?;
/// assert_eq!(range.kvs[0].value, "blue");
/// assert_eq!(range.revision, 2, "a fresh store is at revision 1");
/// # Ok::<(), raft_kv::RequestError>(())
/// ```
#[derive(Debug, Default)]
pub struct KvStore {
    mvcc: Mvcc,
}

/// A change as a watcher sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The key after the change; of a deleted one only `key` and `mod_revision` are set (DEL-3).
    pub kv: KeyValue,
    /// The key before this revision; absent if it did not exist, and if that revision is compacted.
    pub prev_kv: Option<KeyValue>,
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It was put.
    Put,
    /// It was deleted.
    Delete,
}

/// What an operator may want to know of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The newest revision.
    pub revision: i64,
    /// The oldest revision that can be read; -1 if the store was never compacted.
    pub compacted_revision: i64,
    /// How many keys exist.
    pub keys: u64,
    /// How many changes the history holds, those that wait to be reclaimed included.
    pub changes: u64,
    /// How many changes wait to be reclaimed.
    pub reclaimable_changes: u64,
    /// Bytes of memory that keys, values and their bookkeeping take. It depends on how far this
    /// node has reclaimed, so it may differ between nodes.
    pub bytes: u64,
}

impl KvStore {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies a command, and reclaims a bounded part of what compaction made superfluous.
    ///
    /// What needs no state is checked again, all but the limit of [`Limits`](crate::Limits): a
    /// command that nobody validated is refused, it cannot harm the store.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`]; the store is unchanged.
    pub fn apply_command(&mut self, command: &Command<'_>) -> Answer {
        let answer = self.mvcc.apply(command);
        self.mvcc.reclaim(Mvcc::RECLAIM_CHANGES_MAX);
        answer
    }

    /// Answers a query.
    ///
    /// # Errors
    ///
    /// Those of [`range`](Self::range) and [`read_txn`](Self::read_txn).
    pub fn answer(&self, query: &Query<'_>) -> Answer {
        match query {
            Query::Range(request) => self.range(request).map(Response::Range),
            Query::Txn(request) => self.read_txn(request).map(Response::Txn),
        }
    }

    /// Reads a range of keys.
    ///
    /// # Errors
    ///
    /// [`RequestError::EmptyKey`], [`RequestError::InvalidSortOption`],
    /// [`RequestError::FutureRevision`], [`RequestError::Compacted`].
    pub fn range(&self, request: &RangeRequest<'_>) -> Result<RangeResponse, RequestError> {
        self.mvcc.range(request)
    }

    /// Executes a transaction that writes nothing.
    ///
    /// # Errors
    ///
    /// [`RequestError::WriteInQuery`] if it might write; otherwise those of
    /// [`TxnRequest::validate`] and [`range`](Self::range).
    pub fn read_txn(&self, request: &TxnRequest<'_>) -> Result<TxnResponse, RequestError> {
        self.mvcc.read_txn(request)
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.mvcc.revision().get()
    }

    /// The oldest revision that can be read; -1 if the store was never compacted.
    pub fn compacted_revision(&self) -> i64 {
        self.mvcc.compacted().get()
    }

    /// What an operator may want to know.
    pub fn stats(&self) -> Stats {
        let mvcc = &self.mvcc;
        Stats {
            revision: self.revision(),
            compacted_revision: self.compacted_revision(),
            keys: mvcc.keys(),
            changes: mvcc.changes(),
            reclaimable_changes: mvcc.reclaimable(),
            bytes: mvcc.bytes(),
        }
    }

    /// The changes at `revision` and after, in the order they happened; all changes of one revision
    /// follow each other.
    ///
    /// # Errors
    ///
    /// [`RequestError::Compacted`] if changes since `revision` may be forgotten. A revision in the
    /// future is no error: nothing has happened there yet.
    pub fn events(&self, revision: i64) -> Result<impl Iterator<Item = Event>, RequestError> {
        let (requested, compacted) = (revision, self.compacted_revision());
        if requested < compacted {
            return Err(RequestError::Compacted { requested, compacted });
        }
        Ok(self.mvcc.changes_from(Revision::new(revision)).map(|change| self.event(change)))
    }

    /// Reclaims at most `changes_max` changes that compaction made superfluous; returns how many.
    /// For idle time: applying commands reclaims as well.
    pub fn reclaim(&mut self, changes_max: usize) -> usize {
        self.mvcc.reclaim(changes_max)
    }

    /// Makes the newest revision `by` larger and forgets all older ones; gives the new one. For a
    /// store that was restored from a backup: clients that saw later revisions than the backup are
    /// told that these are compacted, instead of other changes under the same numbers.
    ///
    /// Not a command: it is for a store that no log applies to yet. `None`, and nothing is changed,
    /// if there are not as many revisions.
    pub fn bump_revision(&mut self, by: u64) -> Option<i64> {
        self.mvcc.bump(by).map(Revision::get)
    }

    /// Hashes all that can be read of the store: the same on each node that applied the same
    /// commands, whatever it has reclaimed and restored. Takes time in proportion to the size of
    /// the store.
    pub fn digest(&self) -> u64 {
        snapshot::digest(&self.mvcc)
    }

    /// Freezes the store, by sharing: its chunks may be pulled while commands are applied.
    pub fn freeze(&self) -> impl SnapshotSource + use<> {
        FrozenStore::new(self.mvcc.clone())
    }

    /// The state inside, for readers that must not hold a lock for long.
    pub(crate) fn mvcc(&self) -> &Mvcc {
        &self.mvcc
    }

    /// Reads a snapshot into a new store.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] if the source fails, or if its bytes are not a complete, sound snapshot.
    pub fn from_snapshot(snapshot: &mut dyn SnapshotSource) -> Result<Self, SnapshotError> {
        snapshot::restore(snapshot).map(|mvcc| Self { mvcc })
    }

    fn event(&self, change: &Change) -> Event {
        let prev_kv = self.mvcc.before(change).map(|version| version.key_value(&change.key));
        if change.version.is_tombstone() {
            let key = change.key.clone();
            let mod_revision = change.version.modified.get();
            let kv = KeyValue { key, mod_revision, ..KeyValue::default() };
            return Event { kind: EventKind::Delete, kv, prev_kv };
        }
        Event { kind: EventKind::Put, kv: change.version.key_value(&change.key), prev_kv }
    }
}

impl StateMachine for KvStore {
    fn apply(&mut self, _: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let answer = match decode_command(command)? {
            Ok(command) => self.apply_command(&command),
            Err(refused) => Err(refused),
        };
        Ok(encode_answer(&answer))
    }

    fn query(&self, query: &[u8]) -> Bytes {
        let query = Query::decode(query).map_err(RequestError::from);
        encode_answer(&query.and_then(|query| self.answer(&query)))
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        Ok(Box::new(self.freeze()))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        *self = Self::from_snapshot(snapshot)?;
        Ok(())
    }

    fn digest(&self) -> Option<u64> {
        Some(Self::digest(self))
    }
}

/// Decodes a command from the log.
///
/// Bytes that nobody can read are refused on every node alike. Bytes that a newer build can read
/// must not be: this node would go on without the command, and differ.
pub(crate) fn decode_command(bytes: &[u8]) -> Result<Result<Command<'_>, RequestError>, Halt> {
    match Command::decode(bytes) {
        Ok(command) => Ok(Ok(command)),
        Err(error @ (DecodeError::UnknownVersion { .. } | DecodeError::UnknownKind { .. })) => {
            Err(Halt::new(format!("command of a newer build, upgrade this node: {error}")))
        }
        Err(
            error @ (DecodeError::Truncated { .. }
            | DecodeError::Malformed { .. }
            | DecodeError::TooDeep { .. }),
        ) => Ok(Err(error.into())),
    }
}
