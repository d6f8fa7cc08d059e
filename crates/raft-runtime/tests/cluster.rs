//! Whole nodes on a loopback network: the handle as applications use it.

use std::time::Duration;

use raft_runtime::{
    Consistency, InMemoryStateMachine, Loopback, MemoryStorage, NodeId, Outcome, Raft, RaftConfig,
    ReadError, RoleName, WriteError,
};

fn config(id: u64, nodes: u64) -> RaftConfig {
    RaftConfig::new(id, (1..=nodes).filter(|peer| *peer != id).collect())
        .with_heartbeat_interval(Duration::from_millis(20))
        .with_election_timeout(Duration::from_millis(100), Duration::from_millis(200))
}

fn start(network: &Loopback, id: u64, nodes: u64) -> Raft {
    Raft::builder(config(id, nodes))
        .storage(MemoryStorage::new())
        .state_machine(InMemoryStateMachine::new())
        .transport(network.join())
        .operation_timeout(Duration::from_secs(2))
        .start()
        .expect("all parts are given")
}

fn group(network: &Loopback, nodes: u64) -> Vec<Raft> {
    (1..=nodes).map(|id| start(network, id, nodes)).collect()
}

async fn leader(nodes: &[Raft]) -> usize {
    for node in nodes {
        let mut status = node.status();
        status.wait_for(|status| status.leader.is_some()).await.expect("the node runs");
    }
    let leader = nodes[0].leader().expect("it was just seen");
    usize::try_from(leader.get()).expect("ids are small") - 1
}

async fn stop(nodes: Vec<Raft>) {
    for node in nodes {
        node.shutdown().await;
    }
}

/// Every node accepts proposals, answers them from its own state machine, and reads what any other
/// acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_writes_and_reads() {
    for count in [1, 3, 5] {
        let network = Loopback::network();
        let nodes = group(&network, count);
        for (i, node) in nodes.iter().enumerate() {
            let before = node.propose(format!("key\0{i}")).await.unwrap();
            let expected = if i == 0 { String::new() } else { (i - 1).to_string() };
            assert_eq!(before, expected, "the answer is the value before");
            for reader in &nodes {
                let value = reader.read(Consistency::Linearizable, "key").await.unwrap();
                assert_eq!(value, i.to_string());
            }
        }
        stop(nodes).await;
    }
}

/// Many callers at every node at once: each is answered, and the last state is the same everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_batches() {
    let network = Loopback::network();
    let nodes = group(&network, 3);
    let mut callers = Vec::new();
    for caller in 0..64 {
        let node = nodes[caller % 3].clone();
        callers.push(tokio::spawn(async move {
            for n in 0..50 {
                node.propose(format!("{caller}\0{n}")).await.unwrap();
            }
        }));
    }
    for caller in callers {
        caller.await.unwrap();
    }
    for node in &nodes {
        for caller in 0..64 {
            let value = node.read(Consistency::Linearizable, caller.to_string()).await.unwrap();
            assert_eq!(value, "49");
        }
        assert_eq!(node.metrics().waiting(), 0);
        assert_eq!(node.metrics().admitted_bytes(), 0);
    }
    stop(nodes).await;
}

/// The majority goes on without its leader; the old leader, alone, neither commits nor answers a
/// linearizable read, and follows when the network heals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_cut_off_serves_nothing_and_heals() {
    let network = Loopback::network();
    let nodes = group(&network, 3);
    nodes[0].propose("key\0before").await.unwrap();
    let old = leader(&nodes).await;
    network.isolate(NodeId::new(old as u64 + 1).unwrap());

    let alone = &nodes[old];
    let (write, read) =
        tokio::join!(alone.propose("key\0lost"), alone.read(Consistency::Linearizable, "key"));
    let error = write.unwrap_err();
    assert_ne!(error.outcome(), Outcome::Applied, "{error}");
    assert!(matches!(read.unwrap_err(), ReadError::NoLeader | ReadError::TimedOut { .. }));
    assert_eq!(alone.read(Consistency::Stale, "key").await.unwrap(), "before");

    let other = &nodes[(old + 1) % 3];
    other.propose("key\0after").await.unwrap();
    network.heal();
    assert_eq!(alone.read(Consistency::Linearizable, "key").await.unwrap(), "after");
    stop(nodes).await;
}

/// A proposal made while the leader dies is proposed again as soon as it is certain that it was not
/// applied; callers at the survivors see a delay and no error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn survivors_carry_their_callers_through_an_election() {
    let network = Loopback::network();
    let nodes = group(&network, 3);
    nodes[0].propose("key\0before").await.unwrap();
    let old = leader(&nodes).await;
    nodes[old].shutdown().await;
    for step in 1..3 {
        let node = &nodes[(old + step) % 3];
        node.propose(format!("key\0{step}")).await.unwrap();
        let value = node.read(Consistency::Linearizable, "key").await.unwrap();
        assert_eq!(value, step.to_string());
        let roles = [RoleName::Leader, RoleName::Follower];
        assert!(roles.contains(&node.status_now().await.unwrap().role));
    }
    let stopped = nodes[old].propose("key\0never").await.unwrap_err();
    assert_eq!(stopped, WriteError::Stopped { accepted: false });
    stop(nodes).await;
}
