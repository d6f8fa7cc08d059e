//! Quorums against brute force: every membership of up to four nodes, joint ones included, and
//! every set of nodes that said yes.
//!
//! Read next: `../paper.rs`.

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{EntryId, Index, Member, Membership, NodeId};

use crate::rng::Rng;

fn set(bits: u64, nodes: u64) -> BTreeSet<NodeId> {
    (0..nodes).filter(|bit| bits >> bit & 1 == 1).filter_map(|bit| NodeId::new(bit + 1)).collect()
}

fn membership(voters: u64, outgoing: u64, nodes: u64) -> Option<Membership> {
    let members: BTreeMap<NodeId, Member> =
        set((1 << nodes) - 1, nodes).into_iter().map(|node| (node, Member::default())).collect();
    Membership::from_parts(EntryId::ZERO, members, set(voters, nodes), set(outgoing, nodes))
}

/// More than half of them, counted by hand; a half of a joint membership that is empty asks nobody.
fn majority(of: u64, yes: u64) -> bool {
    2 * (of & yes).count_ones() > of.count_ones()
}

/// A set decides if it has a majority of the voters and, while joint, of the outgoing voters too;
/// learners count for nothing.
#[test]
fn every_small_joint_membership_agrees_with_counting() {
    let nodes = 4;
    for voters in 0..1u64 << nodes {
        for outgoing in 0..1u64 << nodes {
            let Some(membership) = membership(voters, outgoing, nodes) else {
                assert!(voters == 0 && outgoing != 0, "a sound membership is refused");
                continue;
            };
            for yes in 0..1u64 << nodes {
                let granted = set(yes, nodes);
                let expected = majority(voters, yes) && (outgoing == 0 || majority(outgoing, yes));
                assert_eq!(
                    membership.has_quorum(|node| granted.contains(&node)),
                    expected,
                    "voters {voters:b} outgoing {outgoing:b} yes {yes:b}"
                );
            }
        }
    }
}

/// Two sets that both decide share a node, whatever the membership: the reason why Raft is safe.
#[test]
fn any_two_quorums_of_a_membership_intersect() {
    let nodes = 4;
    for voters in 1..1u64 << nodes {
        for outgoing in 0..1u64 << nodes {
            let membership = membership(voters, outgoing, nodes).expect("it has voters");
            let decides = |yes: u64| membership.has_quorum(|node| set(yes, nodes).contains(&node));
            let quorums: Vec<u64> = (0..1u64 << nodes).filter(|yes| decides(*yes)).collect();
            for a in &quorums {
                assert!(quorums.iter().all(|b| a & b & (voters | outgoing) != 0));
            }
        }
    }
}

/// The committed index is the highest one that a quorum has reached, also for seven voters and
/// joint memberships (openraft #1802 had it wrong from four voters on).
#[test]
fn the_committed_index_is_the_highest_that_a_quorum_reached() {
    let mut rng = Rng::new(1802);
    for _ in 0..20_000 {
        let nodes = 1 + rng.below(7);
        let all = (1 << nodes) - 1;
        let (voters, outgoing) =
            (1 + rng.below(all), if rng.chance(50) { rng.below(all) } else { 0 });
        let membership = membership(voters, outgoing, nodes).expect("it has voters");
        let reached: Vec<u64> = (0..nodes).map(|_| rng.below(6)).collect();
        let value = |node: NodeId| {
            Index::new(reached[usize::try_from(node.get() - 1).expect("a small number")])
        };
        let has = |index: u64| membership.has_quorum(|node| value(node) >= Index::new(index));
        let expected = (0..6).rev().find(|index| has(*index)).expect("everybody reached zero");
        assert_eq!(membership.committed_index(value), Index::new(expected), "{reached:?}");
    }
}
