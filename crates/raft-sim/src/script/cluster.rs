//! The nodes of a script, their disks, the wire, and a clock that only commands move.
//!
//! * A lane is pulled as soon as something is in it; what comes out waits here for a command: a
//!   write to be finished, a message to arrive. Committed entries are applied at once.
//! * Everything that happens becomes a line of the story.
//!
//! Read next: `safety.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use raft_core::{
    Apply, Base, Body, ClusterId, Epoch, GroupId, HardState, Identity, Incarnation, Limits, Member,
    Membership, Message, NodeId, Notice, Payload, Peer, Persist, Proposed, RaftConfig, RaftNode,
    Restored, Ticket, Time,
};
use raft_storage::{MemoryStorage, Storage, write};

use super::command::Link;
use super::notation;
use super::safety::Safety;

/// How every node of the script is configured.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) nodes: u64,
    pub(super) pre_vote: bool,
    pub(super) forwarding: bool,
    pub(super) limits: Limits,
}

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

/// A node with its disk.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) raft: Option<RaftNode>,
    pub(super) storage: MemoryStorage,
    pub(super) writing: VecDeque<Persist>,
    pub(super) is_disk_held: bool,
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
        for node in (1..=cluster.settings.nodes).filter_map(NodeId::new) {
            let seat = Seat {
                raft: None,
                storage: blank(node)?,
                writing: VecDeque::new(),
                is_disk_held: false,
                processes: 0,
                told: String::new(),
            };
            cluster.seats.insert(node, seat);
            cluster.safety.has_disk(node, Vec::new());
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
        let Settings { nodes, pre_vote, forwarding, limits } = self.settings.clone();
        let now = self.now;
        let seat = self.seat(node)?;
        if seat.raft.is_some() {
            return Err(format!("{node} runs"));
        }
        seat.processes += 1;
        // Every process draws other numbers, and every run the same.
        let seed = node.get() * 1_000 + seat.processes;
        let peers = (1..=nodes).filter(|id| *id != node.get()).collect();
        let mut config = RaftConfig::new(node.get(), peers)
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(150), Duration::from_millis(300))
            .with_seed(seed)
            .with_limits(limits);
        if !pre_vote {
            config = config.without_pre_vote_returning_nodes_disturb();
        }
        if !forwarding {
            config = config.without_forwarding();
        }
        let restored = seat.storage.restore(GROUP).map_err(|error| error.to_string())?;
        let raft = RaftNode::new(config, peer(node).incarnation, restored, now);
        let raft = raft.map_err(|error| error.to_string())?;
        seat.told = name(&raft);
        seat.raft = Some(raft);
        self.touch(node)
    }

    /// Gives a node a disk of an earlier life, and starts it from there.
    pub(super) fn give(
        &mut self,
        node: NodeId,
        hard: HardState,
        log: Vec<raft_core::EntryId>,
    ) -> Result<(), String> {
        let members: BTreeMap<NodeId, Member> =
            self.seats.keys().map(|node| (*node, Member::default())).collect();
        let created = Base::Created(Membership::bootstrap(members));
        let entries: Vec<_> = log.iter().copied().map(notation::entry).collect();
        let mut storage = blank(node)?;
        let mut prev = raft_core::EntryId::ZERO;
        for entry in &entries {
            self.safety.entry(prev, entry)?;
            prev = entry.id;
        }
        let persist = Persist::unnumbered(hard, Some(created), entries);
        storage.persist(&[(GROUP, persist)]).map_err(|error| error.to_string())?;
        self.safety.has_disk(node, log);
        self.safety.ended(node);
        let seat = self.seat(node)?;
        (seat.storage, seat.raft) = (storage, None);
        seat.writing.clear();
        self.start(node)
    }

    /// Memory and unfinished writes are gone.
    pub(super) fn crash(&mut self, node: NodeId) -> Result<(), String> {
        self.running(node)?;
        let seat = self.seat(node)?;
        seat.raft = None;
        let lost = seat.writing.drain(..).filter(|persist| !persist.is_empty()).count();
        self.safety.ended(node);
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

    pub(super) fn read(&mut self, node: NodeId) -> Result<(), String> {
        let now = self.now;
        self.running(node)?;
        let ticket = self.ticket(node);
        let raft = self.running(node)?;
        let asked = raft.read(now, ticket);
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
        let is_down = self.seat(message.to)?.raft.is_none();
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
    ) -> Message {
        let name = body.name();
        let (link, name) = match name.strip_suffix("Response") {
            Some(request) => ((to, from), request),
            None => ((from, to), name),
        };
        let known = self.conversations.iter().find(|((on, what), _)| *on == link && *what == name);
        let epoch = known.map_or(Epoch::new(1), |(_, epoch)| *epoch);
        Message { from: peer(from), to, term, epoch, body }
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
                self.conversations.insert((link, message.body.name()), message.epoch);
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

    // The disk.

    /// Finishes the oldest write of a node, if there is one.
    pub(super) fn persist(&mut self, node: NodeId) -> Result<bool, String> {
        let now = self.now;
        self.running(node)?;
        let seat = self.seat(node)?;
        let Some(persist) = seat.writing.pop_front() else { return Ok(false) };
        let held = restored(&seat.storage)?;
        let line = written(&held, held.hard_state, &persist);
        let is_empty = persist.is_empty();
        self.safety.written(node, &persist)?;
        let seat = self.seat(node)?;
        let batch = write(&mut seat.storage, vec![(GROUP, persist)]);
        let batch = batch.map_err(|error| error.to_string())?;
        let me = short(self.running(node)?);
        if !is_empty {
            self.tell(format!("{me} ⇒ disk {line}"));
        }
        for done in batch {
            self.running(node)?.handle_persisted(now, done.persisted);
            self.send(done.promises)?;
        }
        self.touch(node)?;
        Ok(true)
    }

    // The lanes.

    /// Pulls every lane of a node until it is quiet, then lets safety judge.
    fn touch(&mut self, node: NodeId) -> Result<(), String> {
        loop {
            let mut is_quiet = true;
            let raft = self.seats.get(&node).and_then(|seat| seat.raft.as_ref());
            raft.map_or(Ok(()), |raft| self.safety.look(node, raft.state()))?;
            for notice in self.running(node)?.take_notices() {
                is_quiet = false;
                self.notice(node, notice)?;
            }
            let seat = self.seat(node)?;
            let Some(raft) = seat.raft.as_mut() else { return Ok(()) };
            let persist = raft.take_persist();
            let load = raft.take_load();
            let messages = raft.take_messages();
            if let Some(load) = load {
                is_quiet = false;
                let entries = seat.storage.entries(GROUP, load.range(), load.bytes_max());
                let loaded = load.into_loaded(entries.map_err(|error| error.to_string())?);
                let now = self.now;
                self.running(node)?.handle_loaded(now, loaded);
            }
            if let Some(persist) = persist {
                is_quiet = false;
                self.begin_write(node, persist)?;
            }
            is_quiet &= messages.is_empty();
            self.send(messages)?;
            while let Some(apply) = self.running(node)?.take_apply() {
                is_quiet = false;
                self.apply(node, apply)?;
            }
            if is_quiet {
                return Ok(());
            }
        }
    }

    fn begin_write(&mut self, node: NodeId, persist: Persist) -> Result<(), String> {
        let raft = self.running(node)?;
        let (me, log) = (short(raft), raft.state().log());
        let mut prev = None;
        if let Some(first) = persist.entries().first() {
            let before = first.id.index.prev();
            let term = log.term_at(before).ok_or("an entry follows nothing")?;
            prev = Some(raft_core::EntryId::new(term, before));
        }
        for entry in persist.entries() {
            self.safety.entry(prev.unwrap_or_default(), entry)?;
            prev = Some(entry.id);
        }
        let seat = self.seat(node)?;
        let mut line = None;
        if seat.is_disk_held && !persist.is_empty() {
            let held = restored(&seat.storage)?;
            let before = seat.writing.back().map_or(held.hard_state, Persist::hard_state);
            line = Some(written(&held, before, &persist));
        }
        seat.writing.push_back(persist);
        if let Some(line) = line {
            self.tell(format!("{me} ⇢ disk {line}"));
        }
        Ok(())
    }

    fn apply(&mut self, node: NodeId, apply: Apply) -> Result<(), String> {
        let (now, me) = (self.now, short(self.running(node)?));
        for entry in apply.entries() {
            self.safety.applies(node, entry)?;
        }
        self.tell(format!("{me} applies {}", notation::list(apply.entries().iter().map(|e| e.id))));
        for (index, ticket) in apply.tickets() {
            self.safety.answered(node, *ticket)?;
            let entry = apply.entries().iter().find(|entry| entry.id.index == *index);
            let entry = entry.ok_or_else(|| format!("t{ticket} is answered without its entry"))?;
            self.tell(format!("{me} answers t{ticket}: {entry:?}"));
        }
        self.running(node)?.handle_applied(now, apply.into_applied());
        Ok(())
    }

    fn notice(&mut self, node: NodeId, notice: Notice) -> Result<(), String> {
        let raft = self.running(node)?;
        let (me, now) = (short(raft), name(raft));
        match notice {
            Notice::RoleChanged { .. } => {
                let seat = self.seat(node)?;
                let before = std::mem::replace(&mut seat.told, now.clone());
                if before != now {
                    self.tell(format!("{before} ⇨ {now}"));
                }
            }
            Notice::ReadReady { ticket, index } => {
                self.safety.answered(node, ticket)?;
                let applied = self.running(node)?.state().last_applied();
                let wait = if applied < index { ", once that is applied" } else { "" };
                self.tell(format!("{me} may read for t{ticket} at {index}{wait}"));
            }
            Notice::ReadFailed { ticket, error } => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} gives up t{ticket}, a read: {error}"));
            }
            Notice::Dropped { ticket } => {
                self.safety.answered(node, ticket)?;
                self.tell(format!("{me} drops t{ticket}: its outcome is unknown"));
            }
            Notice::Refused { ticket, reason } => {
                self.safety.answered(node, ticket)?;
                let reason = notation::refusal(reason);
                self.tell(format!("{me} refuses t{ticket}: not applied ({reason})"));
            }
            Notice::MembershipChanged { membership } => {
                self.tell(format!("{me} is in the membership of {}", membership.id()));
            }
            Notice::PeerRefused { peer, reason } => {
                self.tell(format!("{me} refuses to hear {}: {reason:?}", peer.node));
            }
            Notice::Violation(violation) => self.tell(format!("{me} accuses: {violation:?}")),
        }
        Ok(())
    }
}

