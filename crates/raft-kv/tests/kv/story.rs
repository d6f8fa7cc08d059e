//! Words for stories: short ways to say what is done to a store.

use raft_kv::{
    Answer, Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    DeleteRangeResponse, KeyValue, KvStore, PutRequest, PutResponse, RangeRequest, RequestError,
    RequestOp, Response, TxnRequest, TxnResponse,
};

/// A store that one story is told about.
#[derive(Default)]
pub(crate) struct Story(pub(crate) KvStore);

impl Story {
    /// A store with the keys `a`, `b`, `c` at revisions 2, 3, 4.
    pub(crate) fn abc() -> Self {
        let mut story = Self::default();
        for key in ["a", "b", "c"] {
            story.put(key, &format!("{key}1"));
        }
        story
    }

    pub(crate) fn apply(&mut self, command: &Command<'_>) -> Answer {
        self.0.apply_command(command)
    }

    pub(crate) fn put(&mut self, key: &str, value: &str) -> PutResponse {
        self.try_put(put(key, value)).unwrap()
    }

    pub(crate) fn try_put(&mut self, request: PutRequest<'_>) -> Result<PutResponse, RequestError> {
        let Response::Put(response) = self.apply(&Command::Put(request))? else {
            panic!("not the answer to a put")
        };
        Ok(response)
    }

    pub(crate) fn delete(&mut self, key: &str, range_end: &str) -> DeleteRangeResponse {
        let Response::DeleteRange(response) =
            self.apply(&Command::DeleteRange(delete(key, range_end))).unwrap()
        else {
            panic!("not the answer to a deletion")
        };
        response
    }

    pub(crate) fn txn(&mut self, txn: TxnRequest<'_>) -> Result<TxnResponse, RequestError> {
        let Response::Txn(response) = self.apply(&Command::Txn(txn))? else {
            panic!("not the answer to a transaction")
        };
        Ok(response)
    }

    pub(crate) fn compact(&mut self, revision: i64) -> Result<i64, RequestError> {
        let compact = CompactionRequest { revision, physical: false };
        let Response::Compact(response) = self.apply(&Command::Compact(compact))? else {
            panic!("not the answer to a compaction")
        };
        Ok(response.revision)
    }

    pub(crate) fn get(&self, key: &str) -> Option<KeyValue> {
        self.0.range(&range(key, "")).unwrap().kvs.pop()
    }

    /// The keys of a range, separated by blanks.
    pub(crate) fn keys(&self, request: &RangeRequest<'_>) -> String {
        keys(&self.0.range(request).unwrap().kvs)
    }
}

pub(crate) fn put<'a>(key: &'a str, value: &'a str) -> PutRequest<'a> {
    PutRequest { key: key.as_bytes(), value: value.as_bytes(), ..PutRequest::default() }
}

pub(crate) fn delete<'a>(key: &'a str, range_end: &'a str) -> DeleteRangeRequest<'a> {
    DeleteRangeRequest { key: key.as_bytes(), range_end: range_end.as_bytes(), prev_kv: true }
}

pub(crate) fn range<'a>(key: &'a str, range_end: &'a str) -> RangeRequest<'a> {
    let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
    RangeRequest { key, range_end, ..RangeRequest::default() }
}

/// A transaction that always takes its first branch.
pub(crate) fn always(success: Vec<RequestOp<'_>>) -> TxnRequest<'_> {
    TxnRequest { success, ..TxnRequest::default() }
}

pub(crate) fn compare<'a>(
    key: &'a str,
    result: CompareResult,
    target: CompareTarget<'a>,
) -> Compare<'a> {
    Compare { key: key.as_bytes(), range_end: b"", result, target }
}

pub(crate) fn keys(kvs: &[KeyValue]) -> String {
    let keys: Vec<_> = kvs.iter().map(|kv| kv.key.escape_ascii().to_string()).collect();
    keys.join(" ")
}
