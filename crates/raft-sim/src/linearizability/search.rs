//! The search for an order: Wing and Gong's, with Lowe's memory of what was tried.
//!
//! A *situation* is the set of answered operations that have their place in the order, and the
//! state after them. From each, the search tries every operation that may come next: one that no
//! open operation precedes. It goes deep first, on a stack of its own, and remembers situations, so
//! that each is tried once.
//!
//! * A read that fits is taken at once and alternatives are dropped: it changes nothing, and an
//!   order that has it later is an order still with it here.
//! * Unknown writes are tried after everything else, fewest first.
//!
//! The effort is exponential in the number of operations open at one time, not in their total.

use std::collections::{BTreeMap, VecDeque};

use crate::history::Operation;
use crate::model::Model;

use super::part::{Call, Cheapest, Drawn, Outcome, Part, Verdict, judge};

/// Looks for an order of a history that begins in one of the `initial` states, as a rule that of
/// the model. Per key it visits at most `budget` situations, which bounds memory too.
///
/// # Panics
///
/// If there is no initial state.
pub fn search<M: Model>(
    history: &[Operation],
    model: &M,
    initial: &[M::State],
    budget: u64,
) -> Verdict {
    assert!(!initial.is_empty(), "a history begins in some state");
    judge(history, model, |part| {
        let states = States { model, numbers: BTreeMap::new(), all: Vec::new() };
        let search = Search {
            part,
            states,
            tried: BTreeMap::new(),
            left: budget,
            until: 0,
            stack: Vec::new(),
        };
        search.run(initial)
    })
}

/// Which answered operations have their place in the order: all below a place, and some beyond.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    below: usize,
    beyond: Vec<usize>,
}

impl Placed {
    fn has(&self, call: usize) -> bool {
        call < self.below || self.beyond.binary_search(&call).is_ok()
    }

    fn with(&self, call: usize) -> Self {
        let mut placed = self.clone();
        if let Err(place) = placed.beyond.binary_search(&call) {
            placed.beyond.insert(place, call);
        }
        let joined =
            placed.beyond.iter().zip(placed.below..).take_while(|(call, next)| *call == next);
        let joined = joined.count();
        placed.beyond.drain(..joined);
        placed.below += joined;
        placed
    }
}

/// States by number: there are few, and situations name them often.
struct States<'a, M: Model> {
    model: &'a M,
    numbers: BTreeMap<M::State, usize>,
    all: Vec<M::State>,
}

impl<M: Model> States<'_, M> {
    fn number(&mut self, state: M::State) -> usize {
        if let Some(number) = self.numbers.get(&state) {
            return *number;
        }
        self.all.push(state.clone());
        self.numbers.insert(state, self.all.len() - 1);
        self.all.len() - 1
    }

    fn after(&mut self, state: usize, call: &Call<'_>) -> Option<usize> {
        let after = call.carry_out(self.model, &self.all[state])?;
        Some(if call.is_read() { state } else { self.number(after) })
    }
}

/// A set of placed operations under examination, in all states it is reached in from below.
struct Frame {
    placed: Placed,
    /// The states to go on from, those that drew on fewest unknown writes first.
    states: VecDeque<(usize, Drawn)>,
    /// Where one more operation leads, the best last.
    next: Vec<(Placed, usize, Drawn)>,
}

struct Search<'a, M: Model> {
    part: &'a Part<'a>,
    states: States<'a, M>,
    tried: BTreeMap<(Placed, usize), Cheapest>,
    left: u64,
    /// Up to when the best attempt came: something that returned then could not be placed.
    until: u64,
    stack: Vec<Frame>,
}

impl<M: Model> Search<'_, M> {
    fn run(mut self, initial: &[M::State]) -> Outcome {
        for state in initial {
            let state = self.states.number(state.clone());
            if let Some(outcome) = self.explore((Placed::default(), state, Drawn::default())) {
                return outcome;
            }
        }
        Outcome::Stuck(self.until)
    }

    /// Goes on from one situation until an order is found, the budget is spent, or it is clear
    /// that there is none.
    fn explore(&mut self, start: (Placed, usize, Drawn)) -> Option<Outcome> {
        if let Some(outcome) = self.visit(start) {
            return Some(outcome);
        }
        while let Some(frame) = self.stack.last_mut() {
            if let Some(next) = frame.next.pop() {
                if let Some(outcome) = self.visit(next) {
                    return Some(outcome);
                }
            } else if let Some((state, drawn)) = frame.states.pop_front() {
                if let Some(outcome) = self.expand(state, &drawn) {
                    return Some(outcome);
                }
            } else {
                self.stack.pop();
            }
        }
        None
    }

    /// Puts a situation onto the stack if it is new.
    fn visit(&mut self, (placed, state, drawn): (Placed, usize, Drawn)) -> Option<Outcome> {
        if placed.below == self.part.answered.len() {
            return Some(Outcome::Explained);
        }
        if !self.tried.entry((placed.clone(), state)).or_default().admit(&drawn) {
            return None;
        }
        if self.left == 0 {
            return Some(Outcome::Spent);
        }
        self.left -= 1;
        let states = VecDeque::from([(state, drawn)]);
        self.stack.push(Frame { placed, states, next: Vec::new() });
        None
    }

    /// Finds everything that may come next in the situation on top of the stack, in one state.
    fn expand(&mut self, state: usize, drawn: &Drawn) -> Option<Outcome> {
        let frame = self.stack.last_mut()?;
        // An operation may come next if none that lacks a place returned before its invocation.
        let mut until = u64::MAX;
        for (number, call) in self.part.answered.iter().enumerate().skip(frame.placed.below) {
            if call.invoked > until {
                break;
            }
            if frame.placed.has(number) {
                continue;
            }
            until = until.min(call.returned);
            let Some(after) = self.states.after(state, call) else { continue };
            if call.is_read() {
                frame.next = vec![(frame.placed.with(number), after, drawn.clone())];
                return None;
            }
            frame.next.push((frame.placed.with(number), after, drawn.clone()));
        }
        frame.next.reverse();
        self.until = self.until.max(until);
        for (number, call) in self.part.unknown.iter().enumerate() {
            if call.invoked > until {
                break;
            }
            let Some(drawn) = drawn.with(number) else { continue };
            let Some(after) = self.states.after(state, call) else { continue };
            if !self.tried.entry((frame.placed.clone(), after)).or_default().admit(&drawn) {
                continue;
            }
            if self.left == 0 {
                return Some(Outcome::Spent);
            }
            self.left -= 1;
            frame.states.push_back((after, drawn));
        }
        None
    }
}
