//! Members come, move and are replaced while the cluster serves.
//!
//! Read next: `removal.rs`, members that leave.

use std::fmt::Display;

use raft_api::EtcdError;
use raft_api::etcdserverpb as pb;
use raft_api::membership as own;
use raft_api::membership::change::Kind;
use raft_api::tonic::Status;
use raft_tests::{Client, Cluster, Load, eventually, http};

/// Waits until the membership, asked through this client, is as wanted.
pub(crate) async fn wait_for(
    client: &Client,
    what: &str,
    is_wanted: impl Fn(&own::ShowResponse) -> bool,
) -> own::ShowResponse {
    eventually(what, || async {
        let shown = client.show(own::ShowRequest {}).await.map_err(|error| error.to_string())?;
        if is_wanted(&shown) { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await
}

/// Whether this member votes and no change is under way.
pub(crate) fn votes(shown: &own::ShowResponse, id: u64) -> bool {
    !shown.is_joint && shown.members.iter().any(|member| member.id == id && member.is_voter)
}

/// Adds the next member to the cluster, starts it and waits until it votes; gives its place.
pub(crate) async fn grow(cluster: &mut Cluster) -> usize {
    let new = cluster.add_place();
    let client = cluster.client(0);
    client.add_member(&cluster.peer_url(new), false).await.unwrap();
    cluster.restart(new).await;
    let id = cluster.member_id(new);
    wait_for(&client, "the new member votes", |shown| votes(shown, id)).await;
    new
}

fn refusal<T>(answer: Result<T, Status>) -> (Option<EtcdError>, Option<EtcdError>) {
    let status = answer.err().expect("it is refused");
    let error = EtcdError::from_status(&status);
    // The second is the same only if the code is right, too.
    (error, error.filter(|error| error.code() == status.code()))
}

fn is<T>(answer: Result<T, Status>, error: EtcdError, what: impl Display) {
    assert_eq!(refusal(answer), (Some(error), Some(error)), "{what}");
}

/// A member is added through a follower, under the id that it gives itself. It is a learner without
/// a name until it is started; then it catches up, votes by itself, and has all that was written.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_is_added_and_becomes_a_voter() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 6, 100);
    load.progress(100).await;
    let follower = (cluster.leader().await + 1) % 3;
    let client = cluster.client(follower);
    let new = cluster.add_place();
    let request =
        pb::MemberAddRequest { peer_urls: vec![cluster.peer_url(new)], is_learner: false };
    let answer = client.member_add(request).await.unwrap();

    let header = answer.header.unwrap();
    assert_eq!((header.revision, header.member_id), (0, cluster.member_id(follower)));
    assert_eq!(header.cluster_id, cluster.cluster_id(0));
    let added = answer.member.unwrap();
    assert_eq!(added.id, cluster.member_id(new), "the id is made of peer URLs and token alone");
    assert_eq!((added.name.as_str(), added.client_urls.len()), ("", 0), "it has not started");
    assert_eq!((added.peer_urls, added.is_learner), (vec![cluster.peer_url(new)], true));
    assert_eq!(answer.members.len(), 4);

    cluster.restart(new).await;
    let shown = wait_for(&client, "it votes", |shown| votes(shown, added.id)).await;
    assert_eq!(shown.members.iter().filter(|member| member.is_voter).count(), 4);
    load.progress(100).await;
    let history = load.stop().await;
    history.check(&cluster.client(new)).await;

    let list = pb::MemberListRequest { linearizable: true };
    let listed = cluster.client(new).member_list(list).await.unwrap().members;
    let listed = listed.into_iter().find(|member| member.id == added.id).unwrap();
    assert_eq!((listed.name, listed.client_urls), (cluster.name(new), vec![cluster.url(new)]));
    assert!(!listed.is_learner);
}

/// What cannot be done is refused in the codes and words of etcd, whichever member is asked.
#[tokio::test(flavor = "multi_thread")]
async fn changes_are_refused_in_the_words_of_etcd() {
    let mut cluster = Cluster::of(3).await;
    cluster.leader().await;
    let free = format!("http://127.0.0.1:{}", cluster.ports().peer(8));
    for member in 0..3 {
        let client = cluster.client(member);
        let add = async |urls: &[&str]| {
            let peer_urls = urls.iter().map(ToString::to_string).collect();
            client.member_add(pb::MemberAddRequest { peer_urls, is_learner: true }).await
        };
        is(add(&[]).await, EtcdError::MemberBadUrls, "no URL");
        is(add(&["127.0.0.1:1"]).await, EtcdError::MemberBadUrls, "no scheme");
        is(add(&[&cluster.peer_url(1)]).await, EtcdError::PeerUrlExist, "taken");
        let both = [&*free, &cluster.peer_url(1)];
        is(add(&both).await, EtcdError::PeerUrlExist, "one of two is taken");
        let remove = client.member_remove(pb::MemberRemoveRequest { id: 77 }).await;
        is(remove, EtcdError::MemberNotFound, "nobody is removed");
        let remove = client.member_remove(pb::MemberRemoveRequest { id: 0 }).await;
        is(remove, EtcdError::MemberNotFound, "zero is nobody");
        let id = cluster.member_id(0);
        let promote = client.member_promote(pb::MemberPromoteRequest { id }).await;
        is(promote, EtcdError::MemberNotLearner, "it votes");
        let promote = client.member_promote(pb::MemberPromoteRequest { id: 77 }).await;
        is(promote, EtcdError::MemberNotFound, "nobody is promoted");
        let peer_urls = vec![cluster.peer_url(2)];
        let update = client.member_update(pb::MemberUpdateRequest { id, peer_urls }).await;
        is(update, EtcdError::PeerUrlExist, "it belongs to another");
        let peer_urls = vec![cluster.peer_url(0)];
        client.member_update(pb::MemberUpdateRequest { id, peer_urls }).await.unwrap();
    }

    // A learner that was never heard is not ready, and one of two voters is needed.
    let client = cluster.client(0);
    let learner = client.add_member(&free, true).await.unwrap().id;
    let promote = client.member_promote(pb::MemberPromoteRequest { id: learner }).await;
    is(promote, EtcdError::LearnerNotReady, "it was never heard");
    let leader = cluster.leader().await;
    let (dead, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.kill(dead).await;
    let client = cluster.client(leader);
    let port = cluster.ports().client(leader);
    eventually("the dead member is missed", || async {
        let metrics = http(port, "GET", "/metrics").await.map_err(|error| error.to_string())?;
        let is_missed = metrics.body.contains("\nraftd_failures_tolerated 0\n");
        if is_missed { Ok(()) } else { Err("nobody is missed yet".to_owned()) }
    })
    .await;
    let remove = pb::MemberRemoveRequest { id: cluster.member_id(other) };
    is(client.member_remove(remove).await, EtcdError::Unhealthy, "the rest would be no quorum");
    let id = cluster.member_id(dead);
    client.member_remove(pb::MemberRemoveRequest { id }).await.unwrap();
}

/// A learner that is added as such stays one until it is promoted; a voter can be made one.
#[tokio::test(flavor = "multi_thread")]
async fn a_learner_is_promoted_when_asked_and_demoted_again() {
    let mut cluster = Cluster::of(3).await;
    let client = cluster.client(0);
    let new = cluster.add_place();
    let id = client.add_member(&cluster.peer_url(new), true).await.unwrap().id;
    cluster.launch(new);
    // A learner is not what /readyz calls ready.
    cluster.log(new).wait_for(0, "ready to serve client requests").await;
    let metrics = http(cluster.ports().client(new), "GET", "/metrics").await.unwrap();
    assert!(metrics.body.contains("\nraftd_learners 1\n"), "{}", metrics.body);
    assert!(metrics.body.contains("\nraftd_voters 3\n"));
    eventually("it has caught up", || async {
        client.member_promote(pb::MemberPromoteRequest { id }).await
    })
    .await;
    wait_for(&client, "it votes", |shown| votes(shown, id)).await;
    client.change_one(Kind::Demote(id)).await.unwrap();
    let shown = wait_for(&client, "it votes no more", |shown| !votes(shown, id)).await;
    assert_eq!(shown.members.len(), 4);
    let again = client.change_one(Kind::Demote(id)).await.unwrap_err();
    assert!(again.message().contains("already is what it is to become"), "{again}");
    let metrics = http(cluster.ports().client(0), "GET", "/metrics").await.unwrap();
    for line in ["raftd_members 4", "raftd_voters 3", "raftd_failures_tolerated 1"] {
        assert!(metrics.body.contains(&format!("\n{line}\n")), "{line}:\n{}", metrics.body);
    }
}

/// A member that is started before it was added waits, and says which command it waits for.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_waits_to_be_added() {
    let mut cluster = Cluster::of(3).await;
    let new = cluster.add_place();
    cluster.launch(new);
    let line = cluster.log(new).wait_for(0, "waiting to be added").await;
    let command = format!("raftctl member add n4 --peer-urls={}", cluster.peer_url(new));
    assert!(line.contains(&command), "{line}");

    // A restart while it waits does not make it a cluster of its own, whatever the flags say.
    assert_eq!(cluster.stop(new).await.code(), Some(0));
    cluster.set_flags(new, &["--initial-cluster-state=new".to_owned()]);
    let said = cluster.log(new).len();
    cluster.launch(new);
    cluster.log(new).wait_for(said, "waiting to be added").await;
    cluster.client(0).add_member(&cluster.peer_url(new), false).await.unwrap();
    cluster.ready(new).await;
    let id = cluster.member_id(new);
    wait_for(&cluster.client(new), "it votes", |shown| votes(shown, id)).await;
}

/// A member whom nobody tells which cluster to join asks on, and says whom it asks.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_finds_no_cluster_asks_on() {
    let mut cluster = Cluster::prepare(raft_tests::Settings::default());
    let new = cluster.add_place();
    cluster.launch(new);
    let line = cluster.log(new).wait_for(0, "asking the members of --initial-cluster").await;
    assert!(line.contains(&format!("n1 at 127.0.0.1:{}", cluster.ports().peer(0))), "{line}");
    (0..3).for_each(|member| cluster.launch(member));
    cluster.log(new).wait_for(0, "found the cluster to join").await;
    cluster.ready(0).await;
    cluster.client(0).add_member(&cluster.peer_url(new), false).await.unwrap();
    cluster.ready(new).await;
}

/// A member moves while it is down: its peer URL is updated, and it comes back there under its old
/// id, with its data directory and with what was written meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_url_is_updated() {
    let mut cluster = Cluster::of(3).await;
    let place = (cluster.leader().await + 1) % 3;
    let others = [(place + 1) % 3, (place + 2) % 3];
    let id = cluster.member_id(place);
    cluster.kill(place).await;
    let url = format!("http://127.0.0.1:{}", cluster.ports().peer(7));
    let client = cluster.client(others[0]);
    let peer_urls = vec![url.clone()];
    let answer = client.member_update(pb::MemberUpdateRequest { id, peer_urls }).await.unwrap();
    let listed = answer.members.into_iter().find(|member| member.id == id).unwrap();
    assert_eq!((listed.peer_urls, listed.name), (vec![url.clone()], cluster.name(place)));
    client.write("meanwhile", "1").await.unwrap();

    let others = others.map(|other| format!("{}={}", cluster.name(other), cluster.peer_url(other)));
    let name = cluster.name(place);
    let mut flags = vec![
        format!("--listen-peer-urls={url}"),
        format!("--initial-advertise-peer-urls={url}"),
        format!("--initial-cluster={name}={url},{}", others.join(",")),
    ];
    cluster.set_flags(place, &flags);
    let refused = raft_tests::run(&cluster.arguments(place), &[]).await;
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("add --initial-cluster-state=existing"), "{said}");

    flags.push("--initial-cluster-state=existing".to_owned());
    cluster.set_flags(place, &flags);
    cluster.restart(place).await;
    let moved = cluster.client(place);
    assert_eq!(moved.read("meanwhile").await.unwrap().as_deref(), Some("1"));
    let header = moved.status(pb::StatusRequest {}).await.unwrap().header.unwrap();
    assert_eq!(header.member_id, id, "its id does not change");
    let list = pb::MemberListRequest { linearizable: true };
    let members = moved.member_list(list).await.unwrap().members;
    let listed = members.into_iter().find(|member| member.id == id).unwrap();
    assert_eq!(listed.peer_urls, [url], "what it announces is where it is");
}

