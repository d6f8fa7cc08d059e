//! The transport for production: framed TCP, a pair of connections to each node, and one more for
//! each snapshot that is fetched.
//!
//! A node dials every other and *sends* on the connections it dialled, one per class; what others
//! send comes in on theirs. So two nodes have four connections, and none carries both directions:
//! who sends is who notices that sending fails.
//!
//! ```text
//! send ─► queue control ─► writer ══ control ══► reader ─► inbox
//!      └► queue bulk ────► writer ═══ bulk ════► reader ─► inbox, while it has room
//! ```
//!
//! The chunks of a snapshot are pulled by the node that needs them, on a connection that it dials
//! for that: they cannot delay what is sent.
//!
//! Bytes are drawn in `docs/WIRE_FORMAT.md`. Read next: `tcp/dial.rs`, then
//! `tcp/door.rs`; `tcp/fetch.rs` and `tcp/serve.rs` for snapshots.

mod dial;
mod door;
mod fetch;
mod handshake;
mod peer;
mod probe;
mod queue;
mod serve;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
};
use std::time::Duration;

use raft_core::{ChunkSink, ChunkStore, Envelope, GroupId, Identity, NodeId, SnapshotId};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

pub use self::probe::{ProbeError, probe};

use self::peer::{Peer, Throttle};
use self::queue::{PushError, cost};
use self::serve::Shop;
use crate::fetch::OpenSink;
use crate::hello::{Hello, Refusal, RefusalCode, judge};
use crate::stats::{Faults, RefusalCount, SnapshotStats};
use crate::{Class, Inbox, NetError, NetStats, Roster, SendError, Strangers, Transport};

/// Settings of a [`TcpTransport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpConfig {
    /// Where to listen: `host:port`. Default `127.0.0.1:0`: this machine only, a port of the
    /// system's choice.
    pub listen: String,
    /// Where others can dial this node, shown to nodes whose roster does not say. Default: the
    /// address it listens at, if that names a single machine.
    pub advertise: Option<String>,
    /// Votes, heartbeats and answers that may wait for one node, in bytes. Default 4 MiB.
    pub control_queue_bytes_max: u64,
    /// Entries and commands that may wait for one node, in bytes. Default 64 MiB.
    pub bulk_queue_bytes_max: u64,
    /// The largest message, in bytes with its framing. Default 32 MiB; at least the largest command
    /// and a kilobyte.
    pub frame_bytes_max: u64,
    /// A connection that is not made, or not introduced, in this time is given up. Default 2 s.
    pub handshake_time_max: Duration,
    /// Time between two pings. Default 500 ms.
    pub ping_interval: Duration,
    /// A connection on which nothing is heard for this long is given up. Default 3 s; several
    /// ping intervals, so that a lost packet is not an end.
    pub silence_max: Duration,
    /// The wait before a node is dialled again, at first. Default 20 ms.
    pub redial_min: Duration,
    /// The wait before a node is dialled again, at last. Default 1 s.
    pub redial_max: Duration,
    /// A fetch to which nothing comes for this long breaks off, and a node that fetches and asks
    /// for nothing for this long is hung up on: longer than a chunk takes to be read from a disk,
    /// or written and made durable. Default 10 s.
    pub fetch_idle_max: Duration,
    /// So many bytes of chunks are written a second, to all nodes that fetch from this one
    /// together; zero: as many as go. Default 64 MiB, about half of a gigabit network.
    pub fetch_bytes_per_second_max: u64,
    /// So many fetches are served at once; who asks beyond it is told that this node is busy, and
    /// its fetch is broken. Each holds a chunk in memory. Default 4.
    pub serves_max: usize,
    /// What to do with nodes the roster does not name. Default: let them in (§6).
    pub strangers: Strangers,
}

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".to_owned(),
            advertise: None,
            control_queue_bytes_max: 4 << 20,
            bulk_queue_bytes_max: 64 << 20,
            frame_bytes_max: 32 << 20,
            handshake_time_max: Duration::from_secs(2),
            ping_interval: Duration::from_millis(500),
            silence_max: Duration::from_secs(3),
            redial_min: Duration::from_millis(20),
            redial_max: Duration::from_secs(1),
            fetch_idle_max: Duration::from_secs(10),
            fetch_bytes_per_second_max: 64 << 20,
            serves_max: 4,
            strangers: Strangers::Welcome,
        }
    }
}

