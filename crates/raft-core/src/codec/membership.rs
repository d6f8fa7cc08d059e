//! A membership as bytes: what a membership entry carries and what a bootstrap writes.
//!
//! ```text
//! version u8 = 1
//! id      term varint, index varint
//! members count varint, then each, by ascending node: node varint,
//!         flags u8 (1 voter, 2 outgoing, 4 incarnation, 8 promoted by itself, 16 replaces,
//!         32 removed when the joint membership ends, 64 readmitted then), incarnation u128 if
//!         flag 4, the node it replaces varint if flag 16, the next incarnation u128 if flag 64,
//!         address length varint, address
//! ```

use alloc::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};

use super::{CodecError, Reader, put_varint};
use crate::{Departure, EntryId, Incarnation, Index, Member, Membership, NodeId, Promotion, Term};

const VERSION: u8 = 1;

/// Encodes a membership.
pub fn encode_membership(membership: &Membership) -> Bytes {
    let mut out = BytesMut::new();
    put_membership(membership, &mut out);
    out.freeze()
}

/// Decodes a membership and checks that it makes sense.
///
/// # Errors
///
/// [`CodecError`] for another version, cut or doubled fields, or voters that are not members.
pub fn decode_membership(bytes: Bytes) -> Result<Membership, CodecError> {
    let mut reader = Reader::new(bytes);
    let membership = take_membership(&mut reader)?;
    reader.finish()?;
    Ok(membership)
}

pub(super) fn put_membership(membership: &Membership, out: &mut BytesMut) {
    out.put_u8(VERSION);
    put_varint(out, membership.id().term.get());
    put_varint(out, membership.id().index.get());
    put_varint(out, membership.members().len() as u64);
    for (node, member) in membership.members() {
        put_varint(out, node.get());
        let voter = u8::from(membership.voters().contains(node));
        let outgoing = u8::from(membership.outgoing().contains(node)) << 1;
        let incarnation = u8::from(member.incarnation.is_some()) << 2;
        let promotion = membership.promotions().get(node);
        let departure = membership.departures().get(node);
        let plans = match promotion {
            None | Some(Promotion::Manual) => 0,
            Some(Promotion::Automatic) => 8,
            Some(Promotion::Replaces(_)) => 16,
        } | match departure {
            None => 0,
            Some(Departure::Removed) => 32,
            Some(Departure::Readmitted(_)) => 64,
        };
        out.put_u8(voter | outgoing | incarnation | plans);
        if let Some(incarnation) = member.incarnation {
            out.put_u128_le(incarnation.get());
        }
        if let Some(Promotion::Replaces(old)) = promotion {
            put_varint(out, old.get());
        }
        if let Some(Departure::Readmitted(incarnation)) = departure {
            out.put_u128_le(incarnation.get());
        }
        put_varint(out, member.address.len() as u64);
        out.put_slice(&member.address);
    }
}

pub(super) fn take_membership(reader: &mut Reader) -> Result<Membership, CodecError> {
    let version = reader.byte("membership version")?;
    if version != VERSION {
        return Err(CodecError::Version { found: version, known: VERSION });
    }
    let term = Term::new(reader.varint("membership term")?);
    let id = EntryId::new(term, Index::new(reader.varint("membership index")?));
    let count = reader.count("membership members", 3)?;
    let mut members = BTreeMap::new();
    let (mut voters, mut outgoing) = (BTreeSet::new(), BTreeSet::new());
    let (mut promotions, mut departures) = (BTreeMap::new(), BTreeMap::new());
    for _ in 0..count {
        let node = reader.varint("member node")?;
        let node = NodeId::new(node).ok_or(CodecError::Invalid("member node", node))?;
        let flags = reader.byte("member flags")?;
        if flags > 127 || flags & 8 != 0 && flags & 16 != 0 || flags & 32 != 0 && flags & 64 != 0 {
            return Err(CodecError::Invalid("member flags", u64::from(flags)));
        }
        let incarnation = match flags & 4 {
            0 => None,
            _ => Some(Incarnation::new(reader.u128("member incarnation")?)),
        };
        if flags & 16 != 0 {
            let old = reader.varint("replaced node")?;
            let old = NodeId::new(old).ok_or(CodecError::Invalid("replaced node", old))?;
            promotions.insert(node, Promotion::Replaces(old));
        } else if flags & 8 != 0 {
            promotions.insert(node, Promotion::Automatic);
        }
        if flags & 64 != 0 {
            let next = Incarnation::new(reader.u128("next incarnation")?);
            departures.insert(node, Departure::Readmitted(next));
        } else if flags & 32 != 0 {
            departures.insert(node, Departure::Removed);
        }
        let address = Bytes::copy_from_slice(&reader.bytes("member address")?);
        if flags & 1 != 0 {
            voters.insert(node);
        }
        if flags & 2 != 0 {
            outgoing.insert(node);
        }
        // Ascending, so that equal memberships are equal bytes.
        if members.last_key_value().is_some_and(|(last, _)| *last >= node) {
            return Err(CodecError::Invalid("member node out of order", node.get()));
        }
        members.insert(node, Member { address, incarnation });
    }
    Membership::from_parts(id, members, voters, outgoing)
        .and_then(|membership| membership.with_plans(promotions, departures))
        .ok_or(CodecError::Invalid("membership voters", 0))
}
