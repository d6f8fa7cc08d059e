//! Who belongs to the group, as the oracle knows it: derived from what disks hold, never asked of a
//! node; and quorums counted plainly.
//!
//! * A disk other than the one that the membership records counts for nobody.
//! * Every node is in the membership that its log, or its snapshot, brought last (§6).
//! * A leader begins a change only after an entry of its term is committed, and one at a time
//!   (thesis §4.1, and the bug of 2015).

use std::collections::BTreeSet;

use raft_core::{Incarnation, Index, Membership, NodeId, RaftState, Role, SnapshotMeta, Term};

use super::{Check, Failure, Image, Oracle, at};
use crate::network::place;

/// What a disk held before it was replaced: what it had promised counts while it is recorded.
#[derive(Clone, Debug)]
pub(super) struct Ghost {
    node: NodeId,
    image: Image,
}

/// Whether a majority of these nodes, of both halves while joint, is granted.
pub(crate) fn is_quorum(membership: &Membership, granted: impl Fn(NodeId) -> bool) -> bool {
    halves(membership).into_iter().all(|half| is_majority(half, &granted))
}

/// The sets of voters of which a majority each is asked.
pub(crate) fn halves(membership: &Membership) -> Vec<&BTreeSet<NodeId>> {
    let outgoing = Some(membership.outgoing()).filter(|outgoing| !outgoing.is_empty());
    [membership.voters()].into_iter().chain(outgoing).collect()
}

pub(crate) fn is_majority(voters: &BTreeSet<NodeId>, granted: impl Fn(NodeId) -> bool) -> bool {
    voters.iter().filter(|voter| granted(**voter)).count() * 2 > voters.len()
}

/// The incarnation that a membership records for a node.
pub(crate) fn recorded(membership: &Membership, node: NodeId) -> Option<Incarnation> {
    membership.members().get(&node).and_then(|member| member.incarnation)
}

impl Oracle {
    /// A process begins with the disk of this incarnation.
    pub(crate) fn begins(&mut self, node: NodeId, incarnation: Incarnation) {
        self.images[place(node)].incarnation = Some(incarnation);
    }

    /// The disk of a node is a blank one from now on.
    pub(crate) fn wiped(&mut self, node: NodeId) {
        let image = std::mem::take(&mut self.images[place(node)]);
        self.ghosts.push(Ghost { node, image });
        self.rounds.forget(node);
    }

    /// The newest committed membership.
    pub(crate) fn membership(&self) -> &Membership {
        self.memberships.last().expect("a group begins with one")
    }

    /// The committed membership at an index.
    pub(crate) fn membership_at(&self, index: Index) -> &Membership {
        let brought = |membership: &&Membership| membership.id().index <= index;
        self.memberships.iter().rev().find(brought).expect("a group begins with one")
    }

    /// Every membership that is in force or may yet be: the newest that is committed, and what any
    /// disk holds above it.
    pub(crate) fn possible(&self) -> Vec<Membership> {
        let newest = self.membership();
        let above = |other: &&Membership| other.id().index > newest.id().index;
        let open = self.images.iter().flat_map(|image| &image.members).filter(above);
        let mut possible = vec![newest.clone()];
        for membership in open {
            if !possible.contains(membership) {
                possible.push(membership.clone());
            }
        }
        possible
    }

    /// Whether the disk of a node, as it is or was when it was recorded, holds this entry.
    pub(super) fn is_held(
        &self,
        membership: &Membership,
        node: NodeId,
        (index, term): (Index, Term),
    ) -> bool {
        let recorded = recorded(membership, node);
        let speaks = |image: &Image| recorded.is_none() || image.incarnation == recorded;
        self.disks_of(node).any(|image| speaks(image) && image.holds(index, term))
    }

    /// The disk of a node, and those it had before.
    pub(super) fn disks_of(&self, node: NodeId) -> impl Iterator<Item = &Image> {
        let ghosts = self.ghosts.iter().filter(move |ghost| ghost.node == node);
        ghosts.map(|ghost| &ghost.image).chain(self.images.get(place(node)))
    }

    /// Whether the recorded disk of a node voted so. Where none is recorded, any disk it had.
    pub(super) fn has_voted(
        &self,
        membership: &Membership,
        (voter, term): (NodeId, Term),
        candidate: NodeId,
    ) -> bool {
        let recorded = recorded(membership, voter);
        let ballots = self.votes.range((voter, term, None)..=(voter, term, LAST));
        let speaks = |incarnation: Option<Incarnation>| {
            recorded.is_none() || incarnation.is_none() || incarnation == recorded
        };
        ballots.into_iter().any(|((_, _, disk), whom)| speaks(*disk) && *whom == candidate)
    }

