//! Settings: plain, chainable, and every broken rule reported at once.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::{ClusterId, ConfigError, Member, NodeId, SnapshotPolicy};

/// How a node takes part in its group.
///
/// ```
/// use core::time::Duration;
/// use raft_core::RaftConfig;
///
/// let config = RaftConfig::new(1, vec![2, 3])
///     .with_heartbeat_interval(Duration::from_millis(50))
///     .with_election_timeout(Duration::from_millis(150), Duration::from_millis(300));
/// assert!(config.validate().is_ok());
///
/// let wrong = config.with_heartbeat_interval(Duration::from_millis(200)).validate();
/// assert!(wrong.unwrap_err().to_string().starts_with("heartbeat_interval 200ms: at most half"));
/// ```
#[derive(Clone, Debug)]
pub struct RaftConfig {
    pub(crate) id: u64,
    pub(crate) members: BTreeMap<u64, Member>,
    /// The cluster; nodes of different clusters refuse each other.
    pub cluster: ClusterId,
    /// Time between two heartbeat rounds (§5.2). Default 50 ms; at most half of the lower election
    /// timeout, so that one lost heartbeat does not start an election.
    pub heartbeat_interval: Duration,
    /// Election timeouts are drawn from here up to
    /// [`election_timeout_max`](Self::election_timeout_max) (§5.2). Default 500 ms. Also how long
    /// a follower sticks to a leader it heard (thesis §4.2.3).
    pub election_timeout_min: Duration,
    /// The upper end of election timeouts, exclusive. Default 1 s. A leader without contact to a
    /// quorum for this long steps down (thesis §6.2).
    pub election_timeout_max: Duration,
    /// Lets election timeouts grow with the time a leader's rounds take, up to this upper end; the
    /// configured ones are the lower limit. The same on all nodes. Default off.
    pub adaptive_election_timeout_max: Option<Duration>,
    /// Ask before raising the term (thesis §9.6). Default on.
    pub pre_vote: bool,
    /// A follower hands proposals of its callers to the leader. Default on.
    pub forwarding: bool,
    /// Records the incarnation of every voter in the membership, so that a wiped disk under an old
    /// id is told from the one that promised to vote. Default on.
    pub record_incarnations: bool,
    /// Who should lead, the most preferred first; the same on all nodes. Default nobody.
    pub preferred_leaders: Vec<u64>,
    /// Reads under a lease, and what they assume of clocks; the same on all nodes. Default off.
    pub lease_reads: Option<ClockBound>,
    /// Seeds election timeouts and the numbers of conversations; drawn by the host.
    pub seed: u64,
    /// When snapshots are taken, and what stays of the log behind them.
    pub snapshots: SnapshotPolicy,
    /// Every bound.
    pub limits: Limits,
}

/// What lease reads assume of clocks (thesis §6.4.1): the rate of every clock differs from true
/// time by at most so much, also while a machine is suspended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockBound {
    /// In parts per million. Quartz is within 100; 1,000 leaves room. At most 200,000.
    pub drift_ppm: u32,
}

impl ClockBound {
    /// A bound on drift.
    pub const fn drift_ppm(drift_ppm: u32) -> Self {
        Self { drift_ppm }
    }

    /// How long a quorum's word holds on the clock of a leader, if voters count `promised` on
    /// theirs: one clock may be fast and the other slow.
    pub(crate) fn lease(self, promised: Duration) -> Duration {
        const MILLION: u32 = 1_000_000;
        let promised = if mutant!("C6a") { promised * 4 } else { promised };
        promised / MILLION * MILLION.saturating_sub(self.drift_ppm.saturating_mul(2))
    }
}

