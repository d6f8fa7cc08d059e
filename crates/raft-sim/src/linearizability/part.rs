//! What the searches have in common: the parts of a history, and what its unknown outcomes mean.
//!
//! * Operations with different keys are checked apart; a history is linearizable if each part is.
//! * A write with an unknown outcome may take effect at any time after its invocation, or never.
//!   It never *has to*: so a search does not look for its place, it draws on it when nothing else
//!   explains an answer.
//! * Unknown reads say nothing. Operations that claim to be not applied are left out: if one of
//!   them did take effect, the answers of others cannot be explained.
//! * The index that a node claims is never looked at.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::history::{End, Kind, Operation};
use crate::model::Model;

/// What a search found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains every answer.
    Linearizable,
    /// There is none.
    NotLinearizable {
        /// The part of the state that is at odds.
        key: Bytes,
        /// The numbers, ascending, of the operations that no order explains: all of this key up to
        /// the moment at which the last explanation failed.
        operations: Vec<usize>,
    },
    /// The budget ran out. This is no pass: the test is set up wrongly.
    Undecided {
        /// The part of the state that took too long.
        key: Bytes,
    },
}

/// How the search of one part ended.
pub(super) enum Outcome {
    /// An order was found.
    Explained,
    /// No order explains what returned up to this time.
    Stuck(u64),
    /// The budget ran out.
    Spent,
}

/// An operation that takes part in the search.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    /// Its number in the history.
    pub(super) number: usize,
    /// When it was invoked.
    pub(super) invoked: u64,
    /// When it returned; never, if its outcome is unknown.
    pub(super) returned: u64,
    kind: Kind,
    input: &'a [u8],
    answer: Option<&'a Bytes>,
}

impl Call<'_> {
    /// The state after this call, unless it would have been answered differently.
    pub(super) fn carry_out<M: Model>(&self, model: &M, state: &M::State) -> Option<M::State> {
        let mut after = state.clone();
        let answer = match self.kind {
            Kind::Write => model.write(&mut after, self.input),
            Kind::Read => model.read(state, self.input),
        };
        self.answer.is_none_or(|told| *told == answer).then_some(after)
    }

    /// Whether it leaves every state as it is.
    pub(super) fn is_read(&self) -> bool {
        self.kind == Kind::Read
    }
}

/// The operations of one key.
#[derive(Default)]
pub(super) struct Part<'a> {
    /// Those that were answered, by invocation.
    pub(super) answered: Vec<Call<'a>>,
    /// The writes that may have taken effect, by invocation.
    pub(super) unknown: Vec<Call<'a>>,
}

/// Searches each part and makes the verdict. What is proved outweighs what is undecided.
pub(super) fn judge<M: Model>(
    operations: &[Operation],
    model: &M,
    mut search: impl FnMut(&Part<'_>) -> Outcome,
) -> Verdict {
    let mut verdict = Verdict::Linearizable;
    for (key, part) in parts(operations, model) {
        match search(&part) {
            Outcome::Spent if verdict == Verdict::Linearizable => {
                verdict = Verdict::Undecided { key };
            }
            // Of several undecided keys the first is named.
            Outcome::Explained | Outcome::Spent => {}
            Outcome::Stuck(until) => {
                let calls = part.answered.iter().chain(&part.unknown);
                let mut operations: Vec<usize> =
                    calls.filter(|call| call.invoked <= until).map(|call| call.number).collect();
                operations.sort_unstable();
                return Verdict::NotLinearizable { key, operations };
            }
        }
    }
    verdict
}

fn parts<'a, M: Model>(operations: &'a [Operation], model: &M) -> BTreeMap<Bytes, Part<'a>> {
    let mut parts: BTreeMap<Bytes, Part<'a>> = BTreeMap::new();
    for (number, operation) in operations.iter().enumerate() {
        let Operation { kind, input, invoked, .. } = operation;
        let (returned, answer) = match (&operation.end, kind) {
            (End::Answered { returned, answer, .. }, _) => (*returned, Some(answer)),
            (End::Unknown, Kind::Write) => (u64::MAX, None),
            (End::Unknown, Kind::Read) | (End::NotApplied { .. }, _) => continue,
        };
        let part = parts.entry(model.key(*kind, input)).or_default();
        let calls = if answer.is_some() { &mut part.answered } else { &mut part.unknown };
        calls.push(Call { number, invoked: *invoked, returned, kind: *kind, input, answer });
    }
    for part in parts.values_mut() {
        part.answered.sort_by_key(|call| call.invoked);
        part.unknown.sort_by_key(|call| call.invoked);
    }
    parts
}

/// Which unknown writes of a part were drawn on, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Drawn(Vec<usize>);

impl Drawn {
    /// How many.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// These and one more; `None` if it is among them.
    pub(super) fn with(&self, write: usize) -> Option<Self> {
        let place = self.0.binary_search(&write).err()?;
        let mut more = Vec::with_capacity(self.0.len() + 1);
        more.extend_from_slice(&self.0[..place]);
        more.push(write);
        more.extend_from_slice(&self.0[place..]);
        Some(Self(more))
    }

    fn is_within(&self, other: &Self) -> bool {
        let mut others = other.0.iter();
        self.0.iter().all(|write| others.any(|other| other == write))
    }
}

/// The cheapest ways to reach one situation. Who drew on fewer unknown writes can do whatever the
/// other can: what is left need not be used. So only the least sets are kept.
#[derive(Clone, Debug, Default)]
pub(super) struct Cheapest(Vec<Drawn>);

impl Cheapest {
    /// Adds a way, unless one that is known is as cheap. Says whether it was added.
    pub(super) fn admit(&mut self, drawn: &Drawn) -> bool {
        if self.0.iter().any(|known| known.is_within(drawn)) {
            return false;
        }
        self.0.retain(|known| !drawn.is_within(known));
        self.0.push(drawn.clone());
        true
    }

    /// All of them.
    pub(super) fn into_ways(self) -> Vec<Drawn> {
        self.0
    }
}
