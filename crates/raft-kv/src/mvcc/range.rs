//! Reads: which keys a request means, and what a range answers (RNG-1 to RNG-9).
//!
//! * The newest revision is read from the index alone, in O(log n + keys returned): a count adds up
//!   leaves, and a limit stops the walk, from either end.
//! * What is filtered or sorted is sorted as references; only the keys in the answer are cloned.
//!
//! Read next: `txn.rs`.

use core::cmp::Ordering;
use std::sync::Arc;

use super::{Mvcc, Revision, Version};
use crate::{
    KeyValue, RangeRequest, RangeResponse, RequestError, SharedBytes, SortOrder, SortTarget,
};

/// Which keys a key and a range end mean (RNG-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyRange<'a> {
    /// This key.
    One(&'a [u8]),
    /// All keys from the first on, before the second.
    Between(&'a [u8], &'a [u8]),
    /// All keys from this on.
    From(&'a [u8]),
}

impl<'a> KeyRange<'a> {
    pub(crate) fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::One(key),
            [0] => Self::From(key),
            end => Self::Between(key, end),
        }
    }
}

/// A key that a range found.
type Found<'a> = (&'a SharedBytes, &'a Arc<Version>);

impl Mvcc {
    /// Answers a range.
    ///
    /// # Errors
    ///
    /// [`RequestError::FutureRevision`], [`RequestError::Compacted`], or those of
    /// [`RangeRequest::validate`].
    pub(crate) fn range(&self, request: &RangeRequest<'_>) -> Result<RangeResponse, RequestError> {
        request.validate()?;
        let at = self.revision_of(request.revision)?;
        let range = KeyRange::new(request.key, request.range_end);
        let mut response = RangeResponse { revision: self.revision.get(), ..Default::default() };
        if request.count_only {
            response.count = as_count(self.count(range, at));
            return Ok(response);
        }
        let limit = usize::try_from(request.limit).unwrap_or(0);
        let (mut found, count) = self.fetch(request, range, at, fetch_max(request, limit));
        response.count = as_count(count);
        if has_filters(request) {
            found.retain(|(_, version)| passes(request, version));
        }
        sort(request, &mut found);
        if limit > 0 && found.len() > limit {
            found.truncate(limit);
            response.more = true;
        }
        let kv = if request.keys_only { Version::key_only } else { Version::key_value };
        response.kvs = found.into_iter().map(|(key, version)| kv(version, key)).collect::<Vec<_>>();
        Ok(response)
    }

    /// Whether a range is answered within a few hundred steps, wherever it is.
    pub(crate) fn is_short(&self, request: &RangeRequest<'_>) -> bool {
        let range = KeyRange::new(request.key, request.range_end);
        if self.index.count_leaves(range) <= SHORT_LEAVES {
            return true;
        }
        let is_newest = request.revision <= 0 || request.revision == self.revision.get();
        let returned = usize::try_from(request.limit).unwrap_or(0);
        let is_limited =
            (1..=SHORT_KEYS).contains(&returned) && fetch_max(request, returned) != usize::MAX;
        is_newest && (request.count_only || is_limited)
    }

    /// The revision a read means (RNG-3).
    pub(super) fn revision_of(&self, requested: i64) -> Result<Revision, RequestError> {
        if requested <= 0 {
            return Ok(Revision::NEWEST);
        }
        if requested > self.revision.get() {
            return Err(RequestError::FutureRevision { requested, current: self.revision.get() });
        }
        self.refuse_compacted(requested)?;
        if requested == self.revision.get() {
            return Ok(Revision::NEWEST);
        }
        Ok(Revision::new(requested))
    }

    pub(super) fn refuse_compacted(&self, requested: i64) -> Result<(), RequestError> {
        if requested >= self.compacted.get() {
            return Ok(());
        }
        Err(RequestError::Compacted { requested, compacted: self.compacted.get() })
    }

