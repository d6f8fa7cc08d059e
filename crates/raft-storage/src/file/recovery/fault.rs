//! Why there is no batch at a place, and what is said about it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use raft_core::{GroupId, Index};

use super::Batch;
use crate::file::record::{BatchHeader, HeaderFault, Kind, Table};

/// Why there is no batch at a place.
pub(super) enum Fault {
    Header(HeaderFault),
    /// The header is good, what follows is not.
    Content(Batch),
    /// The header is good and names more bytes than the segment has.
    Length(BatchHeader),
}

impl Fault {
    /// What is damaged, what should be there, what is there.
    pub(super) fn describe(&self) -> (&'static str, String, String) {
        match self {
            Self::Header(HeaderFault::Zero) => {
                ("batch header", "a batch".into(), "zeros, or the end of the file".into())
            }
            Self::Header(HeaderFault::OlderLife) => {
                ("batch header", "the salt of the segment".into(), "another salt".into())
            }
            Self::Header(HeaderFault::Damaged { expected, found }) => (
                "batch header",
                format!("checksum {expected:08x} as its bytes give"),
                format!("{found:08x}"),
            ),
            Self::Content(batch) => (
                "batch content",
                format!("sum {:016x}", batch.header.body_sum),
                format!("{:016x}", crc_fast::crc64_nvme(&batch.content)),
            ),
            Self::Length(header) => (
                "batch length",
                "a batch inside its segment".into(),
                format!("{} bytes", header.bytes()),
            ),
        }
    }

    /// The entries of the batch, if its table can be read.
    pub(super) fn entries(&self) -> Vec<(GroupId, RangeInclusive<Index>)> {
        let Self::Content(batch) = self else { return Vec::new() };
        let Some(table) = batch.header.table(&batch.content) else { return Vec::new() };
        let mut ranges: BTreeMap<GroupId, RangeInclusive<Index>> = BTreeMap::new();
        for record in Table::new(table).map_while(Result::ok) {
            if record.kind == Kind::Entry {
                let index = record.id().index;
                let range = ranges.entry(record.group).or_insert(index..=index);
                *range = (*range.start()).min(index)..=(*range.end()).max(index);
            }
        }
        ranges.into_iter().collect()
    }
}
