//! The nodes of a script, their disks, the wire, and a clock that only commands move.
//!
//! * A lane is pulled as soon as something is in it; what comes out waits here for a command: a
//!   write to be finished, a message to arrive. Committed entries are applied at once.
//! * Everything that happens becomes a line of the story.
//!
//! Read next: `cluster/lanes.rs`, then `safety.rs`.

mod lanes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft_core::{
    ApplyJob, Base, Body, Capture, ClusterId, Consistency, EntryId, Epoch, Fetch, GroupId,
    HardState, Identity, Incarnation, Member, Membership, Message, NodeId, Payload, Peer, Persist,
    Proposed, RaftNode, SnapshotId, SnapshotMeta, Ticket, Time,
};
use raft_storage::{MemoryStorage, Storage};

use super::change::Asked;
use super::command::{Lane, Link};
use super::notation;
use super::safety::Safety;
use super::settings::Settings;

/// All that exists.
#[derive(Debug)]
pub(super) struct Cluster {
    settings: Settings,
    pub(super) now: Time,
    pub(super) seats: BTreeMap<NodeId, Seat>,
    /// Messages under way, the oldest first.
    pub(super) wire: Vec<Message>,
    pub(super) cut: BTreeSet<Link>,
    pub(super) held: BTreeSet<Link>,
    /// The conversation of the last request, by link and name.
    conversations: BTreeMap<(Link, &'static str), Epoch>,
    tickets: u64,
    safety: Safety,
    pub(super) story: Vec<String>,
}

/// What a state machine of a script is: the entries inside it.
pub(super) type State = Vec<EntryId>;

/// A node with its disk.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) raft: Option<RaftNode>,
    pub(super) storage: MemoryStorage,
    pub(super) writing: VecDeque<Persist>,
    applying: VecDeque<ApplyJob>,
    /// A snapshot that is being written, with the state as it was frozen.
    capturing: Option<(Capture, State)>,
    pub(super) fetching: Option<Fetch>,
    pub(super) held: BTreeSet<Lane>,
    /// The published snapshots.
    snapshots: BTreeMap<SnapshotId, (SnapshotMeta, State)>,
    /// The state machine: what was applied, in order.
    machine: State,
    incarnation: Incarnation,
    /// It waits to be added instead of beginning as a member.
    joins: bool,
    processes: u64,
    /// Node, term and role as last told.
    told: String,
}

pub(super) const GROUP: GroupId = GroupId::ZERO;

impl Cluster {
    /// So many nodes on blank disks.
    pub(super) fn new(settings: Settings) -> Result<Self, String> {
        let mut cluster = Self {
            now: Time::ZERO,
            seats: BTreeMap::new(),
            wire: Vec::new(),
            cut: BTreeSet::new(),
            held: BTreeSet::new(),
            conversations: BTreeMap::new(),
            tickets: 0,
            safety: Safety::default(),
            story: Vec::new(),
            settings,
        };
        let (nodes, joining) = (cluster.settings.nodes, cluster.settings.joining);
        for node in (1..=nodes + joining).filter_map(NodeId::new) {
            let incarnation = Incarnation::new(node.get().into());
            let seat = Seat {
                raft: None,
                storage: blank(Peer { node, incarnation })?,
                writing: VecDeque::new(),
                applying: VecDeque::new(),
                capturing: None,
                fetching: None,
                held: BTreeSet::new(),
                snapshots: BTreeMap::new(),
                machine: State::new(),
                incarnation,
                joins: node.get() > nodes,
                processes: 0,
                told: String::new(),
            };
            cluster.seats.insert(node, seat);
            cluster.safety.has_disk(node, incarnation, Vec::new());
            cluster.start(node)?;
            // The members of the group are on the disk before the story begins.
            cluster.persist(node)?;
        }
        cluster.story.clear();
        Ok(cluster)
    }

