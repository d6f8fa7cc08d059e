//! The commands for trying out: `raftd dev` and `raftd demo`, as a user meets them.

use std::path::Path;

use raft_tests::{Client, Log, Ports, Raftd, run};

/// A running `raftd dev` of three members.
struct Dev {
    process: Raftd,
    log: Log,
}

impl Dev {
    async fn start(dir: &Path, ports: &Ports) -> Self {
        let log = Log::new();
        let arguments = [
            "dev".to_owned(),
            "--nodes=3".to_owned(),
            format!("--data-dir={}", dir.display()),
            format!("--base-port={}", ports.base()),
        ];
        let process = Raftd::start(&arguments, &log);
        log.wait_for(0, "ready. Try, in another terminal:").await;
        Self { process, log }
    }

    /// Stops it as Ctrl-C does.
    async fn stop(mut self) {
        self.process.interrupt();
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.log.tail());
        self.log.wait_for(0, "stopping 3 members").await;
        assert_eq!(self.log.find("was killed"), None);
    }
}

/// One command gives a cluster of three: a table of its members and the word that it is ready.
/// Ctrl-C stops it in order, a second start has all data, and a start beside it is refused.
#[tokio::test(flavor = "multi_thread")]
async fn dev_runs_a_cluster_and_keeps_its_data() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), Ports::lease());
    let clients =
        [0, 1, 2].map(|member| Client::new(&format!("http://127.0.0.1:{}", ports.client(member))));
    let dev = Dev::start(dir.path(), &ports).await;
    assert!(dev.log.find("MEMBER").is_some_and(|line| line.contains("CLIENT URL")));
    for member in 0..3 {
        let name = format!("n{}", member + 1);
        let lines = dev.log.lines();
        let url = format!("http://127.0.0.1:{}", ports.client(member));
        let is_row = |line: &&String| line.starts_with(&name) && line.contains(&url);
        assert!(lines.iter().any(|line| is_row(&line)), "{name} is not in the table");
    }
    clients[0].write("k", "v").await.unwrap();
    assert_eq!(clients[2].read("k").await.unwrap().as_deref(), Some("v"));

    let beside = ["dev".to_owned(), format!("--data-dir={}", dir.path().display())];
    let output = run(&beside, &[]).await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("a cluster already runs on"), "{said}");
    assert!(said.contains(&dir.path().display().to_string()), "{said}");

    dev.stop().await;
    clients[0].read("k").await.unwrap_err();
    let dev = Dev::start(dir.path(), &ports).await;
    for client in &clients {
        assert_eq!(client.read("k").await.unwrap().as_deref(), Some("v"));
    }
    dev.stop().await;
}

/// The demo kills leaders under load and finds nothing lost and nothing invented.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_finds_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", dir.path().join("demo").display());
    let arguments = ["demo", "--writes=2000", "--kills=2", "--json", &data_dir];
    let arguments = arguments.map(str::to_owned);
    let output = run(&arguments, &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    let verdict: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(output.status.code(), Some(0), "{verdict}\n{said}");
    for (field, expected) in [("lost", 0), ("phantom", 0), ("disorder", 0), ("kills", 2)] {
        assert_eq!(verdict[field], expected, "{field} in {verdict}");
    }
    assert!(verdict["acked"].as_u64().unwrap() >= 2000, "{verdict}");
}

/// The demo with a membership that changes: three become five, one is lost and replaced, and three
/// are left. Nothing is lost meanwhile, and those who were removed end by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_that_grows_finds_nothing_lost() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = format!("--data-dir={}", dir.path().join("demo").display());
    let arguments = ["demo", "--grow", "--writes=2000", "--json", &data_dir];
    let output = run(&arguments.map(str::to_owned), &[]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    let verdict: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(output.status.code(), Some(0), "{verdict}\n{said}");
    for (field, expected) in [("lost", 0), ("phantom", 0), ("disorder", 0), ("nodes", 3)] {
        assert_eq!(verdict[field], expected, "{field} in {verdict}");
    }
    assert_eq!(verdict["changes"].as_array().unwrap().len(), 5, "{verdict}");
    assert!(verdict["acked"].as_u64().unwrap() >= 2000, "{verdict}");
}
