//! Five nodes in three regions, far apart in one direction more than in the other: nothing breaks,
//! and one leader has to be found and to stay.
//!
//! In half of these worlds the outer regions never reach each other: only the node in the middle
//! reaches everyone, and whoever leads, somebody is left who does not hear it. Pre-votes (thesis
//! §9.6) and a vote that is refused while a leader is heard (§4.2.3) keep those from disturbing.
//!
//! Read next: `../network.rs`.

use raft_core::{NodeId, Role};

use super::World;
use crate::choice::Site;
use crate::network::NetworkProfile;
use crate::oracle::{Check, Failure};
use crate::swarm::Swarm;

/// Nodes of these worlds.
pub(crate) const NODES: u64 = 5;

/// In which region each of them is.
const REGIONS: [usize; 5] = [0, 0, 1, 2, 2];

/// The region that reaches both others.
const MIDDLE: usize = 1;

/// After so many of the longest election timeouts one leader is found.
const SETTLED: u64 = 10;

/// Messages lost or damaged, in a million.
const LOSS_MAX: u64 = 10_000;

const MILLIS: u64 = 1_000_000;

impl Swarm {
    /// The same world, with nothing in it that may cost a leader its office.
    pub(crate) fn calmed(mut self) -> Self {
        let profile = self.network;
        self.network = NetworkProfile {
            loss: profile.loss.min(LOSS_MAX),
            corrupt: profile.corrupt.min(LOSS_MAX),
            capacity: profile.capacity.max(1 << 8),
            ..profile
        };
        self.preferred = Vec::new();
        self
    }
}

impl World {
    /// Every way from one region to another has its own length; some do not exist.
    pub(super) fn draw_regions(&mut self) {
        if !self.ingredients.fixed.is_regional {
            return;
        }
        let is_bridge = self.choices.chance(Site::Swarm, 500_000);
        let far = self.swarm.heartbeat_ns * 2 / 5;
        let mut ways = [[0; 3]; 3];
        for (from, way) in ways.iter_mut().enumerate() {
            for (to, nanos) in way.iter_mut().enumerate().filter(|(to, _)| *to != from) {
                let exists = !is_bridge || from == MIDDLE || to == MIDDLE;
                *nanos = if exists { self.choices.spread(Site::Swarm, MILLIS, far) } else { 0 };
            }
        }
        let nodes = || (1..=NODES).filter_map(NodeId::new).zip(REGIONS);
        for (from, here) in nodes() {
            for (to, there) in nodes().filter(|(_, there)| *there != here) {
                match ways[here][there] {
                    0 => self.network.cut(from, to),
                    nanos => self.network.lengthen(from, to, nanos),
                }
            }
        }
    }

    /// When a leader has to be found, all nodes having started.
    fn settled_ns(&self) -> u64 {
        2 * self.swarm.fault_ns + SETTLED * self.swarm.election_max_ns()
    }

    /// A node has begun to lead.
    pub(super) fn leads_in_its_region(&mut self, node: NodeId) -> Check {
        if !self.ingredients.fixed.is_regional || self.now < self.settled_ns() {
            return Ok(());
        }
        let text = format!("{node} begins to lead, and nothing has happened to the leader before");
        Err(Failure::of("one stable leader (thesis §9.6)", node, text))
    }

    /// Nothing was to be healed: a leader was there for as long as it took to find it, and commits
    /// what it is given. The run goes on until that can be told.
    pub(super) fn end_regions(&mut self) -> Check {
        if self.now < 2 * self.settled_ns() {
            return Ok(());
        }
        self.is_finished = true;
        let mut processes = self.seats.iter().filter_map(|seat| seat.process());
        let leads = processes.any(|process| {
            let state = process.raft.state();
            // The no-op and the record of the disks are not all.
            matches!(state.role(), Role::Leader(_)) && state.commit_index().get() > NODES
        });
        if leads {
            return Ok(());
        }
        let text = "after a storm without a fault nobody leads and commits";
        Err(Failure::new("one stable leader (thesis §9.6)", text))
    }
}
