//! `raftd demo`: kills leaders under load and judges whether a promise was broken.
//!
//! Clients write without pause, each write a value that exists once. Again and again the leader is
//! killed with SIGKILL and started again. At the end everything is read back from every member and
//! compared with what clients were told: what was acknowledged must be there, what was never sent
//! must not, and revisions must tell the order in which things happened. With `--grow` the
//! membership changes instead (`grow.rs`).
//!
//! Read next: `demo/judge.rs`, what counts as a broken promise; `demo/client.rs`, what clients do.

mod client;
mod display;
mod driver;
mod grow;
mod history;
mod judge;
mod observe;
mod report;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::cluster::{ClusterError, Program};
use crate::config::ConfigError;
use crate::dev::NODES;
use crate::flags::{self, Flag, Kind};
use crate::shutdown::Shutdown;

use display::{note, print};
use report::Report;

/// The help of `raftd demo`.
pub const HELP: &str = "\
Usage:

  raftd demo [--writes N] [--kills K] [--clients C] [--nodes M] [--json] [--data-dir DIR]
  raftd demo --grow [--writes N] [--clients C] [--json] [--data-dir DIR]

Runs a cluster on this machine under load, kills its leader again and again, and checks that no
acknowledged write is lost and nothing appears that was not written. Exit status 1 if it is.

  --writes '20000'
        How many acknowledged writes at least.
  --kills '5'
        How many times the leader is killed, spread over the writes.
  --clients '32'
        How many clients write at the same time.
  --nodes '3'
        How many members, 1 to 9. With fewer than 3, none may fail: they stand still meanwhile.
  --grow 'false'
        Change the membership instead of killing leaders: three members become five, one is lost
        and replaced, and the five become three again.
  --json 'false'
        Print the result as one JSON object on stdout.
  --data-dir ''
        An empty directory to use and to keep, instead of one that is removed after a success.
  --program 'this program'
        Another server with etcd's flags, such as etcd itself, to compare.
";

/// What `raftd demo` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DemoOptions {
    /// Acknowledged writes at least.
    pub writes: u64,
    /// Kills of the leader.
    pub kills: u32,
    /// Clients that write at the same time.
    pub clients: u32,
    /// Members.
    pub nodes: usize,
    /// Change the membership instead of killing leaders.
    pub grow: bool,
    /// Print the result as JSON.
    pub json: bool,
    /// Where the cluster lives; a directory that is removed after a success if not given.
    pub data_dir: Option<PathBuf>,
    /// Another program to run as members.
    pub program: Option<PathBuf>,
}

impl DemoOptions {
    /// Reads the flags behind `raftd demo`.
    ///
    /// # Errors
    ///
    /// Every violation at once.
    pub fn parse(arguments: &[String]) -> Result<Self, ConfigError> {
        let mut parsed = flags::parse(arguments, &FLAGS);
        let writes = parsed.number(&FLAGS[0], 20_000, (1, 100_000_000));
        let kills = parsed.number(&FLAGS[1], 5, (0, 1000));
        let clients = parsed.number(&FLAGS[2], 32, (1, 1000));
        let nodes = parsed.number(&FLAGS[3], 3, NODES);
        let grow = parsed.is_on("grow");
        for flag in ["kills", "nodes", "program"] {
            if grow && parsed.text(flag).is_some() {
                parsed.problems.push(format!(
                    "--{flag} does not go with --grow, whose members come and go by a plan of its \
                     own; drop one of the two"
                ));
            }
        }
        if !parsed.problems.is_empty() {
            return Err(ConfigError { violations: parsed.problems });
        }
        Ok(Self {
            writes,
            kills: if grow { 0 } else { kills },
            clients,
            nodes: if grow { grow::PLACES } else { nodes },
            grow,
            json: parsed.is_on("json"),
            data_dir: parsed.text("data-dir").filter(|dir| !dir.is_empty()).map(PathBuf::from),
            program: parsed.text("program").map(PathBuf::from),
        })
    }

    /// How many kills or changes there are.
    fn events(&self) -> u32 {
        if self.grow { grow::CHANGES } else { self.kills }
    }

    /// How long all of it may take at most: a bound against hanging, far above what is expected.
    fn limit(&self) -> Duration {
        Duration::from_mins(3)
            + Duration::from_mins(2) * self.events()
            + Duration::from_millis(20 * self.writes)
    }
}

/// Runs the demo. The exit status is 0 only if every promise was kept.
pub fn run(options: &DemoOptions) -> ExitCode {
    let dir = options
        .data_dir
        .clone()
        .unwrap_or_else(|| std::env::temp_dir().join(format!("raftd-demo-{}", std::process::id())));
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(DemoError::Runtime)
        .and_then(|runtime| {
            let outcome = runtime.block_on(bounded(options, &dir));
            // Members are gone by now; a task that still waits for one is not worth waiting for.
            runtime.shutdown_background();
            outcome
        });
    let is_kept = options.data_dir.is_some();
    match outcome {
        Ok(report) => {
            let text = if options.json { report.json() } else { report.sentences() };
            print(&text);
            if report.is_good() {
                clean_up(&dir, is_kept);
                return ExitCode::SUCCESS;
            }
        }
        Err(DemoError::Interrupted) => {
            note("interrupted; nothing was judged");
            clean_up(&dir, is_kept);
            return ExitCode::from(INTERRUPTED);
        }
        Err(error) => note(&format!("raftd demo: {error}")),
    }
    if dir.exists() {
        note(&format!("data and logs of all members are kept in {}", dir.display()));
    }
    ExitCode::FAILURE
}

