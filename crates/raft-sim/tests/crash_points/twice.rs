//! A second crash: at every call of the recovery from the first, and of the first write after it.
//!
//! A process that dies leaves things in memory that the next one reads, and that a power loss takes
//! away later. What was believed must have been made durable before.
//!
//! Read next: `faults.rs`.

use std::collections::BTreeSet;

use raft_sim::choice::Choices;
use raft_sim::disk::{Crash, SimDisk};
use raft_storage::Storage;

use super::enumerate::{Effort, each_outcome};
use super::judge::{Allowed, Judge, each_step, moments, profile};
use super::workload::{Step, identity, named};

/// A process dies or the power fails at any call; the power fails again at any call of the next
/// life, up to its first acknowledgement. What the next life believed and acknowledged is there.
#[test]
fn nothing_believed_is_lost_in_a_second_crash_at_any_call() {
    for name in ["log", "batches", "rolls", "lives, close together"] {
        let judge = Judge::new(named(name));
        let disk = SimDisk::new(profile(&judge.workload, 4096), Choices::random(1));
        disk.set_tears(4096);
        let mut seen = BTreeSet::new();
        each_step(&judge, &disk, |done| {
            for at in &done.moments {
                for (crash, ways) in [(Crash::Process, 2), (Crash::Power, 0)] {
                    let effort = Effort { ways, sample: 1 };
                    let allowed = done.allowed(*at);
                    let story = || format!("step {}, {crash:?} at {at}", done.step);
                    each_outcome(done.disk, (*at, crash), effort, |disk| {
                        if seen.insert((disk.digest(), format!("{allowed:?}"))) {
                            second_life(&judge, disk, allowed, &story);
                        }
                    });
                }
            }
        });
    }
}

/// What a process leaves that dies at any call is not relied on by the next one, nor by the one
/// after that: whatever they believe and acknowledge survives the loss of all that was pending.
#[test]
fn what_a_dead_process_left_in_memory_is_made_durable_first() {
    for name in ["log", "batches", "rolls", "lives", "snapshots"] {
        let judge = Judge::new(named(name));
        let disk = SimDisk::new(profile(&judge.workload, 4096), Choices::random(1));
        let effort = Effort { ways: 2, sample: 0 };
        each_step(&judge, &disk, |done| {
            for at in &done.moments {
                let story = || format!("step {}, killed at {at}", done.step);
                each_outcome(done.disk, (*at, Crash::Process), effort, |disk| {
                    judge.holds_what_it_believes(disk, 50, done.allowed(*at), &story);
                });
            }
        });
    }
}

/// Recovers, writes once, and lets the power fail at every call of both.
fn second_life(judge: &Judge, disk: &SimDisk, allowed: &Allowed, first: &dyn Fn() -> String) {
    let began = disk.job_end();
    disk.begin_job(began);
    let (mut storage, done) = judge.open(disk, 50, allowed, first);
    let opened = disk.job_end();
    let believed = Allowed { writes: done..=done, owned: storage.identity().is_some() };
    storage.initialize(identity()).unwrap();
    let owned = disk.job_end();
    let end = end_of_call(judge, done);
    judge.persist(&mut storage, done..end).unwrap();
    let written = disk.job_end();
    for at in moments(disk, &[began, opened, owned, written]) {
        let allowed = match at {
            _ if at < opened => allowed.clone(),
            _ if at < owned => believed.clone(),
            _ if at < written => Allowed { writes: done..=end, owned: true },
            _ => Allowed { writes: end..=end, owned: true },
        };
        let story = || format!("{}, again at {at}", first());
        let effort = Effort { ways: 10, sample: 2 };
        each_outcome(disk, (at, Crash::Power), effort, |disk| {
            let (_, _) = judge.open(disk, 60, &allowed, &story);
        });
        let effort = Effort { ways: 0, sample: 1 };
        each_outcome(disk, (at, Crash::Process), effort, |disk| {
            judge.finish(disk, 60, &allowed, &story);
        });
    }
}

/// Where the call ends that the next write belongs to.
fn end_of_call(judge: &Judge, done: usize) -> usize {
    let mut end = 0;
    for step in &judge.workload.steps {
        if let Step::Persist(call) = step {
            end += call.len();
            if end > done {
                break;
            }
        }
    }
    end
}
