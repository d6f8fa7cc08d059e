//! Letting other nodes in: accept, hear, judge, read.
//!
//! * Whoever connects has a short time to say who it is, and few may be at it at once.
//! * A node's newer connection of a class replaces the older one, which is half-open or will be.
//! * Nonsense closes the connection that brought it, is counted, and never reaches the host; what
//!   was read before it does.
//!
//! Read next: `handshake.rs`.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use raft_core::codec::CodecError;
use raft_core::{Envelope, NodeId, Peer as Sender};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, info};

use super::Local;
use super::handshake::{HandshakeError, answer, hear};
use super::peer::Peer;
use super::serve::Serve;
use crate::Class;
use crate::frame::{Frame, FrameError, FrameReader, HEADER_BYTES, Kind, put_frame, take_envelope};
use crate::hello::{Hello, Purpose, Refusal};
use crate::stats::{Fault, RefusalCount};

/// At most this many connections may be in their handshake; more wait in the kernel.
const HANDSHAKES_MAX: usize = 128;

/// The wait after an `accept` that failed because the system is short of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Refusals are remembered for this many askers, those with the lowest ids to be known first.
const REFUSED_MAX: usize = 64;

/// Accepts until the transport stops.
pub(super) async fn accept(local: Arc<Local>, listener: TcpListener) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let permit = Arc::clone(&handshakes).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, from)) => {
                local.door().accepted += 1;
                local.spawn(welcome(Arc::clone(&local), stream, from, permit));
            }
            Err(error) => {
                let me = local.me.peer.node;
                local.complaints.warn(format_args!("{me} cannot accept: {error}"));
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Hears one node out; reads from it if it may come in.
async fn welcome(
    local: Arc<Local>,
    mut stream: TcpStream,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    let limit = local.config.handshake_time_max;
    if let Err(error) = stream.set_nodelay(true) {
        return not_understood(&local, from, &HandshakeError::Io(error));
    }
    let hello = match hear(&mut stream, limit).await {
        Ok(hello) => hello,
        Err(error) => return not_understood(&local, from, &error),
    };
    let (version, peer) = match local.admit(&hello) {
        Ok(admitted) => admitted,
        Err(refusal) => {
            refused(&local, &hello, from, &refusal);
            // Whether the answer arrives is the asker's concern.
            drop(answer(&mut stream, local.me, Err(&refusal), limit).await);
            return;
        }
    };
    if let Err(error) = answer(&mut stream, local.me, Ok(version), limit).await {
        return not_understood(&local, from, &error);
    }
    debug!("{} is reached by {}", local.me.peer.node, hello.identity.peer);
    peer.show(&hello.address);
    peer.sign_of_life.notify_one();

    let sender = hello.identity.peer;
    let class = match hello.purpose {
        Purpose::Messages(class) => class,
        Purpose::Chunks => {
            return Serve { local, peer, sender, version }.run(stream, permit).await;
        }
    };
    drop(permit);
    let (reads, answers) = stream.into_split();
    let frames = FrameReader::new(reads, version, local.config.frame_bytes_max);
    peer.read_by(class, sender.incarnation, |turn| {
        let (own, peer) = (Arc::clone(&local), Arc::clone(&peer));
        let visit = Visit { local: own, peer, class, sender, turn };
        local.spawn(visit.run(frames, answers, version))
    });
}

fn not_understood(local: &Local, from: SocketAddr, error: &HandshakeError) {
    if let Some(fault) = error.fault() {
        local.door().faults.add(fault);
    }
    let me = local.me.peer.node;
    local.complaints.warn(format_args!("{me} hung up on {from}: {error}"));
}

fn refused(local: &Local, hello: &Hello, from: SocketAddr, refusal: &Refusal) {
    let asker = hello.identity.peer.node;
    {
        let mut door = local.door();
        let before = door.refused.remove(&asker);
        if before.is_some() || door.refused.len() < REFUSED_MAX {
            door.refused.insert(asker, RefusalCount::again(before, refusal.clone()));
        }
    }
    let me = local.me.peer.node;
    local.complaints.warn(format_args!("{me} refused {asker} at {from}: {refusal}"));
}

/// One connection on which another node sends.
struct Visit {
    local: Arc<Local>,
    peer: Arc<Peer>,
    class: Class,
    sender: Sender,
    /// Its place among the connections of this class.
    turn: u64,
}

/// Why a visit ended.
#[derive(Debug)]
enum Leave {
    /// The other node hung up, or the network did.
    Io(io::Error),
    /// Nothing came for this long, not even a ping; or an answer could not be written.
    Silent(Duration),
    /// A newer connection took its place.
    Replaced,
    /// Nonsense came.
    Frame(FrameError),
    /// A message in another's name, for another, or of the other class.
    Misplaced { from: NodeId, to: NodeId, class: Class },
}

impl Leave {
    fn fault(&self) -> Option<Fault> {
        match self {
            Self::Io(_) | Self::Replaced => None,
            Self::Silent(_) => Some(Fault::Silent),
            Self::Frame(error) => Some(error.fault()),
            Self::Misplaced { .. } => Some(Fault::Misplaced),
        }
    }
}

impl From<CodecError> for Leave {
    fn from(error: CodecError) -> Self {
        Self::Frame(FrameError::Body(error))
    }
}

impl fmt::Display for Leave {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => fmt::Display::fmt(error, f),
            Self::Silent(limit) => write!(f, "nothing came for {limit:?}"),
            Self::Replaced => f.write_str("a newer connection took its place"),
            Self::Frame(error) => fmt::Display::fmt(error, f),
            Self::Misplaced { from, to, class } => {
                write!(f, "a {} message from {from} to {to} has no place here", class.name())
            }
        }
    }
}

