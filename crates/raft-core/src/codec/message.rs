//! A message as bytes.
//!
//! ```text
//! version u8 = 1 · kind u8 · from varint · to varint · term varint · epoch varint · body by kind
//! ```
//!
//! The sender's incarnation is not among them: the receiver knows it from the handshake. An entry
//! inside AppendEntries is `term above the one before varint, length varint, seal u32, body`.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use super::membership::{put_membership, take_membership};
use super::{
    CodecError, MESSAGE_VERSION, Reader, decode_payload, encode_payload_header, payload_len,
    put_varint,
};
use crate::{
    AppendEntries, AppendEntriesResponse, AppendResult, Body, Checksum, Entry, EntryId, Epoch,
    Incarnation, Index, InstallSnapshot, InstallSnapshotResponse, LogSlice, Message, NodeId,
    Payload, Peer, PreVote, PreVoteResponse, Propose, ProposeResponse, ReadIndex,
    ReadIndexResponse, RefusedProposal, RequestVote, RequestVoteResponse, Round, SnapshotId,
    SnapshotMeta, Term, Ticket,
};

/// Appends a message.
pub fn encode_message(message: &Message, out: &mut BytesMut) {
    out.put_u8(MESSAGE_VERSION);
    out.put_u8(kind(&message.body));
    put_varint(out, message.from.node.get());
    put_varint(out, message.to.get());
    put_varint(out, message.term.get());
    put_varint(out, message.epoch.get());
    put_body(&message.body, out);
}

/// Decodes a message that came over a connection whose handshake showed `incarnation`.
///
/// # Errors
///
/// [`CodecError`] for whatever is not exactly one message.
pub fn decode_message(bytes: Bytes, incarnation: Incarnation) -> Result<Message, CodecError> {
    let mut reader = Reader::new(bytes);
    let version = reader.byte("message version")?;
    if version != MESSAGE_VERSION {
        return Err(CodecError::Version { found: version, known: MESSAGE_VERSION });
    }
    let kind = reader.byte("message kind")?;
    let node = take_node(&mut reader, "message from")?;
    let to = take_node(&mut reader, "message to")?;
    let term = Term::new(reader.varint("message term")?);
    let epoch = Epoch::new(reader.varint("message epoch")?);
    let body = take_body(kind, &mut reader)?;
    reader.finish()?;
    Ok(Message { from: Peer { node, incarnation }, to, term, epoch, body })
}

const fn kind(body: &Body) -> u8 {
    match body {
        Body::PreVote(_) => 1,
        Body::PreVoteResponse(_) => 2,
        Body::RequestVote(_) => 3,
        Body::RequestVoteResponse(_) => 4,
        Body::AppendEntries(_) => 5,
        Body::AppendEntriesResponse(_) => 6,
        Body::InstallSnapshot(_) => 7,
        Body::InstallSnapshotResponse(_) => 8,
        Body::ReadIndex(_) => 9,
        Body::ReadIndexResponse(_) => 10,
        Body::Propose(_) => 11,
        Body::ProposeResponse(_) => 12,
        Body::TimeoutNow => 13,
    }
}

fn put_body(body: &Body, out: &mut BytesMut) {
    match body {
        Body::PreVote(ask) => put_id(out, ask.last),
        Body::PreVoteResponse(vote) => out.put_u8(u8::from(vote.granted)),
        Body::RequestVote(ask) => {
            put_id(out, ask.last);
            out.put_u8(u8::from(ask.transfer));
        }
        Body::RequestVoteResponse(vote) => out.put_u8(u8::from(vote.granted)),
        Body::AppendEntries(request) => put_append(request, out),
        Body::AppendEntriesResponse(response) => put_append_response(*response, out),
        Body::InstallSnapshot(offer) => {
            put_varint(out, offer.round.get());
            put_snapshot(&offer.snapshot, out);
        }
        Body::InstallSnapshotResponse(response) => {
            put_varint(out, response.match_index.get());
            put_varint(out, response.round.get());
        }
        Body::ReadIndex(ask) => put_varint(out, ask.batch),
        Body::ReadIndexResponse(answer) => {
            put_varint(out, answer.batch);
            // Zero is "cannot answer"; an index is shifted by one.
            put_varint(out, answer.index.map_or(0, |index| index.next().get()));
        }
        Body::Propose(propose) => {
            out.put_u64_le(propose.boot);
            put_varint(out, propose.serial);
            put_varint(out, propose.payloads.len() as u64);
            for payload in &propose.payloads {
                put_payload(payload, out);
            }
        }
        Body::ProposeResponse(response) => {
            out.put_u64_le(response.boot);
            put_varint(out, response.refused.len() as u64);
            for (ticket, reason) in &response.refused {
                put_varint(out, ticket.get());
                out.put_u8(match reason {
                    RefusedProposal::NotLeader => 0,
                    RefusedProposal::Overloaded => 1,
                    RefusedProposal::TooLarge => 2,
                    RefusedProposal::StorageFull => 3,
                });
            }
        }
        Body::TimeoutNow => {}
    }
}

