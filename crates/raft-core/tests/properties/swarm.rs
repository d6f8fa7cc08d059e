//! What a seed decides once, before the first step: how many nodes, which settings, which faults
//! and how often. Some seeds know no crash, some no limit; a mixture finds more than an average.
//!
//! Read next: `world.rs`.

use std::time::Duration;

use raft_core::{Limits, RaftConfig};

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
            | Self::Pause => false,
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
    limits: Limits,
}

impl Swarm {
    pub(crate) fn drawn(rng: &mut Rng) -> Self {
        let nodes = rng.one_of(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        // Each fault is on or off, and then rare or frequent.
        let mut fault = |strengths: &[u64]| if rng.chance(60) { rng.one_of(strengths) } else { 0 };
        let (crash, cut, pause) = (fault(&[1, 2, 6]), fault(&[1, 2, 6]), fault(&[1, 2, 6]));
        let (campaign, unreachable) = (fault(&[1, 2, 5]), fault(&[1, 3]));
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
            limits: if rng.chance(50) { tight() } else { Limits::default() },
        }
    }

    /// The settings of one process of one node.
    pub(crate) fn config(&self, id: u64, seed: u64) -> RaftConfig {
        let peers = (1..=self.nodes).filter(|peer| *peer != id).collect();
        let mut config = RaftConfig::new(id, peers)
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), self.election_timeout_max)
            .with_seed(seed)
            .with_limits(self.limits.clone());
        if !self.pre_vote {
            config = config.without_pre_vote_returning_nodes_disturb();
        }
        if !self.forwarding {
            config = config.without_forwarding();
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
