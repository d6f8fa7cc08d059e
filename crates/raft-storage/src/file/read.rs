//! Reading entries back: from the index to the batch, from its table to the payload.
//!
//! Nothing is believed because it was written here once: header, table and every payload are
//! compared with their checksums each time. Read next: `recovery.rs`.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use crc_fast::crc32_iscsi;
use raft_core::codec::decode_payload;
use raft_core::{Checksum, Entry, GroupId, Index, Payload, mutant};

use super::group::GroupLog;
use super::index::Place;
use super::record::{BatchHeader, HEADER_BYTES, Kind, Record, Table};
use super::segment::{SegmentHeader, Window};
use super::wal::Wal;
use crate::disk::DiskFile;
use crate::{Corruption, StorageError};

/// Reads batches; keeps a few segments open.
pub(super) struct BatchReader {
    window: Window,
    open: VecDeque<(u64, Box<dyn DiskFile>)>,
}

/// At most this many segments are kept open for reading.
const OPEN_MAX: usize = 8;

/// At least this many bytes are read at once: neighbours are usually wanted next.
const AHEAD_BYTES: usize = 64 << 10;

/// What was read so far, and how much more is wanted.
struct Wanted {
    next: Index,
    end: Index,
    bytes: u64,
    bytes_max: u64,
    entries: Vec<Entry>,
}

impl BatchReader {
    pub(super) const fn new() -> Self {
        Self { window: Window::new(AHEAD_BYTES), open: VecDeque::new() }
    }

    /// The entries from the start of the range on that the log holds: at least one, then as many as
    /// fit.
    pub(super) fn entries(
        &mut self,
        wal: &Wal,
        (group, log): (GroupId, &GroupLog),
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        // What was read before may have been written over since.
        if !mutant!("D14") {
            self.window.clear();
        }
        // A segment that was removed keeps its room while it is open.
        self.open.retain(|(seq, _)| wal.segment(*seq).is_some());
        let end = range.end.min(log.replay.last().index.next());
        let mut wanted =
            Wanted { next: range.start, end, bytes: 0, bytes_max, entries: Vec::new() };
        if !log.replay.holds(range.start) {
            return Ok(Vec::new());
        }
        while wanted.next < wanted.end {
            let place = log.index.find(wanted.next).expect("the index knows what the log holds");
            if !self.batch(wal, group, place, &mut wanted)? {
                break;
            }
        }
        Ok(wanted.entries)
    }

    /// The newest entries, ending with the last, up to this many bytes.
    pub(super) fn tail(
        &mut self,
        wal: &Wal,
        (group, log): (GroupId, &GroupLog),
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let mut pieces = Vec::new();
        let mut end = log.replay.last().index.next();
        let mut left = bytes_max;
        while end.get() > 1 && log.replay.holds(end.prev()) {
            let start = piece_start(log, end);
            let mut piece = self.entries(wal, (group, log), start..end, u64::MAX)?;
            let fits = piece.iter().rev().take_while(|entry| {
                let cost = entry.payload.cost();
                left.checked_sub(cost).map(|rest| left = rest).is_some()
            });
            let skip = piece.len() - fits.count();
            piece.drain(..skip);
            pieces.push(piece);
            if skip > 0 {
                break;
            }
            end = start;
        }
        Ok(pieces.into_iter().rev().flatten().collect())
    }

    /// Takes the wanted entries of one batch; answers whether there is room for more.
    fn batch(
        &mut self,
        wal: &Wal,
        group: GroupId,
        place: Place,
        wanted: &mut Wanted,
    ) -> Result<bool, StorageError> {
        let spot = Spot { path: wal.path(place.seq), place, group };
        let segment = *wal.segment(place.seq).expect("places name segments of the log");
        let file = open(&mut self.open, wal, place.seq)?;
        let header = read_header(&mut self.window, file, &segment, &spot)?;
        let table_at = place.offset + HEADER_BYTES as u64;
        let table_len = header.table_len as usize;
        let table = self.window.get(file, place.seq, table_at, table_len);
        let table = table.map_err(|error| StorageError::io("read", &spot.path, error))?;
        let records = header
            .table(table)
            .and_then(|table| records(table, group))
            .ok_or_else(|| spot.corrupt("table", "its checksum", "another"))?;
        let end = place.end.unwrap_or(wanted.end).min(wanted.end);
        let skip = records.partition_point(|record| record.b < wanted.next.get());
        for record in &records[skip..] {
            if wanted.next >= end || record.id().index != wanted.next {
                break;
            }
            if (record.body_at + record.len) as u64 > u64::from(header.body_len) {
                return Err(spot.corrupt("payload", "inside its batch", "beyond its end"));
            }
            let at = table_at + table_len as u64 + record.body_at as u64;
            let body = self.window.get(file, place.seq, at, record.len);
            let body = body.map_err(|error| StorageError::io("read", &spot.path, error))?;
            let payload = payload(record, body).ok_or_else(|| {
                let seal = format!("entry {} with seal {:08x}", record.id(), record.crc);
                spot.corrupt("payload", &seal, "another checksum")
            })?;
            if !wanted.take(Entry { id: record.id(), payload }) {
                return Ok(false);
            }
        }
        if wanted.next < end {
            let promised = format!("entry {}, as the index says", wanted.next);
            return Err(spot.corrupt("table", &promised, "none"));
        }
        Ok(true)
    }
}

