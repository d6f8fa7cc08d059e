//! How processes begin, end, stand still and go on.
//!
//! Read next: `clients.rs`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use raft_core::{ClusterId, Incarnation, NodeId, RaftNode, SnapshotMeta, Time};
use raft_storage::disk::Environment;
use raft_storage::{Applier, FileStorage, IdentifyError, SnapshotManager, Storage, identify};

use super::lanes::GROUP;
use super::{Event, World};
use crate::choice::Site;
use crate::coverage::{Fault, Phase, Phases};
use crate::disk::Crash;
use crate::oracle::{Check, Failure};
use crate::seat::{DiskWork, Process, Recovering, Stage};
use crate::trace::ProcessState;

/// The cluster of every world.
const CLUSTER: ClusterId = ClusterId::new(0xc1u128);

/// Where every machine keeps its log.
const ROOT: &str = "/data";

/// Every so many commands, on average, a machine is replaced by its own snapshot.
const ROUND_TRIP_PERIOD: u64 = 50;

const MILLIS: u64 = 1_000_000;

/// Why a process does not start.
enum Trouble {
    Identify(IdentifyError),
    Snapshot(String),
}

impl Trouble {
    fn snapshot(error: impl fmt::Display) -> Self {
        Self::Snapshot(error.to_string())
    }
}

impl From<IdentifyError> for Trouble {
    fn from(error: IdentifyError) -> Self {
        Self::Identify(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identify(error) => fmt::Display::fmt(error, f),
            Self::Snapshot(error) => f.write_str(error),
        }
    }
}

impl World {
    /// Starts a process: it reads its disk, and takes part when that is done.
    pub(crate) fn start(&mut self, seat: usize, life: u64) -> Check {
        let machine = &self.seats[seat];
        if machine.life != life || !machine.is_down() || machine.is_out {
            return Ok(());
        }
        let disk = machine.disk.clone();
        disk.begin_job(self.now);
        self.seats[seat].life += 1;
        self.seats[seat].effects_left = None;
        let job = Phases::default().with(Phase::Recovery);
        self.aim_before(seat, job);
        let opened = self.open_disk(seat);
        self.count_job(seat, job);
        match opened {
            Ok(recovering) => {
                self.seats[seat].stage = Stage::Recovering(Box::new(recovering));
                self.tell_process(seat, ProcessState::Recovering, "starts and reads its disk");
                let life = self.seats[seat].life;
                self.push(disk.job_end().max(self.now), Event::Ready { seat, life });
                self.aim(seat)
            }
            Err(error) => self.cannot_start(seat, &error),
        }
    }

    fn open_disk(&mut self, seat: usize) -> Result<Recovering, Trouble> {
        let environment = self.environment(seat);
        let disk = Arc::new(self.seats[seat].disk.handle());
        let storage = FileStorage::open_with(disk, environment, ROOT, self.swarm.files);
        let mut storage = storage.map_err(IdentifyError::Storage)?;
        let incarnation = u128::from(self.entropy()) << 64 | u128::from(self.entropy());
        let node = self.seats[seat].id;
        identify(&mut storage, CLUSTER, node, Incarnation::new(incarnation))?;
        let restored = storage.restore(GROUP).map_err(IdentifyError::Storage)?;
        let snapshots = storage.snapshots().map(Arc::new).map_err(Trouble::snapshot)?;
        let applier = self.recovered_machine(node, &snapshots, restored.snapshot.as_ref())?;
        Ok(Recovering { storage, restored, snapshots, applier })
    }

    /// A state machine that is what the newest snapshot of the log holds.
    fn recovered_machine(
        &self,
        node: NodeId,
        snapshots: &Arc<SnapshotManager>,
        newest: Option<&SnapshotMeta>,
    ) -> Result<Applier, Trouble> {
        let salt = node.get() << 32 | 0x51;
        let machines = &self.ingredients.machines;
        let machine = machines.examined(self.complaints.clone(), salt, ROUND_TRIP_PERIOD);
        let Some(meta) = newest else {
            return Applier::recovered(machine, None).map_err(Trouble::snapshot);
        };
        let mut source = snapshots.open_source(GROUP, meta.id).map_err(Trouble::snapshot)?;
        snapshots.retain(GROUP, meta.id);
        Applier::recovered(machine, Some((meta, &mut *source))).map_err(Trouble::snapshot)
    }

    /// 64 bits no two processes share, whatever is chosen.
    fn entropy(&mut self) -> u64 {
        self.tickets += 1;
        let chosen = self.choices.choose(Site::Entropy, u64::MAX);
        crate::choice::mix(chosen ^ (self.tickets << 32))
    }

