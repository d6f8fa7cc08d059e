//! Simulation in CI: a fixed set of seeds, a fresh one made from the commit, known bugs, and a
//! canary. Each seed runs twice, and both runs must be the same.
//!
//! A canary is a known bug that must turn a run red. If it does not, nothing the simulator says is
//! worth anything, and this step fails.

use std::path::Path;
use std::process::{Command, ExitCode};

/// Seeds of the fixed set, from zero on.
const FIXED: &str = "1000";

/// Seeds of the fresh set.
const FRESH: &str = "1000";

/// The known bug that must not pass.
const CANARY: &str = "R9";

/// Known bugs that are found within a second or two: all of them are hunted by hand or at night.
const FAST: &str = "E2a,E3,E4b,E6,E7,E10a,E11c,E17,R1,R2b,R3a,R4,R6a,R9,R12,R13,R14a,R15,R18,\
                    R20,C7a,D5,D6,D9,D21";

/// Runs them all, whatever fails, and says what did.
pub(crate) fn run(root: &Path) -> ExitCode {
    let mut failed = Vec::new();
    let mut step = |name: &str, passed: bool| {
        println!("== {name}: {}", if passed { "passed" } else { "FAILED" });
        if !passed {
            failed.push(name.to_owned());
        }
    };
    step("fixed seeds", simulate(root, &["run", "--seeds", FIXED, "--json"]));
    match fresh(root) {
        Some(start) => {
            let start = start.to_string();
            let words = ["run", "--seeds", FRESH, "--start", &start, "--json"];
            step(&format!("fresh seeds from {start}"), simulate(root, &words));
        }
        None => println!("== fresh seeds: not run, there is no commit to make them from"),
    }
    let canary = ["run", "--seeds", "10", "--json", "--mutant", CANARY];
    step("canary, which has to fail", !simulate(root, &canary));
    let bugs = ["mutants", "--json", "--control", "50", "--seconds", "60", "--only", FAST];
    step("known bugs", simulate(root, &bugs));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("seeds: {} failed", failed.join(", "));
    ExitCode::FAILURE
}

fn simulate(root: &Path, words: &[&str]) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root)
        .args(["run", "--quiet", "--locked", "--release", "--package", "raft-sim", "--"])
        .args(words)
        .status();
    match status {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cargo does not start: {error}");
            false
        }
    }
}

/// A number that every commit has to itself.
fn fresh(root: &Path) -> Option<u64> {
    let output = Command::new("git").current_dir(root).args(["rev-parse", "HEAD"]).output().ok()?;
    let hash = String::from_utf8(output.stdout).ok()?;
    u64::from_str_radix(hash.get(..12)?, 16).ok()
}