impl Wanted {
    /// Takes the next entry; answers no if there is no room for it.
    fn take(&mut self, entry: Entry) -> bool {
        let bytes = self.bytes.saturating_add(entry.payload.cost());
        if bytes > self.bytes_max && !self.entries.is_empty() {
            return false;
        }
        self.bytes = bytes;
        self.next = self.next.next();
        self.entries.push(entry);
        true
    }
}

/// The batch that is read, for whoever must be told that it does not read.
struct Spot {
    path: PathBuf,
    place: Place,
    group: GroupId,
}

impl Spot {
    fn corrupt(&self, what: &'static str, expected: &str, found: &str) -> StorageError {
        let first = self.place.first;
        let last = self.place.end.map_or(first, Index::prev);
        StorageError::Corrupt(Box::new(Corruption {
            path: self.path.clone(),
            offset: self.place.offset,
            what,
            expected: expected.into(),
            found: found.into(),
            proof: "it was read or written since the storage was opened",
            lost: vec![(self.group, first..=last)],
        }))
    }
}

fn read_header(
    window: &mut Window,
    file: &dyn DiskFile,
    segment: &SegmentHeader,
    spot: &Spot,
) -> Result<BatchHeader, StorageError> {
    let (seq, offset) = (spot.place.seq, spot.place.offset);
    let bytes = window.get(file, seq, offset, HEADER_BYTES);
    let bytes = bytes.map_err(|error| StorageError::io("read", &spot.path, error))?;
    let bytes = bytes.first_chunk().expect("as many as asked for");
    let header = BatchHeader::decode(bytes, segment.salt)
        .map_err(|fault| spot.corrupt("batch header", "a batch", &format!("{fault:?}")))?;
    if offset + header.bytes() > segment.bytes {
        let found = format!("{} bytes", header.bytes());
        return Err(spot.corrupt("batch length", "a batch inside its segment", &found));
    }
    Ok(header)
}

/// Where a piece of the log begins that ends here and is read at once: neighbouring batches of
/// about a mebibyte, so that walking backwards does not mean reading backwards.
fn piece_start(log: &GroupLog, end: Index) -> Index {
    let base = log.replay.base().index;
    let find = |index| log.index.find(index).expect("the index knows what the log holds");
    let last = find(end.prev());
    let mut first = last;
    while first.first.prev() > base {
        let before = find(first.first.prev());
        let near =
            before.seq == last.seq && last.offset.saturating_sub(before.offset) < PIECE_BYTES;
        if !near {
            break;
        }
        first = before;
    }
    first.first.max(base.next())
}

/// How much of a log is read at once while walking backwards, in bytes of the segment.
const PIECE_BYTES: u64 = 1 << 20;

/// A segment for reading, opened when it is not.
fn open<'a>(
    open: &'a mut VecDeque<(u64, Box<dyn DiskFile>)>,
    wal: &Wal,
    seq: u64,
) -> Result<&'a dyn DiskFile, StorageError> {
    let held = open.iter().position(|(held, _)| *held == seq);
    if held.is_none() {
        let file = wal.open(seq)?;
        open.truncate(OPEN_MAX - 1);
        open.push_front((seq, file));
    }
    let at = held.unwrap_or(0);
    Ok(open[at].1.as_ref())
}

/// The payload of an entry, if its bytes are those that were sealed. Asked of the bytes as they are
/// on the disk, by the fastest checksum of this processor: `Payload::verify` would say the same and
/// take much longer.
fn payload(record: &Record, body: &[u8]) -> Option<Payload> {
    let sound = crc32_iscsi(body) == record.crc || mutant!("D18");
    let decoded = decode_payload(Bytes::copy_from_slice(body), Checksum::new(record.crc));
    decoded.ok().filter(|_| sound)
}

/// The entries of a group that a batch leaves behind, ascending: later records replace earlier
/// ones.
fn records(table: &[u8], group: GroupId) -> Option<Vec<Record>> {
    let mut kept: Vec<Record> = Vec::new();
    for record in Table::new(table) {
        let record = record.ok()?;
        match record.kind {
            Kind::Entry if record.group == group => kept.push(record),
            Kind::Truncate if record.group == group => {
                kept.truncate(kept.partition_point(|kept| kept.b < record.b));
            }
            Kind::Entry
            | Kind::Truncate
            | Kind::HardState
            | Kind::Purge
            | Kind::Snapshot
            | Kind::GroupCreate
            | Kind::Checkpoint
            | Kind::Ignorable => {}
        }
    }
    Some(kept)
}
