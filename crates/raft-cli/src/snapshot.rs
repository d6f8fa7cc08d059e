//! `snapshot`: backups of a cluster, saved, verified and looked at.
//!
//! * A file has its name when it is whole, durable and verified; until then it is `FILE.part`.
//! * Nothing is overwritten.
//! * `verify` and `inspect` ask nobody: they read a file.
//!
//! Read next: `snapshot/draft.rs`, the file that is being saved; the `raft-backup` crate, which is
//! the format.

mod draft;

use core::time::Duration;
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use raft_api::etcdserverpb::{SnapshotRequest, SnapshotResponse};
use raft_backup::{Backup, Fault, HASH_BYTES, Hash, Header, verify};
use tokio::time::{Instant, timeout};
use tonic::{Response, Streaming};

use self::draft::Draft;
use crate::answers::{Action, Described};
use crate::client::{Client, Connection};
use crate::error::{CliError, Failure};
use crate::output::{Format, Report, human_bytes};

/// The commands about backups.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save a backup of the cluster into a file
    Save(SaveArgs),
    /// Read a whole backup and say whether it is what was written
    Verify(VerifyArgs),
    /// Show what a backup says of itself
    #[command(visible_alias = "status")]
    Inspect(InspectArgs),
}

/// Save a backup of the cluster into a file.
///
/// It holds every write that was acknowledged before, whichever member is asked. An existing file
/// is never overwritten. There is no time limit unless --command-timeout is given.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl snapshot save backup.db
  raftctl --endpoints 10.0.0.2:2379 --command-timeout 10m snapshot save /backup/today.db")]
pub(crate) struct SaveArgs {
    /// Where to save it
    file: PathBuf,
}

/// Read a whole backup and say whether it is what was written.
///
/// Damage is told with its place. Nobody is asked for anything.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes:
  0  the backup is good
  2  it is damaged
  3  it cannot be read, is of another version, or is no backup")]
pub(crate) struct VerifyArgs {
    /// The backup
    file: PathBuf,
}

/// Show what a backup says of itself.
///
/// Only the header and the hash are read; `snapshot verify` reads everything.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl snapshot inspect backup.db -w table
  raftctl snapshot status backup.db -w json")]
pub(crate) struct InspectArgs {
    /// The backup
    file: PathBuf,
}

/// Runs a command about backups.
pub(crate) async fn run(
    client: &Client,
    format: Format,
    command: SnapshotCommand,
) -> Result<Report, CliError> {
    let described = match command {
        SnapshotCommand::Save(args) => save(client, &args.file).await?,
        SnapshotCommand::Verify(args) => check(&args.file)?,
        SnapshotCommand::Inspect(args) => inspect(&args.file)?,
    };
    Ok(Report::of(&described, format))
}

/// Reads all of a backup.
fn check(file: &Path) -> Result<Described, CliError> {
    let whole = read_whole(file);
    let (header, hash) = whole.map_err(|fault| CliError::Backup { file: file.into(), fault })?;
    Ok(Described { action: Action::Verified, file: file.into(), header, hash })
}

fn read_whole(file: &Path) -> Result<(Header, Hash), Fault> {
    verify(File::open(file).map_err(|error| Fault::Io { at: 0, error })?)
}

/// Reads the two ends of a backup.
fn inspect(file: &Path) -> Result<Described, CliError> {
    let fault = |fault| CliError::Backup { file: file.into(), fault };
    let unread = |error| fault(Fault::Io { at: 0, error });
    let mut input = File::open(file).map_err(unread)?;
    let header = Backup::open(&input).map_err(fault)?.header().clone();
    let (found, expected) = (input.metadata().map_err(unread)?.len(), header.file_bytes());
    if found != expected {
        let what = format!("the file has {found} bytes, its header tells of {expected}");
        return Err(fault(Fault::Damaged { at: found.min(expected), what }));
    }
    let mut hash = Hash([0; HASH_BYTES]);
    let at = expected - HASH_BYTES as u64;
    let read = input.seek(SeekFrom::Start(at)).and_then(|_| input.read_exact(&mut hash.0));
    read.map_err(|error| fault(Fault::Io { at, error }))?;
    Ok(Described { action: Action::Inspected, file: file.into(), header, hash })
}

/// Saves a backup of the first endpoint that gives one.
async fn save(client: &Client, file: &Path) -> Result<Described, CliError> {
    let mut draft = Draft::create(file)?;
    let saved = async {
        let call = async |to: Connection| {
            to.maintenance().snapshot(SnapshotRequest {}).await.map(Response::into_inner)
        };
        let (endpoint, stream) = client.read_from(call).await?;
        let received = receive(stream, &mut draft).await?;
        match received {
            Ok(()) => Ok(endpoint),
            Err((received, failure)) => Err(CliError::Broken { endpoint, received, failure }),
        }
    };
    let endpoint = match client.time_limit() {
        None => saved.await?,
        Some(limit) => {
            let ended = timeout(limit, saved).await;
            ended.map_err(|_elapsed| CliError::NotSaved { file: file.into(), limit })??
        }
    };
    let (header, hash) =
        read_whole(draft.settle()?).map_err(|fault| CliError::NoBackup { endpoint, fault })?;
    draft.publish()?;
    Ok(Described { action: Action::Saved, file: file.into(), header, hash })
}

/// What went wrong on the way, and after how many bytes.
type Broken = (u64, Failure);

/// Writes everything that comes. The outer error is about the file.
async fn receive(
    mut stream: Streaming<SnapshotResponse>,
    draft: &mut Draft,
) -> Result<Result<(), Broken>, CliError> {
    let mut progress = Progress::new();
    let mut received = 0;
    loop {
        let next = match timeout(SILENCE_MAX, stream.message()).await {
            Ok(Ok(next)) => next,
            Ok(Err(status)) => return Ok(Err((received, Failure::Status(Box::new(status))))),
            Err(_elapsed) => return Ok(Err((received, Failure::Timeout(SILENCE_MAX)))),
        };
        let Some(response) = next else { return Ok(Ok(())) };
        draft.write(&response.blob)?;
        received += response.blob.len() as u64;
        progress.tell(received, response.remaining_bytes);
    }
}

/// How long a server may say nothing: it may have to read all of a large store before it begins.
const SILENCE_MAX: Duration = Duration::from_mins(2);

/// One line on standard error that says how far it is, if somebody sits there.
struct Progress {
    is_shown: bool,
    told: Option<Instant>,
}

impl Progress {
    fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal(), told: None }
    }

    fn tell(&mut self, received: u64, remaining: u64) {
        let now = Instant::now();
        let is_due = self.told.is_none_or(|told| now - told > PROGRESS_INTERVAL);
        if !self.is_shown || !is_due {
            return;
        }
        self.told = Some(now);
        let all = received.saturating_add(remaining);
        let percent = (u128::from(received) * 100).checked_div(all.into()).unwrap_or(100);
        let size = |bytes: u64| human_bytes(i64::try_from(bytes).unwrap_or(i64::MAX));
        let text = format!("\r{} of {}, {percent} %\x1b[K", size(received), size(all));
        // Whoever closed standard error does not want to know.
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.told.is_some() {
            let _ = io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

/// Often enough to see it move.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
