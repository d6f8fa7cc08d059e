//! Rounds of heartbeats, by which leaders know that they still lead (thesis §6.4): who answered
//! which, seen from outside.
//!
//! * A read without a lease is answered after a quorum answered a round that was begun later.
//! * Where leases are on, who answered a round votes for nobody else for as long as a lease may
//!   last, also if it restarts meanwhile (thesis §6.4.1).

use std::collections::{BTreeMap, BTreeSet};

use raft_core::{Body, Message, NodeId, RaftState, Role, Round, Term, Ticket};

use super::members::is_quorum;
use super::{Check, Failure, Oracle};

/// What was said in rounds of heartbeats.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// How long a lease may last, in nanoseconds, if there are any.
    pub(super) lease_ns: Option<u64>,
    /// When the first message of a round left.
    sent: BTreeMap<(Term, Round), u64>,
    /// The newest round of a term that a node answered.
    answered: BTreeMap<(Term, NodeId), Round>,
    /// When the newest round was sent that a node answered, of any term.
    bound_since: BTreeMap<NodeId, u64>,
    /// Who asked for votes because its leader had told it to.
    told: BTreeSet<(Term, NodeId)>,
}

const FIRST: Round = Round::new(0);
const LAST: Round = Round::new(u64::MAX);

impl Rounds {
    /// The newest round of this term of which anything left.
    pub(super) fn newest(&self, term: Term) -> Option<Round> {
        let sent = self.sent.range((term, FIRST)..=(term, LAST));
        sent.last().map(|((_, round), _)| *round)
    }

    fn sends(&mut self, round: (Term, Round), now: u64) {
        self.sent.entry(round).or_insert(now);
    }

    fn answers(&mut self, node: NodeId, (term, round): (Term, Round)) {
        let newest = self.answered.entry((term, node)).or_insert(round);
        *newest = round.max(*newest);
        if let Some(sent) = self.sent.get(&(term, round)) {
            let since = self.bound_since.entry(node).or_insert(*sent);
            *since = (*since).max(*sent);
        }
    }

    /// A disk that was exchanged promised nothing.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.bound_since.remove(&node);
    }
}

impl Oracle {
    /// A message leaves, and may be part of a round or break the promise of one.
    pub(super) fn rounds(&mut self, message: &Message) -> Check {
        let (node, to, term, now) = (message.from.node, message.to, message.term, self.now);
        let rounds = &mut self.rounds;
        let leads = self.leaders.get(&term) == Some(&to);
        match &message.body {
            Body::AppendEntries(append) => rounds.sends((term, append.round), now),
            Body::InstallSnapshot(offer) => rounds.sends((term, offer.round), now),
            Body::AppendEntriesResponse(answer) if leads => {
                rounds.answers(node, (term, answer.round));
            }
            Body::InstallSnapshotResponse(answer) if leads => {
                rounds.answers(node, (term, answer.round));
            }
            Body::RequestVote(ask) if ask.transfer => {
                rounds.told.insert((term, node));
            }
            Body::RequestVoteResponse(vote) => {
                if vote.granted && !rounds.told.contains(&(term, to)) {
                    return self.is_free(node, to, term);
                }
            }
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::AppendEntriesResponse(_)
            | Body::InstallSnapshotResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => {}
        }
        Ok(())
    }

    /// Who votes is bound by no lease.
    fn is_free(&self, node: NodeId, to: NodeId, term: Term) -> Check {
        let (Some(lease), Some(since)) = (self.rounds.lease_ns, self.rounds.bound_since.get(&node))
        else {
            return Ok(());
        };
        // A vote of a node that was slow may leave after it answered whom it helped to lead.
        if self.now >= since + lease || self.leaders.get(&term) == Some(&to) {
            return Ok(());
        }
        let text = format!(
            "{node} votes for {to} in term {term}, {} ns after a round began that it answered; a \
             lease lasts {lease} ns",
            self.now - since
        );
        Err(Failure::of("promise of a lease (thesis §6.4.1)", node, text))
    }

    /// A read of the leader's own callers, without a lease: a quorum answered a round of which
    /// nothing had left when the read was asked.
    pub(crate) fn is_confirmed(
        &mut self,
        ticket: Ticket,
        node: NodeId,
        state: &RaftState,
    ) -> Check {
        let (term, round) = match (self.asked.get(&ticket), state.role()) {
            (Some(asked), Role::Leader(_)) => match asked.led {
                Some((term, round)) if term == state.current_term() => (term, round),
                Some(_) | None => return Ok(()),
            },
            (Some(_) | None, _) => return Ok(()),
        };
        let answered = |peer| self.rounds.answered.get(&(term, peer));
        let confirms = |peer| peer == node || answered(peer).copied() > round;
        if is_quorum(state.membership(), confirms) {
            return Ok(());
        }
        let text = format!(
            "{node} answers read t{ticket} in term {term}, and no quorum answered a round after \
             {round:?}"
        );
        Err(Failure::of("read index", node, text))
    }
}
