//! The checks of this repository, run as `cargo xtask COMMAND`.
//!
//! `tidy` tests what no compiler tests: that dependencies between crates are the ones
//! ARCHITECTURE.md promises, and the habits of docs/STYLE.md that can be read off the text.
//! `seeds` simulates: seeds, known bugs, a canary. `ci` runs what CI runs, with the time each step
//! took. This crate imports nothing of the house, so that a house that does not build can still be
//! inspected.
//!
//! Read next: `tidy.rs` for the rules, `ci.rs` for the steps, `seeds.rs` for the simulation.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool prints")]

mod ci;
mod seeds;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy               check crate edges, file and function sizes, documents
  ci                 format, lints, tidy, docs, dependencies, simulation, all tests
  ci --without-tests the same without the tests
  seeds              simulate: fixed seeds, fresh ones, known bugs, a canary";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["tidy"] => tidy(),
        ["seeds"] => seeds::run(&root()),
        ["ci"] => ci::run(&root(), ci::Tests::Run),
        ["ci", "--without-tests"] => ci::run(&root(), ci::Tests::LeaveToCaller),
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn tidy() -> ExitCode {
    match tidy::run(&root()) {
        Ok(report) => {
            for finding in &report.findings {
                println!("{finding}");
            }
            for figure in &report.figures {
                println!("figure: {figure}");
            }
            println!("tidy: {} files, {} findings", report.files, report.findings.len());
            if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("tidy: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The root of the repository: the folder above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask is a folder of the repository").to_path_buf()
}
