//! `raft-sim run`: many seeds, each twice.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use raft_sim::{Summary, html, replay, run};
use serde_json::json;

use crate::progress::{Progress, seconds};
use crate::{Seeds, Worlds, mutants};

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    worlds: Worlds,
    /// Prints the result as JSON on standard output.
    #[arg(long)]
    json: bool,
    /// Writes a picture of the first failing seed to this file.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Puts this known bug into the code first: then seeds have to fail.
    #[arg(long, value_name = "ID")]
    mutant: Option<String>,
}

impl Run {
    pub(crate) fn carry_out(&self) -> ExitCode {
        if let Some(code) = mutants::prepare(self.mutant.as_deref()) {
            return code;
        }
        let (config, plan) = (self.seeds.config(), self.worlds.plan());
        let progress = Progress::new(config.seeds);
        let summary = run(&config, &plan, &|summary| progress.say(summary));
        let wall = progress.elapsed().as_secs_f64();
        let speedup = speedup(&summary, wall, config.threads);
        if let Some((seed, failure)) = summary.failures.first() {
            let command = command(*seed, &self.worlds, self.mutant.as_deref());
            eprintln!("seed {seed} fails: {failure}; shrinking it …");
            let mut report = replay(&plan, *seed, &command);
            report.mutant.clone_from(&self.mutant);
            eprintln!("{report}");
            if let Some(path) = &self.html
                && let Err(error) = fs::write(path, html::page(&report))
            {
                eprintln!("{}: cannot be written: {error}", path.display());
            }
        }
        for seed in &summary.nondeterministic {
            eprintln!("seed {seed} went two ways: nothing it shows can be trusted");
        }
        if self.json {
            println!("{}", as_json(&summary, wall, speedup));
        } else {
            println!(
                "{} seeds, {} failures, {} nondeterministic, {} events (the shortest run: {}), \
                 {:.0} s simulated in {wall:.1} s: {speedup:.0} times real time per core",
                summary.seeds,
                summary.failures.len(),
                summary.nondeterministic.len(),
                summary.events,
                summary.events_min,
                seconds(summary.simulated_ns),
            );
        }
        let passed = summary.failures.is_empty() && summary.nondeterministic.is_empty();
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// What replays a seed.
pub(crate) fn command(seed: u64, worlds: &Worlds, mutant: Option<&str>) -> String {
    let mutant = mutant.map_or_else(String::new, |id| format!(" --mutant {id}"));
    format!("cargo run --release -p raft-sim -- replay {seed}{}{mutant}", worlds.words())
}

/// Virtual time that was executed (each seed twice) by the time of the cores that did it.
fn speedup(summary: &Summary, wall: f64, threads: usize) -> f64 {
    let threads = f64::from(u32::try_from(threads).unwrap_or(u32::MAX));
    2.0 * seconds(summary.simulated_ns) / (wall * threads).max(1e-9)
}

fn as_json(summary: &Summary, wall: f64, speedup: f64) -> serde_json::Value {
    let failures = summary.failures.iter();
    let failures = failures.map(|(seed, failure)| {
        json!({ "seed": seed, "oracle": failure.oracle, "statement": failure.statement })
    });
    let wall = (wall * 1e3).round() / 1e3;
    json!({
        "seeds": summary.seeds,
        "failures": summary.failures.len(),
        "events": summary.events,
        "events_min": summary.events_min,
        "simulated_seconds": seconds(summary.simulated_ns).round(),
        "wall_seconds": wall,
        "speedup": speedup.round(),
        "nondeterministic": summary.nondeterministic.len(),
        "operations": summary.operations,
        "committed": summary.committed,
        "failing": failures.collect::<Vec<_>>(),
        "nondeterministic_seeds": summary.nondeterministic,
    })
}
