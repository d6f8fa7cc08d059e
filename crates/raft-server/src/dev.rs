//! `raftd dev`: a cluster on this machine, to try things out.
//!
//! One command, three members that survive the kill of any one, and everything kept in one
//! directory: started again, it has all its data. Read next: `cluster.rs`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cluster::{
    Cluster, ClusterError, Layout, Line, Program, Severity, Wanted, is_port_free,
};
use crate::config::ConfigError;
use crate::flags::{self, Flag, Kind};
use crate::shutdown::Shutdown;

/// The help of `raftd dev`.
pub const HELP: &str = "\
Usage:

  raftd dev [--nodes N] [--data-dir DIR] [--base-port P]

Runs a cluster on this machine until Ctrl-C. Started again it has all its data.

  --nodes '3'
        How many members, 1 to 9.
  --data-dir './raftd-dev-data'
        Directory of the cluster: data and log of each member.
  --base-port '2379'
        First client port; the others follow it, and peer ports lie 100 above. Without this flag
        the first free ports from 2379 on are taken, and kept for the next start.
  --program 'this program'
        Another server with etcd's flags, such as etcd itself, to compare.
";

/// What `raftd dev` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevOptions {
    /// How many members; by default as many as there are, or three.
    pub nodes: Option<usize>,
    /// Where the cluster lives.
    pub data_dir: PathBuf,
    /// The first client port.
    pub base_port: Option<u16>,
    /// Another program to run as members.
    pub program: Option<PathBuf>,
}

impl DevOptions {
    /// Reads the flags behind `raftd dev`.
    ///
    /// # Errors
    ///
    /// Every violation at once.
    pub fn parse(arguments: &[String]) -> Result<Self, ConfigError> {
        let mut parsed = flags::parse(arguments, &FLAGS);
        let nodes = parsed.number(&FLAGS[0], 3, NODES);
        let base_port = parsed.number(&FLAGS[2], 2379, (1, u16::MAX));
        if !parsed.problems.is_empty() {
            return Err(ConfigError { violations: parsed.problems });
        }
        Ok(Self {
            nodes: parsed.text("nodes").map(|_| nodes),
            data_dir: parsed.text("data-dir").unwrap_or("raftd-dev-data").into(),
            base_port: parsed.text("base-port").map(|_| base_port),
            program: parsed.text("program").map(PathBuf::from),
        })
    }
}

/// Runs the cluster until it is told to stop. The exit status tells whether all went well.
pub fn run(options: &DevOptions) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let outcome = runtime.map_err(DevError::Runtime).and_then(|runtime| {
        let outcome = runtime.block_on(supervise(options));
        // Members are gone by now; a task that still reads is not worth waiting for.
        runtime.shutdown_background();
        outcome
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("raftd dev: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Why `raftd dev` ended with an error.
#[derive(Debug)]
enum DevError {
    /// No runtime, signals or path of this program.
    Runtime(io::Error),
    /// The cluster.
    Cluster(ClusterError),
    /// Not one member is left.
    AllGone,
}

impl From<ClusterError> for DevError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(error)
    }
}

impl std::fmt::Display for DevError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Runtime(error) => write!(f, "this system does not let me begin: {error}"),
            Self::Cluster(error) => error.fmt(f),
            Self::AllGone => write!(f, "no member is left; their logs tell why"),
        }
    }
}

async fn supervise(options: &DevOptions) -> Result<(), DevError> {
    let mut shutdown = Shutdown::listen().map_err(DevError::Runtime)?;
    let program = match &options.program {
        Some(path) => Program { path: path.clone(), is_raftd: false },
        None => Program::current().map_err(DevError::Runtime)?,
    };
    let wanted = Wanted { nodes: options.nodes, base_port: options.base_port, search_from: 2379 };
    let layout = Layout::open(&options.data_dir, wanted, &is_port_free)?;
    let verb = if layout.is_known { "starting again" } else { "starting" };
    note(&format!("{verb} {} in {}", counted(layout.members.len()), layout.dir.display()));
    let (lines, mut seen) = mpsc::channel::<Line>(LINES_MAX);
    let is_ready = Arc::new(AtomicBool::new(false));
    let showing = tokio::spawn({
        let is_ready = Arc::clone(&is_ready);
        async move {
            while let Some(line) = seen.recv().await {
                if line.severity == Severity::Error || is_ready.load(Ordering::Relaxed) {
                    note(&format!("{} | {}", line.name, line.text));
                }
            }
        }
    });

    let mut cluster = Cluster::new(layout, program, Some(lines));
    let outcome = tokio::select! {
        outcome = serve(&mut cluster, &is_ready) => outcome,
        _ = shutdown.requested() => Ok(()),
    };
    // Members that see their peers go complain about it; the logs keep that.
    showing.abort();
    stop(&cluster).await;
    outcome
}

