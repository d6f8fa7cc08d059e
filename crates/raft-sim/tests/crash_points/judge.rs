//! What must hold after a crash or a fault, and how a workload goes on.
//!
//! Read next: `enumerate.rs`, what a crash may leave.

use std::ops::RangeInclusive;
use std::sync::Arc;

use raft_sim::choice::{Choice, Choices, Site};
use raft_sim::disk::{Crash, DiskProfile, SimDisk};
use raft_storage::disk::Environment;
use raft_storage::{FileStorage, Storage, StorageError};

use super::workload::{State, Step, Workload, Write, identity, look};

/// Every call takes so long, and a sync twice that: no two changes happen at one moment.
pub(crate) const CALL_NS: u64 = 1_000;

/// A disk for this workload whose calls happen one after the other.
pub(crate) fn profile(workload: &Workload, block_bytes: usize) -> DiskProfile {
    DiskProfile {
        block_bytes,
        tears_to_garbage: !workload.rewrites,
        call_ns: CALL_NS,
        sync_ns: CALL_NS,
        sync_jitter_ns: 0,
        ..DiskProfile::default()
    }
}

/// Opens the storage as the process of this number.
pub(crate) fn open(
    disk: &SimDisk,
    workload: &Workload,
    life: u64,
) -> Result<FileStorage, StorageError> {
    let environment = Environment { boot_id: 1, ..Environment::from_seed(life) };
    FileStorage::open_with(Arc::new(disk.handle()), environment, "/srv/node", workload.options)
}

/// Dies at the end of the job.
pub(crate) fn kill(disk: &SimDisk) {
    disk.crash(disk.job_end(), Crash::Process);
}

/// The power fails at the end of the job, and nothing that was pending survives.
pub(crate) fn lose_all_pending(disk: &SimDisk) -> SimDisk {
    let lose = Choice { site: Site::PowerLoss, number: 1, value: 1 };
    let disk = disk.fork(Choices::replay(&[lose]));
    disk.crash(disk.job_end(), Crash::Power);
    disk
}

/// What a disk may hold.
#[derive(Clone, Debug)]
pub(crate) struct Allowed {
    /// How many writes may be there.
    pub(crate) writes: RangeInclusive<usize>,
    /// Whether it surely has its owner.
    pub(crate) owned: bool,
}

/// A workload with its model.
pub(crate) struct Judge {
    pub(crate) workload: Workload,
    pub(crate) writes: Vec<Write>,
    pub(crate) states: Vec<State>,
}

impl Judge {
    pub(crate) fn new(workload: Workload) -> Self {
        let (writes, states) = (workload.writes(), workload.states());
        Self { workload, writes, states }
    }

    /// Opens a disk after a crash: that works, and what is there is allowed. Says how many writes
    /// are there.
    pub(crate) fn open(
        &self,
        disk: &SimDisk,
        life: u64,
        allowed: &Allowed,
        story: &dyn Fn() -> String,
    ) -> (FileStorage, usize) {
        let name = self.workload.name;
        let mut storage = open(disk, &self.workload, life)
            .unwrap_or_else(|error| panic!("{name}: does not open: {error}; {}", story()));
        match storage.identity() {
            Some(found) => assert_eq!(found, identity(), "{name}: owner; {}", story()),
            None => assert!(!allowed.owned, "{name}: the owner is gone; {}", story()),
        }
        let found = look(&mut storage);
        let mut possible = allowed.writes.clone().rev();
        let writes = possible.find(|writes| self.states[*writes] == found).unwrap_or_else(|| {
            let there = self.states.iter().position(|state| *state == found);
            panic!("{name}: {there:?} writes, expected {:?}; {}", allowed.writes, story())
        });
        (storage, writes)
    }

    /// Carries on with the writes that are missing, call by call.
    pub(crate) fn go_on(&self, storage: &mut FileStorage, mut done: usize) {
        storage.initialize(identity()).unwrap();
        let mut before = 0;
        for step in &self.workload.steps {
            let Step::Persist(call) = step else { continue };
            before += call.len();
            if before > done {
                self.persist(storage, done..before).unwrap();
                done = before;
            }
        }
    }

    /// One call with these writes.
    pub(crate) fn persist(
        &self,
        storage: &mut FileStorage,
        range: std::ops::Range<usize>,
    ) -> Result<(), StorageError> {
        let batch: Vec<_> = self.writes[range].iter().map(Write::persist).collect();
        storage.persist(&batch)
    }

