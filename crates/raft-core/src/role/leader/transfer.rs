//! Leadership transfer (thesis §3.10): to a node that is asked for, or to a preferred one.
//!
//! * The target is brought up to date first; meanwhile nothing new is accepted, so that it gets
//!   there. Then it is told to campaign at once, and voters do not hold the old leader against it.
//! * Bounded in time: without a new leader after an election timeout this one goes on.
//! * Leases end before the word is given, and for good: it may arrive at any later time, so no
//!   lease of this term is safe any more.

use super::Leader;
use super::progress::Progress;
use crate::outbox::Outbox;
use crate::state::Common;
use crate::{Body, NodeId, Notice, Time, TransferError};

/// A transfer under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Transfer {
    to: NodeId,
    until: Time,
    is_told: bool,
}

impl Leader {
    /// Begins to hand over to a voter; without one named, to the one that lacks least.
    pub(crate) fn on_transfer(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        to: Option<NodeId>,
    ) -> Result<NodeId, TransferError> {
        if let Some(transfer) = &self.transfer {
            return Err(TransferError::InProgress { to: transfer.to });
        }
        let to = match to {
            Some(to) => to,
            None => self.best_successor(common).ok_or(TransferError::NoSuccessor)?,
        };
        if to == common.me.node {
            return Err(TransferError::AlreadyLeader);
        }
        if !common.membership.voters().contains(&to) && !mutant!("E18b") {
            return Err(TransferError::NotAVoter { node: to });
        }
        mark!("transfer-begun");
        let until = common.now.after(common.config.election_timeout_max);
        self.transfer = Some(Transfer { to, until, is_told: false });
        self.hand_over(common, out);
        Ok(to)
    }

    /// The voter that answers and lacks least of the log.
    fn best_successor(&self, common: &Common) -> Option<NodeId> {
        let fits = |node: &&NodeId| {
            let progress = self.progress.get(*node);
            progress.is_some_and(|progress| progress.answers(common))
        };
        let voters = common.membership.voters().iter().filter(fits);
        voters.max_by_key(|node| self.progress.get(*node).map(Progress::match_index)).copied()
    }

    /// Gives the word, if the target has everything.
    pub(super) fn hand_over(&mut self, common: &Common, out: &mut Outbox) {
        let Some(transfer) = &mut self.transfer else { return };
        let matched = self.progress.get(&transfer.to).map(Progress::match_index);
        let has_all = matched == Some(common.log.last().index) || mutant!("E20");
        if transfer.is_told || !has_all {
            return;
        }
        transfer.is_told = true;
        if !mutant!("C4") {
            self.is_lease_void = true;
        }
        common.send(out, transfer.to, common.epoch(), Body::TimeoutNow);
    }

    /// The time of a transfer is up, or its target votes no more: this leader goes on.
    pub(super) fn end_transfer(&mut self, common: &Common, out: &mut Outbox) {
        let Some(transfer) = self.transfer else { return };
        let is_void = !common.membership.voters().contains(&transfer.to);
        if (is_void || common.now >= transfer.until) && !mutant!("C4b") {
            mark!("transfer-given-up");
            self.transfer = None;
            let again = common.now.after(10 * common.config.election_timeout_max);
            self.prefer_at = Some(again);
            out.notice(Notice::TransferFailed { to: transfer.to });
        }
    }

    /// Leadership ends in haste: the best successor is told, if there is one.
    pub(crate) fn resign(&mut self, common: &Common, out: &mut Outbox) {
        self.is_lease_void = true;
        if let Some(to) = self.best_successor(common) {
            common.send(out, to, common.epoch(), Body::TimeoutNow);
        }
    }

    /// A node that is preferred to this one leads again as soon as it can: it answers, has had
    /// everything for a while, and nobody is disturbed, for it is handed over.
    pub(super) fn prefer(&mut self, common: &Common, out: &mut Outbox) {
        let preferred = &common.config.preferred_leaders;
        let me = common.me.node.get();
        let rank = preferred.iter().position(|node| *node == me).unwrap_or(preferred.len());
        let waits = self.prefer_at.is_some_and(|at| common.now < at);
        if rank == 0 || waits || self.transfer.is_some() || common.is_changing() {
            return;
        }
        let fits = |node: &NodeId| {
            let progress = self.progress.get(node);
            let is_steady = progress
                .is_some_and(|progress| progress.answers(common) && progress.laps() >= STEADY_LAPS);
            is_steady && common.membership.voters().contains(node)
        };
        let better = preferred[..rank].iter().filter_map(|node| NodeId::new(*node)).find(fits);
        if let Some(to) = better {
            mark!("preferred-leader");
            // Refused only if one is under way, which was looked at.
            let _ = self.on_transfer(common, out, Some(to));
        }
    }

    /// Whether this leader accepts nothing new, and whom it waits for.
    pub(super) fn successor(&self) -> Option<NodeId> {
        self.transfer.as_ref().map(|transfer| transfer.to)
    }
}

/// Laps of replication in time, one after the other, before a preferred node is trusted to lead.
const STEADY_LAPS: u32 = 20;
