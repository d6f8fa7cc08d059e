//! How two nodes meet: the first frames of a connection, and the verdict on them.
//!
//! The node that dials says who it is, whom it wants and which versions it speaks; the other
//! answers with its own identity, or with a refusal that names what does not fit and the remedy.
//!
//! * These frames keep their form in every version of the protocol: they choose the version.
//! * A node that is not in the roster is let in unless the settings say otherwise: a follower that
//!   was away for long learns from a leader it never heard of (§6).
//!
//! Read next: `frame.rs`, the bytes around everything that follows.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::codec::{CodecError, Reader, put_varint};
use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};

use crate::{Class, Roster};

/// The versions of the protocol that a node speaks, from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl VersionRange {
    /// What this code speaks.
    pub const SPOKEN: Self = Self { min: 1, max: 1 };

    /// The newest version both speak.
    pub fn common(self, other: Self) -> Option<u8> {
        let version = self.max.min(other.max);
        (version >= self.min.max(other.min)).then_some(version)
    }
}

impl fmt::Display for VersionRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "version {}", self.min)
        } else {
            write!(f, "versions {} to {}", self.min, self.max)
        }
    }
}

/// What the node that dials says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    /// The versions it speaks.
    pub(crate) versions: VersionRange,
    /// Who it is.
    pub(crate) identity: Identity,
    /// Whom it believes it has dialled.
    pub(crate) to: NodeId,
    /// What it wants this connection for.
    pub(crate) purpose: Purpose,
    /// Where it listens itself, so that a node that does not know it yet can answer. May be empty.
    pub(crate) address: String,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The node that dials sends messages of this class.
    Messages(Class),
    /// The node that dials fetches the chunks of one snapshot.
    Chunks,
}

impl Purpose {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Messages(Class::Control) => 0,
            Self::Messages(Class::Bulk) => 1,
            Self::Chunks => 2,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Messages(Class::Control)),
            1 => Some(Self::Messages(Class::Bulk)),
            2 => Some(Self::Chunks),
            _ => None,
        }
    }
}

/// The answer to a [`Hello`] that is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// The version both use from now on.
    pub(crate) version: u8,
    /// Who was dialled.
    pub(crate) identity: Identity,
}

impl Hello {
    /// Appends it as the body of a frame.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.versions.min);
        out.put_u8(self.versions.max);
        put_identity(self.identity, out);
        put_varint(out, self.to.get());
        out.put_u8(self.purpose.to_byte());
        put_text(&self.address, out);
    }

    /// Takes it from the body of a frame; what follows the last field is of later versions.
    pub(crate) fn decode(body: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let (min, max) = (reader.byte("version")?, reader.byte("version")?);
        let identity = take_identity(&mut reader)?;
        let to = take_node(&mut reader)?;
        let byte = reader.byte("purpose")?;
        let purpose = Purpose::from_byte(byte);
        let purpose = purpose.ok_or_else(|| CodecError::Invalid("purpose", u64::from(byte)))?;
        let address = take_text(&mut reader, "address")?;
        Ok(Self { versions: VersionRange { min, max }, identity, to, purpose, address })
    }
}

impl Welcome {
    /// Appends it as the body of a frame.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.version);
        put_identity(self.identity, out);
    }

    /// Takes it from the body of a frame; what follows the last field is of later versions.
    pub(crate) fn decode(body: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let version = reader.byte("version")?;
        Ok(Self { version, identity: take_identity(&mut reader)? })
    }
}

/// No address and no sentence is longer, in bytes; what is, is cut.
const TEXT_BYTES_MAX: usize = 500;

pub(crate) fn put_text(text: &str, out: &mut BytesMut) {
    let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

pub(crate) fn take_text(reader: &mut Reader, field: &'static str) -> Result<String, CodecError> {
    let bytes = reader.bytes(field)?;
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(CodecError::Invalid(field, u64::from(bytes[error.valid_up_to()]))),
    }
}

pub(crate) fn put_identity(identity: Identity, out: &mut BytesMut) {
    out.put_u128_le(identity.cluster.get());
    put_varint(out, identity.peer.node.get());
    out.put_u128_le(identity.peer.incarnation.get());
}

pub(crate) fn take_identity(reader: &mut Reader) -> Result<Identity, CodecError> {
    let cluster = ClusterId::new(reader.u128("cluster")?);
    let node = take_node(reader)?;
    let incarnation = Incarnation::new(reader.u128("incarnation")?);
    Ok(Identity { cluster, peer: Peer { node, incarnation } })
}

