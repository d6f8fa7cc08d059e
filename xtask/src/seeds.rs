//! Simulation in CI: a fixed set of seeds, a fresh one made from the commit, known bugs, and a
//! canary. Each seed runs twice, and both runs must be the same.
//!
//! A canary is a known bug that must turn a run red. If it does not, nothing the simulator says is
//! worth anything, and this step fails.

use std::path::Path;
use std::process::{Command, ExitCode};

use serde_json::Value;

/// Seeds of the fixed set, from zero on.
const FIXED: &str = "1000";

/// Seeds of the fresh set.
const FRESH: &str = "1000";

/// Seeds of five nodes over three regions.
const REGIONAL: &str = "200";

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
        None => step("fresh seeds: there is no commit to make them from", false),
    }
    step("regions", simulate(root, &["run", "--regions", "--seeds", REGIONAL, "--json"]));
    step("canary, which has to fail", canary(root));
    let bugs = ["mutants", "--json", "--control", "50", "--seconds", "60", "--only", FAST];
    step("known bugs", simulate(root, &bugs));
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("seeds: {} failed", failed.join(", "));
    ExitCode::FAILURE
}

fn simulator(root: &Path, words: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args(["run", "--quiet", "--locked", "--release", "--package", "raft-sim", "--"])
        .args(words);
    cargo
}

fn simulate(root: &Path, words: &[&str]) -> bool {
    match simulator(root, words).status() {
        Ok(status) => status.success(),
        Err(error) => {
            eprintln!("cargo does not start: {error}");
            false
        }
    }
}

/// Whether seeds fail with the canary's bug: because an oracle complains, and not because nothing
/// was run.
fn canary(root: &Path) -> bool {
    let words = ["run", "--seeds", "10", "--json", "--mutant", CANARY];
    let Ok(output) = simulator(root, &words).output() else { return false };
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    println!("{result}");
    let failures = result["failures"].as_u64().unwrap_or(0);
    output.status.code() == Some(1) && failures > 0 && result["nondeterministic"] == 0
}

/// A number that every commit has to itself.
fn fresh(root: &Path) -> Option<u64> {
    let output = Command::new("git").current_dir(root).args(["rev-parse", "HEAD"]).output().ok()?;
    if !output.status.success() {
        return None;
    }
    let hash = String::from_utf8(output.stdout).ok()?;
    u64::from_str_radix(hash.get(..12)?, 16).ok()
}
