//! What the store answers, as types and as bytes.
//!
//! Every answer carries the revision for its header: after a write the new one, for a write without
//! effect and for reads the newest (REV-6). Inside a transaction each answer carries its own
//! (REV-8).
//!
//! ```text
//! answer      version=1  kind(0 error, 1 put, 2 delete range, 3 txn, 4 compact, 5 range)  body
//! error       code  numbers of the code
//! put         flags(1 prev_kv)  revision  [key_value]
//! delete      revision  deleted  n  n * key_value
//! range       flags(1 more)  revision  count  n  n * key_value
//! txn         flags(1 succeeded)  revision  n  n * (kind  body)
//! compact     revision
//! key_value   key  create_revision  mod_revision  version  lease  value
//! ```
//!
//! Read next: `store.rs`, which gives the answers.

use bytes::Bytes;

use crate::codec::{Encode, Reader, Sink};
use crate::command::{TXN_DEPTH_MAX, VERSION};
use crate::{DecodeError, RequestError, SharedBytes};

/// What `apply` and `query` answer, before it is bytes.
pub type Answer = Result<Response, RequestError>;

/// An answer to a [`Command`](crate::Command) or [`Query`](crate::Query).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction.
    Txn(TxnResponse),
    /// To a compaction.
    Compact(CompactionResponse),
    /// To a range.
    Range(RangeResponse),
}

/// A key with its value and history in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValue {
    /// The key.
    pub key: SharedBytes,
    /// The revision that created this generation of the key.
    pub create_revision: i64,
    /// The revision that last wrote the key.
    pub mod_revision: i64,
    /// How often the key was put since its creation; 1 at creation.
    pub version: i64,
    /// The value.
    pub value: SharedBytes,
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
}

/// The answer to a put.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PutResponse {
    /// The revision for the header.
    pub revision: i64,
    /// What the key was before, if that was asked for and there was something.
    pub prev_kv: Option<KeyValue>,
}

/// The answer to a deletion.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteRangeResponse {
    /// The revision for the header.
    pub revision: i64,
    /// How many keys were deleted.
    pub deleted: i64,
    /// The deleted keys in order, if they were asked for.
    pub prev_kvs: Vec<KeyValue>,
}

/// The answer to a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeResponse {
    /// The revision for the header: the newest, also when an older one was read.
    pub revision: i64,
    /// The keys.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the keys.
    pub more: bool,
    /// How many keys are in the range, whatever the limit and the filters (RNG-5).
    pub count: i64,
}

/// The answer to a transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TxnResponse {
    /// The revision for the header.
    pub revision: i64,
    /// Whether every compare held.
    pub succeeded: bool,
    /// One answer per operation of the branch that was executed, in order.
    pub responses: Vec<ResponseOp>,
}

/// The answer to one operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseOp {
    /// To a range.
    Range(RangeResponse),
    /// To a put.
    Put(PutResponse),
    /// To a deletion.
    DeleteRange(DeleteRangeResponse),
    /// To a transaction inside.
    Txn(TxnResponse),
}

/// The answer to a compaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionResponse {
    /// The revision for the header.
    pub revision: i64,
}

/// Writes an answer into a buffer of exactly its size: one allocation.
pub fn encode_answer(answer: &Answer) -> Bytes {
    Bytes::from(answer.encode_exactly())
}

/// Reads an answer of [`encode_answer`].
///
/// # Errors
///
/// Any [`DecodeError`].
pub fn decode_answer(bytes: &[u8]) -> Result<Answer, DecodeError> {
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        VERSION => {}
        found => return Err(DecodeError::UnknownVersion { found, known: VERSION }),
    }
    let answer = match reader.byte()? {
        KIND_ERROR => Err(read_error(&mut reader)?),
        KIND_PUT => Ok(Response::Put(PutResponse::read(&mut reader)?)),
        KIND_DELETE_RANGE => Ok(Response::DeleteRange(DeleteRangeResponse::read(&mut reader)?)),
        KIND_TXN => Ok(Response::Txn(TxnResponse::read(&mut reader, 1)?)),
        KIND_COMPACT => Ok(Response::Compact(CompactionResponse { revision: reader.signed()? })),
        KIND_RANGE => Ok(Response::Range(RangeResponse::read(&mut reader)?)),
        found => return Err(DecodeError::UnknownKind { what: "answer", found }),
    };
    reader.finish()?;
    Ok(answer)
}

