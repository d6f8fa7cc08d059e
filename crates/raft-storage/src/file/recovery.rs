//! What to believe after a crash: a torn tail and corruption, never confused.
//!
//! A batch that does not read was either never acknowledged, because its sync did not return, or it
//! was durable once. Guessing between the two loses data or refuses good disks. So there is a rule,
//! and it asks for a *proof* that batch x was durable:
//!
//! * **P1** a later batch, in this segment or a later one, was encoded after a sync that included x
//!   (`durable_lsn >= x`);
//! * **P2** the Checkpoint of a later segment says that this one ended after x; it is written only
//!   after everything before is durable;
//! * **P3** `SUPER` says so.
//!
//! With a proof it is corruption: recovery refuses, names the place and changes nothing. Without
//! one it is a torn tail: the log ends before x. "A later batch is valid" alone proves nothing,
//! because several batches may share a sync and a disk may write them in any order. That the
//! operating system did not restart proves nothing either: after a failed sync or write-back it
//! calls the pages clean and drops what it likes of them, one by one.
//!
//! Recovery writes nothing. What follows is written to a new segment, whose Checkpoint says where
//! this one ended. Read next: `replay.rs` beside `file.rs`, the rules of the log.

mod fault;
mod loss;
mod visit;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::{GroupId, Index, mark, mutant};

use self::fault::Fault;
pub(super) use self::loss::recover_with_loss;
use self::loss::{Cut, GivenUp};
pub(super) use self::visit::visit;
use super::checkpoint::{Checkpoint, Ended, GroupFacts};
use super::group::{GroupLog, Groups, apply, is_membership};
use super::record::{
    BatchHeader, HEADER_BYTES, HeaderFault, Kind, Table, TableFault, looks_like_batch,
};
use super::segment::{BATCHES_AT, SegmentHeader, TRAILER_BYTES, WalFile, Window, segment_path};
use super::superblock::Super;
use super::wal::Tail;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::{Corruption, RuleError, StorageError};

/// What recovery found. For people: nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Segments the log is in.
    pub segments: u64,
    /// Batches read and believed.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The write a crash cut short, if there is one.
    pub torn: Option<TornTail>,
    /// Damage to what was acknowledged, found one after the other from the newest to the oldest,
    /// and given up with everything behind it
    /// ([`accepting_data_loss`](crate::FileOptions::accepting_data_loss)).
    pub lost: Vec<Corruption>,
}

/// A write that was cut short. Nobody was ever told that it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment.
    pub path: PathBuf,
    /// Where the write begins.
    pub offset: u64,
    /// The number of its batch.
    pub lsn: u64,
    /// The entries it would have held, if its table can be read.
    pub entries: Vec<(GroupId, RangeInclusive<Index>)>,
}

/// Everything a `FileStorage` begins with.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: BTreeMap<u64, SegmentHeader>,
    /// Segments before the oldest that is needed: a crash came before they were removed.
    pub(super) dead: Vec<u64>,
    /// From this segment on, each tells enough for the log to be read from there.
    pub(super) whole_from: u64,
    pub(super) newest_seq: u64,
    pub(super) tail: Tail,
    pub(super) groups: Groups,
    pub(super) report: RecoveryReport,
    /// What is left out, if anything.
    pub(super) given_up: GivenUp,
}

/// Reads the WAL and decides what to believe.
pub(super) fn recover(
    disk: &dyn Disk,
    wal: &Path,
    facts: &Super,
) -> Result<Recovered, StorageError> {
    recover_before(disk, wal, facts, None)
}