    /// The keys of a range at a revision, in order.
    pub(super) fn keys_at<'a>(
        &'a self,
        range: KeyRange<'_>,
        at: Revision,
    ) -> impl DoubleEndedIterator<Item = Found<'a>> + use<'a> {
        self.index.slots(range).filter_map(move |slot| {
            let version = self.history.version_at(&slot.newest, at)?;
            (!version.is_tombstone()).then_some((&slot.key, version))
        })
    }

    /// The keys of a range now, in order.
    pub(super) fn keys_now<'a>(
        &'a self,
        range: KeyRange<'_>,
    ) -> impl DoubleEndedIterator<Item = Found<'a>> + use<'a> {
        self.index.live_slots(range).map(|slot| (&slot.key, &slot.newest))
    }

    fn count(&self, range: KeyRange<'_>, at: Revision) -> usize {
        if at == Revision::NEWEST {
            self.index.count_live(range)
        } else {
            self.keys_at(range, at).count()
        }
    }

    /// The first `max` keys of a range in the order of the keys, from its end if the answer
    /// descends, and how many there are without `max`.
    fn fetch<'a>(
        &'a self,
        request: &RangeRequest<'_>,
        range: KeyRange<'_>,
        at: Revision,
        max: usize,
    ) -> (Vec<Found<'a>>, usize) {
        let found: Vec<_> = match (at == Revision::NEWEST, is_by_key_descending(request)) {
            (true, false) => self.keys_now(range).take(max).collect(),
            (true, true) => self.keys_now(range).rev().take(max).collect(),
            (false, false) => self.keys_at(range, at).take(max).collect(),
            (false, true) => self.keys_at(range, at).rev().take(max).collect(),
        };
        let count = if found.len() < max { found.len() } else { self.count(range, at) };
        (found, count)
    }
}

/// How many keys the walk needs: one more than the limit tells whether there are more.
///
/// With a filter, or an order of its own, the whole range is fetched first (RNG-8). An order of
/// `None` with a target counts as no order of its own, and so its limit cuts in key order (RNG-9):
/// the walk finds the first `limit` keys and one, and the greatest of these by the target is
/// dropped.
fn fetch_max(request: &RangeRequest<'_>, limit: usize) -> usize {
    let is_sorted = match (request.sort_order, request.sort_target) {
        (SortOrder::None, _) | (SortOrder::Ascend | SortOrder::Descend, SortTarget::Key) => false,
        (SortOrder::Ascend | SortOrder::Descend | SortOrder::Unrecognized, _) => true,
    };
    if limit == 0 || is_sorted || has_filters(request) { usize::MAX } else { limit + 1 }
}

fn has_filters(request: &RangeRequest<'_>) -> bool {
    request.min_mod_revision != 0
        || request.max_mod_revision != 0
        || request.min_create_revision != 0
        || request.max_create_revision != 0
}

fn passes(request: &RangeRequest<'_>, version: &Version) -> bool {
    let is_within = |revision: i64, min: i64, max: i64| {
        (min == 0 || revision >= min) && (max == 0 || revision <= max)
    };
    is_within(version.modified.get(), request.min_mod_revision, request.max_mod_revision)
        && is_within(
            version.created.get(),
            request.min_create_revision,
            request.max_create_revision,
        )
}

fn is_by_key_descending(request: &RangeRequest<'_>) -> bool {
    (request.sort_order, request.sort_target) == (SortOrder::Descend, SortTarget::Key)
}

/// Sorts what is in key order; equal ones stay in key order.
fn sort(request: &RangeRequest<'_>, found: &mut [Found<'_>]) {
    let by: fn(&Version, &Version) -> Ordering = match request.sort_target {
        // Fetched in this order.
        SortTarget::Key | SortTarget::Unrecognized => return,
        SortTarget::Version => |one, two| one.puts.cmp(&two.puts),
        SortTarget::Create => |one, two| one.created.cmp(&two.created),
        SortTarget::Mod => |one, two| one.modified.cmp(&two.modified),
        SortTarget::Value => |one, two| one.value.cmp(&two.value),
    };
    match request.sort_order {
        SortOrder::None | SortOrder::Ascend | SortOrder::Unrecognized => {
            found.sort_by(|one, two| by(one.1, two.1));
        }
        SortOrder::Descend => found.sort_by(|one, two| by(two.1, one.1)),
    }
}

pub(super) fn as_count(len: usize) -> i64 {
    i64::try_from(len).expect("memory holds fewer than 2^63 keys")
}

/// Clones what was found.
pub(super) fn key_values<'a>(found: impl Iterator<Item = Found<'a>>) -> Vec<KeyValue> {
    found.map(|(key, version)| version.key_value(key)).collect()
}

/// A range over so few leaves is short: about two thousand keys.
const SHORT_LEAVES: usize = 16;
/// A range that returns so few keys is short.
const SHORT_KEYS: usize = 1000;