    /// What a host tells a storage: clocks that decide nothing, random numbers, the boot.
    fn environment(&mut self, seat: usize) -> Environment {
        let salt = self.entropy();
        let mut drawn = 0;
        Environment {
            clock: Box::new(|| Duration::ZERO),
            random: Box::new(move || {
                drawn += 1;
                let [high, low] = [2 * drawn, 2 * drawn + 1].map(|n| crate::choice::mix(salt ^ n));
                Ok(u128::from(high) << 64 | u128::from(low))
            }),
            unix_ns: Box::new(|| 0),
            // No two starts of any machines share one.
            boot_id: (u128::from(self.seats[seat].boot) << 64) | (seat as u128 + 1),
            process: u32::try_from(self.seats[seat].life).unwrap_or(u32::MAX),
        }
    }

    /// A disk did not open: that needs a cause, and the node stays down until somebody acts.
    fn cannot_start(&mut self, seat: usize, error: &Trouble) -> Check {
        let is_foreign = matches!(error, Trouble::Identify(IdentifyError::Foreign { .. }));
        if self.seats[seat].is_swapped && is_foreign {
            let text = error.to_string();
            self.tell_process(seat, ProcessState::Down, &text);
            self.seats[seat].halted = Some(text);
            return Ok(());
        }
        match error {
            Trouble::Identify(error) => self.halt(seat, &error.to_string()),
            Trouble::Snapshot(text) => self.snapshot_unread(seat, text),
        }
    }

    /// Its disk is read: the process takes part.
    pub(super) fn ready(&mut self, seat: usize, life: u64) -> Check {
        let machine = &mut self.seats[seat];
        if machine.life != life {
            return Ok(());
        }
        let node = machine.id;
        let stage = std::mem::replace(&mut machine.stage, Stage::Down);
        let Stage::Recovering(recovering) = stage else {
            machine.stage = stage;
            return Ok(());
        };
        if machine.is_swapped {
            let text = format!("{node} started from the disk of another node");
            return Err(Failure::of("identity", node, text));
        }
        let Recovering { storage, restored, snapshots, applier } = *recovering;
        let under_way = std::mem::take(&mut machine.under_way);
        let incarnation =
            storage.identity().map_or(Incarnation::new(0), |identity| identity.peer.incarnation);
        machine.incarnation = Some(incarnation);
        let joins = machine.joins;
        self.oracle.begins(node, incarnation);
        self.oracle.recovered(node, &restored, &under_way)?;
        let covered = restored.covered().index;
        self.oracle.restores(node, covered);
        if let Some(digest) = applier.digest().filter(|_| covered > raft_core::Index::ZERO) {
            self.oracle.restored_state(node, covered, digest)?;
        }
        let seed = self.entropy();
        let config = self.swarm.config(node.get(), joins, seed);
        let now = self.seats[seat].clock.at(self.now);
        let raft = RaftNode::new(config, incarnation, restored, now).map_err(|error| {
            Failure::of("recovery", node, format!("{node} does not start: {error}"))
        })?;
        let process = Process {
            raft,
            storage,
            applier,
            snapshots,
            fetch: None,
            is_capturing: false,
            disk_queue: VecDeque::new(),
            disk_work: None,
            writes: 0,
            written_since: VecDeque::new(),
            application_queue: VecDeque::new(),
            is_applying: false,
            timer: None,
            is_pump_due: false,
            touched_at: now,
            open: BTreeSet::new(),
            forgotten: BTreeSet::new(),
            queries: BTreeMap::new(),
            bounded: BTreeSet::new(),
        };
        let machine = &mut self.seats[seat];
        machine.is_initialized = true;
        machine.halted = None;
        machine.told_commit = raft_core::Index::ZERO;
        machine.role = process.raft.status().role;
        machine.stage = Stage::Up(Box::new(process));
        self.etiquette.forget(node, now);
        self.tell_process(seat, ProcessState::Up, "takes part");
        // What was sent to the process before may reach this one.
        let knows_late = self.swarm.faults.contains(&Fault::Late) && self.liveness.is_none();
        if knows_late && self.choices.chance(Site::Keep, 400_000) {
            let at = self.now + self.choices.spread(Site::Nemesis, MILLIS, 500 * MILLIS);
            self.push(at, Event::SendKept { to: Some(node) });
        }
        self.touched(seat)
    }

    /// A process ends without warning.
    pub(crate) fn crash(&mut self, seat: usize, crash: Crash, why: &str) {
        let machine = &mut self.seats[seat];
        // The disk first: what a dying process still wants to write never happens.
        machine.disk.crash(self.now, crash);
        machine.boot += u64::from(crash == Crash::Power);
        if let Some(backlog) = machine.backlog.take() {
            machine.clock.thaw(self.now);
            for event in backlog {
                if let Event::Arrive(packet) = event {
                    self.network.arrived(&packet);
                }
            }
        }
        self.end_process(seat);
        self.tell_process(seat, ProcessState::Down, why);
    }

