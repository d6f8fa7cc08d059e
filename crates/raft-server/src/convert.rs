//! etcd's messages to the store's requests and back: the only place that knows both.

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::etcdserverpb::compare::TargetUnion;
use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::response_op::Response as PbResponse;
use raft_api::mvccpb;
use raft_api::tonic::Status;
use raft_kv::{
    Compare, CompareResult, CompareTarget, DeleteRangeRequest, KeyValue, PutRequest, RangeRequest,
    RequestError, RequestOp, ResponseOp, SortOrder, SortTarget, TxnRequest, TxnResponse,
};

/// A put, borrowed from the message.
pub fn put(request: &pb::PutRequest) -> PutRequest<'_> {
    PutRequest {
        key: &request.key,
        value: &request.value,
        lease: request.lease,
        prev_kv: request.prev_kv,
        ignore_value: request.ignore_value,
        ignore_lease: request.ignore_lease,
    }
}

/// A deletion, borrowed from the message.
pub fn delete_range(request: &pb::DeleteRangeRequest) -> DeleteRangeRequest<'_> {
    DeleteRangeRequest {
        key: &request.key,
        range_end: &request.range_end,
        prev_kv: request.prev_kv,
    }
}

/// A range, borrowed from the message. `serializable` is the server's business.
pub fn range(request: &pb::RangeRequest) -> RangeRequest<'_> {
    RangeRequest {
        key: &request.key,
        range_end: &request.range_end,
        limit: request.limit,
        revision: request.revision,
        sort_order: match request.sort_order {
            0 => SortOrder::None,
            1 => SortOrder::Ascend,
            2 => SortOrder::Descend,
            _ => SortOrder::Unrecognized,
        },
        sort_target: match request.sort_target {
            0 => SortTarget::Key,
            1 => SortTarget::Version,
            2 => SortTarget::Create,
            3 => SortTarget::Mod,
            4 => SortTarget::Value,
            _ => SortTarget::Unrecognized,
        },
        keys_only: request.keys_only,
        count_only: request.count_only,
        min_mod_revision: request.min_mod_revision,
        max_mod_revision: request.max_mod_revision,
        min_create_revision: request.min_create_revision,
        max_create_revision: request.max_create_revision,
    }
}

/// A transaction, borrowed from the message.
///
/// # Errors
///
/// An operator or a target outside of the protocol: nobody could say what it means.
pub fn txn(request: &pb::TxnRequest) -> Result<TxnRequest<'_>, Status> {
    let ops = |ops| -> Result<Vec<RequestOp<'_>>, Status> {
        let ops: &[pb::RequestOp] = ops;
        ops.iter().map(request_op).collect()
    };
    Ok(TxnRequest {
        compare: request.compare.iter().map(compare).collect::<Result<_, _>>()?,
        success: ops(&request.success)?,
        failure: ops(&request.failure)?,
    })
}

fn request_op(op: &pb::RequestOp) -> Result<RequestOp<'_>, Status> {
    Ok(match &op.request {
        Some(Request::RequestRange(request)) => RequestOp::Range(range(request)),
        Some(Request::RequestPut(request)) => RequestOp::Put(put(request)),
        Some(Request::RequestDeleteRange(request)) => RequestOp::DeleteRange(delete_range(request)),
        Some(Request::RequestTxn(request)) => RequestOp::Txn(txn(request)?),
        None => RequestOp::Unset,
    })
}

fn compare(compare: &pb::Compare) -> Result<Compare<'_>, Status> {
    let unknown = |what: &str, found: i32| {
        Status::invalid_argument(format!("etcdserver: unknown compare {what} {found}"))
    };
    // An operand that is missing, or of another kind, is zero or empty (TXN-3).
    let operand = Operand::of(compare.target_union.as_ref());
    let target = match compare.target {
        0 => CompareTarget::Version(operand.version),
        1 => CompareTarget::Create(operand.create),
        2 => CompareTarget::Mod(operand.modified),
        3 => CompareTarget::Value(operand.value),
        4 => CompareTarget::Lease(operand.lease),
        other => return Err(unknown("target", other)),
    };
    let result = match compare.result {
        0 => CompareResult::Equal,
        1 => CompareResult::Greater,
        2 => CompareResult::Less,
        3 => CompareResult::NotEqual,
        other => return Err(unknown("result", other)),
    };
    Ok(Compare { key: &compare.key, range_end: &compare.range_end, result, target })
}

/// The operand of a compare: the one that was sent, the others zero.
#[derive(Default)]
struct Operand<'a> {
    version: i64,
    create: i64,
    modified: i64,
    lease: i64,
    value: &'a [u8],
}

impl<'a> Operand<'a> {
    fn of(sent: Option<&'a TargetUnion>) -> Self {
        let mut operand = Self::default();
        match sent {
            Some(TargetUnion::Version(version)) => operand.version = *version,
            Some(TargetUnion::CreateRevision(revision)) => operand.create = *revision,
            Some(TargetUnion::ModRevision(revision)) => operand.modified = *revision,
            Some(TargetUnion::Lease(lease)) => operand.lease = *lease,
            Some(TargetUnion::Value(value)) => operand.value = value,
            None => {}
        }
        operand
    }
}

