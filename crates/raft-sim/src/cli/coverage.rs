//! `raft-sim coverage`: which fault was met in which phase.

use std::process::ExitCode;

use clap::Args;
use raft_sim::coverage::{Fault, Phase};
use raft_sim::run;
use serde_json::{Map, Value, json};

use crate::progress::Progress;
use crate::{Seeds, Worlds};

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
        let config = self.seeds.config();
        let progress = Progress::new(config.seeds);
        let summary = run(&config, &self.worlds.plan(), &|summary| progress.say(summary));
        let coverage = &summary.coverage;
        let missing = coverage.missing();
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
                    "cells": Value::Object(cells.collect::<Map<_, _>>()),
                    "missing": missing.iter().map(|(fault, phase)| {
                        json!([fault.name(), phase.name()])
                    }).collect::<Vec<_>>(),
                })
            );
        } else {
            println!("{coverage}");
            for (fault, phase) in &missing {
                println!("never: {fault} in phase {phase}");
            }
        }
        ExitCode::SUCCESS
    }
}
