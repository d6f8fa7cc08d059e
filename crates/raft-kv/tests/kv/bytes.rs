//! Formats: bytes that must not change, and bytes that are no format.

use std::mem::size_of;

use raft_core::{EntryId, StateMachine};
use raft_kv::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DECODED_BYTES_PER_BYTE_MAX,
    DecodeError, KeyValue, PutRequest, PutResponse, Query, RangeRequest, RequestError, RequestOp,
    Response, TxnRequest, decode_answer, encode_answer,
};

use crate::random::Random;
use crate::story::{Story, compare, delete, put, range};

/// The bytes of one of each, so that a format cannot change unnoticed.
#[test]
fn golden_bytes_of_version_1() {
    let put = PutRequest { lease: -1, prev_kv: true, ..put("k", "v") };
    let range = RangeRequest { limit: 3, keys_only: true, ..range("k", "\0") };
    let compare = compare("k", CompareResult::Less, CompareTarget::Mod(64));
    let txn = TxnRequest {
        compare: vec![compare],
        success: vec![RequestOp::Put(put), RequestOp::Range(range)],
        failure: vec![RequestOp::DeleteRange(delete("k", ""))],
    };
    let compact = CompactionRequest { revision: 300, physical: true };
    for (command, expected) in [
        (Command::Put(put), &b"\x01\x01\x09\x01k\x01v\x01"[..]),
        (Command::DeleteRange(delete("k", "l")), b"\x01\x02\x01\x01k\x01l"),
        (
            Command::Txn(txn),
            b"\x01\x03\x01\x0a\x01k\0\x80\x01\x02\x02\x09\x01k\x01v\x01\
              \x01\0\x01\x01\x01k\x01\0\x06\x01\x03\x01\x01k\0",
        ),
        (Command::Compact(compact), b"\x01\x04\xd8\x04\x01"),
    ] {
        assert_eq!(
            command.encode().escape_ascii().to_string(),
            expected.escape_ascii().to_string()
        );
    }
    let query = Query::Range(range).encode();
    assert_eq!(query, b"\x01\x01\0\x01\x01\x01k\x01\0\x06");
    let kv = KeyValue {
        key: "k".into(),
        create_revision: 2,
        mod_revision: 3,
        version: 2,
        ..KeyValue::default()
    };
    let answer = Ok(Response::Put(PutResponse { revision: 4, prev_kv: Some(kv) }));
    assert_eq!(encode_answer(&answer), &b"\x01\x01\x01\x08\x01k\x04\x06\x04\0\0"[..]);
    let refused = Err(RequestError::Compacted { requested: 1, compacted: 5 });
    assert_eq!(encode_answer(&refused), &b"\x01\0\x08\x02\x0a"[..]);
}

#[test]
fn a_command_of_a_newer_build_stops_the_node_and_nonsense_is_an_answer() {
    let mut store = Story::abc().0;
    let digest = store.digest();
    let error = store.apply(EntryId::ZERO, b"\x02\x01").unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    assert!(store.apply(EntryId::ZERO, b"\x01\x63").is_err(), "an unknown kind of command");
    for nonsense in [&b""[..], b"\x01", b"\x01\x01\0\x05k", b"\x01\x04\x02\x01more"] {
        let answer = store.apply(EntryId::ZERO, nonsense).unwrap();
        assert_eq!(decode_answer(&answer), Ok(Err(RequestError::Unreadable)), "{nonsense:?}");
        let answer = store.query(nonsense);
        assert_eq!(decode_answer(&answer), Ok(Err(RequestError::Unreadable)), "{nonsense:?}");
    }
    assert_eq!(store.digest(), digest);
}

#[test]
fn random_bytes_never_panic_and_never_take_more_memory_than_they_justify() {
    let mut random = Random::new(3);
    let mut decoded = 0;
    for _ in 0..200_000 {
        let mut bytes: Vec<u8> =
            (0..random.below(60)).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        // Most would fail at the first byte, and prove little.
        for (byte, choices) in bytes.iter_mut().zip([1, 4, 3, 3]) {
            *byte = u8::try_from(random.below(choices) + 1).unwrap();
        }
        decoded += usize::from(try_all(&bytes));
    }
    assert!(decoded > 100, "some decode: {decoded}");
}

