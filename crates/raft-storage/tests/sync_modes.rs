//! What a receipt means in each sync mode: what the end of a process costs, what the end of the
//! power costs, and that a disk which may have forgotten something says so.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_core::{Entry, Persist};
use raft_storage::disk::{Disk, Environment};
use raft_storage::{Alignment, FileOptions, FileStorage, Storage, StorageError, SyncMode};

use self::support::disk::FakeDisk;
use self::support::model::{Model, Write};
use self::support::{GROUPS, Random, command, identity, membership_entry, small, state};

/// Both modes that acknowledge what is not synced.
fn late() -> [FileOptions; 2] {
    let small = small(Alignment::Page);
    [small.with_late_sync_power_loss_needs_readmission(), small.without_sync_data_may_be_lost()]
}

/// Opens the disk in one boot of its machine.
fn open_in(
    disk: &Arc<FakeDisk>,
    options: FileOptions,
    boot_id: u128,
) -> Result<FileStorage, StorageError> {
    let environment = Environment { boot_id, ..Environment::from_seed(disk.calls()) };
    let disk: Arc<dyn Disk> = disk.clone();
    FileStorage::open_with(disk, environment, "/data", options)
}

fn fresh(options: FileOptions, boot_id: u128) -> (Arc<FakeDisk>, FileStorage) {
    let disk = FakeDisk::new();
    let mut storage = open_in(&disk, options, boot_id).unwrap();
    storage.initialize(identity(1)).unwrap();
    (disk, storage)
}

/// So many random calls, all acknowledged.
fn work(storage: &mut FileStorage, model: &mut Model, random: &mut Random, calls: u64) {
    for _ in 0..calls {
        let writes = model.random_batch(random, 3_000, &mut Vec::new());
        let batch: Vec<_> = writes.iter().map(Write::persist).collect();
        storage.persist(&batch).unwrap();
    }
}

/// The process ends and does not get to close anything.
fn kill(disk: &FakeDisk, storage: FileStorage) {
    std::mem::forget(storage);
    disk.kill();
}

fn holds(storage: &mut FileStorage, model: &Model) -> bool {
    GROUPS.iter().all(|group| storage.restore(*group).unwrap() == model.group(*group).restored())
}

fn append(storage: &mut FileStorage, entry: Entry) {
    let persist = Persist::unnumbered(state(1, 0, 0), None, vec![entry]);
    storage.persist(&[(GROUPS[0], persist)]).unwrap();
}

/// A process that is killed loses nothing it acknowledged, in any mode, as long as its machine
/// runs: the operating system has it.
#[test]
fn the_end_of_a_process_costs_nothing() {
    for options in late() {
        for seed in 0..40 {
            let mut random = Random(seed);
            let (disk, mut storage) = fresh(options, 7);
            let mut model = Model::default();
            for _ in 0..3 {
                work(&mut storage, &mut model, &mut random, 20);
                kill(&disk, storage);
                storage = open_in(&disk, options, 7).unwrap();
                assert!(holds(&mut storage, &model), "seed {seed}");
            }
        }
    }
}

/// After a power failure a disk that was acknowledged ahead does not open, whatever is left of it,
/// and says what to do. One whose machine cannot tell its starts apart never trusts it.
#[test]
fn after_a_power_failure_it_does_not_open() {
    for (options, word) in late().into_iter().zip(["normal", "none"]) {
        for (before, after) in [(7, 8), (0, 0), (7, 0)] {
            let mut random = Random(3);
            let (disk, mut storage) = fresh(options, before);
            work(&mut storage, &mut Model::default(), &mut random, 5);
            kill(&disk, storage);
            let disk = disk.crash(&mut random);
            for options in [options, small(Alignment::Page)] {
                let error = open_in(&disk, options, after).unwrap_err();
                assert!(matches!(error, StorageError::Unsynced { .. }), "{error:?}");
                assert_eq!(
                    error.to_string(),
                    format!(
                        "/data: written in sync mode {word}, and this machine went down without a \
                         clean stop: what it acknowledged last may be lost; move the directory \
                         away and readmit the node with an empty one"
                    )
                );
            }
        }
    }
}

/// A clean stop syncs, so a machine may be restarted then.
#[test]
fn a_clean_stop_makes_everything_durable() {
    for options in late() {
        let mut random = Random(5);
        let (disk, mut storage) = fresh(options, 7);
        let mut model = Model::default();
        work(&mut storage, &mut model, &mut random, 30);
        storage.close().unwrap();
        let disk = disk.crash(&mut random);
        let mut storage = open_in(&disk, options, 8).unwrap();
        assert!(holds(&mut storage, &model));
    }
}

