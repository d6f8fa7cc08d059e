//! What a seed decides once: how many nodes, which settings, which faults, how often.
//!
//! Every feature and every kind of fault is on or off by itself, and its strength is drawn by
//! magnitude: worlds that know one fault only find what an average of all faults hides. Read next:
//! `world.rs`.

use std::time::Duration;

use raft_core::{ClockBound, Limits, RaftConfig, SnapshotPolicy};
use raft_storage::{Alignment, FileOptions};

use crate::atlas::Class;
use crate::choice::{Choices, Site};
use crate::coverage::Fault;
use crate::disk::DiskProfile;
use crate::network::NetworkProfile;

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Voters in the beginning, numbered from one.
    pub nodes: u64,
    /// Machines: those of the first voters, and some that may be added later.
    pub machines: u64,
    /// Mean time between two things an operator does, in nanoseconds; zero: nobody does anything.
    pub operator_ns: u64,
    /// Who should lead, the most preferred first.
    pub preferred: Vec<u64>,
    /// How far clocks drift, in parts per million, where reads rely on leases.
    pub lease_drift_ppm: Option<u32>,
    /// When snapshots are taken, and what stays of the log behind them.
    pub snapshots: SnapshotPolicy,
    /// The oldest state that some reads of clients may have, in nanoseconds; zero: none may.
    pub age_max_ns: u64,
    /// Clients, each with one operation at a time.
    pub clients: u64,
    /// Time between two heartbeat rounds, in nanoseconds.
    pub heartbeat_ns: u64,
    /// Lower end of election timeouts, in nanoseconds; the upper end is twice that.
    pub election_ns: u64,
    /// Whether nodes ask before they raise the term.
    pub pre_vote: bool,
    /// Whether followers hand proposals to their leader.
    pub forwarding: bool,
    /// Every bound, the same on all nodes.
    pub limits: Limits,
    /// How the log is kept.
    pub files: FileOptions,
    /// How the disks are.
    pub disk: DiskProfile,
    /// How the network is.
    pub network: NetworkProfile,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Mean time between two faults, in nanoseconds.
    pub fault_ns: u64,
    /// How far damage to disks may go.
    pub class: Class,
    /// Mean time between two operations of a client, in nanoseconds.
    pub think_ns: u64,
    /// After this long a client gives up, in nanoseconds.
    pub patience_ns: u64,
    /// Longest time between an event of a node and the next look at its lanes, in nanoseconds.
    pub pump_ns: u64,
    /// Longest time an apply takes, in nanoseconds.
    pub apply_ns: u64,
    /// Writes handed to the disk at once.
    pub writes_max: usize,
    /// Whether what happens at one instant is permuted.
    pub permutes: bool,
}

/// What a seed may not choose.
#[derive(Clone, Debug, Default)]
pub struct Fixed {
    /// Five nodes in three regions with nothing that breaks, instead of a storm.
    pub is_regional: bool,
    /// So many nodes; zero: the seed decides.
    pub nodes: u64,
    /// Nobody changes the membership or hands leadership over.
    pub without_operator: bool,
    /// So many clients; zero: the seed decides.
    pub clients: u64,
    /// Only these faults; `None`: the seed decides among all.
    pub faults: Option<Vec<Fault>>,
}

const MICROS: u64 = 1_000;
const MILLIS: u64 = 1_000_000;
const SECONDS: u64 = 1_000_000_000;

