//! The example keeps its word: the planted bug is found, and without it nothing is.

use std::panic;

use raft_sim::Config;

use super::simulate;

/// The bank that forgets in its snapshots what is under way is found out.
#[test]
fn the_bug_is_found_and_its_story_names_the_invariant() {
    let config = Config { seeds: 5, ..Config::default() };
    let story = panic::catch_unwind(|| simulate::<false>(&config)).expect_err("it is found");
    let story = story.downcast::<String>().expect("a story is a text");
    assert!(story.contains("\"the sum is 100\" does not hold after entry "), "{story}");
    assert!(story.contains("\nreplay\n  RAFT_SIM_SEED="), "{story}");
}

/// The bank that forgets nothing passes.
#[test]
fn the_fixed_bank_passes() {
    let config = Config { seeds: 20, ..Config::default() };
    assert_eq!(simulate::<true>(&config).seeds, 20);
}
