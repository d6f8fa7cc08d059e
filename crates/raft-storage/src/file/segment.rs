//! Segments: their names, their doubled header, and a window for reading them.
//!
//! * A file that has a segment's name has a durable header: the name comes after the sync.
//! * A segment is written by one life of one node only; the next life begins another one.
//!
//! Read next: `superblock.rs`.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::BufMut;
use crc_fast::crc32_iscsi;
use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};

use super::record::{u32_at, u64_at, u128_at};
use crate::disk::{DiskFile, retry_interrupted};
use crate::{Corruption, StorageError};

/// The version of the formats this code writes, and the highest it reads.
pub(super) const FORMAT_VERSION: u16 = 1;

/// Bytes of one copy of the header.
pub(super) const HEADER_BYTES: u64 = 4096;

/// Where the first batch begins: after two copies of the header.
pub(super) const BATCHES_AT: u64 = 2 * HEADER_BYTES;

/// Kept free at the end of a segment for its trailer.
pub(super) const TRAILER_BYTES: u64 = 4096;

const MAGIC: [u8; 8] = *b"RAFTWAL\n";

const CRC_AT: usize = 4092;

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) identity: Identity,
    pub(super) seq: u64,
    /// Secret and new in each life of the file; begins every checksum of a batch header.
    pub(super) salt: u128,
    /// Batches begin at multiples of this many bytes: 8 or 4096.
    pub(super) alignment: u64,
    /// Bytes the segment may grow to, a multiple of 4096.
    pub(super) bytes: u64,
    /// For people.
    pub(super) created_unix_ns: u64,
}

impl SegmentHeader {
    /// One copy of the header.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CRC_AT + 4);
        out.put_slice(&MAGIC);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u16_le(FORMAT_VERSION);
        out.put_u32_le(0);
        out.put_u128_le(self.identity.cluster.get());
        out.put_u128_le(self.identity.peer.incarnation.get());
        out.put_u64_le(self.identity.peer.node.get());
        out.put_u16_le(0);
        out.put_u8(self.alignment.trailing_zeros().to_le_bytes()[0]);
        out.put_u8(0);
        out.put_u32_le(u32::try_from(self.bytes / 4096).unwrap_or(u32::MAX));
        out.put_u64_le(self.seq);
        out.put_u128_le(self.salt);
        out.put_u32_le(1);
        out.put_u32_le(0);
        out.put_u64_le(self.created_unix_ns);
        out.resize(CRC_AT, 0);
        let crc = crc32_iscsi(&out);
        out.put_u32_le(crc);
        out
    }

    /// Reads the header of a segment: the valid copy with the higher activation.
    pub(super) fn read(file: &dyn DiskFile, path: &Path) -> Result<Self, StorageError> {
        let mut bytes = vec![0; 2 * (CRC_AT + 4)];
        read_exact(file, &mut bytes, 0)
            .map_err(|error| StorageError::io("read the header of", path, error))?;
        let (one, two) = bytes.split_at(CRC_AT + 4);
        let copies = [one, two].into_iter().filter(|copy| is_valid(copy));
        let Some(copy) = copies.max_by_key(|copy| u32_at(copy, 88)) else {
            return Err(StorageError::Corrupt(Box::new(Corruption {
                path: path.into(),
                offset: 0,
                what: "segment header",
                expected: format!("{:08x} as the checksum", crc32_iscsi(&one[..CRC_AT])),
                found: format!("{:08x}, and no better copy", u32_at(one, CRC_AT)),
                proof: "a file is named as a segment only after its header is durable",
                lost: Vec::new(),
            })));
        };
        check_version(path, copy, 0)?;
        Self::decode(copy).ok_or_else(|| {
            StorageError::Corrupt(Box::new(Corruption {
                path: path.into(),
                offset: 0,
                what: "segment header",
                expected: "a node id, stream 0 and an alignment of 8 or 4096".into(),
                found: "other values under a matching checksum".into(),
                proof: "its checksum matches",
                lost: Vec::new(),
            }))
        })
    }

    fn decode(copy: &[u8]) -> Option<Self> {
        let stream = u16::from_le_bytes([copy[56], copy[57]]);
        let alignment = match copy[58] {
            3 => 8,
            12 => 4096,
            _ => return None,
        };
        let identity = take_identity(copy, 16)?;
        (stream == 0).then_some(Self {
            identity,
            seq: u64_at(copy, 64),
            salt: u128_at(copy, 72),
            alignment,
            bytes: u64::from(u32_at(copy, 60)) * 4096,
            created_unix_ns: u64_at(copy, 96),
        })
    }
}

