//! Linearizable reads by ReadIndex (thesis §6.4), many to a round.
//!
//! 1. A read waits until an entry of this leader's term is committed: only then its commit index is
//!    known to be the newest.
//! 2. All waiting reads share the next round: they note the commit index, then a heartbeat round
//!    begins.
//! 3. A quorum of echoes of that round, or of a later one, proves that nobody else led when the
//!    round began. Rounds are numbered by the leader, so a late answer confirms no newer read.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use crate::{Epoch, Index, NodeId, Round, Ticket};

/// Who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// A caller of this node.
    Local(Ticket),
    /// A follower, for callers of its own.
    Remote { node: NodeId, epoch: Epoch, batch: u64 },
}

/// Reads on their way to a confirmed index.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    waiting: Vec<Reader>,
    rounds: VecDeque<(Round, Index, Vec<Reader>)>,
    count: usize,
}

/// Rounds begun for reads and not yet confirmed. Two: one is under way while the next one fills.
const ROUNDS_MAX: usize = 2;

impl Reads {
    /// How many reads wait.
    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn push(&mut self, reader: Reader) {
        self.waiting.push(reader);
        self.count += 1;
    }

    /// Whether a round would serve reads that no round serves yet.
    pub(crate) fn want_round(&self) -> bool {
        !self.waiting.is_empty() && self.rounds.len() < ROUNDS_MAX
    }

    /// A round begins now: the waiting reads are answered with this index once it is confirmed.
    pub(crate) fn attach(&mut self, round: Round, commit_index: Index) {
        if !self.waiting.is_empty() {
            self.rounds.push_back((round, commit_index, mem::take(&mut self.waiting)));
        }
    }

    /// A quorum echoed this round.
    pub(crate) fn confirmed(&mut self, round: Round) -> Vec<(Reader, Index)> {
        let mut ready = Vec::new();
        while self.rounds.front().is_some_and(|(begun, _, _)| *begun <= round) {
            let (_, index, readers) = self.rounds.pop_front().expect("it has a first round");
            self.count -= readers.len();
            ready.extend(readers.into_iter().map(|reader| (reader, index)));
        }
        ready
    }

    /// All reads, when leadership ends.
    pub(crate) fn abandon(&mut self) -> Vec<Reader> {
        self.count = 0;
        let begun = mem::take(&mut self.rounds).into_iter().flat_map(|(_, _, readers)| readers);
        begun.chain(mem::take(&mut self.waiting)).collect()
    }
}