/// The same for what is before a cut, if there is one.
fn recover_before(
    disk: &dyn Disk,
    wal: &Path,
    facts: &Super,
    cut: Option<Cut>,
) -> Result<Recovered, StorageError> {
    // What was durable behind the cut is no proof of anything before it.
    let facts = &Super { durable_lsn: if cut.is_some() { 0 } else { facts.durable_lsn }, ..*facts };
    let mut recovery = Recovery::open(disk, wal, facts, cut)?;
    let (links, first) = recovery.links()?;
    recovery.begin_with(first);
    for link in &links {
        recovery.walk(link)?;
    }
    recovery.check_unused()?;
    recovery.check_places(&links)?;
    let used = links.iter().map(|link| (link.seq, recovery.segments[&link.seq].header));
    let segments: BTreeMap<_, _> = used.collect();
    let oldest = segments.keys().next().copied().unwrap_or(0);
    let dead = recovery.segments.range(..oldest).map(|(seq, _)| *seq).collect();
    recovery.report.segments = segments.len() as u64;
    Ok(Recovered {
        segments,
        dead,
        whole_from: recovery.whole_from,
        newest_seq: recovery.given_up.newest_seq,
        tail: recovery.tail,
        groups: recovery.groups,
        report: recovery.report,
        given_up: recovery.given_up,
    })
}

struct Recovery<'a> {
    wal: &'a Path,
    facts: &'a Super,
    segments: BTreeMap<u64, Segment>,
    window: Window,
    groups: Groups,
    whole_from: u64,
    tail: Tail,
    report: RecoveryReport,
    given_up: GivenUp,
}

struct Segment {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    /// Bytes that may hold batches.
    limit: u64,
}

/// A segment of the log, and what the one after it says about its end.
struct Link {
    seq: u64,
    next: Option<Checkpoint>,
}

/// A batch that was read whole.
struct Batch {
    header: BatchHeader,
    /// Table and body.
    content: Vec<u8>,
}

/// What lies behind a place that does not read.
#[derive(Clone, Copy, Default)]
struct Later {
    /// Any header of this life of the segment.
    any: bool,
    /// One that promises that the batch in question was durable.
    promise: bool,
    /// The highest number among them.
    lsn_max: u64,
}

impl<'a> Recovery<'a> {
    /// Lists and opens the segments, checks whose they are, and makes durable what a dead process
    /// may have left in memory only: what is believed now must still be there after the next crash.
    fn open(
        disk: &dyn Disk,
        wal: &'a Path,
        facts: &'a Super,
        cut: Option<Cut>,
    ) -> Result<Self, StorageError> {
        let mut segments = BTreeMap::new();
        let mut given_up = GivenUp::default();
        for path in disk.list(wal).map_err(|error| StorageError::io("list", wal, error))? {
            match WalFile::from_path(&path) {
                Some(WalFile::Segment(seq)) => {
                    given_up.newest_seq = given_up.newest_seq.max(seq);
                    match Segment::open(disk, path, seq, facts) {
                        Ok(segment) => drop(segments.insert(seq, segment)),
                        Err(_) if cut.is_some_and(|cut| cut.leaves_out(seq)) => {
                            given_up.segments.push(seq);
                        }
                        Err(error) => return Err(error),
                    }
                }
                Some(WalFile::Free) => {}
                None => return Err(StorageError::StrangeFile { path }),
            }
        }
        let is_whole = cut.is_none() && facts.newest_seq > 0;
        if is_whole && !segments.contains_key(&facts.newest_seq) {
            return Err(StorageError::MissingSegment {
                path: segment_path(wal, facts.newest_seq),
                named_by: wal.with_file_name("SUPER"),
            });
        }
        for segment in segments.values_mut().rev().take(2) {
            let Segment { path, file, .. } = segment;
            file.sync_data().map_err(|error| StorageError::io("sync", &*path, error))?;
            file.drop_cache()
                .map_err(|error| StorageError::io("drop from cache", &*path, error))?;
        }
        disk.sync_directory(wal).map_err(|error| StorageError::io("sync", wal, error))?;
        let mut recovery = Self {
            wal,
            facts,
            segments,
            window: Window::new(1 << 20),
            groups: Groups::new(),
            whole_from: 0,
            tail: Tail::START,
            report: RecoveryReport::default(),
            given_up,
        };
        recovery.leave_out(cut)?;
        Ok(recovery)
    }

