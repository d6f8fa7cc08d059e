//! `Progress`: a follower in the leader's eyes (Figure 2, `nextIndex` and `matchIndex`).
//!
//! * `match_index < next_index`, and `match_index` only grows inside an epoch.
//! * Probe: one message at a time, to find where the logs match. Replicate: pipelined, bounded in
//!   bytes. Snapshot: the entries it needs left the log.
//! * Bytes in flight return to zero when everything is acknowledged.
//! * A transport tells when a connection broke, and with it what was lost. For those that do not,
//!   what was sent is sent again if nothing has moved for as long as an election timeout. A slow
//!   disk is not mistaken for a loss, for `accepted` speaks of the follower's memory; nor is a slow
//!   link, on which heartbeats overtake entries.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use crate::log::Cached;
use crate::state::Common;
use crate::{
    AppendEntries, AppendResult, Entry, EntryId, Epoch, Incarnation, Index, InstallSnapshot, Log,
    LogSlice, ProgressMode, ProgressStatus, Round, Time,
};

/// What the leader knows of one follower.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own, and they combine")]
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
    heard: Option<Time>,
    in_contact: bool,
    /// The disk that speaks in this session.
    incarnation: Option<Incarnation>,
    /// What it has to have for the lap under way, and when that began (thesis §4.2.1).
    lap: Option<(Index, Time)>,
    /// Laps in time, one after the other.
    laps: u32,
    watch: Option<LossWatch>,
    /// The newest round in which a snapshot was offered.
    round_offered: Round,
    /// The last entry of the snapshot that was offered, while one is being installed.
    offered: Index,
}

/// What was out at a heartbeat, to see at the next whether it arrived.
#[derive(Clone, Copy, Debug)]
struct LossWatch {
    sent: Index,
    accepted: Index,
    /// Heartbeats since.
    waited: u64,
    /// The round whose echo decides; unknown until it begins.
    decided_by: Option<Round>,
}

