//! What must hold of a node after every step: static invariants of a state, and delta invariants
//! between two states. A broken one is our own bug, so it panics with a sentence.

use crate::role::Role;
use crate::state::RaftState;
use crate::{EntryId, HardState, Index, NodeId, RoleName, Term};

/// The part of a state that a later state is compared with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    hard: HardState,
    commit_index: Index,
    last_applied: Index,
    last: EntryId,
    role: RoleName,
    leader: Option<NodeId>,
}

impl Snapshot {
    pub(crate) fn of(state: &RaftState) -> Self {
        let common = &state.common;
        Self {
            hard: HardState {
                term: common.term(),
                voted_for: common.voted_for(),
                commit: common.commit_index(),
            },
            commit_index: common.commit_index(),
            last_applied: common.last_applied(),
            last: common.log.last(),
            role: state.role.name(common),
            leader: state.role.leader(common.me.node),
        }
    }

    /// Term, role and leader, as others are told.
    pub(crate) const fn told(&self) -> (Term, RoleName, Option<NodeId>) {
        (self.hard.term, self.role, self.leader)
    }
}

/// Checks a state alone.
pub(crate) fn check(state: &RaftState) {
    let common = &state.common;
    let (log, commit) = (&common.log, common.commit_index());
    assert!(commit <= log.last().index, "commit_index lies inside the log");
    assert!(log.base().index <= commit, "only what is committed is compacted");
    assert!(log.durable() <= log.last().index, "only what is in the log is durable");
    assert!(common.last_applied() <= commit, "only what is committed is applied");
    assert!(log.last().term <= common.term(), "no entry is of a later term than the node");
    assert!(
        log.durable_hard().term <= common.term(),
        "the disk does not know a later term than memory"
    );
    match &state.role {
        Role::Leader(_) => {
            assert!(common.voted_for() == Some(common.me.node), "a leader voted for itself");
            let leaves = common.membership.id().index > commit;
            assert!(common.is_voter() || leaves, "a leader is a voter, or on its way out");
        }
        Role::Candidate(_) => assert!(common.may_campaign(), "a candidate is or was a voter"),
        Role::Follower(follower) => {
            assert!(follower.leader() != Some(common.me.node), "nobody follows himself");
        }
    }
}

/// Checks a step.
pub(crate) fn check_step(before: &Snapshot, after: &Snapshot) {
    assert!(after.hard.term >= before.hard.term, "terms only grow");
    assert!(after.commit_index >= before.commit_index, "commit_index only grows");
    assert!(after.last_applied >= before.last_applied, "last_applied only grows");
    if after.hard.term != before.hard.term {
        return;
    }
    assert!(
        before.hard.voted_for.is_none() || after.hard.voted_for == before.hard.voted_for,
        "a vote is taken back only by a new term"
    );
    if before.role == RoleName::Leader && after.role == RoleName::Leader {
        assert!(after.last >= before.last, "a leader only appends (Leader Append-Only)");
    }
    if let (Some(leader), Some(other)) = (before.leader, after.leader) {
        assert!(leader == other, "a term has one leader (Election Safety)");
    }
}

#[cfg(test)]
#[path = "invariants/tests.rs"]
mod tests;
