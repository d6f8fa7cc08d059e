//! Revisions, ranges, puts, deletions, compactions: a story per statement about etcd's semantics.
//!
//! The names begin with the statement's id. What concerns leases, watches, authentication or the
//! server is not the store's and not here.

use raft_core::StateMachine;
use raft_kv::{
    Command, CompactionRequest, CompareResult, CompareTarget, DeleteRangeRequest,
    DeleteRangeResponse, Event, EventKind, KeyValue, KvStore, PutRequest, RangeRequest,
    RequestError, RequestOp, Response, SharedBytes, SortOrder, SortTarget, TxnRequest,
};

use crate::story::{Story, always, compare, delete, keys, put, range};

#[test]
fn rev_1_a_fresh_store_is_at_revision_1_and_the_first_write_gets_2() {
    let mut story = Story::default();
    assert_eq!(story.0.revision(), 1);
    assert_eq!(story.0.range(&range("a", "")).unwrap().revision, 1);
    assert_eq!(story.put("a", "1").revision, 2);
}

#[test]
fn rev_2_a_write_advances_the_revision_by_one_however_many_keys_it_touches() {
    let mut story = Story::abc();
    assert_eq!(story.delete("a", "c").revision, 5);
    let txn = always(vec![RequestOp::Put(put("x", "")), RequestOp::Put(put("y", ""))]);
    assert_eq!(story.txn(txn).unwrap().revision, 6);
    let revisions: Vec<_> = story.0.events(5).unwrap().map(|event| event.kv.mod_revision).collect();
    assert_eq!(revisions, [5, 5, 6, 6]);
}

#[test]
fn rev_3_what_changes_nothing_does_not_advance_the_revision() {
    let mut story = Story::abc();
    assert_eq!(story.delete("x", "z").revision, 4);
    let nothing = always(vec![
        RequestOp::DeleteRange(delete("x", "")),
        RequestOp::Range(range("a", "")),
        RequestOp::Txn(always(vec![])),
    ]);
    assert_eq!(story.txn(nothing).unwrap().revision, 4);
    let otherwise = TxnRequest {
        compare: vec![compare("a", CompareResult::Equal, CompareTarget::Version(9))],
        success: vec![RequestOp::Put(put("a", "2"))],
        failure: vec![],
    };
    assert_eq!(story.txn(otherwise).unwrap().revision, 4);
    assert_eq!(story.compact(3), Ok(4));
    assert_eq!(story.0.revision(), 4);
}

#[test]
fn rev_5_a_generation_counts_its_puts_and_ends_with_a_deletion() {
    let mut story = Story::default();
    let numbers = |story: &Story| {
        let kv = story.get("a").unwrap();
        (kv.create_revision, kv.mod_revision, kv.version)
    };
    story.put("a", "1");
    assert_eq!(numbers(&story), (2, 2, 1));
    story.put("other", "");
    story.put("a", "2");
    assert_eq!(numbers(&story), (2, 4, 2));
    story.delete("a", "");
    assert_eq!(story.get("a"), None);
    story.put("a", "3");
    assert_eq!(numbers(&story), (6, 6, 1));
}

#[test]
fn rev_6_a_read_of_an_old_revision_answers_with_the_newest() {
    let story = Story::abc();
    let old = RangeRequest { revision: 2, ..range("a", "z") };
    let response = story.0.range(&old).unwrap();
    assert_eq!((response.revision, keys(&response.kvs).as_str()), (4, "a"));
}

#[test]
fn rng_0_an_empty_key_is_refused_before_an_unknown_sort_option() {
    let story = Story::abc();
    let mut request = RangeRequest { sort_order: SortOrder::Unrecognized, ..range("", "") };
    assert_eq!(story.0.range(&request), Err(RequestError::EmptyKey));
    request.key = b"a";
    assert_eq!(story.0.range(&request), Err(RequestError::InvalidSortOption));
    request.sort_order = SortOrder::None;
    request.sort_target = SortTarget::Unrecognized;
    assert_eq!(request.validate(), Err(RequestError::InvalidSortOption));
}

