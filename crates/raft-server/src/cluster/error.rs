//! Everything that can go wrong with a cluster of child processes, said to its user.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why a cluster did not start, or did not go on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterError {
    /// A file or directory could not be used.
    File {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The directory already has a cluster running.
    Busy {
        /// The directory.
        dir: PathBuf,
        /// The process that holds it, as it wrote it down.
        holder: String,
    },
    /// The directory holds a cluster of another size.
    OtherSize {
        /// The directory.
        dir: PathBuf,
        /// How many members it has.
        found: usize,
        /// How many were asked for.
        wanted: usize,
    },
    /// The directory holds a cluster with other ports.
    OtherPorts {
        /// The directory.
        dir: PathBuf,
        /// The first client port it has.
        found: u16,
        /// The first client port that was asked for.
        wanted: u16,
    },
    /// The record of ports in the directory cannot be read.
    BadRecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A port that is needed is taken.
    PortTaken {
        /// The port.
        port: u16,
        /// What it is needed for.
        purpose: String,
        /// What to do.
        remedy: String,
    },
    /// No room for so many ports was found.
    NoPorts {
        /// The first port that was tried.
        from: u16,
    },
    /// A member could not be started.
    NotStarted {
        /// Its name.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A member ended by itself.
    Died {
        /// Its name.
        name: String,
        /// How it ended.
        status: String,
        /// The last lines it logged.
        last_lines: Vec<String>,
        /// Where all lines are.
        log: PathBuf,
    },
    /// Members did not become ready in time.
    NotReady {
        /// Their names.
        names: Vec<String>,
        /// How long they had.
        limit: Duration,
        /// What the last of them answered last.
        last_answer: String,
        /// Where they log.
        logs: Vec<PathBuf>,
    },
    /// A member survived SIGKILL.
    Immortal {
        /// Its name.
        name: String,
        /// Its process id.
        pid: u32,
    },
}

impl fmt::Display for ClusterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { action, path, source } => {
                write!(f, "cannot {action} {}: {source}", path.display())
            }
            Self::Busy { dir, holder } => write!(
                f,
                "a cluster already runs on {} (process {holder}); stop it with Ctrl-C where it \
                 runs, or choose another --data-dir",
                dir.display()
            ),
            Self::OtherSize { dir, found, wanted } => write!(
                f,
                "{} holds a cluster of {found} members, not of {wanted}; start it with \
                 --nodes={found}, or choose another --data-dir",
                dir.display()
            ),
            Self::OtherPorts { dir, found, wanted } => write!(
                f,
                "{} holds a cluster whose client ports begin at {found}, not at {wanted}; start it \
                 without --base-port, or choose another --data-dir",
                dir.display()
            ),
            Self::BadRecord { path, problem } => write!(
                f,
                "{} does not tell which members and ports the cluster has: {problem}; restore the \
                 file, or choose another --data-dir",
                path.display()
            ),
            Self::PortTaken { port, purpose, remedy } => {
                write!(f, "port {port}, {purpose}, is taken by another process; {remedy}")
            }
            Self::NoPorts { from } => write!(
                f,
                "no free ports from {from} on; choose a range that is free with --base-port"
            ),
            Self::NotStarted { name, source } => write!(f, "cannot start {name}: {source}"),
            Self::Died { name, status, last_lines, log } => {
                write!(f, "{name} ended with {status}; its log is {}", log.display())?;
                if !last_lines.is_empty() {
                    write!(f, "; the last lines:")?;
                }
                last_lines.iter().try_for_each(|line| write!(f, "\n  {name} | {line}"))
            }
            Self::NotReady { names, limit, last_answer, logs } => {
                let logs: Vec<_> = logs.iter().map(|log| log.display().to_string()).collect();
                write!(
                    f,
                    "{} not ready after {} s ({last_answer}); see {}",
                    names.join(", "),
                    limit.as_secs(),
                    logs.join(", ")
                )
            }
            Self::Immortal { name, pid } => write!(
                f,
                "{name} (process {pid}) survived SIGKILL; it hangs in the kernel, look at its disk"
            ),
        }
    }
}

impl std::error::Error for ClusterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::File { source, .. } | Self::NotStarted { source, .. } => Some(source),
            Self::Busy { .. }
            | Self::OtherSize { .. }
            | Self::OtherPorts { .. }
            | Self::BadRecord { .. }
            | Self::PortTaken { .. }
            | Self::NoPorts { .. }
            | Self::Died { .. }
            | Self::NotReady { .. }
            | Self::Immortal { .. } => None,
        }
    }
}
