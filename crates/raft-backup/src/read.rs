//! `Backup`: the bytes of a backup become a header and a state again, each verified before it is
//! handed out.
//!
//! * The state is over only when the hash of the whole was right and nothing followed it.
//! * Nothing is allocated because the file asks for it: a header and a chunk have upper bounds.
//! * A version that is not known is told from damage: the hash at the end is the same in all.
//!
//! Read next: `fault.rs`.

use std::io::{self, Read};

use bytes::Bytes;
use raft_core::{Checksum, SnapshotError, SnapshotSource};
use sha2::{Digest, Sha256};

use crate::fault::Fault;
use crate::header::{
    CHECKSUM_BYTES, CHUNK_BYTES, FIELDS_BYTES_MAX, Header, MAGIC, PREAMBLE_BYTES, VERSION,
};

/// The SHA-256 of a backup up to the hash itself, which is its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash(pub [u8; HASH_BYTES]);

/// Bytes of the hash.
pub const HASH_BYTES: usize = 32;

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A backup that is being read.
pub struct Backup<R> {
    input: Input<R>,
    header: Header,
    state_left: u64,
    hash: Option<Hash>,
}

/// Reads a whole backup and gives what it says of itself, and its hash.
///
/// # Errors
///
/// [`Fault`], with the place of the first thing that is wrong.
pub fn verify(input: impl Read) -> Result<(Header, Hash), Fault> {
    let mut backup = Backup::open(input)?;
    while backup.next_chunk()?.is_some() {}
    let hash = match backup.hash {
        Some(hash) => hash,
        None => backup.finish()?,
    };
    Ok((backup.header, hash))
}

impl<R: Read> Backup<R> {
    /// Reads and verifies the header.
    ///
    /// # Errors
    ///
    /// [`Fault`] of any kind.
    pub fn open(input: R) -> Result<Self, Fault> {
        let mut input = Input { inner: input, at: 0, hasher: Sha256::new() };
        let mut bytes = input.up_to(PREAMBLE_BYTES)?;
        let begins = bytes.len().min(MAGIC.len());
        if bytes[..begins] != MAGIC[..begins] {
            bytes.extend(input.up_to(BBOLT_MAGIC_AT + BBOLT_MAGIC.len() - PREAMBLE_BYTES)?);
            let is_of_etcd = bytes.get(BBOLT_MAGIC_AT..) == Some(&BBOLT_MAGIC);
            return Err(Fault::Foreign { is_of_etcd });
        }
        if bytes.len() < PREAMBLE_BYTES {
            return Err(input.ends());
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return Err(input.other_version(version, &bytes));
        }
        let len = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if len > FIELDS_BYTES_MAX {
            let what = format!("a header of {len} bytes, which has at most {FIELDS_BYTES_MAX}");
            return Err(Fault::damaged(12, what));
        }
        let rest = input.exactly(u64::from(len) + CHECKSUM_BYTES)?;
        let (fields, sum) = rest.split_at(len as usize);
        bytes.extend_from_slice(fields);
        check(0, "the header", &bytes, sum)?;
        let bytes = Bytes::from(bytes);
        let header = Header::decode(bytes.slice(PREAMBLE_BYTES..))
            .map_err(|error| Fault::damaged(PREAMBLE_BYTES as u64, format!("header: {error}")))?;
        // One form per header: where the rest of the file lies is computed from what it says.
        if header.encode().strip_suffix(sum) != Some(&bytes[..]) {
            return Err(Fault::damaged(0, "a header that is not written as this version does"));
        }
        let state_left = header.state_bytes;
        Ok(Self { input, header, state_left, hash: None })
    }

    /// What the backup says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The hash, once the state is over.
    pub fn hash(&self) -> Option<Hash> {
        self.hash
    }

    /// The next chunk of the state; `None` after the last one, when the rest of the file is what it
    /// should be as well.
    ///
    /// # Errors
    ///
    /// [`Fault::Damaged`] or [`Fault::Io`].
    pub fn next_chunk(&mut self) -> Result<Option<Bytes>, Fault> {
        if self.state_left == 0 {
            if self.hash.is_none() {
                self.hash = Some(self.finish()?);
            }
            return Ok(None);
        }
        let (at, len) = (self.input.at, self.state_left.min(CHUNK_BYTES));
        let mut bytes = Bytes::from(self.input.exactly(len + CHECKSUM_BYTES)?);
        let chunk = bytes.split_to(bytes.len() - 4);
        let number = (self.header.state_bytes - self.state_left) / CHUNK_BYTES + 1;
        check(at, &format!("chunk {number}"), &chunk, &bytes)?;
        self.state_left -= len;
        Ok(Some(chunk))
    }

