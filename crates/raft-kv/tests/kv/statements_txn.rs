//! Transactions: a story per statement about etcd's semantics.

use raft_kv::{
    Command, Compare, CompareResult, CompareTarget, DecodeError, Limits, PutRequest, RangeRequest,
    RequestError, RequestOp, ResponseOp, SortOrder, TXN_DEPTH_MAX, TxnRequest,
};

use crate::story::{Story, always, compare, delete, keys, put, range};

const EQUAL: CompareResult = CompareResult::Equal;

fn ops(count: usize) -> Vec<RequestOp<'static>> {
    vec![RequestOp::Range(range("a", "")); count]
}

fn validate(txn: &TxnRequest<'_>) -> Result<(), RequestError> {
    Command::Txn(txn.clone()).validate(&Limits::default())
}

#[test]
fn rev_8_every_answer_in_a_transaction_carries_its_revision() {
    let mut story = Story::abc();
    let response = story
        .txn(always(vec![
            RequestOp::Range(range("a", "")),
            RequestOp::DeleteRange(delete("x", "")),
            RequestOp::Put(put("a", "2")),
            RequestOp::Range(range("a", "")),
            RequestOp::DeleteRange(delete("x", "")),
            RequestOp::Txn(always(vec![])),
        ]))
        .unwrap();
    let revision = |op: &ResponseOp| match op {
        ResponseOp::Range(response) => response.revision,
        ResponseOp::Put(response) => response.revision,
        ResponseOp::DeleteRange(response) => response.revision,
        ResponseOp::Txn(response) => response.revision,
    };
    let revisions: Vec<_> = response.responses.iter().map(revision).collect();
    assert_eq!(revisions, [4, 4, 5, 5, 5, 5]);
    assert_eq!(response.revision, 5);
}

#[test]
fn txn_1_all_compares_must_hold_and_none_means_success() {
    let mut story = Story::abc();
    assert!(story.txn(always(vec![])).unwrap().succeeded);
    let holds = compare("a", EQUAL, CompareTarget::Version(1));
    let fails = compare("b", EQUAL, CompareTarget::Version(2));
    for (compare, expected) in
        [(vec![holds], true), (vec![holds, holds], true), (vec![holds, fails], false)]
    {
        let txn = TxnRequest { compare, ..TxnRequest::default() };
        assert_eq!(story.txn(txn).unwrap().succeeded, expected);
    }
}

#[test]
fn txn_2_a_range_compare_asks_each_key_and_an_empty_range_is_one_missing_key() {
    let mut story = Story::abc();
    story.put("b", "b2");
    let mut succeeds = |key: &str, range_end: &str, result, target| {
        let (key, range_end) = (key.as_bytes(), range_end.as_bytes());
        let compare = vec![Compare { key, range_end, result, target }];
        story.txn(TxnRequest { compare, ..TxnRequest::default() }).unwrap().succeeded
    };
    assert!(!succeeds("a", "z", EQUAL, CompareTarget::Version(1)), "b has version 2");
    assert!(succeeds("a", "z", CompareResult::Greater, CompareTarget::Version(0)));
    assert!(succeeds("a", "b", EQUAL, CompareTarget::Version(1)));
    assert!(succeeds("b", "\0", CompareResult::Greater, CompareTarget::Mod(3)));
    for range_end in ["", "y", "\0"] {
        for target in [
            CompareTarget::Version(0),
            CompareTarget::Create(0),
            CompareTarget::Mod(0),
            CompareTarget::Lease(0),
        ] {
            assert!(succeeds("x", range_end, EQUAL, target), "a missing key has zeroes");
        }
        for result in [EQUAL, CompareResult::NotEqual, CompareResult::Less, CompareResult::Greater]
        {
            let value = CompareTarget::Value(b"");
            assert!(!succeeds("x", range_end, result, value), "a missing key has no value");
        }
    }
}

