//! `raft-sim`: runs the guest of production in simulated worlds, by seed.
//!
//! Progress and stories go to standard error, JSON and tables to standard output. Read next:
//! `cli/run.rs`, `cli/mutants.rs`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line speaks")]

#[path = "cli/coverage.rs"]
mod coverage;
#[path = "cli/mutants.rs"]
mod mutants;
#[path = "cli/progress.rs"]
mod progress;
#[path = "cli/replay.rs"]
mod replay;
#[path = "cli/run.rs"]
mod run;
#[path = "cli/test_build.rs"]
mod test_build;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use raft_core::InMemoryStateMachine;
use raft_sim::model::MapModel;
use raft_sim::{Config, EVENTS, Plan, Registers};

/// Runs the guest of production (protocol, log on disk, codecs) in simulated worlds.
///
/// A seed decides everything in a world: machines, clocks, network, disks, clients, and what goes
/// wrong. The same seed gives the same run, on every machine, bit for bit.
#[derive(Debug, Parser)]
#[command(name = "raft-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs seeds, each twice, and tells the first failure as a story.
    Run(run::Run),
    /// Runs one seed again and tells what happened.
    Replay(replay::Replay),
    /// Puts known bugs back into the code, one at a time, and looks how soon each is found.
    Mutants(mutants::Mutants),
    /// Shows which fault was met in which phase of the protocol, and the marks never reached.
    Coverage(coverage::Coverage),
}

/// How worlds are made.
#[derive(Clone, Debug, Args)]
struct Worlds {
    /// So many nodes in every world; the seed decides if this is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=9))]
    nodes: Option<u64>,
    /// Five nodes in three regions far apart, of which two may reach only the third, and nothing
    /// that breaks: one leader has to stay.
    #[arg(long, conflicts_with = "nodes")]
    regions: bool,
    /// Events of the storm, before a core is healed and has to come to rest.
    #[arg(long, default_value_t = EVENTS, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
}

impl Worlds {
    /// Registers that clients write and read, judged by both checkers.
    fn plan(&self) -> Plan<InMemoryStateMachine> {
        let plan = Plan::new(InMemoryStateMachine::new, Registers::default())
            .model(MapModel)
            .events(self.events);
        match self.nodes {
            _ if self.regions => plan.regions(),
            Some(nodes) => plan.nodes(nodes),
            None => plan,
        }
    }

    /// The same as words of a command line.
    fn words(&self) -> String {
        let nodes = self.nodes.map(|nodes| format!(" --nodes {nodes}"));
        let events = (self.events != EVENTS).then(|| format!(" --events {}", self.events));
        let regions = self.regions.then(|| " --regions".to_owned());
        nodes.into_iter().chain(regions).chain(events).collect()
    }
}

/// Which seeds are run.
#[derive(Clone, Debug, Args)]
struct Seeds {
    /// How many seeds.
    #[arg(long = "seeds", default_value_t = 200)]
    count: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Threads; one for each core if this is not given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=512))]
    threads: Option<u64>,
}

impl Seeds {
    fn config(&self) -> Config {
        let config = Config { start: self.start, seeds: self.count, ..Config::default() };
        match self.threads.and_then(|threads| usize::try_from(threads).ok()) {
            Some(threads) => Config { threads, ..config },
            None => config,
        }
    }
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => run.carry_out(),
        Command::Replay(replay) => replay.carry_out(),
        Command::Mutants(mutants) => mutants.carry_out(),
        Command::Coverage(coverage) => coverage.carry_out(),
    }
}
