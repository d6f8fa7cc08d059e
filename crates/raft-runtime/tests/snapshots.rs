//! Snapshots in whole nodes: they shorten the log, bring back a restarted node and make a new one.

use std::path::Path;
use std::time::Duration;

use raft_runtime::{
    Change, ChangeRequest, Consistency, FileStorage, InMemoryStateMachine, Index, Loopback, NodeId,
    Promotion, Raft, RaftConfig, SnapshotPolicy,
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
