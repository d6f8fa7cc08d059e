//! Tests of the exposition: the format to the byte, and the names that dashboards ask for.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_api::tonic::Code;

use super::*;

fn rendered<S: Series>(series: &S) -> String {
    let mut out = Exposition::default();
    out.family("x", "About x.", series);
    out.into_text()
}

/// A counter and a gauge are two comments and a number.
#[test]
fn plain_numbers_to_the_byte() {
    let counter = Counter::new();
    counter.inc();
    counter.add(2);
    assert_eq!(rendered(&counter), "# HELP x About x.\n# TYPE x counter\nx 3\n");
    counter.raise_to(10);
    counter.raise_to(5);
    assert_eq!(counter.value(), 10, "a counter never falls");

    let gauge = Gauge::new();
    gauge.set(1.5);
    gauge.add(-2.0);
    assert_eq!(rendered(&gauge), "# HELP x About x.\n# TYPE x gauge\nx -0.5\n");
    gauge.set_count(1_234_567);
    assert!(rendered(&gauge).ends_with("\nx 1234567\n"));
    gauge.set_flag(true);
    assert!(rendered(&gauge).ends_with("\nx 1\n"));
}

/// Buckets are cumulative, a bound belongs to its bucket, and the last one is +Inf.
#[test]
fn histograms_to_the_byte() {
    let histogram = Histogram::exponential(0.5, 2.0, 3);
    for value in [0.5, 0.75, 3.0] {
        histogram.observe(value);
    }
    histogram.observe_duration(Duration::from_millis(250));
    assert_eq!(
        rendered(&histogram),
        "# HELP x About x.\n# TYPE x histogram\nx_bucket{le=\"0.5\"} 2\nx_bucket{le=\"1\"} 3\n\
         x_bucket{le=\"2\"} 3\nx_bucket{le=\"+Inf\"} 4\nx_sum 4.5\nx_count 4\n"
    );
}

/// Labels are sorted by value, and whatever a value holds cannot break the line.
#[test]
fn labels_are_escaped() {
    let family: Family<Counter> = Family::new(&["a", "b"]);
    family.at(&["z", "1"]).inc();
    family.at(&["q\"uo\\te\nline", "2"]).add(7);
    family.at(&["z", "1"]).inc();
    assert_eq!(
        rendered(&family),
        "# HELP x About x.\n# TYPE x counter\nx{a=\"q\\\"uo\\\\te\\nline\",b=\"2\"} 7\n\
         x{a=\"z\",b=\"1\"} 2\n"
    );
    family.clear();
    assert_eq!(rendered(&family), "# HELP x About x.\n# TYPE x counter\n");
    let mut out = Exposition::default();
    out.head("x", "a\\b\nc", MetricKind::Gauge);
    assert!(out.into_text().starts_with("# HELP x a\\\\b\\nc\n"));
}

/// Every line of the whole is a comment or a sample with a number, and each family comes once.
#[test]
fn the_whole_is_well_formed() {
    let metrics = Metrics::new();
    metrics.peer_round_trip_seconds.at(&["8e9e05c52164694d"]).observe(0.01);
    let text = metrics.render();
    let mut families = BTreeSet::new();
    let mut present = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, _) = rest.split_once(' ').unwrap();
            assert!(families.insert(name.to_owned()), "{name} comes twice");
            name.clone_into(&mut present);
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(series.starts_with(&present), "{line} stands under {present}");
            assert!(value == "+Inf" || value.parse::<f64>().is_ok(), "{line}");
        }
    }
    assert!(text.ends_with('\n'));
}

/// The series that etcd's alerts and dashboards name are there before anything happened.
#[test]
fn what_dashboards_ask_for_exists_from_the_start() {
    let text = Metrics::new().render();
    for series in [
        "etcd_server_has_leader 0",
        "etcd_server_leader_changes_seen_total 0",
        "etcd_server_proposals_failed_total 0",
        "etcd_disk_wal_fsync_duration_seconds_bucket{le=\"0.001\"} 0",
        "etcd_disk_backend_commit_duration_seconds_bucket{le=\"8.192\"} 0",
        "etcd_network_client_grpc_sent_bytes_total 0",
        "etcd_mvcc_db_total_size_in_bytes 0",
        "etcd_server_version{server_version=\"3.6.14\"} 1",
        "etcd_server_healthcheck{type=\"/readyz\",name=\"linearizable_read\"} 0",
        "grpc_server_handled_total{grpc_code=\"OK\",grpc_method=\"Put\",\
         grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 0",
        "grpc_server_started_total{grpc_method=\"Watch\",\
         grpc_service=\"etcdserverpb.Watch\",grpc_type=\"bidi_stream\"} 0",
        "grpc_server_handled_total{grpc_code=\"Unavailable\",grpc_method=\"Snapshot\",\
         grpc_service=\"etcdserverpb.Maintenance\",grpc_type=\"server_stream\"} 0",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is missing");
    }
}

/// The process itself is measured where the system shows it.
#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured() {
    let text = Metrics::new().render();
    for name in [
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_cpu_seconds_total",
        "process_start_time_seconds",
    ] {
        let prefix = format!("{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
        let value: f64 = line.unwrap_or_else(|| panic!("{name} is missing")).parse().unwrap();
        assert!(value >= 0.0 && (value > 0.0 || name.contains("cpu")), "{name} {value}");
    }
}

/// A call is counted under its method and code, and nowhere else.
#[test]
fn calls_are_counted_by_method_and_code() {
    let metrics = Metrics::new();
    let put = metrics.rpc.method("/etcdserverpb.KV/Put").unwrap();
    put.started.inc();
    put.handled(Code::Unavailable);
    assert!(metrics.rpc.method("/etcdserverpb.KV/Steal").is_none());
    let text = metrics.render();
    let counted: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("grpc_server_handled_total{") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(
        counted,
        ["grpc_server_handled_total{grpc_code=\"Unavailable\",grpc_method=\"Put\",\
          grpc_service=\"etcdserverpb.KV\",grpc_type=\"unary\"} 1"]
    );
}
