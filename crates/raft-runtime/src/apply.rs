//! The apply thread: committed entries into the state machine, answers to whoever waits.
//!
//! Answers leave from here, before the host is told: a caller need not wait for another thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use raft_core::{Apply, Capture, GroupId, Halt, Index, Restore, SnapshotError, Ticket, Time};
use raft_storage::{Answer, Applier, Query, SnapshotManager};

use crate::clock::Clock;
use crate::host::{Event, Inspect, PanicGuard};
use crate::queue::Queue;
use crate::shared::Shared;
use crate::snapshots::{self, Jobs};
use crate::tickets::Answered;

/// What the apply thread is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    Apply(Apply),
    Restore(Restore),
    Capture(Capture),
    Inspect(Inspect),
    /// `fresh_at`: when that index was certainly the newest, for reads that may be old.
    Read {
        index: Index,
        ticket: Ticket,
        query: Query,
        fresh_at: Option<Time>,
    },
    Stop,
}

/// The apply thread as the host sees it.
#[derive(Debug)]
pub(crate) struct Application {
    jobs: Arc<Queue<Job>>,
    thread: Option<JoinHandle<()>>,
}

const GROUP: GroupId = GroupId::ZERO;

const IDLE: Duration = Duration::from_hours(1);

impl Application {
    pub(crate) fn start(
        applier: Applier,
        events: Arc<Queue<Event>>,
        shared: Arc<Shared>,
        clock: Clock,
        (manager, snapshots): (Arc<SnapshotManager>, Jobs),
        backlog_bytes_max: u64,
    ) -> std::io::Result<Self> {
        let jobs = Arc::new(Queue::new());
        let worker = Worker {
            applier,
            jobs: Arc::clone(&jobs),
            events,
            shared,
            clock,
            manager,
            snapshots,
            fresh_at: BTreeMap::new(),
            quiet_bytes: 0,
            // Early enough that the host hears in time that there is room again.
            quiet_bytes_max: backlog_bytes_max / 4,
        };
        let builder = std::thread::Builder::new().name("raft-apply".into());
        let thread = builder.spawn(move || worker.run())?;
        Ok(Self { jobs, thread: Some(thread) })
    }

    pub(crate) fn submit(&self, job: Job) {
        self.jobs.push(job);
    }

    /// Lets the thread finish what it has and drops the state machine.
    pub(crate) fn stop(&mut self) {
        self.jobs.push(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

struct Worker {
    applier: Applier,
    jobs: Arc<Queue<Job>>,
    events: Arc<Queue<Event>>,
    shared: Arc<Shared>,
    clock: Clock,
    manager: Arc<SnapshotManager>,
    snapshots: Jobs,
    /// Reads that may be old and wait for their index.
    fresh_at: BTreeMap<Ticket, Time>,
    /// Applied since the host was woken for it.
    quiet_bytes: u64,
    quiet_bytes_max: u64,
}

impl Worker {
    fn run(mut self) {
        let guard = PanicGuard::new("apply", Arc::clone(&self.events));
        let mut jobs = Vec::new();
        'stopped: loop {
            self.jobs.take(&mut jobs, IDLE);
            for job in jobs.drain(..) {
                match self.work(job) {
                    Ok(true) => {}
                    Ok(false) => break 'stopped,
                    Err(halt) => {
                        self.events.push(Event::Halted(halt));
                        break 'stopped;
                    }
                }
            }
        }
        guard.disarm();
    }

    fn work(&mut self, job: Job) -> Result<bool, Halt> {
        match job {
            Job::Apply(apply) => {
                let (applied, answers) = self.applier.apply(apply)?;
                self.shared.applied.store(applied.last().index.get(), Ordering::Release);
                self.answer(answers);
                // Urgent only when the core would otherwise run out of room to hand out more.
                self.quiet_bytes += applied.cost();
                self.events.extend_quietly([Event::Applied(applied)]);
                if self.quiet_bytes >= self.quiet_bytes_max {
                    self.quiet_bytes = 0;
                    self.events.wake();
                }
            }
            Job::Restore(restore) => {
                let id = restore.snapshot().id;
                let fault = |error: SnapshotError| Halt::new(format!("snapshot {id}: {error}"));
                let mut source = self.manager.open_source(GROUP, id).map_err(fault)?;
                let (applied, answers) = self.applier.restore(restore, &mut *source)?;
                self.shared.applied.store(applied.last().index.get(), Ordering::Release);
                self.answer(answers);
                self.events.push(Event::Applied(applied));
            }
            Job::Capture(capture) => {
                let source = self.applier.capture(&capture)?;
                self.snapshots.submit(snapshots::Job::Build(capture, source));
            }
            Job::Inspect(Inspect(inspect)) => inspect(self.applier.applied()),
            Job::Read { index, ticket, query, fresh_at } => {
                self.fresh_at.extend(fresh_at.map(|at| (ticket, at)));
                let answer = self.applier.read(index, ticket, query);
                self.answer(answer.into_iter().collect());
            }
            Job::Stop => return Ok(false),
        }
        Ok(true)
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        if answers.is_empty() {
            return;
        }
        let (fresh_at, now) = (&mut self.fresh_at, self.clock.now());
        let answers = answers.into_iter().map(|Answer { ticket, bytes, .. }| {
            let age = fresh_at.remove(&ticket).map_or(Duration::ZERO, |at| now.since(at));
            (ticket, Ok(Answered { bytes, age }))
        });
        self.shared.tickets.close(answers);
    }
}
