//! `FileStorage`: a directory, its lock, its identity, and one WAL stream for all its groups.
//!
//! * One write and one sync per call of `persist`, whatever the number of groups.
//! * Opening reads and changes nothing; the first write begins a new segment.
//! * Entries stay on the disk; memory holds eight bytes per batch and group, and the terms.
//!
//! Read next: `file/wal.rs` (writing), `file/recovery.rs` (what to believe after a crash),
//! `file/read.rs`. The bytes are drawn in `docs/WAL_FORMAT.md`.

mod checkpoint;
mod group;
mod index;
pub(crate) mod inspect;
mod options;
mod read;
mod record;
mod recovery;
mod segment;
mod snapshot_record;
mod superblock;
mod wal;

use core::fmt;
use core::ops::Range;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use raft_core::codec::{PAYLOAD_HEADER_MAX, encode_membership};
use raft_core::{
    Base, Entry, EntryId, GroupId, Identity, Index, NodeId, PayloadKind, Persist, Restored,
    SnapshotError, SnapshotMeta, mark, mutant,
};

pub use self::options::{Alignment, FileOptions};
pub use self::recovery::{RecoveryReport, TornTail};

use self::group::{GroupLog, Groups};
use self::read::BatchReader;
use self::record::{BatchEncoder, Kind};
use self::recovery::{recover, recover_with_loss};
use self::segment::WalFile;
pub(crate) use self::segment::{read_exact, write_all};
use self::superblock::Super;
use self::wal::{Opened, Tail, Wal};
use crate::disk::{Disk, DiskFile, DiskLock, Environment, OpenMode, RealDisk};
use crate::{RuleError, SnapshotManager, Storage, StorageError, StorageStats};

/// A [`Storage`] in a directory.
///
/// The directory belongs to one process at a time and to one node for ever. Dropping the storage
/// closes it.
///
/// ```
/// use raft_core::{ClusterId, GroupId, Identity, Incarnation, NodeId, Peer};
/// use raft_storage::{FileStorage, Storage};
///
/// let directory = tempfile::tempdir()?;
/// let mut storage = FileStorage::open(directory.path())?;
/// assert!(storage.identity().is_none(), "a blank disk");
///
/// let node = NodeId::new(1).expect("not zero");
/// let peer = Peer { node, incarnation: Incarnation::new(77) };
/// storage.initialize(Identity { cluster: ClusterId::new(7), peer })?;
/// assert!(storage.restore(GroupId::ZERO)?.is_blank());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileStorage {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    options: FileOptions,
    groups: Groups,
    reader: BatchReader,
    report: RecoveryReport,
    /// An error of a write is final.
    poison: Option<StorageError>,
    state: State,
    /// Released last.
    lock: Box<dyn DiskLock>,
}

/// Whether the disk has an owner.
enum State {
    Blank {
        disk: Arc<dyn Disk>,
        /// Handed on to the WAL.
        environment: Option<Box<Environment>>,
        process: u32,
    },
    Owned {
        wal: Box<Wal>,
        identity: Identity,
    },
}