impl TcpConfig {
    /// The defaults, listening at this address.
    pub fn listening(address: impl Into<String>) -> Self {
        Self { listen: address.into(), ..Self::default() }
    }
}

/// Messages over TCP.
///
/// ```
/// use std::sync::Arc;
/// use raft_core::{ClusterId, Identity, Incarnation, NodeId, Peer};
/// use raft_net::{Arrival, Deliver, Inbox, InboxLimits, TcpConfig, TcpTransport, Transport};
///
/// struct Host;
/// impl Deliver for Host {
///     fn deliver(&self, arrivals: Vec<Arrival>) { /* into a queue */ }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = NodeId::new(1).ok_or("zero is nobody")?;
/// let peer = Peer { node, incarnation: Incarnation::new(0x5eed) };
/// let me = Identity { cluster: ClusterId::new(7), peer };
/// let transport = TcpTransport::new(TcpConfig::listening("127.0.0.1:0"));
/// transport.start(me, Inbox::new(InboxLimits::default(), Arc::new(Host)))?;
/// println!("listening at {:?}", transport.local_addr());
/// transport.stop();
/// transport.stopped().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TcpTransport {
    config: TcpConfig,
    /// What was handed in until the start; `None` afterwards and after a stop.
    early: Mutex<Option<Early>>,
    running: OnceLock<Arc<Local>>,
}

/// What a transport is given before it is started.
#[derive(Default)]
struct Early {
    roster: Roster,
    store: Option<Arc<dyn ChunkStore>>,
}

impl fmt::Debug for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Early").field("roster", &self.roster).finish_non_exhaustive()
    }
}

impl TcpTransport {
    /// A transport that does nothing until it is started.
    pub fn new(config: TcpConfig) -> Self {
        let early = Mutex::new(Some(Early::default()));
        Self { config, early, running: OnceLock::new() }
    }

    /// Waits until every task has ended, after [`stop`](Transport::stop): sockets are closed and
    /// the inbox gets nothing more, and the sinks of fetches are closed.
    pub async fn stopped(&self) {
        if let Some(local) = self.running.get() {
            local.stop.closed().await;
        }
    }

    fn running(&self) -> Option<&Arc<Local>> {
        self.running.get().filter(|local| !local.is_stopped.load(Ordering::Relaxed))
    }
}

impl Transport for TcpTransport {
    fn start(&self, me: Identity, inbox: Inbox) -> Result<(), NetError> {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if early.is_none() {
            return Err(NetError::AlreadyStarted);
        }
        let runtime = Handle::try_current().map_err(|_| NetError::NoRuntime)?;
        let bind = |source| NetError::Bind { address: self.config.listen.clone(), source };
        let listener = std::net::TcpListener::bind(&self.config.listen).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let listener = TcpListener::from_std(listener).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let local = Arc::new(Local::new(me, inbox, self.config.clone(), address, runtime));
        let Early { roster, store } = early.take().unwrap_or_default();
        local.shop.set(store);
        local.set_roster(roster);
        local.spawn(door::accept(Arc::clone(&local), listener));
        assert!(self.running.set(local).is_ok(), "a transport is started once");
        Ok(())
    }

