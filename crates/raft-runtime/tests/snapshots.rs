//! Snapshots in whole nodes: they shorten the log, bring back a restarted node and make a new one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use raft_runtime::{
    Change, ChangeRequest, Consistency, EntryId, FileStorage, Halt, InMemoryStateMachine, Index,
    Loopback, Member, MemoryStorage, NodeId, Promotion, Raft, RaftConfig, ReadError, SnapshotError,
    SnapshotPolicy, SnapshotSource, StartError, StateMachine, found,
};

fn config(config: RaftConfig) -> RaftConfig {
    config
        .with_heartbeat_interval(Duration::from_millis(20))
        .with_election_timeout(Duration::from_millis(100), Duration::from_millis(200))
        .with_snapshots(SnapshotPolicy {
            entries: 100,
            keep_entries: 10,
            ..SnapshotPolicy::default()
        })
}

fn start(network: &Loopback, root: &Path, config: RaftConfig) -> Raft {
    Raft::builder(config)
        .storage(FileStorage::open(root).expect("a directory of ours"))
        .state_machine(InMemoryStateMachine::new())
        .transport(network.join())
        .start()
        .expect("all parts are given")
}

async fn fill(node: &Raft, range: std::ops::Range<u32>) {
    for i in range {
        node.propose(format!("key{i}\0{i}")).await.expect("the group serves");
    }
}

/// A node of one writes a thousand entries, starts again, and has them all, most of them from its
/// snapshot: the log begins shortly before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_node_goes_on_from_its_snapshot() {
    let (network, root) = (Loopback::network(), tempfile::tempdir().unwrap());
    let node = start(&network, root.path(), config(RaftConfig::new(1, vec![])));
    fill(&node, 0..1_000).await;
    let taken = node.snapshot().await.unwrap();
    assert!(taken.last_included.index >= Index::new(1_000));
    assert_eq!(node.snapshot().await.unwrap(), taken, "nothing is new since");
    node.shutdown().await;

    let node = start(&network, root.path(), config(RaftConfig::new(1, vec![])));
    assert!(node.applied_index() >= taken.last_included.index, "restored before anything else");
    for key in [0, 500, 999] {
        let value = node.read(Consistency::Linearizable, format!("key{key}")).await.unwrap();
        assert_eq!(value, key.to_string());
    }
    fill(&node, 1_000..1_100).await;
    node.shutdown().await;
}

/// A new member of a group whose log begins late gets a snapshot from the leader, then the rest,
/// and then votes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_member_is_made_from_a_snapshot() {
    let network = Loopback::network();
    let roots: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let first = start(&network, roots[0].path(), config(RaftConfig::new(1, vec![])));
    fill(&first, 0..500).await;
    first.snapshot().await.unwrap();

    let second = start(&network, roots[1].path(), config(RaftConfig::join(2)));
    let node = NodeId::new(2).unwrap();
    let promotion = Promotion::Automatic;
    let learner = Change::AddLearner { node, address: "".into(), promotion };
    first.change_membership(ChangeRequest::new([learner])).await.unwrap();
    let mut status = second.status();
    let votes = status.wait_for(|status| status.membership.voters().contains(&node));
    votes.await.expect("the node runs");
    assert_eq!(second.metrics().snapshots().received, 1);
    assert_eq!(first.metrics().snapshots().chunks_served, 2, "the manifest and the data");
    let value = second.read(Consistency::Linearizable, "key7").await.unwrap();
    assert_eq!(value, "7");
    for node in [second, first] {
        node.shutdown().await;
    }
}

/// Counts what it applied where others can see it, and answers with the index.
struct Counted(Arc<AtomicU64>);

impl StateMachine for Counted {
    fn apply(&mut self, id: EntryId, _: &[u8]) -> Result<Bytes, Halt> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Bytes::copy_from_slice(&id.index.get().to_le_bytes()))
    }

    fn query(&self, _: &[u8]) -> Bytes {
        Bytes::new()
    }

    fn snapshot(&self) -> Result<Box<dyn SnapshotSource>, Halt> {
        Ok(Box::new(Some(Bytes::copy_from_slice(&self.0.load(Ordering::SeqCst).to_le_bytes()))))
    }

    fn restore(&mut self, snapshot: &mut dyn SnapshotSource) -> Result<(), SnapshotError> {
        let bytes = snapshot.read_all()?.try_into();
        let bytes = bytes.map_err(|_| SnapshotError::malformed("eight bytes"))?;
        self.0.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        Ok(())
    }
}

/// Shared state that is looked at while entries are applied is of the entry that was told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shared_state_is_seen_between_two_entries() {
    let count = Arc::new(AtomicU64::new(0));
    let node = Raft::builder(config(RaftConfig::new(1, vec![])))
        .storage(MemoryStorage::new())
        .state_machine(Counted(Arc::clone(&count)))
        .transport(Loopback::network().join())
        .start()
        .expect("all parts are given");
    let writer = tokio::spawn({
        let node = node.clone();
        async move {
            let mut indexes = Vec::new();
            for _ in 0..300 {
                let answer = node.propose("x").await.expect("the group serves");
                indexes.push(u64::from_le_bytes(answer[..].try_into().expect("eight bytes")));
            }
            indexes
        }
    });
    let mut looks = vec![(0, 0)];
    while looks.last().is_some_and(|(_, seen)| *seen < 300) {
        let count = Arc::clone(&count);
        let look = move |applied: EntryId| (applied.index.get(), count.load(Ordering::SeqCst));
        looks.push(node.inspect(Consistency::Linearizable, look).await.unwrap());
    }
    let indexes = writer.await.unwrap();
    for (applied, seen) in looks {
        let commands = indexes.iter().filter(|index| **index <= applied).count();
        assert_eq!(seen, commands as u64, "all commands up to {applied} and no other");
    }
    node.shutdown().await;
    let seen = node.inspect(Consistency::Stale, |applied| applied).await;
    assert_eq!(seen, Err(ReadError::Stopped));
}

/// A group that is founded with a state on each disk serves it, although no node was told of the
/// others but by its disk, and goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_begins_with_the_state_it_was_founded_with() {
    let network = Loopback::network();
    let mut machine = InMemoryStateMachine::new();
    machine.apply(EntryId::ZERO, b"old\0news").unwrap();
    let members = [1, 2, 3].map(|id| (NodeId::new(id).unwrap(), Member::default()));
    let roots: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    for (id, root) in (1..).zip(&roots) {
        let mut storage = FileStorage::open(root.path()).unwrap();
        let config = RaftConfig::new(id, vec![]).with_members(members.clone().into());
        found(&mut storage, &config, &machine).unwrap();
        let again = found(&mut storage, &config, &machine);
        assert!(matches!(again, Err(StartError::ForeignDisk { .. })), "once");
    }
    let nodes = [(1, &roots[0]), (2, &roots[1]), (3, &roots[2])]
        .map(|(id, root)| start(&network, root.path(), config(RaftConfig::join(id))));
    for node in &nodes {
        assert_eq!(node.read(Consistency::Linearizable, "old").await.unwrap(), "news");
    }
    fill(&nodes[0], 0..50).await;
    assert_eq!(nodes[2].read(Consistency::Linearizable, "key49").await.unwrap(), "49");
    for node in nodes {
        node.shutdown().await;
    }
}
