//! Disks that break a law each, built on the simulated disk: the kit rejects every one.
//!
//! Without a flaw the same wrapper keeps every law, so that it is the flaw that is found.

use std::collections::BTreeSet;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use raft_storage::disk::{Disk, DiskFile, DiskLock, OpenMode};

use super::super::{LAWS, Simulated, check, judge_by};

/// What a wrapped disk does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// Nothing.
    None,
    /// Reads and writes at even places only.
    Rounds,
    /// Each handle remembers how long the file was.
    RemembersLengths,
    /// Calls the end of a file an error.
    ErrsAtEnd,
    /// Reads more than it says.
    SpillsOver,
    /// Fills holes with ones.
    FillsHoles,
    /// Keeps the content of a file that is created again.
    KeepsContent,
    /// Creates what is not there.
    CreatesMissing,
    /// Allocates without writing zeros.
    AllocatesGarbage,
    /// Drops no cache before a sync.
    InsistsOnCaches,
    /// Makes no directory twice.
    MakesOnce,
    /// Lists in any order.
    ListsBackwards,
    /// Lists what is below, too.
    ListsBelow,
    /// Copies instead of renaming.
    CopiesToRename,
    /// Removes nothing.
    KeepsRemoved,
    /// Gives every lock to everybody.
    SharesLocks,
    /// Writes nothing into locks.
    MuteLocks,
    /// Believes that it is full.
    SaysNothingIsFree,
    /// Believes that it is endless.
    SaysAllIsFree,
    /// Has another word for being full.
    HidesBeingFull,
    /// Makes room by dropping what is there.
    EatsItsOwn,
    /// Syncs nothing.
    SyncsNothing,
    /// Syncs only what the handle wrote.
    SyncsOwnWrites,
    /// Does not count allocated room as something to sync.
    SyncsNoLengths,
    /// Scrubs a place before it writes there.
    Scrubs,
    /// Syncs no names.
    SyncsNoNames,
    /// Forgets removals when it syncs names.
    SyncsNoRemovals,
    /// Makes the new name free before it renames.
    RemovesBeforeRenaming,
    /// Tries a failed sync again.
    RetriesSyncs,
    /// Calls everything clean after a failed sync.
    GivesUpSyncing,
    /// Remembers who held a lock.
    KeepsLocks,
}

/// Each flaw with a law that finds it.
const FLAWS: [(Flaw, &str); 30] = [
    (Flaw::Rounds, "what_was_written_is_read_at_any_offset"),
    (Flaw::RemembersLengths, "handles_of_a_file_see_the_same"),
    (Flaw::ErrsAtEnd, "reads_beyond_the_end_give_zero"),
    (Flaw::SpillsOver, "reads_and_writes_make_progress"),
    (Flaw::FillsHoles, "holes_read_as_zeros"),
    (Flaw::KeepsContent, "create_empties_what_had_the_name"),
    (Flaw::CreatesMissing, "a_missing_file_is_not_found"),
    (Flaw::AllocatesGarbage, "allocated_room_is_zeros_and_never_less"),
    (Flaw::InsistsOnCaches, "dropping_the_cache_changes_nothing"),
    (Flaw::MakesOnce, "directories_are_made_with_their_parents"),
    (Flaw::ListsBackwards, "a_directory_lists_exactly_its_files_in_order"),
    (Flaw::ListsBelow, "a_directory_lists_exactly_its_files_in_order"),
    (Flaw::CopiesToRename, "a_renamed_file_replaces_what_had_the_name"),
    (Flaw::KeepsRemoved, "a_removed_file_is_gone"),
    (Flaw::SharesLocks, "a_lock_is_exclusive_until_it_is_dropped"),
    (Flaw::MuteLocks, "a_lock_tells_who_holds_it"),
    (Flaw::SaysNothingIsFree, "free_bytes_are_plausible"),
    (Flaw::SaysAllIsFree, "free_bytes_shrink_with_the_room"),
    (Flaw::HidesBeingFull, "a_full_disk_says_so_and_keeps_what_it_has"),
    (Flaw::EatsItsOwn, "a_full_disk_says_so_and_keeps_what_it_has"),
    (Flaw::SyncsNothing, "what_was_synced_survives_a_power_loss"),
    (Flaw::SyncsOwnWrites, "a_sync_covers_what_other_handles_wrote"),
    (Flaw::SyncsNoLengths, "allocated_room_survives_once_synced"),
    (Flaw::Scrubs, "what_was_never_written_is_never_read"),
    (Flaw::SyncsNoNames, "names_survive_once_their_directory_is_synced"),
    (Flaw::SyncsNoRemovals, "a_removed_file_stays_away_once_its_directory_is_synced"),
    (Flaw::RemovesBeforeRenaming, "a_renamed_file_is_found_under_one_of_both_names"),
    (Flaw::RetriesSyncs, "a_failed_sync_is_not_followed_by_a_false_success"),
    (Flaw::GivesUpSyncing, "what_is_synced_after_a_failed_sync_survives"),
    (Flaw::KeepsLocks, "a_lock_does_not_survive_a_power_loss"),
];

