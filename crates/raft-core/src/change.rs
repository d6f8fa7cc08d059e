//! A membership change as somebody asks for it, and what becomes of a membership by it (§6, thesis
//! §4).
//!
//! * Pure: a request and a membership give the membership aimed at, or the reason why not. Whether
//!   the moment is right is decided by the leader (`role/leader/change.rs`).
//! * Nobody becomes a voter but by [`Change::Promote`] or an automatic promotion: a new node is a
//!   learner until it has caught up (thesis §4.2.1).
//! * Nobody becomes a voter under an unknown incarnation, so that a wiped disk is told from the one
//!   that promised to vote.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::{EntryId, Incarnation, Member, Membership, NodeId, Outcome};

/// When a learner becomes a voter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Promotion {
    /// When somebody asks for it.
    Manual,
    /// By itself, as soon as it has caught up and stays so.
    #[default]
    Automatic,
    /// By itself, and in the same step this member leaves: a replacement that never weakens the
    /// quorum.
    Replaces(NodeId),
}

/// One part of a membership change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new node receives the log and does not vote yet.
    AddLearner {
        /// The new node. Its id must never have belonged to another disk of this cluster.
        node: NodeId,
        /// Where it can be reached, in the words of the transport and the application.
        address: Bytes,
        /// When it becomes a voter.
        promotion: Promotion,
    },
    /// A learner becomes a voter.
    Promote {
        /// The learner.
        node: NodeId,
    },
    /// A voter becomes a learner that stays one until somebody asks.
    Demote {
        /// The voter.
        node: NodeId,
    },
    /// A member leaves, the leader too if it is the one.
    Remove {
        /// The member.
        node: NodeId,
    },
    /// A member whose disk was wiped or replaced comes back under its old id: it loses its vote,
    /// and with the new disk it begins as a learner that is promoted by itself.
    Readmit {
        /// The member.
        node: NodeId,
        /// The incarnation of the new disk, as its refusal names it.
        incarnation: Incarnation,
    },
    /// A member moved.
    UpdateAddress {
        /// The member.
        node: NodeId,
        /// Where it can be reached now.
        address: Bytes,
    },
}

impl Change {
    /// Whom it is about.
    pub const fn node(&self) -> NodeId {
        match self {
            Self::AddLearner { node, .. }
            | Self::Promote { node }
            | Self::Demote { node }
            | Self::Remove { node }
            | Self::Readmit { node, .. }
            | Self::UpdateAddress { node, .. } => *node,
        }
    }
}

/// A membership change: any number of parts, in force together.
///
/// ```
/// use raft_core::{Change, ChangeRequest, NodeId, Promotion};
///
/// let [old, new] = [3, 4].map(|id| NodeId::new(id).expect("not zero"));
/// let replace = ChangeRequest::new([Change::AddLearner {
///     node: new,
///     address: "10.0.0.4:2380".into(),
///     promotion: Promotion::Replaces(old),
/// }]);
/// assert!(replace.expected.is_none(), "whatever the membership is now");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeRequest {
    /// What changes. Each node at most once.
    pub changes: Vec<Change>,
    /// Only if the present membership was brought by this entry: the one the caller looked at.
    pub expected: Option<EntryId>,
    /// Also if the change may leave the group without a quorum, or with a voter that lacks most of
    /// the log. Correct but possibly unavailable: for operators who know better. Who holds nothing
    /// of the log is made no voter even so.
    pub availability_at_risk: bool,
}

impl ChangeRequest {
    /// These changes, whatever the membership is now, with every guard rail.
    pub fn new(changes: impl IntoIterator<Item = Change>) -> Self {
        Self { changes: changes.into_iter().collect(), expected: None, availability_at_risk: false }
    }

    /// Only if the present membership was brought by this entry.
    #[must_use]
    pub const fn with_expected(mut self, id: EntryId) -> Self {
        self.expected = Some(id);
        self
    }