    /// Follows the Checkpoints from the newest segment that has one back to the oldest it names as
    /// needed; that one's Checkpoint comes along.
    fn links(&mut self) -> Result<(Vec<Link>, Option<Checkpoint>), StorageError> {
        let mut links = Vec::new();
        let mut oldest = 0;
        let mut next: Option<Checkpoint> = None;
        for seq in self.segments.keys().rev().copied().collect::<Vec<_>>() {
            if let Some(checkpoint) = self.first_checkpoint(seq)? {
                links.push(Link { seq, next: None });
                oldest = checkpoint.oldest_seq.max(1);
                next = Some(checkpoint);
                break;
            }
        }
        while let Some(checkpoint) = next.take_if(|checkpoint| checkpoint.previous_seq >= oldest) {
            let (seq, named_by) = (checkpoint.previous_seq, links[links.len() - 1].seq);
            if seq >= named_by || !self.segments.contains_key(&seq) {
                return Err(StorageError::MissingSegment {
                    path: segment_path(self.wal, seq),
                    named_by: segment_path(self.wal, named_by),
                });
            }
            next = self.first_checkpoint(seq)?;
            if next.is_none() {
                let fault = self.batch(seq, BATCHES_AT)?.err();
                let fault = fault.unwrap_or(Fault::Header(HeaderFault::Zero));
                return Err(self.corrupt(seq, BATCHES_AT, &fault, PROOF_SEGMENT));
            }
            links.push(Link { seq, next: Some(checkpoint) });
        }
        links.reverse();
        Ok((links, next))
    }

    /// The segments before the oldest that is needed are gone, or as good as gone: its Checkpoint
    /// says what they came to.
    fn begin_with(&mut self, first: Option<Checkpoint>) {
        let Some(first) = first.filter(|first| first.previous_seq > 0) else { return };
        mark!("log-begins-later");
        self.groups =
            first.states.into_iter().map(|(id, state)| (id, GroupLog::of(state))).collect();
        self.tail = Tail {
            seq: first.previous_seq,
            end: first.previous_end,
            ended: first.ended,
            last_lsn: first.last_lsn,
            next_lsn: first.last_lsn + 1,
            chain: first.chain,
        };
    }

    /// The Checkpoint a segment begins with; `None` if its first batch does not read.
    fn first_checkpoint(&mut self, seq: u64) -> Result<Option<Checkpoint>, StorageError> {
        let Ok(batch) = self.batch(seq, BATCHES_AT)? else { return Ok(None) };
        let table = batch.header.table(&batch.content).unwrap_or_default();
        let record = Table::new(table).next();
        let checkpoint = record.and_then(Result::ok).and_then(|record| {
            let body = &batch.content[batch.header.table_len as usize..];
            let payload = record.payload(body).filter(|_| record.kind == Kind::Checkpoint)?;
            Checkpoint::decode(Bytes::copy_from_slice(payload)).ok()
        });
        match checkpoint {
            Some(checkpoint) => {
                if checkpoint.states.len() < checkpoint.groups.len() {
                    self.whole_from = self.whole_from.max(seq + 1);
                }
                Ok(Some(checkpoint))
            }
            None => Err(self.damage(seq, BATCHES_AT, "first batch", "a Checkpoint", "none")),
        }
    }

