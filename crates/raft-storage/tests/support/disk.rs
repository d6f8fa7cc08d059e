//! A disk in memory that does what real ones do: it forgets what was not synced, in any order and
//! in parts, loses names, fails at any call, and calls pages clean after a sync that failed.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use raft_storage::disk::{Disk, DiskFile, DiskLock, OpenMode};

use super::{Random, select_mutant};

/// The smallest piece a crash keeps or loses.
const SECTOR: usize = 512;

#[derive(Default)]
struct Inode {
    /// What reads see.
    now: Vec<u8>,
    /// What surely survives a crash.
    durable: Vec<u8>,
    /// Places written since the last good sync: they may survive.
    pending: Vec<(usize, usize)>,
}

#[derive(Default)]
struct Inner {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    next_inode: u64,
    /// Calls that change something, so far.
    calls: u64,
    /// Which call fails, and how.
    fault: Option<(u64, io::ErrorKind)>,
    /// After the fault nothing works any more: the process is gone.
    stops: bool,
    locked: bool,
    /// System calls by name.
    counts: BTreeMap<&'static str, u64>,
}

/// The disk. Cloned handles show the same disk.
pub(crate) struct FakeDisk(Arc<Mutex<Inner>>);

impl FakeDisk {
    pub(crate) fn new() -> Arc<Self> {
        select_mutant();
        Arc::new(Self(Arc::default()))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Calls so far that change something.
    pub(crate) fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// Calls of this kind so far.
    pub(crate) fn count(&self, call: &str) -> u64 {
        self.inner().counts.get(call).copied().unwrap_or(0)
    }

    /// Lets the call of this number fail. If `stops`, all later ones fail too.
    pub(crate) fn fail_at(&self, call: u64, kind: io::ErrorKind, stops: bool) {
        let mut inner = self.inner();
        inner.fault = Some((call, kind));
        inner.stops = stops;
    }

    /// What the disk holds after the power went: everything durable, and a random part of the rest.
    pub(crate) fn crash(&self, random: &mut Random) -> Arc<Self> {
        let inner = self.inner();
        let names = if random.chance(50) { &inner.names } else { &inner.durable_names };
        let mut after = Inner { next_inode: inner.next_inode, ..Inner::default() };
        let keep = [0, 50, 100][usize::try_from(random.below(3)).unwrap()];
        for (path, number) in names {
            let inode = &inner.inodes[number];
            let mut bytes = inode.durable.clone();
            for &(start, end) in &inode.pending {
                let mut at = start;
                while at < end {
                    let next = (at / SECTOR * SECTOR + SECTOR).min(end);
                    if random.chance(keep) {
                        bytes.resize(bytes.len().max(next), 0);
                        bytes[at..next].copy_from_slice(&inode.now[at..next]);
                    }
                    at = next;
                }
            }
            after.names.insert(path.clone(), *number);
            let (now, durable) = (bytes.clone(), bytes);
            after.inodes.insert(*number, Inode { now, durable, pending: Vec::new() });
        }
        after.durable_names.clone_from(&after.names);
        Arc::new(Self(Arc::new(Mutex::new(after))))
    }

    /// An exact copy that nobody has locked: the process died, the system did not.
    pub(crate) fn copy(&self) -> Arc<Self> {
        let inner = self.inner();
        let mut after = Inner { next_inode: inner.next_inode, ..Inner::default() };
        for (path, number) in &inner.names {
            let now = inner.inodes[number].now.clone();
            let durable = now.clone();
            after.names.insert(path.clone(), *number);
            after.inodes.insert(*number, Inode { now, durable, pending: Vec::new() });
        }
        after.durable_names.clone_from(&after.names);
        Arc::new(Self(Arc::new(Mutex::new(after))))
    }

    /// The process dies, the system does not: the same disk, works again, nobody has locked it.
    pub(crate) fn kill(&self) {
        let mut inner = self.inner();
        (inner.fault, inner.stops, inner.locked) = (None, false, false);
    }

    /// Paths of all files.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.inner().names.keys().cloned().collect()
    }

    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Vec<u8> {
        let inner = self.inner();
        inner.inodes[&inner.names[path.as_ref()]].now.clone()
    }

    /// Puts a file there, durably.
    pub(crate) fn put(&self, path: impl AsRef<Path>, bytes: Vec<u8>) {
        let mut inner = self.inner();
        inner.next_inode += 1;
        let number = inner.next_inode;
        inner.names.insert(path.as_ref().into(), number);
        inner.durable_names.insert(path.as_ref().into(), number);
        let (now, durable) = (bytes.clone(), bytes);
        inner.inodes.insert(number, Inode { now, durable, pending: Vec::new() });
    }

    /// Flips a byte of an open file.
    pub(crate) fn damage(&self, path: impl AsRef<Path>, at: usize) {
        let mut inner = self.inner();
        let number = inner.names[path.as_ref()];
        inner.inodes.get_mut(&number).unwrap().now[at] ^= 0x10;
    }

