//! From flags to a checked [`Config`]: etcd's defaults and etcd's rules.
//!
//! Each rule is checked whatever became of the others, so that one start tells all. Read next:
//! `config/table.rs` for the flags.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::table::WORKING;
use super::url::Url;
use super::{ClusterState, Config, ConfigError, LogFormat, LogLevel};
use raft_runtime::SyncMode;

use crate::flags::{Flag, Parsed};
use crate::identity::MemberId;

/// Fills in defaults, checks every rule, and gives the settings or all violations.
pub(super) fn check(mut parsed: Parsed, mut warnings: Vec<String>) -> Result<Config, ConfigError> {
    let name = parsed.text("name").unwrap_or("default").to_owned();
    check_name(&name, &mut parsed.problems);
    let data_dir = parsed.text("data-dir").filter(|dir| !dir.is_empty());
    let data_dir = data_dir.map_or_else(|| PathBuf::from(format!("{name}.etcd")), PathBuf::from);

    let listen_client_urls = urls(&mut parsed, "listen-client-urls", CLIENT_URL);
    let advertise_client_urls = urls(&mut parsed, "advertise-client-urls", CLIENT_URL);
    let listen_peer_urls = urls(&mut parsed, "listen-peer-urls", PEER_URL);
    let initial_advertise_peer_urls = urls(&mut parsed, "initial-advertise-peer-urls", PEER_URL);
    check_listeners(&listen_client_urls, &listen_peer_urls, &mut parsed);

    let initial_cluster = initial_cluster(&name, &initial_advertise_peer_urls, &mut parsed);
    check_membership(&name, &initial_advertise_peer_urls, &initial_cluster, &mut parsed.problems);
    let initial_cluster_token = parsed.text("initial-cluster-token").unwrap_or("etcd-cluster");
    let initial_cluster_token = initial_cluster_token.to_owned();
    let initial_cluster_state = cluster_state(&mut parsed);
    let ids = || {
        initial_cluster
            .iter()
            .map(|(name, urls)| (name.as_str(), MemberId::of(urls, &initial_cluster_token)))
    };
    let preferred_leaders = preferred_leaders(&mut parsed, &ids().collect());

    let (heartbeat_interval, election_timeout) = timing(&mut parsed);
    let max_request_bytes = parsed.number(flag("max-request-bytes"), 1_572_864, REQUEST_BYTES);
    if max_request_bytes > 10 << 20 {
        warnings.push(format!(
            "--max-request-bytes={max_request_bytes} is above the recommended 10485760: large \
             requests delay small ones"
        ));
    }
    let snapshot_count = parsed.number(flag("snapshot-count"), 10_000, SNAPSHOT_ENTRIES);
    let snapshot_catchup_entries =
        parsed.number(flag("snapshot-catchup-entries"), 5_000, (0, SNAPSHOT_ENTRIES.1));
    let max_txn_ops = parsed.number(flag("max-txn-ops"), 128, (1, 1 << 20));
    let sync_mode = sync_mode(&mut parsed, &mut warnings);
    let accept_data_loss = parsed.is_on("accept-data-loss");
    if accept_data_loss {
        warnings.push("--accept-data-loss is for one start: leave it out from the next".to_owned());
    }
    let log_level = log_level(&mut parsed);
    let log_format = log_format(&mut parsed);

    if !parsed.problems.is_empty() {
        return Err(ConfigError { violations: parsed.problems });
    }
    Ok(Config {
        name,
        data_dir,
        listen_client_urls,
        advertise_client_urls,
        listen_peer_urls,
        initial_advertise_peer_urls,
        initial_cluster,
        initial_cluster_token,
        initial_cluster_state,
        heartbeat_interval,
        election_timeout,
        preferred_leaders,
        snapshot_count,
        snapshot_catchup_entries,
        max_request_bytes,
        max_txn_ops,
        sync_mode,
        accept_data_loss,
        log_level,
        log_format,
        warnings,
    })
}

fn check_name(name: &str, problems: &mut Vec<String>) {
    if name.is_empty() {
        problems.push("--name is empty; write for example --name=n1".to_owned());
    } else if name.contains([',', '=', '/']) || name.contains(char::is_whitespace) {
        problems.push(format!(
            "--name {name:?} has a comma, an equals sign, a slash or a blank, which \
             --initial-cluster and --data-dir cannot hold; write for example --name=n1"
        ));
    }
}

