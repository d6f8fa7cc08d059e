//! `wal`: what is in a data directory, and what a start would make of it.
//!
//! Nobody is asked for anything, and nothing is changed: a directory is read, also while a member
//! runs on it. Read next: `raft_storage::inspect`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use raft_storage::disk::RealDisk;
use raft_storage::inspect::{Inspection, Item, dump, verify};
use serde_json::json;

use crate::answers::Inspected;
use crate::error::CliError;
use crate::output::{Format, Report};

/// The commands about logs on a disk.
#[derive(Debug, Subcommand)]
pub(crate) enum WalCommand {
    /// Say what a start would make of a data directory
    Verify(VerifyArgs),
    /// Show every segment, batch and record of a log
    Dump(DumpArgs),
}

/// Say what a start would make of a data directory.
///
/// It is a dry run: nothing is changed. Of a member that runs the last write may be seen half done.
#[derive(Args, Debug)]
#[command(after_help = "Exit codes:
  0  everything is as it was written
  1  the last write was cut short, and was never acknowledged
  2  something is damaged that was acknowledged
  3  it cannot be read, is of another version, or is no data directory")]
pub(crate) struct VerifyArgs {
    /// The data directory of a member
    directory: PathBuf,
}

/// Show every segment, batch and record of a log.
///
/// Also what is behind damage. With -w json every line is a document of its own.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  raftctl wal dump n1.etcd | less
  raftctl wal dump n1.etcd -w json | jq 'select(.record == \"Entry\")'")]
pub(crate) struct DumpArgs {
    /// The data directory of a member
    directory: PathBuf,
}

/// Runs a command about logs.
pub(crate) fn run(format: Format, command: &WalCommand) -> Result<Report, CliError> {
    match command {
        WalCommand::Verify(args) => check(&args.directory, format),
        WalCommand::Dump(args) => show(&args.directory, format),
    }
}

fn check(directory: &Path, format: Format) -> Result<Report, CliError> {
    let found = verify(&RealDisk, directory).map_err(wrong(directory))?;
    let problem = torn(&found);
    let inspected = Inspected { directory: directory.into(), found };
    let mut report = Report::of(&inspected, format);
    report.problems.extend(problem);
    Ok(report)
}

/// What is said about a write that was cut short.
fn torn(found: &Inspection) -> Option<String> {
    let torn = found.report.torn.as_ref()?;
    Some(format!(
        "{}: batch {} at byte {} was cut short; it was never acknowledged, and a start leaves it \
         out",
        torn.path.display(),
        torn.lsn,
        torn.offset
    ))
}

/// Prints as it reads: a log may be large.
fn show(directory: &Path, format: Format) -> Result<Report, CliError> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut printed = Ok(());
    let shown = dump(&RealDisk, directory, &mut |item| {
        if printed.is_ok() {
            printed = match format {
                Format::Json => writeln!(out, "{}", document(&item)),
                Format::Simple | Format::Fields | Format::Table => print(&mut out, &item),
            };
        }
    });
    match printed.and_then(|()| out.flush()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(CliError::Output)?,
    }
    shown.map_err(wrong(directory))?;
    Ok(Report::default())
}

fn wrong(directory: &Path) -> impl FnOnce(raft_storage::StorageError) -> CliError {
    let directory = directory.to_path_buf();
    move |error| CliError::Log { directory, error: Box::new(error) }
}

fn print(out: &mut dyn Write, item: &Item) -> io::Result<()> {
    match item {
        Item::Segment { path, seq, alignment, bytes, .. } => writeln!(
            out,
            "segment {seq} {}: {bytes} bytes, batches at multiples of {alignment}",
            path.display()
        ),
        Item::Batch { offset, bytes, lsn, durable_lsn, records } => writeln!(
            out,
            "  {offset}: batch {lsn}, durable up to {durable_lsn}, {records} records, {bytes} bytes"
        ),
        Item::Record { kind, group, numbers: [a, b, c], bytes } => match *kind {
            "Entry" => writeln!(out, "    entry {b}@{a} of type {c}, {bytes} bytes, group {group}"),
            "HardState" => writeln!(out, "    term {a}, vote {b}, commit {c}, group {group}"),
            other => writeln!(out, "    {other} {a} {b} {c}, {bytes} bytes, group {group}"),
        },
        Item::Strange { offset, what } => writeln!(out, "  {offset}: NOT A BATCH: {what}"),
        _ => Ok(()),
    }
}

fn document(item: &Item) -> serde_json::Value {
    match item {
        Item::Segment { path, seq, alignment, bytes, created_unix_ns } => json!({
            "segment": seq, "path": path.display().to_string(), "alignment": alignment,
            "bytes": bytes, "createdUnixNs": created_unix_ns,
        }),
        Item::Batch { offset, bytes, lsn, durable_lsn, records } => json!({
            "batch": lsn, "offset": offset, "bytes": bytes, "durableLsn": durable_lsn,
            "records": records,
        }),
        Item::Record { kind, group, numbers, bytes } => json!({
            "record": kind, "group": group.get(), "numbers": numbers, "bytes": bytes,
        }),
        Item::Strange { offset, what } => json!({ "strange": what, "offset": offset }),
        _ => serde_json::Value::Null,
    }
}