    pub(crate) fn delete(&self, path: impl AsRef<Path>) {
        let mut inner = self.inner();
        inner.names.remove(path.as_ref()).unwrap();
        inner.durable_names.remove(path.as_ref()).unwrap();
    }
}

impl Inner {
    /// Counts a call that changes something; says whether it is the one that fails.
    fn call(&mut self, name: &'static str) -> io::Result<()> {
        *self.counts.entry(name).or_default() += 1;
        self.calls += 1;
        match self.fault {
            Some((at, kind)) if self.calls == at || (self.stops && self.calls > at) => {
                Err(kind.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, number: u64, at: usize, bytes: &[u8]) {
        let inode = self.inodes.get_mut(&number).unwrap();
        let end = at + bytes.len();
        inode.now.resize(inode.now.len().max(end), 0);
        inode.now[at..end].copy_from_slice(bytes);
        inode.pending.push((at, end));
    }
}

impl Disk for FakeDisk {
    fn create_directory(&self, _: &Path) -> io::Result<()> {
        self.inner().call("create_directory")
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        if mode == OpenMode::Create {
            inner.call("create")?;
            inner.next_inode += 1;
            let number = inner.next_inode;
            inner.names.insert(path.into(), number);
            inner.inodes.insert(number, Inode::default());
        }
        let number = *inner.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(FakeFile { inner: self.0.clone(), number }))
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        let inner = self.inner();
        let inside = |path: &&PathBuf| path.parent() == Some(directory);
        Ok(inner.names.keys().filter(inside).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call("rename")?;
        let number = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.into(), number);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call("remove")?;
        inner.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut inner = self.inner();
        inner.call("sync_directory")?;
        let inside = |path: &Path| path.parent() == Some(directory);
        inner.durable_names.retain(|path, _| !inside(path));
        let names = inner.names.clone();
        inner.durable_names.extend(names.into_iter().filter(|(path, _)| inside(path)));
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut inner = self.inner();
        if inner.locked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        inner.locked = true;
        drop(inner);
        if !self.paths().contains(&path.into()) {
            self.put(path, Vec::new());
        }
        Ok(Box::new(FakeLock { inner: self.0.clone(), path: path.into() }))
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct FakeFile {
    inner: Arc<Mutex<Inner>>,
    number: u64,
}

impl DiskFile for FakeFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let inner = self.inner.lock().unwrap();
        let bytes = &inner.inodes[&self.number].now;
        let at = usize::try_from(offset).unwrap().min(bytes.len());
        // Short reads happen.
        let len = buffer.len().min(bytes.len() - at).min(100_000);
        buffer[..len].copy_from_slice(&bytes[at..at + len]);
        Ok(len)
    }

    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap();
        let bytes = buffers.iter().map(|buffer| &buffer[..]).collect::<Vec<_>>().concat();
        let at = usize::try_from(offset).unwrap();
        let result = inner.call("write_at");
        if result.is_err() {
            // A failed write may have written something.
            inner.write(self.number, at, &bytes[..bytes.len() / 2]);
            return result.map(|()| 0);
        }
        // Short writes happen.
        let len = bytes.len().min(100_000);
        inner.write(self.number, at, &bytes[..len]);
        Ok(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let result = inner.call("sync_data");
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        if result.is_ok() {
            let pending = core::mem::take(&mut inode.pending);
            for (start, end) in pending {
                inode.durable.resize(inode.durable.len().max(end), 0);
                inode.durable[start..end].copy_from_slice(&inode.now[start..end]);
            }
        } else {
            // The pages are clean now, and nobody will write them again.
            inode.pending.clear();
        }
        result
    }

    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        inner.call("allocate_zeroed")?;
        let len = inner.inodes[&self.number].now.len();
        let wanted = usize::try_from(bytes).unwrap();
        if wanted > len {
            inner.write(self.number, len, &vec![0; wanted - len]);
        }
        Ok(())
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.inner.lock().unwrap().inodes[&self.number].now.len() as u64)
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let inode = inner.inodes.get_mut(&self.number).unwrap();
        if inode.pending.is_empty() {
            // What looked clean because a sync failed shows its true content now.
            inode.now = inode.durable.clone();
        }
        Ok(())
    }
}

struct FakeLock {
    inner: Arc<Mutex<Inner>>,
    path: PathBuf,
}

impl DiskLock for FakeLock {
    fn write_text(&mut self, text: &str) -> io::Result<()> {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.names[&self.path];
        inner.inodes.get_mut(&number).unwrap().now = text.into();
        Ok(())
    }
}

impl Drop for FakeLock {
    fn drop(&mut self) {
        self.inner.lock().unwrap().locked = false;
    }
}