#[test]
fn rng_1_a_range_end_says_one_key_a_prefix_or_everything_from_a_key() {
    let mut story = Story::abc();
    for key in ["\0", "aa", "b\0", "\u{ff}"] {
        story.put(key, "");
    }
    assert_eq!(story.keys(&range("a", "")), "a");
    assert_eq!(story.keys(&range("aaa", "")), "");
    assert_eq!(story.keys(&range("a", "b")), "a aa");
    assert_eq!(story.keys(&range("a", "b\0")), "a aa b");
    assert_eq!(story.keys(&range("b", "\0")), "b b\\x00 c \\xc3\\xbf");
    assert_eq!(story.keys(&range("\0", "\0")), "\\x00 a aa b b\\x00 c \\xc3\\xbf");
}

#[test]
fn rng_2_a_range_that_ends_before_it_starts_is_empty() {
    let story = Story::abc();
    for (key, range_end) in [("b", "b"), ("b", "a"), ("c", "\0\0"), ("z", "a")] {
        let response = story.0.range(&range(key, range_end)).unwrap();
        assert_eq!((response.count, response.kvs, response.more), (0, vec![], false));
    }
}

#[test]
fn rng_3_a_revision_is_the_newest_an_old_one_compacted_or_in_the_future() {
    let mut story = Story::abc();
    let at = |story: &Story, revision| {
        let request = RangeRequest { revision, ..range("a", "z") };
        story.0.range(&request).map(|response| keys(&response.kvs))
    };
    for (revision, expected) in [(-7, "a b c"), (0, "a b c"), (1, ""), (2, "a"), (4, "a b c")] {
        assert_eq!(at(&story, revision), Ok(expected.to_owned()));
    }
    let future = RequestError::FutureRevision { requested: 5, current: 4 };
    assert_eq!(at(&story, 5), Err(future));
    story.compact(3).unwrap();
    let compacted = RequestError::Compacted { requested: 2, compacted: 3 };
    assert_eq!(at(&story, 2), Err(compacted));
    assert_eq!(at(&story, 3), Ok("a b".to_owned()));
    assert_eq!(at(&story, 0), Ok("a b c".to_owned()));
}

#[test]
fn rng_4_a_limit_cuts_and_says_whether_there_is_more() {
    let story = Story::abc();
    let cases = [(-1, "a b c", false), (0, "a b c", false), (1, "a", true), (2, "a b", true)];
    for (limit, expected, more) in cases.into_iter().chain([(3, "a b c", false)]) {
        let response = story.0.range(&RangeRequest { limit, ..range("a", "z") }).unwrap();
        assert_eq!((keys(&response.kvs).as_str(), response.more), (expected, more), "{limit}");
    }
}

#[test]
fn rng_5_a_count_does_not_depend_on_limit_and_filters() {
    let story = Story::abc();
    let request = RangeRequest { limit: 1, min_mod_revision: 4, ..range("a", "z") };
    let response = story.0.range(&request).unwrap();
    assert_eq!((keys(&response.kvs).as_str(), response.more, response.count), ("c", false, 3));
    let old = RangeRequest { limit: 1, revision: 3, ..range("a", "z") };
    let response = story.0.range(&old).unwrap();
    assert_eq!((keys(&response.kvs).as_str(), response.more, response.count), ("a", true, 2));
}

#[test]
fn rng_6_count_only_answers_nothing_but_the_count() {
    let story = Story::abc();
    let request = RangeRequest { count_only: true, limit: 1, ..range("b", "\0") };
    let response = story.0.range(&request).unwrap();
    assert_eq!((response.count, response.kvs, response.more), (2, vec![], false));
}

#[test]
fn rng_7_keys_only_leaves_out_the_value_and_nothing_else() {
    let story = Story::abc();
    let response = story.0.range(&RangeRequest { keys_only: true, ..range("b", "") }).unwrap();
    let expected = KeyValue { value: SharedBytes::default(), ..story.get("b").unwrap() };
    assert_eq!(response.kvs, [expected]);
}

