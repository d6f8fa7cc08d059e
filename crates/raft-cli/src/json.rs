//! Messages as JSON, spelled as etcd's command line spells them.
//!
//! Names are those of the protocol, bytes are base64, 64-bit numbers are numbers, and what has its
//! default value is left out. (The JSON gateway of a server spells numbers as strings; that is
//! another language.) Read next: `answers.rs`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use raft_api::etcdserverpb::response_op::Response;
use raft_api::etcdserverpb::{
    DeleteRangeResponse, Member, PutResponse, RangeResponse, ResponseHeader, ResponseOp,
    StatusResponse, TxnResponse,
};
use raft_api::mvccpb::KeyValue;
use serde_json::{Map, Value};

/// A JSON object, built in the order of its fields.
pub(crate) struct Object(Map<String, Value>);

impl Object {
    /// An object without fields.
    pub(crate) fn new() -> Self {
        Self(Map::new())
    }

    /// The object with a field, unless the value is a default.
    pub(crate) fn with(self, name: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if is_default(&value) { self } else { self.with_always(name, value) }
    }

    /// The object with a field, whatever its value.
    pub(crate) fn with_always(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The finished object.
    pub(crate) fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn is_default(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(_) => false,
    }
}

/// An object that begins with a header, as all answers do.
pub(crate) fn answer(header: Option<&ResponseHeader>) -> Object {
    Object::new().with("header", header.map(self::header))
}

fn header(header: &ResponseHeader) -> Value {
    Object::new()
        .with("cluster_id", header.cluster_id)
        .with("member_id", header.member_id)
        .with("revision", header.revision)
        .with("raft_term", header.raft_term)
        .done()
}

fn key_value(kv: &KeyValue) -> Value {
    Object::new()
        .with("key", STANDARD.encode(&kv.key))
        .with("create_revision", kv.create_revision)
        .with("mod_revision", kv.mod_revision)
        .with("version", kv.version)
        .with("value", STANDARD.encode(&kv.value))
        .with("lease", kv.lease)
        .done()
}

/// The answer to a read.
pub(crate) fn range(response: &RangeResponse) -> Value {
    answer(response.header.as_ref())
        .with("kvs", response.kvs.iter().map(key_value).collect::<Vec<_>>())
        .with("more", response.more)
        .with("count", response.count)
        .done()
}

/// The answer to a put.
pub(crate) fn put(response: &PutResponse) -> Value {
    answer(response.header.as_ref())
        .with("prev_kv", response.prev_kv.as_ref().map(key_value))
        .done()
}

/// The answer to a deletion.
pub(crate) fn delete_range(response: &DeleteRangeResponse) -> Value {
    answer(response.header.as_ref())
        .with("deleted", response.deleted)
        .with("prev_kvs", response.prev_kvs.iter().map(key_value).collect::<Vec<_>>())
        .done()
}

/// The answer to a transaction.
pub(crate) fn txn(response: &TxnResponse) -> Value {
    answer(response.header.as_ref())
        .with("succeeded", response.succeeded)
        .with("responses", response.responses.iter().map(response_op).collect::<Vec<_>>())
        .done()
}

fn response_op(op: &ResponseOp) -> Value {
    let inner = op.response.as_ref().map(|response| {
        let object = Object::new();
        match response {
            Response::ResponseRange(response) => object.with("response_range", range(response)),
            Response::ResponsePut(response) => object.with("response_put", put(response)),
            Response::ResponseDeleteRange(response) => {
                object.with("response_delete_range", delete_range(response))
            }
            Response::ResponseTxn(response) => object.with("response_txn", txn(response)),
        }
        .done()
    });
    Object::new().with_always("Response", inner).done()
}

/// A member of a list.
pub(crate) fn member(member: &Member) -> Value {
    Object::new()
        .with("ID", member.id)
        .with("name", member.name.as_str())
        .with("peerURLs", member.peer_urls.clone())
        .with("clientURLs", member.client_urls.clone())
        .with("isLearner", member.is_learner)
        .done()
}

/// How a member is.
pub(crate) fn status(response: &StatusResponse) -> Value {
    let downgrade = response.downgrade_info.as_ref().map(|downgrade| {
        Object::new()
            .with("enabled", downgrade.enabled)
            .with("targetVersion", downgrade.target_version.as_str())
            .done()
    });
    answer(response.header.as_ref())
        .with("version", response.version.as_str())
        .with("dbSize", response.db_size)
        .with("leader", response.leader)
        .with("raftIndex", response.raft_index)
        .with("raftTerm", response.raft_term)
        .with("raftAppliedIndex", response.raft_applied_index)
        .with("errors", response.errors.clone())
        .with("dbSizeInUse", response.db_size_in_use)
        .with("isLearner", response.is_learner)
        .with("storageVersion", response.storage_version.as_str())
        .with("dbSizeQuota", response.db_size_quota)
        .with("downgradeInfo", downgrade)
        .done()
}
