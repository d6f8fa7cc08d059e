//! The WAL stream: batches into segments, one sync for all of them.
//!
//! * A batch is acknowledged only after the sync that follows it; a failed sync is the end.
//! * A segment gets its first batch only after everything in the one before is durable.
//! * Zeros are written ahead of need, so that a sync carries data and no change of the file.
//!
//! Read next: `recovery.rs`, which reads what this writes.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_core::{EntryId, GroupId, Identity, mark, mutant};

use super::checkpoint::{Checkpoint, Ended, GroupFacts};
use super::group::Groups;
use super::options::FileOptions;
use super::record::{BatchEncoder, Kind, Place};
use super::segment::{
    BATCHES_AT, SegmentHeader, TRAILER_BYTES, free_path, read_exact, segment_path, write_all,
};
use super::superblock::Super;
use crate::disk::{Disk, DiskFile, Environment, OpenMode};
use crate::{StorageError, StorageStats, SyncMode};

/// The writing end of the stream.
pub(super) struct Wal {
    disk: Arc<dyn Disk>,
    directory: PathBuf,
    options: FileOptions,
    environment: Environment,
    identity: Identity,
    super_path: PathBuf,
    super_file: Box<dyn DiskFile>,
    facts: Super,
    /// Every segment the log is in; readers need salts and alignments.
    segments: BTreeMap<u64, SegmentHeader>,
    /// Segments that nobody needs, each named as such by a Checkpoint: by one that waits for its
    /// sync, and by one that is durable.
    dying: Vec<u64>,
    dead: Vec<u64>,
    /// Segments behind a cut that was accepted: set aside before the next one is begun.
    given_up: Vec<u64>,
    /// Segments before this one were begun by a version whose Checkpoints tell too little for the
    /// log to begin with them.
    whole_from: u64,
    /// Names in use, with those of segments that never got a batch.
    newest_seq: u64,
    active: Option<Active>,
    free: Option<Free>,
    tail: Tail,
    durable_lsn: u64,
    /// When the oldest batch was acknowledged that is not synced; never in mode `full`.
    unsynced_since: Option<Duration>,
    /// How many bytes had been written at the last sync.
    bytes_synced: u64,
    pub(super) encoder: BatchEncoder,
    pub(super) stats: StorageStats,
}

/// The segment that is written.
struct Active {
    seq: u64,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    header: SegmentHeader,
    /// Where the next batch begins.
    at: u64,
    /// Up to here there are blocks.
    filled: u64,
    /// Whether a batch waits for its sync.
    dirty: bool,
}

/// The segment that will be written next.
struct Free {
    file: Box<dyn DiskFile>,
    filled: u64,
}

/// Where the stream ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    /// The segment of the last batch; zero before the first.
    pub(super) seq: u64,
    /// Where the last batch ends in it.
    pub(super) end: u64,
    pub(super) ended: Ended,
    pub(super) last_lsn: u64,
    /// The next batch gets this number: numbers of torn batches are not used again.
    pub(super) next_lsn: u64,
    /// The sum of the last header.
    pub(super) chain: u64,
}

impl Tail {
    /// Before the first batch.
    pub(super) const START: Self =
        Self { seq: 0, end: 0, ended: Ended::First, last_lsn: 0, next_lsn: 1, chain: 0 };
}

/// What a stream is opened with.
pub(super) struct Opened {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) directory: PathBuf,
    pub(super) options: FileOptions,
    pub(super) environment: Environment,
    pub(super) super_path: PathBuf,
    pub(super) super_file: Box<dyn DiskFile>,
    pub(super) facts: Super,
    pub(super) segments: BTreeMap<u64, SegmentHeader>,
    pub(super) dead: Vec<u64>,
    pub(super) given_up: Vec<u64>,
    pub(super) whole_from: u64,
    pub(super) newest_seq: u64,
    pub(super) tail: Tail,
    pub(super) stats: StorageStats,
}