fn take_node(reader: &mut Reader) -> Result<NodeId, CodecError> {
    let node = reader.varint("node")?;
    NodeId::new(node).ok_or(CodecError::Invalid("node", node))
}

/// Why a handshake was refused, and in which words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For programs.
    pub code: RefusalCode,
    /// For people: what does not fit, both sides named, with the remedy.
    pub sentence: String,
}

impl Refusal {
    /// Appends it as the body of a frame.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u8(self.code.to_byte());
        put_text(&self.sentence, out);
    }

    /// Takes it from the body of a frame; what follows the last field is of later versions.
    pub(crate) fn decode(body: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let code = RefusalCode::from_byte(reader.byte("refusal")?);
        Ok(Self { code, sentence: take_text(&mut reader, "sentence")? })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

/// Why a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RefusalCode {
    /// No version of the protocol is spoken by both.
    Version,
    /// The two belong to different clusters.
    Cluster,
    /// Another node than the one that was asked for was reached.
    WrongNode,
    /// Both ends are the same node, or say so.
    OwnId,
    /// The membership has recorded another incarnation of the node: its disk is not the one it
    /// promised with.
    Incarnation,
    /// The node is not in the roster, and nodes outside it are not let in.
    UnknownNode,
    /// A reason of a later version of the protocol.
    Other(u8),
}

impl RefusalCode {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Version => 1,
            Self::Cluster => 2,
            Self::WrongNode => 3,
            Self::OwnId => 4,
            Self::Incarnation => 5,
            Self::UnknownNode => 6,
            Self::Other(byte) => byte,
        }
    }

    const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Version,
            2 => Self::Cluster,
            3 => Self::WrongNode,
            4 => Self::OwnId,
            5 => Self::Incarnation,
            6 => Self::UnknownNode,
            other => Self::Other(other),
        }
    }
}

/// What to do with a node that is not in the roster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strangers {
    /// Let it in, as §6 asks: the roster of a node that was away may be older than the leader.
    #[default]
    Welcome,
    /// Refuse it. For clusters whose members never change: elsewhere a node that missed a change
    /// can never catch up from members it has not heard of.
    Refuse,
}

