//! What is refused before the log: everything that can be said about a request without the state.
//!
//! * The order is etcd's: a request with two faults gets the error etcd gives. First everything
//!   about single operations, in the order they stand and through both branches; then duplicate
//!   keys.
//! * Both branches of a transaction are checked, because nobody knows yet which one is executed.
//! * Apply asks again, all but the limit: a log may hold what nobody validated, and a store must
//!   stay sound whatever it holds. The limit is a setting of one node, so it never decides in
//!   apply.
//!
//! Read next: `mvcc/txn.rs` for what depends on the state.

use core::mem;
use std::collections::{BTreeMap, BTreeSet};

use crate::command::TXN_DEPTH_MAX;
use crate::mvcc::KeyRange;
use crate::{
    Command, CompactionRequest, DeleteRangeRequest, PutRequest, RangeRequest, RequestError,
    RequestOp, SortOrder, SortTarget, TxnRequest,
};

/// Limits of requests, checked before the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many compares, and so many operations in each branch. A nested transaction may
    /// have as many less as its parent has (TXN-4). Default 128, as etcd.
    pub max_txn_ops: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_txn_ops: 128 }
    }
}

impl Limits {
    /// What apply uses: the limit was decided before the log.
    pub(crate) const NONE: Self = Self { max_txn_ops: usize::MAX };
}

impl Command<'_> {
    /// Checks everything that does not depend on the state, in etcd's order.
    ///
    /// # Errors
    ///
    /// [`RequestError::EmptyKey`], [`ValueProvided`](RequestError::ValueProvided),
    /// [`LeaseProvided`](RequestError::LeaseProvided), [`TooManyOps`](RequestError::TooManyOps),
    /// [`DuplicateKey`](RequestError::DuplicateKey),
    /// [`InvalidSortOption`](RequestError::InvalidSortOption), or
    /// [`KeyNotFound`](RequestError::KeyNotFound) for an operation with nothing in it.
    pub fn validate(&self, limits: &Limits) -> Result<(), RequestError> {
        match self {
            Self::Put(request) => request.validate(),
            Self::DeleteRange(request) => request.validate(),
            Self::Txn(request) => request.validate(limits),
            // Every revision may be asked for; the state knows which ones exist.
            Self::Compact(CompactionRequest { .. }) => Ok(()),
        }
    }
}

impl RangeRequest<'_> {
    /// Checks everything that does not depend on the state, in etcd's order.
    ///
    /// # Errors
    ///
    /// [`RequestError::EmptyKey`], then [`RequestError::InvalidSortOption`].
    pub fn validate(&self) -> Result<(), RequestError> {
        if self.key.is_empty() {
            return Err(RequestError::EmptyKey);
        }
        let is_unknown = self.sort_order == SortOrder::Unrecognized
            || self.sort_target == SortTarget::Unrecognized;
        if is_unknown { Err(RequestError::InvalidSortOption) } else { Ok(()) }
    }
}

impl PutRequest<'_> {
    fn validate(&self) -> Result<(), RequestError> {
        if self.key.is_empty() {
            return Err(RequestError::EmptyKey);
        }
        if self.ignore_value && !self.value.is_empty() {
            return Err(RequestError::ValueProvided);
        }
        if self.ignore_lease && self.lease != 0 {
            return Err(RequestError::LeaseProvided);
        }
        Ok(())
    }
}

impl DeleteRangeRequest<'_> {
    fn validate(&self) -> Result<(), RequestError> {
        if self.key.is_empty() { Err(RequestError::EmptyKey) } else { Ok(()) }
    }
}

impl TxnRequest<'_> {
    /// Checks everything that does not depend on the state, in etcd's order.
    ///
    /// # Errors
    ///
    /// Those of [`Command::validate`].
    pub fn validate(&self, limits: &Limits) -> Result<(), RequestError> {
        self.validate_ops(limits.max_txn_ops, 1)?;
        for branch in [&self.success, &self.failure] {
            let mut writing = branch.iter().filter(|op| !matches!(op, RequestOp::Range(_)));
            // Most transactions write once, and one write cannot be a duplicate.
            if !matches!((writing.next(), writing.next()), (None | Some(RequestOp::Put(_)), None)) {
                Writes::of(branch)?;
            }
        }
        Ok(())
    }

    fn validate_ops(&self, ops_max: usize, depth: usize) -> Result<(), RequestError> {
        let ops = self.compare.len().max(self.success.len()).max(self.failure.len());
        if ops > ops_max || depth > TXN_DEPTH_MAX {
            return Err(RequestError::TooManyOps);
        }
        if self.compare.iter().any(|compare| compare.key.is_empty()) {
            return Err(RequestError::EmptyKey);
        }
        for op in self.success.iter().chain(&self.failure) {
            match op {
                RequestOp::Range(request) => request.validate()?,
                RequestOp::Put(request) => request.validate()?,
                RequestOp::DeleteRange(request) => request.validate()?,
                RequestOp::Txn(request) => request.validate_ops(ops_max - ops, depth + 1)?,
                RequestOp::Unset => return Err(RequestError::KeyNotFound),
            }
        }
        Ok(())
    }
}