/// A dead member is replaced in one step, under load: the new one votes and the old one is gone,
/// and never were there four voters of which one is dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_dead_member_is_replaced() {
    let mut cluster = Cluster::of(3).await;
    let dead = (cluster.leader().await + 1) % 3;
    let load = Load::start("w", &cluster.urls(), 6, 100);
    load.progress(50).await;
    cluster.kill(dead).await;
    let old = cluster.member_id(dead);
    let client = cluster.client((dead + 1) % 3);
    let new = cluster.add_place();
    let add = own::Add {
        peer_urls: vec![cluster.peer_url(new)],
        promotion: own::Promotion::Automatic.into(),
        replaces: old,
    };
    let answer = client.change_one(Kind::Add(add)).await.unwrap();
    let id = cluster.member_id(new);
    assert_eq!(answer.added, [id]);
    let members = answer.membership.unwrap().members;
    let learner = members.into_iter().find(|member| member.id == id).unwrap();
    assert_eq!((learner.replaces, learner.is_voter), (old, false), "the plan is shown");

    cluster.restart(new).await;
    let replaced = |shown: &own::ShowResponse| {
        let voters = shown.members.iter().filter(|member| member.is_voter).count();
        assert!(voters <= 3 || shown.is_joint, "the quorum was weakened: {shown:?}");
        votes(shown, id) && shown.members.iter().all(|member| member.id != old)
    };
    let shown = wait_for(&client, "the place was taken", replaced).await;
    assert_eq!(shown.members.len(), 3);
    load.progress(50).await;
    load.stop().await.check(&cluster.client(new)).await;
}

