//! The naive store: a list of everything that ever happened, searched from the front for every
//! question.
//!
//! It shares the types of requests and answers with the store, and no code.

use std::collections::BTreeMap;

use raft_kv::{
    Answer, Command, CompactionResponse, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    DeleteRangeResponse, Event, EventKind, KeyValue, PutRequest, PutResponse, RangeRequest,
    RangeResponse, RequestError, RequestOp, Response, ResponseOp, SharedBytes, SortOrder,
    SortTarget, TxnRequest, TxnResponse,
};

/// A change: revision, key, and what was put there.
type Change = (i64, Vec<u8>, Option<Vec<u8>>);

/// The naive store.
#[derive(Default)]
pub(crate) struct Model {
    changes: Vec<Change>,
    compacted: Option<i64>,
}

/// A write of a transaction, and which branches lead to it: the number of the nested transaction,
/// and whether it succeeds.
struct Write<'a> {
    branches: Vec<(usize, bool)>,
    put: Option<&'a [u8]>,
    delete: Option<(&'a [u8], &'a [u8])>,
}

impl Model {
    pub(crate) fn revision(&self) -> i64 {
        self.changes.last().map_or(1, |(revision, ..)| *revision)
    }

    pub(crate) fn compacted(&self) -> i64 {
        self.compacted.unwrap_or(-1)
    }

    /// All keys at a revision, by replaying everything up to it.
    pub(crate) fn keys_at(&self, at: i64) -> BTreeMap<Vec<u8>, KeyValue> {
        let mut keys: BTreeMap<Vec<u8>, KeyValue> = BTreeMap::new();
        for (revision, key, value) in self.changes.iter().filter(|change| change.0 <= at) {
            let Some(value) = value else {
                keys.remove(key);
                continue;
            };
            let kv = keys.entry(key.clone()).or_insert_with(|| KeyValue {
                key: key.as_slice().into(),
                create_revision: *revision,
                ..KeyValue::default()
            });
            kv.mod_revision = *revision;
            kv.version += 1;
            kv.value = value.as_slice().into();
        }
        keys
    }

    fn keys_in(&self, at: i64, key: &[u8], range_end: &[u8]) -> Vec<KeyValue> {
        let is_in = |candidate: &[u8]| {
            if range_end.is_empty() {
                candidate == key
            } else {
                candidate >= key && (range_end == [0] || candidate < range_end)
            }
        };
        self.keys_at(at).into_values().filter(|kv| is_in(&kv.key)).collect()
    }

    pub(crate) fn apply(&mut self, command: &Command<'_>) -> Answer {
        let next = self.revision() + 1;
        match command {
            Command::Put(put) => {
                validate_put(put)?;
                check_lease(put)?;
                self.check_kept(put, &[])?;
                Ok(Response::Put(self.put(next, put)))
            }
            Command::DeleteRange(delete) => {
                validate_key(delete.key)?;
                Ok(Response::DeleteRange(self.delete(next, delete)))
            }
            Command::Txn(txn) => {
                validate_txn(txn)?;
                let path = self.path(txn);
                self.check_txn(txn, &mut path.iter().copied(), &mut vec![])?;
                Ok(Response::Txn(self.txn(next, txn, &mut path.into_iter())))
            }
            Command::Compact(compact) => {
                let (requested, current) = (compact.revision, self.revision());
                if requested > current {
                    return Err(RequestError::FutureRevision { requested, current });
                }
                if requested <= self.compacted() {
                    let compacted = self.compacted();
                    return Err(RequestError::Compacted { requested, compacted });
                }
                self.compacted = Some(requested);
                Ok(Response::Compact(CompactionResponse { revision: current }))
            }
        }
    }

