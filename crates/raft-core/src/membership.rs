//! Who belongs to a group: voters, learners, and both majorities while a change is under way (§6).
//!
//! * A membership is a value. It is derived from snapshot and log and never patched in place.
//! * Quorums are asked of a membership; nobody else counts votes.
//!
//! Read next: `quorum.rs`.

use alloc::collections::{BTreeMap, BTreeSet};

use core::fmt;

use bytes::Bytes;

use crate::{EntryId, Incarnation, Index, NodeId, Promotion, quorum};

/// A member as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Where the member can be reached, in the words of the transport and the application.
    pub address: Bytes,
    /// The data directory that promised to vote, once it is recorded; `None` right after bootstrap.
    pub incarnation: Option<Incarnation>,
}

/// The nodes of a group (C of §6), with the entry that brought it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    id: EntryId,
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
    pub(crate) promotions: BTreeMap<NodeId, Promotion>,
    departures: BTreeMap<NodeId, Departure>,
}

/// What becomes of an outgoing voter when the joint membership ends; one without stays a learner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It belongs to the group no more.
    Removed,
    /// It begins again, with the disk of this incarnation. Until then the old one is recorded: what
    /// the new disk says counts in neither majority.
    Readmitted(Incarnation),
}

impl Membership {
    /// The first membership of a group: every member votes.
    pub fn bootstrap(members: BTreeMap<NodeId, Member>) -> Self {
        let voters = members.keys().copied().collect();
        Self { members, voters, ..Self::default() }
    }

    /// Puts together what a codec decoded.
    ///
    /// `None` if a voter is not a member, or if there are outgoing voters but no incoming ones.
    pub fn from_parts(
        id: EntryId,
        members: BTreeMap<NodeId, Member>,
        voters: BTreeSet<NodeId>,
        outgoing: BTreeSet<NodeId>,
    ) -> Option<Self> {
        let known = voters.iter().chain(&outgoing).all(|node| members.contains_key(node));
        let sound = known && (outgoing.is_empty() || !voters.is_empty());
        sound.then(|| Self { id, members, voters, outgoing, ..Self::default() })
    }

    /// The same with what is planned for learners and for outgoing voters.
    ///
    /// `None` if a plan is for a node that is no learner, or that does not go.
    pub fn with_plans(
        mut self,
        promotions: BTreeMap<NodeId, Promotion>,
        departures: BTreeMap<NodeId, Departure>,
    ) -> Option<Self> {
        let learns = |node: &NodeId| self.members.contains_key(node) && !self.voters.contains(node);
        let goes = |node: &NodeId| learns(node) && self.outgoing.contains(node);
        let sound = promotions.keys().all(learns) && departures.keys().all(goes);
        (self.promotions, self.departures) = (promotions, departures);
        sound.then_some(self)
    }

    /// The same membership as brought by this entry.
    #[must_use]
    pub fn brought_by(mut self, id: EntryId) -> Self {
        self.id = id;
        self
    }

    /// The entry that brought it; zero for the membership of the bootstrap.
    pub const fn id(&self) -> EntryId {
        self.id
    }

    /// Every member, voter or learner, in order.
    pub const fn members(&self) -> &BTreeMap<NodeId, Member> {
        &self.members
    }

    /// The voters (of C_new while joint).
    pub const fn voters(&self) -> &BTreeSet<NodeId> {
        &self.voters
    }

    /// The voters of C_old while the membership is joint; empty otherwise.
    pub const fn outgoing(&self) -> &BTreeSet<NodeId> {
        &self.outgoing
    }

    /// Whether two majorities are asked (§6, `C_old,new`).
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// The members that do not vote and are not about to lose their vote, in order.
    pub fn learners(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.members.keys().copied().filter(|node| !self.is_voter(*node))
    }

    /// When a learner becomes a voter.
    pub fn promotion(&self, node: NodeId) -> Promotion {
        self.promotions.get(&node).copied().unwrap_or(Promotion::Manual)
    }

