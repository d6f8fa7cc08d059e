//! Segments that snapshots made superfluous are removed, and nothing else is.

mod support;

use std::io::ErrorKind;

use raft_core::{Base, EntryId, GroupId, Index, Persist};
use raft_storage::{Alignment, FileStorage, Storage, write};

use self::support::disk::FakeDisk;
use self::support::{
    GROUPS, Random, command, id, identity, membership, open, small, snapshot, state,
};

fn persist(storage: &mut FileStorage, group: GroupId, persist: Persist) {
    let written = write(storage, vec![(group, persist)]).expect("a good disk");
    assert_eq!(written.len(), 1);
}

/// A log of so many entries of a kilobyte each, with a snapshot every ten, keeping so many.
fn fill(storage: &mut FileStorage, group: GroupId, from: u64, upto: u64, keep: u64) {
    for index in from..=upto {
        let entries = vec![command(1, index, vec![7; 1_000])];
        persist(storage, group, Persist::unnumbered(state(1, 0, index), None, entries));
        if index % 10 == 0 {
            let kept = index.saturating_sub(keep);
            let upto = if kept == 0 { EntryId::ZERO } else { id(1, kept) };
            let base = Base::Compacted { snapshot: snapshot(id(1, index)), upto };
            persist(storage, group, Persist::unnumbered(state(1, 0, index), Some(base), vec![]));
        }
    }
}

/// However long the log was, the disk holds what it is now; every restart finds the same, and goes
/// on from there.
#[test]
fn the_disk_holds_what_the_log_holds() {
    for alignment in [Alignment::Eight, Alignment::Page] {
        let disk = FakeDisk::new();
        let options = small(alignment);
        let mut storage = open(&disk, 1, options).unwrap();
        storage.initialize(identity(1)).unwrap();
        let created = Some(Base::Created(membership(3)));
        persist(&mut storage, GROUPS[0], Persist::unnumbered(state(1, 0, 0), created, vec![]));
        let mut expected = None;
        for life in 0..6 {
            fill(&mut storage, GROUPS[0], life * 100 + 1, life * 100 + 100, 5);
            let found = storage.restore(GROUPS[0]).unwrap();
            assert_eq!(found.base, id(1, life * 100 + 95));
            assert_eq!(found.created, Some(membership(3)), "the first membership is kept");
            let mut paths = disk.paths();
            paths.retain(|path| path.extension().is_some_and(|extension| extension == "wal"));
            assert!(paths.len() <= 5, "{paths:?}");
            assert!(storage.stats().segments_removed > 0, "{:?}", storage.stats());
            expected.replace(found);
            drop(storage);
            storage = open(&disk, life + 2, options).unwrap();
            assert_eq!(storage.restore(GROUPS[0]).ok(), expected, "a restart finds the same");
        }
        let range = Index::new(596)..Index::new(601);
        assert_eq!(storage.entries(GROUPS[0], range, u64::MAX).unwrap().len(), 5);
    }
}

/// A group that takes no snapshots keeps what it needs, however the others go on.
#[test]
fn a_group_keeps_the_segments_it_needs() {
    let disk = FakeDisk::new();
    let options = small(Alignment::Eight);
    let mut storage = open(&disk, 1, options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let quiet = vec![command(1, 1, "kept"), command(1, 2, "for ever")];
    persist(&mut storage, GROUPS[1], Persist::unnumbered(state(1, 0, 0), None, quiet.clone()));
    fill(&mut storage, GROUPS[0], 1, 300, 0);
    assert_eq!(storage.stats().segments_removed, 0, "the first segment holds both");
    drop(storage);
    let mut storage = open(&disk, 2, options).unwrap();
    assert_eq!(storage.restore(GROUPS[1]).unwrap().tail, quiet);
}

/// Power fails at any call while segments begin and die: the directory opens and holds everything
/// that was acknowledged.
#[test]
fn a_power_failure_at_any_call_loses_nothing_of_the_log() {
    for (survived, calls) in (1..).step_by(7).enumerate() {
        let disk = FakeDisk::new();
        let options = small(Alignment::Page);
        let mut storage = open(&disk, 1, options).unwrap();
        storage.initialize(identity(1)).unwrap();
        disk.fail_at(disk.calls() + calls, ErrorKind::Other, true);
        let mut acknowledged = 0;
        for index in 1..=90 {
            let base = (index > 10 && index % 5 == 0).then(|| Base::Compacted {
                snapshot: snapshot(id(1, index - 1)),
                upto: id(1, index - 3),
            });
            let entries = vec![command(1, index, vec![7; 1_000])];
            let persist = Persist::unnumbered(state(1, 0, index - 1), base, entries);
            if write(&mut storage, vec![(GROUPS[0], persist)]).is_err() {
                break;
            }
            acknowledged = index;
        }
        drop(storage);
        let disk = disk.crash(&mut Random(calls));
        let mut storage = open(&disk, 2, options).unwrap();
        let found = storage.restore(GROUPS[0]).unwrap();
        assert!(found.last.index.get() >= acknowledged, "{found:?} after {acknowledged}");
        if acknowledged == 90 {
            assert!(survived > 10, "the calls were counted");
            return;
        }
    }
}