impl Encode for Answer {
    fn encode_to(&self, sink: &mut impl Sink) {
        sink.byte(VERSION);
        match self {
            Err(error) => write_error(error, sink),
            Ok(Response::Put(response)) => response.write(sink),
            Ok(Response::DeleteRange(response)) => response.write(sink),
            Ok(Response::Txn(response)) => response.write(sink),
            Ok(Response::Compact(response)) => {
                sink.byte(KIND_COMPACT);
                sink.signed(response.revision);
            }
            Ok(Response::Range(response)) => response.write(sink),
        }
    }
}

fn write_error(error: &RequestError, sink: &mut impl Sink) {
    sink.byte(KIND_ERROR);
    let (code, numbers): (u8, [Option<i64>; 2]) = match *error {
        RequestError::EmptyKey => (1, [None, None]),
        RequestError::KeyNotFound => (2, [None, None]),
        RequestError::ValueProvided => (3, [None, None]),
        RequestError::LeaseProvided => (4, [None, None]),
        RequestError::TooManyOps => (5, [None, None]),
        RequestError::DuplicateKey => (6, [None, None]),
        RequestError::InvalidSortOption => (7, [None, None]),
        RequestError::Compacted { requested, compacted } => (8, [Some(requested), Some(compacted)]),
        RequestError::FutureRevision { requested, current } => {
            (9, [Some(requested), Some(current)])
        }
        RequestError::LeaseNotFound { lease } => (10, [Some(lease), None]),
        RequestError::WriteInQuery => (11, [None, None]),
        RequestError::Unreadable => (12, [None, None]),
    };
    sink.byte(code);
    for number in numbers.into_iter().flatten() {
        sink.signed(number);
    }
}

fn read_error(reader: &mut Reader<'_>) -> Result<RequestError, DecodeError> {
    Ok(match reader.byte()? {
        1 => RequestError::EmptyKey,
        2 => RequestError::KeyNotFound,
        3 => RequestError::ValueProvided,
        4 => RequestError::LeaseProvided,
        5 => RequestError::TooManyOps,
        6 => RequestError::DuplicateKey,
        7 => RequestError::InvalidSortOption,
        8 => RequestError::Compacted { requested: reader.signed()?, compacted: reader.signed()? },
        9 => {
            RequestError::FutureRevision { requested: reader.signed()?, current: reader.signed()? }
        }
        10 => RequestError::LeaseNotFound { lease: reader.signed()? },
        11 => RequestError::WriteInQuery,
        12 => RequestError::Unreadable,
        found => return Err(DecodeError::UnknownKind { what: "error", found }),
    })
}

impl PutResponse {
    fn write(&self, sink: &mut impl Sink) {
        sink.byte(KIND_PUT);
        sink.byte(u8::from(self.prev_kv.is_some()));
        sink.signed(self.revision);
        if let Some(prev_kv) = &self.prev_kv {
            prev_kv.write(sink);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let has_prev_kv = reader.flags(1)? != 0;
        let revision = reader.signed()?;
        let prev_kv = if has_prev_kv { Some(KeyValue::read(reader)?) } else { None };
        Ok(Self { revision, prev_kv })
    }
}

impl DeleteRangeResponse {
    fn write(&self, sink: &mut impl Sink) {
        sink.byte(KIND_DELETE_RANGE);
        sink.signed(self.revision);
        sink.signed(self.deleted);
        write_key_values(&self.prev_kvs, sink);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            revision: reader.signed()?,
            deleted: reader.signed()?,
            prev_kvs: read_key_values(reader)?,
        })
    }
}

