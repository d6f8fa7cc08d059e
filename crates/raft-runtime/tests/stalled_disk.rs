//! A disk that hangs without an error: its node does not go on leading.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use raft_runtime::{
    FileStorage, InMemoryStateMachine, Loopback, Outcome, Raft, RaftConfig, RoleName,
};
use raft_storage::FileOptions;
use raft_storage::disk::{Disk, DiskFile, DiskLock, Environment, OpenMode, RealDisk};

/// Holds up every sync while it is closed.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn close(&self) {
        *self.0.0.lock().expect("no panic while it was held") = true;
    }

    fn open(&self) {
        *self.0.0.lock().expect("no panic while it was held") = false;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let closed = self.0.0.lock().expect("no panic while it was held");
        drop(self.0.1.wait_while(closed, |closed| *closed).expect("no panic while it was held"));
    }
}

struct HangingDisk(Gate);

struct HangingFile(Box<dyn DiskFile>, Gate);

impl Disk for HangingDisk {
    fn create_directory(&self, path: &Path) -> io::Result<()> {
        RealDisk.create_directory(path)
    }
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        Ok(Box::new(HangingFile(RealDisk.open(path, mode)?, self.0.clone())))
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
    fn free_bytes(&self, directory: &Path) -> io::Result<u64> {
        RealDisk.free_bytes(directory)
    }
}

impl DiskFile for HangingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&mut self, buffers: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        self.0.write_at(buffers, offset)
    }
    fn sync_data(&mut self) -> io::Result<()> {
        self.1.pass();
        self.0.sync_data()
    }
    fn allocate_zeroed(&mut self, bytes: u64) -> io::Result<()> {
        self.0.allocate_zeroed(bytes)
    }
    fn bytes(&self) -> io::Result<u64> {
        self.0.bytes()
    }
    fn drop_cache(&self) -> io::Result<()> {
        self.0.drop_cache()
    }
}

/// The disk of the leader hangs. Within the time of an election another node leads, and it goes on
/// serving; the old leader, whose disk still hangs, follows. When the disk works again the node
/// catches up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_leaves_a_node_whose_disk_hangs() {
    let network = Loopback::network();
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let gates: Vec<Gate> = (0..3).map(|_| Gate::default()).collect();
    let mut nodes: Vec<Raft> = Vec::new();
    for id in 1..=3 {
        let at = usize::try_from(id - 1).expect("small");
        let peers = (1..=3).filter(|peer| *peer != id).collect();
        let config = RaftConfig::new(id, peers)
            .with_heartbeat_interval(Duration::from_millis(50))
            .with_election_timeout(Duration::from_millis(300), Duration::from_millis(600));
        let disk = Arc::new(HangingDisk(gates[at].clone()));
        let (root, options) = (directories[at].path(), FileOptions::default());
        let environment = Environment::system().unwrap();
        let storage = FileStorage::open_with(disk, environment, root, options).unwrap();
        let node = Raft::builder(config)
            .storage(storage)
            .state_machine(InMemoryStateMachine::new())
            .transport(network.join())
            .start();
        nodes.push(node.expect("all parts are given"));
    }
    let mut status = nodes[0].status();
    status.wait_for(|status| status.leader.is_some()).await.expect("the node runs");
    nodes[0].propose("key\0before").await.expect("the group serves");
    let old = nodes[0].leader().expect("it was waited for");
    let at = usize::try_from(old.get() - 1).expect("small");

    gates[at].close();
    // Something for the disk to hang on. It commits on the others, or its outcome is unknown.
    let (hung, other) = (nodes[at].clone(), nodes[(at + 1) % 3].clone());
    let caller = tokio::spawn(async move { hung.propose("key\0meanwhile").await });
    let mut status = other.status();
    let moved = status.wait_for(|status| status.leader.is_some_and(|leader| leader != old));
    moved.await.expect("the node runs");
    other.propose("key\0after").await.expect("two are enough");
    let mut status = nodes[at].status();
    status.wait_for(|status| status.role == RoleName::Follower).await.expect("the node runs");

    gates[at].open();
    if let Err(error) = caller.await.expect("no panic") {
        assert_eq!(error.outcome(), Outcome::Unknown);
    }
    nodes[at].propose("key\0again").await.expect("all three work");
    for node in nodes {
        node.shutdown().await;
    }
}
