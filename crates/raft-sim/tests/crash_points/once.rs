//! One crash at every call.
//!
//! Read next: `twice.rs`.

use raft_sim::choice::Choices;
use raft_sim::disk::{Crash, SimDisk};

use super::enumerate::{Effort, each_outcome};
use super::judge::{Judge, each_step, profile};
use super::workload::all;

/// The process dies or the power fails between any two calls of any workload, and whatever is left
/// is opened, holds what was acknowledged, and goes on to the end.
#[test]
fn nothing_acknowledged_is_lost_in_one_crash_at_any_call() {
    let effort = Effort { ways: 300, sample: 20 };
    let (mut points, mut complete) = (0, 0);
    for workload in all() {
        let judge = Judge::new(workload);
        let disk = SimDisk::new(profile(&judge.workload, 4096), Choices::random(1));
        disk.set_tears(2048);
        each_step(&judge, &disk, |done| {
            for at in &done.moments {
                for crash in [Crash::Process, Crash::Power] {
                    let story = || format!("step {}, {crash:?} at {at}", done.step);
                    points += 1;
                    complete += u64::from(each_outcome(done.disk, (*at, crash), effort, |disk| {
                        judge.finish(disk, 50, done.allowed(*at), &story);
                    }));
                }
            }
        });
    }
    assert!(points > 500, "{points} points");
    assert!(complete * 10 > points * 8, "of {points} points {complete} were tried completely");
}

/// The same with sectors of 512 bytes, torn at any byte, reads and writes carried out in part; what
/// a power loss leaves is drawn.
#[test]
fn nothing_acknowledged_is_lost_with_small_sectors_and_short_writes() {
    let effort = Effort { ways: 0, sample: 4 };
    for (seed, workload) in (1..).zip(all()) {
        let judge = Judge::new(workload);
        let disk = SimDisk::new(profile(&judge.workload, 512), Choices::random(seed));
        disk.set_short(true);
        each_step(&judge, &disk, |done| {
            for at in &done.moments {
                let story = || format!("seed {seed}, step {}, power loss at {at}", done.step);
                each_outcome(done.disk, (*at, Crash::Power), effort, |disk| {
                    judge.finish(disk, 50, done.allowed(*at), &story);
                });
            }
        });
    }
}
