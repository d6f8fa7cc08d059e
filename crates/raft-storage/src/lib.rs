//! The durable log: storage traits, `FileStorage`, `MemoryStorage` and the applier.

mod applier;
pub mod disk;
mod error;
mod file;
mod memory;
mod replay;
mod storage;

pub use self::applier::{Answer, Applier, Query};
pub use self::error::{Corruption, RuleError, StorageError};
pub use self::file::{Alignment, FileOptions, FileStorage, RecoveryReport, TornTail};
pub use self::memory::MemoryStorage;
pub use self::storage::{SYNC_BUCKETS, Storage, StorageStats, SyncStats, Written, write};
