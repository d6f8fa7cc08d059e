//! The bytes of a batch: header, table of records, body of payloads.
//!
//! * Identity (table) and content (body) have checksums of their own: a payload that rots still
//!   tells which entry it was.
//! * A header is covered by a checksum that begins with the salt of its segment: neither an older
//!   life of the file nor a payload can look like a batch.
//! * An entry's payload is on the disk exactly as on the wire, and keeps the seal it came with.
//!
//! `docs/WAL_FORMAT.md` draws it byte by byte. Read next: `segment.rs`.

use std::io::IoSlice;

use bytes::{BufMut, Bytes};
use crc_fast::{CrcAlgorithm, Digest, crc32_iscsi, crc64_nvme};
use raft_core::codec::{encode_payload_header, put_varint};
use raft_core::{Entry, EntryId, GroupId, HardState, Index, NodeId, PayloadKind, Term};

use crate::disk::zeros;

/// Bytes of a batch header.
pub(super) const HEADER_BYTES: usize = 64;

const MAGIC: [u8; 4] = *b"RWB1";

/// Flags a batch may have: a mark, a seal, a clean stop. This code writes none of them.
pub(super) const FLAG_SEAL: u32 = 2;
const FLAGS_KNOWN: u32 = 1 | FLAG_SEAL | 4;

/// Payloads up to this many bytes are copied beside each other, larger ones written from where they
/// are: below it a copy costs less than another slice in the system call.
const COPY_BYTES_MAX: usize = 16 << 10;

/// The fixed front of every batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Bytes of the table with its checksum; zero in a mark.
    pub(super) table_len: u32,
    pub(super) body_len: u32,
    pub(super) records: u32,
    pub(super) flags: u32,
    /// Number of the batch in the stream; never used twice.
    pub(super) lsn: u64,
    /// The highest number whose sync had returned when this header was encoded.
    pub(super) durable_lsn: u64,
    /// CRC-64/NVME of the header of the batch before, also across segments.
    pub(super) chain: u64,
    /// CRC-64/NVME of table and body.
    pub(super) body_sum: u64,
}

/// Why bytes are not a batch header of this segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderFault {
    /// Nothing was ever written here.
    Zero,
    /// A batch of an earlier life of the file.
    OlderLife,
    /// Neither.
    Damaged { expected: u32, found: u32 },
}

impl BatchHeader {
    pub(super) fn encode(&self, salt: u128) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(0);
        out.put_u32_le(self.table_len);
        out.put_u32_le(self.body_len);
        out.put_u32_le(self.records);
        out.put_u32_le(self.flags);
        out.put_u64_le(self.lsn);
        out.put_u64_le(self.durable_lsn);
        out.put_slice(&salt.to_le_bytes()[..8]);
        out.put_u64_le(self.chain);
        out.put_u64_le(self.body_sum);
        let crc = header_crc(&bytes, salt);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES], salt: u128) -> Result<Self, HeaderFault> {
        let found = u32_at(bytes, 4);
        let expected = header_crc(bytes, salt);
        if bytes[..4] == MAGIC && expected == found {
            return Ok(Self {
                table_len: u32_at(bytes, 8),
                body_len: u32_at(bytes, 12),
                records: u32_at(bytes, 16),
                flags: u32_at(bytes, 20),
                lsn: u64_at(bytes, 24),
                durable_lsn: u64_at(bytes, 32),
                chain: u64_at(bytes, 48),
                body_sum: u64_at(bytes, 56),
            });
        }
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(HeaderFault::Zero);
        }
        // A torn header may lack its salt, but only an older life has another one.
        let prefix = u64_at(bytes, 40).to_le_bytes();
        if bytes[..4] == MAGIC && prefix != [0; 8] && prefix != salt.to_le_bytes()[..8] {
            return Err(HeaderFault::OlderLife);
        }
        Err(HeaderFault::Damaged { expected, found })
    }

    /// What the next batch names as the one before it.
    pub(super) fn sum(&self, salt: u128) -> u64 {
        crc64_nvme(&self.encode(salt))
    }

    /// Bytes of the batch without padding.
    pub(super) const fn bytes(&self) -> u64 {
        HEADER_BYTES as u64 + self.table_len as u64 + self.body_len as u64
    }

    /// Flags that this code does not know.
    pub(super) const fn unknown_flags(&self) -> u32 {
        self.flags & !FLAGS_KNOWN
    }

    /// Whether table and body (in this order, nothing else) are what was written.
    pub(super) fn covers(&self, content: &[u8]) -> bool {
        crc64_nvme(content) == self.body_sum
    }

    /// The records of the table, if its checksum holds.
    pub(super) fn table<'a>(&self, content: &'a [u8]) -> Option<&'a [u8]> {
        let len = self.table_len as usize;
        let records = len.checked_sub(4)?;
        let table = content.get(..len)?;
        (crc32_iscsi(&table[..records]) == u32_at(table, records)).then(|| &table[..records])
    }
}

