//! One fault at every call, a restart, and a power loss after it.
//!
//! Read next: `damage.rs`.

use raft_sim::choice::Choices;
use raft_sim::disk::{CallFault, Crash, DiskProfile, SimDisk};
use raft_storage::{FileStorage, Storage, StorageError};

use super::enumerate::{Effort, each_outcome};
use super::judge::{Allowed, Judge, kill, open, profile};
use super::workload::{Step, all, identity};

/// Runs the workload up to the first error. What the disk may hold then; `None` if there was none.
pub(crate) fn run_until_error(judge: &Judge, disk: &SimDisk) -> Option<(Allowed, StorageError)> {
    let mut storage: Option<FileStorage> = None;
    let (mut life, mut written, mut owned) = (0, 0, false);
    for step in &judge.workload.steps {
        let before = written;
        let result = match (step, storage.as_mut()) {
            (Step::Open, _) => {
                life += 1;
                open(disk, &judge.workload, life).map(|opened| storage = Some(opened))
            }
            (Step::Initialize, Some(storage)) => storage.initialize(identity()),
            (Step::Persist(call), Some(storage)) => {
                written += call.len();
                judge.persist(storage, before..written)
            }
            (Step::Close, _) => storage.take().unwrap().close(),
            (Step::Kill, _) => {
                // What is armed stays armed, so nobody dies here; the next process takes over.
                drop(storage.take());
                Ok(())
            }
            (Step::Initialize | Step::Persist(_), None) => panic!("no storage is open"),
        };
        if let Err(error) = result {
            return Some((Allowed { writes: before..=written, owned }, error));
        }
        owned |= matches!(step, Step::Initialize);
    }
    None
}

/// After a fault: the next process starts once the cause is gone, with the system or without having
/// restarted, and the power may fail at once.
fn recovers(judge: &Judge, disk: &SimDisk, allowed: &Allowed, story: &dyn Fn() -> String) {
    disk.begin_job(disk.job_end());
    let effort = Effort { ways: 4, sample: 2 };
    each_outcome(disk, (disk.job_end(), Crash::Power), effort, |disk| {
        let (_, _) = judge.open(disk, 50, allowed, &|| format!("{}, power loss", story()));
    });
    kill(disk);
    disk.heal();
    judge.holds_what_it_believes(&disk.fork(Choices::random(1)), 50, allowed, story);
    judge.finish(disk, 50, allowed, story);
}

/// Arms the fault for the first such call, the second and so on, as long as it strikes. Says how
/// often it did.
fn strike_each(judge: &Judge, profile: DiskProfile, (fault, seed): (CallFault, u64)) -> u64 {
    for after in 0.. {
        let disk = SimDisk::new(profile, Choices::random(seed << 32 | after));
        disk.fail(fault, after);
        let Some((allowed, error)) = run_until_error(judge, &disk) else {
            if disk.counts().failed == 0 {
                return after;
            }
            // A storage that is dropped tells nobody that it could not be closed.
            let all = Allowed { writes: judge.writes.len()..=judge.writes.len(), owned: true };
            recovers(judge, &disk, &all, &|| format!("{fault:?} {after} fails, unnoticed"));
            continue;
        };
        let shows_old = profile.failed_sync_shows_old;
        let story = || format!("{fault:?} {after} fails ({shows_old}, seed {seed}): {error}");
        assert!(matches!(error, StorageError::Io { .. }), "{}", story());
        recovers(judge, &disk, &allowed, &story);
    }
    unreachable!("every workload ends");
}

/// A sync fails, each in turn; some pages are on the disk, the others are dropped, now or later.
#[test]
fn a_failed_sync_at_any_call_loses_nothing_and_blocks_no_later_start() {
    for workload in all() {
        let judge = Judge::new(workload);
        for (shows_old, seed) in [(false, 1), (true, 2), (true, 3)] {
            let disk = profile(&judge.workload, 4096);
            let disk = DiskProfile { failed_sync_shows_old: shows_old, ..disk };
            assert!(strike_each(&judge, disk, (CallFault::Sync, seed)) > 10);
        }
    }
}

/// A write fails in the middle, a file cannot be opened, a read fails: each such call in turn.
#[test]
fn a_failed_call_loses_nothing_and_blocks_no_later_start() {
    for fault in [CallFault::Write, CallFault::Open, CallFault::Read] {
        let mut strikes = 0;
        for workload in all() {
            let judge = Judge::new(workload);
            strikes += strike_each(&judge, profile(&judge.workload, 4096), (fault, 4));
        }
        assert!(strikes > 20, "{fault:?} strikes {strikes} times");
    }
}

/// The disk is full, after any number of pages: the error says so, the storage opens all the same,
/// and once there is room it goes on.
#[test]
fn a_full_disk_loses_nothing() {
    for workload in all() {
        let judge = Judge::new(workload);
        let mut refusals = 0;
        for pages in 0.. {
            let disk = SimDisk::new(profile(&judge.workload, 4096), Choices::random(pages));
            disk.set_room(Some(pages * 4096));
            let Some((allowed, error)) = run_until_error(&judge, &disk) else { break };
            let story = || format!("{pages} pages: {error}");
            assert!(matches!(error, StorageError::Full { .. }), "{}", story());
            refusals += 1;
            kill(&disk);
            let (_, _) = judge.open(&disk.fork(Choices::random(1)), 40, &allowed, &story);
            recovers(&judge, &disk, &allowed, &story);
        }
        assert!(refusals > 5, "{refusals} refusals");
    }
}
