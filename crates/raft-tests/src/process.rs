//! One `raftd` as a child process: its log, its signals, its end.
//!
//! * Whatever becomes of the test, the child ends: dropping it kills it, and should the test itself
//!   be killed, the child sees the end of its stdin.
//! * Each line it logs can be waited for.
//!
//! Read next: `cluster.rs`.

use std::process::{ExitStatus, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::binary;
use crate::wait::PATIENCE;

/// Lines kept of one member; far more than a test makes it say.
const LINES_MAX: usize = 100_000;

/// What a member said, over all its lives. Clones are the same log.
#[derive(Clone, Debug)]
pub struct Log(watch::Sender<Vec<String>>);

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }

    /// All lines so far.
    pub fn lines(&self) -> Vec<String> {
        self.0.borrow().clone()
    }

    /// How many lines there are: a place to wait from.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether nothing was said.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first line that has `text`.
    pub fn find(&self, text: &str) -> Option<String> {
        self.0.borrow().iter().find(|line| line.contains(text)).cloned()
    }

    /// Waits for a line with `text`, from the line number `from` on.
    pub async fn wait_for(&self, from: usize, text: &str) -> String {
        let find =
            |lines: &Vec<String>| lines.iter().skip(from).find(|line| line.contains(text)).cloned();
        let mut lines = self.0.subscribe();
        let found = timeout(PATIENCE, lines.wait_for(|lines| find(lines).is_some())).await;
        let found = found.ok().and_then(Result::ok).and_then(|lines| find(&lines));
        found.unwrap_or_else(|| panic!("nobody said {text:?}, but:\n{}", self.tail()))
    }

    /// The last lines, as one text.
    pub fn tail(&self) -> String {
        let lines = self.0.borrow();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    fn push(&self, line: String) {
        self.0.send_modify(|lines| {
            assert!(lines.len() < LINES_MAX, "a member says too much");
            lines.push(line);
        });
    }
}

impl Default for Log {
    fn default() -> Self {
        Self::new()
    }
}

/// A running `raftd`. Dropping it kills it.
#[derive(Debug)]
pub struct Raftd {
    child: Child,
    /// To a supervised member, the end of its stdin is the end of its supervisor.
    _stdin: Option<ChildStdin>,
    readers: Vec<JoinHandle<()>>,
}

impl Raftd {
    /// Starts it with these arguments. What it says on stdout and stderr goes to `log`.
    pub fn start(arguments: &[String], log: &Log) -> Self {
        let mut command = command(arguments);
        command.env(raft_server::shutdown::SUPERVISED, "1").stdin(Stdio::piped());
        let mut child = command.spawn().expect("raftd can be started");
        let stdin = child.stdin.take();
        let mut readers = Vec::new();
        readers.extend(child.stdout.take().map(|out| tokio::spawn(read(out, log.clone()))));
        readers.extend(child.stderr.take().map(|err| tokio::spawn(read(err, log.clone()))));
        Self { child, _stdin: stdin, readers }
    }

    /// Its process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// Kills it with SIGKILL, and waits until it is gone and all it said was read.
    pub async fn kill(mut self) {
        // An error says that it has ended already.
        _ = self.child.start_kill();
        self.ended().await;
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        let pid = pid.expect("it was not waited for yet");
        kill_process(pid, signal).expect("a child of ours takes signals");
    }

    /// Waits for its end, and until all it said was read.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(PATIENCE, self.end()).await;
        ended.unwrap_or_else(|_| panic!("raftd does not end within {PATIENCE:?}"))
    }

    /// As [`ended`](Self::ended), for as long as it takes: for who waits for something else too.
    pub(crate) async fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().await.expect("a child can be waited for");
        for reader in self.readers.drain(..) {
            reader.await.expect("reading a log does not panic");
        }
        status
    }
}

/// Runs `raftd` until it ends by itself, with these variables in its environment.
pub async fn run(arguments: &[String], variables: &[(&str, &str)]) -> Output {
    let mut command = command(arguments);
    command.envs(variables.iter().copied()).stdin(Stdio::null());
    let output = timeout(PATIENCE, command.output()).await;
    let output = output.unwrap_or_else(|_| panic!("raftd {arguments:?} does not end"));
    output.expect("raftd can be started")
}

fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(binary::raftd());
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    // Settings of the user's shell are meant for a server of theirs, not for these.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ETCD_") {
            command.env_remove(name);
        }
    }
    command
}

async fn read(source: impl AsyncRead + Unpin, log: Log) {
    let mut lines = BufReader::new(source).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.push(line);
    }
}
