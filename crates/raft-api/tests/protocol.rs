//! The compiled protocol against lists of what etcd's clients expect, and a few messages against
//! bytes worked out by hand. Read next: `fields.txt`, `methods.txt`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use protox::prost_reflect::{DescriptorPool, FieldDescriptor};
use raft_api::bytes::Bytes;
use raft_api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use raft_api::etcdserverpb::{
    Compare, DeleteRangeRequest, Member, PutRequest, RangeRequest, RequestOp, ResponseHeader,
    TxnRequest, WatchCreateRequest, WatchRequest, WatchResponse, request_op, watch_request,
};
use raft_api::mvccpb::event::EventType;
use raft_api::mvccpb::{Event, KeyValue};
use raft_api::prost::Message;

#[test]
fn every_field_and_enum_value_has_the_expected_number_name_and_type() {
    let expected = sections(include_str!("fields.txt"));
    let mut compiled = BTreeMap::new();
    for message in pool().all_messages().filter(|message| !is_own(message.full_name())) {
        let fields = message.fields().map(|field| describe(&field)).collect();
        compiled.insert(message.full_name().to_owned(), fields);
    }
    for list in pool().all_enums().filter(|list| !is_own(list.full_name())) {
        let values = list.values().map(|value| format!("{}:{}", value.number(), value.name()));
        compiled.insert(format!("enum {}", list.full_name()), values.collect());
    }
    for (name, fields) in &expected {
        assert_eq!(compiled.get(name), Some(fields), "{name}");
    }
    // Both ways: nothing of our own may slip into a protocol that is not ours.
    assert_eq!(compiled.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let is_message = |name: &&String| !name.starts_with("enum ") && !name.starts_with("grpc.");
    let fields = |name| expected.get(name).map_or(0, BTreeSet::len);
    assert_eq!(expected.keys().filter(is_message).map(fields).sum::<usize>(), FIELDS);
}

#[test]
fn every_method_has_the_expected_path_and_streams() {
    let expected: BTreeSet<String> =
        lines(include_str!("methods.txt")).map(str::to_owned).collect();
    let mut compiled = BTreeSet::new();
    for service in pool().services().filter(|service| !is_own(service.full_name())) {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let stream = |is_stream| if is_stream { "[]" } else { "" };
            compiled.insert(format!(
                "{path} {}{} {}{}",
                method.input().full_name(),
                stream(method.is_client_streaming()),
                method.output().full_name(),
                stream(method.is_server_streaming()),
            ));
        }
    }
    assert_eq!(compiled, expected);
    assert_eq!(compiled.len(), 49 + 2, "the methods of etcd, and two of the health service");
}

/// What etcd does not have stands in a package of its own.
fn is_own(name: &str) -> bool {
    name.starts_with("raft.v1.")
}

#[test]
fn a_put_is_encoded_field_by_field() {
    let put = PutRequest {
        key: Bytes::from_static(b"k"),
        value: Bytes::from_static(b"vv"),
        lease: 300,
        prev_kv: true,
        ..PutRequest::default()
    };
    check(&put, &[0x0a, 1, b'k', 0x12, 2, b'v', b'v', 0x18, 0xac, 0x02, 0x20, 1]);
}

#[test]
fn negative_numbers_are_plain_ten_byte_varints() {
    let response = WatchResponse { watch_id: -1, ..WatchResponse::default() };
    let expected = [0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    check(&response, &expected);
}

#[test]
fn the_range_of_a_compare_is_field_64() {
    let compare = Compare {
        result: CompareResult::Greater.into(),
        target: CompareTarget::Mod.into(),
        key: Bytes::from_static(b"a"),
        range_end: Bytes::from_static(b"b"),
        target_union: Some(TargetUnion::ModRevision(0)),
    };
    // A chosen member of a oneof is on the wire even if it is zero; 64 << 3 | 2 = 514 = 82 04.
    let expected = [0x08, 1, 0x10, 2, 0x1a, 1, b'a', 0x30, 0, 0x82, 0x04, 1, b'b'];
    check(&compare, &expected);
}

#[test]
fn a_transaction_nests_its_operations() {
    let delete = DeleteRangeRequest { key: Bytes::from_static(b"x"), ..Default::default() };
    let inner = TxnRequest { success: vec![op(delete)], ..TxnRequest::default() };
    let outer = RequestOp { request: Some(request_op::Request::RequestTxn(inner)) };
    let txn = TxnRequest { failure: vec![outer], ..TxnRequest::default() };
    check(&txn, &[0x1a, 9, 0x22, 7, 0x12, 5, 0x1a, 3, 0x0a, 1, b'x']);
}

#[test]
fn filters_of_a_watch_are_packed() {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"k"),
        filters: vec![0, 1],
        fragment: true,
        ..WatchCreateRequest::default()
    };
    let union = watch_request::RequestUnion::CreateRequest(create);
    let request = WatchRequest { request_union: Some(union) };
    check(&request, &[0x0a, 9, 0x0a, 1, b'k', 0x2a, 2, 0, 1, 0x40, 1]);
}

