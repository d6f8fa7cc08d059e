//! What goes wrong, when, and whom it hits.
//!
//! Now and then a fault is drawn from the kinds this world knows. It strikes at once, or it waits
//! for a node that is in a certain phase: faults that are not aimed hardly ever meet the short
//! ones. Most faults end after a while; none lasts into liveness mode, except what freezes there.
//!
//! Read next: `world/process.rs`, where most of it is carried out.

use raft_core::{NodeId, Role};

use crate::atlas::Class;
use crate::choice::Site;
use crate::clock::TRUE_RATE;
use crate::coverage::{Fault, Phase, Phases};
use crate::disk::{CallFault, Crash, DamageKind, SimDisk};
use crate::network::{Burst, place};
use crate::oracle::{Check, Failure};
use crate::trace::What;
use crate::world::{Event, World};

const MILLIS: u64 = 1_000_000;
const SECONDS: u64 = 1_000_000_000;

/// Faults that wait for a phase.
#[derive(Debug, Default)]
pub(crate) struct Nemesis {
    armed: Vec<(Fault, Phase)>,
    has_stopped: bool,
}

/// What ends a fault.
#[derive(Clone, Debug)]
pub(crate) enum Remedy {
    Links(Vec<Link>),
    Clock(usize),
    Disk(usize),
    Swap,
    /// Not a remedy of the fault, but its second half: a process dies while its disk is opened or
    /// closed.
    Power {
        seat: usize,
        life: u64,
        crash: Crash,
    },
}

/// From one node to another.
type Link = (NodeId, NodeId);

const fn both(one: NodeId, other: NodeId) -> [Link; 2] {
    [(one, other), (other, one)]
}

/// Faults that wait at once.
const ARMED_MAX: usize = 16;

/// Phases that faults are aimed at; those that are short or rare stand more than once.
const AIMS: [&[Phase]; 5] = [
    Phase::ALL,
    &[Phase::Joint, Phase::Transferring, Phase::Capturing, Phase::Installing],
    &[Phase::Truncating, Phase::Stopping, Phase::SteppingDown, Phase::Truncating],
    &[Phase::Truncating, Phase::Stopping, Phase::Recovery, Phase::SegmentRoll],
    Phase::ALL,
];

impl Nemesis {
    pub(crate) fn stop(&mut self) {
        self.armed.clear();
        self.has_stopped = true;
    }
}

impl World {
    /// The next fault is drawn.
    pub(crate) fn strike(&mut self) -> Check {
        if self.nemesis.has_stopped {
            return Ok(());
        }
        let at = self.some_time(self.swarm.fault_ns);
        self.push(at, Event::Strike);
        let fault = *self.choices.pick(Site::Nemesis, &self.swarm.faults);
        if self.choices.chance(Site::Nemesis, 600_000) {
            let aims = *self.choices.pick(Site::Nemesis, &AIMS);
            let phase = *self.choices.pick(Site::Nemesis, aims);
            self.arm(fault, phase);
            return Ok(());
        }
        let seat = self.choices.choose(Site::Nemesis, self.seats.len() as u64);
        self.inject(fault, usize::try_from(seat).expect("a small number"))?;
        Ok(())
    }

    /// Lets a fault wait for a phase. Damage is allowed seldom, so it waits the longest.
    fn arm(&mut self, fault: Fault, phase: Phase) {
        let armed = &mut self.nemesis.armed;
        if armed.len() >= ARMED_MAX
            && let Some(oldest) = armed.iter().position(|(fault, _)| !fault.is_damage())
        {
            armed.remove(oldest);
        }
        if armed.len() < 2 * ARMED_MAX {
            armed.push((fault, phase));
        }
    }

