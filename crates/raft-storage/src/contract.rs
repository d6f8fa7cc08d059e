//! The laws every [`Storage`] must keep, as a suite that anybody can run against their own.
//!
//! A law is a function named after what it shows; [`check`] runs all of them, each on a blank
//! storage. Storages that outlive their process are opened again inside the laws. Read next:
//! `storage.rs`, whose sentences these are.

use std::collections::BTreeMap;

use raft_core::codec::{decode_payload, encode_membership};
use raft_core::{
    Base, Checksum, ClusterId, Entry, EntryId, GroupId, HardState, Identity, Incarnation, Index,
    Member, Membership, NodeId, Payload, Peer, Persist, SnapshotId, SnapshotMeta, Term,
};

use crate::{Storage, StorageError, write};

/// How the suite gets the storages it examines.
pub trait Subject {
    /// A storage that never held anything.
    fn blank(&mut self) -> Box<dyn Storage>;

    /// The same storage after its process died; `None` if it does not outlive it.
    fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>>;
}

/// Runs every law.
///
/// # Panics
///
/// If a law is broken; the message says which and how.
pub fn check(subject: &mut dyn Subject) {
    for law in LAWS {
        law(subject);
    }
}

const LAWS: &[fn(&mut dyn Subject)] = &[
    a_blank_disk_remembers_nothing,
    an_identity_is_written_once,
    nothing_is_written_before_the_identity,
    what_was_written_is_restored,
    receipts_come_in_the_order_of_the_batch,
    entries_are_consecutive_and_bounded,
    a_conflicting_suffix_is_replaced,
    a_compacted_log_keeps_its_tail,
    a_tail_stays_behind_the_snapshot,
    an_installed_snapshot_replaces_the_log,
    memberships_are_found_with_their_entries,
    payloads_keep_their_bytes_and_seal,
    a_broken_rule_is_refused_and_final,
];

const GROUP: GroupId = GroupId::new(3);
const OTHER: GroupId = GroupId::new(900);

fn a_blank_disk_remembers_nothing(subject: &mut dyn Subject) {
    let mut storage = subject.blank();
    assert_eq!(storage.identity(), None, "a blank disk belongs to nobody");
    assert!(restored(&mut *storage, GROUP).is_blank(), "a blank disk remembers no group");
    assert_eq!(read(&mut *storage, GROUP, 0, 10, u64::MAX), [], "a blank disk has no entries");
}

fn an_identity_is_written_once(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let again = storage.initialize(identity(1));
    assert!(again.is_ok(), "the same identity again is accepted: {again:?}");
    let foreign = storage.initialize(identity(2));
    assert!(
        matches!(foreign, Err(StorageError::Foreign { .. })),
        "another identity is foreign: {foreign:?}"
    );
    let mut storage = reopen(subject, storage);
    assert_eq!(storage.identity(), Some(identity(1)), "the identity stays");
    assert!(storage.initialize(identity(2)).is_err(), "it stays after a restart too");
}

fn nothing_is_written_before_the_identity(subject: &mut dyn Subject) {
    let mut storage = subject.blank();
    let early = storage.persist(&[(GROUP, entries(1, [(1, 1)]))]);
    assert!(matches!(early, Err(StorageError::Uninitialized)), "identity first: {early:?}");
    let result = storage.initialize(identity(1));
    assert!(result.is_ok(), "asking too early breaks nothing: {result:?}");
}

fn what_was_written_is_restored(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let created = Persist::unnumbered(state(0, 0, 0), Some(Base::Created(members(3))), vec![]);
    persist(&mut *storage, GROUP, created);
    persist(&mut *storage, GROUP, Persist::unnumbered(state(1, 2, 0), None, Vec::new()));
    let appended = Persist::unnumbered(state(2, 0, 1), None, log([(1, 1), (1, 2), (2, 3)]));
    persist(&mut *storage, GROUP, appended);
    for _ in 0..2 {
        let found = restored(&mut *storage, GROUP);
        assert_eq!(found.hard_state, state(2, 0, 1), "term, vote and hint of the last write");
        assert_eq!(found.created, Some(members(3)), "the first membership");
        assert_eq!(found.last, id(2, 3), "the last entry");
        let runs = [(Index::new(1), Term::new(1)), (Index::new(3), Term::new(2))];
        assert_eq!(found.terms, runs, "the terms as runs");
        assert_eq!(found.tail, log([(1, 1), (1, 2), (2, 3)]), "the newest entries");
        assert!(restored(&mut *storage, OTHER).is_blank(), "other groups know nothing of it");
        storage = reopen(subject, storage);
    }
}