fn is_valid(copy: &[u8]) -> bool {
    copy.starts_with(&MAGIC) && crc32_iscsi(&copy[..CRC_AT]) == u32_at(copy, CRC_AT)
}

/// Refuses versions and features this code does not know; both file formats keep them at 10.
pub(super) fn check_version(path: &Path, bytes: &[u8], known: u32) -> Result<(), StorageError> {
    let found = u16::from_le_bytes([bytes[10], bytes[11]]);
    if found > FORMAT_VERSION {
        let known = FORMAT_VERSION;
        return Err(StorageError::UnknownVersion { path: path.into(), found, known });
    }
    match u32_at(bytes, 12) & !known {
        0 => Ok(()),
        bits => Err(StorageError::UnknownFeatures { path: path.into(), bits }),
    }
}

/// Cluster, incarnation and node, as both file formats keep them.
pub(super) fn take_identity(bytes: &[u8], at: usize) -> Option<Identity> {
    let cluster = ClusterId::new(u128_at(bytes, at));
    let incarnation = Incarnation::new(u128_at(bytes, at + 16));
    let node = NodeId::new(u64_at(bytes, at + 32))?;
    Some(Identity { cluster, peer: Peer { node, incarnation } })
}

/// `wal/00-<seq>.wal`: stream and number in hexadecimal.
pub(super) fn segment_path(wal: &Path, seq: u64) -> PathBuf {
    wal.join(format!("00-{seq:016x}.wal"))
}

/// The segment that is being filled for later use.
pub(super) fn free_path(wal: &Path) -> PathBuf {
    wal.join("free-0000.wal")
}

/// What a file of the WAL directory is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WalFile {
    Segment(u64),
    Free,
}

impl WalFile {
    /// `None` for a name that none of our files has.
    pub(super) fn from_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?.strip_suffix(".wal")?;
        let hex = |digits: &str, len| {
            let lower = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
            if digits.len() == len && lower { u64::from_str_radix(digits, 16).ok() } else { None }
        };
        match name.split_once('-')? {
            ("free", number) => hex(number, 4).map(|_| Self::Free),
            ("00", seq) => hex(seq, 16).filter(|seq| *seq > 0).map(Self::Segment),
            _ => None,
        }
    }
}

/// A piece of a segment in memory; beyond the end of the file there are zeros.
#[derive(Debug, Default)]
pub(super) struct Window {
    buffer: Vec<u8>,
    /// The segment it shows, and from where on.
    seq: u64,
    start: u64,
    /// At least this many bytes are read at once.
    ahead: usize,
}

impl Window {
    pub(super) const fn new(ahead: usize) -> Self {
        Self { buffer: Vec::new(), seq: 0, start: 0, ahead }
    }

    /// Forgets what it holds: a file may have changed.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }

    /// These bytes of the segment.
    pub(super) fn get(
        &mut self,
        file: &dyn DiskFile,
        seq: u64,
        offset: u64,
        len: usize,
    ) -> io::Result<&[u8]> {
        let end = self.start + self.buffer.len() as u64;
        let inside = offset >= self.start && offset + len as u64 <= end;
        if self.seq != seq || !inside {
            self.buffer.clear();
            self.buffer.resize(len.max(self.ahead), 0);
            (self.seq, self.start) = (seq, offset);
            if let Err(error) = read_exact(file, &mut self.buffer, offset) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let at = usize::try_from(offset - self.start).expect("inside a buffer");
        Ok(&self.buffer[at..at + len])
    }
}

/// Fills the buffer; what lies beyond the end of the file reads as zeros.
pub(crate) fn read_exact(file: &dyn DiskFile, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match retry_interrupted(|| file.read_at(&mut buffer[done..], offset + done as u64))? {
            0 => break,
            read => done += read,
        }
    }
    buffer[done..].fill(0);
    Ok(())
}

/// Writes all the slices, one after the other, from `offset` on. They are used up.
pub(crate) fn write_all(
    file: &mut dyn DiskFile,
    slices: &mut [IoSlice<'_>],
    mut offset: u64,
) -> io::Result<()> {
    let mut rest = slices;
    while !rest.is_empty() {
        let now = &rest[..rest.len().min(SLICES_MAX)];
        let written = retry_interrupted(|| file.write_at(now, offset))?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

/// At most this many slices in one system call (`IOV_MAX` of Linux).
const SLICES_MAX: usize = 1024;
