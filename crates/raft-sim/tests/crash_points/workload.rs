//! Small workloads: what a node asks of its storage, call by call.
//!
//! Read next: `judge.rs`.

use raft_core::{
    Base, ClusterId, Entry, EntryId, GroupId, HardState, Identity, Incarnation, Index, Member,
    Membership, NodeId, Payload, Peer, Persist, Restored, SnapshotId, SnapshotMeta, Term,
};
use raft_storage::{Alignment, FileOptions, MemoryStorage, Storage};

/// A write as plain data: it is made many times.
#[derive(Clone, Debug)]
pub(crate) struct Write {
    pub(crate) group: GroupId,
    hard_state: HardState,
    base: Option<Base>,
    entries: Vec<Entry>,
}

impl Write {
    pub(crate) fn persist(&self) -> (GroupId, Persist) {
        let (base, entries) = (self.base.clone(), self.entries.clone());
        (self.group, Persist::unnumbered(self.hard_state, base, entries))
    }
}

/// Something a node does with its storage.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// The process starts.
    Open,
    /// The disk gets its owner.
    Initialize,
    /// One call.
    Persist(Vec<Write>),
    /// The process stops well.
    Close,
    /// The process dies between two calls.
    Kill,
}

/// A list of steps.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) options: FileOptions,
    /// A sector is written again, and the disk must not turn it into garbage meanwhile.
    pub(crate) rewrites: bool,
    pub(crate) steps: Vec<Step>,
}

/// What both groups are.
pub(crate) type State = [Restored; 2];

pub(crate) const GROUPS: [GroupId; 2] = [GroupId::new(0), GroupId::new(7)];

impl Workload {
    /// All writes, in order.
    pub(crate) fn writes(&self) -> Vec<Write> {
        let calls = self.steps.iter().map(|step| match step {
            Step::Persist(writes) => writes.as_slice(),
            Step::Open | Step::Initialize | Step::Close | Step::Kill => &[],
        });
        calls.flatten().cloned().collect()
    }

    /// The model: what is true after so many writes, from none to all.
    pub(crate) fn states(&self) -> Vec<State> {
        let mut model = MemoryStorage::new();
        model.initialize(identity()).unwrap();
        let mut states = vec![look(&mut model)];
        for write in self.writes() {
            model.persist(&[write.persist()]).unwrap();
            states.push(look(&mut model));
        }
        states
    }
}

/// What a storage gives back.
pub(crate) fn look(storage: &mut impl Storage) -> State {
    GROUPS.map(|group| storage.restore(group).unwrap())
}

pub(crate) fn identity() -> Identity {
    let peer = Peer { node: node(1), incarnation: Incarnation::new(0x1ca2) };
    Identity { cluster: ClusterId::new(0xc1), peer }
}

fn node(id: u64) -> NodeId {
    NodeId::new(id).unwrap()
}

fn id(term: u64, index: u64) -> EntryId {
    EntryId::new(Term::new(term), Index::new(index))
}

fn membership() -> Membership {
    Membership::bootstrap((1..=3).map(|id| (node(id), Member::default())).collect())
}

fn snapshot(last_included: EntryId) -> SnapshotMeta {
    let number = u128::from(last_included.index.get()) << 64 | 5;
    let membership = membership().brought_by(EntryId::ZERO);
    SnapshotMeta { id: SnapshotId::new(number), last_included, membership, data_bytes: 77 }
}

/// A write of group 0 or 7: term and commit hint, then entries of that term.
pub(crate) fn append(group: usize, (term, commit): (u64, u64), entries: &[(u64, usize)]) -> Write {
    let entry = |(index, len): &(u64, usize)| {
        let byte = index.to_le_bytes()[0] ^ term.to_le_bytes()[0] << 4;
        Entry { id: id(term, *index), payload: Payload::command(vec![byte | 0x80; *len]) }
    };
    let commit = Index::new(commit);
    let hard_state = HardState { term: Term::new(term), voted_for: None, commit };
    let entries = entries.iter().map(entry).collect();
    Write { group: GROUPS[group], hard_state, base: None, entries }
}

fn create(group: usize) -> Write {
    Write { base: Some(Base::Created(membership())), ..append(group, (1, 0), &[]) }
}

