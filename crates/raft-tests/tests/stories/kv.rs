//! The data model through gRPC, from every member of a cluster with default timeouts: what etcd
//! promises about revisions, ranges, transactions and compaction.

use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::range_request::{SortOrder, SortTarget};
use raft_api::etcdserverpb::request_op::Request;
use raft_api::etcdserverpb::response_op::Response;
use raft_api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, MemberListRequest, PutRequest, RangeRequest,
    RequestOp, ResponseHeader, StatusRequest, TxnRequest,
};
use raft_tests::{Client, Cluster, Settings, eventually};

/// A cluster as users start it: all settings at their defaults.
pub(crate) async fn by_default() -> Cluster {
    let defaults = Settings { heartbeat_ms: 100, election_ms: 1000, ..Settings::default() };
    Cluster::start(defaults).await
}

pub(crate) fn put(key: &str, value: &str) -> PutRequest {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    PutRequest { key, value, ..PutRequest::default() }
}

pub(crate) fn range(key: &str) -> RangeRequest {
    RangeRequest { key: key.to_owned().into(), ..RangeRequest::default() }
}

/// Everything that begins with `key`, which ends with a slash.
pub(crate) fn prefix(key: &str) -> RangeRequest {
    let end = key.strip_suffix('/').unwrap().to_owned() + "0";
    RangeRequest { range_end: end.into(), ..range(key) }
}

pub(crate) fn delete(key: &str) -> DeleteRangeRequest {
    DeleteRangeRequest { key: key.to_owned().into(), ..DeleteRangeRequest::default() }
}

pub(crate) fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

pub(crate) fn value_is(key: &str, value: &str) -> Compare {
    Compare {
        key: key.to_owned().into(),
        target: CompareTarget::Value.into(),
        result: CompareResult::Equal.into(),
        target_union: Some(TargetUnion::Value(value.to_owned().into())),
        ..Compare::default()
    }
}

fn revision(header: Option<ResponseHeader>) -> i64 {
    header.unwrap().revision
}

/// The keys of an answer.
async fn keys(client: &Client, request: RangeRequest) -> Vec<String> {
    let found = client.range(request).await.unwrap().kvs;
    found.iter().map(|kv| String::from_utf8(kv.key.to_vec()).unwrap()).collect()
}

/// Every answer says which cluster, which member, which term; revisions begin at 1, each write
/// takes the next one, and reads take none (REV-1 to REV-7).
#[tokio::test(flavor = "multi_thread")]
async fn headers_tell_cluster_member_term_and_revision() {
    let cluster = by_default().await;
    let fresh = cluster.client(0).range(range("none")).await.unwrap();
    assert_eq!(revision(fresh.header), 1, "a fresh store");
    let listed = eventually("every member has told its name", || async {
        let listed = cluster.client(0).member_list(MemberListRequest { linearizable: true }).await;
        let listed = listed.map_err(|status| status.to_string())?;
        let is_told = listed.members.iter().all(|member| !member.name.is_empty());
        if is_told { Ok(listed) } else { Err(format!("{:?}", listed.members)) }
    })
    .await;
    let cluster_id = listed.header.unwrap().cluster_id;
    assert_eq!(listed.header.unwrap().revision, 0, "not of the store");
    let mut next = 2;
    for member in 0..3 {
        let client = cluster.client(member);
        let name = cluster.name(member);
        let me = listed.members.iter().find(|other| other.name == name).unwrap();
        assert_eq!(me.client_urls, [cluster.url(member)]);
        assert_eq!(me.peer_urls, [cluster.peer_url(member)]);
        let term = client.status(StatusRequest {}).await.unwrap().raft_term;
        assert!(term > 0);
        let header = |revision| {
            Some(ResponseHeader { cluster_id, member_id: me.id, revision, raft_term: term })
        };

        let key = &format!("{name}/k");
        assert_eq!(client.put(put(key, "v")).await.unwrap().header, header(next), "put");
        assert_eq!(client.range(range(key)).await.unwrap().header, header(next), "range");
        let ops = vec![
            op(Request::RequestPut(put(&format!("{name}/a"), "1"))),
            op(Request::RequestPut(put(&format!("{name}/b"), "2"))),
        ];
        let txn = TxnRequest { success: ops, ..TxnRequest::default() };
        let answer = client.txn(txn).await.unwrap();
        assert_eq!(answer.header, header(next + 1), "two writes of a transaction are one");
        for response in answer.responses {
            let Some(Response::ResponsePut(put)) = response.response else { panic!("{name}") };
            let inner = ResponseHeader { revision: next + 1, ..ResponseHeader::default() };
            assert_eq!(put.header, Some(inner), "inside a transaction (REV-8)");
        }
        let missing = client.delete_range(delete("none")).await.unwrap();
        assert_eq!((missing.header, missing.deleted), (header(next + 1), 0), "nothing deleted");
        let deleted = client.delete_range(delete(key)).await.unwrap();
        assert_eq!((deleted.header, deleted.deleted), (header(next + 2), 1), "one deleted");
        let refused = client.put(put("", "v")).await.unwrap_err();
        assert_eq!(refused.message(), "etcdserver: key is not provided");
        assert_eq!(client.status(StatusRequest {}).await.unwrap().header, header(next + 2));
        next += 3;
    }
}