impl RangeResponse {
    fn write(&self, sink: &mut impl Sink) {
        sink.byte(KIND_RANGE);
        sink.byte(u8::from(self.more));
        sink.signed(self.revision);
        sink.signed(self.count);
        write_key_values(&self.kvs, sink);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            more: reader.flags(1)? != 0,
            revision: reader.signed()?,
            count: reader.signed()?,
            kvs: read_key_values(reader)?,
        })
    }
}

impl TxnResponse {
    fn write(&self, sink: &mut impl Sink) {
        sink.byte(KIND_TXN);
        sink.byte(u8::from(self.succeeded));
        sink.signed(self.revision);
        sink.length(self.responses.len());
        for response in &self.responses {
            match response {
                ResponseOp::Range(response) => response.write(sink),
                ResponseOp::Put(response) => response.write(sink),
                ResponseOp::DeleteRange(response) => response.write(sink),
                ResponseOp::Txn(response) => response.write(sink),
            }
        }
    }

    fn read(reader: &mut Reader<'_>, depth: usize) -> Result<Self, DecodeError> {
        if depth > TXN_DEPTH_MAX {
            return Err(DecodeError::TooDeep { max: TXN_DEPTH_MAX });
        }
        let succeeded = reader.flags(1)? != 0;
        let revision = reader.signed()?;
        let len = reader.list_len(RESPONSE_BYTES_MIN)?;
        let mut responses = Vec::with_capacity(len);
        for _ in 0..len {
            responses.push(match reader.byte()? {
                KIND_PUT => ResponseOp::Put(PutResponse::read(reader)?),
                KIND_DELETE_RANGE => ResponseOp::DeleteRange(DeleteRangeResponse::read(reader)?),
                KIND_TXN => ResponseOp::Txn(Self::read(reader, depth + 1)?),
                KIND_RANGE => ResponseOp::Range(RangeResponse::read(reader)?),
                found => {
                    return Err(DecodeError::UnknownKind {
                        what: "answer in a transaction",
                        found,
                    });
                }
            });
        }
        Ok(Self { revision, succeeded, responses })
    }
}

impl KeyValue {
    fn write(&self, sink: &mut impl Sink) {
        sink.slice(&self.key);
        sink.signed(self.create_revision);
        sink.signed(self.mod_revision);
        sink.signed(self.version);
        sink.signed(self.lease);
        sink.slice(&self.value);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            key: SharedBytes::from(reader.slice()?),
            create_revision: reader.signed()?,
            mod_revision: reader.signed()?,
            version: reader.signed()?,
            lease: reader.signed()?,
            value: SharedBytes::from(reader.slice()?),
        })
    }
}

fn write_key_values(kvs: &[KeyValue], sink: &mut impl Sink) {
    sink.length(kvs.len());
    for kv in kvs {
        kv.write(sink);
    }
}

fn read_key_values(reader: &mut Reader<'_>) -> Result<Vec<KeyValue>, DecodeError> {
    let len = reader.list_len(KEY_VALUE_BYTES_MIN)?;
    let mut kvs = Vec::with_capacity(len);
    for _ in 0..len {
        kvs.push(KeyValue::read(reader)?);
    }
    Ok(kvs)
}

const KIND_ERROR: u8 = 0;
const KIND_PUT: u8 = 1;
const KIND_DELETE_RANGE: u8 = 2;
const KIND_TXN: u8 = 3;
const KIND_COMPACT: u8 = 4;
const KIND_RANGE: u8 = 5;

/// No answer in a transaction is shorter: a kind, flags, a revision.
const RESPONSE_BYTES_MIN: usize = 3;
/// No key with its value is shorter: two lengths and four numbers.
const KEY_VALUE_BYTES_MIN: usize = 6;