/// Who changes to `full` after a process ended, and writes, has everything on the disk from then
/// on, what was written before as well.
#[test]
fn a_change_to_full_makes_the_past_durable() {
    for options in late() {
        for seed in 0..20 {
            let mut random = Random(seed);
            let (disk, mut storage) = fresh(options, 7);
            let mut model = Model::default();
            work(&mut storage, &mut model, &mut random, 20);
            kill(&disk, storage);
            let mut storage = open_in(&disk, small(Alignment::Page), 7).unwrap();
            work(&mut storage, &mut model, &mut random, 3);
            kill(&disk, storage);
            let disk = disk.crash(&mut random);
            let mut storage = open_in(&disk, small(Alignment::Page), 8).unwrap();
            assert!(holds(&mut storage, &model), "seed {seed}");
        }
    }
}

/// In mode `normal` entries wait for their sync, and what a vote or a membership rests on does not.
#[test]
fn a_vote_and_a_membership_wait_for_nothing() {
    let [normal, none] = late();
    let (disk, mut storage) = fresh(normal, 7);
    append(&mut storage, command(1, 1, "the first write of a term"));
    let synced = disk.count("sync_data");
    append(&mut storage, command(1, 2, "x"));
    assert_eq!(disk.count("sync_data"), synced, "an entry waits");
    assert!(storage.stats().unsynced_bytes > 0);
    append(&mut storage, membership_entry(1, 3, 3));
    assert_eq!(disk.count("sync_data"), synced + 1, "a membership does not");
    assert_eq!(storage.stats().unsynced_bytes, 0, "and takes along what waited");
    let vote = Persist::unnumbered(state(2, 1, 0), None, Vec::new());
    storage.persist(&[(GROUPS[0], vote)]).unwrap();
    assert_eq!(disk.count("sync_data"), synced + 2, "nor does a vote");

    let (disk, mut storage) = fresh(none, 7);
    append(&mut storage, command(1, 1, "x"));
    let synced = disk.count("sync_data");
    append(&mut storage, membership_entry(1, 2, 3));
    assert_eq!(disk.count("sync_data"), synced, "in mode none nothing is synced first");
    assert_eq!((storage.stats().sync_mode, SyncMode::None.name()), (SyncMode::None, "none"));
}

/// In mode `normal` nothing waits for longer than 100 ms, nor behind more than 256 KiB.
#[test]
fn what_waits_is_bounded_by_time_and_bytes() {
    let now = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now);
    let disk = FakeDisk::new();
    let environment = Environment {
        clock: Box::new(move || Duration::from_millis(clock.load(Ordering::Relaxed))),
        boot_id: 7,
        ..Environment::from_seed(1)
    };
    let options = FileOptions::default()
        .with_segment_bytes(4 << 20)
        .with_late_sync_power_loss_needs_readmission();
    let shared: Arc<dyn Disk> = disk.clone();
    let mut storage = FileStorage::open_with(shared, environment, "/data", options).unwrap();
    storage.initialize(identity(1)).unwrap();
    append(&mut storage, command(1, 1, "x"));
    assert_eq!(storage.idle().unwrap(), None, "the first write of a term is synced");

    append(&mut storage, command(1, 2, "x"));
    now.store(30, Ordering::Relaxed);
    append(&mut storage, command(1, 3, "x"));
    assert_eq!(storage.idle().unwrap(), Some(Duration::from_millis(70)), "the oldest counts");
    let synced = disk.count("sync_data");
    now.store(100, Ordering::Relaxed);
    assert_eq!(storage.idle().unwrap(), None);
    assert_eq!(disk.count("sync_data"), synced + 1);

    append(&mut storage, command(1, 4, vec![0; 100 << 10]));
    append(&mut storage, command(1, 5, vec![0; 100 << 10]));
    assert!(storage.idle().unwrap().is_some());
    append(&mut storage, command(1, 6, vec![0; 100 << 10]));
    assert_eq!(storage.idle().unwrap(), None, "too much waited");
}

/// A sync that fails costs what a power failure costs, though the machine goes on: the next start
/// does not trust what is left.
#[test]
fn a_failed_sync_is_like_a_power_failure() {
    let normal = late()[0].without_zero_fill();
    let (disk, mut storage) = fresh(normal, 7);
    append(&mut storage, command(1, 1, "x"));
    append(&mut storage, command(1, 2, "acknowledged, and not synced"));
    // The write of the batch goes well, its sync does not.
    disk.fail_at(disk.calls() + 2, ErrorKind::Other, false);
    let urgent = Persist::unnumbered(state(2, 1, 0), None, Vec::new());
    storage.persist(&[(GROUPS[0], urgent)]).unwrap_err();
    kill(&disk, storage);
    let error = open_in(&disk, normal, 7).unwrap_err();
    assert!(matches!(error, StorageError::Unsynced { mode: SyncMode::Normal, .. }), "{error:?}");
}
