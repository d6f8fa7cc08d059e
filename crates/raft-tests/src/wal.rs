//! Where the batches of a segment lie, read as `docs/WAL_FORMAT.md` draws them, so that a test can
//! damage one on purpose.

use std::fs;
use std::path::{Path, PathBuf};

/// Where the first batch begins.
const BATCHES_AT: u64 = 8192;
/// Batches begin at multiples of this.
const ALIGNMENT: u64 = 4096;
const BATCH_HEADER_BYTES: u64 = 64;
const BATCH_MAGIC: &[u8] = b"RWB1";

/// One batch in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its bytes without padding.
    pub bytes: u64,
}

impl Batch {
    /// Where the next batch begins, or would.
    pub fn next(&self) -> u64 {
        (self.offset + self.bytes).next_multiple_of(ALIGNMENT)
    }
}

/// A segment and its batches, in order.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The file.
    pub path: PathBuf,
    /// From the first to the last.
    pub batches: Vec<Batch>,
}

impl Segment {
    /// Reads where the batches lie.
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut batches = Vec::new();
        let mut offset = BATCHES_AT;
        while let Some(batch) = batch_at(&bytes, offset) {
            batches.push(batch);
            offset = batch.next();
        }
        Self { path: path.to_owned(), batches }
    }

    /// The last batch.
    pub fn last(&self) -> Batch {
        *self.batches.last().unwrap_or_else(|| panic!("{} has no batch", self.path.display()))
    }
}

fn batch_at(segment: &[u8], offset: u64) -> Option<Batch> {
    let header = segment.get(usize::try_from(offset).ok()?..)?;
    if !header.starts_with(BATCH_MAGIC) {
        return None;
    }
    let length = |at: usize| {
        header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    let (table, body) = (length(8)?, length(12)?);
    Some(Batch { offset, bytes: BATCH_HEADER_BYTES + u64::from(table) + u64::from(body) })
}

/// The newest segment of a data directory in which something was written.
pub fn newest_segment(data_dir: &Path) -> Segment {
    let wal = data_dir.join("wal");
    let files = fs::read_dir(&wal).unwrap_or_else(|error| panic!("{}: {error}", wal.display()));
    let paths = files.map(|file| file.expect("a directory can be listed").path());
    let segments = paths.filter(|path| path.extension().is_some_and(|end| end == "wal"));
    let mut segments: Vec<Segment> = segments.map(|path| Segment::read(&path)).collect();
    segments.retain(|segment| !segment.batches.is_empty());
    segments.sort_by(|one, other| one.path.cmp(&other.path));
    segments.pop().unwrap_or_else(|| panic!("{} has no batch", wal.display()))
}
