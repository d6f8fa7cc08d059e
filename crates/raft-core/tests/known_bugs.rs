//! The ledger of known bugs, the registry of mutants and the sources tell the same: what the ledger
//! names exists, and what exists is in the ledger.
//!
//! Stories of rows that no other test tells are in `known_bugs/stories.rs`.

#[path = "support/bench.rs"]
#[expect(dead_code, reason = "the tests of the paper use all of it")]
mod bench;
#[path = "support/disk.rs"]
#[expect(dead_code, reason = "the random schedules use the rest")]
mod disk;
#[path = "support/mutant.rs"]
mod mutant;
#[path = "support/sources.rs"]
mod sources;
#[path = "known_bugs/stories.rs"]
mod stories;

use std::collections::BTreeSet;
use std::fs;

use raft_core::mutants::REGISTRY;

use crate::sources::{files, repository, used};

/// A line of the ledger.
struct Row {
    id: String,
    bug: String,
    status: String,
    found_by: Vec<String>,
    mutant: Option<String>,
}

/// What stands between backticks.
fn names(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn ledger() -> Vec<Row> {
    let path = repository().join("docs/KNOWN_BUGS.md");
    let text = fs::read_to_string(path).expect("the ledger can be read");
    let table = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| id "));
    let rows: Vec<Row> = table
        .map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let [id, bug, status, found_by, mutant, _found_after] = cells[..] else {
                panic!("six cells in {line}")
            };
            let (id, bug, status) = (id.into(), bug.into(), status.into());
            let mutant = names(mutant).pop();
            Row { id, bug, status, found_by: names(found_by), mutant }
        })
        .collect();
    assert!(rows.len() > 200, "only {} rows are found", rows.len());
    rows
}

/// Every test function and every golden script of the repository.
fn tests() -> BTreeSet<String> {
    let crates = repository().join("crates");
    let mut found = BTreeSet::new();
    for path in files(&crates, "rs") {
        let text = fs::read_to_string(path).expect("it can be read");
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let name = line.trim_start_matches("async ").strip_prefix("fn ");
            let name = name.and_then(|rest| rest.split('(').next());
            is_test |= line == "#[test]" || line.starts_with("#[tokio::test");
            if let Some(name) = name {
                if is_test {
                    found.insert(name.to_owned());
                }
                is_test = false;
            }
        }
    }
    let scripts = files(&crates.join("raft-sim/scripts"), "script");
    found.extend(scripts.iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())));
    found
}

/// An id means one bug, and every mutant says what it does wrong and what that breaks.
#[test]
fn every_mutant_has_an_id_of_its_own_and_a_sentence() {
    let ids: BTreeSet<&str> = REGISTRY.iter().map(|mutant| mutant.id).collect();
    assert_eq!(ids.len(), REGISTRY.len(), "an id is used twice");
    let codes = "ES LM LC SMS CI MT QC CFG ID LIN EO DUR REC LIVE RES DET";
    for mutant in REGISTRY {
        assert!(mutant.bug.ends_with('.'), "{} is described by a sentence", mutant.id);
        for code in mutant.property.split(' ') {
            assert!(codes.split(' ').any(|known| known == code), "{}: {code}?", mutant.id);
        }
    }
}

/// What the registry lists is in the sources, and what is in the sources is listed.
#[test]
fn every_mutant_is_in_the_sources() {
    let found = used("mutant", &["raft-core", "raft-storage", "raft-sim"]);
    let listed: BTreeSet<String> = REGISTRY.iter().map(|mutant| mutant.id.to_owned()).collect();
    assert_eq!(found, listed);
}

/// Without the cfg no mutant can be on.
#[cfg(not(raft_mutants))]
#[test]
fn an_ordinary_build_has_no_mutants() {
    for number in 0..=REGISTRY.len() {
        assert!(!raft_core::mutants::is_on(number));
    }
}

/// Each id is one line, each line is complete, and its status fits the rest of it.
#[test]
fn every_line_of_the_ledger_is_complete() {
    let rows = ledger();
    let ids: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids.len(), rows.len(), "an id has two lines");
    for Row { id, bug, status, found_by, mutant } in &rows {
        assert!(!bug.is_empty(), "{id} says what the bug is");
        let is_covered = match status.split(':').next() {
            Some("mutant" | "test") => true,
            Some("not yet" | "does not apply") => {
                assert!(status.contains(": "), "{id} says why");
                false
            }
            Some(_) | None => panic!("{id} has the status {status}"),
        };
        assert!(!is_covered || !found_by.is_empty(), "{id} names what finds it");
        assert_eq!(mutant.is_some(), status == "mutant", "{id} is a mutant or is not");
        assert!(mutant.as_ref().is_none_or(|mutant| mutant == id), "{id} is mutant {mutant:?}");
    }
}

/// The mutants of the ledger are those of the registry.
#[test]
fn the_ledger_has_a_line_for_every_mutant() {
    let told: BTreeSet<String> = ledger().into_iter().filter_map(|row| row.mutant).collect();
    let listed: BTreeSet<String> = REGISTRY.iter().map(|mutant| mutant.id.to_owned()).collect();
    assert_eq!(told, listed);
}

/// Every test and every script that the ledger names is there.
#[test]
fn what_the_ledger_names_exists() {
    let tests = tests();
    for Row { id, found_by, .. } in ledger() {
        for name in found_by {
            assert!(tests.contains(&name), "{id} names {name}, which is neither test nor script");
        }
    }
}
