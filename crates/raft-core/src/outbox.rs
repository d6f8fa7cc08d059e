//! Where the roles put what is to leave the node, until a lane is pulled.
//!
//! Undrained output accumulates and is bounded by the limits of what produced it. Read next:
//! `state.rs`, whose `Common::send` chooses between message and promise.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use crate::output::LoadPurpose;
use crate::{
    AppendResult, Body, Counters, Fetch, Index, Load, Message, Notice, RefusedProposal, Ticket,
    Violation,
};

/// Output that waits for its lane.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    messages: Vec<Message>,
    /// Each with the index that must be durable before it is true; zero if none.
    promises: Vec<(Index, Message)>,
    notices: Vec<Notice>,
    loads: VecDeque<Load>,
    fetch: Option<Fetch>,
    pub(crate) counters: Counters,
}

impl Outbox {
    pub(crate) fn message(&mut self, message: Message) {
        self.messages.push(message);
    }

    /// A message that is true once the present term and vote, and the log up to `needs`, are
    /// durable.
    pub(crate) fn promise(&mut self, needs: Index, message: Message) {
        self.promises.push((needs, message));
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    pub(crate) fn load(&mut self, load: Load) {
        self.loads.push_back(load);
    }

    /// Counts a message that is not heard.
    pub(crate) fn dropped(&mut self, reason: &'static str) {
        *self.counters.dropped.entry(reason).or_insert(0) += 1;
    }

    pub(crate) fn violation(&mut self, violation: Violation) {
        self.dropped("violation");
        self.notices.push(Notice::Violation(violation));
    }

    pub(crate) fn refuse(&mut self, ticket: Ticket, reason: RefusedProposal) {
        self.counters.proposals_failed += 1;
        self.notices.push(Notice::Refused { ticket, reason });
    }

    /// A new term: promises of the old one may no longer become true, for the entries they speak of
    /// may be cut away before they are written. Losing them equals losing packets.
    pub(crate) fn forget_promises(&mut self) {
        mark!("promises-forgotten", self.has_promises());
        self.promises.clear();
    }

    pub(crate) fn has_promises(&self) -> bool {
        !self.promises.is_empty()
    }

    /// The promises that are true once everything up to `durable` is. Of several acknowledgements
    /// of one conversation the last says everything.
    pub(crate) fn take_promises(&mut self, durable: Index) -> Vec<Message> {
        let waiting = mem::take(&mut self.promises).into_iter();
        let (ready, later): (Vec<_>, _) = waiting.partition(|(needs, _)| *needs <= durable);
        self.promises = later;
        mark!("promise-kept-back", self.has_promises());
        let mut taken: Vec<Message> = Vec::new();
        for (_, message) in ready {
            match taken.last_mut() {
                Some(last) if says_less(last, &message) => {
                    mark!("acknowledgement-folded");
                    *last = message;
                }
                Some(_) | None => taken.push(message),
            }
        }
        taken
    }

    pub(crate) fn take_messages(&mut self) -> Vec<Message> {
        mem::take(&mut self.messages)
    }

    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        mem::take(&mut self.notices)
    }

    pub(crate) fn take_load(&mut self) -> Option<Load> {
        self.loads.pop_front()
    }

    pub(crate) fn fetch(&mut self, fetch: Fetch) {
        self.fetch = Some(fetch);
    }

    pub(crate) const fn take_fetch(&mut self) -> Option<Fetch> {
        self.fetch.take()
    }

    /// Loads for followers are void once this node no longer leads.
    pub(crate) fn forget_replication_loads(&mut self) {
        self.loads.retain(|load| load.purpose == LoadPurpose::Apply);
    }
}

/// Whether `earlier` is an acknowledgement that `later` contains.
fn says_less(earlier: &Message, later: &Message) -> bool {
    let matched = |message: &Message| {
        let Body::AppendEntriesResponse(response) = &message.body else { return None };
        match response.result {
            AppendResult::Matched { match_index, .. } => Some((response.round, match_index)),
            AppendResult::Conflict { .. } => None,
        }
    };
    let same = (earlier.to, earlier.term, earlier.epoch) == (later.to, later.term, later.epoch);
    match (matched(earlier), matched(later)) {
        (Some(before), Some(after)) => same && before.0 <= after.0 && before.1 <= after.1,
        (None, _) | (_, None) => false,
    }
}
