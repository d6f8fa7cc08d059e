//! Writes: puts, deletions and transactions (PUT, DEL, TXN).
//!
//! A transaction runs in three steps, and only the last one writes:
//!
//! 1. *Path*: all compares, also those of nested transactions, are evaluated against the state
//!    before the transaction. The outcomes are noted in the order in which execution will ask for
//!    them.
//! 2. *Check*: everything the state can refuse about the operations on the path. Any fault refuses
//!    the whole transaction.
//! 3. *Execute*: cannot fail. All writes share one revision.
//!
//! Read next: `compact.rs`.

use super::range::{as_count, key_values};
use super::{KeyRange, Mvcc, Revision, ValueOf, Version, Written};
use crate::validate::Limits;
use crate::{
    Command, Compare, CompareResult, CompareTarget, DeleteRangeRequest, DeleteRangeResponse,
    PutRequest, PutResponse, RangeRequest, RequestError, RequestOp, Response, ResponseOp,
    TxnRequest, TxnResponse,
};

/// Outcomes of the transactions on the path: a transaction before those inside of it.
type Path = Vec<bool>;

impl Mvcc {
    /// Applies a command.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`]; the state is unchanged.
    pub(crate) fn apply(&mut self, command: &Command<'_>) -> Result<Response, RequestError> {
        command.validate(&Limits::NONE)?;
        let revision = self.revision.next();
        match command {
            Command::Put(request) => {
                check_lease(request)?;
                self.check_kept(request)?;
                Ok(Response::Put(self.execute_put(revision, request)))
            }
            Command::DeleteRange(request) => {
                Ok(Response::DeleteRange(self.execute_delete_range(revision, request)))
            }
            Command::Txn(request) => {
                let path = self.check_txn(request)?;
                Ok(Response::Txn(self.execute_txn(revision, request, &mut path.into_iter())))
            }
            Command::Compact(request) => self.compact(request).map(Response::Compact),
        }
    }

