//! Members that leave: each says so, ends with a status of its own, and is not missed.

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::membership as own;
use raft_server::server::REMOVED_STATUS;
use raft_tests::{Cluster, Load, eventually, http};

use crate::membership::{grow, wait_for};

/// The leader is removed under load, through another member. The others go on; the removed one is
/// unhealthy, says why and what to do, and ends with the status that is documented for it.
#[tokio::test(flavor = "multi_thread")]
async fn the_leader_is_removed_and_says_so() {
    let mut cluster = Cluster::of(3).await;
    grow(&mut cluster).await;
    let load = Load::start("w", &cluster.urls(), 8, 100);
    load.progress(50).await;
    let leader = cluster.leader().await;
    let other = (leader + 1) % 4;
    let (client, id) = (cluster.client(other), cluster.member_id(leader));
    let answer = client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
    assert_eq!(answer.members.len(), 3);
    assert!(answer.members.iter().all(|member| member.id != id));
    let port = cluster.ports().client(leader);
    eventually("the removed member is unhealthy", || async {
        match http(port, "GET", "/readyz").await {
            Ok(answer) if answer.status == 503 => Ok(()),
            Ok(answer) => Err(answer.body),
            Err(error) => Err(error.to_string()),
        }
    })
    .await;
    load.progress(50).await;

    let status = cluster.process(leader).ended().await;
    assert_eq!(status.code(), Some(i32::from(REMOVED_STATUS)), "{}", cluster.log(leader).tail());
    let line = cluster.log(leader).wait_for(0, "to let it come back").await;
    assert!(line.contains("raftctl member add"), "the remedy is missing: {line}");
    cluster.forget_ended();
    let again = client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap_err();
    assert_eq!(EtcdError::from_status(&again), Some(EtcdError::MemberNotFound));
    load.progress(50).await;
    load.stop().await.check(&client).await;
}

/// A member that was removed while it was down finds out when it is started, and ends as the others
/// do. With an empty directory it may be added again.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_removed_while_it_was_down_finds_out() {
    let mut cluster = Cluster::of(3).await;
    let gone = (cluster.leader().await + 1) % 3;
    let (client, id) = (cluster.client((gone + 1) % 3), cluster.member_id(gone));
    cluster.kill(gone).await;
    client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
    // The others hang up on it before it is back, and nobody tells it.
    wait_for(&client, "it is gone", |shown| shown.members.len() == 2 && !shown.is_joint).await;
    cluster.launch(gone);
    let status = cluster.process(gone).ended().await;
    assert_eq!(status.code(), Some(i32::from(REMOVED_STATUS)), "{}", cluster.log(gone).tail());
    cluster.log(gone).wait_for(0, "was removed from the cluster").await;
    cluster.forget_ended();

    std::fs::remove_dir_all(cluster.data_dir(gone)).unwrap();
    let added = client.add_member(&cluster.peer_url(gone), false).await.unwrap();
    assert_eq!((added.id, added.name.as_str()), (id, ""), "it has not started in this life");
    cluster.set_flags(gone, &["--initial-cluster-state=existing".to_owned()]);
    cluster.restart(gone).await;
    wait_for(&client, "it votes", |shown| crate::membership::votes(shown, id)).await;
}

/// Five become three by two removals, one of them of the leader, and then one member: each step
/// leaves a cluster that serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_shrinks_to_one() {
    let mut cluster = Cluster::of(3).await;
    cluster.client(0).write("k", "v").await.unwrap();
    let mut left = vec![0, 1, 2];
    while left.len() > 1 {
        let leader = cluster.leader().await;
        left.retain(|member| *member != leader);
        let client = cluster.client(left[0]);
        let id = cluster.member_id(leader);
        client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
        let status = cluster.process(leader).ended().await;
        assert_eq!(status.code(), Some(i32::from(REMOVED_STATUS)));
        cluster.forget_ended();
        let members = left.len();
        wait_for(&client, "it is smaller", |shown| shown.members.len() == members).await;
        assert_eq!(client.read("k").await.unwrap().as_deref(), Some("v"));
    }
    let client = cluster.client(left[0]);
    let id = cluster.member_id(left[0]);
    let last = client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap_err();
    assert_eq!(EtcdError::from_status(&last), Some(EtcdError::MemberNotEnoughStarted));
    let shown = client.show(own::ShowRequest {}).await.unwrap();
    assert_eq!((shown.leader, shown.members.len()), (id, 1));
}