#[test]
fn rng_8_filters_bound_both_revisions_before_the_limit_cuts() {
    let mut story = Story::abc();
    story.put("a", "a2"); // a: created 2, modified 5
    let filtered = |request| story.keys(&RangeRequest { limit: 1, ..request });
    let all = range("a", "z");
    assert_eq!(filtered(RangeRequest { min_mod_revision: 4, ..all }), "a");
    assert_eq!(filtered(RangeRequest { max_mod_revision: 4, ..all }), "b");
    assert_eq!(filtered(RangeRequest { min_create_revision: 4, ..all }), "c");
    assert_eq!(filtered(RangeRequest { max_create_revision: 2, ..all }), "a");
    assert_eq!(filtered(RangeRequest { min_mod_revision: 4, max_mod_revision: 4, ..all }), "c");
    assert_eq!(filtered(RangeRequest { min_mod_revision: 9, ..all }), "");
}

#[test]
fn rng_9_ranges_are_ordered_by_target_and_equal_ones_by_key() {
    let mut story = Story::abc(); // versions 1, values a1 b1 c1
    story.put("a", "z"); // a: version 2, modified 5
    let sorted = |sort_order, sort_target| {
        story.keys(&RangeRequest { sort_order, sort_target, ..range("a", "z") })
    };
    assert_eq!(sorted(SortOrder::Descend, SortTarget::Key), "c b a");
    assert_eq!(sorted(SortOrder::Ascend, SortTarget::Key), "a b c");
    assert_eq!(sorted(SortOrder::Ascend, SortTarget::Version), "b c a");
    assert_eq!(sorted(SortOrder::Descend, SortTarget::Version), "a b c");
    assert_eq!(sorted(SortOrder::Descend, SortTarget::Create), "c b a");
    assert_eq!(sorted(SortOrder::None, SortTarget::Mod), "b c a");
    assert_eq!(sorted(SortOrder::Ascend, SortTarget::Value), "b c a");
}

#[test]
fn rng_9_without_an_order_the_limit_cuts_in_key_order_before_a_target_sorts() {
    let mut story = Story::abc();
    story.put("a", "a2"); // by modification: b c a
    let limited = |sort_order, limit| {
        let sort_target = SortTarget::Mod;
        story.keys(&RangeRequest { sort_order, sort_target, limit, ..range("a", "z") })
    };
    assert_eq!(limited(SortOrder::Ascend, 2), "b c");
    // a and b are cut out by key, with c to tell that there is more; then they are sorted.
    assert_eq!(limited(SortOrder::None, 1), "b");
    assert_eq!(limited(SortOrder::None, 2), "b c");
}

#[test]
fn rng_12_a_frozen_read_never_mixes_revisions() {
    let mut story = Story::abc();
    let before = story.0.range(&range("a", "z")).unwrap();
    story.put("a", "new");
    story.delete("b", "");
    let again = story.0.range(&RangeRequest { revision: 4, ..range("a", "z") }).unwrap();
    assert_eq!(again.kvs, before.kvs);
}

#[test]
fn put_1_faults_are_found_in_etcds_order() {
    let mut story = Story::default();
    let mut request =
        PutRequest { ignore_value: true, ignore_lease: true, lease: 1, ..put("", "value") };
    assert_eq!(story.try_put(request), Err(RequestError::EmptyKey));
    request.key = b"a";
    assert_eq!(story.try_put(request), Err(RequestError::ValueProvided));
    request.value = b"";
    assert_eq!(story.try_put(request), Err(RequestError::LeaseProvided));
    request.ignore_lease = false;
    assert_eq!(story.try_put(request), Err(RequestError::LeaseNotFound { lease: 1 }));
    request.lease = 0;
    assert_eq!(story.try_put(request), Err(RequestError::KeyNotFound));
    request = PutRequest { ignore_lease: true, ..put("a", "1") };
    assert_eq!(story.try_put(request), Err(RequestError::KeyNotFound));
}

