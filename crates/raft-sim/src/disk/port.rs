//! The calls of a disk, as `FileStorage` makes them.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};

use raft_storage::disk::{Disk, DiskFile, DiskLock, OpenMode};

use super::image::range_of;
use super::{CallFault, SimDisk, State};
use crate::choice::Site;

/// A process's way to its disk. Of no use once the process died.
#[derive(Clone, Debug)]
pub struct DiskHandle {
    disk: SimDisk,
    life: u64,
}

impl DiskHandle {
    pub(super) const fn new(disk: SimDisk, life: u64) -> Self {
        Self { disk, life }
    }

    /// Carries a call out, if the process lives.
    fn call<T>(&self, act: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.disk.state();
        let nanos = state.profile.call_ns;
        state.call(self.life, nanos)?;
        act(&mut state)
    }
}

impl Disk for DiskHandle {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            state.image.create_directory(path);
            Ok(())
        })
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.call(|state| {
            state.begins |= mode != OpenMode::Read;
            if state.fails(CallFault::Open) {
                return Err(io::Error::other("too many open files"));
            }
            match (mode, state.image.find(path)) {
                (OpenMode::Create, _) => Ok(state.image.create(path)),
                (OpenMode::Read | OpenMode::ReadWrite, Some(file)) => Ok(file),
                (OpenMode::Read | OpenMode::ReadWrite, None) => Err(io::ErrorKind::NotFound.into()),
            }
        })?;
        Ok(Box::new(SimFile { handle: self.clone(), file }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        self.call(|state| {
            if state.image.find(directory).is_none() {
                return Err(io::ErrorKind::NotFound.into());
            }
            let names = state.image.names().map(|(path, _)| path);
            Ok(names.filter(|path| path.parent() == Some(directory)).cloned().collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(|state| {
            state.begins = true;
            let found = state.image.rename(from, to);
            if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|state| {
            let found = state.image.remove(path);
            if found { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
        })
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        self.call(|state| {
            if state.fails(CallFault::Sync) {
                return Err(io::Error::other("input or output error in a sync"));
            }
            state.image.sync_names(directory);
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let file = self.call(|state| {
            if !state.locks.insert(path.into()) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(state.image.place(path))
        })?;
        Ok(Box::new(SimLock { handle: self.clone(), path: path.into(), file }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        self.call(|state| Ok(state.quota.saturating_sub(state.image.bytes())))
    }
}

struct SimFile {
    handle: DiskHandle,
    file: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.handle.call(|state| {
            if state.fails(CallFault::Read) {
                return Err(io::Error::other("input or output error in a read"));
            }
            let block = state.image.block();
            let len = state.image.file(self.file).view.len();
            let at = place(offset).min(len);
            let wanted = buffer.len().min(len - at);
            let count = state.carried_out(wanted);
            let file = state.image.file(self.file);
            let hit = |number: &usize| {
                let bad = range_of(*number, block, len);
                bad.start < at + count && at < bad.end
            };
            if count > 0 && file.unreadable.iter().any(hit) {
                return Err(io::Error::other("unreadable sector"));
            }
            buffer[..count].copy_from_slice(&file.view[at..at + count]);
            Ok(count)
        })
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.handle.call(|state| {
            let wanted: usize = buffers.iter().map(|buffer| buffer.len()).sum();
            let at = place(offset);
            let more = (at + wanted).saturating_sub(state.image.file(self.file).view.len());
            if !state.has_room(more as u64) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let fails = state.fails(CallFault::Write);
            let count = if fails { wanted / 2 } else { state.carried_out(wanted) };
            let mut left = count;
            let mut to = at;
            for buffer in buffers {
                let take = buffer.len().min(left);
                state.image.write(self.file, to, &buffer[..take]);
                (left, to) = (left - take, to + take);
            }
            if fails {
                return Err(io::Error::other("input or output error in a write"));
            }
            Ok(count)
        })
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.handle.call(|state| {
            let jitter = state.choices.choose(Site::SyncTime, state.profile.sync_jitter_ns);
            let nanos = state.profile.sync_ns + jitter;
            state.call(self.handle.life, nanos)?;
            if state.fails(CallFault::Sync) {
                let shows_old = state.profile.failed_sync_shows_old;
                let choices = state.choices.clone();
                state.image.fail_sync(self.file, shows_old, &choices);
                return Err(io::Error::other("input or output error in a sync"));
            }
            state.counts.syncs += 1;
            state.image.sync(self.file);
            Ok(())
        })
    }

    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        self.handle.call(|state| {
            let len = state.image.file(self.file).view.len();
            let more = place(bytes).saturating_sub(len);
            if !state.has_room(more as u64) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            state.image.write(self.file, len, &vec![0; more]);
            Ok(())
        })
    }

    fn bytes(&self) -> io::Result<u64> {
        self.handle.call(|state| Ok(state.image.file(self.file).view.len() as u64))
    }

    fn drop_cache(&self) -> io::Result<()> {
        self.handle.call(|state| {
            state.image.drop_cache(self.file);
            Ok(())
        })
    }
}

/// The text inside a lock is for people: it is there at once and stays.
struct SimLock {
    handle: DiskHandle,
    path: PathBuf,
    file: usize,
}

impl DiskLock for SimLock {
    fn write_text(&mut self, text: &str) -> io::Result<()> {
        self.handle.call(|state| {
            let file = state.image.file_mut(self.file);
            (file.view, file.durable) = (text.into(), text.into());
            Ok(())
        })
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.handle.disk.state();
        if state.life == self.handle.life {
            state.locks.remove(&self.path);
        }
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("a file of the simulation fits into memory")
}
