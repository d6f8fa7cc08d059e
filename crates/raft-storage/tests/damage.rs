//! Damage: every byte of a small history is cut off, flipped or zeroed. Either the storage refuses
//! and names the place, or it gives back a prefix that nobody was promised more than.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::path::PathBuf;
use std::sync::Arc;

use raft_core::{Base, Index, Persist, Restored};
use raft_storage::disk::Environment;
use raft_storage::{Alignment, Corruption, FileOptions, FileStorage, Storage, StorageError};

use self::support::disk::FakeDisk;
use self::support::{
    GROUPS, command, id, identity, membership, membership_entry, open, small, snapshot, state,
};

const SEGMENT: &str = "/data/wal/00-0000000000000001.wal";

fn eights() -> FileOptions {
    small(Alignment::Eight).without_zero_fill()
}

/// With room for a whole history in one segment.
fn pages() -> FileOptions {
    small(Alignment::Page).with_segment_bytes(64 << 10)
}

/// A disk with a history in one segment, and what was true after each of its batches.
struct History {
    disk: Arc<FakeDisk>,
    /// Where each batch begins, the Checkpoint first, and where the last one ends.
    offsets: Vec<u64>,
    /// What both groups are after each batch, beginning with nothing after the Checkpoint.
    states: Vec<[Restored; 2]>,
}

fn restored(storage: &mut FileStorage) -> [Restored; 2] {
    GROUPS.map(|group| storage.restore(group).unwrap())
}

/// Six calls with records of every kind. If `clean`, the storage is closed at the end.
fn history(options: FileOptions, clean: bool) -> History {
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 3, options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let (a, b) = (GROUPS[0], GROUPS[1]);
    let created = Some(Base::Created(membership(3)));
    let compacted = Some(Base::Compacted { snapshot: snapshot(id(1, 2)), upto: id(1, 2) });
    let installed = Some(Base::Installed(snapshot(id(2, 9))));
    let write = Persist::unnumbered;
    let calls = [
        vec![(a, write(state(1, 1, 0), created, vec![command(1, 1, "one")]))],
        vec![(a, write(state(1, 1, 1), None, vec![command(1, 2, "two"), command(1, 3, "old")]))],
        vec![
            (b, write(state(1, 0, 0), None, vec![command(1, 1, vec![9; 300])])),
            (a, write(state(2, 0, 2), None, vec![membership_entry(2, 3, 2), command(2, 4, "4")])),
        ],
        vec![(a, write(state(2, 0, 2), compacted, vec![]))],
        vec![(b, write(state(2, 0, 9), installed, vec![]))],
        vec![(a, write(state(2, 0, 4), None, vec![command(2, 5, "five")]))],
    ];
    let mut states = Vec::new();
    for call in calls {
        states.push(restored(&mut storage));
        storage.persist(&call).unwrap();
    }
    states.push(restored(&mut storage));
    let disk = if clean { storage.close().map(|()| disk).unwrap() } else { disk.copy() };
    let offsets = offsets(&disk.read(SEGMENT), options);
    assert_eq!(offsets.len(), states.len() + 1, "a batch for each state, in one segment");
    History { disk, offsets, states }
}

/// Where the batches of a segment begin, by the lengths in their headers, and where the last ends.
fn offsets(segment: &[u8], options: FileOptions) -> Vec<u64> {
    let alignment = if options == pages() { 4096 } else { 8 };
    let (mut at, mut offsets) = (8192, vec![8192]);
    while let Some(header) = segment.get(at..).filter(|bytes| bytes.starts_with(b"RWB1")) {
        let len = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap()) as usize;
        at = (at + 64 + len(8) + len(12)).next_multiple_of(alignment);
        offsets.push(at as u64);
    }
    offsets
}

impl History {
    /// The same disk with other bytes in the segment.
    fn with_segment(&self, bytes: Vec<u8>) -> Arc<FakeDisk> {
        let disk = self.disk.copy();
        disk.put(SEGMENT, bytes);
        disk
    }

    /// The batch a byte belongs to; the number of batches if it lies behind.
    fn batch_of(&self, at: usize) -> usize {
        self.offsets.partition_point(|offset| *offset <= at as u64) - 1
    }

    fn batches(&self) -> usize {
        self.offsets.len() - 1
    }
}

fn corruption(error: StorageError) -> Corruption {
    let StorageError::Corrupt(corruption) = error else { panic!("not corruption: {error}") };
    *corruption
}

