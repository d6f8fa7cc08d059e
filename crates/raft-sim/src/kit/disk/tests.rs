//! The simulated disk and the real one keep every law. Read next: `tests/broken.rs`, those that do
//! not.

mod broken;

use std::path::PathBuf;
use std::sync::Arc;

use raft_storage::disk::{Disk, RealDisk};

use super::{DiskSubject, LAWS, Lacks, Simulated, check};
use crate::disk::DiskProfile;

/// The disk of the operating system, in directories of its own.
struct Real(Vec<tempfile::TempDir>);

impl DiskSubject for Real {
    fn blank(&mut self) -> (Arc<dyn Disk>, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().into();
        self.0.push(directory);
        (Arc::new(RealDisk), root)
    }

    fn power_loss(&mut self, _: Arc<dyn Disk>) -> Result<Arc<dyn Disk>, Lacks> {
        Err(Lacks(NO_SWITCH))
    }

    fn tears_cleanly(&self) -> Result<(), Lacks> {
        Err(Lacks(NO_SWITCH))
    }

    fn fail_next_sync(&mut self) -> Result<(), Lacks> {
        Err(Lacks(NO_SWITCH))
    }

    fn limit_room(&mut self, _: Option<u64>) -> Result<(), Lacks> {
        Err(Lacks(NO_QUOTA))
    }
}

const NO_SWITCH: &str = "a process cannot switch its own machine off";
const NO_QUOTA: &str = "the room of a real disk belongs to everybody";

/// The simulated disk keeps every law, whatever its blocks, with reads and writes in part or whole,
/// and in all its ways to fail a sync.
#[test]
fn the_simulated_disk_keeps_every_law() {
    for (block_bytes, short, failed_sync_shows_old) in
        [(4096, true, false), (512, true, true), (4096, false, true), (512, false, false)]
    {
        let profile = DiskProfile {
            block_bytes,
            short,
            failed_sync_shows_old,
            tears_to_garbage: false,
            ..DiskProfile::default()
        };
        let report = check(&mut Simulated::plain(profile));
        assert_eq!(report.kept.len(), LAWS.len(), "{report}");
    }
}

/// A simulated disk that tears to garbage keeps every law but that of bytes nobody wrote.
#[test]
fn garbage_in_torn_blocks_is_said_and_breaks_nothing_else() {
    let report = check(&mut Simulated::plain(DiskProfile::default()));
    let not_run = [("what_was_never_written_is_never_read", "torn blocks hold garbage")];
    assert_eq!(report.not_run, not_run, "{report}");
}

/// The real disk keeps every law that can be asked without a power switch.
#[test]
fn the_real_disk_keeps_every_law_it_can_be_asked() {
    let report = check(&mut Real(Vec::new()));
    assert_eq!(report.kept.len(), 16, "{report}");
    let rooms = report.not_run.iter().filter(|(_, reason)| *reason == NO_QUOTA).count();
    assert_eq!((rooms, report.not_run.len()), (2, 12), "{report}");
}
