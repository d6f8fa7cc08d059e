//! What can be asked of the store, as types and as bytes.
//!
//! The types mirror etcd's messages field by field, except what only a server can decide
//! (`serializable`: where a read may be answered) and the header. They *borrow* keys and values: a
//! server encodes straight from the message it received, the store decodes in place, and the only
//! copy of a value is the one the store keeps.
//!
//! ```text
//! command     version=1  kind(1 put, 2 delete range, 3 txn, 4 compact)  body
//! query       version=1  kind(1 range, 3 txn)                           body
//! put         flags(1 prev_kv, 2 ignore_value, 4 ignore_lease, 8 lease)  key  value  [lease]
//! delete      flags(1 prev_kv)  key  range_end
//! range       sorting(order + 4 * target)  flags(1 keys_only, 2 count_only)
//!             presence(1 limit, 2 revision, 4/8 min/max mod, 16/32 min/max create)
//!             key  range_end  [each present number]
//! txn         n  n * compare   n  n * operation   n  n * operation
//! compare     result + 4 * target  key  range_end  operand
//! operation   kind(1 range, 2 put, 3 delete range, 4 txn)  body
//! compact     revision  physical(0 or 1)
//! ```
//!
//! Keys, values and ranges are slices behind their length; numbers are variable-length
//! (`codec.rs`). Decoding never panics, accepts only what encoding writes, nests at most
//! [`TXN_DEPTH_MAX`] deep, and needs at most [`DECODED_BYTES_PER_BYTE_MAX`] bytes of memory per
//! byte of input.
//!
//! Read next: `validate.rs` for what is refused before the log, `response.rs` for the answers.

use crate::codec::{Encode, Reader, Sink};
use crate::{DecodeError, RequestError};

/// A write, as it stands in the log.
///
/// # Examples
///
/// ```
/// use raft_kv::{Command, Limits, PutRequest};
///
/// let put = Command::Put(PutRequest { key: b"color", value: b"blue", ..PutRequest::default() });
/// put.validate(&Limits::default())?;
/// assert_eq!(Command::decode(&put.encode()), Ok(put));
/// # Ok::<(), raft_kv::RequestError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Sets a key.
    Put(PutRequest<'a>),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest<'a>),
    /// Compares, then executes one of two lists of operations, in one revision.
    Txn(TxnRequest<'a>),
    /// Forgets the history before a revision.
    Compact(CompactionRequest),
}

/// A read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query<'a> {
    /// Reads a range of keys.
    Range(RangeRequest<'a>),
    /// A transaction that writes nothing ([`TxnRequest::is_read_only`]).
    Txn(TxnRequest<'a>),
}

/// Sets a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutRequest<'a> {
    /// The key, not empty.
    pub key: &'a [u8],
    /// The value; may be empty.
    pub value: &'a [u8],
    /// The lease to attach the key to; 0 for none.
    pub lease: i64,
    /// Whether to answer with what the key was before.
    pub prev_kv: bool,
    /// Keeps the value; the key must exist and `value` be empty.
    pub ignore_value: bool,
    /// Keeps the lease; the key must exist and `lease` be 0.
    pub ignore_lease: bool,
}

/// Deletes a range of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeRequest<'a> {
    /// The first key, not empty.
    pub key: &'a [u8],
    /// The end of the range as in [`RangeRequest::range_end`].
    pub range_end: &'a [u8],
    /// Whether to answer with what was deleted.
    pub prev_kv: bool,
}

/// Reads a range of keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeRequest<'a> {
    /// The first key, not empty.
    pub key: &'a [u8],
    /// The first key after the range; empty for `key` alone, a zero byte for no end (RNG-1).
    pub range_end: &'a [u8],
    /// At most so many keys are returned; 0 and below for all.
    pub limit: i64,
    /// The revision to read at; 0 and below for the newest.
    pub revision: i64,
    /// In which order.
    pub sort_order: SortOrder,
    /// By what the order is made.
    pub sort_target: SortTarget,
    /// Returns keys without their values.
    pub keys_only: bool,
    /// Returns only how many keys there are.
    pub count_only: bool,
    /// Keeps keys last modified at this revision or later; 0 for any.
    pub min_mod_revision: i64,
    /// Keeps keys last modified at this revision or earlier; 0 for any.
    pub max_mod_revision: i64,
    /// Keeps keys created at this revision or later; 0 for any.
    pub min_create_revision: i64,
    /// Keeps keys created at this revision or earlier; 0 for any.
    pub max_create_revision: i64,
}

