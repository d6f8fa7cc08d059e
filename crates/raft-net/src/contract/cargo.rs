//! Snapshots to fetch: a store that remembers what it was asked for, a sink that tells what becomes
//! of it, and a gate at which either can be made to wait.
//!
//! Read next: `fetch.rs`.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use raft_core::{
    Chunk, ChunkSink, ChunkStore, FetchOutcome, GroupId, NodeId, SnapshotError, SnapshotId,
};
use tokio::sync::{Notify, mpsc};

use super::sample::content;
use super::stage::Host;
use super::{Finding, Verdict, ensure};
use crate::CHUNK_BYTES_MAX;

/// The snapshot that stores of the suite hold.
pub(super) const GROUP: GroupId = GroupId::new(5);
pub(super) const SNAPSHOT: SnapshotId = SnapshotId::new(0x5a1e);

/// Small chunks; no two seeds share contents.
pub(super) fn chunks(seed: u64) -> Vec<Chunk> {
    sealed(seed, &[5_000, 4_000, 0, 1, 4_096, 3_000])
}

/// Chunks of every size, the largest included.
pub(super) fn of_every_size(seed: u64) -> Vec<Chunk> {
    let largest = usize::try_from(CHUNK_BYTES_MAX).expect("a chunk fits into memory");
    sealed(seed, &[300_000, largest, 0, 1, 70_000, 5_000])
}

/// Many large chunks.
pub(super) fn large(count: u32) -> Vec<Chunk> {
    sealed(0, &vec![256 << 10; count as usize])
}

fn sealed(seed: u64, sizes: &[usize]) -> Vec<Chunk> {
    let seal = |(number, bytes)| Chunk::new(number, content(seed + u64::from(number), bytes));
    (0..).zip(sizes.iter().copied()).map(seal).collect()
}

/// Where calls wait until they are let through.
#[derive(Default)]
pub(super) struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    reached: Notify,
}

impl Gate {
    pub(super) fn shut() -> Arc<Self> {
        Arc::default()
    }

