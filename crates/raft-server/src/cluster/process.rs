//! One member as a child process: its log, its last words, its end.
//!
//! A task owns the child and alone may signal it, so that a signal never meets another process that
//! got the same number. Another task reads what the member logs: all of it goes to a file, warnings
//! and errors also to whoever listens. Read next: `cluster.rs`.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{mpsc, watch};

use super::error::ClusterError;
use crate::shutdown::SUPERVISED;

/// The program that members run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where it is.
    pub path: PathBuf,
    /// Whether it is this program, and knows flags that etcd does not.
    pub is_raftd: bool,
}

impl Program {
    /// This program, as it runs now.
    pub fn current() -> io::Result<Self> {
        Ok(Self { path: std::env::current_exe()?, is_raftd: true })
    }
}

/// How to start a member.
#[derive(Clone, Debug)]
pub struct Launch {
    /// Its place in the cluster.
    pub index: usize,
    /// Its name.
    pub name: String,
    /// What runs.
    pub program: Program,
    /// With which flags.
    pub arguments: Vec<String>,
    /// Where its log goes.
    pub log: PathBuf,
}

/// A line that a member logged as a warning or an error, or outside of its log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who.
    pub name: String,
    /// What.
    pub text: String,
    /// How bad it is.
    pub severity: Severity,
}

/// How bad a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Somebody should look at it. While a cluster starts this is usual: peers come one by one.
    Warning,
    /// An error, or no log line at all, such as a panic.
    Error,
}

/// A member that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its place in the cluster.
    pub index: usize,
    /// The process that ended; the member may have another by now.
    pub pid: u32,
}

/// A running member, or one that ran. Dropping it kills the child.
#[derive(Debug)]
pub struct Process {
    /// Its process id.
    pub pid: u32,
    orders: mpsc::Sender<Order>,
    exit: watch::Receiver<Option<String>>,
    tail: Arc<Mutex<VecDeque<String>>>,
}

#[derive(Debug)]
enum Order {
    Terminate,
    Kill,
}

impl Process {
    /// Starts a member. Its end is sent to `ended`, lines worth a look to `lines`.
    ///
    /// # Errors
    ///
    /// The log cannot be written or the program not be started.
    pub fn start(
        launch: &Launch,
        ended: mpsc::Sender<Ended>,
        lines: Option<mpsc::Sender<Line>>,
    ) -> Result<Self, ClusterError> {
        let log = open_log(&launch.log)?;
        let mut command = Command::new(&launch.program.path);
        command
            .args(&launch.arguments)
            .env(SUPERVISED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C is for the supervisor, which then stops its members one way only.
            .process_group(0)
            .kill_on_drop(true);
        // Settings of the user's shell are meant for a server of theirs, not for these.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ETCD_") {
                command.env_remove(name);
            }
        }
        let not_started = |source| ClusterError::NotStarted { name: launch.name.clone(), source };
        let mut child = command.spawn().map_err(not_started)?;
        let pid = child.id().ok_or_else(|| not_started(io::Error::other("it ended at once")))?;
        let tail = Arc::new(Mutex::new(VecDeque::new()));
        let reading = child.stderr.take().map(|stderr| {
            let sink = Sink { name: launch.name.clone(), log, tail: Arc::clone(&tail), lines };
            tokio::spawn(sink.copy(stderr))
        });
        let (orders, inbox) = mpsc::channel(1);
        let (exit_sender, exit) = watch::channel(None);
        let index = launch.index;
        tokio::spawn(async move {
            let status = keep(child, inbox).await;
            if let Some(reading) = reading {
                // The last words come before the news of the end.
                _ = tokio::time::timeout(LAST_WORDS, reading).await;
            }
            exit_sender.send_replace(Some(status));
            // A cluster that is being dropped no longer listens.
            _ = ended.send(Ended { index, pid }).await;
        });
        Ok(Self { pid, orders, exit, tail })
    }

    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// How it ended, if it did.
    pub fn exit(&self) -> Option<String> {
        self.exit.borrow().clone()
    }

    /// The last lines it logged.
    pub fn last_lines(&self) -> Vec<String> {
        // A panic cannot leave a queue of lines half changed.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Asks it to stop, with SIGTERM.
    pub async fn terminate(&self) {
        // An error says that it is gone already, which is what was wanted.
        _ = self.orders.send(Order::Terminate).await;
    }

    /// Ends it, with SIGKILL.
    pub async fn kill(&self) {
        _ = self.orders.send(Order::Kill).await;
    }

    /// Waits until it has ended.
    pub async fn gone(&self) {
        // An error says that its task ended, which happens only after the process.
        _ = self.exit.clone().wait_for(Option::is_some).await;
    }
}