impl Visit {
    /// Reads until the connection ends, and says so.
    async fn run(
        self,
        mut frames: FrameReader<impl AsyncRead + Unpin>,
        mut answers: impl AsyncWrite + Unpin,
        version: u8,
    ) {
        let leave = self.read(&mut frames, &mut answers, version).await;
        let me = self.local.me.peer.node;
        let Some(fault) = leave.fault() else {
            info!("{} no longer reaches {me}: {leave}", self.sender);
            return;
        };
        self.peer.counters().faults.add(fault);
        let line = format_args!("{me} hung up on {}: {leave}", self.sender);
        self.peer.complaints.warn(line);
    }

    async fn read(
        &self,
        frames: &mut FrameReader<impl AsyncRead + Unpin>,
        answers: &mut (impl AsyncWrite + Unpin),
        version: u8,
    ) -> Leave {
        let limit = self.local.config.silence_max;
        let mut pongs = BytesMut::new();
        loop {
            // Not reading is how a full inbox slows the sender; the silence is ours meanwhile.
            self.local.inbox.wait_for_room(self.class).await;
            match timeout(limit, frames.read()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Leave::Io(error),
                Err(_) => return Leave::Silent(limit),
            }
            if let Err(leave) = self.take(frames, &mut pongs, version) {
                return leave;
            }
            if pongs.is_empty() {
                continue;
            }
            match timeout(limit, answers.write_all(&pongs)).await {
                Ok(Ok(())) => pongs.clear(),
                Ok(Err(error)) => return Leave::Io(error),
                Err(_) => return Leave::Silent(limit),
            }
        }
    }

    /// Hands over everything that one read completed, also when nonsense follows it.
    fn take(
        &self,
        frames: &mut FrameReader<impl AsyncRead + Unpin>,
        pongs: &mut BytesMut,
        version: u8,
    ) -> Result<(), Leave> {
        let (mut arrivals, mut received_bytes) = (Vec::new(), 0);
        let result = loop {
            let frame = match frames.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Leave::Frame(error)),
            };
            let bytes = (HEADER_BYTES + frame.body.len()) as u64;
            match frame.kind {
                Kind::Envelope => match self.envelope(frame) {
                    Ok(envelope) => {
                        received_bytes += bytes;
                        arrivals.push(self.local.inbox.admit(envelope, bytes));
                    }
                    Err(leave) => break Err(leave),
                },
                Kind::Ping => put_frame(pongs, Kind::Pong, version, |out| {
                    out.put_slice(&frame.body[..frame.body.len().min(PING_BYTES)]);
                }),
                Kind::Hello
                | Kind::Welcome
                | Kind::Refusal
                | Kind::Pong
                | Kind::ChunkRequest
                | Kind::Chunk
                | Kind::NoChunk => {
                    break Err(Leave::Frame(FrameError::misplaced(frame.kind)));
                }
            }
        };
        if !arrivals.is_empty() {
            let is_taken = self.peer.hand_over(self.class, self.turn, || {
                let mut counters = self.peer.counters();
                counters.received.messages += arrivals.len() as u64;
                counters.received.bytes += received_bytes;
                drop(counters);
                self.local.inbox.deliver(arrivals);
            });
            if !is_taken {
                return Err(Leave::Replaced);
            }
        }
        result
    }

    /// A message, if it comes from whom it says, to us, and on the right connection.
    fn envelope(&self, frame: Frame) -> Result<Envelope, Leave> {
        let envelope = take_envelope(frame.body, self.sender.incarnation)?;
        let (from, to) = (envelope.message.from.node, envelope.message.to);
        let class = Class::of(&envelope.message.body);
        if from != self.sender.node || to != self.local.me.peer.node || class != self.class {
            return Err(Leave::Misplaced { from, to, class });
        }
        Ok(envelope)
    }
}

/// The body of a ping: when it was sent.
const PING_BYTES: usize = 8;