/// What one member was told all members answer at once: versions, previous values, prefixes,
/// limits, orders and old revisions.
#[tokio::test(flavor = "multi_thread")]
async fn every_member_writes_and_every_member_reads() {
    let cluster = by_default().await;
    for writer in 0..3 {
        let (client, other) = (cluster.client(writer), cluster.client((writer + 1) % 3));
        let dir = format!("dir{writer}/");
        let key = |name: &str| format!("{dir}{name}");
        let created = client.write(&key("a"), "1").await.unwrap();
        let again = PutRequest { prev_kv: true, ..put(&key("a"), "2") };
        let previous = client.put(again).await.unwrap().prev_kv.unwrap();
        assert_eq!((previous.value, previous.version), ("1".into(), 1));
        client.write(&key("b"), "3").await.unwrap();
        client.write(&key("c"), "0").await.unwrap();

        let found = other.range(prefix(&dir)).await.unwrap();
        assert_eq!((found.count, found.more), (3, false));
        let first = &found.kvs[0];
        assert_eq!((first.create_revision, first.mod_revision), (created, created + 1));
        assert_eq!((first.version, &first.value), (2, &"2".into()));

        let limited = other.range(RangeRequest { limit: 2, ..prefix(&dir) }).await.unwrap();
        assert_eq!((limited.kvs.len(), limited.count, limited.more), (2, 3, true));
        let counted = RangeRequest { count_only: true, ..prefix(&dir) };
        let counted = other.range(counted).await.unwrap();
        assert_eq!((counted.kvs.len(), counted.count), (0, 3));
        let bare = RangeRequest { keys_only: true, ..prefix(&dir) };
        let bare = other.range(bare).await.unwrap();
        assert!(bare.kvs.iter().all(|kv| kv.value.is_empty() && kv.version > 0));
        let by_value = RangeRequest {
            sort_order: SortOrder::Descend.into(),
            sort_target: SortTarget::Value.into(),
            ..prefix(&dir)
        };
        assert_eq!(keys(&other, by_value).await, [key("b"), key("a"), key("c")]);

        let past = RangeRequest { revision: created, ..prefix(&dir) };
        let past = other.range(past).await.unwrap();
        assert_eq!(past.kvs.len(), 1);
        assert_eq!(past.kvs[0].value, "1");
        assert!(revision(past.header) > created, "the header tells the present (REV-6)");

        let all =
            DeleteRangeRequest { range_end: prefix(&dir).range_end, prev_kv: true, ..delete(&dir) };
        let deleted = client.delete_range(all).await.unwrap();
        assert_eq!((deleted.deleted, deleted.prev_kvs.len()), (3, 3));
        assert_eq!(other.range(prefix(&dir)).await.unwrap().count, 0);
        let reborn = client.write(&key("a"), "4").await.unwrap();
        let found = other.range(range(&key("a"))).await.unwrap().kvs.remove(0);
        assert_eq!((found.create_revision, found.version), (reborn, 1), "a new life (REV-5)");
    }
}

/// A transaction compares, chooses a branch and executes all of it at one revision, seeing its own
/// writes; the other branch leaves no trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_one_step() {
    let cluster = by_default().await;
    for member in 0..3 {
        let client = cluster.client(member);
        let key = format!("lock{member}");
        let missing = Compare {
            key: key.clone().into(),
            target: CompareTarget::Version.into(),
            target_union: Some(TargetUnion::Version(0)),
            ..Compare::default()
        };
        let acquire = TxnRequest {
            compare: vec![missing],
            success: vec![
                op(Request::RequestPut(put(&key, "mine"))),
                op(Request::RequestRange(range(&key))),
            ],
            failure: vec![op(Request::RequestRange(range(&key)))],
        };
        let first = client.txn(acquire.clone()).await.unwrap();
        assert!(first.succeeded);
        let Some(Response::ResponseRange(read)) = &first.responses[1].response else { panic!() };
        assert_eq!(read.kvs[0].mod_revision, revision(first.header), "it sees its own put");

        let second = cluster.client((member + 1) % 3).txn(acquire).await.unwrap();
        assert!(!second.succeeded);
        assert_eq!(second.responses.len(), 1);
        let Some(Response::ResponseRange(read)) = &second.responses[0].response else { panic!() };
        assert_eq!(read.kvs[0].value, "mine");
        assert_eq!(revision(second.header), revision(first.header), "it wrote nothing");

        let release = TxnRequest {
            compare: vec![value_is(&key, "mine")],
            success: vec![op(Request::RequestDeleteRange(delete(&key)))],
            ..TxnRequest::default()
        };
        assert!(client.txn(release.clone()).await.unwrap().succeeded);
        assert!(!client.txn(release).await.unwrap().succeeded, "no value is like none (TXN-2)");
    }
}

/// Compaction forgets what is older on all members, keeps the present, and is refused twice.
#[tokio::test(flavor = "multi_thread")]
async fn compaction_forgets_the_past_everywhere() {
    let cluster = by_default().await;
    let client = cluster.client(1);
    let mut revisions = Vec::new();
    for value in ["1", "2", "3"] {
        revisions.push(client.write("k", value).await.unwrap());
    }
    let at = revisions[1];
    let compaction = CompactionRequest { revision: at, physical: true };
    let header = client.compact(compaction).await.unwrap().header;
    assert_eq!(revision(header), revisions[2], "compaction takes no revision");
    for member in 0..3 {
        let client = cluster.client(member);
        // Learns of the compaction before the old revision is asked for.
        assert_eq!(client.read("k").await.unwrap().as_deref(), Some("3"));
        let past = |revision| client.range(RangeRequest { revision, ..range("k") });
        assert_eq!(past(at).await.unwrap().kvs[0].value, "2", "at the compaction itself");
        let error = past(at - 1).await.unwrap_err();
        assert_eq!(error.message(), "etcdserver: mvcc: required revision has been compacted");
        let again = client.compact(compaction).await.unwrap_err();
        assert_eq!(again.message(), "etcdserver: mvcc: required revision has been compacted");
        let compaction = CompactionRequest { revision: 1000, physical: false };
        let future = client.compact(compaction).await.unwrap_err();
        assert_eq!(future.message(), "etcdserver: mvcc: required revision is a future revision");
    }
}
