//! `Encoder`: a header and a state become the bytes of a backup, piece by piece.
//!
//! * How many bytes are left is known from the first piece on.
//! * At most one chunk is in memory, whatever the size of the state.
//!
//! Read next: `read.rs`.

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::{Checksum, SnapshotError, SnapshotSource};
use sha2::{Digest, Sha256};

use crate::header::{CHUNK_BYTES, Header};

/// Pieces have at most this many bytes: small enough for the limits of any client, large enough
/// that a message around each does not count.
const PIECE_BYTES_MAX: usize = 64 << 10;

/// Makes the bytes of a backup.
pub struct Encoder {
    source: Box<dyn SnapshotSource>,
    /// What the source gave beyond the present chunk.
    spare: Bytes,
    /// Made and not handed out.
    ready: Bytes,
    state_left: u64,
    padding: u64,
    /// Bytes before the hash that were not handed out.
    left: u64,
    hasher: Option<Sha256>,
}

impl Encoder {
    /// An encoder for a state, which has to have as many bytes as the header says.
    pub fn new(header: &Header, source: Box<dyn SnapshotSource>) -> Self {
        let left = header.body_bytes();
        Self {
            source,
            spare: Bytes::new(),
            ready: header.encode().into(),
            state_left: header.state_bytes,
            padding: left - header.padding_at(),
            left,
            hasher: Some(Sha256::new()),
        }
    }

    /// Bytes that are still to come, without the hash at the end.
    pub fn remaining(&self) -> u64 {
        self.left
    }

    /// The next piece. The last one is the hash alone; then there is none.
    ///
    /// # Errors
    ///
    /// [`SnapshotError`] of the source, or if the state is not as long as the header says. What was
    /// handed out is no backup then.
    pub fn next_piece(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        if self.ready.is_empty() {
            self.ready = self.next_part()?;
        }
        let piece = self.ready.split_to(self.ready.len().min(PIECE_BYTES_MAX));
        if piece.is_empty() {
            let hash = self.hasher.take().map(|hasher| hasher.finalize().to_vec().into());
            return Ok(hash);
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        self.left -= piece.len() as u64;
        Ok(Some(piece))
    }

    /// A chunk with its checksum, or what is behind the last one.
    fn next_part(&mut self) -> Result<Bytes, SnapshotError> {
        if self.state_left == 0 {
            if !self.spare.is_empty() || self.source.next_chunk()?.is_some() {
                return Err(SnapshotError::malformed("a state that ends where it was said to end"));
            }
            let zeros = core::mem::take(&mut self.padding);
            return Ok(vec![0; usize::try_from(zeros).expect("less than a block")].into());
        }
        let len = usize::try_from(self.state_left.min(CHUNK_BYTES)).expect("a chunk is small");
        let mut chunk = BytesMut::with_capacity(len + 4);
        while chunk.len() < len {
            if self.spare.is_empty() {
                let next = self.source.next_chunk()?;
                self.spare = next.ok_or_else(|| {
                    let missing = self.state_left - chunk.len() as u64;
                    SnapshotError::malformed(format!("{missing} more bytes of the state"))
                })?;
            }
            let take = (len - chunk.len()).min(self.spare.len());
            chunk.put_slice(&self.spare.split_to(take));
        }
        self.state_left -= len as u64;
        let checksum = Checksum::of(&chunk);
        chunk.put_u32_le(checksum.get());
        Ok(chunk.freeze())
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("left", &self.left).finish_non_exhaustive()
    }
}
