//! The build that known bugs are compiled into: this program builds it when it is needed, and runs
//! itself again from there.
//!
//! An ordinary build has nothing of them in it.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

/// Whether this program is that build.
pub(crate) const IS_ONE: bool = cfg!(raft_mutants);

/// Set for the build that is started here, so that it never starts another.
const MARK: &str = "RAFT_SIM_TEST_BUILD";

/// Builds it from the sources this program was made from and runs it with the same arguments.
pub(crate) fn run_again() -> ExitCode {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).unwrap_or(here);
    if !root.join("Cargo.toml").exists() {
        eprintln!(
            "{}: the sources are not there, and known bugs are built from them",
            root.display()
        );
        return ExitCode::FAILURE;
    }
    if env::var_os(MARK).is_some() {
        eprintln!("cargo does not pass RUSTFLAGS on: known bugs cannot be compiled in here");
        return ExitCode::FAILURE;
    }
    eprintln!("building with the known bugs compiled in …");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["run", "--release", "--quiet", "--package", "raft-sim", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(root.join("target/mutants"))
        .arg("--")
        .args(env::args_os().skip(1))
        .env("RUSTFLAGS", "--cfg raft_mutants")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env(MARK, "1")
        // It is built for an hour's use: linking fast matters more than the last percent.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .status();
    match status {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)),
        Err(error) => {
            eprintln!("cargo does not start: {error}");
            ExitCode::FAILURE
        }
    }
}
