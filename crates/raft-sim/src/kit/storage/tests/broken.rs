//! Storages that break a law each, built around `FileStorage`: the kit rejects every one.
//!
//! A flaw sits above it, below it, between it and its disk, or where it is opened. Without a flaw
//! the same wrapper keeps every law, so that it is the flaw that is found.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use raft_core::{Entry, GroupId, HardState, Identity, Index, Persist, Restored, SnapshotError};
use raft_storage::disk::{Disk, DiskFile, DiskLock, OpenMode};
use raft_storage::{
    Alignment, MemoryStorage, SnapshotManager, Storage, StorageError, StorageStats,
};

use super::super::life::identity;
use super::super::{LAWS, StorageSubject, check, judge_by};
use super::Files;

/// What a wrapped `FileStorage` does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Nothing.
    None,
    /// Hands out as many entries as there are.
    IgnoresLimits,
    /// Syncs no names.
    SyncsNoNames,
    /// Syncs nothing while it writes.
    SyncsNothing,
    /// Says an error once, and then that all is well.
    ForgetsErrors,
    /// Says that all is well.
    SwallowsErrors,
    /// Tries a failed sync again.
    RetriesSyncs,
    /// Stays full for ever.
    StaysFull,
    /// Wipes what it cannot open.
    WipesTheUnknown,
    /// Does not sync its identity.
    OwnsInMemory,
    /// Begins anew with what it cannot open.
    BeginsAnew,
    /// Keeps nothing but its identity of what it cannot open.
    ForgetsDamage,
    /// Refuses what a crash cut short.
    RefusesTornTails,
    /// Writes a write in two pieces.
    SplitsWrites,
    /// Writes the last group first.
    Reorders,
    /// Writes something when it is opened.
    CountsOpenings,
    /// Believes what it finds in memory.
    TrustsMemory,
    /// Syncs nothing after a restart.
    TiresWithAge,
    /// Writes nothing after a restart.
    WritesOnce,
}

/// Each flaw with a law that finds it.
const FLAWS: [(Flaw, &str); 18] = [
    (Flaw::IgnoresLimits, "the_contract_without_crashes_is_kept"),
    (Flaw::SyncsNoNames, "no_receipt_is_given_while_blocks_are_pending"),
    (Flaw::SyncsNothing, "what_was_acknowledged_survives"),
    (Flaw::ForgetsErrors, "an_error_is_final"),
    (Flaw::SwallowsErrors, "what_was_acknowledged_survives_errors"),
    (Flaw::RetriesSyncs, "what_was_acknowledged_survives_errors"),
    (Flaw::StaysFull, "a_full_disk_loses_nothing"),
    (Flaw::WipesTheUnknown, "an_opening_that_fails_changes_nothing"),
    (Flaw::OwnsInMemory, "a_disk_is_owned_whole_or_not_at_all"),
    (Flaw::BeginsAnew, "damage_is_not_taken_for_a_torn_tail"),
    (Flaw::ForgetsDamage, "damage_is_not_taken_for_a_torn_tail"),
    (Flaw::RefusesTornTails, "a_torn_tail_is_not_taken_for_damage"),
    (Flaw::SplitsWrites, "a_write_is_whole_or_not_at_all_and_in_order"),
    (Flaw::Reorders, "a_write_is_whole_or_not_at_all_and_in_order"),
    (Flaw::CountsOpenings, "opening_again_changes_nothing"),
    (Flaw::TrustsMemory, "what_was_restored_survives_the_next_power_loss"),
    (Flaw::TiresWithAge, "a_recovered_storage_goes_on"),
    (Flaw::WritesOnce, "a_recovered_storage_goes_on"),
];

/// The wrapper without a flaw keeps every law, so it is not the wrapper that the others fail for.
#[test]
fn the_wrapper_itself_breaks_nothing() {
    let report = check(&mut with(Flaw::None));
    assert_eq!(report.kept.len(), LAWS.len(), "{report}");
}