/// Whether some bytes begin like a batch: a cheap look before the checksum.
pub(super) fn looks_like_batch(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

fn header_crc(bytes: &[u8; HEADER_BYTES], salt: u128) -> u32 {
    let mut covered = [0; 16 + HEADER_BYTES - 4];
    covered[..16].copy_from_slice(&salt.to_le_bytes());
    covered[16..20].copy_from_slice(&bytes[..4]);
    covered[20..].copy_from_slice(&bytes[8..]);
    crc32_iscsi(&covered)
}

/// What a record is about. Numbers below 128 are critical: who does not know one must not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Entry,
    HardState,
    Truncate,
    Purge,
    Snapshot,
    GroupCreate,
    Checkpoint,
    /// At least 128: later versions may write it, and this one may ignore it.
    Ignorable,
}

impl Kind {
    /// The name of the record in `docs/WAL_FORMAT.md`.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Entry => "Entry",
            Self::HardState => "HardState",
            Self::Truncate => "Truncate",
            Self::Purge => "Purge",
            Self::Snapshot => "Snapshot",
            Self::GroupCreate => "GroupCreate",
            Self::Checkpoint => "Checkpoint",
            Self::Ignorable => "unknown, may be ignored",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::Entry => 1,
            Self::HardState => 2,
            Self::Truncate => 3,
            Self::Purge => 4,
            Self::Snapshot => 5,
            Self::GroupCreate => 6,
            Self::Checkpoint => 9,
            Self::Ignorable => 128,
        }
    }

    const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Entry,
            2 => Self::HardState,
            3 => Self::Truncate,
            4 => Self::Purge,
            5 => Self::Snapshot,
            6 => Self::GroupCreate,
            9 => Self::Checkpoint,
            128.. => Self::Ignorable,
            _ => return None,
        })
    }
}

/// The number of a payload's kind in the table.
pub(super) const fn payload_kind(kind: PayloadKind) -> u64 {
    match kind {
        PayloadKind::NoOp => 0,
        PayloadKind::Command => 1,
        PayloadKind::Membership => 2,
    }
}

/// Group and a are those of the record before, b is one more; all three are left out.
const FLAG_FOLLOWS: u8 = 1;

/// One line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) group: GroupId,
    pub(super) a: u64,
    pub(super) b: u64,
    pub(super) c: u64,
    /// Bytes of the payload.
    pub(super) len: usize,
    /// CRC-32C of the payload; of an entry it is the seal.
    pub(super) crc: u32,
    /// Where the payload begins, counted from the start of the body.
    pub(super) body_at: usize,
}

impl Record {
    /// The id of an entry, or of what else has a term and an index.
    pub(super) const fn id(&self) -> EntryId {
        EntryId::new(Term::new(self.a), Index::new(self.b))
    }

    /// The hard state of a [`Kind::HardState`].
    pub(super) fn hard_state(&self) -> HardState {
        HardState {
            term: Term::new(self.a),
            voted_for: NodeId::new(self.b),
            commit: Index::new(self.c),
        }
    }

    /// The payload, out of the body; `None` if it is not what was written.
    pub(super) fn payload<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        let payload = self.unverified_payload(body)?;
        (self.len == 0 || crc32_iscsi(payload) == self.crc).then_some(payload)
    }

    /// The same bytes, for who has another proof that they are what was written, or will ask later.
    pub(super) fn unverified_payload<'a>(&self, body: &'a [u8]) -> Option<&'a [u8]> {
        body.get(self.body_at..self.body_at.checked_add(self.len)?)
    }
}