/// The order of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortOrder {
    /// As the target has it: ascending.
    #[default]
    None,
    /// Smallest first.
    Ascend,
    /// Greatest first.
    Descend,
    /// A number outside of the protocol; refused by validation, in its turn.
    Unrecognized,
}

/// What a range is ordered by; equal ones are ordered by key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortTarget {
    /// The key.
    #[default]
    Key,
    /// The version.
    Version,
    /// The revision of creation.
    Create,
    /// The revision of the last modification.
    Mod,
    /// The value.
    Value,
    /// A number outside of the protocol; refused by validation, in its turn.
    Unrecognized,
}

/// Compares, then executes one of two lists of operations, in one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnRequest<'a> {
    /// All must hold for `success`; otherwise `failure` is executed.
    pub compare: Vec<Compare<'a>>,
    /// Executed if every compare holds.
    pub success: Vec<RequestOp<'a>>,
    /// Executed otherwise.
    pub failure: Vec<RequestOp<'a>>,
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestOp<'a> {
    /// Reads a range of keys.
    Range(RangeRequest<'a>),
    /// Sets a key.
    Put(PutRequest<'a>),
    /// Deletes a range of keys.
    DeleteRange(DeleteRangeRequest<'a>),
    /// A transaction inside.
    Txn(TxnRequest<'a>),
    /// Nothing is set; refused by validation, in its turn. It has no place in a log: its encoding
    /// does not decode.
    Unset,
}

/// One condition of a transaction, on one key or on each key of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compare<'a> {
    /// The first key, not empty.
    pub key: &'a [u8],
    /// The end of the range as in [`RangeRequest::range_end`].
    pub range_end: &'a [u8],
    /// How what is found must relate to the operand.
    pub result: CompareResult,
    /// What is compared, and the operand.
    pub target: CompareTarget<'a>,
}

/// How what is found must relate to the operand of a [`Compare`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareResult {
    /// It is equal.
    Equal,
    /// It is greater.
    Greater,
    /// It is less.
    Less,
    /// It is not equal.
    NotEqual,
}

/// What a [`Compare`] looks at, with the operand.
///
/// A message whose operand is missing, or of another kind than its target, compares with 0 or with
/// the empty value (TXN-3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompareTarget<'a> {
    /// The version; 0 for a missing key.
    Version(i64),
    /// The revision of creation; 0 for a missing key.
    Create(i64),
    /// The revision of the last modification; 0 for a missing key.
    Mod(i64),
    /// The value, bytewise; never holds for a missing key, whatever the operator (TXN-2).
    Value(&'a [u8]),
    /// The lease; 0 for a missing key.
    Lease(i64),
}

/// Forgets the history before a revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionRequest {
    /// The oldest revision that stays readable.
    pub revision: i64,
    /// Whether the caller wants to wait until the space is reclaimed. It stands in the log for the
    /// server, which waits; the store does the same either way (CMP-4).
    pub physical: bool,
}

/// Transactions nest at most this many levels: with etcd's default of 128 operations, of which
/// every level needs one, deeper ones cannot pass; and every level takes a stack frame.
pub const TXN_DEPTH_MAX: usize = 128;

/// A decoded command or query holds at most so many bytes of memory, besides what it borrows, per
/// byte of its encoding.
pub const DECODED_BYTES_PER_BYTE_MAX: usize = 32;

impl<'a> Command<'a> {
    /// Writes the command into a buffer of exactly its size: one allocation.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_exactly()
    }

    /// Reads a command in place; what it holds borrows from `bytes`.
    ///
    /// # Errors
    ///
    /// Any [`DecodeError`]; the bytes are not applied.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let command = match reader.byte()? {
            KIND_PUT => Self::Put(PutRequest::read(&mut reader)?),
            KIND_DELETE_RANGE => Self::DeleteRange(DeleteRangeRequest::read(&mut reader)?),
            KIND_TXN => Self::Txn(TxnRequest::read(&mut reader, 1)?),
            KIND_COMPACT => Self::Compact(CompactionRequest::read(&mut reader)?),
            found => return Err(DecodeError::UnknownKind { what: "command", found }),
        };
        reader.finish()?;
        Ok(command)
    }
}