fn receipts_come_in_the_order_of_the_batch(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let batch = vec![
        (OTHER, entries(1, [(1, 1)])),
        (GROUP, entries(1, [(1, 1)])),
        (OTHER, entries(2, [(1, 2), (2, 3)])),
    ];
    let written = write(&mut *storage, batch).expect("a good batch is written");
    let order: Vec<_> = written.iter().map(|written| written.group).collect();
    assert_eq!(order, [OTHER, GROUP, OTHER], "a receipt for each write, in order");
    let mut storage = reopen(subject, storage);
    assert_eq!(restored(&mut *storage, OTHER).last, id(2, 3), "later writes come after earlier");
    assert_eq!(restored(&mut *storage, GROUP).last, id(1, 1), "each group for itself");
}

fn entries_are_consecutive_and_bounded(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    for index in 1..=9 {
        persist(&mut *storage, GROUP, entries(1, [(1, index)]));
    }
    let cost = entry(1, 1).payload.cost();
    for _ in 0..2 {
        let all = log((1..=9).map(|index| (1, index)));
        let mut at = |start, end, bytes| read(&mut *storage, GROUP, start, end, bytes);
        assert_eq!(at(1, 10, u64::MAX), all, "the whole log");
        assert_eq!(at(3, 6, u64::MAX), all[2..5], "the end is not part of a range");
        assert_eq!(at(3, 100, 2 * cost), all[2..4], "as many as fit");
        assert_eq!(at(3, 100, 2 * cost - 1), all[2..3], "none that does not fit");
        assert_eq!(at(3, 100, 0), all[2..3], "at least one");
        assert_eq!(at(10, 12, u64::MAX), [], "nothing after the log");
        assert_eq!(at(0, 3, u64::MAX), [], "nothing before the log");
        assert_eq!(at(5, 5, u64::MAX), [], "nothing in an empty range");
        storage = reopen(subject, storage);
    }
}

fn a_conflicting_suffix_is_replaced(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    persist(&mut *storage, GROUP, entries(1, [(1, 1), (1, 2), (1, 3), (1, 4)]));
    persist(&mut *storage, GROUP, entries(2, [(2, 3)]));
    for _ in 0..2 {
        let expected = log([(1, 1), (1, 2), (2, 3)]);
        assert_eq!(read(&mut *storage, GROUP, 1, 9, u64::MAX), expected, "what conflicts is gone");
        assert_eq!(restored(&mut *storage, GROUP).tail, expected, "from the tail too");
        storage = reopen(subject, storage);
    }
    persist(&mut *storage, GROUP, entries(3, [(3, 1), (3, 2)]));
    assert_eq!(restored(&mut *storage, GROUP).tail, log([(3, 1), (3, 2)]), "even the whole log");
}

fn a_compacted_log_keeps_its_tail(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    persist(&mut *storage, GROUP, entries(2, [(1, 1), (1, 2), (2, 3), (2, 4)]));
    let base = Some(Base::Compacted { snapshot: snapshot(id(2, 3)), upto: id(2, 3) });
    persist(&mut *storage, GROUP, Persist::unnumbered(state(2, 0, 3), base, log([(2, 5)])));
    for _ in 0..2 {
        let found = restored(&mut *storage, GROUP);
        assert_eq!(found.snapshot, Some(snapshot(id(2, 3))), "the log begins after it");
        assert_eq!(found.tail, log([(2, 4), (2, 5)]), "entries above it stay");
        assert_eq!(read(&mut *storage, GROUP, 3, 9, u64::MAX), [], "entries up to it are gone");
        assert_eq!(read(&mut *storage, GROUP, 4, 5, u64::MAX), log([(2, 4)]), "others are read");
        storage = reopen(subject, storage);
    }
}

