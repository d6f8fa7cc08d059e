//! Reaching another node: dial, introduce, write, and begin again when it breaks.
//!
//! One task per node keeps a *pair* of connections, one per class. The two live and die together:
//! pings on the control connection are the pulse of both, because a bulk connection may rightly
//! stand still for as long as the other node has no room.
//!
//! Read next: `door.rs`, the other end.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use raft_core::{Checksum, Identity, NodeId};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{info, warn};

use super::handshake::{HandshakeError, introduce};
use super::peer::{Peer, Whereabouts};
use super::{Local, now};
use crate::frame::{FrameError, FrameReader, Kind, put_envelope, put_frame};
use crate::hello::{Hello, Purpose, Refusal, VersionRange, Welcome};
use crate::stats::{Fault, RefusalCount};
use crate::{Arrival, Class};

/// At most this much is encoded before it is written: enough to make a system call cheap, and
/// little enough that memory does not follow the queue.
const WRITE_BYTES: u64 = 256 << 10;

/// Bodies of answers to pings; nothing else comes back on a connection we dialled.
const PONG_BYTES_MAX: u64 = 64;

/// Keeps a node reached until it leaves the roster.
pub(super) async fn keep(local: Arc<Local>, peer: Arc<Peer>) {
    let mut whereabouts = peer.whereabouts.subscribe();
    let mut backoff = Backoff::new(&local, peer.node);
    loop {
        let seen = whereabouts.borrow_and_update().clone();
        let address = match seen {
            Whereabouts::At(address) => address,
            Whereabouts::Unknown => {
                // The sender is a field of `peer`, so it outlives this wait.
                drop(whereabouts.changed().await);
                continue;
            }
            Whereabouts::Gone => return,
        };
        // At the first attempt there is hope that what is sent meanwhile arrives in time.
        if backoff.attempt == 0 {
            peer.open();
        }
        let attempt = tokio::select! {
            _ = whereabouts.changed() => None,
            attempt = connect(&local, &peer, &address) => Some(attempt),
        };
        match attempt {
            None => {
                backoff.reset();
                missed(&local, &peer);
                continue;
            }
            Some(Ok(pair)) => {
                backoff.reset();
                peer.open();
                let why = carry(&local, &peer, pair, &mut whereabouts).await;
                lost(&local, &peer, &why);
                if matches!(why, Break::Moved) {
                    continue;
                }
            }
            Some(Err(error)) => {
                missed(&local, &peer);
                if let DialError::Refused(refusal) = &error {
                    backoff.at_most_often();
                    refused(&local, &peer, refusal);
                }
                complain(&peer, &address, &error);
            }
        }
        backoff.wait(&peer, &mut whereabouts).await;
    }
}

/// Two connections to one node that let us in.
struct Pair {
    control: TcpStream,
    bulk: TcpStream,
    welcome: Welcome,
}

/// Why a node was not reached.
#[derive(Debug)]
pub(super) enum DialError {
    /// No connection came about.
    Connect(io::Error),
    /// None came about in time.
    Slow(Duration),
    /// The handshake failed.
    Handshake(HandshakeError),
    /// The node does not let us in.
    Refused(Refusal),
    /// Two nodes answered at one address.
    TwoNodes(Identity, Identity),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(error) => fmt::Display::fmt(error, f),
            Self::Slow(limit) => write!(f, "no connection within {limit:?}"),
            Self::Handshake(error) => fmt::Display::fmt(error, f),
            Self::Refused(refusal) => write!(f, "it refused: {refusal}"),
            Self::TwoNodes(one, other) => write!(f, "it is {one} and {other} at once"),
        }
    }
}

async fn connect(local: &Local, peer: &Peer, address: &str) -> Result<Pair, DialError> {
    let (control, bulk) = tokio::try_join!(
        connect_for(local, peer.node, address, Purpose::Messages(Class::Control)),
        connect_for(local, peer.node, address, Purpose::Messages(Class::Bulk)),
    )?;
    if control.1 != bulk.1 {
        return Err(DialError::TwoNodes(control.1.identity, bulk.1.identity));
    }
    Ok(Pair { control: control.0, bulk: bulk.0, welcome: control.1 })
}

