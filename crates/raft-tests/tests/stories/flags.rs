//! What a user sees who started `raftd` wrongly: exit status 1, and on stderr a sentence that says
//! what is wrong and what to write instead.

use std::net::TcpListener;
use std::process::Output;

use raft_tests::{Cluster, Settings, run};

async fn raftd(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    run(&arguments, variables).await
}

/// Checks that this start is refused with this sentence, and nothing else is said.
async fn check(arguments: &[&str], variables: &[(&str, &str)], expected: &str) {
    let output = raftd(arguments, variables).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
    assert_eq!(said, format!("raftd: {expected}\n"), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
}

/// Each mistake has its sentence.
#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_in_the_settings_has_its_sentence() {
    check(&["--nmae=n1"], &[], "--nmae is not known; did you mean --name?").await;
    check(&["--xyzzy=1"], &[], "--xyzzy is not known; --help lists all flags").await;
    check(&["dmeo"], &[], "\"dmeo\" is not a command; did you mean raftd demo?").await;
    check(&["--name"], &[], "--name needs a value; write for example --name=n1").await;
    check(
        &["--listen-peer-urls=127.0.0.1:2380"],
        &[],
        "--listen-peer-urls: \"127.0.0.1:2380\" has no scheme; write for example \
         http://127.0.0.1:2379",
    )
    .await;
    check(
        &["--heartbeat-interval=100ms"],
        &[],
        "--heartbeat-interval \"100ms\" is not a whole number from 1 to 50000; write for example \
         --heartbeat-interval=100",
    )
    .await;
    check(
        &["--name=n1"],
        &[("ETCD_NAME", "n2")],
        "conflicting settings: both --name and the environment variable ETCD_NAME are given; drop \
         the flag or unset the variable",
    )
    .await;
    check(
        &[],
        &[("ETCD_ELECTION_TIMEOUT", "soon")],
        "--election-timeout \"soon\" is not a whole number from 1 to 4294967295; write for \
         example --election-timeout=1000",
    )
    .await;
    check(
        &["--heartbeat-interval=100", "--election-timeout=400"],
        &[],
        "--election-timeout 400 ms is less than five times --heartbeat-interval 100 ms, so that a \
         few late heartbeats would start an election; write at least --election-timeout=500",
    )
    .await;
    check(
        &["--cert-file=server.crt"],
        &[],
        "--cert-file cannot be obeyed: TLS is not supported yet, and serving without it would \
         expose what you mean to protect; remove it",
    )
    .await;
}

/// Settings that contradict each other are refused, and both sides are named.
#[tokio::test(flavor = "multi_thread")]
async fn settings_that_contradict_each_other_are_refused() {
    check(
        &["--name=n9", "--initial-cluster=n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380"],
        &[],
        "--name n9 is not in --initial-cluster, which lists n1, n2; add n9=http://localhost:2380 \
         to --initial-cluster or correct --name",
    )
    .await;
    check(
        &[
            "--name=n1",
            "--initial-advertise-peer-urls=http://10.0.0.1:2380",
            "--initial-cluster=n1=http://10.0.0.7:2380",
        ],
        &[],
        "--initial-cluster gives n1 the peer URLs http://10.0.0.7:2380, but \
         --initial-advertise-peer-urls are http://10.0.0.1:2380; make the two equal",
    )
    .await;
    check(
        &["--listen-client-urls=http://0.0.0.0:2379"],
        &[],
        "--listen-client-urls is given without --advertise-client-urls; add \
         --advertise-client-urls with the URLs under which clients reach this member",
    )
    .await;
}

/// Several mistakes are answered at once, each on a line of its own, and nothing was created.
#[tokio::test(flavor = "multi_thread")]
async fn all_mistakes_are_answered_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data");
    let arguments = [
        &format!("--data-dir={}", data_dir.display()),
        "--nmae=x",
        "--log-level=loud",
        "--peer-cert-file=p.crt",
    ];
    let output = raftd(&arguments, &[("ETCD_MAX_TXN_OPS", "0")]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert_eq!(said.lines().count(), 4, "{said}");
    assert!(said.lines().all(|line| line.starts_with("raftd: --")), "{said}");
    assert!(!data_dir.exists());
}

/// A port that somebody else has, for clients or for peers: the member names it and ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_named() {
    let cluster = Cluster::prepare(Settings { members: 1, ..Settings::default() });
    for port in [cluster.ports().client(0), cluster.ports().peer(0)] {
        let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let output = run(&cluster.arguments(0), &[]).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("127.0.0.1:{port}")), "{port} is not named: {said}");
        assert!(said.contains("Address already in use"), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}
