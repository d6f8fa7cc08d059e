//! A fetch: asks for one chunk after the other until the sink wants no more, or it ends otherwise.
//!
//! * The sink says what is missing, so a fetch that goes on where another stopped needs nothing
//!   more than this loop.
//! * Whatever happens, the sink is closed once: [`OpenSink`] sees to it.
//! * Sinks block, so each of their calls runs on a thread that may.
//!
//! Read next: `tcp/fetch.rs` and `tcp/serve.rs`, the two ends of a connection that brings chunks.

use std::fmt;
use std::panic::resume_unwind;

use raft_core::{Chunk, ChunkSink, FetchOutcome, SnapshotError};
use tokio::task::{JoinError, spawn_blocking};

/// The most bytes a data chunk may have, as it is stored: 1 MiB of data and 64 KiB around it.
pub const CHUNK_BYTES_MAX: u64 = (1 << 20) + (64 << 10);

/// The most bytes a manifest (chunk zero) may have, as it is stored: 16 MiB, the names of a million
/// chunks.
pub const MANIFEST_BYTES_MAX: u64 = 16 << 20;

/// The most bytes the chunk of this number may have.
pub(crate) const fn bytes_max(number: u32) -> u64 {
    if number == 0 { MANIFEST_BYTES_MAX } else { CHUNK_BYTES_MAX }
}

/// A chunk is asked for so often in a row: damage on the way is rare, damage at its source stays.
const ATTEMPTS_MAX: u32 = 4;

/// Where the chunks of one fetch come from.
pub(crate) trait Supplier: Send {
    /// Asks for a chunk. Given up by dropping it, and not asked again then.
    fn ask(&mut self, number: u32) -> impl Future<Output = Result<Chunk, Trouble>> + Send;

    /// A chunk arrived damaged and will be asked for again.
    fn is_damaged(&mut self);

    /// A chunk arrived and was taken.
    fn is_taken(&mut self, bytes: u64);
}

/// Why no chunk came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The peer does not hold the snapshot any more.
    Gone,
    /// Something else, in words.
    Broken(String),
}

/// How a fetch ended, for the sink and for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) outcome: FetchOutcome,
    /// Why, if it broke.
    why: String,
}

impl Ending {
    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self { outcome: FetchOutcome::Broken, why: why.into() }
    }

    fn of(outcome: FetchOutcome) -> Self {
        Self { outcome, why: String::new() }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            FetchOutcome::Complete => f.write_str("it is complete"),
            FetchOutcome::Gone => f.write_str("it is not there any more"),
            FetchOutcome::Failed(error) => fmt::Display::fmt(error, f),
            FetchOutcome::Broken => f.write_str(&self.why),
        }
    }
}

/// A sink that was not closed yet. Who drops it closes it as broken.
pub(crate) struct OpenSink(Option<Box<dyn ChunkSink>>);

impl OpenSink {
    pub(crate) const fn new(sink: Box<dyn ChunkSink>) -> Self {
        Self(Some(sink))
    }

    /// Gives it a chunk, if there is one, and hears what it wants next. Blocking.
    fn step(&mut self, chunk: Option<Chunk>) -> Result<Option<u32>, SnapshotError> {
        let sink = self.0.as_mut().expect("it is open until it is closed");
        if let Some(chunk) = chunk {
            sink.accept(chunk)?;
        }
        Ok(sink.wanted())
    }

    /// Closes it. Blocking.
    fn close(mut self, outcome: FetchOutcome) {
        if let Some(sink) = self.0.take() {
            sink.close(outcome);
        }
    }

    /// Closes it as broken on a thread of its own: for callers that must not wait, in places where
    /// no runtime may be.
    pub(crate) fn close_aside(self) {
        let closing = std::thread::Builder::new().name("fetch-close".to_owned());
        // Without a thread the closure is dropped, and the sink is closed by that.
        drop(closing.spawn(move || drop(self)));
    }
}

impl Drop for OpenSink {
    fn drop(&mut self) {
        // A sink that panics is not called again: a second panic would end the process.
        if let Some(sink) = self.0.take()
            && !std::thread::panicking()
        {
            sink.close(FetchOutcome::Broken);
        }
    }
}

impl fmt::Debug for OpenSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenSink").field(&self.0.is_some()).finish()
    }
}

/// Runs a fetch to its end, which comes at once when `hung_up` does; the sink is closed before
/// `ended` is told how.
pub(crate) async fn run(
    sink: OpenSink,
    mut supplier: impl Supplier,
    hung_up: impl Future<Output = &'static str> + Send,
    ended: impl FnOnce(&Ending) + Send,
) {
    let Some((sink, ending)) = pump(sink, &mut supplier, hung_up).await else { return };
    // Told first: who learns of the outcome from its sink finds it counted.
    ended(&ending);
    let outcome = ending.outcome;
    // `None` means that the runtime ends; the sink was closed when the closure was dropped.
    let _: Option<()> = blocking(move || sink.close(outcome)).await;
}