    /// Without the guard rails that protect availability.
    #[must_use]
    pub const fn with_availability_at_risk(mut self) -> Self {
        self.availability_at_risk = true;
        self
    }
}

/// A membership change was refused. It certainly did not and will not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeError {
    /// This node does not lead.
    NotLeader {
        /// The leader, if one is known.
        leader: Option<NodeId>,
    },
    /// The leader is new and has not committed an entry of its term yet; try again at once.
    NotReady,
    /// Leadership is being handed over.
    Transferring,
    /// Another change is not committed yet, or the group is between two memberships.
    InProgress {
        /// The entry that brought the change under way.
        id: EntryId,
    },
    /// The membership is not the one the caller saw.
    Stale {
        /// The entry that brought the present one.
        current: EntryId,
    },
    /// Nothing would change.
    Redundant,
    /// A node is named twice, or another takes its place in the same step.
    NamedTwice {
        /// Which.
        node: NodeId,
    },
    /// The node does not belong to the group.
    UnknownMember {
        /// Which.
        node: NodeId,
    },
    /// The node already belongs to the group.
    AlreadyMember {
        /// Which.
        node: NodeId,
    },
    /// The node votes already, or does not vote, as the change asks.
    AlreadySo {
        /// Which.
        node: NodeId,
    },
    /// Nobody would vote any more.
    NoVoters,
    /// Too few of the voters would be in contact for the group to go on.
    QuorumLost {
        /// Voters the leader hears, of those there would be.
        in_contact: usize,
        /// Voters that make a quorum then.
        needed: usize,
    },
    /// The learner lacks too much of the log, or was never heard.
    NotCaughtUp {
        /// Which.
        node: NodeId,
        /// Committed entries it lacks.
        behind: u64,
    },
    /// The address is longer than a membership may carry.
    AddressTooLong {
        /// Which node.
        node: NodeId,
    },
}

/// The longest address, in bytes.
pub(crate) const ADDRESS_BYTES_MAX: usize = 4096;

impl ChangeError {
    /// Always [`Outcome::NotApplied`].
    pub const fn outcome(&self) -> Outcome {
        Outcome::NotApplied
    }
}

impl fmt::Display for ChangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { leader: Some(leader) } => {
                write!(f, "this node does not lead; {leader} does")
            }
            Self::NotLeader { leader: None } => f.write_str("no leader is known"),
            Self::NotReady => {
                f.write_str("the leader is new and has not committed an entry of its term yet")
            }
            Self::Transferring => f.write_str("leadership is being handed over"),
            Self::InProgress { id } => {
                write!(f, "the change of entry {id} is under way; one at a time")
            }
            Self::Stale { current } => {
                write!(f, "the membership changed meanwhile: it is that of entry {current}")
            }
            Self::Redundant => f.write_str("nothing would change"),
            Self::NamedTwice { node } => write!(f, "{node} is named twice"),
            Self::UnknownMember { node } => write!(f, "{node} is not a member"),
            Self::AlreadyMember { node } => write!(f, "{node} is a member already"),
            Self::AlreadySo { node } => write!(f, "{node} already is what it is to become"),
            Self::NoVoters => f.write_str("nobody would vote any more"),
            Self::QuorumLost { in_contact, needed } => write!(
                f,
                "only {in_contact} of the voters there would be are in contact, {needed} are \
                 needed: the group could not go on"
            ),
            Self::NotCaughtUp { node, behind } => {
                write!(f, "{node} lacks {behind} committed entries, or was never heard")
            }
            Self::AddressTooLong { node } => {
                write!(f, "the address of {node} is longer than {ADDRESS_BYTES_MAX} bytes")
            }
        }
    }
}

impl core::error::Error for ChangeError {}