    /// What follows the last chunk: zeros, the hash, nothing.
    fn finish(&mut self) -> Result<Hash, Fault> {
        let at = self.input.at;
        let zeros = self.input.exactly(self.header.body_bytes() - at)?;
        let found = Hash(self.input.hasher.clone().finalize().into());
        let stored = self.input.exactly(HASH_BYTES as u64)?;
        if stored != found.0 {
            let at = self.header.body_bytes();
            let what = format!("a hash of everything before, which is {found}");
            return Err(Fault::damaged(at, what));
        }
        if let Some(place) = zeros.iter().position(|byte| *byte != 0) {
            let what = "something stands where zeros fill the file up";
            return Err(Fault::damaged(at + place as u64, what));
        }
        if !self.input.up_to(1)?.is_empty() {
            return Err(Fault::damaged(self.header.file_bytes(), "the file goes on after its end"));
        }
        Ok(found)
    }
}

impl<R: Read + Send> SnapshotSource for Backup<R> {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        self.next_chunk().map_err(|fault| match &fault {
            Fault::Io { error, .. } => SnapshotError::Io(format!("{fault}: {error}")),
            Fault::Foreign { .. } | Fault::Version { .. } | Fault::Damaged { .. } => {
                SnapshotError::Malformed(fault.to_string())
            }
        })
    }
}

impl<R> std::fmt::Debug for Backup<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Backup").field("header", &self.header).finish_non_exhaustive()
    }
}

/// The file, how much of it was read, and the hash of that.
struct Input<R> {
    inner: R,
    at: u64,
    hasher: Sha256,
}

impl<R: Read> Input<R> {
    /// The next bytes: as many as asked for, or all there are.
    fn up_to(&mut self, len: usize) -> Result<Vec<u8>, Fault> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.inner.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Fault::Io { at: self.at + filled as u64, error }),
            }
        }
        bytes.truncate(filled);
        self.at += filled as u64;
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn exactly(&mut self, len: u64) -> Result<Vec<u8>, Fault> {
        let len = usize::try_from(len).expect("headers and chunks are small");
        let bytes = self.up_to(len)?;
        if bytes.len() < len { Err(self.ends()) } else { Ok(bytes) }
    }

    fn ends(&self) -> Fault {
        Fault::damaged(self.at, "the file ends here, and more was to come")
    }

    /// Tells a sound backup of another version from one whose version was damaged.
    fn other_version(&mut self, found: u16, preamble: &[u8]) -> Fault {
        let (mut hasher, mut rest) = (Sha256::new(), preamble.to_vec());
        loop {
            let next = match self.up_to(1 << 16) {
                Ok(next) => next,
                Err(fault) => return fault,
            };
            if next.is_empty() {
                break;
            }
            rest.extend_from_slice(&next);
            let whole = rest.len().saturating_sub(HASH_BYTES);
            hasher.update(&rest[..whole]);
            rest.drain(..whole);
        }
        if hasher.finalize()[..] == rest[..] {
            return Fault::Version { found };
        }
        let what = format!("version {found}, and the hash at the end of the file is not its own");
        Fault::damaged(MAGIC.len() as u64, what)
    }
}

fn check(at: u64, what: &str, bytes: &[u8], sum: &[u8]) -> Result<(), Fault> {
    let stored = sum.first_chunk().map_or(0, |sum| u32::from_le_bytes(*sum));
    let found = Checksum::of(bytes).get();
    if stored == found {
        return Ok(());
    }
    let text = format!("{what} has checksum {stored:08x}, its bytes give {found:08x}");
    Err(Fault::damaged(at, text))
}

/// Where a page of meta data of bbolt, the database of etcd, has its magic number.
const BBOLT_MAGIC_AT: usize = 16;

const BBOLT_MAGIC: [u8; 4] = 0xed0c_daed_u32.to_le_bytes();
