//! What cannot be seen from outside: the invariants of the types, and the sums they keep.
//!
//! What can be seen is tested against a naive model in `tests/properties.rs`.

use std::collections::BTreeSet;

use super::node::ITEMS_MAX;
use super::*;
use crate::{Command, CompactionRequest, DeleteRangeRequest, PutRequest};

/// A seeded generator: an odd multiplier and the high bits.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % end
    }
}

fn put(mvcc: &mut Mvcc, key: &[u8], value: &[u8]) {
    let put = PutRequest { key, value, ..PutRequest::default() };
    mvcc.apply(&Command::Put(put)).unwrap();
}

fn delete(mvcc: &mut Mvcc, key: &[u8], range_end: &[u8]) {
    let delete = DeleteRangeRequest { key, range_end, prev_kv: false };
    mvcc.apply(&Command::DeleteRange(delete)).unwrap();
}

/// Compacts to so many revisions before the newest.
fn compact(mvcc: &mut Mvcc, behind: i64) {
    let revision = mvcc.revision.get() - behind;
    let compact = CompactionRequest { revision, physical: false };
    mvcc.apply(&Command::Compact(compact)).unwrap();
}

fn key(number: u64) -> Vec<u8> {
    format!("key/{number:08}").into_bytes()
}

/// Recomputes what the map keeps as a running sum, and checks the invariants of its parts.
fn check(mvcc: &Mvcc) {
    mvcc.index.check();
    let slots = mvcc.index.slots(KeyRange::From(&[]));
    let in_index: u64 = slots.map(|slot| slot_bytes(&slot.key) + version_bytes(&slot.newest)).sum();
    let changes = (mvcc.unreclaimed..mvcc.history.next()).map(|number| {
        let change = mvcc.history.get(number).expect("an unreclaimed change is in memory");
        CHANGE_BYTES + change.replaced.as_deref().map_or(0, version_bytes)
    });
    assert_eq!(mvcc.bytes, in_index + changes.sum::<u64>(), "bytes are counted in and out");
}

#[test]
fn the_index_keeps_its_invariants_while_it_splits_and_joins() {
    let mut leaves_max = 0;
    for seed in 0..40 {
        let mut random = Random(seed);
        let (mut mvcc, mut model) = (Mvcc::default(), BTreeSet::new());
        for round in 0..30 {
            // Many keys near each other, in a random order, ascending and descending.
            let (start, len) = (random.below(3_000), random.below(60));
            for number in 0..len {
                let number = match seed % 3 {
                    0 => random.below(3_000),
                    1 => start + number,
                    _ => start + len - number,
                };
                put(&mut mvcc, &key(number), b"value");
                model.insert(key(number));
            }
            leaves_max = leaves_max.max(mvcc.index.count_leaves(KeyRange::From(&[])));
            let start = random.below(3_000);
            let (start, end) = (key(start), key(start + random.below(1_000)));
            delete(&mut mvcc, &start, &end);
            model.retain(|key| *key < start || *key >= end);
            if round % 3 == 2 {
                compact(&mut mvcc, i64::from(seed % 2 == 0) * 20);
                mvcc.reclaim(if round % 2 == 0 { usize::MAX } else { 100 });
            }
            check(&mvcc);
            let found = mvcc.index.live_slots(KeyRange::From(&[])).map(|slot| slot.key.to_vec());
            assert!(found.eq(model.iter().cloned()), "seed {seed} round {round}");
            let count = mvcc.index.count_live(KeyRange::Between(&start, &key(9_999)));
            assert_eq!(count, model.range(start..).count(), "seed {seed} round {round}");
        }
    }
    assert!(leaves_max > ITEMS_MAX * 3, "{leaves_max} leaves: not only leaves were split");
}

