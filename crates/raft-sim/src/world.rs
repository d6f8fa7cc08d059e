//! A world: machines with disks and clocks, a network, clients, and whatever goes wrong, in virtual
//! time and from one stream of choices.
//!
//! * What runs inside is the guest of production: `RaftNode`, `FileStorage`, `Applier`, the real
//!   codec. The world is the host: it holds no decision of the protocol.
//! * Idle time is skipped; nothing depends on an address, a hash order or a clock of the machine.
//! * After every event the oracles look at the node it touched. The first complaint ends the run.
//!
//! Read next: `world/lanes.rs`, the pump; `world/process.rs`, how processes begin and end;
//! `world/clients.rs`; `nemesis.rs`; `world/liveness.rs`, how a run ends.

mod clients;
mod lanes;
mod liveness;
mod operator;
mod process;
pub(crate) mod regions;
mod snapshots;
mod verdict;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{Body, Chunk, Member, Membership, Message, NodeId, Role, RoleName, Ticket};

use crate::atlas::{Atlas, Disk};
use crate::choice::{Choices, Site, mix};
use crate::coverage::{Coverage, Fault, Phase, Phases};
use crate::disk::SimDisk;
use crate::history::History;
use crate::machine::{Complaints, Machines};
use crate::nemesis::{Nemesis, Remedy};
use crate::network::{self, Network, Packet, place};
use crate::oracle::members::recorded;
use crate::oracle::{Check, Etiquette, Failure, Oracle};
use crate::queue::Queue;
use crate::script::notation;
use crate::seat::{DiskWork, Seat, Stage};
use crate::swarm::{Fixed, Swarm};
use crate::trace::{ProcessState, Trace, TraceEvent, What};
use crate::workload::Workload;

use self::clients::{Client, OldRead, Probe};
use self::liveness::Liveness;
use self::operator::Wish;
pub(crate) use self::snapshots::Ask;
pub(crate) use self::verdict::{Judge, Search};

/// What a world is made of, besides its choices.
#[derive(Clone)]
pub(crate) struct Ingredients {
    pub(crate) machines: Arc<dyn Machines>,
    pub(crate) workload: Arc<dyn Workload>,
    pub(crate) judge: Option<Arc<dyn Judge>>,
    pub(crate) fixed: Fixed,
    /// Events of the storm, before everything is healed.
    pub(crate) events: u64,
}

/// What can happen next.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Arrive(Packet),
    Timer { seat: usize, life: u64, at: u64 },
    Pump { seat: usize, life: u64 },
    DiskDone { seat: usize, life: u64 },
    Applied { seat: usize, life: u64 },
    Ready { seat: usize, life: u64 },
    Stopped { seat: usize, life: u64 },
    Start { seat: usize, life: u64 },
    Resume { seat: usize },
    Unreachable { seat: usize, life: u64, peer: NodeId },
    Client { client: usize, at: u64 },
    Ask { client: usize, ticket: Ticket, seat: usize },
    GiveUp { client: usize, operation: usize },
    SendKept { to: Option<NodeId> },
    ChunkAsked(Ask),
    ChunkHere { ask: Ask, chunk: Option<Chunk> },
    ChunkLate { seat: usize, life: u64, fetch: u64, asked: u64 },
    Strike,
    Operate,
    Mend(Remedy),
    Checkup,
}

/// A run.
pub(crate) struct World {
    pub(crate) choices: Choices,
    pub(crate) swarm: Swarm,
    pub(crate) ingredients: Ingredients,
    pub(crate) now: u64,
    pub(crate) step: u64,
    pub(crate) queue: Queue<Event>,
    pub(crate) seats: Vec<Seat>,
    pub(crate) network: Network,
    pub(crate) oracle: Oracle,
    pub(crate) etiquette: Etiquette,
    pub(crate) atlas: Atlas,
    pub(crate) nemesis: Nemesis,
    pub(crate) coverage: Coverage,
    pub(crate) complaints: Complaints,
    pub(crate) history: History,
    pub(crate) clients: Vec<Client>,
    /// Which operation a ticket is an attempt of.
    pub(crate) attempts: BTreeMap<Ticket, usize>,
    pub(crate) tickets: u64,
    pub(crate) operations: u64,
    /// What the operator waits for.
    pub(crate) wishes: Vec<Wish>,
    /// Reads that may be answered from an older state, as they were answered.
    pub(crate) old_reads: Vec<OldRead>,
    pub(crate) probe: Option<Probe>,
    pub(crate) liveness: Option<Liveness>,
    pub(crate) trace: Option<Trace>,
    hash: [u64; 2],
    pub(crate) is_finished: bool,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failure: Option<Failure>,
    pub(crate) hash: [u64; 2],
}