    fn pass(&self) {
        self.reached.notify_one();
        let is_open = locked(&self.is_open);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    /// Lets all through that wait, and all that come.
    pub(super) fn open(&self) {
        *locked(&self.is_open) = true;
        self.opened.notify_all();
    }

    /// Waits until somebody waits here.
    pub(super) async fn reached(&self) {
        self.reached.notified().await;
    }
}

/// Opens a gate at the end of a law, however it ends: no thread waits for ever.
pub(super) struct Opened(pub(super) Arc<Gate>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What a store does besides giving chunks.
pub(super) enum Quirk {
    None,
    /// Waits before it gives this chunk.
    Holds(u32, Arc<Gate>),
    /// Holds the snapshot no more when it is asked for this chunk.
    GoneAt(u32),
    /// Gives this chunk damaged, so many times.
    Damages(u32, u32),
    /// Cannot read this chunk.
    Fails(u32),
}

/// A store with one snapshot.
pub(super) struct Store {
    chunks: Vec<Chunk>,
    quirk: Quirk,
    asked: Mutex<Vec<u32>>,
}

impl Store {
    pub(super) fn new(chunks: Vec<Chunk>, quirk: Quirk) -> Arc<Self> {
        Arc::new(Self { chunks, quirk, asked: Mutex::default() })
    }

    /// The chunks it was asked for, in order.
    pub(super) fn asked(&self) -> Vec<u32> {
        locked(&self.asked).clone()
    }

    fn times(&self, number: u32) -> u32 {
        let times = locked(&self.asked).iter().filter(|asked| **asked == number).count();
        u32::try_from(times).expect("nobody asks so often")
    }
}

impl ChunkStore for Store {
    fn chunk(&self, group: GroupId, id: SnapshotId, number: u32) -> Result<Chunk, SnapshotError> {
        if (group, id) != (GROUP, SNAPSHOT) {
            return Err(SnapshotError::Gone);
        }
        locked(&self.asked).push(number);
        let index = usize::try_from(number).expect("a small number");
        let chunk = self.chunks.get(index).ok_or(SnapshotError::Gone)?;
        match &self.quirk {
            Quirk::Holds(at, gate) if *at == number => gate.pass(),
            Quirk::GoneAt(at) if *at == number => return Err(SnapshotError::Gone),
            Quirk::Fails(at) if *at == number => {
                return Err(SnapshotError::Io("a bad sector".to_owned()));
            }
            Quirk::Damages(at, times) if *at == number && self.times(number) <= *times => {
                let mut bytes = chunk.bytes.to_vec();
                bytes[0] ^= 1;
                return Ok(Chunk { bytes: bytes.into(), ..chunk.clone() });
            }
            Quirk::None
            | Quirk::Holds(..)
            | Quirk::GoneAt(_)
            | Quirk::Fails(_)
            | Quirk::Damages(..) => {}
        }
        Ok(chunk.clone())
    }
}

/// What a sink does besides taking chunks.
pub(super) enum Whim {
    None,
    /// Waits before it takes this chunk.
    Holds(u32, Arc<Gate>),
    /// Waits before it says what it wants.
    HoldsBack(Arc<Gate>),
    /// Does not take this chunk, for this reason.
    Refuses(u32, SnapshotError),
}

enum Event {
    Took(Chunk),
    Closed(FetchOutcome),
    Dropped,
}

/// A sink that wants chunks by their numbers.
struct Sink {
    wanted: BTreeSet<u32>,
    whim: Whim,
    events: mpsc::UnboundedSender<Event>,
    is_closed: bool,
}

impl ChunkSink for Sink {
    fn wanted(&self) -> Option<u32> {
        if let Whim::HoldsBack(gate) = &self.whim {
            gate.pass();
        }
        self.wanted.first().copied()
    }

    fn accept(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        match &self.whim {
            Whim::Holds(at, gate) if *at == chunk.number => gate.pass(),
            Whim::Refuses(at, error) if *at == chunk.number => return Err(error.clone()),
            Whim::None | Whim::Holds(..) | Whim::HoldsBack(_) | Whim::Refuses(..) => {}
        }
        self.wanted.remove(&chunk.number);
        // A law that has ended needs nothing more.
        drop(self.events.send(Event::Took(chunk)));
        Ok(())
    }

    fn close(mut self: Box<Self>, outcome: FetchOutcome) {
        self.is_closed = true;
        drop(self.events.send(Event::Closed(outcome)));
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if !self.is_closed {
            drop(self.events.send(Event::Dropped));
        }
    }
}

/// A fetch under way, as its sink tells of it.
pub(super) struct Fetch {
    events: mpsc::UnboundedReceiver<Event>,
    took: Vec<Chunk>,
}

impl Fetch {
    /// Lets a host fetch these chunks of the snapshot.
    pub(super) async fn begin(
        host: &Host,
        from: NodeId,
        wanted: impl IntoIterator<Item = u32>,
        whim: Whim,
    ) -> Result<Self, Finding> {
        Self::begin_of(host, from, (GROUP, SNAPSHOT), wanted, whim).await
    }

    /// The same, of any snapshot.
    pub(super) async fn begin_of(
        host: &Host,
        from: NodeId,
        snapshot: (GroupId, SnapshotId),
        wanted: impl IntoIterator<Item = u32>,
        whim: Whim,
    ) -> Result<Self, Finding> {
        let (events, receiver) = mpsc::unbounded_channel();
        let wanted = wanted.into_iter().collect();
        let sink = Box::new(Sink { wanted, whim, events, is_closed: false });
        host.fetch(from, snapshot, sink).await?;
        Ok(Self { events: receiver, took: Vec::new() })
    }

    /// Waits until the sink is closed and gone; gives what it took.
    pub(super) async fn end(
        mut self,
        host: &Host,
        expected: FetchOutcome,
    ) -> Result<Vec<Chunk>, Finding> {
        let ending = async {
            let mut closed = None;
            while let Some(event) = self.events.recv().await {
                match event {
                    Event::Took(chunk) => self.took.push(chunk),
                    Event::Closed(outcome) => closed = Some(outcome),
                    Event::Dropped => {}
                }
            }
            closed
        };
        let closed = host.within("the end of a fetch", ending).await?;
        ensure(closed.as_ref() == Some(&expected), || match closed {
            Some(found) => format!("a fetch ends: expected {expected:?}, found {found:?}"),
            None => "a sink is dropped and was not closed".to_owned(),
        })?;
        Ok(self.took)
    }

    /// Waits for the end, which must come with these chunks taken, each once and in this order.
    pub(super) async fn end_with(
        self,
        host: &Host,
        expected: FetchOutcome,
        chunks: &[Chunk],
    ) -> Verdict {
        let took = self.end(host, expected).await?;
        let numbers = |chunks: &[Chunk]| {
            let numbers = chunks.iter().map(|chunk| chunk.number.to_string());
            numbers.collect::<Vec<_>>().join(", ")
        };
        ensure(numbers(&took) == numbers(chunks), || {
            format!("chunks {} are to arrive, {} do", numbers(chunks), numbers(&took))
        })?;
        ensure(took == chunks, || "a chunk arrives changed".to_owned())
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
