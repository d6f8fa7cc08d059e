//! When the faults end: every node runs, every link carries, every disk writes. Within a bound the
//! cluster must lead, converge, answer everybody and be at rest.
//!
//! Read next: `quorum.rs`.

use std::time::Duration;

use raft_core::{ProgressMode, RaftNode, Role, Time};

use crate::world::World;

/// Within so many of the longest election timeouts a healthy cluster has done what is asked of it.
const BOUND: u32 = 20;

/// Rounds of deliver, write and apply at one moment before we call it a busy loop.
const BUSY_MAX: u32 = 2_000;

impl World {
    /// Ends all faults and checks that the cluster recovers, serves, and comes to rest.
    pub(crate) fn calm(&mut self) {
        self.cut.clear();
        self.stalled.clear();
        for i in 0..self.nodes.len() {
            self.nodes[i].paused = None;
            self.start(i);
        }
        self.run_until(Self::has_converged, "converge after the faults");
        // A transfer may be under way, and nothing is accepted meanwhile.
        let over = self.now.after(self.swarm.election_timeout_max);
        let is_over = |world: &Self| world.now >= over && world.has_converged();
        self.run_until(is_over, "end a transfer");
        // Everybody is served.
        let before = self.oracle.seen;
        for i in 0..self.nodes.len() {
            self.propose(i, 0);
            self.read(i);
        }
        self.run_until(Self::has_converged, "converge with new proposals");
        let after = self.oracle.seen;
        assert!(after.answered > before.answered, "nobody's proposal was answered");
        assert!(after.reads > before.reads, "nobody's read was answered");
        for slot in &self.nodes {
            let raft = slot.raft.as_ref().expect("every node runs");
            assert!(self.oracle.open(slot.id, true) == 0, "{} keeps reads open", slot.id);
            let open = self.oracle.open(slot.id, false);
            assert!(open == raft.waiting_proposals(), "{} forgot {open} callers", slot.id);
        }
        self.assert_rest();
        self.change_leader();
    }

    /// After a commit of a later term nobody waits any more: what was lost on its way is refused.
    fn change_leader(&mut self) {
        let term = self.terms().max();
        let leader = self.leader().expect("it has converged");
        // Nobody hears the leader until somebody else leads.
        let peers = self.nodes.iter().map(|slot| slot.id);
        let me = self.nodes[leader].id;
        let alone = self.nodes.len() == 1;
        let links = peers.flat_map(|peer| [(me, peer), (peer, me)]);
        self.cut = links.map(|link| (link, Time::NEVER)).collect();
        if alone {
            self.nodes[leader].raft = None;
            self.nodes[leader].writes.clear();
            self.nodes[leader].applies.clear();
            return;
        }
        if self.nodes.len() == 2 {
            // Two nodes cannot lose one: let the other ask while the leader listens.
            self.cut.clear();
            return;
        }
        // Check quorum: the old leader stops by itself, though it hears of nobody else.
        let replaced = |world: &Self| {
            let leads = |slot: &crate::world::Slot| {
                let state = slot.raft.as_ref().map(RaftNode::state);
                state
                    .filter(|state| matches!(state.role(), Role::Leader(_)))
                    .map(raft_core::RaftState::current_term)
            };
            leads(&world.nodes[leader]).is_none()
                && world.nodes.iter().filter_map(leads).any(|newer| Some(newer) > term)
        };
        self.run_until(replaced, "replace a leader that is cut off");
        self.cut.clear();
        self.run_until(Self::has_converged, "converge under the new leader");
        for slot in &self.nodes {
            let raft = slot.raft.as_ref().expect("every node runs");
            let (waits, open) = (raft.waiting_proposals(), self.oracle.open(slot.id, false));
            assert!(waits == 0, "{} callers of {} wait for ever", waits, slot.id);
            assert!(open == 0, "{} forgot {open} callers", slot.id);
        }
        self.assert_rest();
    }

    fn terms(&self) -> impl Iterator<Item = raft_core::Term> {
        self.nodes.iter().filter_map(|slot| Some(slot.raft.as_ref()?.state().current_term()))
    }