    /// Opens a disk after a crash, carries on to the end, and finds everything there: now, after a
    /// clean stop, and if the power fails instead.
    pub(crate) fn finish(
        &self,
        disk: &SimDisk,
        life: u64,
        allowed: &Allowed,
        story: &dyn Fn() -> String,
    ) {
        let (mut storage, done) = self.open(disk, life, allowed, story);
        self.go_on(&mut storage, done);
        assert_eq!(&look(&mut storage), self.states.last().unwrap(), "{}", story());
        let cut = lose_all_pending(disk);
        drop(storage);
        let all = Allowed { writes: self.writes.len()..=self.writes.len(), owned: true };
        let (_, _) = self.open(&cut, life + 100, &all, &|| format!("{}, power loss", story()));
        let (_, _) = self.open(disk, life + 100, &all, &|| format!("{}, clean stop", story()));
    }

    /// What was believed, and a first write after it, are there even if the power fails next.
    pub(crate) fn holds_what_it_believes(
        &self,
        disk: &SimDisk,
        life: u64,
        allowed: &Allowed,
        story: &dyn Fn() -> String,
    ) {
        let (mut storage, done) = self.open(disk, life, allowed, story);
        let owned = storage.identity().is_some();
        let believed = Allowed { writes: done..=done, owned };
        let told = || format!("{}, believed, power loss", story());
        let (_, _) = self.open(&lose_all_pending(disk), life + 100, &believed, &told);
        storage.initialize(identity()).unwrap();
        let told = || format!("{}, owned, power loss", story());
        let believed = Allowed { writes: done..=done, owned: true };
        let (_, _) = self.open(&lose_all_pending(disk), life + 100, &believed, &told);
        if done < self.writes.len() {
            self.persist(&mut storage, done..done + 1).unwrap();
            let told = || format!("{}, written, power loss", story());
            let more = Allowed { writes: done + 1..=done + 1, owned: true };
            let (_, _) = self.open(&lose_all_pending(disk), life + 100, &more, &told);
        }
    }
}

/// A step that was done, and all that a crash inside of it needs.
pub(crate) struct Done<'a> {
    pub(crate) disk: &'a SimDisk,
    /// The number of the step.
    pub(crate) step: usize,
    /// The moments before its first change, after each, and after the last call.
    pub(crate) moments: Vec<u64>,
    /// What a crash inside of it may leave.
    inside: Allowed,
    /// The same once it returned.
    after: Allowed,
}

impl Done<'_> {
    /// What a crash at this moment may leave.
    pub(crate) fn allowed(&self, moment: u64) -> &Allowed {
        if Some(&moment) == self.moments.last() { &self.after } else { &self.inside }
    }
}

/// The moments of the job that differ, with those given, ascending.
pub(crate) fn moments(disk: &SimDisk, given: &[u64]) -> Vec<u64> {
    let mut moments = disk.job_changes();
    moments.extend_from_slice(given);
    moments.sort_unstable();
    moments.dedup();
    moments
}

/// Runs the workload without faults and shows each step when it is done.
pub(crate) fn each_step(judge: &Judge, disk: &SimDisk, mut visit: impl FnMut(&Done<'_>)) {
    let mut storage: Option<FileStorage> = None;
    let (mut life, mut written, mut owned) = (0, 0, false);
    for (number, step) in judge.workload.steps.iter().enumerate() {
        let began = disk.job_end();
        disk.begin_job(began);
        let before = (written, owned);
        match (step, storage.as_mut()) {
            (Step::Open, _) => {
                life += 1;
                storage = Some(open(disk, &judge.workload, life).unwrap());
            }
            (Step::Initialize, Some(storage)) => {
                storage.initialize(identity()).unwrap();
                owned = true;
            }
            (Step::Persist(call), Some(storage)) => {
                judge.persist(storage, written..written + call.len()).unwrap();
                written += call.len();
            }
            (Step::Close, _) => storage.take().unwrap().close().unwrap(),
            (Step::Kill, _) => {
                kill(disk);
                storage = None;
            }
            (Step::Initialize | Step::Persist(_), None) => panic!("no storage is open"),
        }
        visit(&Done {
            disk,
            step: number,
            moments: moments(disk, &[began, disk.job_end()]),
            inside: Allowed { writes: before.0..=written, owned: before.1 },
            after: Allowed { writes: written..=written, owned },
        });
    }
}