#[test]
fn events_of_a_watch_are_field_11() {
    let kv = KeyValue { key: Bytes::from_static(b"k"), mod_revision: 7, ..KeyValue::default() };
    let event = Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: None };
    let response = WatchResponse {
        header: Some(ResponseHeader { revision: 7, ..ResponseHeader::default() }),
        events: vec![event],
        ..WatchResponse::default()
    };
    check(&response, &[0x0a, 2, 0x18, 7, 0x5a, 9, 0x08, 1, 0x12, 5, 0x0a, 1, b'k', 0x18, 7]);
}

#[test]
fn renamed_fields_keep_their_numbers() {
    let member = Member {
        id: 1,
        name: "n".to_owned(),
        peer_urls: vec!["p".to_owned()],
        client_urls: vec!["c".to_owned()],
        is_learner: true,
    };
    check(&member, &[8, 1, 0x12, 1, b'n', 0x1a, 1, b'p', 0x22, 1, b'c', 0x28, 1]);
}

#[test]
fn defaults_are_not_on_the_wire_and_unknown_fields_are_ignored() {
    check(&RangeRequest::default(), &[]);
    // Field 99, a varint, then the key.
    let decoded = RangeRequest::decode(&[0x98, 0x06, 5, 0x0a, 1, b'k'][..]).unwrap();
    assert_eq!(decoded, RangeRequest { key: Bytes::from_static(b"k"), ..Default::default() });
}

#[test]
fn a_transaction_nested_without_end_is_refused_and_not_followed() {
    let mut txn = TxnRequest::default();
    for _ in 0..200 {
        let request = Some(request_op::Request::RequestTxn(txn));
        txn = TxnRequest { success: vec![RequestOp { request }], ..TxnRequest::default() };
    }
    let error = TxnRequest::decode(&txn.encode_to_vec()[..]).unwrap_err();
    assert!(error.to_string().contains("recursion limit"), "{error}");
}

/// Encodes to the expected bytes, and decodes from them to the same message.
fn check<M: Message + Default + PartialEq + Debug>(message: &M, expected: &[u8]) {
    assert_eq!(message.encode_to_vec(), expected);
    assert_eq!(M::decode(expected).as_ref(), Ok(message));
}

fn op(delete: DeleteRangeRequest) -> RequestOp {
    RequestOp { request: Some(request_op::Request::RequestDeleteRange(delete)) }
}

fn pool() -> DescriptorPool {
    DescriptorPool::decode(raft_api::FILE_DESCRIPTOR_SET).expect("the build wrote it")
}

fn describe(field: &FieldDescriptor) -> String {
    let kind = field.kind();
    let kind = if let Some(message) = kind.as_message() {
        message.full_name().to_owned()
    } else if let Some(list) = kind.as_enum() {
        list.full_name().to_owned()
    } else {
        format!("{kind:?}").to_lowercase()
    };
    let repeated = if field.is_list() { "[]" } else { "" };
    format!("{}:{}:{kind}{repeated}", field.number(), field.name())
}

/// Headings at the margin, each with the indented lines below it.
fn sections(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut sections: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut heading = "";
    for line in lines(text) {
        if line.starts_with("  ") {
            let section = sections.get_mut(heading).expect("a heading comes first");
            assert!(section.insert(line.trim().to_owned()), "{heading}: {line} is listed twice");
        } else {
            heading = line;
            let earlier = sections.insert(heading.to_owned(), BTreeSet::new());
            assert_eq!(earlier, None, "{heading} is listed twice");
        }
    }
    sections
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Fields of etcd's messages, without those of the health service.
const FIELDS: usize = 261;
