//! The body of an entry, equal on the wire and on the disk.
//!
//! ```text
//! tag     u8       bits 0..3 kind (0 no-op, 1 command, 2 membership), 4 origin, 5 session
//! origin  if bit 4: node varint, boot u64, ticket varint
//! session if bit 5: client varint, serial varint, answered varint
//! bytes   to the end
//! ```

use bytes::{BufMut, Bytes};

use super::{CodecError, Reader, put_varint};
use crate::{Checksum, Index, NodeId, Origin, Payload, PayloadKind, SessionTag, Ticket};

/// No header is longer: a tag, an origin and a session.
pub const PAYLOAD_HEADER_MAX: usize = 1 + 10 + 8 + 10 + 30;

const HAS_ORIGIN: u8 = 1 << 4;
const HAS_SESSION: u8 = 1 << 5;

/// The header of a payload and its length, without an allocation.
pub(crate) fn payload_header(payload: &Payload) -> ([u8; PAYLOAD_HEADER_MAX], usize) {
    let mut header = [0; PAYLOAD_HEADER_MAX];
    let mut rest = &mut header[..];
    put_header(payload, &mut rest);
    let len = PAYLOAD_HEADER_MAX - rest.len();
    (header, len)
}

fn put_header(payload: &Payload, out: &mut impl BufMut) {
    let mut tag = match payload.kind() {
        PayloadKind::NoOp => 0,
        PayloadKind::Command => 1,
        PayloadKind::Membership => 2,
    };
    if payload.origin().is_some() {
        tag |= HAS_ORIGIN;
    }
    if payload.session().is_some() {
        tag |= HAS_SESSION;
    }
    out.put_u8(tag);
    if let Some(origin) = payload.origin() {
        put_varint(out, origin.node.get());
        out.put_u64_le(origin.boot);
        put_varint(out, origin.ticket.get());
    }
    if let Some(session) = payload.session() {
        put_varint(out, session.client.get());
        put_varint(out, session.serial);
        put_varint(out, session.answered);
    }
}

/// Appends the header of the body; `payload.bytes()` follows it.
pub fn encode_payload_header(payload: &Payload, out: &mut impl BufMut) {
    put_header(payload, out);
}

/// Length of the whole body: header and bytes.
pub fn payload_len(payload: &Payload) -> usize {
    payload_header(payload).1 + payload.bytes().len()
}

/// Takes a body apart; its bytes are shared, not copied. The seal is kept, not verified.
///
/// # Errors
///
/// [`CodecError`] for an unknown kind or a header that is cut.
pub fn decode_payload(body: Bytes, checksum: Checksum) -> Result<Payload, CodecError> {
    let mut reader = Reader::new(body);
    let tag = reader.byte("payload tag")?;
    let kind = match tag & 0x0f {
        0 => PayloadKind::NoOp,
        1 => PayloadKind::Command,
        2 => PayloadKind::Membership,
        other => return Err(CodecError::Invalid("payload kind", u64::from(other))),
    };
    if tag & !(0x0f | HAS_ORIGIN | HAS_SESSION) != 0 {
        return Err(CodecError::Invalid("payload tag", u64::from(tag)));
    }
    let mut origin = None;
    if tag & HAS_ORIGIN != 0 {
        let node = reader.varint("origin node")?;
        let node = NodeId::new(node).ok_or(CodecError::Invalid("origin node", node))?;
        let boot = reader.u64("origin boot")?;
        let ticket = Ticket::new(reader.varint("origin ticket")?);
        origin = Some(Origin { node, boot, ticket });
    }
    let mut session = None;
    if tag & HAS_SESSION != 0 {
        session = Some(SessionTag {
            client: Index::new(reader.varint("session client")?),
            serial: reader.varint("session serial")?,
            answered: reader.varint("session answered")?,
        });
    }
    Ok(Payload::from_parts(kind, origin, session, reader.into_rest(), checksum))
}
