//! Groups that change while they work: members come and go, leadership is handed over, snapshots
//! are taken and installed, messages are lost, doubled and overtaken, and processes crash.
//!
//! `churn/disk.rs` is a disk with snapshots, `churn/world.rs` the cluster and what must hold after
//! every step. `SEEDS=20000 cargo test --release -p raft-core --test churn` runs longer, and
//! `SEED=17` runs one schedule again.

#[path = "churn/disk.rs"]
mod disk;
#[path = "support/mutant.rs"]
mod mutant;
#[path = "support/rng.rs"]
#[expect(dead_code, reason = "other random schedules use the rest")]
mod rng;
#[path = "churn/world.rs"]
mod world;

use std::env;
use std::thread;

use self::world::{Seen, World};

/// Schedules in an ordinary run: some seconds in a debug build.
const SEEDS: u64 = 150;

/// Events of one schedule before the faults end.
const STEPS: u64 = 12_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().map(|text| text.parse().expect("a seed is a number"))
}

/// Runs a seed on a thread of its name, so that a panic says which one it was.
fn run(seed: u64) -> Seen {
    let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(move || {
        let mut world = World::new(seed);
        world.storm(STEPS);
        world.calm()
    });
    let story = thread.expect("a thread can be started").join();
    story.unwrap_or_else(|_| panic!("seed {seed} broke a property; SEED={seed} runs it again"))
}

/// Whatever members come and go, whatever is compacted and installed: one leader a term, one log,
/// equal states, what is committed is durable on the majorities of its membership, and once the
/// faults end the group serves, is in one membership, and everybody in it catches up.
#[test]
fn groups_that_change_keep_every_property_and_recover() {
    let first = number("SEED");
    let seeds = first.map_or_else(|| 0..number("SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let mut seen = Seen::default();
    for seed in seeds {
        seen.add(&run(seed));
    }
    if first.is_none() {
        assert!(seen.joint > 100, "memberships were joint: {seen:?}");
        assert!(seen.installed > 100, "snapshots were installed: {seen:?}");
        assert!(seen.transferred > 20, "leadership was handed over: {seen:?}");
        assert!(seen.promoted > 50, "learners were promoted: {seen:?}");
    }
}
