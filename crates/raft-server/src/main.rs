//! The program `raftd`: reads its command line and does what it says.
//!
//! Everything else is in the library. Read next: `command.rs`.

use std::io::{self, Write as _};
use std::process::ExitCode;

use raft_server::command::Command;
use raft_server::config::Config;
use raft_server::shutdown::Shutdown;
use raft_server::{demo, dev, logging, restore, server};

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let environment: Vec<(String, String)> = std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into(), value.to_string_lossy().into()))
        .collect();
    match Command::parse(&arguments, &environment) {
        Ok(Command::Serve(config)) => serve(*config),
        Ok(Command::Dev(options)) => dev::run(&options),
        Ok(Command::Demo(options)) => demo::run(&options),
        Ok(Command::Restore(options)) => restore::run(&options),
        Ok(Command::Print(text)) => print(&text),
        Err(error) => {
            for violation in &error.violations {
                // A closed stderr leaves the exit status to tell.
                _ = writeln!(io::stderr(), "raftd: {violation}");
            }
            ExitCode::FAILURE
        }
    }
}

/// Is a member until it is told to stop.
fn serve(config: Config) -> ExitCode {
    logging::start(config.log_level, config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let failed = |error: &dyn std::error::Error, status: u8| {
        tracing::error!("{}", chain(error));
        ExitCode::from(status)
    };
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error, 1),
    };
    runtime.block_on(async {
        let mut shutdown = match Shutdown::listen() {
            Ok(shutdown) => shutdown,
            Err(error) => return failed(&error, 1),
        };
        let stop = async { _ = shutdown.requested().await };
        match server::serve(config, stop).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error, error.exit_status()),
        }
    })
}

/// An error with everything that caused it, in one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
