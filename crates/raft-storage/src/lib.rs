//! The durable log: storage traits, `FileStorage`, `MemoryStorage` and the applier.

mod applier;
mod error;
mod memory;
mod replay;
mod storage;

pub use self::applier::{Answer, Applier, Query};
pub use self::error::{Corruption, RuleError, StorageError};
pub use self::memory::MemoryStorage;
pub use self::storage::{SYNC_BUCKETS, Storage, StorageStats, SyncStats, Written, write};
