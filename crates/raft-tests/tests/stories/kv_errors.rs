//! What is refused, in the exact code and text of etcd: clients decide by both. Every member says
//! the same, whoever leads.

use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::{CompactionRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use raft_api::tonic::{Code, Status};
use raft_tests::{Client, Cluster};

use crate::kv::{by_default, delete, op, prefix, put, range, value_is};

fn check<T>(what: &str, answer: Result<T, Status>, code: Code, text: &str) {
    let Err(status) = answer else { panic!("{what} was answered") };
    assert_eq!((status.code(), status.message()), (code, text), "{what}");
}

fn success(ops: Vec<RequestOp>) -> TxnRequest {
    TxnRequest { success: ops, ..TxnRequest::default() }
}

/// A key that is empty, anywhere.
async fn empty_keys(client: &Client) {
    const TEXT: &str = "etcdserver: key is not provided";
    let bad = Code::InvalidArgument;
    check("put", client.put(put("", "v")).await, bad, TEXT);
    check("range", client.range(range("")).await, bad, TEXT);
    check("delete", client.delete_range(delete("")).await, bad, TEXT);
    let txn = success(vec![op(Request::RequestPut(put("", "v")))]);
    check("put in a transaction", client.txn(txn).await, bad, TEXT);
    let txn = TxnRequest { compare: vec![value_is("", "v")], ..TxnRequest::default() };
    check("compare", client.txn(txn).await, bad, TEXT);
    let txn = TxnRequest {
        failure: vec![op(Request::RequestDeleteRange(delete("")))],
        ..TxnRequest::default()
    };
    check("the branch not taken", client.txn(txn).await, bad, TEXT);
}

/// Requests that contradict themselves, or the state.
async fn contradictions(client: &Client) {
    let bad = Code::InvalidArgument;
    let both = PutRequest { ignore_value: true, ..put("k", "v") };
    check("value twice", client.put(both).await, bad, "etcdserver: value is provided");
    let both = PutRequest { ignore_lease: true, lease: 1, ..put("k", "v") };
    check("lease twice", client.put(both).await, bad, "etcdserver: lease is provided");
    let keep = PutRequest { ignore_value: true, ..put("missing", "") };
    check("nothing to keep", client.put(keep).await, bad, "etcdserver: key not found");
    let leased = PutRequest { lease: 77, ..put("k", "v") };
    let text = "etcdserver: requested lease not found";
    check("no lease", client.put(leased).await, Code::NotFound, text);
    let odd = RangeRequest { sort_order: 9, ..prefix("k/") };
    check("sort", client.range(odd).await, bad, "etcdserver: invalid sort option");
    let future = RangeRequest { revision: 1 << 40, ..range("k") };
    let text = "etcdserver: mvcc: required revision is a future revision";
    check("future", client.range(future).await, Code::OutOfRange, text);
    let future = CompactionRequest { revision: 1 << 40, physical: false };
    check("future compaction", client.compact(future).await, Code::OutOfRange, text);
}

/// Transactions that write a key twice, or are too large.
async fn transactions(client: &Client) {
    const TWICE: &str = "etcdserver: duplicate key given in txn request";
    const MANY: &str = "etcdserver: too many operations in txn request";
    let bad = Code::InvalidArgument;
    let one = || op(Request::RequestPut(put("k", "1")));
    check("two puts", client.txn(success(vec![one(), one()])).await, bad, TWICE);
    let gone = op(Request::RequestDeleteRange(delete("k")));
    check("put and delete", client.txn(success(vec![gone, one()])).await, bad, TWICE);

    let number = |n| op(Request::RequestPut(put(&format!("op{n:03}"), "v")));
    let ops: Vec<RequestOp> = (0..129).map(number).collect();
    client.txn(success(ops[..128].to_vec())).await.unwrap();
    check("129 operations", client.txn(success(ops)).await, bad, MANY);
    let text = "etcdserver: key not found";
    check("nothing inside", client.txn(success(vec![RequestOp::default()])).await, bad, text);
}

/// Requests that are too large for the log, and messages too large to be read.
async fn sizes(client: &Client) {
    let sized = |bytes: usize| PutRequest { value: vec![b'v'; bytes].into(), ..put("large", "") };
    client.put(sized(1_500_000)).await.unwrap();
    let text = "etcdserver: request is too large";
    check("1.6 MB", client.put(sized(1_600_000)).await, Code::InvalidArgument, text);
    let request = sized(3_000_000);
    let bytes = raft_api::prost::Message::encoded_len(&request);
    let text = format!("grpc: received message larger than max ({bytes} vs. 2097152)");
    check("3 MB", client.put(request).await, Code::ResourceExhausted, &text);
}

/// Every member refuses what etcd refuses, in its words, and none of it leaves a trace.
#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_etcds_code_and_text() {
    let cluster: Cluster = by_default().await;
    for member in 0..3 {
        let client = cluster.client(member);
        let before = client.write("before", "v").await.unwrap();
        empty_keys(&client).await;
        contradictions(&client).await;
        assert_eq!(client.write("after", "v").await.unwrap(), before + 1, "nothing was executed");
        transactions(&client).await;
        sizes(&client).await;
        assert_eq!(client.write("end", "v").await.unwrap(), before + 4, "two were");
    }
}
