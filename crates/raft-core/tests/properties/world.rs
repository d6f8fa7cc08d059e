//! A cluster at the mercy of a seed: messages are lost, doubled and reordered, links are cut one
//! way, disks and applications are slow, nodes stop for a while, or crash and lose what was not
//! written.
//!
//! * Lanes are pulled at any pace and in any order, as the core allows.
//! * A crash loses memory and unfinished writes; some of these may have reached the disk all the
//!   same, without a receipt.
//! * After every event the oracle looks at the node that was touched.
//!
//! Read next: `oracle.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raft_core::{
    Apply, ApplyJob, Capture, Consistency, EntryId, Fetch, Incarnation, Index, Load, Message,
    NodeId, Notice, Payload, Persist, RaftNode, Role, Term, Ticket, Time,
};

use crate::bench::snapshot;
use crate::disk::Disk;
use crate::mutant;
use crate::oracle::{Fate, Oracle, Seen};
use crate::rng::Rng;
use crate::swarm::{Action, Swarm};

/// Messages under way; beyond it the network loses some.
const WIRE_MAX: usize = 300;

/// One schedule.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) swarm: Swarm,
    pub(crate) now: Time,
    pub(crate) nodes: Vec<Slot>,
    pub(crate) wire: Vec<Message>,
    /// One-way links that carry nothing, until then.
    pub(crate) cut: BTreeMap<(NodeId, NodeId), Time>,
    /// One-way links whose messages wait until then.
    pub(crate) stalled: BTreeMap<(NodeId, NodeId), Time>,
    pub(crate) oracle: Oracle,
    /// Jobs taken and done and messages sent, to see when a cluster is at rest.
    pub(crate) work: u64,
}

/// A node with its disk and its application.
pub(crate) struct Slot {
    pub(crate) id: NodeId,
    pub(crate) raft: Option<RaftNode>,
    pub(crate) disk: Disk,
    pub(crate) writes: VecDeque<Persist>,
    pub(crate) applies: VecDeque<ApplyJob>,
    pub(crate) capturing: Option<Capture>,
    pub(crate) fetching: Option<Fetch>,
    /// The last entries of the snapshots published here.
    pub(crate) snapshots: BTreeSet<EntryId>,
    pub(crate) loads: VecDeque<Load>,
    /// Its machine does nothing until then, and does not notice: messages wait, clocks go on.
    pub(crate) paused: Option<Time>,
    /// The last entry handed to the application of this process.
    applied: Index,
    commit_seen: Index,
    /// What its log ended with when it was last seen to lead.
    led: Option<(Term, EntryId)>,
}

