//! The last resort of a group with one voter: the log is cut before its first damage, and what
//! follows is given up.
//!
//! * Somebody has to ask for it, for this one start. It is refused where others have copies: a
//!   voter that forgets what it acknowledged makes its group lose it, too.
//! * Nothing is removed from the disk. The cut comes into force with the first write: segments of
//!   which nothing is believed are set aside, and a new one says that the one before ended there.

use std::path::Path;

use bytes::Bytes;
use raft_core::codec::{decode_membership, decode_payload};
use raft_core::{Checksum, Membership};

use super::{Batch, Recovered, Recovery, Segment, recover_before};
use crate::disk::Disk;
use crate::file::checkpoint::Ended;
use crate::file::group::is_membership;
use crate::file::record::{Kind, Record, Table};
use crate::file::segment::{BATCHES_AT, WalFile};
use crate::file::snapshot_record;
use crate::file::superblock::Super;
use crate::{Corruption, StorageError};

/// From here on nothing of the log is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cut {
    seq: u64,
    offset: u64,
}

impl Cut {
    /// Whether nothing of this segment is believed.
    pub(super) const fn leaves_out(self, seq: u64) -> bool {
        seq > self.seq || seq == self.seq && self.offset <= BATCHES_AT
    }
}

/// What is left out by a cut.
#[derive(Debug, Default)]
pub(in crate::file) struct GivenUp {
    /// Segments of which nothing is believed.
    pub(in crate::file) segments: Vec<u64>,
    /// The newest segment, whatever is in it.
    pub(super) newest_seq: u64,
    /// The highest number of a batch.
    lsn_max: u64,
    /// The most voters that any membership has, as far as it can be read.
    voters_max: usize,
}

/// Recovers what is before the first damage.
pub(in crate::file) fn recover_with_loss(
    disk: &dyn Disk,
    wal: &Path,
    facts: &Super,
) -> Result<Recovered, StorageError> {
    let (mut cut, mut lost): (Option<Cut>, Vec<Corruption>) = (None, Vec::new());
    loop {
        let error = match recover_before(disk, wal, facts, cut) {
            Ok(recovered) if lost.is_empty() => return Ok(recovered),
            Ok(recovered) => return accept(recovered, lost, wal, facts),
            Err(error) => error,
        };
        let damage = if let StorageError::Corrupt(damage) = &error {
            *damage.clone()
        } else if let StorageError::MissingSegment { path, .. } = &error {
            missing(path)
        } else {
            return Err(error);
        };
        // Each cut comes before the one before, so there is an end to this.
        let place = place(&damage.path, damage.offset);
        match place.filter(|place| cut.is_none_or(|cut| *place < cut)) {
            Some(place) => cut = Some(place),
            None => return Err(error),
        }
        lost.push(damage);
    }
}

fn accept(
    mut recovered: Recovered,
    lost: Vec<Corruption>,
    wal: &Path,
    facts: &Super,
) -> Result<Recovered, StorageError> {
    let kept = recovered.groups.values().map(|log| {
        let restored = log.replay.restored();
        let snapshot = restored.snapshot.map(|snapshot| snapshot.membership);
        let first = snapshot.or(restored.created);
        let all = restored.memberships.iter().chain(&first);
        all.map(voters).max().unwrap_or(0)
    });
    let voters = kept.max().unwrap_or(0).max(recovered.given_up.voters_max);
    if voters > 1 {
        return Err(StorageError::LossRefused { path: wal.into(), voters });
    }
    let tail = &mut recovered.tail;
    tail.ended = if tail.seq == 0 { Ended::First } else { Ended::Cut };
    let lsn_max = recovered.given_up.lsn_max.max(facts.durable_lsn);
    tail.next_lsn = tail.next_lsn.max(lsn_max + 1);
    recovered.report.lost = lost;
    Ok(recovered)
}

fn place(path: &Path, offset: u64) -> Option<Cut> {
    match WalFile::from_path(path)? {
        WalFile::Segment(seq) => Some(Cut { seq, offset }),
        WalFile::Free => None,
    }
}

fn missing(path: &Path) -> Corruption {
    Corruption {
        path: path.into(),
        offset: 0,
        what: "segment",
        expected: "a file".into(),
        found: "none".into(),
        proof: "another segment, or SUPER, names it",
        lost: Vec::new(),
    }
}

fn voters(membership: &Membership) -> usize {
    membership.voters().union(membership.outgoing()).count()
}

impl Recovery<'_> {
    /// Leaves out everything from the cut on, and notes what can be read of it.
    pub(super) fn leave_out(&mut self, cut: Option<Cut>) -> Result<(), StorageError> {
        let Some(cut) = cut else { return Ok(()) };
        for seq in self.segments.range(cut.seq..).map(|(seq, _)| *seq).collect::<Vec<_>>() {
            self.look_through(seq, if seq == cut.seq { cut.offset } else { 0 })?;
        }
        let left_out = self.segments.extract_if(.., |seq, _| cut.leaves_out(*seq));
        self.given_up.segments.extend(left_out.map(|(seq, _)| seq));
        if let Some(last) = self.segments.get_mut(&cut.seq) {
            last.limit = last.limit.min(cut.offset);
        }
        Ok(())
    }

    /// Looks at every batch of a segment that reads, from a place on.
    fn look_through(&mut self, seq: u64, from: u64) -> Result<(), StorageError> {
        let Segment { header, limit, .. } = &self.segments[&seq];
        let (alignment, limit) = (header.alignment, *limit);
        let mut at = from.max(BATCHES_AT);
        while at < limit {
            if let Ok(batch) = self.batch(seq, at)? {
                self.given_up.lsn_max = self.given_up.lsn_max.max(batch.header.lsn);
                let most = memberships(&batch).iter().map(voters).max().unwrap_or(0);
                self.given_up.voters_max = self.given_up.voters_max.max(most);
            }
            at += alignment;
        }
        Ok(())
    }
}

/// The memberships that a batch brings.
fn memberships(batch: &Batch) -> Vec<Membership> {
    let Some(table) = batch.header.table(&batch.content) else { return Vec::new() };
    let body = &batch.content[batch.header.table_len as usize..];
    let records = Table::new(table).map_while(Result::ok);
    records.filter_map(|record| membership(&record, record.payload(body)?)).collect()
}

fn membership(record: &Record, payload: &[u8]) -> Option<Membership> {
    let bytes = || Bytes::copy_from_slice(payload);
    match record.kind {
        Kind::Entry if is_membership(record) => {
            let payload = decode_payload(bytes(), Checksum::new(record.crc)).ok()?;
            decode_membership(payload.bytes().clone()).ok()
        }
        Kind::Snapshot => Some(snapshot_record::decode(payload, record.id()).ok()?.membership),
        Kind::GroupCreate => decode_membership(bytes()).ok(),
        Kind::Entry
        | Kind::HardState
        | Kind::Truncate
        | Kind::Purge
        | Kind::Checkpoint
        | Kind::Ignorable => None,
    }
}
