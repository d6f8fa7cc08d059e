//! Nodes on real files: restarts, and logs longer than the memory they may take.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::path::Path;
use std::time::Duration;

use raft_runtime::{
    ClusterId, Consistency, FileStorage, InMemoryStateMachine, Limits, Loopback, Raft, RaftConfig,
    StartError,
};

/// Settings under which nearly everything must come back from the disk.
fn config(id: u64, nodes: u64) -> RaftConfig {
    let limits = Limits {
        log_cache_bytes_max: 4 << 10,
        message_bytes_max: 2 << 10,
        apply_bytes_max: 1 << 10,
        inflight_bytes_max: 8 << 10,
        ..Limits::default()
    };
    RaftConfig::new(id, (1..=nodes).filter(|peer| *peer != id).collect())
        .with_heartbeat_interval(Duration::from_millis(20))
        .with_election_timeout(Duration::from_millis(100), Duration::from_millis(200))
        .with_limits(limits)
}

fn start(network: &Loopback, directory: &Path, config: RaftConfig) -> Result<Raft, StartError> {
    Raft::builder(config)
        .storage(FileStorage::open(directory).expect("the directory is free"))
        .state_machine(InMemoryStateMachine::new())
        .transport(network.join())
        .operation_timeout(Duration::from_secs(10))
        .start()
}

/// Writes `count` values of about a hundred bytes, many at once.
async fn fill(node: &Raft, count: usize) {
    let mut callers = Vec::new();
    for caller in 0..8 {
        let node = node.clone();
        callers.push(tokio::spawn(async move {
            for n in (caller..count).step_by(8) {
                let value = format!("{n:0>100}");
                node.propose(format!("key{n}\0{value}")).await.unwrap();
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
}

async fn check(node: &Raft, count: usize) {
    for n in (0..count).step_by(97).chain([count - 1]) {
        let value = node.read(Consistency::Linearizable, format!("key{n}")).await.unwrap();
        assert_eq!(value, format!("{n:0>100}"), "key{n}");
    }
}

/// A node whose log is far larger than the memory it may take replays all of it after a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_replays_a_log_larger_than_its_cache() {
    let directory = tempfile::tempdir().unwrap();
    let network = Loopback::network();
    let node = start(&network, directory.path(), config(1, 1)).unwrap();
    fill(&node, 500).await;
    let applied = node.applied_index();
    node.shutdown().await;

    let node = start(&Loopback::network(), directory.path(), config(1, 1)).unwrap();
    check(&node, 500).await;
    assert!(node.applied_index() > applied, "the no-op of the new term came after");
    node.shutdown().await;
}

/// A member that was down catches up although the leader no longer holds its entries in memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_down_is_fed_from_the_disk_of_the_leader() {
    let directories: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let network = Loopback::network();
    let node = |id: u64| {
        let directory = directories[usize::try_from(id).unwrap() - 1].path();
        start(&network, directory, config(id, 3)).unwrap()
    };
    let nodes = [node(1), node(2)];
    fill(&nodes[0], 500).await;
    let late = node(3);
    check(&late, 500).await;
    for node in nodes.into_iter().chain([late]) {
        node.shutdown().await;
    }
}

/// A disk is refused by any node but its own, in a sentence that names both.
#[tokio::test]
async fn a_disk_of_another_node_or_cluster_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let network = Loopback::network();
    let mine = config(1, 1).with_cluster_id(ClusterId::new(7));
    start(&network, directory.path(), mine.clone()).unwrap().shutdown().await;

    let theirs = mine.with_cluster_id(ClusterId::new(8));
    let error = start(&network, directory.path(), theirs).unwrap_err().to_string();
    assert!(error.contains("of cluster 7") && error.contains("n1 of cluster 8"), "{error}");
    let other = config(2, 2).with_cluster_id(ClusterId::new(7));
    let error = start(&network, directory.path(), other).unwrap_err();
    assert!(matches!(error, StartError::ForeignDisk { .. }), "{error}");
}
