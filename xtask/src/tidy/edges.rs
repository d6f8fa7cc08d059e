//! Which crate may import which: the table in ARCHITECTURE.md against the manifests.
//!
//! The table is the law and tells the truth, in both directions. An edge that is in a `Cargo.toml`
//! and not in the table is forbidden; one that is in the table and in no `Cargo.toml` is a lie.
//! Build and dev-dependencies obey the same law as normal ones: a test may not look up either.
//!
//! Read next: `outside.rs`, for what crates draw in from outside the house.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::{File, Finding, Rule, TidyError, listed};

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEADER: [&str; 3] = ["crate", "depends on (in the house)", "weight from outside"];
/// A cell for "no crate of the house".
const NONE: &str = "–";
/// A cell for crates that may enter every room, today or tomorrow.
const ANY: &str = "any";

/// What a row of the table lets a crate import.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Allowed {
    Only(BTreeSet<String>),
    Any,
}

type Table = BTreeMap<String, Allowed>;

/// A dependency of one crate of the house on another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Edge {
    pub(super) from: String,
    pub(super) to: String,
    pub(super) kind: Kind,
}

/// In which of its sections a manifest names a dependency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Normal,
    Build,
    Dev,
}

impl Kind {
    /// The word of `cargo metadata` for a kind; none for a normal dependency.
    pub(super) fn parse(word: Option<&str>) -> Self {
        match word {
            Some("dev") => Self::Dev,
            Some("build") => Self::Build,
            Some(_) | None => Self::Normal,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Normal => "dependencies",
            Self::Build => "build-dependencies",
            Self::Dev => "dev-dependencies",
        })
    }
}

/// Compares the table among `files` with the manifests that `metadata` describes.
///
/// # Errors
///
/// [`TidyError::Metadata`] if `metadata` is not what `cargo metadata` prints.
pub(super) fn check(files: &[File], metadata: &Value) -> Result<Vec<Finding>, TidyError> {
    let (crates, edges) = manifests(metadata)?;
    let text = files.iter().find(|file| file.path == DOCUMENT).map_or("", |file| &file.text);
    Ok(match parse_table(text) {
        Ok(table) => compare(&table, &crates, &edges),
        Err((line, message)) => vec![finding(line, message)],
    })
}

fn finding(line: usize, message: impl Into<String>) -> Finding {
    Finding::of_line(Rule::Edges, DOCUMENT, line, message)
}

/// Reads the table of edges; an error is a line of the document and what is wrong with it.
fn parse_table(text: &str) -> Result<Table, (usize, String)> {
    let mut rows = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| cells(line) != HEADER)
        .take_while(|(_, line)| line.starts_with('|'));
    if rows.next().is_none() {
        return Err((0, format!("no table with the header `{}`", HEADER.join(" | "))));
    }
    let rows: Vec<(usize, Vec<&str>)> =
        rows.skip(1).map(|(number, line)| (number + 1, cells(line))).collect();
    let crates: BTreeSet<String> = rows.iter().map(|(_, cells)| full_name(cells[0])).collect();
    let mut table = Table::new();
    for (line, cells) in &rows {
        let [name, depends_on, _] = cells[..] else {
            return Err((*line, format!("{} cells in a row of three", cells.len())));
        };
        let allowed = match depends_on {
            NONE => Allowed::Only(BTreeSet::new()),
            ANY => Allowed::Any,
            names => Allowed::Only(names.split(',').map(|name| full_name(name.trim())).collect()),
        };
        if let Allowed::Only(names) = &allowed
            && let Some(unknown) = names.iter().find(|name| !crates.contains(*name))
        {
            return Err((*line, format!("{unknown} has no row of its own")));
        }
        if table.insert(full_name(name), allowed).is_some() {
            return Err((*line, format!("{} has two rows", full_name(name))));
        }
    }
    Ok(table)
}

fn cells(line: &str) -> Vec<&str> {
    line.trim().trim_matches('|').split('|').map(str::trim).collect()
}

/// The table may say `core` for `raft-core`, with or without backticks.
fn full_name(cell: &str) -> String {
    let name = cell.trim_matches('`');
    if name.starts_with("raft-") || name == "xtask" { name.into() } else { format!("raft-{name}") }
}

/// The crates of the house and the dependencies among them.
fn manifests(metadata: &Value) -> Result<(BTreeSet<String>, BTreeSet<Edge>), TidyError> {
    let packages = members(metadata)?;
    let crates: BTreeSet<String> = packages.iter().map(|(name, _)| (*name).to_owned()).collect();
    let mut edges = BTreeSet::new();
    for (from, package) in packages {
        let missing = TidyError::Metadata { missing: "packages[].dependencies" };
        for dependency in package["dependencies"].as_array().ok_or(missing)? {
            let missing = TidyError::Metadata { missing: "packages[].dependencies[].name" };
            let to = dependency["name"].as_str().ok_or(missing)?;
            if crates.contains(to) {
                let kind = Kind::parse(dependency["kind"].as_str());
                edges.insert(Edge { from: from.into(), to: to.into(), kind });
            }
        }
    }
    Ok((crates, edges))
}

/// The packages of the workspace, by name.
pub(super) fn members(metadata: &Value) -> Result<Vec<(&str, &Value)>, TidyError> {
    let list = |field| metadata[field].as_array().ok_or(TidyError::Metadata { missing: field });
    let ids = list("workspace_members")?;
    let packages = list("packages")?.iter().filter(|package| ids.contains(&package["id"]));
    let missing = || TidyError::Metadata { missing: "packages[].name" };
    packages.map(|package| Ok((package["name"].as_str().ok_or_else(missing)?, package))).collect()
}

/// What the table and the manifests do not agree on.
fn compare(table: &Table, crates: &BTreeSet<String>, edges: &BTreeSet<Edge>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in crates.iter().filter(|name| !table.contains_key(*name)) {
        findings.push(finding(0, format!("crate {name} has no row in the table of edges")));
    }
    for (name, allowed) in table {
        if !crates.contains(name) {
            findings.push(finding(0, format!("row {name}: there is no such crate")));
            continue;
        }
        let Allowed::Only(allowed) = allowed else { continue };
        let own: Vec<&Edge> = edges.iter().filter(|edge| edge.from == *name).collect();
        findings.extend(forbidden(allowed, &own));
        for to in allowed.iter().filter(|to| !own.iter().any(|edge| edge.to == **to)) {
            let message =
                format!("row {name}: it does not depend on {to}; take {to} out of the row");
            findings.push(finding(0, message));
        }
    }
    findings
}

fn forbidden<'a>(
    allowed: &'a BTreeSet<String>,
    edges: &'a [&'a Edge],
) -> impl Iterator<Item = Finding> {
    let above = edges.iter().filter(|edge| !allowed.contains(&edge.to));
    above.map(|Edge { from, to, kind }| {
        let allowed = listed(allowed.iter().map(String::as_str));
        let manifest = match from.as_str() {
            "xtask" => "xtask/Cargo.toml".into(),
            name => format!("crates/{name}/Cargo.toml"),
        };
        Finding::of_file(
            Rule::Edges,
            &manifest,
            format!(
                "{from} names {to} in its {kind}, and may import: {allowed}. Move the idea to the \
                 floor where it belongs, or change the table first, in review"
            ),
        )
    })
}

#[cfg(test)]
mod tests;
