//! A disk that forgets what was not synced, tears, rots, fills up, fails and hangs.
//!
//! * A file has what reads see and what surely survives a power loss; blocks written since the last
//!   sync are *pending*, and a power loss keeps any subset of them, torn ones too.
//! * Names are pending until their directory is synced.
//! * Calls block, but a job's calls take effect one after the other in virtual time. Each can be
//!   taken back, so a crash may fall between any two of them.
//! * Every call belongs to a life. A process that died cannot write any more.
//!
//! Read next: `disk/image.rs`, the files and how calls are taken back; `disk/port.rs`, the calls.

mod damage;
mod image;
mod port;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::damage::{Damage, DamageKind};
pub use self::port::DiskHandle;

use self::image::Image;
use crate::choice::{Choices, Site};
use crate::coverage::Fault;

/// A disk. Clones show the same disk; it outlives the processes that use it.
#[derive(Clone, Debug)]
pub struct SimDisk(Arc<Mutex<State>>);

/// How fast a disk is and how it is built. Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskProfile {
    /// The smallest piece that is written whole: 512 or 4096 bytes.
    pub block_bytes: usize,
    /// Time of a call that is no sync.
    pub call_ns: u64,
    /// Least time of a sync.
    pub sync_ns: u64,
    /// What a sync may take longer.
    pub sync_jitter_ns: u64,
    /// Whether reads and writes may be carried out in part.
    pub short: bool,
    /// Whether a block that was being written when the power failed may hold garbage. Otherwise it
    /// is old up to some byte and new from there, or the other way round: what was rewritten with
    /// the same bytes is safe, which logs that write a sector again rely on.
    pub tears_to_garbage: bool,
    /// What reads show after a failed sync: the old content, or the new until it is dropped from
    /// memory (ext4, XFS and Btrfs differ).
    pub failed_sync_shows_old: bool,
}

impl Default for DiskProfile {
    fn default() -> Self {
        Self {
            block_bytes: 4096,
            call_ns: 5_000,
            sync_ns: 100_000,
            sync_jitter_ns: 100_000,
            short: false,
            tears_to_garbage: true,
            failed_sync_shows_old: false,
        }
    }
}

/// Which call fails, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallFault {
    /// A sync fails, and the pages are called clean.
    Sync,
    /// A write fails, in the middle.
    Write,
    /// A read fails.
    Read,
    /// A file cannot be opened: too many are.
    Open,
}

/// What a crash leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process dies; the operating system keeps what was written.
    Process,
    /// The power fails: only what was synced is sure.
    Power,
}

/// How often what was done to a disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Calls.
    pub calls: u64,
    /// Syncs that returned.
    pub syncs: u64,
    /// Blocks a power loss did not keep.
    pub lost_blocks: u64,
    /// Blocks a power loss tore.
    pub torn_blocks: u64,
    /// Reads and writes that were carried out in part.
    pub short: u64,
    /// Calls that failed on purpose.
    pub failed: u64,
    /// Calls refused for want of room.
    pub full: u64,
}

#[derive(Clone, Debug)]
struct State {
    profile: DiskProfile,
    choices: Choices,
    image: Image,
    /// Calls of earlier lives are refused.
    life: u64,
    /// Files that a lock is held on.
    locks: BTreeSet<PathBuf>,
    /// Virtual time of the next call of the present job.
    clock: u64,
    /// A block is torn at multiples of so many bytes.
    tear_bytes: usize,
    /// The next call of this kind fails.
    faults: BTreeMap<CallFault, u64>,
    /// Bytes that all files together may have.
    quota: u64,
    slowness: u64,
    hung_until: u64,
    counts: DiskCounts,
    /// Whether the job so far took a file in hand that will be, or became, a segment.
    begins: bool,
    /// Faults that struck calls of the job so far.
    met: BTreeSet<Fault>,
}