impl FileStorage {
    /// Opens a data directory on the disk of the operating system, creating it if it is not there.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open(root: impl AsRef<Path>) -> Result<Self, StorageError> {
        Self::open_with_options(root, FileOptions::default())
    }

    /// Opens a data directory on the disk of the operating system, with these settings.
    ///
    /// # Errors
    ///
    /// As [`open_with`](Self::open_with).
    pub fn open_with_options(
        root: impl AsRef<Path>,
        options: FileOptions,
    ) -> Result<Self, StorageError> {
        let root = root.as_ref();
        let environment = Environment::system()
            .map_err(|error| StorageError::io("prepare random numbers for", root, error))?;
        Self::open_with(Arc::new(RealDisk), environment, root, options)
    }

    /// Opens a data directory on any disk.
    ///
    /// # Errors
    ///
    /// [`Locked`](StorageError::Locked), if another process uses it; a refusal that names the file,
    /// if the directory is not one of ours, not whole, of another version, or damaged. Nothing in
    /// the directory was changed then.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        environment: Environment,
        root: impl AsRef<Path>,
        options: FileOptions,
    ) -> Result<Self, StorageError> {
        options.validate()?;
        let root = root.as_ref().to_path_buf();
        disk.create_directory(&root).map_err(|error| StorageError::io("create", &root, error))?;
        let process = environment.process;
        let lock = take_lock(disk.as_ref(), &root, process)?;
        let environment = Some(Box::new(environment));
        let mut storage = Self {
            root,
            disk: disk.clone(),
            options,
            groups: Groups::new(),
            reader: BatchReader::new(),
            report: RecoveryReport::default(),
            poison: None,
            state: State::Blank { disk, environment, process },
            lock,
        };
        storage.recover()?;
        Ok(storage)
    }

    /// What was found when it was opened.
    pub const fn recovery(&self) -> &RecoveryReport {
        &self.report
    }

    /// Bytes of memory that the places of entries take, over all groups: about eight per batch and
    /// group, whatever the number and size of the entries.
    pub fn index_bytes(&self) -> u64 {
        self.groups.values().map(|log| log.index.bytes() as u64).sum()
    }

    /// Closes it and says so in `SUPER`, so that even the last batch is known to be durable.
    ///
    /// Dropping does the same, but cannot report an error.
    ///
    /// # Errors
    ///
    /// Whatever keeps the note from being written. Everything acknowledged is durable all the same.
    pub fn close(mut self) -> Result<(), StorageError> {
        self.close_wal()
    }

    fn close_wal(&mut self) -> Result<(), StorageError> {
        self.check()?;
        let result = match &mut self.state {
            State::Owned { wal, .. } => wal.close(),
            State::Blank { .. } => Ok(()),
        };
        // Dropping comes after closing and must not do it again.
        self.poison = Some(result.clone().err().unwrap_or(StorageError::Uninitialized));
        result
    }

    fn check(&self) -> Result<(), StorageError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Reads `SUPER` and the WAL, if the directory has an owner.
    fn recover(&mut self) -> Result<(), StorageError> {
        let State::Blank { disk, environment, process } = &mut self.state else { return Ok(()) };
        let (disk, process) = (disk.clone(), *process);
        let wal = self.root.join("wal");
        let path = self.root.join("SUPER");
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return check_blank(disk.as_ref(), &wal, path);
            }
            Err(error) => return Err(StorageError::io("open", path, error)),
        };
        let file = settle_super(disk.as_ref(), &self.root, file)?;
        let facts = Super::read(file.as_ref(), &path)?;
        if environment.as_ref().is_some_and(|found| facts.may_have_lost(found.boot_id)) {
            return Err(StorageError::Unsynced { path: self.root.clone(), mode: facts.sync_mode });
        }
        let recover = if self.options.accepts_loss { recover_with_loss } else { recover };
        let recovered = recover(disk.as_ref(), &wal, &facts)?;
        let stats = StorageStats {
            segments: recovered.segments.len() as u64,
            torn_tails: u64::from(recovered.report.torn.is_some()),
            ..StorageStats::default()
        };
        let environment = environment.take().expect("taken once, when the owner is known");
        let wal = Wal::new(Opened {
            disk,
            directory: wal,
            options: self.options,
            environment: *environment,
            super_path: path,
            super_file: file,
            facts,
            segments: recovered.segments,
            dead: recovered.dead,
            given_up: recovered.given_up.segments,
            whole_from: recovered.whole_from,
            newest_seq: recovered.newest_seq,
            tail: recovered.tail,
            stats,
        });
        self.groups = recovered.groups;
        self.report = recovered.report;
        self.own(wal, facts.identity, process)
    }

    /// The directory has an owner now; the lock file tells people.
    fn own(&mut self, wal: Wal, identity: Identity, process: u32) -> Result<(), StorageError> {
        self.state = State::Owned { wal: Box::new(wal), identity };
        let text = lock_text(process, Some(identity.peer.node));
        self.lock
            .write_text(&text)
            .map_err(|error| StorageError::io("write", self.root.join("LOCK"), error))
    }

    /// Gives a blank directory its owner, durably and all at once.
    fn create(&mut self, identity: Identity) -> Result<(), StorageError> {
        let State::Blank { disk, environment, process } = &mut self.state else { return Ok(()) };
        let (disk, process) = (disk.clone(), *process);
        let directory = self.root.join("wal");
        let (new, path) = (self.root.join("SUPER.new"), self.root.join("SUPER"));
        let io = StorageError::io;
        disk.create_directory(&directory).map_err(|error| io("create", &directory, error))?;
        sync_directories(disk.as_ref(), &self.root)?;
        let facts = Super::blank(identity);
        let mut file =
            disk.open(&new, OpenMode::Create).map_err(|error| io("create", &new, error))?;
        facts.write(file.as_mut()).map_err(|error| io("write", &new, error))?;
        disk.rename(&new, &path).map_err(|error| io("rename", &new, error))?;
        disk.sync_directory(&self.root).map_err(|error| io("sync", &self.root, error))?;
        let environment = environment.take().expect("taken once, when the owner is known");
        let wal = Wal::new(Opened {
            disk,
            directory,
            options: self.options,
            environment: *environment,
            super_path: path,
            super_file: file,
            facts,
            segments: std::collections::BTreeMap::new(),
            dead: Vec::new(),
            given_up: Vec::new(),
            whole_from: 0,
            newest_seq: 0,
            tail: Tail::START,
            stats: StorageStats::default(),
        });
        self.own(wal, identity, process)
    }
}