/// More events to come than this means that something multiplies.
const QUEUE_MAX: usize = 200_000;

/// Operations of clients in a report.
const OPERATIONS_TOLD: usize = 40;

/// Also a short storm is followed by a liveness part of this size.
const LENGTH_MIN: u64 = 10_000;

/// A run that is not over after so many times the events of its storm never will be.
const LENGTH_MAX: u64 = 60;

impl World {
    pub(crate) fn new(choices: Choices, ingredients: Ingredients) -> Self {
        let swarm = Swarm::draw(&choices, &ingredients.fixed);
        let swarm = if ingredients.fixed.is_regional { swarm.calmed() } else { swarm };
        let nodes = usize::try_from(swarm.machines).expect("a world has few nodes");
        let seats = (1..=swarm.machines).filter_map(NodeId::new).map(|id| {
            let joins = id.get() > swarm.nodes;
            Seat { joins, ..Seat::new(id, SimDisk::new(swarm.disk, choices.clone())) }
        });
        let first = (1..=swarm.nodes).filter_map(NodeId::new).map(|id| (id, Member::default()));
        let first = Membership::bootstrap(first.collect());
        let mut world = Self {
            now: 0,
            step: 0,
            queue: Queue::new(),
            seats: seats.collect(),
            network: Network::new(nodes, swarm.network),
            oracle: Oracle::new(nodes, first),
            etiquette: Etiquette::new(
                nodes,
                Duration::from_nanos(swarm.election_ns),
                swarm.pre_vote,
            ),
            atlas: Atlas::new(swarm.class),
            nemesis: Nemesis::default(),
            coverage: Coverage::default(),
            complaints: Complaints::default(),
            history: History::default(),
            clients: Vec::new(),
            attempts: BTreeMap::new(),
            tickets: 0,
            operations: 0,
            wishes: Vec::new(),
            old_reads: Vec::new(),
            probe: None,
            liveness: None,
            trace: None,
            hash: [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344],
            is_finished: false,
            choices,
            swarm,
            ingredients,
        };
        for seat in 0..nodes {
            // Some are late, so that their first start meets faults, too.
            let is_late = world.choices.chance(Site::Nemesis, 300_000);
            let at = if is_late { world.some_time(world.swarm.fault_ns) } else { 0 };
            // The others wait for their operator.
            if !world.seats[seat].joins {
                world.push(at, Event::Start { seat, life: 0 });
            }
        }
        if let Some(drift) = world.swarm.lease_drift_ppm {
            let lasts = world.swarm.election_ns / 1_000_000 * u64::from(1_000_000 - 2 * drift);
            world.oracle.has_leases(lasts);
        }
        world.draw_regions();
        world.open_operator();
        world.open_clients();
        world.arm_damage();
        if !world.swarm.faults.is_empty() {
            let at = world.some_time(world.swarm.fault_ns);
            world.push(at, Event::Strike);
        }
        world
    }

    /// Keeps everything that happens.
    pub(crate) fn traced(mut self) -> Self {
        let nodes = self.seats.iter().map(|seat| seat.id).collect();
        self.trace = Some(Trace { nodes, events: Vec::new() });
        self
    }

    /// Runs to the end.
    pub(crate) fn run(&mut self) -> Outcome {
        let mut failure = None;
        while !self.is_finished {
            if let Err(found) = self.next() {
                failure = Some(found);
                break;
            }
        }
        failure = failure.or_else(|| self.judge_clients().err());
        if let Some(failure) = &failure {
            let (node, text) = (failure.node, failure.to_string());
            self.tell(|| What::Failure { node, text });
        }
        self.feed(self.oracle.committed() as u64);
        Outcome { failure, hash: self.hash }
    }

    /// The next event.
    fn next(&mut self) -> Check {
        let Some((at, event)) = self.queue.pop() else {
            return Err(Failure::new("progress", "nothing will happen any more"));
        };
        self.now = self.now.max(at);
        self.step += 1;
        if self.queue.len() > QUEUE_MAX
            || self.step > self.ingredients.events.max(LENGTH_MIN).saturating_mul(LENGTH_MAX)
        {
            let text = format!("{} events to come after {}", self.queue.len(), self.step);
            return Err(Failure::new("progress", text));
        }
        self.oracle.passes(self.now);
        self.feed(self.now);
        if self.liveness.is_none() && self.step >= self.ingredients.events {
            if self.ingredients.fixed.is_regional {
                self.end_regions()?;
            } else {
                self.begin_liveness();
            }
        }
        self.happens(event)
    }

