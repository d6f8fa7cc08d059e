//! The fault atlas: which damage to disks is allowed, and what must hold after it.
//!
//! An item (an entry of the log) counts from its first acknowledged sync anywhere until it is
//! overwritten, because it may yet be counted into a quorum. The class of a run says when damage
//! may strike the copy of a node:
//!
//! * **A**: only if every item on that disk stays intact on a quorum of the voters.
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
//! The last write of a file has no witness: a disk that loses it in silence cannot be told from one
//! that never had it. A whole disk that returns to an older state, and a wiped disk under an old
//! id, are the same case writ large. These are outside A to C (class X): damage does not strike the
//! last write, and a node whose disk was wiped stays out, as an operator has to see to until
//! incarnations are recorded in the membership.

use std::collections::BTreeSet;
use std::fmt;

use raft_core::{Index, NodeId, Term};

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

/// Which nodes' disks are damaged, and whether another may be.
#[derive(Clone, Debug)]
pub(crate) struct Atlas {
    class: Class,
    voters: usize,
    damaged: BTreeSet<NodeId>,
}

impl Atlas {
    pub(crate) const fn new(class: Class, voters: usize) -> Self {
        Self { class, voters, damaged: BTreeSet::new() }
    }

    pub(crate) fn is_damaged(&self, node: NodeId) -> bool {
        self.damaged.contains(&node)
    }

    /// Whether the undamaged nodes are a quorum.
    pub(crate) fn has_quorum(&self) -> bool {
        (self.voters - self.damaged.len()) * 2 > self.voters
    }

    /// Whether every copy on the disk of this node may be lost, given what each disk holds: the
    /// terms of its entries, from the first on.
    pub(crate) fn allows(&self, node: NodeId, disks: &[(NodeId, &[Term])]) -> bool {
        let needed = match self.class {
            Class::Undamaged => return false,
            Class::C => return true,
            Class::A => self.voters / 2 + 1,
            Class::B => 1,
        };
        let Some((_, mine)) = disks.iter().find(|(id, _)| *id == node) else { return false };
        let intact = |(id, _): &&(NodeId, &[Term])| *id != node && !self.is_damaged(*id);
        let others: Vec<&[Term]> = disks.iter().filter(intact).map(|(_, log)| *log).collect();
        if others.len() < needed {
            return false;
        }
        // By Log Matching a disk that holds the last entry holds all before it.
        (0..mine.len()).rev().all(|at| {
            let holders = others.iter().filter(|log| log.get(at) == Some(&mine[at]));
            holders.count() >= needed
        })
    }

    /// The disk of this node is damaged from now on.
    pub(crate) fn strike(&mut self, node: NodeId) {
        self.damaged.insert(node);
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
    use super::*;

    fn terms(terms: &[u64]) -> Vec<Term> {
        terms.iter().copied().map(Term::new).collect()
    }

    /// What the classes allow, on three disks of which one lags.
    #[test]
    fn classes_allow_what_they_say() {
        let [a, b, c] = [1, 2, 3].map(|id| NodeId::new(id).expect("not zero"));
        let (full, short, other) = (terms(&[1, 1, 2]), terms(&[1, 1]), terms(&[1, 1, 1]));
        let disks = |last: &'static str| {
            let third = if last == "short" { &short } else { &full };
            vec![(a, &full[..]), (b, &full[..]), (c, &third[..])]
        };
        let mut atlas = Atlas::new(Class::A, 3);
        assert!(!atlas.allows(a, &disks("short")), "its last entry is left on one disk only");
        assert!(atlas.allows(a, &disks("full")));
        assert!(atlas.allows(c, &disks("short")), "the others hold all it has");
        atlas.strike(a);
        assert!(!atlas.allows(b, &disks("full")), "one undamaged disk is no quorum");
        assert!(atlas.has_quorum());
        let mut atlas = Atlas::new(Class::B, 3);
        assert!(atlas.allows(a, &disks("short")));
        atlas.strike(b);
        assert!(!atlas.allows(a, &disks("short")), "nobody else has its last entry intact");
        assert!(!Atlas::new(Class::B, 2).allows(a, &[(a, &full), (b, &other)]), "another term");
        assert!(Atlas::new(Class::C, 1).allows(a, &[(a, &full)]));
        assert!(!Atlas::new(Class::Undamaged, 3).allows(a, &disks("full")));
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