    /// The node that leads the newest term, if any.
    fn leader(&self) -> Option<usize> {
        let newest = self.terms().max();
        self.nodes.iter().position(|slot| {
            slot.raft.as_ref().is_some_and(|raft| {
                let state = raft.state();
                matches!(state.role(), Role::Leader(_)) && Some(state.current_term()) == newest
            })
        })
    }

    /// One leader, one term, one log; all of it committed and applied everywhere.
    fn has_converged(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let Some(leader) = self.nodes[leader].raft.as_ref() else { return false };
        let (term, last) = (leader.state().current_term(), leader.state().log().last());
        let same = |raft: &RaftNode| {
            let state = raft.state();
            state.current_term() == term
                && state.log().last() == last
                && state.commit_index() == last.index
                && state.last_applied() == last.index
        };
        self.nodes.iter().all(|slot| slot.raft.as_ref().is_some_and(same))
    }

    fn run_until(&mut self, reached: impl Fn(&Self) -> bool, what: &str) {
        let bound = self.swarm.election_timeout_max * BOUND;
        let end = self.now.after(bound);
        let mut settled_after = None;
        while self.now <= end {
            self.settle();
            // A few heartbeats more, so that everything under way arrives.
            if settled_after.is_none() && reached(self) {
                settled_after = Some(self.now.after(Duration::from_millis(250)));
            }
            if settled_after.is_some_and(|at| self.now >= at) && reached(self) {
                return;
            }
            let due = self.nodes.iter().filter_map(|slot| Some(slot.raft.as_ref()?.deadline().at));
            self.now = self.now.max(due.min().unwrap_or(Time::NEVER));
            for i in 0..self.nodes.len() {
                self.wake(i);
            }
        }
        let states: Vec<String> =
            self.nodes.iter().filter_map(|n| Some(short(n.raft.as_ref()?))).collect();
        panic!("it takes more than {bound:?} to {what}: {states:#?}");
    }

    /// Everything that can happen without time passing.
    fn settle(&mut self) {
        let mut quiet = 0;
        for _ in 0..BUSY_MAX {
            let before = self.work;
            for i in 0..self.nodes.len() {
                self.pull_network(i);
                self.pull_disk(i);
                self.pull_application(i);
                self.write(i);
                self.apply(i);
                self.load(i);
                self.capture(i, true);
                self.fetch(i, true);
            }
            for message in std::mem::take(&mut self.wire) {
                self.deliver(message);
            }
            // Twice: one lane may put work into a lane that was looked at before.
            quiet = if self.work == before { quiet + 1 } else { 0 };
            if quiet == 2 {
                return;
            }
        }
        panic!("the cluster is busy for ever at one moment");
    }

    /// At rest every follower is caught up, nothing is in flight, and what is in memory is sound.
    fn assert_rest(&self) {
        for slot in &self.nodes {
            let raft = slot.raft.as_ref().expect("every node runs");
            let log = raft.state().log();
            assert!(log.verify() == Ok(()), "{} holds a broken log", slot.id);
            assert!(log.durable() == log.last().index, "{} did not write its log", slot.id);
            for (peer, progress) in raft.status().progress {
                assert!(progress.inflight_bytes == 0, "{peer} has bytes in flight at rest");
                assert!(progress.match_index == log.last().index, "{peer} is behind at rest");
                assert!(progress.mode == ProgressMode::Replicate, "{peer} is probed at rest");
            }
        }
    }
}

/// A node in a line.
fn short(raft: &RaftNode) -> String {
    let (status, deadline) = (raft.status(), raft.deadline());
    let (id, term, role, last) = (status.id, status.term, status.role, status.last);
    let (durable, commit, applied) = (status.durable, status.commit_index, status.last_applied);
    format!(
        "{id}@{term} {role} last={last} durable={durable} commit={commit} applied={applied} \
         {deadline:?} {:?} {:?}",
        status.progress, status.counters.dropped
    )
}