/// Asks until the end; `None` if the runtime ended first, and closed the sink with it.
async fn pump(
    mut sink: OpenSink,
    supplier: &mut impl Supplier,
    hung_up: impl Future<Output = &'static str> + Send,
) -> Option<(OpenSink, Ending)> {
    tokio::pin!(hung_up);
    let (mut chunk, mut last, mut attempts) = (None, None, 0);
    loop {
        let (back, step) = blocking(move || {
            let step = sink.step(chunk);
            (sink, step)
        })
        .await?;
        sink = back;
        let number = match step {
            Ok(Some(number)) => number,
            Ok(None) => return Some((sink, Ending::of(FetchOutcome::Complete))),
            Err(error) => return Some((sink, Ending::of(FetchOutcome::Failed(error)))),
        };
        attempts = if last == Some(number) { attempts } else { 0 };
        last = Some(number);
        let arrived = loop {
            if attempts == ATTEMPTS_MAX {
                let why = format!("chunk {number} was asked for {attempts} times, in vain");
                return Some((sink, Ending::broken(why)));
            }
            attempts += 1;
            let answer = tokio::select! {
                biased;
                why = &mut hung_up => Err(Trouble::Broken(why.to_owned())),
                answer = supplier.ask(number) => answer,
            };
            match answer {
                Ok(arrived) if arrived.number == number && arrived.verify() => break arrived,
                Ok(_) => supplier.is_damaged(),
                Err(Trouble::Gone) => return Some((sink, Ending::of(FetchOutcome::Gone))),
                Err(Trouble::Broken(why)) => return Some((sink, Ending::broken(why))),
            }
        };
        supplier.is_taken(arrived.bytes.len() as u64);
        chunk = Some(arrived);
    }
}

/// Runs what blocks where it may; `None` if the runtime ends. A panic goes on in the caller.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    match spawn_blocking(work).await.map_err(JoinError::try_into_panic) {
        Ok(done) => Some(done),
        Err(Ok(panic)) => resume_unwind(panic),
        Err(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Wants one chunk for ever, and counts how it is closed.
    struct Greedy {
        panics: bool,
        broken: Arc<AtomicU32>,
    }

    impl ChunkSink for Greedy {
        fn wanted(&self) -> Option<u32> {
            assert!(!self.panics, "as it was told");
            Some(1)
        }

        fn accept(&mut self, _: Chunk) -> Result<(), SnapshotError> {
            Ok(())
        }

        fn close(self: Box<Self>, outcome: FetchOutcome) {
            assert_eq!(outcome, FetchOutcome::Broken);
            self.broken.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn greedy(panics: bool) -> (OpenSink, Arc<AtomicU32>) {
        let broken = Arc::default();
        let sink = Greedy { panics, broken: Arc::clone(&broken) };
        (OpenSink::new(Box::new(sink)), broken)
    }

    /// Gives every chunk at once, or never.
    struct Source {
        gives: bool,
        taken: Arc<AtomicU32>,
    }

    impl Supplier for Source {
        async fn ask(&mut self, number: u32) -> Result<Chunk, Trouble> {
            if !self.gives {
                std::future::pending::<()>().await;
            }
            Ok(Chunk::new(number, bytes::Bytes::new()))
        }

        fn is_damaged(&mut self) {}

        fn is_taken(&mut self, _: u64) {
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
    }

    async fn run_to_the_end(sink: OpenSink, source: Source) {
        run(sink, source, std::future::pending(), |_| ()).await;
    }

    /// A sink that takes a chunk and wants it again is given up after a few times.
    #[tokio::test]
    async fn a_sink_that_never_has_enough_is_given_up() {
        let ((sink, broken), taken) = (greedy(false), Arc::default());
        run_to_the_end(sink, Source { gives: true, taken: Arc::clone(&taken) }).await;
        assert_eq!(taken.load(Ordering::SeqCst), ATTEMPTS_MAX);
        assert_eq!(broken.load(Ordering::SeqCst), 1);
    }

    /// Whoever drops a sink closes it: a caller, a runtime that ends with the fetch under way, and
    /// one that has ended already.
    #[test]
    fn a_sink_is_closed_whoever_drops_it() {
        let (sink, broken) = greedy(false);
        drop(sink);
        assert_eq!(broken.load(Ordering::SeqCst), 1);

        let source = || Source { gives: false, taken: Arc::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let handle = runtime.handle().clone();
        let (sink, broken) = greedy(false);
        drop(runtime.spawn(run_to_the_end(sink, source())));
        runtime.block_on(tokio::task::yield_now());
        drop(runtime);
        assert_eq!(broken.load(Ordering::SeqCst), 1);

        let (sink, broken) = greedy(false);
        drop(handle.spawn(run_to_the_end(sink, source())));
        assert_eq!(broken.load(Ordering::SeqCst), 1);
    }

    /// A sink that panics takes its fetch with it and is not called again.
    #[tokio::test]
    async fn a_sink_that_panics_is_left_alone() {
        let (sink, broken) = greedy(true);
        let source = Source { gives: true, taken: Arc::default() };
        let ended = tokio::spawn(run_to_the_end(sink, source)).await;
        assert!(ended.unwrap_err().is_panic());
        assert_eq!(broken.load(Ordering::SeqCst), 0);
    }
}
