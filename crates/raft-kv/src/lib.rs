//! A multi-version key-value store as a pure state machine, with the semantics of etcd v3.
//!
//! # Contract
//!
//! *Same commands, same answers, same bytes.* The store sees commands and nothing else: no clock,
//! no randomness, no setting of a node. A command changes the store or is refused, never both;
//! whatever bytes a log holds, the store stays sound. It knows neither protobuf nor gRPC: a server
//! turns etcd's messages into [`Command`]s and [`RequestError`]s into etcd's codes.
//!
//! # Example
//!
//! ```
//! use raft_core::{EntryId, StateMachine};
//! use raft_kv::{
//!     Command, Compare, CompareResult, CompareTarget, KvStore, Limits, PutRequest, RequestOp,
//!     Response, TxnRequest, decode_answer,
//! };
//!
//! // Create the key, but only if it does not exist.
//! let create = Command::Txn(TxnRequest {
//!     compare: vec![Compare {
//!         key: b"job/1",
//!         range_end: b"",
//!         result: CompareResult::Equal,
//!         target: CompareTarget::Mod(0),
//!     }],
//!     success: vec![RequestOp::Put(PutRequest {
//!         key: b"job/1",
//!         value: b"mine",
//!         ..PutRequest::default()
//!     })],
//!     failure: vec![],
//! });
//! create.validate(&Limits::default())?; // before the log
//!
//! let mut store = KvStore::new();
//! for expected in [true, false] {
//!     let answer = store.apply(EntryId::ZERO, &create.encode())?; // after it, on each node
//!     match decode_answer(&answer)?? {
//!         Response::Txn(txn) => assert_eq!(txn.succeeded, expected),
//!         other => panic!("{other:?}"),
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Map
//!
//! | file | what |
//! |---|---|
//! | `command.rs`, `response.rs` | requests and answers: types, bytes |
//! | `validate.rs` | what is refused before the log |
//! | `store.rs`, `shared.rs` | [`KvStore`], the state machine; [`SharedStore`], read by a server |
//! | `mvcc.rs`, `mvcc/*` | the multi-version map: index, history, reads, writes, compaction |
//! | `snapshot.rs`, `digest.rs` | the state as a stream and as a number |
//!
//! # The main decision
//!
//! The newest version of each key is in an index of shared nodes; everything older is an undo log
//! in the order of revisions, where each change holds the version it replaced. So a read of the
//! newest revision never meets history; a compaction drops the front of a queue instead of walking
//! all keys; and to freeze the whole store for a snapshot is to clone some pointers.
//!
//! # Caveats
//!
//! Everything is in memory. Leases do not exist yet: a put with one is refused
//! ([`RequestError::LeaseNotFound`]). A count or a read at an *old* revision walks its range.
//! Deleting a range, and comparing one, takes time in proportion to its keys, and other commands
//! wait.

mod codec;
mod command;
mod digest;
mod error;
mod mvcc;
mod response;
mod shared;
mod shared_bytes;
mod snapshot;
mod store;
mod validate;

pub use self::command::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DECODED_BYTES_PER_BYTE_MAX,
    DeleteRangeRequest, PutRequest, Query, RangeRequest, RequestOp, SortOrder, SortTarget,
    TXN_DEPTH_MAX, TxnRequest,
};
pub use self::error::{DecodeError, RequestError};
pub use self::response::{
    Answer, CompactionResponse, DeleteRangeResponse, KeyValue, PutResponse, RangeResponse,
    Response, ResponseOp, TxnResponse, decode_answer, encode_answer,
};
pub use self::shared::SharedStore;
pub use self::shared_bytes::SharedBytes;
pub use self::store::{Event, EventKind, KvStore, Stats};
pub use self::validate::Limits;
