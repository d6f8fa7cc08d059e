//! Tests of the settings: defaults, rules, every sentence of refusal.

use super::*;

fn read(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let arguments: Vec<String> = arguments.iter().map(ToString::to_string).collect();
    let pair = |(name, value): &(&str, &str)| (name.to_string(), value.to_string());
    Config::parse(&arguments, &environment.iter().map(pair).collect::<Vec<_>>())
}

fn good(arguments: &[&str]) -> Config {
    read(arguments, &[]).unwrap()
}

/// The only violation of these arguments.
fn violation(arguments: &[&str]) -> String {
    let error = read(arguments, &[]).unwrap_err();
    assert_eq!(error.violations.len(), 1, "{error}");
    error.to_string()
}

fn texts(urls: &[Url]) -> Vec<String> {
    urls.iter().map(Url::to_string).collect()
}

/// Without flags a member is what etcd would be: alone, on localhost, in default.etcd.
#[test]
fn the_defaults_are_those_of_etcd() {
    let config = good(&[]);
    assert_eq!(config.name, "default");
    assert_eq!(config.data_dir, PathBuf::from("default.etcd"));
    assert_eq!(texts(&config.listen_client_urls), ["http://localhost:2379"]);
    assert_eq!(texts(&config.advertise_client_urls), ["http://localhost:2379"]);
    assert_eq!(texts(&config.listen_peer_urls), ["http://localhost:2380"]);
    assert_eq!(texts(&config.initial_cluster["default"]), ["http://localhost:2380"]);
    assert_eq!(config.initial_cluster_token, "etcd-cluster");
    assert_eq!(config.initial_cluster_state, ClusterState::New);
    assert_eq!(config.heartbeat_interval, Duration::from_millis(100));
    assert_eq!(config.election_timeout, Duration::from_secs(1));
    assert_eq!((config.max_request_bytes, config.max_txn_ops), (1_572_864, 128));
    assert_eq!((config.log_level, config.log_format), (LogLevel::Info, LogFormat::Json));
    assert_eq!((config.snapshot_count, config.snapshot_catchup_entries), (10_000, 5_000));
    assert!(config.preferred_leaders.is_empty());
    assert_eq!(config.member_id().to_string(), "8e9e05c52164694d");
    assert_eq!(format!("{:x}", config.cluster_id()), "cdf818194e3a8c32");
    assert!(config.warnings.is_empty());
}

/// A name alone names the cluster of one and its directory, as with etcd.
#[test]
fn a_name_without_a_cluster_is_a_cluster_of_one() {
    let config = good(&["--name", "n1"]);
    assert_eq!(config.data_dir, PathBuf::from("n1.etcd"));
    assert_eq!(texts(&config.initial_cluster["n1"]), ["http://localhost:2380"]);
}

/// A member of three knows the ids of all; a name may have several URLs, in any order.
#[test]
fn a_cluster_of_three_is_read() {
    let config = good(&[
        "--name=b",
        "--initial-advertise-peer-urls=http://b:2,http://b:1",
        "--initial-cluster=a=http://a:1,b=http://b:1,b=http://b:2,c=http://c:1",
        "--initial-cluster-state=existing",
        "--initial-cluster-token=t",
    ]);
    assert_eq!(config.initial_cluster.len(), 3);
    assert_eq!(texts(&config.initial_cluster["b"]), ["http://b:1", "http://b:2"]);
    assert_eq!(config.initial_member_ids()["b"], config.member_id());
    assert_eq!(config.initial_cluster_state, ClusterState::Existing);
}

/// Who should lead is said by name or by id; a member of a later day has an id only.
#[test]
fn preferred_leaders_are_names_or_ids() {
    let config = good(&[
        "--name=b",
        "--initial-advertise-peer-urls=http://b:1",
        "--initial-cluster=a=http://a:1,b=http://b:1",
        "--preferred-leaders=b, 8e9e05c52164694d,a",
        "--snapshot-count=7",
        "--snapshot-catchup-entries=0",
    ]);
    let ids = config.initial_member_ids();
    let later = MemberId::from(0x8e9e_05c5_2164_694d);
    assert_eq!(config.preferred_leaders, [ids["b"], later, ids["a"]]);
    assert_eq!((config.snapshot_count, config.snapshot_catchup_entries), (7, 0));
}

/// Writes survive everything unless somebody says otherwise, in the words of either product; then
/// the start says what that may cost.
#[test]
fn only_a_flag_makes_writes_less_durable() {
    assert_eq!(good(&[]).sync_mode, SyncMode::Full);
    assert!(good(&["--sync-mode=full"]).warnings.is_empty());
    for (flag, mode) in [
        ("--sync-mode=normal", SyncMode::Normal),
        ("--sync-mode=none", SyncMode::None),
        ("--unsafe-no-fsync", SyncMode::None),
    ] {
        let config = good(&[flag]);
        assert_eq!(config.sync_mode, mode);
        let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
        assert!(warning.contains("a power failure may cost acknowledged writes"), "{warning}");
    }
}

