//! What a seed decides once, before the first step: how many nodes, which settings, which faults
//! and how often. Some seeds know no crash, some no limit; a mixture finds more than an average.
//!
//! Read next: `world.rs`.

use std::time::Duration;

use raft_core::{ClockBound, Limits, RaftConfig, SnapshotPolicy};

use crate::rng::Rng;

/// What can happen next in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Deliver,
    Pull,
    Write,
    Apply,
    Load,
    PassTime,
    Propose,
    Read,
    Crash,
    Restart,
    Cut,
    Campaign,
    Unreachable,
    Pause,
    Transfer,
    Snapshot,
    Capture,
    Fetch,
}

impl Action {
    /// Whether it goes on while a node stops.
    pub(crate) fn is_of_the_world(self) -> bool {
        match self {
            Self::Deliver | Self::PassTime | Self::Crash | Self::Cut => true,
            Self::Pull
            | Self::Write
            | Self::Apply
            | Self::Load
            | Self::Propose
            | Self::Read
            | Self::Restart
            | Self::Campaign
            | Self::Unreachable
            | Self::Pause
            | Self::Transfer
            | Self::Snapshot
            | Self::Capture
            | Self::Fetch => false,
        }
    }
}

impl Action {
    /// Whether a world could do without it.
    fn is_a_danger(self) -> bool {
        match self {
            Self::Crash
            | Self::Cut
            | Self::Campaign
            | Self::Unreachable
            | Self::Pause
            | Self::Transfer => true,
            Self::Deliver
            | Self::Pull
            | Self::Write
            | Self::Apply
            | Self::Load
            | Self::PassTime
            | Self::Propose
            | Self::Read
            | Self::Restart
            | Self::Snapshot
            | Self::Capture
            | Self::Fetch => false,
        }
    }
}

/// How a world is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Swarm {
    pub(crate) nodes: u64,
    pub(crate) weights: Vec<(Action, u64)>,
    pub(crate) total: u64,
    pub(crate) lost_percent: u64,
    pub(crate) doubled_percent: u64,
    pub(crate) step_ms_max: u64,
    pub(crate) tail_max: usize,
    /// The longest election timeout. A long one lets a leader that is cut off believe in itself
    /// while others elect another: the hard case for reads.
    pub(crate) election_timeout_max: Duration,
    pre_vote: bool,
    forwarding: bool,
    /// All clocks of a world are one, so the smallest bound is true.
    pub(crate) leases: bool,
    snapshots: SnapshotPolicy,
    limits: Limits,
}

impl Swarm {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let nodes = rng.one_of(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        // Each fault is on or off, and then rare or frequent.
        let mut fault = |strengths: &[u64]| if rng.chance(60) { rng.one_of(strengths) } else { 0 };
        let (crash, cut, pause) = (fault(&[1, 2, 6]), fault(&[1, 2, 6]), fault(&[1, 2, 6]));
        let (campaign, unreachable) = (fault(&[1, 2, 5]), fault(&[1, 3]));
        let (transfer, snapshot) = (fault(&[1, 2, 5]), fault(&[1, 3]));
        let (lost_percent, doubled_percent) = (fault(&[1, 5, 30]), fault(&[1, 5, 30]));
        let weights = vec![
            (Action::Deliver, 100 + rng.below(400)),
            (Action::Pull, 200 + rng.below(400)),
            (Action::Write, 50 + rng.below(400)),
            (Action::Apply, 20 + rng.below(80)),
            (Action::Load, 20 + rng.below(40)),
            (Action::PassTime, 40 + rng.below(160)),
            (Action::Propose, 5 + rng.below(60)),
            (Action::Read, rng.below(30)),
            (Action::Crash, crash),
            (Action::Restart, 10 + rng.below(60)),
            (Action::Cut, cut),
            (Action::Campaign, campaign),
            (Action::Unreachable, unreachable),
            (Action::Pause, pause),
            (Action::Transfer, transfer),
            (Action::Snapshot, snapshot),
            (Action::Capture, 5 + rng.below(40)),
            (Action::Fetch, 2 + rng.below(40)),
        ];
        Self {
            nodes,
            total: weights.iter().map(|(_, weight)| weight).sum(),
            weights,
            lost_percent,
            doubled_percent,
            step_ms_max: rng.one_of(&[2, 6, 20]),
            tail_max: rng.one_of(&[0, 2, usize::MAX]),
            election_timeout_max: Duration::from_millis(rng.one_of(&[300, 300, 1_200])),
            pre_vote: rng.chance(80),
            forwarding: rng.chance(85),
            leases: rng.chance(25),
            snapshots: SnapshotPolicy {
                entries: rng.one_of(&[0, 0, 3, 10, 40]),
                bytes: rng.one_of(&[0, 0, 500, 3_000]),
                keep_entries: rng.one_of(&[0, 1, 5, 100]),
                keep_bytes: rng.one_of(&[1, 400, 64 << 20]),
                pinned_bytes_max: rng.one_of(&[1, 1_000, 1 << 30]),
            },
            limits: if rng.chance(50) { tight() } else { Limits::default() },
        }
    }