    /// A node is in the membership that its log brought last.
    pub(super) fn is_in_force(&mut self, node: NodeId, state: &RaftState) -> Check {
        let image = &self.images[place(node)];
        let (present, log) = (state.membership(), state.log());
        let id = present.id();
        let fault = |text: String| Err(Failure::of("membership", node, text));
        let is_here = |brought: &&Membership| {
            let id = brought.id();
            // Of what left the log only the committed was ever in it.
            let left = id.index <= log.base().index;
            log.holds(id) || left && self.memberships.iter().any(|known| known.id() == id)
        };
        if let Some(held) = image.members.iter().rev().find(is_here) {
            if id.index < held.id().index {
                return fault(format!("{node} is in {present} of {id}, its log has {held}"));
            }
            let seen = (id, image.members.len());
            if id == held.id() && self.members_seen[place(node)] != seen {
                self.members_seen[place(node)] = seen;
                if present != held {
                    let text = format!("{node} is in {present:?}, its disk holds {held:?}");
                    return Err(Failure::of("membership", node, text));
                }
            }
        }
        let is_durable = id.index > Index::ZERO && image.holds(id.index, id.term);
        if is_durable && !image.members.iter().any(|held| held.id() == id) {
            let covered = id.index <= image.covered;
            if !covered {
                return fault(format!("{node} is in {present} of {id}, which brought no such"));
            }
        }
        self.votes_with_a_log(node, state)?;
        Self::changes_in_turn(node, state)
    }

    /// A leader changes the membership after it committed an entry of its term, one at a time.
    fn changes_in_turn(node: NodeId, state: &RaftState) -> Check {
        let (id, commit, term) =
            (state.membership().id(), state.commit_index(), state.current_term());
        let Role::Leader(_) = state.role() else { return Ok(()) };
        if id.term != term || id.index <= commit {
            return Ok(());
        }
        let fault = |text: String| Err(Failure::of("membership", node, text));
        if state.log().term_at(commit) != Some(term) {
            return fault(format!(
                "{node} changes the membership by {id} before it committed an entry of its term"
            ));
        }
        let before = state.log().memberships().iter().rev().nth(1);
        match before.map(Membership::id) {
            Some(before) if before.index > commit => fault(format!(
                "{node} changes the membership by {id} before the change of {before} is committed"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// A snapshot covers committed entries and tells who belonged to the group.
    pub(super) fn is_sound(&self, node: NodeId, snapshot: &SnapshotMeta) -> Check {
        let covered = snapshot.last_included;
        let known = self.terms.get(at(covered.index).wrapping_sub(1));
        if known != Some(&covered.term) {
            let text = format!("{node} has a snapshot up to {covered}, which is not committed");
            return Err(Failure::of("state machine safety", node, text));
        }
        let expected = self.membership_at(covered.index);
        if *expected == snapshot.membership {
            return Ok(());
        }
        let text = format!(
            "the snapshot of {node} up to {covered} says {:?}, the log {expected:?}",
            snapshot.membership
        );
        Err(Failure::of("membership", node, text))
    }

    /// Whether this refusal is right: some membership of the refusing node records another disk.
    pub(crate) fn may_refuse(
        &self,
        node: NodeId,
        present: &Membership,
        (peer, incarnation): (NodeId, Incarnation),
    ) -> bool {
        let known = self.images[place(node)].members.iter().chain([present]);
        let records = |membership: &Membership| {
            recorded(membership, peer).is_some_and(|recorded| recorded != incarnation)
        };
        known.into_iter().any(records)
    }

    /// Whether every disk that might count this node records which disk it has: only then may it be
    /// replaced, for before that nobody can tell the new one from the old.
    pub(crate) fn is_known_everywhere(
        &self,
        node: NodeId,
        is_out: impl Fn(NodeId) -> bool,
    ) -> bool {
        let mine = self.images[place(node)].incarnation;
        let ids = (1..=self.images.len() as u64).filter_map(NodeId::new);
        let others = ids.filter(|other| *other != node && !is_out(*other));
        let knows = |other: NodeId| {
            let image = &self.images[place(other)];
            let newest = image.membership();
            let is_member = newest.is_some_and(|known| known.members().contains_key(&node));
            match newest {
                // A disk that waits to be added believes whoever leads.
                None => true,
                Some(newest) => !is_member || recorded(newest, node) == mine,
            }
        };
        mine.is_some() && recorded(self.membership(), node) == mine && others.into_iter().all(knows)
    }
}

/// No incarnation is above it.
pub(super) const LAST: Option<Incarnation> = Some(Incarnation::new(u128::MAX));