impl Encode for Command<'_> {
    fn encode_to(&self, sink: &mut impl Sink) {
        sink.byte(VERSION);
        match self {
            Self::Put(request) => request.write(KIND_PUT, sink),
            Self::DeleteRange(request) => request.write(KIND_DELETE_RANGE, sink),
            Self::Txn(request) => request.write(KIND_TXN, sink),
            Self::Compact(request) => {
                sink.byte(KIND_COMPACT);
                sink.signed(request.revision);
                sink.byte(u8::from(request.physical));
            }
        }
    }
}

impl<'a> Query<'a> {
    /// Writes the query into a buffer of exactly its size: one allocation.
    pub fn encode(&self) -> Vec<u8> {
        self.encode_exactly()
    }

    /// Reads a query in place; what it holds borrows from `bytes`.
    ///
    /// # Errors
    ///
    /// Any [`DecodeError`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        read_version(&mut reader)?;
        let query = match reader.byte()? {
            KIND_RANGE => Self::Range(RangeRequest::read(&mut reader)?),
            KIND_TXN => Self::Txn(TxnRequest::read(&mut reader, 1)?),
            found => return Err(DecodeError::UnknownKind { what: "query", found }),
        };
        reader.finish()?;
        Ok(query)
    }
}

impl Encode for Query<'_> {
    fn encode_to(&self, sink: &mut impl Sink) {
        sink.byte(VERSION);
        match self {
            Self::Range(request) => request.write(KIND_RANGE, sink),
            Self::Txn(request) => request.write(KIND_TXN, sink),
        }
    }
}

fn read_version(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
    match reader.byte()? {
        VERSION => Ok(()),
        found => Err(DecodeError::UnknownVersion { found, known: VERSION }),
    }
}

impl<'a> PutRequest<'a> {
    fn write(&self, kind: u8, sink: &mut impl Sink) {
        sink.byte(kind);
        sink.byte(
            flag(self.prev_kv, PUT_PREV_KV)
                | flag(self.ignore_value, PUT_IGNORE_VALUE)
                | flag(self.ignore_lease, PUT_IGNORE_LEASE)
                | flag(self.lease != 0, PUT_LEASE),
        );
        sink.slice(self.key);
        sink.slice(self.value);
        if self.lease != 0 {
            sink.signed(self.lease);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flags = reader.flags(PUT_PREV_KV | PUT_IGNORE_VALUE | PUT_IGNORE_LEASE | PUT_LEASE)?;
        Ok(Self {
            key: reader.slice()?,
            value: reader.slice()?,
            lease: reader.signed_if(flags & PUT_LEASE != 0)?,
            prev_kv: flags & PUT_PREV_KV != 0,
            ignore_value: flags & PUT_IGNORE_VALUE != 0,
            ignore_lease: flags & PUT_IGNORE_LEASE != 0,
        })
    }
}

impl<'a> DeleteRangeRequest<'a> {
    fn write(&self, kind: u8, sink: &mut impl Sink) {
        sink.byte(kind);
        sink.byte(flag(self.prev_kv, 1));
        sink.slice(self.key);
        sink.slice(self.range_end);
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let prev_kv = reader.flags(1)? != 0;
        Ok(Self { key: reader.slice()?, range_end: reader.slice()?, prev_kv })
    }
}

impl<'a> RangeRequest<'a> {
    fn write(&self, kind: u8, sink: &mut impl Sink) {
        sink.byte(kind);
        sink.byte(self.sort_order.code() | self.sort_target.code() << 2);
        sink.byte(flag(self.keys_only, RANGE_KEYS_ONLY) | flag(self.count_only, RANGE_COUNT_ONLY));
        let numbers = self.numbers();
        let presence =
            numbers.iter().enumerate().map(|(bit, number)| u8::from(*number != 0) << bit);
        sink.byte(presence.sum());
        sink.slice(self.key);
        sink.slice(self.range_end);
        for number in numbers.into_iter().filter(|number| *number != 0) {
            sink.signed(number);
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let sorting = reader.flags(0b1_1111)?;
        let flags = reader.flags(RANGE_KEYS_ONLY | RANGE_COUNT_ONLY)?;
        let presence = reader.flags(0b11_1111)?;
        let (sort_order, sort_target) = (
            SortOrder::from_code(sorting & 0b11),
            SortTarget::from_code(sorting >> 2)
                .ok_or_else(|| reader.malformed("a sort target that nobody writes"))?,
        );
        Ok(Self {
            sort_order,
            sort_target,
            keys_only: flags & RANGE_KEYS_ONLY != 0,
            count_only: flags & RANGE_COUNT_ONLY != 0,
            key: reader.slice()?,
            range_end: reader.slice()?,
            limit: reader.signed_if(presence & 1 != 0)?,
            revision: reader.signed_if(presence & 1 << 1 != 0)?,
            min_mod_revision: reader.signed_if(presence & 1 << 2 != 0)?,
            max_mod_revision: reader.signed_if(presence & 1 << 3 != 0)?,
            min_create_revision: reader.signed_if(presence & 1 << 4 != 0)?,
            max_create_revision: reader.signed_if(presence & 1 << 5 != 0)?,
        })
    }

    fn numbers(&self) -> [i64; 6] {
        [
            self.limit,
            self.revision,
            self.min_mod_revision,
            self.max_mod_revision,
            self.min_create_revision,
            self.max_create_revision,
        ]
    }
}

impl SortOrder {
    fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Ascend => 1,
            Self::Descend => 2,
            Self::Unrecognized => 3,
        }
    }

