//! When a node takes a snapshot, how much of its log it keeps, and what it fetches (§7, thesis §5).
//!
//! * A snapshot is due when enough entries or bytes were applied since the last one. Entries are
//!   counted from the beginning of the log, so that all nodes snapshot at the same indexes and
//!   their snapshots are the same: a fetch that loses its source goes on from another node.
//! * One capture and one fetch at a time. A trigger that comes meanwhile is not lost: what is due
//!   is asked of the indexes, not remembered.
//! * Behind the snapshot a tail of the log stays, bounded in entries and bytes, so that a follower
//!   that was away for a moment need not install a snapshot.
//!
//! Read next: `log.rs` (`compact`, `install`).

use alloc::collections::VecDeque;

use crate::{Index, SnapshotMeta, Time};

/// When snapshots are taken, and what stays of the log behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// A snapshot is due at every multiple of this index; zero: never by entries. Default 100,000.
    pub entries: u64,
    /// A snapshot is due after so many bytes of applied entries; zero: never by bytes. Default
    /// 256 MiB.
    pub bytes: u64,
    /// Entries kept behind the snapshot. Default 5,000.
    pub keep_entries: u64,
    /// The same in bytes, and no more than this. Default 64 MiB.
    pub keep_bytes: u64,
    /// How much of the log is kept, in bytes, for followers that are installing a snapshot or
    /// catching up after one. Default 1 GiB.
    pub pinned_bytes_max: u64,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        Self {
            entries: 100_000,
            bytes: 256 << 20,
            keep_entries: 5_000,
            keep_bytes: 64 << 20,
            pinned_bytes_max: 1 << 30,
        }
    }
}

/// Captures and fetches under way, and the sizes of the log as far as they were seen.
#[derive(Debug, Default)]
pub(crate) struct Compaction {
    is_capturing: bool,
    is_wanted: bool,
    retry_at: Option<Time>,
    /// Bytes handed out to be applied in this process.
    handed_bytes: u64,
    /// The same when the last capture began.
    captured_bytes: u64,
    /// Some indexes, ascending, with `handed_bytes` there.
    marks: VecDeque<(Index, u64)>,
    /// The snapshot that is being fetched.
    fetching: Option<SnapshotMeta>,
    /// An installed snapshot that the state machine has yet to become.
    restore: Option<SnapshotMeta>,
}

/// Marks of sizes are about so many to the kept tail.
const MARKS: u64 = 64;

impl Compaction {
    /// Entries up to `last` were handed out, of so many bytes.
    pub(crate) fn handed(&mut self, last: Index, bytes: u64, policy: &SnapshotPolicy) {
        self.handed_bytes += bytes;
        let step = policy.keep_bytes.min(policy.pinned_bytes_max) / MARKS;
        if self.marks.back().is_none_or(|(_, at)| self.handed_bytes - at >= step) {
            self.marks.push_back((last, self.handed_bytes));
        }
    }

    /// Somebody asks for a snapshot now.
    pub(crate) const fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Whether a snapshot is due after everything up to `handed`, the last one covering `covered`.
    pub(crate) fn is_due(
        &self,
        now: Time,
        (covered, handed): (Index, Index),
        policy: &SnapshotPolicy,
    ) -> bool {
        if self.is_capturing || handed <= covered || self.retry_at.is_some_and(|at| now < at) {
            return false;
        }
        let bytes = self.handed_bytes - self.captured_bytes;
        let crossed = |every: u64| {
            let passed = every > 0 && handed.get() / every > covered.get() / every;
            passed && (!mutant!("S17") || handed.get().is_multiple_of(every))
        };
        self.is_wanted || crossed(policy.entries) || policy.bytes > 0 && bytes >= policy.bytes
    }

    /// The next index, from `after` on, at which an apply has to end for the snapshot taken there.
    pub(crate) fn boundary(after: Index, policy: &SnapshotPolicy) -> Index {
        match policy.entries {
            0 => Index::new(u64::MAX),
            every => Index::new((after.get() / every + 1).saturating_mul(every)),
        }
    }

    pub(crate) const fn begin_capture(&mut self) {
        (self.is_capturing, self.is_wanted) = (true, false);
        self.captured_bytes = self.handed_bytes;
    }

    /// A capture ended; one that failed is tried again at `retry_at`.
    pub(crate) const fn end_capture(&mut self, retry_at: Option<Time>) {
        (self.is_capturing, self.retry_at) = (false, retry_at);
    }

    pub(crate) const fn is_capturing(&self) -> bool {
        self.is_capturing
    }

    /// The entry before the first that is kept behind a snapshot that covers `covered`.
    pub(crate) fn keep_after(&self, covered: Index, policy: &SnapshotPolicy) -> Index {
        let by_entries = covered.get().saturating_sub(policy.keep_entries);
        Index::new(by_entries).max(self.within(policy.keep_bytes)).min(covered)
    }

    /// The lowest index known to have at most so many bytes above it.
    pub(crate) fn within(&self, bytes: u64) -> Index {
        let from = self.handed_bytes.saturating_sub(bytes);
        let first = self.marks.partition_point(|(_, at)| *at < from);
        match self.marks.get(first) {
            // Everything seen fits, and nothing is known of what was before.
            Some(_) if first == 0 => Index::ZERO,
            Some((index, _)) => *index,
            None => self.marks.back().map_or(Index::ZERO, |(index, _)| *index),
        }
    }

    /// The log begins after `base` now.
    pub(crate) fn forget(&mut self, base: Index) {
        while self.marks.get(1).is_some_and(|(index, _)| *index <= base) {
            self.marks.pop_front();
        }
    }

    /// Begins to fetch, unless a fetch is under way: a newer offer does not restart one that
    /// progresses.
    pub(crate) fn begin_fetch(&mut self, snapshot: &SnapshotMeta) -> bool {
        let free = self.fetching.is_none();
        if free {
            self.fetching = Some(snapshot.clone());
        }
        free
    }

    pub(crate) fn end_fetch(&mut self) {
        self.fetching = None;
    }

    pub(crate) fn must_restore(&mut self, snapshot: SnapshotMeta) {
        self.restore = Some(snapshot);
    }

    /// The snapshot that the state machine has to become before anything else is applied.
    pub(crate) const fn restore(&mut self) -> &mut Option<SnapshotMeta> {
        &mut self.restore
    }
}
