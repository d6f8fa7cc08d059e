//! Random commands and queries from a seed: few keys, so that they meet; every option; some
//! nonsense.

use raft_kv::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    PutRequest, RangeRequest, RequestOp, SortOrder, SortTarget, TxnRequest,
};

/// A seeded generator (xorshift with a multiplier).
pub(crate) struct Random(u64);

/// Keys that are prefixes of each other, neighbours, and at both ends of the order.
const KEYS: [&[u8]; 9] = [b"\0", b"a", b"a\0", b"aa", b"ab", b"b", b"ba", b"c", b"\xff\xff"];
const ENDS: [&[u8]; 8] = [b"", b"\0", b"a", b"a\x01", b"b", b"bb", b"c\0", b"\xff\xff\xff"];
const VALUES: [&[u8]; 6] = [b"", b"0", b"1", b"10", b"\0", b"a somewhat longer value than these"];

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from((self.number() >> 33) % end as u64).unwrap()
    }

    /// True once in `n` times.
    pub(crate) fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn key(&mut self) -> &'static [u8] {
        if self.once_in(200) { b"" } else { self.of(&KEYS) }
    }

    fn range_end(&mut self) -> &'static [u8] {
        if self.once_in(3) { b"" } else { self.of(&ENDS) }
    }

    /// A revision around what exists.
    fn revision(&mut self, current: i64) -> i64 {
        match self.below(12) {
            0 => current + 1,
            1 => -1,
            2 => current,
            _ => i64::try_from(self.below(usize::try_from(current).unwrap() + 1)).unwrap(),
        }
    }

    pub(crate) fn command(&mut self, current: i64) -> Command<'static> {
        match self.below(20) {
            0..=8 => Command::Put(self.put()),
            9..=11 => Command::DeleteRange(self.delete()),
            12..=18 => Command::Txn(self.txn(current, 0)),
            _ => {
                let revision = if self.once_in(3) {
                    self.revision(current)
                } else {
                    // Mostly a little behind, so that there is a history to read.
                    current - i64::try_from(self.below(8)).unwrap()
                };
                Command::Compact(CompactionRequest { revision, physical: self.once_in(2) })
            }
        }
    }

    fn put(&mut self) -> PutRequest<'static> {
        let ignore_value = self.once_in(10);
        let has_value = !ignore_value || self.once_in(10);
        PutRequest {
            key: self.key(),
            value: if has_value { self.of(&VALUES) } else { b"" },
            lease: if self.once_in(60) { 7 } else { 0 },
            prev_kv: self.once_in(2),
            ignore_value,
            ignore_lease: self.once_in(10),
        }
    }

    fn delete(&mut self) -> DeleteRangeRequest<'static> {
        DeleteRangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            prev_kv: self.once_in(2),
        }
    }

    pub(crate) fn range(&mut self, current: i64) -> RangeRequest<'static> {
        let mut range = RangeRequest {
            key: self.key(),
            range_end: self.range_end(),
            limit: if self.once_in(2) { i64::try_from(self.below(7)).unwrap() - 1 } else { 0 },
            revision: if self.once_in(2) { self.revision(current) } else { 0 },
            sort_order: self.of(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
            sort_target: self.of(&[
                SortTarget::Key,
                SortTarget::Key,
                SortTarget::Version,
                SortTarget::Create,
                SortTarget::Mod,
                SortTarget::Value,
            ]),
            keys_only: self.once_in(5),
            count_only: self.once_in(8),
            ..RangeRequest::default()
        };
        if self.once_in(3) {
            let filters = [
                &mut range.min_mod_revision,
                &mut range.max_mod_revision,
                &mut range.min_create_revision,
                &mut range.max_create_revision,
            ];
            for filter in filters {
                if self.once_in(3) {
                    *filter = self.revision(current);
                }
            }
        }
        if self.once_in(100) {
            range.sort_order = SortOrder::Unrecognized;
        }
        if self.once_in(100) {
            range.sort_target = SortTarget::Unrecognized;
        }
        range
    }

    pub(crate) fn txn(&mut self, current: i64, depth: usize) -> TxnRequest<'static> {
        let mut txn = TxnRequest::default();
        for _ in 0..self.below(3) {
            txn.compare.push(self.compare(current));
        }
        for _ in 0..self.below(4) {
            txn.success.push(self.op(current, depth));
        }
        for _ in 0..self.below(4) {
            txn.failure.push(self.op(current, depth));
        }
        txn
    }

    /// A transaction that only reads.
    pub(crate) fn read_txn(&mut self, current: i64) -> TxnRequest<'static> {
        let mut txn = self.txn(current, 0);
        for op in txn.success.iter_mut().chain(&mut txn.failure) {
            *op = RequestOp::Range(self.range(current));
        }
        txn
    }

    fn op(&mut self, current: i64, depth: usize) -> RequestOp<'static> {
        match self.below(8) {
            0..=1 => RequestOp::Range(self.range(current)),
            2..=4 => RequestOp::Put(self.put()),
            5 => RequestOp::DeleteRange(self.delete()),
            _ if depth < 3 => RequestOp::Txn(self.txn(current, depth + 1)),
            _ if self.once_in(50) => RequestOp::Unset,
            _ => RequestOp::Put(self.put()),
        }
    }

    fn compare(&mut self, current: i64) -> Compare<'static> {
        let number = if self.once_in(2) {
            self.revision(current)
        } else {
            i64::try_from(self.below(3)).unwrap()
        };
        Compare {
            key: self.key(),
            range_end: if self.once_in(2) { b"" } else { self.range_end() },
            result: self.of(&[
                CompareResult::Equal,
                CompareResult::Greater,
                CompareResult::Less,
                CompareResult::NotEqual,
            ]),
            target: match self.below(5) {
                0 => CompareTarget::Version(number),
                1 => CompareTarget::Create(number),
                2 => CompareTarget::Mod(number),
                3 => CompareTarget::Lease(number),
                _ => CompareTarget::Value(self.of(&VALUES)),
            },
        }
    }
}
