//! What a backup says of itself, and where in the file everything is.
//!
//! Read next: `encode.rs`, `read.rs`.

use bytes::{BufMut, Bytes};
use raft_core::codec::{CodecError, Reader, put_varint};
use raft_core::{Checksum, ClusterId, EntryId, Index, Term};

use crate::read::HASH_BYTES;

/// The first bytes of every backup, of whatever version.
pub(crate) const MAGIC: &[u8; 8] = b"RAFTBAK\n";

/// The version this code writes and reads.
pub(crate) const VERSION: u16 = 1;

/// Magic, version, two bytes of zeros, the length of the fields.
pub(crate) const PREAMBLE_BYTES: usize = 16;

/// The state is cut into chunks of this many bytes; the last one may be shorter.
pub(crate) const CHUNK_BYTES: u64 = 1 << 20;

/// A checksum behind the header, and behind each chunk.
pub(crate) const CHECKSUM_BYTES: u64 = 4;

/// Everything before the hash is filled up to a multiple of this: etcd's clients take a stream for
/// whole if 32 bytes are left over.
const BLOCK_BYTES: u64 = 512;

/// The largest header: a thousand members with long names.
pub(crate) const FIELDS_BYTES_MAX: u32 = 1 << 20;

/// What a backup says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The cluster the state is of.
    pub cluster: ClusterId,
    /// The last entry inside the state.
    pub applied: EntryId,
    /// The newest revision of the store.
    pub revision: u64,
    /// How many keys exist at that revision.
    pub keys: u64,
    /// Bytes of the state.
    pub state_bytes: u64,
    /// The version of the server that wrote it.
    pub server_version: String,
    /// Who the members were. For people; a restored cluster has members of its own.
    pub members: Vec<Member>,
}

/// A member of the cluster that the state is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name; empty if it never told it.
    pub name: String,
    /// Whether it did not vote.
    pub is_learner: bool,
    /// Where its peers reached it.
    pub peer_urls: Vec<String>,
    /// Where its clients reached it.
    pub client_urls: Vec<String>,
}

impl Header {
    /// Bytes of the whole file.
    pub fn file_bytes(&self) -> u64 {
        self.body_bytes() + HASH_BYTES as u64
    }

    /// Bytes of everything before the hash.
    pub(crate) fn body_bytes(&self) -> u64 {
        self.padding_at().next_multiple_of(BLOCK_BYTES)
    }

    /// Where the last chunk ends.
    pub(crate) fn padding_at(&self) -> u64 {
        let header = self.encode().len() as u64;
        let chunks = self.state_bytes.div_ceil(CHUNK_BYTES);
        header.saturating_add(self.state_bytes).saturating_add(chunks * CHECKSUM_BYTES)
    }

    /// The header as it is stored, with its checksum.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut fields = Vec::new();
        fields.put_u128_le(self.cluster.get());
        let applied = self.applied;
        for number in [applied.term.get(), applied.index.get(), self.revision, self.keys] {
            put_varint(&mut fields, number);
        }
        put_varint(&mut fields, self.state_bytes);
        put_text(&mut fields, &self.server_version);
        put_varint(&mut fields, self.members.len() as u64);
        for member in &self.members {
            fields.put_u64_le(member.id);
            fields.put_u8(u8::from(member.is_learner));
            put_text(&mut fields, &member.name);
            for urls in [&member.peer_urls, &member.client_urls] {
                put_varint(&mut fields, urls.len() as u64);
                for url in urls {
                    put_text(&mut fields, url);
                }
            }
        }
        let mut out = Vec::with_capacity(PREAMBLE_BYTES + fields.len() + 4);
        out.put_slice(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u32_le(u32::try_from(fields.len()).expect("names and URLs are short"));
        out.put_slice(&fields);
        let checksum = Checksum::of(&out);
        out.put_u32_le(checksum.get());
        out
    }

    /// Reads the fields.
    pub(crate) fn decode(fields: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(fields);
        let cluster = ClusterId::new(reader.u128("cluster")?);
        let term = Term::new(reader.varint("term")?);
        let applied = EntryId::new(term, Index::new(reader.varint("index")?));
        let revision = reader.varint("revision")?;
        let keys = reader.varint("keys")?;
        let state_bytes = reader.varint("state bytes")?;
        let server_version = take_text(&mut reader, "server version")?;
        let mut members = Vec::new();
        for _ in 0..reader.count("members", MEMBER_BYTES_MIN)? {
            members.push(Member::take(&mut reader)?);
        }
        reader.finish()?;
        Ok(Self { cluster, applied, revision, keys, state_bytes, server_version, members })
    }
}

impl Member {
    fn take(reader: &mut Reader) -> Result<Self, CodecError> {
        let id = reader.u64("member id")?;
        let is_learner = match reader.byte("member flags")? {
            0 => false,
            1 => true,
            flags => return Err(CodecError::Invalid("member flags", flags.into())),
        };
        let name = take_text(reader, "member name")?;
        let peer_urls = take_texts(reader, "peer URLs")?;
        let client_urls = take_texts(reader, "client URLs")?;
        Ok(Self { id, name, is_learner, peer_urls, client_urls })
    }
}

/// A member without a name and without URLs.
const MEMBER_BYTES_MIN: usize = 8 + 1 + 1 + 1 + 1;

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_varint(out, text.len() as u64);
    out.put_slice(text.as_bytes());
}

fn take_text(reader: &mut Reader, field: &'static str) -> Result<String, CodecError> {
    let bytes = reader.bytes(field)?;
    let invalid = |at: usize| CodecError::Invalid(field, bytes[at].into());
    match str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(invalid(error.valid_up_to())),
    }
}

fn take_texts(reader: &mut Reader, field: &'static str) -> Result<Vec<String>, CodecError> {
    let count = reader.count(field, 1)?;
    (0..count).map(|_| take_text(reader, field)).collect()
}