#[test]
fn mutated_bytes_never_panic_and_what_decodes_encodes_to_the_same_bytes() {
    let mut random = Random::new(4);
    let mut decoded = 0;
    for _ in 0..100_000 {
        let mut bytes = match random.below(3) {
            0 => random.command(20).encode(),
            1 => Query::Txn(random.read_txn(20)).encode(),
            _ => {
                let mut store = Story::abc().0;
                encode_answer(&store.apply_command(&random.command(4))).to_vec()
            }
        };
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(4) {
                0 => bytes[at] ^= 1 << random.below(8),
                1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
                2 => bytes.insert(at, 0xff),
                _ => bytes.truncate(at.max(1)),
            }
        }
        decoded += usize::from(try_all(&bytes));
    }
    assert!(decoded > 5_000, "many decode: {decoded}");
}

#[test]
fn a_length_is_checked_before_memory_is_taken_for_it() {
    // Each announces 2^40 compares, operations, bytes, answers or keys, and ends.
    let huge = b"\x80\x80\x80\x80\x80\x20";
    for head in
        [&b"\x01\x03"[..], b"\x01\x03\0", b"\x01\x03\0\0", b"\x01\x01\0", b"\x01\x01\0\x01k"]
    {
        let bytes = [head, huge].concat();
        let error = Command::decode(&bytes).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated { needed: 0x100_0000_0000, .. }), "{error}");
    }
    for head in [&b"\x01\x03\0\x02"[..], b"\x01\x02\x02\x02", b"\x01\x05\0\x02\x02"] {
        let error = decode_answer(&[head, huge].concat()).unwrap_err();
        assert!(matches!(error, DecodeError::Truncated { needed: 0x100_0000_0000, .. }), "{error}");
    }
}

#[test]
fn an_integer_has_one_form() {
    // Compact to revision 0, written with one byte, with two, with more than 64 bits.
    assert!(Command::decode(b"\x01\x04\0\0").is_ok());
    assert!(Command::decode(b"\x01\x04\x80\0\0").is_err());
    assert!(Command::decode(b"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\0").is_ok());
    assert!(Command::decode(b"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02\0").is_err());
    assert!(Command::decode(b"\x01\x04\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\0\0").is_err());
}

#[test]
fn errors_say_where_and_what() {
    let text = |bytes: &[u8]| Command::decode(bytes).unwrap_err().to_string();
    assert_eq!(text(b"\x07"), "format version 7, this build reads up to 1");
    assert_eq!(text(b"\x01\x01\0\x05ab"), "byte 4 announces 5 more, but 2 bytes are left");
    assert_eq!(text(b"\x01\x04\0\0x"), "byte 4: bytes after the end");
}

/// Tries every decoder, and applies what comes out; returns whether anything did.
fn try_all(bytes: &[u8]) -> bool {
    let mut any = false;
    if let Ok(command) = Command::decode(bytes) {
        any = true;
        assert_eq!(command.encode(), bytes, "one form per value");
        if let Command::Txn(txn) = &command {
            assert_memory(txn, bytes);
        }
        let _refused_or_not = Story::abc().apply(&command);
    }
    if let Ok(query) = Query::decode(bytes) {
        any = true;
        assert_eq!(query.encode(), bytes, "one form per value");
        let _refused_or_not = Story::abc().0.answer(&query);
    }
    if let Ok(answer) = decode_answer(bytes) {
        any = true;
        assert_eq!(encode_answer(&answer), bytes, "one form per value");
    }
    any
}

fn assert_memory(txn: &TxnRequest<'_>, bytes: &[u8]) {
    let memory = memory_of(txn);
    let max = bytes.len() * DECODED_BYTES_PER_BYTE_MAX;
    assert!(memory <= max, "{memory} bytes of memory for {} of input", bytes.len());
}

fn memory_of(txn: &TxnRequest<'_>) -> usize {
    let nested = txn.success.iter().chain(&txn.failure).map(|op| match op {
        RequestOp::Txn(inner) => memory_of(inner),
        RequestOp::Range(_) | RequestOp::Put(_) | RequestOp::DeleteRange(_) | RequestOp::Unset => 0,
    });
    let ops = txn.success.capacity() + txn.failure.capacity();
    txn.compare.capacity() * size_of::<Compare<'_>>()
        + ops * size_of::<RequestOp<'_>>()
        + nested.sum::<usize>()
}
