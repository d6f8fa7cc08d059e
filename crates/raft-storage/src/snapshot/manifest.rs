//! The manifest of a snapshot: what it covers, and every chunk of its data with its checksum.
//!
//! Its hash is the id of the snapshot, and a hash of all data is inside: equal ids, equal bytes.
//! Nothing in it tells who wrote it or when, so nodes with equal states write equal manifests. The
//! bytes are drawn in `docs/SNAPSHOT_FORMAT.md`.

use bytes::{BufMut, Bytes};
use raft_core::codec::{Reader, decode_membership, encode_membership, put_varint};
use raft_core::{Checksum, EntryId, GroupId, Index, Membership, SnapshotId, SnapshotMeta, Term};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 4] = b"RSM1";

const VERSION: u8 = 1;

/// Chunks are stored as the state machine wrote them.
const CODEC_NONE: u8 = 0;

/// Data is cut into chunks of this many bytes; the last one may be shorter.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// Everything a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manifest {
    pub(super) group: GroupId,
    pub(super) last_included: EntryId,
    pub(super) membership: Membership,
    pub(super) chunks: Vec<ChunkFacts>,
    /// SHA-256 of all data.
    pub(super) digest: [u8; 32],
}

/// A chunk as the manifest knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ChunkFacts {
    pub(super) len: u32,
    pub(super) checksum: Checksum,
}

impl Manifest {
    pub(super) fn data_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| u64::from(chunk.len)).sum()
    }

    /// Where a chunk begins in the data: all before it are full.
    pub(super) const fn offset(place: usize) -> u64 {
        place as u64 * CHUNK_BYTES as u64
    }

    pub(super) fn meta(&self, id: SnapshotId) -> SnapshotMeta {
        SnapshotMeta {
            id,
            last_included: self.last_included,
            membership: self.membership.clone(),
            data_bytes: self.data_bytes(),
        }
    }

    /// The bytes, and the id they give.
    pub(super) fn encode(&self) -> (Bytes, SnapshotId) {
        let mut out = Vec::new();
        out.put_slice(MAGIC);
        out.put_u8(VERSION);
        out.put_u8(CODEC_NONE);
        let membership = encode_membership(&self.membership);
        let (id, group) = (self.last_included, self.group.get());
        for number in [group, id.term.get(), id.index.get(), membership.len() as u64] {
            put_varint(&mut out, number);
        }
        out.put_slice(&membership);
        put_varint(&mut out, self.chunks.len() as u64);
        for chunk in &self.chunks {
            put_varint(&mut out, u64::from(chunk.len));
            out.put_u32_le(chunk.checksum.get());
        }
        out.put_slice(&self.digest);
        let id = id_of(&out);
        let checksum = Checksum::of(&out);
        out.put_u32_le(checksum.get());
        (out.into(), id)
    }

    /// Reads a manifest and gives the id it has.
    ///
    /// # Errors
    ///
    /// A text that says what was expected; nothing about the file.
    pub(super) fn decode(bytes: &Bytes) -> Result<(Self, SnapshotId), String> {
        let Some(end) = bytes.len().checked_sub(4).filter(|end| *end > MAGIC.len()) else {
            return Err("a manifest of some bytes was expected".into());
        };
        let body = bytes.slice(..end);
        let sum = bytes[end..].first_chunk().map_or(0, |sum| u32::from_le_bytes(*sum));
        if &body[..MAGIC.len()] != MAGIC {
            return Err("it does not begin as a manifest does".into());
        }
        if Checksum::of(&body).get() != sum {
            return Err("the checksum of the manifest does not match".into());
        }
        let id = id_of(&body);
        let version = body[MAGIC.len()];
        if version != VERSION {
            return Err(format!("manifest version {version}; this program knows {VERSION}"));
        }
        let fields = Self::take(body.slice(MAGIC.len() + 1..));
        fields.map(|manifest| (manifest, id)).map_err(|error| error.to_string())
    }

    fn take(body: Bytes) -> Result<Self, raft_core::codec::CodecError> {
        use raft_core::codec::CodecError::Invalid;
        let mut reader = Reader::new(body);
        let codec = reader.byte("codec")?;
        if codec != CODEC_NONE {
            return Err(Invalid("codec", u64::from(codec)));
        }
        let group = GroupId::new(reader.varint("group")?);
        let term = Term::new(reader.varint("term")?);
        let last_included = EntryId::new(term, Index::new(reader.varint("index")?));
        let membership = decode_membership(reader.bytes("membership")?)?;
        let count = reader.count("chunks", 5)?;
        let mut chunks = Vec::with_capacity(count);
        for place in 1..=count {
            let len = reader.varint("chunk length")?;
            // One way to cut: equal data, equal manifests.
            let least = if place < count { CHUNK_BYTES } else { 1 };
            let fits = u32::try_from(len).ok();
            let fits = fits.filter(|len| (least..=CHUNK_BYTES).contains(&(*len as usize)));
            let len = fits.ok_or(Invalid("chunk length", len))?;
            let checksum = Checksum::new(reader.u32("chunk checksum")?);
            chunks.push(ChunkFacts { len, checksum });
        }
        let digest = reader.slice("digest", 32)?;
        let digest = *digest.first_chunk().expect("as many as asked for");
        reader.finish()?;
        Ok(Self { group, last_included, membership, chunks, digest })
    }
}

fn id_of(bytes: &[u8]) -> SnapshotId {
    let hash = Sha256::digest(bytes);
    let first = hash.first_chunk().expect("a hash has 32 bytes");
    SnapshotId::new(u128::from_be_bytes(*first))
}
