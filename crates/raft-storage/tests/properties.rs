//! Random writes against a naive model, on every storage.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use raft_core::{GroupId, Index};
use raft_storage::disk::{Disk, Environment};
use raft_storage::{Alignment, FileOptions, FileStorage, MemoryStorage, Storage};

use self::support::disk::FakeDisk;
use self::support::model::Model;
use self::support::{GROUPS, Random, identity, open, small};

/// Compares everything a storage remembers with the model, and random reads too.
fn compare(storage: &mut dyn Storage, model: &Model, random: &mut Random) {
    for group in GROUPS {
        let expected = model.group(group);
        let restored = storage.restore(group).unwrap();
        assert_eq!(restored.validate(), Ok(()));
        assert_eq!(restored, expected.restored(), "group {group}");
        let last = expected.last().index.get();
        for _ in 0..3 {
            let start = random.below(last + 3);
            let end = start + random.below(10);
            let bytes_max = random.below(2_000);
            let range = Index::new(start)..Index::new(end);
            let found = storage.entries(group, range.clone(), bytes_max).unwrap();
            let held = expected.entries.contains_key(&range.start);
            let mut bytes = 0;
            let wanted: Vec<_> = expected
                .entries
                .range(range.start..range.end.max(range.start))
                .map(|(_, entry)| entry.clone())
                .take_while(|entry| {
                    bytes += entry.payload.cost();
                    held && (bytes <= bytes_max || entry.id.index == range.start)
                })
                .collect();
            assert_eq!(found, wanted, "group {group}, {range:?}, {bytes_max} bytes");
        }
    }
}

/// Runs random calls; `reopen` may close and open the storage between them.
fn run<S: Storage>(
    seed: u64,
    calls: u64,
    mut storage: S,
    mut reopen: impl FnMut(S, &mut Random) -> S,
) {
    let mut random = Random(seed);
    let mut model = Model::default();
    storage.initialize(identity(1)).unwrap();
    let bytes_max = [1, 300, 20_000][usize::try_from(seed % 3).unwrap()];
    for _ in 0..calls {
        let writes = model.random_batch(&mut random, bytes_max, &mut Vec::new());
        let batch: Vec<_> = writes.iter().map(support::model::Write::persist).collect();
        let written = raft_storage::write(&mut storage, batch).unwrap();
        let groups: Vec<GroupId> = written.iter().map(|written| written.group).collect();
        assert_eq!(groups, writes.iter().map(|write| write.group).collect::<Vec<_>>());
        if random.chance(20) {
            storage = reopen(storage, &mut random);
        }
        compare(&mut storage, &model, &mut random);
    }
}

/// `MemoryStorage` holds what the model holds, after every call.
#[test]
fn memory_storage_equals_the_model() {
    for seed in 0..60 {
        run(seed, 60, MemoryStorage::new(), |storage, _| storage);
    }
}

/// `FileStorage` holds what the model holds, after every call and however often it is opened again,
/// closed well or cut off, with both alignments.
#[test]
fn file_storage_equals_the_model_across_restarts() {
    for seed in 0..30 {
        let options = small([Alignment::Eight, Alignment::Page][usize::from(seed % 2 == 0)]);
        let options = if seed % 5 == 0 { options.without_zero_fill() } else { options };
        let mut disk = FakeDisk::new();
        let storage = open(&disk, seed, options).unwrap();
        let mut lives = seed << 32;
        run(seed, 60, storage, |storage, random| {
            lives += 1;
            if random.chance(50) {
                storage.close().unwrap();
            } else {
                disk = disk.crash(random);
            }
            open(&disk, lives, options).unwrap()
        });
    }
}

/// Payloads of megabytes, written from where they are and in a segment of their own size, come back
/// whole from the disk of the operating system.
#[test]
fn large_writes_get_the_segment_they_need() {
    let directory = tempfile::tempdir().unwrap();
    let options = FileOptions::default().with_segment_bytes(1 << 20);
    let mut model = Model::default();
    let mut random = Random(5);
    let mut storage = FileStorage::open_with_options(directory.path(), options).unwrap();
    storage.initialize(identity(1)).unwrap();
    for _ in 0..8 {
        let writes = model.random_batch(&mut random, 3 << 20, &mut Vec::new());
        storage
            .persist(&writes.iter().map(support::model::Write::persist).collect::<Vec<_>>())
            .unwrap();
        drop(storage);
        storage = FileStorage::open_with_options(directory.path(), options).unwrap();
        compare(&mut storage, &model, &mut random);
    }
}

/// One call is one write and one sync, whatever the number of groups and entries in it, and a
/// segment's worth of calls costs a handful more.
#[test]
fn a_call_costs_one_write_and_one_sync() {
    let disk = FakeDisk::new();
    let handle: std::sync::Arc<dyn Disk> = disk.clone();
    let options = FileOptions::default().with_segment_bytes(1 << 20).without_zero_fill();
    let environment = Environment::from_seed(1);
    let mut storage = FileStorage::open_with(handle, environment, "/data", options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let persist = |index: u64| {
        let entries = vec![support::command(1, index, vec![7; 256])];
        raft_core::Persist::unnumbered(support::state(1, 1, 0), None, entries)
    };
    storage.persist(&[(GROUPS[0], persist(1))]).unwrap();
    let before = (disk.count("write_at"), disk.count("sync_data"));
    for index in 2..102 {
        let batch: Vec<_> = (0..10).map(|group| (GroupId::new(group * 100), index)).collect();
        let first = index == 2;
        let batch: Vec<_> = batch
            .into_iter()
            .map(|(group, index)| {
                let index = if group == GROUPS[0] { index } else { index - 1 };
                (group, persist(index))
            })
            .collect();
        assert!(first || storage.stats().sync.count > 0);
        storage.persist(&batch).unwrap();
    }
    let after = (disk.count("write_at"), disk.count("sync_data"));
    assert_eq!((after.0 - before.0, after.1 - before.1), (100, 100));
    assert_eq!(storage.stats().entries, 1_001);
    assert_eq!(storage.stats().sync.count, 101);
    assert_eq!(storage.stats().batches, 102, "with the Checkpoint of the segment");
}
