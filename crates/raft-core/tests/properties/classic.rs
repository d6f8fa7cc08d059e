//! The classic exercises for those who build Raft, on a network that loses, doubles and reorders:
//! each many times, with another seed.
//!
//! The reliable halves are golden scripts (`raft-sim/scripts/lab`). Read next: `regressions.rs`.

use crate::oracle::Seen;
use crate::swarm::{Action, Swarm};
use crate::world::World;

const SEEDS: u64 = 12;

const STEPS: u64 = 25_000;

fn play(dangers: &[(Action, u64)], change: impl Fn(Swarm) -> Swarm) -> Seen {
    let mut all = Seen::default();
    for seed in 0..SEEDS {
        let mut world = World::with(seed, |rng| change(Swarm::unreliable(rng, dangers)));
        world.storm(STEPS);
        world.calm();
        all.add(&world.finish());
    }
    assert!(all.committed > SEEDS * 30, "too tame: {all:?}");
    all
}

/// Figure 8: leaders append and fail again and again before their entries reach a majority; no
/// entry that was committed is replaced, although entries of earlier terms reach majorities
/// (§5.4.2).
#[test]
fn figure_8_on_an_unreliable_network() {
    let dangers = [(Action::Crash, 2), (Action::Campaign, 1), (Action::Propose, 60)];
    let seen = play(&dangers, |swarm| swarm);
    assert!(seen.leaders > SEEDS * 4, "leaders have to fail: {seen:?}");
    assert!(seen.conflicts > SEEDS, "logs have to differ: {seen:?}");
}

/// Logs that grew apart in partitions are made equal, whatever is lost on the way (§5.3).
#[test]
fn logs_that_diverged_on_an_unreliable_network() {
    let seen = play(&[(Action::Cut, 2), (Action::Propose, 80)], |swarm| swarm);
    assert!(seen.conflicts > SEEDS, "logs have to differ: {seen:?}");
}

/// Churn: nodes come and go all the time, and callers are answered meanwhile.
#[test]
fn churn_on_an_unreliable_network() {
    let dangers = [
        (Action::Crash, 2),
        (Action::Restart, 40),
        (Action::Unreachable, 3),
        (Action::Transfer, 2),
        (Action::Pause, 1),
    ];
    let seen = play(&dangers, |swarm| swarm);
    assert!(seen.crashes > SEEDS * 10 && seen.answered > SEEDS * 10, "{seen:?}");
}

/// Snapshots are taken all the time while nodes crash and links break; who was away installs them.
#[test]
fn snapshots_on_an_unreliable_network_with_crashes() {
    let dangers = [(Action::Crash, 1), (Action::Cut, 1), (Action::Propose, 60)];
    let seen = play(&dangers, |swarm| swarm.with_snapshots(5));
    assert!(seen.installed > SEEDS, "somebody has to install: {seen:?}");
}