/// A disk that was wiped is refused under its old id, with the remedy; readmitted, the member
/// learns everything again and votes.
#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_member_is_readmitted() {
    let mut cluster = Cluster::of(3).await;
    let wiped = (cluster.leader().await + 1) % 3;
    let (client, id) = (cluster.client((wiped + 1) % 3), cluster.member_id(wiped));
    let is_recorded = |shown: &own::ShowResponse| {
        shown.members.iter().all(|member| !member.incarnation.is_empty())
    };
    let before = wait_for(&client, "every disk is recorded", is_recorded).await;
    client.write("k", "v").await.unwrap();
    cluster.kill(wiped).await;
    std::fs::remove_dir_all(cluster.data_dir(wiped)).unwrap();
    let said = cluster.log(wiped).len();
    cluster.launch(wiped);
    let line = cluster.log(wiped).wait_for(said, "raftctl member readmit").await;
    assert!(line.contains(&format!("{id:x}")) && line.contains("raftctl member remove"), "{line}");
    assert!(line.contains("the membership has recorded"), "{line}");

    let readmit = own::Readmit { id, incarnation: String::new() };
    client.change_one(Kind::Readmit(readmit)).await.unwrap();
    cluster.ready(wiped).await;
    let shown = wait_for(&client, "it votes again", |shown| votes(shown, id)).await;
    assert_eq!(cluster.client(wiped).read_local("k").await.unwrap().as_deref(), Some("v"));
    let disk = |shown: &own::ShowResponse| {
        let member = shown.members.iter().find(|member| member.id == id);
        member.map(|member| member.incarnation.clone())
    };
    assert_ne!(disk(&shown), disk(&before), "another disk has promised");
}

/// The membership is in the log: after all members were killed, each comes back to it with the
/// flags it had, whatever these say about the members.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_membership_outlives_a_restart_of_all() {
    let mut cluster = Cluster::of(3).await;
    let new = grow(&mut cluster).await;
    cluster.client(new).write("k", "v").await.unwrap();
    for _ in 0..2 {
        cluster.kill_all().await;
        (0..4).for_each(|member| cluster.launch(member));
        for member in 0..4 {
            cluster.ready(member).await;
            let client = cluster.client(member);
            assert_eq!(client.read("k").await.unwrap().as_deref(), Some("v"));
            let shown = client.show(own::ShowRequest {}).await.unwrap();
            let voters = shown.members.iter().filter(|member| member.is_voter);
            let ids: Vec<u64> = voters.map(|member| member.id).collect();
            let mut expected: Vec<u64> = (0..4).map(|member| cluster.member_id(member)).collect();
            expected.sort_unstable();
            assert_eq!(ids, expected);
        }
    }
}
