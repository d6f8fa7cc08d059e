//! A group in memory elects, replicates, commits, reads and forwards: the shortest story of all.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![expect(clippy::type_complexity, reason = "the story is shorter than names for its parts")]

#[path = "support/mutant.rs"]
mod mutant;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use raft_core::{
    ApplyJob, Consistency, Incarnation, Index, Message, NodeId, Notice, Payload, RaftConfig,
    RaftNode, Restored, RoleName, Ticket, Time, Violation,
};

struct Group {
    now: Time,
    nodes: BTreeMap<NodeId, RaftNode>,
    wire: VecDeque<Message>,
    applied: BTreeMap<NodeId, Vec<(Index, Vec<u8>, Option<Ticket>)>>,
    notices: Vec<(NodeId, Notice)>,
}

impl Group {
    fn new(n: u64) -> Self {
        mutant::select();
        let nodes = (1..=n)
            .map(|id| {
                let config = RaftConfig::new(id, (1..=n).filter(|p| *p != id).collect())
                    .without_recorded_incarnations_wiped_disks_vote();
                let incarnation = Incarnation::new(u128::from(id));
                let node = RaftNode::new(config, incarnation, Restored::default(), Time::ZERO);
                (NodeId::new(id).unwrap(), node.unwrap())
            })
            .collect();
        let (wire, applied, notices) = (VecDeque::new(), BTreeMap::new(), Vec::new());
        Self { now: Time::ZERO, nodes, wire, applied, notices }
    }

    /// Pulls every lane of every node until nothing moves.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for (id, node) in &mut self.nodes {
                while let Some(persist) = node.take_persist() {
                    let (persisted, promises) = persist.into_persisted();
                    node.handle_persisted(self.now, persisted);
                    self.wire.extend(promises);
                    moved = true;
                }
                while let Some(ApplyJob::Apply(apply)) = node.take_apply() {
                    for entry in apply.entries() {
                        let index = entry.id.index;
                        let ticket =
                            apply.tickets().iter().find(|(i, _)| *i == index).map(|(_, t)| *t);
                        let bytes = entry.payload.bytes().to_vec();
                        self.applied.entry(*id).or_default().push((index, bytes, ticket));
                    }
                    node.handle_applied(self.now, apply.into_applied());
                    moved = true;
                }
                self.wire.extend(node.take_messages());
                self.notices.extend(node.take_notices().into_iter().map(|notice| (*id, notice)));
            }
            while let Some(message) = self.wire.pop_front() {
                moved = true;
                let to = message.to;
                // A node may be dead.
                if let Some(node) = self.nodes.get_mut(&to) {
                    node.handle_message(self.now, message);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now.after(span);
        loop {
            let next = self.nodes.values().map(|node| node.deadline().at).min().unwrap();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            for node in self.nodes.values_mut() {
                if node.deadline().at <= self.now {
                    node.handle_timeout(self.now);
                }
            }
            self.settle();
        }
    }

    fn leader(&self) -> NodeId {
        let leads = |node: &&RaftNode| node.status().role == RoleName::Leader;
        self.nodes.values().find(leads).unwrap().status().id
    }
}

/// Groups of one to seven elect one leader, apply the same log, answer each ticket once on the node
/// that proposed, and confirm reads on every node.
#[test]
fn groups_of_every_size_elect_commit_answer_and_read() {
    for n in 1..=7 {
        let mut group = Group::new(n);
        group.pass(Duration::from_secs(3));
        let leader = group.leader();
        let ids: Vec<NodeId> = group.nodes.keys().copied().collect();
        for (i, id) in ids.iter().enumerate() {
            let node = group.nodes.get_mut(id).unwrap();
            let ticket = Ticket::new(100 + i as u64);
            node.propose(group.now, Payload::command(vec![u8::try_from(i).unwrap()]), ticket)
                .unwrap();
            node.read(group.now, Consistency::Linearizable, Ticket::new(200 + i as u64)).unwrap();
        }
        group.settle();
        group.pass(Duration::from_millis(200));
        let commands = |id: &NodeId| -> Vec<(Index, Vec<u8>)> {
            group.applied[id].iter().map(|(i, b, _)| (*i, b.clone())).collect()
        };
        for (i, id) in ids.iter().enumerate() {
            assert_eq!(commands(id), commands(&leader), "{n} nodes: {id} applied another log");
            let tickets: Vec<Ticket> = group.applied[id].iter().filter_map(|a| a.2).collect();
            assert_eq!(tickets, [Ticket::new(100 + i as u64)], "{n} nodes: answers at {id}");
            let ready = |notice: &(NodeId, Notice)| {
                notice.0 == *id && matches!(notice.1, Notice::ReadReady { .. })
            };
            assert_eq!(group.notices.iter().filter(|n| ready(n)).count(), 1);
            assert_eq!(group.nodes[id].waiting_proposals(), 0);
        }
        assert!(group.notices.iter().all(|(_, n)| !matches!(n, Notice::Violation(_))));
        assert_eq!(group.leader(), leader, "nobody disturbs a leader that works");
    }
}