/// Every bound of a node. What is full says no with a typed error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest command, in bytes. Default 8 MiB.
    pub command_bytes_max: u64,
    /// The log above the commit index, in bytes; beyond it proposals are refused, but for one that
    /// would be alone there. Default 64 MiB.
    pub uncommitted_bytes_max: u64,
    /// In flight to one follower, in bytes: bandwidth times delay of a slow link. Default 8 MiB.
    pub inflight_bytes_max: u64,
    /// In flight to one follower, in entries. Default 65,536.
    pub inflight_entries_max: u64,
    /// One AppendEntries or one forwarded batch, in bytes; a single larger entry passes. Default
    /// 1 MiB.
    pub message_bytes_max: u64,
    /// One `Persist`, in bytes of entries; a single larger entry passes. Default 4 MiB.
    pub persist_bytes_max: u64,
    /// One `Apply`, in bytes. Default 1 MiB.
    pub apply_bytes_max: u64,
    /// Handed out to be applied and not yet applied, in bytes. Default 16 MiB.
    pub apply_backlog_bytes_max: u64,
    /// The newest entries kept in memory, in bytes; older ones are loaded. Default 16 MiB.
    pub log_cache_bytes_max: u64,
    /// Reads that wait for confirmation. Default 65,536.
    pub waiting_reads_max: usize,
    /// Forwarded proposals whose entries have not been seen yet, in bytes. Default 64 MiB.
    pub forwarded_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            command_bytes_max: 8 << 20,
            uncommitted_bytes_max: 64 << 20,
            inflight_bytes_max: 8 << 20,
            inflight_entries_max: 65_536,
            message_bytes_max: 1 << 20,
            persist_bytes_max: 4 << 20,
            apply_bytes_max: 1 << 20,
            apply_backlog_bytes_max: 16 << 20,
            log_cache_bytes_max: 16 << 20,
            waiting_reads_max: 65_536,
            forwarded_bytes_max: 64 << 20,
        }
    }
}

impl RaftConfig {
    /// Node `id` of a group that begins with itself and `peers` as voters.
    ///
    /// The peers matter on a blank disk only: afterwards the membership comes from the log. Numbers
    /// are checked by [`validate`](Self::validate).
    pub fn new(id: u64, peers: Vec<u64>) -> Self {
        let members = peers.into_iter().chain([id]).map(|id| (id, Member::default())).collect();
        Self {
            id,
            members,
            cluster: ClusterId::default(),
            heartbeat_interval: Duration::from_millis(50),
            election_timeout_min: Duration::from_millis(500),
            election_timeout_max: Duration::from_secs(1),
            adaptive_election_timeout_max: None,
            pre_vote: true,
            forwarding: true,
            record_incarnations: true,
            preferred_leaders: Vec::new(),
            lease_reads: None,
            seed: id,
            snapshots: SnapshotPolicy::default(),
            limits: Limits::default(),
        }
    }

    /// Gives the initial members with their addresses.
    #[must_use]
    pub fn with_members(mut self, members: BTreeMap<NodeId, Member>) -> Self {
        self.members = members.into_iter().map(|(id, member)| (id.get(), member)).collect();
        self
    }

    /// Sets the cluster id; nodes of other clusters are refused.
    #[must_use]
    pub fn with_cluster_id(mut self, cluster: ClusterId) -> Self {
        self.cluster = cluster;
        self
    }

    /// Sets the time between two heartbeat rounds.
    #[must_use]
    pub fn with_heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// Sets the interval that election timeouts are drawn from.
    #[must_use]
    pub fn with_election_timeout(mut self, min: Duration, max: Duration) -> Self {
        (self.election_timeout_min, self.election_timeout_max) = (min, max);
        self
    }

    /// Lets election timeouts grow with the round trips a leader measures: to ten times the time in
    /// which a quorum answers (§5.6), between the configured timeouts and this upper end.
    #[must_use]
    pub const fn with_adaptive_election_timeout(mut self, max: Duration) -> Self {
        self.adaptive_election_timeout_max = Some(max);
        self
    }

    /// Sets the seed of everything random.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets when snapshots are taken, and what stays of the log behind them.
    #[must_use]
    pub const fn with_snapshots(mut self, snapshots: SnapshotPolicy) -> Self {
        self.snapshots = snapshots;
        self
    }

    /// Sets every bound.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Campaigns without asking first. A node that returns from a partition then disturbs the
    /// leader (thesis §9.6).
    #[must_use]
    pub fn without_pre_vote_returning_nodes_disturb(mut self) -> Self {
        self.pre_vote = false;
        self
    }

    /// Refuses proposals at followers instead of handing them to the leader.
    #[must_use]
    pub fn without_forwarding(mut self) -> Self {
        self.forwarding = false;
        self
    }

    /// Waits to be added to a group: a blank disk begins without members.
    #[must_use]
    pub fn join(id: u64) -> Self {
        Self { members: BTreeMap::new(), ..Self::new(id, Vec::new()) }
    }

    /// Sets who should lead, the most preferred first. A leader that is less preferred hands over
    /// as soon as a preferred node has kept up for a while.
    #[must_use]
    pub fn with_preferred_leaders(mut self, nodes: Vec<u64>) -> Self {
        self.preferred_leaders = nodes;
        self
    }

