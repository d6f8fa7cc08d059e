//! The bytes of version 1, kept for ever: this code reads them, and writes them bit for bit.
//!
//! `GOLDEN_UPDATE=1 cargo test -p raft-storage --test golden` writes the files again. A difference
//! in a released version is a broken disk for somebody.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{Base, Persist, Restored};
use raft_storage::{Alignment, Storage};

use self::support::disk::FakeDisk;
use self::support::{
    GROUPS, command, id, identity, membership, membership_entry, open, small, snapshot, snapshots,
    state,
};

const FILES: [&str; 3] = ["SUPER", "wal/00-0000000000000001.wal", "wal/00-0000000000000002.wal"];

/// Two lives of a node: the first ends in a torn write, the second is closed.
fn write_golden() -> (Arc<FakeDisk>, [Restored; 2]) {
    let options = small(Alignment::Eight).without_zero_fill();
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 1, options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let (a, b) = (GROUPS[0], GROUPS[1]);
    let write = Persist::unnumbered;
    let created = || Some(Base::Created(membership(3)));
    let follows = vec![command(1, 1, "one"), command(1, 2, "two"), command(1, 3, "gone")];
    let large = vec![command(2, 3, vec![0xab; 300]), membership_entry(2, 4, 4)];
    let compacted = Some(Base::Compacted { snapshot: snapshot(id(1, 2)), upto: id(1, 2) });
    let installed = Some(Base::Installed(snapshot(id(2, 9))));
    let calls = [
        vec![
            (a, write(state(1, 1, 0), created(), follows)),
            (b, write(state(1, 0, 0), created(), vec![])),
        ],
        vec![(a, write(state(2, 0, 2), None, large))],
        vec![(a, write(state(2, 0, 3), compacted, vec![]))],
        vec![(b, write(state(2, 2, 9), installed, vec![command(2, 10, "ten")]))],
        vec![(a, write(state(2, 0, 3), None, vec![command(2, 5, "torn apart")]))],
    ];
    for call in calls {
        storage.persist(&call).unwrap();
    }
    let disk = disk.copy();
    let first = format!("/data/{}", FILES[1]);
    let mut bytes = disk.read(&first);
    bytes.truncate(bytes.len() - 12);
    disk.put(&first, bytes);
    let mut storage = open(&disk, 2, options).unwrap();
    assert_eq!(storage.stats().torn_tails, 1);
    let entries = vec![command(3, 5, "five")];
    storage.persist(&[(a, write(state(3, 1, 4), None, entries))]).unwrap();
    let restored = GROUPS.map(|group| storage.restore(group).unwrap());
    storage.close().unwrap();
    (disk, restored)
}

fn path(version: &str, file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version).join(file)
}

/// What this code writes is what version 2 wrote, bit for bit. Its Checkpoints tell everything of a
/// group but the entries; those of version 1 told how far it was.
#[test]
fn version_2_is_written_bit_for_bit() {
    let (disk, _) = write_golden();
    let mut paths = disk.paths();
    paths.retain(|path| !path.ends_with("LOCK"));
    assert_eq!(paths, FILES.map(|file| PathBuf::from("/data").join(file)));
    for file in FILES {
        let written = disk.read(format!("/data/{file}"));
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            std::fs::create_dir_all(path("v2", file).parent().unwrap()).unwrap();
            std::fs::write(path("v2", file), &written).unwrap();
        }
        let golden = std::fs::read(path("v2", file)).unwrap();
        let differs = golden.iter().zip(&written).position(|(golden, written)| golden != written);
        assert_eq!(differs, None, "{file} differs from version 2");
        assert_eq!(golden.len(), written.len(), "{file} has another length than in version 2");
    }
}

