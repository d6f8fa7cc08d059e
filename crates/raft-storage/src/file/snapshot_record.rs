//! The payload of a Snapshot record: the bill of lading of the snapshot a log begins after.
//!
//! Read next: `recovery.rs`.

use bytes::{BufMut, Bytes};
use raft_core::codec::{CodecError, Reader, decode_membership, encode_membership, put_varint};
use raft_core::{EntryId, SnapshotId, SnapshotMeta};

/// Everything but the last entry, which the table holds.
pub(super) fn encode(snapshot: &SnapshotMeta) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_u128_le(snapshot.id.get());
    put_varint(&mut out, snapshot.data_bytes);
    out.put_slice(&encode_membership(&snapshot.membership));
    out
}

/// Puts it together again with the last entry from the table.
pub(super) fn decode(payload: &[u8], last_included: EntryId) -> Result<SnapshotMeta, CodecError> {
    let mut reader = Reader::new(Bytes::copy_from_slice(payload));
    let id = SnapshotId::new(reader.u128("snapshot id")?);
    let data_bytes = reader.varint("snapshot bytes")?;
    let membership = decode_membership(reader.into_rest())?;
    Ok(SnapshotMeta { id, last_included, membership, data_bytes })
}
