//! The leader drives membership changes (§6, thesis §4).
//!
//! 1. A change is refused unless the leader has committed an entry of its term, no other change is
//!    under way, and the caller saw the present membership.
//! 2. Guard rails: the voters there would be keep a quorum in contact, and a new voter has nearly
//!    the whole log.
//! 3. If other nodes vote afterwards, the joint membership comes first; once it is committed the
//!    leader leaves it by itself. A membership is in force as soon as it is in the log.
//! 4. A leader that votes no more goes on until the last entry is committed, counts itself in no
//!    quorum meanwhile, then hands over.
//!
//! Besides, it records the incarnations it meets, promotes learners that have caught up, and tells
//! whoever left that it did.

use alloc::vec::Vec;

use super::Leader;
use super::progress::Progress;
use crate::outbox::Outbox;
use crate::state::Common;
use crate::{
    Change, ChangeError, ChangeRequest, EntryId, Incarnation, Index, Member, Membership, NodeId,
    Notice, Payload, Ticket, Time, quorum,
};

/// What the leader knows of the change under way, besides what the log says.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// Who asked, until the last entry of the change is appended.
    ticket: Option<Ticket>,
    /// Members that left, until they know or their time is up.
    departing: Vec<Departing>,
    /// An automatic change failed its guard rails: not before then again.
    retry_at: Option<Time>,
}

#[derive(Debug)]
struct Departing {
    node: NodeId,
    member: Member,
    /// The entry it should see committed.
    last: Index,
    until: Time,
}

/// A promoted learner lacks at most so many committed entries.
const BEHIND_MAX: u64 = 1_000;

/// Laps of replication that a learner runs in time, one after the other, before it is promoted by
/// itself.
const LAPS: u32 = 4;

impl Leader {
    /// Begins a membership change. `ticket` comes back when its last entry is applied.
    pub(crate) fn on_change(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        request: &ChangeRequest,
        ticket: Ticket,
    ) -> Result<EntryId, ChangeError> {
        let aim = self.aim(common, request)?;
        let next = common.membership.toward(aim);
        let joint = next.is_joint();
        let id = self.change(common, out, &next, (!joint).then_some(ticket));
        if joint {
            self.changes.ticket = Some(ticket);
        }
        Ok(id)
    }

    /// The membership aimed at, if the moment is right and the guard rails allow it.
    fn aim(&self, common: &Common, request: &ChangeRequest) -> Result<Membership, ChangeError> {
        let present = &common.membership;
        if common.commit_index() < self.term_start && !mutant!("M1") {
            return Err(ChangeError::NotReady);
        }
        if self.transfer.is_some() {
            return Err(ChangeError::Transferring);
        }
        if common.is_changing() && !mutant!("M5") {
            return Err(ChangeError::InProgress { id: present.id() });
        }
        if request.expected.is_some_and(|expected| expected != present.id()) {
            return Err(ChangeError::Stale { current: present.id() });
        }
        let aim = present.changed(&request.changes, |node| self.met(node))?;
        let behind_max = if request.availability_at_risk {
            u64::MAX
        } else {
            self.check_contact(common, &aim)?;
            BEHIND_MAX
        };
        self.check_caught_up(common, &aim, behind_max)?;
        Ok(aim)
    }

    /// The incarnation of a node as its messages show it.
    fn met(&self, node: NodeId) -> Option<Incarnation> {
        self.progress.get(&node).and_then(Progress::incarnation)
    }

    fn is_in_contact(&self, common: &Common, node: NodeId) -> bool {
        node == common.me.node
            || self.progress.get(&node).is_some_and(|progress| progress.answers(common))
    }

    fn check_contact(&self, common: &Common, aim: &Membership) -> Result<(), ChangeError> {
        if aim.voters() == common.membership.voters() {
            return Ok(());
        }
        let voters = aim.voters().iter();
        let in_contact = voters.filter(|node| self.is_in_contact(common, **node)).count();
        let needed = quorum::majority(aim.voters().len());
        if in_contact < needed {
            // Right after an election nobody knows yet who will answer.
            let is_new = common.now.since(self.elected_at) < common.config.election_timeout_max;
            let lost = ChangeError::QuorumLost { in_contact, needed };
            return Err(if is_new { ChangeError::NotReady } else { lost });
        }
        Ok(())
    }

    /// Who is to vote holds a part of the log at least: a blank disk gives no vote, so a group that
    /// needs it before it has the log could never elect a leader again.
    fn check_caught_up(
        &self,
        common: &Common,
        aim: &Membership,
        behind_max: u64,
    ) -> Result<(), ChangeError> {
        for node in aim.voters().difference(common.membership.voters()) {
            let progress = self.progress.get(node);
            let matched = progress.map_or(Index::ZERO, Progress::match_index);
            let behind = common.commit_index().since(matched);
            if (behind > behind_max || matched == Index::ZERO) && !mutant!("M16b") {
                return Err(ChangeError::NotCaughtUp { node: *node, behind });
            }
        }
        Ok(())
    }