#[test]
fn txn_3_four_operators_on_five_targets() {
    let mut story = Story::default();
    story.put("pad", "");
    story.put("a", "m"); // created 3
    story.put("a", "m"); // modified 4, version 2
    let targets = |less: bool| {
        let number = |number: i64| if less { number - 1 } else { number };
        [
            CompareTarget::Create(number(3)),
            CompareTarget::Mod(number(4)),
            CompareTarget::Version(number(2)),
            CompareTarget::Lease(number(0)),
            CompareTarget::Value(if less { b"l\xff" } else { b"m" }),
        ]
    };
    let mut check = |result, target, expected| {
        let compare = vec![compare("a", result, target)];
        let txn = TxnRequest { compare, ..TxnRequest::default() };
        assert_eq!(story.txn(txn).unwrap().succeeded, expected, "{result:?} {target:?}");
    };
    for (same, less) in targets(false).into_iter().zip(targets(true)) {
        for (result, holds_same, holds_less) in [
            (EQUAL, true, false),
            (CompareResult::NotEqual, false, true),
            (CompareResult::Greater, false, true),
            (CompareResult::Less, false, false),
        ] {
            check(result, same, holds_same);
            check(result, less, holds_less);
        }
    }
    check(CompareResult::Less, CompareTarget::Value(b"m\0"), true);
    check(CompareResult::Less, CompareTarget::Version(3), true);
}

#[test]
fn txn_4_the_longest_of_three_lists_counts_and_depth_costs() {
    let compares = |count| vec![compare("a", EQUAL, CompareTarget::Version(0)); count];
    let txn = |compare, success, failure| TxnRequest {
        compare: compares(compare),
        success: ops(success),
        failure: ops(failure),
    };
    assert_eq!(validate(&txn(128, 128, 128)), Ok(()));
    for too_many in [txn(129, 0, 0), txn(0, 129, 0), txn(0, 0, 129)] {
        assert_eq!(validate(&too_many), Err(RequestError::TooManyOps));
    }
    // A parent with 100 of its own leaves 28.
    let nested = |inner| {
        let mut parent = txn(0, 99, 0);
        parent.success.push(RequestOp::Txn(txn(inner, 0, 0)));
        validate(&parent)
    };
    assert_eq!(nested(28), Ok(()));
    assert_eq!(nested(29), Err(RequestError::TooManyOps));
    // Apply does not know the limit: it is a setting, and settings do not decide there.
    assert!(Story::default().txn(txn(0, 129, 0)).is_ok());
}

#[test]
fn txn_4_nesting_is_bounded_whatever_the_limit() {
    let nest = |levels: usize| {
        let mut txn = TxnRequest::default();
        for _ in 1..levels {
            txn = always(vec![RequestOp::Txn(txn)]);
        }
        Command::Txn(txn)
    };
    let limits = Limits { max_txn_ops: usize::MAX };
    let deepest = nest(TXN_DEPTH_MAX);
    assert_eq!(deepest.validate(&limits), Ok(()));
    assert_eq!(Command::decode(&deepest.encode()), Ok(deepest));
    let deeper = nest(TXN_DEPTH_MAX + 1);
    assert_eq!(deeper.validate(&limits), Err(RequestError::TooManyOps));
    let too_deep = DecodeError::TooDeep { max: TXN_DEPTH_MAX };
    assert_eq!(Command::decode(&deeper.encode()), Err(too_deep));
}