/// Each flaw is found by the law it breaks, and every law finds one.
#[test]
fn every_broken_storage_is_rejected_by_the_name_of_its_law() {
    for (flaw, law) in FLAWS {
        let laws: Vec<_> = LAWS.iter().copied().filter(|(name, _)| *name == law).collect();
        let report = judge_by(&laws, &mut with(flaw));
        assert!(report.breaks(law), "{flaw:?} breaks {law}, said is: {report}");
    }
    for (law, _) in LAWS {
        assert!(FLAWS.iter().any(|(_, name)| name == law), "nothing shows what `{law}` finds");
    }
}

fn with(flaw: Flaw) -> Broken {
    Broken { flaw, files: Files { alignment: Alignment::Page, lives: 0 } }
}

struct Broken {
    flaw: Flaw,
    files: Files,
}

impl StorageSubject for Broken {
    fn open(&mut self, disk: Arc<dyn Disk>) -> Result<Box<dyn Storage>, String> {
        let flaw = self.flaw;
        let (full, was_there) = (Path::new("/full"), disk.list(Path::new("/data/wal")).is_ok());
        if flaw == Flaw::StaysFull && disk.open(full, OpenMode::Read).is_ok() {
            return Err("the disk was full once".into());
        }
        let syncs = Arc::new(AtomicBool::new(flaw != Flaw::TrustsMemory));
        let loose = Loose { inner: Arc::clone(&disk), flaw, syncs: Arc::clone(&syncs) };
        let opened = self.files.open(Arc::new(loose));
        if opened.is_err() && flaw == Flaw::BeginsAnew {
            return Ok(Box::new(MemoryStorage::new()));
        }
        if opened.is_err() && flaw == Flaw::ForgetsDamage {
            let mut memory = MemoryStorage::new();
            memory.initialize(identity(1)).unwrap();
            return Ok(Box::new(memory));
        }
        if opened.is_err() && flaw == Flaw::WipesTheUnknown {
            for path in paths(disk.as_ref()) {
                // What cannot be removed stays.
                let _ = disk.remove(&path);
            }
        }
        let mut inner = opened?;
        let is_old = was_there && inner.identity().is_some();
        if flaw == Flaw::RefusesTornTails && inner.stats().torn_tails > 0 {
            return Err("the last write is damaged".into());
        }
        if flaw == Flaw::CountsOpenings && is_old {
            let state = inner.restore(GroupId::ZERO).map_err(|error| error.to_string())?.hard_state;
            let state = HardState { term: state.term.next(), voted_for: None, ..state };
            let written =
                inner.persist(&[(GroupId::ZERO, Persist::unnumbered(state, None, vec![]))]);
            written.map_err(|error| error.to_string())?;
        }
        syncs.store(!(flaw == Flaw::TiresWithAge && is_old), Ordering::Relaxed);
        let commits = BTreeMap::new();
        Ok(Box::new(Flawed { inner, disk, flaw, syncs, is_old, commits, failed: false }))
    }

    fn is_log(&self, path: &Path) -> bool {
        self.files.is_log(path)
    }

    fn trusts_torn_blocks(&self) -> bool {
        self.files.trusts_torn_blocks()
    }
}

fn paths(disk: &dyn Disk) -> Vec<PathBuf> {
    let both = ["/data/wal", "/data"].map(|path| disk.list(Path::new(path)).unwrap_or_default());
    both.concat().into_iter().filter(|path| !path.ends_with("wal")).collect()
}

/// A storage with a flaw above it.
struct Flawed {
    inner: Box<dyn Storage>,
    disk: Arc<dyn Disk>,
    flaw: Flaw,
    syncs: Arc<AtomicBool>,
    /// Whether somebody wrote before this process.
    is_old: bool,
    commits: BTreeMap<GroupId, Index>,
    failed: bool,
}

