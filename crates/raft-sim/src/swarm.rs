//! What a seed decides once: how many nodes, which settings, which faults, how often.
//!
//! Every feature and every kind of fault is on or off by itself, and its strength is drawn by
//! magnitude: worlds that know one fault only find what an average of all faults hides. Read next:
//! `world.rs`.

use std::time::Duration;

use raft_core::{Limits, RaftConfig};
use raft_storage::{Alignment, FileOptions};

use crate::atlas::Class;
use crate::choice::{Choices, Site};
use crate::coverage::Fault;
use crate::disk::DiskProfile;
use crate::network::NetworkProfile;

/// How a world is made.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// Voters, numbered from one.
    pub nodes: u64,
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
    /// So many nodes; zero: the seed decides.
    pub nodes: u64,
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
            nodes: if fixed.nodes == 0 { nodes } else { fixed.nodes },
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

    /// The settings of a node.
    pub(crate) fn config(&self, node: u64, seed: u64) -> RaftConfig {
        let peers = (1..=self.nodes).filter(|id| *id != node).collect();
        let mut config = RaftConfig::new(node, peers)
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