#[test]
fn put_2_prev_kv_is_what_the_key_was_or_absent() {
    let mut story = Story::default();
    let mut request = PutRequest { prev_kv: true, ..put("a", "1") };
    assert_eq!(story.try_put(request).unwrap().prev_kv, None);
    request.value = b"2";
    let prev_kv = story.try_put(request).unwrap().prev_kv.unwrap();
    assert_eq!((&prev_kv.value, prev_kv.version), (&"1".into(), 1));
    request.prev_kv = false;
    assert_eq!(story.try_put(request).unwrap().prev_kv, None);
}

#[test]
fn put_3_ignore_value_keeps_the_value_and_counts_as_a_put() {
    let mut story = Story::default();
    story.put("a", "kept");
    let request = PutRequest { ignore_value: true, ignore_lease: true, ..put("a", "") };
    assert_eq!(story.try_put(request).unwrap().revision, 3);
    let kv = story.get("a").unwrap();
    assert_eq!((&kv.value, kv.version, kv.mod_revision), (&"kept".into(), 2, 3));
}

#[test]
fn put_5_an_empty_value_and_the_same_value_again_are_puts() {
    let mut story = Story::default();
    assert_eq!(story.put("a", "").revision, 2);
    assert_eq!(story.put("a", "").revision, 3);
    let kv = story.get("a").unwrap();
    assert_eq!((&kv.value, kv.version), (&"".into(), 2));
}

#[test]
fn put_6_a_refused_put_changes_nothing() {
    let mut story = Story::abc();
    let digest = story.0.digest();
    let missing = PutRequest { ignore_value: true, ..put("x", "") };
    assert_eq!(story.try_put(missing), Err(RequestError::KeyNotFound));
    let leased = PutRequest { lease: 5, ..put("a", "2") };
    assert_eq!(story.try_put(leased), Err(RequestError::LeaseNotFound { lease: 5 }));
    assert_eq!((story.0.revision(), story.0.digest()), (4, digest));
}

#[test]
fn del_1_a_deletion_needs_a_key_and_knows_the_same_ranges_as_a_read() {
    let mut story = Story::abc();
    let nothing = story.apply(&Command::DeleteRange(delete("", "\0")));
    assert_eq!(nothing, Err(RequestError::EmptyKey));
    assert_eq!(story.delete("c", "a").deleted, 0);
    assert_eq!(story.delete("b", "\0").deleted, 2);
    assert_eq!(story.keys(&range("\0", "\0")), "a");
}

#[test]
fn del_2_a_deletion_answers_how_many_and_which_keys_in_order() {
    let mut story = Story::abc();
    let expected = story.0.range(&range("a", "c")).unwrap().kvs;
    let response = story.delete("a", "c");
    assert_eq!((response.deleted, response.prev_kvs), (2, expected));
    let quiet = DeleteRangeRequest { prev_kv: false, ..delete("c", "") };
    let response = story.apply(&Command::DeleteRange(quiet)).unwrap();
    let expected = DeleteRangeResponse { revision: 6, deleted: 1, prev_kvs: vec![] };
    assert_eq!(response, Response::DeleteRange(expected));
}

#[test]
fn del_3_every_deleted_key_is_an_event_with_its_key_and_revision_only() {
    let mut story = Story::abc();
    let before = story.get("b");
    story.delete("b", "");
    let kv = KeyValue { key: "b".into(), mod_revision: 5, ..KeyValue::default() };
    let expected = Event { kind: EventKind::Delete, kv, prev_kv: before };
    assert_eq!(story.0.events(5).unwrap().collect::<Vec<_>>(), [expected]);
}

#[test]
fn cmp_1_only_what_is_neither_compacted_nor_in_the_future_can_be_compacted() {
    let mut story = Story::abc();
    let future = RequestError::FutureRevision { requested: 5, current: 4 };
    assert_eq!(story.compact(5), Err(future));
    assert_eq!(story.compact(-1), Err(RequestError::Compacted { requested: -1, compacted: -1 }));
    assert_eq!(story.0.compacted_revision(), -1);
    assert_eq!(story.compact(0), Ok(4));
    assert_eq!(story.compact(0), Err(RequestError::Compacted { requested: 0, compacted: 0 }));
    assert_eq!(story.compact(4), Ok(4));
    assert_eq!(story.compact(3), Err(RequestError::Compacted { requested: 3, compacted: 4 }));
}

