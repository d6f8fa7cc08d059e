//! `SharedStore`: one store for the thread that applies and the tasks that read.
//!
//! The apply thread owns the writes; a server answers reads in its own tasks, without a detour
//! through the queue of commands. Whether a read is linearizable is the business of who calls: it
//! reads after its read index is applied.
//!
//! * A command holds the lock for about a microsecond, and decodes and encodes outside of it.
//! * A short read holds it as long. A long one freezes the store, which takes some hundred
//!   microseconds with a million keys, and reads the frozen one: it never keeps a command waiting
//!   for longer.
//! * The lock is not fair in theory; the one of `std` lets a waiting writer go first.
//!
//! Read next: `mvcc/range.rs` for what is short.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use raft_core::{EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};

use crate::response::{Answer, RangeResponse, Response, TxnResponse, encode_answer};
use crate::snapshot;
use crate::store::{Event, KvStore, Stats, decode_command};
use crate::{Query, RangeRequest, RequestError, RequestOp, TxnRequest};

/// A handle to a [`KvStore`]; clones mean the same store.
///
/// # Examples
///
/// ```
/// use raft_core::{EntryId, StateMachine};
/// use raft_kv::{Command, PutRequest, RangeRequest, SharedStore};
///
/// let store = SharedStore::new();
/// let mut applied = store.clone(); // goes to the node
/// let put = Command::Put(PutRequest { key: b"k", value: b"v", ..PutRequest::default() });
/// applied.apply(EntryId::ZERO, &put.encode())?;
///
/// let range = store.range(&RangeRequest { key: b"k", ..RangeRequest::default() });
/// assert_eq!(range.map(|range| range.count), Ok(1));
/// # Ok::<(), raft_core::Halt>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct SharedStore(Arc<RwLock<KvStore>>);

impl SharedStore {
    /// An empty store, at revision 1.
    pub fn new() -> Self {
        Self::default()
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

    /// Reads a range of keys, as [`KvStore::range`].
    ///
    /// # Errors
    ///
    /// Those of [`KvStore::range`].
    pub fn range(&self, request: &RangeRequest<'_>) -> Result<RangeResponse, RequestError> {
        let store = self.read();
        if store.mvcc().is_short(request) {
            return store.range(request);
        }
        let frozen = store.mvcc().clone();
        drop(store);
        frozen.range(request)
    }

    /// Executes a transaction that writes nothing, as [`KvStore::read_txn`].
    ///
    /// # Errors
    ///
    /// Those of [`KvStore::read_txn`].
    pub fn read_txn(&self, request: &TxnRequest<'_>) -> Result<TxnResponse, RequestError> {
        let store = self.read();
        if is_short(request, &store) {
            return store.read_txn(request);
        }
        let frozen = store.mvcc().clone();
        drop(store);
        frozen.read_txn(request)
    }

    /// The newest revision.
    pub fn revision(&self) -> i64 {
        self.read().revision()
    }

    /// The oldest revision that can be read; -1 if the store was never compacted.
    pub fn compacted_revision(&self) -> i64 {
        self.read().compacted_revision()
    }

    /// What an operator may want to know.
    pub fn stats(&self) -> Stats {
        self.read().stats()
    }

    /// At most `events_max` changes at `revision` and after, in the order they happened, and then
    /// those that complete the last revision: none is torn.
    ///
    /// # Errors
    ///
    /// Those of [`KvStore::events`].
    pub fn events(&self, revision: i64, events_max: usize) -> Result<Vec<Event>, RequestError> {
        let store = self.read();
        let mut events: Vec<Event> = Vec::new();
        for event in store.events(revision)? {
            let last = events.last().map(|last| last.kv.mod_revision);
            if events.len() >= events_max && last != Some(event.kv.mod_revision) {
                break;
            }
            events.push(event);
        }
        Ok(events)
    }

    /// Hashes a frozen store, as [`KvStore::digest`]; commands do not wait for it.
    pub fn digest(&self) -> u64 {
        let frozen = self.read().mvcc().clone();
        snapshot::digest(&frozen)
    }

    /// Reclaims at most `changes_max` changes, as [`KvStore::reclaim`]; commands wait meanwhile.
    pub fn reclaim(&self, changes_max: usize) -> usize {
        self.write().reclaim(changes_max)
    }

    /// Makes the newest revision `by` larger, as [`KvStore::bump_revision`].
    pub fn bump_revision(&self, by: u64) -> Option<i64> {
        self.write().bump_revision(by)
    }

    /// A poisoned lock is taken all the same for reading and writing alike: only a panic inside of
    /// a command poisons it, and that one ends the node on the thread where it happens.
    fn read(&self) -> RwLockReadGuard<'_, KvStore> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, KvStore> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateMachine for SharedStore {
    fn apply(&mut self, _: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let answer = match decode_command(command)? {
            Ok(command) => self.write().apply_command(&command),
            Err(refused) => Err(refused),
        };
        Ok(encode_answer(&answer))
    }

    fn query(&self, query: &[u8]) -> Bytes {
        let query = Query::decode(query).map_err(RequestError::from);
        encode_answer(&query.and_then(|query| self.answer(&query)))
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        self.read().snapshot()
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let restored = KvStore::from_snapshot(snapshot)?;
        let mut store = self.write();
        let before = core::mem::replace(&mut *store, restored);
        // To free a large store takes long: not under the lock.
        drop(store);
        drop(before);
        Ok(())
    }

    fn digest(&self) -> Option<u64> {
        Some(Self::digest(self))
    }
}

fn is_short(request: &TxnRequest<'_>, store: &KvStore) -> bool {
    let range = |key, range_end| RangeRequest { key, range_end, ..RangeRequest::default() };
    let compares = request.compare.iter().map(|compare| range(compare.key, compare.range_end));
    let ops = request.success.iter().chain(&request.failure).filter_map(|op| match op {
        RequestOp::Range(request) => Some(*request),
        // Refused before anything is read.
        RequestOp::Put(_) | RequestOp::DeleteRange(_) | RequestOp::Txn(_) | RequestOp::Unset => {
            None
        }
    });
    compares.chain(ops).all(|range| store.mvcc().is_short(&range))
}
