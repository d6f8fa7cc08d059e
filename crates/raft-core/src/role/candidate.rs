//! The candidate: asks whether it could win (thesis §9.6), then asks for votes (§5.2).
//!
//! * One campaign, one epoch: answers to an earlier one are not counted.
//! * The own pre-vote counts at once, for it promises nothing. The own vote counts when the disk
//!   holds it.

use alloc::collections::BTreeSet;

use crate::outbox::Outbox;
use crate::role::Transition;
use crate::state::Common;
use crate::{Body, Deadline, DeadlineReason, Epoch, NodeId, PreVote, RequestVote, Time};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ballot {
    /// Would you vote for me in the next term?
    PreVote,
    /// Vote for me in this term.
    Vote,
    /// Vote for me in this term, as its leader asked me to take over (thesis §3.10).
    Transfer,
}

impl Ballot {
    /// Whether it is about a vote in this term: what is answered is the same.
    const fn is_vote(self) -> bool {
        match self {
            Self::PreVote => false,
            Self::Vote | Self::Transfer => true,
        }
    }
}

/// What only a candidate has.
#[derive(Debug)]
pub struct Candidate {
    ballot: Ballot,
    epoch: Epoch,
    granted: BTreeSet<NodeId>,
    deadline: Time,
}

impl Candidate {
    /// Begins a campaign (Figure 2, candidates).
    pub(super) fn campaign(
        ballot: Ballot,
        common: &mut Common,
        out: &mut Outbox,
    ) -> (Self, Transition) {
        assert!(common.may_campaign(), "only voters campaign");
        let me = common.me.node;
        if ballot.is_vote() {
            common.enter_term(common.term().next(), out);
            common.vote_for(me);
        }
        out.counters.campaigns += 1;
        let epoch = common.next_epoch();
        let last = common.log.last();
        for peer in common.peers() {
            if !common.membership.is_voter(peer) {
                continue;
            }
            let body = match ballot {
                Ballot::PreVote => Body::PreVote(PreVote { last }),
                Ballot::Vote | Ballot::Transfer => {
                    let transfer = ballot == Ballot::Transfer;
                    Body::RequestVote(RequestVote { last, transfer })
                }
            };
            common.send(out, peer, epoch, body);
        }
        let deadline = common.election_deadline();
        let mut candidate = Self { ballot, epoch, granted: BTreeSet::new(), deadline };
        let next = match ballot {
            Ballot::PreVote => candidate.count(common, me),
            Ballot::Vote | Ballot::Transfer => Transition::Stay,
        };
        (candidate, next)
    }

    /// What is asked for.
    pub fn ballot(&self) -> Ballot {
        self.ballot
    }

    /// Who granted it so far.
    pub fn granted(&self) -> &BTreeSet<NodeId> {
        &self.granted
    }

    /// An answer to a ballot of this kind.
    pub(crate) fn on_vote(
        &mut self,
        common: &Common,
        out: &mut Outbox,
        (from, epoch): (NodeId, Epoch),
        (ballot, granted): (Ballot, bool),
    ) -> Transition {
        let same = ballot.is_vote() == self.ballot.is_vote();
        let mistaken = mutant!("E1") && ballot == Ballot::Vote && same
            || mutant!("E10a") && ballot == Ballot::PreVote
            || mutant!("E10b") && ballot == Ballot::PreVote && self.ballot == ballot;
        if (epoch != self.epoch || !same) && !mistaken {
            mark!("answer-to-ended-campaign");
            out.dropped("ended conversation");
            return Transition::Stay;
        }
        if !granted {
            return Transition::Stay;
        }
        self.count(common, from)
    }

    /// The disk holds what was written: the own vote counts from now on.
    pub(crate) fn on_persisted(&mut self, common: &Common) -> Transition {
        let mine = common.voted_for() == Some(common.me.node) && common.is_hard_state_durable();
        match self.ballot {
            Ballot::Vote | Ballot::Transfer if mine => self.count(common, common.me.node),
            Ballot::Vote | Ballot::Transfer | Ballot::PreVote => Transition::Stay,
        }
    }

    fn count(&mut self, common: &Common, from: NodeId) -> Transition {
        self.granted.insert(from);
        if !common.membership.has_quorum(|node| self.granted.contains(&node)) {
            return Transition::Stay;
        }
        match self.ballot {
            Ballot::PreVote => Transition::Campaign(Ballot::Vote),
            Ballot::Vote | Ballot::Transfer => Transition::Lead,
        }
    }

    /// The campaign had no result in time: begin another (§5.2, split votes).
    pub(crate) fn on_timeout(&self, common: &Common) -> Transition {
        if common.now < self.deadline {
            return Transition::Stay;
        }
        if common.is_disk_stalled() {
            return Transition::Follow { leader: None };
        }
        mark!("campaign-without-result");
        let ballot = if common.config.pre_vote { Ballot::PreVote } else { Ballot::Vote };
        Transition::Campaign(ballot)
    }

    pub(crate) fn deadline(&self) -> Deadline {
        Deadline { at: self.deadline, reason: DeadlineReason::Campaign }
    }
}