    fn happens(&mut self, event: Event) -> Check {
        if let Some(seat) = event.seat()
            && let Some(backlog) = &mut self.seats[seat].backlog
        {
            backlog.push(event);
            return Ok(());
        }
        match event {
            Event::Arrive(packet) => self.arrive(&packet),
            Event::Timer { seat, life, at } => self.timer(seat, life, at),
            Event::Pump { seat, life } => self.pump_later(seat, life),
            Event::DiskDone { seat, life } => self.disk_done(seat, life),
            Event::Applied { seat, life } => self.application_done(seat, life),
            Event::Ready { seat, life } => self.ready(seat, life),
            Event::Stopped { seat, life } => {
                self.stopped(seat, life);
                Ok(())
            }
            Event::Start { seat, life } => self.start(seat, life),
            Event::Resume { seat } => {
                self.resume(seat);
                Ok(())
            }
            Event::Unreachable { seat, life, peer } => self.unreachable(seat, life, peer),
            Event::Client { client, at } => {
                self.client(client, at);
                Ok(())
            }
            Event::Ask { client, ticket, seat } => self.ask(client, ticket, seat),
            Event::GiveUp { client, operation } => {
                self.give_up(client, operation);
                Ok(())
            }
            Event::SendKept { to } => {
                if let Some((at, packet)) = self.network.send_kept(self.now, to, &self.choices) {
                    self.announce(&packet);
                    self.push(at, Event::Arrive(packet));
                }
                Ok(())
            }
            Event::ChunkAsked(ask) => {
                self.chunk_asked(ask);
                Ok(())
            }
            Event::ChunkHere { ask, chunk } => self.chunk_here(&ask, chunk),
            Event::ChunkLate { seat, life, fetch, asked } => {
                self.chunk_late(seat, life, fetch, asked)
            }
            Event::Strike => self.strike(),
            Event::Operate => self.operate(),
            Event::Mend(remedy) => {
                self.mend(remedy);
                Ok(())
            }
            Event::Checkup => self.checkup(),
        }
    }

    pub(crate) fn push(&mut self, at: u64, event: Event) {
        let tie = if self.swarm.permutes { self.choices.choose(Site::Tie, 4) } else { 0 };
        self.queue.push(at, tie, event);
    }

    /// A moment about so far away: at least a quarter of that, and less than twice.
    pub(crate) fn some_time(&self, mean: u64) -> u64 {
        self.now + self.choices.between(Site::Nemesis, mean / 4, 2 * mean)
    }

    // Telling.

    /// Two numbers that depend on everything that happened, in order.
    pub(crate) const fn feed(&mut self, word: u64) {
        self.hash[0] = mix(self.hash[0] ^ word);
        self.hash[1] = self.hash[1].rotate_left(23).wrapping_mul(0x9fb2_1c65_1e98_df25) ^ word;
    }

    /// Notes what happened, if somebody will read it.
    pub(crate) fn tell(&mut self, what: impl FnOnce() -> What) {
        if let Some(trace) = &mut self.trace {
            trace.events.push(TraceEvent { step: self.step, at: self.now, what: what() });
        }
    }

    pub(crate) fn tell_process(&mut self, seat: usize, state: ProcessState, text: &str) {
        let node = self.seats[seat].id;
        self.feed(0x70 ^ state as u64);
        self.tell(|| What::Process { node, state, text: text.to_owned() });
    }

    // Messages.