/// Owns the child until it ends; gives how it ended.
async fn keep(mut child: Child, mut orders: mpsc::Receiver<Order>) -> String {
    // Waiting would close it, and to a member the end of its stdin is the end of its supervisor.
    let stdin = child.stdin.take();
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            order = orders.recv() => match order {
                Some(Order::Terminate) => terminate(&child),
                // Nobody can order anything any more: the cluster was dropped.
                Some(Order::Kill) | None => {
                    // An error says that it is gone already.
                    _ = child.start_kill();
                    break child.wait().await;
                }
            },
        }
    };
    drop(stdin);
    status.map_or_else(|error| format!("an unknown status ({error})"), describe)
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // The child is not reaped yet, so the number is still its own.
        _ = kill_process(pid, Signal::TERM);
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(9)) => "signal 9 (SIGKILL)".to_owned(),
        (None, Some(15)) => "signal 15 (SIGTERM)".to_owned(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown status".to_owned(),
    }
}

/// Opens a log to append to. One that has grown large makes room, keeping one predecessor.
fn open_log(path: &Path) -> Result<File, ClusterError> {
    let error =
        |source| ClusterError::File { action: "open the log", path: path.to_owned(), source };
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).map_err(error)?;
    }
    if fs::metadata(path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(path, path.with_extension("1")).map_err(error)?;
    }
    File::options().create(true).append(true).open(path).map_err(error)
}

/// Where the lines of a member go.
struct Sink {
    name: String,
    log: File,
    tail: Arc<Mutex<VecDeque<String>>>,
    lines: Option<mpsc::Sender<Line>>,
}