impl Swarm {
    /// Draws a world.
    pub(crate) fn draw(choices: &Choices, fixed: &Fixed) -> Self {
        let c = choices;
        let nodes = *c.pick(Site::Swarm, &[3, 3, 3, 3, 3, 3, 5, 5, 5, 5, 5, 1, 1, 2, 4, 7]);
        let nodes = if fixed.nodes == 0 { nodes } else { fixed.nodes };
        let operates = c.chance(Site::Members, 600_000) && !fixed.without_operator;
        let spare = c.choose(Site::Members, 8u64.saturating_sub(nodes).max(1));
        let clients = c.between(Site::Swarm, 1, 9);
        let heartbeat_ns = c.spread(Site::Swarm, 50 * MILLIS, 200 * MILLIS);
        let election_ns = heartbeat_ns * c.between(Site::Swarm, 4, 11);
        let alignment =
            *c.pick(Site::Swarm, &[Alignment::Eight, Alignment::Eight, Alignment::Page]);
        let class = *c
            .pick(Site::Swarm, &[Class::Undamaged, Class::Undamaged, Class::A, Class::B, Class::C]);
        // A log packed to eight bytes writes a sector again: damage to it takes earlier batches
        // with the last one, which has no witness yet.
        let alignment = if class == Class::Undamaged { alignment } else { Alignment::Page };
        Self {
            nodes,
            machines: if operates { nodes + spare } else { nodes },
            operator_ns: if operates {
                c.spread(Site::Members, 100 * MILLIS, 10 * SECONDS)
            } else {
                0
            },
            preferred: draw_preferred(c, nodes + spare),
            lease_drift_ppm: c
                .chance(Site::Members, 300_000)
                .then(|| u32::try_from(c.spread(Site::Members, 100, 200_000)).unwrap_or(100)),
            snapshots: draw_snapshots(c),
            age_max_ns: if c.chance(Site::Members, 400_000) {
                c.spread(Site::Members, MILLIS, 20 * SECONDS)
            } else {
                0
            },
            clients: if fixed.clients == 0 { clients } else { fixed.clients },
            heartbeat_ns,
            election_ns,
            pre_vote: !c.chance(Site::Swarm, 250_000),
            forwarding: !c.chance(Site::Swarm, 200_000),
            limits: draw_limits(c),
            files: draw_files(c, alignment),
            disk: draw_disk(c, alignment),
            network: draw_network(c),
            faults: draw_faults(c, class, fixed.faults.as_deref()),
            fault_ns: c.spread(Site::Swarm, 100 * MILLIS, 8 * SECONDS),
            class,
            think_ns: c.spread(Site::Swarm, 5 * MILLIS, SECONDS),
            patience_ns: c.spread(Site::Swarm, SECONDS, 8 * SECONDS),
            pump_ns: if c.chance(Site::Swarm, 300_000) {
                c.spread(Site::Swarm, 10 * MICROS, 5 * MILLIS)
            } else {
                0
            },
            apply_ns: if c.chance(Site::Swarm, 300_000) {
                c.spread(Site::Swarm, 10 * MICROS, 100 * MILLIS)
            } else {
                0
            },
            writes_max: usize::try_from(c.spread(Site::Swarm, 1, 16)).unwrap_or(1),
            permutes: c.chance(Site::Swarm, 500_000),
        }
    }

    /// The settings of a node that belongs to the first members, or joins later.
    pub(crate) fn config(&self, node: u64, joins: bool, seed: u64) -> RaftConfig {
        let peers = (1..=self.nodes).filter(|id| *id != node).collect();
        let config = if joins { RaftConfig::join(node) } else { RaftConfig::new(node, peers) };
        let mut config = config
            .with_preferred_leaders(self.preferred.clone())
            .with_snapshots(self.snapshots)
            .with_heartbeat_interval(Duration::from_nanos(self.heartbeat_ns))
            .with_election_timeout(
                Duration::from_nanos(self.election_ns),
                Duration::from_nanos(2 * self.election_ns),
            )
            .with_seed(seed)
            .with_limits(self.limits.clone());
        if !self.pre_vote {
            config = config.without_pre_vote_returning_nodes_disturb();
        }
        if !self.forwarding {
            config = config.without_forwarding();
        }
        if let Some(drift) = self.lease_drift_ppm {
            config = config.with_lease_reads(ClockBound::drift_ppm(drift));
        }
        config
    }

