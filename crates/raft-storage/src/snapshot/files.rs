//! Files of snapshots: written whole, and never read without their checksums.
//!
//! Read next: `receive.rs`.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use raft_core::{Checksum, SnapshotError};
use sha2::{Digest, Sha256};

use super::manifest::{CHUNK_BYTES, ChunkFacts};
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::file::{read_exact, write_all};

/// Cuts a stream into chunks and writes them.
pub(super) struct Writer {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    at: u64,
    buffer: Vec<u8>,
    chunks: Vec<ChunkFacts>,
    hasher: Sha256,
}

impl Writer {
    pub(super) fn new(file: Box<dyn DiskFile>, path: PathBuf) -> Self {
        let (buffer, chunks) = (Vec::with_capacity(CHUNK_BYTES), Vec::new());
        Self { file, path, at: 0, buffer, chunks, hasher: Sha256::new() }
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), SnapshotError> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == CHUNK_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SnapshotError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let checksum = Checksum::of(&self.buffer);
        let len = u32::try_from(self.buffer.len()).expect("a chunk is small");
        self.hasher.update(&self.buffer);
        self.chunks.push(ChunkFacts { len, checksum });
        write_all(self.file.as_mut(), &mut [IoSlice::new(&self.buffer)], self.at)
            .map_err(|error| failed("write", &self.path, &error))?;
        self.at += u64::from(len);
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<(Vec<ChunkFacts>, [u8; 32]), SnapshotError> {
        self.flush()?;
        self.file.sync_data().map_err(|error| failed("sync", &self.path, &error))?;
        Ok((self.chunks, self.hasher.finalize().into()))
    }
}

/// Reads a chunk and compares it with its checksum.
pub(super) fn read_verified(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    facts: ChunkFacts,
) -> Result<Bytes, SnapshotError> {
    let mut bytes = vec![0; facts.len as usize];
    read_exact(file, &mut bytes, offset).map_err(|error| failed("read", path, &error))?;
    if Checksum::of(&bytes) != facts.checksum {
        let text =
            format!("{} at {offset}: the checksum of a chunk does not match", path.display());
        return Err(SnapshotError::Malformed(text));
    }
    Ok(bytes.into())
}

/// The largest manifest, in bytes: a snapshot of terabytes.
const MANIFEST_BYTES_MAX: u64 = 16 << 20;

pub(super) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Bytes, SnapshotError> {
    let file = disk.open(path, OpenMode::Read).map_err(|error| failed("open", path, &error))?;
    let len = file.bytes().map_err(|error| failed("measure", path, &error))?;
    let mut bytes = vec![0; usize::try_from(len.min(MANIFEST_BYTES_MAX)).expect("it is small")];
    read_exact(file.as_ref(), &mut bytes, 0).map_err(|error| failed("read", path, &error))?;
    Ok(bytes.into())
}

/// Writes a small file whole, durably.
pub(super) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), SnapshotError> {
    let mut file =
        disk.open(path, OpenMode::Create).map_err(|error| failed("create", path, &error))?;
    write_all(file.as_mut(), &mut [IoSlice::new(bytes)], 0)
        .and_then(|()| file.sync_data())
        .map_err(|error| failed("write", path, &error))
}

pub(super) fn failed(operation: &str, path: &Path, error: &io::Error) -> SnapshotError {
    SnapshotError::Io(format!("cannot {operation} {}: {error}", path.display()))
}
