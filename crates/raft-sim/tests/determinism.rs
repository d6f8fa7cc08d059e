//! What a user is told about a state machine that is not one: each breaks the contract of
//! [`StateMachine`] in its own way, and is found within twenty seeds.
//!
//! All are a list of the bytes they were given. What is wrong with each is in its [`Flaw`].

use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_core::{Checksum, EntryId, Halt, SnapshotError, SnapshotSource, StateMachine};
use raft_sim::model::Model;
use raft_sim::{Bytes, Choices, Config, Plan, Request, Site, Workload, check};

/// How a state machine breaks its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// It does not.
    None,
    /// It keeps a number from outside: how many commands this process has applied so far.
    KeepsTheWorld,
    /// It answers such a number, and keeps none.
    AnswersTheWorld,
    /// Its snapshot forgets how many commands there were.
    SnapshotForgets,
    /// The same, and it has no digest that would show it.
    SnapshotForgetsUnseen,
    /// Its snapshot does not restore.
    SnapshotIsMalformed,
    /// A restore adds to what is there.
    RestoreAdds,
    /// Reads count, so what a node keeps depends on which of them it served.
    ReadsCount,
    /// A restore changes it, so what a node keeps depends on when it had one.
    RestoresCount,
    /// It answers reads without the last command, on all nodes alike.
    ReadsLag,
    /// A command makes it panic.
    Panics,
    /// A command makes it halt.
    Halts,
}

/// A list of bytes, and how many there were.
struct List {
    flaw: Flaw,
    bytes: Vec<u8>,
    count: u64,
    /// Reads and restores of this very machine: what commands must not depend on.
    calls: AtomicU64,
}

/// Commands applied in this process: the world outside.
static APPLIED: AtomicU64 = AtomicU64::new(0);

/// The list is kept this short.
const BYTES_MAX: usize = 8;

impl List {
    fn new(flaw: Flaw) -> Self {
        Self { flaw, bytes: Vec::new(), count: 0, calls: AtomicU64::new(0) }
    }

    fn frozen(&self) -> Vec<u8> {
        let mut frozen = self.count.to_le_bytes().to_vec();
        frozen.extend_from_slice(&self.bytes);
        frozen
    }
}

impl StateMachine for List {
    fn apply(&mut self, _: EntryId, command: &[u8]) -> Result<Bytes, Halt> {
        let outside = APPLIED.fetch_add(1, Ordering::Relaxed);
        self.count += 1;
        let mut kept = command.to_vec();
        match self.flaw {
            Flaw::KeepsTheWorld => kept.extend_from_slice(&outside.to_le_bytes()),
            Flaw::ReadsCount | Flaw::RestoresCount => {
                kept.extend_from_slice(&self.calls.load(Ordering::Relaxed).to_le_bytes());
            }
            Flaw::Panics => assert!(self.count < 30, "thirty commands are too many"),
            Flaw::Halts if self.count == 30 => return Err(Halt::new("thirty are too many")),
            Flaw::AnswersTheWorld => return Ok(Bytes::copy_from_slice(&outside.to_le_bytes())),
            Flaw::None
            | Flaw::SnapshotForgets
            | Flaw::SnapshotForgetsUnseen
            | Flaw::SnapshotIsMalformed
            | Flaw::RestoreAdds
            | Flaw::ReadsLag
            | Flaw::Halts => {}
        }
        self.bytes.splice(0..0, kept);
        self.bytes.truncate(BYTES_MAX);
        Ok(Bytes::copy_from_slice(&self.count.to_le_bytes()))
    }

    fn query(&self, _: &[u8]) -> Bytes {
        self.calls.fetch_add(u64::from(self.flaw == Flaw::ReadsCount), Ordering::Relaxed);
        let lag = usize::from(self.flaw == Flaw::ReadsLag);
        Bytes::copy_from_slice(self.bytes.get(lag..).unwrap_or_default())
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        Ok(Box::new(Some(Bytes::from(self.frozen()))))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let frozen = snapshot.read_all()?;
        let (count, bytes) = frozen
            .split_first_chunk()
            .filter(|_| self.flaw != Flaw::SnapshotIsMalformed)
            .ok_or_else(|| SnapshotError::malformed("a count of eight bytes"))?;
        self.calls.fetch_add(u64::from(self.flaw == Flaw::RestoresCount), Ordering::Relaxed);
        if self.flaw != Flaw::RestoreAdds {
            self.bytes.clear();
        }
        self.bytes.extend_from_slice(bytes);
        if !matches!(self.flaw, Flaw::SnapshotForgets | Flaw::SnapshotForgetsUnseen) {
            self.count = u64::from_le_bytes(*count);
        }
        Ok(())
    }

    fn digest(&self) -> Option<u64> {
        let has_one = self.flaw != Flaw::SnapshotForgetsUnseen;
        has_one.then(|| u64::from(Checksum::of(&self.frozen()).get()))
    }
}

/// Appends bytes and reads them.
struct Appends;

impl Workload for Appends {
    fn next(&self, choices: &Choices, _client: u32, number: u64) -> Request {
        if choices.chance(Site::Workload, 400_000) {
            return Request::Read(Bytes::new());
        }
        Request::Write(vec![number.to_le_bytes()[0]].into())
    }
}

/// What a list should be, written a second time.
struct Specification;