    /// Where anything may be damaged, some of it waits for a truncation from the beginning: few
    /// runs see one.
    pub(crate) fn arm_damage(&mut self) {
        if self.swarm.class != Class::C {
            return;
        }
        let faults = self.swarm.faults.clone();
        for fault in faults.into_iter().filter(|fault| fault.is_damage()) {
            if self.choices.chance(Site::Nemesis, 500_000) {
                self.arm(fault, Phase::Truncating);
            }
        }
    }

    /// A node may have entered a phase that a fault waits for.
    pub(crate) fn aim(&mut self, seat: usize) -> Check {
        if self.nemesis.armed.is_empty() {
            return Ok(());
        }
        let phases = self.phases(seat);
        // What is to strike calls of a job has to be there before the job is carried out.
        let jobless = phases.without_jobs();
        let is_meant = |(fault, phase): &(Fault, Phase)| {
            if fault.is_of_calls() { jobless.has(*phase) } else { phases.has(*phase) }
        };
        let Some(at) = self.nemesis.armed.iter().position(is_meant) else {
            return Ok(());
        };
        let (fault, phase) = self.nemesis.armed.remove(at);
        // What the atlas does not allow now it may allow later.
        if !self.inject(fault, seat)? && fault.is_damage() {
            self.arm(fault, phase);
        }
        Ok(())
    }

    /// A job of a disk is about to be carried out: what waits for it is put there.
    pub(crate) fn aim_before(&mut self, seat: usize, phases: Phases) {
        let is_meant = |(fault, phase): &(Fault, Phase)| fault.is_of_calls() && phases.has(*phase);
        while let Some(at) = self.nemesis.armed.iter().position(is_meant) {
            let (fault, _) = self.nemesis.armed.remove(at);
            if self.carry_out(fault, seat) {
                self.note(fault, seat, Phases::default());
            }
        }
    }

    /// A job of a disk was carried out: the faults that struck its calls are counted.
    pub(crate) fn count_job(&mut self, seat: usize, phases: Phases) {
        for fault in self.seats[seat].disk.job_met() {
            self.coverage.met(fault, phases);
        }
    }

    /// A fault was put there.
    fn note(&mut self, fault: Fault, seat: usize, phases: Phases) {
        let id = self.seats[seat].id;
        let is_of_messages = matches!(
            fault,
            Fault::Loss | Fault::Double | Fault::Late | Fault::Reorder | Fault::Corrupt
        );
        // Faults that happen to single messages are counted where they do.
        if !is_of_messages {
            let phases = if fault.is_of_calls() { phases.without_jobs() } else { phases };
            self.coverage.hit(fault, phases);
        }
        self.feed(0xfa << 32 | (fault as u64) << 8 | seat as u64);
        self.tell(|| What::Fault { nodes: vec![id], text: format!("{fault}") });
    }

    /// A fault hits a machine, if it can.
    fn inject(&mut self, fault: Fault, seat: usize) -> Result<bool, Failure> {
        let phases = self.phases(seat);
        if self.seats[seat].is_out || !self.carry_out(fault, seat) {
            return Ok(false);
        }
        if fault == Fault::Campaign {
            self.campaign(seat)?;
        }
        if matches!(fault, Fault::Change | Fault::Transfer) {
            // It is counted where it is carried out, if it is.
            return self.ask_operator(fault, seat);
        }
        self.note(fault, seat, phases);
        // A stop is short: what waits for it must strike now.
        if fault == Fault::CleanStop {
            self.aim(seat)?;
        }
        Ok(true)
    }

