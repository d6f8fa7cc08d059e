//! Asking who listens at an address, without joining anything.
//!
//! A node that is to join a cluster knows addresses and not the cluster's id. It introduces itself
//! as nobody's, is refused, and the refusal names who refused. Nothing stays behind at the other
//! end but a line in its log.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, BytesMut};
use raft_core::codec::Reader;
use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::handshake::{HandshakeError, PREFACE, read_frame, within};
use crate::Class;
use crate::frame::{FrameError, HANDSHAKE_VERSION, Kind, put_frame};
use crate::hello::{Hello, Purpose, Refusal, VersionRange, Welcome, take_identity};

/// Nobody has this id: who introduces itself so is refused, by every node and for good.
const NOBODY: NodeId = NodeId::new(u64::MAX).expect("it is above zero");

/// Why it is not known who listens at an address.
#[derive(Debug)]
#[non_exhaustive]
pub enum ProbeError {
    /// No connection came about.
    Connect(io::Error),
    /// Nobody answered in time.
    Silent {
        /// How long was waited.
        limit: Duration,
    },
    /// Who listens there does not speak the protocol of this crate.
    Foreign {
        /// What did not fit.
        fault: String,
    },
    /// The node there is of a version that does not say who it is.
    Nameless {
        /// What it said.
        refusal: Refusal,
    },
}

impl fmt::Display for ProbeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => fmt::Display::fmt(error, f),
            Self::Silent { limit } => write!(f, "no answer within {limit:?}"),
            Self::Foreign { fault } => write!(f, "what listens there is no member: {fault}"),
            Self::Nameless { refusal } => {
                write!(f, "it does not say to which cluster it belongs, only: {refusal}")
            }
        }
    }
}

impl std::error::Error for ProbeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect(error) => Some(error),
            Self::Silent { .. } | Self::Foreign { .. } | Self::Nameless { .. } => None,
        }
    }
}

impl From<HandshakeError> for ProbeError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Silent(limit) => Self::Silent { limit },
            HandshakeError::Io(error) => Self::Connect(error),
            HandshakeError::NotRaft | HandshakeError::Frame(_) | HandshakeError::Misplaced(_) => {
                Self::Foreign { fault: error.to_string() }
            }
        }
    }
}

/// Asks who listens at `address` (`host:port`): its cluster, its node id and its incarnation.
///
/// ```no_run
/// # async fn story() -> Result<(), raft_net::ProbeError> {
/// let who = raft_net::probe("10.0.0.1:2380", std::time::Duration::from_secs(2)).await?;
/// println!("cluster {}", who.cluster);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`ProbeError`]; it may be asked again.
pub async fn probe(address: &str, limit: Duration) -> Result<Identity, ProbeError> {
    let mut stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(ProbeError::Connect)?,
        Err(_) => return Err(ProbeError::Silent { limit }),
    };
    let peer = Peer { node: NOBODY, incarnation: Incarnation::new(0) };
    let hello = Hello {
        versions: VersionRange::SPOKEN,
        identity: Identity { cluster: ClusterId::new(u128::MAX), peer },
        to: NOBODY,
        purpose: Purpose::Messages(Class::Control),
        address: String::new(),
    };
    let frame = within(limit, async {
        let mut out = BytesMut::new();
        out.put_slice(PREFACE);
        put_frame(&mut out, Kind::Hello, HANDSHAKE_VERSION, |out| hello.encode(out));
        stream.write_all(&out).await?;
        read_frame(&mut stream).await
    });
    let frame = frame.await?;
    let foreign = |error| ProbeError::from(HandshakeError::Frame(error));
    match frame.kind {
        Kind::Refusal => {
            let refusal = Refusal::decode(frame.body.clone());
            let refusal = refusal.map_err(|error| foreign(FrameError::Body(error)))?;
            // A refusal is a byte and a text; who refuses stands behind them.
            let mut body = frame.body;
            body.advance(1);
            let mut reader = Reader::new(body);
            let named = reader.bytes("sentence").and_then(|_| take_identity(&mut reader));
            named.map_err(|_| ProbeError::Nameless { refusal })
        }
        Kind::Welcome => {
            let welcome = Welcome::decode(frame.body);
            Ok(welcome.map_err(|error| foreign(FrameError::Body(error)))?.identity)
        }
        other @ (Kind::Hello
        | Kind::Envelope
        | Kind::Ping
        | Kind::Pong
        | Kind::ChunkRequest
        | Kind::Chunk
        | Kind::NoChunk) => Err(foreign(FrameError::misplaced(other))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;
    use crate::{Arrival, Deliver, Inbox, InboxLimits, TcpConfig, TcpTransport, Transport as _};

    const LIMIT: Duration = Duration::from_secs(5);

    struct Deaf;

    impl Deliver for Deaf {
        fn deliver(&self, _: Vec<Arrival>) {}
    }

    /// A node tells who it is to somebody who knows nothing but its address, and lets nobody in.
    #[tokio::test]
    async fn a_node_says_who_it_is() {
        let peer = Peer { node: NodeId::new(7).unwrap(), incarnation: Incarnation::new(0x5eed) };
        let me = Identity { cluster: ClusterId::new(0xc1), peer };
        let transport = TcpTransport::new(TcpConfig::default());
        transport.start(me, Inbox::new(InboxLimits::default(), Arc::new(Deaf))).unwrap();
        let address = transport.local_addr().unwrap().to_string();
        assert_eq!(probe(&address, LIMIT).await.unwrap(), me);
        assert!(transport.stats().peers.is_empty(), "who asks is no peer");
    }

    /// Something else at the address, and nothing at all, are told apart.
    #[tokio::test]
    async fn what_is_no_node_is_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"SSH-2.0-something-long-enough").await.unwrap();
            // Both directions are read, so that closing does not reset what was written.
            stream.read_to_end(&mut Vec::new()).await.ok();
        });
        let error = probe(&address, LIMIT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Foreign { .. }), "{error}");
        served.await.unwrap();
        let error = probe(&address, LIMIT).await.unwrap_err();
        assert!(matches!(error, ProbeError::Connect(_)), "{error}");
    }
}