    /// Sends what a node says, after the oracle heard it. `false` if its power failed meanwhile.
    pub(crate) fn send(&mut self, seat: usize, messages: Vec<Message>) -> Result<bool, Failure> {
        for message in messages {
            if matches!(message.body, Body::TimeoutNow) {
                self.gives_the_word(seat, &message)?;
            }
            let leader = self.seats[place(message.to)].process().map(|other| other.raft.state());
            self.oracle.leaves(&message, leader)?;
            self.etiquette.leaves(&message)?;
            self.post(seat, &message);
            if self.effect(seat) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A node tells another to campaign: because it was asked to, or in haste because its disk
    /// stands still or its process stops.
    fn gives_the_word(&mut self, seat: usize, message: &Message) -> Check {
        let machine = &mut self.seats[seat];
        let leader = machine.process().map(|process| process.raft.state());
        let leader = leader.filter(|state| matches!(state.role(), Role::Leader(_)));
        leader.map_or(Ok(()), |state| self.oracle.hands_over(message, state))?;
        machine.is_transferring = true;
        Ok(())
    }

    fn post(&mut self, seat: usize, message: &Message) {
        let (from, to) = (message.from.node, message.to);
        if message.body.is_bulk() && !self.network.has_room(from, to) {
            return self.unsent(seat, message);
        }
        let posted = self.network.send(self.now, message, &self.choices);
        let phases = self.phases(place(from)).and(self.phases(place(to)));
        for (fault, met) in [
            (Fault::Loss, posted.vanished == Some("lost")),
            (Fault::Double, posted.arrivals.len() > 1),
            (Fault::Reorder, posted.overtakes),
            (Fault::Corrupt, posted.arrivals.first().is_some_and(|(_, packet)| packet.is_damaged)),
        ] {
            if met {
                self.coverage.hit(fault, phases);
            }
        }
        if self.trace.is_some() {
            self.tell_sent(message, &posted);
        }
        for (at, packet) in posted.arrivals {
            self.feed(u64::from(raft_core::Checksum::of(&packet.frame).get()));
            self.push(at, Event::Arrive(packet));
        }
    }

    fn tell_sent(&mut self, message: &Message, sent: &network::Sent) {
        let (from, to, text) = (message.from.node, message.to, notation::message(message));
        let is_heartbeat = network::is_heartbeat(message);
        if let Some(why) = sent.vanished {
            let (packet, text) = (sent.number, text.clone());
            self.tell(|| What::Sent { packet, from, to, text, is_heartbeat });
            self.tell(|| What::Vanished { packet, why });
        }
        for (_, packet) in &sent.arrivals {
            let (text, packet) = (text.clone(), packet.number);
            self.tell(|| What::Sent { packet, from, to, text, is_heartbeat });
        }
    }

    /// A message of long ago is sent again.
    fn announce(&mut self, packet: &Packet) {
        let phases = self.phases(place(packet.to)).and(self.phases(place(packet.from.node)));
        self.coverage.hit(Fault::Late, phases);
        if self.trace.is_none() {
            return;
        }
        let (from, to, number) = (packet.from.node, packet.to, packet.number);
        let Some(message) = network::open(packet) else { return };
        let text = format!("{} (again)", notation::message(&message));
        let is_heartbeat = network::is_heartbeat(&message);
        self.tell(|| What::Sent { packet: number, from, to, text, is_heartbeat });
    }

    fn arrive(&mut self, packet: &Packet) -> Check {
        let (seat, number) = (place(packet.to), packet.number);
        let passed = self.network.arrived(packet);
        let message = network::open(packet);
        let why = match (&message, passed, self.seats[seat].process()) {
            (_, false, _) => Some("cut"),
            (None, ..) => Some("corrupted"),
            (_, _, None) => Some("nobody there"),
            (Some(_), true, Some(_)) => None,
        };
        if let Some(why) = why {
            self.tell(|| What::Vanished { packet: number, why });
            return Ok(());
        }
        let to = packet.to;
        self.tell(|| What::Arrived { packet: number, to });
        self.deliver(seat, &message.expect("it was opened above"))
    }

    fn deliver(&mut self, seat: usize, message: &Message) -> Check {
        let now = self.seats[seat].clock.at(self.now);
        let Some(process) = self.seats[seat].process_mut() else { return Ok(()) };
        let raft = &mut process.raft;
        let node = message.to;
        let before = self.etiquette.before(node, raft.state(), now);
        raft.handle_message(now, message.clone());
        let is_durable = self.oracle.knows_hard_state(node, raft.state());
        let recorded = recorded(raft.state().membership(), message.from.node);
        let is_other = recorded.is_some_and(|recorded| recorded != message.from.incarnation);
        let is_word = matches!(message.body, Body::AppendEntries(_) | Body::InstallSnapshot(_));
        // What another disk asks may be refused, and nothing is owed to it.
        if !is_other || is_word {
            self.etiquette.after(message, before, (raft.state(), is_durable), now)?;
        } else if matches!(message.body, Body::RequestVote(_)) {
            self.etiquette.waits(node, now);
        }
        self.etiquette.is_due(node, before, raft, now)?;
        let life = self.seats[seat].life;
        self.touched(seat)?;
        if self.swarm.pump_ns == 0 && self.seats[seat].life == life {
            self.etiquette.has_answered(node)?;
        }
        Ok(())
    }

    /// The disks of all machines, for the atlas.
    pub(crate) fn all_disks(&self) -> Vec<Disk<'_>> {
        let disk = |seat: &Seat| {
            let image = &self.oracle.images[place(seat.id)];
            Disk { node: seat.id, incarnation: image.incarnation, log: &image.log }
        };
        self.seats.iter().map(disk).collect()
    }

    // For people.

    /// What each disk surely holds, and why its node stands still if it does.
    pub(crate) fn disks(&self) -> Vec<(NodeId, String)> {
        let describe = |seat: &Seat| {
            let mut parts = vec![self.oracle.images[place(seat.id)].to_string()];
            parts.extend(seat.halted.as_ref().map(|halted| format!("stands still: {halted}")));
            parts.extend(self.atlas.is_damaged(seat.id).then(|| "damaged".to_owned()));
            (seat.id, parts.join("; "))
        };
        self.seats.iter().map(describe).collect()
    }

    /// The last operations of clients.
    pub(crate) fn last_operations(&self) -> Vec<String> {
        let operations = self.history.operations();
        let from = operations.len().saturating_sub(OPERATIONS_TOLD);
        let numbered = operations.iter().enumerate().skip(from);
        numbered.map(|(number, operation)| format!("#{number} {operation}")).collect()
    }

    // Phases.

    /// What a machine is doing.
    pub(crate) fn phases(&self, seat: usize) -> Phases {
        let seat = &self.seats[seat];
        let none = Phases::default();
        let process = match &seat.stage {
            Stage::Down => return none,
            Stage::Recovering(_) => return none.with(Phase::Recovery),
            Stage::Stopping => return none.with(Phase::Stopping),
            Stage::Up(process) => process,
        };
        let state = process.raft.state();
        let commit = state.commit_index();
        let role = match (state.role(), seat.role) {
            (Role::Leader(_), _) if state.log().term_at(commit) == Some(state.current_term()) => {
                Phase::Leader
            }
            (Role::Leader(_), _) => Phase::NewLeader,
            (Role::Candidate(_), RoleName::PreCandidate) => Phase::PreCandidate,
            (Role::Candidate(_), _) => Phase::Candidate,
            (Role::Follower(_), _) => Phase::Follower,
        };
        let led = seat.led_until.is_some_and(|until| self.now <= until + self.swarm.heartbeat_ns)
            && !matches!(state.role(), Role::Leader(_));
        let (mut truncates, mut begins) = (false, false);
        if let Some(DiskWork::Wrote { facts, begins: new, .. }) = &process.disk_work {
            let len = self.oracle.images[place(seat.id)].log.len();
            truncates = facts.iter().any(|facts| facts.truncates(len));
            begins = *new;
        }
        let is_transferring = seat.is_transferring && matches!(state.role(), Role::Leader(_));
        none.with(role)
            .with_if(state.membership().is_joint(), Phase::Joint)
            .with_if(is_transferring, Phase::Transferring)
            .with_if(process.is_capturing, Phase::Capturing)
            .with_if(process.fetch.is_some(), Phase::Installing)
            .with_if(led, Phase::SteppingDown)
            .with_if(truncates, Phase::Truncating)
            .with_if(begins, Phase::SegmentRoll)
    }
}

impl Event {
    /// The machine that has to run for it to happen.
    fn seat(&self) -> Option<usize> {
        match self {
            Self::Arrive(packet) => Some(place(packet.to)),
            Self::ChunkAsked(ask) => Some(place(ask.at)),
            Self::ChunkHere { ask, .. } => Some(ask.by),
            Self::Timer { seat, .. }
            | Self::ChunkLate { seat, .. }
            | Self::Pump { seat, .. }
            | Self::DiskDone { seat, .. }
            | Self::Applied { seat, .. }
            | Self::Ready { seat, .. }
            | Self::Stopped { seat, .. }
            | Self::Unreachable { seat, .. }
            | Self::Ask { seat, .. } => Some(*seat),
            Self::Start { .. }
            | Self::Resume { .. }
            | Self::Client { .. }
            | Self::GiveUp { .. }
            | Self::SendKept { .. }
            | Self::Strike
            | Self::Operate
            | Self::Mend(_)
            | Self::Checkup => None,
        }
    }
}