/// The wrapper without a flaw keeps every law, so it is not the wrapper that the others fail for.
#[test]
fn the_wrapper_itself_breaks_nothing() {
    let report = check(&mut with(Flaw::None));
    assert_eq!(report.kept.len(), LAWS.len(), "{report}");
}

/// Each flaw is found by the law it breaks, and every law finds one.
#[test]
fn every_broken_disk_is_rejected_by_the_name_of_its_law() {
    for (flaw, law) in FLAWS {
        let laws: Vec<_> = LAWS.iter().copied().filter(|(name, _)| *name == law).collect();
        let report = judge_by(&laws, &mut with(flaw));
        assert!(report.breaks(law), "{flaw:?} breaks {law}, said is: {report}");
    }
    for (law, _) in LAWS {
        assert!(FLAWS.iter().any(|(_, name)| name == law), "nothing shows what `{law}` finds");
    }
}

fn with(flaw: Flaw) -> Simulated {
    let locks: Arc<Mutex<BTreeSet<PathBuf>>> = Arc::default();
    Simulated::wrapped(move |disk| {
        let (inner, locks) = (Arc::new(disk), Arc::clone(&locks));
        Arc::new(Flawed { inner, flaw, locks, removed: Mutex::default() })
    })
}

struct Flawed {
    inner: Arc<dyn Disk>,
    flaw: Flaw,
    /// Locks that are held, for those who remember.
    locks: Arc<Mutex<BTreeSet<PathBuf>>>,
    /// Whether something was removed since the last sync of names.
    removed: Mutex<bool>,
}

impl Flawed {
    /// Everything in a file.
    fn content(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.inner.open(path, OpenMode::Read)?;
        let mut bytes = vec![0; usize::try_from(file.bytes()?).unwrap()];
        let mut done = 0;
        while done < bytes.len() {
            done += file.read_at(&mut bytes[done..], done as u64)?;
        }
        Ok(bytes)
    }
}