#[test]
fn txn_5_operations_of_both_branches_are_checked_like_requests_of_their_own() {
    let faults = [
        (RequestOp::Unset, RequestError::KeyNotFound),
        (RequestOp::Range(range("", "")), RequestError::EmptyKey),
        (RequestOp::Put(put("", "1")), RequestError::EmptyKey),
        (RequestOp::DeleteRange(delete("", "")), RequestError::EmptyKey),
        (
            RequestOp::Put(PutRequest { ignore_value: true, ..put("a", "1") }),
            RequestError::ValueProvided,
        ),
        (
            RequestOp::Put(PutRequest { ignore_lease: true, lease: 1, ..put("a", "1") }),
            RequestError::LeaseProvided,
        ),
        (
            RequestOp::Range(RangeRequest {
                sort_order: SortOrder::Unrecognized,
                ..range("a", "")
            }),
            RequestError::InvalidSortOption,
        ),
    ];
    for (op, error) in faults {
        let success = always(vec![op.clone()]);
        let failure = TxnRequest { failure: vec![op.clone()], ..TxnRequest::default() };
        let nested = always(vec![RequestOp::Txn(failure.clone())]);
        for txn in [success, failure, nested] {
            assert_eq!(validate(&txn), Err(error), "{op:?}");
            assert_eq!(Story::default().txn(txn), Err(error), "{op:?}: apply does not trust");
        }
    }
    let compare = vec![compare("", EQUAL, CompareTarget::Version(0))];
    let txn = TxnRequest { compare, success: vec![RequestOp::Unset], ..TxnRequest::default() };
    assert_eq!(validate(&txn), Err(RequestError::EmptyKey), "compares come first");
}

