//! The whole store as a stream of chunks, and back.
//!
//! ```text
//! snapshot   "rkvs"  version=1  revision  compacted  record*  end
//! ground     1  key  create_revision  mod_revision  version  lease  value
//! put        2  key  create_revision  mod_revision  version  lease  value
//! delete     3  key  mod_revision
//! end        0  digest (8 bytes, lowest first)
//! ```
//!
//! First the *ground*: each key as it was at the compacted revision, if its last change was before,
//! in key order. Then every change since, in the order it happened. So the bytes are the same on
//! each node, however far it has reclaimed and whatever it was itself restored from.
//!
//! * To freeze clones pointers: about one counter per ten thousand keys and per hundred changes.
//!   Keys and values are not copied; a write afterwards copies the nodes of the index it touches.
//! * Chunks are cuts of one byte stream, [`CHUNK_BYTES`] each but the last. Whoever carries them
//!   may cut them anew.
//! * The digest is that of the state, computed from what was read: it covers every field.
//! * A snapshot that is refused leaves the store as it was.
//!
//! Read next: `store.rs`.

use bytes::{Buf, Bytes, BytesMut};
use raft_core::{SnapshotError, SnapshotSource};

use crate::SharedBytes;
use crate::codec::{Sink, Varint, unfold};
use crate::digest::Digest;
use crate::mvcc::{Change, Mvcc, Revision, ValueOf, Version, Written};

/// Bytes of a chunk: large enough that a chunk costs more than its bookkeeping, small enough that a
/// few of them in memory do not matter.
const CHUNK_BYTES: usize = 256 * 1024;

/// Hashes the state: what can be read of it, nothing else. Takes time in proportion to its size.
pub(crate) fn digest(mvcc: &Mvcc) -> u64 {
    let mut digest = begin_digest(mvcc.revision(), mvcc.compacted());
    for (key, version) in mvcc.ground(None) {
        feed(&mut digest, TAG_GROUND, key, version);
    }
    for change in mvcc.changes_from(mvcc.compacted()) {
        feed(&mut digest, tag_of(change), &change.key, &change.version);
    }
    digest.finish()
}

fn begin_digest(revision: Revision, compacted: Revision) -> Digest {
    let mut digest = Digest::default();
    digest.number(revision.get());
    digest.number(compacted.get());
    digest
}

fn feed(digest: &mut Digest, tag: u8, key: &[u8], version: &Version) {
    let (created, modified) = (version.created, version.modified);
    let numbers = Numbers { created, modified, version: version.puts, lease: version.lease };
    feed_record(digest, tag, numbers, (key, &version.value));
}

fn feed_record(digest: &mut Digest, tag: u8, numbers: Numbers, (key, value): (&[u8], &[u8])) {
    digest.number(i64::from(tag));
    digest.slice(key);
    digest.number(numbers.modified.get());
    if tag != TAG_DELETE {
        digest.number(numbers.created.get());
        digest.number(numbers.version);
        digest.number(numbers.lease);
        digest.slice(value);
    }
}

/// The numbers of a version, as they stand in a record.
#[derive(Clone, Copy)]
struct Numbers {
    created: Revision,
    modified: Revision,
    version: i64,
    lease: i64,
}

fn tag_of(change: &Change) -> u8 {
    if change.version.is_tombstone() { TAG_DELETE } else { TAG_PUT }
}

/// A frozen store, and how much of it is written.
pub(crate) struct FrozenStore {
    mvcc: Mvcc,
    stage: Stage,
    digest: Digest,
    buffer: BytesMut,
}

/// What comes next in the stream.
enum Stage {
    Header,
    /// The ground after this key.
    Ground(Option<SharedBytes>),
    /// The changes from this one on, counted from the first in the stream.
    Changes(usize),
    End,
}

impl FrozenStore {
    pub(crate) fn new(mvcc: Mvcc) -> Self {
        let digest = begin_digest(mvcc.revision(), mvcc.compacted());
        Self { mvcc, stage: Stage::Header, digest, buffer: BytesMut::new() }
    }

    /// Writes records until a chunk is full or the stage is over; returns the next stage.
    fn write_stage(&mut self, stage: Stage) -> Stage {
        match stage {
            Stage::Header => {
                self.buffer.write(MAGIC);
                Sink::byte(&mut self.buffer, VERSION);
                self.buffer.signed(self.mvcc.revision().get());
                self.buffer.signed(self.mvcc.compacted().get());
                Stage::Ground(None)
            }
            Stage::Ground(after) => {
                for (key, version) in self.mvcc.ground(after.as_deref()) {
                    write_record(&mut self.buffer, TAG_GROUND, key, version);
                    feed(&mut self.digest, TAG_GROUND, key, version);
                    if self.buffer.len() >= CHUNK_BYTES {
                        return Stage::Ground(Some(key.clone()));
                    }
                }
                Stage::Changes(0)
            }
            Stage::Changes(written) => {
                let changes = self.mvcc.changes_from(self.mvcc.compacted());
                for (number, change) in changes.enumerate().skip(written) {
                    let tag = tag_of(change);
                    write_record(&mut self.buffer, tag, &change.key, &change.version);
                    feed(&mut self.digest, tag, &change.key, &change.version);
                    if self.buffer.len() >= CHUNK_BYTES {
                        return Stage::Changes(number + 1);
                    }
                }
                Sink::byte(&mut self.buffer, TAG_END);
                self.buffer.write(&self.digest.finish().to_le_bytes());
                Stage::End
            }
            Stage::End => Stage::End,
        }
    }
}