    /// Does what the fault says. `false` if that is not possible now.
    fn carry_out(&mut self, fault: Fault, seat: usize) -> bool {
        match fault {
            Fault::PowerLoss => self.dies(seat, Crash::Power),
            Fault::Kill => self.dies(seat, Crash::Process),
            Fault::EffectCrash => self.dies_between_effects(seat),
            Fault::RestartAll => {
                let mut any = false;
                for machine in 0..self.seats.len() {
                    any |= self.dies(machine, Crash::Power);
                }
                any
            }
            Fault::Pause => {
                let until = self.now + self.a_while();
                // Time passes also for a machine that sleeps, where leases rely on it.
                let may_freeze = self.swarm.lease_drift_ppm.is_none();
                let freezes = self.choices.chance(Site::Nemesis, 500_000) && may_freeze;
                let can = !self.seats[seat].is_paused() && !self.seats[seat].is_down();
                if can {
                    self.pause(seat, until, freezes);
                }
                can
            }
            Fault::CleanStop => !self.seats[seat].is_paused() && self.stop(seat),
            Fault::Campaign | Fault::Change | Fault::Transfer => {
                self.seats[seat].process().is_some()
            }
            Fault::Wipe => self.wipe(seat),
            Fault::Swap => self.swap(seat),
            Fault::ClockRate | Fault::ClockJump => self.break_clock(fault, seat),
            Fault::Loss => self.burst(seat, Burst::Loss),
            Fault::Double => self.burst(seat, Burst::Double),
            Fault::Late => {
                let at = self.now + self.a_while();
                self.push(at, Event::SendKept { to: None });
                self.burst(seat, Burst::Late)
            }
            Fault::Reorder => self.burst(seat, Burst::Reorder),
            Fault::Corrupt => self.burst(seat, Burst::Corrupt),
            Fault::SlowLink => self.burst(seat, Burst::Slow),
            Fault::Clog => self.burst(seat, Burst::Clog),
            Fault::Cut => self.cut(seat, Self::one_link),
            Fault::OneWay => self.cut(seat, Self::one_way),
            Fault::Bridge => self.cut(seat, Self::bridge),
            Fault::Isolate => self.cut(seat, Self::all_links),
            Fault::Reset => self.reset(seat),
            Fault::SyncError => self.fail_call(seat, CallFault::Sync),
            Fault::WriteError => self.fail_call(seat, CallFault::Write),
            Fault::ReadError => self.fail_call(seat, CallFault::Read),
            Fault::OpenError => self.fail_call(seat, CallFault::Open),
            Fault::ShortIo => self.trouble(seat, |_, disk, _| disk.set_short(true)),
            Fault::Full => self.trouble(seat, |world, disk, _| {
                disk.set_room(Some(world.choices.spread(Site::Nemesis, 1, 64 << 10) - 1));
            }),
            Fault::SlowDisk => self.trouble(seat, |world, disk, _| {
                disk.set_slowness(world.choices.spread(Site::Nemesis, 2, 500));
            }),
            Fault::HungDisk => self.trouble(seat, |_, disk, until| disk.hang_until(until)),
            Fault::BitRot => self.damage(seat, DamageKind::BitRot),
            Fault::Unreadable => self.damage(seat, DamageKind::Unreadable),
            Fault::Misdirected => self.damage(seat, DamageKind::Misdirected),
            Fault::Stale => self.damage(seat, DamageKind::Stale),
        }
    }

    /// How long a fault lasts: as often about a heartbeat as many election timeouts.
    fn a_while(&self) -> u64 {
        self.choices.spread(Site::Nemesis, 5 * MILLIS, 16 * SECONDS)
    }

    // Processes and clocks.

    fn dies(&mut self, seat: usize, crash: Crash) -> bool {
        if self.seats[seat].is_down() {
            return false;
        }
        let why = match crash {
            Crash::Power => "its power fails",
            Crash::Process => "is killed",
        };
        self.crash(seat, crash, why);
        self.start_later(seat);
        self.peers_may_notice(seat);
        true
    }

    /// The power fails between two messages, calls or answers; or, while a disk is opened or
    /// closed, between two of its calls.
    fn dies_between_effects(&mut self, seat: usize) -> bool {
        let machine = &mut self.seats[seat];
        if machine.is_down() {
            return false;
        }
        let crash = *self.choices.pick(Site::Nemesis, &[Crash::Power, Crash::Process]);
        if machine.process().is_some() {
            let after = self.choices.choose(Site::Nemesis, 40);
            machine.effects_left = Some((after, crash));
            return true;
        }
        let left = machine.disk.job_end().saturating_sub(self.now);
        let at = self.now + self.choices.choose(Site::Nemesis, left + 1);
        let life = machine.life;
        self.push(at, Event::Mend(Remedy::Power { seat, life, crash }));
        true
    }

