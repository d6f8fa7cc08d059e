//! Members and disks of another cluster: a wrong directory, a wrong address. Both are told apart
//! and named, and nothing of one cluster reaches the other.

use raft_tests::{Cluster, Load, Settings, eventually, run};

/// A data directory belongs to one member of one cluster. Started as a member of another cluster,
/// or as another member, it is refused, and both are named.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_of_another_member_or_cluster_is_refused() {
    let mut cluster = Cluster::of(1).await;
    cluster.client(0).write("k", "v").await.unwrap();
    let answer = cluster.client(0).read_all("k", false).await.unwrap();
    let header = answer.header.unwrap();
    assert_eq!(cluster.stop(0).await.code(), Some(0));

    let other_cluster = "--initial-cluster-token=another".to_owned();
    let url = format!("http://127.0.0.1:{}", cluster.ports().peer(1));
    let other_member =
        [format!("--initial-advertise-peer-urls={url}"), format!("--initial-cluster=n1={url}")];
    for flags in [&[other_cluster][..], &other_member[..]] {
        let arguments = [&cluster.arguments(0)[..], flags].concat();
        let config = raft_server::config::Config::parse(&arguments, &[]).unwrap();
        let output = run(&arguments, &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("this disk belongs to"), "{said}");
        for id in [header.cluster_id, config.cluster_id()] {
            assert!(said.contains(&format!("{id:x}")), "{id:x} is not named: {said}");
        }
        for id in [header.member_id, config.member_id().get()] {
            let named = said.contains(&format!("{id:x}")) || said.contains(&format!("{id}"));
            assert!(named, "member {id:x} is not named: {said}");
        }
    }
    cluster.restart(0).await;
    assert_eq!(cluster.client(0).read("k").await.unwrap().as_deref(), Some("v"));
}

/// At the address of the third member of one cluster stands a member of another. Each refuses the
/// other with a sentence that names both clusters; both clusters go on, and no key of one is seen
/// in the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_another_cluster_is_refused_by_its_peers() {
    let mut ours = Cluster::prepare(Settings::default());
    // Alone in its cluster, with the address that members of ours dial for their third.
    let stranger = Cluster::prepare(Settings { members: 1, ..Settings::default() });
    let peer = ours.peer_url(2);
    let mut arguments = stranger.arguments(0);
    arguments.extend([
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=n1={peer}"),
        "--initial-cluster-token=strangers".to_owned(),
    ]);
    let log = raft_tests::Log::new();
    let _process = raft_tests::Raftd::start(&arguments, &log);
    let theirs = stranger.client(0);
    eventually("the stranger serves", || theirs.write("theirs", "1")).await;
    ours.launch(0);
    ours.launch(1);
    ours.ready(0).await;
    ours.ready(1).await;

    ours.client(0).write("ours", "1").await.unwrap();
    let our_id = ours.cluster_id(0);
    let config = raft_server::config::Config::parse(&arguments, &[]).unwrap();
    let their_id = config.cluster_id();
    assert_ne!(our_id, their_id);
    let refused = log.wait_for(0, "refused").await;
    for (who, line) in
        [("stranger", refused), ("ours", ours.log(0).wait_for(0, "it refused").await)]
    {
        assert!(line.contains("belongs to cluster"), "{who}: {line}");
        for id in [our_id, their_id] {
            assert!(line.contains(&format!("{id:x}")), "{who}: {line}");
        }
    }

    let load = Load::start("w", &ours.urls()[..2], 4, 10);
    load.progress(50).await;
    let history = load.stop().await;
    history.check(&ours.client(1)).await;
    assert_eq!(ours.client(0).read("theirs").await.unwrap(), None);
    assert_eq!(theirs.read("ours").await.unwrap(), None);
    assert_eq!(theirs.read("theirs").await.unwrap().as_deref(), Some("1"));
}
