//! `Progress`: a follower in the leader's eyes (Figure 2, `nextIndex` and `matchIndex`).
//!
//! * `match_index < next_index`, and `match_index` only grows inside an epoch.
//! * Probe: one message at a time, to find where the logs match. Replicate: pipelined, bounded in
//!   bytes. Snapshot: the entries it needs left the log.
//! * Bytes in flight return to zero when everything is acknowledged.
//! * What was sent before one heartbeat and has not moved by the answer to the next is sent again.
//!   A slow disk is not mistaken for a loss: `accepted` speaks of the follower's memory.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::log::Cached;
use crate::{
    AppendEntries, AppendResult, Entry, EntryId, Epoch, Index, Log, LogSlice, ProgressMode,
    ProgressStatus, Round,
};

/// What the leader knows of one follower.
#[derive(Debug)]
pub(crate) struct Progress {
    mode: ProgressMode,
    epoch: Epoch,
    match_index: Index,
    /// The leader's round when `match_index` last grew: later requests build on it.
    matched_in: Round,
    /// The follower was caught without what it had acknowledged; said once.
    lost: bool,
    next_index: Index,
    accepted: Index,
    /// A probe is out: the next goes with the next heartbeat.
    paused: bool,
    /// Entries for this follower are being loaded from the disk.
    loading: bool,
    in_flight: VecDeque<(Index, u64)>,
    in_flight_bytes: u64,
    commit_sent: Index,
    round_sent: Round,
    round_echoed: Round,
    watch: Option<LossWatch>,
}

/// What was out at a heartbeat, to see at the next whether it arrived.
#[derive(Clone, Copy, Debug)]
struct LossWatch {
    sent: Index,
    accepted: Index,
    /// The round whose echo decides; unknown until it begins.
    decided_by: Option<Round>,
}

/// What the leader can do next for a follower.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this.
    Send(AppendEntries),
    /// Load entries from here on first.
    Load(Index),
    /// Nothing now.
    Wait,
}

/// What the leader says in each message of this moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Word {
    pub(crate) commit: Index,
    pub(crate) round: Round,
    pub(crate) message_bytes_max: u64,
    pub(crate) inflight_bytes_max: u64,
}