    /// Connections to a process that died are reset, mostly.
    fn peers_may_notice(&mut self, seat: usize) {
        if self.choices.chance(Site::Nemesis, 700_000) {
            let peer = self.seats[seat].id;
            for other in 0..self.seats.len() {
                self.notices(other, peer);
            }
        }
    }

    /// A machine is told that its connection to a peer broke.
    fn notices(&mut self, seat: usize, peer: NodeId) {
        if self.seats[seat].id == peer {
            return;
        }
        let life = self.seats[seat].life;
        let at = self.now + self.choices.choose(Site::Delay, 5 * MILLIS);
        self.push(at, Event::Unreachable { seat, life, peer });
    }

    fn break_clock(&mut self, fault: Fault, seat: usize) -> bool {
        let drift = self.swarm.lease_drift_ppm.map(u64::from);
        if drift.is_some() && fault == Fault::ClockJump {
            return false;
        }
        if fault == Fault::ClockJump {
            let nanos = self.choices.spread(Site::Nemesis, MILLIS, 10 * SECONDS);
            self.seats[seat].clock.jump(self.now, nanos);
        } else {
            let (slow, fast) = match drift {
                Some(drift) => (TRUE_RATE - drift, TRUE_RATE + drift + 1),
                None => (TRUE_RATE / 2, 2 * TRUE_RATE),
            };
            let rate = self.choices.between(Site::Nemesis, slow, fast);
            self.seats[seat].clock.set_rate(self.now, rate);
            let at = self.now + self.a_while();
            self.push(at, Event::Mend(Remedy::Clock(seat)));
        }
        self.clock_changed(seat);
        true
    }

    fn clock_changed(&mut self, seat: usize) {
        if let Some(process) = self.seats[seat].process_mut() {
            process.timer = None;
        }
        self.set_timer(seat);
    }

    /// An operator asks a node to campaign: a leader goes on leading.
    fn campaign(&mut self, seat: usize) -> Check {
        let machine = &mut self.seats[seat];
        let (id, now) = (machine.id, machine.clock.at(self.now));
        let Some(process) = machine.process_mut() else { return Ok(()) };
        let led = matches!(process.raft.state().role(), Role::Leader(_));
        process.raft.campaign(now);
        if led && !matches!(process.raft.state().role(), Role::Leader(_)) {
            let text = format!("{id} led, was asked to campaign, and leads no more");
            return Err(Failure::of("leadership", id, text));
        }
        self.touched(seat)
    }

    /// An operator asks this very node for something.
    fn ask_operator(&mut self, fault: Fault, seat: usize) -> Result<bool, Failure> {
        if self.swarm.operator_ns == 0 {
            return Ok(false);
        }
        if fault == Fault::Transfer { self.hand_over(seat) } else { self.change_at(seat) }
    }

    // Links.

    fn others(&self, seat: usize) -> Vec<NodeId> {
        let ids = self.seats.iter().map(|other| other.id);
        ids.filter(|id| *id != self.seats[seat].id).collect()
    }

    fn burst(&mut self, seat: usize, what: Burst) -> bool {
        let until = self.now + self.a_while();
        let id = self.seats[seat].id;
        for other in self.others(seat) {
            self.network.burst((id, other), what, until);
            self.network.burst((other, id), what, until);
        }
        self.seats.len() > 1
    }

