//! The first frames of a connection, on any stream of bytes and within a time limit.
//!
//! Nothing is read beyond the last byte of the handshake, so what follows belongs to others. Read
//! next: `dial.rs` and `door.rs`, the two ends.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::Identity;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Fault;
use crate::frame::{
    Frame, FrameError, FrameReader, HANDSHAKE_VERSION, HEADER_BYTES, Kind, put_frame,
};
use crate::hello::{Hello, Refusal, Welcome, put_identity};

/// The first bytes of every connection: whoever does not send them is not one of us.
pub(super) const PREFACE: &[u8; 8] = b"raft/net";

/// Frames of the handshake are no longer than this.
pub(super) const HANDSHAKE_BYTES_MAX: u64 = 1024;

/// Why two nodes did not even come to a verdict.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The other end speaks something else.
    NotRaft,
    /// The other end took too long.
    Silent(Duration),
    /// The other end sent what does not belong there.
    Frame(FrameError),
    /// The other end answered as somebody else than it was asked for, and welcomed us all the same.
    Misplaced(Welcome),
    /// The connection failed.
    Io(io::Error),
}

impl HandshakeError {
    /// What it is counted as; nothing if the network is to blame.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self {
            Self::NotRaft => Some(Fault::NotRaft),
            Self::Silent(_) => Some(Fault::Silent),
            Self::Frame(error) => Some(error.fault()),
            Self::Misplaced(_) => Some(Fault::Misplaced),
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some(Fault::Truncated)
            }
            Self::Io(_) => None,
        }
    }
}

impl fmt::Display for HandshakeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRaft => f.write_str("the first bytes are not those of this protocol"),
            Self::Silent(limit) => write!(f, "the handshake took longer than {limit:?}"),
            Self::Frame(error) => fmt::Display::fmt(error, f),
            Self::Misplaced(welcome) => write!(f, "answered as {}", welcome.identity),
            Self::Io(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FrameError> for HandshakeError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

/// The dialling end: says hello and hears the verdict.
pub(super) async fn introduce(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    hello: &Hello,
    limit: Duration,
) -> Result<Result<Welcome, Refusal>, HandshakeError> {
    let asked = async {
        let mut out = BytesMut::new();
        out.put_slice(PREFACE);
        put_frame(&mut out, Kind::Hello, HANDSHAKE_VERSION, |out| hello.encode(out));
        stream.write_all(&out).await?;
        let frame = read_frame(stream).await?;
        match frame.kind {
            Kind::Welcome => Ok(Ok(Welcome::decode(frame.body).map_err(FrameError::Body)?)),
            Kind::Refusal => Ok(Err(Refusal::decode(frame.body).map_err(FrameError::Body)?)),
            Kind::Hello
            | Kind::Envelope
            | Kind::Ping
            | Kind::Pong
            | Kind::ChunkRequest
            | Kind::Chunk
            | Kind::NoChunk => Err(FrameError::misplaced(frame.kind).into()),
        }
    };
    let verdict = within(limit, asked).await?;
    if let Ok(welcome) = verdict {
        let is_asked_for = welcome.identity.peer.node == hello.to;
        let is_ours = welcome.identity.cluster == hello.identity.cluster;
        let is_spoken = (hello.versions.min..=hello.versions.max).contains(&welcome.version);
        if !(is_asked_for && is_ours && is_spoken) {
            return Err(HandshakeError::Misplaced(welcome));
        }
    }
    Ok(verdict)
}

/// The accepting end: hears the hello.
pub(super) async fn hear(
    stream: &mut (impl AsyncRead + Unpin),
    limit: Duration,
) -> Result<Hello, HandshakeError> {
    within(limit, async {
        let mut preface = [0; PREFACE.len()];
        stream.read_exact(&mut preface).await?;
        if preface != *PREFACE {
            return Err(HandshakeError::NotRaft);
        }
        let frame = read_frame(stream).await?;
        match frame.kind {
            Kind::Hello => Ok(Hello::decode(frame.body).map_err(FrameError::Body)?),
            Kind::Welcome
            | Kind::Refusal
            | Kind::Envelope
            | Kind::Ping
            | Kind::Pong
            | Kind::ChunkRequest
            | Kind::Chunk
            | Kind::NoChunk => Err(FrameError::misplaced(frame.kind).into()),
        }
    })
    .await
}

/// The accepting end: says the verdict, and who it is, whatever the verdict.
pub(super) async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    me: Identity,
    verdict: Result<u8, &Refusal>,
    limit: Duration,
) -> Result<(), HandshakeError> {
    let mut out = BytesMut::new();
    match verdict {
        Ok(version) => {
            let welcome = Welcome { version, identity: me };
            put_frame(&mut out, Kind::Welcome, HANDSHAKE_VERSION, |out| welcome.encode(out));
        }
        Err(refusal) => put_frame(&mut out, Kind::Refusal, HANDSHAKE_VERSION, |out| {
            refusal.encode(out);
            // Who wants to join asks without knowing the cluster yet (`probe.rs`).
            put_identity(me, out);
        }),
    }
    within(limit, async { Ok(stream.write_all(&out).await?) }).await
}

pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, HandshakeError>>,
) -> Result<T, HandshakeError> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Silent(limit)),
    }
}

/// Reads exactly one frame.
pub(super) async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Frame, HandshakeError> {
    let mut bytes = vec![0; HEADER_BYTES];
    stream.read_exact(&mut bytes).await?;
    let found = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if u64::from(found) > HANDSHAKE_BYTES_MAX {
        let bytes_max = HANDSHAKE_BYTES_MAX;
        return Err(FrameError::Oversize { found: found.into(), bytes_max }.into());
    }
    let body = usize::try_from(found).unwrap_or_default();
    bytes.resize(HEADER_BYTES + body, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..]).await?;
    let whole = Bytes::from(bytes);
    let mut reader = FrameReader::new(&whole[..], HANDSHAKE_VERSION, HANDSHAKE_BYTES_MAX);
    reader.read().await?;
    Ok(reader.next()?.expect("the bytes are exactly one frame"))
}

#[cfg(test)]
mod tests {
    use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};
    use tokio::io::duplex;

    use super::*;
    use crate::Class;
    use crate::hello::{Purpose, RefusalCode, VersionRange};

    const LIMIT: Duration = Duration::from_secs(2);

    fn identity(node: u64) -> Identity {
        let peer = Peer { node: NodeId::new(node).unwrap(), incarnation: Incarnation::new(5) };
        Identity { cluster: ClusterId::new(1), peer }
    }

    fn hello() -> Hello {
        let (identity, to) = (identity(1), NodeId::new(2).unwrap());
        let (versions, address) = (VersionRange::SPOKEN, String::new());
        Hello { versions, identity, to, purpose: Purpose::Messages(Class::Control), address }
    }

    /// Both ends of a handshake that works out, and of one that does not, know the same.
    #[tokio::test]
    async fn the_verdict_reaches_the_node_that_dials() {
        let welcome = Welcome { version: 1, identity: identity(2) };
        let refusal = Refusal { code: RefusalCode::OwnId, sentence: "no".to_owned() };
        for verdict in [Ok(&welcome), Err(&refusal)] {
            let (mut dialer, mut acceptor) = duplex(64);
            let (hello, no) = (hello(), refusal.clone());
            let accepting = async {
                let heard = hear(&mut acceptor, LIMIT).await.unwrap();
                let version = verdict.map(|welcome| welcome.version);
                answer(&mut acceptor, identity(2), version, LIMIT).await.unwrap();
                heard
            };
            let (said, heard) = tokio::join!(introduce(&mut dialer, &hello, LIMIT), accepting);
            assert_eq!(heard, hello);
            assert_eq!(said.unwrap(), verdict.map_or(Err(no), |welcome| Ok(*welcome)));
        }
    }

    /// Who connects and says nothing is cut off by the time limit, at either end, and so is who
    /// begins and does not go on.
    #[tokio::test(start_paused = true)]
    async fn silence_is_cut_off() {
        let (mut ours, mut theirs) = duplex(4096);
        let error = hear(&mut ours, LIMIT).await.unwrap_err();
        assert!(matches!(error, HandshakeError::Silent(LIMIT)), "{error}");
        theirs.write_all(&PREFACE[..5]).await.unwrap();
        assert!(matches!(hear(&mut ours, LIMIT).await, Err(HandshakeError::Silent(_))));
        let error = introduce(&mut theirs, &hello(), LIMIT).await.unwrap_err();
        assert_eq!(error.fault(), Some(Fault::Silent));
    }

    /// A node that lets us in as somebody else, of another cluster or in another version is not
    /// talked to.
    #[tokio::test]
    async fn a_welcome_from_another_is_not_believed() {
        let mut foreign = identity(2);
        foreign.cluster = ClusterId::new(9);
        let wrong = [
            Welcome { version: 1, identity: identity(3) },
            Welcome { version: 1, identity: foreign },
            Welcome { version: 8, identity: identity(2) },
        ];
        for welcome in wrong {
            let (mut dialer, mut acceptor) = duplex(4096);
            let (me, version) = (welcome.identity, Ok(welcome.version));
            answer(&mut acceptor, me, version, LIMIT).await.unwrap();
            let error = introduce(&mut dialer, &hello(), LIMIT).await.unwrap_err();
            assert_eq!(error.fault(), Some(Fault::Misplaced));
        }
    }

    /// Another protocol, an oversize claim and an end in the middle are told apart.
    #[tokio::test]
    async fn nonsense_is_named() {
        let oversize = [&PREFACE[..], &[255; 10]].concat();
        let cases: [(&[u8], Fault); 3] = [
            (b"GET / HTTP/1.1\r\n\r\n", Fault::NotRaft),
            (&oversize, Fault::Oversize),
            (&PREFACE[..], Fault::Truncated),
        ];
        for (mut bytes, fault) in cases {
            let error = hear(&mut bytes, LIMIT).await.unwrap_err();
            assert_eq!(error.fault(), Some(fault), "{error}");
        }
    }
}
