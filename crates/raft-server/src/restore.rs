//! `raftd restore`: a backup becomes the data directory of a member of a new cluster.
//!
//! * Every member of the new cluster is restored from the same file with the same
//!   `--initial-cluster` and token; then all begin with the same snapshot at the same entry.
//! * The new cluster is another one than the old, whatever the flags: half of its id is made from
//!   the file. No member of the old one can join it, nor one that was not restored.
//! * Nothing is written before all of the file was verified and understood, nothing into a
//!   directory that is not empty, and all is durable before anything is said.
//!
//! Read next: `raft_storage::found`, which writes the disk; `backup.rs`, where files come from.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use raft_backup::{Backup, Fault, Hash, Header, verify};
use raft_kv::SharedStore;
use raft_runtime::StorageError;
use raft_runtime::{ClusterId, FileStorage, SnapshotError, StartError, StateMachine as _, found};

use crate::config::{ClusterState, Config, ConfigError};
use crate::flags::{Flag, Kind};
use crate::identity::{self, MemberId};
use crate::join::Seat;
use crate::machine::{Announced, Machine};
use crate::server::raft_config;

/// The help of `raftd restore`.
pub const HELP: &str = "\
Usage:

  raftd restore FILE --name NAME --initial-cluster NAME=URL,... --initial-cluster-token WORD
                     --initial-advertise-peer-urls URL --data-dir DIR [--bump-revision N]

Makes the data directory of a member of a new cluster that begins with the keys of a backup, as
'raftctl snapshot save' and 'etcdctl snapshot save' write them. Do so for every member, from the
same file with the same --initial-cluster and the same --initial-cluster-token; then start each with
the flags it was restored with. Flags of 'raftd' that are not listed here may be given, too, and so
may ETCD_ variables.

  --initial-cluster-token
        A word that was not used for a cluster before.
  --data-dir
        A directory that is empty or not there yet.
  --bump-revision '0'
        Make the revision so much larger and forget all older ones, so that clients which saw later
        revisions than the backup notice: 'required revision has been compacted'.

Exit status: 0 restored, 1 refused or failed.
";

/// What `raftd restore` is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreOptions {
    /// The backup.
    pub file: PathBuf,
    /// By how much the revision grows. Default 0.
    pub bump_revision: u64,
    /// The member as it will be started.
    pub config: Box<Config>,
}