/// The file is cut at every byte: recovery gives exactly the whole batches before the cut, reports
/// the torn one, and the node can go on writing.
#[test]
fn a_file_cut_at_any_byte_holds_the_whole_batches_before_the_cut() {
    let options = eights();
    let history = history(options, false);
    let whole = history.disk.read(SEGMENT);
    assert_eq!(whole.len() as u64, *history.offsets.last().unwrap());
    for cut in 8192..=whole.len() {
        let mut storage = open(&history.with_segment(whole[..cut].into()), 9, options).unwrap();
        // Zeros that are missing at the end read as zeros.
        let is_whole = |end: &&u64| {
            whole[cut..usize::try_from(**end).unwrap().max(cut)].iter().all(|byte| *byte == 0)
        };
        let kept = history.offsets[1..].iter().take_while(is_whole).count();
        let expected = &history.states[kept.saturating_sub(1)];
        assert_eq!(restored(&mut storage), *expected, "cut at {cut}");
        // A batch is known to be of this life from its salt on; before, it may be called zeros.
        let part = (cut as u64).saturating_sub(history.offsets[kept]);
        let expected_torn = if part >= 48 { 1..=1 } else { 0..=part.min(1) };
        assert!(expected_torn.contains(&storage.stats().torn_tails), "cut at {cut}");
        if let Some(torn) = &storage.recovery().torn {
            assert_eq!(torn.offset, history.offsets[kept]);
            assert_eq!(torn.path, PathBuf::from(SEGMENT));
        }
        let more =
            Persist::unnumbered(state(9, 0, expected[0].hard_state.commit.get()), None, vec![]);
        storage.persist(&[(GROUPS[0], more)]).unwrap();
    }
}

/// Every byte of a history that was cut off is flipped, and a sample of the zeros between. In the
/// last batch nobody can know; anywhere before, later batches prove it, and the refusal names file
/// and offset. Nothing is ever wrong.
#[test]
fn a_flipped_byte_is_refused_unless_it_is_in_the_undecidable_last_batch() {
    for options in [eights(), pages()] {
        let history = history(options, false);
        let whole = history.disk.read(SEGMENT);
        let (all, before) = (history.batches() - 1, history.batches() - 2);
        let mut verdicts = [0, 0, 0];
        for at in 0..usize::try_from(*history.offsets.last().unwrap()).unwrap() {
            if whole[at] == 0 && at % 61 != 0 {
                continue; // Of the zeros a sample is enough.
            }
            let mut bytes = whole.clone();
            bytes[at] ^= 1 << (at % 8);
            let batch = history.batch_of(at.max(8192));
            match open(&history.with_segment(bytes), 9, options) {
                Ok(mut storage) => {
                    let found = restored(&mut storage);
                    if found == history.states[all] {
                        // A copy of the header, or padding, which carries nothing.
                        assert!(at < 8192 || whole[at] == 0, "byte {at} is not noticed");
                        verdicts[0] += 1;
                    } else {
                        assert_eq!(found, history.states[before], "byte {at}");
                        assert_eq!(batch, history.batches() - 1, "byte {at} was promised");
                        // With another salt it looks like an older life of the file.
                        let salt = (40..48).contains(&(at as u64 - history.offsets[batch]));
                        assert_eq!(storage.stats().torn_tails, u64::from(!salt), "byte {at}");
                        verdicts[1] += 1;
                    }
                }
                Err(error) => {
                    let corruption = corruption(error);
                    assert_eq!(corruption.path, PathBuf::from(SEGMENT));
                    assert_eq!(corruption.offset, history.offsets[batch], "byte {at}");
                    verdicts[2] += 1;
                }
            }
        }
        assert!(verdicts.iter().all(|count| *count > 10), "each verdict happened: {verdicts:?}");
    }
}

/// After a clean stop even the last batch is known to be durable: every flipped byte of it is
/// refused, and the entries it held are named when its table can be read.
#[test]
fn after_a_clean_stop_the_last_batch_is_proven_too() {
    let options = eights();
    let history = history(options, true);
    let whole = history.disk.read(SEGMENT);
    let last = history.offsets[history.batches() - 1];
    let mut named = 0;
    for at in usize::try_from(last).unwrap()..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        match open(&history.with_segment(bytes), 9, options) {
            Ok(mut storage) => {
                assert_eq!(&restored(&mut storage), history.states.last().unwrap());
                assert_eq!(whole[at], 0, "only padding may change");
            }
            Err(error) => {
                let corruption = corruption(error);
                assert_eq!(corruption.offset, last);
                assert_eq!(corruption.proof, "SUPER says that it was durable");
                named += usize::from(!corruption.lost.is_empty());
                let five = Index::new(5)..=Index::new(5);
                assert!(corruption.lost.iter().all(|lost| *lost == (GROUPS[0], five.clone())));
            }
        }
    }
    assert!(named >= "five".len(), "a rotten payload still tells which entry it was");
}

