//! One stream of choices: seeds, recordings and bytes drive the same worlds, and the same choices
//! give the same run.

use raft_core::InMemoryStateMachine;
use raft_sim::choice::Choices;
use raft_sim::model::MapModel;
use raft_sim::{Config, Plan, Registers, hunt, play, run};

fn plan(events: u64) -> Plan<InMemoryStateMachine> {
    Plan::new(InMemoryStateMachine::new, Registers::default()).model(MapModel).events(events)
}

/// Twenty seeds pass, each twice, and both times alike.
#[test]
fn seeds_pass_and_each_runs_twice_alike() {
    let config = Config { seeds: 20, ..Config::default() };
    let summary = run(&config, &plan(2_000), &|_| {});
    assert_eq!(summary.failures, [], "no oracle complains");
    assert_eq!(summary.nondeterministic, [], "a seed decides everything");
    assert!(summary.events_min >= 2_000 && summary.committed > 500, "{summary:?}");
}

/// What was recorded can be played, and takes as many choices again.
#[test]
fn a_recording_is_the_same_run() {
    for seed in [3, 11] {
        let first = Choices::random(seed).recording();
        assert_eq!(play(&plan(1_000), &first), None);
        let again = Choices::replay(&first.recorded());
        assert_eq!(play(&plan(1_000), &again), None);
        assert_eq!(again.count(), first.count(), "seed {seed}");
    }
}

/// Whatever bytes a fuzzer draws, the worlds they make keep every property.
#[test]
fn bytes_of_a_fuzzer_make_worlds() {
    let mut state = 7_u64;
    for len in [0, 40, 400, 4_000, 40_000] {
        let bytes: Vec<u8> = (0..len)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        let choices = Choices::bytes(bytes);
        assert_eq!(play(&plan(1_000), &choices), None, "{len} bytes");
        assert!(choices.count() > 1_000, "the world asked for choices");
    }
}

/// A hunt ends at the first failure or when it is told to.
#[test]
fn a_hunt_stops_when_told() {
    let config = Config { seeds: u64::MAX, threads: 1, ..Config::default() };
    let summary = hunt(&config, &plan(500), &|summary| summary.seeds < 4);
    assert_eq!((summary.seeds, summary.failures.len()), (4, 0));
}
