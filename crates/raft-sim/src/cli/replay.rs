//! `raft-sim replay`: one seed as a story.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use raft_sim::{html, replay};

use crate::run::command;
use crate::{Worlds, mutants};

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// The seed.
    seed: u64,
    #[command(flatten)]
    worlds: Worlds,
    /// Writes a picture of it to this file: one page, to be opened in a browser.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Puts this known bug into the code first.
    #[arg(long, value_name = "ID")]
    mutant: Option<String>,
    /// How many of the last events are told.
    #[arg(long, default_value_t = 40)]
    last: usize,
}

impl Replay {
    pub(crate) fn carry_out(&self) -> ExitCode {
        if let Some(code) = mutants::prepare(self.mutant.as_deref()) {
            return code;
        }
        let command = command(self.seed, &self.worlds, self.mutant.as_deref());
        let mut report = replay(&self.worlds.plan(), self.seed, &command);
        report.mutant.clone_from(&self.mutant);
        println!("{}", report.story(self.last));
        if let Some(path) = &self.html {
            if let Err(error) = fs::write(path, html::page(&report)) {
                eprintln!("{}: cannot be written: {error}", path.display());
                return ExitCode::FAILURE;
            }
            eprintln!("{}: the picture", path.display());
        }
        if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
