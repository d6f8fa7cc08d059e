//! Manners of elections, as others see them: no rule here keeps data safe, each keeps a cluster
//! that works from being disturbed.
//!
//! * Who asks for votes was promised a quorum of them before (thesis §9.6).
//! * Who heard its leader, or gave its vote, less than the lower election timeout ago does not
//!   campaign (§5.2), and adopts no term from others that do (thesis §4.2.3).
//! * A leader is deposed by no question, and a better log is not refused without a cause (§5.4.1).
//! * A follower that hears nothing campaigns within the upper election timeout (§5.2).
//! * A pre-candidate that is stuck in an earlier term is told so.
//! * Within a conversation the match index only grows (Figure 2).

use std::collections::BTreeSet;

use raft_core::{
    Body, EntryId, Epoch, Message, NodeId, ProgressStatus, RaftNode, RaftState, Role, RoleName,
    Term, Time,
};

use super::members::{is_quorum, recorded};
use super::{Check, Failure};
use crate::network::place;

/// What a node heard and said in elections.
#[derive(Clone, Debug, Default)]
struct Manners {
    /// When it last heard the leader of its term.
    heard: Option<Time>,
    /// The same, or when it was asked for a vote that it then gave.
    calmed: Option<Time>,
    /// When a connection of it last broke: it may ask early.
    alarmed: Option<Time>,
    /// The vote it was last asked for.
    asked: Option<(Term, NodeId, Time)>,
    /// Its last round of pre-votes, and who promised.
    pre_vote: Option<(Term, Epoch)>,
    promised: BTreeSet<NodeId>,
    /// The newest term in which a quorum promised. Rounds of pre-votes may leave late, after the
    /// votes that an earlier one led to.
    won: Option<Term>,
    /// The followers in its eyes, while it leads this term.
    progress: Vec<(NodeId, ProgressStatus)>,
    led: (Term, EntryId),
    /// The newest conversation in which a leader spoke to it; what comes late of an earlier one is
    /// not heard.
    conversation: Option<(Term, Epoch)>,
    /// When it last had a reason to begin its election timeout anew.
    began: Time,
    /// It led or campaigned when it was seen last.
    is_active: bool,
    /// A pre-candidate of an earlier term that it has to answer at once.
    owes: Option<(NodeId, Epoch)>,
}

/// What a node was before a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    term: Term,
    role: RoleName,
    hears: bool,
}

/// The manners of all nodes.
#[derive(Debug)]
pub(crate) struct Etiquette {
    nodes: Vec<Manners>,
    timeout: std::time::Duration,
    pre_vote: bool,
}

impl Etiquette {
    pub(crate) fn new(nodes: usize, timeout: std::time::Duration, pre_vote: bool) -> Self {
        Self { nodes: vec![Manners::default(); nodes], timeout, pre_vote }
    }

    /// A process begins or ends.
    pub(crate) fn forget(&mut self, node: NodeId, now: Time) {
        self.nodes[place(node)] = Manners { began: now, ..Manners::default() };
    }

    /// A follower is due within the upper election timeout, which is twice the lower.
    pub(crate) fn is_due(
        &mut self,
        node: NodeId,
        before: Before,
        raft: &RaftNode,
        now: Time,
    ) -> Check {
        let manners = &mut self.nodes[place(node)];
        let Role::Follower(_) = raft.state().role() else { return Ok(()) };
        if before.role != RoleName::Follower {
            manners.began = now;
        }
        let latest = manners.began.after(2 * self.timeout);
        let deadline = raft.deadline().at;
        if deadline <= latest {
            return Ok(());
        }
        let text = format!(
            "{node} had its last reason to wait for a leader at {}, and waits until {deadline}",
            manners.began
        );
        Err(Failure::of("impatience (§5.2)", node, text))
    }

    /// Who led, or campaigned, and does so no more waits anew, whatever ended it.
    pub(crate) fn sees(&mut self, node: NodeId, state: &RaftState, now: Time) {
        let manners = &mut self.nodes[place(node)];
        let follows = matches!(state.role(), Role::Follower(_));
        if follows && manners.is_active {
            manners.began = now;
        }
        manners.is_active = !follows;
    }

    /// A node that may not campaign has to wait for another timeout.
    pub(crate) fn waits(&mut self, node: NodeId, now: Time) {
        self.nodes[place(node)].began = now;
    }

