//! Who belongs to a group: voters, learners, and both majorities while a change is under way (§6).
//!
//! * A membership is a value. It is derived from snapshot and log and never patched in place.
//! * Quorums are asked of a membership; nobody else counts votes.
//!
//! Read next: `quorum.rs`.

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::{EntryId, Incarnation, Index, NodeId, quorum};

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
    members: BTreeMap<NodeId, Member>,
    voters: BTreeSet<NodeId>,
    outgoing: BTreeSet<NodeId>,
}

impl Membership {
    /// The first membership of a group: every member votes.
    pub fn bootstrap(members: BTreeMap<NodeId, Member>) -> Self {
        let voters = members.keys().copied().collect();
        Self { id: EntryId::ZERO, members, voters, outgoing: BTreeSet::new() }
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
        sound.then_some(Self { id, members, voters, outgoing })
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
            && (self.outgoing.is_empty() || quorum::has_majority(&self.outgoing, &granted))
    }

    /// The highest value that a quorum has reached: commit index, confirmed round.
    pub fn quorum_value<T: Copy + Ord>(&self, value: impl Fn(NodeId) -> T) -> Option<T> {
        let incoming = quorum::nth_reached(&self.voters, &value)?;
        if self.outgoing.is_empty() {
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
