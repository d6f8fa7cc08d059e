//! A test of the repository: the rules of docs/STYLE.md that no compiler knows.
//!
//! Each rule has a name. Where the present state falls short, `xtask/ratchet.txt` lists the
//! offender under the rule's name; an entry that is no longer needed is itself a finding, so the
//! list only shrinks. Crate edges have no exceptions: they change in ARCHITECTURE.md first.
//!
//! Read next: `tidy/edges.rs` (which crate may import which), `tidy/source.rs` (reading Rust),
//! `tidy/rules.rs` (the rules of one file), `tidy/documents.rs` (decisions, links, scripts).

mod documents;
mod edges;
mod outside;
mod ratchet;
mod rules;
mod source;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use source::Source;

/// A rule's name, as it stands in findings and in the ratchet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// Dependencies between crates equal the table in ARCHITECTURE.md.
    Edges,
    /// What a crate may draw in from outside.
    Outside,
    /// The first line of a Rust file says what it is.
    FirstLine,
    /// Lines of Rust are at most 100 columns.
    LineWidth,
    /// No file is over 256 KiB.
    FileBytes,
    /// A Rust file is at most 600 lines of code.
    FileLines,
    /// A function is at most 70 lines of code.
    FunctionLines,
    /// What is left to do has an owner.
    Todo,
    /// No test is switched off.
    Ignored,
    /// No test waits for a while instead of an event.
    Sleep,
    /// Lints are lifted with `expect`, and every crate obeys the workspace's.
    Lints,
    /// One function of the house turns writes into receipts.
    Receipts,
    /// A golden script begins with its title.
    Script,
    /// Every decision is in the index, on one page, in five parts.
    Decision,
    /// A relative link leads somewhere.
    Link,
    /// Paths of one machine have no place in the project.
    Machine,
    /// The list of exceptions is well formed and only shrinks.
    Ratchet,
}

impl Rule {
    const ALL: [Self; 17] = [
        Self::Edges,
        Self::Outside,
        Self::FirstLine,
        Self::LineWidth,
        Self::FileBytes,
        Self::FileLines,
        Self::FunctionLines,
        Self::Todo,
        Self::Ignored,
        Self::Sleep,
        Self::Lints,
        Self::Receipts,
        Self::Script,
        Self::Decision,
        Self::Link,
        Self::Machine,
        Self::Ratchet,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Edges => "edges",
            Self::Outside => "outside",
            Self::FirstLine => "first-line",
            Self::LineWidth => "line-width",
            Self::FileBytes => "file-bytes",
            Self::FileLines => "file-lines",
            Self::FunctionLines => "function-lines",
            Self::Todo => "todo",
            Self::Ignored => "ignored",
            Self::Sleep => "sleep",
            Self::Lints => "lints",
            Self::Receipts => "receipts",
            Self::Script => "script",
            Self::Decision => "decision",
            Self::Link => "link",
            Self::Machine => "machine",
            Self::Ratchet => "ratchet",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Whether the ratchet may list offenders: what the house rests on has no exceptions.
    fn has_exceptions(self) -> bool {
        !matches!(self, Self::Edges | Self::Outside | Self::Receipts | Self::Ratchet)
    }
}

/// One place where the repository breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1; 0 if the finding is about the whole file.
    pub(crate) line: usize,
    pub(crate) rule: Rule,
    /// The name inside the file, such as a function's; empty if the file is the offender.
    pub(crate) item: String,
    pub(crate) message: String,
}

impl Finding {
    fn of_file(rule: Rule, path: &str, message: impl Into<String>) -> Self {
        Self::of_line(rule, path, 0, message)
    }

    fn of_line(rule: Rule, path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.into(), line, rule, item: String::new(), message: message.into() }
    }

    fn named(mut self, item: &str) -> Self {
        item.clone_into(&mut self.item);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        write!(f, ": {}: {}", self.rule.name(), self.message)
    }
}

