//! Power failures, and errors at every call: no receipt for what is not there afterwards, and no
//! crash that looks like corruption.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::io::ErrorKind;
use std::sync::Arc;

use raft_storage::{Alignment, FileOptions, FileStorage, Storage, StorageError};

use self::support::disk::FakeDisk;
use self::support::model::{Model, Write};
use self::support::{GROUPS, Random, identity, open, small};

/// What one life of a node tried, and how far it was told that it is durable.
struct Life {
    /// The model after each write of each call, beginning with what was there before.
    states: Vec<Model>,
    /// States up to this one were acknowledged.
    acknowledged: usize,
}

/// Runs random calls until one fails or `calls` are done. After an error everything must fail in
/// the same way.
fn live(storage: &mut FileStorage, model: &Model, random: &mut Random, calls: u64) -> Life {
    let mut life = Life { states: vec![model.clone()], acknowledged: 0 };
    let mut model = model.clone();
    for _ in 0..calls {
        let writes = model.random_batch(random, 3_000, &mut life.states);
        let batch: Vec<_> = writes.iter().map(Write::persist).collect();
        match storage.persist(&batch) {
            Ok(()) => life.acknowledged = life.states.len() - 1,
            Err(error) => {
                let again = storage.persist(&batch).unwrap_err();
                assert_eq!(format!("{error:?}"), format!("{again:?}"), "an error is final");
                let restored = storage.restore(GROUPS[0]).unwrap_err();
                assert_eq!(format!("{error:?}"), format!("{restored:?}"), "for everybody");
                break;
            }
        }
    }
    life
}

/// Finds which state survived: not before what was acknowledged, and nothing that never was.
fn survivor(storage: &mut FileStorage, life: &Life) -> Model {
    let found: Vec<_> = GROUPS.iter().map(|group| storage.restore(*group).unwrap()).collect();
    let possible = life.states.iter().skip(life.acknowledged).rev();
    let survived = possible.into_iter().find(|state| {
        GROUPS.iter().zip(&found).all(|(group, found)| state.group(*group).restored() == *found)
    });
    let last = life.states.len() - 1;
    survived
        .unwrap_or_else(|| {
            panic!(
                "none of the states {} to {last} is what was found: {found:?}",
                life.acknowledged
            )
        })
        .clone()
}

/// A blank disk with an owner.
fn fresh(options: FileOptions) -> (Arc<FakeDisk>, FileStorage) {
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 1, options).unwrap();
    storage.initialize(identity(1)).unwrap();
    (disk, storage)
}

/// The power fails at every call that changes the disk, in many histories: afterwards the disk
/// holds a prefix of the writes that contains all acknowledged ones, and the node goes on, four
/// times.
#[test]
fn every_acknowledged_write_survives_a_power_failure_at_any_call() {
    for seed in 0..250 {
        let mut random = Random(seed);
        let options = small([Alignment::Eight, Alignment::Page][usize::from(seed % 2 == 0)]);
        let options = if seed % 3 == 0 { options.without_zero_fill() } else { options };
        let (mut disk, mut storage) = fresh(options);
        let mut model = Model::default();
        for boot in 0..4 {
            let fault = disk.calls() + 1 + random.below(60);
            disk.fail_at(fault, ErrorKind::BrokenPipe, true);
            let life = live(&mut storage, &model, &mut random, 40);
            disk = disk.crash(&mut random);
            storage = open(&disk, seed << 8 | boot, options)
                .unwrap_or_else(|error| panic!("seed {seed}, boot {boot}: {error}"));
            model = survivor(&mut storage, &life);
        }
    }
}

/// One call fails with an error of the disk, and only that one: the storage stops all the same, and
/// what it acknowledged is there even if the power fails right after.
#[test]
fn one_error_of_the_disk_is_the_end_and_loses_nothing() {
    for kind in [ErrorKind::Other, ErrorKind::StorageFull] {
        for at in 0..150 {
            let (disk, mut storage) = fresh(small(Alignment::Page));
            let mut random = Random(at);
            disk.fail_at(disk.calls() + 1 + at, kind, false);
            let life = live(&mut storage, &Model::default(), &mut random, 40);
            drop(storage);
            let disk = disk.crash(&mut random);
            let mut storage = open(&disk, 77, small(Alignment::Page)).unwrap();
            survivor(&mut storage, &life);
        }
    }
}

