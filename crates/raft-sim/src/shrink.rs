//! Delta debugging: a small schedule that still fails, out of a large one that does.
//!
//! * Whatever is returned fails: a smaller schedule is taken only after it failed.
//! * Order is kept, and the same input gives the same output.
//!
//! First [`shrink`] leaves items out, then [`lower`] makes the numbers in them smaller.

use std::collections::BTreeSet;

/// Finds a subset of `items`, in order, for which `fails` still says yes, as it must for `items`.
///
/// Leaves out whole groups of items first, then chunks of halving size, then single items, again
/// and again until no single item can go or `fails` was called `budget` times.
pub fn shrink<T: Clone, G: Ord>(
    items: Vec<T>,
    group: impl Fn(&T) -> G,
    budget: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut trial = Trial { items, left: budget, fails: &mut fails };
    let groups: BTreeSet<G> = trial.items.iter().map(&group).collect();
    for left_out in &groups {
        let keep = |item: &&T| group(item) != *left_out;
        trial.attempt(trial.items.iter().filter(keep).cloned().collect());
    }
    let mut size = (trial.items.len() / 2).max(1);
    while trial.left > 0 {
        let shorter = trial.leave_out_chunks(size);
        if size > 1 {
            size /= 2;
        } else if !shorter {
            break;
        }
    }
    trial.items
}

/// Makes the numbers in `items` smaller as long as `fails` still says yes, as it must for `items`.
///
/// `lower` names the candidates for an item, the boldest first, as [`smaller`] does for a number.
/// The first that fails replaces the item. The items take turns, so that none uses up the budget,
/// until no item can be lowered or `fails` was called `budget` times. Every candidate must be
/// smaller than its item in some sense, or only the budget ends this.
pub fn lower<T: Clone>(
    items: Vec<T>,
    lower: impl Fn(&T) -> Vec<T>,
    budget: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut trial = Trial { items, left: budget, fails: &mut fails };
    loop {
        let mut is_lower = false;
        for place in 0..trial.items.len() {
            is_lower |= lower(&trial.items[place]).into_iter().any(|candidate| {
                let mut items = trial.items.clone();
                items[place] = candidate;
                trial.attempt(items)
            });
        }
        // One item lowered may let an earlier one follow.
        if !is_lower || trial.left == 0 {
            return trial.items;
        }
    }
}

/// Candidates for [`lower`]: zero, half of the number, three quarters, …, the number less one. So
/// the smallest that fails is found in few steps, as by bisection, if all above it fail too.
///
/// ```
/// assert_eq!(raft_sim::shrink::smaller(100), [0, 50, 75, 88, 94, 97, 99]);
/// assert_eq!(raft_sim::shrink::smaller(0), []);
/// ```
pub fn smaller(number: u64) -> Vec<u64> {
    let steps = std::iter::successors(Some(number), |step| Some(step / 2));
    steps.take_while(|step| *step > 0).map(|step| number - step).collect()
}

/// The smallest items that fail so far.
struct Trial<'a, T> {
    items: Vec<T>,
    /// How many more calls of `fails` are allowed.
    left: usize,
    fails: &'a mut dyn FnMut(&[T]) -> bool,
}