impl World {
    /// A world of which the seed decides everything.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, Swarm::drawn)
    }

    /// A world whose dangers are chosen.
    pub(crate) fn with(seed: u64, swarm: impl FnOnce(&mut Rng) -> Swarm) -> Self {
        mutant::select();
        let mut rng = Rng::new(seed);
        let swarm = swarm(&mut rng);
        let blank = |id| Slot {
            id: NodeId::new(id).expect("ids begin at one"),
            raft: None,
            disk: Disk::default(),
            writes: VecDeque::new(),
            applies: VecDeque::new(),
            capturing: None,
            fetching: None,
            snapshots: BTreeSet::new(),
            loads: VecDeque::new(),
            paused: None,
            applied: Index::ZERO,
            commit_seen: Index::ZERO,
            led: None,
        };
        let nodes = (1..=swarm.nodes).map(blank).collect();
        let mut world = Self {
            rng,
            swarm,
            now: Time::ZERO,
            nodes,
            wire: Vec::new(),
            cut: BTreeMap::new(),
            stalled: BTreeMap::new(),
            oracle: Oracle::default(),
            work: 0,
        };
        for i in 0..world.nodes.len() {
            world.start(i);
        }
        world
    }

    pub(crate) fn finish(self) -> Seen {
        self.oracle.seen
    }

    /// Faults of every kind, for this many events.
    pub(crate) fn storm(&mut self, steps: u64) {
        for _ in 0..steps {
            let i = self.rng.pick(self.nodes.len());
            let action = self.swarm.draw(&mut self.rng);
            if self.nodes[i].paused.is_some() && !action.is_of_the_world() {
                continue;
            }
            match action {
                Action::Deliver => self.deliver_any(),
                Action::Pull => self.pull_some(i),
                Action::Write => self.write(i),
                Action::Apply => self.apply(i),
                Action::Load => self.load(i),
                Action::PassTime => self.pass_time(),
                Action::Propose => {
                    let padding = self.rng.pick(60);
                    self.propose(i, padding);
                }
                Action::Read => self.read(i),
                Action::Crash => self.crash(i),
                Action::Restart => self.start(i),
                Action::Cut => self.cut_some(i),
                Action::Pause => self.nodes[i].paused = Some(self.some_time()),
                Action::Campaign => self.with_node(i, RaftNode::campaign),
                Action::Unreachable => {
                    let peer = self.nodes[self.rng.pick(self.nodes.len())].id;
                    self.with_node(i, |raft, now| raft.handle_unreachable(now, peer));
                }
                Action::Transfer => self.transfer(i),
                Action::Snapshot => self.with_node(i, |raft, now| {
                    raft.capture(now);
                }),
                Action::Capture => {
                    let works = self.rng.chance(80);
                    self.capture(i, works);
                }
                Action::Fetch => {
                    let works = self.rng.chance(80);
                    self.fetch(i, works);
                }
            }
        }
    }

    fn with_node(&mut self, i: usize, act: impl FnOnce(&mut RaftNode, Time)) {
        let Some(raft) = self.nodes[i].raft.as_mut() else { return };
        act(raft, self.now);
        self.look(i);
    }

    // Processes.

    pub(crate) fn start(&mut self, i: usize) {
        let seed = self.rng.next();
        let slot = &mut self.nodes[i];
        if slot.raft.is_some() {
            return;
        }
        let config = self.swarm.config(slot.id.get(), seed);
        let restored = slot.disk.restored(self.swarm.tail_max);
        let incarnation = Incarnation::new(slot.id.get().into());
        let covered = slot.disk.covered();
        assert!(covered == EntryId::ZERO || slot.snapshots.contains(&covered), "it is published");
        slot.applied = covered.index;
        let raft = RaftNode::new(config, incarnation, restored, self.now);
        slot.raft = Some(raft.expect("what this disk wrote can be restored"));
        self.look(i);
    }

    fn crash(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        if slot.raft.take().is_none() {
            return;
        }
        // Some writes may have been finished, and nobody was told.
        let finished = self.rng.below(slot.writes.len() as u64 + 1);
        for persist in slot.writes.drain(..).take(usize::try_from(finished).unwrap_or(0)) {
            slot.disk.write(&persist);
            self.oracle.disk(slot.id, slot.disk.hard());
        }
        slot.applies.clear();
        slot.loads.clear();
        (slot.capturing, slot.fetching) = (None, None);
        (slot.applied, slot.commit_seen, slot.led) = (Index::ZERO, Index::ZERO, None);
        self.oracle.forget(slot.id);
    }

    // The network.

    fn deliver_any(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        let message = self.wire.swap_remove(self.rng.pick(self.wire.len()));
        let is_paused =
            self.nodes.iter().any(|slot| slot.id == message.to && slot.paused.is_some());
        if is_paused || self.stalled.contains_key(&(message.from.node, message.to)) {
            return self.wire.push(message);
        }
        if self.rng.chance(self.swarm.lost_percent) {
            return;
        }
        if self.rng.chance(self.swarm.doubled_percent) {
            self.wire.push(message.clone());
        }
        self.deliver(message);
    }

    pub(crate) fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from.node, message.to);
        let [sender, receiver] = [from, to].map(|id| {
            self.nodes.iter().position(|slot| slot.id == id).expect("only nodes of the world send")
        });
        let Some(raft) = self.nodes[receiver].raft.as_ref() else { return };
        if self.cut.contains_key(&(from, to)) {
            return;
        }
        Oracle::acknowledged(&message, &self.nodes[sender].disk, raft.state());
        self.with_node(receiver, |raft, now| raft.handle_message(now, message));
    }

    fn send(&mut self, i: usize, messages: Vec<Message>) {
        for message in messages {
            self.work += 1;
            self.oracle.leaves(&message, &self.nodes[i].disk);
            self.wire.push(message);
        }
        while self.wire.len() > WIRE_MAX {
            self.wire.swap_remove(self.rng.pick(self.wire.len()));
        }
    }

    fn cut_some(&mut self, i: usize) {
        let me = self.nodes[i].id;
        let peer = self.nodes[self.rng.pick(self.nodes.len())].id;
        let links: Vec<(NodeId, NodeId)> = match self.rng.below(4) {
            // One node alone; heard by nobody; hearing nobody.
            0 => self.nodes.iter().flat_map(|n| [(me, n.id), (n.id, me)]).collect(),
            1 => self.nodes.iter().map(|n| (me, n.id)).collect(),
            2 => self.nodes.iter().map(|n| (n.id, me)).collect(),
            _ => vec![(me, peer)],
        };
        let until = self.some_time();
        let broken = if self.rng.chance(60) { &mut self.cut } else { &mut self.stalled };
        broken.extend(links.into_iter().map(|link| (link, until)));
    }

    /// A moment to come, soon or late: sometimes beyond every election timeout.
    fn some_time(&mut self) -> Time {
        let span = 50 << self.rng.below(6);
        self.now.after(Duration::from_millis(span + self.rng.below(span)))
    }

    /// What was broken until now works again.
    fn mend(&mut self) {
        let now = self.now;
        self.cut.retain(|_, until| *until > now);
        self.stalled.retain(|_, until| *until > now);
        for i in 0..self.nodes.len() {
            if self.nodes[i].paused.is_some_and(|until| until <= now) {
                self.nodes[i].paused = None;
                // A caller may be faster than the clock of a machine that wakes up.
                if self.rng.chance(50) {
                    self.read(i);
                    self.pull_network(i);
                }
            }
        }
    }

    // The lanes.

    fn pull_some(&mut self, i: usize) {
        let lanes = self.rng.below(16);
        if lanes & 1 != 0 {
            self.pull_network(i);
        }
        if lanes & 2 != 0 {
            self.pull_disk(i);
        }
        if lanes & 4 != 0 {
            self.pull_application(i);
        }
        if lanes & 8 != 0 {
            self.pull_network(i);
            self.pull_disk(i);
            self.pull_application(i);
        }
    }

    pub(crate) fn pull_network(&mut self, i: usize) {
        let Some(raft) = self.nodes[i].raft.as_mut() else { return };
        let messages = raft.take_messages();
        if let Some(fetch) = raft.take_fetch() {
            assert!(self.nodes[i].fetching.is_none(), "one fetch at a time");
            self.nodes[i].fetching = Some(fetch);
            self.work += 1;
        }
        // Before the messages are judged: who sends them may have begun to lead just now.
        self.look(i);
        self.send(i, messages);
    }

    pub(crate) fn pull_disk(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        if let Some(persist) = raft.take_persist() {
            let log = raft.state().log();
            for entry in persist.entries() {
                let before = entry.id.index.prev();
                let term = log.term_at(before).expect("an entry follows another");
                self.oracle.entry(EntryId::new(term, before), entry);
            }
            slot.writes.push_back(persist);
            self.work += 1;
        }
        while let Some(load) = raft.take_load() {
            self.work += 1;
            slot.loads.push_back(load);
        }
        self.look(i);
    }

    pub(crate) fn pull_application(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        let Some(job) = raft.take_apply() else { return };
        match &job {
            ApplyJob::Apply(apply) => {
                for entry in apply.entries() {
                    assert!(
                        entry.id.index == slot.applied.next(),
                        "{} skips to {}",
                        slot.id,
                        entry.id
                    );
                    slot.applied = entry.id.index;
                    self.oracle.applies(slot.id, entry, &slot.disk);
                }
            }
            ApplyJob::Restore(restore) => {
                let last = restore.snapshot().last_included;
                assert!(slot.snapshots.contains(&last), "{last} is not published here");
                assert!(slot.disk.covered().index >= last.index, "its disk may lose {last}");
                assert!(last.index > slot.applied, "{} is taken back to {last}", slot.id);
                slot.applied = last.index;
                self.oracle.becomes(slot.id, last);
            }
            ApplyJob::Capture(capture) => {
                assert!(capture.last_included().index == slot.applied, "it is what was applied");
            }
        }
        slot.applies.push_back(job);
        self.work += 1;
    }

    /// Finishes the oldest write.
    pub(crate) fn write(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let (Some(raft), Some(persist)) = (slot.raft.as_mut(), slot.writes.pop_front()) else {
            return;
        };
        slot.disk.write(&persist);
        self.oracle.disk(slot.id, slot.disk.hard());
        let (persisted, promises) = persist.into_persisted();
        raft.handle_persisted(self.now, persisted);
        self.look(i);
        self.send(i, promises);
    }

    /// Applies the oldest batch and answers its callers.
    pub(crate) fn apply(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let (Some(raft), Some(job)) = (slot.raft.as_mut(), slot.applies.pop_front()) else {
            return;
        };
        let receipt = match job {
            ApplyJob::Apply(apply) => {
                answer(&mut self.oracle, slot.id, &apply);
                apply.into_applied()
            }
            ApplyJob::Restore(restore) => {
                self.oracle.seen.installed += 1;
                restore.into_applied()
            }
            ApplyJob::Capture(capture) => {
                assert!(slot.capturing.replace(capture).is_none(), "one capture at a time");
                self.work += 1;
                return;
            }
        };
        raft.handle_applied(self.now, receipt);
        self.look(i);
    }

    /// The snapshot that is being written is published, or could not be.
    pub(crate) fn capture(&mut self, i: usize, works: bool) {
        let slot = &mut self.nodes[i];
        let (Some(raft), Some(capture)) = (slot.raft.as_mut(), slot.capturing.take()) else {
            return;
        };
        self.work += 1;
        let receipt = if works {
            self.oracle.seen.snapshots += 1;
            let last_included = capture.last_included();
            slot.snapshots.insert(last_included);
            let membership = capture.membership().clone();
            capture.into_captured(snapshot(last_included, membership))
        } else {
            capture.into_failed()
        };
        raft.handle_captured(self.now, receipt);
        self.look(i);
    }

    /// The snapshot that is being fetched arrives, if its source holds it.
    pub(crate) fn fetch(&mut self, i: usize, works: bool) {
        let Some(fetch) = self.nodes[i].fetching.take() else { return };
        let last = fetch.snapshot().last_included;
        let source = self.nodes.iter().find(|slot| slot.id == fetch.from());
        let is_there =
            source.is_some_and(|slot| slot.raft.is_some() && slot.snapshots.contains(&last));
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        self.work += 1;
        let receipt = if works && is_there {
            slot.snapshots.insert(last);
            fetch.into_fetched()
        } else {
            fetch.into_failed()
        };
        raft.handle_fetched(self.now, receipt);
        self.look(i);
    }

    fn transfer(&mut self, i: usize) {
        let to = self.nodes[self.rng.pick(self.nodes.len())].id;
        let to = self.rng.chance(70).then_some(to);
        let Some(raft) = self.nodes[i].raft.as_mut() else { return };
        if raft.transfer_leadership(self.now, to).is_ok() {
            self.oracle.seen.transfers += 1;
        }
        self.look(i);
    }

    /// Reads what memory no longer holds, as the disk has it now.
    pub(crate) fn load(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let (Some(raft), Some(load)) = (slot.raft.as_mut(), slot.loads.pop_front()) else { return };
        self.oracle.seen.loads += 1;
        self.work += 1;
        let entries = slot.disk.load(load.range(), load.bytes_max());
        raft.handle_loaded(self.now, load.into_loaded(entries));
        self.look(i);
    }

    // Callers and clocks.

    fn pass_time(&mut self) {
        let span = self.rng.below(self.swarm.step_ms_max * 1_000) + 1;
        self.now = self.now.after(Duration::from_micros(span));
        self.mend();
        for i in 0..self.nodes.len() {
            // Some wake up late.
            if self.rng.chance(80) {
                self.wake(i);
            }
        }
    }

    pub(crate) fn wake(&mut self, i: usize) {
        let slot = &self.nodes[i];
        let due = slot.raft.as_ref().is_some_and(|raft| raft.deadline().at <= self.now);
        if due && slot.paused.is_none() {
            self.with_node(i, RaftNode::handle_timeout);
        }
    }

    pub(crate) fn propose(&mut self, i: usize, padding: usize) {
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        let ticket = self.oracle.ask(slot.id, false);
        let mut command = ticket.get().to_le_bytes().to_vec();
        command.resize(8 + padding, b'.');
        match raft.propose(self.now, Payload::command(command), ticket) {
            Ok(raft_core::Proposed::Appended(_)) => {}
            Ok(raft_core::Proposed::Forwarded(_)) => self.oracle.seen.forwarded += 1,
            Err(_) => self.oracle.tell(slot.id, ticket, Fate::Refused),
        }
        self.look(i);
    }

    pub(crate) fn read(&mut self, i: usize) {
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        let ticket = self.oracle.ask(slot.id, true);
        let lease = self.swarm.leases && self.rng.chance(50);
        let consistency = if lease { Consistency::Lease } else { Consistency::Linearizable };
        if raft.read(self.now, consistency, ticket).is_ok() {
            self.oracle.seen.leases += u64::from(lease);
        } else {
            self.oracle.tell(slot.id, ticket, Fate::Refused);
        }
        self.look(i);
    }

    // The oracle.

    fn look(&mut self, i: usize) {
        self.look_at_state(i);
        let slot = &mut self.nodes[i];
        let Some(raft) = slot.raft.as_mut() else { return };
        for notice in raft.take_notices() {
            let told: Option<(Ticket, Fate)> = match notice {
                Notice::ReadReady { ticket, index, .. } => Some((ticket, Fate::Answered(index))),
                Notice::ReadFailed { ticket, .. } | Notice::Refused { ticket, .. } => {
                    Some((ticket, Fate::Refused))
                }
                Notice::Dropped { ticket } => Some((ticket, Fate::Unknown)),
                Notice::RoleChanged { .. }
                | Notice::MembershipChanged { .. }
                | Notice::MembershipCommitted { .. }
                | Notice::RosterChanged
                | Notice::DiskStalled
                | Notice::SnapshotTaken { .. }
                | Notice::SnapshotFailed
                | Notice::TransferFailed { .. } => None,
                Notice::PeerRefused { .. } | Notice::Violation(_) => {
                    panic!("{} accuses an honest peer: {notice:?}", slot.id)
                }
            };
            if let Some((ticket, fate)) = told {
                self.oracle.tell(slot.id, ticket, fate);
            }
        }
    }

    fn look_at_state(&mut self, i: usize) {
        let slot = &self.nodes[i];
        let Some(raft) = slot.raft.as_ref() else { return };
        let state = raft.state();
        let (log, term, commit) = (state.log(), state.current_term(), state.commit_index());
        let led = if matches!(state.role(), Role::Leader(_)) {
            self.oracle.leads(slot.id, term, log);
            if let Some((_, last)) = slot.led.filter(|(led, _)| *led == term) {
                assert!(log.holds(last), "Leader Append-Only: {} lost {last}", slot.id);
            }
            Some((term, log.last()))
        } else {
            None
        };
        let after = slot.commit_seen;
        assert!(commit >= after, "{} moved its commit index back", slot.id);
        if commit > after {
            let disks = self.nodes.iter().map(|slot| &slot.disk);
            self.oracle.commits(log, after, &disks, commit);
        }
        let slot = &mut self.nodes[i];
        (slot.led, slot.commit_seen) = (led, commit);
    }
}

/// Answers the callers whose entries were applied.
fn answer(oracle: &mut Oracle, node: NodeId, apply: &Apply) {
    for (index, ticket) in apply.tickets() {
        let entry = apply.entries().iter().find(|entry| entry.id.index == *index);
        let id = entry.expect("a ticket comes with its entry").id;
        assert!(oracle.ticket_of(id) == Some(*ticket), "{ticket} gets another's answer");
        oracle.tell(node, *ticket, Fate::Answered(*index));
    }
}