/// A full disk is called full, with the file and what was tried.
#[test]
fn a_full_disk_is_named() {
    let (disk, mut storage) = fresh(small(Alignment::Page));
    disk.fail_at(disk.calls() + 1, ErrorKind::StorageFull, true);
    let entry = support::command(1, 1, "x");
    let persist = raft_core::Persist::unnumbered(support::state(1, 0, 0), None, vec![entry]);
    let error = storage.persist(&[(GROUPS[0], persist)]).unwrap_err();
    assert!(matches!(error, StorageError::Full { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "open /data/wal/free-0000.wal: the disk is full; free some room and start again"
    );
}

/// The power fails at every call of the creation of a data directory: it is either blank or owned.
#[test]
fn a_directory_is_created_whole_or_not_at_all() {
    let mut outcomes = [0, 0];
    for at in 1..30 {
        for seed in 0..8 {
            let disk = FakeDisk::new();
            disk.fail_at(at, ErrorKind::BrokenPipe, true);
            let created = open(&disk, 1, small(Alignment::Page))
                .and_then(|mut storage| storage.initialize(identity(1)));
            let disk = disk.crash(&mut Random(seed));
            let mut storage = open(&disk, 2, small(Alignment::Page)).unwrap();
            let owner = storage.identity();
            assert!(created.is_err() || owner == Some(identity(1)), "call {at}");
            storage.initialize(owner.unwrap_or_else(|| identity(2))).unwrap();
            outcomes[usize::from(owner.is_some())] += 1;
        }
    }
    assert!(outcomes.iter().all(|count| *count > 0), "both happened: {outcomes:?}");
}

/// Recovery changes no file, and a power failure at any call of the first write after it leaves a
/// disk that is recovered to the same state, or to the one with the write.
#[test]
fn recovery_is_idempotent_and_writes_nothing() {
    let files = |disk: &FakeDisk| {
        let paths = disk.paths().into_iter().filter(|path| !path.ends_with("LOCK"));
        paths.map(|path| (disk.read(&path), path)).collect::<Vec<_>>()
    };
    let mut torn = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let (disk, mut storage) = fresh(small(Alignment::Eight));
        disk.fail_at(disk.calls() + 20 + random.below(40), ErrorKind::BrokenPipe, true);
        let life = live(&mut storage, &Model::default(), &mut random, 40);
        let disk = disk.crash(&mut random);
        let before = files(&disk);
        let mut storage = open(&disk, 5, small(Alignment::Eight)).unwrap();
        torn += storage.stats().torn_tails;
        let first = survivor(&mut storage, &life);
        drop(storage);
        assert_eq!(files(&disk), before, "recovery changes nothing");
        for at in 1..25 {
            let disk = FakeDisk::new();
            for (bytes, path) in &before {
                disk.put(path, bytes.clone());
            }
            disk.fail_at(at, ErrorKind::BrokenPipe, true);
            let mut write = Life { states: vec![first.clone()], acknowledged: 0 };
            if let Ok(mut storage) = open(&disk, at, small(Alignment::Eight)) {
                write = live(&mut storage, &first, &mut random, 1);
            }
            let disk = disk.crash(&mut random);
            survivor(&mut open(&disk, 6, small(Alignment::Eight)).unwrap(), &write);
        }
    }
    assert!(torn > 5, "torn tails were among them: {torn}");
}

/// A process dies between its writes and their sync, and the next one reads them from memory. What
/// that one believed is still there when the power fails right after: it was synced before it was
/// read.
#[test]
fn what_recovery_believes_survives_the_next_power_failure() {
    let mut beyond = 0;
    for seed in 0..200 {
        let mut random = Random(seed);
        let (disk, mut storage) = fresh(small(Alignment::Eight));
        disk.fail_at(disk.calls() + 20 + random.below(60), ErrorKind::BrokenPipe, true);
        let life = live(&mut storage, &Model::default(), &mut random, 40);
        drop(storage);
        disk.kill();
        let mut storage = open(&disk, 5, small(Alignment::Eight)).unwrap();
        let believed = survivor(&mut storage, &life);
        beyond += u64::from(believed != life.states[life.acknowledged]);
        let life = Life { states: vec![believed], acknowledged: 0 };
        let disk = disk.crash(&mut random);
        survivor(&mut open(&disk, 6, small(Alignment::Eight)).unwrap(), &life);
    }
    assert!(beyond > 5, "unacknowledged writes were among what was believed: {beyond}");
}