/// Decides about a node that introduces itself; gives the version to speak.
pub(crate) fn judge(
    hello: &Hello,
    me: Identity,
    roster: &Roster,
    strangers: Strangers,
) -> Result<u8, Refusal> {
    let refuse = |code, sentence| Err(Refusal { code, sentence });
    let (Peer { node, incarnation }, own) = (hello.identity.peer, me.peer.node);
    let spoken = VersionRange::SPOKEN;
    let Some(version) = hello.versions.common(spoken) else {
        let sentence = format!(
            "{node} speaks {} of the protocol, {own} speaks {spoken}: upgrade the older of the two",
            hello.versions
        );
        return refuse(RefusalCode::Version, sentence);
    };
    if hello.identity.cluster != me.cluster {
        let (theirs, ours) = (hello.identity.cluster, me.cluster);
        let sentence = format!(
            "{node} belongs to cluster {theirs}, {own} belongs to cluster {ours}: correct the \
             address that led {node} here, or the cluster id of one of them"
        );
        return refuse(RefusalCode::Cluster, sentence);
    }
    if node == own {
        let sentence = format!(
            "both ends say they are {own}: an address leads back to its owner, or two nodes were \
             started with one id"
        );
        return refuse(RefusalCode::OwnId, sentence);
    }
    if hello.to != own {
        let sentence = format!(
            "{node} asked for {}, but this is {own}: correct the address of {}",
            hello.to, hello.to
        );
        return refuse(RefusalCode::WrongNode, sentence);
    }
    match roster.get(&node) {
        Some(known) => match known.incarnation {
            Some(recorded) if recorded != incarnation => {
                let sentence = format!(
                    "{node} shows incarnation {incarnation}, the membership has recorded \
                     {recorded}: its disk is not the one it promised with; readmit it, or remove \
                     it and add it again"
                );
                refuse(RefusalCode::Incarnation, sentence)
            }
            Some(_) | None => Ok(version),
        },
        None if strangers == Strangers::Welcome => Ok(version),
        None => {
            let sentence = format!("{own} does not know {node}: add {node} to the membership");
            refuse(RefusalCode::UnknownNode, sentence)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(node: u64) -> Identity {
        let peer = Peer { node: NodeId::new(node).unwrap(), incarnation: Incarnation::new(0xabc) };
        Identity { cluster: ClusterId::new(0xc1), peer }
    }

    fn hello() -> Hello {
        let (identity, to) = (identity(1), NodeId::new(2).unwrap());
        let address = "host:7000".to_owned();
        let purpose = Purpose::Messages(Class::Bulk);
        Hello { versions: VersionRange::SPOKEN, identity, to, purpose, address }
    }

    fn bytes(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut out = BytesMut::new();
        encode(&mut out);
        out.freeze()
    }

    /// What is encoded is decoded again, also with fields of a later version behind it, and every
    /// cut is an error.
    #[test]
    fn a_hello_survives_and_a_cut_one_does_not() {
        let whole = bytes(|out| hello().encode(out));
        assert_eq!(Hello::decode(whole.clone()), Ok(hello()));
        let fetching = Hello { purpose: Purpose::Chunks, ..hello() };
        assert_eq!(Hello::decode(bytes(|out| fetching.encode(out))), Ok(fetching));
        let longer = bytes(|out| {
            hello().encode(out);
            out.put_slice(b"later");
        });
        assert_eq!(Hello::decode(longer), Ok(hello()));
        for len in 0..whole.len() {
            assert!(Hello::decode(whole.slice(..len)).is_err(), "{len} bytes");
        }
        let welcome = Welcome { version: 1, identity: identity(2) };
        assert_eq!(Welcome::decode(bytes(|out| welcome.encode(out))), Ok(welcome));
        let refusal = Refusal { code: RefusalCode::Other(77), sentence: "é".repeat(400) };
        let shown = Refusal::decode(bytes(|out| refusal.encode(out))).unwrap();
        assert_eq!(shown.code, refusal.code);
        assert_eq!(shown.sentence, "é".repeat(250), "cut between characters");
    }

    /// Two ranges of versions meet at the newest that is in both.
    #[test]
    fn versions_meet_at_the_newest_common_one() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(range(1, 3).common(range(2, 5)), Some(3));
        assert_eq!(range(2, 5).common(range(1, 3)), Some(3));
        assert_eq!(range(1, 1).common(range(2, 5)), None);
        assert_eq!(range(9, 2).common(range(1, 1)), None, "nonsense meets nobody");
    }

    /// The verdict names the first thing that does not fit, both sides and the remedy.
    #[test]
    fn every_refusal_has_its_sentence() {
        let me = identity(2);
        let none = Roster::new();
        let verdict = |hello: &Hello, roster: &Roster, strangers| {
            judge(hello, me, roster, strangers).map_err(|refusal| refusal.to_string())
        };
        assert_eq!(verdict(&hello(), &none, Strangers::Welcome), Ok(1));

        let mut later = hello();
        later.versions = VersionRange { min: 2, max: 4 };
        let expected = "n1 speaks versions 2 to 4 of the protocol, n2 speaks version 1: upgrade \
                        the older of the two";
        assert_eq!(verdict(&later, &none, Strangers::Welcome), Err(expected.to_owned()));

        let mut foreign = hello();
        foreign.identity.cluster = ClusterId::new(0xc2);
        let expected = "n1 belongs to cluster c2, n2 belongs to cluster c1: correct the address \
                        that led n1 here, or the cluster id of one of them";
        assert_eq!(verdict(&foreign, &none, Strangers::Welcome), Err(expected.to_owned()));

        let mut lost = hello();
        lost.to = NodeId::new(3).unwrap();
        let expected = "n1 asked for n3, but this is n2: correct the address of n3";
        assert_eq!(verdict(&lost, &none, Strangers::Welcome), Err(expected.to_owned()));

        let mut twin = hello();
        twin.identity.peer.node = me.peer.node;
        let expected = "both ends say they are n2: an address leads back to its owner, or two \
                        nodes were started with one id";
        assert_eq!(verdict(&twin, &none, Strangers::Welcome), Err(expected.to_owned()));

        let expected = "n2 does not know n1: add n1 to the membership";
        assert_eq!(verdict(&hello(), &none, Strangers::Refuse), Err(expected.to_owned()));

        let known = crate::PeerAddress {
            address: String::new(),
            incarnation: Some(Incarnation::new(0xdef)),
        };
        let roster = Roster::from([(NodeId::new(1).unwrap(), known)]);
        let expected = "n1 shows incarnation abc, the membership has recorded def: its disk is \
                        not the one it promised with; readmit it, or remove it and add it again";
        assert_eq!(verdict(&hello(), &roster, Strangers::Welcome), Err(expected.to_owned()));
    }
}
