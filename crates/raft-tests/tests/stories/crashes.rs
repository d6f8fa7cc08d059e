//! Members die at any moment, as `kill -9` makes them. No acknowledged write may be lost, none may
//! be executed twice, and the service returns.

use raft_tests::{Cluster, History, Load, Verdict};

/// Judges the load through every member, and compares what they hold.
async fn judge_everywhere(cluster: &Cluster, history: &History) -> Verdict {
    let mut answers = Vec::new();
    for member in 0..cluster.len() {
        let answer = cluster.client(member).read_all(&history.prefix, false).await.unwrap();
        let verdict = history.check_answer(&answer);
        answers.push((answer.kvs, verdict));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "all members hold the same");
    answers.pop().unwrap().1
}

/// The leader of three is killed again and again while clients write through all members: each
/// time the other two go on, and afterwards every write is what its client was told.
#[tokio::test(flavor = "multi_thread")]
async fn killed_leaders_cost_no_acknowledged_write() {
    const KILLS: usize = 5;
    let mut cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 24, 100);
    load.progress(500).await;
    for _ in 0..KILLS {
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        // More than were under way at the kill: these need a new leader.
        load.progress(500).await;
        cluster.restart(leader).await;
        load.progress(500).await;
    }
    let history = load.stop().await;
    let verdict = judge_everywhere(&cluster, &history).await;
    assert!(verdict.acknowledged >= 500 + 1000 * KILLS, "{verdict:?}");
}

/// All three members are killed at once under load, and started again: acknowledged writes are
/// there, and revisions go on from where they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_killed_as_a_whole_remembers_what_it_acknowledged() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 24, 100);
    for _ in 0..3 {
        load.progress(500).await;
        cluster.kill_all().await;
        (0..3).for_each(|member| cluster.launch(member));
        for member in 0..3 {
            cluster.ready(member).await;
        }
    }
    load.progress(100).await;
    let history = load.stop().await;
    judge_everywhere(&cluster, &history).await;
    let next = cluster.client(0).write("after", "all").await.unwrap();
    assert!(next > history.revision_max(), "{next} is not after {}", history.revision_max());
}

/// A single member acknowledges only what is on its disk: killed under load, it has all of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_single_member_forgets_nothing_when_it_is_killed() {
    let mut cluster = Cluster::of(1).await;
    let load = Load::start("w", &cluster.urls(), 16, 100);
    for _ in 0..4 {
        load.progress(200).await;
        cluster.kill(0).await;
        cluster.restart(0).await;
    }
    load.progress(50).await;
    let history = load.stop().await;
    let verdict = judge_everywhere(&cluster, &history).await;
    assert!(verdict.acknowledged >= 850, "{verdict:?}");
}