/// One connection to a node, introduced and let in.
pub(super) async fn connect_for(
    local: &Local,
    to: NodeId,
    address: &str,
    purpose: Purpose,
) -> Result<(TcpStream, Welcome), DialError> {
    let limit = local.config.handshake_time_max;
    let mut stream = match timeout(limit, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(DialError::Connect)?,
        Err(_) => return Err(DialError::Slow(limit)),
    };
    // Batches are made here; the kernel shall not wait for more.
    stream.set_nodelay(true).map_err(DialError::Connect)?;
    let (versions, address) = (VersionRange::SPOKEN, local.advertised.clone());
    let hello = Hello { versions, identity: local.me, to, purpose, address };
    match introduce(&mut stream, &hello, limit).await {
        Ok(Ok(welcome)) => Ok((stream, welcome)),
        Ok(Err(refusal)) => Err(DialError::Refused(refusal)),
        Err(error) => Err(DialError::Handshake(error)),
    }
}

/// Why a pair of connections ended.
#[derive(Debug)]
enum Break {
    /// The node is elsewhere now, or gone.
    Moved,
    /// The connection of this class failed or was closed.
    Io(Class, io::Error),
    /// No ping was answered for this long.
    Silent(Duration),
    /// Nonsense came back.
    Frame(FrameError),
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("its address changed"),
            Self::Io(class, error) => write!(f, "{} connection: {error}", class.name()),
            Self::Silent(limit) => write!(f, "no answer for {limit:?}"),
            Self::Frame(error) => fmt::Display::fmt(error, f),
        }
    }
}

/// Writes what is queued until something ends it.
async fn carry(
    local: &Arc<Local>,
    peer: &Arc<Peer>,
    pair: Pair,
    whereabouts: &mut watch::Receiver<Whereabouts>,
) -> Break {
    let Welcome { identity, version } = pair.welcome;
    {
        let mut counters = peer.counters();
        (counters.is_connected, counters.connects) = (true, counters.connects + 1);
        counters.incarnation = Some(identity.peer.incarnation);
    }
    info!("{} reaches {}", local.me.peer.node, identity.peer);
    local.inbox.deliver(vec![Arrival::PeerUp(identity.peer)]);

    let began = now();
    let mut tasks = JoinSet::new();
    for (class, stream) in [(Class::Control, pair.control), (Class::Bulk, pair.bulk)] {
        let (reads, sink) = stream.into_split();
        let writer = Writer { local: Arc::clone(local), peer: Arc::clone(peer), class, version };
        tasks.spawn(writer.run(began, sink));
        let pongs = FrameReader::new(reads, version, PONG_BYTES_MAX);
        let silence_max = (class == Class::Control).then_some(local.config.silence_max);
        tasks.spawn(hear_pongs(Arc::clone(peer), class, began, pongs, silence_max));
    }
    let why = tokio::select! {
        _ = whereabouts.changed() => Break::Moved,
        ended = tasks.join_next() => match ended.expect("four tasks were spawned") {
            Ok(why) => why,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime shuts down; nobody will read this.
                Err(_) => Break::Io(Class::Control, io::ErrorKind::Interrupted.into()),
            },
        },
    };
    // All have ended before the queues open again: nobody of the old pair takes from them.
    tasks.shutdown().await;
    why
}

/// Writes the queue of one class, and pings.
struct Writer {
    local: Arc<Local>,
    peer: Arc<Peer>,
    class: Class,
    version: u8,
}