#[test]
fn cmp_2_reads_below_a_compaction_fail_at_once_and_at_it_succeed() {
    let mut story = Story::default();
    for number in 0..10_000 {
        story.put("a", &number.to_string());
    }
    story.compact(9_000).unwrap();
    assert!(story.0.stats().reclaimable_changes > 8_000, "the history is still in memory");
    let at = |revision| story.0.range(&RangeRequest { revision, ..range("a", "") });
    assert_eq!(at(8_999), Err(RequestError::Compacted { requested: 8_999, compacted: 9_000 }));
    assert_eq!(at(9_000).unwrap().kvs[0].value, "8998");
    assert!(story.0.events(8_999).is_err(), "a watch cannot begin below");
}

#[test]
fn cmp_3_the_newest_version_of_each_key_survives_and_older_ones_do_not() {
    let mut story = Story::abc();
    story.put("a", "a2"); // 5
    story.put("a", "a3"); // 6
    story.compact(5).unwrap();
    story.0.reclaim(usize::MAX);
    let at = |revision| {
        let response = story.0.range(&RangeRequest { revision, ..range("a", "z") }).unwrap();
        response.kvs.iter().map(|kv| kv.value.escape_ascii().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(at(5), ["a2", "b1", "c1"]);
    assert_eq!(at(0), ["a3", "b1", "c1"]);
    assert_eq!(story.0.stats().changes, 2, "those at revisions 5 and 6");
}

#[test]
fn cmp_3_a_tombstone_exactly_at_the_compact_revision_is_kept_and_one_before_is_not() {
    let mut story = Story::abc();
    story.delete("a", ""); // 5
    story.delete("b", ""); // 6
    story.compact(6).unwrap();
    story.0.reclaim(usize::MAX);
    let events: Vec<_> = story.0.events(6).unwrap().collect();
    assert_eq!((events[0].kind, &events[0].kv.key), (EventKind::Delete, &"b".into()));
    assert_eq!(events[0].prev_kv, None, "what it was before is compacted");
    assert_eq!(events.len(), 1);
    // The next compaction takes it.
    story.put("x", "");
    story.compact(7).unwrap();
    story.0.reclaim(usize::MAX);
    assert_eq!(story.0.stats().changes, 1);
}

#[test]
fn cmp_4_space_comes_back_in_bounded_steps_while_commands_are_applied() {
    let mut story = Story::default();
    for number in 0..10_000 {
        story.put("a", &number.to_string());
    }
    let full = story.0.stats();
    let compact = CompactionRequest { revision: full.revision, physical: true };
    story.apply(&Command::Compact(compact)).unwrap();
    let mut waiting = story.0.stats().reclaimable_changes;
    assert!(waiting > full.changes - 100, "the compaction itself did not wait: {waiting}");
    while waiting > 0 {
        story.put("other", "");
        let next = story.0.stats().reclaimable_changes;
        assert!(waiting - next <= 100, "one command reclaimed {}", waiting - next);
        assert!(next < waiting, "each command makes progress");
        waiting = next;
    }
    let bytes = story.0.stats().bytes;
    assert!(bytes < full.bytes / 10, "{bytes} of {} are left", full.bytes);
}

#[test]
fn cmp_8_a_compaction_survives_a_snapshot_before_its_space_came_back() {
    let mut story = Story::abc();
    for number in 0..1_000 {
        story.put("a", &number.to_string());
    }
    story.delete("b", "");
    story.compact(story.0.revision() - 10).unwrap();
    let mut restored = KvStore::new();
    restored.restore(&mut story.0.freeze()).unwrap();
    assert_eq!(restored.compacted_revision(), story.0.compacted_revision());
    assert_eq!(restored.stats().reclaimable_changes, 0, "what is forgotten is not carried");
    assert_eq!(restored.digest(), story.0.digest());
}
