//! Shows what is in a WAL, whatever recovery would think of it.

use std::path::Path;

use super::{Batch, Fault, Recovery};
use crate::StorageError;
use crate::disk::Disk;
use crate::file::inspect::Item;
use crate::file::record::{HeaderFault, Table};
use crate::file::segment::BATCHES_AT;
use crate::file::superblock::Super;

/// Shows every segment, batch and record.
pub(in crate::file) fn visit(
    disk: &dyn Disk,
    wal: &Path,
    facts: &Super,
    show: &mut dyn FnMut(Item),
) -> Result<(), StorageError> {
    let mut recovery = Recovery::open(disk, wal, facts, None)?;
    for seq in recovery.segments.keys().copied().collect::<Vec<_>>() {
        recovery.show_segment(seq, show)?;
    }
    Ok(())
}

impl Recovery<'_> {
    fn show_segment(&mut self, seq: u64, show: &mut dyn FnMut(Item)) -> Result<(), StorageError> {
        let segment = &self.segments[&seq];
        let header = segment.header;
        show(Item::Segment {
            path: segment.path.clone(),
            seq,
            alignment: header.alignment,
            bytes: header.bytes,
            created_unix_ns: header.created_unix_ns,
        });
        let written = segment.file.bytes();
        let written = written.map_err(|error| StorageError::io("measure", &segment.path, error))?;
        let limit = segment.limit.min(written);
        let (mut at, mut is_strange) = (BATCHES_AT, false);
        while at < limit {
            let fault = match self.batch(seq, at)? {
                Ok(batch) => {
                    show_batch(at, &batch, show);
                    is_strange = false;
                    at += batch.header.bytes().next_multiple_of(header.alignment);
                    continue;
                }
                Err(fault) => fault,
            };
            let is_nothing =
                matches!(fault, Fault::Header(HeaderFault::Zero | HeaderFault::OlderLife));
            // The inside of what does not read is not told again at every step.
            if !is_nothing && !is_strange {
                let (what, expected, found) = fault.describe();
                let what = format!("{what}: expected {expected}, found {found}");
                show(Item::Strange { offset: at, what });
            }
            is_strange = !is_nothing;
            at += header.alignment;
        }
        Ok(())
    }
}

fn show_batch(offset: u64, batch: &Batch, show: &mut dyn FnMut(Item)) {
    let header = &batch.header;
    show(Item::Batch {
        offset,
        bytes: header.bytes(),
        lsn: header.lsn,
        durable_lsn: header.durable_lsn,
        records: header.records,
    });
    let Some(table) = header.table(&batch.content) else { return };
    for record in Table::new(table) {
        match record {
            Ok(record) => show(Item::Record {
                kind: record.kind.name(),
                group: record.group,
                numbers: [record.a, record.b, record.c],
                bytes: record.len as u64,
            }),
            Err(fault) => {
                return show(Item::Strange { offset, what: format!("table: {fault:?}") });
            }
        }
    }
}
