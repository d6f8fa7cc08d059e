//! The store of a server in the simulator: puts, deletions, ranges, transactions and compactions on
//! a few keys, in the worlds in which the protocol is judged.
//!
//! * Judged by the simulator: equal digests at equal indexes, snapshots that restore to the same
//!   state over any content, every answer in the order of the log.
//! * Judged here: every answer is that of the naive store of `raft-kv`'s own tests, which goes
//!   through the same restarts and restores, and shares no code with the store.

#![cfg(test)]

#[expect(dead_code, reason = "its own tests ask for more")]
#[path = "../../raft-kv/tests/kv/model.rs"]
mod naive;

use std::panic;

use raft_core::{EntryId, Halt, SnapshotCursor, SnapshotError, SnapshotSource, StateMachine};
use raft_kv::{
    Command, CompactionRequest, Compare, CompareResult, CompareTarget, DeleteRangeRequest,
    PutRequest, Query, RangeRequest, RequestOp, Response, SharedStore, SortOrder, SortTarget,
    TxnRequest, encode_answer,
};
use raft_sim::{Bytes, Choices, Config, Plan, Request, Site, Summary, Workload, check};

use self::naive::Model;

/// The store, and the naive one beside it.
#[derive(Default)]
struct Compared {
    store: SharedStore,
    naive: Model,
    /// Everything applied so far: the naive store's snapshot.
    commands: Vec<Bytes>,
    /// Whether a snapshot loses the last command.
    forgets: bool,
}

impl Compared {
    fn apply_to_naive(&mut self, command: Bytes) -> Bytes {
        let answer = self.naive.apply(&Command::decode(&command).expect("a command of ours"));
        self.commands.push(command);
        encode_answer(&answer)
    }
}

impl StateMachine for Compared {
    fn apply(&mut self, id: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let answer = self.store.apply(id, command)?;
        let expected = self.apply_to_naive(Bytes::copy_from_slice(command));
        assert_eq!(answer, expected, "entry {id}: {:?}", Command::decode(command));
        Ok(answer)
    }

    fn query(&self, query: &[u8]) -> Bytes {
        let answer = self.store.query(query);
        let query = Query::decode(query).expect("a query of ours");
        let expected = match &query {
            Query::Range(range) => self.naive.range(range).map(Response::Range),
            Query::Txn(txn) => self.naive.read_txn(txn).map(Response::Txn),
        };
        assert_eq!(answer, encode_answer(&expected), "{query:?}");
        answer
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        let mut commands = self.commands.clone();
        commands.truncate(commands.len() - usize::from(self.forgets));
        Ok(Box::new(Frozen { commands: Some(commands), store: self.store.snapshot()? }))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let mut cursor = SnapshotCursor::new(snapshot);
        (self.naive, self.commands) = (Model::default(), Vec::new());
        let count = u32::from_le_bytes(array(&cursor.read(4)?));
        for _ in 0..count {
            let len = u16::from_le_bytes(array(&cursor.read(2)?));
            self.apply_to_naive(cursor.read(len.into())?);
        }
        self.store.restore(&mut cursor)
    }

    fn digest(&self) -> Option<u64> {
        StateMachine::digest(&self.store)
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("so many were read")
}

/// How many commands so far, each behind its length; then the store.
struct Frozen {
    commands: Option<Vec<Bytes>>,
    store: Box<dyn SnapshotSource>,
}

impl SnapshotSource for Frozen {
    fn next_chunk(&mut self) -> Result<Option<Bytes>, SnapshotError> {
        let Some(commands) = self.commands.take() else { return self.store.next_chunk() };
        let count = u32::try_from(commands.len()).expect("a world has few commands");
        let mut head = count.to_le_bytes().to_vec();
        for command in commands {
            let len = u16::try_from(command.len()).expect("commands are short");
            head.extend_from_slice(&len.to_le_bytes());
            head.extend_from_slice(&command);
        }
        Ok(Some(head.into()))
    }
}

/// What clients of a server ask, on keys that are neighbours and prefixes of each other.
struct Mixture;

const KEYS: [&[u8]; 4] = [b"a", b"aa", b"ab", b"b"];
/// One key, those with a prefix, all from one on.
const ENDS: [&[u8]; 4] = [b"", b"b", b"ab", b"\0"];

/// Draws what is asked next.
struct Draw<'a> {
    choices: &'a Choices,
    /// About as many revisions there are.
    revisions: i64,
}