    fn from_code(code: u8) -> Self {
        match code {
            0 => Self::None,
            1 => Self::Ascend,
            2 => Self::Descend,
            _ => Self::Unrecognized,
        }
    }
}

impl SortTarget {
    fn code(self) -> u8 {
        match self {
            Self::Key => 0,
            Self::Version => 1,
            Self::Create => 2,
            Self::Mod => 3,
            Self::Value => 4,
            Self::Unrecognized => 5,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Key),
            1 => Some(Self::Version),
            2 => Some(Self::Create),
            3 => Some(Self::Mod),
            4 => Some(Self::Value),
            5 => Some(Self::Unrecognized),
            _ => None,
        }
    }
}

impl<'a> TxnRequest<'a> {
    /// Whether both branches hold nothing but ranges, so that the transaction may take the way of
    /// reads (TXN-11). A nested transaction does not count as read-only, whatever it holds.
    pub fn is_read_only(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|op| match op {
            RequestOp::Range(_) => true,
            RequestOp::Put(_)
            | RequestOp::DeleteRange(_)
            | RequestOp::Txn(_)
            | RequestOp::Unset => false,
        })
    }

    fn write(&self, kind: u8, sink: &mut impl Sink) {
        sink.byte(kind);
        sink.length(self.compare.len());
        for compare in &self.compare {
            compare.write(sink);
        }
        for branch in [&self.success, &self.failure] {
            sink.length(branch.len());
            for op in branch {
                op.write(sink);
            }
        }
    }

    fn read(reader: &mut Reader<'a>, depth: usize) -> Result<Self, DecodeError> {
        if depth > TXN_DEPTH_MAX {
            return Err(DecodeError::TooDeep { max: TXN_DEPTH_MAX });
        }
        let compares = reader.list_len(ITEM_BYTES_MIN)?;
        let mut txn = Self { compare: Vec::with_capacity(compares), ..Self::default() };
        for _ in 0..compares {
            txn.compare.push(Compare::read(reader)?);
        }
        for branch in [&mut txn.success, &mut txn.failure] {
            let ops = reader.list_len(ITEM_BYTES_MIN)?;
            branch.reserve_exact(ops);
            for _ in 0..ops {
                branch.push(RequestOp::read(reader, depth)?);
            }
        }
        Ok(txn)
    }
}

impl<'a> RequestOp<'a> {
    fn write(&self, sink: &mut impl Sink) {
        match self {
            Self::Range(request) => request.write(OP_RANGE, sink),
            Self::Put(request) => request.write(OP_PUT, sink),
            Self::DeleteRange(request) => request.write(OP_DELETE_RANGE, sink),
            Self::Txn(request) => request.write(OP_TXN, sink),
            Self::Unset => sink.byte(OP_UNSET),
        }
    }