fn compact(group: usize, (term, commit): (u64, u64), last: EntryId) -> Write {
    let base = Base::Compacted { snapshot: snapshot(last), upto: last };
    Write { base: Some(base), ..append(group, (term, commit), &[]) }
}

fn install(group: usize, (term, commit): (u64, u64), last: EntryId) -> Write {
    Write { base: Some(Base::Installed(snapshot(last))), ..append(group, (term, commit), &[]) }
}

/// Small segments, so that a handful of writes fills one.
pub(crate) fn small(alignment: Alignment) -> FileOptions {
    FileOptions::default().with_segment_bytes(32 << 10).with_alignment(alignment)
}

fn workload(name: &'static str, options: FileOptions, calls: Vec<Step>) -> Workload {
    let mut steps = vec![Step::Open, Step::Initialize];
    steps.extend(calls);
    let rewrites = name.ends_with("close together");
    Workload { name, options, rewrites, steps }
}

fn call(write: Write) -> Step {
    Step::Persist(vec![write])
}

/// A group is created, entries come one to four at a time, a suffix is replaced, a vote is written.
fn log() -> Vec<Step> {
    vec![
        call(create(0)),
        call(append(0, (1, 0), &[(1, 10)])),
        call(append(0, (1, 1), &[(2, 20), (3, 30)])),
        call(append(0, (1, 2), &[(4, 5), (5, 5), (6, 500), (7, 5)])),
        call(append(0, (2, 2), &[(5, 44), (6, 1)])),
        call(append(0, (3, 6), &[])),
    ]
}

/// One call of writes of both groups, each a batch of its own; then one of large payloads.
fn batches() -> Vec<Step> {
    vec![
        Step::Persist(vec![create(0), create(1), append(0, (1, 0), &[(1, 9)])]),
        Step::Persist(vec![
            append(0, (1, 1), &[(2, 3_000)]),
            append(1, (2, 0), &[(1, 3_000), (2, 1)]),
            append(0, (2, 1), &[(2, 100)]),
        ]),
        call(append(1, (2, 2), &[(3, 5)])),
    ]
}

/// Large payloads fill segments: between calls, inside of one, and more than one.
fn rolls() -> Vec<Step> {
    vec![
        call(append(0, (1, 0), &[(1, 5_000)])),
        call(append(0, (1, 1), &[(2, 5_000)])),
        Step::Persist(vec![
            append(0, (1, 2), &[(3, 6_000)]),
            append(1, (1, 0), &[(1, 6_000)]),
            append(0, (2, 2), &[(3, 10), (4, 10)]),
        ]),
        call(append(0, (2, 4), &[(5, 17_000)])),
        call(append(1, (1, 1), &[(2, 10)])),
    ]
}

/// Processes die and stop between the calls.
fn lives() -> Vec<Step> {
    vec![
        call(append(0, (1, 0), &[(1, 10)])),
        Step::Kill,
        Step::Open,
        call(append(0, (1, 1), &[(2, 10)])),
        Step::Close,
        Step::Open,
        Step::Kill,
        Step::Open,
        call(append(0, (2, 1), &[(2, 10), (3, 10)])),
    ]
}

/// Logs are compacted and replaced by snapshots.
fn snapshots() -> Vec<Step> {
    vec![
        Step::Persist(vec![append(0, (1, 0), &[(1, 5), (2, 5), (3, 5)]), create(1)]),
        call(compact(0, (1, 2), id(1, 2))),
        call(install(1, (3, 9), id(2, 9))),
        call(append(1, (3, 9), &[(10, 5)])),
        call(install(0, (3, 8), id(3, 8))),
    ]
}

/// All of them.
pub(crate) fn all() -> Vec<Workload> {
    let (pages, eights) = (small(Alignment::Page), small(Alignment::Eight));
    vec![
        workload("log", pages, log()),
        workload("log, close together", eights, log()),
        workload("batches", pages.with_batch_bytes_max(1), batches()),
        workload("batches, unfilled", pages.with_batch_bytes_max(1).without_zero_fill(), batches()),
        workload("rolls", pages.with_batch_bytes_max(8 << 10), rolls()),
        workload("lives", pages, lives()),
        workload("lives, close together", eights.without_zero_fill(), lives()),
        workload("snapshots", pages, snapshots()),
    ]
}

/// The one of this name.
pub(crate) fn named(name: &str) -> Workload {
    all().into_iter().find(|workload| workload.name == name).unwrap()
}
