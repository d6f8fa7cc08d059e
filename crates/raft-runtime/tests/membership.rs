//! Groups that change while they serve, and leadership that moves, on a loopback network.

use std::collections::BTreeMap;
use std::time::Duration;

use raft_runtime::{
    Change, ChangeError, ChangeRefusal, ChangeRequest, Consistency, InMemoryStateMachine, Loopback,
    Membership, MemoryStorage, NodeId, Outcome, Promotion, Raft, RaftConfig, RoleName,
    TransferError, TransferRefusal,
};

fn n(id: u64) -> NodeId {
    NodeId::new(id).expect("nodes are counted from one")
}

fn timed(config: RaftConfig) -> RaftConfig {
    config
        .with_heartbeat_interval(Duration::from_millis(20))
        .with_election_timeout(Duration::from_millis(100), Duration::from_millis(200))
}

/// Nodes by id, on one network.
struct Group {
    network: Loopback,
    nodes: BTreeMap<u64, Raft>,
}

impl Group {
    fn new(count: u64) -> Self {
        let mut group = Self { network: Loopback::network(), nodes: BTreeMap::new() };
        for id in 1..=count {
            let peers = (1..=count).filter(|peer| *peer != id).collect();
            group.start(RaftConfig::new(id, peers));
        }
        group
    }

    fn start(&mut self, config: RaftConfig) {
        let id = config.node_id().get();
        let node = Raft::builder(timed(config))
            .storage(MemoryStorage::new())
            .state_machine(InMemoryStateMachine::new())
            .transport(self.network.join())
            .start()
            .expect("all parts are given");
        self.nodes.insert(id, node);
    }

    /// The node that leads, as soon as one does.
    async fn leader(&self) -> Raft {
        let some = self.nodes.values().next().expect("there are nodes");
        let mut status = some.status();
        loop {
            let leader = status.wait_for(|status| status.leader.is_some()).await;
            let leader = leader.expect("the node runs").leader.expect("it was waited for");
            if let Some(raft) = self.nodes.get(&leader.get())
                && raft.status_now().await.is_some_and(|status| status.role == RoleName::Leader)
            {
                return raft.clone();
            }
            status.changed().await.expect("the node runs");
        }
    }

    /// Asks whoever leads, until it is done.
    async fn change(&self, change: Change) -> Membership {
        loop {
            let request = ChangeRequest::new([change.clone()]);
            match self.leader().await.change_membership(request).await {
                Ok(membership) => return membership,
                Err(ChangeError::Refused(ChangeRefusal::NotLeader { .. })) => {}
                Err(error) => panic!("{change:?}: {error}"),
            }
        }
    }

    /// Waits until a node sees these voters in a settled membership.
    async fn settles(&self, at: u64, voters: &[u64]) {
        let voters = voters.iter().map(|id| n(*id)).collect();
        let is_there =
            |membership: &Membership| !membership.is_joint() && membership.voters() == &voters;
        let mut status = self.nodes[&at].status();
        status.wait_for(|status| is_there(&status.membership)).await.expect("the node runs");
    }

    async fn stop(self) {
        for node in self.nodes.into_values() {
            node.shutdown().await;
        }
    }
}

fn learner(id: u64, promotion: Promotion) -> Change {
    Change::AddLearner { node: n(id), address: "".into(), promotion }
}

/// From one node to three to five, one of which is replaced, and back to three: every command that
/// was acknowledged is there in the end, on whoever is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_grows_is_repaired_and_shrinks_while_it_serves() {
    let mut group = Group::new(1);
    let writer = group.nodes[&1].clone();
    let mut written = 0;
    let mut write = async || {
        written += 1;
        writer.propose(format!("key{written}\0{written}")).await.expect("the group serves");
    };
    for id in 2..=5 {
        write().await;
        group.start(RaftConfig::join(id));
        group.change(learner(id, Promotion::Automatic)).await;
        let voters: Vec<u64> = (1..=id).collect();
        group.settles(1, &voters).await;
    }
    write().await;
    // The disk and the process of node 4 are lost: node 6 takes its place in one step.
    group.nodes.remove(&4).expect("it was started").shutdown().await;
    group.start(RaftConfig::join(6));
    group.change(learner(6, Promotion::Replaces(n(4)))).await;
    group.settles(1, &[1, 2, 3, 5, 6]).await;
    write().await;
    for id in [5, 3] {
        group.change(Change::Remove { node: n(id) }).await;
        group.nodes.remove(&id).expect("it was started").shutdown().await;
    }
    group.settles(6, &[1, 2, 6]).await;
    write().await;
    let reader = &group.nodes[&6];
    for key in 1..=written {
        let value = reader.read(Consistency::Linearizable, format!("key{key}")).await.unwrap();
        assert_eq!(value, key.to_string());
    }
    group.stop().await;
}

