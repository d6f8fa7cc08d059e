//! Answers in the formats that scripts rely on. Expected text is what etcd's command line 3.5
//! printed for the same store, with its ids replaced.

use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::{DowngradeInfo, Member, ResponseOp};

use super::*;
use crate::output::{Format, render};

fn header(revision: i64) -> ResponseHeader {
    ResponseHeader { cluster_id: u64::MAX, member_id: 0x2e12, revision, raft_term: 2 }
}

/// Inside of a transaction only the revision is set.
fn inner_header(revision: i64) -> ResponseHeader {
    ResponseHeader { revision, ..ResponseHeader::default() }
}

fn kv(key: &'static str, value: &'static [u8], revisions: (i64, i64), version: i64) -> KeyValue {
    KeyValue {
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::from_static(value),
        create_revision: revisions.0,
        mod_revision: revisions.1,
        version,
        lease: 0,
    }
}

fn foo() -> Vec<KeyValue> {
    vec![kv("foo", b"bar2", (2, 3), 2), kv("foo2", b"a\"b", (4, 4), 1)]
}

fn got(shape: Shape) -> Got {
    let response = RangeResponse { header: Some(header(4)), kvs: foo(), more: false, count: 2 };
    Got { response, shape }
}

fn check(answer: &dyn Answer, format: Format, expected: &str) {
    assert_eq!(String::from_utf8(render(answer, format)).unwrap(), expected);
}

#[test]
fn a_read_prints_keys_and_values_in_turn() {
    check(&got(Shape::Pairs), Format::Simple, "foo\nbar2\nfoo2\na\"b\n");
    check(&got(Shape::Values), Format::Simple, "bar2\na\"b\n");
    check(&got(Shape::Count), Format::Simple, "2\n");
}

#[test]
fn bytes_that_are_no_text_are_printed_as_they_are() {
    let response = RangeResponse { kvs: vec![kv("k", b"\xff\0", (1, 1), 1)], ..Default::default() };
    assert_eq!(render(&Got { response, shape: Shape::Pairs }, Format::Simple), b"k\n\xff\0\n");
}

#[test]
fn a_read_as_json_has_base64_and_leaves_defaults_out() {
    let expected = "{\"header\":{\"cluster_id\":18446744073709551615,\"member_id\":11794,\
        \"revision\":4,\"raft_term\":2},\"kvs\":[{\"key\":\"Zm9v\",\"create_revision\":2,\
        \"mod_revision\":3,\"version\":2,\"value\":\"YmFyMg==\"},{\"key\":\"Zm9vMg==\",\
        \"create_revision\":4,\"mod_revision\":4,\"version\":1,\"value\":\"YSJi\"}],\"count\":2}\n";
    check(&got(Shape::Pairs), Format::Json, expected);
}

#[test]
fn a_read_as_fields_quotes_text() {
    let expected = "\"ClusterID\" : 18446744073709551615\n\"MemberID\" : 11794\n\
        \"Revision\" : 4\n\"RaftTerm\" : 2\n\"Key\" : \"foo\"\n\"CreateRevision\" : 2\n\
        \"ModRevision\" : 3\n\"Version\" : 2\n\"Value\" : \"bar2\"\n\"Lease\" : 0\n\
        \"Key\" : \"foo2\"\n\"CreateRevision\" : 4\n\"ModRevision\" : 4\n\"Version\" : 1\n\
        \"Value\" : \"a\\\"b\"\n\"Lease\" : 0\n\"More\" : false\n\"Count\" : 2\n";
    check(&got(Shape::Pairs), Format::Fields, expected);
}

#[test]
fn a_read_as_table_keeps_every_key_on_its_line() {
    let kvs = vec![kv("a\nb", b"x", (2, 3), 1)];
    let response = RangeResponse { kvs, ..RangeResponse::default() };
    let expected = "\
+------+-------+-----------------+--------------+---------+-------+
| KEY  | VALUE | CREATE REVISION | MOD REVISION | VERSION | LEASE |
+------+-------+-----------------+--------------+---------+-------+
| a\\nb | x     |               2 |            3 |       1 |     0 |
+------+-------+-----------------+--------------+---------+-------+
";
    check(&Got { response, shape: Shape::Pairs }, Format::Table, expected);
}