#[test]
fn keys_are_found_whatever_they_share() {
    // Prefixes of each other, zeroes as long as a head and longer, and what differs late.
    let mut keys: Vec<Vec<u8>> = vec![];
    for stem in [&b""[..], b"a", b"shared/prefix/", b"shared/prefix/and/a/longer/one"] {
        for len in 1..20 {
            keys.push([stem, &vec![0; len]].concat());
            keys.push([stem, &vec![0; len], &b"x"[..]].concat());
            keys.push([stem, &vec![0xff; len]].concat());
        }
    }
    for seed in 0..20 {
        let mut random = Random(seed);
        let mut mvcc = Mvcc::default();
        for written in 0..keys.len() {
            let other = written + usize::try_from(random.below(1 << 20)).unwrap();
            let other = written + other % (keys.len() - written);
            keys.swap(written, other);
            assert!(mvcc.newest(&keys[written]).is_none(), "it is not there yet");
            put(&mut mvcc, &keys[written], &keys[written]);
            check(&mvcc);
        }
        for key in &keys {
            assert_eq!(mvcc.newest(key).unwrap().newest.value, key.as_slice());
        }
        keys.sort();
        let found = mvcc.index.slots(KeyRange::From(&[])).map(|slot| slot.key.to_vec());
        assert!(found.eq(keys.iter().cloned()));
        let backwards = mvcc.index.slots(KeyRange::From(&[])).rev().map(|slot| slot.key.to_vec());
        assert!(backwards.eq(keys.iter().rev().cloned()));
    }
}

#[test]
fn ascending_keys_fill_their_leaves() {
    let mut mvcc = Mvcc::default();
    let leaves = 50;
    for number in 0..(ITEMS_MAX * leaves) as u64 {
        put(&mut mvcc, &key(number), b"");
    }
    assert_eq!(mvcc.index.count_leaves(KeyRange::From(&[])), leaves);
    check(&mvcc);
}

#[test]
fn reclaiming_everything_leaves_only_what_can_be_read() {
    let mut mvcc = Mvcc::default();
    for number in 0..1_000 {
        put(&mut mvcc, &key(number % 10), b"a value");
    }
    delete(&mut mvcc, b"key/", &[0]);
    put(&mut mvcc, b"last", b"value");
    compact(&mut mvcc, 0);
    while mvcc.reclaimable() > 0 {
        let reclaimed = mvcc.reclaim(Mvcc::RECLAIM_CHANGES_MAX);
        assert!(reclaimed <= Mvcc::RECLAIM_CHANGES_MAX, "reclaiming keeps its bound");
        check(&mvcc);
    }
    assert_eq!(mvcc.changes(), 1, "the change at the compacted revision stays");
    assert_eq!(mvcc.index.slots(KeyRange::From(&[])).count(), 1, "the tombstones left");
    let least = version_bytes(&mvcc.newest(b"last").unwrap().newest) + SLOT_BYTES + 4;
    assert_eq!(mvcc.bytes, least + CHANGE_BYTES);
}

#[test]
fn a_key_written_often_is_read_at_any_revision_in_few_steps() {
    let mut mvcc = Mvcc::default();
    let puts = 20_000;
    for number in 0..puts {
        put(&mut mvcc, b"hot", &key(number));
    }
    let newest = &mvcc.newest(b"hot").unwrap().newest;
    for revision in (2..2 + puts.cast_signed()).step_by(97) {
        let version = mvcc.history.version_at(newest, Revision::new(revision)).unwrap();
        assert_eq!(version.modified.get(), revision);
        let steps = steps_to(&mvcc, newest, Revision::new(revision));
        assert!(steps <= 60, "{steps} steps to revision {revision}: more than 4 log2(n)");
    }
}

/// Walks as `version_at` does, and counts.
fn steps_to(mvcc: &Mvcc, newest: &Version, revision: Revision) -> usize {
    let (mut version, mut steps) = (newest, 0);
    while version.modified > revision {
        version = mvcc.history.step(version, revision).expect("the revision is in the history");
        steps += 1;
    }
    steps
}

#[test]
fn a_frozen_map_does_not_see_what_is_written_later() {
    let mut mvcc = Mvcc::default();
    for number in 0..1_000 {
        put(&mut mvcc, &key(number), b"before");
    }
    let frozen = mvcc.clone();
    let digest = crate::snapshot::digest(&frozen);
    for number in 0..2_000 {
        put(&mut mvcc, &key(number), b"after");
    }
    delete(&mut mvcc, b"k", &[0]);
    compact(&mut mvcc, 0);
    mvcc.reclaim(usize::MAX);
    assert_eq!(crate::snapshot::digest(&frozen), digest);
    assert_eq!(frozen.keys(), 1_000);
    assert_eq!(frozen.newest(&key(7)).unwrap().newest.value, "before");
    check(&frozen);
    check(&mvcc);
}