    /// Reads what is at a place.
    fn batch(&mut self, seq: u64, offset: u64) -> Result<Result<Batch, Fault>, StorageError> {
        let segment = &self.segments[&seq];
        let io = |error| StorageError::io("read", &segment.path, error);
        if offset + HEADER_BYTES as u64 > segment.limit {
            return Ok(Err(Fault::Header(HeaderFault::Zero)));
        }
        let file = segment.file.as_ref();
        let bytes = self.window.get(file, seq, offset, HEADER_BYTES).map_err(io)?;
        let bytes = bytes.first_chunk().expect("as many as asked for");
        let header = match BatchHeader::decode(bytes, segment.header.salt) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(Fault::Header(fault))),
        };
        if header.unknown_flags() != 0 {
            let (path, bits) = (segment.path.clone(), header.unknown_flags());
            return Err(StorageError::UnknownFeatures { path, bits });
        }
        if header.bytes() > segment.limit - offset {
            return Ok(Err(Fault::Length(header)));
        }
        let len = header.table_len as usize + header.body_len as usize;
        let at = offset + HEADER_BYTES as u64;
        let content = self.window.get(file, seq, at, len).map_err(io)?.to_vec();
        let batch = Batch { header, content };
        let whole = batch.header.covers(&batch.content);
        let table = batch.header.table_len == 0 || batch.header.table(&batch.content).is_some();
        Ok(if whole && table { Ok(batch) } else { Err(Fault::Content(batch)) })
    }

    /// Reads a segment batch by batch, up to where the next one says it ended, or to the tail.
    fn walk(&mut self, link: &Link) -> Result<(), StorageError> {
        let (seq, limit) = (link.seq, self.segments[&link.seq].limit);
        let declared = link.next.as_ref().map(|next| next.previous_end);
        let mut at = BATCHES_AT;
        while at + HEADER_BYTES as u64 <= declared.unwrap_or(limit) {
            match self.batch(seq, at)? {
                Ok(batch) => {
                    self.accept(seq, at, &batch)?;
                    at = self.tail.end;
                }
                Err(fault) => {
                    self.judge(seq, at, &fault, declared.is_some())?;
                    return Ok(());
                }
            }
        }
        let Some(next) = &link.next else { return Ok(()) };
        let told = (next.previous_end, next.last_lsn, next.chain);
        let found = (self.tail.end, self.tail.last_lsn, self.tail.chain);
        if told == found {
            return Ok(());
        }
        let (told, found) = (format!("{told:?}"), format!("{found:?}"));
        Err(self.damage(seq, at, "end, last lsn and sum of the segment", &told, &found))
    }

    /// Checks the place of a batch in the stream and replays its records.
    fn accept(&mut self, seq: u64, offset: u64, batch: &Batch) -> Result<(), StorageError> {
        let header = &batch.header;
        let first = offset == BATCHES_AT;
        let follows =
            header.lsn == self.tail.last_lsn + 1 || (first && header.lsn > self.tail.last_lsn);
        if !follows || header.chain != self.tail.chain {
            let expected = format!("{} after {:016x}", self.tail.last_lsn + 1, self.tail.chain);
            let found = format!("{} after {:016x}", header.lsn, header.chain);
            return Err(self.damage(seq, offset, "lsn and chain of a batch", &expected, &found));
        }
        let (salt, alignment) = {
            let segment = &self.segments[&seq].header;
            (segment.salt, segment.alignment)
        };
        self.replay(seq, offset, batch)?;
        let bytes = header.bytes().next_multiple_of(alignment);
        self.tail = Tail {
            seq,
            end: offset + bytes,
            ended: Ended::Left,
            last_lsn: header.lsn,
            next_lsn: header.lsn + 1,
            chain: header.sum(salt),
        };
        self.report.batches += 1;
        self.report.records += u64::from(header.records);
        self.report.bytes += bytes;
        Ok(())
    }

    fn replay(&mut self, seq: u64, offset: u64, batch: &Batch) -> Result<(), StorageError> {
        let Some(table) = batch.header.table(&batch.content) else { return Ok(()) };
        let body = &batch.content[batch.header.table_len as usize..];
        let mut groups = core::mem::take(&mut self.groups);
        let mut count = 0u32;
        for record in Table::new(table) {
            let record = record.map_err(|fault| self.table_fault(seq, offset, fault))?;
            // Body and table are what was written, as the sum over both says. An entry's seal is
            // asked again whenever it is read, and not here: nothing looks into its payload.
            let looked_into = record.kind != Kind::Entry || is_membership(&record);
            let payload =
                if looked_into { record.payload(body) } else { record.unverified_payload(body) };
            let Some(payload) = payload else {
                let found = record.id().to_string();
                return Err(self.damage(seq, offset, "payload", "its checksum", &found));
            };
            if record.kind == Kind::Checkpoint {
                let at_front = offset == BATCHES_AT && count == 0;
                self.check_checkpoint((seq, offset), payload, &groups, at_front)?;
            } else {
                apply(&mut groups, &record, payload)
                    .map_err(|broken| self.broken(seq, offset, record.group, &broken))?;
            }
            count += 1;
        }
        for log in groups.values_mut() {
            log.placed(seq, offset);
        }
        self.groups = groups;
        if count != batch.header.records {
            let expected = format!("{} records", batch.header.records);
            return Err(self.damage(seq, offset, "table", &expected, &count.to_string()));
        }
        Ok(())
    }

    /// Compares the second witness with the replay.
    fn check_checkpoint(
        &self,
        (seq, offset): (u64, u64),
        payload: &[u8],
        groups: &Groups,
        at_front: bool,
    ) -> Result<(), StorageError> {
        let what = "Checkpoint";
        let told = Checkpoint::decode(Bytes::copy_from_slice(payload)).ok();
        let Some(told) = told.filter(|_| at_front) else {
            let expected = "one at the front of each segment";
            return Err(self.damage(seq, offset, what, expected, "another"));
        };
        for (group, log) in groups {
            let found = GroupFacts::from(&log.replay);
            if told.groups.get(group) != Some(&found) {
                let told = format!("group {group} at {:?}", told.groups.get(group));
                return Err(self.damage(seq, offset, what, &told, &format!("{found:?}")));
            }
            if let Some(told) = told.states.get(group).filter(|told| **told != log.replay) {
                let (told, found) = (format!("{told:?}"), format!("{:?}", log.replay));
                return Err(self.damage(seq, offset, what, &told, &found));
            }
        }
        if told.groups.len() != groups.len() {
            let told = format!("{} groups", told.groups.len());
            return Err(self.damage(seq, offset, what, &told, &groups.len().to_string()));
        }
        Ok(())
    }

    /// Torn or corrupt: decides about a place where the next batch should be.
    fn judge(
        &mut self,
        seq: u64,
        offset: u64,
        fault: &Fault,
        has_next: bool,
    ) -> Result<(), StorageError> {
        let expected_lsn = self.tail.last_lsn + 1;
        let mut seen = 0;
        if let Fault::Content(Batch { header, .. }) | Fault::Length(header) = fault {
            let first = offset == BATCHES_AT;
            let wrong_lsn = header.lsn != expected_lsn && !(first && header.lsn > expected_lsn);
            if wrong_lsn || header.chain != self.tail.chain {
                return Err(self.corrupt(seq, offset, fault, PROOF_HEADER));
            }
            seen = header.lsn;
        }
        let later = self.later(seq, offset, expected_lsn)?;
        let mut newer = Later::default();
        for seq in self.segments.range(seq + 1..).map(|(seq, _)| *seq).collect::<Vec<_>>() {
            let found = self.later(seq, 0, expected_lsn)?;
            newer.any |= found.any;
            newer.promise |= found.promise;
            newer.lsn_max = newer.lsn_max.max(found.lsn_max);
        }
        let proofs = [
            (has_next, PROOF_SEGMENT),
            (later.promise || newer.promise, PROOF_PROMISE),
            (self.facts.durable_lsn >= expected_lsn, PROOF_SUPER),
        ];
        let proof = proofs.iter().find(|(holds, _)| *holds).filter(|_| !mutant!("D10b"));
        if let Some((_, proof)) = proof {
            let ends_here =
                matches!(fault, Fault::Header(HeaderFault::Zero | HeaderFault::OlderLife));
            let newer = self.segments.range(seq + 1..).next().map(|(seq, _)| *seq);
            // Nothing looks damaged here, and the next segment does not begin as it must.
            if let Some(newer) = newer.filter(|_| ends_here && !has_next && !later.promise)
                && let Err(first) = self.batch(newer, BATCHES_AT)?
            {
                return Err(self.corrupt(newer, BATCHES_AT, &first, proof));
            }
            return Err(self.corrupt(seq, offset, fault, proof));
        }
        mark!("later-batch-unproven", later.any || newer.any);
        let lsn_max = seen.max(later.lsn_max).max(newer.lsn_max);
        self.tail.next_lsn = self.tail.next_lsn.max(lsn_max + 1);
        match fault {
            Fault::Header(HeaderFault::Zero | HeaderFault::OlderLife) => {}
            Fault::Header(HeaderFault::Damaged { .. }) | Fault::Content(_) | Fault::Length(_) => {
                if mutant!("D9") {
                    return Err(self.corrupt(seq, offset, fault, PROOF_HEADER));
                }
                mark!("torn-tail");
                self.tail.ended = if self.tail.seq == 0 { Ended::First } else { Ended::Cut };
                self.report.torn = Some(TornTail {
                    path: self.segments[&seq].path.clone(),
                    offset,
                    lsn: expected_lsn.max(seen),
                    entries: fault.entries(),
                });
            }
        }
        Ok(())
    }

    /// The segments after the tail: begun, but their first batch does not read.
    fn check_unused(&mut self) -> Result<(), StorageError> {
        for seq in self.segments.range(self.tail.seq + 1..).map(|(seq, _)| *seq).collect::<Vec<_>>()
        {
            if let Err(fault) = self.batch(seq, BATCHES_AT)? {
                self.judge(seq, BATCHES_AT, &fault, false)?;
                mark!("segment-without-batch");
            }
        }
        let last = self.tail.last_lsn;
        if self.facts.durable_lsn > last {
            mark!("proof-super");
            let (seq, end) = (self.tail.seq, self.tail.end);
            let expected = format!("batches up to {}", self.facts.durable_lsn);
            let found = format!("batches up to {last}");
            let path = segment_path(self.wal, seq.max(1));
            return Err(corruption(path, end, "end of the log", (expected, found), PROOF_SUPER));
        }
        Ok(())
    }

    /// Every entry of the log is somewhere: in segments that are still here.
    fn check_places(&self, links: &[Link]) -> Result<(), StorageError> {
        let Some(first) = links.first() else { return Ok(()) };
        for (group, log) in &self.groups {
            let index = log.replay.base().index.next();
            if log.replay.holds(index) && log.index.find(index).is_none() {
                let expected = format!("entry {index} of group {group}, or a later base");
                return Err(self.damage(first.seq, BATCHES_AT, "log", &expected, "neither"));
            }
        }
        Ok(())
    }

    /// Looks for headers of this life of the segment behind a place.
    fn later(&mut self, seq: u64, offset: u64, lsn: u64) -> Result<Later, StorageError> {
        let segment = &self.segments[&seq];
        let alignment = segment.header.alignment;
        let mut later = Later::default();
        let bytes = segment.file.bytes();
        let bytes = bytes.map_err(|error| StorageError::io("measure", &segment.path, error))?;
        let limit = segment.limit.min(bytes);
        let mut at = (offset + alignment).max(BATCHES_AT);
        while at + HEADER_BYTES as u64 <= limit {
            let found = self.window.get(segment.file.as_ref(), seq, at, HEADER_BYTES);
            let found = found.map_err(|error| StorageError::io("read", &segment.path, error))?;
            if looks_like_batch(found) {
                let bytes = found.first_chunk().expect("as many as asked for");
                let header = BatchHeader::decode(bytes, segment.header.salt);
                if let Some(header) = header.ok().filter(|header| header.lsn > self.tail.last_lsn) {
                    later.any = true;
                    later.promise |= header.durable_lsn >= lsn;
                    later.lsn_max = later.lsn_max.max(header.lsn);
                }
            }
            at += alignment;
        }
        Ok(later)
    }

    fn corrupt(&self, seq: u64, offset: u64, fault: &Fault, proof: &'static str) -> StorageError {
        mark_proof(proof);
        let (what, expected, found) = fault.describe();
        StorageError::Corrupt(Box::new(Corruption {
            path: self.segments[&seq].path.clone(),
            offset,
            what,
            expected,
            found,
            proof,
            lost: fault.entries(),
        }))
    }

    /// Damage under a checksum that holds.
    fn damage(
        &self,
        seq: u64,
        offset: u64,
        what: &'static str,
        expected: &str,
        found: &str,
    ) -> StorageError {
        let path = self.segments[&seq].path.clone();
        corruption(path, offset, what, (expected.into(), found.into()), PROOF_HEADER)
    }

    fn broken(&self, seq: u64, offset: u64, group: GroupId, broken: &RuleError) -> StorageError {
        self.damage(seq, offset, "record", broken.rule, &format!("group {group}: {broken}"))
    }

    fn table_fault(&self, seq: u64, offset: u64, fault: TableFault) -> StorageError {
        let path = self.segments[&seq].path.clone();
        match fault {
            TableFault::UnknownKind(kind) => StorageError::UnknownRecord { path, offset, kind },
            TableFault::UnknownFlags(flags) => {
                StorageError::UnknownFeatures { path, bits: u32::from(flags) }
            }
            TableFault::Malformed => {
                self.damage(seq, offset, "table", "records up to its end", "a cut one")
            }
        }
    }
}

