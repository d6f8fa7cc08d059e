//! Random command sequences: the store against the naive model, and against itself.

use bytes::Bytes;
use raft_core::{EntryId, SnapshotSource, StateMachine};
use raft_kv::{
    Answer, Command, KvStore, Query, RequestError, RequestOp, Response, ResponseOp, SharedStore,
    TxnRequest, decode_answer, encode_answer,
};

use crate::model::Model;
use crate::random::Random;

/// Commands of one sequence.
const COMMANDS: usize = 60;

#[test]
fn every_answer_is_the_naive_models() {
    let mut counts = Counts::default();
    for seed in 0..1_500 {
        let mut random = Random::new(seed);
        let (mut store, mut model) = (KvStore::new(), Model::default());
        for step in 0..COMMANDS {
            let command = random.command(model.revision());
            let (found, expected) = (store.apply_command(&command), model.apply(&command));
            assert_eq!(found, expected, "seed {seed} step {step}: {command:?}");
            counts.count(&command, &expected);
            if random.once_in(20) {
                store.reclaim(random.below(20));
            }
            if random.once_in(25) {
                store = restored(&store, &mut random);
            }
            assert_eq!(store.revision(), model.revision(), "seed {seed} step {step}");
            assert_eq!(store.compacted_revision(), model.compacted(), "seed {seed} step {step}");
            compare_reads(&mut random, &store, &model, seed);
        }
        compare_events(&store, &model, seed);
        let keys = u64::try_from(model.keys_at(i64::MAX).len()).unwrap();
        assert_eq!(store.stats().keys, keys, "seed {seed}");
    }
    counts.check();
}

#[test]
fn nodes_agree_byte_by_byte_whatever_they_reclaimed_and_restored() {
    for seed in 0..300 {
        let mut random = Random::new(seed + 1_000_000);
        let (mut busy, mut lazy) = (SharedStore::new(), KvStore::new());
        for step in 0..COMMANDS {
            let command = random.command(lazy.revision()).encode();
            let one = busy.apply(EntryId::ZERO, &command);
            let two = StateMachine::apply(&mut lazy, EntryId::ZERO, &command);
            assert_eq!(one, two, "seed {seed} step {step}");
            if random.once_in(4) {
                busy.reclaim(random.below(100));
            }
            if random.once_in(10) {
                let mut snapshot = lazy.snapshot().unwrap();
                busy.restore(&mut *snapshot).unwrap();
            }
            assert_eq!(busy.digest(), KvStore::digest(&lazy), "seed {seed} step {step}");
            let query = Query::Range(random.range(lazy.revision())).encode();
            assert_eq!(busy.query(&query), lazy.query(&query), "seed {seed} step {step}");
        }
        let (one, two) = (busy.snapshot().unwrap().read_all(), lazy.freeze().read_all());
        assert_eq!(one, two, "seed {seed}: snapshots are the same bytes");
    }
}

#[test]
fn two_states_that_differ_have_different_digests() {
    // The opposite of the test above: a digest that never changes would pass that one.
    let mut digests = std::collections::BTreeSet::new();
    let mut random = Random::new(7);
    let mut store = KvStore::new();
    digests.insert(store.digest());
    for _ in 0..2_000 {
        let before = (store.revision(), store.compacted_revision());
        let command = random.command(store.revision());
        let _refused_or_not = store.apply_command(&command);
        let is_new = digests.insert(store.digest());
        let has_changed = (store.revision(), store.compacted_revision()) != before;
        assert_eq!(is_new, has_changed, "{command:?}");
    }
}