/// What the leader can do next for a follower.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send this.
    Send(AppendEntries),
    /// Offer the newest snapshot.
    Offer(InstallSnapshot),
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
    pub(crate) broadcast_time: Duration,
    pub(crate) message_bytes_max: u64,
    pub(crate) inflight_bytes_max: u64,
    pub(crate) inflight_entries_max: u64,
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
            heard: None,
            in_contact: false,
            incarnation: None,
            lap: None,
            laps: 0,
            watch: None,
            round_offered: Round::ZERO,
            offered: Index::ZERO,
        }
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) const fn match_index(&self) -> Index {
        self.match_index
    }

    /// Whether this follower was heard lately.
    pub(crate) fn answers(&self, common: &Common) -> bool {
        let limit = common.config.election_timeout_max;
        self.heard.is_some_and(|heard| common.now.since(heard) < limit)
    }

    /// It answers.
    pub(crate) const fn hear(&mut self, now: Time) {
        self.heard = Some(now);
    }

    /// The disk that speaks in this session, if it was heard.
    pub(crate) const fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// Whether this may be the disk that speaks in this session; notes the first.
    pub(crate) fn meet(&mut self, incarnation: Incarnation) -> bool {
        *self.incarnation.get_or_insert(incarnation) == incarnation
    }

    /// Laps of replication in time, one after the other: how well it keeps up.
    pub(crate) const fn laps(&self) -> u32 {
        self.laps
    }

    /// A heartbeat: a lap is over when the follower has what the log ended with when it began; in
    /// time if that took no longer than the lower election timeout.
    pub(crate) fn run_lap(&mut self, common: &Common) {
        let (now, last) = (common.now, common.log.last().index);
        let limit = common.config.election_timeout_min;
        self.in_contact = self.answers(common);
        let is_heard = self.heard.is_some_and(|heard| now.since(heard) <= limit);
        let (target, began) = *self.lap.get_or_insert((last, now));
        let is_late = now.since(began) > limit;
        let is_over = is_heard && self.match_index >= target;
        if is_over && !is_late {
            self.laps = self.laps.saturating_add(1);
        } else if is_late || !is_heard {
            self.laps = 0;
        }
        if is_over {
            self.lap = Some((last, now));
        }
    }

    /// Whether it has this entry and was told that it is committed.
    pub(crate) fn knows(&self, index: Index) -> bool {
        self.match_index >= index && self.commit_sent >= index
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
            in_contact: self.in_contact,
        }
    }

    /// A heartbeat round began by the clock: probes may go again, and losses are looked for. What
    /// has not moved for `patience` of them is taken for lost.
    pub(crate) fn on_heartbeat(&mut self, round: Round, patience: u64) {
        self.paused = false;
        if let Some(watch) = &mut self.watch {
            watch.waited += 1;
            if watch.waited >= patience {
                watch.decided_by.get_or_insert(round);
            }
        } else if self.next_index > self.accepted.next() {
            let sent = self.next_index.prev();
            self.watch =
                Some(LossWatch { sent, accepted: self.accepted, waited: 0, decided_by: None });
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
            broadcast_time: word.broadcast_time,
        }
    }

    /// What to send next.
    pub(crate) fn step(&mut self, log: &Log, word: Word) -> Step {
        if self.mode == ProgressMode::Snapshot {
            return self.offer(log, word);
        }
        if self.loading {
            return Step::Wait;
        }
        let last = log.last().index;
        // A probe counts as well: a follower that never answers is not sent the whole log.
        let entries = self.next_index.since(self.match_index.next());
        let fits = self.in_flight_bytes < word.inflight_bytes_max
            && (entries < word.inflight_entries_max || self.in_flight.is_empty());
        let open = match self.mode {
            ProgressMode::Probe => fits && !self.paused,
            ProgressMode::Replicate => fits,
            ProgressMode::Snapshot => unreachable!("it was looked at above"),
        };
        if open && self.next_index <= last {
            return match log.entries(self.next_index, last, word.message_bytes_max) {
                Cached::Entries(entries) => Step::Send(self.pack(log, word, entries)),
                Cached::OnDisk => {
                    self.loading = true;
                    Step::Load(self.next_index)
                }
                Cached::Compacted => {
                    self.install();
                    self.offer(log, word)
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

    /// The entries this follower needs left the log (§7).
    fn install(&mut self) {
        mark!("snapshot-mode");
        self.probe_from(self.match_index.next());
        self.mode = ProgressMode::Snapshot;
        (self.round_offered, self.offered) = (Round::ZERO, Index::ZERO);
    }

    /// The newest snapshot, once a round: an offer may be lost, or come when none can be taken.
    fn offer(&mut self, log: &Log, word: Word) -> Step {
        if self.round_offered >= word.round {
            return Step::Wait;
        }
        self.round_offered = word.round;
        let snapshot = log.snapshot().expect("what left the log is in a snapshot").clone();
        // What the follower fetches is the first that it was offered.
        if self.offered == Index::ZERO {
            self.offered = snapshot.last_included.index;
        }
        Step::Offer(InstallSnapshot { snapshot, round: word.round })
    }

    /// The answer to an offer: everything up to `match_index` is committed and durable there.
    /// Tells whether `match_index` grew.
    pub(crate) fn on_snapshot_response(
        &mut self,
        log: &Log,
        round: Round,
        match_index: Index,
    ) -> bool {
        self.round_echoed = self.round_echoed.max(round);
        self.accepted = self.accepted.max(match_index);
        let grew = self.on_matched(match_index, round);
        self.leave_snapshot(log);
        grew
    }

    /// A follower in want of a snapshot goes on with entries as soon as the log holds them.
    fn leave_snapshot(&mut self, log: &Log) {
        let is_here = log.term_at(self.match_index).is_some() && self.match_index > Index::ZERO;
        if self.mode == ProgressMode::Snapshot && is_here {
            mark!("snapshot-installed");
            self.probe_from(self.match_index.next());
        }
    }

    /// The index after which this follower needs entries: what it has, or what it will have when
    /// the snapshot it fetches is installed.
    pub(crate) fn needs_after(&self) -> Index {
        match self.mode {
            ProgressMode::Snapshot => self.offered.max(self.match_index),
            ProgressMode::Probe | ProgressMode::Replicate => self.match_index,
        }
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
        AppendEntries {
            slice,
            leader_commit: word.commit,
            round: word.round,
            broadcast_time: word.broadcast_time,
        }
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
        let follows = log.term_at(self.next_index.prev()).is_some();
        let still_here = follows && entries.iter().all(|entry| log.holds(entry.id));
        let wanted = fits && still_here && self.mode != ProgressMode::Snapshot;
        mark!("load-came-too-late", !wanted);
        wanted.then(|| self.pack(log, word, entries))
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
                let grew = self.on_matched(match_index, round);
                self.leave_snapshot(log);
                grew
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
        if self.mode == ProgressMode::Snapshot {
            return grew;
        }
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
                if self.mode == ProgressMode::Probe {
                    // The next probe asks for the last entry of this one, and shows that it is not
                    // there. To begin at what is known to match would send, or install, everything.
                    self.forget_in_flight();
                } else {
                    self.probe_from(self.accepted.next());
                }
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
        // Below the base only a snapshot helps, as the next step finds out.
        let from = if hint.index < log.base().index && !mutant!("R17a") {
            hint
        } else {
            log.last_not_above(hint.term, hint.index.max(log.base().index))
        };
        self.accepted = self.accepted.min(rejected.prev()).max(self.match_index);
        let floor = if mutant!("R3b") { Index::ZERO } else { self.match_index };
        self.probe_from(from.index.max(floor).next());
    }

    /// The connection broke: what was out may be lost.
    pub(crate) fn on_unreachable(&mut self) {
        self.accepted = self.match_index;
        if self.mode == ProgressMode::Snapshot {
            // The offer may be lost, too; the next round repeats it.
            return;
        }
        self.probe_from(self.match_index.next());
        self.paused = true;
    }

    fn probe_from(&mut self, next_index: Index) {
        assert!(next_index > self.match_index, "the match index is behind the next one");
        self.mode = ProgressMode::Probe;
        self.next_index = next_index;
        self.paused = false;
        self.forget_in_flight();
    }

    fn forget_in_flight(&mut self) {
        self.in_flight.clear();
        if !mutant!("R18") {
            self.in_flight_bytes = 0;
        }
        self.watch = None;
    }
}