impl Writer {
    async fn run(self, began: Instant, mut stream: impl AsyncWrite + Unpin) -> Break {
        let (mut buffer, mut batch) = (BytesMut::new(), Vec::new());
        let mut next_ping = began;
        loop {
            self.peer.queue(self.class).take(WRITE_BYTES, &mut batch);
            self.encode(&mut batch, &mut buffer);
            if now() >= next_ping {
                let since = u64::try_from((now() - began).as_micros()).unwrap_or(u64::MAX);
                put_frame(&mut buffer, Kind::Ping, self.version, |out| out.put_u64_le(since));
                next_ping = now() + self.local.config.ping_interval;
            }
            if buffer.is_empty() {
                tokio::select! {
                    () = self.peer.queue(self.class).filled() => {}
                    () = sleep_until(next_ping) => {}
                }
                continue;
            }
            if let Err(error) = stream.write_all(&buffer).await {
                return Break::Io(self.class, error);
            }
            buffer.clear();
            // One large message does not make every connection large for ever.
            if buffer.capacity() as u64 > 4 * WRITE_BYTES {
                buffer = BytesMut::new();
            }
        }
    }

    /// Turns a batch into frames, and counts them.
    fn encode(&self, batch: &mut Vec<raft_core::Envelope>, buffer: &mut BytesMut) {
        if batch.is_empty() {
            return;
        }
        let (mut sent, mut too_large) = (0, 0);
        let begin = buffer.len();
        for envelope in batch.drain(..) {
            let start = buffer.len();
            let len = put_envelope(buffer, self.version, &envelope) as u64;
            if len > self.local.config.frame_bytes_max {
                buffer.truncate(start);
                too_large += 1;
            } else {
                sent += 1;
            }
        }
        let mut counters = self.peer.counters();
        counters.sent.messages += sent;
        counters.sent.bytes += (buffer.len() - begin) as u64;
        counters.dropped.too_large += too_large;
    }
}

/// Reads answers to pings; an end or a nonsense is the end of the pair.
async fn hear_pongs(
    peer: Arc<Peer>,
    class: Class,
    began: Instant,
    mut pongs: FrameReader<impl AsyncRead + Unpin>,
    silence_max: Option<Duration>,
) -> Break {
    loop {
        let read = match silence_max {
            Some(limit) => match timeout(limit, pongs.read()).await {
                Ok(read) => read,
                Err(_) => return Break::Silent(limit),
            },
            None => pongs.read().await,
        };
        if let Err(error) = read {
            return Break::Io(class, error);
        }
        loop {
            let frame = match pongs.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return Break::Frame(error),
            };
            if frame.kind != Kind::Pong {
                return Break::Frame(FrameError::misplaced(frame.kind));
            }
            // Bulk waits for room at the other end, which says nothing about the network.
            if class == Class::Control
                && let Some(round_trip) = round_trip(&frame.body, now() - began)
            {
                peer.counters().round_trips.add(round_trip);
            }
        }
    }
}

/// A ping carries when it was sent; `None` for an answer to what was never asked.
fn round_trip(body: &Bytes, since_began: Duration) -> Option<Duration> {
    let sent = u64::from_le_bytes(body[..].try_into().ok()?);
    since_began.checked_sub(Duration::from_micros(sent))
}

/// A node was not reached: what waited for it is lost.
fn missed(local: &Local, peer: &Peer) {
    let messages = peer.close();
    if messages > 0 {
        peer.counters().dropped.down += messages;
        local.inbox.deliver(vec![Arrival::PeerDown(peer.node)]);
    }
}

/// A pair of connections broke: what waited for the node is lost, and perhaps what was under way.
fn lost(local: &Local, peer: &Peer, why: &Break) {
    let messages = peer.close();
    {
        let mut counters = peer.counters();
        counters.dropped.broken += messages;
        (counters.is_connected, counters.breaks) = (false, counters.breaks + 1);
        match why {
            Break::Silent(_) => counters.faults.add(Fault::Silent),
            Break::Frame(error) => counters.faults.add(error.fault()),
            Break::Moved | Break::Io(..) => {}
        }
    }
    warn!("{} lost {}: {why}", local.me.peer.node, peer.node);
    local.inbox.deliver(vec![Arrival::PeerDown(peer.node)]);
}