fn take_body(kind: u8, reader: &mut Reader) -> Result<Body, CodecError> {
    Ok(match kind {
        1 => Body::PreVote(PreVote { last: take_id(reader)? }),
        2 => Body::PreVoteResponse(PreVoteResponse { granted: take_bool(reader)? }),
        3 => {
            Body::RequestVote(RequestVote { last: take_id(reader)?, transfer: take_bool(reader)? })
        }
        4 => Body::RequestVoteResponse(RequestVoteResponse { granted: take_bool(reader)? }),
        5 => Body::AppendEntries(take_append(reader)?),
        6 => Body::AppendEntriesResponse(take_append_response(reader)?),
        7 => {
            let round = Round::new(reader.varint("round")?);
            Body::InstallSnapshot(InstallSnapshot { snapshot: take_snapshot(reader)?, round })
        }
        8 => Body::InstallSnapshotResponse(InstallSnapshotResponse {
            match_index: Index::new(reader.varint("match index")?),
            round: Round::new(reader.varint("round")?),
        }),
        9 => Body::ReadIndex(ReadIndex { batch: reader.varint("read batch")? }),
        10 => {
            let batch = reader.varint("read batch")?;
            let index = reader.varint("read index")?.checked_sub(1).map(Index::new);
            Body::ReadIndexResponse(ReadIndexResponse { batch, index })
        }
        11 => Body::Propose(take_propose(reader)?),
        12 => Body::ProposeResponse(take_propose_response(reader)?),
        13 => Body::TimeoutNow,
        other => return Err(CodecError::Invalid("message kind", u64::from(other))),
    })
}

fn put_append(request: &AppendEntries, out: &mut BytesMut) {
    put_varint(out, request.round.get());
    put_varint(out, request.leader_commit.get());
    let micros = request.broadcast_time.as_micros();
    put_varint(out, u64::try_from(micros).unwrap_or(u64::MAX));
    put_id(out, request.slice.prev());
    put_varint(out, request.slice.entries().len() as u64);
    let mut term = request.slice.prev().term;
    for entry in request.slice.entries() {
        put_varint(out, entry.id.term.get() - term.get());
        put_payload(&entry.payload, out);
        term = entry.id.term;
    }
}

fn take_append(reader: &mut Reader) -> Result<AppendEntries, CodecError> {
    let round = Round::new(reader.varint("round")?);
    let leader_commit = Index::new(reader.varint("leader commit")?);
    let broadcast_time = Duration::from_micros(reader.varint("broadcast time")?);
    let prev = take_id(reader)?;
    let count = reader.count("entries", ENTRY_MIN)?;
    // Adding the count once bounds every index below it.
    if prev.index.get().checked_add(count as u64 + 1).is_none() {
        return Err(CodecError::Invalid("prev index", prev.index.get()));
    }
    let mut entries = Vec::with_capacity(count);
    let mut before = prev;
    for _ in 0..count {
        let above = reader.varint("entry term")?;
        let term = before.term.get().checked_add(above);
        let term = Term::new(term.ok_or(CodecError::Invalid("entry term", above))?);
        let id = EntryId::new(term, before.index.next());
        entries.push(Entry { id, payload: take_payload(reader)? });
        before = id;
    }
    let slice = LogSlice::new(prev, entries)
        .map_err(|error| CodecError::Invalid("entry index", error.found.index.get()))?;
    Ok(AppendEntries { slice, leader_commit, round, broadcast_time })
}

/// A term, a length, a seal and the tag of a body.
const ENTRY_MIN: usize = 7;