/// The manifest of a snapshot is what version 1 wrote, bit for bit, under the same id; beside the
/// data it is a snapshot that is read back.
#[test]
fn a_manifest_of_version_1_is_written_and_read() {
    let disk = FakeDisk::new();
    let bytes = (1 << 20) + 5_000;
    let written = snapshots::build(&snapshots::manager(&disk).unwrap(), bytes, 1);
    let name = "0-0000000000000001-44b124d9cdb547df3b004f9d90894c4a";
    let mut paths = disk.paths();
    paths.retain(|path| path.starts_with("/data/snapshots"));
    let file = |end| PathBuf::from(format!("/data/snapshots/{name}.{end}"));
    assert_eq!(paths, ["data", "manifest"].map(file));
    let manifest = format!("{name}.manifest");
    if std::env::var_os("GOLDEN_UPDATE").is_some() {
        std::fs::write(path("snapshot-v1", &manifest), disk.read(&paths[1])).unwrap();
    }
    let golden = std::fs::read(path("snapshot-v1", &manifest)).unwrap();
    assert_eq!(disk.read(&paths[1]), golden);

    let other = FakeDisk::new();
    other.put(&paths[1], golden);
    other.put(&paths[0], disk.read(&paths[0]));
    let manager = snapshots::manager(&other).unwrap();
    assert_eq!(manager.list_of(GROUPS[0]), std::slice::from_ref(&written));
    let read = manager.open_source(GROUPS[0], written.id).unwrap().read_all().unwrap();
    assert_eq!(read, snapshots::Pieces { left: bytes, seed: 1 }.all());
}

/// What each version wrote is read as it was meant, in words and not by its own code only.
#[test]
fn every_version_is_read() {
    for version in ["v1", "v2"] {
        is_read(version);
    }
}

/// The directory a version wrote.
fn golden(version: &str) -> Arc<FakeDisk> {
    let disk = FakeDisk::new();
    for file in FILES {
        disk.put(format!("/data/{file}"), std::fs::read(path(version, file)).unwrap());
    }
    disk
}

/// A directory of an earlier version is written on, compacted and opened again, whatever of it is
/// still needed: its Checkpoints tell too little for a log to begin with them, so it stays whole
/// until none of it is.
#[test]
fn every_version_is_compacted() {
    for version in ["v1", "v2"] {
        let disk = golden(version);
        let options = small(Alignment::Eight).without_zero_fill();
        let (a, b, write) = (GROUPS[0], GROUPS[1], Persist::unnumbered);
        for life in 0..12 {
            let mut storage = open(&disk, 10 + life, options).unwrap();
            let next = 6 + life;
            // Entry 5 of group 0 is the last that is needed of what the other version wrote.
            let upto = if life < 6 { id(2, 4) } else { id(4, next - 1) };
            let covers = id(4, next - 1);
            let entries = vec![command(4, next, "more")];
            let base = Base::Compacted { snapshot: snapshot(covers), upto };
            let based = (life > 1).then_some(base);
            let mut batch = vec![(a, write(state(4, 0, next - 2), None, entries))];
            batch.push((a, write(state(4, 0, next - 1), based, vec![])));
            let installed = (life == 1).then(|| Base::Installed(snapshot(id(4, 20))));
            batch.push((b, write(state(4, 0, 10), installed, vec![])));
            storage.persist(&batch).unwrap();
            let found = GROUPS.map(|group| storage.restore(group).unwrap());
            drop(storage);
            let mut storage = open(&disk, 100 + life, options).unwrap();
            assert_eq!(GROUPS.map(|group| storage.restore(group).unwrap()), found, "life {life}");
        }
        let old = FILES.map(|file| PathBuf::from("/data").join(file));
        let left = disk.paths().into_iter().filter(|path| old[1..].contains(path)).count();
        assert_eq!(left, 0, "nothing of {version} is needed any more");
    }
}

fn is_read(version: &str) {
    let disk = golden(version);
    let options = small(Alignment::Eight).without_zero_fill();
    let mut storage = open(&disk, 3, options).unwrap();
    assert_eq!(storage.identity(), Some(identity(1)));
    assert_eq!(storage.recovery().batches, 7, "two Checkpoints, four calls and one");
    assert_eq!(storage.recovery().torn, None, "the torn write was cut by the second life");
    let [a, b] = GROUPS.map(|group| storage.restore(group).unwrap());
    assert_eq!(a.hard_state, state(3, 1, 4));
    assert_eq!(a.created, Some(membership(3)));
    assert_eq!(a.snapshot, Some(snapshot(id(1, 2))));
    assert_eq!(a.memberships, [membership(4).brought_by(id(2, 4))]);
    let (large, five) = (command(2, 3, vec![0xab; 300]), command(3, 5, "five"));
    assert_eq!(a.tail, [large, membership_entry(2, 4, 4), five]);
    assert_eq!(b.hard_state, state(2, 2, 9));
    assert_eq!(b.snapshot, Some(snapshot(id(2, 9))));
    assert_eq!(b.tail, [command(2, 10, "ten")]);
    assert_eq!([a, b], write_golden().1);
}
