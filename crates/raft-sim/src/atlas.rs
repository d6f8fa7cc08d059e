//! The fault atlas: which damage to disks is allowed, and what must hold after it.
//!
//! An item (an entry of the log) counts from its first acknowledged sync anywhere until it is
//! overwritten, because it may yet be counted into a quorum. The class of a run says when damage
//! may strike the copy of a node:
//!
//! * **A**: only if every item on that disk stays intact on a quorum of every membership that is or
//!   may be in force, on both halves of a joint one.
//! * **B**: only if every item on that disk stays intact on at least one other.
//! * **C**: freely.
//!
//! A disk in which something is damaged refuses to open, as a whole and with a typed error that
//! names the place; it is not repaired from peers in this version, so every copy on it counts as
//! lost. What must hold, in every class: all safety oracles, no panic, no acknowledged write
//! silently absent or changed, and a damaged disk that is opened again either refuses or gives back
//! everything it had acknowledged. Progress is demanded from every core of undamaged nodes that is
//! a quorum: always in A, and in B and C where enough nodes are left. Where too few are left, the
//! run must end in silence: nothing is committed any more, and every node that stands still says
//! what it misses.
//!
//! A blank disk in the place of another (*wiped*) holds nothing and counts for nobody, until the
//! membership records it: that its node comes back by itself, under its old id, must do no harm.
//!
//! The last write of a file has no witness: a disk that loses it in silence cannot be told from one
//! that never had it. A whole disk that returns to an older state is the same case writ large.
//! Neither is part of A to C (class X): damage does not strike the last write.

use std::collections::BTreeSet;
use std::fmt;

use raft_core::{Incarnation, Index, Membership, NodeId, Term};

use crate::oracle::members::{halves, is_quorum, recorded};

/// How far damage may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing that was durable is damaged.
    Undamaged,
    /// Everything stays intact on a quorum.
    A,
    /// Everything stays intact somewhere.
    B,
    /// Anything goes.
    C,
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Undamaged => "undamaged",
            Self::A => "A: intact on a quorum",
            Self::B => "B: intact somewhere",
            Self::C => "C: anything goes",
        })
    }
}

/// The disk of a node, as the oracle knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk<'a> {
    pub(crate) node: NodeId,
    pub(crate) incarnation: Option<Incarnation>,
    /// The terms of its entries, from the first on.
    pub(crate) log: &'a [Term],
}

/// Which nodes' disks are damaged, and whether another may be.
#[derive(Clone, Debug)]
pub(crate) struct Atlas {
    class: Class,
    damaged: BTreeSet<NodeId>,
}

impl Atlas {
    pub(crate) const fn new(class: Class) -> Self {
        Self { class, damaged: BTreeSet::new() }
    }

    pub(crate) fn is_damaged(&self, node: NodeId) -> bool {
        self.damaged.contains(&node)
    }

    /// Whether a disk counts for a membership: it is whole, and the recorded one.
    pub(crate) fn counts(&self, membership: &Membership, disk: &Disk<'_>) -> bool {
        let recorded = recorded(membership, disk.node);
        !self.is_damaged(disk.node) && (recorded.is_none() || recorded == disk.incarnation)
    }