/// The id that a member is added under is the one it gives itself: its name does not matter.
#[test]
fn an_id_is_made_from_peer_urls_and_token_alone() {
    let id = |name: &str| {
        let cluster = format!("--initial-cluster={name}=http://b:2,{name}=http://b:1,a=http://a:1");
        let own = "--initial-advertise-peer-urls=http://b:1,http://b:2";
        good(&[&format!("--name={name}"), &cluster, own]).member_id()
    };
    assert_eq!(id("b"), id("another"));
    assert_eq!(id("b"), MemberId::of(["http://b:2", "http://b:1"], "etcd-cluster"));
}

/// Each broken rule has a sentence that says what to write instead.
#[test]
fn every_rule_has_its_sentence() {
    for (arguments, expected) in RULES {
        let sentence = violation(arguments);
        assert!(sentence.starts_with(expected), "{arguments:?}:\n{sentence}");
    }
}

/// Five faults in one command line give five sentences in one answer.
#[test]
fn all_violations_come_at_once() {
    let error = read(
        &["--nmae=x", "--log-level=loud", "--election-timeout=1", "--cert-file=c"],
        &[("ETCD_LOG_LEVEL", "info")],
    )
    .unwrap_err();
    assert_eq!(error.violations.len(), 5, "{error}");
    assert_eq!(error.to_string().lines().count(), 5);
}

/// Variables speak where no flag does; both together are refused; strangers only warn.
#[test]
fn the_environment_counts_where_no_flag_does() {
    let config = read(&[], &[("ETCD_NAME", "n7"), ("ETCD_MAX_TXN_OPS", "9"), ("PATH", "/")]);
    let config = config.unwrap();
    assert_eq!((config.name.as_str(), config.max_txn_ops), ("n7", 9));

    let error = read(&["--name=n7"], &[("ETCD_NAME", "n7")]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "conflicting settings: both --name and the environment variable ETCD_NAME are given; drop \
         the flag or unset the variable"
    );

    let config = read(&[], &[("ETCD_SERVICE_HOST", "10.0.0.1"), ("ETCD_NAME", "")]).unwrap();
    assert_eq!(
        config.warnings,
        ["the environment variable ETCD_SERVICE_HOST is not known; ignored"]
    );
    let error = read(&[], &[("ETCD_AUTO_TLS", "maybe")]).unwrap_err();
    assert!(error.to_string().starts_with("ETCD_AUTO_TLS=maybe is neither true nor false"));
    read(&[], &[("ETCD_CERT_FILE", "c.pem")]).unwrap_err();
}

/// Flags that guard the data are refused, unless they ask for nothing.
#[test]
fn what_would_expose_the_data_is_refused() {
    for (argument, reason) in [
        ("--cert-file=c.pem", "TLS is not supported yet"),
        ("--client-cert-auth", "TLS is not supported yet"),
        ("--auto-tls=true", "TLS is not supported yet"),
        ("--auth-token=jwt,pub-key=k", "users and roles are not supported yet"),
        ("--host-whitelist=example.org", "who may call is not restricted yet"),
        ("--listen-metrics-urls=http://127.0.0.1:2381", "/metrics, /health"),
        ("--wal-dir=/fast", "the log lies in --data-dir"),
        ("--config-file=c.yml", "settings come from flags"),
        ("--force-new-cluster", "a cluster is not rebuilt"),
        ("--discovery-srv=example.org", "members are not discovered yet"),
    ] {
        let name = argument.split('=').next().unwrap();
        let sentence = violation(&[argument]);
        assert!(sentence.starts_with(&format!("{name} cannot be obeyed: {reason}")), "{sentence}");
        assert!(sentence.ends_with("; remove it"), "{sentence}");
    }
    for argument in
        ["--cert-file=", "--client-cert-auth=false", "--auto-tls=0", "--auth-token=simple"]
    {
        assert!(good(&[argument]).warnings.is_empty(), "{argument} asks for nothing");
    }
}

/// Flags that only tune are accepted and said to have no effect, old names included.
#[test]
fn what_only_tunes_is_accepted_with_a_warning() {
    let config = good(&[
        "--max-wals=5",
        "--quota-backend-bytes",
        "8589934592",
        "--experimental-initial-corrupt-check=true",
        "--max-request-bytes=20971520",
    ]);
    assert_eq!(
        config.warnings,
        [
            "--experimental-initial-corrupt-check is the old name of --initial-corrupt-check; \
             write --initial-corrupt-check",
            "--initial-corrupt-check is accepted but has no effect yet",
            "--max-wals is accepted but has no effect yet",
            "--quota-backend-bytes is accepted but has no effect yet",
            "--max-request-bytes=20971520 is above the recommended 10485760: large requests delay \
             small ones",
        ]
    );
}