/// What one run found.
pub(crate) struct Report {
    pub(crate) findings: Vec<Finding>,
    /// Measures without a limit yet.
    pub(crate) figures: Vec<String>,
    /// Number of files looked at.
    pub(crate) files: usize,
}

/// Why the repository could not be judged at all.
#[derive(Debug)]
pub(crate) enum TidyError {
    /// A file or folder cannot be read.
    Read { path: PathBuf, source: io::Error },
    /// `cargo metadata` cannot be run, or fails; its own words.
    Cargo(String),
    /// What `cargo metadata` prints lacks a field this tool relies on.
    Metadata { missing: &'static str },
}

impl fmt::Display for TidyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Cargo(words) => write!(f, "cargo metadata: {}", words.trim_end()),
            Self::Metadata { missing } => write!(f, "cargo metadata: no field {missing}"),
        }
    }
}

/// One file of the repository.
pub(crate) struct File {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    /// As text; bytes that are none are replaced.
    pub(crate) text: String,
    /// Its size in bytes, on disk.
    pub(crate) bytes: usize,
    /// Its code and comments apart, if it is Rust.
    pub(crate) rust: Option<Source>,
}

impl File {
    pub(crate) fn new(path: &str, bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes).into_owned();
        let mut file = Self { path: path.into(), text, bytes: bytes.len(), rust: None };
        if file.has_extension("rs") {
            file.rust = Some(Source::split(&file.text));
        }
        file
    }

    fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|own| own == extension)
    }

    /// Whether all of this file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.path.starts_with("crates/raft-tests/")
            || self.path.split('/').any(|part| part == "tests")
            || self.path.ends_with("/tests.rs")
    }
}

/// Checks the repository at `root` against every rule.
///
/// # Errors
///
/// [`TidyError`] if files or crates cannot be read; nothing was judged then.
pub(crate) fn run(root: &Path) -> Result<Report, TidyError> {
    let files = read_all(root)?;
    let metadata = metadata(root)?;
    let mut findings = Vec::new();
    for file in &files {
        findings.extend(rules::check(file));
        findings.extend(documents::check(file, root));
    }
    findings.extend(rules::one_maker_of_receipts(&files));
    findings.extend(documents::check_decisions(&files));
    findings.extend(edges::check(&files, &metadata)?);
    findings.extend(outside::check(&metadata)?);

    let exceptions = files.iter().find(|file| file.path == ratchet::PATH);
    let mut findings = ratchet::apply(findings, exceptions.map_or("", |file| &file.text));
    findings.sort();
    Ok(Report { findings, figures: vec![rules::assert_density(&files)], files: files.len() })
}

/// Folders that hold no source: build output, the repository's own books, nodes' data.
fn is_skipped(name: &str) -> bool {
    matches!(name, "target" | ".git" | "raftd-dev-data")
        || Path::new(name).extension().is_some_and(|extension| extension == "etcd")
}

fn read_all(root: &Path) -> Result<Vec<File>, TidyError> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let read = |path: &Path, source| TidyError::Read { path: path.to_path_buf(), source };
        for entry in std::fs::read_dir(&folder).map_err(|error| read(&folder, error))? {
            let entry = entry.map_err(|error| read(&folder, error))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|error| read(&path, error))?;
            let name = entry.file_name();
            if kind.is_dir() && !is_skipped(&name.to_string_lossy()) {
                folders.push(path);
            } else if kind.is_file() {
                let bytes = std::fs::read(&path).map_err(|error| read(&path, error))?;
                files.push(File::new(&relative(root, &path), &bytes));
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

fn relative(root: &Path, path: &Path) -> String {
    let inside = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = inside.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn metadata(root: &Path) -> Result<serde_json::Value, TidyError> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root)
        .output()
        .map_err(|error| TidyError::Cargo(error.to_string()))?;
    if !output.status.success() {
        return Err(TidyError::Cargo(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| TidyError::Cargo(error.to_string()))
}

/// Names in a sentence: `a, b, c`.
fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