impl Sink {
    async fn copy(mut self, stderr: ChildStderr) {
        let mut reader = BufReader::new(stderr);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let mut bounded = (&mut reader).take(LINE_BYTES_MAX);
            match bounded.read_until(b'\n', &mut bytes).await {
                Ok(0) | Err(_) => return,
                Ok(_) => self.take(&bytes),
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        // A full disk must not stop the member; its last lines are still in memory.
        _ = self.log.write_all(bytes);
        let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
        if let (Some(lines), Some(severity)) = (&self.lines, severity(&text)) {
            let (name, text) = (self.name.clone(), text.clone());
            // A screen that is too slow misses lines, which the file has.
            _ = lines.try_send(Line { name, text, severity });
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}

/// How bad a line is; `None` for what is worth no look.
fn severity(line: &str) -> Option<Severity> {
    if line.is_empty() {
        return None;
    }
    let json = serde_json::from_str::<serde_json::Value>(line).ok();
    let level = match &json {
        Some(value) => value["level"].as_str(),
        None => line.split_whitespace().nth(1),
    };
    match level.unwrap_or_default().to_ascii_lowercase().as_str() {
        "trace" | "debug" | "info" => None,
        "warn" => Some(Severity::Warning),
        _ => Some(Severity::Error),
    }
}

/// The lines shown of a member that died.
const TAIL_LINES: usize = 12;

/// A longer line is cut into several.
const LINE_BYTES_MAX: u64 = 64 << 10;

/// A log beyond this is put aside at the next start.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// How long after its end a member's last lines may take to be read.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(dir: &Path, script: &str) -> Launch {
        Launch {
            index: 4,
            name: "n5".into(),
            program: Program { path: "/bin/sh".into(), is_raftd: false },
            arguments: vec!["-c".into(), script.into()],
            log: dir.join("n5").join("log"),
        }
    }

    fn run<T>(story: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(story)
    }

    /// A member that dies leaves its status, its last lines and its log; warnings are passed on.
    #[test]
    fn a_death_is_told_with_its_last_words() {
        let dir = tempfile::tempdir().unwrap();
        let script = "echo '2026 INFO fine' >&2; echo '2026 WARN odd' >&2; echo boom >&2; exit 3";
        run(async {
            let (ended, mut ends) = mpsc::channel(1);
            let (lines, mut seen) = mpsc::channel(8);
            let process = Process::start(&launch(dir.path(), script), ended, Some(lines)).unwrap();
            assert_eq!(ends.recv().await, Some(Ended { index: 4, pid: process.pid }));
            assert!(!process.is_running());
            assert_eq!(process.exit().as_deref(), Some("exit status 3"));
            assert_eq!(process.last_lines(), ["2026 INFO fine", "2026 WARN odd", "boom"]);
            assert_eq!(seen.recv().await.unwrap().text, "2026 WARN odd");
            assert_eq!(seen.recv().await.unwrap().text, "boom");
        });
        let log = fs::read_to_string(dir.path().join("n5/log")).unwrap();
        assert_eq!(log, "2026 INFO fine\n2026 WARN odd\nboom\n");
    }

    /// SIGTERM is asked for and obeyed; SIGKILL ends what does not listen.
    #[test]
    fn members_are_stopped_gently_and_then_not() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let (ended, mut ends) = mpsc::channel(2);
            // The supervisor reads "up" before it signals: the trap is set by then.
            let obedient = "trap 'exit 0' TERM; echo up >&2; while :; do read x || exit 1; done";
            let deaf = "trap '' TERM; echo up >&2; while :; do read x || exit 1; done";
            for (script, status) in [(obedient, "exit status 0"), (deaf, "signal 9 (SIGKILL)")] {
                let (lines, mut seen) = mpsc::channel(8);
                let launch = launch(dir.path(), script);
                let process = Process::start(&launch, ended.clone(), Some(lines)).unwrap();
                assert_eq!(seen.recv().await.unwrap().text, "up");
                process.terminate().await;
                if script == deaf {
                    process.kill().await;
                }
                process.gone().await;
                assert_eq!(process.exit().as_deref(), Some(status));
                ends.recv().await.unwrap();
            }
        });
    }

    /// A member whose supervisor goes away sees the end of its stdin, or is killed.
    #[test]
    fn dropping_the_handle_ends_the_member() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let (ended, mut ends) = mpsc::channel(1);
            let process = Process::start(&launch(dir.path(), "read x"), ended, None).unwrap();
            let pid = process.pid;
            drop(process);
            assert_eq!(ends.recv().await, Some(Ended { index: 4, pid }));
        });
    }

    /// A program that does not exist is named with what the system says.
    #[test]
    fn a_missing_program_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let program = Program { path: dir.path().join("none"), is_raftd: true };
            let launch = Launch { program, ..launch(dir.path(), "") };
            let error = Process::start(&launch, mpsc::channel(1).0, None).unwrap_err();
            assert!(error.to_string().starts_with("cannot start n5: "), "{error}");
        });
    }

    /// Both log formats are understood; what is no log line is always shown.
    #[test]
    fn warnings_are_told_from_the_rest() {
        let (warning, error) = (Some(Severity::Warning), Some(Severity::Error));
        for (line, expected) in [
            ("2026-01-01T00:00:00Z  INFO raft_server: x", None),
            ("2026-01-01T00:00:00Z DEBUG raft_server: x", None),
            ("2026-01-01T00:00:00Z  WARN raft_server: x", warning),
            ("2026-01-01T00:00:00Z ERROR raft_server: x", error),
            (r#"{"level":"info","msg":"x"}"#, None),
            (r#"{"timestamp":"","level":"WARN","message":"x"}"#, warning),
            (r#"{"level":"fatal","msg":"x"}"#, error),
            ("thread 'main' panicked at x", error),
            ("", None),
        ] {
            assert_eq!(severity(line), expected, "{line}");
        }
    }
}
