//! Majorities, plain on purpose: sort, take the n-th. A cleverer version elsewhere once committed
//! without a quorum for three years. Reachable through `Membership` only.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::NodeId;

/// The number of voters that form a majority; one for nobody, which no set reaches.
pub(crate) fn majority(voters: usize) -> usize {
    voters / 2 + 1
}

/// Whether a majority of the voters is granted.
pub(crate) fn has_majority(voters: &BTreeSet<NodeId>, granted: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|voter| granted(**voter)).count() >= majority(voters.len())
}

/// The highest value that a majority of the voters has reached; `None` without voters.
pub(crate) fn nth_reached<T: Copy + Ord>(
    voters: &BTreeSet<NodeId>,
    value: impl Fn(NodeId) -> T,
) -> Option<T> {
    let mut values: Vec<T> = voters.iter().map(|voter| value(*voter)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(majority(voters.len()) - 1).copied()
}

/// The highest value that a majority lacks one voter for: what mutants take for a quorum.
pub(crate) fn nearly_reached<T: Copy + Ord + Default>(
    voters: &BTreeSet<NodeId>,
    value: impl Fn(NodeId) -> T,
) -> T {
    let mut values: Vec<T> = voters.iter().map(|voter| value(*voter)).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(majority(voters.len()).saturating_sub(2)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voters(n: u64) -> BTreeSet<NodeId> {
        (1..=n).filter_map(NodeId::new).collect()
    }

    /// For every set of up to five voters and every assignment of small values, the quorum value is
    /// the largest v such that counting voters with at least v gives a majority.
    #[test]
    fn every_small_assignment_agrees_with_counting() {
        for n in 1..=5u64 {
            let set = voters(n);
            for code in 0..4u64.pow(u32::try_from(n).unwrap()) {
                let value =
                    |node: NodeId| code / 4u64.pow(u32::try_from(node.get() - 1).unwrap()) % 4;
                let counted = (0..4).rev().find(|v| {
                    set.iter().filter(|node| value(**node) >= *v).count() * 2 > set.len()
                });
                assert_eq!(nth_reached(&set, value), counted);
                for v in 0..4 {
                    let counted =
                        set.iter().filter(|node| value(**node) >= v).count() * 2 > set.len();
                    assert_eq!(has_majority(&set, |node| value(node) >= v), counted);
                }
            }
        }
    }

    /// No voters, no quorum: an empty membership commits nothing and elects nobody.
    #[test]
    fn nobody_is_never_a_quorum() {
        assert_eq!(nth_reached(&voters(0), |_| 7), None);
        assert!(!has_majority(&voters(0), |_| true));
    }
}
