//! The program as a user meets it: `raftd dev` and `raftd demo` with real processes, real sockets
//! and real kills.

#![expect(clippy::unwrap_used, reason = "a test says what it needs by panicking without it")]

use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use raft_api::etcdserverpb::kv_client::KvClient;
use raft_api::etcdserverpb::{PutRequest, RangeRequest};
use rustix::process::{Pid, Signal, kill_process};

const RAFTD: &str = env!("CARGO_BIN_EXE_raftd");

fn raftd(arguments: &[&str]) -> Command {
    let mut command = Command::new(RAFTD);
    command.args(arguments);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the demo in a directory of its own; gives its output and its verdict.
fn demo(dir: &Path, arguments: &[&str]) -> (Output, serde_json::Value) {
    let dir = format!("--data-dir={}", dir.display());
    let output = raftd(&["demo", "--json", &dir]).args(arguments).output().unwrap();
    let verdict = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", text(&output.stderr)));
    (output, verdict)
}

/// The leader of three is killed under load; no promise is broken, and the numbers say so.
#[test]
fn a_killed_leader_costs_no_acknowledged_write() {
    let dir = tempfile::tempdir().unwrap();
    let arguments = ["--writes=300", "--kills=1", "--clients=8"];
    let (output, verdict) = demo(dir.path(), &arguments);
    assert!(output.status.success(), "{verdict}\n{}", text(&output.stderr));
    for broken in ["lost", "phantom", "disorder"] {
        assert_eq!(verdict[broken], 0, "{verdict}");
    }
    assert!(verdict["acked"].as_u64().unwrap() >= 300, "{verdict}");
    assert_eq!(verdict["kills"], 1);
    assert!(verdict["failover_ms"][0].as_f64().unwrap() > 0.0, "{verdict}");
    assert_eq!(verdict["keys_read"].as_array().unwrap().len(), 3);
}

/// A server that forgets its data when it starts is caught: the demo can fail.
#[test]
fn a_server_that_forgets_is_caught() {
    let dir = tempfile::tempdir().unwrap();
    let forgetful = dir.path().join("forgetful");
    let script = format!(
        "#!/bin/sh\nfor flag in \"$@\"; do case $flag in\n\
         --data-dir=*) rm -rf \"${{flag#--data-dir=}}\";; esac; done\nexec {RAFTD} \"$@\"\n"
    );
    fs::write(&forgetful, script).unwrap();
    fs::set_permissions(&forgetful, Permissions::from_mode(0o755)).unwrap();
    let program = format!("--program={}", forgetful.display());
    let arguments = ["--nodes=1", "--writes=100", "--kills=1", "--clients=4", &program];
    let (output, verdict) = demo(&dir.path().join("cluster"), &arguments);
    assert_eq!(output.status.code(), Some(1), "{verdict}");
    assert!(verdict["lost"].as_u64().unwrap() > 0, "{verdict}");
    assert_eq!(verdict["ok"], false);
    assert!(text(&output.stderr).contains("data and logs of all members are kept in"));
    assert!(dir.path().join("cluster/n1/log").exists());
}

/// A running `raftd dev`, killed if a test fails before it stops it.
struct Dev {
    child: Child,
    /// Kept open, or the program would write into a closed pipe.
    _out: BufReader<ChildStdout>,
    client_url: String,
}

impl Dev {
    /// Starts it and reads its greeting up to the line that says ready.
    fn start(dir: &Path) -> Self {
        let dir = format!("--data-dir={}", dir.display());
        let mut command = raftd(&["dev", "--nodes=1", &dir]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut greeting = String::new();
        while !greeting.contains("\nready.") {
            assert!(out.read_line(&mut greeting).unwrap() > 0, "it ended: {greeting}");
        }
        let url = greeting.split_whitespace().find(|word| word.starts_with("http://"));
        let client_url = url.unwrap().to_owned();
        Self { child, _out: out, client_url }
    }

    /// Stops it as Ctrl-C does.
    fn stop(mut self) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // An error says that it has ended, as it should have.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// What was written is there after Ctrl-C and a second start; a start beside it is refused.
#[test]
fn a_cluster_to_try_out_keeps_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let dev = Dev::start(dir.path());
    runtime.block_on(async {
        let mut client = KvClient::connect(dev.client_url.clone()).await.unwrap();
        let put = PutRequest { key: "k".into(), value: "v".into(), ..PutRequest::default() };
        client.put(put).await.unwrap();
    });
    let beside = format!("--data-dir={}", dir.path().display());
    let beside = raftd(&["dev", &beside]).output().unwrap();
    assert_eq!(beside.status.code(), Some(1));
    assert!(text(&beside.stderr).contains("a cluster already runs on"));
    let first_url = dev.client_url.clone();
    dev.stop();

    let dev = Dev::start(dir.path());
    assert_eq!(dev.client_url, first_url, "ports are kept");
    let found = runtime.block_on(async {
        let mut client = KvClient::connect(dev.client_url.clone()).await.unwrap();
        let range = RangeRequest { key: "k".into(), ..RangeRequest::default() };
        client.range(range).await.unwrap().into_inner()
    });
    assert_eq!(found.kvs[0].value, "v");
    dev.stop();
}

/// Wrong flags are all answered, on stderr, with a status that says so.
#[test]
fn wrong_flags_are_answered_before_anything_starts() {
    let output = raftd(&["--nmae=x", "--cert-file=c.pem"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = text(&output.stderr);
    assert!(lines.contains("raftd: --nmae is not known; did you mean --name?\n"), "{lines}");
    assert!(lines.contains("raftd: --cert-file cannot be obeyed: TLS"), "{lines}");
    let output = raftd(&["--version"]).output().unwrap();
    assert!(text(&output.stdout).starts_with("etcd Version: 3.6.14\n"));
}
