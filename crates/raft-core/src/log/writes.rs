//! What the disk was asked to write and what it has written.
//!
//! * Receipts come back in the order of the writes.
//! * Truncating the log clips writes in flight: a receipt for an overwritten suffix never makes its
//!   replacement durable, even if the same entries come back later.

use alloc::collections::VecDeque;

use crate::{HardState, Index, Time, WriteId};

/// The writes in flight, and the durable mark.
#[derive(Clone, Debug)]
pub(super) struct Writes {
    next: WriteId,
    in_flight: VecDeque<Write>,
    handed: Index,
    handed_hard: HardState,
    durable: Index,
    durable_hard: HardState,
}

#[derive(Clone, Copy, Debug)]
struct Write {
    id: WriteId,
    last: Index,
    hard: HardState,
    begun: Time,
}

impl Writes {
    pub(super) fn new(last: Index, hard: HardState) -> Self {
        Self {
            next: WriteId::ZERO.next(),
            in_flight: VecDeque::new(),
            handed: last,
            handed_hard: hard,
            durable: last,
            durable_hard: hard,
        }
    }

    /// The last index that is, or is being, written.
    pub(super) const fn handed(&self) -> Index {
        self.handed
    }

    /// The hard state that is, or is being, written.
    pub(super) const fn handed_hard(&self) -> HardState {
        self.handed_hard
    }

    pub(super) const fn durable(&self) -> Index {
        self.durable
    }

    pub(super) const fn durable_hard(&self) -> HardState {
        self.durable_hard
    }

    /// Notes a write that reaches up to `last` and leaves this hard state behind.
    pub(super) fn begin(&mut self, last: Index, hard: HardState, begun: Time) -> WriteId {
        assert!(last >= self.handed, "a write never reaches less far than the one before");
        let id = self.next;
        self.next = id.next();
        self.in_flight.push_back(Write { id, last, hard, begun });
        (self.handed, self.handed_hard) = (last, hard);
        id
    }

    /// Notes a receipt.
    pub(super) fn finish(&mut self, id: WriteId) {
        let write = self.in_flight.pop_front().expect("a receipt belongs to a write in flight");
        assert!(write.id == id, "receipts come back in the order of the writes");
        assert!(write.last >= self.durable, "the durable mark only falls when the log is cut");
        self.durable = write.last;
        self.durable_hard = write.hard;
    }

    /// A snapshot replaces the log up to `last`. Nothing of it is durable as a log before the write
    /// that says so, and no write in flight makes it so.
    pub(super) fn install(&mut self) {
        for write in &mut self.in_flight {
            write.last = Index::ZERO;
        }
        (self.handed, self.durable) = (Index::ZERO, Index::ZERO);
    }

    /// When the oldest write in flight was handed out.
    pub(super) fn oldest(&self) -> Option<Time> {
        self.in_flight.front().map(|write| write.begun)
    }

    /// The log lost everything from `first` on.
    pub(super) fn clip(&mut self, first: Index) {
        let last = first.prev();
        for write in &mut self.in_flight {
            mark!("write-in-flight-clipped", write.last > last);
            write.last = if mutant!("R11") { write.last } else { write.last.min(last) };
        }
        self.handed = self.handed.min(last);
        self.durable = self.durable.min(last);
    }
}