/// The URLs of one flag, sorted as etcd sorts them, or its default. None is left empty-handed: a
/// wrong one becomes a problem.
fn urls(parsed: &mut Parsed, flag: &'static str, default: &str) -> Vec<Url> {
    let text = parsed.text(flag).unwrap_or(default).to_owned();
    let mut urls = BTreeSet::new();
    for part in text.split(',') {
        match Url::parse(part) {
            Ok(url) => {
                let shown = url.to_string();
                if !urls.insert(url) {
                    parsed.problems.push(format!("--{flag} names {shown} twice; name it once"));
                }
            }
            Err(problem) => parsed.problems.push(format!("--{flag}: {problem}")),
        }
    }
    urls.into_iter().collect()
}

fn check_listeners(client: &[Url], peer: &[Url], parsed: &mut Parsed) {
    for (flag, urls) in [("listen-client-urls", client), ("listen-peer-urls", peer)] {
        for url in urls.iter().filter(|url| !url.is_bindable()) {
            parsed.problems.push(format!(
                "--{flag}: {url} names a host, but listening needs an address of this machine; \
                 write http://0.0.0.0:{} for all of them",
                url.port()
            ));
        }
    }
    for url in client.iter().filter(|url| url.port() != 0 && peer.contains(url)) {
        parsed.problems.push(format!(
            "{url} is in both --listen-client-urls and --listen-peer-urls; clients and peers need \
             ports of their own"
        ));
    }
    if parsed.text("listen-client-urls").is_some() && parsed.text("advertise-client-urls").is_none()
    {
        parsed.problems.push(
            "--listen-client-urls is given without --advertise-client-urls; add \
             --advertise-client-urls with the URLs under which clients reach this member"
                .to_owned(),
        );
    }
}

/// Reads `n1=url,n1=url,n2=url`. Without the flag the cluster is this member alone.
fn initial_cluster(name: &str, own: &[Url], parsed: &mut Parsed) -> BTreeMap<String, Vec<Url>> {
    let Some(text) = parsed.text("initial-cluster").map(str::to_owned) else {
        return BTreeMap::from([(name.to_owned(), own.to_vec())]);
    };
    let mut members: BTreeMap<String, Vec<Url>> = BTreeMap::new();
    let mut owner: BTreeMap<Url, String> = BTreeMap::new();
    for part in text.split(',').map(str::trim) {
        let Some((member, url)) = part.split_once('=').filter(|(member, _)| !member.is_empty())
        else {
            parsed.problems.push(format!(
                "--initial-cluster: {part:?} is not name=url; write for example \
                 --initial-cluster=n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380"
            ));
            continue;
        };
        match Url::parse(url) {
            Ok(url) => {
                if let Some(first) = owner.insert(url.clone(), member.to_owned()) {
                    let whom = if first == member {
                        format!("{member} twice")
                    } else {
                        format!("both {first} and {member}")
                    };
                    parsed.problems.push(format!(
                        "--initial-cluster gives {url} to {whom}; each peer URL belongs to one \
                         member, once"
                    ));
                } else {
                    members.entry(member.to_owned()).or_default().push(url);
                }
            }
            Err(problem) => {
                parsed.problems.push(format!("--initial-cluster: {member}: {problem}"));
            }
        }
    }
    for urls in members.values_mut() {
        urls.sort();
    }
    members
}

fn check_membership(
    name: &str,
    own: &[Url],
    members: &BTreeMap<String, Vec<Url>>,
    problems: &mut Vec<String>,
) {
    // A member list that could not be read at all already has its own sentence.
    if members.is_empty() || own.is_empty() {
        return;
    }
    let Some(listed) = members.get(name) else {
        let names: Vec<&str> = members.keys().map(String::as_str).collect();
        problems.push(format!(
            "--name {name} is not in --initial-cluster, which lists {}; add {name}={} to \
             --initial-cluster or correct --name",
            names.join(", "),
            own[0]
        ));
        return;
    };
    if listed.as_slice() != own {
        problems.push(format!(
            "--initial-cluster gives {name} the peer URLs {}, but --initial-advertise-peer-urls \
             are {}; make the two equal",
            listed_urls(listed),
            listed_urls(own)
        ));
    }
}

fn listed_urls(urls: &[Url]) -> String {
    urls.iter().map(Url::to_string).collect::<Vec<_>>().join(",")
}

fn cluster_state(parsed: &mut Parsed) -> ClusterState {
    match parsed.text("initial-cluster-state").unwrap_or("new") {
        "new" => ClusterState::New,
        "existing" => ClusterState::Existing,
        other => {
            let problem = format!(
                "--initial-cluster-state {other:?} is neither new nor existing; write new to make \
                 a cluster, existing to join one"
            );
            parsed.problems.push(problem);
            ClusterState::New
        }
    }
}

