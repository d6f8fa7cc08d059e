//! What is said on a connection that brings chunks: a request, and a chunk or the reason why not.
//!
//! ```text
//! ChunkRequest   group varint · snapshot u128 · number varint
//! Chunk          number varint · checksum u32 · bytes, to the end
//! NoChunk        number varint · reason u8 · sentence text
//! ```
//!
//! The checksum is the one the chunk is stored with: the frame's own cannot know what a disk did.
//!
//! Read next: `fetch.rs`, who asks.

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::codec::{CodecError, Reader, put_varint};
use raft_core::{Checksum, Chunk, GroupId, SnapshotId};

use crate::hello::{put_text, take_text};

/// The most bytes the body of a request has: two varints and an id.
pub(crate) const REQUEST_BYTES_MAX: u64 = 64;

/// The most bytes a body has besides those of the chunk; no refusal is longer either.
pub(crate) const ANSWER_BYTES_MAX: u64 = 1024;

/// Asks for one chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkRequest {
    pub(crate) group: GroupId,
    pub(crate) id: SnapshotId,
    pub(crate) number: u32,
}

impl ChunkRequest {
    /// Appends it as the body of a frame.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, self.group.get());
        out.put_u128_le(self.id.get());
        put_varint(out, u64::from(self.number));
    }

    /// Takes it from the body of a frame.
    pub(crate) fn decode(body: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let group = GroupId::new(reader.varint("group")?);
        let id = SnapshotId::new(reader.u128("snapshot")?);
        let number = take_number(&mut reader)?;
        reader.finish()?;
        Ok(Self { group, id, number })
    }
}

/// Appends a chunk as the body of a frame.
pub(crate) fn encode_chunk(chunk: &Chunk, out: &mut BytesMut) {
    put_varint(out, u64::from(chunk.number));
    out.put_u32_le(chunk.checksum.get());
    out.put_slice(&chunk.bytes);
}

/// Takes a chunk from the body of a frame, whether or not its checksum fits.
pub(crate) fn decode_chunk(body: Bytes) -> Result<Chunk, CodecError> {
    let mut reader = Reader::new(body);
    let number = take_number(&mut reader)?;
    let checksum = Checksum::new(reader.u32("checksum")?);
    Ok(Chunk { number, bytes: reader.into_rest(), checksum })
}

/// Why there is no chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoChunk {
    pub(crate) number: u32,
    pub(crate) reason: Reason,
    /// For people.
    pub(crate) sentence: String,
}

/// Why there is no chunk, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The snapshot is not held any more, or has no such chunk.
    Gone,
    /// Enough nodes are served already.
    Busy,
    /// It could not be read, or is too large to be sent.
    Unreadable,
    /// A reason of a later version of the protocol.
    Other(u8),
}

impl NoChunk {
    /// Appends it as the body of a frame.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        put_varint(out, u64::from(self.number));
        out.put_u8(match self.reason {
            Reason::Gone => 1,
            Reason::Busy => 2,
            Reason::Unreadable => 3,
            Reason::Other(byte) => byte,
        });
        put_text(&self.sentence, out);
    }

    /// Takes it from the body of a frame; what follows the last field is of later versions.
    pub(crate) fn decode(body: Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let number = take_number(&mut reader)?;
        let reason = match reader.byte("reason")? {
            1 => Reason::Gone,
            2 => Reason::Busy,
            3 => Reason::Unreadable,
            other => Reason::Other(other),
        };
        Ok(Self { number, reason, sentence: take_text(&mut reader, "sentence")? })
    }
}

fn take_number(reader: &mut Reader) -> Result<u32, CodecError> {
    let number = reader.varint("chunk")?;
    u32::try_from(number).map_err(|_| CodecError::Invalid("chunk", number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Kind, put_frame};

    fn bytes(encode: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut out = BytesMut::new();
        encode(&mut out);
        out.freeze()
    }

    fn request() -> ChunkRequest {
        ChunkRequest { group: GroupId::new(300), id: SnapshotId::new(0xabcd), number: 2 }
    }

    /// The examples in `docs/WIRE_FORMAT.md` are what is written.
    #[test]
    fn the_frames_are_as_drawn() {
        let mut out = BytesMut::new();
        put_frame(&mut out, Kind::ChunkRequest, 1, |out| request().encode(out));
        let header = [0x13, 0, 0, 0, 0x07, 0x01, 0xd1, 0xe9, 0x48, 0xac];
        let body = [&[0xac, 0x02, 0xcd, 0xab][..], &[0; 14], &[2]].concat();
        assert_eq!(out[..], [&header[..], &body].concat());

        let mut out = BytesMut::new();
        let chunk = Chunk::new(2, Bytes::from_static(b"123456789"));
        put_frame(&mut out, Kind::Chunk, 1, |out| encode_chunk(&chunk, out));
        let header = [0x0e, 0, 0, 0, 0x08, 0x01, 0x8b, 0x69, 0xe3, 0x29];
        let body = [&[2, 0x83, 0x92, 0x06, 0xe3][..], b"123456789"].concat();
        assert_eq!(out[..], [&header[..], &body].concat());

        let mut out = BytesMut::new();
        let none = NoChunk { number: 2, reason: Reason::Gone, sentence: "no".to_owned() };
        put_frame(&mut out, Kind::NoChunk, 1, |out| none.encode(out));
        let header = [0x05, 0, 0, 0, 0x09, 0x01, 0x7a, 0xf6, 0x3b, 0x0b];
        assert_eq!(out[..], [&header[..], &[2, 1, 2], b"no"].concat());
    }

    /// What is encoded is decoded again, and every cut of what has an end is an error.
    #[test]
    fn requests_and_answers_survive() {
        let whole = bytes(|out| request().encode(out));
        assert_eq!(ChunkRequest::decode(whole.clone()), Ok(request()));
        assert!(whole.len() as u64 <= REQUEST_BYTES_MAX);
        for len in 0..whole.len() {
            assert!(ChunkRequest::decode(whole.slice(..len)).is_err(), "{len} bytes");
        }
        for chunk in [Chunk::new(0, Bytes::new()), Chunk::new(u32::MAX, vec![7; 5000].into())] {
            assert_eq!(decode_chunk(bytes(|out| encode_chunk(&chunk, out))), Ok(chunk));
        }
        for reason in [Reason::Gone, Reason::Busy, Reason::Unreadable, Reason::Other(99)] {
            let none = NoChunk { number: 7, reason, sentence: "é".repeat(250) };
            let whole = bytes(|out| none.encode(out));
            assert!(whole.len() as u64 <= ANSWER_BYTES_MAX);
            assert_eq!(NoChunk::decode(whole.clone()), Ok(none));
            for len in 0..whole.len() {
                assert!(NoChunk::decode(whole.slice(..len)).is_err(), "{len} bytes");
            }
        }
    }

    /// A number that is none of a chunk is named as what it is.
    #[test]
    fn a_number_beyond_all_chunks_is_refused() {
        let body = bytes(|out| put_varint(out, 1 << 32));
        assert_eq!(decode_chunk(body), Err(CodecError::Invalid("chunk", 1 << 32)));
    }
}