/// A node does not let us in: counts it and tells the host.
fn refused(local: &Local, peer: &Peer, refusal: &Refusal) {
    {
        let mut counters = peer.counters();
        let before = counters.refused_by.take();
        counters.refused_by = Some(RefusalCount::again(before, refusal.clone()));
    }
    let refusal = refusal.clone();
    local.inbox.deliver(vec![Arrival::Refused { node: peer.node, refusal }]);
}

fn complain(peer: &Peer, address: &str, error: &DialError) {
    if let DialError::Handshake(error) = error
        && let Some(fault) = error.fault()
    {
        peer.counters().faults.add(fault);
    }
    let line = format_args!("cannot reach {} at {address}: {error}", peer.node);
    peer.complaints.warn(line);
}

/// Waits between attempts: doubling, bounded, and spread so that nodes do not dial in step.
struct Backoff {
    attempt: u32,
    redial_min: Duration,
    redial_max: Duration,
    /// Differs between any two nodes that dial, and between the nodes they dial.
    salt: Checksum,
}

impl Backoff {
    fn new(local: &Local, node: NodeId) -> Self {
        let salt = Checksum::of(&local.me.peer.incarnation.get().to_le_bytes());
        let salt = salt.extend(&node.get().to_le_bytes());
        let (redial_min, redial_max) = (local.config.redial_min, local.config.redial_max);
        Self { attempt: 0, redial_min, redial_max, salt }
    }

    fn reset(&mut self) {
        self.attempt = 0;
    }

    /// Nothing is to be gained by trying soon.
    fn at_most_often(&mut self) {
        self.attempt = self.attempt.max(u32::BITS);
    }

    /// The next wait: between half of the doubled minimum and all of it.
    fn next(&mut self) -> Duration {
        let doubled = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        let most = self.redial_min.saturating_mul(doubled).min(self.redial_max);
        self.attempt = self.attempt.saturating_add(1);
        let random = self.salt.extend(&self.attempt.to_le_bytes()).get();
        let part = f64::from(random) / f64::from(u32::MAX);
        most / 2 + (most / 2).mul_f64(part)
    }

    /// Waits; shorter if the node comes by itself or its address changes, but never less than the
    /// minimum, so that two nodes that accept and drop each other do not spin.
    async fn wait(&mut self, peer: &Peer, whereabouts: &mut watch::Receiver<Whereabouts>) {
        let (begin, wait) = (now(), self.next());
        sleep_until(begin + wait.min(self.redial_min)).await;
        tokio::select! {
            () = sleep_until(begin + wait) => {}
            () = peer.sign_of_life.notified() => {}
            _ = whereabouts.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        let (redial_min, redial_max) = (Duration::from_millis(20), Duration::from_secs(1));
        Backoff { attempt: 0, redial_min, redial_max, salt: Checksum::of(b"n1 to n2") }
    }

    /// Waits double up to the maximum, each spread over the upper half of its step; a success
    /// begins anew, and a refusal waits longest at once.
    #[test]
    fn waits_double_up_to_the_maximum() {
        let mut backoff = backoff();
        for step in [20, 40, 80, 160, 320, 640, 1000, 1000] {
            let (wait, most) = (backoff.next(), Duration::from_millis(step));
            assert!(wait >= most / 2 && wait <= most, "{wait:?} in the step of {step} ms");
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(20));
        backoff.at_most_often();
        assert!(backoff.next() >= Duration::from_millis(500));
        backoff.attempt = u32::MAX;
        assert!(backoff.next() <= Duration::from_secs(1), "no end of attempts overflows");
    }

    /// A pong nobody asked for, or one that claims the future, measures nothing.
    #[test]
    fn only_an_answer_measures() {
        let second = Duration::from_secs(1);
        let body = |micros: u64| Bytes::copy_from_slice(&micros.to_le_bytes());
        assert_eq!(round_trip(&body(999_900), second), Some(Duration::from_micros(100)));
        assert_eq!(round_trip(&body(1_000_001), second), None);
        assert_eq!(round_trip(&Bytes::from_static(b"short"), second), None);
    }
}