/// What is wrong with a table whose checksum holds: another version wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableFault {
    /// A record ends beyond the table, or a number is not in its shortest form.
    Malformed,
    /// A critical kind that this code does not know.
    UnknownKind(u8),
    /// A record flag that this code does not know.
    UnknownFlags(u8),
}

/// Takes the records of a table one after the other.
#[derive(Clone, Debug)]
pub(super) struct Table<'a> {
    rest: &'a [u8],
    before: Option<Record>,
    body_at: usize,
}

impl<'a> Table<'a> {
    pub(super) const fn new(table: &'a [u8]) -> Self {
        Self { rest: table, before: None, body_at: 0 }
    }

    fn take(&mut self) -> Result<Record, TableFault> {
        let number = self.byte()?;
        let kind = Kind::from_number(number).ok_or(TableFault::UnknownKind(number))?;
        let flags = self.byte()?;
        if flags & !FLAG_FOLLOWS != 0 && kind != Kind::Ignorable {
            return Err(TableFault::UnknownFlags(flags));
        }
        let (group, a, b) = match (flags & FLAG_FOLLOWS, self.before) {
            (0, _) => (GroupId::new(self.varint()?), self.varint()?, self.varint()?),
            (_, Some(before)) => {
                let next = before.b.checked_add(1).ok_or(TableFault::Malformed)?;
                (before.group, before.a, next)
            }
            (_, None) => return Err(TableFault::Malformed),
        };
        let c = self.varint()?;
        let len = usize::try_from(self.varint()?).map_err(|_| TableFault::Malformed)?;
        let crc = if len == 0 { 0 } else { self.word()? };
        let body_at = self.body_at;
        self.body_at = body_at.checked_add(len).ok_or(TableFault::Malformed)?;
        Ok(Record { kind, group, a, b, c, len, crc, body_at })
    }

    fn byte(&mut self) -> Result<u8, TableFault> {
        let (first, rest) = self.rest.split_first().ok_or(TableFault::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    fn word(&mut self) -> Result<u32, TableFault> {
        let (word, rest) = self.rest.split_first_chunk().ok_or(TableFault::Malformed)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*word))
    }

    fn varint(&mut self) -> Result<u64, TableFault> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            let overflows = shift == 63 && bits > 1;
            let padded = byte == 0 && shift > 0;
            if overflows || padded {
                return Err(TableFault::Malformed);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(TableFault::Malformed)
    }
}

impl Iterator for Table<'_> {
    type Item = Result<Record, TableFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.take();
        match record {
            Ok(record) => self.before = Some(record),
            Err(_) => self.rest = &[],
        }
        Some(record)
    }
}

/// Builds one batch after the other in buffers that it keeps.
#[derive(Debug, Default)]
pub(super) struct BatchEncoder {
    /// Header and table.
    head: Vec<u8>,
    /// Payloads that were copied.
    copied: Vec<u8>,
    /// The body in order: copied up to a place, or somewhere else.
    pieces: Vec<Piece>,
    body_len: u64,
    records: u32,
    before: Option<(GroupId, EntryId)>,
    padding: u64,
}

#[derive(Debug)]
enum Piece {
    /// Copied bytes up to this place.
    Copied(usize),
    Shared(Bytes),
}

/// What [`BatchEncoder::seal`] needs to know of the stream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) salt: u128,
    pub(super) alignment: u64,
    pub(super) lsn: u64,
    pub(super) durable_lsn: u64,
    pub(super) chain: u64,
}

impl BatchEncoder {
    /// Forgets the batch before and begins another one.
    pub(super) fn clear(&mut self) {
        self.head.clear();
        self.head.resize(HEADER_BYTES, 0);
        self.copied.clear();
        self.pieces.clear();
        (self.body_len, self.records, self.before, self.padding) = (0, 0, None, 0);
    }

    pub(super) const fn records(&self) -> u32 {
        self.records
    }

    /// A record without payload.
    pub(super) fn fact(&mut self, kind: Kind, group: GroupId, (a, b, c): (u64, u64, u64)) {
        self.line(kind, group, (a, b, c), 0);
        self.before = None;
    }

    /// A record with a payload of its own.
    pub(super) fn fact_with(&mut self, kind: Kind, group: GroupId, id: EntryId, payload: &[u8]) {
        let numbers = (id.term.get(), id.index.get(), 0);
        self.line(kind, group, numbers, payload.len());
        self.head.put_u32_le(crc32_iscsi(payload));
        self.copied.extend_from_slice(payload);
        self.body_len += payload.len() as u64;
        self.before = None;
    }

