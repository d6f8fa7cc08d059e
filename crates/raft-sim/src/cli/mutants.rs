//! `raft-sim mutants`: known bugs, put back one at a time. A suite that does not find them covers
//! nothing.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use raft_core::mutants::{Mutant, REGISTRY};
use raft_sim::{Config, Summary, hunt};
use serde_json::{Value, json};

use crate::progress::{Progress, now};
use crate::{Worlds, test_build};

/// Arguments of `mutants`.
#[derive(Debug, Args)]
pub(crate) struct Mutants {
    #[command(flatten)]
    worlds: Worlds,
    /// Prints the result as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Lists the known bugs and runs nothing.
    #[arg(long)]
    list: bool,
    /// Only these, by id.
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    only: Vec<String>,
    /// Core-seconds for each before it counts as missed.
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// Seeds that are run without any bug, and must all pass; at least as many as any bug took.
    #[arg(long, default_value_t = 200)]
    control: u64,
}

/// How a hunt ended.
struct Hunt {
    mutant: Mutant,
    summary: Summary,
    core_seconds: f64,
}

/// Switches a known bug on, or all off. `false` if there is no such bug.
#[cfg(raft_mutants)]
fn select(id: Option<&str>) -> bool {
    raft_core::mutants::select(id)
}

/// An ordinary build has none.
#[cfg(not(raft_mutants))]
fn select(id: Option<&str>) -> bool {
    id.is_none()
}

/// Puts a known bug into the code, if one is wanted. `Some` when that was done by another build, or
/// cannot be done.
pub(crate) fn prepare(id: Option<&str>) -> Option<ExitCode> {
    let id = id?;
    if !test_build::IS_ONE {
        return Some(test_build::run_again());
    }
    if select(Some(id)) {
        return None;
    }
    eprintln!("--mutant {id}: there is no such known bug; `raft-sim mutants --list` shows them");
    Some(ExitCode::FAILURE)
}

impl Mutants {
    pub(crate) fn carry_out(&self) -> ExitCode {
        if self.list {
            for mutant in REGISTRY {
                println!("{:<5} {:<9} {}", mutant.id, mutant.property, mutant.bug);
                if let Some(why) = mutant.unseen {
                    println!("{:15} for tests alone, unless named by --only: {why}", "");
                }
            }
            return ExitCode::SUCCESS;
        }
        let known = |id: &&String| REGISTRY.iter().all(|mutant| mutant.id != id.as_str());
        if let Some(id) = self.only.iter().find(known) {
            eprintln!("--only {id}: there is no such known bug; `raft-sim mutants --list`");
            return ExitCode::FAILURE;
        }
        if !test_build::IS_ONE {
            return test_build::run_again();
        }
        let is_named = |mutant: &&Mutant| self.only.iter().any(|id| id == mutant.id);
        let wanted = REGISTRY.iter().filter(|mutant| {
            if self.only.is_empty() { mutant.unseen.is_none() } else { is_named(mutant) }
        });
        let hunts: Vec<Hunt> = wanted.map(|mutant| self.hunt(*mutant)).collect();
        let longest = hunts.iter().map(|hunt| hunt.summary.seeds).max().unwrap_or(0);
        let control = self.control(longest.max(self.control));
        self.tell(&hunts, &control)
    }

    /// Runs seeds until one fails, or the time is up.
    fn hunt(&self, mutant: Mutant) -> Hunt {
        assert!(select(Some(mutant.id)), "it is in the registry");
        let config =
            Config { start: self.start, seeds: u64::MAX - self.start, ..Config::default() };
        let cores = u32::try_from(config.threads).unwrap_or(1);
        let limit = Duration::from_secs(self.seconds) / cores;
        let began = now();
        let plan = self.worlds.plan();
        let summary = hunt(&config, &plan, &|_| began.elapsed() < limit);
        let core_seconds = began.elapsed().as_secs_f64() * f64::from(cores);
        let found = match summary.failures.first() {
            Some((seed, failure)) => format!("seed {seed}: {failure}"),
            None => "NOT FOUND".into(),
        };
        let found: String = found.chars().take(150).collect();
        eprintln!("{:<5} {core_seconds:>6.1} s  {found}", mutant.id);
        Hunt { mutant, summary, core_seconds }
    }

    /// The same seeds without a bug.
    fn control(&self, seeds: u64) -> Summary {
        assert!(select(None), "every build has no bug");
        let config = Config { start: self.start, seeds, ..Config::default() };
        let progress = Progress::new(seeds);
        hunt(&config, &self.worlds.plan(), &|summary| {
            progress.say(summary);
            true
        })
    }

    fn tell(&self, hunts: &[Hunt], control: &Summary) -> ExitCode {
        let missed: Vec<&str> = hunts
            .iter()
            .filter(|hunt| hunt.summary.failures.is_empty())
            .map(|hunt| hunt.mutant.id)
            .collect();
        let found = hunts.len() - missed.len();
        let slowest = hunts.iter().map(|hunt| hunt.core_seconds).fold(0.0, f64::max);
        if self.json {
            println!(
                "{}",
                json!({
                    "total": hunts.len(),
                    "found": found,
                    "missed": missed,
                    "slowest_core_seconds": round(slowest),
                    "control": {
                        "seeds": control.seeds,
                        "failures": control.failures.len(),
                        "events": control.events,
                    },
                    "mutants": hunts.iter().map(Hunt::as_json).collect::<Vec<Value>>(),
                })
            );
        } else {
            println!(
                "{found} of {} found, the slowest after {slowest:.1} core-seconds; missed: {}; \
                 without any: {} failures in {} seeds",
                hunts.len(),
                if missed.is_empty() { "none".into() } else { missed.join(" ") },
                control.failures.len(),
                control.seeds
            );
        }
        for (seed, failure) in &control.failures {
            eprintln!("without any known bug seed {seed} fails: {failure}");
        }
        let passed = missed.is_empty() && control.failures.is_empty();
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

impl Hunt {
    fn as_json(&self) -> Value {
        let failure = self.summary.failures.first();
        json!({
            "id": self.mutant.id,
            "bug": self.mutant.bug,
            "property": self.mutant.property,
            "found": failure.is_some(),
            "seed": failure.map(|(seed, _)| seed),
            "oracle": failure.map(|(_, failure)| failure.oracle),
            "seeds": self.summary.seeds,
            "events": self.summary.events,
            "core_seconds": round(self.core_seconds),
        })
    }
}

fn round(seconds: f64) -> f64 {
    (seconds * 1e3).round() / 1e3
}