impl SimDisk {
    /// A blank disk.
    pub fn new(profile: DiskProfile, choices: Choices) -> Self {
        Self(Arc::new(Mutex::new(State {
            profile,
            choices,
            image: Image::new(profile.block_bytes),
            life: 0,
            locks: BTreeSet::new(),
            clock: 0,
            tear_bytes: 1,
            faults: BTreeMap::new(),
            quota: u64::MAX,
            slowness: 1,
            hung_until: 0,
            counts: DiskCounts::default(),
            begins: false,
            met: BTreeSet::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A guest that panicked inside a call is dead; its disk is looked at, not trusted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job at this moment: its calls follow each other from then on, and those of the job
    /// before can no longer be taken back.
    pub fn begin_job(&self, now: u64) {
        let mut state = self.state();
        state.image.forget_history();
        state.clock = state.clock.max(now);
        state.begins = false;
        state.met.clear();
    }

    /// When the last call of the present job is done.
    pub fn job_end(&self) -> u64 {
        self.state().clock
    }

    /// When calls of the present job changed something, ascending: crashes between two of them do
    /// not differ.
    pub fn job_changes(&self) -> Vec<u64> {
        let mut moments: Vec<u64> = self.state().image.changes().collect();
        moments.dedup();
        moments
    }

    /// Whether the present job of a WAL took a file in hand that will be, or became, a segment.
    pub fn job_begins(&self) -> bool {
        self.state().begins
    }

    /// Faults that struck calls of the present job.
    pub(crate) fn job_met(&self) -> Vec<Fault> {
        self.state().met.iter().copied().collect()
    }

    /// A handle for a new process.
    pub fn handle(&self) -> DiskHandle {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        DiskHandle::new(self.clone(), state.life)
    }

    /// The process that uses the disk dies at this moment: calls of its job after that never
    /// happened, and later ones fail.
    pub fn crash(&self, at: u64, crash: Crash) {
        let mut guard = self.state();
        let state = &mut *guard;
        state.life += 1;
        state.locks.clear();
        state.faults.clear();
        let keeps_one_more = state.choices.chance(Site::PowerLoss, 500_000);
        state.image.rewind(at, keeps_one_more);
        state.clock = at;
        if crash == Crash::Power {
            let tears = (state.tear_bytes, state.profile.tears_to_garbage);
            let counts = state.image.lose_power(&state.choices, tears);
            state.counts.lost_blocks += counts.0;
            state.counts.torn_blocks += counts.1;
        }
    }

    /// What is pending: blocks written and names changed since their last sync. Zero whenever a
    /// storage said that everything is durable.
    pub fn pending(&self) -> usize {
        self.state().image.pending()
    }

    /// The same of the log alone: its segments, and the names in their directory.
    pub(crate) fn pending_log(&self) -> usize {
        self.state().image.pending_where(is_of_log)
    }

    /// A disk with the same content, the same job behind it and other choices before it: one past,
    /// many futures.
    #[must_use]
    pub fn fork(&self, choices: Choices) -> Self {
        let state = State { choices, ..self.state().clone() };
        Self(Arc::new(Mutex::new(state)))
    }

    /// A number that is the same for disks with the same names, bytes and pending blocks.
    pub fn digest(&self) -> u64 {
        self.state().image.digest()
    }

    /// Tears blocks at multiples of so many bytes only, so that all ways can be tried.
    pub fn set_tears(&self, bytes: usize) {
        self.state().tear_bytes = bytes.max(1);
    }

    /// The same of some files, and of the names among them.
    #[cfg(any(test, feature = "kit"))]
    pub(crate) fn pending_of(&self, is_meant: impl Fn(&Path) -> bool) -> usize {
        self.state().image.pending_where(is_meant)
    }

    /// Whether reads and writes may be carried out in part.
    pub fn set_short(&self, short: bool) {
        self.state().profile.short = short;
    }

    /// Lets the next call of this kind fail, or the one after so many of them.
    pub fn fail(&self, fault: CallFault, after: u64) {
        self.state().faults.insert(fault, after);
    }

    /// Forgets faults of calls that did not fail yet, and whatever makes the disk slow or full.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        (state.quota, state.slowness, state.hung_until) = (u64::MAX, 1, 0);
    }

    /// Leaves room for so many more bytes; `None` for plenty.
    pub fn set_room(&self, room: Option<u64>) {
        let mut state = self.state();
        state.quota = room.map_or(u64::MAX, |room| state.image.bytes() + room);
    }

    /// Makes every call take so many times longer.
    pub fn set_slowness(&self, factor: u64) {
        self.state().slowness = factor.max(1);
    }

    /// No call ends before this moment.
    pub fn hang_until(&self, at: u64) {
        self.state().hung_until = at;
    }

    /// Damages something that is durable at this moment and whose loss can be proven, if there is
    /// such a thing.
    pub fn damage(&self, now: u64, kind: DamageKind) -> Option<Damage> {
        let mut guard = self.state();
        let state = &mut *guard;
        damage::strike(&mut state.image, now, kind, &state.choices)
    }

    /// Damages the block at this place of a file, or what of it is in the file. Says whether there
    /// is something. What was misdirected here is a copy of the first block.
    pub fn damage_at(&self, kind: DamageKind, path: &Path, offset: usize) -> bool {
        damage::strike_at(&mut self.state().image, kind, path, offset)
    }

    /// Forgets everything: a new, blank disk in the place of the old one.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.life += 1;
        state.locks.clear();
        state.image = Image::new(state.profile.block_bytes);
    }

    /// Exchanges the content of two disks whose processes are gone.
    pub fn swap(&self, other: &Self) {
        if Arc::ptr_eq(&self.0, &other.0) {
            return;
        }
        let (mut mine, mut theirs) = (self.state(), other.state());
        mine.life += 1;
        theirs.life += 1;
        mine.locks.clear();
        theirs.locks.clear();
        std::mem::swap(&mut mine.image, &mut theirs.image);
    }

    /// What was done to it.
    pub fn counts(&self) -> DiskCounts {
        self.state().counts.clone()
    }

    /// Its files with their lengths and a hash of their content, for people.
    pub fn files(&self) -> Vec<(PathBuf, usize)> {
        let state = self.state();
        let files = &state.image;
        files.names().map(|(path, file)| (path.clone(), file.len())).collect()
    }
}

/// Segments in use; what is filled ahead is nobody's data yet.
fn is_of_log(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("00-"))
}

impl State {
    /// Time passes for a call; refuses it if its process is dead.
    fn call(&mut self, life: u64, nanos: u64) -> io::Result<()> {
        if life != self.life {
            return Err(io::Error::other("the process is dead"));
        }
        self.counts.calls += 1;
        if self.slowness > 1 {
            self.met.insert(Fault::SlowDisk);
        }
        if self.hung_until > self.clock {
            self.met.insert(Fault::HungDisk);
        }
        self.clock = self.clock.max(self.hung_until) + nanos * self.slowness;
        self.image.now = self.clock;
        Ok(())
    }

    /// Whether a call of this kind fails now.
    fn fails(&mut self, fault: CallFault) -> bool {
        match self.faults.get_mut(&fault) {
            None => false,
            Some(0) => {
                self.faults.remove(&fault);
                self.counts.failed += 1;
                self.met.insert(match fault {
                    CallFault::Sync => Fault::SyncError,
                    CallFault::Write => Fault::WriteError,
                    CallFault::Read => Fault::ReadError,
                    CallFault::Open => Fault::OpenError,
                });
                true
            }
            Some(after) => {
                *after -= 1;
                false
            }
        }
    }

    /// How much of a read or write is carried out: all, or a part if the disk is so.
    fn carried_out(&mut self, bytes: usize) -> usize {
        if !self.profile.short || bytes < 2 {
            return bytes;
        }
        if !self.choices.chance(Site::Short, 100_000) {
            return bytes;
        }
        self.counts.short += 1;
        self.met.insert(Fault::ShortIo);
        let part = self.choices.between(Site::Short, 1, bytes as u64);
        usize::try_from(part).unwrap_or(bytes)
    }

    /// Whether a file may grow by so much.
    fn has_room(&mut self, more: u64) -> bool {
        let fits = more == 0 || self.image.bytes() + more <= self.quota;
        if !fits {
            self.counts.full += 1;
            self.met.insert(Fault::Full);
        }
        fits
    }
}