impl Storage for FileStorage {
    fn identity(&self) -> Option<Identity> {
        match &self.state {
            State::Blank { .. } => None,
            State::Owned { identity, .. } => Some(*identity),
        }
    }

    fn initialize(&mut self, identity: Identity) -> Result<(), StorageError> {
        self.check()?;
        match self.identity() {
            Some(found) if found == identity => Ok(()),
            Some(found) => {
                let path = self.root.clone();
                let (found, expected) = (Box::new(found), Box::new(identity));
                Err(StorageError::Foreign { path, found, expected })
            }
            None => {
                let result = self.create(identity);
                self.poison = result.clone().err();
                result
            }
        }
    }

    fn restore(&mut self, group: GroupId) -> Result<Restored, StorageError> {
        self.check()?;
        let (State::Owned { wal, .. }, Some(log)) = (&self.state, self.groups.get(&group)) else {
            return Ok(Restored::default());
        };
        let tail = self.reader.tail(wal, (group, log), self.options.tail_bytes_max)?;
        let restored = Restored { tail, ..log.replay.restored() };
        restored.validate().map_err(|error| {
            let broken = RuleError { rule: error.what, last: error.last, found: error.base };
            StorageError::Rule { group, broken }
        })?;
        Ok(restored)
    }

    fn persist(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        self.check()?;
        if batch.iter().all(|(_, persist)| persist.is_empty()) {
            return Ok(());
        }
        let State::Owned { wal, .. } = &mut self.state else {
            return Err(StorageError::Uninitialized);
        };
        let result = persist_all(wal, &mut self.groups, batch, self.options.batch_bytes_max);
        if mutant!("E4a") && batch.iter().all(|(_, persist)| persist.entries().is_empty()) {
            return Ok(());
        }
        self.poison = result.clone().err();
        result
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        self.check()?;
        let (State::Owned { wal, .. }, Some(log)) = (&self.state, self.groups.get(&group)) else {
            return Ok(Vec::new());
        };
        self.reader.entries(wal, (group, log), range, bytes_max)
    }

