//! Snapshots: what is frozen stays, what is damaged is refused, what is restored is the same.

use std::collections::BTreeSet;

use bytes::Bytes;
use raft_core::{SnapshotError, SnapshotSource, StateMachine};
use raft_kv::{Command, KvStore, RangeRequest, RequestError, RequestOp, SharedStore};

use crate::random::Random;
use crate::story::{Story, always, put, range};

/// A store with a ground, a history, tombstones and something to reclaim.
fn eventful() -> KvStore {
    let mut random = Random::new(11);
    let mut story = Story::default();
    while story.0.revision() < 60 {
        let revision = story.0.revision();
        let _refused_or_not = match random.command(revision) {
            Command::Compact(_) => continue,
            command @ (Command::Put(_) | Command::DeleteRange(_) | Command::Txn(_)) => {
                story.apply(&command)
            }
        };
    }
    story.compact(30).unwrap();
    story.0
}

fn restore(bytes: Vec<u8>) -> Result<KvStore, SnapshotError> {
    KvStore::from_snapshot(&mut Some(Bytes::from(bytes)))
}

#[test]
fn a_snapshot_is_of_the_moment_it_was_frozen() {
    let mut story = Story(eventful());
    let digest = story.0.digest();
    let mut frozen = story.0.freeze();
    story.put("later", "");
    story.delete("\0", "\0");
    story.compact(story.0.revision()).unwrap();
    story.0.reclaim(usize::MAX);
    let restored = restore(frozen.read_all().unwrap()).unwrap();
    assert_eq!(restored.digest(), digest);
    assert_eq!(restored.revision() + 2, story.0.revision());
}

#[test]
fn the_revision_of_a_store_without_changes_left_is_carried() {
    let mut story = Story::abc();
    story.delete("a", "z");
    story.compact(5).unwrap();
    let restored = restore(story.0.freeze().read_all().unwrap()).unwrap();
    assert_eq!((restored.revision(), restored.compacted_revision()), (5, 5));
    assert_eq!(restored.stats().keys, 0);
    let fresh = restore(KvStore::new().freeze().read_all().unwrap()).unwrap();
    assert_eq!((fresh.revision(), fresh.compacted_revision()), (1, -1));
}

/// A bumped store has its keys under the revisions they had, no past, and goes on from the new
/// revision; a snapshot carries all of it.
#[test]
fn a_bumped_revision_forgets_what_was_before() {
    let mut story = Story(eventful());
    let (before, keys) = (story.0.revision(), story.0.stats().keys);
    let all = story.0.range(&range("\0", "\0")).unwrap();
    assert_eq!(story.0.bump_revision(1000), Some(before + 1000));
    let restored = restore(story.0.freeze().read_all().unwrap()).unwrap();
    assert_eq!(restored.digest(), story.0.digest());
    for mut store in [story.0, restored] {
        assert_eq!((store.revision(), store.stats().keys), (before + 1000, keys));
        assert_eq!(store.range(&range("\0", "\0")).unwrap().kvs, all.kvs);
        let past = RangeRequest { revision: before, ..range("\0", "\0") };
        let compacted = before + 1000;
        let refused = RequestError::Compacted { requested: before, compacted };
        assert_eq!(store.range(&past), Err(refused));
        assert_eq!(store.events(before + 1000).unwrap().count(), 0);
        store.apply_command(&Command::Put(put("later", ""))).unwrap();
        assert_eq!(store.revision(), before + 1001);
        store.reclaim(usize::MAX);
        assert_eq!(store.stats().keys, keys + 1);
        assert_eq!(store.bump_revision(u64::MAX), None);
        assert_eq!(store.revision(), before + 1001);
    }
}

#[test]
fn chunks_are_bounded_however_large_a_value_is() {
    let mut story = Story::default();
    let large = "x".repeat(3_000_000);
    story.put("large", &large);
    for number in 0..20_000 {
        story.put(&format!("small/{number}"), "value");
    }
    let (mut frozen, mut chunks) = (story.0.freeze(), vec![]);
    while let Some(chunk) = frozen.next_chunk().unwrap() {
        chunks.push(chunk);
    }
    let (last, full) = chunks.split_last().unwrap();
    assert!(full.iter().all(|chunk| chunk.len() == 256 * 1024), "all but the last are full");
    assert!(!last.is_empty(), "none is empty");
    assert!(full.len() > 12);
    let restored = restore(chunks.concat()).unwrap();
    assert_eq!(restored.digest(), story.0.digest());
    assert_eq!(restored.range(&range("large", "")).unwrap().kvs[0].value, large.as_str());
}

#[test]
fn every_damaged_byte_and_every_cut_is_noticed() {
    let store = eventful();
    let bytes = store.freeze().read_all().unwrap();
    assert!(restore(bytes.clone()).is_ok());
    for at in 0..bytes.len() {
        assert!(restore(bytes[..at].to_vec()).is_err(), "cut before byte {at}");
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(restore(damaged).is_err(), "bit {bit} of byte {at}");
        }
    }
    let longer = [&bytes[..], b"\0"].concat();
    assert!(restore(longer).is_err(), "a byte after the end");
}

#[test]
fn a_refused_snapshot_leaves_the_store_as_it_was() {
    let mut story = Story::abc();
    let digest = story.0.digest();
    let mut bytes = eventful().freeze().read_all().unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let error = story.0.restore(&mut Some(Bytes::from(bytes))).unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
    assert_eq!(story.0.digest(), digest);
    let mut shared = SharedStore::new();
    assert!(shared.restore(&mut Some(Bytes::from_static(b"no snapshot"))).is_err());
    assert_eq!(shared.revision(), 1);
}

#[test]
fn restoring_replaces_everything_that_was_there() {
    let eventful = eventful();
    let mut shared = SharedStore::new();
    let put = Command::Put(put("dirt", "")).encode();
    shared.apply(raft_core::EntryId::ZERO, &put).unwrap();
    shared.restore(&mut eventful.freeze()).unwrap();
    assert_eq!(shared.digest(), eventful.digest());
    assert_eq!(shared.range(&range("dirt", "")).unwrap().count, 0);
}

#[test]
fn a_reader_of_a_large_range_sees_one_revision_while_commands_are_applied() {
    // Two keys far apart are always written together; a reader must never see them differ.
    let store = SharedStore::new();
    let mut applied = store.clone();
    let mut apply = move |command: &Command<'_>| {
        applied.apply(raft_core::EntryId::ZERO, &command.encode()).unwrap();
    };
    for number in 0..4_000 {
        apply(&Command::Put(put(&format!("m/{number:05}"), "")));
    }
    let mut number = 0;
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            // Until the writer was seen in between a few times, whatever the scheduler does.
            while seen.len() < 20 {
                let response = store.range(&range("\0", "\0")).unwrap();
                let (first, last) = (&response.kvs[0], &response.kvs[response.kvs.len() - 1]);
                if first.key == "a" {
                    assert_eq!((&first.value, &last.key), (&last.value, &"z".into()));
                    assert_eq!(response.revision, first.mod_revision);
                    seen.insert(response.revision);
                }
            }
        });
        while !reader.is_finished() {
            number += 1;
            let value = number.to_string();
            let both = vec![RequestOp::Put(put("a", &value)), RequestOp::Put(put("z", &value))];
            apply(&Command::Txn(always(both)));
        }
    });
    let last = store.range(&range("z", "")).unwrap();
    assert_eq!(last.kvs[0].value, number.to_string().as_str());
}
