//! The program under test: found beside the tests, built if it is missing or older than its
//! sources.
//!
//! Cargo tells a test only about programs of its own package, and `cargo test -p raft-tests` builds
//! no other. So it is looked for where cargo puts it, and cargo is asked for it if need be. Read
//! next: `process.rs`, which runs it.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

/// Names another program to test, such as an older release.
const OVERRIDE: &str = "RAFT_TESTS_RAFTD";

/// The path of `raftd`, of the same profile as these tests and as new as its sources.
pub fn raftd() -> &'static Path {
    static FOUND: OnceLock<PathBuf> = OnceLock::new();
    FOUND.get_or_init(|| match env::var_os(OVERRIDE) {
        Some(path) => PathBuf::from(path),
        None => find(),
    })
}

fn find() -> PathBuf {
    let test = env::current_exe().expect("a test knows where it is");
    // target/debug/deps/stories-0123456789abcdef
    let profile_dir = test.parent().and_then(Path::parent).expect("a test lies in target/*/deps");
    let program = profile_dir.join(format!("raftd{}", env::consts::EXE_SUFFIX));
    if is_fresh(&program) {
        return program;
    }
    let lock = profile_dir.join(".raft-tests.lock");
    let lock = File::create(&lock).unwrap_or_else(|error| panic!("{}: {error}", lock.display()));
    lock.lock().expect("a file of our own can be locked");
    // Another test process may have built it while this one waited.
    if !is_fresh(&program) {
        build(profile_dir);
    }
    assert!(program.exists(), "cargo did not put raftd at {}", program.display());
    program
}

/// Whether the program is there and no source it was built from is newer or gone.
fn is_fresh(program: &Path) -> bool {
    let Some(built) = modified(program) else { return false };
    let Ok(dependencies) = fs::read_to_string(program.with_extension("d")) else { return false };
    let Some((_, sources)) = dependencies.split_once(": ") else { return false };
    // Blanks inside of a path are written with a backslash before them.
    let sources = sources.replace("\\ ", "\0");
    sources
        .split_whitespace()
        .map(|source| PathBuf::from(source.replace('\0', " ")))
        .all(|source| modified(&source).is_some_and(|changed| changed <= built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Asks cargo for the program. What it needs is there already: these tests link the same crates.
fn build(profile_dir: &Path) {
    let name = profile_dir.file_name().and_then(|name| name.to_str()).unwrap_or("debug");
    let profile = if name == "debug" { "dev" } else { name };
    let target_dir = profile_dir.parent().expect("a profile lies in a target directory");
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["build", "--offline", "-p", "raft-server", "--bin", "raftd", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("cargo cannot be run to build raftd: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo build of raftd: {}\n{errors}", output.status);
}