fn peer(node: NodeId) -> Peer {
    Peer { node, incarnation: Incarnation::new(node.get().into()) }
}

fn blank(node: NodeId) -> Result<MemoryStorage, String> {
    let mut storage = MemoryStorage::new();
    let identity = Identity { cluster: ClusterId::default(), peer: peer(node) };
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

fn restored(storage: &MemoryStorage) -> Result<Restored, String> {
    storage.clone().restore(GROUP).map_err(|error| error.to_string())
}

/// What a write changes, given what the disk holds, and term and vote as written before it.
fn written(held: &Restored, before: HardState, persist: &Persist) -> String {
    let mut parts = Vec::new();
    let after = persist.hard_state();
    if after.term != before.term {
        parts.push(format!("term={}", after.term));
    }
    if (after.term, after.voted_for) != (before.term, before.voted_for)
        && let Some(vote) = after.voted_for
    {
        parts.push(format!("vote={vote}"));
    }
    if persist.base().is_some() {
        parts.push("members".into());
    }
    if let Some(first) = persist.entries().first() {
        parts.push(notation::list(persist.entries().iter().map(|entry| entry.id)));
        if first.id.index <= held.last.index {
            parts.push(format!("instead of all from {} on", first.id.index));
        }
    }
    parts.join(" ")
}