    fn set_roster(&self, roster: Roster) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = early.as_mut() {
            before.roster = roster;
        } else if let Some(local) = self.running() {
            local.set_roster(roster);
        }
    }

    fn send(&self, envelope: Envelope) -> Result<(), SendError> {
        let Some(local) = self.running() else { return Err(SendError::Stopped) };
        let (from, to) = (envelope.message.from.node, envelope.message.to);
        assert!(from == local.me.peer.node, "a node sends in its own name only");
        let peers = local.peers();
        let Some(peer) = peers.get(&to) else { return Err(SendError::Unknown { to }) };
        let (bytes, bytes_max) = (cost(&envelope.message.body), local.config.frame_bytes_max);
        if bytes > bytes_max {
            peer.counters().dropped.too_large += 1;
            return Err(SendError::TooLarge { to, bytes, bytes_max });
        }
        let queue = peer.queue(Class::of(&envelope.message.body));
        match queue.push(envelope, bytes) {
            Ok(()) => Ok(()),
            Err(PushError::Closed) => {
                peer.counters().dropped.down += 1;
                Err(SendError::Down { to })
            }
            Err(PushError::Full { queued_bytes, bytes_max }) => {
                peer.counters().dropped.full += 1;
                Err(SendError::Full { to, queued_bytes, bytes_max })
            }
        }
    }

    fn serve(&self, store: Arc<dyn ChunkStore>) {
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = early.as_mut() {
            before.store = Some(store);
        } else if let Some(local) = self.running() {
            local.shop.set(Some(store));
        }
    }

    fn fetch(&self, from: NodeId, group: GroupId, id: SnapshotId, into: Box<dyn ChunkSink>) {
        let sink = OpenSink::new(into);
        match self.running() {
            Some(local) => fetch::begin(local, from, group, id, sink),
            None => sink.close_aside(),
        }
    }

    fn stats(&self) -> NetStats {
        let Some(local) = self.running.get() else { return NetStats::default() };
        let peers = local.peers().iter().map(|(node, peer)| (*node, peer.stats())).collect();
        let door = local.door().clone();
        NetStats {
            peers,
            accepted: door.accepted,
            strangers: door.faults,
            refused: door.refused,
            inbox_control_bytes: local.inbox.used_bytes(Class::Control),
            inbox_bulk_bytes: local.inbox.used_bytes(Class::Bulk),
            snapshots: *local.snapshots(),
        }
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.running.get().map(|local| local.address)
    }

    fn stop(&self) {
        drop(self.early.lock().unwrap_or_else(PoisonError::into_inner).take());
        if let Some(local) = self.running.get() {
            local.is_stopped.store(true, Ordering::Relaxed);
            local.stop.send_replace(true);
        }
    }
}

impl Drop for TcpTransport {
    fn drop(&mut self) {
        self.stop();
    }
}

/// This node, as all tasks of its transport share it.
#[derive(Debug)]
struct Local {
    me: Identity,
    inbox: Inbox,
    config: TcpConfig,
    address: SocketAddr,
    /// Where others can dial; empty if nobody told.
    advertised: String,
    runtime: Handle,
    /// Turns true once; its receivers are the tasks that still run.
    stop: watch::Sender<bool>,
    is_stopped: AtomicBool,
    roster: RwLock<Roster>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    /// By node, what closes when the last task that dialled it has ended.
    dials: Mutex<BTreeMap<NodeId, oneshot::Receiver<Infallible>>>,
    door: Mutex<Door>,
    complaints: Throttle,
    shop: Shop,
    snapshots: Mutex<SnapshotStats>,
}

/// What was counted before anybody was let in.
#[derive(Clone, Debug, Default)]
struct Door {
    accepted: u64,
    faults: Faults,
    refused: BTreeMap<NodeId, RefusalCount>,
}

/// So many nodes outside the roster may come in; a cluster has a handful of members.
const STRANGERS_MAX: usize = 64;