#[test]
fn commands_queries_and_answers_survive_their_encoding() {
    for seed in 0..20_000 {
        let mut random = Random::new(seed + 2_000_000);
        let command = random.command(40);
        let encoded = command.encode();
        assert_eq!(encoded.len(), encoded.capacity(), "the buffer is reserved exactly once");
        match Command::decode(&encoded) {
            Ok(decoded) => assert_eq!(decoded, command, "seed {seed}"),
            Err(error) => assert!(has_unset(&command), "seed {seed}: {error} {command:?}"),
        }
        let query = Query::Range(random.range(40));
        assert_eq!(Query::decode(&query.encode()), Ok(query), "seed {seed}");
        let query = Query::Txn(random.read_txn(40));
        assert_eq!(Query::decode(&query.encode()), Ok(query), "seed {seed}");
    }
    for seed in 0..200 {
        let mut random = Random::new(seed + 3_000_000);
        let mut store = KvStore::new();
        for _ in 0..COMMANDS {
            let answer = store.apply_command(&random.command(store.revision()));
            assert_eq!(decode_answer(&encode_answer(&answer)), Ok(answer), "seed {seed}");
        }
    }
}

/// How often what happened: a generator that never gets past a check proves nothing.
#[derive(Default)]
struct Counts {
    applied: usize,
    refused: usize,
    txns: usize,
    nested: usize,
    compactions: usize,
    duplicates: usize,
}

impl Counts {
    fn count(&mut self, command: &Command<'_>, answer: &Answer) {
        match answer {
            Ok(response) => {
                self.applied += 1;
                if let Response::Txn(txn) = response {
                    self.txns += 1;
                    let is_nested = |op: &ResponseOp| matches!(op, ResponseOp::Txn(_));
                    self.nested += usize::from(txn.responses.iter().any(is_nested));
                }
                self.compactions += usize::from(matches!(command, Command::Compact(_)));
            }
            Err(error) => {
                self.refused += 1;
                self.duplicates += usize::from(*error == RequestError::DuplicateKey);
            }
        }
    }

    fn check(&self) {
        assert!(self.applied > 40_000, "most commands are applied: {}", self.applied);
        assert!(self.refused > 5_000, "many are refused: {}", self.refused);
        assert!(self.txns > 10_000, "many are transactions: {}", self.txns);
        assert!(self.nested > 1_000, "some of them nested: {}", self.nested);
        assert!(self.compactions > 1_000, "there are compactions: {}", self.compactions);
        assert!(self.duplicates > 500, "there are duplicate keys: {}", self.duplicates);
    }
}

fn compare_reads(random: &mut Random, store: &KvStore, model: &Model, seed: u64) {
    for _ in 0..3 {
        let range = random.range(model.revision());
        assert_eq!(store.range(&range), model.range(&range), "seed {seed}: {range:?}");
    }
    let txn = random.read_txn(model.revision());
    assert_eq!(store.read_txn(&txn), model.read_txn(&txn), "seed {seed}: {txn:?}");
}

fn compare_events(store: &KvStore, model: &Model, seed: u64) {
    for from in [-1, model.compacted() - 1, model.compacted(), model.compacted() + 3] {
        let found = store.events(from).map(Iterator::collect::<Vec<_>>);
        assert_eq!(found, model.events(from), "seed {seed}: from {from}");
    }
}

fn restored(store: &KvStore, random: &mut Random) -> KvStore {
    let bytes = Bytes::from(store.freeze().read_all().unwrap());
    let mut cuts = Cuts { bytes, random: Random::new(random.number()) };
    KvStore::from_snapshot(&mut cuts).unwrap()
}

/// A snapshot whose chunks are cut anywhere, also into nothing.
struct Cuts {
    bytes: Bytes,
    random: Random,
}

impl SnapshotSource for Cuts {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, raft_core::SnapshotError> {
        let len = self.random.below(40).min(self.bytes.len());
        Ok((!self.bytes.is_empty()).then(|| self.bytes.split_to(len)))
    }
}

fn has_unset(command: &Command<'_>) -> bool {
    fn is_in(txn: &TxnRequest<'_>) -> bool {
        txn.success.iter().chain(&txn.failure).any(|op| match op {
            RequestOp::Unset => true,
            RequestOp::Txn(inner) => is_in(inner),
            RequestOp::Range(_) | RequestOp::Put(_) | RequestOp::DeleteRange(_) => false,
        })
    }
    matches!(command, Command::Txn(txn) if is_in(txn))
}