impl Membership {
    /// The membership that these changes aim at. Incarnations of new voters are those that the
    /// leader has met.
    pub(crate) fn changed(
        &self,
        changes: &[Change],
        met: impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Result<Self, ChangeError> {
        let mut aim = self.clone();
        for (i, change) in changes.iter().enumerate() {
            let node = change.node();
            if changes[..i].iter().any(|before| before.node() == node) {
                return Err(ChangeError::NamedTwice { node });
            }
            aim.change(change, &met)?;
        }
        // One whose place another takes in the same step would be changed in vain.
        let is_in_vain = |change: &&Change| {
            !matches!(change, Change::Remove { .. }) && !aim.members.contains_key(&change.node())
        };
        if let Some(change) = changes.iter().find(is_in_vain) {
            return Err(ChangeError::NamedTwice { node: change.node() });
        }
        if aim.voters().is_empty() {
            return Err(ChangeError::NoVoters);
        }
        if aim == *self {
            return Err(ChangeError::Redundant);
        }
        Ok(aim)
    }

    fn change(
        &mut self,
        change: &Change,
        met: &impl Fn(NodeId) -> Option<Incarnation>,
    ) -> Result<(), ChangeError> {
        let node = change.node();
        let is_member = self.members.contains_key(&node);
        let is_new = matches!(change, Change::AddLearner { .. });
        if is_new && is_member {
            return Err(ChangeError::AlreadyMember { node });
        }
        if !is_new && !is_member {
            return Err(ChangeError::UnknownMember { node });
        }
        if let Change::AddLearner { address, .. } | Change::UpdateAddress { address, .. } = change
            && address.len() > ADDRESS_BYTES_MAX
        {
            return Err(ChangeError::AddressTooLong { node });
        }
        let votes = self.voters.contains(&node);
        match change {
            Change::AddLearner { address, promotion, .. } => {
                if let Promotion::Replaces(old) = promotion
                    && !self.members.contains_key(old)
                {
                    return Err(ChangeError::UnknownMember { node: *old });
                }
                let member = Member { address: address.clone(), incarnation: None };
                self.members.insert(node, member);
                if *promotion != Promotion::Manual {
                    self.promotions.insert(node, *promotion);
                }
            }
            Change::Promote { .. } => {
                if votes {
                    return Err(ChangeError::AlreadySo { node });
                }
                self.promote(node, met(node))?;
            }
            Change::Demote { .. } => {
                if !votes {
                    return Err(ChangeError::AlreadySo { node });
                }
                self.voters.remove(&node);
            }
            Change::Remove { .. } => self.remove(node),
            Change::Readmit { incarnation, .. } => {
                if self.members[&node].incarnation == Some(*incarnation) {
                    return Err(ChangeError::AlreadySo { node });
                }
                self.voters.remove(&node);
                self.promotions.insert(node, Promotion::Automatic);
                self.member_mut(node).incarnation = Some(*incarnation);
            }
            Change::UpdateAddress { address, .. } => {
                self.member_mut(node).address = address.clone();
            }
        }
        Ok(())
    }

    fn promote(&mut self, node: NodeId, met: Option<Incarnation>) -> Result<(), ChangeError> {
        let recorded = self.members[&node].incarnation;
        let Some(incarnation) = recorded.or(met) else {
            return Err(ChangeError::NotCaughtUp { node, behind: 0 });
        };
        self.member_mut(node).incarnation = Some(incarnation);
        self.voters.insert(node);
        if let Some(Promotion::Replaces(old)) = self.promotions.remove(&node) {
            self.remove(old);
        }
        Ok(())
    }

    fn remove(&mut self, node: NodeId) {
        self.members.remove(&node);
        self.voters.remove(&node);
        self.promotions.remove(&node);
        // Nobody can take the place of who has left already: its replacement still joins.
        for promotion in self.promotions.values_mut() {
            if *promotion == Promotion::Replaces(node) {
                *promotion = Promotion::Automatic;
            }
        }
    }

    fn member_mut(&mut self, node: NodeId) -> &mut Member {
        self.members.get_mut(&node).expect("it is a member")
    }
}

#[cfg(test)]
#[path = "change/tests.rs"]
mod tests;