#[test]
fn a_put_says_ok_and_shows_the_key_before_it() {
    let plain = PutResponse { header: Some(header(5)), prev_kv: None };
    check(&plain, Format::Simple, "OK\n");
    let expected = "{\"header\":{\"cluster_id\":18446744073709551615,\"member_id\":11794,\
        \"revision\":5,\"raft_term\":2}}\n";
    check(&plain, Format::Json, expected);
    let with_previous =
        PutResponse { header: Some(inner_header(5)), prev_kv: Some(kv("foo", b"x", (2, 3), 2)) };
    check(&with_previous, Format::Simple, "OK\nfoo\nx\n");
    let expected = "{\"header\":{\"revision\":5},\"prev_kv\":{\"key\":\"Zm9v\",\
        \"create_revision\":2,\"mod_revision\":3,\"version\":2,\"value\":\"eA==\"}}\n";
    check(&with_previous, Format::Json, expected);
    let expected = "\"ClusterID\" : 0\n\"MemberID\" : 0\n\"Revision\" : 5\n\"RaftTerm\" : 0\n\
        \"PrevKey\" : \"foo\"\n\"PrevCreateRevision\" : 2\n\"PrevModRevision\" : 3\n\
        \"PrevVersion\" : 2\n\"PrevValue\" : \"x\"\n\"PrevLease\" : 0\n";
    check(&with_previous, Format::Fields, expected);
}

#[test]
fn a_deletion_says_how_many() {
    let none =
        DeleteRangeResponse { header: Some(inner_header(6)), ..DeleteRangeResponse::default() };
    check(&none, Format::Simple, "0\n");
    check(&none, Format::Json, "{\"header\":{\"revision\":6}}\n");
    let prev_kvs = vec![kv("d1", b"x", (10, 10), 1)];
    let one = DeleteRangeResponse { header: Some(inner_header(11)), deleted: 1, prev_kvs };
    check(&one, Format::Simple, "1\nd1\nx\n");
    let expected = "{\"header\":{\"revision\":11},\"deleted\":1,\"prev_kvs\":[{\"key\":\"ZDE=\",\
        \"create_revision\":10,\"mod_revision\":10,\"version\":1,\"value\":\"eA==\"}]}\n";
    check(&one, Format::Json, expected);
}

fn failed_txn() -> TxnResponse {
    let range = RangeResponse { header: Some(inner_header(26)), kvs: foo(), more: false, count: 2 };
    let delete =
        DeleteRangeResponse { header: Some(inner_header(26)), ..DeleteRangeResponse::default() };
    let put = PutResponse { header: Some(inner_header(26)), prev_kv: None };
    let op = |response| ResponseOp { response: Some(response) };
    TxnResponse {
        header: Some(header(26)),
        succeeded: false,
        responses: vec![
            op(Response::ResponsePut(put)),
            op(Response::ResponseRange(range)),
            op(Response::ResponseDeleteRange(delete)),
        ],
    }
}

#[test]
fn a_transaction_shows_each_answer_after_an_empty_line() {
    let expected = "FAILURE\n\nOK\n\nfoo\nbar2\nfoo2\na\"b\n\n0\n";
    check(&failed_txn(), Format::Simple, expected);
    let empty = TxnResponse { succeeded: true, ..TxnResponse::default() };
    check(&empty, Format::Simple, "SUCCESS\n");
}

#[test]
fn a_transaction_as_json_names_the_kind_of_each_answer() {
    let expected = "{\"header\":{\"cluster_id\":18446744073709551615,\"member_id\":11794,\
        \"revision\":26,\"raft_term\":2},\"responses\":[\
        {\"Response\":{\"response_put\":{\"header\":{\"revision\":26}}}},\
        {\"Response\":{\"response_range\":{\"header\":{\"revision\":26},\"kvs\":[\
        {\"key\":\"Zm9v\",\"create_revision\":2,\"mod_revision\":3,\"version\":2,\
        \"value\":\"YmFyMg==\"},{\"key\":\"Zm9vMg==\",\"create_revision\":4,\"mod_revision\":4,\
        \"version\":1,\"value\":\"YSJi\"}],\"count\":2}}},\
        {\"Response\":{\"response_delete_range\":{\"header\":{\"revision\":26}}}}]}\n";
    check(&failed_txn(), Format::Json, expected);
}

