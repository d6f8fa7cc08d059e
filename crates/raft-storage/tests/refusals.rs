//! Directories that are not ours, not whole, not of this version, or in use: each refusal is
//! precise and changes nothing.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::sync::Arc;

use raft_core::Persist;
use raft_storage::{Alignment, FileOptions, FileStorage, Storage, StorageError};

use self::support::disk::FakeDisk;
use self::support::{GROUPS, command, identity, open, small, state};

fn segment(seq: u64) -> String {
    format!("/data/wal/00-{seq:016x}.wal")
}

/// A disk on which a node lived three times, with one segment and one entry from each life.
fn three_lives() -> Arc<FakeDisk> {
    let disk = FakeDisk::new();
    for life in 1..=3 {
        let mut storage = open(&disk, life, small(Alignment::Page)).unwrap();
        storage.initialize(identity(1)).unwrap();
        let entries = vec![command(1, life, "x")];
        let persist = Persist::unnumbered(state(1, 0, 0), None, entries);
        storage.persist(&[(GROUPS[0], persist)]).unwrap();
    }
    disk
}

fn refusal(disk: &Arc<FakeDisk>) -> StorageError {
    let before: Vec<_> = disk.paths().into_iter().map(|path| (disk.read(&path), path)).collect();
    let error = open(disk, 9, small(Alignment::Page)).unwrap_err();
    let lock = |path: &std::path::Path| path.ends_with("LOCK");
    for (bytes, path) in before.into_iter().filter(|(_, path)| !lock(path)) {
        assert_eq!(disk.read(path), bytes, "a refusal changes nothing");
    }
    error
}

/// Writes bytes into a file and gives the header its checksum again.
fn patch_header(disk: &FakeDisk, path: &str, at: usize, bytes: &[u8]) {
    let mut file = disk.read(path);
    for copy in [0, 4096] {
        file[copy + at..][..bytes.len()].copy_from_slice(bytes);
        let crc = raft_core::Checksum::of(&file[copy..copy + 4092]).get();
        file[copy + 4092..][..4].copy_from_slice(&crc.to_le_bytes());
    }
    disk.put(path, file);
}

/// A second process is told which directory is in use and by whom.
#[test]
fn a_directory_in_use_is_locked() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = FileStorage::open(directory.path()).unwrap();
    first.initialize(identity(4)).unwrap();
    let error = FileStorage::open(directory.path()).unwrap_err();
    let StorageError::Locked { path, holder } = &error else { panic!("{error}") };
    assert_eq!(path, &directory.path().join("LOCK"));
    assert_eq!(holder, &format!("process {}, node n4", std::process::id()));
    drop(first);
    FileStorage::open(directory.path()).unwrap();
}

/// A missing segment is named, with the file that knows of it: in the middle, at the start, at the
/// end.
#[test]
fn a_missing_segment_is_named() {
    for (missing, named_by) in [(1, segment(2)), (2, segment(3)), (3, "/data/SUPER".into())] {
        let disk = three_lives();
        disk.delete(segment(missing));
        let error = refusal(&disk);
        let StorageError::MissingSegment { path, named_by: found } = &error else {
            panic!("{error}")
        };
        assert_eq!(path.to_str(), Some(segment(missing).as_str()));
        assert_eq!(found.to_str(), Some(named_by.as_str()));
    }
}

/// Segments without `SUPER` are not a blank disk; neither is a file that is none of ours.
#[test]
fn a_directory_that_is_not_ours_is_refused() {
    let disk = three_lives();
    disk.delete("/data/SUPER");
    assert!(matches!(refusal(&disk), StorageError::MissingSuper { .. }));
    let blank = FakeDisk::new();
    for name in ["notes.txt", "01-0000000000000001.wal", "00-1.wal", "free-1.wal"] {
        for disk in [three_lives(), blank.copy()] {
            disk.put(format!("/data/wal/{name}"), b"nonsense".to_vec());
            let error = refusal(&disk);
            let expected = format!("/data/wal/{name}: not a file of this storage");
            assert!(error.to_string().starts_with(&expected), "{error}");
        }
    }
}

/// Later versions and features are refused with both numbers, in segments and in `SUPER`.
#[test]
fn a_later_format_is_refused() {
    let disk = three_lives();
    patch_header(&disk, &segment(2), 10, &[7, 0]);
    assert_eq!(
        refusal(&disk).to_string(),
        "/data/wal/00-0000000000000002.wal: format version 7, this code knows up to version 1; \
         start the version that wrote it"
    );
    let disk = three_lives();
    patch_header(&disk, &segment(2), 12, &[0, 4, 0, 0]);
    let error = refusal(&disk);
    assert!(matches!(error, StorageError::UnknownFeatures { bits: 0x400, .. }), "{error}");
    let disk = three_lives();
    let mut bytes = disk.read("/data/SUPER");
    for copy in 0..4 {
        bytes[copy * 4096 + 10] = 2;
    }
    disk.put("/data/SUPER", bytes);
    let error = refusal(&disk);
    assert!(matches!(error, StorageError::UnknownVersion { found: 2, known: 1, .. }), "{error}");
}

