//! The laws every [`Disk`] must keep.
//!
//! * What a law shows is in its name; what it does to a disk happens below the root the subject
//!   names, which is empty at first.
//! * Laws of power losses are repeated [`ROUNDS`] times, because a loss may keep anything of what
//!   was not synced: a subject lets another part of it survive each time.
//! * What a subject cannot do to its disks it says with [`Lacks`].
//!
//! The laws are those a log needs. A disk may lose more than another and still keep them; it may
//! not lose what it said is durable.
//!
//! Read next: `disk/files.rs`, `disk/names.rs`, `disk/room.rs` and `disk/power.rs`, the laws;
//! `raft_storage::disk`, whose sentences they are.

mod files;
mod names;
mod power;
mod room;
mod stage;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use raft_storage::disk::Disk;

use self::stage::Stage;
use super::{Lacks, Report, Verdict, laws};
use crate::choice::Choices;
use crate::disk::{CallFault, Crash, DiskHandle, DiskProfile, SimDisk};

/// How the kit gets the disks it examines, and what it may do to them.
///
/// There is one disk at a time: all methods but the first mean the one that was given last.
pub trait DiskSubject {
    /// A disk that nobody used, and an existing, durable, empty directory on it: all that the kit
    /// touches is below. Called at least once for each law.
    fn blank(&mut self) -> (Arc<dyn Disk>, PathBuf);

    /// The disk after a power loss. What was pending survives or does not, each time in another
    /// way; the same seed for everything makes a finding that can be had twice.
    ///
    /// # Errors
    ///
    /// [`Lacks`], if its power cannot be cut.
    fn power_loss(&mut self, disk: Arc<dyn Disk>) -> Result<Arc<dyn Disk>, Lacks>;

    /// Whether a block that is being written when the power fails holds old and new bytes only.
    /// Otherwise it may hold anything.
    ///
    /// # Errors
    ///
    /// [`Lacks`], if it may hold anything.
    fn tears_cleanly(&self) -> Result<(), Lacks>;

    /// Lets the next sync of a file fail, once.
    ///
    /// # Errors
    ///
    /// [`Lacks`], if that cannot be had.
    fn fail_next_sync(&mut self) -> Result<(), Lacks>;

    /// Leaves room for this many more bytes, and no more than twice as many; `None` for plenty.
    ///
    /// # Errors
    ///
    /// [`Lacks`], if its room cannot be limited.
    fn limit_room(&mut self, bytes: Option<u64>) -> Result<(), Lacks>;
}

/// Runs every law.
///
/// # Panics
///
/// If laws are broken; the message says which and how.
pub fn check(subject: &mut dyn DiskSubject) -> Report {
    judge(subject).insist()
}

/// Runs every law, and reports those that are broken too.
pub fn judge(subject: &mut dyn DiskSubject) -> Report {
    judge_by(LAWS, subject)
}

fn judge_by(laws: &[(&'static str, Law)], subject: &mut dyn DiskSubject) -> Report {
    let mut report = Report::default();
    for (name, law) in laws {
        report.ask(name, || law(&mut Stage::new(subject)));
    }
    report
}

/// How often a law of power losses is asked.
pub const ROUNDS: u64 = 40;

type Law = for<'a, 'b> fn(&'a mut Stage<'b>) -> Verdict;

const LAWS: &[(&str, Law)] = laws! {
    files:
        what_was_written_is_read_at_any_offset,
        handles_of_a_file_see_the_same,
        reads_beyond_the_end_give_zero,
        reads_and_writes_make_progress,
        holes_read_as_zeros,
        create_empties_what_had_the_name,
        a_missing_file_is_not_found,
        allocated_room_is_zeros_and_never_less,
        dropping_the_cache_changes_nothing;
    names:
        directories_are_made_with_their_parents,
        a_directory_lists_exactly_its_files_in_order,
        a_renamed_file_replaces_what_had_the_name,
        a_removed_file_is_gone,
        a_lock_is_exclusive_until_it_is_dropped,
        a_lock_tells_who_holds_it;
    room:
        free_bytes_are_plausible,
        free_bytes_shrink_with_the_room,
        a_full_disk_says_so_and_keeps_what_it_has;
    power:
        what_was_synced_survives_a_power_loss,
        a_sync_covers_what_other_handles_wrote,
        allocated_room_survives_once_synced,
        what_was_never_written_is_never_read,
        names_survive_once_their_directory_is_synced,
        a_removed_file_stays_away_once_its_directory_is_synced,
        a_renamed_file_is_found_under_one_of_both_names,
        a_failed_sync_is_not_followed_by_a_false_success,
        what_is_synced_after_a_failed_sync_survives,
        a_lock_does_not_survive_a_power_loss;
};

/// A subject that stands on the simulated disk, and so lacks nothing: a [`SimDisk`] itself, or
/// whatever is built on another disk.
pub struct Simulated {
    wrap: Box<dyn FnMut(DiskHandle) -> Arc<dyn Disk>>,
    profile: DiskProfile,
    seed: u64,
    disk: SimDisk,
}

impl std::fmt::Debug for Simulated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Simulated")
            .field("profile", &self.profile)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

impl Simulated {
    /// The simulated disk as it is, with this profile.
    pub fn plain(profile: DiskProfile) -> Self {
        Self { profile, ..Self::wrapped(|disk| Arc::new(disk)) }
    }

    /// What is built on a simulated disk, here and after each power loss. Reads and writes below it
    /// are carried out in part now and then, and blocks tear cleanly.
    pub fn wrapped(wrap: impl FnMut(DiskHandle) -> Arc<dyn Disk> + 'static) -> Self {
        let profile =
            DiskProfile { short: true, tears_to_garbage: false, ..DiskProfile::default() };
        let disk = SimDisk::new(profile, Choices::random(0));
        Self { wrap: Box::new(wrap), profile, seed: 0, disk }
    }
}

impl DiskSubject for Simulated {
    fn blank(&mut self) -> (Arc<dyn Disk>, PathBuf) {
        self.seed += 1;
        self.disk = SimDisk::new(self.profile, Choices::random(self.seed));
        let (handle, root) = (self.disk.handle(), PathBuf::from("/root"));
        handle
            .create_directory(&root)
            .and_then(|()| handle.sync_directory(Path::new("/")))
            .expect("nothing was asked to fail");
        ((self.wrap)(handle), root)
    }

    fn power_loss(&mut self, disk: Arc<dyn Disk>) -> Result<Arc<dyn Disk>, Lacks> {
        self.disk.crash(self.disk.job_end(), Crash::Power);
        drop(disk);
        Ok((self.wrap)(self.disk.handle()))
    }

    fn tears_cleanly(&self) -> Result<(), Lacks> {
        if self.profile.tears_to_garbage { Err(Lacks("torn blocks hold garbage")) } else { Ok(()) }
    }

    fn fail_next_sync(&mut self) -> Result<(), Lacks> {
        self.disk.fail(CallFault::Sync, 0);
        Ok(())
    }

    fn limit_room(&mut self, bytes: Option<u64>) -> Result<(), Lacks> {
        self.disk.set_room(bytes);
        Ok(())
    }
}