    fn put(&mut self, revision: i64, put: &PutRequest<'_>) -> PutResponse {
        let before = self.keys_at(i64::MAX).remove(put.key);
        let value = match &before {
            Some(before) if put.ignore_value => before.value.to_vec(),
            Some(_) | None => put.value.to_vec(),
        };
        self.changes.push((revision, put.key.to_vec(), Some(value)));
        PutResponse { revision, prev_kv: before.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, revision: i64, delete: &DeleteRangeRequest<'_>) -> DeleteRangeResponse {
        let kvs = self.keys_in(i64::MAX, delete.key, delete.range_end);
        for kv in &kvs {
            self.changes.push((revision, kv.key.to_vec(), None));
        }
        DeleteRangeResponse {
            revision: self.revision(),
            deleted: i64::try_from(kvs.len()).unwrap(),
            prev_kvs: if delete.prev_kv { kvs } else { vec![] },
        }
    }

    fn txn(
        &mut self,
        next: i64,
        txn: &TxnRequest<'_>,
        path: &mut dyn Iterator<Item = bool>,
    ) -> TxnResponse {
        let succeeded = path.next().unwrap();
        let mut responses = vec![];
        for op in if succeeded { &txn.success } else { &txn.failure } {
            responses.push(match op {
                RequestOp::Range(range) => ResponseOp::Range(self.range(range).unwrap()),
                RequestOp::Put(put) => ResponseOp::Put(self.put(next, put)),
                RequestOp::DeleteRange(delete) => {
                    ResponseOp::DeleteRange(self.delete(next, delete))
                }
                RequestOp::Txn(inner) => ResponseOp::Txn(self.txn(next, inner, path)),
                RequestOp::Unset => unreachable!("was validated"),
            });
        }
        TxnResponse { revision: self.revision(), succeeded, responses }
    }

    fn path(&self, txn: &TxnRequest<'_>) -> Vec<bool> {
        let succeeded = txn.compare.iter().all(|compare| self.compare(compare));
        let mut path = vec![succeeded];
        for op in if succeeded { &txn.success } else { &txn.failure } {
            if let RequestOp::Txn(inner) = op {
                path.extend(self.path(inner));
            }
        }
        path
    }

    fn compare(&self, compare: &Compare<'_>) -> bool {
        let kvs = self.keys_in(i64::MAX, compare.key, compare.range_end);
        if kvs.is_empty() {
            let is_by_value = matches!(compare.target, CompareTarget::Value(_));
            return !is_by_value && holds(compare, &KeyValue::default());
        }
        kvs.iter().all(|kv| holds(compare, kv))
    }

    fn check_txn<'a>(
        &self,
        txn: &'a TxnRequest<'a>,
        path: &mut dyn Iterator<Item = bool>,
        deleted: &mut Vec<&'a [u8]>,
    ) -> Result<(), RequestError> {
        for op in if path.next().unwrap() { &txn.success } else { &txn.failure } {
            match op {
                RequestOp::Range(range) if range.revision < 0 => {
                    let (requested, compacted) = (range.revision, self.compacted());
                    if requested < compacted {
                        return Err(RequestError::Compacted { requested, compacted });
                    }
                }
                RequestOp::Range(range) => self.check_revision(range.revision)?,
                RequestOp::Put(put) => {
                    self.check_kept(put, deleted)?;
                    check_lease(put)?;
                }
                RequestOp::DeleteRange(delete) if delete.range_end == [0] => {
                    deleted.push(delete.key);
                }
                RequestOp::DeleteRange(_) => {}
                RequestOp::Txn(inner) => self.check_txn(inner, path, deleted)?,
                RequestOp::Unset => unreachable!("was validated"),
            }
        }
        Ok(())
    }

    fn check_kept(&self, put: &PutRequest<'_>, deleted: &[&[u8]]) -> Result<(), RequestError> {
        let is_there = self.keys_at(i64::MAX).contains_key(put.key)
            && !deleted.iter().any(|start| put.key >= *start);
        if (put.ignore_value || put.ignore_lease) && !is_there {
            return Err(RequestError::KeyNotFound);
        }
        Ok(())
    }

    fn check_revision(&self, requested: i64) -> Result<(), RequestError> {
        if requested > self.revision() {
            return Err(RequestError::FutureRevision { requested, current: self.revision() });
        }
        if requested > 0 && requested < self.compacted() {
            return Err(RequestError::Compacted { requested, compacted: self.compacted() });
        }
        Ok(())
    }