    fn idle(&mut self) -> Result<Option<Duration>, StorageError> {
        self.check()?;
        let State::Owned { wal, .. } = &mut self.state else { return Ok(None) };
        let result = wal.idle();
        self.poison = result.clone().err();
        result
    }

    fn has_room(&self) -> bool {
        let State::Owned { wal, .. } = &self.state else { return true };
        // A disk that does not tell how much is free has to find out by a write that fails.
        let free = self.disk.free_bytes(&self.root).unwrap_or(u64::MAX);
        let total = self.disk.total_bytes(&self.root).unwrap_or(u64::MAX);
        let needed = (RESERVE_SEGMENTS * self.options.segment_bytes).min(total / RESERVE_SHARE);
        free.saturating_add(wal.filled_bytes()) >= needed
    }

    fn stats(&self) -> StorageStats {
        match &self.state {
            State::Blank { .. } => StorageStats::default(),
            State::Owned { wal, .. } => wal.stats,
        }
    }

    fn snapshots(&self) -> Result<SnapshotManager, SnapshotError> {
        SnapshotManager::open_with(self.disk.clone(), self.root.join("snapshots"))
    }
}

impl Drop for FileStorage {
    fn drop(&mut self) {
        // Nobody is there to hear of an error, and nothing acknowledged depends on this note.
        let _ = self.close_wal();
    }
}

impl fmt::Debug for FileStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStorage")
            .field("root", &self.root)
            .field("identity", &self.identity())
            .field("poison", &self.poison)
            .finish_non_exhaustive()
    }
}

/// Writes the whole call: as many batches as it takes, one sync at the end.
fn persist_all(
    wal: &mut Wal,
    groups: &mut Groups,
    batch: &[(GroupId, Persist)],
    batch_bytes_max: u64,
) -> Result<(), StorageError> {
    let mut rest = batch;
    let is_urgent = batch.iter().any(|(group, persist)| is_urgent(groups.get(group), persist));
    while !rest.is_empty() {
        let (count, bytes) = take_fitting(rest, batch_bytes_max)?;
        let (now, later) = rest.split_at(count);
        wal.make_room(bytes, groups)?;
        wal.encoder.clear();
        for (group, persist) in now.iter().filter(|(_, persist)| !persist.is_empty()) {
            let log = groups.entry(*group).or_default();
            encode(&mut wal.encoder, log, *group, persist)
                .map_err(|broken| StorageError::Rule { group: *group, broken })?;
            wal.stats.writes += 1;
            wal.stats.entries += persist.entries().len() as u64;
        }
        if wal.encoder.records() > 0 {
            let (seq, offset) = wal.write()?;
            for (group, _) in now {
                if let Some(log) = groups.get_mut(group) {
                    log.placed(seq, offset);
                }
            }
        }
        rest = later;
    }
    // Zeros for the batches to come share the sync of this one.
    wal.fill_ahead()?;
    wal.settle(is_urgent)?;
    wal.remove_dead()
}

/// What has to be durable before it is acknowledged also where entries need not be: a term, a vote,
/// a membership, a snapshot.
fn is_urgent(log: Option<&GroupLog>, persist: &Persist) -> bool {
    let (known, state) = (log.map(|log| log.replay.hard_state()), persist.hard_state());
    let is_same =
        known.is_some_and(|known| (known.term, known.voted_for) == (state.term, state.voted_for));
    let changes = |entry: &Entry| entry.payload.kind() == PayloadKind::Membership;
    !is_same || persist.base().is_some() || persist.entries().iter().any(changes)
}