    /// Appends a membership: it is in force at once.
    fn change(
        &mut self,
        common: &mut Common,
        out: &mut Outbox,
        next: &Membership,
        ticket: Option<Ticket>,
    ) -> EntryId {
        let before = common.membership.clone();
        let id = self.append(common, Payload::membership(next), ticket);
        common.adopt_membership(out);
        let next_index = id.index;
        let mut fresh = Vec::new();
        for (node, member) in common.membership.members() {
            let old = before.members().get(node).and_then(|old| old.incarnation);
            let is_other_disk = old.is_some() && member.incarnation != old;
            if *node != common.me.node && (is_other_disk || !self.progress.contains_key(node)) {
                fresh.push(*node);
            }
        }
        for node in fresh {
            self.progress.insert(node, Progress::new(common.next_epoch(), next_index));
        }
        for (node, member) in before.members() {
            if !common.membership.members().contains_key(node) && *node != common.me.node {
                let until = common.now.after(4 * common.config.election_timeout_max);
                let (node, member, last) = (*node, member.clone(), id.index);
                self.changes.departing.push(Departing { node, member, last, until });
            }
        }
        self.changes.departing.retain(|left| !common.membership.members().contains_key(&left.node));
        id
    }

    /// Takes the next step of a change whose entry was committed: leaves the joint membership, or
    /// tells that this leader is one no more.
    pub(super) fn settle(&mut self, common: &mut Common, out: &mut Outbox) {
        let present = &common.membership;
        if common.commit_index() < self.term_start || present.id().index > common.commit_index() {
            return;
        }
        if present.is_joint() && !mutant!("M7") {
            mark!("joint-left");
            let ticket = self.changes.ticket.take();
            let next = present.left();
            self.change(common, out, &next, ticket);
        }
    }

    /// At every heartbeat: what the leader changes by itself.
    pub(super) fn tend(&mut self, common: &mut Common, out: &mut Outbox) {
        self.part(common, out);
        for progress in self.progress.values_mut() {
            progress.run_lap(common);
        }
        let waits = self.changes.retry_at.is_some_and(|at| common.now < at);
        if waits || common.is_changing() || common.commit_index() < self.term_start {
            return;
        }
        if common.config.record_incarnations && self.record(common, out) {
            return;
        }
        self.promote(common, out);
    }

    /// Records the incarnations of voters that showed them: from now on another disk under the same
    /// id is a stranger.
    fn record(&mut self, common: &mut Common, out: &mut Outbox) -> bool {
        let mut next = common.membership.clone();
        for node in common.membership.voters() {
            let met =
                if *node == common.me.node { Some(common.me.incarnation) } else { self.met(*node) };
            let member = next.members.get_mut(node).expect("a voter is a member");
            member.incarnation = member.incarnation.or(met);
        }
        let is_news = next != common.membership;
        if is_news {
            mark!("incarnations-recorded");
            self.change(common, out, &next, None);
        }
        is_news
    }

    /// Promotes learners that have caught up and stay so.
    fn promote(&mut self, common: &mut Common, out: &mut Outbox) {
        let is_ready = |node: &NodeId| {
            common.membership.promotions().contains_key(node)
                && (self.progress.get(node).is_some_and(|progress| progress.laps() >= LAPS)
                    || mutant!("M16b"))
        };
        let ready = common.membership.learners().filter(is_ready);
        let changes: Vec<Change> = ready.map(|node| Change::Promote { node }).collect();
        if changes.is_empty() {
            return;
        }
        // One that may not be promoted, or takes the place of another, holds nobody else up.
        let all = self.aim(common, &ChangeRequest::new(changes.clone()));
        let mut each = changes.into_iter().map(|change| ChangeRequest::new([change]));
        let aim = all.ok().or_else(|| each.find_map(|alone| self.aim(common, &alone).ok()));
        let Some(aim) = aim else {
            mark!("promotion-refused");
            self.changes.retry_at = Some(common.now.after(common.config.election_timeout_max));
            return;
        };
        mark!("learner-promoted");
        let next = common.membership.toward(aim);
        self.change(common, out, &next, None);
    }

    /// Parts with members that left and know it, or cannot be told.
    fn part(&mut self, common: &Common, out: &mut Outbox) {
        let before = self.changes.departing.len();
        let (progress, now, commit) = (&self.progress, common.now, common.commit_index());
        let knows = |left: &Departing| {
            let progress = progress.get(&left.node);
            commit >= left.last && progress.is_none_or(|progress| progress.knows(left.last))
        };
        self.changes.departing.retain(|left| now < left.until && !knows(left));
        let departing = &self.changes.departing;
        let members = common.membership.members();
        self.progress.retain(|node, _| {
            members.contains_key(node) || departing.iter().any(|left| left.node == *node)
        });
        if self.changes.departing.len() != before {
            out.notice(Notice::RosterChanged);
        }
    }

    /// Members that left and are still told so, with where they are.
    pub(crate) fn departing(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.changes.departing.iter().map(|left| (left.node, &left.member))
    }

    /// Leadership ends: whether the change under way comes about is unknown.
    pub(super) fn abandon_change(&mut self, out: &mut Outbox) {
        if let Some(ticket) = self.changes.ticket.take() {
            mark!("change-abandoned");
            out.counters.proposals_failed += 1;
            out.notice(Notice::Dropped { ticket });
        }
    }
}