/// The leader removes itself: the others go on at once, and it stops with the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_removed_hands_over_and_stops() {
    let group = Group::new(3);
    let leader = group.leader().await;
    let gone = leader.id();
    leader.change_membership(ChangeRequest::new([Change::Remove { node: gone }])).await.unwrap();
    let left: Vec<u64> = (1..=3).filter(|id| *id != gone.get()).collect();
    group.settles(left[0], &left).await;
    group.nodes[&left[0]].propose("key\0after").await.expect("two are enough for two");
    // It ends by itself.
    let mut status = leader.status();
    while leader.status_now().await.is_some() {
        let _ = tokio::time::timeout(Duration::from_millis(50), status.changed()).await;
    }
    group.stop().await;
}

/// Leadership goes where it is sent, while callers at every node are served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_under_load() {
    let group = Group::new(3);
    let mut callers = Vec::new();
    for node in group.nodes.values() {
        let node = node.clone();
        callers.push(tokio::spawn(async move {
            for i in 0..200 {
                node.propose(format!("{}.{i}\0x", node.id())).await.expect("it is served");
            }
        }));
    }
    for _ in 0..5 {
        let leader = group.leader().await;
        let to = n(leader.id().get() % 3 + 1);
        match leader.transfer_leadership(Some(to)).await {
            Ok(new) => assert_eq!(new, to),
            // It may have lost its office meanwhile.
            Err(TransferError::Refused(TransferRefusal::NotLeader { .. })) => {}
            Err(error) => panic!("{error}"),
        }
    }
    for caller in callers {
        caller.await.expect("it was served");
    }
    group.stop().await;
}

/// A preferred leader leads, whoever was elected first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_preferred_leader_comes_to_lead() {
    let mut group = Group { network: Loopback::network(), nodes: BTreeMap::new() };
    for id in 1..=3 {
        let peers = (1..=3).filter(|peer| *peer != id).collect();
        group.start(RaftConfig::new(id, peers).with_preferred_leaders(vec![2]));
    }
    let mut status = group.nodes[&1].status();
    status.wait_for(|status| status.leader == Some(n(2))).await.expect("the node runs");
    group.stop().await;
}

/// What is refused comes back at once with its reason, and nothing happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_changes_say_why() {
    let group = Group::new(3);
    let leader = group.leader().await;
    let gone = group.nodes.values().find(|node| node.id() != leader.id()).expect("three nodes");
    let mut status = leader.status();
    let in_contact = |status: &raft_runtime::Status| {
        status.progress.iter().filter(|(_, progress)| progress.in_contact).count()
    };
    status.wait_for(|status| in_contact(status) == 2).await.expect("the node runs");
    gone.shutdown().await;
    // Two of three work: without another one of them, one of two would.
    status.wait_for(|status| in_contact(status) == 1).await.expect("the node runs");
    let alive = group
        .nodes
        .values()
        .find(|node| node.id() != leader.id() && node.id() != gone.id())
        .expect("three nodes");
    let request = ChangeRequest::new([Change::Remove { node: alive.id() }]);
    let refused = leader.change_membership(request).await.unwrap_err();
    let reason = ChangeRefusal::QuorumLost { in_contact: 1, needed: 2 };
    assert_eq!(refused, ChangeError::Refused(reason));
    assert_eq!(refused.outcome(), Outcome::NotApplied);
    let request = ChangeRequest::new([Change::Promote { node: n(9) }]);
    let unknown = leader.change_membership(request).await.unwrap_err();
    assert_eq!(unknown.to_string(), "not applied: n9 is not a member");
    let elsewhere = alive.change_membership(ChangeRequest::new([])).await.unwrap_err();
    assert_eq!(elsewhere.outcome(), Outcome::NotApplied);
    group.stop().await;
}
