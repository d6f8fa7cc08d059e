//! The disk thread: writes batches, loads entries, and lets promises go.
//!
//! * One thread owns the storage. Jobs are done in the order they came.
//! * All writes that wait are one batch: one sync, whatever their number.
//! * Promises go straight to the transport: the host need not be woken for them.
//! * An error is final. Nothing is retried; the host is told and the node stops.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use raft_core::{Base, Envelope, GroupId, Load, Persist, SnapshotId};
use raft_net::Transport;
use raft_storage::{SnapshotManager, Storage, StorageError, StorageStats, write};

use crate::host::Event;
use crate::queue::Queue;

/// What the disk thread is asked to do.
#[derive(Debug)]
pub(crate) enum Job {
    Write(GroupId, Persist),
    Load(GroupId, Load),
    Stop,
}

/// The disk thread as the host sees it.
#[derive(Debug)]
pub(crate) struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    jobs: Queue<Job>,
    writes: AtomicUsize,
    /// Whether the host must be woken for receipts.
    is_awaited: AtomicBool,
    has_room: AtomicBool,
    stats: Mutex<StorageStats>,
}

/// Writes handed over and not yet done. Two: while one is synced the next one fills.
const WRITES_MAX: usize = 2;

/// A full disk is asked so often whether it has room again.
const FULL: Duration = Duration::from_secs(1);

/// Long enough that a wake-up without a job costs nothing.
const IDLE: Duration = Duration::from_hours(1);

impl Disk {
    pub(crate) fn start(
        storage: Box<dyn Storage>,
        events: Arc<Queue<Event>>,
        transport: Arc<dyn Transport>,
        snapshots: Arc<SnapshotManager>,
    ) -> std::io::Result<Self> {
        let stats = Mutex::new(storage.stats());
        let (jobs, writes, is_awaited) = (Queue::new(), AtomicUsize::new(0), AtomicBool::new(true));
        let has_room = AtomicBool::new(true);
        let shared = Arc::new(Shared { jobs, writes, is_awaited, has_room, stats });
        let worker = Worker { storage, snapshots, shared: Arc::clone(&shared), events, transport };
        let builder = std::thread::Builder::new().name("raft-disk".into());
        let thread = builder.spawn(move || worker.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Whether another write may be handed over: the others wait in the core, where they grow into
    /// one.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.writes.load(Ordering::Acquire) < WRITES_MAX
    }

    /// Tells whether receipts are urgent ([`raft_core::RaftNode::waits_for_disk`]). Set before the
    /// host looks into its inbox for the last time.
    pub(crate) fn await_receipts(&self, is_awaited: bool) {
        self.shared.is_awaited.store(is_awaited, Ordering::SeqCst);
    }

    pub(crate) fn submit(&self, job: Job) {
        if matches!(job, Job::Write(..)) {
            self.shared.writes.fetch_add(1, Ordering::AcqRel);
        }
        self.shared.jobs.push(job);
    }

    pub(crate) fn stats(&self) -> StatsReader {
        StatsReader(Arc::clone(&self.shared))
    }

    /// Lets the thread finish what it has and closes the storage.
    pub(crate) fn stop(&mut self) {
        self.shared.jobs.push(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Reads what the storage counted, while the disk thread works.
#[derive(Clone, Debug)]
pub(crate) struct StatsReader(Arc<Shared>);

impl StatsReader {
    pub(crate) fn read(&self) -> StorageStats {
        *self.0.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_room(&self) -> bool {
        self.0.has_room.load(Ordering::Relaxed)
    }
}

/// The snapshot that a write makes the newest of its log.
fn snapshot_of((group, persist): &(GroupId, Persist)) -> Option<(GroupId, SnapshotId)> {
    match persist.base()? {
        Base::Compacted { snapshot, .. } | Base::Installed(snapshot) => Some((*group, snapshot.id)),
        Base::Created(_) => None,
    }
}

struct Worker {
    storage: Box<dyn Storage>,
    snapshots: Arc<SnapshotManager>,
    shared: Arc<Shared>,
    events: Arc<Queue<Event>>,
    transport: Arc<dyn Transport>,
}

impl Worker {
    fn run(mut self) {
        let guard = crate::host::PanicGuard::new("disk", Arc::clone(&self.events));
        let mut jobs = Vec::new();
        let mut wait = if self.look_for_room() { IDLE } else { FULL };
        loop {
            self.shared.jobs.take(&mut jobs, wait);
            match self.work(&mut jobs).and_then(|goes_on| Ok((goes_on, self.storage.idle()?))) {
                Ok((true, due)) => {
                    let wait_max = if self.look_for_room() { IDLE } else { FULL };
                    wait = due.unwrap_or(IDLE).min(wait_max);
                }
                Ok((false, _)) => break,
                Err(error) => {
                    self.events.push(Event::DiskFailed(Arc::new(error)));
                    break;
                }
            }
        }
        guard.disarm();
    }

    /// Tells the host when the disk gets full, and when it has room again.
    fn look_for_room(&self) -> bool {
        let has_room = self.storage.has_room();
        if self.shared.has_room.swap(has_room, Ordering::Relaxed) != has_room {
            self.events.push(Event::Room(has_room));
        }
        has_room
    }

    /// Does everything that waits; `false` when asked to stop.
    fn work(&mut self, jobs: &mut Vec<Job>) -> Result<bool, StorageError> {
        let mut batch = Vec::new();
        for job in jobs.drain(..) {
            match job {
                Job::Write(group, persist) => batch.push((group, persist)),
                Job::Load(group, load) => {
                    self.write(std::mem::take(&mut batch))?;
                    let entries = self.storage.entries(group, load.range(), load.bytes_max())?;
                    self.events.push(Event::Loaded(load.into_loaded(entries)));
                }
                Job::Stop => {
                    self.write(batch)?;
                    return Ok(false);
                }
            }
        }
        self.write(batch)?;
        Ok(true)
    }

    fn write(&mut self, batch: Vec<(GroupId, Persist)>) -> Result<(), StorageError> {
        let count = batch.len();
        if count == 0 {
            return Ok(());
        }
        let bases: Vec<(GroupId, SnapshotId)> = batch.iter().filter_map(snapshot_of).collect();
        let written = write(&mut *self.storage, batch)?;
        // Now the log names these: the ones it named before may go.
        for (group, id) in bases {
            self.snapshots.retain(group, id);
        }
        let mut receipts = Vec::with_capacity(count);
        for written in written {
            for message in written.promises {
                // What cannot be sent is lost on the way; Raft asks again.
                let _ = self.transport.send(Envelope { group: written.group, message });
            }
            receipts.push(Event::Persisted(written.persisted));
        }
        *self.shared.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.storage.stats();
        self.shared.writes.fetch_sub(count, Ordering::AcqRel);
        self.events.extend_quietly(receipts);
        // Asked after the receipts are there: a host that waits for them since finds them itself.
        if self.shared.is_awaited.load(Ordering::SeqCst) {
            self.events.wake();
        }
        Ok(())
    }
}
