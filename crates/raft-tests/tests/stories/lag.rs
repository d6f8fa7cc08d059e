//! A member that was away comes back and has to be given everything it missed.

use raft_tests::{Cluster, Load, Settings, eventually};

/// A member is down for thousands of writes. When it is back it has each of them itself, and
/// answers without asking anybody.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_was_down_catches_up() {
    let mut cluster = Cluster::of(3).await;
    let before = cluster.client(0).write("before", "1").await.unwrap();
    let away = (cluster.leader().await + 1) % 3;
    cluster.kill(away).await;

    let load = Load::start("w", &others(&cluster, away), 64, 2000);
    load.progress(2500).await;
    let history = load.stop().await;

    cluster.launch(away);
    let client = cluster.client(away);
    let answer = eventually("the member that was away has everything", || async {
        let answer = client.read_all("w", true).await.map_err(|status| status.to_string())?;
        let revision = answer.header.map_or(0, |header| header.revision);
        let goal = history.revision_max();
        if revision < goal { Err(format!("{revision} of {goal}")) } else { Ok(answer) }
    })
    .await;
    let verdict = history.check_answer(&answer);
    assert!(verdict.acknowledged >= 2500, "{verdict:?}");
    assert!(history.revision_max() > before);
    assert_eq!(client.read_local("before").await.unwrap().as_deref(), Some("1"));
}

/// A leader keeps the newest 64 MiB of its log in memory. A member that is further behind is
/// given the rest from the leader's disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_behind_the_leaders_memory_is_served_from_its_disk() {
    let mut cluster = Cluster::start(Settings { election_ms: 1000, ..Settings::default() }).await;
    let away = (cluster.leader().await + 1) % 3;
    cluster.kill(away).await;

    let load = Load::start("large", &others(&cluster, away), 4, 1 << 20);
    load.progress(80).await;
    let history = load.stop().await;

    cluster.restart(away).await;
    // It is ready, so it has everything that was acknowledged before.
    let answer = cluster.client(away).read_all("large", true).await.unwrap();
    let verdict = history.check_answer(&answer);
    assert!(verdict.acknowledged >= 80, "{verdict:?}");
}

/// Where clients reach the members that are not away.
fn others(cluster: &Cluster, away: usize) -> Vec<String> {
    (0..3).filter(|member| *member != away).map(|member| cluster.url(member)).collect()
}