    pub(crate) fn range(&self, range: &RangeRequest<'_>) -> Result<RangeResponse, RequestError> {
        validate_range(range)?;
        self.check_revision(range.revision)?;
        let at = if range.revision <= 0 { i64::MAX } else { range.revision };
        let mut kvs = self.keys_in(at, range.key, range.range_end);
        let count = i64::try_from(kvs.len()).unwrap();
        let revision = self.revision();
        if range.count_only {
            return Ok(RangeResponse { revision, count, ..RangeResponse::default() });
        }
        let limit = usize::try_from(range.limit).ok().filter(|limit| *limit > 0);
        let has_filters = range.min_mod_revision != 0
            || range.max_mod_revision != 0
            || range.min_create_revision != 0
            || range.max_create_revision != 0;
        if let (SortOrder::None, false, Some(limit)) = (range.sort_order, has_filters, limit) {
            kvs.truncate(limit + 1);
        }
        kvs.retain(|kv| {
            (range.min_mod_revision == 0 || kv.mod_revision >= range.min_mod_revision)
                && (range.max_mod_revision == 0 || kv.mod_revision <= range.max_mod_revision)
                && (range.min_create_revision == 0
                    || kv.create_revision >= range.min_create_revision)
                && (range.max_create_revision == 0
                    || kv.create_revision <= range.max_create_revision)
        });
        kvs.sort_by(|one, two| {
            let (one, two) =
                if range.sort_order == SortOrder::Descend { (two, one) } else { (one, two) };
            match range.sort_target {
                SortTarget::Key => one.key.cmp(&two.key),
                SortTarget::Version => one.version.cmp(&two.version),
                SortTarget::Create => one.create_revision.cmp(&two.create_revision),
                SortTarget::Mod => one.mod_revision.cmp(&two.mod_revision),
                SortTarget::Value => one.value.cmp(&two.value),
                SortTarget::Unrecognized => unreachable!("was validated"),
            }
        });
        let more = limit.is_some_and(|limit| kvs.len() > limit);
        kvs.truncate(limit.unwrap_or(usize::MAX));
        if range.keys_only {
            for kv in &mut kvs {
                kv.value = SharedBytes::default();
            }
        }
        Ok(RangeResponse { revision, kvs, more, count })
    }

    pub(crate) fn read_txn(&self, txn: &TxnRequest<'_>) -> Result<TxnResponse, RequestError> {
        validate_txn(txn)?;
        let path = self.path(txn);
        self.check_txn(txn, &mut path.iter().copied(), &mut vec![])?;
        let mut copy = Self { changes: self.changes.clone(), compacted: self.compacted };
        let next = self.revision() + 1;
        Ok(copy.txn(next, txn, &mut path.into_iter()))
    }

    /// The events from a revision on, each with what was there before its revision.
    pub(crate) fn events(&self, from: i64) -> Result<Vec<Event>, RequestError> {
        if from < self.compacted() {
            let compacted = self.compacted();
            return Err(RequestError::Compacted { requested: from, compacted });
        }
        let mut versions: BTreeMap<(&[u8], i64), i64> = BTreeMap::new();
        let mut events = vec![];
        for (number, (revision, key, value)) in self.changes.iter().enumerate() {
            if *revision < from {
                continue;
            }
            let before = self.keys_at(revision - 1).remove(key);
            let upto = Self { changes: self.changes[..=number].to_vec(), compacted: None };
            let after = upto.keys_at(*revision).remove(key);
            *versions.entry((key, *revision)).or_default() += 1;
            events.push(Event {
                kind: if value.is_some() { EventKind::Put } else { EventKind::Delete },
                kv: after.unwrap_or_else(|| KeyValue {
                    key: key.as_slice().into(),
                    mod_revision: *revision,
                    ..KeyValue::default()
                }),
                prev_kv: before.filter(|_| *revision > self.compacted()),
            });
        }
        Ok(events)
    }
}

fn check_lease(put: &PutRequest<'_>) -> Result<(), RequestError> {
    if put.lease == 0 { Ok(()) } else { Err(RequestError::LeaseNotFound { lease: put.lease }) }
}