    /// Everything a node had to say at once was said.
    pub(crate) fn has_answered(&mut self, node: NodeId) -> Check {
        let Some((to, _)) = self.nodes[place(node)].owes.take() else { return Ok(()) };
        let text =
            format!("{node} does not tell {to}, which asks for pre-votes, that its term is over");
        Err(Failure::of("pre-vote (thesis §9.6)", node, text))
    }

    /// A connection broke.
    pub(crate) fn alarm(&mut self, node: NodeId, now: Time) {
        self.nodes[place(node)].alarmed = Some(now);
    }

    /// Whether this was less than a timeout ago, and nothing alarmed the node since.
    fn is_recent(&self, node: NodeId, moment: Option<Time>, now: Time) -> bool {
        let recently = moment.is_some_and(|moment| now.since(moment) < self.timeout);
        recently && self.nodes[place(node)].alarmed < moment
    }

    /// A message is about to be handled.
    pub(crate) fn before(&self, node: NodeId, state: &RaftState, now: Time) -> Before {
        let role = match state.role() {
            Role::Leader(_) => RoleName::Leader,
            Role::Candidate(_) => RoleName::Candidate,
            Role::Follower(_) => RoleName::Follower,
        };
        let hears = self.is_recent(node, self.nodes[place(node)].heard, now);
        Before { term: state.current_term(), role, hears }
    }

