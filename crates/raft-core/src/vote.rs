//! RequestVote and PreVote, receiver, for every role (§5.2, §5.4.1, thesis §4.2.3 and §9.6).
//!
//! * A vote is given once a term, and only to a log at least as up-to-date as ours.
//! * A grant is a promise: it leaves with the write that makes it true.
//! * A node that hears a leader refuses without adopting the term of the asker, so that a node that
//!   returns from a partition cannot depose a leader that works.

use crate::outbox::Outbox;
use crate::role::Role;
use crate::state::Common;
use crate::{Body, EntryId, Epoch, Index, NodeId, PreVoteResponse, RequestVoteResponse};

/// Whether a leader was heard so recently that nobody else may disturb it (thesis §4.2.3).
pub(crate) fn is_sticky(common: &Common, role: &Role) -> bool {
    match role {
        // A leader without contact to a quorum steps down by itself (check quorum).
        Role::Leader(_) => !mutant!("E11c"),
        Role::Follower(_) | Role::Candidate(_) => common.heard_leader.is_some_and(|heard| {
            !mutant!("E11d") && common.now.since(heard) < common.config.election_timeout_min
        }),
    }
}

/// Whether a term comes with an answer of a node that the leader has removed and still tells so. It
/// campaigned alone and deposes nobody (thesis §4.2.3); whoever leads its term is heard all the
/// same.
pub(crate) fn is_of_a_stranger(common: &Common, role: &Role, from: NodeId, body: &Body) -> bool {
    let is_answer =
        matches!(body, Body::AppendEntriesResponse(_) | Body::InstallSnapshotResponse(_));
    let is_removed = !common.membership.members().contains_key(&from);
    is_answer && is_removed && matches!(role, Role::Leader(_))
}

/// Whether this node may vote: whoever has a place in a group, or a log of one. Whose vote counts
/// is known to who counts it: this log may not know yet that the node was promoted, and its vote
/// may be what the group needs to go on (thesis §4.2.2). A blank disk that waits to be added knows
/// nothing of what it once promised.
fn belongs(common: &Common) -> bool {
    !common.membership.is_empty() || common.log.last() != EntryId::ZERO
}

/// Whether a log that ends here is at least as up-to-date as ours (§5.4.1).
fn is_up_to_date(common: &Common, last: EntryId) -> bool {
    let ours = common.log.last();
    if mutant!("E8a") {
        return (last.index, last.term) >= (ours.index, ours.term);
    }
    if mutant!("E8b") {
        return last.index >= ours.index && last.term >= ours.term;
    }
    last >= ours || mutant!("E7")
}

/// Refuses a vote or pre-vote of any term.
pub(crate) fn refuse(common: &Common, out: &mut Outbox, (to, epoch): (NodeId, Epoch), body: &Body) {
    let answer = if matches!(body, Body::PreVote(_)) {
        Body::PreVoteResponse(PreVoteResponse { granted: false })
    } else {
        Body::RequestVoteResponse(RequestVoteResponse { granted: false })
    };
    common.send(out, to, epoch, answer);
}

/// Answers a pre-vote of our term: would we vote for this log in the next one?
pub(crate) fn on_pre_vote(
    common: &Common,
    out: &mut Outbox,
    (from, epoch): (NodeId, Epoch),
    last: EntryId,
) {
    let granted = belongs(common) && is_up_to_date(common, last);
    mark!("pre-vote-outdated", belongs(common) && !granted);
    let answer = Body::PreVoteResponse(PreVoteResponse { granted });
    common.send(out, from, epoch, answer);
}

/// Answers a request for a vote in our term; tells whether it was granted.
pub(crate) fn on_request_vote(
    common: &mut Common,
    out: &mut Outbox,
    (from, epoch): (NodeId, Epoch),
    last: EntryId,
) -> bool {
    let forgotten = mutant!("E2c") && common.voted_for() == Some(common.me.node);
    let free = common.may_vote_for(from) || forgotten;
    mark!("vote-already-given", !free);
    let granted = belongs(common) && free && is_up_to_date(common, last);
    let answer = Body::RequestVoteResponse(RequestVoteResponse { granted });
    if granted && !forgotten {
        common.vote_for(from);
    }
    if granted && !common.is_hard_state_durable() && !mutant!("E4b") {
        common.promise(out, Index::ZERO, (from, epoch), answer);
    } else {
        common.send(out, from, epoch, answer);
    }
    granted
}