fn put_append_response(response: AppendEntriesResponse, out: &mut BytesMut) {
    put_varint(out, response.round.get());
    match response.result {
        AppendResult::Matched { match_index, accepted } => {
            out.put_u8(0);
            put_varint(out, match_index.get());
            put_varint(out, accepted.get());
        }
        AppendResult::Conflict { hint, rejected } => {
            out.put_u8(1);
            put_id(out, hint);
            put_varint(out, rejected.get());
        }
    }
}

fn take_append_response(reader: &mut Reader) -> Result<AppendEntriesResponse, CodecError> {
    let round = Round::new(reader.varint("round")?);
    let result = match reader.byte("append result")? {
        0 => AppendResult::Matched {
            match_index: Index::new(reader.varint("match index")?),
            accepted: Index::new(reader.varint("accepted index")?),
        },
        1 => AppendResult::Conflict {
            hint: take_id(reader)?,
            rejected: Index::new(reader.varint("rejected index")?),
        },
        other => return Err(CodecError::Invalid("append result", u64::from(other))),
    };
    Ok(AppendEntriesResponse { round, result })
}

fn put_snapshot(snapshot: &SnapshotMeta, out: &mut BytesMut) {
    out.put_u128_le(snapshot.id.get());
    put_id(out, snapshot.last_included);
    put_varint(out, snapshot.data_bytes);
    put_membership(&snapshot.membership, out);
}

fn take_snapshot(reader: &mut Reader) -> Result<SnapshotMeta, CodecError> {
    Ok(SnapshotMeta {
        id: SnapshotId::new(reader.u128("snapshot id")?),
        last_included: take_id(reader)?,
        data_bytes: reader.varint("snapshot bytes")?,
        membership: take_membership(reader)?,
    })
}

fn take_propose(reader: &mut Reader) -> Result<Propose, CodecError> {
    let boot = reader.u64("propose boot")?;
    let serial = reader.varint("propose serial")?;
    let count = reader.count("propose payloads", ENTRY_MIN - 1)?;
    let mut payloads = Vec::with_capacity(count);
    for _ in 0..count {
        payloads.push(take_payload(reader)?);
    }
    Ok(Propose { boot, serial, payloads })
}

fn take_propose_response(reader: &mut Reader) -> Result<ProposeResponse, CodecError> {
    let boot = reader.u64("propose boot")?;
    let count = reader.count("refused proposals", 2)?;
    let mut refused = Vec::with_capacity(count);
    for _ in 0..count {
        let ticket = Ticket::new(reader.varint("refused ticket")?);
        let reason = match reader.byte("refusal")? {
            0 => RefusedProposal::NotLeader,
            1 => RefusedProposal::Overloaded,
            2 => RefusedProposal::TooLarge,
            3 => RefusedProposal::StorageFull,
            other => return Err(CodecError::Invalid("refusal", u64::from(other))),
        };
        refused.push((ticket, reason));
    }
    Ok(ProposeResponse { boot, refused })
}

fn put_payload(payload: &Payload, out: &mut BytesMut) {
    put_varint(out, payload_len(payload) as u64);
    out.put_u32_le(payload.checksum().get());
    encode_payload_header(payload, out);
    out.put_slice(payload.bytes());
}

fn take_payload(reader: &mut Reader) -> Result<Payload, CodecError> {
    let len = reader.varint("payload length")?;
    let checksum = Checksum::new(reader.u32("payload seal")?);
    decode_payload(reader.slice("payload", len)?, checksum)
}

fn put_id(out: &mut BytesMut, id: EntryId) {
    put_varint(out, id.term.get());
    put_varint(out, id.index.get());
}

fn take_id(reader: &mut Reader) -> Result<EntryId, CodecError> {
    let term = Term::new(reader.varint("entry term")?);
    Ok(EntryId::new(term, Index::new(reader.varint("entry index")?)))
}

fn take_node(reader: &mut Reader, field: &'static str) -> Result<NodeId, CodecError> {
    let node = reader.varint(field)?;
    NodeId::new(node).ok_or(CodecError::Invalid(field, node))
}

fn take_bool(reader: &mut Reader) -> Result<bool, CodecError> {
    match reader.byte("flag")? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError::Invalid("flag", u64::from(other))),
    }
}