/// How many of the writes go into one batch, at least one, and how many bytes it may need.
fn take_fitting(rest: &[(GroupId, Persist)], bytes_max: u64) -> Result<(usize, u64), StorageError> {
    let mut bytes = BATCH_FRAME_BYTES;
    let mut count = 0;
    for (group, persist) in rest {
        let next = bound(persist);
        if count > 0 && bytes + next > bytes_max {
            mark!("batch-split");
            break;
        }
        if bytes + next > BATCH_BYTES_MAX {
            let (group, bytes, bytes_max) = (*group, bytes + next, BATCH_BYTES_MAX);
            return Err(StorageError::TooLarge { group, bytes, bytes_max });
        }
        bytes += next;
        count += 1;
    }
    Ok((count, bytes))
}

/// At most this many bytes of records and payloads are in a write.
fn bound(persist: &Persist) -> u64 {
    let base = match persist.base() {
        None => 0,
        Some(Base::Created(membership)) => encode_membership(membership).len(),
        Some(Base::Compacted { snapshot, .. } | Base::Installed(snapshot)) => {
            snapshot_record::encode(snapshot).len()
        }
    };
    let entries = persist
        .entries()
        .iter()
        .map(|entry| (entry.payload.bytes().len() + PAYLOAD_HEADER_MAX) as u64 + RECORD_BYTES_MAX);
    base as u64 + 6 * RECORD_BYTES_MAX + entries.sum::<u64>()
}

/// So many segments are kept for what is not a client's,
const RESERVE_SEGMENTS: u64 = 4;

/// or this part of a small disk.
const RESERVE_SHARE: u64 = 10;

/// A record in the table: two bytes, five varints, a checksum.
const RECORD_BYTES_MAX: u64 = 2 + 5 * 10 + 4;

/// The header of a batch and the checksum of its table.
const BATCH_FRAME_BYTES: u64 = record::HEADER_BYTES as u64 + 4;

/// Lengths inside a batch have 32 bits; half of that is beyond every sensible write.
const BATCH_BYTES_MAX: u64 = 1 << 31;

/// Turns a write into records, and makes the group what the records say.
fn encode(
    out: &mut BatchEncoder,
    log: &mut GroupLog,
    group: GroupId,
    persist: &Persist,
) -> Result<(), RuleError> {
    match persist.base() {
        None => {}
        Some(Base::Created(membership)) => {
            log.create(membership.clone())?;
            let payload = encode_membership(membership);
            out.fact_with(Kind::GroupCreate, group, EntryId::ZERO, &payload);
        }
        Some(Base::Compacted { snapshot, upto }) => {
            if log.replay.snapshot() != Some(snapshot) {
                log.replay.check_held(snapshot.last_included)?;
                encode_cover(out, log, group, snapshot)?;
            }
            encode_purge(out, log, group, *upto)?;
        }
        Some(Base::Installed(snapshot)) => {
            let above = snapshot.last_included.index.next();
            encode_cover(out, log, group, snapshot)?;
            log.truncate(above)?;
            out.fact(Kind::Truncate, group, (0, above.get(), 0));
            encode_purge(out, log, group, snapshot.last_included)?;
        }
    }
    if let Some(first) = persist.entries().first().map(|entry| entry.id.index)
        && first <= log.replay.last().index
    {
        mark!("truncate-record");
        log.truncate(first)?;
        if !mutant!("D5") {
            out.fact(Kind::Truncate, group, (0, first.get(), 0));
        }
    }
    for entry in persist.entries() {
        log.append(entry.id, Some(&entry.payload))?;
        if !out.entry(group, entry) {
            let (rule, last) = ("a payload matches its seal", log.replay.last());
            return Err(RuleError { rule, last, found: entry.id });
        }
    }
    let state = persist.hard_state();
    log.set_hard_state(state)?;
    let vote = state.voted_for.map_or(0, NodeId::get);
    out.fact(Kind::HardState, group, (state.term.get(), vote, state.commit.get()));
    Ok(())
}