    /// An entry: identity and seal into the table, header and bytes into the body. Answers whether
    /// the payload still is what was sealed.
    #[must_use]
    pub(super) fn entry(&mut self, group: GroupId, entry: &Entry) -> bool {
        let (payload, id) = (&entry.payload, entry.id);
        let at = self.copied.len();
        encode_payload_header(payload, &mut self.copied);
        let len = self.copied.len() - at + payload.bytes().len();
        let c = payload_kind(payload.kind());
        if self.before == Some((group, EntryId::new(id.term, id.index.prev()))) {
            self.head.extend_from_slice(&[Kind::Entry.number(), FLAG_FOLLOWS]);
            put_varint(&mut self.head, c);
            put_varint(&mut self.head, len as u64);
            self.records += 1;
        } else {
            self.line(Kind::Entry, group, (id.term.get(), id.index.get(), c), len);
        }
        self.head.put_u32_le(payload.checksum().get());
        self.before = Some((group, id));
        self.body_len += len as u64;
        if payload.bytes().len() <= COPY_BYTES_MAX {
            self.copied.extend_from_slice(payload.bytes());
            return crc32_iscsi(&self.copied[at..]) == payload.checksum().get();
        }
        let mut crc = Digest::new(CrcAlgorithm::Crc32Iscsi);
        crc.update(&self.copied[at..]);
        crc.update(payload.bytes());
        self.pieces.push(Piece::Copied(self.copied.len()));
        self.pieces.push(Piece::Shared(payload.bytes().clone()));
        crc.finalize() == u64::from(payload.checksum().get())
    }

    fn line(&mut self, kind: Kind, group: GroupId, (a, b, c): (u64, u64, u64), len: usize) {
        self.head.extend_from_slice(&[kind.number(), 0]);
        for number in [group.get(), a, b, c, len as u64] {
            put_varint(&mut self.head, number);
        }
        self.records += 1;
    }

    /// Ends the batch with its checksums and header. `None` if it is too large for the format.
    pub(super) fn seal(&mut self, place: Place) -> Option<BatchHeader> {
        self.pieces.push(Piece::Copied(self.copied.len()));
        let crc = crc32_iscsi(&self.head[HEADER_BYTES..]);
        self.head.put_u32_le(crc);
        let mut sum = Digest::new(CrcAlgorithm::Crc64Nvme);
        sum.update(&self.head[HEADER_BYTES..]);
        self.for_each_piece(|piece| sum.update(piece));
        let header = BatchHeader {
            table_len: u32::try_from(self.head.len() - HEADER_BYTES).ok()?,
            body_len: u32::try_from(self.body_len).ok()?,
            records: self.records,
            flags: 0,
            lsn: place.lsn,
            durable_lsn: place.durable_lsn,
            chain: place.chain,
            body_sum: sum.finalize(),
        };
        self.head[..HEADER_BYTES].copy_from_slice(&header.encode(place.salt));
        self.padding = header.bytes().next_multiple_of(place.alignment) - header.bytes();
        Some(header)
    }

    /// The sealed batch as slices to be written one after the other, padding included.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(self.pieces.len() + 2);
        slices.push(IoSlice::new(&self.head));
        let mut at = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Copied(end) => {
                    slices.push(IoSlice::new(&self.copied[at..*end]));
                    at = *end;
                }
                Piece::Shared(bytes) => slices.push(IoSlice::new(bytes)),
            }
        }
        slices.push(IoSlice::new(zeros(self.padding)));
        slices.retain(|slice| !slice.is_empty());
        slices
    }

    fn for_each_piece(&self, mut visit: impl FnMut(&[u8])) {
        let mut at = 0;
        for piece in &self.pieces {
            match piece {
                Piece::Copied(end) => {
                    visit(&self.copied[at..*end]);
                    at = *end;
                }
                Piece::Shared(bytes) => visit(bytes),
            }
        }
    }
}

/// A little-endian integer at a place that exists.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("a range of four bytes"))
}

/// A little-endian integer at a place that exists.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("a range of eight bytes"))
}

/// A little-endian integer at a place that exists.
pub(super) fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().expect("a range of sixteen bytes"))
}