impl Wal {
    /// Continues a stream. Nothing is written before the first batch.
    pub(super) fn new(opened: Opened) -> Self {
        Self {
            disk: opened.disk,
            directory: opened.directory,
            options: opened.options,
            environment: opened.environment,
            identity: opened.facts.identity,
            super_path: opened.super_path,
            super_file: opened.super_file,
            facts: opened.facts,
            segments: opened.segments,
            dying: Vec::new(),
            dead: opened.dead,
            given_up: opened.given_up,
            whole_from: opened.whole_from,
            newest_seq: opened.newest_seq,
            active: None,
            free: None,
            tail: opened.tail,
            durable_lsn: opened.tail.last_lsn,
            unsynced_since: None,
            bytes_synced: 0,
            encoder: BatchEncoder::default(),
            stats: StorageStats { sync_mode: opened.options.sync_mode, ..opened.stats },
        }
    }

    /// The header of a segment the log is in.
    pub(super) fn segment(&self, seq: u64) -> Option<&SegmentHeader> {
        self.segments.get(&seq)
    }

    /// Bytes that are on the disk already and hold nothing yet.
    pub(super) fn filled_bytes(&self) -> u64 {
        let active = self.active.as_ref().map_or(0, |active| active.filled - active.at);
        active + self.free.as_ref().map_or(0, |free| free.filled)
    }

    /// Where a segment is.
    pub(super) fn path(&self, seq: u64) -> PathBuf {
        segment_path(&self.directory, seq)
    }

    /// Opens a segment for reading.
    pub(super) fn open(&self, seq: u64) -> Result<Box<dyn DiskFile>, StorageError> {
        let path = self.path(seq);
        self.disk.open(&path, OpenMode::Read).map_err(|error| StorageError::io("open", path, error))
    }

    /// Makes sure that a batch of this size fits into the present segment, or begins another one.
    ///
    /// Called before the batch changes the groups: a new segment begins with how far they are.
    pub(super) fn make_room(&mut self, bytes: u64, groups: &Groups) -> Result<(), StorageError> {
        let bytes = bytes.next_multiple_of(self.options.alignment.bytes());
        let fits = self
            .active
            .as_ref()
            .is_some_and(|active| active.at + bytes <= active.header.bytes - TRAILER_BYTES);
        if fits {
            return Ok(());
        }
        mark!("segment-ends-inside-call", self.active.as_ref().is_some_and(|active| active.dirty));
        if !mutant!("D3") {
            self.sync()?;
        }
        self.begin_segment(bytes, groups)
    }

    /// Writes the batch in the encoder and says where it is. Durable after [`sync`](Self::sync).
    pub(super) fn write(&mut self) -> Result<(u64, u64), StorageError> {
        let active = self.active.as_mut().expect("make_room comes first");
        let place = Place {
            salt: active.header.salt,
            alignment: active.header.alignment,
            lsn: self.tail.next_lsn,
            durable_lsn: self.durable_lsn,
            chain: self.tail.chain,
        };
        let header = self.encoder.seal(place).expect("make_room checked the size");
        let bytes = header.bytes().next_multiple_of(place.alignment);
        let offset = active.at;
        assert!(offset + bytes <= active.header.bytes, "a batch stays inside its segment");
        write_all(active.file.as_mut(), &mut self.encoder.slices(), offset)
            .map_err(|error| StorageError::io("write", &active.path, error))?;
        active.at += bytes;
        active.filled = active.filled.max(active.at);
        active.dirty = true;
        self.tail = Tail {
            seq: active.seq,
            end: active.at,
            ended: Ended::Left,
            last_lsn: place.lsn,
            next_lsn: place.lsn + 1,
            chain: header.sum(place.salt),
        };
        self.stats.batches += 1;
        self.stats.records += u64::from(self.encoder.records());
        self.stats.bytes_written += bytes;
        Ok((active.seq, offset))
    }

    /// Batches are about to be acknowledged: makes them durable, unless the sync mode allows to do
    /// so later, and nothing in them is urgent.
    pub(super) fn settle(&mut self, is_urgent: bool) -> Result<(), StorageError> {
        match self.options.sync_mode {
            SyncMode::Full => return self.sync(),
            SyncMode::Normal if is_urgent => return self.sync(),
            SyncMode::Normal | SyncMode::None => {}
        }
        self.stats.unsynced_bytes = self.stats.bytes_written - self.bytes_synced;
        let now = (self.environment.clock)();
        self.unsynced_since.get_or_insert(now);
        self.idle().map(|_| ())
    }

