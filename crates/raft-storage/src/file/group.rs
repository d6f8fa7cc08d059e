//! One group of a `FileStorage`: what its writes make of it, and where its entries are.
//!
//! Live writes and the replay of a WAL go through the same methods. Read next: `read.rs`.

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_core::codec::{decode_membership, decode_payload};
use raft_core::{
    Checksum, EntryId, GroupId, HardState, Index, Membership, Payload, PayloadKind, SnapshotMeta,
};

use super::index::GroupIndex;
use super::record::{Kind, Record, payload_kind};
use super::snapshot_record;
use crate::RuleError;
use crate::replay::Replay;

/// Every group, in order.
pub(super) type Groups = BTreeMap<GroupId, GroupLog>;

/// A group's log without its payloads.
#[derive(Clone, Debug, Default)]
pub(super) struct GroupLog {
    pub(super) replay: Replay,
    pub(super) index: GroupIndex,
    /// The first entry of the present batch that no later record of it replaced.
    pending: Option<Index>,
}

impl GroupLog {
    /// The first membership.
    pub(super) fn create(&mut self, membership: Membership) -> Result<(), RuleError> {
        self.replay.create(membership)
    }

    /// Removes this index and everything after it.
    pub(super) fn truncate(&mut self, from: Index) -> Result<(), RuleError> {
        self.replay.truncate(from)?;
        self.index.truncate(from);
        self.pending = self.pending.filter(|first| *first < from);
        Ok(())
    }

    /// A newer snapshot covers the log, or takes its place.
    pub(super) fn cover(&mut self, snapshot: SnapshotMeta) -> Result<(), RuleError> {
        self.replay.cover(snapshot)?;
        self.forget();
        Ok(())
    }

    /// The log begins after this entry.
    pub(super) fn purge(&mut self, upto: EntryId) -> Result<(), RuleError> {
        self.replay.purge(upto)?;
        self.forget();
        Ok(())
    }

    /// Forgets where the entries are that the log does not hold any more.
    fn forget(&mut self) {
        let base = self.replay.base().index;
        if self.replay.last().index == base {
            self.index = GroupIndex::default();
            self.pending = None;
        }
        self.index.purge(base);
    }

    /// A group as a Checkpoint describes it, without places: what it holds is further on.
    pub(super) fn of(replay: Replay) -> Self {
        Self { replay, ..Self::default() }
    }

    /// Appends an entry of the present batch.
    pub(super) fn append(
        &mut self,
        id: EntryId,
        payload: Option<&Payload>,
    ) -> Result<(), RuleError> {
        self.replay.append(id, payload)?;
        self.pending.get_or_insert(id.index);
        Ok(())
    }

    /// Term, vote and commit hint.
    pub(super) fn set_hard_state(&mut self, next: HardState) -> Result<(), RuleError> {
        self.replay.set_hard_state(next)
    }

    /// The present batch is at this place.
    pub(super) fn placed(&mut self, seq: u64, offset: u64) {
        if let Some(first) = self.pending.take() {
            self.index.push(seq, offset, first);
        }
    }
}

/// Whether an entry carries a membership.
pub(super) fn is_membership(record: &Record) -> bool {
    record.kind == Kind::Entry && record.c == payload_kind(PayloadKind::Membership)
}

/// One record changes its group.
pub(super) fn apply(groups: &mut Groups, record: &Record, payload: &[u8]) -> Result<(), RuleError> {
    let id = record.id();
    let undecodable = |rule| RuleError { rule, last: EntryId::ZERO, found: id };
    if record.kind == Kind::Ignorable {
        return Ok(());
    }
    let log = groups.entry(record.group).or_default();
    match record.kind {
        Kind::Entry if is_membership(record) => {
            let bytes = Bytes::copy_from_slice(payload);
            let payload = decode_payload(bytes, Checksum::new(record.crc))
                .map_err(|_| undecodable("a membership entry carries a membership"))?;
            log.append(id, Some(&payload))
        }
        Kind::Entry => log.append(id, None),
        Kind::HardState => log.set_hard_state(record.hard_state()),
        Kind::Truncate => log.truncate(id.index),
        Kind::Snapshot => {
            let snapshot = snapshot_record::decode(payload, id)
                .map_err(|_| undecodable("a snapshot record describes a snapshot"))?;
            log.cover(snapshot)
        }
        Kind::Purge => log.purge(id),
        Kind::GroupCreate => {
            let membership = decode_membership(Bytes::copy_from_slice(payload))
                .map_err(|_| undecodable("a group begins with a membership"))?;
            log.create(membership)
        }
        // A Checkpoint changes nothing, and unknown records above 127 may be skipped.
        Kind::Checkpoint | Kind::Ignorable => Ok(()),
    }
}