impl Disk for Flawed {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        if self.flaw == Flaw::MakesOnce && self.inner.list(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.inner.create_directory(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let there = self.inner.open(path, OpenMode::Read).is_ok();
        let mode = match (self.flaw, mode) {
            (Flaw::KeepsContent, OpenMode::Create) if there => OpenMode::ReadWrite,
            (Flaw::CreatesMissing, OpenMode::ReadWrite) if !there => OpenMode::Create,
            (_, mode) => mode,
        };
        let inner = self.inner.open(path, mode)?;
        let len = inner.bytes()?;
        let dirty = self.flaw != Flaw::SyncsOwnWrites;
        Ok(Box::new(FlawedFile { inner, flaw: self.flaw, len, dirty, failed: false }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = self.inner.list(directory)?;
        if self.flaw == Flaw::ListsBackwards {
            paths.reverse();
        }
        if self.flaw == Flaw::ListsBelow {
            let below = paths.iter().filter_map(|path| self.inner.list(path).ok());
            paths = below.flatten().chain(paths.clone()).collect();
        }
        Ok(paths)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.flaw == Flaw::CopiesToRename {
            let bytes = self.content(from)?;
            let mut copy = self.inner.open(to, OpenMode::Create)?;
            write_all(copy.as_mut(), 0, &bytes)?;
            return self.inner.remove(from);
        }
        if self.flaw == Flaw::RemovesBeforeRenaming && self.inner.remove(to).is_ok() {
            self.inner.sync_directory(to.parent().unwrap())?;
        }
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        *self.removed.lock().unwrap() = true;
        if self.flaw == Flaw::KeepsRemoved { Ok(()) } else { self.inner.remove(path) }
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let removed = std::mem::take(&mut *self.removed.lock().unwrap());
        let skips = self.flaw == Flaw::SyncsNoNames;
        if skips || (removed && self.flaw == Flaw::SyncsNoRemovals) {
            return Ok(());
        }
        self.inner.sync_directory(directory)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if self.flaw == Flaw::SharesLocks {
            return Ok(Box::new(FlawedLock { inner: None, flaw: self.flaw, held: None }));
        }
        let is_free = locked(&self.locks).insert(path.into());
        if self.flaw == Flaw::KeepsLocks && !is_free {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let inner = self.inner.lock(path)?;
        let held = Some((Arc::clone(&self.locks), path.into()));
        Ok(Box::new(FlawedLock { inner: Some(inner), flaw: self.flaw, held }))
    }

    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        match (self.flaw, self.inner.free_bytes(directory)) {
            (Flaw::SaysNothingIsFree, _) => Ok(0),
            (Flaw::SaysAllIsFree, _) => Ok(1 << 50),
            (_, free) => free,
        }
    }
}

struct FlawedFile {
    inner: Box<dyn DiskFile>,
    flaw: Flaw,
    /// How long it is, as far as this handle knows.
    len: u64,
    /// Whether there is something to sync, as far as this handle knows.
    dirty: bool,
    /// Whether a sync failed.
    failed: bool,
}

impl DiskFile for FlawedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = if self.flaw == Flaw::Rounds { offset & !1 } else { offset };
        let read = self.inner.read_at(buffer, offset)?;
        match (self.flaw, read) {
            (Flaw::ErrsAtEnd, 0) => Err(io::ErrorKind::UnexpectedEof.into()),
            (Flaw::SpillsOver, read) => Ok(read.div_ceil(2)),
            (_, read) => Ok(read),
        }
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let offset = if self.flaw == Flaw::Rounds { offset & !1 } else { offset };
        let len = self.inner.bytes()?;
        if self.flaw == Flaw::FillsHoles && offset > len {
            write_all(self.inner.as_mut(), len, &vec![1; usize::try_from(offset - len).unwrap()])?;
        }
        if self.flaw == Flaw::Scrubs {
            let bytes = buffers.iter().map(|buffer| buffer.len()).sum();
            write_all(self.inner.as_mut(), offset, &vec![0xfe; bytes])?;
            self.inner.sync_data()?;
        }
        let written = self.inner.write_at(buffers, offset);
        if let Err(error) = &written
            && error.kind() == io::ErrorKind::StorageFull
        {
            if self.flaw == Flaw::EatsItsOwn {
                write_all(self.inner.as_mut(), 0, &[0; 512])?;
            }
            if self.flaw == Flaw::HidesBeingFull {
                return Err(io::Error::other("something went wrong"));
            }
        }
        let written = written?;
        self.len = self.len.max(offset + written as u64);
        self.dirty = true;
        Ok(written)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let asks_dirt = matches!(self.flaw, Flaw::SyncsOwnWrites | Flaw::SyncsNoLengths);
        let is_idle = (asks_dirt && !self.dirty)
            || (self.flaw == Flaw::GivesUpSyncing && self.failed)
            || self.flaw == Flaw::SyncsNothing;
        if is_idle {
            return Ok(());
        }
        self.dirty = false;
        let synced = self.inner.sync_data();
        self.failed |= synced.is_err();
        if self.flaw == Flaw::RetriesSyncs {
            synced.or_else(|_| self.inner.sync_data())
        } else {
            synced
        }
    }

    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        let len = self.inner.bytes()?;
        self.inner.allocate_zeroed(bytes)?;
        if self.flaw == Flaw::AllocatesGarbage && bytes > len {
            write_all(self.inner.as_mut(), bytes - 1, &[7])?;
        }
        self.len = self.len.max(bytes);
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        if self.flaw == Flaw::RemembersLengths { Ok(self.len) } else { self.inner.bytes() }
    }

    fn drop_cache(&self) -> io::Result<()> {
        if self.flaw == Flaw::InsistsOnCaches && self.dirty {
            return Err(io::Error::other("pages are dirty"));
        }
        self.inner.drop_cache()
    }
}

struct FlawedLock {
    inner: Option<Box<dyn DiskLock>>,
    flaw: Flaw,
    held: Option<(Arc<Mutex<BTreeSet<PathBuf>>>, PathBuf)>,
}

impl DiskLock for FlawedLock {
    fn write_text(&mut self, text: &str) -> io::Result<()> {
        match &mut self.inner {
            Some(inner) if self.flaw != Flaw::MuteLocks => inner.write_text(text),
            Some(_) | None => Ok(()),
        }
    }
}

impl Drop for FlawedLock {
    fn drop(&mut self) {
        if let Some((locks, path)) = &self.held {
            locked(locks).remove(path);
        }
    }
}

fn write_all(file: &mut dyn DiskFile, at: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        done += file.write_at(&[IoSlice::new(&bytes[done..])], at + done as u64)?;
    }
    Ok(())
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap()
}