/// Starts all members and tells of those that end, until none is left.
async fn serve(cluster: &mut Cluster, is_ready: &AtomicBool) -> Result<(), DevError> {
    cluster.start_all()?;
    cluster.wait_ready(READY_LIMIT, note).await?;
    is_ready.store(true, Ordering::Relaxed);
    greet(cluster);
    loop {
        let ended = cluster.next_end().await;
        note(&cluster.death(ended.index).to_string());
        match cluster.running() {
            0 => return Err(DevError::AllGone),
            running => note(&format!("the other {running} go on; Ctrl-C and start again for all")),
        }
    }
}

async fn stop(cluster: &Cluster) {
    let running = cluster.running();
    if running > 0 {
        note(&format!("stopping {}", counted(running)));
    }
    for name in cluster.stop(STOP_LIMIT).await {
        note(&format!("{name} did not stop within {} s and was killed", STOP_LIMIT.as_secs()));
    }
}

/// Shows the members and what to do with them.
fn greet(cluster: &Cluster) {
    let endpoints = cluster.layout().endpoints();
    let text = format!(
        "{}\nready. Try, in another terminal:\n\n\
         \x20 etcdctl --endpoints={endpoints} put greeting hello\n\
         \x20 etcdctl --endpoints={endpoints} get greeting\n\
         \x20 raftctl --endpoints={endpoints} endpoint status\n\n\
         Kill any member and the others go on. Ctrl-C stops all; the data stays in {}.\n",
        cluster.describe(),
        cluster.layout().dir.display()
    );
    let mut out = io::stdout().lock();
    // Nobody reads stdout any more: the cluster runs all the same.
    _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn counted(members: usize) -> String {
    if members == 1 { "1 member".to_owned() } else { format!("{members} members") }
}

/// Tells the user something, on stderr.
fn note(text: &str) {
    // A closed stderr is no reason to stop.
    _ = writeln!(io::stderr().lock(), "{text}");
}

const FLAGS: [Flag; 4] = [
    Flag { name: "nodes", kind: Kind::Value, example: "3" },
    Flag { name: "data-dir", kind: Kind::Value, example: "./raftd-dev-data" },
    Flag { name: "base-port", kind: Kind::Value, example: "2379" },
    Flag { name: "program", kind: Kind::Value, example: "/usr/local/bin/etcd" },
];

/// From a single member to the most that a quorum still makes sense for.
pub(crate) const NODES: (usize, usize) = (1, 9);

/// A cluster without data elects its first leader within seconds; one with much data needs longer.
const READY_LIMIT: Duration = Duration::from_mins(2);

/// How long members may take to hand over leadership and to close their logs.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Lines of members that wait to be shown.
const LINES_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Result<DevOptions, ConfigError> {
        DevOptions::parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Nothing has to be said; what is said is kept.
    #[test]
    fn options_have_defaults() {
        let options = read(&[]).unwrap();
        assert_eq!((options.nodes, options.base_port), (None, None));
        assert_eq!(options.data_dir, PathBuf::from("raftd-dev-data"));
        let options = read(&["--nodes", "5", "--base-port=4000", "--data-dir=/d"]).unwrap();
        assert_eq!((options.nodes, options.base_port), (Some(5), Some(4000)));
        assert_eq!(options.data_dir, PathBuf::from("/d"));
    }

    /// Wrong options are refused together, each with what to write instead.
    #[test]
    fn wrong_options_are_refused() {
        let error = read(&["--nodes=10", "--base-port=http", "--dta-dir=x"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--dta-dir is not known; did you mean --data-dir?\n\
             --nodes \"10\" is not a whole number from 1 to 9; write for example --nodes=3\n\
             --base-port \"http\" is not a whole number from 1 to 65535; write for example \
             --base-port=2379"
        );
    }
}
