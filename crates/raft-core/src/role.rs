//! The roles of a node, and how one becomes another.
//!
//! ```text
//!                 election timeout                 quorum of pre-votes
//!   ┌──────────┐ ───────────────► ┌───────────────┐ ───────────────► ┌───────────┐
//!   │ Follower │                  │ pre-candidate │                  │ candidate │
//!   └──────────┘ ◄─────────────── └───────────────┘                  └───────────┘
//!      ▲     ▲    leader heard, or higher term                        │    │
//!      │     └────────────────────────────────────────────────────────┘    │ quorum of votes
//!      │           higher term, or no contact to a quorum        ┌────────┐│
//!      └──────────────────────────────────────────────────────── │ Leader │◄
//!                                                                └────────┘
//! ```
//!
//! Pre-candidate and candidate are one `Candidate` with two kinds of ballot. Handlers of a role
//! return a [`Transition`]; [`Role::enter`] alone carries it out. Read next: `role/follower.rs`.

pub(crate) mod candidate;
mod estimate;
pub(crate) mod follower;
pub(crate) mod leader;

use self::candidate::{Ballot, Candidate};
use self::follower::Follower;
use self::leader::Leader;
use crate::outbox::Outbox;
use crate::state::Common;
use crate::{NodeId, RoleName};

/// What a node is, with what only that role has (§5.1).
#[derive(Debug)]
pub enum Role {
    /// Follows a leader, or waits for one. Every node starts as a follower.
    Follower(Follower),
    /// Asks for votes, or whether it would get them.
    Candidate(Candidate),
    /// Leads.
    Leader(Leader),
}

impl Role {
    /// The leader this node knows for its term.
    pub(crate) fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self {
            Self::Follower(follower) => follower.leader(),
            Self::Candidate(_) => None,
            Self::Leader(_) => Some(me),
        }
    }

    /// The role in a word.
    pub(crate) fn name(&self, common: &Common) -> RoleName {
        match self {
            Self::Follower(_) if !common.is_voter() => RoleName::Learner,
            Self::Follower(_) => RoleName::Follower,
            Self::Candidate(candidate) => match candidate.ballot() {
                Ballot::PreVote => RoleName::PreCandidate,
                Ballot::Vote | Ballot::Transfer => RoleName::Candidate,
            },
            Self::Leader(_) => RoleName::Leader,
        }
    }

    /// Leaves this role and enters another. May wish for the next one at once: the only voter of a
    /// group needs nobody's vote.
    pub(crate) fn enter(
        &mut self,
        transition: Transition,
        common: &mut Common,
        out: &mut Outbox,
    ) -> Transition {
        match transition {
            Transition::Stay => Transition::Stay,
            Transition::Follow { leader } => {
                let deadline = match self {
                    // Only a leader or a vote given calms a follower, not a term that was seen.
                    Self::Follower(follower) if leader.is_none() => follower.election_deadline(),
                    Self::Follower(_) | Self::Candidate(_) | Self::Leader(_) => {
                        common.election_deadline()
                    }
                };
                if mutant!("E2a") && !matches!(self, Self::Follower(_)) {
                    common.overwrite(common.term(), None);
                }
                self.leave(common, out);
                *self = Self::Follower(Follower::new(leader, deadline));
                Transition::Stay
            }
            Transition::Campaign(ballot) => {
                self.leave(common, out);
                let (candidate, next) = Candidate::campaign(ballot, common, out);
                *self = Self::Candidate(candidate);
                next
            }
            Transition::Lead => {
                assert!(matches!(self, Self::Candidate(_)), "only a candidate becomes leader");
                self.leave(common, out);
                let leader = Leader::elected(common, out);
                *self = Self::Leader(leader);
                Transition::Stay
            }
        }
    }

    /// What callers of this role are told when it ends.
    fn leave(&mut self, common: &mut Common, out: &mut Outbox) {
        match self {
            Self::Follower(follower) => follower.leave(common, out),
            Self::Candidate(_) => {}
            Self::Leader(leader) => leader.leave(out),
        }
    }
}

/// What a handler decided about the role. Carried out by `RaftNode::transition`, nowhere else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Transition {
    /// Go on.
    Stay,
    /// Follow: somebody leads the term, or a higher term was seen.
    Follow {
        /// The leader, if heard.
        leader: Option<NodeId>,
    },
    /// Ask for votes, or whether they would be given.
    Campaign(Ballot),
    /// A quorum voted for us.
    Lead,
}
