//! The settings of a script's cluster: the first line of every script.
//!
//! Read next: `cluster.rs`.

use std::time::Duration;

use raft_core::{ClockBound, Limits, NodeId, RaftConfig, SnapshotPolicy};

use super::notation;

/// How every node of the script is configured.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) nodes: u64,
    /// So many nodes more wait to be added.
    pub(super) joining: u64,
    pre_vote: bool,
    forwarding: bool,
    record: bool,
    lease: Option<ClockBound>,
    prefer: Vec<u64>,
    snapshots: SnapshotPolicy,
    limits: Limits,
}

impl Settings {
    /// Reads the words after `cluster`. Snapshots are taken when somebody asks, and nothing is kept
    /// behind them, so that a script shows all it needs.
    pub(super) fn parse(words: &[(String, String)]) -> Result<Self, String> {
        let snapshots =
            SnapshotPolicy { entries: 0, bytes: 0, keep_entries: 0, ..SnapshotPolicy::default() };
        let mut settings = Self {
            nodes: 0,
            joining: 0,
            pre_vote: true,
            forwarding: true,
            record: false,
            lease: None,
            prefer: Vec::new(),
            snapshots,
            limits: Limits::default(),
        };
        for (name, value) in words {
            settings.set(name, value)?;
        }
        if settings.nodes == 0 {
            return Err("nodes=… is expected, at least one".into());
        }
        Ok(settings)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let limits = &mut self.limits;
        match (name, value) {
            ("nodes", count) => self.nodes = notation::number(count)?,
            ("joining", count) => self.joining = notation::number(count)?,
            ("pre-vote", "off") => self.pre_vote = false,
            ("forwarding", "off") => self.forwarding = false,
            ("record", "on") => self.record = true,
            ("lease", ppm) => {
                let ppm = ppm.parse().map_err(|_| format!("{ppm:?}: parts per million"))?;
                self.lease = Some(ClockBound::drift_ppm(ppm));
            }
            ("prefer", names) => {
                let nodes = names.split(',').map(notation::node);
                let ids = nodes.map(|node| node.map(NodeId::get)).collect::<Result<_, _>>();
                self.prefer = ids?;
            }
            ("snapshot-every", count) => self.snapshots.entries = notation::number(count)?,
            ("keep", count) => self.snapshots.keep_entries = notation::number(count)?,
            ("inflight", bytes) => limits.inflight_bytes_max = notation::number(bytes)?,
            ("message", bytes) => limits.message_bytes_max = notation::number(bytes)?,
            ("uncommitted", bytes) => limits.uncommitted_bytes_max = notation::number(bytes)?,
            _ => return Err(format!("{name}={value} is no setting of a cluster")),
        }
        Ok(())
    }

    /// The configuration of a node whose disk knows the members of the group, or that waits to be
    /// added.
    pub(super) fn config(&self, node: NodeId, joins: bool, seed: u64) -> RaftConfig {
        let peers = (1..=self.nodes).filter(|id| *id != node.get()).collect();
        let config =
            if joins { RaftConfig::join(node.get()) } else { RaftConfig::new(node.get(), peers) };
        let mut config = config
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), Duration::from_millis(300))
            .with_preferred_leaders(self.prefer.clone())
            .with_snapshots(self.snapshots)
            .with_seed(seed)
            .with_limits(self.limits.clone());
        if !self.pre_vote {
            config = config.without_pre_vote_returning_nodes_disturb();
        }
        if !self.forwarding {
            config = config.without_forwarding();
        }
        if !self.record {
            config = config.without_recorded_incarnations_wiped_disks_vote();
        }
        match self.lease {
            Some(bound) => config.with_lease_reads(bound),
            None => config,
        }
    }
}