fn a_tail_stays_behind_the_snapshot(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let carriers = vec![entry(1, 1), membership_entry(1, 2, 4), entry(1, 3), entry(1, 4)];
    persist(&mut *storage, GROUP, Persist::unnumbered(state(1, 0, 3), None, carriers.clone()));
    let covers = |index, upto| {
        let upto = if upto == 0 { EntryId::ZERO } else { id(1, upto) };
        Some(Base::Compacted { snapshot: snapshot(id(1, index)), upto })
    };
    // The snapshot moves forward first without, then with the base, then the base alone.
    for (covered, upto) in [(2, 0), (3, 1), (3, 2)] {
        let write = Persist::unnumbered(state(1, 0, 3), covers(covered, upto), vec![]);
        persist(&mut *storage, GROUP, write);
        for _ in 0..2 {
            let found = restored(&mut *storage, GROUP);
            assert_eq!(found.snapshot, Some(snapshot(id(1, covered))), "the newest snapshot");
            assert_eq!(found.base.index.get(), upto, "the log begins where it was told to");
            assert_eq!(found.memberships, [], "what the snapshot covers, its membership says");
            let kept = &carriers[usize::try_from(upto).expect("small")..];
            assert_eq!(found.tail, kept, "what lies between stays");
            assert_eq!(read(&mut *storage, GROUP, upto + 1, 9, u64::MAX), kept, "and is read");
            storage = reopen(subject, storage);
        }
    }
    let conflict = storage.persist(&[(GROUP, entries(2, [(2, 3)]))]);
    assert!(matches!(conflict, Err(StorageError::Rule { .. })), "what is covered is not cut");
}

fn an_installed_snapshot_replaces_the_log(subject: &mut dyn Subject) {
    // It ends inside the log, with an entry the log has not, with the log, or beyond it.
    for included in [id(2, 3), id(3, 3), id(2, 4), id(3, 9)] {
        let mut storage = owned(subject);
        let old = vec![entry(1, 1), entry(1, 2), entry(2, 3), membership_entry(2, 4, 5)];
        persist(&mut *storage, GROUP, Persist::unnumbered(state(2, 0, 2), None, old));
        let (base, next) = (Some(Base::Installed(snapshot(included))), included.index.next().get());
        persist(&mut *storage, GROUP, Persist::unnumbered(state(4, 0, 3), base, log([(4, next)])));
        for _ in 0..2 {
            let found = restored(&mut *storage, GROUP);
            assert_eq!(found.snapshot, Some(snapshot(included)), "the log begins after it");
            assert_eq!(found.base, included, "with nothing before");
            assert_eq!(found.tail, log([(4, next)]), "nothing of the old log stays");
            assert_eq!(found.memberships, [], "its memberships neither");
            assert_eq!(read(&mut *storage, GROUP, 1, 2, u64::MAX), [], "and it is not read");
            storage = reopen(subject, storage);
        }
    }
}

fn memberships_are_found_with_their_entries(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let carriers = vec![entry(1, 1), membership_entry(1, 2, 4), membership_entry(1, 3, 5)];
    persist(&mut *storage, GROUP, Persist::unnumbered(state(1, 0, 0), None, carriers));
    let expected = [members(4).brought_by(id(1, 2)), members(5).brought_by(id(1, 3))];
    let mut storage = reopen(subject, storage);
    assert_eq!(restored(&mut *storage, GROUP).memberships, expected, "each with its entry");
    persist(&mut *storage, GROUP, entries(2, [(2, 3)]));
    let mut storage = reopen(subject, storage);
    assert_eq!(restored(&mut *storage, GROUP).memberships, expected[..1], "truncation rolls back");
}

fn payloads_keep_their_bytes_and_seal(subject: &mut dyn Subject) {
    let mut storage = owned(subject);
    let sizes = [0usize, 1, 4_095, 4_096, 70_000, 1 << 20];
    let payload = |size| Payload::command((0..=255u8).cycle().take(size).collect::<Vec<_>>());
    let entries: Vec<_> = (1..)
        .zip(sizes)
        .map(|(index, size)| Entry { id: id(1, index), payload: payload(size) })
        .chain([Entry { id: id(1, 7), payload: Payload::no_op() }])
        .collect();
    persist(&mut *storage, GROUP, Persist::unnumbered(state(1, 0, 0), None, entries.clone()));
    let mut storage = reopen(subject, storage);
    let found = read(&mut *storage, GROUP, 1, 8, u64::MAX);
    assert!(found == entries, "kind, bytes and seal are those of the proposal");
    assert!(found.iter().all(|entry| entry.payload.verify()), "and fit together");
}

