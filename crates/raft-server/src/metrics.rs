//! Everything the server measures, under the names that etcd's dashboards and alerts use.
//!
//! [`Metrics`] is a struct with one field per family: whoever knows a fact stores it there, with an
//! atomic operation; `/metrics` renders all of it ([`Metrics::render`]). Every series exists from
//! the start, at zero, so that a rate over the first event is right.
//!
//! Read next: `metrics/series.rs`, counters, gauges and histograms; `metrics/rpc.rs`, the calls.

mod exposition;
mod process;
mod rpc;
mod series;

use crate::config::{ETCD_VERSION, PRODUCT_VERSION};

pub use exposition::{Exposition, MetricKind};
pub use rpc::{MethodMetrics, RpcMetrics};
pub use series::{Counter, Family, Gauge, Histogram, Series};

/// The type of the text that [`Metrics::render`] gives.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Declares the struct, its constructor and its rendering from one table, so that a family cannot
/// be forgotten in one of the three.
macro_rules! families {
    ($($field:ident: $type:ty = $new:expr, $name:literal, $help:literal;)*) => {
        /// What the server measures; one field per family.
        #[derive(Debug)]
        pub struct Metrics {
            $(#[doc = $help] #[doc = concat!("\n\nShown as `", $name, "`.")] pub $field: $type,)*
            /// Calls by service and method.
            pub rpc: RpcMetrics,
        }

        impl Metrics {
            /// All families, at zero.
            pub fn new() -> Self {
                let metrics = Self { $($field: $new,)* rpc: RpcMetrics::new() };
                metrics.fill_constants();
                metrics
            }

            /// Writes everything in the text format of Prometheus.
            pub fn render(&self) -> String {
                let mut out = Exposition::default();
                $(out.family($name, $help, &self.$field);)*
                self.rpc.render(&mut out);
                process::render(&mut out);
                out.into_text()
            }
        }
    };
}

families! {
    // The server and its place in the cluster.
    has_leader: Gauge = Gauge::new(), "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.";
    is_leader: Gauge = Gauge::new(), "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.";
    is_learner: Gauge = Gauge::new(), "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.";
    leader_changes: Counter = Counter::new(), "etcd_server_leader_changes_seen_total",
        "The number of leader changes seen.";
    proposals_committed: Gauge = Gauge::new(), "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.";
    proposals_applied: Gauge = Gauge::new(), "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.";
    proposals_pending: Gauge = Gauge::new(), "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.";
    proposals_failed: Counter = Counter::new(), "etcd_server_proposals_failed_total",
        "The total number of failed proposals seen.";
    heartbeat_send_failures: Counter = Counter::new(),
        "etcd_server_heartbeat_send_failures_total",
        "The total number of leader heartbeat send failures.";
    slow_apply: Counter = Counter::new(), "etcd_server_slow_apply_total",
        "The total number of slow apply requests.";
    slow_read_indexes: Counter = Counter::new(), "etcd_server_slow_read_indexes_total",
        "The total number of pending read indexes not in sync with leader's or timed out.";
    read_indexes_failed: Counter = Counter::new(), "etcd_server_read_indexes_failed_total",
        "The total number of failed read indexes seen.";
    snapshot_apply_in_progress: Gauge = Gauge::new(),
        "etcd_server_snapshot_apply_in_progress_total",
        "1 if the server is applying an incoming snapshot, 0 if none.";
    quota_bytes: Gauge = Gauge::new(), "etcd_server_quota_backend_bytes",
        "Quota of the stored data in bytes, 0 if there is none.";
    server_id: Family<Gauge> = Family::new(&["server_id"]), "etcd_server_id",
        "The id of this member, in hexadecimal, as a label.";
    server_version: Family<Gauge> = Family::new(&["server_version"]), "etcd_server_version",
        "Which version of etcd's API is served, as a label.";
    product_version: Family<Gauge> = Family::new(&["version"]), "raftd_version",
        "Which version of raftd is running, as a label.";
    cluster_version: Family<Gauge> = Family::new(&["cluster_version"]), "etcd_cluster_version",
        "Which version the cluster as a whole runs, as a label.";
    client_requests: Family<Counter> = Family::new(&["type", "client_api_version"]),
        "etcd_server_client_requests_total",
        "The total number of client requests per client version.";

    // The membership.
    members: Gauge = Gauge::new(), "raftd_members",
        "How many members the cluster has, voters and learners.";
    voters: Gauge = Gauge::new(), "raftd_voters",
        "How many members vote.";
    learners: Gauge = Gauge::new(), "raftd_learners",
        "How many members do not vote yet.";
    is_joint: Gauge = Gauge::new(), "raftd_membership_is_joint",
        "Whether a change of voters is under way and both majorities are asked. 1 if it is.";
    failures_tolerated: Gauge = Gauge::new(), "raftd_failures_tolerated",
        "How many of the voters this member is connected with may fail before the quorum is lost.";
    transfers: Counter = Counter::new(), "raftd_leadership_transfers_total",
        "Times this member handed leadership over because somebody asked.";

    // Health checks, as seen by who asks for them.
    health_success: Counter = Counter::new(), "etcd_server_health_success",
        "The total number of successful health checks.";
    health_failures: Counter = Counter::new(), "etcd_server_health_failures",
        "The total number of failed health checks.";
    healthcheck: Family<Gauge> = Family::new(&["type", "name"]), "etcd_server_healthcheck",
        "The result of each kind of health check. 1 if it passed.";
    healthchecks: Family<Counter> = Family::new(&["type", "name", "status"]),
        "etcd_server_healthchecks_total",
        "The total number of each kind of health check.";

    // The disk.
    wal_fsync_seconds: Histogram = Histogram::with_bounds(sync_bounds()),
        "etcd_disk_wal_fsync_duration_seconds",
        "The latency distributions of syncs of the write-ahead log.";
    wal_write_seconds: Histogram = Histogram::exponential(0.001, 2.0, 14),
        "etcd_disk_wal_write_duration_seconds",
        "The latency distributions of writes to the write-ahead log.";
    wal_write_bytes: Gauge = Gauge::new(), "etcd_disk_wal_write_bytes_total",
        "Total number of bytes written to the write-ahead log.";
    sync_mode: Family<Gauge> = Family::new(&["mode"]), "raft_storage_sync_mode",
        "What an acknowledged write survives; 1 for the mode this member runs in.";
    has_disk_room: Gauge = Gauge::new(), "raft_storage_has_room",
        "Whether the disk has room for what clients write; 0 while proposals are refused.";
    unsynced_bytes: Gauge = Gauge::new(), "raft_storage_unsynced_bytes",
        "Bytes of the write-ahead log that were acknowledged and are not synced.";
    backend_commit_seconds: Histogram = Histogram::exponential(0.001, 2.0, 14),
        "etcd_disk_backend_commit_duration_seconds",
        "The latency distributions of applying one batch of entries to the store.";
    snapshot_save_seconds: Histogram = Histogram::exponential(0.01, 2.0, 17),
        "etcd_disk_backend_snapshot_duration_seconds",
        "The latency distribution of taking snapshots of the store.";

    // The network.
    peer_sent_bytes: Family<Counter> = Family::new(&["To"]),
        "etcd_network_peer_sent_bytes_total",
        "The total number of bytes sent to peers.";
    peer_received_bytes: Family<Counter> = Family::new(&["From"]),
        "etcd_network_peer_received_bytes_total",
        "The total number of bytes received from peers.";
    peer_sent_failures: Family<Counter> = Family::new(&["To"]),
        "etcd_network_peer_sent_failures_total",
        "The total number of send failures from peers.";
    peer_round_trip_seconds: Family<Histogram> =
        Family::with(&["To"], || Histogram::exponential(0.0001, 2.0, 16)),
        "etcd_network_peer_round_trip_time_seconds",
        "Round-trip-time histogram between peers.";
    active_peers: Family<Gauge> = Family::new(&["Local", "Remote"]),
        "etcd_network_active_peers",
        "The current number of active peer connections.";
    client_sent_bytes: Counter = Counter::new(),
        "etcd_network_client_grpc_sent_bytes_total",
        "The total number of bytes sent to grpc clients.";
    client_received_bytes: Counter = Counter::new(),
        "etcd_network_client_grpc_received_bytes_total",
        "The total number of bytes received from grpc clients.";

    // The store.
    put: Counter = Counter::new(), "etcd_mvcc_put_total",
        "Total number of puts seen by this member.";
    delete: Counter = Counter::new(), "etcd_mvcc_delete_total",
        "Total number of deletes seen by this member.";
    txn: Counter = Counter::new(), "etcd_mvcc_txn_total",
        "Total number of txns seen by this member.";
    range: Counter = Counter::new(), "etcd_mvcc_range_total",
        "Total number of ranges seen by this member.";
    db_bytes: Gauge = Gauge::new(), "etcd_mvcc_db_total_size_in_bytes",
        "Total size of the stored data in bytes.";
    db_in_use_bytes: Gauge = Gauge::new(), "etcd_mvcc_db_total_size_in_use_in_bytes",
        "Total size of the stored data logically in use in bytes.";
    keys: Gauge = Gauge::new(), "etcd_debugging_mvcc_keys_total",
        "Total number of keys.";
    current_revision: Gauge = Gauge::new(), "etcd_debugging_mvcc_current_revision",
        "The current revision of store.";
    compact_revision: Gauge = Gauge::new(), "etcd_debugging_mvcc_compact_revision",
        "The revision of the last compaction in store.";
    put_bytes: Gauge = Gauge::new(), "etcd_debugging_mvcc_total_put_size_in_bytes",
        "The total size of put kv pairs seen by this member.";
    watch_streams: Gauge = Gauge::new(), "etcd_debugging_mvcc_watch_stream_total",
        "Total number of watch streams.";
    watchers: Gauge = Gauge::new(), "etcd_debugging_mvcc_watcher_total",
        "Total number of watchers.";
    slow_watchers: Gauge = Gauge::new(), "etcd_debugging_mvcc_slow_watcher_total",
        "Total number of unsynced slow watchers.";
    events: Counter = Counter::new(), "etcd_debugging_mvcc_events_total",
        "Total number of events sent by this member.";
    pending_events: Gauge = Gauge::new(), "etcd_debugging_mvcc_pending_events_total",
        "Total number of pending events to be sent.";
    leases_granted: Counter = Counter::new(), "etcd_debugging_lease_granted_total",
        "The total number of granted leases.";
    leases_revoked: Counter = Counter::new(), "etcd_debugging_lease_revoked_total",
        "The total number of revoked leases.";
    leases_renewed: Counter = Counter::new(), "etcd_debugging_lease_renewed_total",
        "The number of renewed leases seen by the leader.";
    leases_expired: Counter = Counter::new(), "etcd_debugging_server_lease_expired_total",
        "The total number of expired leases.";
}

impl Metrics {
    /// Stores what does not change while the process runs.
    fn fill_constants(&self) {
        self.server_version.at(&[ETCD_VERSION]).set(1.0);
        self.product_version.at(&[PRODUCT_VERSION]).set(1.0);
        for (kind, checks) in [
            ("/livez", &["serializable_read"][..]),
            ("/readyz", &["data_corruption", "serializable_read", "linearizable_read"]),
            ("/readyz", &["non_learner"]),
        ] {
            for name in checks {
                self.healthcheck.at(&[kind, name]);
                self.healthchecks.at(&[kind, name, "success"]);
                self.healthchecks.at(&[kind, name, "error"]);
            }
        }
    }
}

/// The storage counts its syncs itself, in these buckets.
fn sync_bounds() -> Vec<f64> {
    raft_runtime::SYNC_BUCKETS.iter().map(std::time::Duration::as_secs_f64).collect()
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