/// When the connection to the leader breaks at every follower, they elect another within a few
/// heartbeats; when only one follower loses it, the others refuse and nothing changes.
#[test]
fn a_broken_connection_to_the_leader_shortens_the_wait_only_if_all_lost_it() {
    let mut group = Group::new(3);
    group.pass(Duration::from_secs(3));
    let leader = group.leader();
    let followers: Vec<NodeId> =
        group.nodes.keys().copied().filter(|node| *node != leader).collect();

    let now = group.now;
    group.nodes.get_mut(&followers[0]).unwrap().handle_unreachable(now, leader);
    let term = group.nodes[&leader].status().term;
    group.pass(Duration::from_secs(3));
    assert_eq!(group.leader(), leader, "the other follower still hears the leader");
    assert_eq!(group.nodes[&leader].status().term, term);

    let dead = group.nodes.remove(&leader).unwrap();
    group.wire.clear();
    let now = group.now;
    for follower in &followers {
        group.nodes.get_mut(follower).unwrap().handle_unreachable(now, leader);
    }
    group.pass(Duration::from_millis(400));
    assert!(followers.contains(&group.leader()), "the lower election timeout is 500 ms");
    drop(dead);
}

/// A follower whose disk lost what it had acknowledged is reported by the leader, once, instead of
/// being fed in vain and in silence.
#[test]
fn a_follower_that_lost_what_it_acknowledged_is_reported() {
    let mut group = Group::new(3);
    group.pass(Duration::from_secs(3));
    let leader = group.leader();
    let wiped = *group.nodes.keys().find(|node| **node != leader).unwrap();
    group.pass(Duration::from_millis(200));
    assert!(group.notices.iter().all(|(_, n)| !matches!(n, Notice::Violation(_))));

    let peers = group.nodes.keys().filter(|node| **node != wiped).map(|node| node.get()).collect();
    let config = RaftConfig::new(wiped.get(), peers);
    let incarnation = Incarnation::new(u128::from(wiped.get()));
    let blank = RaftNode::new(config, incarnation, Restored::default(), group.now).unwrap();
    group.nodes.insert(wiped, blank);
    group.pass(Duration::from_secs(2));
    let index = Index::new(1);
    let lost = Notice::Violation(Violation::AcknowledgedLost { index, from: wiped });
    assert_eq!(group.notices.iter().filter(|n| **n == (leader, lost.clone())).count(), 1);
    assert_eq!(group.leader(), leader, "the others go on");
}

/// A proposal that was lost on its way to a leader that stays is given up by its caller, and takes
/// no room any more.
#[test]
fn a_forwarded_proposal_that_nobody_waits_for_takes_no_room() {
    let mut group = Group::new(3);
    group.pass(Duration::from_secs(3));
    let leader = group.leader();
    let follower = *group.nodes.keys().find(|node| **node != leader).unwrap();
    let now = group.now;
    let node = group.nodes.get_mut(&follower).unwrap();
    node.propose(now, Payload::command("lost"), Ticket::new(7)).unwrap();
    assert_eq!(node.take_messages().len(), 1, "it is on its way, and lost");
    assert_eq!(node.waiting_proposals(), 1);
    node.forget(Ticket::new(7));
    assert_eq!(node.waiting_proposals(), 0);
    group.pass(Duration::from_secs(1));
    assert_eq!(group.leader(), leader);
}

/// Only commands are proposed: a membership that is in force as soon as it is appended does not
/// come in by this door.
#[test]
fn a_membership_is_not_proposed() {
    let mut group = Group::new(1);
    group.pass(Duration::from_secs(3));
    let now = group.now;
    let node = group.nodes.values_mut().next().unwrap();
    let other = Payload::membership(&raft_core::Membership::default());
    for payload in [other, Payload::no_op()] {
        let refused = node.propose(now, payload, Ticket::new(1));
        assert_eq!(refused, Err(raft_core::ProposeError::NotACommand));
    }
}
