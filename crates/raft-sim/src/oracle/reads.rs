//! What reads see: nothing older than they were promised.

use std::time::Duration;

use raft_core::{Index, NodeId, RaftState, Role, Round, Term, Ticket};

use super::{Check, Failure, Oracle, at};

/// The world when a read was asked.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked {
    /// How many entries were committed.
    pub(super) floor: usize,
    /// The newest term that had a leader.
    pub(super) newest: Term,
    /// If a leader was asked: its term, and the newest round of which anything had left.
    pub(super) led: Option<(Term, Option<Round>)>,
}

impl Oracle {
    /// A client asks for a read: whatever is committed by now it has to see.
    pub(crate) fn asks(&mut self, ticket: Ticket, state: &RaftState) {
        let newest = self.leaders.last_key_value().map_or(Term::ZERO, |(term, _)| *term);
        let term = state.current_term();
        let leads = matches!(state.role(), Role::Leader(_));
        let led = leads.then(|| (term, self.rounds.newest(term)));
        self.asked.insert(ticket, Asked { floor: self.canonical.len(), newest, led });
    }

    /// A read has its index, on a node in this term.
    ///
    /// Who leads in it was confirmed by a quorum, or held a lease, after the read was asked, so by
    /// then nobody led in a later term: even if nothing was committed there, to which a read index
    /// could be compared.
    pub(crate) fn may_read(
        &mut self,
        (node, ticket): (NodeId, Ticket),
        index: Index,
        term: Term,
    ) -> Check {
        let Asked { floor, newest, .. } = self.asked.remove(&ticket).unwrap_or_default();
        if newest > term {
            let text = format!(
                "read t{ticket} may be answered on {node} in term {term}; when it was asked, \
                 somebody led in term {newest}"
            );
            return Err(Failure::of("read index", node, text));
        }
        if at(index) >= floor {
            return Ok(());
        }
        let text = format!(
            "read t{ticket} may be answered on {node} at {index}; when it was asked, {floor} was \
             committed"
        );
        Err(Failure::of("read index", node, text))
    }

    /// A read has an index that may be old, by no more than what is told, nor than was asked for:
    /// whatever was committed then it sees.
    pub(crate) fn may_read_old(
        &mut self,
        (node, ticket): (NodeId, Ticket),
        (index, age): (Index, Duration),
        since: u64,
        age_max: Duration,
    ) -> Check {
        self.asked.remove(&ticket);
        let fault = |text: String| Err(Failure::of("bounded reads", node, text));
        if age > age_max {
            return fault(format!("read t{ticket} on {node} is {age:?} old, at most {age_max:?}"));
        }
        let before = self.known_at.partition_point(|(at, _)| *at < since);
        let floor = before.checked_sub(1).map_or(0, |at| self.known_at[at].1);
        if at(index) >= floor {
            return Ok(());
        }
        fault(format!(
            "read t{ticket} may be answered on {node} at {index}, {age:?} old; by then {floor} was \
             committed"
        ))
    }

    /// The world's time, before an event.
    pub(crate) fn passes(&mut self, now: u64) {
        self.now = now;
        let committed = self.canonical.len();
        if self.known_at.last().is_none_or(|(_, known)| *known < committed) {
            self.known_at.push((now, committed));
        }
    }
}
