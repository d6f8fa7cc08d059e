//! What probes, scrapers and operators ask: HTTP/1.1 on the port that also speaks gRPC.

use raft_tests::{Cluster, HttpAnswer, eventually, http};

async fn get(cluster: &Cluster, member: usize, path: &str) -> HttpAnswer {
    http(cluster.ports().client(member), "GET", path).await.unwrap()
}

/// A healthy member says so on every path, in etcd's words.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_member_says_so() {
    let cluster = Cluster::of(1).await;
    for (path, body) in [
        ("/health", "{\"health\":\"true\",\"reason\":\"\"}"),
        ("/health?serializable=true", "{\"health\":\"true\",\"reason\":\"\"}"),
        ("/livez", "ok\n"),
        ("/readyz", "ok\n"),
        ("/livez?verbose", "[+]serializable_read ok\nok\n"),
        ("/readyz/linearizable_read", "ok\n"),
        ("/version", "{\"etcdserver\":\"3.6.14\",\"etcdcluster\":\"3.6.0\",\"storage\":\"3.6.0\"}"),
    ] {
        let answer = get(&cluster, 0, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
    for path in ["/", "/healthz", "/readyz/none", "/v2/keys"] {
        let answer = get(&cluster, 0, path).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, "404 page not found\n"), "{path}");
    }
    let answer = http(cluster.ports().client(0), "POST", "/health").await.unwrap();
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    // The same port at the same time.
    cluster.client(0).write("k", "v").await.unwrap();
}

/// A member without a majority is alive and not ready, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_a_majority_is_alive_and_not_ready() {
    let mut cluster = Cluster::of(3).await;
    cluster.kill(1).await;
    cluster.kill(2).await;
    eventually("the member knows that it has no leader", || async {
        let answer = get(&cluster, 0, "/health").await;
        let expected = "{\"health\":\"false\",\"reason\":\"RAFT NO LEADER\"}\n";
        let is_known = answer.status == 503 && answer.body == expected;
        if is_known { Ok(()) } else { Err(answer.body) }
    })
    .await;
    assert_eq!(get(&cluster, 0, "/livez").await.status, 200);
    assert_eq!(get(&cluster, 0, "/health?serializable=true").await.status, 200);
    let answer = get(&cluster, 0, "/readyz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("[-]linearizable_read failed: etcdserver:"), "{}", answer.body);
    assert!(answer.body.contains("[+]serializable_read ok"), "{}", answer.body);
    cluster.restart(1).await;
    assert_eq!(get(&cluster, 0, "/readyz").await.status, 200);
}

/// What a series shows, spelled with its labels.
fn shown<'a>(metrics: &'a str, series: &str) -> &'a str {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("there is no series {series}"))
}

fn value(metrics: &str, series: &str) -> f64 {
    shown(metrics, series).parse().unwrap()
}

/// The series that dashboards and alerts are made from are there, and move with what happens.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_what_happens() {
    const WRITES: u32 = 20;
    let cluster = Cluster::of(3).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let before = get(&cluster, leader, "/metrics").await;
    assert_eq!(before.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let client = cluster.client(leader);
    for number in 0..WRITES {
        client.write(&format!("k{number}"), "v").await.unwrap();
    }
    client.read("k1").await.unwrap();
    let after = get(&cluster, leader, "/metrics").await;

    let member = format!("{:x}", cluster.member_id(leader));
    let peer = format!("{:x}", cluster.member_id(follower));
    assert_eq!(shown(&after.body, "etcd_server_has_leader"), "1");
    assert_eq!(shown(&after.body, "etcd_server_is_leader"), "1");
    assert_eq!(shown(&after.body, &format!("etcd_server_id{{server_id=\"{member}\"}}")), "1");
    assert_eq!(shown(&after.body, "etcd_debugging_mvcc_keys_total"), WRITES.to_string());
    let active = format!("etcd_network_active_peers{{Local=\"{member}\",Remote=\"{peer}\"}}");
    assert_eq!(shown(&after.body, &active), "1");
    assert!(value(&after.body, "process_resident_memory_bytes") > 1e6);
    for (series, least) in [
        ("etcd_server_proposals_committed_total", f64::from(WRITES)),
        ("etcd_server_proposals_applied_total", f64::from(WRITES)),
        ("etcd_mvcc_put_total", f64::from(WRITES)),
        ("etcd_mvcc_range_total", 1.0),
        ("etcd_debugging_mvcc_current_revision", f64::from(WRITES)),
        ("etcd_disk_wal_fsync_duration_seconds_count", 1.0),
        ("etcd_disk_wal_fsync_duration_seconds_sum", f64::MIN_POSITIVE),
        ("etcd_disk_wal_write_bytes_total", f64::from(WRITES)),
        ("etcd_network_client_grpc_received_bytes_total", f64::from(WRITES)),
        ("etcd_network_client_grpc_sent_bytes_total", f64::from(WRITES)),
        (&format!("etcd_network_peer_sent_bytes_total{{To=\"{peer}\"}}"), f64::from(WRITES)),
        (&format!("etcd_network_peer_received_bytes_total{{From=\"{peer}\"}}"), f64::from(WRITES)),
        (
            "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
             grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"}",
            f64::from(WRITES),
        ),
    ] {
        let grown = value(&after.body, series) - value(&before.body, series);
        assert!(grown >= least, "{series} grew by {grown}, not by {least}");
    }
    let other = get(&cluster, follower, "/metrics").await.body;
    assert_eq!(shown(&other, "etcd_server_is_leader"), "0");
    assert_eq!(shown(&other, "etcd_mvcc_put_total"), "0", "a put is counted where it came in");
}