    /// Five nodes on a network that loses and doubles, with these dangers besides.
    pub(crate) fn unreliable(rng: &mut Rng, dangers: &[(Action, u64)]) -> Self {
        let mut swarm = Self::drawn(rng);
        (swarm.nodes, swarm.lost_percent, swarm.doubled_percent) = (5, 10, 10);
        // Fast enough to get anywhere between two dangers.
        (swarm.step_ms_max, swarm.election_timeout_max) = (4, Duration::from_millis(300));
        let busy = [(Action::Deliver, 600), (Action::Pull, 500), (Action::Write, 400)];
        let dangers: Vec<_> = dangers.iter().copied().chain(busy).collect();
        for (action, weight) in &mut swarm.weights {
            let chosen = dangers.iter().find(|(danger, _)| danger == action);
            *weight = match (chosen, action.is_a_danger()) {
                (Some((_, weight)), _) => *weight,
                (None, true) => 0,
                (None, false) => *weight,
            };
        }
        swarm.total = swarm.weights.iter().map(|(_, weight)| weight).sum();
        swarm
    }

    /// Snapshots at every so many entries, with nothing kept behind them.
    pub(crate) fn with_snapshots(mut self, entries: u64) -> Self {
        self.snapshots = SnapshotPolicy { entries, keep_entries: 0, ..self.snapshots };
        self
    }

    /// The settings of one process of one node.
    pub(crate) fn config(&self, id: u64, seed: u64) -> RaftConfig {
        let peers = (1..=self.nodes).filter(|peer| *peer != id).collect();
        let mut config = RaftConfig::new(id, peers)
            .without_recorded_incarnations_wiped_disks_vote()
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), self.election_timeout_max)
            .with_seed(seed)
            .with_snapshots(self.snapshots)
            .with_limits(self.limits.clone());
        if !self.pre_vote {
            config = config.without_pre_vote_returning_nodes_disturb();
        }
        if !self.forwarding {
            config = config.without_forwarding();
        }
        if self.leases {
            config = config.with_lease_reads(ClockBound::drift_ppm(1));
        }
        config
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> Action {
        let mut ticket = rng.below(self.total);
        for (action, weight) in &self.weights {
            if ticket < *weight {
                return *action;
            }
            ticket -= weight;
        }
        unreachable!("the weights add up to their total")
    }
}

/// Bounds that are reached all the time. An entry counts 64 bytes and its command.
fn tight() -> Limits {
    Limits {
        command_bytes_max: 60,
        uncommitted_bytes_max: 2_000,
        inflight_entries_max: 16,
        inflight_bytes_max: 500,
        message_bytes_max: 250,
        persist_bytes_max: 250,
        apply_bytes_max: 250,
        apply_backlog_bytes_max: 600,
        log_cache_bytes_max: 700,
        waiting_reads_max: 6,
        forwarded_bytes_max: 1_500,
    }
}
