//! `FileStorage` keeps every law. Read next: `tests/broken.rs`, those that do not.

mod broken;

use std::path::Path;
use std::sync::Arc;

use raft_storage::disk::{Disk, Environment};
use raft_storage::{Alignment, FileOptions, FileStorage, Storage};

use super::{LAWS, StorageSubject, check};

/// Files in small segments, so that there are several.
struct Files {
    alignment: Alignment,
    /// No two lives draw the same salts.
    lives: u64,
}

impl StorageSubject for Files {
    fn open(&mut self, disk: Arc<dyn Disk>) -> Result<Box<dyn Storage>, String> {
        self.lives += 1;
        let options = FileOptions::default()
            .with_segment_bytes(32 << 10)
            .with_batch_bytes_max(8 << 10)
            .with_alignment(self.alignment);
        let environment = Environment::from_seed(self.lives);
        let opened = FileStorage::open_with(disk, environment, "/data", options);
        opened.map(|storage| Box::new(storage) as _).map_err(|error| error.to_string())
    }

    fn is_log(&self, path: &Path) -> bool {
        // What is filled ahead is nobody's data yet.
        !path.to_string_lossy().contains("free")
    }

    fn trusts_torn_blocks(&self) -> bool {
        // Eight bytes further, a sector is written again that has batches in it already.
        self.alignment == Alignment::Eight
    }
}

/// `FileStorage` keeps every law, on whole pages and on shared ones.
#[test]
fn file_storage_keeps_every_law() {
    for alignment in [Alignment::Page, Alignment::Eight] {
        let report = check(&mut Files { alignment, lives: 0 });
        assert_eq!(report.kept.len(), LAWS.len(), "{report}");
    }
}