#[test]
fn txn_6_the_executed_branch_answers_each_of_its_operations_in_order() {
    let mut story = Story::abc();
    let inner = TxnRequest {
        compare: vec![compare("a", EQUAL, CompareTarget::Version(9))],
        success: ops(1),
        failure: ops(2),
    };
    let txn = TxnRequest {
        compare: vec![compare("a", EQUAL, CompareTarget::Version(1))],
        success: vec![
            RequestOp::Range(range("a", "")),
            RequestOp::Txn(inner),
            RequestOp::DeleteRange(delete("b", "")),
            RequestOp::Put(put("d", "")),
        ],
        failure: ops(1),
    };
    let response = story.txn(txn).unwrap();
    match &response.responses[..] {
        [
            ResponseOp::Range(range),
            ResponseOp::Txn(inner),
            ResponseOp::DeleteRange(delete),
            ResponseOp::Put(_),
        ] => {
            assert_eq!((range.count, delete.deleted), (1, 1));
            assert_eq!((inner.succeeded, inner.responses.len()), (false, 2));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn txn_7_no_key_is_written_twice_in_any_way_that_can_be_executed() {
    let a = || RequestOp::Put(put("a", ""));
    let b = || RequestOp::Put(put("b", ""));
    let del = |key, end| RequestOp::DeleteRange(delete(key, end));
    let nest = |success, failure| RequestOp::Txn(TxnRequest { compare: vec![], success, failure });
    let duplicates = [
        vec![a(), a()],
        vec![a(), del("a", "")],
        vec![del("a", ""), a()],
        vec![del("\0", "b"), a()],
        vec![a(), nest(vec![a()], vec![])],
        vec![nest(vec![], vec![a()]), a()],
        vec![nest(vec![a()], vec![]), nest(vec![], vec![a()])],
        vec![del("a", "c"), nest(vec![b()], vec![])],
        vec![nest(vec![del("a", "")], vec![]), a()],
        vec![nest(vec![del("a", "z")], vec![]), nest(vec![b()], vec![])],
        vec![nest(vec![b()], vec![]), nest(vec![del("a", "z")], vec![])],
        vec![nest(vec![nest(vec![a()], vec![])], vec![]), a()],
        // Ranges that overlap are one; what lies in their union is deleted.
        vec![del("a", "b"), del("c", "d"), del("aa", "cc"), b()],
    ];
    for ops in duplicates {
        let success = always(ops.clone());
        let failure = TxnRequest { failure: ops, ..TxnRequest::default() };
        for txn in [success, failure] {
            assert_eq!(validate(&txn), Err(RequestError::DuplicateKey), "{txn:?}");
            let mut story = Story::abc();
            assert_eq!(story.txn(txn), Err(RequestError::DuplicateKey), "in apply as well");
            assert_eq!(story.0.revision(), 4);
        }
    }
    let allowed = [
        vec![a(), b()],
        vec![del("a", "c"), del("b", "d"), del("a", "")],
        vec![a(), RequestOp::Range(range("a", "")), RequestOp::Range(range("a", "z"))],
        vec![nest(vec![a()], vec![a()]), b()],
        vec![nest(vec![a()], vec![del("a", "")])],
        vec![del("b", "c"), a()],
        vec![a(), del("b", "a")],
        // A deletion without end is not seen as infinite.
        vec![a(), del("\0", "\0")],
        vec![del("a", "\0"), b()],
    ];
    for ops in allowed {
        let txn = always(ops);
        assert_eq!(validate(&txn), Ok(()), "{txn:?}");
        assert!(Story::abc().txn(txn).is_ok());
    }
}

#[test]
fn txn_7_a_deletion_without_end_and_a_put_of_one_key_run_in_their_order() {
    let everything = || RequestOp::DeleteRange(delete("\0", "\0"));
    let mut story = Story::abc();
    story.txn(always(vec![everything(), RequestOp::Put(put("a", "new"))])).unwrap();
    assert_eq!(story.keys(&range("\0", "\0")), "a");
    let kv = story.get("a").unwrap();
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (5, 5, 1));

    story.txn(always(vec![RequestOp::Put(put("b", "")), everything()])).unwrap();
    assert_eq!(story.keys(&range("\0", "\0")), "");
    assert_eq!(story.keys(&RangeRequest { revision: 5, ..range("\0", "\0") }), "a");
    assert_eq!(story.keys(&RangeRequest { revision: 4, ..range("\0", "\0") }), "a b c");

    // What was deleted a moment ago has no value to keep: refused before the first write.
    let mut story = Story::abc();
    let keep = RequestOp::Put(PutRequest { ignore_value: true, ..put("a", "") });
    let txn = always(vec![everything(), keep]);
    assert_eq!(story.txn(txn), Err(RequestError::KeyNotFound));
    assert_eq!((story.0.revision(), story.keys(&range("\0", "\0")).as_str()), (4, "a b c"));
}

#[test]
fn txn_8_operations_see_what_earlier_ones_of_the_transaction_wrote() {
    let mut story = Story::abc();
    let response = story
        .txn(always(vec![
            RequestOp::Put(put("a", "new")),
            RequestOp::Range(range("a", "")),
            RequestOp::DeleteRange(delete("b", "")),
            RequestOp::Range(range("a", "z")),
            RequestOp::Range(RangeRequest { revision: 4, ..range("a", "z") }),
        ]))
        .unwrap();
    let seen = |number: usize| {
        let ResponseOp::Range(range) = &response.responses[number] else { panic!("not a range") };
        range.kvs.clone()
    };
    assert_eq!((&seen(1)[0].value, seen(1)[0].mod_revision), (&"new".into(), 5));
    assert_eq!(keys(&seen(3)), "a c");
    assert_eq!(keys(&seen(4)), "a b c");
    assert_eq!(seen(4)[0].value, "a1");
}

#[test]
fn txn_9_a_fault_that_only_the_state_knows_refuses_the_whole_transaction() {
    let mut story = Story::abc();
    story.compact(3).unwrap();
    let digest = story.0.digest();
    let at = |revision| RequestOp::Range(RangeRequest { revision, ..range("a", "") });
    let keep = RequestOp::Put(PutRequest { ignore_value: true, ..put("x", "") });
    let leased = RequestOp::Put(PutRequest { lease: 7, ..put("x", "") });
    let compacted = |requested| RequestError::Compacted { requested, compacted: 3 };
    for (op, error) in [
        // The revision that the transaction itself would make is in the future.
        (at(5), RequestError::FutureRevision { requested: 5, current: 4 }),
        (at(2), compacted(2)),
        (at(-1), compacted(-1)),
        (keep, RequestError::KeyNotFound),
        (leased, RequestError::LeaseNotFound { lease: 7 }),
    ] {
        let direct = vec![RequestOp::Put(put("a", "2")), op.clone()];
        let nested = vec![RequestOp::Put(put("a", "2")), RequestOp::Txn(always(vec![op.clone()]))];
        for ops in [direct, nested] {
            assert_eq!(story.txn(always(ops)), Err(error), "{op:?}");
            assert_eq!((story.0.revision(), story.0.digest()), (4, digest), "{op:?}");
        }
        // In the branch that is not executed nobody minds.
        let other = TxnRequest { failure: vec![op], ..TxnRequest::default() };
        assert!(story.txn(other).is_ok());
    }
}

#[test]
fn txn_9_minus_one_is_a_revision_of_a_store_that_was_never_compacted() {
    let mut story = Story::abc();
    let at = |revision| RequestOp::Range(RangeRequest { revision, ..range("a", "") });
    let write = |revision| always(vec![RequestOp::Put(put("x", "1")), at(revision)]);
    let compacted = |requested, compacted| RequestError::Compacted { requested, compacted };
    let seen = story.txn(always(vec![at(-1)])).unwrap();
    assert_eq!(story.0.read_txn(&always(vec![at(-1)])), Ok(seen.clone()));
    let ResponseOp::Range(range) = &seen.responses[0] else { panic!("{seen:?}") };
    assert_eq!(range.kvs[0].value, "a1", "it means the newest one");
    assert!(story.txn(write(-1)).is_ok());
    assert_eq!(story.txn(write(-2)), Err(compacted(-2, -1)));
    // Revision 0 is the oldest one from now on.
    story.compact(0).unwrap();
    assert_eq!(story.txn(write(-1)), Err(compacted(-1, 0)));
    assert_eq!(story.0.read_txn(&always(vec![at(-1)])), Err(compacted(-1, 0)));
}

#[test]
fn txn_9_of_two_faults_of_a_put_its_transaction_names_the_key_and_it_alone_the_lease() {
    let mut story = Story::abc();
    let both = PutRequest { ignore_value: true, lease: 7, ..put("x", "") };
    assert_eq!(story.try_put(both), Err(RequestError::LeaseNotFound { lease: 7 }));
    assert_eq!(story.txn(always(vec![RequestOp::Put(both)])), Err(RequestError::KeyNotFound));
    let lease = RequestOp::Put(PutRequest { key: b"a", ..both });
    assert_eq!(story.txn(always(vec![lease])), Err(RequestError::LeaseNotFound { lease: 7 }));
}

#[test]
fn txn_11_a_transaction_of_ranges_alone_is_read_only_and_answered_as_a_query() {
    let mut story = Story::abc();
    let reads = TxnRequest {
        compare: vec![compare("a", EQUAL, CompareTarget::Version(1))],
        success: vec![RequestOp::Range(range("a", "z"))],
        failure: ops(1),
    };
    assert!(reads.is_read_only());
    assert!(TxnRequest::default().is_read_only());
    let answer = story.0.read_txn(&reads);
    assert_eq!(answer, story.txn(reads.clone()), "both ways answer alike");

    let mut writes = reads.clone();
    writes.failure.push(RequestOp::Put(put("a", "")));
    let nested = always(vec![RequestOp::Txn(reads)]);
    for txn in [writes, nested] {
        assert!(!txn.is_read_only());
        assert_eq!(story.0.read_txn(&txn), Err(RequestError::WriteInQuery));
    }
}

#[test]
fn txn_12_nested_compares_see_the_state_before_the_transaction() {
    let mut story = Story::abc();
    let inner = TxnRequest {
        compare: vec![compare("a", EQUAL, CompareTarget::Value(b"a1"))],
        success: vec![RequestOp::Put(put("seen", "before"))],
        failure: vec![RequestOp::Put(put("seen", "after"))],
    };
    let txn = always(vec![RequestOp::Put(put("a", "new")), RequestOp::Txn(inner)]);
    story.txn(txn).unwrap();
    assert_eq!(story.get("seen").unwrap().value, "before");
}
