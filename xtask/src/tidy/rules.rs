//! The rules of one file: its first line, its size, its functions, what its tests may not do.
//!
//! Read next: `documents.rs` for files that are not Rust, `ratchet.rs` for exceptions.

use super::source::Source;
use super::{File, Finding, Rule};

/// A line fits beside another on one screen.
const LINE_COLUMNS_MAX: usize = 100;
/// Larger files are data, and data has no place in the history.
const FILE_BYTES_MAX: usize = 256 * 1024;
/// A file holds one idea.
const FILE_LINES_MAX: usize = 600;
/// A function fits a screen. The same number stands in clippy.toml.
const FUNCTION_LINES_MAX: usize = 70;
/// The examples a newcomer copies.
const EXAMPLES: [&str; 2] = ["examples/kv.rs", "examples/your_state_machine_in_the_simulator.rs"];
/// They fit on two screens.
const EXAMPLE_LINES_MAX: usize = 60;
/// Where receipts are made: `raft_storage::write`.
const RECEIPTS: &str = "crates/raft-storage/src/storage.rs";
/// The goal for `assert_density`.
const ASSERTS_PER_FUNCTION: f64 = 2.0;

/// Checks one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(file_bytes(file));
    if file.path.ends_with("Cargo.toml") && file.path != "Cargo.toml" {
        findings.extend(obeys_lints(file));
    }
    let Some(source) = &file.rust else { return findings };
    findings.extend(first_line(file));
    findings.extend(line_width(file));
    findings.extend(file_lines(file, source));
    findings.extend(function_lines(file, source));
    findings.extend(todo(file, source));
    findings.extend(attributes(file, source));
    findings.extend(sleeps(file, source));
    findings
}

fn file_bytes(file: &File) -> Option<Finding> {
    (file.bytes > FILE_BYTES_MAX).then(|| {
        let message = format!("{} bytes; at most {FILE_BYTES_MAX}", file.bytes);
        Finding::of_file(Rule::FileBytes, &file.path, message)
    })
}

fn obeys_lints(file: &File) -> Option<Finding> {
    let mut lines = file.text.lines().map(str::trim).skip_while(|line| *line != "[lints]");
    let obeys = lines.next().is_some() && lines.next() == Some("workspace = true");
    let message = "no lints of the workspace; add `[lints]` with `workspace = true`";
    (!obeys).then(|| Finding::of_file(Rule::Lints, &file.path, message))
}

fn first_line(file: &File) -> Option<Finding> {
    let first = file.text.lines().enumerate().find(|(_, line)| !line.starts_with("#!"));
    let (line, text) = first.unwrap_or((0, ""));
    let message = "the first line says what this file is, and begins with `//!`";
    (!text.starts_with("//! "))
        .then(|| Finding::of_line(Rule::FirstLine, &file.path, line + 1, message))
}

fn line_width(file: &File) -> Vec<Finding> {
    let columns = file.text.lines().map(|line| line.chars().count());
    let wide = columns.enumerate().filter(|(_, columns)| *columns > LINE_COLUMNS_MAX);
    wide.map(|(line, columns)| {
        let message = format!("{columns} columns; at most {LINE_COLUMNS_MAX}");
        Finding::of_line(Rule::LineWidth, &file.path, line + 1, message)
    })
    .collect()
}

fn file_lines(file: &File, source: &Source) -> Option<Finding> {
    let max = match file.path.as_str() {
        path if EXAMPLES.contains(&path) => EXAMPLE_LINES_MAX,
        _ if file.is_test() => return None,
        _ => FILE_LINES_MAX,
    };
    let lines = source.lines_of_code();
    (lines > max).then(|| {
        let message = format!("{lines} lines of code; at most {max}. Is it one idea?");
        Finding::of_file(Rule::FileLines, &file.path, message)
    })
}

fn function_lines(file: &File, source: &Source) -> Vec<Finding> {
    let functions = source.functions().into_iter();
    let long = functions.filter(|function| function.lines > FUNCTION_LINES_MAX);
    long.map(|function| {
        let (name, lines) = (&function.name, function.lines);
        let message = format!("{name} has {lines} lines of code; at most {FUNCTION_LINES_MAX}");
        Finding::of_line(Rule::FunctionLines, &file.path, function.line, message).named(name)
    })
    .collect()
}