    /// What is planned for learners, by node.
    pub const fn promotions(&self) -> &BTreeMap<NodeId, Promotion> {
        &self.promotions
    }

    /// What becomes of outgoing voters, by node; who is not named stays a learner.
    pub const fn departures(&self) -> &BTreeMap<NodeId, Departure> {
        &self.departures
    }

    /// The way to the membership aimed at: itself if the same nodes vote, otherwise the joint
    /// membership (§6, `C_old,new`).
    ///
    /// # Panics
    ///
    /// If this membership is joint: one change at a time.
    #[must_use]
    pub(crate) fn toward(&self, aim: Self) -> Self {
        assert!(!self.is_joint(), "one membership change at a time");
        if aim.voters == self.voters {
            return aim;
        }
        let mut joint = aim;
        joint.outgoing.clone_from(&self.voters);
        for (node, member) in &self.members {
            match joint.members.get_mut(node) {
                None if self.voters.contains(node) => {
                    joint.members.insert(*node, member.clone());
                    joint.departures.insert(*node, Departure::Removed);
                }
                Some(next) if self.voters.contains(node) && !joint.voters.contains(node) => {
                    if let Some(incarnation) = next.incarnation
                        && next.incarnation != member.incarnation
                    {
                        next.incarnation = member.incarnation;
                        joint.departures.insert(*node, Departure::Readmitted(incarnation));
                    }
                }
                // A learner that leaves has no say in either majority: it goes at once.
                None | Some(_) => {}
            }
        }
        joint
    }

    /// The membership after the joint one (§6, `C_new`).
    #[must_use]
    pub(crate) fn left(&self) -> Self {
        let mut next = self.clone();
        next.outgoing.clear();
        for (node, departure) in core::mem::take(&mut next.departures) {
            match departure {
                Departure::Removed => {
                    next.members.remove(&node);
                    next.promotions.remove(&node);
                }
                Departure::Readmitted(incarnation) => {
                    let member = next.members.get_mut(&node).expect("who departs is a member");
                    member.incarnation = Some(incarnation);
                }
            }
        }
        next
    }

    /// Whether this node votes, in either half of a joint membership.
    pub fn is_voter(&self, node: NodeId) -> bool {
        self.voters.contains(&node) || self.outgoing.contains(&node)
    }

    /// Whether nobody belongs to it: the node waits to be added.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether the nodes for which `granted` answers yes are a quorum (both, while joint).
    pub fn has_quorum(&self, granted: impl Fn(NodeId) -> bool) -> bool {
        quorum::has_majority(&self.voters, &granted)
            && (self.outgoing.is_empty()
                || mutant!("M8a")
                || quorum::has_majority(&self.outgoing, &granted))
    }

    /// The highest value that a quorum has reached: commit index, confirmed round.
    pub fn quorum_value<T: Copy + Ord>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        let incoming = quorum::nth_reached(&self.voters, &value)?;
        if self.outgoing.is_empty() || mutant!("M8a") {
            return Some(incoming);
        }
        Some(incoming.min(quorum::nth_reached(&self.outgoing, &value)?))
    }

    /// The highest index that is durable on a quorum (§5.3, §5.4.2 adds the rule about terms).
    pub fn committed_index(&self, match_index: impl Fn(NodeId) -> Index) -> Index {
        if mutant!("R9") {
            return quorum::nearly_reached(&self.voters, match_index);
        }
        self.quorum_value(match_index).unwrap_or(Index::ZERO)
    }
}

/// `voters n1 n2 n3, learners n4`, and while joint `outgoing n1 n2`.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voters")?;
        self.voters.iter().try_for_each(|node| write!(f, " {node}"))?;
        if self.is_joint() {
            f.write_str(", outgoing")?;
            self.outgoing.iter().try_for_each(|node| write!(f, " {node}"))?;
        }
        if self.learners().next().is_some() {
            f.write_str(", learners")?;
            self.learners().try_for_each(|node| write!(f, " {node}"))?;
        }
        Ok(())
    }
}
