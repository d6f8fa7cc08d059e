//! What a crash may leave: all of it where that is little, and a sample where it is not.
//!
//! Read next: `once.rs`.

use std::collections::BTreeSet;

use raft_sim::choice::Choices;
use raft_sim::disk::{Crash, SimDisk};

/// How hard to look.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// At most so many ways are tried one after the other.
    pub(crate) ways: usize,
    /// If there are more, so many are drawn.
    pub(crate) sample: u64,
}

/// Shows every different disk that a crash at this moment may leave. Says whether these were all.
pub(crate) fn each_outcome(
    disk: &SimDisk,
    (at, crash): (u64, Crash),
    effort: Effort,
    mut visit: impl FnMut(&SimDisk),
) -> bool {
    let mut seen = BTreeSet::new();
    let mut try_one = |choices: Choices| {
        let disk = disk.fork(choices.clone());
        disk.crash(at, crash);
        let next = choices.advance();
        if seen.insert(disk.digest()) {
            visit(&disk);
        }
        next
    };
    try_one(worst());
    let mut next = Some(Choices::exhaustive(64));
    for _ in 0..effort.ways {
        let Some(choices) = next else { return true };
        next = try_one(choices);
    }
    if next.is_none() {
        return true;
    }
    for seed in 0..effort.sample {
        try_one(Choices::random(seed));
    }
    false
}

/// Every pending name is lost and every pending block torn, to garbage where the disk may do that:
/// eleven is no multiple of anything there is to choose among.
fn worst() -> Choices {
    Choices::bytes(vec![11; 1 << 12])
}