impl Progress {
    /// A new replication session: nothing is known to match (Figure 2).
    pub(crate) fn new(epoch: Epoch, next_index: Index) -> Self {
        Self {
            mode: ProgressMode::Probe,
            epoch,
            match_index: Index::ZERO,
            matched_in: Round::ZERO,
            lost: false,
            next_index,
            accepted: Index::ZERO,
            paused: false,
            loading: false,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            commit_sent: Index::ZERO,
            round_sent: Round::ZERO,
            round_echoed: Round::ZERO,
            watch: None,
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) const fn match_index(&self) -> Index {
        self.match_index
    }

    /// The newest round this follower answered.
    pub(crate) const fn round_echoed(&self) -> Round {
        self.round_echoed
    }

    pub(crate) const fn status(&self) -> ProgressStatus {
        ProgressStatus {
            mode: self.mode,
            match_index: self.match_index,
            next_index: self.next_index,
            accepted: self.accepted,
            inflight_bytes: self.in_flight_bytes,
        }
    }

    /// A heartbeat round began by the clock: probes may go again, and losses are looked for.
    pub(crate) fn on_heartbeat(&mut self, round: Round) {
        self.paused = false;
        if let Some(watch) = &mut self.watch {
            watch.decided_by.get_or_insert(round);
        } else if self.next_index > self.accepted.next() {
            let sent = self.next_index.prev();
            self.watch = Some(LossWatch { sent, accepted: self.accepted, decided_by: None });
        }
    }

    /// The heartbeat of the newest round, if this follower has not been sent it yet.
    ///
    /// Its `prev` is what is known to match, so it is never rejected and waits for no disk.
    pub(crate) fn heartbeat(&mut self, log: &Log, word: Word) -> Option<AppendEntries> {
        (self.round_sent < word.round).then(|| self.empty(log, word))
    }

    fn empty(&mut self, log: &Log, word: Word) -> AppendEntries {
        self.round_sent = word.round;
        self.commit_sent = word.commit;
        let term = log.term_at(self.match_index);
        let prev = term.map_or(EntryId::ZERO, |term| EntryId::new(term, self.match_index));
        AppendEntries {
            slice: LogSlice::empty(prev),
            leader_commit: word.commit,
            round: word.round,
        }
    }

    /// What to send next.
    pub(crate) fn step(&mut self, log: &Log, word: Word) -> Step {
        if self.loading {
            return Step::Wait;
        }
        let last = log.last().index;
        // A probe counts as well: a follower that never answers is not sent the whole log.
        let fits = self.in_flight_bytes < word.inflight_bytes_max;
        let open = match self.mode {
            ProgressMode::Probe => fits && !self.paused,
            ProgressMode::Replicate => fits,
            ProgressMode::Snapshot => false,
        };
        if open && self.next_index <= last {
            return match log.entries(self.next_index, last, word.message_bytes_max) {
                Cached::Entries(entries) => Step::Send(self.pack(log, word, entries)),
                Cached::OnDisk => {
                    self.loading = true;
                    Step::Load(self.next_index)
                }
                Cached::Compacted => {
                    self.mode = ProgressMode::Snapshot;
                    Step::Wait
                }
            };
        }
        if open && self.mode == ProgressMode::Probe {
            // The log ends here: ask whether it matches.
            return Step::Send(self.pack(log, word, Vec::new()));
        }
        if self.mode == ProgressMode::Replicate && self.commit_sent < word.commit {
            return Step::Send(self.empty(log, word));
        }
        Step::Wait
    }

    /// Packs entries from `next_index` on and counts them as sent.
    fn pack(&mut self, log: &Log, word: Word, entries: Vec<Entry>) -> AppendEntries {
        let index = self.next_index.prev();
        let term = log.term_at(index).expect("the entry before the next one is in the log");
        let slice = LogSlice::new(EntryId::new(term, index), entries)
            .expect("what the log holds has no gaps");
        self.next_index = slice.last().index.next();
        self.commit_sent = word.commit;
        if self.mode == ProgressMode::Probe {
            self.paused = true;
        }
        if !slice.is_empty() {
            let bytes = slice.cost();
            self.in_flight.push_back((slice.last().index, bytes));
            self.in_flight_bytes += bytes;
        }
        AppendEntries { slice, leader_commit: word.commit, round: word.round }
    }

    /// Entries came from the disk: the message, if they are still what is sent next.
    pub(crate) fn on_loaded(
        &mut self,
        log: &Log,
        word: Word,
        entries: Vec<Entry>,
    ) -> Option<AppendEntries> {
        self.loading = false;
        let fits = entries.first().is_some_and(|entry| entry.id.index == self.next_index);
        let still_here = entries.iter().all(|entry| log.holds(entry.id));
        mark!("load-came-too-late", !fits || !still_here);
        (fits && still_here).then(|| self.pack(log, word, entries))
    }

    /// Whether this answer shows, for the first time, that the follower no longer has what it had
    /// acknowledged: it rejects a request that was sent after the acknowledgement had arrived.
    pub(crate) fn has_lost(&mut self, round: Round, rejected: Index) -> bool {
        let loses = rejected <= self.match_index && round > self.matched_in && !self.lost;
        self.lost |= loses;
        loses
    }

    /// `match_index` grew while this was the leader's newest round.
    pub(crate) fn matched_in(&mut self, round: Round) {
        self.matched_in = round;
    }

    /// An answer. Tells whether `match_index` grew.
    pub(crate) fn on_response(&mut self, log: &Log, round: Round, result: AppendResult) -> bool {
        let newest = round >= self.round_echoed;
        let echoed = if mutant!("C3") { self.round_sent } else { round };
        self.round_echoed = self.round_echoed.max(echoed);
        match result {
            AppendResult::Matched { match_index, accepted } => {
                // A report from before a restart of the follower may say more than its memory
                // holds now; the newest round tells the truth.
                self.accepted = if newest { accepted } else { self.accepted.max(accepted) };
                self.on_matched(match_index, round)
            }
            AppendResult::Conflict { hint, rejected } => {
                self.on_conflict(log, hint, rejected);
                false
            }
        }
    }

    fn on_matched(&mut self, match_index: Index, round: Round) -> bool {
        let grew = match_index > self.match_index;
        if mutant!("R3a") {
            self.match_index = self.match_index.min(match_index);
        }
        if grew {
            self.match_index = match_index;
            while self.in_flight.front().is_some_and(|(last, _)| *last <= match_index) {
                let (_, bytes) = self.in_flight.pop_front().expect("it has a first message");
                self.in_flight_bytes -= bytes;
            }
        }
        self.accepted = self.accepted.max(self.match_index);
        self.next_index = self.next_index.max(self.match_index.next());
        if self.mode == ProgressMode::Probe && self.accepted >= self.next_index.prev() {
            self.mode = ProgressMode::Replicate;
            self.next_index = self.accepted.next();
        }
        self.look_for_loss(round);
        grew
    }

    fn look_for_loss(&mut self, round: Round) {
        let Some(watch) = self.watch else { return };
        if self.accepted >= watch.sent {
            self.watch = None;
        } else if watch.decided_by.is_some_and(|decided_by| round >= decided_by) {
            self.watch = None;
            if self.accepted <= watch.accepted {
                mark!("loss-noticed");
                self.probe_from(self.accepted.next());
            }
        }
    }

    /// §5.3: the follower lacks `prev`; go on where its log may match ours.
    fn on_conflict(&mut self, log: &Log, hint: EntryId, rejected: Index) {
        let stale = match self.mode {
            ProgressMode::Probe => rejected != self.next_index.prev() && self.in_flight.is_empty(),
            ProgressMode::Replicate | ProgressMode::Snapshot => false,
        };
        let sent = rejected < self.next_index;
        let known = rejected <= self.match_index && !mutant!("R3b");
        if stale || !sent || known || hint.index >= rejected {
            mark!("rejection-ignored");
            return;
        }
        let from = log.last_not_above(hint.term, hint.index.max(log.base().index));
        self.accepted = self.accepted.min(rejected.prev()).max(self.match_index);
        let floor = if mutant!("R3b") { Index::ZERO } else { self.match_index };
        self.probe_from(from.index.max(floor).next());
    }

    /// The connection broke: what was out may be lost.
    pub(crate) fn on_unreachable(&mut self) {
        self.accepted = self.match_index;
        self.probe_from(self.match_index.next());
        self.paused = true;
    }

    fn probe_from(&mut self, next_index: Index) {
        assert!(next_index > self.match_index, "the match index is behind the next one");
        self.mode = ProgressMode::Probe;
        self.next_index = next_index;
        self.paused = false;
        self.in_flight.clear();
        if !mutant!("R18") {
            self.in_flight_bytes = 0;
        }
        self.watch = None;
    }
}
