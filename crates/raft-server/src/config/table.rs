//! Every flag of etcd that the server knows: what works, what has no effect yet, what is refused.
//!
//! A flag that etcd has and this server has not is answered honestly. Where ignoring it only costs
//! some tuning it is accepted with a warning; where ignoring it would change who may read the data,
//! where the data lies or which ports answer, it is refused. Read next: `config.rs`.

use crate::flags::{Flag, Kind};

/// A flag of the server, with its place in the help.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name and syntax.
    pub flag: Flag,
    /// The value when it is not given, as the help shows it.
    pub default: &'static str,
    /// One line of help.
    pub help: &'static str,
    /// The heading it stands under.
    pub group: Group,
    /// What the server does with it.
    pub support: Support,
}

/// The headings of the help, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// This member: its name, its directory, its addresses.
    Member,
    /// The cluster it belongs to.
    Clustering,
    /// Times and sizes.
    Limits,
    /// Logging.
    Logging,
    /// What prints and exits.
    Information,
    /// Known from etcd, without effect here.
    Compatibility,
}

/// What the server does with a flag that is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Obeys it.
    Works,
    /// Accepts it with a warning: it has no effect yet.
    Ineffective,
    /// Refuses to start, unless the value is `off`, which says the same as no flag.
    Refused {
        /// The value that asks for nothing.
        off: &'static str,
        /// Why ignoring it would be wrong, as the end of a sentence.
        why: &'static str,
    },
}

/// The flags that work, in the order of the help.
pub static WORKING: &[Row] = &[
    works(Group::Member, "name", "default", "n1", "Name of this member, as in --initial-cluster."),
    works(
        Group::Member,
        "data-dir",
        "${name}.etcd",
        "/var/lib/raftd",
        "Directory of this member's log and snapshots.",
    ),
    works(
        Group::Member,
        "listen-client-urls",
        "http://localhost:2379",
        "http://127.0.0.1:2379",
        "URLs to listen on for clients, comma-separated.",
    ),
    works(
        Group::Member,
        "advertise-client-urls",
        "http://localhost:2379",
        "http://10.0.0.1:2379",
        "URLs under which clients reach this member, comma-separated.",
    ),
    works(
        Group::Member,
        "listen-peer-urls",
        "http://localhost:2380",
        "http://10.0.0.1:2380",
        "URLs to listen on for peers, comma-separated.",
    ),
    works(
        Group::Clustering,
        "initial-advertise-peer-urls",
        "http://localhost:2380",
        "http://10.0.0.1:2380",
        "URLs under which peers reach this member, comma-separated.",
    ),
    works(
        Group::Clustering,
        "initial-cluster",
        "default=http://localhost:2380",
        "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380,n3=http://10.0.0.3:2380",
        "Members of a new cluster as name=peer-url, comma-separated.",
    ),
    works(
        Group::Clustering,
        "initial-cluster-token",
        "etcd-cluster",
        "my-cluster",
        "Word that keeps two new clusters with equal URLs apart.",
    ),
    works(
        Group::Clustering,
        "initial-cluster-state",
        "new",
        "new",
        "'new' makes a cluster, 'existing' joins one: see 'raftctl member add'.",
    ),
    works(
        Group::Clustering,
        "preferred-leaders",
        "",
        "n1,n2",
        "Who should lead, best first, by name or id; the same on all members.",
    ),
    works(
        Group::Limits,
        "heartbeat-interval",
        "100",
        "100",
        "Milliseconds between two heartbeats of the leader.",
    ),
    works(
        Group::Limits,
        "election-timeout",
        "1000",
        "1000",
        "Milliseconds without a leader before a member campaigns.",
    ),
    works(
        Group::Limits,
        "max-request-bytes",
        "1572864",
        "1572864",
        "Largest request of a client, in bytes.",
    ),
    works(
        Group::Limits,
        "snapshot-count",
        "10000",
        "10000",
        "Entries between two snapshots of the store.",
    ),
    works(
        Group::Limits,
        "snapshot-catchup-entries",
        "5000",
        "5000",
        "Entries kept behind a snapshot, for members that are a little late.",
    ),
    works(
        Group::Limits,
        "sync-mode",
        "full",
        "full",
        "What an acknowledged write survives: full, normal or none; see docs/OPERATIONS.md.",
    ),
    Row {
        flag: Flag { name: "unsafe-no-fsync", kind: Kind::Switch, example: "true" },
        default: "false",
        help: "The same as --sync-mode=none.",
        group: Group::Limits,
        support: Support::Works,
    },
    Row {
        flag: Flag { name: "accept-data-loss", kind: Kind::Switch, example: "true" },
        default: "false",
        help: "Start a cluster of one on a damaged disk, without what is behind the damage.",
        group: Group::Limits,
        support: Support::Works,
    },
    works(Group::Limits, "max-txn-ops", "128", "128", "Most operations in one transaction."),
    works(Group::Logging, "log-level", "info", "info", "debug, info, warn or error."),
    works(Group::Logging, "log-format", "json", "json", "json or text, one line per event."),
    switch(Group::Information, "version", "Print the version and exit."),
    switch(Group::Information, "help", "Print this help and exit."),
];