    /// Answers a transaction that writes nothing.
    ///
    /// # Errors
    ///
    /// Any [`RequestError`].
    pub(crate) fn read_txn(&self, request: &TxnRequest<'_>) -> Result<TxnResponse, RequestError> {
        if !request.is_read_only() {
            return Err(RequestError::WriteInQuery);
        }
        request.validate(&Limits::NONE)?;
        let succeeded = self.holds(request);
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            match op {
                RequestOp::Range(range) => {
                    self.check_range(range)?;
                    responses.push(ResponseOp::Range(self.range(range)?));
                }
                RequestOp::Put(_)
                | RequestOp::DeleteRange(_)
                | RequestOp::Txn(_)
                | RequestOp::Unset => return Err(RequestError::WriteInQuery),
            }
        }
        Ok(TxnResponse { revision: self.revision.get(), succeeded, responses })
    }

    /// Steps one and two of a transaction.
    fn check_txn(&self, request: &TxnRequest<'_>) -> Result<Path, RequestError> {
        let mut path = Path::new();
        self.find_path(request, &mut path);
        self.check_ops(request, &mut path.iter().copied(), &mut None)?;
        Ok(path)
    }

    /// TXN-12: the whole path is found before anything is executed.
    fn find_path(&self, request: &TxnRequest<'_>, path: &mut Path) {
        let succeeded = self.holds(request);
        path.push(succeeded);
        for op in branch(request, succeeded) {
            if let RequestOp::Txn(inner) = op {
                self.find_path(inner, path);
            }
        }
    }

    /// Checks the operations on the path against the state before the transaction.
    ///
    /// `deleted_from` is the least key from which on an earlier operation deletes everything: the
    /// one kind of deletion that a put may follow (TXN-7), and after it there is nothing to keep.
    fn check_ops<'a>(
        &self,
        request: &'a TxnRequest<'a>,
        path: &mut impl Iterator<Item = bool>,
        deleted_from: &mut Option<&'a [u8]>,
    ) -> Result<(), RequestError> {
        let succeeded = path.next().expect(ON_THE_PATH);
        for op in branch(request, succeeded) {
            match op {
                RequestOp::Range(range) => self.check_range(range)?,
                RequestOp::Put(put) => {
                    // The other way around than for a put of its own: etcd's order.
                    self.check_kept(put)?;
                    if keeps(put) && deleted_from.is_some_and(|start| start <= put.key) {
                        return Err(RequestError::KeyNotFound);
                    }
                    check_lease(put)?;
                }
                RequestOp::DeleteRange(delete) => {
                    if let KeyRange::From(key) = KeyRange::new(delete.key, delete.range_end) {
                        *deleted_from = Some(deleted_from.map_or(key, |start| start.min(key)));
                    }
                }
                RequestOp::Txn(inner) => self.check_ops(inner, path, deleted_from)?,
                // Refused by validation.
                RequestOp::Unset => return Err(RequestError::KeyNotFound),
            }
        }
        Ok(())
    }

    /// TXN-9: inside a transaction a negative revision is one like all others, so it was compacted;
    /// but for -1, which is the compacted revision of a store that never was.
    fn check_range(&self, request: &RangeRequest<'_>) -> Result<(), RequestError> {
        if request.revision < 0 {
            return self.refuse_compacted(request.revision);
        }
        self.revision_of(request.revision).map(|_| ())
    }

    fn check_kept(&self, request: &PutRequest<'_>) -> Result<(), RequestError> {
        if keeps(request) && self.newest(request.key).is_none() {
            return Err(RequestError::KeyNotFound);
        }
        Ok(())
    }

    fn execute_put(&mut self, revision: Revision, request: &PutRequest<'_>) -> PutResponse {
        let place = self.index.locate(request.key);
        let before = self.index.at(place).filter(|slot| !slot.newest.is_tombstone());
        let prev_kv =
            before.filter(|_| request.prev_kv).map(|slot| slot.newest.key_value(&slot.key));
        let mut written = Written {
            value: ValueOf::Given(request.value),
            lease: request.lease,
            created: revision,
            version: 1,
        };
        if let Some(before) = before.map(|slot| &slot.newest) {
            written.created = before.created;
            written.version = before.puts + 1;
            if request.ignore_value {
                written.value = ValueOf::Kept(before.value.clone());
            }
            if request.ignore_lease {
                written.lease = before.lease;
            }
        }
        self.put(revision, place, request.key, written);
        PutResponse { revision: self.revision.get(), prev_kv }
    }

    fn execute_delete_range(
        &mut self,
        revision: Revision,
        request: &DeleteRangeRequest<'_>,
    ) -> DeleteRangeResponse {
        let range = KeyRange::new(request.key, request.range_end);
        let prev_kvs = if request.prev_kv { key_values(self.keys_now(range)) } else { Vec::new() };
        let keys: Vec<_> = self.keys_now(range).map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.delete(revision, self.index.locate(key), key);
        }
        DeleteRangeResponse {
            revision: self.revision.get(),
            deleted: as_count(keys.len()),
            prev_kvs,
        }
    }

    fn execute_txn(
        &mut self,
        revision: Revision,
        request: &TxnRequest<'_>,
        path: &mut impl Iterator<Item = bool>,
    ) -> TxnResponse {
        let succeeded = path.next().expect(ON_THE_PATH);
        let ops = branch(request, succeeded);
        let mut responses = Vec::with_capacity(ops.len());
        for op in ops {
            responses.push(match op {
                RequestOp::Range(range) => {
                    ResponseOp::Range(self.range(range).expect("checked before the first write"))
                }
                RequestOp::Put(put) => ResponseOp::Put(self.execute_put(revision, put)),
                RequestOp::DeleteRange(delete) => {
                    ResponseOp::DeleteRange(self.execute_delete_range(revision, delete))
                }
                RequestOp::Txn(inner) => ResponseOp::Txn(self.execute_txn(revision, inner, path)),
                RequestOp::Unset => unreachable!("refused by validation"),
            });
        }
        TxnResponse { revision: self.revision.get(), succeeded, responses }
    }

    fn holds(&self, request: &TxnRequest<'_>) -> bool {
        request.compare.iter().all(|compare| self.compare(compare))
    }

    /// TXN-1 to TXN-3. An empty range is compared once, as a missing key.
    fn compare(&self, compare: &Compare<'_>) -> bool {
        let mut found = self.keys_now(KeyRange::new(compare.key, compare.range_end)).peekable();
        if found.peek().is_none() {
            return does_hold(compare, None);
        }
        found.all(|(_, version)| does_hold(compare, Some(version)))
    }
}

fn check_lease(request: &PutRequest<'_>) -> Result<(), RequestError> {
    // Nothing grants leases, so none exists.
    if request.lease == 0 {
        Ok(())
    } else {
        Err(RequestError::LeaseNotFound { lease: request.lease })
    }
}

/// Whether a put keeps a part of the key, which therefore must exist.
fn keeps(request: &PutRequest<'_>) -> bool {
    request.ignore_value || request.ignore_lease
}

fn does_hold(compare: &Compare<'_>, version: Option<&Version>) -> bool {
    let number = |of: fn(&Version) -> i64| version.map_or(0, of);
    let ordering = match compare.target {
        CompareTarget::Version(operand) => number(|version| version.puts).cmp(&operand),
        CompareTarget::Create(operand) => number(|version| version.created.get()).cmp(&operand),
        CompareTarget::Mod(operand) => number(|version| version.modified.get()).cmp(&operand),
        CompareTarget::Lease(operand) => number(|version| version.lease).cmp(&operand),
        CompareTarget::Value(operand) => match version {
            Some(version) => version.value.as_slice().cmp(operand),
            // A missing key has no value, not an empty one.
            None => return false,
        },
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => ordering.is_ne(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

fn branch<'a>(request: &'a TxnRequest<'a>, succeeded: bool) -> &'a [RequestOp<'a>] {
    if succeeded { &request.success } else { &request.failure }
}

const ON_THE_PATH: &str = "the path has one outcome per transaction on it";
