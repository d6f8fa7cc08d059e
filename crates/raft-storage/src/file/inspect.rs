//! Looks into a data directory without opening it: takes no lock, syncs nothing, changes nothing,
//! and may be asked while a node runs on it. Then the last write may be seen half done.
//!
//! * [`verify`] is a dry run of a start: the same code decides what to believe.
//! * [`dump`] shows every segment, batch and record, also behind what does not read.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use raft_core::{GroupId, Identity, Restored};

use super::recovery::{RecoveryReport, recover, visit};
use super::superblock::Super;
use crate::disk::{Disk, DiskFile, DiskLock, OpenMode};
use crate::{StorageError, SyncMode};

/// What a start would make of a data directory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Inspection {
    /// Whose it is.
    pub identity: Identity,
    /// What receipts mean since the newest segment was begun.
    pub sync_mode: SyncMode,
    /// Whether it was closed when it was written last.
    pub was_closed: bool,
    /// Batches up to this number are durable, as `SUPER` says.
    pub durable_lsn: u64,
    /// What was read, and the write that was cut short, if there is one.
    pub report: RecoveryReport,
    /// The log of each group, without its entries.
    pub groups: BTreeMap<GroupId, Restored>,
}

/// Says what a start would make of a data directory.
///
/// # Errors
///
/// What the start would say: [`StorageError::Corrupt`] and its like for damage, others for what
/// cannot be read or is no data directory.
pub fn verify(disk: &dyn Disk, root: &Path) -> Result<Inspection, StorageError> {
    let disk = ReadOnly(disk);
    let facts = read_super(&disk, root)?;
    let recovered = recover(&disk, &root.join("wal"), &facts)?;
    let groups = recovered.groups.iter();
    Ok(Inspection {
        identity: facts.identity,
        sync_mode: facts.sync_mode,
        was_closed: facts.clean,
        durable_lsn: facts.durable_lsn,
        report: recovered.report,
        groups: groups.map(|(group, log)| (*group, log.replay.restored())).collect(),
    })
}

/// Something in a WAL, in the order of the stream.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Item {
    /// A segment begins.
    Segment {
        /// Its file.
        path: PathBuf,
        /// Its number.
        seq: u64,
        /// Where batches begin, in bytes.
        alignment: u64,
        /// Its size when it is full.
        bytes: u64,
        /// When it was begun, in nanoseconds since 1970.
        created_unix_ns: u64,
    },
    /// A batch whose checksums hold.
    Batch {
        /// Where it begins.
        offset: u64,
        /// Its bytes, without what fills it up.
        bytes: u64,
        /// Its number in the stream.
        lsn: u64,
        /// Batches up to this number were durable when it was encoded.
        durable_lsn: u64,
        /// How many records it has.
        records: u32,
    },
    /// A record of the batch before.
    Record {
        /// What it is.
        kind: &'static str,
        /// Whose it is.
        group: GroupId,
        /// Its three numbers: of an entry term, index and type; of a hard state term, vote and
        /// commit hint; of others see `docs/WAL_FORMAT.md`.
        numbers: [u64; 3],
        /// Bytes of its payload.
        bytes: u64,
    },
    /// Something was written here that is no batch: torn, damaged, or of another version.
    Strange {
        /// Where.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
}

/// Shows everything in the WAL of a data directory, segment by segment.
///
/// # Errors
///
/// If the directory is none of ours, or a file cannot be read.
pub fn dump(disk: &dyn Disk, root: &Path, show: &mut dyn FnMut(Item)) -> Result<(), StorageError> {
    let disk = ReadOnly(disk);
    let facts = read_super(&disk, root)?;
    visit(&disk, &root.join("wal"), &facts, show)
}

fn read_super(disk: &ReadOnly<'_>, root: &Path) -> Result<Super, StorageError> {
    let path = root.join("SUPER");
    let file = disk.open(&path, OpenMode::Read);
    let file = file.map_err(|error| StorageError::io("open", &path, error))?;
    Super::read(file.as_ref(), &path)
}

/// A disk that is only looked at. Syncs succeed without a sync: what is in memory is what is seen.
struct ReadOnly<'a>(&'a dyn Disk);

struct ReadOnlyFile(Box<dyn DiskFile>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl Disk for ReadOnly<'_> {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn open(&self, path: &Path, _: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(ReadOnlyFile(self.0.open(path, OpenMode::Read)?)))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.0.list(directory)
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn DiskLock>> {
        refused()
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.0.free_bytes(directory)
    }
}

impl DiskFile for ReadOnlyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn write_at(&mut self, _: &[IoSlice<'_>], _: u64) -> io::Result<usize> {
        refused()
    }

    fn sync_data(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn allocate_zeroed(&mut self, _: u64) -> io::Result<()> {
        refused()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }

    fn drop_cache(&self) -> io::Result<()> {
        Ok(())
    }
}