/// A key with its value as etcd says it.
pub fn key_value(kv: KeyValue) -> mvccpb::KeyValue {
    mvccpb::KeyValue {
        key: kv.key.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        value: kv.value.into(),
        lease: kv.lease,
    }
}

/// The answer to a range, without what the header says about the member.
pub fn range_response(range: raft_kv::RangeResponse) -> (i64, pb::RangeResponse) {
    let kvs = range.kvs.into_iter().map(key_value).collect();
    let response = pb::RangeResponse { header: None, kvs, more: range.more, count: range.count };
    (range.revision, response)
}

/// The answer to a put.
pub fn put_response(put: raft_kv::PutResponse) -> (i64, pb::PutResponse) {
    (put.revision, pb::PutResponse { header: None, prev_kv: put.prev_kv.map(key_value) })
}

/// The answer to a deletion.
pub fn delete_response(delete: raft_kv::DeleteRangeResponse) -> (i64, pb::DeleteRangeResponse) {
    let prev_kvs = delete.prev_kvs.into_iter().map(key_value).collect();
    let response = pb::DeleteRangeResponse { header: None, deleted: delete.deleted, prev_kvs };
    (delete.revision, response)
}

/// The answer to a transaction. Answers inside carry a header with nothing but their revision
/// (REV-8), and transactions inside one with nothing at all.
pub fn txn_response(txn: TxnResponse) -> (i64, pb::TxnResponse) {
    let responses = txn.responses.into_iter().map(response_op).collect();
    (txn.revision, pb::TxnResponse { header: None, succeeded: txn.succeeded, responses })
}

fn response_op(op: ResponseOp) -> pb::ResponseOp {
    let header = |revision| Some(pb::ResponseHeader { revision, ..pb::ResponseHeader::default() });
    let response = match op {
        ResponseOp::Range(range) => {
            let (revision, mut response) = range_response(range);
            response.header = header(revision);
            PbResponse::ResponseRange(response)
        }
        ResponseOp::Put(put) => {
            let (revision, mut response) = put_response(put);
            response.header = header(revision);
            PbResponse::ResponsePut(response)
        }
        ResponseOp::DeleteRange(delete) => {
            let (revision, mut response) = delete_response(delete);
            response.header = header(revision);
            PbResponse::ResponseDeleteRange(response)
        }
        ResponseOp::Txn(txn) => {
            let (_, mut response) = txn_response(txn);
            response.header = Some(pb::ResponseHeader::default());
            PbResponse::ResponseTxn(response)
        }
    };
    pb::ResponseOp { response: Some(response) }
}

/// The store's refusal in etcd's code and words.
pub fn refused(error: &RequestError) -> Status {
    let known = match error {
        RequestError::EmptyKey => EtcdError::EmptyKey,
        RequestError::KeyNotFound => EtcdError::KeyNotFound,
        RequestError::ValueProvided => EtcdError::ValueProvided,
        RequestError::LeaseProvided => EtcdError::LeaseProvided,
        RequestError::TooManyOps => EtcdError::TooManyOps,
        RequestError::DuplicateKey => EtcdError::DuplicateKey,
        RequestError::InvalidSortOption => EtcdError::InvalidSortOption,
        RequestError::Compacted { .. } => EtcdError::Compacted,
        RequestError::FutureRevision { .. } => EtcdError::FutureRev,
        RequestError::LeaseNotFound { .. } => EtcdError::LeaseNotFound,
        other @ (RequestError::WriteInQuery | RequestError::Unreadable | _) => {
            return Status::internal(format!("etcdserver: {other}"));
        }
    };
    known.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Inside a transaction a put has a header with its revision alone, a transaction an empty one,
    /// and whatever is inside of that again its revision.
    #[test]
    fn rev_8_only_a_transaction_inside_a_transaction_does_not_say_its_revision() {
        let put = || ResponseOp::Put(raft_kv::PutResponse { revision: 7, prev_kv: None });
        let txn = |responses| TxnResponse { revision: 7, succeeded: true, responses };
        let (revision, response) =
            txn_response(txn(vec![put(), ResponseOp::Txn(txn(vec![put()]))]));
        assert_eq!((revision, &response.header), (7, &None), "the member fills it");

        let numbered = pb::ResponseHeader { revision: 7, ..pb::ResponseHeader::default() };
        let put = pb::ResponseOp {
            response: Some(PbResponse::ResponsePut(pb::PutResponse {
                header: Some(numbered),
                prev_kv: None,
            })),
        };
        let inner = pb::ResponseOp {
            response: Some(PbResponse::ResponseTxn(pb::TxnResponse {
                header: Some(pb::ResponseHeader::default()),
                succeeded: true,
                responses: vec![put.clone()],
            })),
        };
        assert_eq!(response.responses, [put, inner]);
    }
}
