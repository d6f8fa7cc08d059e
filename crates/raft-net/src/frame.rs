//! Frames: the bytes around everything on a connection, and a reader that takes them apart.
//!
//! ```text
//! length u32 · kind u8 · version u8 · CRC-32C u32 · body, length bytes    (little-endian)
//! ```
//!
//! * The checksum covers the six bytes before it and the body, so a frame that lost its place, its
//!   kind or its end is found.
//! * A length is compared with the limit before anything is reserved for it, and no more than twice
//!   what has arrived is ever reserved.
//! * These ten bytes keep their form in every version of the protocol.
//!
//! Read next: `tcp.rs`, where connections are kept.

use std::fmt;
use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::{CrcAlgorithm, Digest};
use raft_core::codec::{CodecError, Reader, decode_message, encode_message, put_varint};
use raft_core::{Envelope, GroupId, Incarnation};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::Fault;

/// The version of frames of the handshake, in every version of the protocol.
pub(crate) const HANDSHAKE_VERSION: u8 = 1;

/// Length, kind, version and checksum.
pub(crate) const HEADER_BYTES: usize = 10;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A node introduces itself.
    Hello,
    /// It is let in.
    Welcome,
    /// It is not.
    Refusal,
    /// A message with its group.
    Envelope,
    /// Are you there?
    Ping,
    /// Answers [`Kind::Ping`] with its body.
    Pong,
    /// Asks for a chunk of a snapshot.
    ChunkRequest,
    /// The chunk that was asked for.
    Chunk,
    /// Why there is none.
    NoChunk,
}

impl Kind {
    const fn to_byte(self) -> u8 {
        match self {
            Self::Hello => 1,
            Self::Welcome => 2,
            Self::Refusal => 3,
            Self::Envelope => 4,
            Self::Ping => 5,
            Self::Pong => 6,
            Self::ChunkRequest => 7,
            Self::Chunk => 8,
            Self::NoChunk => 9,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hello),
            2 => Some(Self::Welcome),
            3 => Some(Self::Refusal),
            4 => Some(Self::Envelope),
            5 => Some(Self::Ping),
            6 => Some(Self::Pong),
            7 => Some(Self::ChunkRequest),
            8 => Some(Self::Chunk),
            9 => Some(Self::NoChunk),
            _ => None,
        }
    }
}

/// One frame, taken apart; its body shares the read buffer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// Why bytes are not a frame that may come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameError {
    /// Longer than allowed.
    Oversize { found: u64, bytes_max: u64 },
    /// The checksum does not fit the bytes.
    Checksum { found: u32, computed: u32 },
    /// Not the version that was agreed on.
    Version { found: u8, agreed: u8 },
    /// A kind nobody knows, or one that has no place here.
    Kind(u8),
    /// The body is not what its kind asks for.
    Body(CodecError),
}

impl FrameError {
    /// A known kind in a place where it does not belong.
    pub(crate) const fn misplaced(kind: Kind) -> Self {
        Self::Kind(kind.to_byte())
    }

    /// What it is counted as.
    pub(crate) const fn fault(self) -> Fault {
        match self {
            Self::Oversize { .. } => Fault::Oversize,
            Self::Checksum { .. } => Fault::Checksum,
            Self::Version { .. } => Fault::Version,
            Self::Kind(_) => Fault::Kind,
            Self::Body(_) => Fault::Malformed,
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Oversize { found, bytes_max } => {
                write!(f, "a frame of {found} bytes, at most {bytes_max} are allowed")
            }
            Self::Checksum { found, computed } => {
                write!(f, "a frame has checksum {found:08x}, its bytes give {computed:08x}")
            }
            Self::Version { found, agreed } => {
                write!(f, "a frame of version {found}, agreed on was {agreed}")
            }
            Self::Kind(kind) => write!(f, "a frame of kind {kind} has no place here"),
            Self::Body(error) => write!(f, "the body of a frame: {error}"),
        }
    }
}

impl From<CodecError> for FrameError {
    fn from(error: CodecError) -> Self {
        Self::Body(error)
    }
}