    fn seat(&mut self, node: NodeId) -> Result<&mut Seat, String> {
        self.seats.get_mut(&node).ok_or_else(|| format!("there is no {node}"))
    }

    fn running(&mut self, node: NodeId) -> Result<&mut RaftNode, String> {
        let seat = self.seat(node)?;
        seat.raft.as_mut().ok_or_else(|| format!("{node} is down"))
    }

    fn tell(&mut self, line: impl Into<String>) {
        self.story.push(line.into());
    }

    // Processes.

    /// Starts a node from its disk.
    pub(super) fn start(&mut self, node: NodeId) -> Result<(), String> {
        let (now, settings) = (self.now, self.settings.clone());
        let seat = self.seat(node)?;
        if seat.raft.is_some() {
            return Err(format!("{node} runs"));
        }
        seat.processes += 1;
        // Every process draws other numbers, and every run the same.
        let config = settings.config(node, seat.joins, node.get() * 1_000 + seat.processes);
        let restored = seat.storage.restore(GROUP).map_err(|error| error.to_string())?;
        let covered = restored.snapshot.as_ref().map(|snapshot| snapshot.id);
        let raft = RaftNode::new(config, seat.incarnation, restored, now);
        let raft = raft.map_err(|error| error.to_string())?;
        seat.told = name(&raft);
        seat.raft = Some(raft);
        // The state machine begins with the newest snapshot, before anything is applied.
        seat.machine = match covered {
            None => State::new(),
            Some(id) => seat.snapshots.get(&id).ok_or("the snapshot of the log is gone")?.1.clone(),
        };
        let machine = seat.machine.clone();
        self.safety.restored(node, &machine)?;
        self.touch(node)
    }

    /// Gives a node a disk of an earlier life, and starts it from there.
    pub(super) fn give(
        &mut self,
        node: NodeId,
        hard: HardState,
        log: Vec<EntryId>,
    ) -> Result<(), String> {
        let created = Base::Created(self.first_members());
        let entries: Vec<_> = log.iter().copied().map(notation::entry).collect();
        let peer = self.peer(node)?;
        let mut storage = blank(peer)?;
        let mut prev = EntryId::ZERO;
        for entry in &entries {
            self.safety.entry(prev, entry)?;
            prev = entry.id;
        }
        let persist = Persist::unnumbered(hard, Some(created), entries);
        storage.persist(&[(GROUP, persist)]).map_err(|error| error.to_string())?;
        self.safety.has_disk(node, peer.incarnation, log);
        self.end(node)?;
        self.seat(node)?.storage = storage;
        self.start(node)
    }

    /// The disk is lost with everything else; the node starts with a new one.
    pub(super) fn wipe(&mut self, node: NodeId, joins: bool) -> Result<(), String> {
        self.end(node)?;
        let seat = self.seat(node)?;
        seat.incarnation = Incarnation::new(seat.incarnation.get() + 16);
        seat.joins = joins;
        seat.snapshots.clear();
        let peer = self.peer(node)?;
        self.seat(node)?.storage = blank(peer)?;
        self.safety.has_disk(node, peer.incarnation, Vec::new());
        self.start(node)
    }

    /// The members that the nodes are configured to begin with.
    pub(super) fn first_members(&self) -> Membership {
        let nodes = (1..=self.settings.nodes).filter_map(NodeId::new);
        Membership::bootstrap(nodes.map(|node| (node, Member::default())).collect())
    }

    fn peer(&self, node: NodeId) -> Result<Peer, String> {
        let seat = self.seats.get(&node).ok_or_else(|| format!("there is no {node}"))?;
        Ok(Peer { node, incarnation: seat.incarnation })
    }

    /// The process of a node is no more; tells how many writes it did not finish.
    fn end(&mut self, node: NodeId) -> Result<usize, String> {
        let seat = self.seat(node)?;
        seat.raft = None;
        let lost = seat.writing.drain(..).filter(|persist| !persist.is_empty()).count();
        seat.applying.clear();
        (seat.capturing, seat.fetching) = (None, None);
        self.safety.ended(node);
        Ok(lost)
    }

