//! Crashes of a `FileStorage` at every call to its disk, one fault at every call, and every block
//! of its files damaged once: whatever small workload is under way, nothing acknowledged is lost.
//!
//! * Power losses are enumerated: every subset of what was pending, torn blocks too, where that is
//!   few enough, and a sample where it is not.
//! * Then the storage is opened, the workload goes on to its end, and the storage is opened again.
//!
//! Read next: `crash_points/workload.rs`, what is done; `crash_points/judge.rs`, what must hold.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "crash_points/damage.rs"]
mod damage;
#[path = "crash_points/enumerate.rs"]
mod enumerate;
#[path = "crash_points/faults.rs"]
mod faults;
#[path = "crash_points/judge.rs"]
mod judge;
#[path = "crash_points/once.rs"]
mod once;
#[path = "crash_points/stories.rs"]
mod stories;
#[path = "crash_points/twice.rs"]
mod twice;
#[path = "crash_points/workload.rs"]
mod workload;
