//! Commands: what a host asks of a node. Refused at once, or accepted.

use core::time::Duration;

use super::RaftNode;
use crate::role::candidate::Ballot;
use crate::role::{Role, Transition};
use crate::{
    ChangeError, ChangeRequest, EntryId, Index, NodeId, Payload, PayloadKind, ProposeError,
    ReadError, Ticket, Time, TransferError, vote,
};

/// What became of an accepted proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proposed {
    /// It is an entry of this leader's log, not yet committed.
    Appended(EntryId),
    /// It goes to this leader.
    Forwarded(NodeId),
}

/// How fresh the answer of a read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// As if there were one copy: everything that was answered before the read began is seen
    /// (thesis §6.4).
    #[default]
    Linearizable,
    /// The same as long as clocks keep their bound, without a round of messages at a leader that
    /// holds a lease (thesis §6.4.1). Elsewhere as [`Linearizable`](Self::Linearizable).
    Lease,
    /// Perhaps old, by no more than this.
    Bounded {
        /// The oldest state that will do.
        age_max: Duration,
    },
}

impl RaftNode {
    /// Appends a payload to this leader's log and begins to replicate it (§5.3); a follower hands
    /// it to its leader.
    ///
    /// The fate of an accepted proposal comes back with `ticket`, exactly once: in
    /// [`Apply`](crate::Apply) when it is committed, as [`Notice::Dropped`](crate::Notice::Dropped)
    /// when it left this log (outcome unknown), or as [`Notice::Refused`](crate::Notice::Refused)
    /// when it will certainly never be applied.
    ///
    /// # Errors
    ///
    /// All mean *not applied*, and the ticket does not come back.
    pub fn propose(
        &mut self,
        now: Time,
        payload: Payload,
        ticket: Ticket,
    ) -> Result<Proposed, ProposeError> {
        self.advance(now);
        let (common, role) = self.state.split();
        if payload.kind() != PayloadKind::Command {
            return Err(ProposeError::NotACommand);
        }
        let (bytes, max) = (payload.bytes().len() as u64, common.config.limits.command_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        let accepted = match role {
            Role::Leader(leader) => {
                leader.on_propose(common, &mut self.out, payload, ticket).map(Proposed::Appended)
            }
            Role::Follower(follower) => {
                self.out.counters.forwarded += 1;
                follower.on_propose(common, payload, ticket).map(Proposed::Forwarded)
            }
            Role::Candidate(_) => Err(ProposeError::NotLeader { leader: None }),
        };
        self.finish();
        accepted
    }

    /// Asks for the index from which a read is as fresh as it has to be (thesis §6.4).
    ///
    /// Comes back with `ticket`, exactly once, as [`Notice::ReadReady`](crate::Notice::ReadReady)
    /// or [`Notice::ReadFailed`](crate::Notice::ReadFailed).
    ///
    /// # Errors
    ///
    /// [`ReadError`]; the ticket does not come back.
    pub fn read(
        &mut self,
        now: Time,
        consistency: Consistency,
        ticket: Ticket,
    ) -> Result<(), ReadError> {
        self.advance(now);
        let (common, role) = self.state.split();
        if consistency == Consistency::Lease && common.config.lease_reads.is_none() {
            return Err(ReadError::LeaseDisabled);
        }
        let out = &mut self.out;
        let accepted = match role {
            Role::Leader(leader) => leader.on_local_read(common, out, consistency, ticket),
            Role::Follower(follower) => follower.on_read(common, out, consistency, ticket),
            Role::Candidate(_) => Err(ReadError::NoLeader),
        };
        self.finish();
        accepted
    }

    /// Begins a membership change (§6, thesis §4): any number of changes, in force together.
    ///
    /// Its fate comes back with `ticket`, exactly once: in [`Apply`](crate::Apply) when its last
    /// entry is applied, or as [`Notice::Dropped`](crate::Notice::Dropped) when this node ceased to
    /// lead before (outcome unknown: look at the membership).
    ///
    /// # Errors
    ///
    /// [`ChangeError`], with the reason; all mean *not applied*, and the ticket does not come back.
    pub fn change_membership(
        &mut self,
        now: Time,
        request: &ChangeRequest,
        ticket: Ticket,
    ) -> Result<EntryId, ChangeError> {
        self.advance(now);
        let known = self.state.leader();
        let (common, role) = self.state.split();
        let accepted = match role {
            Role::Leader(leader) => leader.on_change(common, &mut self.out, request, ticket),
            Role::Follower(_) | Role::Candidate(_) => Err(ChangeError::NotLeader { leader: known }),
        };
        self.finish();
        accepted
    }

    /// Hands leadership over (thesis §3.10), to a voter or, without one named, to the one that
    /// lacks least. Returns whom it is handed to.
    ///
    /// [`Notice::RoleChanged`](crate::Notice::RoleChanged) tells that it worked,
    /// [`Notice::TransferFailed`](crate::Notice::TransferFailed) that it did not within an election
    /// timeout. Meanwhile proposals are refused; reads are served.
    ///
    /// # Errors
    ///
    /// [`TransferError`]; nothing was begun then.
    pub fn transfer_leadership(
        &mut self,
        now: Time,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferError> {
        self.advance(now);
        let known = self.state.leader();
        let (common, role) = self.state.split();
        let begun = match role {
            Role::Leader(leader) => leader.on_transfer(common, &mut self.out, to),
            Role::Follower(_) | Role::Candidate(_) => {
                Err(TransferError::NotLeader { leader: known })
            }
        };
        self.finish();
        begun
    }

    /// Gives up waiting for a proposal that went to the leader. Its outcome stays unknown; what it
    /// took of `forwarded_bytes_max` is free again. Does nothing for any other ticket.
    pub fn forget(&mut self, ticket: Ticket) {
        self.state.common.forwarding.forget(ticket);
    }

    /// Asks for a snapshot of everything that is applied;
    /// [`Notice::SnapshotTaken`](crate::Notice::SnapshotTaken) tells when it is there. `false` if
    /// the newest one covers all of it, or one is being taken already.
    pub fn capture(&mut self, now: Time) -> bool {
        self.advance(now);
        let common = &mut self.state.common;
        let covered = common.log.snapshot().map_or(Index::ZERO, |meta| meta.last_included.index);
        let useful = common.last_applied() > covered && !common.compaction.is_capturing();
        if useful {
            common.compaction.want();
        }
        useful
    }

    /// Asks whether an election could be won now instead of at the deadline: for tests, scripts and
    /// operators. Does nothing on a leader or a learner, nor while a leader may hold a lease.
    pub fn campaign(&mut self, now: Time) {
        self.advance(now);
        let leads = matches!(self.state.role, Role::Leader(_)) && !mutant!("E10c");
        let (common, role) = self.state.split();
        let is_bound = common.config.lease_reads.is_some() && vote::is_sticky(common, role);
        if self.state.common.may_campaign() && !leads && !is_bound {
            let pre_vote = self.state.common.config.pre_vote;
            let ballot = if pre_vote { Ballot::PreVote } else { Ballot::Vote };
            self.transition(Transition::Campaign(ballot));
        }
        self.finish();
    }
}