    /// Everything in memory is gone; callers hear nothing.
    fn end_process(&mut self, seat: usize) {
        let machine = &mut self.seats[seat];
        machine.life += 1;
        machine.effects_left = None;
        machine.is_transferring = false;
        let id = machine.id;
        let stage = std::mem::replace(&mut machine.stage, Stage::Down);
        if let Stage::Up(process) = stage {
            if let Some(DiskWork::Wrote { facts, .. }) = &process.disk_work {
                machine.under_way.extend(facts.iter().cloned());
            }
            self.oracle.ended(id);
            self.etiquette.forget(id, Time::ZERO);
            let open = process.open.iter().copied().collect();
            drop(process);
            self.orphaned(open);
        }
    }

    /// A process ends by itself, because its disk failed it. That needs a cause.
    pub(super) fn halt(&mut self, seat: usize, error: &str) -> Check {
        let (node, text) = (self.seats[seat].id, error.to_owned());
        let counts = self.seats[seat].disk.counts();
        let blamed = counts.failed + counts.full;
        let is_excused = blamed > self.seats[seat].excused || self.atlas.is_damaged(node);
        self.seats[seat].excused = blamed;
        if !is_excused {
            let text = format!("nothing is wrong with the disk of {node}, and it says: {text}");
            return Err(Failure::of("recovery", node, text));
        }
        // A file, or a directory above the log.
        if !text.contains('/') {
            let text = format!("{node} stops and does not name the place: {text}");
            return Err(Failure::of("damage", node, text));
        }
        self.seats[seat].disk.crash(self.now, Crash::Process);
        self.end_process(seat);
        self.tell_process(seat, ProcessState::Down, &text);
        self.seats[seat].halted = Some(text);
        // A supervisor starts it again, also where that is of no use.
        self.start_later(seat);
        Ok(())
    }

    /// A supervisor notices that a process is gone.
    pub(crate) fn start_later(&mut self, seat: usize) {
        let (now, life) = (self.now, self.seats[seat].life);
        let least = if self.seats[seat].halted.is_some() { 200 * MILLIS } else { MILLIS };
        let at = now + self.choices.spread(Site::Nemesis, least, 8_000 * MILLIS);
        self.push(at, Event::Start { seat, life });
    }

    /// A process is asked to stop: the job of its disk is finished, then the disk is closed.
    /// `false` if there is none to ask.
    pub(crate) fn stop(&mut self, seat: usize) -> bool {
        let job = Phases::default().with(Phase::Stopping);
        self.aim_before(seat, job);
        let machine = &mut self.seats[seat];
        let (storage, open) = match std::mem::replace(&mut machine.stage, Stage::Stopping) {
            Stage::Up(process) => {
                if let Some(DiskWork::Wrote { facts, .. }) = &process.disk_work {
                    machine.under_way.extend(facts.iter().cloned());
                }
                let open = process.open.iter().copied().collect();
                (process.storage, open)
            }
            Stage::Recovering(recovering) => (recovering.storage, Vec::new()),
            stage @ (Stage::Down | Stage::Stopping) => {
                machine.stage = stage;
                return false;
            }
        };
        let at = machine.disk.job_end().max(self.now);
        machine.disk.begin_job(at);
        machine.life += 1;
        machine.effects_left = None;
        let (id, life) = (machine.id, machine.life);
        // Dropping closes; an error is of no consequence, as in production.
        drop(storage);
        let done = machine.disk.job_end().max(self.now);
        self.count_job(seat, job);
        self.oracle.ended(id);
        self.etiquette.forget(id, Time::ZERO);
        self.orphaned(open);
        self.tell_process(seat, ProcessState::Down, "was asked to stop and closes its disk");
        self.push(done, Event::Stopped { seat, life });
        true
    }

    pub(super) fn stopped(&mut self, seat: usize, life: u64) {
        let machine = &mut self.seats[seat];
        if machine.life != life {
            return;
        }
        machine.stage = Stage::Down;
        machine.life += 1;
        // Its lock is gone with it.
        machine.disk.crash(self.now, Crash::Process);
        self.start_later(seat);
    }

    /// A machine does nothing until it is resumed, and does not notice.
    pub(crate) fn pause(&mut self, seat: usize, until: u64, freezes: bool) {
        let machine = &mut self.seats[seat];
        if machine.is_paused() {
            return;
        }
        machine.backlog = Some(Vec::new());
        if freezes {
            machine.clock.freeze(self.now);
        }
        self.tell_process(seat, ProcessState::Paused, "does nothing for a while");
        self.push(until, Event::Resume { seat });
    }

    /// A machine goes on: everything that waited happens at once.
    pub(crate) fn resume(&mut self, seat: usize) {
        let machine = &mut self.seats[seat];
        let Some(backlog) = machine.backlog.take() else { return };
        machine.clock.thaw(self.now);
        if let Some(process) = machine.process_mut() {
            process.timer = None;
        }
        let state = match &machine.stage {
            Stage::Up(_) => ProcessState::Up,
            Stage::Recovering(_) => ProcessState::Recovering,
            Stage::Down | Stage::Stopping => ProcessState::Down,
        };
        self.tell_process(seat, state, "goes on");
        for event in backlog {
            self.push(self.now, event);
        }
        self.set_timer(seat);
    }
}