impl Model for Specification {
    type State = (u64, Vec<u8>);

    fn initial(&self) -> Self::State {
        (0, Vec::new())
    }

    fn write(&self, (count, bytes): &mut Self::State, command: &[u8]) -> Bytes {
        *count += 1;
        *bytes = command.iter().chain(&*bytes).copied().take(BYTES_MAX).collect();
        Bytes::copy_from_slice(&count.to_le_bytes())
    }

    fn read(&self, (_, bytes): &Self::State, _query: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }
}

fn plan(flaw: Flaw) -> Plan<List> {
    Plan::new(move || List::new(flaw), Appends).events(2_000)
}

/// The same with a model, where nothing goes wrong: a write with an unknown outcome makes the
/// search try every place for it.
fn judged(flaw: Flaw) -> Plan<List> {
    plan(flaw).model(Specification).faults(&[]).clients(3)
}

/// What a user is told of a list with this flaw.
fn told(flaw: Flaw) -> String {
    told_of(&plan(flaw))
}

fn told_of(plan: &Plan<List>) -> String {
    let config = Config { seeds: 20, ..Config::default() };
    let story = panic::catch_unwind(panic::AssertUnwindSafe(|| check(&config, plan)));
    let story = story.expect_err("a flaw is found within twenty seeds");
    *story.downcast::<String>().expect("a story is a text")
}

/// The text says all of these.
#[track_caller]
fn says(text: &str, words: &[&str]) {
    for words in words {
        assert!(text.contains(words), "it does not say {words:?}:\n{text}");
    }
}

/// Without a flaw all seeds pass, so what is told below is told of the flaw.
#[test]
fn a_sound_machine_passes() {
    let config = Config { seeds: 20, ..Config::default() };
    let summary = check(&config, &plan(Flaw::None)).to_string();
    says(&summary, &["20 seeds pass: ", " entries committed, ", " s of virtual time"]);
    check(&config, &judged(Flaw::None));
}

/// A state that depends on the world differs from run to run: the story ends where two runs part.
#[test]
fn a_state_that_depends_on_the_world_outside_goes_two_ways() {
    says(
        &told(Flaw::KeepsTheWorld),
        &[
            "go two ways and",
            "✗ determinism · seed ",
            "ran twice and went two ways: something in it depends on time, on addresses, on the \
             order of a hash map, or on something outside of the state machine",
            "── the first time ──",
            "── the second time ──",
        ],
    );
}

/// The same where only answers depend on the world.
#[test]
fn an_answer_that_depends_on_the_world_outside_is_told() {
    let story = told(Flaw::AnswersTheWorld);
    says(&story, &["linearizability: #", "is answered \"", " by the replay."]);
}

/// What is not in a snapshot is missed as soon as the state is restored from it.
#[test]
fn a_snapshot_that_forgets_a_field_is_told() {
    says(
        &told(Flaw::SnapshotForgets),
        &[
            "20 seeds fail: ",
            "✗ snapshots · seed ",
            "that of a machine restored from its snapshot",
            "\nreplay\n  RAFT_SIM_SEED=",
            " cargo test a_snapshot_that_forgets_a_field_is_told\n",
        ],
    );
}

/// Without a digest it is missed as soon as a client is answered.
#[test]
fn a_snapshot_that_forgets_a_field_is_told_without_a_digest_too() {
    let story = told(Flaw::SnapshotForgetsUnseen);
    says(&story, &["✗ linearizability · seed ", "is answered \"", " by the replay."]);
}

/// A snapshot that its own machine cannot read.
#[test]
fn a_snapshot_that_does_not_restore_is_told_with_the_error() {
    let cause = "a snapshot was taken that cannot be restored: malformed snapshot: a count of";
    says(&told(Flaw::SnapshotIsMalformed), &["✗ snapshots · seed ", cause]);
}

/// A restore replaces everything, whatever was there.
#[test]
fn a_restore_that_adds_to_what_is_there_is_told() {
    says(&told(Flaw::RestoreAdds), &["✗ snapshots · seed "]);
}

/// Nodes serve different reads and apply in different batches; their states must not show it.
#[test]
fn a_state_that_depends_on_the_reads_between_its_commands_is_told() {
    says(&told(Flaw::ReadsCount), &["✗ equal states · seed ", "the state of n", ", elsewhere "]);
}

/// Nodes are restored at different times; their states must not show it.
#[test]
fn a_state_that_depends_on_when_it_was_restored_is_told() {
    says(&told(Flaw::RestoresCount), &["✗ equal states · seed ", "the state of n"]);
}

/// All nodes agree on a wrong answer: who gives a model is told.
#[test]
fn an_answer_that_is_wrong_everywhere_is_told_by_a_model() {
    let story = told_of(&judged(Flaw::ReadsLag));
    says(&story, &["✗ linearizability (search) · seed ", "no order explains "]);
}

/// A panic is told with its words and its place.
#[test]
fn a_panic_in_apply_is_told_with_its_place() {
    let place = "thirty commands are too many (crates/raft-sim/tests/determinism.rs:";
    says(&told(Flaw::Panics), &["✗ panic · seed ", place]);
}

/// So is a halt, with its reason.
#[test]
fn a_halt_is_told_with_its_reason() {
    let reason = "state machine halted: thirty are too many";
    says(&told(Flaw::Halts), &["✗ state machine · seed ", reason]);
}