async fn bounded(options: &DemoOptions, dir: &Path) -> Result<Report, DemoError> {
    let mut shutdown = Shutdown::listen().map_err(DemoError::Runtime)?;
    let program = match &options.program {
        Some(path) => Program { path: path.clone(), is_raftd: false },
        None => Program::current().map_err(DemoError::Runtime)?,
    };
    let limit = options.limit();
    tokio::select! {
        outcome = tokio::time::timeout(limit, driver::drive(options, dir, program)) => {
            outcome.unwrap_or(Err(DemoError::Endless(limit)))
        }
        _ = shutdown.requested() => Err(DemoError::Interrupted),
    }
}

fn clean_up(dir: &Path, is_kept: bool) {
    if !is_kept && let Err(error) = std::fs::remove_dir_all(dir) {
        note(&format!("cannot remove {}: {error}; remove it by hand", dir.display()));
    }
}

/// Why the demo came to no verdict.
#[derive(Debug)]
enum DemoError {
    /// No runtime, signals or path of this program.
    Runtime(io::Error),
    /// The cluster.
    Cluster(ClusterError),
    /// The directory is not empty.
    NotEmpty(PathBuf),
    /// Ctrl-C or SIGTERM.
    Interrupted,
    /// It took longer than anything explains.
    Endless(Duration),
    /// No member says that it leads.
    NoLeader(Duration),
    /// No write was acknowledged for too long.
    NoService {
        /// Since when.
        since: String,
        /// For how long.
        limit: Duration,
    },
    /// A member could not be read at the end.
    NotRead {
        /// Its name.
        name: String,
        /// What it answered last.
        last_answer: String,
    },
    /// The membership did not become what it was to be.
    NotChanged {
        /// What was answered last.
        last_answer: String,
    },
    /// A client ended before it was told to, which is a fault of this program.
    ClientLost,
}

impl From<ClusterError> for DemoError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl fmt::Display for DemoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtime(error) => write!(f, "this system does not let me begin: {error}"),
            Self::Cluster(error) => error.fmt(f),
            Self::NotEmpty(dir) => write!(
                f,
                "{} holds a cluster already, and its data would be judged too; choose an empty \
                 --data-dir",
                dir.display()
            ),
            Self::Interrupted => write!(f, "interrupted"),
            Self::Endless(limit) => {
                write!(f, "not finished after {} s; something hangs", limit.as_secs())
            }
            Self::NoLeader(limit) => {
                write!(f, "no member says that it leads, for {} s", limit.as_secs())
            }
            Self::NoService { since, limit } => {
                write!(f, "no write was acknowledged for {} s {since}", limit.as_secs())
            }
            Self::NotRead { name, last_answer } => {
                write!(f, "{name} could not be read at the end: {last_answer}")
            }
            Self::NotChanged { last_answer } => {
                write!(f, "the membership did not change as asked: {last_answer}")
            }
            Self::ClientLost => write!(f, "a client ended too early; please report this"),
        }
    }
}

const FLAGS: [Flag; 8] = [
    Flag { name: "writes", kind: Kind::Value, example: "20000" },
    Flag { name: "kills", kind: Kind::Value, example: "5" },
    Flag { name: "clients", kind: Kind::Value, example: "32" },
    Flag { name: "nodes", kind: Kind::Value, example: "3" },
    Flag { name: "grow", kind: Kind::Switch, example: "true" },
    Flag { name: "json", kind: Kind::Switch, example: "true" },
    Flag { name: "data-dir", kind: Kind::Value, example: "/tmp/demo" },
    Flag { name: "program", kind: Kind::Value, example: "/usr/local/bin/etcd" },
];

/// The exit status that shells give to a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<DemoOptions, ConfigError> {
        DemoOptions::parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Nothing has to be said; what is said is kept; what is wrong is refused, all of it.
    #[test]
    fn options_have_defaults_and_bounds() {
        let options = read(&[]).unwrap();
        assert_eq!((options.writes, options.kills, options.clients), (20_000, 5, 32));
        assert_eq!((options.nodes, options.json, options.data_dir), (3, false, None));
        let options = read(&["--writes=10", "--kills", "0", "--nodes=5", "--json"]).unwrap();
        assert_eq!((options.writes, options.kills, options.nodes), (10, 0, 5));
        assert!(options.json);
        let options = read(&["--grow", "--writes=10"]).unwrap();
        assert_eq!((options.grow, options.nodes, options.kills), (true, 6, 0));
        let error = read(&["--grow", "--kills=1"]).unwrap_err().to_string();
        assert!(error.starts_with("--kills does not go with --grow"), "{error}");
        let error = read(&["--writes=0", "--clients=x", "--kill=1"]).unwrap_err();
        assert_eq!(error.violations.len(), 3, "{error}");
        assert_eq!(error.violations[0], "--kill is not known; did you mean --kills?");
    }
}
