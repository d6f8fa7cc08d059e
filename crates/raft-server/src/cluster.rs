//! A cluster of child processes on this machine, for `raftd dev` and `raftd demo`.
//!
//! * Members are started as a user would start them: this very program with flags.
//! * Each start, wait and stop is bounded; what does not happen in time is an error that names the
//!   member and shows its last words.
//! * When this process ends, however it ends, so do its members (`shutdown.rs`).
//!
//! Read next: `cluster/layout.rs`, ports and directories; `cluster/process.rs`, one member.

mod error;
mod layout;
mod probe;
mod process;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::clock;

pub use error::ClusterError;
pub use layout::{Layout, MemberSpec, Wanted, is_port_free};
pub use process::{Ended, Launch, Line, Process, Program, Severity};
pub use table::table;

/// Members as child processes. Dropping it kills them.
#[derive(Debug)]
pub struct Cluster {
    layout: Layout,
    program: Program,
    /// One place per member of the layout.
    processes: Vec<Option<Process>>,
    ended: mpsc::Receiver<Ended>,
    report_end: mpsc::Sender<Ended>,
    lines: Option<mpsc::Sender<Line>>,
}

impl Cluster {
    /// A cluster without a running member. Warnings and errors of members go to `lines`, if given.
    pub fn new(layout: Layout, program: Program, lines: Option<mpsc::Sender<Line>>) -> Self {
        let (report_end, ended) = mpsc::channel(ENDS_MAX);
        let processes = layout.members.iter().map(|_| None).collect();
        Self { layout, program, processes, ended, report_end, lines }
    }

    /// Ports, names and directories.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The process of a member, if one was started.
    pub fn process(&self, index: usize) -> Option<&Process> {
        self.processes.get(index)?.as_ref()
    }

    /// How many members run.
    pub fn running(&self) -> usize {
        self.processes.iter().flatten().filter(|process| process.is_running()).count()
    }

    /// Starts every member that does not run.
    pub fn start_all(&mut self) -> Result<(), ClusterError> {
        (0..self.processes.len()).try_for_each(|index| self.start(index))
    }

    /// Starts one member, unless it runs.
    pub fn start(&mut self, index: usize) -> Result<(), ClusterError> {
        if self.process(index).is_some_and(Process::is_running) {
            return Ok(());
        }
        let member = &self.layout.members[index];
        let launch = Launch {
            index,
            name: member.name.clone(),
            program: self.program.clone(),
            arguments: self.layout.arguments(index, &self.program),
            log: self.layout.log(index),
        };
        let ended = self.report_end.clone();
        self.processes[index] = Some(Process::start(&launch, ended, self.lines.clone())?);
        Ok(())
    }

    /// Waits until every running member answers that it is ready. `progress` hears of each.
    pub async fn wait_ready(
        &self,
        limit: Duration,
        mut progress: impl FnMut(&str),
    ) -> Result<(), ClusterError> {
        let started = clock::now();
        let mut waiting: Vec<usize> = (0..self.processes.len())
            .filter(|index| self.process(*index).is_some_and(Process::is_running))
            .collect();
        waiting.extend((0..self.processes.len()).filter(|index| self.has_died(*index)));
        loop {
            let mut still = Vec::new();
            let mut last_answer = String::new();
            for index in waiting {
                if self.has_died(index) {
                    return Err(self.death(index));
                }
                let member = &self.layout.members[index];
                match probe::is_ready(member.client_port).await {
                    Ok(()) => progress(&format!(
                        "{} is ready after {:.1} s",
                        member.name,
                        started.elapsed().as_secs_f64()
                    )),
                    Err(answer) => {
                        last_answer = format!("{}: {answer}", member.name);
                        still.push(index);
                    }
                }
            }
            if still.is_empty() {
                return Ok(());
            }
            if started.elapsed() > limit {
                let names = still.iter().map(|index| self.layout.members[*index].name.clone());
                return Err(ClusterError::NotReady {
                    names: names.collect(),
                    limit,
                    last_answer,
                    logs: still.iter().map(|index| self.layout.log(*index)).collect(),
                });
            }
            waiting = still;
            sleep(PROBE_INTERVAL).await;
        }
    }

    fn has_died(&self, index: usize) -> bool {
        self.process(index).is_some_and(|process| !process.is_running())
    }

    /// What is known about a member that ended by itself.
    pub fn death(&self, index: usize) -> ClusterError {
        let process = self.process(index);
        ClusterError::Died {
            name: self.layout.members[index].name.clone(),
            status: process.and_then(Process::exit).unwrap_or_else(|| "not started".to_owned()),
            last_lines: process.map(Process::last_lines).unwrap_or_default(),
            log: self.layout.log(index),
        }
    }

    /// Waits for the next member that ends.
    pub async fn next_end(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => ended,
            // The cluster itself holds a sender, so the channel stays open.
            None => std::future::pending().await,
        }
    }

    /// Kills one member with SIGKILL and waits until it is gone.
    pub async fn kill(&self, index: usize) -> Result<(), ClusterError> {
        let Some(process) = self.process(index) else { return Ok(()) };
        process.kill().await;
        timeout(KILL_LIMIT, process.gone()).await.map_err(|_| ClusterError::Immortal {
            name: self.layout.members[index].name.clone(),
            pid: process.pid,
        })
    }

    /// Stops every member: SIGTERM, then, for those that do not end within `limit`, SIGKILL. Gives
    /// the names of the latter.
    pub async fn stop(&self, limit: Duration) -> Vec<String> {
        for process in self.processes.iter().flatten() {
            process.terminate().await;
        }
        let deadline = clock::now() + limit;
        let mut killed = Vec::new();
        for (index, process) in self.processes.iter().enumerate() {
            let Some(process) = process else { continue };
            let left = deadline.saturating_duration_since(clock::now());
            if timeout(left, process.gone()).await.is_err() {
                killed.push(self.layout.members[index].name.clone());
                // A process that survives SIGKILL hangs in the kernel; nothing more can be done.
                _ = self.kill(index).await;
            }
        }
        killed
    }

    /// The table of members for people.
    pub fn describe(&self) -> String {
        let ids = self.layout.member_ids();
        let mut rows: Vec<Vec<String>> = vec![HEADER.iter().map(ToString::to_string).collect()];
        for (index, member) in self.layout.members.iter().enumerate() {
            let pid = self.process(index).filter(|process| process.is_running());
            rows.push(vec![
                member.name.clone(),
                ids[index].to_string(),
                member.client_url(),
                member.peer_url(),
                pid.map_or_else(|| "-".to_owned(), |process| process.pid.to_string()),
                shown(self.layout.data_dir(index)),
                shown(self.layout.log(index)),
            ]);
        }
        table(&rows)
    }
}

fn shown(path: PathBuf) -> String {
    path.into_os_string().to_string_lossy().into_owned()
}

const HEADER: [&str; 7] = ["MEMBER", "ID", "CLIENT URL", "PEER URL", "PID", "DATA", "LOG"];

/// Ends of members that nobody asked about yet. More than ever happen between two looks.
const ENDS_MAX: usize = 64;

/// How often a starting member is asked: fast enough that a start feels immediate.
const PROBE_INTERVAL: Duration = Duration::from_millis(50);

/// SIGKILL works at once, unless the process hangs in the kernel.
const KILL_LIMIT: Duration = Duration::from_secs(10);