impl SnapshotSource for FrozenStore {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        while self.buffer.len() < CHUNK_BYTES && !matches!(self.stage, Stage::End) {
            let stage = core::mem::replace(&mut self.stage, Stage::End);
            self.stage = self.write_stage(stage);
        }
        let len = self.buffer.len().min(CHUNK_BYTES);
        Ok((len > 0).then(|| self.buffer.split_to(len).freeze()))
    }
}

fn write_record(buffer: &mut BytesMut, tag: u8, key: &[u8], version: &Version) {
    Sink::byte(buffer, tag);
    buffer.slice(key);
    if tag == TAG_DELETE {
        buffer.signed(version.modified.get());
        return;
    }
    buffer.signed(version.created.get());
    buffer.signed(version.modified.get());
    buffer.signed(version.puts);
    buffer.signed(version.lease);
    buffer.slice(&version.value);
}

/// Reads a snapshot into a new map.
///
/// # Errors
///
/// [`SnapshotError`] if the source fails, or if its bytes are not a complete, sound snapshot.
pub(crate) fn restore(source: &mut dyn SnapshotSource) -> Result<Mvcc, SnapshotError> {
    let mut stream = Stream { source, chunk: Bytes::new(), at: 0 };
    let (revision, compacted) = read_header(&mut stream)?;
    let mut restored = Restored {
        mvcc: Mvcc::new(revision, compacted),
        revision,
        compacted,
        last_key: Bytes::new(),
        last_revision: None,
        digest: begin_digest(revision, compacted),
    };
    loop {
        match stream.byte()? {
            TAG_GROUND => restored.ground(&mut stream)?,
            TAG_PUT => restored.change(&mut stream, TAG_PUT)?,
            TAG_DELETE => restored.change(&mut stream, TAG_DELETE)?,
            TAG_END => break,
            tag => return Err(stream.malformed(&format!("unknown record {tag}"))),
        }
    }
    restored.end(&mut stream)
}

fn read_header(stream: &mut Stream<'_>) -> Result<(Revision, Revision), SnapshotError> {
    for expected in MAGIC {
        if stream.byte()? != *expected {
            return Err(stream.malformed("not a snapshot of a key-value store"));
        }
    }
    let version = stream.byte()?;
    if version != VERSION {
        let text = format!("format version {version}, this build reads version {VERSION}");
        return Err(stream.malformed(&text));
    }
    let (revision, compacted) = (stream.signed()?, stream.signed()?);
    let is_sound = revision >= Revision::FRESH.get() && (-1..=revision).contains(&compacted);
    if !is_sound {
        let text = format!("revision {revision} compacted at {compacted} cannot be");
        return Err(stream.malformed(&text));
    }
    Ok((Revision::new(revision), Revision::new(compacted)))
}

/// A map while it is read, and what its next record is checked against.
struct Restored {
    mvcc: Mvcc,
    revision: Revision,
    compacted: Revision,
    last_key: Bytes,
    last_revision: Option<Revision>,
    digest: Digest,
}

/// A key with its version, as they stand in a record.
struct Record {
    key: Bytes,
    numbers: Numbers,
    value: Bytes,
}

impl Restored {
    fn ground(&mut self, stream: &mut Stream<'_>) -> Result<(), SnapshotError> {
        let record = Record::read(stream, TAG_GROUND)?;
        let is_sound = self.last_revision.is_none()
            && record.key > self.last_key
            && record.numbers.modified < self.compacted
            && record.numbers.created <= record.numbers.modified
            && record.numbers.version > 0;
        if !is_sound {
            return Err(stream.malformed("a key of the ground that cannot be there"));
        }
        self.feed(TAG_GROUND, &record);
        self.mvcc.restore_ground(&record.key, record.written(), record.numbers.modified);
        self.last_key = record.key;
        Ok(())
    }

    fn change(&mut self, stream: &mut Stream<'_>, tag: u8) -> Result<(), SnapshotError> {
        let record = Record::read(stream, tag)?;
        let least = self.last_revision.unwrap_or(self.compacted).max(Revision::FRESH);
        let is_in_order = !record.key.is_empty()
            && record.numbers.modified >= least
            && record.numbers.modified <= self.revision;
        let is_put = tag == TAG_PUT;
        if !is_in_order || !self.follows(&record, is_put) {
            return Err(stream.malformed("a change that cannot be there"));
        }
        self.feed(tag, &record);
        let written = is_put.then(|| record.written());
        self.mvcc.restore_change(&record.key, written, record.numbers.modified);
        self.last_revision = Some(record.numbers.modified);
        Ok(())
    }