    /// The longest election timeout, in nanoseconds.
    pub const fn election_max_ns(&self) -> u64 {
        2 * self.election_ns
    }

    /// What was decided, for people.
    pub fn describe(&self) -> Vec<(String, String)> {
        let millis = |nanos: u64| format!("{}.{:03} ms", nanos / MILLIS, nanos / MICROS % 1_000);
        let faults: Vec<&str> = self.faults.iter().map(|fault| fault.name()).collect();
        let rows = [
            ("nodes", self.nodes.to_string()),
            ("machines", self.machines.to_string()),
            ("an operator acts every", millis(self.operator_ns)),
            ("preferred leaders", format!("{:?}", self.preferred)),
            ("reads under leases, drift in ppm", format!("{:?}", self.lease_drift_ppm)),
            ("snapshots", format!("{:?}", self.snapshots)),
            ("reads as old as", millis(self.age_max_ns)),
            ("clients", self.clients.to_string()),
            ("heartbeat interval", millis(self.heartbeat_ns)),
            (
                "election timeout",
                format!("{} to {}", millis(self.election_ns), millis(2 * self.election_ns)),
            ),
            ("pre-vote", self.pre_vote.to_string()),
            ("forwarding", self.forwarding.to_string()),
            ("damage class", self.class.to_string()),
            ("faults", faults.join(", ")),
            ("mean time between faults", millis(self.fault_ns)),
            ("network", format!("{:?}", self.network)),
            ("disk", format!("{:?}", self.disk)),
            ("files", format!("{:?}", self.files)),
            ("limits", format!("{:?}", self.limits)),
            ("look at the lanes after", millis(self.pump_ns)),
            ("apply takes up to", millis(self.apply_ns)),
            ("writes in flight", self.writes_max.to_string()),
            ("clients think for about", millis(self.think_ns)),
            ("clients give up after", millis(self.patience_ns)),
            ("equal moments are permuted", self.permutes.to_string()),
        ];
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// Some worlds have nodes that should lead; they may be machines that never become voters.
fn draw_preferred(c: &Choices, machines: u64) -> Vec<u64> {
    if !c.chance(Site::Members, 200_000) {
        return Vec::new();
    }
    let first = 1 + c.choose(Site::Members, machines);
    let second = 1 + c.choose(Site::Members, machines);
    if first == second { vec![first] } else { vec![first, second] }
}

/// In most worlds logs become shorter, in many down to nothing.
fn draw_snapshots(c: &Choices) -> SnapshotPolicy {
    let mut policy = SnapshotPolicy::default();
    if !c.chance(Site::Snapshot, 600_000) {
        return policy;
    }
    policy.entries =
        if c.chance(Site::Snapshot, 800_000) { c.spread(Site::Snapshot, 1, 200) } else { 0 };
    if policy.entries == 0 || c.chance(Site::Snapshot, 200_000) {
        policy.bytes = c.spread(Site::Snapshot, 100, 16 << 10);
    }
    policy.keep_entries = c.choose(Site::Snapshot, 2) * c.spread(Site::Snapshot, 1, 100);
    if c.chance(Site::Snapshot, 300_000) {
        policy.keep_bytes = c.spread(Site::Snapshot, 1, 4 << 10);
    }
    if c.chance(Site::Snapshot, 300_000) {
        policy.pinned_bytes_max = c.spread(Site::Snapshot, 1, 16 << 10);
    }
    policy
}

fn draw_limits(c: &Choices) -> Limits {
    let mut limits = Limits::default();
    // Usually as in production: the tight ones are for what happens at the bounds.
    if c.chance(Site::Swarm, 400_000) {
        limits.message_bytes_max = c.spread(Site::Swarm, 80, 4 << 10);
        limits.inflight_bytes_max = c.spread(Site::Swarm, 80, 16 << 10);
        limits.persist_bytes_max = c.spread(Site::Swarm, 80, 4 << 10);
    }
    if c.chance(Site::Swarm, 400_000) {
        limits.apply_bytes_max = c.spread(Site::Swarm, 80, 4 << 10);
        limits.apply_backlog_bytes_max = c.spread(Site::Swarm, 80, 16 << 10);
    }
    if c.chance(Site::Swarm, 300_000) {
        limits.uncommitted_bytes_max = c.spread(Site::Swarm, 400, 16 << 10);
        limits.forwarded_bytes_max = c.spread(Site::Swarm, 400, 16 << 10);
        limits.waiting_reads_max = usize::try_from(c.spread(Site::Swarm, 1, 64)).unwrap_or(1);
    }
    if c.chance(Site::Swarm, 500_000) {
        limits.log_cache_bytes_max = c.spread(Site::Swarm, 80, 8 << 10);
    }
    limits
}

fn draw_files(c: &Choices, alignment: Alignment) -> FileOptions {
    let segment = (32 << 10) << c.choose(Site::Swarm, 3);
    let mut files = FileOptions::default()
        .with_segment_bytes(segment)
        .with_alignment(alignment)
        .with_tail_bytes_max(*c.pick(Site::Swarm, &[64 << 20, 4 << 10, 0]));
    if c.chance(Site::Swarm, 300_000) {
        files = files.with_batch_bytes_max(c.spread(Site::Swarm, 200, 8 << 10));
    }
    if c.chance(Site::Swarm, 250_000) {
        files = files.without_zero_fill();
    }
    files
}

fn draw_disk(c: &Choices, alignment: Alignment) -> DiskProfile {
    DiskProfile {
        // A log that writes a sector again trusts the disk not to damage what stands in it.
        tears_to_garbage: alignment == Alignment::Page,
        block_bytes: *c.pick(Site::Swarm, &[512, 4096]),
        call_ns: c.spread(Site::Swarm, MICROS, 50 * MICROS),
        sync_ns: c.spread(Site::Swarm, 20 * MICROS, 5 * MILLIS),
        sync_jitter_ns: c.spread(Site::Swarm, 1, 20 * MILLIS),
        short: c.chance(Site::Swarm, 200_000),
        failed_sync_shows_old: c.chance(Site::Swarm, 500_000),
    }
}

fn draw_network(c: &Choices) -> NetworkProfile {
    let sometimes = |high: u64| {
        if c.chance(Site::Swarm, 300_000) { c.spread(Site::Swarm, 1_000, high) } else { 0 }
    };
    let delay_ns = c.spread(Site::Swarm, 50 * MICROS, 10 * MILLIS);
    NetworkProfile {
        delay_ns,
        jitter_ns: delay_ns / 10 + c.spread(Site::Swarm, 1, 20 * MILLIS),
        loss: sometimes(150_000),
        double: sometimes(150_000),
        keep: sometimes(20_000),
        corrupt: sometimes(20_000),
        reorders: c.chance(Site::Swarm, 400_000),
        capacity: u32::try_from(c.spread(Site::Swarm, 8, 1 << 12)).unwrap_or(u32::MAX),
    }
}

fn draw_faults(c: &Choices, class: Class, fixed: Option<&[Fault]>) -> Vec<Fault> {
    // Some worlds know every fault, most about half of them, some few.
    let chance = *c.pick(Site::Swarm, &[500_000, 150_000, 1_000_000]);
    let mut faults = Vec::new();
    for fault in Fault::ALL {
        let drawn = c.chance(Site::Swarm, chance);
        let allowed = class != Class::Undamaged || !fault.is_damage();
        let wanted = fixed.map_or(drawn, |fixed| fixed.contains(fault));
        if wanted && allowed {
            faults.push(*fault);
        }
    }
    faults
}

impl Fault {
    /// Whether it may take something that was durable: the atlas has to agree.
    pub const fn is_damage(self) -> bool {
        matches!(
            self,
            Self::Wipe | Self::BitRot | Self::Unreadable | Self::Misdirected | Self::Stale
        )
    }
}
