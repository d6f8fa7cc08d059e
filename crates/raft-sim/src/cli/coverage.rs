//! `raft-sim coverage`: which fault was met in which phase, and which rare branches were taken.

use std::process::ExitCode;

use clap::Args;
use raft_core::marks::{self, REGISTRY};
use raft_sim::coverage::{Fault, Phase};
use raft_sim::run;
use serde_json::{Map, Value, json};

use crate::progress::Progress;
use crate::{Seeds, Worlds, test_build};

/// Arguments of `coverage`.
#[derive(Debug, Args)]
pub(crate) struct Coverage {
    #[command(flatten)]
    seeds: Seeds,
    #[command(flatten)]
    worlds: Worlds,
    /// Prints the result as JSON on standard output.
    #[arg(long)]
    json: bool,
}

impl Coverage {
    pub(crate) fn carry_out(&self) -> ExitCode {
        // Only the build for tests counts marks.
        if !test_build::IS_ONE {
            return test_build::run_again();
        }
        let config = self.seeds.config();
        let progress = Progress::new(config.seeds);
        let summary = run(&config, &self.worlds.plan(), &|summary| progress.say(summary));
        let coverage = &summary.coverage;
        let missing = coverage.missing();
        let unmarked = REGISTRY.iter().filter(|mark| count(mark.name) == 0);
        let unmarked: Vec<&str> = unmarked.map(|mark| mark.name).collect();
        if self.json {
            let cells = Fault::ALL.iter().map(|fault| {
                let row = Phase::ALL
                    .iter()
                    .map(|phase| (phase.name().to_owned(), json!(coverage.count(*fault, *phase))));
                (fault.name().to_owned(), Value::Object(row.collect()))
            });
            println!(
                "{}",
                json!({
                    "seeds": summary.seeds,
                    "failures": summary.failures.len(),
                "nondeterministic": summary.nondeterministic.len(),
                    "cells": Value::Object(cells.collect::<Map<_, _>>()),
                    "marks": REGISTRY.iter().map(|mark| {
                    (mark.name.to_owned(), json!(count(mark.name)))
                }).collect::<Map<_, _>>(),
                "unmarked": unmarked,
                "missing": missing.iter().map(|(fault, phase)| {
                        json!([fault.name(), phase.name()])
                    }).collect::<Vec<_>>(),
                })
            );
        } else {
            println!("{coverage}");
            for fault in Fault::ALL {
                for phase in Phase::ALL {
                    if let Some(why) = fault.impossible_in(*phase) {
                        println!("cannot be: {fault} in phase {phase}: {why}");
                    }
                }
            }
            for (fault, phase) in &missing {
                println!("never: {fault} in phase {phase}");
            }
            for mark in REGISTRY {
                println!("{:>12}  {:<26} {}", count(mark.name), mark.name, mark.meaning);
            }
            for name in &unmarked {
                println!("never: mark {name}");
            }
        }
        for (seed, failure) in &summary.failures {
            eprintln!("seed {seed} fails: {failure}");
        }
        for seed in &summary.nondeterministic {
            eprintln!("seed {seed} went two ways: nothing it shows can be trusted");
        }
        let passed = summary.failures.is_empty() && summary.nondeterministic.is_empty();
        if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// How often a mark was passed.
#[cfg(raft_mutants)]
fn count(name: &str) -> u64 {
    marks::count(marks::number(name))
}

/// An ordinary build does not count, and does not come so far.
#[cfg(not(raft_mutants))]
const fn count(name: &str) -> u64 {
    let _ = marks::number(name);
    0
}