impl Local {
    fn new(
        me: Identity,
        inbox: Inbox,
        config: TcpConfig,
        address: SocketAddr,
        runtime: Handle,
    ) -> Self {
        let advertised = config.advertise.clone().unwrap_or_else(|| {
            if address.ip().is_unspecified() { String::new() } else { address.to_string() }
        });
        let shop = Shop::new(&config);
        Self {
            me,
            inbox,
            config,
            address,
            advertised,
            runtime,
            stop: watch::Sender::new(false),
            is_stopped: AtomicBool::new(false),
            roster: RwLock::default(),
            peers: RwLock::default(),
            dials: Mutex::default(),
            door: Mutex::default(),
            complaints: Throttle::default(),
            shop,
            snapshots: Mutex::default(),
        }
    }

    /// Runs a task until it ends or the transport stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        let mut stop = self.stop.subscribe();
        let until_stop = async move {
            tokio::select! {
                // An error would mean that the sender is gone: then everything is.
                _ = stop.wait_for(|is_stopped| *is_stopped) => {}
                () = task => {}
            }
        };
        self.runtime.spawn(until_stop).abort_handle()
    }

    /// Makes the listed nodes peers, and hangs up on those that are no longer listed.
    fn set_roster(self: &Arc<Self>, roster: Roster) {
        let mut listed = self.roster.write().unwrap_or_else(PoisonError::into_inner);
        let mut peers = self.peers_mut();
        let before = std::mem::replace(&mut *listed, roster);
        for node in before.keys().filter(|node| !listed.contains_key(node)) {
            if let Some(peer) = peers.remove(node) {
                peer.leave();
            }
        }
        for (node, address) in listed.iter().filter(|(node, _)| **node != self.me.peer.node) {
            self.peer(&mut peers, *node).list(address.clone());
        }
    }

    /// The peer of this id; a new one is dialled as soon as its address is known.
    fn peer(self: &Arc<Self>, peers: &mut BTreeMap<NodeId, Arc<Peer>>, node: NodeId) -> Arc<Peer> {
        let peer = peers.entry(node).or_insert_with(|| {
            let peer = Arc::new(Peer::new(node, &self.config));
            self.dial(Arc::clone(&peer));
            peer
        });
        Arc::clone(peer)
    }

    /// Keeps a peer reached. A node that left the roster and came back waits here until its loss
    /// was told: the last word about it must be the true one.
    fn dial(self: &Arc<Self>, peer: Arc<Peer>) {
        let (ending, ended) = oneshot::channel::<Infallible>();
        let mut dials = self.dials.lock().unwrap_or_else(PoisonError::into_inner);
        let before = dials.insert(peer.node, ended);
        drop(dials);
        let local = Arc::clone(self);
        self.spawn(async move {
            if let Some(before) = before {
                // Nothing is ever sent: the other end is dropped.
                drop(before.await);
            }
            dial::keep(local, peer).await;
            drop(ending);
        });
    }

    /// Decides about a node that introduces itself.
    fn admit(self: &Arc<Self>, hello: &Hello) -> Result<(u8, Arc<Peer>), Refusal> {
        let roster = self.roster.read().unwrap_or_else(PoisonError::into_inner);
        let version = judge(hello, self.me, &roster, self.config.strangers)?;
        let node = hello.identity.peer.node;
        let mut peers = self.peers_mut();
        let strangers = peers.values().filter(|peer| !peer.is_listed()).count();
        if !peers.contains_key(&node) && strangers >= STRANGERS_MAX {
            let own = self.me.peer.node;
            let sentence = format!(
                "{own} does not know {node} and has let in {strangers} such nodes already: add \
                 {node} to the membership"
            );
            return Err(Refusal { code: RefusalCode::UnknownNode, sentence });
        }
        Ok((version, self.peer(&mut peers, node)))
    }

    fn peers(&self) -> RwLockReadGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers_mut(&self) -> RwLockWriteGuard<'_, BTreeMap<NodeId, Arc<Peer>>> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshots(&self) -> MutexGuard<'_, SnapshotStats> {
        self.snapshots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one clock of this crate: for round trips, silence and the pace of complaints.
fn now() -> Instant {
    Instant::now()
}
