//! What a leader owes while it is in office. Most of it shows in nothing that clients see unless
//! much else happens at once, so it is asked of the leader itself.
//!
//! * While it may answer reads under its lease, nobody else leads (thesis §6.4.1).
//! * It hands over to a node that holds all of its log (thesis §3.10).
//! * It makes nobody a voter whose disk holds nothing (thesis §4.2.1).

use raft_core::{EntryId, Message, NodeId, RaftState, Role};

use super::{Check, Failure, Image, Oracle};

impl Oracle {
    /// The word is given to campaign at once, by a leader that had the time to choose to whom.
    pub(crate) fn hands_over(&self, message: &Message, state: &RaftState) -> Check {
        let (node, to, log) = (message.from.node, message.to, state.log());
        // The second half of a change follows by itself, also after the word is given.
        let is_change = log.last() == state.membership().id();
        let index = if is_change { log.last().index.prev() } else { log.last().index };
        let Some(term) = log.term_at(index) else { return Ok(()) };
        let last = EntryId::new(term, index);
        let is_over = |term| term > message.term;
        // Who is in a later term already may have cut the entry off, and does not listen.
        let fits = |image: &Image| image.holds(last.index, last.term) || is_over(image.hard.term);
        if is_over(state.current_term()) || self.disks_of(to).any(fits) {
            return Ok(());
        }
        let text = format!("{node} hands over to {to}, whose disk lacks {last}");
        Err(Failure::of("handover (thesis §3.10)", node, text))
    }

    /// Whoever votes by a change of this leader holds a part of the log.
    pub(super) fn votes_with_a_log(&self, node: NodeId, state: &RaftState) -> Check {
        let (Role::Leader(_), id) = (state.role(), state.membership().id()) else { return Ok(()) };
        let before = state.log().memberships().iter().rev().nth(1);
        let (Some(before), true) = (before, id.term == state.current_term()) else { return Ok(()) };
        let fresh = state.membership().voters().difference(before.voters());
        for voter in fresh {
            if !self.disks_of(*voter).any(|image| !image.log.is_empty()) {
                let text = format!("{node} makes {voter} a voter, whose disk holds nothing");
                return Err(Failure::of("promotion (thesis §4.2.1)", node, text));
            }
        }
        Ok(())
    }
}