impl RestoreOptions {
    /// Reads what stands behind `raftd restore`.
    ///
    /// # Errors
    ///
    /// Every violation at once.
    pub fn parse(
        arguments: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, ConfigError> {
        let file = arguments.first().filter(|word| !word.starts_with('-'));
        let flags = if file.is_some() { &arguments[1..] } else { arguments };
        let (mut parsed, warnings) = Config::read(flags, environment, &[BUMP_REVISION]);
        if file.is_none() {
            let text = "the file to restore is missing; write raftd restore FILE with flags behind";
            parsed.problems.push(text.to_owned());
        }
        for (name, example) in NEEDED {
            if parsed.text(name).is_none() {
                parsed.problems.push(format!(
                    "--{name} is missing, and a member of a new cluster has to be told; write for \
                     example --{name}={example}"
                ));
            }
        }
        let bump_revision = parsed.number(&BUMP_REVISION, 0, (0, i64::MAX.unsigned_abs()));
        let config = Config::check(parsed, warnings)?;
        if config.initial_cluster_state != ClusterState::New {
            let text = "--initial-cluster-state=existing joins a cluster that runs, but a restored \
                        one is new; remove the flag or write --initial-cluster-state=new";
            return Err(ConfigError { violations: vec![text.to_owned()] });
        }
        let file = file.map(PathBuf::from).unwrap_or_default();
        Ok(Self { file, bump_revision, config: Box::new(config) })
    }
}

const BUMP_REVISION: Flag =
    Flag { name: "bump-revision", kind: Kind::Value, example: "1000000000" };

/// What has to be said, so that nobody restores by accident into what defaults name.
const NEEDED: [(&str, &str); 5] = [
    ("name", "n1"),
    ("initial-cluster", "n1=http://10.0.0.1:2380,n2=http://10.0.0.2:2380"),
    ("initial-cluster-token", "restored-1"),
    ("initial-advertise-peer-urls", "http://10.0.0.1:2380"),
    ("data-dir", "/var/lib/raftd"),
];

/// Restores, and says how it went. The exit status tells the same.
pub fn run(options: &RestoreOptions) -> ExitCode {
    let said = match restore(options) {
        Ok(restored) => {
            // A closed stdout leaves the exit status to tell.
            let text = restored.describe(options);
            _ = io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(error) => error,
    };
    _ = writeln!(io::stderr(), "raftd restore: {said}");
    ExitCode::FAILURE
}

/// Why a backup was not restored.
#[derive(Debug)]
#[non_exhaustive]
pub enum RestoreError {
    /// The file cannot be opened.
    Open {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The file is damaged, of another version, or no backup.
    Fault {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The file is sound, and what it holds is not understood.
    State {
        /// The file.
        file: PathBuf,
        /// What was expected.
        error: SnapshotError,
    },
    /// The state is not the one its header tells of.
    Header {
        /// The file.
        file: PathBuf,
        /// The revision and the number of keys that the header tells.
        told: (u64, u64),
        /// Those of the state.
        found: (i64, u64),
    },
    /// No revision is that large.
    Revision,
    /// Something is in the data directory.
    NotEmpty {
        /// The directory.
        directory: PathBuf,
        /// What.
        found: PathBuf,
    },
    /// The data directory cannot be looked at.
    Directory {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The data directory cannot be written.
    Storage(StorageError),
    /// The data directory was begun and could not be finished.
    Found {
        /// The directory.
        directory: PathBuf,
        /// What went wrong.
        error: Box<StartError>,
    },
}

impl fmt::Display for RestoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Fault { file, fault: fault @ Fault::Io { error, .. } } => {
                write!(f, "{}: {fault}: {error}", file.display())
            }
            Self::Fault { file, fault } => write!(f, "{}: {fault}", file.display()),
            Self::State { file, error } => write!(f, "{}: {error}", file.display()),
            Self::Header { file, told: (told, keys), found: (found, held) } => write!(
                f,
                "{}: the header tells of {keys} keys at revision {told}, the state has {held} at \
                 revision {found}",
                file.display()
            ),
            Self::Revision => f.write_str("--bump-revision goes beyond the largest revision"),
            Self::NotEmpty { directory, found } => write!(
                f,
                "data directory {} is not empty, it has {}; name another one, or move what is \
                 there away",
                directory.display(),
                found.display()
            ),
            Self::Directory { directory, error } => {
                write!(f, "data directory {}: {error}", directory.display())
            }
            Self::Storage(error) => error.fmt(f),
            Self::Found { directory, error } => write!(
                f,
                "data directory {} was not finished: {error}; remove it and restore again",
                directory.display()
            ),
        }
    }
}

impl std::error::Error for RestoreError {}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restored {
    /// What the backup says of itself.
    pub header: Header,
    /// The revision the new cluster begins with.
    pub revision: i64,
    /// The new cluster.
    pub cluster: ClusterId,
    /// The member.
    pub member: MemberId,
}

impl Restored {
    fn describe(&self, options: &RestoreOptions) -> String {
        let Self { header, revision, cluster, member } = self;
        let (config, old) = (&options.config, header.cluster);
        let names: Vec<&str> = config.initial_cluster.keys().map(String::as_str).collect();
        format!(
            "restored {} into {}\n\
             state      {} keys at revision {revision}, of entry {} of cluster {old}\n\
             member     {} ({member}) of the new cluster {cluster}\n\
             next       restore the others of {} from the same file, then start each with the \
             flags it was restored with\n",
            options.file.display(),
            config.data_dir.display(),
            header.keys,
            header.applied,
            config.name,
            names.join(", "),
        )
    }
}

/// Restores a backup.
///
/// # Errors
///
/// [`RestoreError`]. All but the last variant leave the data directory as it was.
pub fn restore(options: &RestoreOptions) -> Result<Restored, RestoreError> {
    let config = &options.config;
    check_empty(&config.data_dir)?;
    let (machine, header, hash) = read(&options.file)?;
    let revision = match options.bump_revision {
        0 => machine.store.revision(),
        by => machine.store.bump_revision(by).ok_or(RestoreError::Revision)?,
    };
    let parent = identity::restored_half(&hash.0, options.bump_revision);
    let cluster = ClusterId::new(u128::from(parent) << 64 | u128::from(config.cluster_id()));
    let member = config.member_id();
    let seat = Seat { member, cluster, is_founder: true };
    let mut storage = FileStorage::open(&config.data_dir).map_err(RestoreError::Storage)?;
    let unfinished = |error| {
        let directory = config.data_dir.clone();
        RestoreError::Found { directory, error: Box::new(error) }
    };
    found(&mut storage, &raft_config(config, seat), &machine).map_err(unfinished)?;
    storage.close().map_err(|error| unfinished(StartError::Storage(error)))?;
    Ok(Restored { header, revision, cluster, member })
}

/// Verifies a whole backup and makes a state machine of it that knows no member.
fn read(path: &Path) -> Result<(Machine, Header, Hash), RestoreError> {
    let file = || path.to_path_buf();
    let fault = |fault| RestoreError::Fault { file: file(), fault };
    let open = || File::open(path).map_err(|error| RestoreError::Open { file: file(), error });
    // First all of it for what it is: a state that is damaged is no state to understand.
    verify(open()?).map_err(fault)?;
    let mut backup = Backup::open(open()?).map_err(fault)?;
    let mut machine = Machine { store: SharedStore::new(), announced: Announced::default() };
    let restored = machine.restore(&mut backup);
    restored.map_err(|error| RestoreError::State { file: file(), error })?;
    // A state may be understood before its last byte.
    while backup.next_chunk().map_err(fault)?.is_some() {}
    let (header, stats) = (backup.header().clone(), machine.store.stats());
    let hash = backup.hash();
    let (told, found) = ((header.revision, header.keys), (stats.revision, stats.keys));
    let Some(hash) = hash.filter(|_| (found.0.unsigned_abs(), found.1) == told) else {
        return Err(RestoreError::Header { file: file(), told, found });
    };
    machine.announced.clear();
    Ok((machine, header, hash))
}

/// Refuses a directory in which there is anything but what a file system puts there itself.
fn check_empty(directory: &Path) -> Result<(), RestoreError> {
    let failed = |error| RestoreError::Directory { directory: directory.into(), error };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let found = entry.map_err(failed)?.file_name();
        if found != "lost+found" {
            let (directory, found) = (directory.into(), found.into());
            return Err(RestoreError::NotEmpty { directory, found });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
