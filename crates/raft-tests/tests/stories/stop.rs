//! A stop that is asked for: SIGTERM ends a member soon, in order, and without losing anything.

use std::time::Duration;

use raft_tests::{Cluster, Load};
use tokio::time::Instant;

/// More than a member may wait for clients (3 s), and room for a busy machine.
const SOON: Duration = Duration::from_secs(8);

/// Members are asked to stop one by one under load and started again. Each ends with status 0 and
/// soon; clients see broken connections and errors of etcd's table, nothing else; acknowledged
/// writes are there.
#[tokio::test(flavor = "multi_thread")]
async fn members_stop_in_order_one_by_one() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 12, 100);
    for member in 0..3 {
        load.progress(100).await;
        let begun = Instant::now();
        let status = cluster.stop(member).await;
        assert_eq!(status.code(), Some(0), "{}", cluster.log(member).tail());
        assert!(begun.elapsed() < SOON, "the stop took {:?}", begun.elapsed());
        cluster.log(member).wait_for(0, "stopped").await;
        load.progress(100).await;
        cluster.restart(member).await;
    }
    let history = load.stop().await;
    // The verdict counts a strange error as a broken promise.
    let verdict = history.check(&cluster.client(0)).await;
    assert!(verdict.acknowledged >= 600, "{verdict:?}");
}

/// All members are asked to stop at once, under load, with clients connected: all end with status
/// 0 and soon. Started again, they have every acknowledged write.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_stops_in_order_as_a_whole() {
    let mut cluster = Cluster::of(3).await;
    let load = Load::start("w", &cluster.urls(), 12, 100);
    load.progress(300).await;
    let begun = Instant::now();
    (0..3).for_each(|member| cluster.process(member).terminate());
    for member in 0..3 {
        let status = cluster.process(member).ended().await;
        assert_eq!(status.code(), Some(0), "{}", cluster.log(member).tail());
    }
    assert!(begun.elapsed() < SOON, "the stop took {:?}", begun.elapsed());
    let history = load.stop().await;

    cluster.forget_ended();
    (0..3).for_each(|member| cluster.launch(member));
    for member in 0..3 {
        cluster.ready(member).await;
        history.check(&cluster.client(member)).await;
    }
}