/// A newer snapshot.
fn encode_cover(
    out: &mut BatchEncoder,
    log: &mut GroupLog,
    group: GroupId,
    snapshot: &SnapshotMeta,
) -> Result<(), RuleError> {
    log.cover(snapshot.clone())?;
    out.fact_with(
        Kind::Snapshot,
        group,
        snapshot.last_included,
        &snapshot_record::encode(snapshot),
    );
    Ok(())
}

/// A later beginning of the log.
fn encode_purge(
    out: &mut BatchEncoder,
    log: &mut GroupLog,
    group: GroupId,
    upto: EntryId,
) -> Result<(), RuleError> {
    if upto == log.replay.base() {
        return Ok(());
    }
    log.purge(upto)?;
    out.fact(Kind::Purge, group, (upto.term.get(), upto.index.get(), 0));
    Ok(())
}

/// Makes durable what a dead process may have left of `SUPER` in memory only: its name, and copies
/// it did not sync. An update over copies that are not durable could tear all four.
fn settle_super(
    disk: &dyn Disk,
    root: &Path,
    mut file: Box<dyn DiskFile>,
) -> Result<Box<dyn DiskFile>, StorageError> {
    let path = || root.join("SUPER");
    file.sync_data().map_err(|error| StorageError::io("sync", path(), error))?;
    file.drop_cache().map_err(|error| StorageError::io("drop from cache", path(), error))?;
    disk.sync_directory(root).map_err(|error| StorageError::io("sync", root, error))?;
    Ok(file)
}

/// Makes the names of the WAL directory, the data directory and those above it durable: we may have
/// made them. Done before there is a `SUPER`, so that whoever finds one finds them too.
fn sync_directories(disk: &dyn Disk, root: &Path) -> Result<(), StorageError> {
    for directory in root.ancestors() {
        let here = directory.as_os_str().is_empty();
        let directory = if here { Path::new(".") } else { directory };
        match disk.sync_directory(directory) {
            Ok(()) => {}
            // Where we may not look, or where nothing is ever written, we made no directory.
            Err(error) if is_not_ours(error.kind()) => {}
            Err(error) => return Err(StorageError::io("sync", directory, error)),
        }
    }
    Ok(())
}

/// What the sync of a directory says that is closed to us, or on a file system without syncs.
fn is_not_ours(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    matches!(kind, InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported)
}

/// A directory without `SUPER` is blank only if it has no segments either.
fn check_blank(disk: &dyn Disk, wal: &Path, path: PathBuf) -> Result<(), StorageError> {
    match disk.list(wal) {
        Ok(files) if files.is_empty() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StorageError::io("list", wal, error)),
        Ok(files) => match files.iter().find(|file| WalFile::from_path(file).is_none()) {
            Some(strange) => Err(StorageError::StrangeFile { path: strange.clone() }),
            None => Err(StorageError::MissingSuper { path }),
        },
    }
}

fn take_lock(
    disk: &dyn Disk,
    root: &Path,
    process: u32,
) -> Result<Box<dyn DiskLock>, StorageError> {
    let path = root.join("LOCK");
    let mut lock = disk.lock(&path).map_err(|error| {
        if error.kind() != io::ErrorKind::WouldBlock {
            return StorageError::io("lock", &path, error);
        }
        let holder = read_text(disk, &path).unwrap_or_else(|_| "unknown".into());
        StorageError::Locked { path: path.clone(), holder }
    })?;
    lock.write_text(&lock_text(process, None))
        .map_err(|error| StorageError::io("write", &path, error))?;
    Ok(lock)
}

/// What a second process is told.
fn lock_text(process: u32, node: Option<NodeId>) -> String {
    match node {
        Some(node) => format!("process {process}, node {node}\n"),
        None => format!("process {process}\n"),
    }
}

fn read_text(disk: &dyn Disk, path: &Path) -> io::Result<String> {
    let file = disk.open(path, OpenMode::Read)?;
    let mut bytes = [0; 256];
    let len = DiskFile::read_at(file.as_ref(), &mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes[..len]).trim().into())
}