    /// Memory and unfinished writes are gone.
    pub(super) fn crash(&mut self, node: NodeId) -> Result<(), String> {
        self.running(node)?;
        let lost = self.end(node)?;
        let writes = match lost {
            0 => String::new(),
            1 => ", and with it an unfinished write".into(),
            _ => format!(", and with it {lost} unfinished writes"),
        };
        self.tell(format!("{node} is down{writes}"));
        Ok(())
    }

    // Callers.

    fn ticket(&mut self, node: NodeId) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket::new(self.tickets);
        self.safety.asked(node, ticket);
        ticket
    }

    pub(super) fn propose(&mut self, node: NodeId, texts: &[String]) -> Result<(), String> {
        let now = self.now;
        for text in texts {
            self.running(node)?;
            let ticket = self.ticket(node);
            let raft = self.running(node)?;
            let proposed = raft.propose(now, Payload::command(text.clone()), ticket);
            let me = short(raft);
            match proposed {
                Ok(Proposed::Appended(id)) => {
                    self.tell(format!("{me} appends {id} {text:?} for t{ticket}"));
                }
                Ok(Proposed::Forwarded(leader)) => {
                    self.tell(format!("{me} forwards {text:?} to {leader} for t{ticket}"));
                }
                Err(error) => {
                    self.safety.answered(node, ticket)?;
                    self.tell(format!("{me} refuses t{ticket} {text:?}: {error}"));
                }
            }
        }
        self.touch(node)
    }

    pub(super) fn read(&mut self, node: NodeId, consistency: Consistency) -> Result<(), String> {
        let now = self.now;
        self.running(node)?;
        let ticket = self.ticket(node);
        let raft = self.running(node)?;
        let asked = raft.read(now, consistency, ticket);
        let me = short(raft);
        match asked {
            Ok(()) => self.tell(format!("{me} reads for t{ticket}")),
            Err(error) => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} refuses t{ticket}, a read: {error}"));
            }
        }
        self.touch(node)
    }

    pub(super) fn change(&mut self, node: NodeId, asked: &Asked) -> Result<(), String> {
        let now = self.now;
        let disk = |node| {
            let seat = self.seats.get(&node);
            seat.map_or_else(Incarnation::default, |seat| seat.incarnation)
        };
        let request = asked.request(disk);
        self.running(node)?;
        let ticket = self.ticket(node);
        let raft = self.running(node)?;
        let appended = raft.change_membership(now, &request, ticket);
        let me = short(raft);
        match appended {
            Ok(id) => self.tell(format!("{me} appends {id}, a membership, for t{ticket}")),
            Err(error) => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} refuses t{ticket}, a change: {error}"));
            }
        }
        self.touch(node)
    }

    pub(super) fn transfer(&mut self, node: NodeId, to: Option<NodeId>) -> Result<(), String> {
        let now = self.now;
        let raft = self.running(node)?;
        let begun = raft.transfer_leadership(now, to);
        let me = short(raft);
        match begun {
            Ok(to) => self.tell(format!("{me} hands over to {to}")),
            Err(error) => self.tell(format!("{me} does not hand over: {error}")),
        }
        self.touch(node)
    }

    pub(super) fn snapshot(&mut self, node: NodeId) -> Result<(), String> {
        let now = self.now;
        let raft = self.running(node)?;
        if !raft.capture(now) {
            let me = short(raft);
            self.tell(format!(
                "{me} takes no snapshot: there is nothing new, or one is being taken"
            ));
        }
        self.touch(node)
    }

    pub(super) fn campaign(&mut self, node: NodeId) -> Result<(), String> {
        let now = self.now;
        self.running(node)?.campaign(now);
        self.touch(node)
    }

    pub(super) fn unreachable(&mut self, node: NodeId, peer: NodeId) -> Result<(), String> {
        let now = self.now;
        self.running(node)?.handle_unreachable(now, peer);
        self.touch(node)
    }

    /// A node wakes up because its deadline passed.
    pub(super) fn wake(&mut self, node: NodeId) -> Result<(), String> {
        let now = self.now;
        self.running(node)?.handle_timeout(now);
        self.touch(node)
    }

    // The network.

    /// The message at this place of the wire arrives, or finds that it cannot.
    pub(super) fn deliver(&mut self, at: usize) -> Result<(), String> {
        let message = self.wire.remove(at);
        let link = (message.from.node, message.to);
        let is_down = self.seats.get(&message.to).is_none_or(|seat| seat.raft.is_none());
        if self.cut.contains(&link) {
            self.lose(&message, "the link is cut");
        } else if is_down {
            self.lose(&message, &format!("{} is down", message.to));
        } else {
            self.receive(message)?;
        }
        Ok(())
    }

    /// Tells that a message never arrives.
    pub(super) fn lose(&mut self, message: &Message, why: &str) {
        self.tell(format!("✗ {} is lost: {why}", notation::message(message)));
    }

    /// A node hears a message.
    pub(super) fn receive(&mut self, message: Message) -> Result<(), String> {
        let (now, node, from) = (self.now, message.to, message.from.node);
        let name = message.body.name();
        let raft = self.running(node)?;
        let before = raft.status().counters.dropped;
        raft.handle_message(now, message);
        let (after, me) = (raft.status().counters.dropped, short(raft));
        for (reason, count) in after {
            if before.get(reason) != Some(&count) {
                self.tell(format!("{me} does not listen to {name} of {from}: {reason}"));
            }
        }
        self.touch(node)
    }

    /// A message made by hand, in the conversation that is going on.
    pub(super) fn made_by_hand(
        &self,
        (from, to): Link,
        term: raft_core::Term,
        body: Body,
    ) -> Result<Message, String> {
        let name = body.name();
        let link = if name.ends_with("Response") { (to, from) } else { (from, to) };
        let known = self.conversations.get(&(link, conversation(name)));
        let epoch = known.copied().unwrap_or(Epoch::new(1));
        Ok(Message { from: self.peer(from)?, to, term, epoch, body })
    }

    fn send(&mut self, messages: Vec<Message>) -> Result<(), String> {
        for message in messages {
            let link = (message.from.node, message.to);
            if let Body::AppendEntries(request) = &message.body {
                let mut prev = request.slice.prev();
                for entry in request.slice.entries() {
                    self.safety.entry(prev, entry)?;
                    prev = entry.id;
                }
            }
            if !message.body.name().ends_with("Response") {
                let name = conversation(message.body.name());
                self.conversations.insert((link, name), message.epoch);
            }
            if self.cut.contains(&link) {
                self.lose(&message, "the link is cut");
                continue;
            }
            self.tell(notation::message(&message));
            self.wire.push(message);
        }
        Ok(())
    }
}

/// What a message belongs to: entries and offers of snapshots are one session of replication.
fn conversation(name: &'static str) -> &'static str {
    let name = name.strip_suffix("Response").unwrap_or(name);
    if name == "InstallSnapshot" { "AppendEntries" } else { name }
}

fn blank(peer: Peer) -> Result<MemoryStorage, String> {
    let mut storage = MemoryStorage::new();
    let identity = Identity { cluster: ClusterId::default(), peer };
    storage.initialize(identity).map_err(|error| error.to_string())?;
    Ok(storage)
}

/// `n1@4`.
fn short(raft: &RaftNode) -> String {
    let status = raft.status();
    format!("{}@{}", status.id, status.term)
}

/// `n1@4 leader`.
fn name(raft: &RaftNode) -> String {
    format!("{} {}", short(raft), notation::role(&raft.status()))
}