/// Appends a frame whose body is what `body` appends.
///
/// # Panics
///
/// If the body has 4 GiB or more; messages are bounded far below.
pub(crate) fn put_frame(
    out: &mut BytesMut,
    kind: Kind,
    version: u8,
    body: impl FnOnce(&mut BytesMut),
) {
    let start = out.len();
    out.put_bytes(0, HEADER_BYTES);
    body(out);
    let frame = &mut out[start..];
    let len = u32::try_from(frame.len() - HEADER_BYTES).expect("a body is below 4 GiB");
    frame[..4].copy_from_slice(&len.to_le_bytes());
    (frame[4], frame[5]) = (kind.to_byte(), version);
    let checksum = checksum(frame);
    frame[6..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Appends a message as a frame; gives its length.
pub(crate) fn put_envelope(out: &mut BytesMut, version: u8, envelope: &Envelope) -> usize {
    let start = out.len();
    put_frame(out, Kind::Envelope, version, |out| {
        put_varint(out, envelope.group.get());
        encode_message(&envelope.message, out);
    });
    out.len() - start
}

/// Decodes the body of a [`Kind::Envelope`] frame that `incarnation` sent.
pub(crate) fn take_envelope(body: Bytes, incarnation: Incarnation) -> Result<Envelope, CodecError> {
    let mut reader = Reader::new(body);
    let group = GroupId::new(reader.varint("group")?);
    let message = decode_message(reader.into_rest(), incarnation)?;
    Ok(Envelope { group, message })
}

/// The checksum of a whole frame: what it should have in bytes six to nine.
fn checksum(frame: &[u8]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&frame[..6]);
    digest.update(&frame[HEADER_BYTES..]);
    u32::try_from(digest.finalize()).expect("a CRC-32 has 32 bits")
}

/// Takes frames off a stream of bytes.
pub(crate) struct FrameReader<R> {
    stream: R,
    buffer: BytesMut,
    version: u8,
    bytes_max: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Reads frames of this version with bodies of at most `bytes_max` bytes.
    pub(crate) fn new(stream: R, version: u8, bytes_max: u64) -> Self {
        Self { stream, buffer: BytesMut::new(), version, bytes_max }
    }

    /// From the next frame on, bodies have at most `bytes_max` bytes.
    pub(crate) const fn limit(&mut self, bytes_max: u64) {
        self.bytes_max = bytes_max;
    }

    /// Waits for bytes. Loses nothing when dropped half-way.
    ///
    /// # Errors
    ///
    /// What the stream says; [`io::ErrorKind::UnexpectedEof`] at its end.
    pub(crate) async fn read(&mut self) -> io::Result<()> {
        self.reserve();
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// The next frame, if all of it is here.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(len) = self.body_len()? else { return Ok(None) };
        if self.buffer.len() < HEADER_BYTES + len {
            return Ok(None);
        }
        let frame = self.buffer.split_to(HEADER_BYTES + len).freeze();
        let found = (&frame[6..HEADER_BYTES]).get_u32_le();
        let computed = checksum(&frame);
        if found != computed {
            return Err(FrameError::Checksum { found, computed });
        }
        let (kind, version) = (frame[4], frame[5]);
        if version != self.version {
            return Err(FrameError::Version { found: version, agreed: self.version });
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::Kind(kind))?;
        Ok(Some(Frame { kind, body: frame.slice(HEADER_BYTES..) }))
    }

    /// Length of the body of the frame at the front, once its header is here.
    fn body_len(&self) -> Result<Option<usize>, FrameError> {
        if self.buffer.len() < HEADER_BYTES {
            return Ok(None);
        }
        let found = (&self.buffer[..4]).get_u32_le();
        match usize::try_from(found) {
            Ok(len) if u64::from(found) <= self.bytes_max => Ok(Some(len)),
            Ok(_) | Err(_) => {
                let (found, bytes_max) = (u64::from(found), self.bytes_max);
                Err(FrameError::Oversize { found, bytes_max })
            }
        }
    }

    /// Makes place for the rest of the frame at the front, and for a good read at least.
    fn reserve(&mut self) {
        let missing = match self.body_len() {
            Ok(Some(len)) => (HEADER_BYTES + len).saturating_sub(self.buffer.len()),
            Ok(None) | Err(_) => 0,
        };
        // A length is only a claim: no more is reserved than has arrived already.
        let believed = missing.min(self.buffer.len());
        // Entries in memory keep the buffer they arrived in, so each is filled before the next.
        if self.buffer.capacity() - self.buffer.len() < believed.max(READ_BYTES_MIN) {
            self.buffer.reserve(believed.max(READ_BYTES));
        }
    }
}

/// At least this much is asked for in one read: many small entries at once.
const READ_BYTES: usize = 64 << 10;
/// With less room than this in the buffer another one is begun.
const READ_BYTES_MIN: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use raft_core::{
        AppendEntriesResponse, AppendResult, Body, Epoch, Index, Message, NodeId, Peer, Round, Term,
    };

    use super::*;

    fn frame(kind: Kind, body: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        put_frame(&mut out, kind, 1, |out| out.put_slice(body));
        out
    }

    async fn read_all(mut bytes: &[u8], bytes_max: u64) -> Result<Vec<Frame>, FrameError> {
        let mut reader = FrameReader::new(&mut bytes, 1, bytes_max);
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = reader.next()? {
                frames.push(frame);
            }
            if reader.read().await.is_err() {
                return Ok(frames);
            }
        }
    }

    /// The header is drawn as in the document, and its checksum is the one the core computes.
    #[test]
    fn the_header_is_as_drawn() {
        let bytes: Vec<u8> = frame(Kind::Ping, b"12345678").to_vec();
        let mut crc = raft_core::Checksum::of(&[8, 0, 0, 0, 5, 1]);
        crc = crc.extend(b"12345678");
        assert_eq!(bytes[..6], [8, 0, 0, 0, 5, 1]);
        assert_eq!(bytes[6..10], crc.get().to_le_bytes());
        assert_eq!(&bytes[10..], b"12345678");
    }

    /// The example in `docs/WIRE_FORMAT.md` is what is written.
    #[test]
    fn the_example_of_the_document() {
        let node = |id| NodeId::new(id).unwrap();
        let from = Peer { node: node(1), incarnation: Incarnation::new(1) };
        let (match_index, accepted) = (Index::new(12), Index::new(13));
        let result = AppendResult::Matched { match_index, accepted };
        let round = Round::new(9);
        let body = Body::AppendEntriesResponse(AppendEntriesResponse { round, result });
        let (term, epoch) = (Term::new(7), Epoch::new(300));
        let message = Message { from, to: node(2), term, epoch, body };
        let mut out = BytesMut::new();
        put_envelope(&mut out, 1, &Envelope { group: GroupId::ZERO, message });
        let document =
            [0x0c, 0, 0, 0, 4, 1, 0xac, 0x26, 0x8f, 0xca, 0, 1, 6, 1, 2, 7, 0xac, 2, 9, 0, 12, 13];
        assert_eq!(out[..], document);
    }

    /// Frames that come in one piece come out one by one, with their kinds and bodies.
    #[tokio::test]
    async fn frames_come_out_as_they_went_in() {
        let mut bytes = frame(Kind::Ping, b"here");
        bytes.extend_from_slice(&frame(Kind::Envelope, &vec![7; 300_000]));
        bytes.extend_from_slice(&frame(Kind::Pong, b""));
        let frames = read_all(&bytes, 1 << 20).await.unwrap();
        let kinds: Vec<_> = frames.iter().map(|frame| (frame.kind, frame.body.len())).collect();
        assert_eq!(kinds, [(Kind::Ping, 4), (Kind::Envelope, 300_000), (Kind::Pong, 0)]);
    }

    /// Whichever bit of a frame is turned, it does not come out.
    #[tokio::test]
    async fn no_turned_bit_passes() {
        let bytes = frame(Kind::Ping, b"are you there");
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            match read_all(&bytes, 1 << 20).await {
                // A longer length waits for more, which a connection's silence limit ends.
                Ok(frames) => assert!(frames.is_empty() && bit < 32, "bit {bit} passed"),
                Err(FrameError::Checksum { .. } | FrameError::Oversize { .. }) => {}
                Err(other) => panic!("bit {bit}: {other}"),
            }
        }
    }

    /// Other versions, unknown kinds and long bodies are told apart.
    #[tokio::test]
    async fn what_does_not_belong_is_named() {
        let mut later = BytesMut::new();
        put_frame(&mut later, Kind::Ping, 9, |_| ());
        let error = read_all(&later, 100).await.unwrap_err();
        assert_eq!(error, FrameError::Version { found: 9, agreed: 1 });

        let mut unknown = frame(Kind::Ping, b"");
        unknown[4] = 99;
        let fixed = checksum(&unknown).to_le_bytes();
        unknown[6..10].copy_from_slice(&fixed);
        assert_eq!(read_all(&unknown, 100).await.unwrap_err(), FrameError::Kind(99));

        let error = read_all(&frame(Kind::Ping, &[0; 101]), 100).await.unwrap_err();
        assert_eq!(error, FrameError::Oversize { found: 101, bytes_max: 100 });
        assert_eq!(error.to_string(), "a frame of 101 bytes, at most 100 are allowed");
    }

    /// A frame that claims to be huge makes nobody reserve more than twice what arrived.
    #[tokio::test]
    async fn a_claimed_length_reserves_nothing() {
        let mut bytes = frame(Kind::Envelope, b"");
        bytes[..4].copy_from_slice(&(1u32 << 30).to_le_bytes());
        let mut rest = &bytes[..];
        let mut reader = FrameReader::new(&mut rest, 1, 1 << 31);
        reader.read().await.unwrap();
        assert_eq!(reader.next(), Ok(None));
        assert!(reader.read().await.is_err());
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES, "{}", reader.buffer.capacity());
    }
}