impl Flawed {
    /// The batch in pieces, each durable before the next.
    fn persist_pieces(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        let mut order: Vec<_> = batch.iter().collect();
        if self.flaw == Flaw::Reorders {
            order.sort_by_key(|(group, _)| std::cmp::Reverse(*group));
        }
        for (group, persist) in order {
            let (state, mut rest) = (persist.hard_state(), persist.entries());
            let mut base = persist.base().cloned();
            let commit = self.commits.insert(*group, state.commit).unwrap_or_default();
            if self.flaw == Flaw::SplitsWrites && rest.len() > 1 {
                let early = HardState { commit, ..state };
                let first = Persist::unnumbered(early, base.take(), rest[..1].to_vec());
                self.inner.persist(&[(*group, first)])?;
                rest = &rest[1..];
            }
            let last = Persist::unnumbered(state, base, rest.to_vec());
            self.inner.persist(&[(*group, last)])?;
        }
        Ok(())
    }
}

impl Storage for Flawed {
    fn identity(&self) -> Option<Identity> {
        self.inner.identity()
    }

    fn initialize(&mut self, identity: Identity) -> Result<(), StorageError> {
        let syncs = self.syncs.swap(self.flaw != Flaw::OwnsInMemory, Ordering::Relaxed);
        let result = self.inner.initialize(identity);
        self.syncs.store(syncs && self.flaw != Flaw::SyncsNothing, Ordering::Relaxed);
        result
    }

    fn restore(&mut self, group: GroupId) -> Result<Restored, StorageError> {
        self.inner.restore(group)
    }

    fn persist(&mut self, batch: &[(GroupId, Persist)]) -> Result<(), StorageError> {
        if self.failed || (self.flaw == Flaw::WritesOnce && self.is_old) {
            return Ok(());
        }
        let is_cut = matches!(self.flaw, Flaw::SplitsWrites | Flaw::Reorders);
        let result = if is_cut { self.persist_pieces(batch) } else { self.inner.persist(batch) };
        self.failed = self.flaw == Flaw::ForgetsErrors && result.is_err();
        if self.flaw == Flaw::StaysFull && matches!(result, Err(StorageError::Full { .. })) {
            // A note for the next process.
            let noted = self.disk.open(Path::new("/full"), OpenMode::Create);
            noted.and_then(|_| self.disk.sync_directory(Path::new("/"))).unwrap();
        }
        if self.flaw == Flaw::SwallowsErrors { Ok(()) } else { result }
    }

    fn entries(
        &mut self,
        group: GroupId,
        range: Range<Index>,
        bytes_max: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let bytes_max = if self.flaw == Flaw::IgnoresLimits { u64::MAX } else { bytes_max };
        self.inner.entries(group, range, bytes_max)
    }

    fn stats(&self) -> StorageStats {
        self.inner.stats()
    }

    fn snapshots(&self) -> Result<SnapshotManager, SnapshotError> {
        self.inner.snapshots()
    }
}

/// A disk that syncs while it is told to.
struct Loose {
    inner: Arc<dyn Disk>,
    flaw: Flaw,
    syncs: Arc<AtomicBool>,
}

impl Disk for Loose {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.inner.create_directory(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.inner.open(path, mode)?;
        Ok(Box::new(LooseFile { inner, flaw: self.flaw, syncs: Arc::clone(&self.syncs) }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let skips = self.flaw == Flaw::SyncsNoNames && directory.ends_with("wal");
        let syncs = self.syncs.load(Ordering::Relaxed) && !skips;
        if syncs { self.inner.sync_directory(directory) } else { Ok(()) }
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.inner.lock(path)
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        self.inner.free_bytes(directory)
    }
}

struct LooseFile {
    inner: Box<dyn DiskFile>,
    flaw: Flaw,
    syncs: Arc<AtomicBool>,
}

impl DiskFile for LooseFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&mut self, buffers: &[io::IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.inner.write_at(buffers, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        if !self.syncs.load(Ordering::Relaxed) {
            return Ok(());
        }
        let synced = self.inner.sync_data();
        let retries = self.flaw == Flaw::RetriesSyncs && synced.is_err();
        if retries { self.inner.sync_data() } else { synced }
    }

    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        self.inner.allocate_zeroed(bytes)
    }

    fn bytes(&self) -> io::Result<u64> {
        self.inner.bytes()
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.inner.drop_cache()
    }
}
