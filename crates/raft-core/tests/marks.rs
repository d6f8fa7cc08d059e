//! The registry of coverage marks and the sources tell the same, and only a build for tests counts.

#[path = "support/sources.rs"]
mod sources;

use std::collections::BTreeSet;

use raft_core::marks::{REGISTRY, hit, number};

/// A name means one branch, can be typed, and a sentence says what happens there.
#[test]
fn every_mark_has_a_name_of_its_own_and_a_sentence() {
    let names: BTreeSet<&str> = REGISTRY.iter().map(|mark| mark.name).collect();
    assert_eq!(names.len(), REGISTRY.len(), "a name is used twice");
    for mark in REGISTRY {
        let plain = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(mark.name.chars().all(plain), "{} is lower case", mark.name);
        assert!(mark.meaning.ends_with('.'), "{} is described by a sentence", mark.name);
    }
}

/// What the registry lists is in the sources, and what is in the sources is listed.
#[test]
fn every_mark_is_in_the_sources() {
    let found = sources::used("mark", &["raft-core", "raft-storage"]);
    let listed: BTreeSet<String> = REGISTRY.iter().map(|mark| mark.name.to_owned()).collect();
    assert_eq!(found, listed);
}

/// A number leads back to its name.
#[test]
fn marks_are_numbered_as_they_are_listed() {
    for (at, mark) in REGISTRY.iter().enumerate() {
        assert_eq!(number(mark.name), at);
    }
}

/// Without the cfg a passage is a constant: there is nothing to run, and no mark it would touch.
#[cfg(not(raft_mutants))]
#[test]
fn an_ordinary_build_counts_nothing() {
    const { hit(usize::MAX) }
}

/// With the cfg each passage counts for its own mark, until all begin anew.
#[cfg(raft_mutants)]
#[test]
fn a_build_for_tests_counts_each_passage() {
    use raft_core::marks::{count, reset};

    let (passed, other) = (number("suffix-cut"), number("torn-tail"));
    raft_core::mark!("suffix-cut");
    raft_core::mark!("suffix-cut", true);
    raft_core::mark!("suffix-cut", false);
    hit(passed);
    assert_eq!((count(passed), count(other)), (3, 0));
    reset();
    assert_eq!(count(passed), 0);
}
