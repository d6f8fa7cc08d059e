//! The same question for long histories: a sweep through time that forgets what is settled.
//!
//! Time is cut wherever an answered operation returns. A *stand* is one way in which everything up
//! to a cut can be explained: the state, the operations still open that took effect already, and
//! the unknown writes drawn on. The stands at a cut follow from those at the cut before and the
//! window between them alone, so nothing else is kept. All stands are carried over, not one that
//! fits, or an answer after the cut might be held against a wrong guess before it.
//!
//! * An operation takes effect as late as possible: in the window in which one has to.
//! * A read that fits is taken at once, and alternatives are dropped, as in `search.rs`.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::History;
use crate::model::Model;

use super::part::{Call, Cheapest, Drawn, Outcome, Part, Verdict, judge};

/// Checks a whole history key by key, window by window, from the initial state of the model.
///
/// Says what [`search`](super::search()) says. At most `budget` stands are visited per window:
/// memory does not depend on the length of the history, and time grows with it linearly.
pub fn windows<M: Model>(history: &History, model: &M, budget: u64) -> Verdict {
    judge(history.operations(), model, |part| sweep(part, model, budget))
}

/// The state, and the open operations that took effect.
type Stand<S> = (S, BTreeSet<usize>);
/// A stand, and the unknown writes drawn on to reach it.
type Reached<S> = (Stand<S>, Drawn);
/// All of them, each stand with its cheapest ways.
type Stands<S> = BTreeMap<Stand<S>, Cheapest>;

fn sweep<M: Model>(part: &Part<'_>, model: &M, budget: u64) -> Outcome {
    let mut returns: Vec<usize> = (0..part.answered.len()).collect();
    returns.sort_by_key(|call| part.answered[*call].returned);
    let mut stands: Stands<M::State> = BTreeMap::new();
    stands.entry((model.initial(), BTreeSet::new())).or_default().admit(&Drawn::default());
    let (mut open, mut invoked) = (BTreeSet::new(), 0);
    for due in returns {
        let cut = part.answered[due].returned;
        while part.answered.get(invoked).is_some_and(|call| call.invoked <= cut) {
            open.insert(invoked);
            invoked += 1;
        }
        let unknown = part.unknown.partition_point(|call| call.invoked <= cut);
        let unknown = &part.unknown[..unknown];
        let mut window = Window {
            model,
            answered: &part.answered,
            unknown,
            open: &open,
            due,
            visited: BTreeMap::new(),
            waiting: BTreeMap::new(),
            after: BTreeMap::new(),
            left: budget,
        };
        let Ok(after) = window.pass(stands) else { return Outcome::Spent };
        if after.is_empty() {
            return Outcome::Stuck(cut);
        }
        stands = after;
        open.remove(&due);
    }
    Outcome::Explained
}

/// The budget of a window ran out.
struct Spent;

/// The time between two cuts. At its end one operation is due: it must have taken effect.
struct Window<'a, M: Model> {
    model: &'a M,
    answered: &'a [Call<'a>],
    /// The unknown writes invoked so far.
    unknown: &'a [Call<'a>],
    open: &'a BTreeSet<usize>,
    due: usize,
    visited: Stands<M::State>,
    /// Stands from which the due operation is yet to be reached, by how many unknown writes they
    /// drew on: the cheap ones first, so that most others need not be looked at.
    waiting: BTreeMap<usize, Vec<Reached<M::State>>>,
    after: Stands<M::State>,
    left: u64,
}

impl<M: Model> Window<'_, M> {
    /// From all stands before the window to all stands after it.
    fn pass(&mut self, before: Stands<M::State>) -> Result<Stands<M::State>, Spent> {
        for (stand, cheapest) in before {
            for drawn in cheapest.into_ways() {
                self.reach(stand.clone(), drawn)?;
            }
        }
        while let Some(mut cheapest) = self.waiting.first_entry() {
            match cheapest.get_mut().pop() {
                Some((stand, drawn)) => self.expand(&stand, &drawn)?,
                None => drop(cheapest.remove()),
            }
        }
        Ok(std::mem::take(&mut self.after))
    }

    /// Notes a stand: as one after the window, if the due operation has taken effect.
    fn reach(&mut self, mut stand: Stand<M::State>, drawn: Drawn) -> Result<(), Spent> {
        let is_after = stand.1.remove(&self.due);
        let known = if is_after { &mut self.after } else { &mut self.visited };
        if !known.entry(stand.clone()).or_default().admit(&drawn) {
            return Ok(());
        }
        self.left = self.left.checked_sub(1).ok_or(Spent)?;
        if !is_after {
            self.waiting.entry(drawn.len()).or_default().push((stand, drawn));
        }
        Ok(())
    }

    /// Lets one more operation take effect, every one that can.
    fn expand(&mut self, (state, effective): &Stand<M::State>, drawn: &Drawn) -> Result<(), Spent> {
        let mut next = Vec::new();
        for number in self.open.difference(effective) {
            let call = &self.answered[*number];
            let Some(after) = call.carry_out(self.model, state) else { continue };
            let mut effective = effective.clone();
            effective.insert(*number);
            if call.is_read() {
                return self.reach((after, effective), drawn.clone());
            }
            next.push((after, effective));
        }
        for stand in next {
            self.reach(stand, drawn.clone())?;
        }
        for (number, call) in self.unknown.iter().enumerate() {
            let Some(drawn) = drawn.with(number) else { continue };
            let Some(after) = call.carry_out(self.model, state) else { continue };
            self.reach((after, effective.clone()), drawn)?;
        }
        Ok(())
    }
}
