//! A disk that gets full: what clients write is refused in time, and nothing has to be started
//! again when there is room.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use raft_runtime::{
    Consistency, FileOptions, FileStorage, InMemoryStateMachine, Loopback, Outcome, Raft,
    RaftConfig, WriteError,
};
use raft_storage::disk::{Disk, DiskFile, DiskLock, Environment, OpenMode, RealDisk};

/// A disk of which somebody else takes the room.
#[derive(Clone)]
struct SharedDisk(Arc<AtomicU64>);

const TOTAL: u64 = 1 << 40;

impl Disk for SharedDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        RealDisk.open(path, mode)
    }
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(directory)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        RealDisk.sync_directory(directory)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        RealDisk.lock(path)
    }
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.0.load(Ordering::Relaxed))
    }
    fn total_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(TOTAL)
    }
}

/// Somebody fills the disk of a node. Writes are refused as certainly not applied, and the metrics
/// say so, before a write of the log could fail; reads go on. When room is back, so are writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_are_refused_before_the_disk_is_full_and_taken_again_after() {
    let directory = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(TOTAL));
    let disk = Arc::new(SharedDisk(Arc::clone(&free)));
    let environment = Environment::system().unwrap();
    let options = FileOptions::default().with_segment_bytes(1 << 20);
    let storage = FileStorage::open_with(disk, environment, directory.path(), options).unwrap();
    let node = Raft::builder(RaftConfig::new(1, Vec::new()))
        .storage(storage)
        .state_machine(InMemoryStateMachine::new())
        .transport(Loopback::network().join())
        .start()
        .expect("all parts are given");
    node.propose("key\0before").await.expect("there is room");

    free.store(1 << 20, Ordering::Relaxed);
    // The disk is looked at after each write: at most a few more are taken.
    let mut taken = 0;
    let error = loop {
        match node.propose("key\0meanwhile").await {
            Ok(_) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken < 100, "nobody looks at the disk");
    };
    assert_eq!((&error, error.outcome()), (&WriteError::StorageFull, Outcome::NotApplied));
    assert!(!node.metrics().has_disk_room());
    node.read(Consistency::Linearizable, "key").await.expect("reads need no room");

    free.store(TOTAL, Ordering::Relaxed);
    while node.propose("key\0after").await == Err(WriteError::StorageFull) {
        tokio::task::yield_now().await;
    }
    assert!(node.metrics().has_disk_room());
    node.shutdown().await;
}