fn holds(compare: &Compare<'_>, kv: &KeyValue) -> bool {
    let ordering = match compare.target {
        CompareTarget::Version(operand) => kv.version.cmp(&operand),
        CompareTarget::Create(operand) => kv.create_revision.cmp(&operand),
        CompareTarget::Mod(operand) => kv.mod_revision.cmp(&operand),
        CompareTarget::Lease(operand) => kv.lease.cmp(&operand),
        CompareTarget::Value(operand) => kv.value.as_slice().cmp(operand),
    };
    match compare.result {
        CompareResult::Equal => ordering.is_eq(),
        CompareResult::NotEqual => !ordering.is_eq(),
        CompareResult::Greater => ordering.is_gt(),
        CompareResult::Less => ordering.is_lt(),
    }
}

fn validate_key(key: &[u8]) -> Result<(), RequestError> {
    if key.is_empty() { Err(RequestError::EmptyKey) } else { Ok(()) }
}

fn validate_put(put: &PutRequest<'_>) -> Result<(), RequestError> {
    validate_key(put.key)?;
    if put.ignore_value && !put.value.is_empty() {
        return Err(RequestError::ValueProvided);
    }
    if put.ignore_lease && put.lease != 0 {
        return Err(RequestError::LeaseProvided);
    }
    Ok(())
}

fn validate_range(range: &RangeRequest<'_>) -> Result<(), RequestError> {
    validate_key(range.key)?;
    if range.sort_order == SortOrder::Unrecognized || range.sort_target == SortTarget::Unrecognized
    {
        return Err(RequestError::InvalidSortOption);
    }
    Ok(())
}

fn validate_txn(txn: &TxnRequest<'_>) -> Result<(), RequestError> {
    validate_ops(txn)?;
    for branch in [&txn.success, &txn.failure] {
        let mut writes = vec![];
        collect_writes(branch, &[], &mut 0, &mut writes);
        for (number, one) in writes.iter().enumerate() {
            if writes[..number].iter().any(|two| may_write_twice(one, two)) {
                return Err(RequestError::DuplicateKey);
            }
        }
    }
    Ok(())
}

fn validate_ops(txn: &TxnRequest<'_>) -> Result<(), RequestError> {
    for compare in &txn.compare {
        validate_key(compare.key)?;
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            RequestOp::Range(range) => validate_range(range)?,
            RequestOp::Put(put) => validate_put(put)?,
            RequestOp::DeleteRange(delete) => validate_key(delete.key)?,
            RequestOp::Txn(inner) => validate_ops(inner)?,
            RequestOp::Unset => return Err(RequestError::KeyNotFound),
        }
    }
    Ok(())
}

fn collect_writes<'a>(
    ops: &'a [RequestOp<'a>],
    branches: &[(usize, bool)],
    nested: &mut usize,
    writes: &mut Vec<Write<'a>>,
) {
    for op in ops {
        let branches = branches.to_vec();
        match op {
            RequestOp::Put(put) => {
                writes.push(Write { branches, put: Some(put.key), delete: None });
            }
            RequestOp::DeleteRange(delete) => {
                let delete = Some((delete.key, delete.range_end));
                writes.push(Write { branches, put: None, delete });
            }
            RequestOp::Txn(inner) => {
                *nested += 1;
                let number = *nested;
                for (ops, succeeded) in [(&inner.success, true), (&inner.failure, false)] {
                    let branches = [&branches[..], &[(number, succeeded)]].concat();
                    collect_writes(ops, &branches, nested, writes);
                }
            }
            RequestOp::Range(_) | RequestOp::Unset => {}
        }
    }
}

fn may_write_twice(one: &Write<'_>, two: &Write<'_>) -> bool {
    let exclude = |branch: &(usize, bool)| two.branches.contains(&(branch.0, !branch.1));
    if one.branches.iter().any(exclude) {
        return false;
    }
    let is_covered = |put: Option<&[u8]>, delete: Option<(&[u8], &[u8])>| match (put, delete) {
        (Some(put), Some((key, []))) => put == key,
        // A range end of one zero byte is below every key here: not infinite.
        (Some(put), Some((key, range_end))) => put >= key && put < range_end,
        (None, _) | (_, None) => false,
    };
    (one.put.is_some() && one.put == two.put)
        || is_covered(one.put, two.delete)
        || is_covered(two.put, one.delete)
}