impl Segment {
    fn open(disk: &dyn Disk, path: PathBuf, seq: u64, facts: &Super) -> Result<Self, StorageError> {
        let file = disk.open(&path, OpenMode::ReadWrite);
        let file = file.map_err(|error| StorageError::io("open", &path, error))?;
        let header = SegmentHeader::read(file.as_ref(), &path)?;
        if header.identity != facts.identity {
            let (found, expected) = (Box::new(header.identity), Box::new(facts.identity));
            return Err(StorageError::Foreign { path, found, expected });
        }
        if header.seq != seq || header.bytes < BATCHES_AT + TRAILER_BYTES {
            let expected =
                format!("segment {seq} of at least {} bytes", BATCHES_AT + TRAILER_BYTES);
            let found = format!("segment {} of {} bytes", header.seq, header.bytes);
            let (what, proof) = ("segment header", "its checksum matches");
            return Err(corruption(path, 64, what, (expected, found), proof));
        }
        let limit = header.bytes - TRAILER_BYTES;
        Ok(Self { path, file, header, limit })
    }
}

fn corruption(
    path: PathBuf,
    offset: u64,
    what: &'static str,
    (expected, found): (String, String),
    proof: &'static str,
) -> StorageError {
    let lost = Vec::new();
    let corruption = Corruption { path, offset, what, expected, found, proof, lost };
    StorageError::Corrupt(Box::new(corruption))
}

/// Tells tests which proof decided.
fn mark_proof(proof: &str) {
    match proof {
        PROOF_PROMISE => mark!("proof-later-batch"),
        PROOF_SEGMENT => mark!("proof-later-segment"),
        PROOF_SUPER => mark!("proof-super"),
        _ => {}
    }
}

const PROOF_PROMISE: &str = "a later batch says that it was durable";
const PROOF_SEGMENT: &str = "a later segment was begun after it was durable";
const PROOF_SUPER: &str = "SUPER says that it was durable";
const PROOF_HEADER: &str = "its checksum matches";