/// A copy of `SUPER` that an update tore may say anything about its version: one whole copy is
/// enough to know that it is garbage.
#[test]
fn a_torn_copy_of_super_is_not_a_later_version() {
    let disk = three_lives();
    let mut bytes = disk.read("/data/SUPER");
    for copy in 0..3 {
        bytes[copy * 4096 + 8..][..8].fill(0x41);
    }
    disk.put("/data/SUPER", bytes);
    assert_eq!(open(&disk, 9, small(Alignment::Page)).unwrap().identity(), Some(identity(1)));
}

/// A segment of another node, another cluster or another life of the directory is foreign; so is
/// the wish to be somebody else.
#[test]
fn a_foreign_segment_is_refused() {
    for (at, what) in [(16, "cluster"), (32, "incarnation"), (48, "node")] {
        let disk = three_lives();
        patch_header(&disk, &segment(2), at, &[0x77]);
        let error = refusal(&disk);
        assert!(matches!(error, StorageError::Foreign { .. }), "{what}: {error}");
    }
    let mut storage = open(&three_lives(), 9, small(Alignment::Page)).unwrap();
    assert_eq!(
        storage.initialize(identity(2)).unwrap_err().to_string(),
        "/data: belongs to node n1/1ca2 of cluster c1, but should belong to node n2/1ca2 of \
         cluster c1"
    );
}

/// A segment under the name of another one is refused.
#[test]
fn a_renamed_segment_is_refused() {
    let disk = three_lives();
    disk.put(segment(2), disk.read(segment(3)));
    let error = refusal(&disk);
    assert!(error.to_string().contains("segment header at byte 64: expected segment 2"), "{error}");
}

/// One good copy of `SUPER` and of a segment's header is enough, none is corruption.
#[test]
fn a_single_good_copy_is_enough() {
    let disk = three_lives();
    let mut bytes = disk.read("/data/SUPER");
    for copy in 0..3 {
        bytes[copy * 4096 + 50] ^= 1;
    }
    disk.put("/data/SUPER", bytes.clone());
    assert_eq!(open(&disk, 9, small(Alignment::Page)).unwrap().identity(), Some(identity(1)));
    bytes[3 * 4096 + 50] ^= 1;
    disk.put("/data/SUPER", bytes);
    assert!(refusal(&disk).to_string().starts_with("/data/SUPER: all four copies at byte 0"));

    let disk = three_lives();
    let mut bytes = disk.read(segment(1));
    bytes[20] ^= 1;
    disk.put(segment(1), bytes.clone());
    open(&disk, 9, small(Alignment::Page)).unwrap();
    bytes[4096 + 20] ^= 1;
    disk.put(segment(1), bytes);
    assert!(refusal(&disk).to_string().contains("segment header at byte 0"));
}

/// A directory that cannot be read or made is named, with the words of the operating system.
#[test]
fn an_unreadable_directory_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut storage = FileStorage::open(directory.path()).unwrap();
    storage.initialize(identity(1)).unwrap();
    drop(storage);
    let wal = directory.path().join("wal");
    std::fs::remove_dir(&wal).unwrap();
    let error = FileStorage::open(directory.path()).unwrap_err();
    assert_eq!(error.to_string(), format!("list {}", wal.display()));
    assert!(std::error::Error::source(&error).is_some());
    std::fs::write(&wal, "a file").unwrap();
    let error = FileStorage::open(directory.path()).unwrap_err();
    assert_eq!(error.to_string(), format!("list {}", wal.display()));
    let below = wal.join("data");
    let error = FileStorage::open(&below).unwrap_err();
    assert_eq!(error.to_string(), format!("create {}", below.display()));
}

/// Settings that cannot be are refused before anything is touched.
#[test]
fn a_bad_setting_is_refused() {
    for (bytes, rule) in [(4097, "a multiple of 4096"), (8192, "from 32 KiB to 4 GiB")] {
        let options = FileOptions::default().with_segment_bytes(bytes);
        let error = open(&FakeDisk::new(), 1, options).unwrap_err();
        assert_eq!(error.to_string(), format!("segment_bytes {bytes}: {rule}"));
    }
}
