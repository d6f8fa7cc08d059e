//! A data directory is looked into: what a start would find, and everything that is there.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::Path;
use std::sync::Arc;

use raft_core::{Base, EntryId, Persist};
use raft_storage::inspect::{Item, dump, verify};
use raft_storage::{Alignment, FileStorage, Storage, StorageError};

use self::support::disk::FakeDisk;
use self::support::{GROUPS, command, id, identity, membership, open, small, state};

const SEGMENT: &str = "/data/wal/00-0000000000000001.wal";

/// Three batches: two entries with a membership, one more, and a vote.
fn written() -> (Arc<FakeDisk>, FileStorage) {
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 3, small(Alignment::Page)).unwrap();
    storage.initialize(identity(1)).unwrap();
    let first = vec![command(1, 1, "one"), command(1, 2, "two")];
    let created = Some(Base::Created(membership(3)));
    for persist in [
        Persist::unnumbered(state(1, 1, 0), created, first),
        Persist::unnumbered(state(1, 1, 2), None, vec![command(1, 3, "three")]),
        Persist::unnumbered(state(4, 2, 2), None, vec![]),
    ] {
        storage.persist(&[(GROUPS[0], persist)]).unwrap();
    }
    (disk, storage)
}

fn items(disk: &FakeDisk) -> Vec<Item> {
    let mut items = Vec::new();
    dump(disk, Path::new("/data"), &mut |item| items.push(item)).unwrap();
    items
}

fn last(disk: &FakeDisk) -> EntryId {
    verify(disk, Path::new("/data")).unwrap().groups[&GROUPS[0]].last
}

/// What is shown is what was written, also while a node holds the lock, and nothing changes by it.
#[test]
fn a_running_node_can_be_looked_into() {
    let (disk, storage) = written();
    let (calls, before) = (disk.calls(), disk.read(SEGMENT));
    let found = verify(&*disk, Path::new("/data")).unwrap();
    assert_eq!((found.identity, found.was_closed), (identity(1), false));
    assert_eq!((found.report.batches, found.report.torn), (4, None));
    let group = &found.groups[&GROUPS[0]];
    assert_eq!((group.last, group.hard_state), (id(1, 3), state(4, 2, 2)));

    let shown = items(&disk);
    let records = |wanted: &str| {
        let is_one = |item: &&Item| matches!(item, Item::Record { kind, .. } if *kind == wanted);
        shown.iter().filter(is_one).count()
    };
    assert!(matches!(&shown[0], Item::Segment { seq: 1, alignment: 4096, .. }), "{shown:?}");
    assert_eq!(["Checkpoint", "GroupCreate", "Entry", "HardState"].map(records), [1, 1, 3, 3]);
    let lsns: Vec<(u64, u64)> = shown
        .iter()
        .filter_map(|item| {
            let Item::Batch { lsn, durable_lsn, .. } = item else { return None };
            Some((*lsn, *durable_lsn))
        })
        .collect();
    assert_eq!(lsns, [(1, 0), (2, 0), (3, 2), (4, 3)]);
    assert_eq!((disk.calls(), disk.read(SEGMENT)), (calls, before), "it was only looked at");
    drop(storage);
    assert!(verify(&*disk, Path::new("/data")).unwrap().was_closed);
}

/// A write that was cut short is told from damage, as a start tells them; what is behind either is
/// shown all the same.
#[test]
fn torn_and_damaged_are_told_apart() {
    let (disk, storage) = written();
    std::mem::forget(storage);
    let whole = disk.read(SEGMENT);
    let offset = |number: usize| {
        let batch = |item: &Item| {
            let Item::Batch { offset, .. } = item else { return None };
            Some(usize::try_from(*offset).unwrap())
        };
        items(&disk).iter().filter_map(batch).nth(number).unwrap()
    };
    let rot = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let copy = disk.copy();
        copy.put(SEGMENT, bytes);
        copy
    };
    let torn = rot(offset(3) + 70);
    let found = verify(&*torn, Path::new("/data")).unwrap();
    assert_eq!(found.report.torn.unwrap().lsn, 4);
    assert_eq!(found.groups[&GROUPS[0]].hard_state, state(1, 1, 2));

    let damaged = rot(offset(1) + 70);
    let error = verify(&*damaged, Path::new("/data")).unwrap_err();
    assert!(matches!(error, StorageError::Corrupt(_)), "{error:?}");
    let shown = items(&damaged);
    let strange: Vec<_> =
        shown.iter().filter(|item| matches!(item, Item::Strange { .. })).collect();
    let [Item::Strange { offset: at, what }] = strange[..] else { panic!("{shown:?}") };
    assert_eq!(usize::try_from(*at).unwrap(), offset(1));
    assert!(what.starts_with("batch content: expected sum "), "{what}");
    let lsns = shown.iter().filter(|item| matches!(item, Item::Batch { .. })).count();
    assert_eq!((lsns, last(&torn)), (3, id(1, 3)), "what is behind it is shown");
}

/// What is no data directory is called so.
#[test]
fn other_directories_are_refused() {
    let disk = FakeDisk::new();
    let error = verify(&*disk, Path::new("/data")).unwrap_err();
    assert_eq!(error.to_string(), "open /data/SUPER");
    assert!(dump(&*disk, Path::new("/data"), &mut |_| {}).is_err());
}