    /// Whether a change fits to what its key was before. What a change at the compacted revision
    /// replaced is not known any more.
    fn follows(&self, record: &Record, is_put: bool) -> bool {
        let begins =
            record.numbers.version == 1 && record.numbers.created == record.numbers.modified;
        let before = self.mvcc.newest_version(&record.key);
        if before.is_none() && record.numbers.modified == self.compacted {
            return !is_put
                || (record.numbers.version > 0
                    && record.numbers.created <= record.numbers.modified);
        }
        match before.filter(|before| !before.is_tombstone()) {
            Some(before) => {
                let continues = record.numbers.version == before.puts + 1
                    && record.numbers.created == before.created;
                !is_put || continues
            }
            None => is_put && begins,
        }
    }

    fn end(self, stream: &mut Stream<'_>) -> Result<Mvcc, SnapshotError> {
        let mut expected = [0; 8];
        for byte in &mut expected {
            *byte = stream.byte()?;
        }
        let (expected, found) = (u64::from_le_bytes(expected), self.digest.finish());
        if expected != found {
            let text = format!("digest {expected:016x}, its records give {found:016x}");
            return Err(stream.malformed(&text));
        }
        let newest = self.last_revision.unwrap_or(self.compacted).max(Revision::FRESH);
        if newest != self.revision {
            let (newest, revision) = (newest.get(), self.revision.get());
            let text = format!("its changes end at revision {newest}, its header says {revision}");
            return Err(stream.malformed(&text));
        }
        stream.finish()?;
        Ok(self.mvcc)
    }

    fn feed(&mut self, tag: u8, record: &Record) {
        feed_record(&mut self.digest, tag, record.numbers, (&record.key, &record.value));
    }
}

impl Record {
    fn read(stream: &mut Stream<'_>, tag: u8) -> Result<Self, SnapshotError> {
        let key = stream.slice()?;
        if tag == TAG_DELETE {
            let (created, modified) = (Revision::FRESH, Revision::new(stream.signed()?));
            let numbers = Numbers { created, modified, version: 0, lease: 0 };
            return Ok(Self { key, numbers, value: Bytes::new() });
        }
        let numbers = Numbers {
            created: Revision::new(stream.signed()?),
            modified: Revision::new(stream.signed()?),
            version: stream.signed()?,
            lease: stream.signed()?,
        };
        Ok(Self { key, numbers, value: stream.slice()? })
    }

    fn written(&self) -> Written<'_> {
        let Numbers { created, version, lease, modified: _ } = self.numbers;
        Written { value: ValueOf::Given(&self.value), lease, created, version }
    }
}

/// Reads the stream, wherever its chunks are cut.
struct Stream<'a> {
    source: &'a mut dyn SnapshotSource,
    chunk: Bytes,
    /// Bytes read.
    at: u64,
}

impl Stream<'_> {
    fn malformed(&self, what: &str) -> SnapshotError {
        SnapshotError::malformed(format!("before byte {}: {what}", self.at))
    }

    /// Makes sure that the chunk at hand has bytes.
    fn fill(&mut self) -> Result<(), SnapshotError> {
        while self.chunk.is_empty() {
            let next = self.source.next_chunk()?;
            self.chunk = next.ok_or_else(|| self.malformed("the stream ends too early"))?;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, SnapshotError> {
        self.fill()?;
        self.at += 1;
        Ok(self.chunk.get_u8())
    }

    fn unsigned(&mut self) -> Result<u64, SnapshotError> {
        let mut varint = Varint::default();
        loop {
            let byte = self.byte()?;
            if let Some(value) = varint.push(byte).map_err(|what| self.malformed(what))? {
                return Ok(value);
            }
        }
    }

    fn signed(&mut self) -> Result<i64, SnapshotError> {
        self.unsigned().map(unfold)
    }

    /// A slice behind its length. Memory grows with the bytes that arrive, not with what they
    /// announce.
    fn slice(&mut self) -> Result<Bytes, SnapshotError> {
        let len = usize::try_from(self.unsigned()?)
            .map_err(|_| self.malformed("a length that no memory holds"))?;
        if len <= self.chunk.len() {
            self.at += len as u64;
            return Ok(self.chunk.split_to(len));
        }
        let mut bytes = Vec::new();
        while bytes.len() < len {
            self.fill()?;
            let part = self.chunk.split_to((len - bytes.len()).min(self.chunk.len()));
            self.at += part.len() as u64;
            bytes.extend_from_slice(&part);
        }
        Ok(bytes.into())
    }

    fn finish(&mut self) -> Result<(), SnapshotError> {
        let mut rest = self.chunk.len();
        while let Some(chunk) = self.source.next_chunk()? {
            rest += chunk.len();
        }
        if rest == 0 { Ok(()) } else { Err(self.malformed("bytes after the end")) }
    }
}

const MAGIC: &[u8; 4] = b"rkvs";
const VERSION: u8 = 1;

const TAG_END: u8 = 0;
const TAG_GROUND: u8 = 1;
const TAG_PUT: u8 = 2;
const TAG_DELETE: u8 = 3;
