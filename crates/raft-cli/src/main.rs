//! `raftctl`: reads and writes the store of a cluster and looks after its nodes.
//!
//! It speaks the etcd v3 protocol and prints like etcd's own command line, so scripts move over
//! unchanged. Three promises it keeps:
//! * a write is sent at most once: another endpoint is tried only if nothing was sent;
//! * an error names its endpoint and, after a write, says whether the write may have happened;
//! * the exit code tells a cluster that refused (1) from a command that was wrong (2).
//!
//! Read next: `args.rs` (the command line), `client.rs` (failover), `output.rs` (formats); then a
//! file per family of commands: `kv.rs`, `txn.rs`, `member.rs`, `leader.rs`,
//! `status.rs`, `snapshot.rs`, `wal.rs`.

mod answers;
mod args;
mod client;
mod endpoint;
mod error;
mod input;
mod json;
mod kv;
mod leader;
mod member;
mod output;
mod quote;
mod range;
mod snapshot;
mod status;
mod txn;
mod wal;

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::args::{Cli, Command};
use crate::client::Client;
use crate::error::CliError;
use crate::output::Report;

/// One thread is enough: a command waits for one answer, or for one answer per endpoint.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = match Cli::load() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match run(cli).await.and_then(|report| print(&report)) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

async fn run(cli: Cli) -> Result<Report, CliError> {
    let format = cli.global.write_out;
    let client = Client::new(&cli.global);
    let mut stdin = io::stdin().lock();
    match cli.command {
        Command::Put(args) => kv::put(&client, format, args, &mut stdin).await,
        Command::Get(args) => kv::get(&client, format, &args).await,
        Command::Del(args) => kv::del(&client, format, &args).await,
        Command::Txn(args) => txn::run(&client, format, &args, &mut stdin).await,
        Command::Compact(args) => kv::compact(&client, format, &args).await,
        Command::Member(command) => member::run(&client, format, command).await,
        Command::TransferLeader(args) => leader::transfer(&client, format, args).await,
        Command::MoveLeader(args) => leader::move_leader(&client, format, args).await,
        Command::Endpoint(status::EndpointCommand::Status(args)) | Command::Status(args) => {
            status::status(&client, format, &args).await
        }
        Command::Endpoint(status::EndpointCommand::Health(args)) => {
            status::health(&client, format, &args).await
        }
        Command::Snapshot(command) => snapshot::run(&client, format, command).await,
        Command::Wal(command) => wal::run(format, &command),
        Command::Version => Ok(Report::of(&answers::Version, format)),
    }
}

/// Writes the answer, then what went wrong beside it.
fn print(report: &Report) -> Result<ExitCode, CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(&report.output).and_then(|()| stdout.flush()) {
        // Whoever reads has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.map_err(CliError::Output)?,
    }
    for problem in &report.problems {
        complain(problem);
    }
    Ok(if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Help and version come as errors from the parser, too; they go to standard output, with 0.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nobody is left to tell if this cannot be printed.
    let _ = error.print();
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn complain(text: &str) {
    // Nobody is left to tell if this cannot be printed.
    let _ = writeln!(io::stderr().lock(), "error: {text}");
}