#[test]
fn a_compaction_names_its_revision() {
    let answer =
        Compacted { revision: 4, response: CompactionResponse { header: Some(header(9)) } };
    check(&answer, Format::Simple, "compacted revision 4\n");
}

fn members() -> MemberListResponse {
    let started = Member {
        id: 0x2e12_59d4_15f2_a040,
        name: "default".to_owned(),
        peer_urls: vec!["http://127.0.0.1:23800".to_owned()],
        client_urls: vec!["http://127.0.0.1:23790".to_owned(), "http://db1:1".to_owned()],
        is_learner: false,
    };
    let added = Member {
        id: 7,
        peer_urls: vec!["http://new:2380".to_owned()],
        is_learner: true,
        ..Member::default()
    };
    MemberListResponse { header: Some(inner_header(0)), members: vec![started, added] }
}

#[test]
fn a_member_that_was_added_has_not_started_until_it_says_its_name() {
    let expected = "2e1259d415f2a040, started, default, http://127.0.0.1:23800, \
        http://127.0.0.1:23790,http://db1:1, false\n\
        7, unstarted, , http://new:2380, , true\n";
    check(&members(), Format::Simple, expected);
    let expected = "{\"header\":{},\"members\":[{\"ID\":3319814642761637952,\
        \"name\":\"default\",\"peerURLs\":[\"http://127.0.0.1:23800\"],\
        \"clientURLs\":[\"http://127.0.0.1:23790\",\"http://db1:1\"]},\
        {\"ID\":7,\"peerURLs\":[\"http://new:2380\"],\"isLearner\":true}]}\n";
    check(&members(), Format::Json, expected);
}

fn statuses() -> Statuses {
    let status = StatusResponse {
        header: Some(header(16)),
        version: "3.6.14".to_owned(),
        db_size: 20_480,
        leader: 0x2e12,
        raft_index: 21,
        raft_term: 2,
        raft_applied_index: 20,
        errors: vec!["one".to_owned(), "two".to_owned()],
        db_size_in_use: 15_360,
        storage_version: "3.6.0".to_owned(),
        db_size_quota: 2_147_483_648,
        downgrade_info: Some(DowngradeInfo::default()),
        ..StatusResponse::default()
    };
    Statuses(vec![("127.0.0.1:23790".parse().unwrap(), status)])
}

#[test]
fn a_status_is_one_line_with_sizes_for_people() {
    let expected = "127.0.0.1:23790, 2e12, 3.6.14, 3.6.0, 20 kB, 15 kB, 25%, 2.1 GB, true, \
        false, 2, 21, 20, one, two, , false\n";
    check(&statuses(), Format::Simple, expected);
    let expected = "[{\"Endpoint\":\"127.0.0.1:23790\",\"Status\":{\"header\":\
        {\"cluster_id\":18446744073709551615,\"member_id\":11794,\"revision\":16,\"raft_term\":2},\
        \"version\":\"3.6.14\",\"dbSize\":20480,\"leader\":11794,\"raftIndex\":21,\"raftTerm\":2,\
        \"raftAppliedIndex\":20,\"errors\":[\"one\",\"two\"],\"dbSizeInUse\":15360,\
        \"storageVersion\":\"3.6.0\",\"dbSizeQuota\":2147483648,\"downgradeInfo\":{}}}]\n";
    check(&statuses(), Format::Json, expected);
}

#[test]
fn a_member_without_leader_is_not_its_own() {
    let status = StatusResponse::default();
    let row = status_row(&"a:1".parse().unwrap(), &status);
    assert_eq!(row[8], "false");
}

#[test]
fn health_says_how_long_it_took_or_what_is_wrong() {
    let took = Duration::from_micros(2_483);
    let health = |error: Option<&str>| Health {
        endpoint: "a:1".parse().unwrap(),
        took,
        error: error.map(str::to_owned),
    };
    let healths = Healths(vec![health(None), health(Some("no answer"))]);
    let expected = "a:1 is healthy: successfully committed proposal: took = 2.483ms\n\
        a:1 is unhealthy: failed to commit proposal: no answer\n";
    check(&healths, Format::Simple, expected);
    let expected = "[{\"endpoint\":\"a:1\",\"health\":true,\"took\":\"2.483ms\"},\
        {\"endpoint\":\"a:1\",\"health\":false,\"took\":\"2.483ms\",\"error\":\"no answer\"}]\n";
    check(&healths, Format::Json, expected);
}
