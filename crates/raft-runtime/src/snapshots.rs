//! The snapshot thread: builds snapshots from frozen states and receives those that peers offer.
//!
//! * A build reads a frozen state and writes files; nobody waits for it but the log that it will
//!   shorten. One at a time.
//! * A fetch is the transport's work; this thread only opens what it fills. What has arrived stays
//!   when a fetch breaks, and the next one asks for the rest.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use raft_core::{
    Capture, Chunk, ChunkSink, Fetch, FetchOutcome, GroupId, SnapshotError, SnapshotSource,
};
use raft_net::Transport;
use raft_storage::{Receiver, SnapshotManager};

use crate::host::{Event, PanicGuard};
use crate::queue::Queue;

/// What the snapshot thread is asked to do.
pub(crate) enum Job {
    /// Write what was frozen.
    Build(Capture, Box<dyn SnapshotSource>),
    /// Get what a peer offered.
    Fetch(Fetch),
    Stop,
}

/// The snapshot thread as others see it.
#[derive(Clone)]
pub(crate) struct Jobs(Arc<Queue<Job>>);

impl Jobs {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Queue::new()))
    }

    pub(crate) fn submit(&self, job: Job) {
        self.0.push(job);
    }
}

/// The running thread.
pub(crate) struct Snapshots {
    pub(crate) jobs: Jobs,
    thread: Option<JoinHandle<()>>,
}

const GROUP: GroupId = GroupId::ZERO;

const IDLE: Duration = Duration::from_hours(1);

impl Snapshots {
    pub(crate) fn start(
        jobs: Jobs,
        manager: Arc<SnapshotManager>,
        events: Arc<Queue<Event>>,
        transport: Arc<dyn Transport>,
    ) -> std::io::Result<Self> {
        let worker = Worker { jobs: jobs.clone(), manager, events, transport };
        let builder = std::thread::Builder::new().name("raft-snapshot".into());
        let thread = builder.spawn(move || worker.run())?;
        Ok(Self { jobs, thread: Some(thread) })
    }

    /// Lets the thread finish what it is doing.
    pub(crate) fn stop(&mut self) {
        self.jobs.submit(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

struct Worker {
    jobs: Jobs,
    manager: Arc<SnapshotManager>,
    events: Arc<Queue<Event>>,
    transport: Arc<dyn Transport>,
}

impl Worker {
    fn run(self) {
        let guard = PanicGuard::new("snapshot", Arc::clone(&self.events));
        let mut jobs = Vec::new();
        'stopped: loop {
            self.jobs.0.take(&mut jobs, IDLE);
            for job in jobs.drain(..) {
                match job {
                    Job::Build(capture, source) => self.build(capture, source),
                    Job::Fetch(fetch) => self.fetch(fetch),
                    Job::Stop => break 'stopped,
                }
            }
        }
        guard.disarm();
    }

    fn build(&self, capture: Capture, mut source: Box<dyn SnapshotSource>) {
        let captured = match self.manager.build(GROUP, &capture, &mut *source) {
            Ok(snapshot) => capture.into_captured(snapshot),
            Err(error) => {
                tracing::error!(%error, upto = %capture.last_included(), "no snapshot was taken");
                capture.into_failed()
            }
        };
        self.events.push(Event::Captured(captured));
    }

    fn fetch(&self, fetch: Fetch) {
        let (from, snapshot) = (fetch.from(), fetch.snapshot());
        let id = snapshot.id;
        match self.manager.receive(GROUP, snapshot) {
            Ok(receiver) => {
                tracing::info!(%from, upto = %snapshot.last_included, "fetching a snapshot");
                let events = Arc::clone(&self.events);
                self.transport.fetch(from, GROUP, id, Box::new(Sink { receiver, fetch, events }));
            }
            Err(error) => {
                tracing::error!(%error, "a snapshot cannot be received");
                self.events.push(Event::Fetched(fetch.into_failed()));
            }
        }
    }
}

/// Fills a receiver and tells the host how it ended.
struct Sink {
    receiver: Receiver,
    fetch: Fetch,
    events: Arc<Queue<Event>>,
}

impl ChunkSink for Sink {
    fn wanted(&self) -> Option<u32> {
        self.receiver.wanted()
    }

    fn accept(&mut self, chunk: Chunk) -> Result<(), SnapshotError> {
        self.receiver.accept(chunk)
    }

    fn close(self: Box<Self>, outcome: FetchOutcome) {
        let Self { receiver, fetch, events } = *self;
        let upto = fetch.snapshot().last_included;
        let published = match outcome {
            FetchOutcome::Complete => receiver.finish().map_err(|error| error.to_string()),
            FetchOutcome::Broken => Err("the connection broke".to_owned()),
            FetchOutcome::Gone => Err("the peer does not hold it any more".to_owned()),
            FetchOutcome::Failed(error) => Err(error.to_string()),
        };
        let fetched = match published {
            Ok(()) => {
                tracing::info!(%upto, "snapshot received");
                fetch.into_fetched()
            }
            Err(reason) => {
                tracing::warn!(%upto, reason, "snapshot not received; asking for the rest again");
                fetch.into_failed()
            }
        };
        events.push(Event::Fetched(fetched));
    }
}