/// The help lists every flag that works with its default, and admits the rest.
#[test]
fn the_help_shows_every_flag() {
    let text = help();
    for row in rows() {
        assert!(text.contains(&format!("--{}", row.flag.name)), "{}", row.flag.name);
    }
    assert!(text.contains("  --election-timeout '1000'\n"), "{text}");
    assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    let names: Vec<&str> = rows().iter().map(|row| row.flag.name).collect();
    let unique: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names.len(), unique.len(), "no flag is listed twice");
}

/// A command line that breaks one rule, and how the sentence about it begins.
const RULES: [(&[&str], &str); 30] = [
    (&["--name="], "--name is empty; write for example --name=n1"),
    (&["--name=a b"], "--name \"a b\" has a comma, an equals sign, a slash or a blank"),
    (&["--listen-peer-urls=localhost:1"], "--listen-peer-urls: \"localhost:1\" has no scheme"),
    (
        &["--listen-peer-urls=http://localhost"],
        "--listen-peer-urls: \"http://localhost\" has no port",
    ),
    (
        &["--listen-peer-urls=https://localhost:1"],
        "--listen-peer-urls: \"https://localhost:1\" asks for TLS",
    ),
    (
        &["--listen-peer-urls=http://h:1"],
        "--listen-peer-urls: http://h:1 names a host, but listening needs an address",
    ),
    (
        &["--listen-peer-urls=http://localhost:1,http://localhost:1"],
        "--listen-peer-urls names http://localhost:1 twice; name it once",
    ),
    (
        &["--listen-peer-urls=http://localhost:2379"],
        "http://localhost:2379 is in both --listen-client-urls and --listen-peer-urls",
    ),
    (
        &["--listen-client-urls=http://127.0.0.1:1"],
        "--listen-client-urls is given without --advertise-client-urls; add",
    ),
    (
        &["--name=n9", "--initial-cluster=n1=http://a:1,n2=http://b:1"],
        "--name n9 is not in --initial-cluster, which lists n1, n2; add \
             n9=http://localhost:2380",
    ),
    (
        &["--initial-cluster=default=http://a:1"],
        "--initial-cluster gives default the peer URLs http://a:1, but \
             --initial-advertise-peer-urls are http://localhost:2380; make the two equal",
    ),
    (
        &["--initial-cluster=default=http://localhost:2380,x"],
        "--initial-cluster: \"x\" is not name=url; write for example --initial-cluster=n1=",
    ),
    (
        &["--initial-cluster=default=http://localhost:2380,a=b:1"],
        "--initial-cluster: a: \"b:1\" has no scheme",
    ),
    (
        &["--initial-cluster=default=http://localhost:2380,a=http://localhost:2380"],
        "--initial-cluster gives http://localhost:2380 to both default and a",
    ),
    (
        &["--initial-cluster=default=http://localhost:2380,a=http://a:1,a=http://a:1"],
        "--initial-cluster gives http://a:1 to a twice",
    ),
    (
        &["--initial-cluster-state=old"],
        "--initial-cluster-state \"old\" is neither new nor existing; write new",
    ),
    (
        &["--preferred-leaders=n1"],
        "--preferred-leaders: \"n1\" is neither a name in --initial-cluster nor an id; write for",
    ),
    (&["--preferred-leaders=1,1"], "--preferred-leaders names 1 twice"),
    (&["--snapshot-count=0"], "--snapshot-count \"0\" is not a whole number from 1 to"),
    (
        &["--election-timeout=499"],
        "--election-timeout 499 ms is less than five times --heartbeat-interval 100 ms",
    ),
    (&["--election-timeout=50001"], "--election-timeout 50001 ms is above 50 s"),
    (
        &["--heartbeat-interval=0"],
        "--heartbeat-interval \"0\" is not a whole number from 1 to 50000; write for example \
             --heartbeat-interval=100",
    ),
    (&["--heartbeat-interval=100ms"], "--heartbeat-interval \"100ms\" is not a whole number"),
    (
        &["--max-request-bytes=-1"],
        "--max-request-bytes \"-1\" is not a whole number from 1024 to 1073741824",
    ),
    (&["--max-txn-ops=0"], "--max-txn-ops \"0\" is not a whole number from 1 to 1048576"),
    (&["--log-level=loud"], "--log-level \"loud\" is none; write debug, info, warn or error"),
    (&["--sync-mode=lazy"], "--sync-mode \"lazy\" is none; write full, normal or none"),
    (
        &["--unsafe-no-fsync", "--sync-mode=normal"],
        "--unsafe-no-fsync and --sync-mode contradict each other",
    ),
    (&["--log-format=xml"], "--log-format \"xml\" is none; write json or text"),
    (&["--initial-clutser=x"], "--initial-clutser is not known; did you mean --initial-cluster?"),
];
