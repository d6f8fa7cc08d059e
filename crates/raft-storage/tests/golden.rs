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
    GROUPS, command, id, identity, membership, membership_entry, open, small, snapshot, state,
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
    let compacted = Some(Base::Compacted(snapshot(id(1, 2))));
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

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(file)
}

/// What this code writes is what version 1 wrote, bit for bit.
#[test]
fn version_1_is_written_bit_for_bit() {
    let (disk, _) = write_golden();
    let mut paths = disk.paths();
    paths.retain(|path| !path.ends_with("LOCK"));
    assert_eq!(paths, FILES.map(|file| PathBuf::from("/data").join(file)));
    for file in FILES {
        let written = disk.read(format!("/data/{file}"));
        if std::env::var_os("GOLDEN_UPDATE").is_some() {
            std::fs::create_dir_all(path(file).parent().unwrap()).unwrap();
            std::fs::write(path(file), &written).unwrap();
        }
        let golden = std::fs::read(path(file)).unwrap();
        let differs = golden.iter().zip(&written).position(|(golden, written)| golden != written);
        assert_eq!(differs, None, "{file} differs from version 1");
        assert_eq!(golden.len(), written.len(), "{file} has another length than in version 1");
    }
}

/// What version 1 wrote is read as it was meant, in words and not by its own code only.
#[test]
fn version_1_is_read() {
    let disk = FakeDisk::new();
    for file in FILES {
        disk.put(format!("/data/{file}"), std::fs::read(path(file)).unwrap());
    }
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