fn a_broken_rule_is_refused_and_final(subject: &mut dyn Subject) {
    let based = |base| Persist::unnumbered(state(2, 1, 2), Some(base), vec![]);
    let compacted = |included, upto| based(Base::Compacted { snapshot: snapshot(included), upto });
    let cases: [(&str, Persist); 11] = [
        ("a gap", entries(2, [(2, 5)])),
        ("a falling term", entries(2, [(1, 4)])),
        ("a falling current term", Persist::unnumbered(state(1, 0, 2), None, vec![])),
        ("a second vote", Persist::unnumbered(state(2, 3, 2), None, vec![])),
        ("a commit hint beyond the log", Persist::unnumbered(state(2, 1, 4), None, vec![])),
        ("a truncated commit", entries(2, [(2, 2)])),
        ("a base without its entry", compacted(id(1, 2), id(1, 2))),
        ("a snapshot of another log", compacted(id(1, 3), EntryId::ZERO)),
        ("a snapshot beyond the log", compacted(id(2, 4), EntryId::ZERO)),
        ("a base beyond its snapshot", compacted(id(1, 1), id(2, 2))),
        ("an installation below the hint", based(Base::Installed(snapshot(id(2, 1))))),
    ];
    for (name, broken) in cases {
        let mut storage = owned(subject);
        let good = log([(1, 1), (2, 2), (2, 3)]);
        persist(&mut *storage, GROUP, Persist::unnumbered(state(2, 1, 2), None, good));
        let error = storage.persist(&[(GROUP, broken)]);
        assert!(matches!(error, Err(StorageError::Rule { .. })), "{name}: {error:?}");
        let later = storage.persist(&[(OTHER, entries(1, [(1, 1)]))]);
        let (error, later) = (format!("{error:?}"), format!("{later:?}"));
        assert_eq!(error, later, "{name}: an error is final");
    }
}

fn owned(subject: &mut dyn Subject) -> Box<dyn Storage> {
    let mut storage = subject.blank();
    storage.initialize(identity(1)).expect("a blank disk takes an identity");
    assert_eq!(storage.identity(), Some(identity(1)), "and keeps it");
    storage
}

/// The storage after a restart, or as it is if it does not survive one.
fn reopen(subject: &mut dyn Subject, mut storage: Box<dyn Storage>) -> Box<dyn Storage> {
    let facts = [GROUP, OTHER].map(|group| restored(&mut *storage, group));
    // A storage that does not outlive its process is examined once more, as a copy would be.
    let Some(mut storage) = subject.reopen(storage) else {
        return replayed(subject, &facts);
    };
    for (group, facts) in [GROUP, OTHER].into_iter().zip(facts) {
        assert_eq!(restored(&mut *storage, group), facts, "a restart changes nothing");
    }
    storage
}

/// A new storage with the same content, for storages that do not survive a restart.
fn replayed(subject: &mut dyn Subject, facts: &[raft_core::Restored; 2]) -> Box<dyn Storage> {
    let mut storage = owned(subject);
    for (group, facts) in [GROUP, OTHER].into_iter().zip(facts) {
        let created = facts.created.clone().map(Base::Created);
        if created.is_some() {
            persist(
                &mut *storage,
                group,
                Persist::unnumbered(HardState::default(), created, vec![]),
            );
        }
        // The log from its base on, then the snapshot that covers more of it.
        let begins = (facts.base != EntryId::ZERO).then(|| Base::Installed(snapshot(facts.base)));
        let covers = facts.snapshot.clone().map(|snapshot| {
            if facts.base == facts.covered() {
                Base::Installed(snapshot)
            } else {
                Base::Compacted { snapshot, upto: facts.base }
            }
        });
        let (first, second) = match covers {
            Some(Base::Installed(snapshot)) => (Some(Base::Installed(snapshot)), None),
            covers => (begins, covers),
        };
        let write = |base, entries| Persist::unnumbered(facts.hard_state, base, entries);
        persist(&mut *storage, group, write(first, facts.tail.clone()));
        persist(&mut *storage, group, write(second, vec![]));
    }
    storage
}