const fn works(
    group: Group,
    name: &'static str,
    default: &'static str,
    example: &'static str,
    help: &'static str,
) -> Row {
    let flag = Flag { name, kind: Kind::Value, example };
    Row { flag, default, help, group, support: Support::Works }
}

const fn switch(group: Group, name: &'static str, help: &'static str) -> Row {
    let flag = Flag { name, kind: Kind::Switch, example: "true" };
    Row { flag, default: "false", help, group, support: Support::Works }
}

/// Flags of etcd that are accepted with a warning. All only tune what this server does otherwise.
const INEFFECTIVE: &[(&str, Kind)] = &[
    ("auth-token-ttl", Kind::Value),
    ("auto-compaction-mode", Kind::Value),
    ("auto-compaction-retention", Kind::Value),
    ("backend-batch-interval", Kind::Value),
    ("backend-batch-limit", Kind::Value),
    ("backend-bbolt-freelist-type", Kind::Value),
    ("bcrypt-cost", Kind::Value),
    ("bootstrap-defrag-threshold-megabytes", Kind::Value),
    ("compact-hash-check-enabled", Kind::Switch),
    ("compact-hash-check-time", Kind::Value),
    ("compaction-batch-limit", Kind::Value),
    ("compaction-sleep-interval", Kind::Value),
    ("corrupt-check-time", Kind::Value),
    ("downgrade-check-time", Kind::Value),
    ("enable-grpc-gateway", Kind::Switch),
    ("enable-log-rotation", Kind::Switch),
    ("feature-gates", Kind::Value),
    ("grpc-keepalive-interval", Kind::Value),
    ("grpc-keepalive-min-time", Kind::Value),
    ("grpc-keepalive-timeout", Kind::Value),
    ("initial-corrupt-check", Kind::Switch),
    ("initial-election-tick-advance", Kind::Switch),
    ("log-outputs", Kind::Value),
    ("log-rotation-config-json", Kind::Value),
    ("logger", Kind::Value),
    ("max-concurrent-streams", Kind::Value),
    ("max-learners", Kind::Value),
    ("max-snapshots", Kind::Value),
    ("max-wals", Kind::Value),
    ("memory-mlock", Kind::Switch),
    ("metrics", Kind::Value),
    ("peer-skip-client-san-verification", Kind::Switch),
    ("pre-vote", Kind::Switch),
    ("quota-backend-bytes", Kind::Value),
    ("raft-read-timeout", Kind::Value),
    ("raft-write-timeout", Kind::Value),
    ("self-signed-cert-validity", Kind::Value),
    ("socket-reuse-address", Kind::Switch),
    ("socket-reuse-port", Kind::Switch),
    ("strict-reconfig-check", Kind::Switch),
    ("warning-apply-duration", Kind::Value),
    ("warning-unary-request-duration", Kind::Value),
    ("watch-progress-notify-interval", Kind::Value),
];