/// `TODO(owner): what` is fine; what nobody owns is never done.
fn todo(file: &File, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (number, line) in source.comments().lines().enumerate() {
        for word in ["TODO", "FIXME"] {
            let has_owner = |rest: &str| {
                rest.strip_prefix('(').and_then(|rest| rest.find(')')).is_some_and(|end| end > 0)
            };
            let unowned = line.match_indices(word).any(|(at, _)| {
                let starts = !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                starts && !has_owner(&line[at + word.len()..])
            });
            if unowned {
                let message =
                    format!("{word} without an owner; write `{word}(name): what is left`");
                findings.push(Finding::of_line(Rule::Todo, &file.path, number + 1, message));
            }
        }
    }
    findings
}

fn attributes(file: &File, source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for word in &source.words() {
        let is_attribute = matches!(source.before(word), [.., '#', '['] | [.., '#', '!', '[']);
        let (rule, message) = match word.text.as_str() {
            "ignore" => (Rule::Ignored, "a test that does not run shows nothing"),
            "allow" => (Rule::Lints, "use `expect` with a reason: it says when it is needless"),
            _ => continue,
        };
        if is_attribute {
            findings.push(Finding::of_line(rule, &file.path, word.line, message));
        }
    }
    findings
}

/// Calls of a sleep in test code, spelled with its path or imported.
fn sleeps(file: &File, source: &Source) -> Vec<Finding> {
    let from = if file.is_test() { Some(1) } else { source.test_module() };
    let Some(from) = from else { return Vec::new() };
    let mut findings = Vec::new();
    for word in source.words().iter().filter(|word| word.text == "sleep") {
        let is_call = source.after(word).starts_with(&['(']);
        // A method or a definition of that name belongs to virtual time, which never waits.
        let is_own = matches!(source.before(word), [.., '.'] | [.., ' ', 'f', 'n']);
        if is_call && !is_own && word.line >= from {
            let message = "a sleep in a test; wait for an event, with a deadline";
            findings.push(Finding::of_line(Rule::Sleep, &file.path, word.line, message));
        }
    }
    findings
}

/// Exactly one function of the house consumes a `Persist` and so makes a receipt.
pub(super) fn one_maker_of_receipts(files: &[File]) -> Vec<Finding> {
    let outside = files.iter().filter(|file| !file.path.starts_with("crates/raft-core/"));
    let mut findings = Vec::new();
    let mut callers = 0;
    for file in outside {
        let Some(source) = &file.rust else { continue };
        let words = source.words();
        let uses = words.iter().filter(|word| word.text == "into_persisted");
        for word in uses.filter(|word| !source.before(word).ends_with(&['f', 'n'])) {
            callers += 1;
            if file.path != RECEIPTS || callers > 1 {
                let message = format!(
                    "receipts are made in {RECEIPTS} and nowhere else; call `raft_storage::write`"
                );
                findings.push(Finding::of_line(Rule::Receipts, &file.path, word.line, message));
            }
        }
    }
    if callers == 0 {
        let message = "nobody calls `into_persisted`: then no write is ever acknowledged";
        findings.push(Finding::of_file(Rule::Receipts, RECEIPTS, message));
    }
    findings
}

/// Asserts per function in the shipped code of `raft-core`: a figure, not yet a rule.
pub(super) fn assert_density(files: &[File]) -> String {
    let (mut asserts, mut functions) = (0_u32, 0_u32);
    for file in files.iter().filter(|file| file.path.starts_with("crates/raft-core/src/")) {
        let Some(source) = file.rust.as_ref().filter(|_| !file.is_test()) else { continue };
        let end = source.test_module().unwrap_or(usize::MAX);
        for word in source.words().iter().take_while(|word| word.line < end) {
            asserts += u32::from(is_assert(&word.text) && source.after(word).starts_with(&['!']));
        }
        functions += source.functions().iter().map(|f| u32::from(f.line < end)).sum::<u32>();
    }
    let average = f64::from(asserts) / f64::from(functions.max(1));
    format!(
        "raft-core has {asserts} asserts in {functions} functions, {average:.2} each; \
         the goal is {ASSERTS_PER_FUNCTION}"
    )
}

fn is_assert(word: &str) -> bool {
    let word = word.strip_prefix("debug_").unwrap_or(word);
    matches!(word, "assert" | "assert_eq" | "assert_ne")
}

#[cfg(test)]
mod tests;