fn restored(storage: &mut dyn Storage, group: GroupId) -> raft_core::Restored {
    let restored = storage.restore(group).expect("a good storage is restored");
    assert_eq!(restored.validate(), Ok(()), "what is restored fits together");
    restored
}

fn read(storage: &mut dyn Storage, group: GroupId, start: u64, end: u64, max: u64) -> Vec<Entry> {
    let range = Index::new(start)..Index::new(end);
    storage.entries(group, range, max).expect("a good storage is read")
}

fn persist(storage: &mut dyn Storage, group: GroupId, persist: Persist) {
    storage.persist(&[(group, persist)]).expect("a good write is written");
}

/// A write of entries at a term, without vote or commit hint.
fn entries(term: u64, ids: impl IntoIterator<Item = (u64, u64)>) -> Persist {
    Persist::unnumbered(state(term, 0, 0), None, log(ids))
}

fn log(ids: impl IntoIterator<Item = (u64, u64)>) -> Vec<Entry> {
    ids.into_iter().map(|(term, index)| entry(term, index)).collect()
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload::command(format!("command {index:03} of term {term:03}"));
    Entry { id: id(term, index), payload }
}

/// An entry with a membership, put together from its bytes as a follower does.
fn membership_entry(term: u64, index: u64, count: u64) -> Entry {
    let mut body = vec![2];
    body.extend_from_slice(&encode_membership(&members(count)));
    let seal = Checksum::of(&body);
    let payload = decode_payload(body.into(), seal).expect("the body of a membership entry");
    Entry { id: id(term, index), payload }
}

fn members(count: u64) -> Membership {
    let members: BTreeMap<_, _> = (1..=count)
        .filter_map(NodeId::new)
        .map(|node| (node, Member { address: format!("{node}:7001").into(), incarnation: None }))
        .collect();
    Membership::bootstrap(members)
}

fn snapshot(last_included: EntryId) -> SnapshotMeta {
    let id = SnapshotId::new(u128::MAX - u128::from(last_included.index.get()));
    SnapshotMeta { id, last_included, membership: members(3), data_bytes: 1 << 40 }
}

fn identity(node: u64) -> Identity {
    let node = NodeId::new(node).expect("tests use no node zero");
    let peer = Peer { node, incarnation: Incarnation::new(0xface) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

fn state(term: u64, voted_for: u64, commit: u64) -> HardState {
    let voted_for = NodeId::new(voted_for);
    HardState { term: Term::new(term), voted_for, commit: Index::new(commit) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FileOptions, FileStorage, MemoryStorage};

    struct Memory;

    impl Subject for Memory {
        fn blank(&mut self) -> Box<dyn Storage> {
            Box::new(MemoryStorage::new())
        }

        fn reopen(&mut self, _: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
            None
        }
    }

    /// Directories of the operating system, with segments that are rotated often.
    struct Files(Vec<tempfile::TempDir>);

    impl Files {
        fn open(&self) -> Box<dyn Storage> {
            let options = FileOptions::default().with_segment_bytes(32 << 10);
            let directory = self.0.last().unwrap();
            Box::new(FileStorage::open_with_options(directory, options).unwrap())
        }
    }

    impl Subject for Files {
        fn blank(&mut self) -> Box<dyn Storage> {
            self.0.push(tempfile::tempdir().unwrap());
            self.open()
        }

        fn reopen(&mut self, storage: Box<dyn Storage>) -> Option<Box<dyn Storage>> {
            drop(storage);
            Some(self.open())
        }
    }

    /// `MemoryStorage` keeps every law.
    #[test]
    fn memory_storage_keeps_the_contract() {
        check(&mut Memory);
    }

    /// `FileStorage` keeps every law, across restarts.
    #[test]
    fn file_storage_keeps_the_contract() {
        check(&mut Files(Vec::new()));
    }
}
