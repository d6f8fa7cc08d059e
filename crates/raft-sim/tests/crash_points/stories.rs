//! Bugs that the enumeration found, one story each.

use raft_sim::choice::Choices;
use raft_sim::disk::{CallFault, Crash, DiskProfile, SimDisk};
use raft_storage::Storage;

use super::enumerate::{Effort, each_outcome};
use super::judge::{Allowed, Judge, kill, lose_all_pending, moments, open, profile};
use super::workload::{Workload, identity, named};

/// A blank disk.
fn blank(workload: &Workload) -> SimDisk {
    SimDisk::new(profile(workload, 4096), Choices::random(1))
}

/// A process dies while it makes a data directory, after `SUPER` got its name and before that is
/// durable. The next one finds the name in memory, writes and acknowledges; then the power fails.
/// The name is still there, because recovery made it durable.
#[test]
fn a_name_of_super_that_is_only_in_memory_is_made_durable() {
    let judge = Judge::new(named("log"));
    let disk = blank(&judge.workload);
    let mut storage = open(&disk, &judge.workload, 1).unwrap();
    disk.begin_job(disk.job_end());
    storage.initialize(identity()).unwrap();
    let mut owned = 0;
    for at in disk.job_changes() {
        let disk = disk.fork(Choices::random(1));
        disk.crash(at, Crash::Process);
        let mut storage = open(&disk, &judge.workload, 2).unwrap();
        owned += u64::from(storage.identity().is_some());
        storage.initialize(identity()).unwrap();
        judge.persist(&mut storage, 0..1).unwrap();
        let disk = lose_all_pending(&disk);
        let one = Allowed { writes: 1..=1, owned: true };
        let (_, _) = judge.open(&disk, 3, &one, &|| format!("killed at {at}"));
    }
    assert!(owned >= 2, "after the rename, and after the sync of the directory");
}

/// The power fails while a data directory is made: if `SUPER` is there, so are the directory of the
/// log and those above, however the disk orders names. And whoever was told that the disk has an
/// owner finds the data directory again.
#[test]
fn directories_are_durable_before_super_is() {
    let judge = Judge::new(named("log"));
    let disk = blank(&judge.workload);
    disk.begin_job(0);
    let mut storage = open(&disk, &judge.workload, 1).unwrap();
    storage.initialize(identity()).unwrap();
    let mut owners = [0, 0];
    for at in moments(&disk, &[0, disk.job_end()]) {
        let all =
            each_outcome(&disk, (at, Crash::Power), Effort { ways: 5_000, sample: 50 }, |after| {
                let sure = at == disk.job_end();
                let allowed = Allowed { writes: 0..=0, owned: sure };
                let story = || format!("power loss at {at}");
                let (storage, _) = judge.open(after, 2, &allowed, &story);
                owners[usize::from(storage.identity().is_some())] += 1;
            });
        assert!(all || at < disk.job_end(), "nothing is pending at the end");
    }
    assert!(owners.iter().all(|count| *count > 0), "both happened: {owners:?}");
}

/// A process dies between the two halves of an update of `SUPER`: two copies are not durable. The
/// next update begins with the other two, and the power fails. One copy is whole all the same.
#[test]
fn an_update_of_super_never_tears_all_four_copies() {
    let judge = Judge::new(named("log"));
    let disk = blank(&judge.workload);
    disk.set_tears(4096);
    let mut storage = open(&disk, &judge.workload, 1).unwrap();
    storage.initialize(identity()).unwrap();
    judge.persist(&mut storage, 0..2).unwrap();
    disk.begin_job(disk.job_end());
    storage.close().unwrap();
    let done = Allowed { writes: 2..=2, owned: true };
    for at in disk.job_changes() {
        let disk = disk.fork(Choices::random(1));
        disk.crash(at, Crash::Process);
        let mut storage = open(&disk, &judge.workload, 2).unwrap();
        disk.begin_job(disk.job_end());
        judge.persist(&mut storage, 2..3).unwrap();
        for then in disk.job_changes() {
            let more = Allowed { writes: 2..=3, ..done.clone() };
            let story = || format!("killed at {at}, power loss at {then}");
            let effort = Effort { ways: 40, sample: 10 };
            each_outcome(&disk, (then, Crash::Power), effort, |disk| {
                let (_, _) = judge.open(disk, 3, &more, &story);
            });
        }
    }
}

/// The power fails in the second half of an update of `SUPER` and tears two copies. The next update
/// writes those two first, so that another power loss does not hit the good ones.
#[test]
fn an_update_after_a_torn_one_leaves_the_good_copies_for_last() {
    let judge = Judge::new(named("log"));
    let disk = blank(&judge.workload);
    disk.set_tears(4096);
    let mut storage = open(&disk, &judge.workload, 1).unwrap();
    storage.initialize(identity()).unwrap();
    judge.persist(&mut storage, 0..2).unwrap();
    disk.begin_job(disk.job_end());
    storage.close().unwrap();
    let effort = Effort { ways: 20, sample: 5 };
    for at in disk.job_changes() {
        each_outcome(&disk, (at, Crash::Power), effort, |disk| {
            let mut storage = open(disk, &judge.workload, 2).unwrap();
            disk.begin_job(disk.job_end());
            judge.persist(&mut storage, 2..3).unwrap();
            for then in disk.job_changes() {
                let more = Allowed { writes: 2..=3, owned: true };
                let story = || format!("power loss at {at} and {then}");
                each_outcome(disk, (then, Crash::Power), effort, |disk| {
                    let (_, _) = judge.open(disk, 3, &more, &story);
                });
            }
        });
    }
}

/// One call needs several batches, and its sync fails: the pages of the first are dropped, a later
/// one still reads. The system did not restart, and still this is no corruption: nothing was
/// acknowledged, and the next process starts.
#[test]
fn a_failed_sync_of_several_batches_is_a_torn_tail() {
    let judge = Judge::new(named("batches"));
    let mut outcomes = [0; 5];
    for seed in 0..200 {
        let disk = DiskProfile { failed_sync_shows_old: true, ..profile(&judge.workload, 4096) };
        let disk = SimDisk::new(disk, Choices::random(seed));
        let mut storage = open(&disk, &judge.workload, 1).unwrap();
        storage.initialize(identity()).unwrap();
        judge.persist(&mut storage, 0..1).unwrap();
        disk.fail(CallFault::Sync, 0);
        judge.persist(&mut storage, 1..4).unwrap_err();
        assert_eq!(storage.stats().batches, 5, "a Checkpoint, one batch, and three with one sync");
        drop(storage);
        kill(&disk);
        let tried = Allowed { writes: 1..=4, owned: true };
        let (mut storage, done) = judge.open(&disk, 2, &tried, &|| format!("seed {seed}"));
        outcomes[done] += 1;
        judge.go_on(&mut storage, done);
    }
    assert!(outcomes[1..].iter().all(|count| *count > 0), "all happened: {outcomes:?}");
}