/// Every sector of a segment that has a successor is zeroed: batches are missed whether anything
/// follows in their own segment or not.
#[test]
fn a_zeroed_sector_is_missed() {
    let options = pages();
    let history = history(options, false);
    let disk = history.disk.copy();
    let mut storage = open(&disk, 4, options).unwrap();
    let more = Persist::unnumbered(state(2, 0, 4), None, vec![command(2, 6, "six")]);
    storage.persist(&[(GROUPS[0], more)]).unwrap();
    let expected = restored(&mut storage);
    let disk = disk.copy();
    let whole = disk.read(SEGMENT);
    let mut refused = 0;
    for sector in 16..whole.len() / 512 {
        let mut bytes = whole.clone();
        bytes[sector * 512..][..512].fill(0);
        let harmless = bytes == whole;
        let disk = disk.copy();
        disk.put(SEGMENT, bytes);
        match open(&disk, 9, options) {
            Ok(mut storage) => {
                assert!(harmless, "sector {sector} is not missed");
                assert_eq!(restored(&mut storage), expected);
            }
            Err(error) => {
                let corruption = corruption(error);
                let batch = history.batch_of(sector * 512);
                assert_eq!(corruption.offset, history.offsets[batch], "sector {sector}");
                refused += 1;
            }
        }
    }
    assert!(refused >= history.batches(), "{refused} sectors");
}

/// A good batch in the place of another (a misdirected write) is not taken for it.
#[test]
fn a_batch_in_the_wrong_place_is_found() {
    let options = pages();
    let history = history(options, false);
    let mut bytes = history.disk.read(SEGMENT);
    let [from, to] = [3, 4].map(|batch| usize::try_from(history.offsets[batch]).unwrap());
    bytes.copy_within(from..from + 4096, to);
    let corruption = corruption(open(&history.with_segment(bytes), 9, options).unwrap_err());
    assert_eq!(corruption.what, "lsn and chain of a batch");
    assert_eq!(corruption.offset, to as u64);
}

/// A good batch of another history, with the right number in the right place, is found by its
/// chain: this is what a lost write leaves behind when the one after it arrives.
#[test]
fn a_batch_of_another_history_is_found() {
    let segment = |third: &'static str| {
        let disk = FakeDisk::new();
        let mut storage = open(&disk, 3, pages()).unwrap();
        storage.initialize(identity(1)).unwrap();
        for (index, text) in (1..).zip(["one", "two", third, "four"]) {
            let entries = vec![command(1, index, text)];
            let persist = Persist::unnumbered(state(1, 0, 0), None, entries);
            storage.persist(&[(GROUPS[0], persist)]).unwrap();
        }
        (disk.copy(), disk.read(SEGMENT))
    };
    let (disk, mut bytes) = segment("three");
    let (_, other) = segment("drei");
    let at = 8192 + 3 * 4096;
    bytes[at..at + 4096].copy_from_slice(&other[at..at + 4096]);
    disk.put(SEGMENT, bytes);
    let corruption = corruption(open(&disk, 9, pages()).unwrap_err());
    assert_eq!(corruption.what, "lsn and chain of a batch");
    assert_eq!(corruption.offset, at as u64 + 4096, "the one after it does not continue it");
}

