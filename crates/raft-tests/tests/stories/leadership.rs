//! Leadership that is handed over because somebody asked.

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::membership as own;
use raft_tests::{Cluster, Load, Settings, eventually, http};

/// Leadership goes round under load, asked of every member in turn. Writers see no error but those
/// that say "ask again", and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn leadership_goes_round_under_load() {
    let cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 8, 100);
    load.progress(50).await;
    for round in 0..6 {
        let (asked, target) = (cluster.client(round % 3), cluster.member_id((round + 1) % 3));
        let request = own::TransferLeadershipRequest { target };
        let answer = asked.transfer_leadership(request).await.unwrap();
        assert_eq!(answer.leader, target);
        eventually("the target leads", || async {
            let leader = asked.status(pb::StatusRequest {}).await?.leader;
            let is_led = leader == target;
            is_led
                .then_some(())
                .ok_or_else(|| raft_api::tonic::Status::not_found(format!("{leader:x} leads")))
        })
        .await;
        load.progress(50).await;
    }
    let before = cluster.member_id(cluster.leader().await);
    let anybody = own::TransferLeadershipRequest { target: 0 };
    let answer = cluster.client(0).transfer_leadership(anybody).await.unwrap();
    assert_ne!(answer.leader, before, "zero is whoever lacks least");
    load.stop().await.check(&cluster.client(0)).await;
    let mut transfers = 0;
    for member in 0..3 {
        let metrics = http(cluster.ports().client(member), "GET", "/metrics").await.unwrap().body;
        let line = metrics.lines().find(|it| it.starts_with("raftd_leadership_transfers_total "));
        let count = line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        transfers += count.unwrap();
    }
    // The first round may have asked for the one that led already.
    assert!((6..=7).contains(&transfers), "{transfers} transfers");
}

/// etcd's `MoveLeader` is obeyed by the leader only, and refuses whom etcd refuses.
#[tokio::test(flavor = "multi_thread")]
async fn mnt_9_move_leader_answers_as_etcd() {
    let mut cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let ask = async |cluster: &Cluster, asked: usize, target_id: u64| {
        let answer = cluster.client(asked).move_leader(pb::MoveLeaderRequest { target_id }).await;
        answer.map_err(|status| EtcdError::from_status(&status))
    };
    let no = |error| Err(Some(error));
    let target = cluster.member_id(follower);
    assert_eq!(ask(&cluster, follower, target).await, no(EtcdError::NotLeader));
    assert_eq!(ask(&cluster, leader, 77).await, no(EtcdError::BadLeaderTransferee));
    assert_eq!(ask(&cluster, leader, 0).await, no(EtcdError::BadLeaderTransferee));
    let new = cluster.add_place();
    let url = cluster.peer_url(new);
    let learner = cluster.client(leader).add_member(&url, true).await.unwrap().id;
    assert_eq!(ask(&cluster, leader, learner).await, no(EtcdError::BadLeaderTransferee));
    let own = cluster.member_id(leader);
    assert!(ask(&cluster, leader, own).await.is_ok(), "it leads already");
    let answer = ask(&cluster, leader, target).await.unwrap();
    assert_eq!(answer.header, None, "as etcd");
    assert_eq!(cluster.leader().await, follower);
}

/// A member that is preferred leads after a while, also after somebody else was asked to.
#[tokio::test(flavor = "multi_thread")]
async fn a_preferred_member_leads() {
    let flags = vec!["--preferred-leaders=n3".to_owned()];
    let mut cluster = Cluster::start(Settings { flags, ..Settings::default() }).await;
    let preferred = cluster.member_id(2);
    let leads = async |cluster: &Cluster| {
        let client = cluster.client(0);
        eventually("the preferred member leads", || async {
            let leader = client.status(pb::StatusRequest {}).await?.leader;
            (leader == preferred)
                .then_some(())
                .ok_or_else(|| raft_api::tonic::Status::not_found(format!("{leader:x} leads")))
        })
        .await;
    };
    leads(&cluster).await;
    cluster.kill(2).await;
    let load = Load::start("w", &cluster.urls()[..2], 4, 100);
    load.progress(50).await;
    cluster.restart(2).await;
    leads(&cluster).await;
    load.progress(50).await;
    load.stop().await.check(&cluster.client(2)).await;
}