    /// Allows reads under a lease. The bound is a promise about the clocks of all machines: if it
    /// is broken, such a read may be stale. Every node of the group has to be configured so.
    #[must_use]
    pub const fn with_lease_reads(mut self, bound: ClockBound) -> Self {
        self.lease_reads = Some(bound);
        self
    }

    /// Does not record incarnations: a wiped disk that comes back under its old id may vote twice
    /// and lose what was committed.
    #[must_use]
    pub const fn without_recorded_incarnations_wiped_disks_vote(mut self) -> Self {
        self.record_incarnations = false;
        self
    }

    /// Heartbeat rounds in the longest election timeout.
    pub(crate) fn rounds_per_timeout(&self) -> u64 {
        let rounds = self.election_timeout_max.as_nanos() / self.heartbeat_interval.as_nanos();
        u64::try_from(rounds).unwrap_or(u64::MAX)
    }

    /// This node.
    ///
    /// # Panics
    ///
    /// If the id is zero, which [`validate`](Self::validate) reports.
    pub fn node_id(&self) -> NodeId {
        NodeId::new(self.id).expect("a validated configuration has a node id above zero")
    }

    /// The members a blank disk begins with.
    pub fn initial_members(&self) -> BTreeMap<NodeId, Member> {
        let members = self.members.iter();
        members.filter_map(|(id, member)| Some((NodeId::new(*id)?, member.clone()))).collect()
    }

    /// Checks every rule and reports all that are broken.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let mut broken: Vec<String> = Vec::new();
        let mut rule = |holds: bool, text: String| {
            if !holds {
                broken.push(text);
            }
        };
        let (min, max) = (self.election_timeout_min, self.election_timeout_max);
        rule(self.id != 0, format!("id {}: above zero, zero would mean nobody", self.id));
        rule(!self.members.contains_key(&0), "peers 0: ids are above zero".into());
        rule(
            self.members.is_empty() || self.members.contains_key(&self.id),
            format!("members: node {} is not among them", self.id),
        );
        rule(!self.heartbeat_interval.is_zero(), "heartbeat_interval 0: above zero".into());
        rule(
            self.heartbeat_interval * 2 <= min,
            format!(
                "heartbeat_interval {:?}: at most half of election_timeout.min ({min:?}), so that \
                 one lost heartbeat does not start an election",
                self.heartbeat_interval
            ),
        );
        rule(
            min < max,
            format!(
                "election_timeout {min:?}..{max:?}: min below max, so that timeouts spread and \
                 votes are not split for ever"
            ),
        );
        if let Some(ceiling) = self.adaptive_election_timeout_max {
            rule(
                ceiling >= max,
                format!("adaptive_election_timeout_max {ceiling:?}: at least {max:?}"),
            );
        }
        let drift = self.lease_reads.map_or(0, |bound| bound.drift_ppm);
        rule(
            drift <= 200_000,
            format!("lease_reads drift {drift} ppm: at most 200000, or no lease is worth anything"),
        );
        for (name, bytes) in self.limits.bytes() {
            rule(bytes > 0, format!("{name} 0: above zero, or nothing moves"));
        }
        rule(
            self.limits.inflight_entries_max > 0,
            "inflight_entries_max 0: above zero, or nothing moves".into(),
        );
        rule(self.limits.waiting_reads_max > 0, "waiting_reads_max 0: above zero".into());
        if broken.is_empty() { Ok(()) } else { Err(ConfigError::Violations(broken)) }
    }
}

impl Limits {
    fn bytes(&self) -> [(&'static str, u64); 9] {
        [
            ("command_bytes_max", self.command_bytes_max),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("inflight_bytes_max", self.inflight_bytes_max),
            ("message_bytes_max", self.message_bytes_max),
            ("persist_bytes_max", self.persist_bytes_max),
            ("apply_bytes_max", self.apply_bytes_max),
            ("apply_backlog_bytes_max", self.apply_backlog_bytes_max),
            ("log_cache_bytes_max", self.log_cache_bytes_max),
            ("forwarded_bytes_max", self.forwarded_bytes_max),
        ]
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use super::*;

    /// All broken rules come in one answer, each naming its setting.
    #[test]
    fn every_violation_is_reported_at_once() {
        let mut config = RaftConfig::new(0, vec![2])
            .with_election_timeout(Duration::from_millis(10), Duration::from_millis(10));
        config.limits.inflight_bytes_max = 0;
        let text = config.validate().unwrap_err().to_string();
        for setting in ["id 0", "peers 0", "heartbeat_interval", "election_timeout", "inflight"] {
            assert!(text.contains(setting), "{setting} is missing in: {text}");
        }
    }
}