/// A Checkpoint that remembers another state than the replay finds is corruption, although every
/// checksum of it holds: one of the two witnesses is wrong.
#[test]
fn a_checkpoint_is_a_second_witness() {
    let history = history(pages(), false);
    let mut storage = open(&history.disk, 4, pages()).unwrap();
    let more = Persist::unnumbered(state(2, 0, 4), None, vec![command(2, 6, "six")]);
    storage.persist(&[(GROUPS[0], more)]).unwrap();
    let disk = history.disk.copy();
    let path = "/data/wal/00-0000000000000002.wal";
    let mut bytes = disk.read(path);
    let word = |bytes: &[u8], at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    let (at, salt) = (8192, bytes[72..88].to_vec());
    let (table, body) = (word(&bytes, at + 8) as usize, word(&bytes, at + 12) as usize);
    let body_at = at + 64 + table;
    // The row of group 0 begins after the fixed part: term 2, no vote, commit hint 4.
    let row = bytes[body_at..].windows(4).position(|window| window == [0, 2, 0, 4]).unwrap();
    bytes[body_at + row + 3] = 3;
    let crc = raft_core::Checksum::of(&bytes[body_at..body_at + body]).get();
    bytes[body_at - 8..body_at - 4].copy_from_slice(&crc.to_le_bytes());
    let crc = raft_core::Checksum::of(&bytes[at + 64..body_at - 4]).get();
    bytes[body_at - 4..body_at].copy_from_slice(&crc.to_le_bytes());
    let sum = crc_fast::crc64_nvme(&bytes[at + 64..body_at + body]);
    bytes[at + 56..at + 64].copy_from_slice(&sum.to_le_bytes());
    let crc = raft_core::Checksum::of(&salt).extend(&bytes[at..at + 4]);
    let crc = crc.extend(&bytes[at + 8..at + 64]).get();
    bytes[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    disk.put(path, bytes);
    let corruption = corruption(open(&disk, 9, pages()).unwrap_err());
    assert_eq!((corruption.what, corruption.offset), ("Checkpoint", 8192));
    assert!(corruption.expected.contains("commit: 3"), "{}", corruption.expected);
    assert!(corruption.found.contains("commit: 4"), "{}", corruption.found);
}

/// Two batches share a sync and the first one does not read: both are torn, whether the system
/// restarted or not. That the second is there proves nothing, because a failed sync or write-back
/// drops pages one by one.
#[test]
fn a_later_batch_of_the_same_call_proves_nothing() {
    let options = pages();
    let boot = |boot_id| Environment { boot_id, ..Environment::from_seed(8) };
    let disk = FakeDisk::new();
    let mut storage = FileStorage::open_with(disk.clone(), boot(5), "/data", options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let large =
        |index| Persist::unnumbered(state(1, 0, 0), None, vec![command(1, index, vec![3; 3_000])]);
    storage.persist(&[(GROUPS[0], large(1)), (GROUPS[0], large(2))]).unwrap();
    assert_eq!(storage.stats().batches, 3, "a Checkpoint and two batches");
    assert_eq!(storage.stats().sync.count, 1, "one sync");
    let disk = disk.copy();
    let mut bytes = disk.read(SEGMENT);
    bytes[8192 + 4096 + 2_000] ^= 1;
    disk.put(SEGMENT, bytes);
    for next in [5, 6] {
        let disk = disk.copy();
        let mut storage =
            FileStorage::open_with(disk.clone(), boot(next), "/data", options).unwrap();
        assert!(storage.restore(GROUPS[0]).unwrap().is_blank(), "both batches are gone");
        let torn = storage.recovery().torn.clone().unwrap();
        assert_eq!((torn.lsn, torn.offset), (2, 8192 + 4096));
        assert_eq!(torn.entries, [(GROUPS[0], Index::new(1)..=Index::new(1))]);
        // The numbers of both stay used, and what follows is read after the cut.
        storage.persist(&[(GROUPS[0], large(1))]).unwrap();
        let expected = storage.restore(GROUPS[0]).unwrap();
        drop(storage);
        let mut storage = FileStorage::open_with(disk, boot(7), "/data", options).unwrap();
        assert_eq!(storage.restore(GROUPS[0]).unwrap(), expected);
        assert_eq!(storage.recovery().torn, None, "an old torn tail is not read again");
    }
}

/// A payload that rots while the node runs is refused when it is read, by file and entry.
#[test]
fn an_entry_that_rots_is_not_served() {
    let options = pages();
    let disk = FakeDisk::new();
    let mut storage = open(&disk, 3, options).unwrap();
    storage.initialize(identity(1)).unwrap();
    let entries = vec![command(1, 1, "good"), command(1, 2, "rotten")];
    storage.persist(&[(GROUPS[0], Persist::unnumbered(state(1, 0, 0), None, entries))]).unwrap();
    let bytes = disk.read(SEGMENT);
    let at = bytes.windows(6).position(|window| window == b"rotten").unwrap();
    disk.damage(SEGMENT, at);
    let all = Index::new(1)..Index::new(3);
    let found = storage.entries(GROUPS[0], Index::new(1)..Index::new(2), 0).unwrap();
    assert_eq!(found.len(), 1, "what is whole is served");
    let corruption = corruption(storage.entries(GROUPS[0], all, 1_000).unwrap_err());
    assert_eq!((corruption.what, corruption.offset), ("payload", 8192 + 4096));
    assert!(corruption.expected.starts_with("entry 2@1 with seal "), "{}", corruption.expected);
}
