//! Properties of the core under random schedules, against models that are too simple to be wrong.
//!
//! `properties/world.rs` is a cluster whose messages are lost, doubled and reordered, whose disks
//! are slow and whose nodes crash; `properties/oracle.rs` is what must hold after every step;
//! `properties/calm.rs` is what must hold once the faults end; `properties/classic.rs` are the
//! exercises that everybody begins with; `properties/regressions.rs` are bugs that seeds found, as
//! stories; `properties/quorum.rs` counts.
//!
//! `SEEDS=20000 cargo test --release -p raft-core --test properties` runs longer, and `SEED=17`
//! runs one schedule again.

#[path = "support/bench.rs"]
#[expect(dead_code, reason = "the tests of the paper use all of it")]
mod bench;
#[path = "properties/calm.rs"]
mod calm;
#[path = "properties/classic.rs"]
mod classic;
#[path = "support/disk.rs"]
mod disk;
#[path = "support/mutant.rs"]
mod mutant;
#[path = "properties/oracle.rs"]
mod oracle;
#[path = "properties/quorum.rs"]
mod quorum;
#[path = "properties/regressions.rs"]
mod regressions;
#[path = "support/rng.rs"]
mod rng;
#[path = "properties/swarm.rs"]
mod swarm;
#[path = "properties/world.rs"]
mod world;

use std::env;
use std::thread;

use self::oracle::Seen;
use self::world::World;

/// Schedules in an ordinary run: some seconds in a debug build.
const SEEDS: u64 = 200;

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
        world.calm();
        world.finish()
    });
    let story = thread.expect("a thread can be started").join();
    story.unwrap_or_else(|_| panic!("seed {seed} broke a property; SEED={seed} runs it again"))
}

/// Whatever the schedule: the five properties of Figure 3, no promise before its write, no answer
/// that is not true, reads that are linearizable; and progress as soon as the faults end.
#[test]
fn random_schedules_keep_every_property_and_recover() {
    if let Some(seed) = number("SEED") {
        run(seed);
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut all = Seen::default();
    for seed in 0..seeds {
        all.add(&run(seed));
    }
    // A schedule in which nothing happens would pass as well: it must be mean, and fruitful.
    all.assert_varied(seeds);
}

/// The same seed gives the same schedule and the same end: every failure can be seen again.
#[test]
fn a_seed_always_tells_the_same_story() {
    for seed in [3, 71, 1_234_567] {
        assert_eq!(run(seed), run(seed), "seed {seed} told two stories");
    }
}