    /// A message was handled: nobody was disturbed by a question.
    pub(crate) fn after(
        &mut self,
        message: &Message,
        before: Before,
        (state, is_durable): (&RaftState, bool),
        now: Time,
    ) -> Check {
        let node = message.to;
        let is_question = match &message.body {
            Body::PreVote(_) => true,
            Body::RequestVote(ask) => !ask.transfer,
            Body::PreVoteResponse(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::AppendEntriesResponse(_)
            | Body::InstallSnapshot(_)
            | Body::InstallSnapshotResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => false,
        };
        let term = state.current_term();
        let leads = before.role == RoleName::Leader;
        let follows = before.role == RoleName::Follower && before.hears;
        if is_question && term > before.term && (leads || follows) {
            let text = format!(
                "{node}, which {} in term {}, adopts term {term} from {}, which only asks",
                if leads { "leads" } else { "hears its leader" },
                before.term,
                message.from.node
            );
            return Err(Failure::of("stickiness (thesis §4.2.3)", node, text));
        }
        Self::votes_with_cause(message, before, state)?;
        self.note(message, state, now);
        if matches!(message.body, Body::PreVote(_)) && message.term < before.term && is_durable {
            self.nodes[place(node)].owes = Some((message.from.node, message.epoch));
        }
        match message.body {
            Body::AppendEntriesResponse(_) => self.look_at_progress(node, state),
            Body::PreVote(_)
            | Body::PreVoteResponse(_)
            | Body::RequestVote(_)
            | Body::RequestVoteResponse(_)
            | Body::AppendEntries(_)
            | Body::InstallSnapshot(_)
            | Body::InstallSnapshotResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => Ok(()),
        }
    }

    /// Who follows a candidate into its term gives it the vote, if and only if its log is at least
    /// as up-to-date (§5.4.1).
    fn votes_with_cause(message: &Message, before: Before, state: &RaftState) -> Check {
        let Body::RequestVote(ask) = &message.body else { return Ok(()) };
        let (node, from, term) = (message.to, message.from.node, message.term);
        if term <= before.term || state.current_term() != term {
            return Ok(());
        }
        let (last, votes) = (state.log().last(), state.voted_for() == Some(from));
        // A disk that waits to be added knows of no group.
        let is_blank = state.membership().is_empty() && last == EntryId::ZERO;
        if votes == (ask.last >= last && !is_blank) {
            return Ok(());
        }
        let does = if votes { "gives" } else { "refuses" };
        let text = format!(
            "{node}, whose log ends with {last}, {does} {from} its vote in term {term}, whose log \
             ends with {}",
            ask.last
        );
        Err(Failure::of("vote rule (§5.4.1)", node, text))
    }

    fn note(&mut self, message: &Message, state: &RaftState, now: Time) {
        let manners = &mut self.nodes[place(message.to)];
        let (from, term) = (message.from.node, message.term);
        let is_present = term == state.current_term();
        let is_word = matches!(message.body, Body::AppendEntries(_) | Body::InstallSnapshot(_));
        let may_calm = is_word || matches!(message.body, Body::RequestVote(_));
        if is_present && may_calm {
            manners.began = now;
        }
        if is_present && is_word {
            let conversation = Some((term, message.epoch));
            if state.leader() == Some(from) && manners.conversation <= conversation {
                manners.conversation = conversation;
                (manners.heard, manners.calmed) = (Some(now), Some(now));
            }
        } else if is_present && matches!(message.body, Body::RequestVote(_)) {
            manners.asked = Some((term, from, now));
        } else if let Body::PreVoteResponse(vote) = &message.body
            && vote.granted
            && manners.pre_vote == Some((term, message.epoch))
        {
            manners.promised.insert(from);
            if is_quorum(state.membership(), |node| manners.promised.contains(&node)) {
                manners.won = manners.won.max(Some(term));
            }
        }
    }

    /// Within a term that a node leads, what it knows of others only grows.
    fn look_at_progress(&mut self, node: NodeId, state: &RaftState) -> Check {
        let Role::Leader(leader) = state.role() else { return Ok(()) };
        let manners = &mut self.nodes[place(node)];
        let progress = leader.progress();
        let known = std::mem::replace(&mut manners.progress, progress);
        let present = (state.current_term(), state.membership().id());
        let led = std::mem::replace(&mut manners.led, present);
        // Who was added again, or readmitted, begins a conversation anew.
        if led != present {
            return Ok(());
        }
        let is_recorded = |peer| recorded(state.membership(), peer).is_some();
        for (peer, before) in known.iter().filter(|(peer, _)| is_recorded(*peer)) {
            let Some((_, now)) = manners.progress.iter().find(|(other, _)| other == peer) else {
                continue;
            };
            if now.match_index < before.match_index {
                let text = format!(
                    "{node} takes the match index of {peer} back from {} to {}",
                    before.match_index, now.match_index
                );
                return Err(Failure::of("match index", node, text));
            }
        }
        Ok(())
    }

    /// A message leaves a node.
    pub(crate) fn leaves(&mut self, message: &Message) -> Check {
        let (node, term) = (message.from.node, message.term);
        match &message.body {
            Body::PreVote(_) => {
                let manners = &mut self.nodes[place(node)];
                if manners.pre_vote != Some((term, message.epoch)) {
                    manners.pre_vote = Some((term, message.epoch));
                    manners.promised = BTreeSet::from([node]);
                }
                Ok(())
            }
            Body::RequestVote(ask) if self.pre_vote && !ask.transfer => {
                if self.nodes[place(node)].won.is_some_and(|won| won.next() >= term) {
                    return Ok(());
                }
                let text = format!("{node} asks for votes in term {term}, of which no quorum knew");
                Err(Failure::of("pre-vote (thesis §9.6)", node, text))
            }
            Body::RequestVoteResponse(vote) => {
                let manners = &mut self.nodes[place(node)];
                if let Some((asked, from, at)) = manners.asked
                    && vote.granted
                    && (asked, from) == (term, message.to)
                {
                    manners.calmed = manners.calmed.max(Some(at));
                }
                Ok(())
            }
            Body::PreVoteResponse(_) => {
                let manners = &mut self.nodes[place(node)];
                manners.owes = manners.owes.filter(|owed| *owed != (message.to, message.epoch));
                Ok(())
            }
            Body::RequestVote(_)
            | Body::AppendEntries(_)
            | Body::AppendEntriesResponse(_)
            | Body::InstallSnapshot(_)
            | Body::InstallSnapshotResponse(_)
            | Body::ReadIndex(_)
            | Body::ReadIndexResponse(_)
            | Body::Propose(_)
            | Body::ProposeResponse(_)
            | Body::TimeoutNow => Ok(()),
        }
    }

    /// A follower begins to campaign. Nobody does who has no reason to.
    pub(crate) fn campaigns(&self, node: NodeId, now: Time) -> Check {
        if !self.is_recent(node, self.nodes[place(node)].calmed, now) {
            return Ok(());
        }
        let text = format!(
            "{node} campaigns although it heard its leader, or gave its vote, less than {:?} ago",
            self.timeout
        );
        Err(Failure::of("patience (§5.2)", node, text))
    }
}