impl<T: Clone> Trial<'_, T> {
    /// Takes the candidate if it fails too. Says whether it did.
    fn attempt(&mut self, candidate: Vec<T>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        let failed = (self.fails)(&candidate);
        if failed {
            self.items = candidate;
        }
        failed
    }

    /// Leaves out each chunk that can go, from the end: what comes late depends on what comes
    /// early, so the late go first. Says whether one went.
    fn leave_out_chunks(&mut self, size: usize) -> bool {
        let mut is_shorter = false;
        let mut end = self.items.len();
        while end > 0 && self.left > 0 {
            let start = end.saturating_sub(size);
            let mut candidate = self.items.clone();
            candidate.drain(start..end);
            is_shorter |= self.attempt(candidate);
            end = start;
        }
        is_shorter
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of 200 items two make it fail, and they alone are left, far inside the budget.
    #[test]
    fn the_pair_that_fails_is_found_among_200_items() {
        for (one, other) in [(0, 1), (17, 163), (99, 100), (0, 199), (198, 199)] {
            let mut calls = 0;
            let left = shrink(
                (0..200).collect(),
                |item| item % 10,
                400,
                |items: &[u32]| {
                    calls += 1;
                    items.contains(&one) && items.contains(&other)
                },
            );
            assert_eq!(left, [one, other]);
            assert!(calls <= 120, "{calls} calls for {one} and {other}");
        }
    }

    /// Without groups, chunks alone get there in few calls.
    #[test]
    fn chunks_are_left_out_before_single_items() {
        let mut calls = 0;
        let left = shrink(
            (0..200).collect(),
            |_| (),
            400,
            |items: &[u32]| {
                calls += 1;
                items.contains(&17) && items.contains(&163)
            },
        );
        assert_eq!(left, [17, 163]);
        assert!(calls <= 40, "{calls} calls");
    }

    /// What is left is minimal even if items depend on one another: no single one can go.
    #[test]
    fn nothing_that_is_left_can_be_left_out() {
        // Chunks of two can go, single items never can.
        let pairs: fn(&[u32]) -> bool =
            |items| items.len().is_multiple_of(2) && items.iter().any(|item| item % 50 == 0);
        // Only the first can go, then the next: one more in each round.
        let chain: fn(&[u32]) -> bool =
            |items| items.last() == Some(&199) && items.windows(2).all(|two| two[0] + 1 == two[1]);
        for fails in [pairs, chain] {
            let left = shrink((0..200).collect(), |_| (), 10_000, fails);
            assert!(fails(&left) && left.is_sorted());
            for place in 0..left.len() {
                let mut shorter = left.clone();
                shorter.remove(place);
                assert!(!fails(&shorter));
            }
        }
        assert_eq!(shrink((0..200).collect(), |_| (), 10_000, chain), [199]);
    }

    /// A whole group goes in one call, before anything else is tried.
    #[test]
    fn groups_go_first() {
        let items: Vec<(char, u32)> =
            "abcd".chars().flat_map(|c| (0..50).map(move |n| (c, n))).collect();
        let left = shrink(items, |item| item.0, 4, |items| items.iter().any(|item| item.0 == 'c'));
        assert!(left.len() == 50 && left.iter().all(|item| item.0 == 'c'));
    }

    /// The budget is kept to the call, and what is returned is the last that was seen to fail.
    #[test]
    fn the_budget_is_kept_and_the_result_has_failed() {
        for budget in 0..60 {
            let (mut calls, mut failed) = (0, (0..200).collect::<Vec<u32>>());
            let left = shrink(
                failed.clone(),
                |item| item % 7,
                budget,
                |items| {
                    calls += 1;
                    let fails = items.contains(&3) && items.contains(&150);
                    if fails {
                        failed = items.to_vec();
                    }
                    fails
                },
            );
            assert_eq!(left, failed);
            assert!(calls <= budget, "{calls} calls of {budget}");
        }
    }

    /// If everything can go, nothing is left; and nothing out of nothing asks little.
    #[test]
    fn an_empty_schedule_may_fail_too() {
        assert!(shrink(vec![1, 2, 3], |_| (), 100, |_| true).is_empty());
        assert!(shrink(Vec::<u32>::new(), |_| (), 100, |_| true).is_empty());
    }

    /// Numbers end at the smallest values that fail, also where one allows the other to follow.
    #[test]
    fn numbers_are_lowered_to_the_smallest_that_fail() {
        let candidates = |item: &u64| smaller(*item);
        let fails = |items: &[u64]| items[0] >= items[1] && items[1] >= 37 && items[2] >= 5;
        assert_eq!(lower(vec![100_000, 4_000, 9], candidates, 200, fails), [37, 37, 5]);

        let mut calls = 0;
        let counted = |items: &[u64]| {
            calls += 1;
            fails(items)
        };
        let left = lower(vec![100_000, 4_000, 9], candidates, 10, counted);
        assert!(fails(&left) && calls == 10);
    }
}