    /// Syncs what waited long enough, and says when it has to be asked again.
    pub(super) fn idle(&mut self) -> Result<Option<Duration>, StorageError> {
        let Some(since) = self.unsynced_since else { return Ok(None) };
        if self.options.sync_mode == SyncMode::None {
            return Ok(None);
        }
        let waited = (self.environment.clock)().saturating_sub(since);
        if waited < UNSYNCED_TIME_MAX && self.stats.unsynced_bytes < UNSYNCED_BYTES_MAX {
            return Ok(Some(UNSYNCED_TIME_MAX.saturating_sub(waited)));
        }
        self.sync()?;
        self.remove_dead()?;
        Ok(None)
    }

    /// Makes every batch so far durable.
    pub(super) fn sync(&mut self) -> Result<(), StorageError> {
        let Some(active) = self.active.as_mut().filter(|active| active.dirty) else {
            return Ok(());
        };
        let began = (self.environment.clock)();
        let mut synced = if mutant!("D6") { Ok(()) } else { active.file.sync_data() };
        if mutant!("D12") && synced.is_err() {
            synced = active.file.sync_data();
        }
        if let Err(error) = synced {
            let error = StorageError::io("sync", &active.path, error);
            self.note_loss();
            return Err(error);
        }
        let ended = (self.environment.clock)();
        self.stats.sync.record(ended.saturating_sub(began));
        active.dirty = false;
        (self.unsynced_since, self.stats.unsynced_bytes) = (None, 0);
        self.bytes_synced = self.stats.bytes_written;
        self.durable_lsn = self.tail.last_lsn;
        self.dead.append(&mut self.dying);
        Ok(())
    }

    /// What was acknowledged and not synced is gone: the kernel may call its pages clean now. So it
    /// is as if the machine had gone down, and `SUPER` should say so. If that fails, too, nobody
    /// will know: the price of not syncing first.
    fn note_loss(&mut self) {
        if self.unsynced_since.is_some() {
            self.environment.boot_id = 0;
            let _ = self.update_super(false);
        }
    }

    /// Removes the segments that a durable Checkpoint calls dead. Durably, though what came back
    /// would be known to be dead: the room of one segment is to be had for the next.
    pub(super) fn remove_dead(&mut self) -> Result<(), StorageError> {
        if self.dead.is_empty() {
            return Ok(());
        }
        for seq in core::mem::take(&mut self.dead) {
            let path = segment_path(&self.directory, seq);
            match self.disk.remove(&path) {
                Ok(()) => self.stats.segments_removed += 1,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(StorageError::io("remove", path, error)),
            }
        }
        let synced = self.disk.sync_directory(&self.directory);
        synced.map_err(|error| StorageError::io("sync", &self.directory, error))
    }

    /// Fills ahead: the present segment just before the next sync needs it, the next segment step
    /// by step while the present one fills, so that no batch ever waits for a whole segment.
    pub(super) fn fill_ahead(&mut self) -> Result<(), StorageError> {
        if !self.options.zero_fill {
            return Ok(());
        }
        let step = self.options.fill_step();
        let Some(active) = self.active.as_mut() else { return Ok(()) };
        let full = active.header.bytes;
        if active.filled < full && active.at + step / 4 > active.filled {
            let upto = full.min(active.filled + step);
            self.stats.bytes_filled += upto - active.filled;
            active
                .file
                .allocate_zeroed(upto)
                .map_err(|error| StorageError::io("fill", &active.path, error))?;
            active.filled = upto;
            return Ok(());
        }
        let wanted = (active.at * 2).saturating_sub(full).min(self.options.segment_bytes);
        let filled = self.free.as_ref().map_or(0, |free| free.filled);
        if wanted < filled + step {
            return Ok(());
        }
        match self.grow_free(filled + step) {
            // The next segment is not promised to anybody yet. When it must be, this is final.
            Err(StorageError::Full { .. }) => {
                mark!("zero-fill-refused");
                Ok(())
            }
            other => other,
        }
    }

