//! Settings of a `FileStorage`, each with its rule.
//!
//! Read next: `record.rs`.

use crate::{StorageError, SyncMode};

/// How a `FileStorage` writes. Chainable; the defaults suit production.
///
/// ```
/// use raft_storage::{Alignment, FileOptions};
/// let small = FileOptions::default().with_segment_bytes(1 << 20).with_alignment(Alignment::Eight);
/// assert!(small.validate().is_ok());
/// assert!(small.with_segment_bytes(1000).validate().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOptions {
    pub(super) segment_bytes: u64,
    pub(super) alignment: Alignment,
    pub(super) batch_bytes_max: u64,
    pub(super) tail_bytes_max: u64,
    pub(super) zero_fill: bool,
    pub(super) sync_mode: SyncMode,
    pub(super) accepts_loss: bool,
}

/// Where batches begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// At multiples of eight bytes. Takes less room at low load, and trusts the disk not to damage
    /// a sector that it is writing again.
    Eight,
    /// At multiples of 4096 bytes: an acknowledged sector is never written again.
    Page,
}

impl Alignment {
    /// The number.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::Eight => 8,
            Self::Page => 4096,
        }
    }
}

impl Default for FileOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            alignment: Alignment::Page,
            batch_bytes_max: 1 << 20,
            tail_bytes_max: 64 << 20,
            zero_fill: true,
            sync_mode: SyncMode::Full,
            accepts_loss: false,
        }
    }
}

impl FileOptions {
    /// The size of a segment, in bytes. Default 64 MiB; a multiple of 4096, from 32 KiB to 4 GiB. A
    /// write that does not fit gets a larger segment of its own.
    #[must_use]
    pub const fn with_segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Where batches begin. Default [`Alignment::Page`].
    #[must_use]
    pub const fn with_alignment(mut self, alignment: Alignment) -> Self {
        self.alignment = alignment;
        self
    }

    /// Writes of one call are put into one batch up to about this many bytes. Default 1 MiB. All
    /// batches of a call still share one sync.
    #[must_use]
    pub const fn with_batch_bytes_max(mut self, bytes: u64) -> Self {
        self.batch_bytes_max = bytes;
        self
    }

    /// The newest entries handed out with `Restored`, in bytes by `Payload::cost`. Default 64 MiB,
    /// as many as a node keeps in memory by default.
    #[must_use]
    pub const fn with_tail_bytes_max(mut self, bytes: u64) -> Self {
        self.tail_bytes_max = bytes;
        self
    }

    /// Does not write zeros ahead of need. For file systems that never write in place (btrfs, zfs),
    /// where it costs and helps nothing.
    #[must_use]
    pub const fn without_zero_fill(mut self) -> Self {
        self.zero_fill = false;
        self
    }

    /// If something that was acknowledged is damaged, cuts the log before it and gives up
    /// everything behind, instead of refusing to open. The last resort where there is neither a
    /// backup nor another member: refused if any membership on this disk has more than one voter.
    /// [`RecoveryReport::lost`](crate::RecoveryReport) tells what was damaged. The cut comes into
    /// force with the first write; segments behind it are kept in a directory `quarantine`.
    #[must_use]
    pub const fn accepting_data_loss(mut self) -> Self {
        self.accepts_loss = true;
        self
    }

    /// Acknowledges what the operating system has, and syncs at most 100 ms or 256 KiB later: see
    /// [`SyncMode::Normal`] for what a power failure costs.
    #[must_use]
    pub const fn with_late_sync_power_loss_needs_readmission(mut self) -> Self {
        self.sync_mode = SyncMode::Normal;
        self
    }

    /// Never syncs what it acknowledges: see [`SyncMode::None`] for what a power failure costs.
    #[must_use]
    pub const fn without_sync_data_may_be_lost(mut self) -> Self {
        self.sync_mode = SyncMode::None;
        self
    }

    /// Zeros are written at most this many bytes at a time: an eighth of a segment, at most 1 MiB,
    /// so that a write never waits for more.
    pub(super) const fn fill_step(&self) -> u64 {
        let step = (self.segment_bytes / 8).next_multiple_of(4096);
        if step < 1 << 20 { step } else { 1 << 20 }
    }

    /// Checks every setting.
    ///
    /// # Errors
    ///
    /// [`StorageError::BadSetting`] for the first that breaks its rule.
    pub const fn validate(&self) -> Result<(), StorageError> {
        let found = self.segment_bytes;
        let setting = "segment_bytes";
        if !found.is_multiple_of(4096) {
            return Err(StorageError::BadSetting { setting, found, rule: "a multiple of 4096" });
        }
        if found < 32 << 10 || found > 4 << 30 {
            let rule = "from 32 KiB to 4 GiB";
            return Err(StorageError::BadSetting { setting, found, rule });
        }
        Ok(())
    }
}