    /// Cuts links for a while; now and then both ends are told.
    fn cut(&mut self, seat: usize, links: fn(&Self, usize) -> Vec<Link>) -> bool {
        if self.seats.len() < 2 {
            return false;
        }
        let links = links(self, seat);
        for (from, to) in &links {
            self.network.cut(*from, *to);
        }
        if self.choices.chance(Site::Nemesis, 400_000) {
            for (from, to) in &links {
                self.notices(place(*from), *to);
            }
        }
        let can = !links.is_empty();
        let at = self.now + self.a_while();
        self.push(at, Event::Mend(Remedy::Links(links)));
        can
    }

    /// Between a machine and one other, both ways.
    fn one_link(&self, seat: usize) -> Vec<Link> {
        both(self.seats[seat].id, *self.choices.pick(Site::Nemesis, &self.others(seat))).into()
    }

    /// A machine hears all and is heard by none, or the other way round.
    fn one_way(&self, seat: usize) -> Vec<Link> {
        let id = self.seats[seat].id;
        let is_mute = self.choices.chance(Site::Nemesis, 500_000);
        let way = |other| if is_mute { (id, other) } else { (other, id) };
        self.others(seat).into_iter().map(way).collect()
    }

    /// Between two halves of the others: the machine alone hears both.
    fn bridge(&self, seat: usize) -> Vec<Link> {
        let others = self.others(seat);
        let (left, right) = others.split_at(others.len() / 2);
        let pairs = left.iter().flat_map(|left| right.iter().map(move |right| (*left, *right)));
        pairs.flat_map(|(left, right)| both(left, right)).collect()
    }

    /// Between a machine and all others.
    fn all_links(&self, seat: usize) -> Vec<Link> {
        let id = self.seats[seat].id;
        self.others(seat).into_iter().flat_map(|other| both(id, other)).collect()
    }

    fn reset(&mut self, seat: usize) -> bool {
        let id = self.seats[seat].id;
        let others = self.others(seat);
        for other in &others {
            self.notices(seat, *other);
            self.notices(place(*other), id);
        }
        !others.is_empty()
    }

    // Disks.

    /// One of the next calls of this kind fails.
    fn fail_call(&mut self, seat: usize, call: CallFault) -> bool {
        self.trouble(seat, |_, _, _| {});
        let after = self.choices.choose(Site::Nemesis, 4);
        self.seats[seat].disk.fail(call, after);
        true
    }

    /// Something is wrong with a disk for a while.
    fn trouble(&mut self, seat: usize, make: fn(&Self, &SimDisk, u64)) -> bool {
        let until = self.now + self.a_while();
        make(self, &self.seats[seat].disk, until);
        self.push(until, Event::Mend(Remedy::Disk(seat)));
        true
    }

    /// Whether everything on this disk may be lost.
    fn may_lose(&self, seat: usize) -> bool {
        let (disks, possible) = (self.all_disks(), self.oracle.possible());
        let node = self.seats[seat].id;
        self.swarm.class != Class::Undamaged && self.atlas.allows(node, &disks, &possible)
    }

    fn damage(&mut self, seat: usize, kind: DamageKind) -> bool {
        if !self.may_lose(seat) || self.seats[seat].is_swapped {
            return false;
        }
        let Some(damage) = self.seats[seat].disk.damage(self.now, kind) else { return false };
        let id = self.seats[seat].id;
        self.atlas.strike(id);
        self.tell(|| What::Fault { nodes: vec![id], text: damage.to_string() });
        true
    }

