//! The commands about logs on a disk: what is shown, and what the exit code says.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The log of every kind of record that `raft-storage` keeps as its format.
fn golden(directory: &Path) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../raft-storage/tests/golden/v2");
    let to = directory.join("n1");
    copy(&from, &to);
    to
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).expect("it is copied");
        }
    }
}

/// Status, output and errors.
fn run(arguments: &[&str], directory: &Path) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_raftctl"));
    let output = command.env_clear().args(arguments).current_dir(directory).output();
    let output = output.expect("the program was built");
    let text = |bytes| String::from_utf8(bytes).expect("it prints text");
    let status = output.status.code().expect("it ended by itself");
    (status, text(output.stdout), text(output.stderr))
}

/// The newest segment.
fn segment(root: &Path) -> PathBuf {
    let files = fs::read_dir(root.join("wal")).expect("it is there");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("it is there").path()).collect();
    files.sort();
    files.pop().expect("there is a log")
}

/// A sound log is called clean, in words and as JSON, and each record of it is shown.
#[test]
fn a_sound_log_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    golden(directory.path());
    let (status, out, errors) = run(&["wal", "verify", "n1"], directory.path());
    assert_eq!((status, errors.as_str()), (0, ""), "{out}");
    assert!(out.starts_with("n1: clean\n") && out.contains("\ngroup 0: entries "), "{out}");

    let (status, out, _) = run(&["wal", "verify", "n1", "-w", "json"], directory.path());
    let verdict: Value = serde_json::from_str(&out).expect("one document");
    assert_eq!((status, &verdict["verdict"]), (0, &Value::from("clean")));

    let (status, out, errors) = run(&["wal", "dump", "n1", "-w", "json"], directory.path());
    assert_eq!((status, errors.as_str()), (0, ""));
    let lines: Vec<Value> =
        out.lines().map(|line| serde_json::from_str(line).expect("a document")).collect();
    let records = lines.iter().filter(|line| line["record"].is_string()).count() as u64;
    assert_eq!(verdict["records"], records, "every record is shown");
    let (_, text, _) = run(&["wal", "dump", "n1"], directory.path());
    assert_eq!(text.lines().count(), lines.len());
}

/// The exit code tells a write that was cut short from damage, and damage from what is no log.
#[test]
fn the_exit_code_says_what_it_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let root = golden(directory.path());
    let path = segment(&root);
    let whole = fs::read(&path).expect("it is there");
    let mut damaged = whole;
    damaged[8192 + 70] ^= 1;
    fs::write(&path, damaged).expect("it is written");
    let (status, out, errors) = run(&["wal", "verify", "n1"], directory.path());
    assert_eq!((status, out.as_str()), (2, ""), "{errors}");
    assert!(errors.starts_with("error: n1: "), "{errors}");
    let (status, out, _) = run(&["wal", "dump", "n1"], directory.path());
    assert_eq!(status, 0, "a dump shows what there is");
    assert!(out.contains("NOT A BATCH: batch content: expected sum "), "{out}");

    let (status, _, errors) = run(&["wal", "verify", "elsewhere"], directory.path());
    assert_eq!(status, 3);
    assert!(errors.starts_with("error: elsewhere: open elsewhere/SUPER: "), "{errors}");
}