/// Reads `n1,8e9e05c52164694d`: names of --initial-cluster, and ids as they are shown.
fn preferred_leaders(parsed: &mut Parsed, known: &BTreeMap<&str, MemberId>) -> Vec<MemberId> {
    let text = parsed.text("preferred-leaders").unwrap_or_default().to_owned();
    let mut preferred = Vec::new();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let id = known.get(word).copied();
        let id = id.or_else(|| u64::from_str_radix(word, 16).ok().map(MemberId::from));
        match id.filter(|id| id.get() != 0) {
            Some(id) if preferred.contains(&id) => {
                parsed.problems.push(format!("--preferred-leaders names {word} twice"));
            }
            Some(id) => preferred.push(id),
            None => parsed.problems.push(format!(
                "--preferred-leaders: {word:?} is neither a name in --initial-cluster nor an id; \
                 write for example --preferred-leaders=n1,8e9e05c52164694d"
            )),
        }
    }
    preferred
}

fn timing(parsed: &mut Parsed) -> (Duration, Duration) {
    let heartbeat = parsed.number(flag("heartbeat-interval"), 100_u64, (1, ELECTION_MS_MAX));
    let election = parsed.number(flag("election-timeout"), 1000_u64, (1, u64::from(u32::MAX)));
    if election < 5 * heartbeat {
        parsed.problems.push(format!(
            "--election-timeout {election} ms is less than five times --heartbeat-interval \
             {heartbeat} ms, so that a few late heartbeats would start an election; write at least \
             --election-timeout={}",
            5 * heartbeat
        ));
    }
    if election > ELECTION_MS_MAX {
        parsed.problems.push(format!(
            "--election-timeout {election} ms is above 50 s, and the cluster would stand still for \
             that long; write at most --election-timeout={ELECTION_MS_MAX}"
        ));
    }
    (Duration::from_millis(heartbeat), Duration::from_millis(election))
}

fn log_level(parsed: &mut Parsed) -> LogLevel {
    match parsed.text("log-level").unwrap_or("info") {
        "debug" => LogLevel::Debug,
        "info" => LogLevel::Info,
        "warn" => LogLevel::Warn,
        // etcd has three names for what is worse than an error; here all of it is an error.
        "error" | "dpanic" | "panic" | "fatal" => LogLevel::Error,
        other => {
            let problem = format!(
                "--log-level {other:?} is none; write debug, info, warn or error, for example \
                 --log-level=info"
            );
            parsed.problems.push(problem);
            LogLevel::Info
        }
    }
}

/// What a receipt means; anything but the default is said aloud.
fn sync_mode(parsed: &mut Parsed, warnings: &mut Vec<String>) -> SyncMode {
    let unsafe_switch = parsed.is_on("unsafe-no-fsync");
    let mode = match parsed.text("sync-mode") {
        None if unsafe_switch => SyncMode::None,
        None | Some("full") => SyncMode::Full,
        Some("normal") => SyncMode::Normal,
        Some("none") => SyncMode::None,
        Some(other) => {
            let problem = format!(
                "--sync-mode {other:?} is none; write full, normal or none, for example \
                 --sync-mode=full"
            );
            parsed.problems.push(problem);
            SyncMode::Full
        }
    };
    if unsafe_switch && mode != SyncMode::None {
        let problem = "--unsafe-no-fsync and --sync-mode contradict each other; leave out one";
        parsed.problems.push(problem.to_owned());
    }
    if mode != SyncMode::Full {
        warnings.push(format!(
            "--sync-mode={}: a power failure may cost acknowledged writes, and this member has to \
             be readmitted after one",
            mode.name()
        ));
    }
    mode
}

fn log_format(parsed: &mut Parsed) -> LogFormat {
    match parsed.text("log-format").unwrap_or("json") {
        "json" => LogFormat::Json,
        // etcd calls it console.
        "text" | "console" => LogFormat::Text,
        other => {
            let problem = format!(
                "--log-format {other:?} is none; write json or text, for example --log-format=json"
            );
            parsed.problems.push(problem);
            LogFormat::Json
        }
    }
}

/// A working flag by its name.
fn flag(name: &str) -> &'static Flag {
    let row = WORKING.iter().find(|row| row.flag.name == name);
    &row.expect("the table lists every flag that is read").flag
}

const CLIENT_URL: &str = "http://localhost:2379";
const PEER_URL: &str = "http://localhost:2380";

/// As etcd: a longer timeout would keep a cluster without leader for too long.
const ELECTION_MS_MAX: u64 = 50_000;

/// From a request that can hold anything to the largest message a member should have in memory.
const REQUEST_BYTES: (u64, u64) = (1024, 1 << 30);

/// Fewer than this would make snapshots all the time; more than the upper end is never.
const SNAPSHOT_ENTRIES: (u64, u64) = (1, 1 << 40);
