//! What CI runs, step by step, each with its time. `.ci/run` prepares a machine and comes here.
//!
//! All steps run even when one fails: a developer wants the whole list, not its first line.

use std::io;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// Whether the tests are among the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tests {
    /// Run them last.
    Run,
    /// `.ci/run` runs them itself, so that their closing lines are its own.
    LeaveToCaller,
}

struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
    environment: Option<(&'static str, &'static str)>,
    /// A question that fails where the tool is absent; such a step is skipped, and says so.
    needs: Option<&'static [&'static str]>,
}

const fn step(name: &'static str, arguments: &'static [&'static str]) -> Step {
    Step { name, arguments, environment: None, needs: None }
}

/// Cheap answers first.
const CHECKS: &[Step] = &[
    step("fmt", &["fmt", "--all", "--check"]),
    step("tidy", &["run", "--quiet", "--locked", "--package", "xtask", "--", "tidy"]),
    step("clippy", &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]),
    Step {
        name: "doc",
        arguments: &["doc", "--locked", "--workspace", "--no-deps"],
        environment: Some(("RUSTDOCFLAGS", "-D warnings")),
        needs: None,
    },
    step("seeds", &["run", "--quiet", "--locked", "--package", "xtask", "--", "seeds"]),
    Step {
        name: "deny",
        arguments: &["deny", "--workspace", "check"],
        environment: None,
        needs: Some(&["deny", "--version"]),
    },
];

const TEST: Step = step("test", &["test", "--workspace"]);

enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// Runs the steps in the repository at `root` and prints a summary.
pub(crate) fn run(root: &Path, tests: Tests) -> ExitCode {
    let mut results = Vec::new();
    for step in CHECKS.iter().chain((tests == Tests::Run).then_some(&TEST)) {
        println!("== {}: cargo {}", step.name, step.arguments.join(" "));
        let started = now();
        let outcome = step.run(root).unwrap_or_else(|error| {
            eprintln!("{}: cargo does not start: {error}", step.name);
            Outcome::Failed
        });
        results.push((step.name, outcome, now().duration_since(started)));
    }
    summarize(&results)
}

impl Step {
    fn run(&self, root: &Path) -> io::Result<Outcome> {
        if let Some(question) = self.needs
            && !cargo(root).args(question).output()?.status.success()
        {
            return Ok(Outcome::NotRun);
        }
        let mut command = cargo(root);
        command.args(self.arguments).envs(self.environment);
        Ok(if command.status()?.success() { Outcome::Passed } else { Outcome::Failed })
    }
}

fn cargo(root: &Path) -> Command {
    // Cargo tells a program it runs which cargo it was; by hand, the one on the path will do.
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn summarize(results: &[(&str, Outcome, Duration)]) -> ExitCode {
    println!("== summary");
    let mut code = ExitCode::SUCCESS;
    for (name, outcome, took) in results {
        let outcome = match outcome {
            Outcome::Passed => "passed",
            Outcome::NotRun => "not run: cargo does not know this command here",
            Outcome::Failed => {
                code = ExitCode::FAILURE;
                "FAILED"
            }
        };
        println!("{name:<8} {:>7.1} s  {outcome}", took.as_secs_f64());
    }
    code
}

#[expect(clippy::disallowed_methods, reason = "the one clock of this tool: it times its steps")]
fn now() -> Instant {
    Instant::now()
}