    /// A blank disk in the place of the old one. The node comes back by itself, under its old id,
    /// as one of the first members or as one that waits to be added; whoever recorded its old disk
    /// does not hear it, until the operator readmits it.
    ///
    /// Before the old disk is recorded everywhere nobody can know: that is for operators to see to.
    fn wipe(&mut self, seat: usize) -> bool {
        let id = self.seats[seat].id;
        let is_lost = self.atlas.is_damaged(id);
        let is_out = |node: NodeId| self.seats[place(node)].is_out;
        let is_known = self.oracle.is_known_everywhere(id, is_out) && self.no_disk_is_new(seat);
        if self.seats[seat].is_swapped || !is_known || !is_lost && !self.may_lose(seat) {
            return false;
        }
        if !self.seats[seat].is_down() {
            self.crash(seat, Crash::Power, "its disk is replaced");
        }
        let machine = &mut self.seats[seat];
        machine.disk.wipe();
        machine.under_way.clear();
        machine.is_initialized = false;
        machine.halted = None;
        machine.was_replaced = true;
        machine.incarnation = None;
        // Who would be a group of its own asks nobody.
        let is_alone = self.swarm.nodes == 1;
        machine.joins =
            id.get() > self.swarm.nodes || is_alone || self.choices.chance(Site::Members, 500_000);
        self.oracle.wiped(id);
        self.atlas.replaced(id);
        self.start_later(seat);
        true
    }

    /// Whether no other disk was replaced that knows nothing of its group yet: two of them that
    /// begin with the first members would make a group of their own.
    fn no_disk_is_new(&self, seat: usize) -> bool {
        let others = self.seats.iter().filter(|other| other.id != self.seats[seat].id);
        let mut replaced = others.filter(|other| other.was_replaced && !other.joins);
        replaced.all(|other| {
            let newest = self.oracle.images[place(other.id)].membership();
            newest.is_some_and(|newest| newest.id() != raft_core::EntryId::ZERO)
        })
    }

    /// Two machines get each other's disk, and must refuse to start with it.
    fn swap(&mut self, seat: usize) -> bool {
        let fits = |seat: &usize| {
            let machine = &self.seats[*seat];
            machine.is_initialized && !machine.is_out && !self.atlas.is_damaged(machine.id)
        };
        let is_busy = self.seats.iter().any(|machine| machine.is_swapped);
        let others: Vec<usize> = (0..self.seats.len()).filter(|o| *o != seat && fits(o)).collect();
        if is_busy || !fits(&seat) || others.is_empty() {
            return false;
        }
        let other = *self.choices.pick(Site::Nemesis, &others);
        for machine in [seat, other] {
            self.unplug(machine);
        }
        self.seats[seat].disk.swap(&self.seats[other].disk);
        for machine in [seat, other] {
            self.seats[machine].is_swapped = true;
            let life = self.seats[machine].life;
            self.push(self.now + MILLIS, Event::Start { seat: machine, life });
        }
        let at = self.now + SECONDS + self.a_while();
        self.push(at, Event::Mend(Remedy::Swap));
        true
    }

    /// A machine is switched off, and with it goes what its memory held of the disk.
    fn unplug(&mut self, seat: usize) {
        self.crash(seat, Crash::Power, "is switched off to exchange disks");
    }

    /// Each machine has its own disk again.
    pub(crate) fn unswap(&mut self) {
        let swapped: Vec<usize> =
            (0..self.seats.len()).filter(|seat| self.seats[*seat].is_swapped).collect();
        let [one, other] = swapped[..] else { return };
        for seat in [one, other] {
            self.unplug(seat);
            self.seats[seat].is_swapped = false;
        }
        self.seats[one].disk.swap(&self.seats[other].disk);
        for seat in [one, other] {
            self.start_later(seat);
        }
    }

    /// A fault ends.
    pub(crate) fn mend(&mut self, remedy: Remedy) {
        if self.nemesis.has_stopped {
            return;
        }
        match remedy {
            Remedy::Links(links) => {
                for (from, to) in links {
                    self.network.mend(from, to);
                }
            }
            Remedy::Clock(seat) => {
                self.seats[seat].clock.set_rate(self.now, TRUE_RATE);
                self.clock_changed(seat);
            }
            Remedy::Disk(seat) => {
                self.seats[seat].disk.heal();
                self.seats[seat].disk.set_short(self.swarm.disk.short);
            }
            Remedy::Swap => self.unswap(),
            Remedy::Power { seat, life, crash } => {
                if self.seats[seat].life == life {
                    self.dies(seat, crash);
                }
            }
        }
    }
}
