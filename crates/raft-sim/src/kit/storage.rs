//! The laws every [`Storage`] that stands on a [`Disk`] must keep, with power losses.
//!
//! * The suite without power losses, `raft_storage::contract`, is the first law.
//! * The power fails, and processes die, at every call of the disk, in random stories; and in a
//!   small story in every way there is, up to a few choices.
//! * What must be there is known from a `MemoryStorage` that was told the same.
//!
//! The disk is the simulated one, so a storage needs a way to be opened on a `Disk`, and nothing
//! else. One that knows its own files only, and no `Disk`, runs `raft_storage::contract::check`.
//!
//! Read next: `storage/crash.rs` and `storage/fault.rs`, the laws; `raft_storage::Storage`, whose
//! sentences they are.

mod crash;
mod facts;
mod fault;
mod life;
mod story;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use raft_storage::Storage;
use raft_storage::disk::Disk;

use self::life::Stage;
use super::{Report, Verdict, laws};

/// How the kit gets the storages it examines.
pub trait StorageSubject {
    /// A storage on this disk, which is blank or holds what an earlier one of this subject left,
    /// always in the same place. Others were dropped, or their process is dead.
    ///
    /// # Errors
    ///
    /// Why it cannot be opened, for people.
    fn open(&mut self, disk: Arc<dyn Disk>) -> Result<Box<dyn Storage>, String>;

    /// Whether this file, or the name of this file or directory, may not have anything pending when
    /// a receipt is given. Default: all of them. Files that are only prepared may be left out.
    fn is_log(&self, path: &Path) -> bool {
        let _ = path;
        true
    }

    /// Whether it trusts a block that is being written when the power fails to hold old and new
    /// bytes only. Default: no, it may hold anything.
    fn trusts_torn_blocks(&self) -> bool {
        false
    }
}

/// Runs every law.
///
/// # Panics
///
/// If laws are broken; the message says which and how.
pub fn check(subject: &mut dyn StorageSubject) -> Report {
    judge(subject).insist()
}

/// Runs every law, and reports those that are broken too.
pub fn judge(subject: &mut dyn StorageSubject) -> Report {
    judge_by(LAWS, subject)
}

fn judge_by(laws: &[(&'static str, Law)], subject: &mut dyn StorageSubject) -> Report {
    let mut report = Report::default();
    let mut stage = Stage::new(subject);
    for (name, law) in laws {
        report.ask(name, || law(&mut stage));
    }
    report
}

type Law = for<'a, 'b> fn(&'a mut Stage<'b>) -> Verdict;

const LAWS: &[(&str, Law)] = laws! {
    fault:
        the_contract_without_crashes_is_kept,
        no_receipt_is_given_while_blocks_are_pending,
        an_error_is_final,
        what_was_acknowledged_survives_errors,
        a_full_disk_loses_nothing,
        an_opening_that_fails_changes_nothing,
        a_disk_is_owned_whole_or_not_at_all,
        damage_is_not_taken_for_a_torn_tail;
    crash:
        a_torn_tail_is_not_taken_for_damage,
        what_was_acknowledged_survives,
        a_write_is_whole_or_not_at_all_and_in_order,
        opening_again_changes_nothing,
        what_was_restored_survives_the_next_power_loss,
        a_recovered_storage_goes_on;
};