/// Flags of etcd that are refused, with the value that asks for nothing and the reason.
const REFUSED: &[(&str, Kind, &str, &str)] = &[
    ("cert-file", Kind::Value, "", TLS),
    ("key-file", Kind::Value, "", TLS),
    ("trusted-ca-file", Kind::Value, "", TLS),
    ("client-cert-auth", Kind::Switch, "false", TLS),
    ("client-cert-file", Kind::Value, "", TLS),
    ("client-key-file", Kind::Value, "", TLS),
    ("client-crl-file", Kind::Value, "", TLS),
    ("client-cert-allowed-hostname", Kind::Value, "", TLS),
    ("peer-cert-file", Kind::Value, "", TLS),
    ("peer-key-file", Kind::Value, "", TLS),
    ("peer-trusted-ca-file", Kind::Value, "", TLS),
    ("peer-client-cert-auth", Kind::Switch, "false", TLS),
    ("peer-client-cert-file", Kind::Value, "", TLS),
    ("peer-client-key-file", Kind::Value, "", TLS),
    ("peer-crl-file", Kind::Value, "", TLS),
    ("peer-cert-allowed-cn", Kind::Value, "", TLS),
    ("peer-cert-allowed-hostname", Kind::Value, "", TLS),
    ("auto-tls", Kind::Switch, "false", TLS),
    ("peer-auto-tls", Kind::Switch, "false", TLS),
    ("tls-min-version", Kind::Value, "", TLS),
    ("tls-max-version", Kind::Value, "", TLS),
    ("cipher-suites", Kind::Value, "", TLS),
    ("auth-token", Kind::Value, "simple", AUTH),
    ("cors", Kind::Value, "*", BROWSERS),
    ("host-whitelist", Kind::Value, "*", BROWSERS),
    ("config-file", Kind::Value, "", "settings come from flags and ETCD_ variables only"),
    ("wal-dir", Kind::Value, "", "the log lies in --data-dir; place that directory instead"),
    ("listen-metrics-urls", Kind::Value, "", OPERATIONS),
    ("listen-client-http-urls", Kind::Value, "", OPERATIONS),
    ("discovery", Kind::Value, "", DISCOVERY),
    ("discovery-srv", Kind::Value, "", DISCOVERY),
    ("discovery-endpoints", Kind::Value, "", DISCOVERY),
    ("force-new-cluster", Kind::Switch, "false", RECOVERY),
    ("enable-pprof", Kind::Switch, "false", "there is no profiler to serve"),
];

const TLS: &str = "TLS is not supported yet, and serving without it would expose what you mean to \
                   protect";
const AUTH: &str = "users and roles are not supported yet, and every client may read and write";
const BROWSERS: &str = "who may call is not restricted yet";
const OPERATIONS: &str = "/metrics, /health, /livez and /readyz answer on --listen-client-urls";
const DISCOVERY: &str = "members are not discovered yet; name them with --initial-cluster";
const RECOVERY: &str = "a cluster is not rebuilt from one member yet";

/// All flags: working, without effect, refused.
pub fn rows() -> Vec<Row> {
    let ineffective = INEFFECTIVE.iter().map(|(name, kind)| (*name, *kind, Support::Ineffective));
    let refused = REFUSED.iter().map(|(name, kind, off, why)| {
        let support = Support::Refused { off, why };
        (*name, *kind, support)
    });
    let compatible = ineffective.chain(refused).map(|(name, kind, support)| Row {
        flag: Flag { name, kind, example: "" },
        default: "",
        help: "",
        group: Group::Compatibility,
        support,
    });
    WORKING.iter().copied().chain(compatible).collect()
}