/// The keys that a list of operations may write, to find one that is written twice (TXN-7).
///
/// etcd lets a put in one nested transaction pass before a delete of the same key in a later
/// sibling, and refuses the opposite order. Here both are refused: a key has at most one event per
/// revision (REV-4). A delete without end is the one exception, which etcd allows and clients use.
#[derive(Default)]
struct Writes<'a> {
    puts: BTreeSet<&'a [u8]>,
    /// Keys deleted alone.
    deletes: BTreeSet<&'a [u8]>,
    /// Ranges deleted, as start and end; those that overlap are one.
    deleted_ranges: BTreeMap<&'a [u8], &'a [u8]>,
}

impl<'a> Writes<'a> {
    /// The writes of a branch, or the proof that it writes a key twice.
    fn of(branch: &'a [RequestOp<'a>]) -> Result<Self, RequestError> {
        let mut writes = Self::default();
        for op in branch {
            if let RequestOp::Txn(txn) = op {
                let then = Self::of(&txn.success)?;
                let otherwise = Self::of(&txn.failure)?;
                // Only one of the two is executed: they may overlap each other, not what is
                // outside.
                writes.refuse_overlap(&then)?;
                writes.refuse_overlap(&otherwise)?;
                writes.absorb(then);
                writes.absorb(otherwise);
            }
        }
        writes.add(branch)?;
        Ok(writes)
    }

    /// Adds the puts and deletes that stand in `branch` itself.
    fn add(&mut self, branch: &'a [RequestOp<'a>]) -> Result<(), RequestError> {
        let mut level = Self::default();
        for op in branch {
            if let RequestOp::DeleteRange(request) = op {
                level.delete(request);
            }
        }
        for op in branch {
            if let RequestOp::Put(request) = op
                && (level.is_deleted(request.key) || !level.puts.insert(request.key))
            {
                return Err(RequestError::DuplicateKey);
            }
        }
        self.refuse_overlap(&level)?;
        self.absorb(level);
        Ok(())
    }

    /// Refuses two sets of writes of which both may be executed. The smaller side asks the larger
    /// one, so that nesting does not multiply the work.
    fn refuse_overlap(&self, other: &Self) -> Result<(), RequestError> {
        let (small, large) =
            if self.puts.len() < other.puts.len() { (self, other) } else { (other, self) };
        let is_duplicate = small.puts.iter().any(|key| large.puts.contains(key))
            || Self::is_any_deleted(self, other)
            || Self::is_any_deleted(other, self);
        if is_duplicate { Err(RequestError::DuplicateKey) } else { Ok(()) }
    }

    fn is_any_deleted(puts: &Self, deletes: &Self) -> bool {
        if puts.puts.len() < deletes.deletes.len() + deletes.deleted_ranges.len() {
            return puts.puts.iter().any(|key| deletes.is_deleted(key));
        }
        deletes.deletes.iter().any(|key| puts.puts.contains(key))
            || deletes
                .deleted_ranges
                .iter()
                .any(|(start, end)| puts.puts.range(*start..*end).next().is_some())
    }

    /// Takes the writes of `other` in, the smaller set into the larger.
    fn absorb(&mut self, mut other: Self) {
        if self.puts.len() < other.puts.len() {
            mem::swap(&mut self.puts, &mut other.puts);
        }
        self.puts.extend(other.puts);
        if self.deletes.len() < other.deletes.len() {
            mem::swap(&mut self.deletes, &mut other.deletes);
        }
        self.deletes.extend(other.deletes);
        if self.deleted_ranges.len() < other.deleted_ranges.len() {
            mem::swap(&mut self.deleted_ranges, &mut other.deleted_ranges);
        }
        for (start, end) in other.deleted_ranges {
            self.delete_between(start, end);
        }
    }

    fn delete(&mut self, request: &DeleteRangeRequest<'a>) {
        match KeyRange::new(request.key, request.range_end) {
            KeyRange::One(key) => {
                self.deletes.insert(key);
            }
            KeyRange::Between(start, end) if start < end => self.delete_between(start, end),
            // Nothing lies between; and a range without end does not take part in this check.
            KeyRange::Between(..) | KeyRange::From(_) => {}
        }
    }

    fn delete_between(&mut self, mut start: &'a [u8], mut end: &'a [u8]) {
        // The ranges are apart from each other, so those that touch the new one are the last ones
        // before its end.
        while let Some((&other_start, &other_end)) = self.deleted_ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.deleted_ranges.remove(other_start);
            start = start.min(other_start);
            end = end.max(other_end);
        }
        self.deleted_ranges.insert(start, end);
    }

    fn is_deleted(&self, key: &'a [u8]) -> bool {
        let before = self.deleted_ranges.range(..=key).next_back();
        self.deletes.contains(key) || before.is_some_and(|(_, end)| key < *end)
    }
}
