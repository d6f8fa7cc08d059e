//! Both checkers against histories that are known to be good, known to be bad, or known to others.
//!
//! `tests/stories.rs` has one small history per kind of violation; `tests/random.rs` plants them
//! in large ones; `tests/brute.rs` compares the searches with a checker that tries everything.

mod brute;
mod random;
mod stories;

use bytes::Bytes;
use raft_core::{EntryId, InMemoryStateMachine, Index, NodeId, StateMachine, Term};

use super::*;
use crate::history::{End, History, Kind, Operation};
use crate::model::{MapModel, Model};

/// Enough for every history here that is meant to be decided.
const BUDGET: u64 = 20_000;

/// A history and the log that its answers claim to come from.
#[derive(Clone, Default)]
struct Run {
    history: History,
    log: Vec<LogCommand>,
}

impl Run {
    /// Appends an entry and returns its index.
    fn append(&mut self, operation: Option<usize>) -> Index {
        let index = self.last().next();
        let operations = self.history.operations();
        let command = operation
            .map(|number| operations.get(number).map(|it| it.input.clone()).unwrap_or_default());
        self.log.push(LogCommand { id: EntryId::new(Term::new(1), index), command, operation });
        index
    }

    fn last(&self) -> Index {
        self.log.last().map_or(Index::ZERO, |entry| entry.id.index)
    }

    fn invoke(&mut self, now: u64, client: u32, kind: Kind, input: impl Into<Bytes>) -> usize {
        let node = NodeId::new(u64::from(client % 3) + 1).unwrap();
        self.history.invoke(now, client, node, kind, input.into())
    }

    fn witness(&self) -> Result<(), String> {
        witness(&self.history, &self.log, &mut InMemoryStateMachine::new())
    }

    /// The verdict of both searches, which have to agree.
    fn verdict(&self) -> Verdict {
        verdict(&self.history, &MapModel, BUDGET)
    }

    fn assert_good(&self) {
        assert_eq!(self.witness(), Ok(()), "{}", self.history);
        assert_eq!(self.verdict(), Verdict::Linearizable, "{}", self.history);
    }

    fn assert_bad(&self) {
        assert!(self.witness().is_err(), "the witness accepts {}", self.history);
        let verdict = self.verdict();
        assert!(
            matches!(verdict, Verdict::NotLinearizable { .. }),
            "{verdict:?} about {}",
            self.history
        );
    }
}

fn verdict<M: Model>(history: &History, model: &M, budget: u64) -> Verdict {
    let verdict = search(history.operations(), model, &[model.initial()], budget);
    assert_eq!(verdict, windows(history, model, budget), "the searches disagree on {history}");
    verdict
}

/// `SplitMix64`: same seed, same numbers.
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }

    fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