    fn read(reader: &mut Reader<'a>, depth: usize) -> Result<Self, DecodeError> {
        match reader.byte()? {
            OP_RANGE => RangeRequest::read(reader).map(Self::Range),
            OP_PUT => PutRequest::read(reader).map(Self::Put),
            OP_DELETE_RANGE => DeleteRangeRequest::read(reader).map(Self::DeleteRange),
            OP_TXN => TxnRequest::read(reader, depth + 1).map(Self::Txn),
            OP_UNSET => Err(reader.malformed("an operation with nothing in it")),
            _ => Err(reader.malformed("an unknown kind of operation")),
        }
    }
}

impl<'a> Compare<'a> {
    fn write(&self, sink: &mut impl Sink) {
        let result = match self.result {
            CompareResult::Equal => 0,
            CompareResult::Greater => 1,
            CompareResult::Less => 2,
            CompareResult::NotEqual => 3,
        };
        let (target, operand) = match self.target {
            CompareTarget::Version(operand) => (0, Ok(operand)),
            CompareTarget::Create(operand) => (1, Ok(operand)),
            CompareTarget::Mod(operand) => (2, Ok(operand)),
            CompareTarget::Value(operand) => (3, Err(operand)),
            CompareTarget::Lease(operand) => (4, Ok(operand)),
        };
        sink.byte(result | target << 2);
        sink.slice(self.key);
        sink.slice(self.range_end);
        match operand {
            Ok(number) => sink.signed(number),
            Err(value) => sink.slice(value),
        }
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let code = reader.flags(0b1_1111)?;
        let result = match code & 0b11 {
            0 => CompareResult::Equal,
            1 => CompareResult::Greater,
            2 => CompareResult::Less,
            _ => CompareResult::NotEqual,
        };
        let (key, range_end) = (reader.slice()?, reader.slice()?);
        let target = match code >> 2 {
            0 => CompareTarget::Version(reader.signed()?),
            1 => CompareTarget::Create(reader.signed()?),
            2 => CompareTarget::Mod(reader.signed()?),
            3 => CompareTarget::Value(reader.slice()?),
            4 => CompareTarget::Lease(reader.signed()?),
            _ => return Err(reader.malformed("an unknown target of a compare")),
        };
        Ok(Self { key, range_end, result, target })
    }
}

impl CompactionRequest {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { revision: reader.signed()?, physical: reader.flags(1)? != 0 })
    }
}

fn flag(is_set: bool, bit: u8) -> u8 {
    if is_set { bit } else { 0 }
}

/// The format version, the first byte.
pub(crate) const VERSION: u8 = 1;

const KIND_PUT: u8 = 1;
const KIND_DELETE_RANGE: u8 = 2;
const KIND_TXN: u8 = 3;
const KIND_COMPACT: u8 = 4;
/// Of queries; shares its numbers with `KIND_TXN`, not with the other writes.
const KIND_RANGE: u8 = 1;

const PUT_PREV_KV: u8 = 1;
const PUT_IGNORE_VALUE: u8 = 2;
const PUT_IGNORE_LEASE: u8 = 4;
const PUT_LEASE: u8 = 8;

const RANGE_KEYS_ONLY: u8 = 1;
const RANGE_COUNT_ONLY: u8 = 2;

const OP_UNSET: u8 = 0;
const OP_RANGE: u8 = 1;
const OP_PUT: u8 = 2;
const OP_DELETE_RANGE: u8 = 3;
const OP_TXN: u8 = 4;

/// No operation and no compare is shorter: a kind, and at least three more bytes.
const ITEM_BYTES_MIN: usize = 4;

const _: () = assert!(
    size_of::<RequestOp<'_>>() <= ITEM_BYTES_MIN * DECODED_BYTES_PER_BYTE_MAX,
    "an operation in memory is not out of proportion to its bytes"
);
const _: () = assert!(
    size_of::<Compare<'_>>() <= ITEM_BYTES_MIN * DECODED_BYTES_PER_BYTE_MAX,
    "a compare in memory is not out of proportion to its bytes"
);

impl From<DecodeError> for RequestError {
    fn from(_: DecodeError) -> Self {
        Self::Unreadable
    }
}