impl Draw<'_> {
    fn of<T: Copy>(&self, things: &[T]) -> T {
        *self.choices.pick(Site::Workload, things)
    }

    fn is(&self) -> bool {
        self.choices.chance(Site::Workload, 500_000)
    }

    fn below(&self, end: i64) -> i64 {
        let end = u64::try_from(end).unwrap_or(0);
        i64::try_from(self.choices.choose(Site::Workload, end)).unwrap_or(0)
    }

    fn put<'a>(&self, value: &'a [u8]) -> PutRequest<'a> {
        let ignore_value = self.below(8) == 1;
        let value = if ignore_value { b"" } else { value };
        PutRequest {
            key: self.of(&KEYS),
            value,
            prev_kv: self.is(),
            ignore_value,
            ..PutRequest::default()
        }
    }

    fn delete(&self) -> DeleteRangeRequest<'static> {
        let (key, range_end) = (self.of(&KEYS), self.of(&ENDS));
        DeleteRangeRequest { key, range_end, prev_kv: self.is() }
    }

    fn range(&self) -> RangeRequest<'static> {
        RangeRequest {
            key: self.of(&KEYS),
            range_end: self.of(&ENDS),
            limit: self.below(4),
            revision: if self.is() { self.below(self.revisions + 2) } else { 0 },
            sort_order: self.of(&[SortOrder::None, SortOrder::Ascend, SortOrder::Descend]),
            sort_target: self.of(&[SortTarget::Key, SortTarget::Mod, SortTarget::Version]),
            count_only: self.below(6) == 1,
            ..RangeRequest::default()
        }
    }

    fn compare<'a>(&self, value: &'a [u8]) -> Compare<'a> {
        let targets = [
            CompareTarget::Mod(0),
            CompareTarget::Version(self.below(4)),
            CompareTarget::Create(self.below(self.revisions + 1)),
            CompareTarget::Value(value),
        ];
        Compare {
            key: self.of(&KEYS),
            range_end: self.of(&[b"", b"", b"b"]),
            result: self.of(&[CompareResult::Equal, CompareResult::Greater, CompareResult::Less]),
            target: self.of(&targets),
        }
    }

    fn operations<'a>(&self, value: &'a [u8], depth: u32) -> Vec<RequestOp<'a>> {
        let operation = |_| match self.below(8) {
            0..=2 => RequestOp::Put(self.put(value)),
            3 => RequestOp::DeleteRange(self.delete()),
            4 if depth == 0 => RequestOp::Txn(self.txn(value, depth + 1)),
            _ => RequestOp::Range(self.range()),
        };
        (0..=self.below(3)).map(operation).collect()
    }

    fn txn<'a>(&self, value: &'a [u8], depth: u32) -> TxnRequest<'a> {
        TxnRequest {
            compare: (0..self.below(3)).map(|_| self.compare(value)).collect(),
            success: self.operations(value, depth),
            failure: self.operations(value, depth),
        }
    }

    /// Two reads in one.
    fn read_txn(&self) -> TxnRequest<'static> {
        let success = vec![RequestOp::Range(self.range()), RequestOp::Range(self.range())];
        TxnRequest { compare: vec![self.compare(b"0")], success, failure: vec![] }
    }
}

impl Workload for Mixture {
    fn next(&self, choices: &Choices, client: u32, number: u64) -> Request {
        let draw = Draw { choices, revisions: i64::try_from(number / 2).unwrap_or(i64::MAX) };
        let value = format!("c{client}.{number}").into_bytes();
        let command = match draw.below(20) {
            0..=6 => Command::Put(draw.put(&value)),
            7 | 8 => Command::DeleteRange(draw.delete()),
            9..=13 => Command::Txn(draw.txn(&value, 0)),
            14 => {
                let revision = draw.below(draw.revisions + 2);
                Command::Compact(CompactionRequest { revision, physical: draw.is() })
            }
            15 => return Request::Read(Query::Txn(draw.read_txn()).encode().into()),
            _ => return Request::Read(Query::Range(draw.range()).encode().into()),
        };
        Request::Write(command.encode().into())
    }
}

fn simulate(seeds: u64, forgets: bool) -> Summary {
    let make = move || Compared { forgets, ..Compared::default() };
    check(&Config::from_env_or(seeds), &Plan::new(make, Mixture).events(4_000))
}

/// Thirty worlds of crashes, cuts and damaged disks, and the store is where it should be in each.
#[test]
fn the_store_survives_thirty_worlds() {
    let summary = simulate(30, false);
    assert!(summary.committed > 30 * summary.seeds, "too little happened: {summary}");
}

/// The comparison is not asleep: a naive store that forgets a command is at odds with the store.
#[test]
fn a_store_that_is_one_command_ahead_is_noticed() {
    let story = panic::catch_unwind(|| simulate(4, true)).expect_err("it is noticed");
    let story = story.downcast::<String>().expect("a story is a text");
    assert!(story.contains("✗ panic · seed ") && story.contains("simulated_kv.rs"), "{story}");
}