    /// Whether the disks that count are a quorum of each of these memberships.
    #[cfg(test)]
    pub(crate) fn has_quorum(&self, disks: &[Disk<'_>], memberships: &[Membership]) -> bool {
        memberships.iter().all(|membership| {
            let counts = |disk: &Disk<'_>| self.counts(membership, disk);
            is_quorum(membership, |node| disks.iter().any(|disk| disk.node == node && counts(disk)))
        })
    }

    /// Whether every copy on the disk of this node may be lost, given what each disk holds and the
    /// memberships that are, or may yet be, in force.
    pub(crate) fn allows(
        &self,
        node: NodeId,
        disks: &[Disk<'_>],
        memberships: &[Membership],
    ) -> bool {
        match self.class {
            Class::Undamaged => return false,
            Class::C => return true,
            Class::A | Class::B => {}
        }
        let Some(mine) = disks.iter().find(|disk| disk.node == node) else { return false };
        memberships.iter().all(|membership| {
            let counts = |disk: &&Disk<'_>| disk.node != node && self.counts(membership, disk);
            let others: Vec<&Disk<'_>> = disks.iter().filter(counts).collect();
            (0..mine.log.len().max(1)).rev().all(|at| {
                let item = mine.log.get(at);
                let holds = |disk: &&&Disk<'_>| item.is_none() || disk.log.get(at) == item;
                let holders: BTreeSet<NodeId> =
                    others.iter().filter(holds).map(|disk| disk.node).collect();
                self.is_enough(membership, &holders)
            })
        })
    }

    /// Whether these are enough to hold an item intact.
    fn is_enough(&self, membership: &Membership, holders: &BTreeSet<NodeId>) -> bool {
        match self.class {
            Class::A => is_quorum(membership, |node| holders.contains(&node)),
            Class::B => halves(membership).iter().all(|half| !half.is_disjoint(holders)),
            Class::Undamaged | Class::C => unreachable!("the class was looked at before"),
        }
    }

    /// The disk of this node is damaged from now on.
    pub(crate) fn strike(&mut self, node: NodeId) {
        self.damaged.insert(node);
    }

    /// The disk of this node was replaced by a blank one.
    pub(crate) fn replaced(&mut self, node: NodeId) {
        self.damaged.remove(&node);
    }

    /// An entry that some node acknowledged and that is intact on none of these: proof that they
    /// cannot go on.
    pub(crate) fn missing(canonical: &[Term], core: &[(NodeId, &[Term])]) -> Option<Index> {
        let held = |at: &usize| core.iter().any(|(_, log)| log.get(*at) == canonical.get(*at));
        let absent = (0..canonical.len()).find(|at| !held(at))?;
        Some(Index::new(absent as u64 + 1))
    }
}

#[cfg(test)]
mod tests {
    use raft_core::Member;

    use super::*;

    fn terms(terms: &[u64]) -> Vec<Term> {
        terms.iter().copied().map(Term::new).collect()
    }

    fn group(nodes: u64) -> Vec<Membership> {
        let members = (1..=nodes).filter_map(NodeId::new).map(|id| (id, Member::default()));
        vec![Membership::bootstrap(members.collect())]
    }

    fn disk(node: NodeId, log: &[Term]) -> Disk<'_> {
        Disk { node, incarnation: None, log }
    }

    /// What the classes allow, on three disks of which one lags.
    #[test]
    fn classes_allow_what_they_say() {
        let [a, b, c] = [1, 2, 3].map(|id| NodeId::new(id).expect("not zero"));
        let (full, short, other) = (terms(&[1, 1, 2]), terms(&[1, 1]), terms(&[1, 1, 1]));
        let disks = |last: &'static str| {
            let third = if last == "short" { &short } else { &full };
            vec![disk(a, &full), disk(b, &full), disk(c, third)]
        };
        let three = group(3);
        let mut atlas = Atlas::new(Class::A);
        assert!(!atlas.allows(a, &disks("short"), &three), "its last entry is left on one disk");
        assert!(atlas.allows(a, &disks("full"), &three));
        assert!(atlas.allows(c, &disks("short"), &three), "the others hold all it has");
        atlas.strike(a);
        assert!(!atlas.allows(b, &disks("full"), &three), "one undamaged disk is no quorum");
        assert!(atlas.has_quorum(&disks("full"), &three));
        let mut atlas = Atlas::new(Class::B);
        assert!(atlas.allows(a, &disks("short"), &three));
        atlas.strike(b);
        assert!(!atlas.allows(a, &disks("short"), &three), "nobody else has its last entry");
        let two = [disk(a, &full), disk(b, &other)];
        assert!(!Atlas::new(Class::B).allows(a, &two, &group(2)), "another term");
        assert!(Atlas::new(Class::C).allows(a, &two[..1], &group(1)));
        assert!(!Atlas::new(Class::Undamaged).allows(a, &disks("full"), &three));
    }

    /// A disk that the membership does not record counts for nobody.
    #[test]
    fn another_disk_than_the_recorded_one_does_not_count() {
        let [a, b] = [1, 2].map(|id| NodeId::new(id).expect("not zero"));
        let incarnation = Some(Incarnation::new(7));
        let members = [(a, Member { incarnation, ..Member::default() }), (b, Member::default())];
        let recorded = [Membership::bootstrap(members.into())];
        let log = terms(&[1]);
        let old = Disk { node: a, incarnation, log: &log };
        let new = Disk { node: a, incarnation: Some(Incarnation::new(8)), log: &log };
        let atlas = Atlas::new(Class::A);
        assert!(atlas.has_quorum(&[old, disk(b, &log)], &recorded));
        assert!(!atlas.has_quorum(&[new, disk(b, &log)], &recorded));
    }

    /// The first canonical entry that no disk of the core holds is named.
    #[test]
    fn what_the_core_misses_is_named() {
        let a = NodeId::new(1).expect("not zero");
        let (canonical, log) = (terms(&[1, 2, 2]), terms(&[1, 2]));
        assert_eq!(Atlas::missing(&canonical, &[(a, &log)]), Some(Index::new(3)));
        assert_eq!(Atlas::missing(&canonical[..2], &[(a, &log)]), None);
    }
}