    /// Makes the free segment this long, and that durable.
    fn grow_free(&mut self, bytes: u64) -> Result<(), StorageError> {
        let path = free_path(&self.directory);
        if self.free.is_none() {
            self.free = Some(self.open_free(&path)?);
        }
        let free = self.free.as_mut().expect("opened above");
        if free.filled >= bytes {
            return Ok(());
        }
        free.file
            .allocate_zeroed(bytes)
            .and_then(|()| free.file.sync_data())
            .map_err(|error| StorageError::io("fill", &path, error))?;
        self.stats.bytes_filled += bytes - free.filled;
        free.filled = bytes;
        Ok(())
    }

    /// Takes over the free segment of an earlier life, or begins one.
    fn open_free(&self, path: &Path) -> Result<Free, StorageError> {
        let io = |error| StorageError::io("open", path, error);
        match self.disk.open(path, OpenMode::ReadWrite) {
            Ok(file) => {
                let filled = file.bytes().map_err(io)?;
                if filled <= self.options.segment_bytes {
                    mark!("free-segment-found");
                    return Ok(Free { file, filled });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        let mut file = self.disk.open(path, OpenMode::Create).map_err(io)?;
        let filled = if mutant!("D22") { self.recycle(file.as_mut()).map_err(io)? } else { 0 };
        Ok(Free { file, filled })
    }

    /// What a mutant does: the free segment has the bytes of the oldest one, as if it had been it.
    fn recycle(&self, free: &mut dyn DiskFile) -> io::Result<u64> {
        let Some(oldest) = self.segments.keys().next() else { return Ok(0) };
        let file = self.disk.open(&self.path(*oldest), OpenMode::Read)?;
        let len = file.bytes()?.min(self.options.segment_bytes);
        let mut bytes = vec![0; usize::try_from(len).expect("a segment fits into memory")];
        read_exact(file.as_ref(), &mut bytes, 0)?;
        write_all(free, &mut [IoSlice::new(&bytes)], 0)?;
        Ok(len)
    }

    /// Activates a new segment and writes its Checkpoint.
    fn begin_segment(&mut self, bytes: u64, groups: &Groups) -> Result<(), StorageError> {
        self.set_aside()?;
        let checkpoint = self.checkpoint(groups);
        let oldest = checkpoint.oldest_seq;
        let checkpoint = checkpoint.encode();
        let frame = self.options.alignment.bytes() + CHECKPOINT_FRAME_BYTES;
        let needed = BATCHES_AT + checkpoint.len() as u64 + frame + bytes + TRAILER_BYTES;
        let full = self.options.segment_bytes.max(needed.next_multiple_of(4096));
        mark!("segment-enlarged", full > self.options.segment_bytes);
        let filled = if self.options.zero_fill { self.options.fill_step().min(full) } else { 0 };
        self.grow_free(filled.max(BATCHES_AT))?;
        self.activate(full)?;
        self.encoder.clear();
        let none = (GroupId::ZERO, EntryId::ZERO);
        self.encoder.fact_with(Kind::Checkpoint, none.0, none.1, &checkpoint);
        self.write()?;
        let needed = self.segments.split_off(&oldest);
        self.dying.extend(core::mem::replace(&mut self.segments, needed).into_keys());
        self.stats.segments = self.segments.len() as u64;
        Ok(())
    }

    /// Moves what was given up to where nobody looks for a log. Before the next segment is begun:
    /// a crash in between leaves a log that ends too early, and not one with strangers in it.
    fn set_aside(&mut self) -> Result<(), StorageError> {
        if self.given_up.is_empty() {
            return Ok(());
        }
        let root = self.directory.parent().expect("the WAL has a directory of its own");
        let aside = root.join("quarantine");
        let io = |operation, path: &Path, error| StorageError::io(operation, path, error);
        self.disk.create_directory(&aside).map_err(|error| io("create", &aside, error))?;
        self.disk.sync_directory(root).map_err(|error| io("sync", root, error))?;
        for seq in core::mem::take(&mut self.given_up) {
            let from = segment_path(&self.directory, seq);
            let to = aside.join(from.file_name().expect("a segment has a name"));
            self.disk.rename(&from, &to).map_err(|error| io("rename", &from, error))?;
        }
        for directory in [&aside, &self.directory] {
            self.disk.sync_directory(directory).map_err(|error| io("sync", directory, error))?;
        }
        Ok(())
    }

    fn checkpoint(&self, groups: &Groups) -> Checkpoint {
        Checkpoint {
            ended: self.tail.ended,
            previous_seq: self.tail.seq,
            previous_end: self.tail.end,
            last_lsn: self.tail.last_lsn,
            chain: self.tail.chain,
            oldest_seq: self.oldest_needed(groups),
            groups: groups
                .iter()
                .map(|(group, log)| (*group, GroupFacts::from(&log.replay)))
                .collect(),
            states: groups.iter().map(|(group, log)| (*group, log.replay.clone())).collect(),
        }
    }

    /// The oldest segment from which the log can be read again: that of the oldest entry of any
    /// group. The last one before the next is kept in any case, to tell how it ended.
    fn oldest_needed(&self, groups: &Groups) -> u64 {
        let entries = groups.values().filter_map(|log| log.index.oldest_segment()).min();
        let last = if self.tail.seq == 0 { self.newest_seq + 1 } else { self.tail.seq };
        let needed = entries.map_or(last, |oldest| oldest.min(last));
        let first = self.segments.keys().next().copied().unwrap_or(needed);
        if needed < self.whole_from { first } else { needed }
    }

    /// Gives the free segment its header and then its name, each durable before the next step.
    fn activate(&mut self, full: u64) -> Result<(), StorageError> {
        let mut free = self.free.take().expect("grow_free comes first");
        let seq = self.newest_seq + 1;
        let random = (self.environment.random)();
        let salt =
            random.map_err(|error| StorageError::io("draw a salt for", &self.directory, error))?;
        let salt = if mutant!("D22") { 1 } else { salt };
        let header = SegmentHeader {
            identity: self.identity,
            seq,
            salt,
            alignment: self.options.alignment.bytes(),
            bytes: full,
            created_unix_ns: (self.environment.unix_ns)(),
        };
        let copy = header.encode();
        let (from, path) = (free_path(&self.directory), segment_path(&self.directory, seq));
        let mut copies = [IoSlice::new(&copy), IoSlice::new(&copy)];
        write_all(free.file.as_mut(), &mut copies, 0)
            .and_then(|()| free.file.sync_data())
            .map_err(|error| StorageError::io("write the header of", &from, error))?;
        self.disk.rename(&from, &path).map_err(|error| StorageError::io("rename", &from, error))?;
        let named = if mutant!("D21") { Ok(()) } else { self.disk.sync_directory(&self.directory) };
        named.map_err(|error| StorageError::io("sync", &self.directory, error))?;
        self.newest_seq = seq;
        self.segments.insert(seq, header);
        self.stats.segments = self.segments.len() as u64;
        let (file, filled) = (free.file, free.filled.min(full));
        let at = BATCHES_AT;
        self.active = Some(Active { seq, path, file, header, at, filled, dirty: false });
        self.update_super(false)
    }

    /// Says in `SUPER` how far the stream surely is.
    fn update_super(&mut self, clean: bool) -> Result<(), StorageError> {
        self.facts = Super {
            update: self.facts.update + 1,
            boot_id: self.environment.boot_id,
            clean,
            sync_mode: self.options.sync_mode,
            newest_seq: self.newest_seq,
            durable_lsn: self.durable_lsn,
            ..self.facts
        };
        self.facts
            .write(self.super_file.as_mut())
            .map_err(|error| StorageError::io("write", &self.super_path, error))
    }

    /// Leaves a note that everything written is durable. A life that wrote nothing leaves none.
    pub(super) fn close(&mut self) -> Result<(), StorageError> {
        if self.active.is_none() {
            mark!("closed-unwritten");
            return Ok(());
        }
        self.sync()?;
        self.update_super(true)
    }
}

/// In mode `normal` a batch waits for its sync at most this long,
const UNSYNCED_TIME_MAX: Duration = Duration::from_millis(100);

/// and until this many bytes wait.
const UNSYNCED_BYTES_MAX: u64 = 256 << 10;

/// Header, table line and checksums around a Checkpoint, generously.
const CHECKPOINT_FRAME_BYTES: u64 = 256;
