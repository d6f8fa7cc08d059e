//! Damage that is given up, as the last resort of a group with one voter.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{Base, Entry, Persist, Restored};
use raft_storage::{Alignment, FileOptions, FileStorage, Storage, StorageError};

use self::support::disk::FakeDisk;
use self::support::{GROUPS, command, identity, membership, membership_entry, open, small, state};

/// Batches of five kilobytes: six of them fill a segment.
const ENTRIES: u64 = 20;

/// A disk of one voter with several segments, and what its log was after each batch.
struct History {
    disk: Arc<FakeDisk>,
    states: Vec<Restored>,
    segments: Vec<PathBuf>,
}

fn options() -> FileOptions {
    small(Alignment::Page)
}

fn append(storage: &mut FileStorage, base: Option<Base>, entry: Entry) {
    let persist = Persist::unnumbered(state(1, 1, 0), base, vec![entry]);
    storage.persist(&[(GROUPS[0], persist)]).unwrap();
}

/// `last` is the last entry, for what only the newest part of the disk knows.
fn history(voters: u64, last: Option<&Entry>) -> History {
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 3, options()).unwrap();
    storage.initialize(identity(1)).unwrap();
    let mut states = vec![storage.restore(GROUPS[0]).unwrap()];
    for index in 1..=ENTRIES {
        let base = (index == 1).then(|| Base::Created(membership(voters)));
        let entry = command(1, index, vec![index.to_le_bytes()[0]; 5_000]);
        let entry = last.filter(|_| index == ENTRIES).cloned().unwrap_or(entry);
        append(&mut storage, base, entry);
        states.push(storage.restore(GROUPS[0]).unwrap());
    }
    storage.close().unwrap();
    let is_segment = |path: &PathBuf| path.to_string_lossy().contains("/wal/00-");
    let segments: Vec<PathBuf> = disk.paths().into_iter().filter(is_segment).collect();
    assert!(segments.len() > 2, "{segments:?}");
    History { disk, states, segments }
}

/// Where the batches of a segment begin, its Checkpoint first.
fn batches(bytes: &[u8]) -> Vec<usize> {
    let (mut at, mut found) = (8192, Vec::new());
    while let Some(header) = bytes.get(at..).filter(|bytes| bytes.starts_with(b"RWB1")) {
        found.push(at);
        let len = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()) as usize;
        at = (at + 64 + len(8) + len(12)).next_multiple_of(4096);
    }
    found
}

/// A byte rots on the medium.
fn rot(disk: &FakeDisk, path: &PathBuf, at: usize) {
    let mut bytes = disk.read(path);
    bytes[at] ^= 0x10;
    disk.put(path, bytes);
}

/// Opens it with the loss accepted, and finds which state it kept; then it serves like any other,
/// opens again without a word, and nothing that was there was removed or changed.
fn survives(disk: &Arc<FakeDisk>, history: &History, what: &str) -> usize {
    let before: Vec<_> = disk.paths().into_iter().map(|path| disk.read(path)).collect();
    let refused = open(disk, 4, options()).expect_err(what);
    let mut storage = open(disk, 5, options().accepting_data_loss()).expect(what);
    assert!(!storage.recovery().lost.is_empty(), "{what}: nobody is told");
    let found = storage.restore(GROUPS[0]).unwrap();
    let kept = history.states.iter().position(|state| *state == found).expect(what);
    let after: Vec<_> = disk.paths().into_iter().map(|path| disk.read(path)).collect();
    let is_lock = |path: &PathBuf| path.ends_with("LOCK");
    for ((path, before), after) in disk.paths().iter().zip(before).zip(after) {
        assert!(before == after || is_lock(path), "{what}: {} changed", path.display());
    }
    drop(storage);
    open(disk, 6, options()).expect_err("without a write it is as it was");

    let mut storage = open(disk, 7, options().accepting_data_loss()).unwrap();
    let base = (kept == 0).then(|| Base::Created(membership(1)));
    append(&mut storage, base, command(1, kept as u64 + 1, "the first after the loss"));
    let written = storage.restore(GROUPS[0]).unwrap();
    drop(storage);
    let mut storage = open(disk, 8, options()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(storage.restore(GROUPS[0]).unwrap(), written, "{what}, after {refused}");
    for index in kept as u64 + 2..kept as u64 + 20 {
        append(&mut storage, None, command(1, index, vec![7; 5_000]));
    }
    let written = storage.restore(GROUPS[0]).unwrap();
    drop(storage);
    assert_eq!(open(disk, 9, options()).unwrap().restore(GROUPS[0]).unwrap(), written, "{what}");
    kept
}

/// Any batch of any segment rots: what was before it is kept, and the node goes on.
#[test]
fn what_is_before_the_damage_is_kept() {
    let history = history(1, None);
    let mut before = 0;
    for segment in &history.segments {
        let places = batches(&history.disk.read(segment));
        for (number, at) in places.iter().enumerate() {
            let disk = history.disk.copy();
            rot(&disk, segment, at + 70);
            let what = format!("{} at {at}", segment.display());
            let kept = survives(&disk, &history, &what);
            // The Checkpoint is no batch of ours.
            assert_eq!(kept, before + number.saturating_sub(1), "{what}");
        }
        before += places.len() - 1;
    }
    assert_eq!(before as u64, ENTRIES);
}

/// A segment that is gone, or does not say whose it is any more, takes along what follows it.
#[test]
fn a_segment_that_is_gone_takes_along_the_rest() {
    let history = history(1, None);
    let mut before = 0;
    for segment in &history.segments {
        let disk = history.disk.copy();
        disk.delete(segment);
        assert_eq!(survives(&disk, &history, "gone"), before, "{}", segment.display());

        let disk = history.disk.copy();
        rot(&disk, segment, 20);
        rot(&disk, segment, 4096 + 20);
        assert_eq!(survives(&disk, &history, "no header"), before, "{}", segment.display());
        before += batches(&history.disk.read(segment)).len() - 1;
    }
}

/// Damage in several places: the first counts.
#[test]
fn the_first_of_several_damages_counts() {
    let history = history(1, None);
    let disk = history.disk.copy();
    let (first, last) = (&history.segments[0], history.segments.last().unwrap());
    rot(&disk, last, batches(&history.disk.read(last))[1] + 70);
    rot(&disk, first, batches(&history.disk.read(first))[2] + 70);
    assert_eq!(survives(&disk, &history, "two"), 1);
}

/// Whoever has others has copies. That others came is known also from what would be given up.
#[test]
fn a_loss_is_not_accepted_where_others_have_copies() {
    let others_came = membership_entry(1, ENTRIES, 3);
    for history in [history(3, None), history(1, Some(&others_came))] {
        let first = &history.segments[0];
        rot(&history.disk, first, batches(&history.disk.read(first))[2] + 70);
        let error = open(&history.disk, 5, options().accepting_data_loss()).unwrap_err();
        assert!(matches!(error, StorageError::LossRefused { voters: 3, .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            "/data/wal: this disk knows a group of 3 voters, and its loss cannot be accepted: what \
             it acknowledged counts for them; move the directory away and readmit the node with an \
             empty one"
        );
    }
}

/// Where nothing is damaged nothing is given up, whatever was accepted.
#[test]
fn a_sound_disk_loses_nothing() {
    let history = history(3, None);
    let mut storage = open(&history.disk, 5, options().accepting_data_loss()).unwrap();
    assert!(storage.recovery().lost.is_empty());
    assert_eq!(storage.restore(GROUPS[0]).unwrap(), *history.states.last().unwrap());
}
