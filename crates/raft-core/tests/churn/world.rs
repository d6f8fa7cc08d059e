//! A cluster whose members come and go. Read next: `disk.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raft_core::{
    Apply, ApplyJob, Capture, Change, ChangeRequest, Consistency, Entry, EntryId, Fetch,
    Incarnation, Index, Limits, Load, Membership, Message, NodeId, Notice, Payload, Persist,
    Promotion, RaftConfig, RaftNode, Restore, Role, SnapshotId, SnapshotMeta, SnapshotPolicy, Term,
    Ticket, Time,
};

use crate::disk::Disk;
use crate::mutant;
use crate::rng::Rng;

/// What happened in a run, to see that something did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) committed: u64,
    pub(crate) joint: u64,
    pub(crate) installed: u64,
    pub(crate) captured: u64,
    pub(crate) transferred: u64,
    pub(crate) promoted: u64,
}

impl Seen {
    pub(crate) fn add(&mut self, other: &Self) {
        self.committed += other.committed;
        self.joint += other.joint;
        self.installed += other.installed;
        self.captured += other.captured;
        self.transferred += other.transferred;
        self.promoted += other.promoted;
    }
}

/// The state of a state machine: what it applied, as one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct State {
    last: EntryId,
    sum: u64,
}

impl State {
    fn apply(&mut self, entry: &Entry) {
        assert_eq!(entry.id.index, self.last.index.next(), "entries are applied without gaps");
        assert!(entry.payload.verify(), "payloads arrive as they were sealed");
        self.last = entry.id;
        let word = entry.id.term.get() << 32 ^ u64::from(entry.payload.checksum().get());
        self.sum = (self.sum ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(17);
    }
}

/// What waits for a state machine.
enum Work {
    Apply(Apply),
    Restore(Restore),
    Capture(Capture),
}

struct Node {
    id: NodeId,
    config: RaftConfig,
    disk: Disk,
    held: BTreeMap<SnapshotId, State>,
    raft: Option<RaftNode>,
    writing: VecDeque<Persist>,
    loading: VecDeque<Load>,
    working: VecDeque<Work>,
    fetching: Option<Fetch>,
    state: State,
    commit: Index,
}

/// The cluster.
pub(crate) struct World {
    rng: Rng,
    now: Time,
    nodes: BTreeMap<NodeId, Node>,
    wire: Vec<Message>,
    cut: BTreeSet<(NodeId, NodeId)>,
    /// What is committed, from index 1 on, with the state after it.
    canonical: Vec<State>,
    leaders: BTreeMap<Term, NodeId>,
    tickets: u64,
    policy: SnapshotPolicy,
    limits: Limits,
    lost: u64,
    doubled: u64,
    crashes: bool,
    seen: Seen,
}

const NODES_MAX: u64 = 8;

fn n(id: u64) -> NodeId {
    NodeId::new(id).expect("nodes are counted from one")
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        mutant::select();
        let mut rng = Rng::new(seed);
        let policy = SnapshotPolicy {
            entries: [1, 3, 10, 40, 0][rng.pick(5)],
            bytes: [0, 800, 4_000][rng.pick(3)],
            keep_entries: [0, 0, 5, 30][rng.pick(4)],
            keep_bytes: 100_000,
            pinned_bytes_max: [300, 1 << 20][rng.pick(2)],
        };
        let mut limits = Limits::default();
        if rng.chance(50) {
            limits.message_bytes_max = 250;
            limits.persist_bytes_max = 250;
            limits.apply_bytes_max = 250;
            limits.log_cache_bytes_max = 500;
            limits.inflight_entries_max = 8;
        }
        let (lost, doubled) = ([0, 0, 5, 20][rng.pick(4)], [0, 0, 5, 20][rng.pick(4)]);
        let crashes = rng.chance(70);
        let mut world = Self {
            now: Time::ZERO,
            nodes: BTreeMap::new(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            canonical: Vec::new(),
            leaders: BTreeMap::new(),
            tickets: 0,
            policy,
            limits,
            lost,
            doubled,
            crashes,
            seen: Seen::default(),
            rng,
        };
        let initial = 1 + world.rng.below(5);
        for id in 1..=initial {
            let peers = (1..=initial).filter(|peer| *peer != id).collect();
            world.add(RaftConfig::new(id, peers));
        }
        world
    }

    fn add(&mut self, config: RaftConfig) {
        let seed = self.rng.next();
        let mut config = config
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), Duration::from_millis(300))
            .with_snapshots(self.policy)
            .with_limits(self.limits.clone())
            .with_seed(seed);
        if seed.is_multiple_of(4) {
            config = config.without_recorded_incarnations_wiped_disks_vote();
        }
        let id = config.node_id();
        let node = Node {
            id,
            config,
            disk: Disk::default(),
            held: BTreeMap::new(),
            raft: None,
            writing: VecDeque::new(),
            loading: VecDeque::new(),
            working: VecDeque::new(),
            fetching: None,
            state: State::default(),
            commit: Index::ZERO,
        };
        self.nodes.insert(id, node);
        self.start(id);
    }

    fn start(&mut self, id: NodeId) {
        let (seed, now) = (self.rng.next(), self.now);
        let node = self.nodes.get_mut(&id).expect("it exists");
        let incarnation = Incarnation::new(u128::from(id.get()) << 8);
        let config = node.config.clone().with_seed(seed);
        let tail = [0, 3, usize::MAX][usize::try_from(seed % 3).expect("small")];
        let raft = RaftNode::new(config, incarnation, node.disk.restored(tail), now);
        node.raft = Some(raft.expect("what the disk holds can be restored"));
        node.state = match node.disk.snapshot() {
            Some(snapshot) => node.held[&snapshot.id],
            None => State::default(),
        };
        node.commit = Index::ZERO;
    }

    fn crash(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        node.raft = None;
        node.writing.clear();
        node.loading.clear();
        node.working.clear();
        node.fetching = None;
    }

    pub(crate) fn storm(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
    }

    fn step(&mut self) {
        match self.rng.below(100) {
            0..25 => self.deliver(),
            25..50 => {
                let id = self.any();
                self.pull(id);
            }
            50..62 => {
                let id = self.any();
                self.write(id);
            }
            62..72 => {
                let id = self.any();
                self.work(id);
            }
            72..76 => {
                let id = self.any();
                self.load_or_fetch(id);
            }
            76..88 => self.pass(),
            88..94 => self.propose(),
            94..96 => self.operate(),
            96 if self.crashes => {
                let id = self.any();
                self.crash(id);
            }
            96..98 => self.restart_one(),
            _ => self.cut_or_mend(),
        }
    }

    fn any(&mut self) -> NodeId {
        let at = self.rng.pick(self.nodes.len());
        *self.nodes.keys().nth(at).expect("it is in range")
    }

    fn restart_one(&mut self) {
        let down = self.nodes.values().find(|node| node.raft.is_none()).map(|node| node.id);
        if let Some(id) = down {
            self.start(id);
        }
    }

    fn cut_or_mend(&mut self) {
        if self.rng.chance(60) {
            self.cut.clear();
            return;
        }
        let (one, other) = (self.any(), self.any());
        self.cut.insert((one, other));
        if self.rng.chance(60) {
            self.cut.insert((other, one));
        }
    }

    // Messages.

    fn deliver(&mut self) {
        if self.wire.is_empty() {
            return;
        }
        // Mostly in order, sometimes any.
        let at = if self.rng.chance(80) { 0 } else { self.rng.pick(self.wire.len()) };
        let message = self.wire.remove(at);
        if self.rng.chance(self.doubled) {
            self.wire.push(message.clone());
        }
        if self.rng.chance(self.lost) {
            return;
        }
        self.arrive(message);
    }

    fn arrive(&mut self, message: Message) {
        let link = (message.from.node, message.to);
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&message.to) else { return };
        let (Some(raft), false) = (&mut node.raft, self.cut.contains(&link)) else { return };
        let id = node.id;
        raft.handle_message(now, message);
        self.look(id);
    }

    fn pull(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(raft) = &mut node.raft else { return };
        self.wire.extend(raft.take_messages());
        while node.writing.len() < 3
            && let Some(persist) = raft.take_persist()
        {
            node.writing.push_back(persist);
        }
        while let Some(job) = raft.take_apply() {
            node.working.push_back(match job {
                ApplyJob::Apply(apply) => Work::Apply(apply),
                ApplyJob::Restore(restore) => Work::Restore(restore),
                ApplyJob::Capture(capture) => Work::Capture(capture),
            });
        }
        while let Some(load) = raft.take_load() {
            node.loading.push_back(load);
        }
        if let Some(fetch) = raft.take_fetch() {
            assert!(node.fetching.is_none(), "one fetch at a time");
            node.fetching = Some(fetch);
        }
        self.look(id);
    }

    fn look(&mut self, id: NodeId) {
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(raft) = &mut node.raft else { return };
        for notice in raft.take_notices() {
            match notice {
                Notice::MembershipChanged { membership } => {
                    self.seen.joint += u64::from(membership.is_joint());
                }
                Notice::PeerRefused { peer, reason } => panic!("{id} refuses {peer}: {reason:?}"),
                Notice::Violation(violation) => panic!("{id} accuses: {violation:?}"),
                Notice::RoleChanged { .. }
                | Notice::ReadReady { .. }
                | Notice::ReadFailed { .. }
                | Notice::Dropped { .. }
                | Notice::Refused { .. }
                | Notice::MembershipCommitted { .. }
                | Notice::RosterChanged
                | Notice::TransferFailed { .. }
                | Notice::DiskStalled
                | Notice::SnapshotTaken { .. }
                | Notice::SnapshotFailed => {}
            }
        }
        let state = raft.state();
        let commit = state.commit_index();
        assert!(commit >= node.commit, "the commit index of {id} goes back");
        let before = std::mem::replace(&mut node.commit, commit);
        if let Role::Leader(_) = state.role() {
            let term = state.current_term();
            let leader = *self.leaders.entry(term).or_insert(id);
            assert_eq!(leader, id, "two leaders in term {term}");
            if commit > before {
                let membership = state.membership().clone();
                let id_at = state.log().term_at(commit).map(|term| EntryId::new(term, commit));
                self.is_durable(&membership, id_at.expect("the committed is in the log"));
            }
        }
    }

    /// What a leader commits is on the disks of both majorities.
    fn is_durable(&self, membership: &Membership, id: EntryId) {
        for voters in [membership.voters(), membership.outgoing()] {
            let holders = voters.iter().filter(|voter| self.nodes[*voter].disk.holds(id)).count();
            assert!(
                voters.is_empty() || holders * 2 > voters.len(),
                "{id} is committed on {holders} of {voters:?}"
            );
        }
    }

    // Disks and state machines.

    fn write(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it exists");
        let (Some(raft), Some(persist)) = (&mut node.raft, node.writing.pop_front()) else {
            return;
        };
        node.disk.write(&persist);
        let (persisted, promises) = persist.into_persisted();
        self.wire.extend(promises);
        raft.handle_persisted(now, persisted);
        self.look(id);
    }

    fn work(&mut self, id: NodeId) {
        let now = self.now;
        let node = self.nodes.get_mut(&id).expect("it exists");
        let (Some(raft), Some(work)) = (&mut node.raft, node.working.pop_front()) else { return };
        match work {
            Work::Apply(apply) => {
                for entry in apply.entries() {
                    node.state.apply(entry);
                    let at = usize::try_from(entry.id.index.get()).expect("short") - 1;
                    if self.canonical.len() == at {
                        self.canonical.push(node.state);
                        self.seen.committed += 1;
                    }
                    assert_eq!(self.canonical[at], node.state, "{id} applies {}", entry.id);
                }
                raft.handle_applied(now, apply.into_applied());
            }
            Work::Restore(restore) => {
                node.state = node.held[&restore.snapshot().id];
                self.seen.installed += 1;
                raft.handle_applied(now, restore.into_applied());
            }
            Work::Capture(capture) => {
                assert_eq!(capture.last_included(), node.state.last, "frozen where it was asked");
                let id = SnapshotId::new(u128::from(node.state.sum));
                if node.state.sum.is_multiple_of(13) {
                    raft.handle_captured(now, capture.into_failed());
                } else {
                    node.held.insert(id, node.state);
                    let membership = capture.membership().clone();
                    let last_included = node.state.last;
                    let meta = SnapshotMeta { id, last_included, membership, data_bytes: 16 };
                    self.seen.captured += 1;
                    raft.handle_captured(now, capture.into_captured(meta));
                }
            }
        }
        self.look(id);
    }

    fn load_or_fetch(&mut self, id: NodeId) {
        let now = self.now;
        let fails = self.rng.chance(20);
        let node = self.nodes.get_mut(&id).expect("it exists");
        let Some(raft) = &mut node.raft else { return };
        if let Some(load) = node.loading.pop_front() {
            let entries = node.disk.load(&load.range(), load.bytes_max());
            raft.handle_loaded(now, load.into_loaded(entries));
        } else if let Some(fetch) = node.fetching.take() {
            let source = &self.nodes[&fetch.from()];
            let held = source.held.get(&fetch.snapshot().id).copied();
            let node = self.nodes.get_mut(&id).expect("it exists");
            let raft = node.raft.as_mut().expect("it runs");
            match held {
                Some(state) if !fails => {
                    node.held.insert(fetch.snapshot().id, state);
                    raft.handle_fetched(now, fetch.into_fetched());
                }
                Some(_) | None => raft.handle_fetched(now, fetch.into_failed()),
            }
        }
        self.look(id);
    }

    // Time and callers.

    fn pass(&mut self) {
        self.now = self.now.after(Duration::from_millis(self.rng.below(12)));
        let due: Vec<NodeId> = self
            .nodes
            .values()
            .filter(|node| node.raft.as_ref().is_some_and(|raft| raft.deadline().at <= self.now))
            .map(|node| node.id)
            .collect();
        for id in due {
            let now = self.now;
            let raft = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut());
            raft.expect("it runs").handle_timeout(now);
            self.look(id);
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket::new(self.tickets)
    }

    fn propose(&mut self) {
        let (id, ticket, now) = (self.any(), self.ticket(), self.now);
        let Some(raft) = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()) else {
            return;
        };
        // Refusals are part of life.
        let _ = raft.propose(now, Payload::command(format!("c{ticket}")), ticket);
        if ticket.get().is_multiple_of(7) {
            let _ = raft.read(now, Consistency::Linearizable, Ticket::new(1 << 40 | ticket.get()));
        }
        self.look(id);
    }

    fn leader(&self) -> Option<NodeId> {
        let leads = |node: &&Node| {
            node.raft.as_ref().is_some_and(|raft| matches!(raft.state().role(), Role::Leader(_)))
        };
        let newest = |node: &&Node| node.raft.as_ref().map(|raft| raft.state().current_term());
        self.nodes.values().filter(leads).max_by_key(newest).map(|node| node.id)
    }

    /// An operator does something, mostly at the leader.
    fn operate(&mut self) {
        let Some(id) = self.leader() else { return };
        let (target, ticket, now) = (self.any(), self.ticket(), self.now);
        let what = self.rng.below(8);
        let raft = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()).expect("it leads");
        match what {
            0 => {
                self.seen.transferred +=
                    u64::from(raft.transfer_leadership(now, Some(target)).is_ok());
            }
            1 => drop(raft.transfer_leadership(now, None)),
            2 => drop(raft.capture(now)),
            _ => self.change(id, target, ticket),
        }
        self.look(id);
    }

    fn change(&mut self, id: NodeId, target: NodeId, ticket: Ticket) {
        let now = self.now;
        let fresh = n(self.nodes.len() as u64 + 1);
        let may_grow = fresh.get() <= NODES_MAX;
        let promotion = match self.rng.below(4) {
            0 => Promotion::Manual,
            1 => Promotion::Replaces(target),
            _ => Promotion::Automatic,
        };
        let learner = |node| Change::AddLearner { node, address: "x:1".into(), promotion };
        let mut changes = vec![match self.rng.below(6) {
            0 | 1 if may_grow => learner(fresh),
            0 | 1 => learner(target),
            2 => Change::Promote { node: target },
            3 => Change::Demote { node: target },
            _ => Change::Remove { node: target },
        }];
        if self.rng.chance(30) {
            let other = self.any();
            changes.push(Change::Promote { node: other });
        }
        let raft = self.nodes.get_mut(&id).and_then(|node| node.raft.as_mut()).expect("it leads");
        let request = ChangeRequest::new(changes.clone());
        if raft.change_membership(now, &request, ticket).is_err() {
            return;
        }
        self.seen.promoted +=
            u64::from(changes.iter().any(|c| matches!(c, Change::Promote { .. })));
        if changes[0].node() == fresh {
            self.add(RaftConfig::join(fresh.get()));
        }
    }

    // The end.

    /// The faults end. The group has to elect, to serve, to leave every joint membership, and
    /// everybody in it has to catch up.
    pub(crate) fn calm(mut self) -> Seen {
        (self.lost, self.doubled, self.crashes) = (0, 0, false);
        self.cut.clear();
        let down: Vec<NodeId> =
            self.nodes.values().filter(|node| node.raft.is_none()).map(|node| node.id).collect();
        for id in down {
            self.start(id);
        }
        let until = self.now.after(Duration::from_mins(1));
        let mut unmet = String::new();
        while self.now < until {
            for _ in 0..40 {
                self.quiet_round();
            }
            if self.rng.chance(30) {
                self.propose();
            }
            match self.unmet() {
                None => return self.seen,
                Some(text) => unmet = text,
            }
        }
        panic!("after a minute without faults: {unmet}");
    }

    fn quiet_round(&mut self) {
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.pull(id);
            self.write(id);
            self.work(id);
            self.load_or_fetch(id);
        }
        for message in std::mem::take(&mut self.wire) {
            self.arrive(message);
        }
        self.now = self.now.after(Duration::from_millis(1));
        self.pass();
    }

    fn unmet(&self) -> Option<String> {
        let Some(leader) = self.leader() else {
            let told = self.nodes.values().filter_map(|node| node.raft.as_ref());
            let told: Vec<String> = told
                .map(|raft| {
                    let status = raft.status();
                    let (id, role, term) = (status.id, status.role, status.term);
                    format!("{id} {role} {term} last {} in {}", status.last, status.membership)
                })
                .collect();
            return Some(format!("nobody leads: {}", told.join("; ")));
        };
        let state = self.nodes[&leader].raft.as_ref().map(RaftNode::state)?;
        let (membership, commit) = (state.membership(), state.commit_index());
        if membership.is_joint() || membership.id().index > commit {
            return Some(format!("{leader} is in {membership} of {}", membership.id()));
        }
        if state.log().term_at(commit) != Some(state.current_term()) {
            return Some("nothing of this term is committed".into());
        }
        let behind = membership.members().keys().find(|id| {
            let node = &self.nodes[*id];
            let raft = node.raft.as_ref().map(RaftNode::state);
            raft.is_none_or(|state| state.commit_index() != commit)
                || node.state.last.index != commit
        });
        if let Some(id) = behind {
            let raft = self.nodes[id].raft.as_ref().map(RaftNode::status);
            let progress = self.nodes[&leader].raft.as_ref().map(RaftNode::status);
            let progress = progress.map(|status| status.progress);
            return Some(format!("{id} is behind {commit}: {raft:?}; {leader} sees {progress:?}"));
        }
        let learner = membership.promotions().keys().next();
        learner.map(|id| format!("{id} has caught up and is not promoted"))
    }
}
